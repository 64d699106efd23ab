"""Photos through a trained f_W: one array, or many files.

`stylizer` for style transfer, `restorer` for super-resolution and other restoration,
`jobs` and `batches` for files. Imports `core`, `images`, `networks`, `ops`.
"""
