"""The camera's window: keys, snapshots, what is shown; and a real one, if there is."""

import itertools
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from helpers import ROOT, Command, write_gallery
from PIL import Image

from jaxperceptual.core.errors import InputError
from jaxperceptual.images.reading import read_image
from jaxperceptual.inference.stylizer import Stylizer
from jaxperceptual.networks import pretrained
from jaxperceptual.video import camera

cv2 = pytest.importorskip("cv2")
STYLES = {"wave": {}, "dots": {}, "lines": {}}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / pretrained.FILE_NAME
    return write_gallery(path, STYLES)


class Window:
    """Remembers what is shown; presses what it is told, a frame each."""

    def __init__(self, presses):
        self.presses, self.shown, self.words = list(presses), [], []

    def show(self, picture, words):
        self.shown.append(picture)
        self.words.append(words)

    def keys(self):
        return self.presses.pop(0) if self.presses else []

    def close(self):
        pass


def frames(num):
    few = itertools.islice(camera.pattern(), num)
    return list(camera.of_size(few, 48))


def test_keys_change_what_is_seen(model, tmp_path):
    view = camera.View(
        Stylizer.from_pretrained(model, style="wave"), "wave", folder=tmp_path
    )
    window = Window([["right"], ["left", "left"], ["down", "c"], ["space"], ["s", "h"]])
    given = frames(6)
    assert camera.show(view, iter(given), window) == 6
    looks = [("wave", {}), ("dots", {}), ("lines", {})]
    looks += [("lines", dict(strength=0.9, preserve_color=True))] * 1
    for frame, shown, (style, mixing) in zip(given, window.shown, looks, strict=False):
        of_style = Stylizer.from_pretrained(model, style=style)
        expected = of_style(frame.astype(np.float32), **mixing)
        assert np.abs(np.int16(shown) - expected).max() <= 0.51
    # Held: the same picture, which the snapshot is too.
    assert (window.shown[4] == window.shown[3]).all()
    (path,) = view.snapshots
    assert path.name == "camera-0001.png"
    np.testing.assert_array_equal(read_image(path), window.shown[3])
    assert "lines  90 %" in window.words[4][0] and "q: end" in window.words[4][1]
    assert window.words[5] == []
    view.press("s")
    assert view.snapshots[1].name == "camera-0002.png"


def test_it_ends_by_a_key_and_strength_has_ends(model, tmp_path):
    stylizer = Stylizer.from_pretrained(model, style="wave:1,dots:1")
    view = camera.View(stylizer, "wave:1,dots:1", folder=tmp_path, strength=0.95)
    assert view.styles == ["wave:1,dots:1", *STYLES]
    window = Window([["up", "up"], ["down"] * 30, ["q"]])
    assert camera.show(view, camera.of_size(camera.pattern(), 32), window) == 3
    np.testing.assert_array_equal(window.shown[2], frames_of(32, 3)[2])
    assert view.strength == 0


def frames_of(size, num):
    return list(camera.of_size(itertools.islice(camera.pattern(), num), size))


def test_a_file_in_place_of_a_camera(model, tmp_path, monkeypatch, capsys):
    first, *rest = (Image.fromarray(frame) for frame in frames(4))
    clip = tmp_path / "clip.gif"
    first.save(clip, save_all=True, append_images=rest, duration=50)
    made = Window([["s"]])
    monkeypatch.setattr(camera, "Window", lambda title: made)
    run = Command("stylize_camera")
    argv = [f"--model={model}", "--style=dots", f"-o={tmp_path}"]
    run("--file", clip, *argv)
    assert len(made.shown) == 4
    out = capsys.readouterr().out
    assert out == f"{tmp_path / 'camera-0001.png'}\n4 frames\n"
    run("--file", "pattern", *argv, "--frames=2", "--size=64")
    assert made.shown[-1].shape == (48, 64, 3)


def test_errors_are_a_line(model, tmp_path, monkeypatch):
    run = Command("stylize_camera")
    with pytest.raises(InputError, match="-o .*none: no such folder"):
        run("--file=pattern", f"-o={tmp_path / 'none'}")
    with monkeypatch.context() as without:
        without.setitem(sys.modules, "cv2", None)
        with pytest.raises(InputError, match="cv2 is missing; pip install av opencv"):
            run("--file=pattern")
    if "GUI:                           NONE" in cv2.getBuildInformation():
        with pytest.raises(InputError, match="no windows here: .*-headless"):
            run("--file=pattern")
    monkeypatch.setattr(camera, "Window", lambda title: Window([]))
    with pytest.raises(InputError, match="nothing.mp4: no such file"):
        run("--file=nothing.mp4", f"--model={model}", "--style=wave")
    with pytest.raises(InputError, match="--camera 99: no such camera.*--file"):
        run("--camera=99", f"--model={model}", "--style=wave")


@pytest.mark.slow
def test_in_a_real_window(model, tmp_path):
    """With an OpenCV that has windows, on a screen that nobody sees."""
    if "GUI:                           NONE" in cv2.getBuildInformation():
        pytest.skip("opencv-python-headless")
    tools = [shutil.which(name) for name in ("xvfb-run", "xdotool")]
    if None in tools:
        pytest.skip("no Xvfb, or no xdotool")
    command = [ROOT / "bin/stylize_camera", "--file=pattern", f"--model={model}"]
    command += ["--style=wave", "--size=160", f"-o={tmp_path}", "--frames=4000"]
    keys = (
        "for i in $(seq 300); do xdotool search --name jaxperceptual && break; "
        "sleep 0.2; done; sleep 3; xdotool search --name jaxperceptual windowfocus; "
        "xdotool key Right; sleep 1; xdotool key s; sleep 1; xdotool key q"
    )
    script = f"({keys}) & {' '.join(map(str, [sys.executable, *command]))}; echo $?"
    done = subprocess.run(
        [tools[0], "-a", "sh", "-c", script],
        capture_output=True,
        text=True,
        timeout=180,
        env=os.environ | {"QT_LOGGING_RULES": "*=false"},
    )
    assert done.stdout.splitlines()[-1] == "0", done.stderr
    assert f"{tmp_path / 'camera-0001.png'}" in done.stdout
    assert read_image(tmp_path / "camera-0001.png").shape == (120, 160, 3)
