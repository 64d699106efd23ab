"""What a run writes about itself."""

import json
import sys

import pytest

from jaxperceptual.core.errors import InputError
from jaxperceptual.training import reporting


def test_log_keeps_whole_lines_up_to_the_step_it_continues_from(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n{"step": 2}\n{"step": 3}\n{"st')
    log = reporting.MetricsLog(tmp_path, 2, tensorboard=False)
    log.write({"step": 3, "loss": 0.5})
    log.close()
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert lines == [{"step": 1}, {"step": 2}, {"step": 3, "loss": 0.5}]


def test_tensorboard_gets_the_same_numbers(tmp_path):
    pytest.importorskip("tensorboardX")
    log = reporting.MetricsLog(tmp_path, 0, tensorboard=True)
    log.write({"step": 7, "loss": 0.5, "content/relu2_2": 0.25})
    log.close()
    (events,) = (tmp_path / "tensorboard").iterdir()
    assert b"content/relu2_2" in events.read_bytes()


def test_tensorboard_that_is_not_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(InputError, match=r"pip install 'jaxperceptual\[tensorboard\]'"):
        reporting.check_tensorboard()


def test_sample_photos_are_squares_of_one_size(tmp_path):
    photos = reporting.sample_photos("")
    assert photos.shape == (reporting.NUM_SAMPLES, 256, 256, 3)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="empty"):
        reporting.sample_photos(str(tmp_path / "empty"))
