"""One photo of a source as a square of pixels."""

from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import Image as pil

from jaxperceptual.errors import InputError
from jaxperceptual.sources import Source

MIN_SIDE = 16  # px; a smaller image is an icon or a tracking pixel, not a photo


class Crop(NamedTuple):
    """Ranges of a random box: its short side over the photo's short side, and its
    aspect ratio before it becomes square."""

    scales: tuple[float, float]
    aspects: tuple[float, float]


RANDOM_CROP = Crop((1 / 1.5, 1.0), (1.0, 1.0))
# A few photos must do for a whole run: more zoom, and the range of distortion that
# stretching 4:3 and 3:4 photos to a square gives with larger sets.
EMBEDDED_CROP = Crop((0.4, 1.0), (3 / 4, 4 / 3))
PATCH: Literal["patch"] = "patch"  # the photo's own pixels, not scaled


class Photos:
    """Decodes image `i` of a source and makes it square: stretched, or a crop."""

    def __init__(
        self,
        source: Source,
        image_size: int,
        crop: Crop | Literal["patch"] | None = None,
    ):
        self.source = source
        self.image_size = image_size
        self._crop = crop

    def pixels(self, i: int, draws: np.ndarray) -> UInt8[np.ndarray, "size size 3"]:
        """uint8 RGB; `draws` are four numbers in [0, 1) that place the crop.

        Raises:
          InputError: The image cannot be decoded, is below `MIN_SIDE`, or is smaller
            than the patch to be cut from it.
        """
        size = self.image_size
        if self._crop == PATCH:
            return self._patch(i, draws)
        # Twice what is needed leaves the antialiasing to the resize; a crop takes as
        # little as two thirds of a side.
        photo = self.source.load(i, at_least=3 * size if self._crop else 2 * size)
        if min(photo.size) < MIN_SIDE:
            width, height = photo.size
            raise InputError(
                f"{self.source.name(i)}: {width} x {height} px is tiny; the short side "
                f"needs {MIN_SIDE} px."
            )
        box = None
        if self._crop is not None:
            box = _random_box(draws, *photo.size, self._crop)
        photo = photo.resize(
            (size, size), pil.Resampling.BICUBIC, box=box, reducing_gap=2.0
        )
        return np.array(photo)

    def _patch(self, i: int, draws: np.ndarray) -> UInt8[np.ndarray, "size size 3"]:
        size = self.image_size
        photo = self.source.load(i, at_least=None)
        width, height = photo.size
        if min(width, height) < size:
            raise InputError(
                f"{self.source.name(i)}: {width} x {height} px is smaller than a patch "
                f"of {size} px, and patches are not scaled."
            )
        left = int(draws[2] * (width - size + 1))
        top = int(draws[3] * (height - size + 1))
        return np.array(photo.crop((left, top, left + size, top + size)))


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
