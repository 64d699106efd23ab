"""Pixels to image files: formats by suffix, whole files or none."""

import math
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from jaxperceptual.core import files
from jaxperceptual.core.errors import InputError
from jaxperceptual.core.host_types import Bytes, Image
from jaxperceptual.images import profiles
from jaxperceptual.images.metadata import Metadata, save_options
from jaxperceptual.images.reading import pil

# A third of the time that zlib takes by itself, for a photo's file 5 % larger.
PNG_LEVEL = 4
_FORMATS = {
    ".jpg": ("JPEG", {"quality": 95}),
    ".jpeg": ("JPEG", {"quality": 95}),
    ".jpe": ("JPEG", {"quality": 95}),
    ".jfif": ("JPEG", {"quality": 95}),
    ".png": ("PNG", {"compress_level": PNG_LEVEL}),
    ".webp": ("WEBP", {"quality": 95}),
    ".bmp": ("BMP", {}),
    ".tif": ("TIFF", {"compression": "tiff_deflate"}),
    ".tiff": ("TIFF", {"compression": "tiff_deflate"}),
}
WRITABLE_SUFFIXES = tuple(_FORMATS)
_NO_ALPHA = ("JPEG", "BMP")
_NO_PROFILE = ("BMP",)
_LONGEST = {"JPEG": 65_500, "WEBP": 16_383}  # px; what their encoders refuse beyond


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
    image: Image | Bytes,
    *,
    alpha: UInt8[np.ndarray, "h w"] | None = None,
    metadata: Metadata | None = None,
    quality: int | None = None,
) -> None:
    """Clips to [0, 255], rounds, and writes the format that the suffix names.

    The file appears whole or not at all; one that was there is replaced. It says that
    its colours are sRGB, but for BMP.

    Args:
      path: Ends in one of `WRITABLE_SUFFIXES`; its folder exists.
      image: RGB float32 [h w 3], [0, 255]; or uint8.
      alpha: Stored beside the colours, uint8 [h w]; for PNG, WebP and TIFF.
      metadata: Kept with it, where the format has room.
      quality: Of JPEG and WebP, 1 to 100; 95 if None. Other formats are exact.

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
    if image.dtype != np.uint8 and not np.isfinite(image).all():
        raise InputError(
            f"{path}: not written, the image holds NaN or infinite values; "
            "was the model trained to a finite loss?"
        )
    picture = _picture(image, alpha)
    options = dict(options)
    if quality is not None and "quality" in options:
        options["quality"] = quality
    if kind not in _NO_PROFILE:
        options["icc_profile"] = profiles.srgb()
    if metadata is not None:
        options |= save_options(metadata, kind, *picture.size)

    try:
        with files.replacing(path) as file:
            picture.save(file, kind, **options)
    # ValueError: sides beyond the format's; RuntimeError: libtiff, on a full disk.
    except (OSError, ValueError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(
            f"{path}: cannot be written ({reason}); choose a folder that exists, is "
            "writable and has room, and a format that holds "
            f"{picture.width} x {picture.height} px."
        ) from error


def to_picture(
    image: Image, *, alpha: UInt8[np.ndarray, "h w"] | None = None
) -> pil.Image:
    """A Pillow image, RGB, or RGBA with an alpha; clipped to [0, 255] and rounded.

    image: What is to be seen over white, as `reading.read_with_alpha` reads.
    """
    picture = _picture(image if alpha is None else without_white(image, alpha), alpha)
    picture.info["icc_profile"] = profiles.srgb()
    return picture


def to_bytes(image: Image) -> Bytes:
    """Clipped to [0, 255] and rounded."""
    return np.rint(np.clip(image, 0, 255)).astype(np.uint8)


def _picture(image, alpha):
    pixels = image if image.dtype == np.uint8 else to_bytes(image)
    return pil.fromarray(pixels if alpha is None else np.dstack([pixels, alpha]))
