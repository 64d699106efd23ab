"""phi, the loss network: VGG-16 up to a layer, and its weights (section 3).

`vgg` is the arithmetic, `vgg_layers` its table. Weights come from other people's files
(`dialects`, `conversion`) into one of ours (`weights`), found by name
(`store`). `alexnet` is another network, `phi` chooses: a Linen module whose
`apply(variables, images, layers)` gives activations by layer, and which has
`check_layers` and `freeze`. Imports `core`, `ops`.
"""
