"""The persistent cache of compiled programs, from the second start of a command on."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

STYLIZE = Path(__file__).parents[1] / "bin" / "stylize"


@pytest.fixture
def stylize(tmp_path):
    photo = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    Image.fromarray(photo).save(tmp_path / "photo.png")

    inherited = {k: v for k, v in os.environ.items() if "COMPILATION_CACHE" not in k}

    def run(name, **variables):
        """Returns the stylised photo."""
        done = subprocess.run(
            [sys.executable, STYLIZE, "photo.png", "-o", name],
            cwd=tmp_path,
            env=inherited | {"XDG_CACHE_HOME": str(tmp_path / "cache")} | variables,
            capture_output=True,
            text=True,
        )
        assert (done.returncode, done.stderr) == (0, "")
        return np.array(Image.open(tmp_path / name))

    run.cached = lambda: sorted((tmp_path / "cache").rglob("*-cache"))
    return run


def test_second_start_compiles_nothing(stylize):
    first = stylize("first.png")
    cached = stylize.cached()
    assert cached
    written = [path.stat().st_mtime_ns for path in cached]
    second = stylize("second.png")
    np.testing.assert_array_equal(first, second)
    assert stylize.cached() == cached
    assert [path.stat().st_mtime_ns for path in cached] == written


def test_users_settings_and_unwritable_folders_are_respected(stylize, tmp_path):
    stylize("a.png", JAX_COMPILATION_CACHE_DIR=str(tmp_path / "own"))
    assert list((tmp_path / "own").glob("*-cache")) and not stylize.cached()
    (tmp_path / "file").write_text("")
    stylize("b.png", XDG_CACHE_HOME=str(tmp_path / "file"))
