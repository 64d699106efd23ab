"""Equation 5 and its gradient against numbers that PyTorch computed (`golden/`)."""

import jax
import numpy as np
import pytest
from golden_inputs import OBJECTIVE, PIXELS, STYLE_IMAGE, TARGETS, golden, strided
from helpers import relative_error
from tolerances import NEAR_TIES, OTHER_FRAMEWORK

from jaxperceptual.loss_network import store, vgg
from jaxperceptual.losses.objective import Frozen, PerceptualObjective
from jaxperceptual.ops import choice

pytestmark = pytest.mark.weights


@pytest.mark.parametrize("forms", ["plain", "cpu"])
def test_objective_and_its_gradient_are_pytorchs(forms):
    expected = dict(golden("losses"))
    weights = store.load("vgg16_torchvision")
    network = vgg.VGG16(weights.preprocessing)
    objective = PerceptualObjective(network, **OBJECTIVE)
    with choice.forms(forms):
        variables = vgg.freeze(weights.params, objective.layers)
        frozen = Frozen(variables, objective.style_targets(variables, STYLE_IMAGE))
        differentiated = jax.value_and_grad(objective, argnums=1, has_aux=True)
        (loss, terms), gradient = jax.jit(differentiated)(frozen, PIXELS, TARGETS)
    error = relative_error(strided(gradient), expected.pop("gradient"))
    assert error < NEAR_TIES, error
    found = {"loss": loss, **terms}
    assert found.keys() == expected.keys()
    for name, value in found.items():
        np.testing.assert_allclose(
            value, expected[name], **OTHER_FRAMEWORK, err_msg=name
        )
