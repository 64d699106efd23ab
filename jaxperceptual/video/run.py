"""A video through a Stylizer: decoded, stylised and encoded in threads of their own."""

import os
import queue
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxperceptual.core.errors import InputError
from jaxperceptual.core.memory import enough_memory
from jaxperceptual.core.progress import Bar
from jaxperceptual.core.signals import stop_signals
from jaxperceptual.images.mixing import mix
from jaxperceptual.inference.stylizer import Stylizer, scaled
from jaxperceptual.video.clips import Frame
from jaxperceptual.video.reading import Reader
from jaxperceptual.video.steady import MotionFinder, Steady, has_flow
from jaxperceptual.video.writing import Writer, writing

_WAITING = 8  # frames, or packets of sound, between two threads
# Niceness of the threads beside the network, all of whose cores wait for its slowest;
# they find time while it waits for a frame.
_NICE = 10
_END = object()


class Done(NamedTuple):
    """What became of a video."""

    num_frames: int
    seconds: float  # from when the network was ready
    lost: int
    interrupted: bool
    notes: list[str]


def stylize_video(
    stylizer: Stylizer,
    source: Reader,
    target: Path,
    *,
    strength: float = 1.0,
    preserve_color: bool = False,
    style_scale: float = 1.0,
    steady: bool = True,
    codec: str | None = None,
    crf: int | None = None,
) -> Done:
    """Writes `target`: the frames stylised, their times and sound as they were.

    A first SIGINT or SIGTERM ends it early, with what is done in a file that plays.

    Raises InputError for what cannot be written, or does not fit into memory.
    """
    clip = source.clip
    if steady and has_flow():
        import cv2

        cv2.setNumThreads(1)  # the network has the cores
    with writing(target, clip, codec=codec, crf=crf) as writer, stop_signals() as stop:
        read = _Thread(_read(source, steady, stop))
        written = _Finisher(writer, steady, strength, preserve_color)
        with Bar(total=clip.num_frames, unit="frame") as bar:
            try:
                with enough_memory(
                    f"a frame of {clip.width} x {clip.height} px", "a smaller --size"
                ):
                    size = scaled(clip.height, clip.width, style_scale)
                    if strength > 0:
                        stylizer.warm_up(*size)
                    began = time.perf_counter()
                    for item, motion in read:
                        output = None
                        if isinstance(item, Frame):
                            output = item.pixels.astype(np.float32)
                            if strength > 0:
                                output = stylizer(output, style_scale=style_scale)
                            bar.update()
                        written.put((item, motion, output))
            finally:
                read.stop()
                written.end()
        written.result()
    seconds = time.perf_counter() - began
    notes = [*source.notes, *writer.notes]
    return Done(writer.num_frames, seconds, source.lost, bool(stop), notes)


def _read(source, steady, stop) -> Iterator[tuple[Any, Any]]:
    find = MotionFinder() if steady else lambda pixels: None
    for item in source:
        if stop:
            return
        yield item, find(item.pixels) if isinstance(item, Frame) else None


class _Thread:
    """Draws from an iterator in a thread, some items ahead; its errors are raised."""

    def __init__(self, items: Iterator):
        self._items = items
        self._queue: queue.Queue = queue.Queue(_WAITING)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        _network_first()
        try:
            for item in self._items:
                self._put(item)
                if self._stopped.is_set():
                    return
            self._put(_END)
        except BaseException as error:  # raised where it is waited for
            self._put(error)

    def _put(self, item):
        while not self._stopped.is_set():
            try:
                return self._queue.put(item, timeout=0.1)
            except queue.Full:
                continue

    def __iter__(self):
        while (item := self._queue.get()) is not _END:
            if isinstance(item, BaseException):
                raise item
            yield item

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()


class _Finisher:
    """Steadies, mixes and encodes in a thread; the first error is raised to `put`."""

    def __init__(
        self, writer: Writer, steady: bool, strength: float, preserve_color: bool
    ):
        self._writer = writer
        self._steady = Steady() if steady and strength > 0 else None
        self._mixing = dict(strength=strength, preserve_color=preserve_color)
        self._queue: queue.Queue = queue.Queue(_WAITING)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        _network_first()
        while (item := self._queue.get()) is not _END:
            if self._error is not None:
                continue  # the queue is emptied, so that nobody waits
            try:
                self._finish(*item)
            except BaseException as error:
                self._error = error

    def _finish(self, item, motion, output):
        if output is not None:
            if self._steady is not None:
                output = self._steady(output, motion)
            photo = item.pixels.astype(np.float32)
            output = mix(photo, output, **self._mixing)
            item = item._replace(pixels=np.rint(output).astype(np.uint8))
        self._writer.write(item)

    def put(self, item) -> None:
        self.result()
        self._queue.put(item)

    def end(self) -> None:
        """Waits for all that was put."""
        self._queue.put(_END)
        self._thread.join()

    def result(self) -> None:
        """Raises what went wrong in the thread."""
        if self._error is None:
            return
        if isinstance(self._error, OSError):
            what = self._error.strerror or self._error
            raise InputError(f"the video cannot be written: {what}.") from self._error
        raise self._error


def _network_first():
    """Gives other threads the cores before this one; Linux alone has that."""
    if sys.platform == "linux":
        own = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), own + _NICE)


def tell(done: Done, target: Path, prog: str) -> None:
    """What a user wants to know, on stderr."""
    for note in done.notes:
        print(f"{prog}: note: {note}", file=sys.stderr)
    if done.lost:
        print(
            f"{prog}: note: {done.lost} frames could not be decoded; the ones before "
            "them stay longer",
            file=sys.stderr,
        )
    if done.interrupted:
        print(
            f"{prog}: interrupted after {done.num_frames} frames; {target} has these",
            file=sys.stderr,
        )
