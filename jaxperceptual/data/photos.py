"""How `Loader` gets a photo's pixels: decoded anew each time, or from a cache."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

from jaxperceptual.data.cache import open_cache
from jaxperceptual.data.decoded import Decoded
from jaxperceptual.data.sources import Source


class Photos(NamedTuple):
    """How to have a photo.

    take: `(i, four draws in [0, 1))` to uint8 pixels [size size 3], or to int32 `i`,
        where `table` has the pixels. Raises InputError for one that cannot be used.
    mirror: of what `take` gives, left to right.
    num_bytes: of what `take` gives.
    table: all pixels, uint8 [N size size 3], where a device is to keep them.
    """

    take: Callable[[int, np.ndarray], np.ndarray | np.int32]
    mirror: Callable
    num_bytes: int
    table: UInt8[np.ndarray, "N size size 3"] | None = None


def open_photos(
    source: Source,
    name: str,
    *,
    image_size: int,
    crop: str,
    cache: str | Path | None = None,
    rows_below: int = 0,
) -> Photos:
    """The photos of a source, which was opened by `name`, as `Loader` has them.

    Fills the cache if it is not there. Raises InputError as `cache.open_cache` does.
    """
    decoded = Decoded(source, name, image_size, crop)
    if cache is None:
        return Photos(decoded.pixels, _mirrored, image_size**2 * 3)
    cached = open_cache(Path(cache), decoded)
    if cached.table.nbytes <= rows_below:
        return Photos(cached.row, np.invert, np.int32().nbytes, cached.table)
    return Photos(cached.pixels, _mirrored, image_size**2 * 3)


def _mirrored(image: np.ndarray) -> np.ndarray:
    return image[:, ::-1]
