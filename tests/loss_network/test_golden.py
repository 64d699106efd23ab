"""VGG-16's activations against numbers that PyTorch computed (`golden/`)."""

import jax
import numpy as np
import pytest
from golden_inputs import LAYERS, SEEN, golden, sampled
from helpers import relative_error
from tolerances import OTHER_FRAMEWORK

from jaxperceptual.loss_network import store, vgg
from jaxperceptual.ops import choice

pytestmark = pytest.mark.weights


@pytest.mark.parametrize("forms", ["plain", "cpu"])
def test_activations_are_pytorchs(forms):
    expected = golden("loss_network")
    weights = store.load("vgg16_torchvision")
    assert weights.fingerprint == expected["fingerprint"]  # or it is another network
    with choice.forms(forms):
        variables = vgg.freeze(weights.params, LAYERS)
        network = vgg.VGG16(weights.preprocessing)
        found = jax.jit(lambda v, x: network.apply(v, x, LAYERS))(variables, SEEN)
    for name in LAYERS:
        activation = np.asarray(found[name], np.float64)
        error = relative_error(sampled(activation, name), expected[name])
        assert error < OTHER_FRAMEWORK["rtol"], f"{name}: {error}"
        for kind in ("mean", "std"):
            np.testing.assert_allclose(
                getattr(activation, kind)(),
                expected[f"{name} {kind}"],
                **OTHER_FRAMEWORK,
                err_msg=name,
            )
