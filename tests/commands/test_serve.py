"""bin/serve: starts, answers, ends; errors are a line."""

import signal
import socket
import subprocess
import sys

import httpx
import pytest
from helpers import ROOT, Command, style_model

from jaxperceptual.networks import pretrained
from jaxperceptual.networks.model_file import write_model


def test_from_the_first_line_to_ctrl_c(tmp_path):
    write_model(tmp_path / pretrained.FILE_NAME, style_model(norm="instance"))
    argv = [ROOT / "bin/serve", "--model", tmp_path, "--port", "0"]
    process = subprocess.Popen(
        [sys.executable, *map(str, argv)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        address = process.stdout.readline().split()[0]
        assert address.startswith("http://127.0.0.1:")
        about = httpx.get(f"{address}/api/about", timeout=60).json()
        assert [style["name"] for style in about["styles"]] == [tmp_path.name]
        assert "jaxperceptual" in httpx.get(address).text
        refused = httpx.get(address, headers={"host": "evil.example"})
        assert refused.status_code == 403
    finally:
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130 and "Traceback" not in errors, errors


def test_errors_are_a_line(capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for argv, words in (
            (["--port", port], f"--port {port}: Address already in use; use another"),
            (["--host", "no.such.invalid"], "--host no.such.invalid"),
            (["--port", "99999"], "'99999': use a whole number, 0 to 65535"),
            (["--port", "0", "--model", "nobody"], "nobody: no such model"),
            (["--port", "0", "--model", "sr_x4"], "sr_x4"),
        ):
            with pytest.raises(SystemExit) as ended:
                Command("serve").exit(*argv)
            errors = capsys.readouterr().err
            assert ended.value.code == 2 and words in errors
            assert len(errors.splitlines()) == 1


def test_without_its_packages(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with pytest.raises(SystemExit) as ended:
        Command("serve").exit("--port", "0")
    assert ended.value.code == 2
    assert "pip install 'jaxperceptual[page]'" in capsys.readouterr().err
