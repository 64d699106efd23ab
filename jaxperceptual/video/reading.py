"""Video files to frames: upright, in sRGB's matrix and range, at the size asked for.

Rotation is applied; the matrix and range that a file names are undone (BT.601 below 720
rows where it names none, BT.709 from there on); frames keep their own times. A frame
that cannot be decoded is left out, so that the one before it stays longer, and counted.
"""

import contextlib
import itertools
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from jaxperceptual.core.errors import InputError
from jaxperceptual.images.animations import read_animation
from jaxperceptual.images.reading import fit
from jaxperceptual.video.clips import (
    ANIMATIONS,
    COLORSPACES,
    Clip,
    Frame,
    Sound,
    conversion,
    import_av,
)

_MATRICES = {1: "bt709", 5: "bt601", 6: "bt601", 9: "bt2020", 10: "bt2020"}  # H.273
_FULL_RANGE = 2
_HDR = (16, 18)  # transfers of H.273: PQ, HLG
_SECONDS_BACK = (0, 2, 10, 60)  # that a key frame is looked for, then from the start


class Reader:
    """A video or animation; iterating gives its `Frame`s, and `Sound`s between them.

    path: The file.
    size: Upper bound of the long side in pixels.
    start, duration: Seconds: what comes before, and after, is left out.

    Attributes:
      clip: What holds for all of it.
      lost: Frames that could not be decoded so far.
      notes: What a user would want to know of the file, a line each.

    Raises InputError for a file that is missing, or not a video.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        size: int | None = None,
        start: float = 0.0,
        duration: float | None = None,
    ):
        self._path, self._size = Path(path), size
        self._start, self._duration = start, duration
        self.lost = 0
        self.notes: list[str] = []
        if not self._path.is_file():
            raise InputError(f"{path}: no such file; check the name.")
        self._animated = self._path.suffix.lower() in ANIMATIONS
        if self._animated:
            self._read_animation()
        else:
            self._open()

    def __iter__(self) -> Iterator[Frame | Sound]:
        if self._animated:
            return iter(self._frames)
        return self._decoded()

    def close(self) -> None:
        if not self._animated:
            self._container.close()

    # --- animations ------------------------------------------------------------------

    def _read_animation(self):
        """GIF and WebP, by Pillow, which holds all frames anyway."""
        shown = read_animation(self._path, size=self._size)
        ends = list(itertools.accumulate(ms for _, ms in shown))
        begins = [0, *ends[:-1]]
        start = round(1000 * self._start)
        stop = start + 1000 * (self._duration or 1e9)
        # A frame that is on when it starts is its first.
        kept = [
            (pixels, max(begin, start) - start, min(end, stop) - max(begin, start))
            for (pixels, _), begin, end in zip(shown, begins, ends, strict=True)
            if end > start and begin < stop
        ]
        if not kept:
            raise InputError(
                f"{self._path}: it ends after {ends[-1] / 1000:g} s; start earlier."
            )
        self._frames = [Frame(pixels, time) for pixels, time, _ in kept]
        h, w, _ = kept[0][0].shape
        seconds = sum(ms for _, _, ms in kept) / 1000
        self.clip = Clip(
            height=h,
            width=w,
            rate=Fraction(len(kept) / max(seconds, 1e-3)).limit_denominator(1000),
            time_base=Fraction(1, 1000),
            num_frames=len(kept),
            last_ms=round(kept[-1][2]),
            aspect=Fraction(1),
            matrix="bt709" if h >= 720 else "bt601",
            tags=(2, 2),
        )

    # --- videos ----------------------------------------------------------------------

    def _open(self):
        av = import_av()
        # From 19 on PyAV takes what is not UTF-8 in tags without being told how.
        old = int(av.__version__.partition(".")[0]) < 19
        tags = {"metadata_errors": "replace"} if old else {}
        try:
            self._container = container = av.open(self._path, **tags)
            if not container.streams.video:
                raise InputError(f"{self._path}: no video in it; give a video.")
            self._stream = stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            first = next(container.decode(stream))
            container.close()  # not every format goes back to its start
            self._container = container = av.open(self._path, **tags)
            self._stream = stream = container.streams.video[0]
            stream.thread_type = "AUTO"
        except (av.FFmpegError, StopIteration) as error:
            what = getattr(error, "strerror", "") or "no frame in it"
            raise InputError(
                f"{self._path}: cannot be read as a video ({what}); give a video."
            ) from None
        self._turns = round(first.rotation / 90) % 4  # to the left
        h, w = first.height, first.width
        aspect = stream.sample_aspect_ratio or Fraction(1)
        if self._turns % 2:
            h, w, aspect = w, h, 1 / aspect
        height, width = fit(h, w, self._size)
        rate = stream.average_rate or stream.guessed_rate or Fraction(25)
        if first.color_trc in _HDR:
            self.notes.append("HDR is taken as if it were SDR; colours will look flat")
        names = _MATRICES.get(int(first.colorspace))
        self.clip = Clip(
            height=height,
            width=width,
            rate=rate,
            time_base=stream.time_base,
            num_frames=self._count(rate),
            last_ms=None,
            aspect=aspect,
            matrix=names or ("bt709" if max(h, w) >= 1280 or h >= 720 else "bt601"),
            tags=(int(first.color_primaries), int(first.color_trc)),
            sounds=tuple(container.streams.audio),
        )

    def _count(self, rate):
        """Frames to come, by what the header says."""
        stream = self._stream
        seconds = None
        if stream.duration:
            seconds = float(stream.duration * stream.time_base)
        elif self._container.duration:
            seconds = self._container.duration / 1e6
        if not self._start and self._duration is None and stream.frames:
            return stream.frames
        if seconds is None:
            return None
        if self._start >= seconds:
            raise InputError(
                f"{self._path}: it ends after {seconds:.3g} s; start earlier."
            )
        seconds = min(seconds - self._start, self._duration or seconds)
        return max(1, round(seconds * rate))

    def _decoded(self):
        import av

        stream, base = self._stream, self._stream.time_base
        begin = (stream.start_time or 0) + round(self._start / base)
        stop = None if self._duration is None else begin + self._duration / base
        shift = begin if self._start else 0
        if self._start:
            self._seek(begin)
        demuxed = self._container.demux(stream, *self.clip.sounds)
        step = round(1 / (self.clip.rate * base))
        last, done = -1, False
        # Sound of the same time may lie behind the pictures in the file.
        open_sounds = {sound.index for sound in self.clip.sounds}
        while not done or open_sounds:
            try:
                packet = next(demuxed)
            except StopIteration:
                break
            except av.FFmpegError as error:
                self.notes.append(f"the file ends early ({error.strerror})")
                break
            if packet.stream.index != stream.index:
                if self._wanted(packet, stop):
                    yield Sound(packet)
                elif stop is not None and self._is_later(packet):
                    open_sounds.discard(packet.stream.index)
                continue
            if done:
                continue
            try:
                frames = packet.decode()
            except av.FFmpegError:
                self.lost += 1
                continue
            for frame in frames:
                if frame.is_corrupt:
                    self.lost += 1
                    continue
                time = frame.pts
                if time is None:  # of raw streams
                    time = shift + (last + step if last >= 0 else 0)
                if time < begin and self._start:
                    continue
                if stop is not None and time >= stop:
                    done = True
                    break
                last = max(time - shift, last + 1)
                yield Frame(self._pixels(frame), last)

    def _seek(self, begin):
        """To a key frame before `begin`; a format without an index may land after."""
        import av

        stream, second = self._stream, round(1 / self._stream.time_base)
        first = (stream.start_time or 0) - second
        for target in (*(begin - s * second for s in _SECONDS_BACK), first):
            target = max(first, target)
            self._container.seek(target, stream=stream)
            with contextlib.suppress(av.FFmpegError, StopIteration):
                if (next(self._container.decode(stream)).pts or 0) <= begin:
                    break
        self._container.seek(target, stream=stream)

    def _is_later(self, packet):
        """Whether a packet of sound begins after the part asked for."""
        if packet.pts is None:
            return False
        start = (self._stream.start_time or 0) * self._stream.time_base
        end = self._start + self._duration
        return packet.pts * packet.time_base - start >= end

    def _wanted(self, packet, stop):
        """Whether a packet of sound lies in the part asked for; moved to its start."""
        if packet.dts is None:
            return False
        base, start = packet.time_base, self._stream.start_time or 0
        seconds = packet.pts * base - start * self._stream.time_base
        if seconds < self._start:
            return not self._start  # sound that begins a little before the picture
        if stop is not None and seconds >= self._start + self._duration:
            return False
        if self._start:
            shift = round((start * self._stream.time_base + self._start) / base)
            packet.pts -= shift
            packet.dts -= shift
        return True

    def _pixels(self, frame):
        clip = self.clip
        h, w = clip.height, clip.width
        if self._turns % 2:
            h, w = w, h
        smaller = (h, w) != (frame.height, frame.width)
        coded = {} if frame.format.is_rgb else _coding(frame, clip.matrix)
        rgb = frame.reformat(
            width=w,
            height=h,
            format="rgb24",
            interpolation=conversion(import_av(), "AREA" if smaller else "BICUBIC"),
            dst_color_range="JPEG",
            **coded,
        )
        return np.ascontiguousarray(np.rot90(rgb.to_ndarray(), self._turns))


def _coding(frame, matrix):
    full = frame.color_range == _FULL_RANGE or frame.format.name.startswith("yuvj")
    return {
        "src_colorspace": COLORSPACES[matrix],
        "src_color_range": "JPEG" if full else "MPEG",
    }


def pictures(path: str | Path) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
    """A video's frames alone. Raises InputError as `Reader` does, at once."""
    reader = Reader(path)

    def each():
        try:
            yield from (item.pixels for item in reader if isinstance(item, Frame))
        finally:
            reader.close()

    return each()
