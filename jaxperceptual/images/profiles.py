"""Colour profiles: what a file's pixels mean, to sRGB and no further."""

import functools
import io

import numpy as np
from PIL import Image as pil, ImageCms

_DATE = slice(24, 36)  # of a profile's header, when it was made
_FLAGS = ImageCms.Flags.BLACKPOINTCOMPENSATION


def to_srgb(picture: pil.Image, profile: bytes | None) -> pil.Image:
    """RGB, by the picture's profile where it has one that fits (relative colorimetric).

    A profile that is damaged, or of another kind of colour, is as none.
    """
    if picture.mode in ("1", "P", "PA", "LA", "La", "YCbCr"):
        picture = picture.convert("L" if picture.mode in ("1", "LA", "La") else "RGB")
    if not profile or (picture.mode == "RGB" and _is_srgb(profile)):
        return picture.convert("RGB")
    try:
        found = ImageCms.profileToProfile(
            picture,
            ImageCms.ImageCmsProfile(io.BytesIO(profile)),
            ImageCms.createProfile("sRGB"),
            renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
            outputMode="RGB",
            flags=_FLAGS,
        )
    except (OSError, ValueError, ImageCms.PyCMSError):
        return picture.convert("RGB")
    return found.convert("RGB")


@functools.lru_cache(64)
def _is_srgb(profile: bytes) -> bool:
    """Whether it changes no colour by more than a rounding: most say sRGB of sRGB."""
    ramp = np.linspace(0, 255, 9).astype(np.uint8)
    cube = np.stack(np.meshgrid(ramp, ramp, ramp), -1).reshape(27, 27, 3)
    try:
        found = ImageCms.profileToProfile(
            pil.fromarray(cube),
            ImageCms.ImageCmsProfile(io.BytesIO(profile)),
            ImageCms.createProfile("sRGB"),
            renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
            outputMode="RGB",
            flags=_FLAGS,
        )
    except (OSError, ValueError, ImageCms.PyCMSError):
        return True
    change = np.asarray(found).astype(int) - cube.astype(int)
    return bool(abs(change).max() <= 1)


@functools.cache
def srgb() -> bytes:
    """The profile that what is written has; the same bytes in every process."""
    made = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    made[_DATE] = b"\x07\xea\x00\x01\x00\x01\x00\x00\x00\x00\x00\x00"  # 2026-01-01
    return bytes(made)
