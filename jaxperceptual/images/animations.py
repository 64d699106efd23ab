"""GIF and WebP animations: their frames, and how long each is shown."""

from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
from jaxtyping import UInt8
from PIL import Image as pil, ImageSequence

from jaxperceptual.core.errors import InputError
from jaxperceptual.images.formats import open_picture
from jaxperceptual.images.reading import fit, reason_of

_UNSAID = 100  # ms: what browsers take for no time at all
_FORMATS = {".gif": "GIF", ".webp": "WEBP"}
MOVING_SUFFIXES = (".gif", ".webp", ".apng")  # may hold more than one


def read_animation(
    path: Path, *, size: int | None = None
) -> list[tuple[UInt8[np.ndarray, "h w 3"], int]]:
    """Every frame over white, and the milliseconds that it is shown.

    size: Upper bound of the long side in pixels.

    Raises InputError for a file that cannot be read.
    """
    try:
        return _frames(path, size)
    except InputError:
        raise
    except Exception as error:  # see `reading`
        reason = reason_of(error)
    raise InputError(
        f"{path}: cannot be read as an animation ({reason}); replace or convert it."
    )


def count_frames(path: Path) -> int:
    """How many pictures a file shows after each other; 0 for what cannot be read."""
    try:
        with open_picture(path) as picture:
            return getattr(picture, "n_frames", 1)
    except Exception:  # whoever reads it says why
        return 0


def _frames(path, size):
    found = []
    with open_picture(path) as picture:
        h, w = fit(picture.height, picture.width, size)
        for frame in ImageSequence.Iterator(picture):
            rgba = frame.convert("RGBA")
            shown = frame.info.get("duration", 0)  # of WebP, known once it is decoded
            if rgba.size != (w, h):
                rgba = rgba.resize((w, h), pil.Resampling.LANCZOS)
            white = pil.new("RGBA", rgba.size, "white")
            pixels = np.asarray(pil.alpha_composite(white, rgba).convert("RGB"))
            found.append((pixels, round(shown) if shown > 10 else _UNSAID))
    return found


def write_animation(
    file: BinaryIO,
    frames: Sequence[UInt8[np.ndarray, "h w 3"]],
    shown: Sequence[int],
    suffix: str,
    *,
    quality: int = 90,
) -> None:
    """Writes frames, each shown so many milliseconds, over and over; .gif or .webp.

    A GIF has 256 colours a frame, and its times are of 10 ms. quality: of WebP, 1 to
    100.

    Raises InputError for another suffix.
    """
    if suffix not in _FORMATS:
        raise InputError(f"{suffix}: no animation; use .gif or .webp.")
    pictures = [pil.fromarray(pixels) for pixels in frames]
    options = {"quality": quality, "method": 4} if suffix == ".webp" else {}
    pictures[0].save(
        file,
        format=_FORMATS[suffix],
        save_all=True,
        append_images=pictures[1:],
        duration=list(shown),
        loop=0,
        **options,
    )
