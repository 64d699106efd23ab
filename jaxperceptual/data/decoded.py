"""Photos of a source, decoded anew each time and made square."""

import os

import numpy as np
from jaxtyping import UInt8

from jaxperceptual.core.errors import InputError
from jaxperceptual.data.sources import EMBEDDED, Source
from jaxperceptual.images import squares

MIN_SIDE = 16  # px; a smaller image is an icon or a tracking pixel, not a photo
CROPS = ("stretch", "random", "zoom", "patch")
_TINY = "tiny; the short side needs {} px."
_NO_PATCH = "smaller than a patch of {} px, and patches are not scaled."


def check_crop(crop: str, name: str, cache: str | os.PathLike | None) -> None:
    """InputError for a crop that is none, or whose results no cache can keep.

    name: the source's.
    """
    if crop not in CROPS:
        raise InputError(f"crop={crop!r}; use one of {', '.join(CROPS)}.")
    if cache is not None and (crop != "stretch" or name == EMBEDDED):
        what = f"crop={crop}" if crop != "stretch" else f"the source {EMBEDDED!r}"
        raise InputError(
            f"cache={cache} keeps one resized copy of each image, but {what} cuts "
            "a new crop each time; use one or the other."
        )


class Decoded:
    """Image `i` of a source as a square: stretched, a random crop, or a patch.

    crop: one of `CROPS` (`check_crop`); of the embedded photos, what is not a patch is
        a random crop that varies more.
    """

    def __init__(self, source: Source, name: str, image_size: int, crop: str):
        self.source = source
        self.image_size = image_size
        self._patch = crop == "patch"
        boxes = {"random": squares.RANDOM_CROP, "zoom": squares.ZOOM_CROP}
        box = squares.EMBEDDED_CROP if name == EMBEDDED else boxes.get(crop)
        self._box = None if self._patch else box

    def pixels(self, i: int, draws: np.ndarray) -> UInt8[np.ndarray, "size size 3"]:
        """uint8 RGB; `draws` are four numbers in [0, 1) that place the crop.

        Raises:
          InputError: The image cannot be decoded, is below `MIN_SIDE`, or is smaller
            than the patch to be cut from it.
        """
        size = self.image_size
        if self._patch:
            photo = self.source.load(i, at_least=None)
            self._check(i, photo.size, size, _NO_PATCH)
            return np.array(squares.patch(photo, size, draws))
        # Twice what is needed leaves the antialiasing to the resize; a crop may take as
        # little as that part of a side.
        part = self._box.scales[0] if self._box else 1.0
        photo = self.source.load(i, at_least=round(2 * size / part))
        self._check(i, photo.size, MIN_SIDE, _TINY)
        if self._box is None:
            return np.array(squares.stretched(photo, size))
        return np.array(squares.random_crop(photo, size, self._box, draws))

    def _check(self, i: int, sides: tuple[int, int], least: int, why: str) -> None:
        width, height = sides
        if min(sides) < least:
            what = f"{self.source.name(i)}: {width} x {height} px"
            raise InputError(f"{what} is {why.format(least)}")
