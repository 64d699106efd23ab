"""The project's own style image: what is committed is what its program draws."""

import importlib.util
import subprocess
import sys

import numpy as np
import pytest
from helpers import ROOT
from PIL import Image

STYLES = ROOT / "configs" / "styles"
PROGRAM = STYLES / "draw_cubist.py"


@pytest.fixture(scope="module")
def draw():
    spec = importlib.util.spec_from_file_location("draw_cubist", PROGRAM)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.draw


def run(*flags):
    command = [sys.executable, str(PROGRAM), *map(str, flags)]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.mark.slow
def test_committed_image_is_what_the_program_draws(draw):
    path = STYLES / "cubist.png"
    with Image.open(path) as image:
        assert (image.format, image.mode, image.size) == ("PNG", "RGB", (512, 512))
        committed = np.asarray(image).astype(int)
    assert path.stat().st_size < 500_000
    # Another sine or polygon filler may move a rounding or an edge here and there.
    off = np.abs(committed - draw().astype(int)).max(-1)
    assert np.mean(off > 0) < 0.01
    assert off.mean() < 0.1


def test_uses_its_whole_palette(draw):
    image = draw(size=128).astype(int)
    ink = np.mean(image.sum(-1) < 150)
    assert 0.08 < ink < 0.35  # bold outlines, yet not a dark picture
    red, green, blue = np.moveaxis(image, -1, 0)
    masses = {
        "vermilion": (red > 180) & (green < 110) & (blue < 90),
        "ochre": (red > 190) & (green > 120) & (blue < 120),
        "cream": image.min(-1) > 180,
        "viridian": (green > red + 40) & (green > blue + 10),
        "blue": (blue > red + 60) & (blue > green + 30),
    }
    assert min(np.mean(mass) for mass in masses.values()) > 0.02


def test_same_seed_same_file_and_another_seed_another(tmp_path):
    for name, seed in ("a", 3), ("b", 3), ("c", 4):
        done = run("--seed", seed, "--size", 64, "-o", tmp_path / f"{name}.png")
        assert (done.returncode, done.stderr) == (0, "")
    a, b, c = ((tmp_path / f"{name}.png").read_bytes() for name in "abc")
    assert a == b != c
    assert len(list(tmp_path.iterdir())) == 3  # and no unfinished file


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--seed", "-1"], "--seed=-1"),
        (["--size", "8"], "--size=8"),
        (["--size", "big"], "'big'"),
        (["-o", "cubist.jpg"], "cubist.jpg"),
        (["--size", "64", "-o", "no_such_folder/a.png"], "no_such_folder"),
    ],
)
def test_bad_flags_are_one_line(flags, said):
    done = run(*flags)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1 and said in done.stderr
