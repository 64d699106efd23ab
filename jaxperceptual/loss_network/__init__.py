"""phi, the loss network: VGG-16 up to a layer, and its weights (section 3).

`vgg` is the arithmetic, `vgg_layers` its table. Weights come from other people's files
(`containers`, `dialects`, `conversion`) into one of ours (`weights`), found by name
(`store`). Another network is a Linen module here whose `apply(variables, images,
layers)` gives activations by layer: `losses.goal.build_objective` names the one in use,
and `vgg_layers.check_layers` the layers that exist. Imports `core`, `ops`.
"""
