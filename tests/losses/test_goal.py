"""From a config to what is minimised."""

import jax
import numpy as np
import pytest

from jaxperceptual.core import config_files
from jaxperceptual.losses.goal import build_goal
from jaxperceptual.losses.style_image import StyleImage

pytestmark = pytest.mark.weights


def test_paintings_and_their_weights_share_a_program():
    """What is compiled for one is found in the cache for the next."""
    rng = np.random.default_rng(0)
    first, second, output, photo = np.float32(rng.integers(0, 256, (4, 2, 16, 16, 3)))
    texts, found = [], []
    for painting, weight in ((first, 1.0), (first, 2.5), (second, 2.5)):
        config = config_files.load_config("smoke.py")
        config.style_weight = weight
        goal = build_goal(config, StyleImage("name", "", painting[0], ""))
        # A record has what the terms are multiplied with in all.
        assert goal.record["objective"]["style"] == {"relu1_2": 1e4 * weight}
        program = jax.jit(goal.objective)
        texts.append(program.lower(goal.frozen, output, photo).as_text())
        found.append(program(goal.frozen, output, photo))
    assert texts[0] == texts[1] == texts[2]
    (_, one), (loss, more), (_, other) = found
    style = "style/relu1_2"
    np.testing.assert_allclose(more[style], 2.5 * one[style], rtol=1e-6)
    np.testing.assert_allclose(loss, sum(more.values()), rtol=1e-6)
    assert more["content/relu2_2"] == one["content/relu2_2"]
    assert other[style] != more[style]
