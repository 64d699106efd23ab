"""The persistent cache of compiled programs, from the second start of a command on."""

import os
import subprocess
import sys
import time
import zlib
from pathlib import Path

import jax
import numpy as np
import pytest
from helpers import ROOT
from PIL import Image

from jaxperceptual.core import compilation, memory
from jaxperceptual.core.memory import give_memory_back, give_memory_back_after_compiling

# Its programs are kept; those of `stylize` on an x86 CPU cannot be.
SUPER_RESOLVE = ROOT / "bin" / "super_resolve"


@pytest.fixture
def super_resolve(tmp_path):
    photo = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    Image.fromarray(photo).save(tmp_path / "photo.png")

    inherited = {k: v for k, v in os.environ.items() if "COMPILATION_CACHE" not in k}

    def run(name, **variables):
        """Returns the enlarged photo."""
        done = subprocess.run(
            [sys.executable, SUPER_RESOLVE, "photo.png", "-o", name],
            cwd=tmp_path,
            env=inherited | {"XDG_CACHE_HOME": str(tmp_path / "cache")} | variables,
            capture_output=True,
            text=True,
        )
        assert (done.returncode, done.stderr) == (0, "")
        return np.array(Image.open(tmp_path / name))

    run.cached = lambda: sorted((tmp_path / "cache").rglob("*-cache"))
    return run


@pytest.mark.slow
def test_second_start_compiles_nothing(super_resolve):
    first = super_resolve("first.png")
    cached = super_resolve.cached()
    assert cached
    written = [path.stat().st_mtime_ns for path in cached]
    second = super_resolve("second.png")
    np.testing.assert_array_equal(first, second)
    assert super_resolve.cached() == cached
    assert [path.stat().st_mtime_ns for path in cached] == written


def test_users_settings_and_unwritable_folders_are_respected(tmp_path):
    (tmp_path / "file").write_text("")
    code = "import jax; from jaxperceptual.core import compilation as c; c.use_cache()"
    code += "; print(jax.config.jax_compilation_cache_dir)"
    inherited = {k: v for k, v in os.environ.items() if "COMPILATION_CACHE" not in k}
    for variable, folder, used in (
        ("JAX_COMPILATION_CACHE_DIR", tmp_path / "own", str(tmp_path / "own")),
        ("XDG_CACHE_HOME", tmp_path / "file", "None"),
        ("XDG_CACHE_HOME", tmp_path / "new", str(tmp_path / "new" / "jaxperceptual")),
    ):
        environment = inherited | {variable: str(folder)}
        done = subprocess.run(
            [sys.executable, "-c", code],
            env=environment,
            capture_output=True,
            text=True,
        )
        assert done.stdout.startswith(used), done.stderr


def test_a_full_cache_loses_what_was_not_used_for_longest(tmp_path):
    for i in range(8):
        (tmp_path / f"{i}-cache").write_bytes(bytes(100))
        os.utime(tmp_path / f"{i}-cache", (i, 0))
    compilation.prune(tmp_path, 800)
    assert len(list(tmp_path.iterdir())) == 8
    compilation.prune(tmp_path, 700)  # then three quarters are left
    assert sorted(path.name[0] for path in tmp_path.iterdir()) == list("34567")


def test_what_was_not_written_to_its_end_goes(tmp_path, monkeypatch):
    def written(name, data, ago):
        path = tmp_path / f"{name}-cache"
        path.write_bytes(data)
        os.utime(path, (time.time() - ago,) * 2)

    whole = zlib.compress(b"program" * 100)
    for name, data, ago in (
        ("whole", whole, 60),
        ("cut", whole[:-3], 60),
        ("empty", b"", 60),
        ("being_written", whole[:9], 1),
    ):
        written(name, data, ago)
    names = {"whole-cache", "being_written-cache", "whole"}
    compilation.drop_cut(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == names
    written("old", whole[:9], 600)  # was looked at, by its time
    monkeypatch.setattr(compilation, "_WRITING", 0.5)  # as if 10 s had passed
    compilation.drop_cut(tmp_path)
    names = {"whole-cache", "old-cache", "whole"}
    assert {path.name for path in tmp_path.iterdir()} == names


def test_memory_is_given_back_after_a_long_compilation_only(monkeypatch):
    calls = []
    monkeypatch.setattr(memory, "give_memory_back", lambda: calls.append(1))
    give_memory_back_after_compiling()
    give_memory_back_after_compiling()  # counts once
    for limit, expected in ((1000.0, 0), (0.0, 1)):
        monkeypatch.setattr(memory, "LONG", limit)
        jax.jit(lambda x, limit=limit: x + limit)(np.float32(1))
        assert len(calls) == expected


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_that_is_kept_is_not_asked_for_again():
    code = """
import resource
import numpy as np
from jaxperceptual.core.memory import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.ones(10_000_000)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

new = faults()
keep_freed_memory()
faults()
print(new, faults())
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    new, kept = map(int, done.stdout.split())
    assert kept < new / 10


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_given_back_is_the_systems():
    def resident():
        return int(Path("/proc/self/statm").read_text().split()[1])  # pages

    kept = [b"x" * (1000 + i % 9) for i in range(200_000)]
    del kept[:-1]  # the last is in use, at the top of the heap
    before = resident()
    give_memory_back()
    assert before - resident() > 100_000_000 // os.sysconf("SC_PAGE_SIZE")
