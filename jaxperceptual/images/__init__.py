"""Pixels: files read and written, found, made square, laid out, cut in tiles, resized.

On the host, but for `resampling`'s batches. Between the rooms an image is RGB, float32,
[h w 3] in [0, 255]. The one place besides `data` that knows Pillow. Imports `core`.
"""
