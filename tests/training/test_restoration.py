"""The restoration configs through bin/train: data, network and objective of each."""

import functools
import json

import jax
import jax.numpy as jnp
import pytest
from helpers import Command

from jaxperceptual.core.errors import InputError
from jaxperceptual.images.reading import read_image
from jaxperceptual.networks import pretrained
from jaxperceptual.networks.model_file import build_net, read_model

run = Command("train")


def train(tmp_path, config, *argv):
    command = [f"--config={config}.py", f"--workdir={tmp_path / config}"]
    command += ["--config.num_steps=2", "--config.log_every_steps=1"]
    command += ["--data.image_size=32", "--data.batch_size=2"]
    assert run(*command, *argv) == 0
    lines = (tmp_path / config / "metrics.jsonl").read_text().splitlines()
    return tmp_path / config, [json.loads(line) for line in lines]


@pytest.mark.parametrize(
    "config, terms, factor",
    [
        pytest.param("sr_x8_feat", {"content/relu2_2"}, 8, marks=pytest.mark.slow),
        pytest.param("sr_x4_pixel", {"pixel"}, 4, marks=pytest.mark.slow),
        ("srcnn_x4", {"luma"}, 4),
        pytest.param(
            "denoise", {"content/relu2_2", "pixel"}, 1, marks=pytest.mark.slow
        ),
        pytest.param(
            "colorize", {"content/relu2_2", "pixel"}, 1, marks=pytest.mark.slow
        ),
    ],
)
def test_trains_and_leaves_a_model(config, terms, factor, tmp_path):
    folder, lines = train(tmp_path, config)
    timing = {"images_per_second", "input_wait"}
    assert set(lines[0]) - timing == terms | {"step", "loss", "grad_norm"}
    assert lines[0]["loss"] != lines[1]["loss"]
    model = read_model(folder, task="restoration")
    net = build_net(model)
    assert net.factor == factor
    output = jax.eval_shape(
        functools.partial(net.apply, train=False),
        model.variables,
        jnp.zeros((1, 5, 3, 3)),
    )
    assert output.shape == (1, 5 * factor, 3 * factor, 3)
    # Photos, what the network got, and what it made of it.
    grid = read_image(folder / "samples" / "step_000002.png")
    assert grid.shape[0] == 3 * 256 + 2 * 4
    with pytest.raises(InputError, match="for the task restoration, not style"):
        read_model(folder)


@pytest.mark.parametrize(
    "argv, message",
    [
        (["--data.image_size=30"], "data.image_size=30; use a multiple of the factor"),
        (["--config.net.factor=3"], "factor=3; use one of 1, 2, 4, 8"),
        (["--config.net.name=UNet"], "net.name='UNet' for restoration; use one of Su"),
        (["--config.degradation.blur=-1"], "blur=-1.0 px"),
        (["--config.degradation.name=grey"], "grey keeps the size"),
        (["--config.data.crop=centre"], "crop='centre'; use one of stretch, random"),
        (["--style=x.png"], 'no key "style_image"'),
        (["--config.optimizer.decay_steps=-1"], "decay_steps=-1; use 0"),
        (["--config.objective.content.relu2_2=0"], "every weight of the objective"),
    ],
)
def test_bad_input(argv, message, tmp_path):
    with pytest.raises(InputError, match=message):
        train(tmp_path, "sr_x4_feat", *argv)
    assert not (tmp_path / "sr_x4_feat" / pretrained.FILE_NAME).exists()
