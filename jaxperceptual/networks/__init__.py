"""f_W, the image transformation networks (section 3.1; supplementary, tables 1 and 2).

From the layers to a model file, and the models that ship. Imports `core`, `images`,
`ops`.
"""
