"""A photo made square: by its centre, by stretching, by a random crop, by a patch.

Pillow images in and out, RGB; `draws` are four numbers in [0, 1).
"""

from typing import NamedTuple

import numpy as np
from PIL import Image as pil


class Crop(NamedTuple):
    """Ranges of a random box: its short side over the photo's short side, and its
    aspect ratio before it becomes square."""

    scales: tuple[float, float]
    aspects: tuple[float, float]


RANDOM_CROP = Crop((1 / 1.5, 1.0), (1.0, 1.0))
# From the whole photo to what one of its size shows when it is enlarged threefold.
ZOOM_CROP = Crop((1 / 3, 1.0), (1.0, 1.0))
# A few photos must do for a whole run: more zoom, and the range of distortion that
# stretching 4:3 and 3:4 photos to a square gives with larger sets.
EMBEDDED_CROP = Crop((0.4, 1.0), (3 / 4, 4 / 3))


def centre(photo: pil.Image, size: int) -> pil.Image:
    """The largest square in the middle, scaled to `size` px (Lanczos)."""
    side = min(photo.size)
    left, top = ((length - side) // 2 for length in photo.size)
    square = photo.crop((left, top, left + side, top + side))
    return square.resize((size, size), pil.Resampling.LANCZOS)


def stretched(photo: pil.Image, size: int) -> pil.Image:
    """The whole photo as a square of `size` px, antialiased, as the release does."""
    return _resized(photo, size, None)


def random_crop(
    photo: pil.Image, size: int, crop: Crop, draws: np.ndarray
) -> pil.Image:
    """A box as the draws place it, as a square of `size` px."""
    return _resized(photo, size, _random_box(draws, *photo.size, crop))


def patch(photo: pil.Image, size: int, draws: np.ndarray) -> pil.Image:
    """`size` x `size` of the photo's own pixels; its sides have at least so many."""
    width, height = photo.size
    left = int(draws[2] * (width - size + 1))
    top = int(draws[3] * (height - size + 1))
    return photo.crop((left, top, left + size, top + size))


def _resized(photo, size, box):
    return photo.resize((size, size), pil.Resampling.BICUBIC, box=box, reducing_gap=2.0)


def _random_box(
    draws: np.ndarray, width: int, height: int, crop: Crop
) -> tuple[float, float, float, float]:
    """(left, top, right, bottom): log-uniform scale and aspect, uniform position."""

    def between(low: float, high: float, draw: float) -> float:
        return low * (high / low) ** draw

    side = between(*crop.scales, draws[0]) * min(width, height)
    aspect = between(*crop.aspects, draws[1])
    box_w = min(side * max(aspect, 1.0), width)
    box_h = min(side * max(1 / aspect, 1.0), height)
    left, top = draws[2] * (width - box_w), draws[3] * (height - box_h)
    return left, top, min(left + box_w, width), min(top + box_h, height)
