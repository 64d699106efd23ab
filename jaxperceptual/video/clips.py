"""What a moving picture is, whichever library reads it."""

from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt8

from jaxperceptual.core.errors import InputError

ANIMATIONS = (".gif", ".webp")
VIDEOS = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi")


class Frame(NamedTuple):
    """A picture, and when it is shown: `time` in units of `Clip.time_base`."""

    pixels: UInt8[np.ndarray, "h w 3"]
    time: int


class Sound(NamedTuple):
    """A packet of sound, to be copied as it is."""

    packet: Any


class Clip(NamedTuple):
    """What holds for a whole moving picture.

    Attributes:
      height, width: In pixels, as frames come: upright, no larger than asked for.
      rate: Frames/s, on average.
      time_base: Seconds, the unit of times; the frames' own, so that they stay exact.
      num_frames: How many come, about; None where nothing tells.
      last_ms: How long an animation's last frame is shown, None for a video.
      aspect: The width of a pixel over its height.
      matrix: "bt601", "bt709" or "bt2020": how the colours are coded (H.273).
      tags: Of H.273: primaries, transfer; as the file has them.
      sounds: The streams of sound, to be copied.
    """

    height: int
    width: int
    rate: Fraction
    time_base: Fraction
    num_frames: int | None
    last_ms: int | None
    aspect: Fraction
    matrix: str
    tags: tuple[int, int]
    sounds: tuple = ()


def import_av():
    """PyAV. Raises InputError with the way to get it where it is not installed."""
    try:
        import av
    except ImportError:
        raise InputError(
            "PyAV is not installed; pip install 'jaxperceptual[video]'."
        ) from None
    # What ffmpeg says of a damaged file is counted and told by `reading` instead.
    av.logging.set_level(None)
    return av


def conversion(av, scaling: str = "BICUBIC"):
    """How FFmpeg converts colours: without its default's bias of up to 2 levels."""
    how = av.video.reformatter.Interpolation
    exact = how.ACCURATE_RND | how.FULL_CHR_H_INT | how.FULL_CHR_H_INP
    return how[scaling] | exact


COLORSPACES = {"bt601": "ITU601", "bt709": "ITU709", "bt2020": "BT2020"}  # PyAV's names
