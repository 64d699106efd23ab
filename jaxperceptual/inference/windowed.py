"""A large output made window by window, so that memory does not grow with it."""

import itertools
from collections.abc import Callable

import numpy as np
from jaxtyping import Float32

from jaxperceptual.core.progress import Bar
from jaxperceptual.core.types import Image
from jaxperceptual.images.tiles import windows

# Activations of 64 channels take 1 GiB a layer at 2048 x 2048.
WHOLE = 2048**2  # px of output
TILE = 1024  # px of output, a side

Large = Float32[np.ndarray, "_ _ 3"]  # of another size than the `Image` beside it


def default_tile(h: int, w: int, factor: int) -> int | None:
    """Side of the tiles in which [h w] px become [factor*h factor*w], px of the input.

    None: the output has at most `WHOLE` pixels, and is made at once.
    """
    return TILE // factor if h * w * factor**2 > WHOLE else None


def assembled(
    make: Callable[[slice, slice], Large],
    image: Image,
    *,
    factor: int,
    tile: int | None,
    margin: int,
) -> Large:
    """[h w 3] -> [factor*h factor*w 3], of what `make` makes of its parts.

    make: gives rows and columns of `image` enlarged.
    tile: the side of what is kept of each part, px of the input; None for the whole
        image in one part.
    margin: how many px of the input more are made on each side, and thrown away: as far
        as an input pixel can change the output.
    """
    h, w, _ = image.shape
    tile = max(h, w) if tile is None else tile
    parts = list(itertools.product(windows(h, tile, margin), windows(w, tile, margin)))
    if len(parts) == 1:
        return make(slice(0, h), slice(0, w))
    output = np.empty((h * factor, w * factor, 3), np.float32)
    for rows, columns in Bar(parts, unit="tile", leave=False):
        made = make(rows.seen, columns.seen)
        kept = made[rows.kept(factor), columns.kept(factor)]
        output[rows.target(factor), columns.target(factor)] = kept
    return output
