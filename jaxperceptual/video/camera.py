"""A camera's pictures, or a video's, stylised in a window as they come.

OpenCV has the camera and the window; what its keys do is `View`, without either.
"""

import functools
import itertools
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from jaxperceptual.core.errors import InputError
from jaxperceptual.images.reading import fit
from jaxperceptual.images.writing import write_image
from jaxperceptual.inference.stylizer import Stylizer

Picture = UInt8[np.ndarray, "h w 3"]  # RGB
PATTERN = "pattern"
_PATTERN_SIZE = (480, 640)
_SHOWN = 960  # px, the width that words are written for
KEYS = (
    ("left right", "style"),
    ("up down", "strength"),
    ("c", "colours of the camera"),
    ("space", "hold"),
    ("s", "snapshot"),
    ("h", "words"),
    ("q", "end"),
)
HELP = ", ".join(f"{key}: {what}" for key, what in KEYS)


class View:
    """What is seen, and what keys change of it.

    styles: of a gallery, those that keys go through; first the stylizer's own.
    folder: where snapshots go, `camera-0001.png` and on.
    """

    def __init__(
        self, stylizer: Stylizer, style: str | None, *, folder: Path, **mixing: Any
    ):
        self.styles = list(stylizer.styles) or [style or ""]
        if style is not None and style not in self.styles:
            self.styles.insert(0, style)  # a mixture
        self.style = style if style is not None else self.styles[0]
        self.strength = mixing.pop("strength", 1.0)
        self.preserve_color = mixing.pop("preserve_color", False)
        self.words, self.held, self.ended = True, False, False
        self.snapshots: list[Path] = []
        self._mixing, self._folder = mixing, folder
        self._stylizer = stylizer
        self._of_style = functools.lru_cache(64)(stylizer.with_style)
        self._last: Picture | None = None

    def __call__(self, frame: Picture) -> Picture:
        """The picture of a frame; the last one while it is held."""
        if self.held and self._last is not None:
            return self._last
        stylizer = self._of_style(self.style) if self._stylizer.styles else None
        output = (stylizer or self._stylizer)(
            frame.astype(np.float32),
            strength=round(self.strength, 2),
            preserve_color=self.preserve_color,
            **self._mixing,
        )
        self._last = np.rint(output.clip(0, 255)).astype(np.uint8)
        return self._last

    def press(self, key: str) -> None:
        """Does what a key says; nothing for keys without a meaning."""
        if key in ("left", "right"):
            step = 1 if key == "right" else -1
            at = self.styles.index(self.style) + step
            self.style = self.styles[at % len(self.styles)]
        elif key in ("up", "down"):
            step = 0.1 if key == "up" else -0.1
            self.strength = min(1.0, max(0.0, self.strength + step))
        elif key == "c":
            self.preserve_color = not self.preserve_color
        elif key == "space":
            self.held = not self.held
        elif key == "h":
            self.words = not self.words
        elif key == "s" and self._last is not None:
            self._snapshot(self._last)
        elif key in ("q", "escape"):
            self.ended = True

    def _snapshot(self, picture):
        numbers = (self._folder / f"camera-{i:04}.png" for i in itertools.count(1))
        path = next(path for path in numbers if not path.exists())
        write_image(path, picture.astype(np.float32))
        self.snapshots.append(path)


def show(view: View, frames: Iterator[Picture], window: Any) -> int:
    """Frames through the view into the window, until either ends; how many."""
    shown, rate, last = 0, 0.0, time.monotonic()
    for frame in frames:
        picture = view(frame)
        now = time.monotonic()
        rate = 0.9 * rate + 0.1 / (now - last) if rate else 1 / max(now - last, 1e-6)
        last = now
        words = f"{view.style}  {round(100 * view.strength)} %  {rate:.1f} frames/s"
        window.show(picture, [words, HELP] if view.words else [])
        shown += 1
        for key in window.keys():
            view.press(key)
        if view.ended:
            break
    return shown


def pattern() -> Iterator[Picture]:
    """A generated picture that moves, without end: in place of a camera."""
    h, w = _PATTERN_SIZE
    y, x = np.mgrid[:h, :w].astype(np.float32)
    for t in itertools.count():
        rings = np.hypot(x - w / 2 - 100 * np.cos(t / 20), y - h / 2) / 9 - t / 3
        bars = (x + y) / 25 + t / 5
        sky = np.broadcast_to(y / h, (h, w))
        channels = [np.sin(rings) / 2 + 0.5, np.cos(bars) / 2 + 0.5, sky]
        yield (255 * np.stack(channels, -1)).astype(np.uint8)


def of_camera(number: int) -> Iterator[Picture]:
    """The camera's newest frame each time: what came meanwhile is dropped.

    Raises InputError for a camera that is not there.
    """
    import cv2

    capture = cv2.VideoCapture(number)
    if not capture.isOpened():
        raise InputError(
            f"--camera {number}: no such camera, or it is in use; try another number, "
            f"or --file VIDEO, or --file {PATTERN}."
        )
    newest: list[Any] = []
    there, ended = threading.Condition(), threading.Event()

    def read():
        while not ended.is_set():
            good, frame = capture.read()
            with there:
                newest[:] = [frame if good else None]
                there.notify()
            if not good:
                return

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    try:
        while True:
            with there:
                there.wait_for(lambda: newest)
                frame = newest.pop()
            if frame is None:
                return
            yield cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
    finally:
        ended.set()
        thread.join(2)
        capture.release()


def of_size(frames: Iterator[Picture], size: int) -> Iterator[Picture]:
    """Frames scaled down to have at most `size` px on the longer side."""
    import cv2

    for frame in frames:
        h, w = frame.shape[:2]
        to = fit(w, h, size)
        if to != (w, h):
            frame = cv2.resize(frame, to, interpolation=cv2.INTER_AREA)
        yield frame


class Window:
    """OpenCV's. Raises InputError where it has none, or there is no screen."""

    _NAMES = {27: "escape", 32: "space", 81: "left", 82: "up", 83: "right", 84: "down"}
    # Of toolkits: Qt and GTK; Windows; macOS.
    _ARROWS = (
        (0xFF51, 0xFF52, 0xFF53, 0xFF54),
        (0x250000, 0x260000, 0x270000, 0x280000),
        (63234, 63232, 63235, 63233),
    )

    def __init__(self, title: str):
        import cv2

        self._cv2, self._title = cv2, title
        try:
            flags = cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO
            cv2.namedWindow(title, flags | cv2.WINDOW_GUI_NORMAL)
        except cv2.error as error:
            raise InputError(
                "OpenCV has no windows here: it is opencv-python-headless, or there is "
                "no screen; pip uninstall opencv-python-headless, then pip install "
                "opencv-python. (bin/serve has a camera in the browser.)"
            ) from error
        self._sized = False

    def show(self, picture: Picture, words: list[str]) -> None:
        """The picture, with lines of words over its lower edge."""
        cv2 = self._cv2
        h, w = picture.shape[:2]
        to = max(w, _SHOWN), round(h * max(w, _SHOWN) / w)
        shown = cv2.resize(picture[..., ::-1], to, interpolation=cv2.INTER_CUBIC)
        if words:
            shown[-26 * len(words) - 8 :] //= 4
        for i, line in enumerate(reversed(words)):
            at, white = (10, to[1] - 12 - 26 * i), (255, 255, 255)
            font = cv2.FONT_HERSHEY_SIMPLEX
            cv2.putText(shown, line, at, font, 0.55, white, 1, cv2.LINE_AA)
        if not self._sized:
            cv2.resizeWindow(self._title, *to)
            self._sized = True
        cv2.imshow(self._title, shown)

    def keys(self) -> Iterator[str]:
        """What was pressed since; "q" once the window is closed."""
        code = self._cv2.waitKeyEx(1)
        if code != -1:
            yield self._name(code)
        visible = self._cv2.WND_PROP_VISIBLE
        if self._cv2.getWindowProperty(self._title, visible) < 1:
            yield "q"

    def _name(self, code):
        for arrows in self._ARROWS:
            if code in arrows:
                return ("left", "up", "right", "down")[arrows.index(code)]
        code &= 0xFF
        return self._NAMES.get(code) or chr(code).lower()

    def close(self) -> None:
        self._cv2.destroyAllWindows()
