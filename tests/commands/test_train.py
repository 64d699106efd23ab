"""bin/train from end to end at small size: what it writes, continuing, bad input."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from helpers import ROOT, Command, style_model
from PIL import Image
from tolerances import REORDERED_TOTAL

from jaxperceptual.core import config_files, folders
from jaxperceptual.networks import pretrained
from jaxperceptual.networks.model_file import read_model, write_model
from jaxperceptual.training import reporting

run = Command("train")
STEPS = 25
SMOKE = [
    "--config=smoke.py",
    f"--config.num_steps={STEPS}",
    "--config.checkpoint_every_steps=3",
    "--config.data.num_workers=2",
    "--config.sample_every_steps=20",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Photos of noise, one file that is no image and one that is too small."""
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for i in range(7):
        pixels = rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png")
    (folder / "broken.jpg").write_bytes(b"no image")
    Image.new("RGB", (4, 4)).save(folder / "tiny.png")
    return folder


def train(*argv):
    return run(*argv)


@pytest.fixture(scope="module")
def uninterrupted(folder, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("runs") / "whole"
    assert train(*SMOKE, "--data", folder, "--workdir", workdir) == 0
    return workdir


def metrics(workdir):
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    timing = ("images_per_second", "input_wait")
    return [
        {k: v for k, v in json.loads(line).items() if k not in timing} for line in lines
    ]


def test_writes_what_it_says(uninterrupted):
    lines = metrics(uninterrupted)
    assert [line["step"] for line in lines] == list(range(1, STEPS + 1))
    terms = {"content/relu2_2", "style/relu1_2", "tv"}
    assert terms | {"step", "loss", "grad_norm"} == set(lines[0])
    np.testing.assert_allclose(
        lines[0]["loss"], sum(lines[0][t] for t in terms), **REORDERED_TOTAL
    )
    samples = sorted(p.name for p in (uninterrupted / "samples").iterdir())
    assert samples == ["step_000020.png", "step_000025.png"]
    record = json.loads((uninterrupted / "config.json").read_text())
    assert record["config"]["data.image_size"] == 32
    kept = {int(p.name) for p in (uninterrupted / "checkpoints").iterdir()}
    assert kept == {21, 24, 25}  # keep_last = 3

    model = read_model(uninterrupted)
    assert model.trained.steps == STEPS
    assert model.trained.style["name"] == "cubist.png"
    assert len(model.trained.vgg["fingerprint"]) == 64


def test_killed_and_continued_equals_uninterrupted(
    uninterrupted, folder, tmp_path, capsys
):
    workdir = tmp_path / "killed"
    command = [*SMOKE, "--data", str(folder), "--workdir", str(workdir)]
    with open(tmp_path / "log", "w") as log:
        process = subprocess.Popen(
            [sys.executable, str(ROOT / "bin" / "train"), *command],
            stdout=log,
            stderr=log,
            cwd=tmp_path,
            start_new_session=True,
        )
    at = random.randint(6, 25)
    deadline = time.monotonic() + 240
    while not _got_to(at, workdir):
        assert process.poll() is None, (tmp_path / "log").read_text()
        assert time.monotonic() < deadline, (tmp_path / "log").read_text()
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()

    # What there is can be used meanwhile, and says what it is.
    stands = read_model(workdir).trained.unfinished
    assert stands in [f"step {n} of {STEPS}" for n in range(3, STEPS, 3)]
    target = tmp_path / "painted.png"
    Command("stylize")(folder / "0.png", f"--model={workdir}", f"-o={target}")
    assert (
        target.exists() and f"{workdir} stands at {stands}" in capsys.readouterr().err
    )
    assert not read_model(uninterrupted).trained.unfinished

    assert train(*command) == 0
    assert f"continuing {workdir} from step" in capsys.readouterr().out
    ours, theirs = read_model(workdir), read_model(uninterrupted)
    assert ours.trained == theirs.trained
    for a, b in zip(
        jax.tree.leaves(ours.variables), jax.tree.leaves(theirs.variables), strict=True
    ):
        np.testing.assert_array_equal(a, b, err_msg=f"killed at step {at}")
    whole = {line["step"]: line for line in metrics(uninterrupted)}
    continued = metrics(workdir)
    assert all(whole[line["step"]] == line for line in continued)
    assert continued[-1]["step"] == STEPS


def _got_to(step, workdir):
    """Whether the run has logged this step and has a whole checkpoint."""
    log = workdir / "metrics.jsonl"
    checkpoints = [p for p in workdir.glob("checkpoints/*") if p.name.isdigit()]
    return checkpoints and log.exists() and f'{{"step": {step},' in log.read_text()


@pytest.mark.slow
def test_a_signal_saves_and_the_same_command_continues(
    folder, tmp_path, monkeypatch, capsys
):
    to_send = []

    def send(*_):
        if to_send:
            os.kill(os.getpid(), to_send.pop())

    monkeypatch.setattr(reporting, "show_progress", send)
    command = [*SMOKE, "--config.data.num_workers=0", "--data", folder]
    command += ["--workdir", tmp_path / "run", "--config.num_steps=5"]
    for step, number in ((1, signal.SIGINT), (2, signal.SIGTERM)):
        to_send.append(number)
        assert train(*command) == 128 + number
        assert f"saved step {step}" in capsys.readouterr().out
    assert train(*command) == 0
    assert "continuing" in capsys.readouterr().out
    assert read_model(tmp_path / "run").trained.steps == 5


def test_quick_says_what_it_changes_and_a_model_comes_out(tmp_path, capsys):
    command = ["--config=smoke.py", "--quick", "--config.steps_per_dispatch=2"]
    command += ["--config.num_steps=4", "--workdir", tmp_path / "run"]
    assert train(*command) == 0
    out = capsys.readouterr().out
    assert "--quick changes: num_steps 4 -> 2" in out
    assert "5 images from embedded; 4 steps" in out
    assert "style image:" in out and "another: --style PATH" in out
    assert [line["step"] for line in metrics(tmp_path / "run")] == [2, 4]
    rates = [
        json.loads(line)["images_per_second"]
        for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    ]
    assert rates[0] is None and rates[1] > 0  # the first dispatch compiles
    assert read_model(tmp_path / "run").trained.steps == 4


def test_a_finished_run_only_says_so(uninterrupted, folder, capsys):
    assert train(*SMOKE, "--data", folder, "--workdir", uninterrupted) == 0
    assert f"step {STEPS} done" in capsys.readouterr().out


def fails(capsys, *argv):
    """The one line on stderr of a command that must exit with 2."""
    with pytest.raises(SystemExit) as exit_:
        run.exit(*argv)
    lines = capsys.readouterr().err.strip().splitlines()
    assert exit_.value.code == 2
    skips = [line for line in lines if line.startswith("skipped ")]
    (line,) = [line for line in lines if line not in skips]
    assert line.startswith("train: error: ")
    return line


@pytest.mark.parametrize(
    "argv, message",
    [
        (["--config=nope.py"], "no such file; configs/ has"),
        (["--config.num_step=7"], 'Did you mean "num_steps"?'),
        (["--config.num_steps=0"], "num_steps=0; use 1 or more"),
        (["--config.num_steps=soon"], "not a int"),
        (["--stlye=x.jpg"], "unknown argument --stlye=x.jpg"),
        (["--style=missing.jpg"], "missing.jpg: no such file"),
        (["--config.style_image=missing.jpg"], "missing.jpg: no such file"),
        (["--config.style_size=4"], "style_size=4; use 16 or more"),
        (["--config.task=music"], "task='music'"),
        (["--config.vgg=vgg99"], "vgg99"),
        (["--config.net.norm=layer"], "net.norm='layer'; use one of batch, instance"),
        (["--config.data.batch_size=0"], "batch_size=0; use 1 or more"),
        (["--config.seed=100000000000000000000"], "seed=1000"),
        (
            ["--config.steps_per_dispatch=3", "--config.checkpoint_every_steps=2"],
            "use a multiple of steps_per_dispatch=3",
        ),
        (["--config.keep_every_steps=5"], "multiple of checkpoint_every_steps=2"),
        (["--data.num_workers=-1"], "num_workers=-1; use 0 or more"),
        (["--data.cache=cache"], "'embedded' cuts a new crop"),
        (["--config.sample_photos=missing"], "missing: no such file or folder"),
        (["--config.optimizer.learning_rate=-1"], "learning_rate=-1.0"),
        (["--config.objective.tv_weight=-1"], "finite number >= 0"),
        (["--config.style_weight=-1"], "style_weight -1.0; use 0 to"),
        (["--config.style_weight=nan"], "style_weight nan; use 0 to"),
        (["--train=norms"], "all else would stay random"),
        (["--config=srcnn_x4.py", "--train=norms", "--init=srcnn_x4"], "has none"),
        (["--config.objective.content.relu2_3=1"], "relu2_3"),
        (["--config.data.image_size=8"], "image_size=8; use 16 or more"),
        (["--config.optimizer.decay_steps=3"], "decay_steps=3, after which the rate"),
        (["--config.precision=half"], "precision='half'; use one of float32"),
        (["--config.keep_last=0"], "keep_last=0; use 1 or more"),
        (["--data=missing"], "missing"),
        (["--data=tfds:no_such_set"], "no_such_set"),
    ],
)
def test_bad_input(argv, message, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    config = [] if argv[0].startswith("--config=") else ["--config=smoke.py"]
    line = fails(capsys, *config, *argv, "--workdir=run")
    assert message in line
    for name in (pretrained.FILE_NAME, "config.json"):
        assert not (tmp_path / "run" / name).exists()


def test_a_start_that_does_not_tell_its_steps(capsys, tmp_path):
    """As a converted network does not."""
    net = dict(config_files.load_config("smoke.py").net)
    write_model(tmp_path / "start.safetensors", style_model({}, **net))
    argv = [
        f"--init={tmp_path / 'start.safetensors'}",
        "--config.sample_photos=missing",
    ]
    line = fails(capsys, "--config=smoke.py", *argv, f"--workdir={tmp_path / 'run'}")
    assert "missing: no such file or folder" in line


def test_empty_folder(capsys, monkeypatch, tmp_path):
    (tmp_path / "empty").mkdir()
    line = fails(
        capsys,
        "--config=smoke.py",
        f"--data={tmp_path / 'empty'}",
        f"--workdir={tmp_path / 'run'}",
    )
    assert "empty" in line


def test_files_that_are_not_what_they_should_be(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "photo.jpg").write_bytes(b"no image")
    Image.new("RGB", (200, 8)).save(tmp_path / "long.png")
    (tmp_path / "vgg.safetensors").write_bytes(b"no weights")
    for argument, message in (
        ("--style=bad/photo.jpg", "cannot be read as an image"),
        ("--style=long.png", "long.png: 64 x 3 px"),
        ("--config.vgg=vgg.safetensors", "vgg.safetensors: "),
        ("--data=bad", "can be used"),
        (f"--style={'x' * 300}.png", "File name too long"),
    ):
        line = fails(capsys, "--config=smoke.py", argument, "--workdir=run")
        assert message in line


def test_two_processes_cannot_share_a_run(capsys, monkeypatch, tmp_path):
    with folders.held(tmp_path / "run", "--workdir", "bin/train"):
        line = fails(capsys, "--config=smoke.py", f"--workdir={tmp_path / 'run'}")
    assert "another train is running in it" in line


def test_of_damaged_checkpoints_the_newest_good_one_is_used(
    uninterrupted, folder, capsys, tmp_path
):
    """And it ends as if nothing had been. One lacks bytes of arrays, one its record."""
    workdir = tmp_path / "run"
    shutil.copytree(uninterrupted, workdir)
    arguments = [*SMOKE, f"--data={folder}", f"--workdir={workdir}"]

    def damage(step, item):
        for path in (workdir / "checkpoints" / str(step) / item).rglob("*"):
            if path.is_file():
                path.write_bytes(path.read_bytes()[:-5] if item == "state" else b"")

    damage(STEPS, "state")
    damage(24, "record")
    assert train(*arguments) == 0
    out = capsys.readouterr().out
    for step in (24, STEPS):
        aside = workdir / "checkpoints" / f"{step}.damaged"
        assert f"step {step} cannot be read; it is {aside} now" in out
        assert aside.is_dir()
    assert f"continuing {workdir} from step 21" in out
    ours, theirs = read_model(workdir), read_model(uninterrupted)
    for a, b in zip(
        jax.tree.leaves(ours.variables), jax.tree.leaves(theirs.variables), strict=True
    ):
        np.testing.assert_array_equal(a, b)
    for step, item in ((21, "record"), (24, "state"), (STEPS, "record")):
        damage(step, item)
    line = fails(capsys, *arguments)
    assert f"checkpoints/{STEPS} cannot be read" in line and "no good one" in line
    assert (workdir / "checkpoints" / "21").is_dir()  # nothing is set aside then


@pytest.mark.slow
def test_a_run_is_of_its_photos_wherever_they_lie(folder, capsys, tmp_path):
    photos = tmp_path / "photos"
    shutil.copytree(folder, photos)
    # What a run draws is none of them.
    arguments = [*SMOKE, f"--workdir={photos / 'run'}", "--config.data.num_workers=0"]
    arguments += ["--config.sample_every_steps=1", "--config.log_every_steps=1000"]
    assert train(*arguments, f"--data={photos}", "--config.num_steps=1") == 0
    assert [line["step"] for line in metrics(photos / "run")] == [1]  # the last
    moved = photos.rename(tmp_path / "moved")
    arguments[len(SMOKE)] = f"--workdir={moved / 'run'}"
    assert train(*arguments, f"--data={moved}", "--config.num_steps=2") == 0
    assert [line["step"] for line in metrics(moved / "run")] == [1, 2]
    Image.new("RGB", (50, 40)).save(moved / "0.png")
    line = fails(capsys, *arguments, f"--data={moved}")
    assert "holds a run with images.content=" in line
    shutil.copy(folder / "0.png", moved / "0.png")
    (moved / "0.png").rename(moved / "7.png")
    line = fails(capsys, *arguments, f"--data={moved}")
    assert "holds a run with images.content=" in line


@pytest.mark.slow
def test_pixel_loss_alone_needs_no_features(folder, tmp_path):
    arguments = [*SMOKE, "--data", folder, "--workdir", tmp_path / "run"]
    arguments += ["--config.num_steps=2", "--config.objective.content.relu2_2=0"]
    arguments += ["--config.objective.style.relu1_2=0", "--config.data.num_workers=0"]
    assert train(*arguments, "--config.objective.pixel_weight=1") == 0
    assert {"loss", "pixel", "tv"} <= set(metrics(tmp_path / "run")[0])


def test_workdir_that_cannot_be(capsys, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    line = fails(capsys, "--config=smoke.py", f"--workdir={tmp_path / 'file'}")
    assert "cannot be written" in line


def test_another_run_in_the_folder(uninterrupted, folder, capsys, monkeypatch):
    line = fails(
        capsys,
        *SMOKE,
        f"--data={folder}",
        f"--workdir={uninterrupted}",
        "--config.objective.tv_weight=0.5",
    )
    assert "config.objective.tv_weight=0.0001, now it is 0.5" in line


def test_broken_files_are_named_once(uninterrupted, folder, tmp_path, capfd):
    command = [*SMOKE, "--data", folder, "--workdir", tmp_path / "run"]
    assert train(*command, "--config.data.num_workers=0") == 0
    err = capfd.readouterr().err
    assert err.count("broken.jpg") == 1 and err.count("tiny.png") == 1
    # And the workers of the other run made no difference.
    assert metrics(tmp_path / "run") == metrics(uninterrupted)


def test_non_finite_loss_stops_with_step_and_term(
    folder, capsys, monkeypatch, tmp_path
):
    arguments = [*SMOKE, f"--data={folder}", f"--workdir={tmp_path / 'run'}"]
    arguments += ["--config.data.num_workers=0", "--config.objective.tv_weight=1e38"]
    line = fails(capsys, *arguments)
    assert "step 1: tv is inf" in line and "there is no checkpoint yet" in line
    assert not (tmp_path / "run" / pretrained.FILE_NAME).exists()


def test_a_dead_gradient_ends_a_run(folder, capsys, tmp_path):
    arguments = [*SMOKE, f"--data={folder}", f"--workdir={tmp_path / 'run'}"]
    arguments += ["--config.data.num_workers=0", "--config.objective.tv_weight=1e-44"]
    arguments += ["--config.objective.content.relu2_2=0"]
    arguments += ["--config.objective.style.relu1_2=0"]
    line = fails(capsys, *arguments)
    assert "step 20: the gradient has been 0 for 20 steps" in line
    assert f"kept in {tmp_path / 'run'}" in line


@pytest.mark.slow
def test_the_last_good_checkpoint_stays(folder, capsys, monkeypatch, tmp_path):
    arguments = [*SMOKE, f"--data={folder}", f"--workdir={tmp_path / 'run'}"]
    arguments += ["--config.data.num_workers=0"]
    real, calls = jax.device_get, []

    def poisoned(metrics):
        metrics = real(metrics)
        calls.append(metrics)
        if len(calls) == 5:
            metrics["content/relu2_2"] = metrics["content/relu2_2"] * np.nan
        return metrics

    monkeypatch.setattr(jax, "device_get", poisoned)
    line = fails(capsys, *arguments)
    assert "step 5: content/relu2_2 is nan" in line
    assert "last good checkpoint is step 3" in line
    assert (tmp_path / "run" / "checkpoints" / "3").is_dir()
    assert Path(tmp_path / "run" / "metrics.jsonl").exists()


def test_a_network_that_cannot_be_leaves_nothing(folder, capsys, tmp_path):
    arguments = [*SMOKE, f"--data={folder}", f"--workdir={tmp_path / 'run'}"]
    line = fails(capsys, *arguments, "--config.net.norm=group")
    assert "net.norm='group'; use one of batch" in line
    assert not (tmp_path / "run").exists()
