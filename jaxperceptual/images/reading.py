"""Image files to pixels, with NumPy and Pillow only.

Whatever a file holds becomes 8-bit RGB, upright: EXIF orientation is applied; grey,
palette, 1-bit and CMYK pictures (Adobe's inverted JPEGs included) are converted;
16-bit grey v becomes v / 257, 16-bit colour keeps its high byte; what is transparent
is laid over white. Of an animation the first frame counts. Colours of an embedded
profile, as the Display P3 of a phone, are converted to sRGB.
"""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import Image as pil

from jaxperceptual.core.errors import InputError
from jaxperceptual.core.host_types import Bytes, Image
from jaxperceptual.images import profiles
from jaxperceptual.images.formats import MAX_PIXELS, NO_LIMIT, open_picture

_ORIENTATION = 0x0112  # EXIF tag; 1 is upright
_WIDTH, _HEIGHT = 0x0100, 0x0101  # of a TIFF, as it is stored
_UPRIGHT = {
    2: pil.Transpose.FLIP_LEFT_RIGHT,
    3: pil.Transpose.ROTATE_180,
    4: pil.Transpose.FLIP_TOP_BOTTOM,
    5: pil.Transpose.TRANSPOSE,
    6: pil.Transpose.ROTATE_270,
    7: pil.Transpose.TRANSVERSE,
    8: pil.Transpose.ROTATE_90,
}
_LYING = (5, 6, 7, 8)  # of these, width and height change places


def read_image(path: str | Path, *, size: int | None = None) -> Image:
    """Reads an image file as RGB float32 [h w 3] in [0, 255].

    Args:
      path: The file.
      size: Upper bound of the long side in pixels; a longer image is scaled down
        (antialiased, same aspect), a shorter one is left alone.

    Raises:
      InputError: The file is missing, empty, damaged, not an image, or too large.
    """
    return read_with_alpha(path, size=size)[0]


def read_with_alpha(
    source: str | Path | bytes, *, size: int | None = None
) -> tuple[Image, UInt8[np.ndarray, "h w"] | None]:
    """`read_image` (over white), and the alpha channel that it covered.

    source: A path, or the bytes of a file. Alpha is uint8 [h w], 0 transparent to 255
    opaque; None where every pixel is opaque. Raises as `read_image` does.
    """
    pixels, alpha = read_bytes(source, size=size)
    return pixels.astype(np.float32), alpha


def read_bytes(
    source: str | Path | bytes, *, size: int | None = None, most: int = MAX_PIXELS
) -> tuple[Bytes, UInt8[np.ndarray, "h w"] | None]:
    """As `read_with_alpha`, without making floats of bytes.

    most: pixels of the file's image; InputError for more.
    """
    if size is not None and size < 1:
        raise InputError(f"size={size} px: the long side needs 1 px or more.")

    # Twice the target leaves the antialiasing to Lanczos.
    name = "image" if isinstance(source, bytes) else str(source)
    rgb, alpha = _open(
        source, name, lambda w, h: [2 * n for n in fit(w, h, size)], most
    )
    target = fit(*rgb.size, size)
    if target != rgb.size:
        rgb = rgb.resize(target, pil.Resampling.LANCZOS)
        alpha = alpha and alpha.resize(target, pil.Resampling.LANCZOS)
    return np.array(rgb), None if alpha is None else np.array(alpha)


def fit(width: int, height: int, size: int | None) -> tuple[int, int]:
    """Both sides, in proportion, so that the longer one has `size` px at most."""
    factor = min(1.0, (size or math.inf) / max(width, height))
    return max(1, round(width * factor)), max(1, round(height * factor))


def is_picture(thing: object) -> bool:
    """Whether it is a Pillow image."""
    return isinstance(thing, pil.Image)


def from_picture(
    picture: pil.Image,
) -> tuple[Image, UInt8[np.ndarray, "h w"] | None]:
    """A Pillow image, as `read_with_alpha` has a file; InputError for some modes."""
    picture.load()  # a TIFF is turned by that
    try:
        rgb, alpha = _convert(_upright(picture))
    except ValueError as error:
        raise InputError(
            f"image of mode {picture.mode}: {error}; convert it."
        ) from error
    pixels = np.asarray(rgb).astype(np.float32)
    return pixels, None if alpha is None else np.array(alpha)


class Header(NamedTuple):
    """What a file says of its image before that is decoded."""

    width: int  # upright
    height: int
    grey: bool  # one channel, and alpha maybe: no place for colour


def read_header(path: str | Path) -> Header:
    """Size and kind of an image; raises InputError as `read_image` does.

    Whether the pixels can be decoded is not known by that.
    """
    try:
        with open_picture(path, most=NO_LIMIT) as picture:
            mode = picture.mode
            grey = mode in ("1", "L", "LA", "F") or mode[0] == "I"
            width, height = picture.size
            if picture.format == "TIFF":  # whose size Pillow tells as if upright
                width, height = picture.tag_v2[_WIDTH], picture.tag_v2[_HEIGHT]
            turned = _orientation(picture) in _LYING
    except InputError:
        raise
    except Exception as error:  # see `_open`
        reason = reason_of(error)
    else:
        return Header(*((height, width) if turned else (width, height)), grey)
    raise InputError(
        f"{path}: cannot be read as an image ({reason}); replace or convert it."
    )


def load_rgb(
    source: str | Path | bytes, *, name: str | None = None, at_least: int | None = None
) -> pil.Image:
    """Decodes a file, or the bytes of one, to an upright RGB Pillow image.

    Args:
      source: A path, or the encoded bytes.
      name: What errors call the image; the path by default.
      at_least: Both sides may shrink while decoding, down to this many pixels; for
        JPEGs that is several times faster than shrinking afterwards.

    Raises:
      InputError: As `read_image`.
    """
    if name is None:
        name = "image" if isinstance(source, bytes) else str(source)
    return _open(source, name, at_least and (lambda w, h: (at_least, at_least)))[0]


def _open(
    source: str | Path | bytes,
    name: str,
    hint: Callable[[int, int], Sequence[int]] | None,
    most: int = MAX_PIXELS,
) -> tuple[pil.Image, pil.Image | None]:
    """(RGB over white, alpha or None); `hint(width, height)` is size enough."""
    if source == b"":
        raise InputError(f"{name}: the file is empty (0 bytes); replace it.")
    try:
        with open_picture(source, most=most) as picture:
            if hint is not None:
                picture.draft(None, tuple(hint(*picture.size)))
            picture.load()
            return _convert(_upright(picture))
    except InputError:
        raise
    # Pillow's decoders meet damaged bytes with SyntaxError, struct.error, IndexError
    # and more, by format; whichever it is, the file is the cause.
    except Exception as error:
        reason = reason_of(error)
    raise InputError(
        f"{name}: cannot be read as an image ({reason}); replace or convert it."
    )


def reason_of(error: Exception) -> str:
    """Why Pillow could not read an image."""
    return " ".join(str(error).split()) or type(error).__name__


def _upright(picture: pil.Image) -> pil.Image:
    orientation = _orientation(picture)
    if orientation not in _UPRIGHT:
        return picture
    return picture.transpose(_UPRIGHT[orientation])


def _orientation(picture: pil.Image) -> int:
    try:
        return picture.getexif().get(_ORIENTATION, 1)
    except Exception:  # damaged EXIF says nothing, and the pixels are fine
        return 1


def _convert(picture: pil.Image) -> tuple[pil.Image, pil.Image | None]:
    profile = picture.info.get("icc_profile")
    if picture.mode.startswith("I"):  # "I;16", its byte orders, and 32-bit "I"
        values = np.asarray(picture).astype(np.int64)
        if values.min() < 0 or values.max() > 65535:
            raise ValueError("grey values beyond 16 bits")
        key = picture.info.get("transparency")  # a PNG's one transparent grey
        picture = pil.fromarray(np.rint(values / 257).astype(np.uint8))  # 65535 / 255
        if key is not None:
            picture.putalpha(pil.fromarray(np.uint8(255) * (values != key)))
    if picture.mode == "F":
        raise ValueError("float pixels, which have no agreed range")
    if not picture.has_transparency_data:
        return profiles.to_srgb(picture, profile), None
    rgba = picture.convert("RGBA")
    alpha = rgba.getchannel("A")
    if profile:
        # A profile of greys fits greys, and no others.
        plain = picture.convert("L" if picture.mode in ("L", "LA") else "RGB")
        rgba = profiles.to_srgb(plain, profile)
        rgba.putalpha(alpha)
    white = pil.new("RGBA", rgba.size, "white")
    opaque = alpha.getextrema()[0] == 255
    rgb = pil.alpha_composite(white, rgba).convert("RGB")
    return rgb, None if opaque else alpha
