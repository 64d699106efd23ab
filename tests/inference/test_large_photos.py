"""Photos of hundreds of megapixels, by the commands, from file to file."""

import os
import re
import subprocess
import sys

import numpy as np
import pytest
from helpers import ROOT
from PIL import Image
from skimage import data

from jaxperceptual.inference.restorer import Restorer
from jaxperceptual.inference.stylizer import Stylizer

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(os, "wait4"), reason="peak memory is a Unix matter"),
]
MOST = 8_000_000_000  # bytes
PERIOD = 1024


def mosaic(h, w):
    """A photo beside, above and below its mirror images, as often as it takes."""
    one = data.astronaut()
    row = np.concatenate((one, one[:, ::-1]), axis=1)
    block = np.concatenate((row, row[::-1]))
    tiles = (-(-h // PERIOD), -(-w // PERIOD), 1)
    return np.tile(block, tiles)[:h, :w]


def ran(folder, *command):
    """Peak memory of a command in bytes, and what it said."""
    said = folder / "said.txt"
    with said.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "jaxperceptual", *command],
            cwd=folder,
            stderr=file,
            env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT)},
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)  # waited for already
    assert process.returncode == 0, said.read_text()
    return 1024 * usage.ru_maxrss, said.read_text()


@pytest.fixture(autouse=True)
def larger_than_pillow_allows(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)


@pytest.mark.parametrize("side", [4096, 16384])
def test_stylised_in_strips(side, tmp_path):
    """Where a photo repeats itself, its statistics are those of one repetition."""
    Image.fromarray(mosaic(side, side)).save(tmp_path / "photo.png", compress_level=1)
    peak, said = ran(tmp_path, "stylize", "photo.png", "-o=out.png", "--tile=1448")
    print(f"{side} x {side} px: {peak / 1e9:.2f} GB")
    assert peak < MOST
    if side > 4096:  # else it is done before the first line is due
        assert re.search(r"\d+ of \d+ \w+, ", said), said
    small = Stylizer.from_pretrained()(mosaic(2 * PERIOD, 2 * PERIOD).astype("f"))
    middle = slice(PERIOD // 2, 3 * PERIOD // 2)
    with Image.open(tmp_path / "out.png") as picture:
        assert picture.size == (side, side)
        found = np.asarray(picture)
    for start in (PERIOD // 2, side // 2 + PERIOD // 2, side - 3 * PERIOD // 2):
        rows = slice(start, start + PERIOD)
        for columns in (middle, rows):
            different = np.abs(found[rows, columns] - small[middle, middle])
            print(different.mean(), different.max())
            assert different.mean() < 1 and different.max() < 16


def test_enlarged_in_bands(tmp_path):
    h, w, scale, margin = 9000, 9000, 4, 64
    photo = mosaic(h, w)
    Image.fromarray(photo).save(tmp_path / "photo.png", compress_level=1)
    peak, said = ran(tmp_path, "super_resolve", "photo.png", "-o=out.png")
    print(f"{w} x {h} px: {peak / 1e9:.2f} GB")
    assert peak < MOST
    assert re.search(r"\d+ of \d+ \w+, ", said), said
    restorer = Restorer.from_pretrained(factor=scale)
    with Image.open(tmp_path / "out.png") as picture:
        assert picture.size == (scale * w, scale * h)
        for y, x in ((0, 0), (4321, 8700), (8700, 100), (5000, 5000)):
            seen = photo[max(0, y - margin) : y + 300 + margin]
            seen = seen[:, max(0, x - margin) : x + 300 + margin]
            alone = restorer(seen.astype(np.float32))
            top, left = scale * min(y, margin), scale * min(x, margin)
            alone = alone[top : top + 1200, left : left + 1200]
            part = picture.crop((4 * x, 4 * y, 4 * x + 1200, 4 * y + 1200))
            assert np.abs(np.asarray(part) - alone).max() < 1.01
