"""Grain where an image is of one colour, for a style network to paint.

A network of convolutions and norms makes one colour of one colour: a sky that is black
throughout, or white, and a flat drawing would come out as a plain grey. Grain of one
level of 255, which nobody sees, is enough for strokes. It depends on a pixel's place
alone, and all other pixels stay as they are.
"""

import functools
from typing import Any

import numpy as np

SIDE = 8  # px: pixels in a square of one colour, of this side, are flat
LEVEL = 1.0  # standard deviation, of 255


def with_grain(images: Any) -> Any:
    """Images [h w 3] or [n h w 3] in [0, 255], grain added where they are flat.

    NumPy's and JAX's arrays alike, the same kind comes back; `images` itself if nothing
    is flat in an array of NumPy's. What is at 0 or 255 may leave the range by grain.
    """
    if not isinstance(images, np.ndarray):
        return _of_jax()(images)
    there = np.nonzero(flat(images))
    if not there[0].size:
        return images
    images = images.copy()
    images[there] += _grain(*there[-2:])[:, None]
    return images


@functools.cache
def _of_jax():
    import jax  # where a photo needs none, it is not imported
    import jax.numpy as jnp

    def with_grain(images):
        y, x = jnp.indices(images.shape[-3:-1], dtype=jnp.uint32, sparse=True)
        return images + (_grain(y, x) * flat(images))[..., None]

    return jax.jit(with_grain)


def rows_with_grain(image: Any, first: int, stop: int) -> Any:
    """Those rows of `with_grain(image)`, as float32, of a NumPy array [h w 3]."""
    above, below = max(0, first - SIDE), min(len(image), stop + SIDE)
    rows = image[above:below].astype(np.float32)
    found = flat(rows)[first - above : stop - above]
    rows = rows[first - above : stop - above]
    y, x = np.nonzero(found)
    rows[y, x] += _grain(y + first, x)[:, None]
    return rows


def flat(images: Any) -> Any:
    """Bool [h w] or [n h w]: lies in a square of `SIDE` px of one 8-bit colour."""
    xp = np if isinstance(images, np.ndarray) else images.__array_namespace__()
    h, w = images.shape[-3:-1]
    if min(h, w) < SIDE:
        return xp.zeros(images.shape[:-1], bool)
    # Three channels of 8 bits are a number of 24, which float32 holds.
    levels = xp.rint(images)
    colour = levels[..., 0] + 256 * levels[..., 1] + 65536 * levels[..., 2]
    across = colour[..., 1:] == colour[..., :-1]
    down = colour[..., 1:, : 1 - SIDE] == colour[..., :-1, : 1 - SIDE]
    squares = _joined(_joined(across, SIDE - 1, -1), SIDE, -2)  # each row by itself
    squares &= _joined(down, SIDE - 1, -2)  # and their first pixels
    # Every pixel of such a square: by all that might begin it.
    room = [(0, 0)] * (squares.ndim - 2) + 2 * [(SIDE - 1, SIDE - 1)]
    empty = xp.pad(~squares, room, constant_values=True)
    return ~_joined(_joined(empty, SIDE, -2), SIDE, -1)


def _joined(values, n, axis):
    """Whether `n` neighbours are all true; shorter by n - 1. n: 5 to 8."""

    def ahead(values, by):
        length = values.shape[axis] - by
        first = [slice(None)] * values.ndim
        second = first.copy()
        first[axis], second[axis] = slice(length), slice(by, None)
        return values[tuple(first)] & values[tuple(second)]

    return ahead(ahead(ahead(values, 1), 2), n - 4)


def _grain(y, x):
    """Uniform, of mean 0 and deviation `LEVEL`, by a hash of the place: float32."""
    mixed = x.astype(np.uint32) * np.uint32(374761393)
    mixed = mixed + y.astype(np.uint32) * np.uint32(668265263)
    mixed = (mixed ^ (mixed >> np.uint32(13))) * np.uint32(1274126177)
    mixed = mixed ^ (mixed >> np.uint32(16))
    # Of 24 bits, which float32 holds.
    share = (mixed >> np.uint32(8)).astype(np.float32) / np.float32(2**24)
    return np.float32(LEVEL * 12**0.5) * (share - np.float32(0.5))
