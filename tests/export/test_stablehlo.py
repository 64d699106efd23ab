"""StableHLO by `jax.export`: one file, any size, three platforms."""

import jax
import numpy as np
import pytest
from helpers import Command, restoration_model, style_model
from tolerances import THROUGH_A_NETWORK

from jaxperceptual.core.errors import InputError
from jaxperceptual.export import stablehlo, writing
from jaxperceptual.inference.restorer import Restorer
from jaxperceptual.inference.stylizer import Stylizer
from jaxperceptual.networks import pretrained
from jaxperceptual.networks.model_file import write_model


def test_a_style_network_at_three_sizes(tmp_path):
    model = style_model(norm="instance")
    write_model(tmp_path / pretrained.FILE_NAME, model)
    path = tmp_path / "mine"
    argv = ["--model", tmp_path, "--format", "stablehlo", "-o", path]
    assert Command("export")(*argv) == 0
    made = jax.export.deserialize(path.read_bytes())
    assert made.platforms == stablehlo.PLATFORMS
    stylizer = Stylizer(model)
    for shape in ((1, 1, 17, 3), (1, 17, 5, 3), (2, 31, 2, 3)):
        images = np.random.default_rng(0).uniform(0, 255, shape).astype(np.float32)
        expected = stylizer(images)
        np.testing.assert_allclose(made.call(images), expected, **THROUGH_A_NETWORK)
    assert expected.std() > 4


@pytest.mark.parametrize(
    "net",
    [
        pytest.param(
            dict(factor=2, norm=None, upsample="resize", skip=True),
            marks=pytest.mark.slow,
        ),
        dict(name="SRCNN", factor=4),
    ],
)
def test_a_restoration_network(net, tmp_path):
    model = restoration_model(**net)
    path = writing.export_model(model, tmp_path / "model.stablehlo")
    image = np.random.default_rng(0).uniform(0, 255, (9, 14, 3)).astype(np.float32)
    found = jax.export.deserialize(path.read_bytes()).call(image[None])
    expected = Restorer(model).network(image)
    np.testing.assert_allclose(found[0], expected, **THROUGH_A_NETWORK)


def test_a_platform_that_there_is_not():
    with pytest.raises(InputError, match="platform metal: use some of cpu, cuda, tpu"):
        stablehlo.to_stablehlo(style_model(), platforms=["metal"])
