"""Pixels on the host: files read and written, found, made square, resized, laid out.

Between the rooms an image is RGB, float32, [h w 3] in [0, 255]. The one place besides
`data` that knows Pillow. Imports `core`.
"""
