"""Photos through a trained f_W: one array, or many files (sections 4.1 and 4.2).

`stylizer` for style transfer, `restorer` for super-resolution and other restoration
(`windowed`: in tiles, `consistency`: what follows the network), `kinds` for what they
may be called with; `jobs` and `batches` for files. Imports
`core`, `images`, `networks`, `ops`.
"""
