"""What all commands share: help at once, one-line errors, a list without gaps."""

import subprocess
import sys
import time

import pytest
from helpers import ROOT, Command

from jaxperceptual.__main__ import COMMANDS
from jaxperceptual.core import cli

HEAVY = ("jax", "flax", "numpy", "scipy", "PIL", "skimage", "grain", "optax")


def shell(*words, **options):
    return subprocess.run(words, capture_output=True, text=True, **options)


def test_the_list_the_folder_and_bin_agree():
    files = {path.stem for path in (ROOT / "jaxperceptual" / "commands").glob("*.py")}
    assert set(COMMANDS) == files - {"__init__", "options"}
    scripts = {path.name: path for path in (ROOT / "bin").iterdir() if path.is_file()}
    assert set(scripts) == set(COMMANDS)
    for name, path in scripts.items():
        assert f'run("{name}")' in path.read_text() and path.stat().st_mode & 0o111
        assert Command(name).module.parser().prog == name


def test_parsers_import_nothing_heavy():
    names = ", ".join(COMMANDS)
    code = f"from jaxperceptual.commands import {names}; import sys\n"
    code += f"for command in ({names}): command.parser().format_help()\n"
    code += f"print(*(set({HEAVY}) & set(sys.modules)))"
    done = shell(sys.executable, "-c", code)
    assert (done.returncode, done.stdout.split()) == (0, []), done.stderr


@pytest.mark.parametrize("argv, code", [(["--help"], 0), (["--no-such-flag"], 2)])
def test_help_and_a_wrong_flag_answer_at_once(argv, code):
    times = []
    for _ in range(3):  # the best of, on a machine that others use
        begin = time.perf_counter()
        done = shell(sys.executable, "-m", "jaxperceptual", "benchmark", *argv)
        times.append(time.perf_counter() - begin)
        assert done.returncode == code
    assert min(times) < 0.5, times


def test_the_program_lists_its_commands():
    done = shell(sys.executable, "-m", "jaxperceptual")
    assert done.returncode == 0 and all(f"\n  {n} " in done.stdout for n in COMMANDS)
    wrong = shell(sys.executable, "-m", "jaxperceptual", "stylise", "photo.jpg")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert "did you mean stylize?" in wrong.stderr and wrong.stderr.count("\n") == 1
    version = shell(sys.executable, "-m", "jaxperceptual", "--version")
    assert version.stdout.count(".") == 2


def test_a_command_knows_how_it_was_called(monkeypatch):
    for first, said in (
        ("/somewhere/bin/train", "bin/train"),
        ("/venv/bin/jaxperceptual", "jaxperceptual train"),
        ("/somewhere/__main__.py", "jaxperceptual train"),
    ):
        monkeypatch.setattr(sys, "argv", [first])
        assert " ".join(cli._program("train")) == said


def test_settings_are_those_of_the_config():
    parser = cli.Parser(prog="p", settings=["data"], allow_abbrev=False)
    parser.add_argument("--config")
    args = parser.parse_args(["--config.a=1", "--config", "c", "--data.b.c=x=y"])
    assert args.config == "c" and args.settings == ["a=1", "data.b.c=x=y"]
    with pytest.raises(SystemExit) as stop:
        parser.parse_args(["--cofnig.a=1"])
    assert stop.value.code == 2
