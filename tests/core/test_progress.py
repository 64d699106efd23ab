"""Lines where there is no terminal."""

import sys

import pytest

from jaxperceptual.core import progress


class Terminal:
    def __init__(self, is_one):
        self.text, self._is_one = "", is_one

    def isatty(self):
        return self._is_one

    def write(self, text):
        self.text += text

    def flush(self): ...


@pytest.mark.parametrize("every, expected", [(0.0, 4), (1000.0, 0)])
def test_a_log_gets_whole_lines_and_not_too_many(monkeypatch, every, expected):
    monkeypatch.setattr(progress, "EVERY", every)
    log = Terminal(False)
    monkeypatch.setattr(sys, "stderr", log)
    for _ in progress.Bar(range(4), desc="a", unit="photo"):
        pass
    lines = log.text.splitlines()
    assert "\r" not in log.text and len([x for x in lines if x]) >= expected
    if expected:
        assert "a: 2 of 4 photos, " in log.text and " left" in log.text
    else:
        assert log.text == ""


def test_a_terminal_gets_a_bar(monkeypatch):
    terminal = Terminal(True)
    monkeypatch.setattr(sys, "stderr", terminal)
    for _ in progress.Bar(range(4), unit="photo"):
        pass
    assert "4/4" in terminal.text and "\r" in terminal.text
