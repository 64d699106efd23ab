"""f_W for other programs' runtimes: ONNX files and StableHLO.

`onnx_model` builds an ONNX graph from a model's weights, with the help of `graph`;
`stablehlo` has JAX write the program that it would compile; `writing` makes files of
both. Any size of images, whichever style of a gallery was picked. Imports `core`,
`images`, `networks`, `ops`.
"""
