"""The models that ship: whole, small, described, and good at what they are for."""

import numpy as np
import pytest

from jaxperceptual.data import sources
from jaxperceptual.evaluation import super_resolution
from jaxperceptual.networks import pretrained
from jaxperceptual.networks.model_file import read_model

NAMES = pretrained.pretrained_names()


def task_of(name):
    return "style" if name.startswith("style") else "restoration"


@pytest.mark.parametrize("name", NAMES)
def test_is_small_and_has_a_card(name):
    path = pretrained.pretrained_path(name)
    assert path.stat().st_size < 8e6
    card = path.with_suffix(".md").read_text()
    model = read_model(name, task=task_of(name))
    assert f"{model.trained.steps:,}" in card
    assert f"bin/train --config {name}.py" in card
    # It says which photos, and not where they lay.
    source = model.trained.config["data.source"]
    assert source and "/" not in source and source.split()[0] in card


@pytest.mark.weights
@pytest.mark.parametrize("name", [n for n in NAMES if task_of(n) == "restoration"])
def test_enlarges_better_than_bicubic_interpolation(name):
    """On a photo that it was not trained on, under its own degradation."""
    judge = super_resolution.Judge(
        super_resolution.read_task([name], factor=None, blur=None)
    )
    photo = sources.open_source(sources.EMBEDDED).load(0, None)
    photo = photo.crop((150, 0, 310, 160))  # a face
    scores = judge("", "", np.float32(photo), grey=False).scores
    ours, bicubic = scores[name], scores[super_resolution.BICUBIC]
    if "feat" in name:
        assert ours["lpips_alex"] < 0.75 * bicubic["lpips_alex"]
    else:
        assert ours["psnr"] > bicubic["psnr"] + 0.3
