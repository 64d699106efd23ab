"""Whether a folder holds the run that a config means."""

from pathlib import Path

import pytest

from jaxperceptual.core import config_files, records
from jaxperceptual.core.errors import InputError
from jaxperceptual.training import checks


@pytest.fixture
def record():
    config = records.flatten(config_files.load_config("style_muse.py"))
    return {"config": config, "vgg": {"fingerprint": "0"}, "devices": 1}


def changed(record, **config):
    kept = {k: v for k, v in (record["config"] | config).items() if v is not None}
    return record | {"config": kept}


@pytest.mark.parametrize("layer", ["content.relu3_3", "style.relu5_1"])
def test_layers_may_neither_come_nor_go(record, layer):
    more = changed(record, **{f"objective.{layer}": 1.0})
    for old, new in ((record, more), (more, record)):
        with pytest.raises(InputError, match=f"with config.objective.{layer}="):
            checks.check_same_run(old, new, Path("run"))


def test_what_may_change(record):
    free = changed(record, num_steps=1, keep_last=1, **{"quick.num_steps": 1})
    checks.check_same_run(record, free, Path("run"))
    checks.check_same_run(record, changed(record, note="of mine"), Path("run"))
    # Written before there was such a key: it had its default.
    older = changed(record, precision=None, **{"optimizer.decay_steps": None})
    checks.check_same_run(older, record, Path("run"))
    with pytest.raises(InputError, match="precision=float32, now it is bfloat16"):
        checks.check_same_run(older, changed(record, precision="bfloat16"), Path("run"))
    with pytest.raises(InputError, match="vgg.fingerprint=0, now it is 1"):
        other = record | {"vgg": {"fingerprint": "1"}}
        checks.check_same_run(record, other, Path("run"))
