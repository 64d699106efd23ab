"""Machines that lack something: a device, a home folder, locks."""

import errno
import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import ROOT

from jaxperceptual.core import folders, machine
from jaxperceptual.core.errors import InputError


def test_a_folder_is_held_against_others_and_where_there_are_no_locks(
    tmp_path, monkeypatch, capsys
):
    with folders.held(tmp_path, "--workdir", "train"):
        with pytest.raises(InputError, match="another train is running in it"):
            with folders.held(tmp_path, "--workdir", "train"):
                pass

    def no_locks(file, operation):
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with folders.held(tmp_path, "--workdir", "train"):
        assert "has no locks; start no other train" in capsys.readouterr().err
    monkeypatch.setattr(folders, "fcntl", None)  # Windows
    with folders.held(tmp_path, "--workdir", "train"):
        assert "has no locks" in capsys.readouterr().err


def test_a_user_without_a_home_is_told_what_to_set(monkeypatch):
    def no_home():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", no_home)
    with pytest.raises(InputError, match="no home folder.*XDG_CACHE_HOME"):
        machine.cache_folder()


def test_a_platform_that_is_not_here_is_one_line(tmp_path):
    command = [sys.executable, str(ROOT / "bin" / "stylize"), "photo.jpg"]
    (tmp_path / "photo.jpg").touch()
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env=os.environ | {"JAX_PLATFORMS": "nonsense"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("stylize: error: JAX_PLATFORMS=nonsense: ")
    assert done.stderr.count("\n") == 1
