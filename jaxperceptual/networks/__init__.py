"""f_W, the image transformation networks (section 3.1).

`style_net` is the supplementary's table 1, `super_resolution_net` its table 2, `srcnn`
section 4.2's baseline, all made of `layers`. `registry` has them by name, `folding`
makes them faster, `shapes` says what they hold, `model_file`, `trained` and
`pretrained` keep them: a file, how it was trained, which ship. Imports `core`,
`images`, `ops`.
"""
