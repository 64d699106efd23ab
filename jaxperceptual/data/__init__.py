"""Photos to batches for training (section 4.1, training details).

Sources (folders, tars, TFDS), decoding, a cache, the loader; and what is done to photos
for a restoration network to undo (`degradations`, section 4.2). Imports `core`,
`images`.
"""
