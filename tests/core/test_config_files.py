"""Every shipped config, and changes to one by flag."""

import shutil
import subprocess
import sys

import pytest
from helpers import ROOT

from jaxperceptual.core import config_files, records
from jaxperceptual.core.errors import InputError

SHIPPED = sorted(path.name for path in config_files.FOLDER.glob("[!_]*.py"))


@pytest.mark.parametrize("name", SHIPPED)
def test_every_config_loads_locked_and_quick(name):
    config = config_files.load_config(name)
    assert config.is_locked
    assert config_files.apply_quick(config)


def test_the_muse_is_the_papers_recipe():
    config = config_files.load_config("style_muse.py")
    assert (config.num_steps, config.data.batch_size) == (40_000, 4)
    assert config.data.image_size == 256 and config.optimizer.learning_rate == 1e-3
    assert config.net.to_dict() == dict(norm="batch", width=1.0, upsample="transposed")
    assert list(config.objective.content) == ["relu2_2"]
    assert list(config.objective.style) == ["relu1_2", "relu2_2", "relu3_3", "relu4_3"]


def test_overrides_keep_types():
    config = config_files.load_config("style_muse")
    for setting, value in {
        "num_steps=2_00": 200,
        "data.flip=true": True,
        "objective.content.relu2_2=3": 3.0,
        "net.norm=instance": "instance",
    }.items():
        config_files.override(config, setting)
        key = setting.split("=")[0]
        assert records.flatten(config)[key] == value
        assert type(records.flatten(config)[key]) is type(value)


@pytest.mark.parametrize(
    "setting, message",
    [
        ("num_step=7", 'Did you mean "num_steps"?'),
        ("data.imagesize=7", 'Did you mean "image_size"?'),
        ("num_steps=many", "not a int"),
        ("num_steps=1.5", "not a int"),
        ("data.flip=maybe", "not a bool"),
        ("num_steps", "no value"),
        ("data=3", "a group"),
        ("quick.num_steps=3", "--config.num_steps, which comes after"),
        ("seed.x=3", "nothing below it"),
    ],
)
def test_bad_overrides(setting, message):
    with pytest.raises(InputError, match=message.replace("?", r"\?")):
        config_files.override(config_files.load_config("style_muse"), setting)


def test_missing_and_broken_files(tmp_path):
    with pytest.raises(InputError, match="configs/ has .*style_muse.py"):
        config_files.load_config("nope.py")
    (tmp_path / "empty.py").write_text("")
    with pytest.raises(InputError, match="KeyError: 'get_config'"):
        config_files.load_config(str(tmp_path / "empty.py"))
    (tmp_path / "broken.py").write_text("def (")
    with pytest.raises(InputError, match="broken.py"):
        config_files.load_config(str(tmp_path / "broken.py"))


def test_a_checkout_has_its_own_configs_whichever_is_installed(tmp_path):
    shutil.copytree(
        ROOT / "jaxperceptual" / "core", tmp_path / "jaxperceptual" / "core"
    )
    shutil.copy(ROOT / "jaxperceptual" / "__init__.py", tmp_path / "jaxperceptual")
    shutil.copytree(ROOT / "configs", tmp_path / "configs")
    code = (
        "from jaxperceptual.core import config_files as c; c.load_config('denoise.py')"
    )
    code += "; from jaxperceptual.configs import smoke; print(c.FOLDER, smoke.__file__)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path
    )
    folder = tmp_path / "configs"
    assert done.stdout.split() == [str(folder), str(folder / "smoke.py")], done.stderr


def test_keys_follow_those_that_they_belong_to():
    def with_settings(name, *settings):
        config = config_files.load_config(name)
        config_files.override_all(config, settings)
        return config

    assert with_settings("gallery", "num_steps=30").optimizer.decay_steps == 30
    own = with_settings("gallery", "num_steps=30", "optimizer.decay_steps=40")
    assert own.optimizer.decay_steps == 40
    assert with_settings("style_muse", "num_steps=30").optimizer.decay_steps == 0
    steps = "checkpoint_every_steps", "keep_every_steps"
    for setting, expected in (
        ("checkpoint_every_steps=3", (3, 10_002)),
        ("steps_per_dispatch=7", (504, 10_080)),
        ("keep_every_steps=3", (500, 3)),  # asked for, and refused
    ):
        config = with_settings("style_muse", setting)
        assert tuple(config[key] for key in steps) == expected
