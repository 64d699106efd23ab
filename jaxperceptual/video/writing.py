"""Frames to a video file with its sound, or to an animation."""

import contextlib
import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from jaxperceptual.core import files
from jaxperceptual.core.errors import InputError
from jaxperceptual.images.animations import write_animation
from jaxperceptual.video.clips import (
    ANIMATIONS,
    COLORSPACES,
    VIDEOS,
    Clip,
    Frame,
    Sound,
    conversion,
    import_av,
)

CODECS = {".webm": "libvpx-vp9"}  # else H.264
CRF = {"libx264": 18, "libx265": 22, "libvpx-vp9": 28, "libsvtav1": 28}
_FORMATS = {
    ".m4v": "mp4",
    ".mkv": "matroska",
    **{suffix: suffix[1:] for suffix in (".mp4", ".mov", ".webm", ".avi")},
}
_TAGS = {"bt601": 6, "bt709": 1, "bt2020": 9}  # H.273
_LIMITED_RANGE = 1


class Writer:
    """What takes `Frame`s and `Sound`s in the order in which they are shown.

    Attributes:
      notes: What a user would want to know, a line each.
      num_frames: Written so far.
    """

    def __init__(self):
        self.notes: list[str] = []
        self.num_frames = 0

    def write(self, item: Frame | Sound) -> None: ...

    def finish(self) -> None: ...

    def close(self) -> None: ...


@contextlib.contextmanager
def writing(
    path: Path, clip: Clip, *, codec: str | None = None, crf: int | None = None
) -> Iterator[Writer]:
    """A `Writer`; the file appears when the block ends without an error.

    codec: An encoder of FFmpeg's; by the suffix if None.
    crf: The encoder's quality, lower is better; its own scale.

    Raises InputError for a suffix, codec or crf that cannot be, and if no frame came.
    """
    check_target(path)
    with files.replacing(path) as file:
        if path.suffix.lower() in ANIMATIONS:
            if codec or crf is not None:
                raise InputError(f"{path.suffix}: has no --codec or --crf; leave it.")
            writer = _Animation(file, path.suffix.lower(), clip)
        else:
            writer = _Video(file, path, clip, codec, crf)
        try:
            yield writer
            writer.finish()
        finally:
            writer.close()
        if not writer.num_frames:
            raise InputError(f"{path}: not a single frame to write.")


def check_target(path: Path) -> None:
    """InputError for a file name that tells no format that is written."""
    if path.suffix.lower() not in (*VIDEOS, *ANIMATIONS):
        raise InputError(
            f"-o {path}: not a format that is written; "
            f"use one of {' '.join((*VIDEOS, *ANIMATIONS))}."
        )


class _Animation(Writer):
    """All frames are kept in memory until the end: Pillow wants them together."""

    def __init__(self, file, suffix, clip):
        super().__init__()
        self._file, self._suffix, self._clip = file, suffix, clip
        self._frames: list[Frame] = []

    def write(self, item):
        if isinstance(item, Frame):
            self._frames.append(item)
            self.num_frames += 1

    def finish(self):
        if not self._frames:
            return
        base = self._clip.time_base
        times = [round(1000 * frame.time * base) for frame in self._frames]
        last = self._clip.last_ms or round(1000 / self._clip.rate)
        shown = [b - a for a, b in itertools.pairwise([*times, times[-1] + last])]
        pixels = [frame.pixels for frame in self._frames]
        write_animation(self._file, pixels, shown, self._suffix)


class _Video(Writer):
    def __init__(self, file, path, clip, codec, crf):
        super().__init__()
        self._av = import_av()
        self._file, self._suffix, self._clip = file, path.suffix.lower(), clip
        codec = codec or CODECS.get(self._suffix, "libx264")
        most = 51 if codec.startswith("libx26") else 63
        if crf is not None and not 0 <= crf <= most:
            raise InputError(f"--crf {crf}: {codec} has 0 (best) to {most}.")
        options = {"crf": str(CRF.get(codec, 20) if crf is None else crf)}
        if codec == "libx264":
            options["preset"] = "veryfast"  # the network has the cores
        if codec == "libvpx-vp9":
            options |= {"b:v": "0", "deadline": "good", "cpu-used": "4", "row-mt": "1"}
        if self._suffix == ".avi":
            options["bf"] = "0"  # it has no place for an order of decoding
        self._begin(codec, options, clip.sounds)
        if crf is not None and "crf" in self._stream.codec_context.options:
            self._discard()
            raise InputError(f"--crf {crf}: {codec} has none; leave it off.")

    def _begin(self, codec: str, options: dict[str, str], sounds) -> None:
        """Opens the file, with the sounds that its format has a place for."""
        av, clip = self._av, self._clip
        self._container = av.open(self._file, "w", format=_FORMATS[self._suffix])
        self._sounds = {}
        try:
            stream = self._container.add_stream(codec, rate=clip.rate, options=options)
            # Of the frames' own times: what is uneven stays so.
            stream.codec_context.time_base = clip.time_base
            # 4:2:0 has one colour for two by two pixels: of an odd side the last twice.
            stream.width = clip.width + clip.width % 2
            stream.height = clip.height + clip.height % 2
            stream.pix_fmt = "yuv420p"
            context = stream.codec_context
            context.sample_aspect_ratio = clip.aspect
            context.colorspace = _TAGS[clip.matrix]
            context.color_range = _LIMITED_RANGE
            context.color_primaries, context.color_trc = clip.tags
            context.open()
            self._stream = stream
            for sound in sounds:
                name = sound.codec_context.name
                if name.startswith("pcm") and _FORMATS[self._suffix] == "mp4":
                    # FFmpeg takes it, and may fail when all is written.
                    self._leave_out(sound, ValueError("MP4 has none; use .mov, .mkv"))
                    continue
                try:
                    made = self._container.add_stream_from_template(sound)
                except (av.FFmpegError, ValueError) as error:
                    self._leave_out(sound, error)
                else:
                    self._sounds[sound.index] = made
            # Some formats refuse a sound only when their header is written.
            self._container.start_encoding()
        except (av.FFmpegError, ValueError, TypeError) as error:
            self._discard()
            if self._sounds:
                for sound in sounds:
                    if sound.index in self._sounds:
                        self._leave_out(sound, error)
                self._begin(codec, options, ())
                return
            raise InputError(
                f"--codec {codec}, crf {options['crf']}, {clip.width} x {clip.height} "
                f"px in {self._suffix}: {_reason(error)}; choose another codec."
            ) from None

    def _leave_out(self, sound, error: Exception) -> None:
        name = sound.codec_context.name
        self.notes.append(f"its sound ({name}) is left out: {_reason(error)}")

    def _discard(self) -> None:
        """Closes a file of which nothing is to be kept."""
        with contextlib.suppress(self._av.FFmpegError):
            self._container.close()
        self._file.seek(0)
        self._file.truncate()

    def write(self, item):
        if isinstance(item, Sound):
            sound = self._sounds.get(item.packet.stream.index)
            if sound is not None:
                item.packet.stream = sound
                self._container.mux(item.packet)
            return
        clip = self._clip
        pixels = item.pixels
        odd = [(0, side % 2) for side in pixels.shape[:2]]
        if clip.height % 2 or clip.width % 2:
            pixels = np.pad(pixels, (*odd, (0, 0)), mode="edge")
        av = self._av
        frame = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(
            format="yuv420p",
            src_color_range="JPEG",
            dst_color_range="MPEG",
            interpolation=conversion(av),
            dst_colorspace=COLORSPACES[clip.matrix],
        )
        frame.pts, frame.time_base = item.time, clip.time_base
        self._container.mux(self._stream.encode(frame))
        self.num_frames += 1

    def finish(self):
        if self.num_frames:
            self._container.mux(self._stream.encode())

    def close(self):
        self._container.close()


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
