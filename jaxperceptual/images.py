"""Files to pixels and back, with NumPy and Pillow only.

Whatever a file holds becomes 8-bit RGB, upright: EXIF orientation is applied; grey,
palette, 1-bit and CMYK pictures (Adobe's inverted JPEGs included) are converted;
16-bit grey v becomes v / 257, 16-bit colour keeps its high byte; what is transparent
is laid over white. Of an animation the first frame counts. Embedded colour profiles
are ignored.
"""

import io
import math
import os
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, UInt8
from PIL import Image as pil
from PIL import ImageDraw, ImageFont, UnidentifiedImageError

from jaxperceptual import files
from jaxperceptual.errors import InputError
from jaxperceptual.types import Bytes, Image

IMAGE_SUFFIXES = (
    *(".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"),
    *(".gif", ".ppm", ".pgm"),
)
MAX_PIXELS = 200_000_000  # decoded: 600 MB as bytes, 2.4 GB as float32

# Pillow's own guard warns at 89 and refuses at 179 million pixels. The guard is one
# number for the process, and so is what becomes of its warning; set once, both hold
# in every thread that decodes, where `warnings.catch_warnings` would not.
pil.MAX_IMAGE_PIXELS = MAX_PIXELS
warnings.simplefilter("error", pil.DecompressionBombWarning)

_FORMATS = {
    ".jpg": ("JPEG", {"quality": 95}),
    ".jpeg": ("JPEG", {"quality": 95}),
    ".png": ("PNG", {}),
    ".webp": ("WEBP", {"quality": 95}),
    ".bmp": ("BMP", {}),
    ".tif": ("TIFF", {"compression": "tiff_deflate"}),
    ".tiff": ("TIFF", {"compression": "tiff_deflate"}),
}
WRITABLE_SUFFIXES = tuple(_FORMATS)
_NO_ALPHA = ("JPEG", "BMP")
_LONGEST = {"JPEG": 65_500, "WEBP": 16_383}  # px; what their encoders refuse beyond

_ORIENTATION = 0x0112  # EXIF tag; 1 is upright
_UPRIGHT = {
    2: pil.Transpose.FLIP_LEFT_RIGHT,
    3: pil.Transpose.ROTATE_180,
    4: pil.Transpose.FLIP_TOP_BOTTOM,
    5: pil.Transpose.TRANSPOSE,
    6: pil.Transpose.ROTATE_270,
    7: pil.Transpose.TRANSVERSE,
    8: pil.Transpose.ROTATE_90,
}


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
    path: str | Path, *, size: int | None = None
) -> tuple[Image, UInt8[np.ndarray, "h w"] | None]:
    """`read_image` (over white), and the alpha channel that it covered.

    Alpha is uint8 [h w], 0 transparent to 255 opaque; None where every pixel is
    opaque. Raises as `read_image` does.
    """
    if size is not None and size < 1:
        raise InputError(f"size={size} px: the long side needs 1 px or more.")

    def fit(width: int, height: int) -> tuple[int, int]:
        factor = min(1.0, (size or MAX_PIXELS) / max(width, height))
        return max(1, round(width * factor)), max(1, round(height * factor))

    # Twice the target leaves the antialiasing to Lanczos.
    rgb, alpha = _open(path, str(path), lambda w, h: [2 * n for n in fit(w, h)])
    target = fit(*rgb.size)
    if target != rgb.size:
        rgb = rgb.resize(target, pil.Resampling.LANCZOS)
        alpha = alpha and alpha.resize(target, pil.Resampling.LANCZOS)
    pixels = np.asarray(rgb).astype(np.float32)
    return pixels, None if alpha is None else np.array(alpha)


class Header(NamedTuple):
    """What a file says of its image before that is decoded."""

    width: int
    height: int
    grey: bool  # one channel, and alpha maybe: no place for colour


def read_header(path: str | Path) -> Header:
    """Size and kind of an image; raises InputError as `read_image` does.

    Whether the pixels can be decoded is not known by that.
    """
    try:
        with pil.open(path) as picture:
            mode = picture.mode
            return Header(
                *picture.size, mode in ("1", "L", "LA", "F") or mode[0] == "I"
            )
    except Exception as error:  # see `_open`
        reason = _reason(error)
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


def decode(source: str | Path | bytes, *, name: str | None = None) -> Bytes:
    """`load_rgb` as uint8 [h w 3]."""
    return np.array(load_rgb(source, name=name))


def without_white(image: Image, alpha: UInt8[np.ndarray, "h w"]) -> Image:
    """The colours that, with this alpha, laid over white look like `image`.

    Both as `read_with_alpha` gives them. Where nothing is seen: white.
    """
    share = alpha[..., None].astype(np.float32) / 255
    seen = 255 + (image - 255) / np.maximum(share, 1 / 255)
    return np.where(share > 0, np.clip(seen, 0, 255), 255).astype(np.float32)


def check_fits(path: str | Path, width: int, height: int) -> None:
    """Raises InputError if the format that the suffix names has no room for so many."""
    kind, _ = _FORMATS[Path(path).suffix.lower()]
    most = _LONGEST.get(kind, math.inf)
    if max(width, height) > most:
        raise InputError(
            f"{path}: {width} x {height} px; {kind} has sides of {most} px at most: "
            "use .png."
        )


def write_image(
    path: str | Path,
    image: Image,
    *,
    alpha: UInt8[np.ndarray, "h w"] | None = None,
) -> None:
    """Clips to [0, 255], rounds, and writes the format that the suffix names.

    The file appears whole or not at all; one that was there is replaced.

    Args:
      path: Ends in one of `WRITABLE_SUFFIXES`; its folder exists.
      image: RGB float32 [h w 3], [0, 255].
      alpha: Stored beside the colours, uint8 [h w]; for PNG, WebP and TIFF.

    Raises:
      InputError: Another suffix, a folder that cannot be written to, alpha in a
        format without it, pixels that are not finite, or sides too long for the
        format.
    """
    path = Path(path)
    if path.suffix.lower() not in _FORMATS:
        raise InputError(
            f"{path}: cannot write {path.suffix or 'a name without suffix'}; "
            f"use one of {' '.join(WRITABLE_SUFFIXES)}."
        )
    kind, options = _FORMATS[path.suffix.lower()]
    if alpha is not None and kind in _NO_ALPHA:
        raise InputError(f"{path}: {kind} has no transparency; use .png or .webp.")
    if not np.isfinite(image).all():
        raise InputError(
            f"{path}: not written, the image holds NaN or infinite values; "
            "was the model trained to a finite loss?"
        )
    pixels = np.rint(np.clip(image, 0, 255)).astype(np.uint8)
    if alpha is not None:
        pixels = np.dstack([pixels, alpha])

    try:
        with files.replacing(path) as file:
            pil.fromarray(pixels).save(file, kind, **options)
    except (OSError, ValueError) as error:  # ValueError: sides beyond the format's
        reason = getattr(error, "strerror", None) or error
        raise InputError(
            f"{path}: cannot be written ({reason}); choose a folder that exists, is "
            "writable and has room, and a format that holds "
            f"{pixels.shape[1]} x {pixels.shape[0]} px."
        ) from error


def grid(
    images: Sequence[Float32[np.ndarray, "_ _ 3"]], columns: int, *, gap: int = 4
) -> Float32[np.ndarray, "_ _ 3"]:
    """Images in rows of `columns`, `gap` white pixels apart, row by row.

    Cells have the size of the largest image; smaller ones stand centred on white.
    """
    cell_h = max(image.shape[0] for image in images)
    cell_w = max(image.shape[1] for image in images)
    rows = -(-len(images) // columns)
    columns = min(columns, len(images))
    sheet = np.full(
        (rows * (cell_h + gap) - gap, columns * (cell_w + gap) - gap, 3),
        255,
        np.float32,
    )
    for i, image in enumerate(images):
        height, width, _ = image.shape
        top = i // columns * (cell_h + gap) + (cell_h - height) // 2
        left = i % columns * (cell_w + gap) + (cell_w - width) // 2
        sheet[top : top + height, left : left + width] = image
    return sheet


def resized(image: Image, size: int) -> Float32[np.ndarray, "_ _ 3"]:
    """[h w 3] in [0, 255] with `size` pixels on its long side (Lanczos)."""
    h, w, _ = image.shape
    target = [max(1, round(n * size / max(h, w))) for n in (w, h)]
    picture = pil.fromarray(np.rint(image).astype(np.uint8))
    return np.float32(picture.resize(target, pil.Resampling.LANCZOS))


def labelled(
    image: Float32[np.ndarray, "h w 3"], text: str
) -> Float32[np.ndarray, "_ _ 3"]:
    """The image, unchanged at the top, over its name on white; wider where that is."""
    h, w, _ = image.shape
    size = max(10, min(h, w) // 14)
    font = ImageFont.load_default(size=size)
    width = max(w, math.ceil(font.getlength(text)) + 2)
    strip = pil.new("RGB", (width, 2 * size), "white")
    draw = ImageDraw.Draw(strip)
    draw.text((width / 2, size), text, fill="black", font=font, anchor="mm")
    left = (width - w) // 2
    sheet = np.full((h + 2 * size, width, 3), 255, np.float32)
    sheet[:h, left : left + w] = image
    sheet[h:] = np.asarray(strip)
    return sheet


def find_images(
    path: str | Path, *, suffixes: Sequence[str] = IMAGE_SUFFIXES
) -> list[Path]:
    """Files below a folder whose suffix, in any case, is listed; sorted.

    Goes into subfolders and through links; skips names that start with a dot. A path
    that is a file is returned alone, whatever its suffix.

    Raises:
      InputError: The path does not exist, or the folder holds no such file.
    """
    path = Path(path)
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise InputError(f"{path}: no such file or folder; check the path.")
    found, seen = [], set()
    for folder, folders, names in os.walk(path, followlinks=True):
        real = os.path.realpath(folder)
        # A link to a parent folder would be walked for ever.
        folders[:] = [] if real in seen else [f for f in folders if f[0] != "."]
        if real in seen:
            continue
        seen.add(real)
        found += [
            Path(folder, file)
            for file in names
            if file[0] != "." and file.lower().endswith(tuple(suffixes))
        ]
    if not found:
        raise InputError(
            f"{path}: no images in this folder; names ending in "
            f"{' '.join(suffixes)} count, in subfolders too."
        )
    return sorted(found)


def _open(
    source: str | Path | bytes,
    name: str,
    hint: Callable[[int, int], Sequence[int]] | None,
) -> tuple[pil.Image, pil.Image | None]:
    """(RGB over white, alpha or None); `hint(width, height)` is size enough."""
    try:
        data = source if isinstance(source, bytes) else Path(source).read_bytes()
    except FileNotFoundError:
        raise InputError(f"{name}: no such file; check the path.") from None
    except OSError as error:
        raise InputError(
            f"{name}: cannot be opened ({error.strerror}); give an image file."
        ) from None
    if not data:
        raise InputError(f"{name}: the file is empty (0 bytes); replace it.")
    try:
        with pil.open(io.BytesIO(data)) as picture:
            if hint is not None:
                picture.draft(None, tuple(hint(*picture.size)))
            picture.load()
            return _convert(_upright(picture))
    # Pillow's decoders meet damaged bytes with SyntaxError, struct.error, IndexError
    # and more, by format; whichever it is, the file is the cause.
    except Exception as error:
        reason = _reason(error)
    raise InputError(
        f"{name}: cannot be read as an image ({reason}); replace or convert it."
    )


def _reason(error: Exception) -> str:
    """Why Pillow could not read an image."""
    if isinstance(error, UnidentifiedImageError):
        return "no known image format"
    if isinstance(error, pil.DecompressionBombError | pil.DecompressionBombWarning):
        return f"more than {MAX_PIXELS // 1_000_000} million pixels"
    return " ".join(str(error).split()) or type(error).__name__


def _upright(picture: pil.Image) -> pil.Image:
    try:
        orientation = picture.getexif().get(_ORIENTATION, 1)
    except Exception:  # damaged EXIF says nothing, and the pixels are fine
        orientation = 1
    if orientation not in _UPRIGHT:
        return picture
    return picture.transpose(_UPRIGHT[orientation])


def _convert(picture: pil.Image) -> tuple[pil.Image, pil.Image | None]:
    if picture.mode.startswith("I"):  # "I;16", its byte orders, and 32-bit "I"
        values = np.asarray(picture).astype(np.int64)
        if values.min() < 0 or values.max() > 65535:
            raise ValueError("grey values beyond 16 bits")
        values = np.rint(values / 257).astype(np.uint8)  # 65535 / 255
        return pil.fromarray(values).convert("RGB"), None
    if picture.mode == "F":
        raise ValueError("float pixels, which have no agreed range")
    if not picture.has_transparency_data:
        return picture.convert("RGB"), None
    rgba = picture.convert("RGBA")
    white = pil.new("RGBA", rgba.size, "white")
    alpha = rgba.getchannel("A")
    opaque = alpha.getextrema()[0] == 255
    rgb = pil.alpha_composite(white, rgba).convert("RGB")
    return rgb, None if opaque else alpha
