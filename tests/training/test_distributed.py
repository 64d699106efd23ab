"""`train` in two processes on this machine, which work as one."""

import os
import shlex
import signal
import socket
import subprocess
import sys
import time

import jax
import numpy as np
import pytest
from helpers import ROOT, Command, noise_photos
from test_documentation import COMMANDS

from jaxperceptual.core import distributed
from jaxperceptual.core.errors import InputError
from jaxperceptual.networks.model_file import read_model

STEPS = 8
# Two devices in all: sums of two, which do not depend on who adds them.
SMOKE = [
    "--config=smoke.py",
    f"--config.num_steps={STEPS}",
    "--config.checkpoint_every_steps=3",
    "--config.sample_every_steps=0",
    "--config.data.batch_size=2",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    noise_photos(folder)
    return folder


class Pair:
    """Two processes of one training, and what they say."""

    def __init__(self, logs, *argv, second=(), also=()):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.logs = [logs / "log0", logs / "log1"]
        self.processes = []
        for i, log in enumerate(self.logs):
            joins = [f"--coordinator=127.0.0.1:{port}", "--num-processes=2"]
            joins += [f"--process-id={i}", *(second if i else ()), *also]
            with log.open("w") as file:
                process = subprocess.Popen(
                    [sys.executable, ROOT / "bin" / "train", *argv, *joins],
                    stdout=file,
                    stderr=file,
                    start_new_session=True,
                )
            self.processes.append(process)

    def until(self, step):
        """Waits for a step of the first process's log."""
        deadline = time.monotonic() + 240
        while f"step {step}/" not in self.logs[0].read_text():
            assert self.processes[0].poll() is None, self.told()
            assert time.monotonic() < deadline, self.told()
            time.sleep(0.05)

    def codes(self, seconds=240):
        """Of both, when they have ended."""
        try:
            return [process.wait(seconds) for process in self.processes]
        finally:
            for process in self.processes:
                process.kill()

    def told(self):
        return [log.read_text() for log in self.logs]


def assert_equal(ours, theirs):
    ours, theirs = read_model(ours), read_model(theirs)
    assert ours.trained == theirs.trained
    for a, b in zip(
        jax.tree.leaves(ours.variables), jax.tree.leaves(theirs.variables), strict=True
    ):
        np.testing.assert_array_equal(a, b)


@pytest.fixture(scope="module")
def alone(folder, tmp_path_factory):
    """The same training in one process."""
    workdir = tmp_path_factory.mktemp("runs") / "alone"
    assert Command("train")(*SMOKE, f"--data={folder}", f"--workdir={workdir}") == 0
    return workdir


@pytest.mark.slow
def test_two_processes_are_one(alone, folder, tmp_path):
    pair = Pair(tmp_path, *SMOKE, f"--data={folder}", f"--workdir={tmp_path / 'run'}")
    assert pair.codes() == [0, 0], pair.told()
    first, second = pair.told()
    assert "on 2 x cpu in 2 processes" in first
    assert f"step {STEPS} done" in first and "done" not in second
    assert_equal(tmp_path / "run", alone)


@pytest.mark.slow
def test_two_processes_stop_together_and_continue(alone, folder, tmp_path):
    command = [*SMOKE, f"--data={folder}", f"--workdir={tmp_path / 'run'}"]
    pair = Pair(tmp_path, *command, also=["--config.num_steps=100000"])
    pair.until(2)
    pair.processes[1].send_signal(signal.SIGTERM)
    assert pair.codes() == [128 + signal.SIGTERM] * 2, pair.told()
    first, second = pair.told()
    assert "SIGTERM: saved step" in first and "saved step" not in second
    (tmp_path / "run" / "model.safetensors").unlink()

    pair = Pair(tmp_path, *command)
    assert pair.codes() == [0, 0], pair.told()
    assert f"continuing {tmp_path / 'run'} from step" in pair.told()[0]
    assert_equal(tmp_path / "run", alone)


@pytest.mark.slow
@pytest.mark.parametrize("killed", [0, 1])
def test_one_killed_ends_the_other_and_a_restart_continues(
    killed, alone, folder, tmp_path
):
    command = [*SMOKE, f"--data={folder}", f"--workdir={tmp_path / 'run'}"]
    pair = Pair(tmp_path, *command, also=["--config.num_steps=100000"])
    pair.until(5)
    pair.processes[killed].kill()
    since = time.monotonic()
    assert 0 not in pair.codes(60), pair.told()
    assert time.monotonic() - since < 60
    time.sleep(1)  # its watcher outlives it
    line = pair.told()[1 - killed].strip().splitlines()[-1]
    assert line.startswith("train: error: process ") and "start all of them" in line

    pair = Pair(tmp_path, *command)
    assert pair.codes() == [0, 0], pair.told()
    assert f"continuing {tmp_path / 'run'} from step" in pair.told()[0]
    assert_equal(tmp_path / "run", alone)


@pytest.mark.slow
@pytest.mark.parametrize(
    "both, second, message",
    [
        (["--config.data.batch_size=3"], [], "batch_size=3 does not divide over 2 pro"),
        ([], ["--config.seed=3"], "not the same settings, paintings or weights"),
        ([], ["--data=missing"], "process 1: missing: no such file"),
        ([], ["--data=embedded"], "not the same photos"),
        (["--config.optimizer.learning_rate=1e20"], [], "step 2: "),
    ],
)
def test_what_is_wrong_in_one_is_told_by_all(both, second, message, folder, tmp_path):
    arguments = [*SMOKE, f"--data={folder}", f"--workdir={tmp_path / 'run'}", *both]
    pair = Pair(tmp_path, *arguments, second=second)
    assert pair.codes() == [2, 2], pair.told()
    for text in pair.told():
        (line,) = (x for x in text.splitlines() if x.startswith("train: error: "))
        assert message in line and "Traceback" not in text


@pytest.mark.parametrize(
    "argv, message",
    [
        (["--process-id=1"], "go together"),
        (["--coordinator=x", "--num-processes=2", "--process-id=0"], "give HOST:PORT"),
        (["--coordinator=x:1", "--num-processes=2", "--process-id=2"], "0 to 1"),
        (["--coordinator=x:1", "--num-processes=0", "--process-id=0"], "1 or more"),
    ],
)
def test_a_place_that_cannot_be(argv, message):
    with pytest.raises(InputError, match=message):
        Command("train")("--config=smoke.py", *argv)


def test_a_port_that_is_taken():
    with socket.socket() as other:
        other.bind(("", 0))
        other.listen()
        where = f"--coordinator=127.0.0.1:{other.getsockname()[1]}"
        argv = [where, "--num-processes=2", "--process-id=0"]
        with pytest.raises(InputError, match="port cannot be had"):
            Command("train")("--config=smoke.py", *argv)


def test_a_first_process_that_is_not_there(monkeypatch):
    monkeypatch.setattr(distributed, "PATIENCE", 0)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))  # and does not listen
        where = f"--coordinator=127.0.0.1:{probe.getsockname()[1]}"
        argv = [where, "--num-processes=2", "--process-id=1"]
        with pytest.raises(InputError, match="no process 0 there within 0 s"):
            Command("train")("--config=smoke.py", *argv)


def documented():
    """Command lines of the docs that join others."""
    return sorted({line for _, line in COMMANDS if "--coordinator " in line})


@pytest.mark.slow
def test_the_documented_commands(folder, tmp_path):
    lines = documented()
    assert [line.split("--process-id ")[1] for line in lines] == ["0", "1"]
    processes = []
    for line in lines:
        words = shlex.split(line)[1:]
        words = [folder if word == "photos/" else word for word in words]
        words += ["--quick", "--config.num_steps=1", "--config.data.image_size=48"]
        words += ["--config.data.batch_size=2", f"--workdir={tmp_path / 'run'}"]
        words += ["--config.style_image=cubist.png", "--config.style_size=64"]
        words += [f"--config.optimizer.{key}_steps=0" for key in ("warmup", "decay")]
        words[words.index("--coordinator") + 1] = "127.0.0.1:29517"
        command = [sys.executable, ROOT / "bin" / "train", *words]
        env = os.environ | {"JAX_PLATFORMS": "cpu"}
        processes.append(subprocess.Popen(command, cwd=tmp_path, env=env))
    assert [process.wait(300) for process in processes] == [0, 0]
    assert read_model(tmp_path / "run").trained.steps == 1
