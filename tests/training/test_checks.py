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
            checks.check_same_run(old, new, Path("run"), 4)


def test_what_may_change(record):
    free = changed(record, num_steps=1, keep_last=1, **{"quick.num_steps": 1})
    checks.check_same_run(record, free, Path("run"), 4)
    checks.check_same_run(record, changed(record, note="of mine"), Path("run"), 4)
    # Written before there was such a key: it had its default.
    older = changed(record, precision=None, **{"optimizer.decay_steps": None})
    checks.check_same_run(older, record, Path("run"), 4)
    with pytest.raises(InputError, match="precision=float32, now it is bfloat16"):
        checks.check_same_run(
            older, changed(record, precision="bfloat16"), Path("run"), 4
        )
    with pytest.raises(InputError, match="vgg.fingerprint=0, now it is 1"):
        other = record | {"vgg": {"fingerprint": "1"}}
        checks.check_same_run(record, other, Path("run"), 4)


def rated(record, **keys):
    return changed(record, **{f"optimizer.{key}": keys[key] for key in keys})


def test_a_rate_may_change_where_it_has_not_been(record):
    falling = rated(record, decay_from=4, decay_steps=9)
    checks.check_same_run(record, falling, Path("run"), 4)
    checks.check_same_run(falling, record, Path("run"), 4)
    # Of step 5, the rate has fallen.
    with pytest.raises(InputError, match="decay_from=0.*, now .*from=4") as error:
        checks.check_same_run(record, falling, Path("run"), 6)
    assert "--init run --workdir ANOTHER" in str(error.value)
    both = (
        "--config.optimizer.decay_from=0 --config.optimizer.decay_steps=0 to continue"
    )
    assert both in str(error.value)
    longer = rated(record, decay_steps=9), rated(record, decay_steps=12)
    with pytest.raises(InputError, match="--config.optimizer.decay_steps=9 to cont"):
        checks.check_same_run(*longer, Path("run"), 4)
    with pytest.raises(InputError, match="learning_rate=0.001, now .*rate=0.002"):
        checks.check_same_run(
            record, rated(record, learning_rate=0.002), Path("run"), 1
        )
