"""Training on a machine that fails: killed, a disk that fills, photos that go.

Whatever happens, what is on disk is whole, and the same command continues.
"""

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest
from helpers import ROOT, Command, noise_photos
from PIL import Image

from jaxperceptual.core.errors import InputError
from jaxperceptual.networks.model_file import read_model
from jaxperceptual.training import run as training_run
from jaxperceptual.training.checkpoints import Checkpoints
from jaxperceptual.training.step import TrainState

# Of what else orbax was writing when the disk was full.
pytestmark = pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)
run = Command("train")
STEPS = 40
SMOKE = [
    "--config=smoke.py",
    f"--config.num_steps={STEPS}",
    "--config.checkpoint_every_steps=1",
    "--config.sample_every_steps=10",
    "--config.data.num_workers=0",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    noise_photos(folder)
    return folder


def weights_of(workdir):
    return jax.tree.leaves(read_model(workdir).variables)


def assert_whole(workdir):
    """No file under a final name is half written."""
    if (workdir / "model.safetensors").exists():
        assert read_model(workdir).trained.steps > 0
    for path in workdir.glob("samples/step_*.png"):
        Image.open(path).load()


@pytest.mark.slow
def test_killed_20_times_it_ends_as_if_never(folder, tmp_path):
    command = [*SMOKE, f"--data={folder}", "--config.num_steps=150"]
    assert run(*command, f"--workdir={tmp_path / 'whole'}") == 0
    workdir, kills = tmp_path / "killed", 0
    rng = random.Random(0)
    while kills < 20:
        process = subprocess.Popen(
            [sys.executable, ROOT / "bin" / "train", *command, f"--workdir={workdir}"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )
        # From the first step on, which may be in the middle of a checkpoint.
        for line in process.stdout:
            if line.startswith("step "):
                break
        else:
            raise AssertionError(f"it ended after {kills} kills")
        time.sleep(rng.uniform(0, 0.5))
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        kills += 1
        assert_whole(workdir)
    assert run(*command, f"--workdir={workdir}") == 0
    for a, b in zip(weights_of(workdir), weights_of(tmp_path / "whole"), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 12 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", str(disk)]
    if shutil.which("mount") is None or subprocess.run(mount).returncode:
        pytest.skip("no file system can be mounted here")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def fill(disk, leave):
    """All but `leave` bytes, in a file that is returned."""
    with (disk / "filler").open("wb") as file:
        file.write(bytes(shutil.disk_usage(disk).free - leave))
    return disk / "filler"


@pytest.mark.slow
@pytest.mark.parametrize(
    "sample, leave, message",
    [
        (0, 200_000, "a checkpoint cannot be written (No space left on device); step"),
        (0, 20_000, "No space left on device"),
        (1, 20_000, "samples/step_000004.png: cannot be written (No space left"),
    ],
)
def test_a_full_disk_is_said_and_the_run_goes_on_later(
    sample, leave, message, folder, small_disk, tmp_path, capsys
):
    command = [*SMOKE, f"--data={folder}", f"--config.sample_every_steps={sample}"]
    command += ["--config.num_steps=8"]
    assert run(*command, f"--workdir={tmp_path / 'whole'}") == 0
    workdir = small_disk / "run"
    assert run(*command, f"--workdir={workdir}", "--config.num_steps=3") == 0
    filler = fill(small_disk, leave)
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        run.exit(*command, f"--workdir={workdir}")
    assert ended.value.code == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert message in lines[-1] and lines[-1].startswith("train: error: ")
    assert_whole(workdir)
    filler.unlink()
    assert run(*command, f"--workdir={workdir}") == 0
    assert "continuing" in capsys.readouterr().out
    for a, b in zip(weights_of(workdir), weights_of(tmp_path / "whole"), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".webp"])
def test_a_result_that_finds_no_room_is_not_there(suffix, small_disk, tmp_path, capsys):
    photo = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    Image.fromarray(photo).save(tmp_path / "photo.png")
    filler = fill(small_disk, 0)
    target = small_disk / f"out{suffix}"
    with pytest.raises(SystemExit) as ended:
        Command("stylize").exit(tmp_path / "photo.png", "-o", target)
    *_, line = capsys.readouterr().err.strip().splitlines()  # libtiff has its own
    assert ended.value.code == 2 and line.startswith("stylize: error: ")
    assert "No space left on device" in line or suffix == ".tif"
    assert list(small_disk.iterdir()) == [filler]


@pytest.mark.slow
@pytest.mark.parametrize("command", ["stylize", "super_resolve"])
@pytest.mark.parametrize("room", [2**20, 0])
def test_programs_that_find_no_room_are_not_kept(command, room, small_disk, tmp_path):
    """The result is there, nothing is said, and nothing is left half written."""
    photo = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    Image.fromarray(photo).save(tmp_path / "photo.png")
    filler = fill(small_disk, room)
    inherited = {k: v for k, v in os.environ.items() if "COMPILATION_CACHE" not in k}
    done = subprocess.run(
        [sys.executable, ROOT / "bin" / command, "photo.png", "-o", "out.png"],
        cwd=tmp_path,
        env=inherited | {"XDG_CACHE_HOME": str(small_disk)},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "out.png").exists()
    files = [path for path in small_disk.rglob("*") if path.is_file()]
    assert {path.name for path in files} <= {filler.name, "whole"}


@pytest.mark.slow
def test_a_cache_that_finds_no_room_is_not_there(small_disk, folder, tmp_path, capsys):
    filler = fill(small_disk, 10_000)
    arguments = [*SMOKE, f"--data={folder}", f"--workdir={tmp_path / 'run'}"]
    with pytest.raises(InputError, match="GB are free; choose another folder"):
        run(*arguments, f"--config.data.cache={small_disk}")
    assert list(small_disk.iterdir()) == [filler]


@pytest.mark.slow
@pytest.mark.parametrize("change", ["gone", "another", "cut"])
def test_photos_that_go_or_change_meanwhile(change, tmp_path, monkeypatch, capfd):
    """One that cannot be read is told, and the next one takes its place."""
    photos = tmp_path / "photos"
    photos.mkdir()
    noise_photos(photos)
    seen = []
    real = training_run.reporting.show_progress

    def show(line, *rest):
        seen.append(line["step"])
        if line["step"] == 2:
            for path in list(photos.iterdir())[:2]:
                if change == "gone":
                    path.unlink()
                elif change == "cut":
                    path.write_bytes(path.read_bytes()[:300])
                else:
                    Image.new("RGB", (64, 64), "red").save(path)
        return real(line, *rest)

    monkeypatch.setattr(training_run.reporting, "show_progress", show)
    arguments = [*SMOKE, f"--data={photos}", f"--workdir={tmp_path / 'run'}"]
    assert run(*arguments, "--config.num_steps=30") == 0
    assert seen[-1] == 30
    err = capfd.readouterr().err
    assert err.count("skipped ") == {"gone": 2, "another": 0, "cut": 2}[change]


@pytest.mark.parametrize(
    "told", ["5", '{"metrics": 5}', '{"commit_timestamp_nsecs": 1e30}']
)
def test_what_orbax_notes_beside_a_checkpoint_may_be_damaged(told, tmp_path):
    state = TrainState(np.int32(3), {"kernel": np.ones((3, 4), np.float32)}, {}, {})

    def opened():
        made = Checkpoints(tmp_path, keep_last=1, keep_every_steps=0)
        return contextlib.closing(made)

    with opened() as checkpoints:
        checkpoints.save(state, {"seed": 1})
    (tmp_path / "checkpoints" / "3" / "_CHECKPOINT_METADATA").write_text(told)
    with opened() as checkpoints:
        assert checkpoints.latest() == 3 and checkpoints.record(3) == {"seed": 1}
        found = checkpoints.restore(3, state)
    np.testing.assert_array_equal(found.params["kernel"], state.params["kernel"])


def test_running_out_of_memory_says_what_to_lower(folder, tmp_path, monkeypatch):
    def full(*_):
        raise jax.errors.JaxRuntimeError(
            "RESOURCE_EXHAUSTED: Out of memory allocating 123456789 bytes."
        )

    monkeypatch.setattr(training_run.Loop, "__call__", full)
    arguments = [*SMOKE, f"--data={folder}", f"--workdir={tmp_path / 'run'}"]
    message = "a step of 4 x 32 px does not fit into memory; use a smaller --data.batch"
    with pytest.raises(InputError, match=message):
        run(*arguments)
