"""The networks against numbers that PyTorch computed (`golden/`)."""

import golden_inputs
import jax
import numpy as np
import pytest
from tolerances import THROUGH_A_NETWORK

from jaxperceptual.ops import choice


@pytest.mark.parametrize("forms", ["plain", "cpu"])
@pytest.mark.parametrize("name", golden_inputs.NETS)
def test_output_is_pytorchs(name, forms):
    net, variables, images = golden_inputs.network(name)
    expected = golden_inputs.golden("networks")[name]
    # The tanh is not in its flat ends, where all networks are equal.
    assert expected.std() > 10 and 20 < expected.min() and expected.max() < 245
    with choice.forms(forms):
        found = jax.jit(lambda v, x: net.apply(v, x, train=False))(variables, images)
    np.testing.assert_allclose(found, expected, **THROUGH_A_NETWORK)
