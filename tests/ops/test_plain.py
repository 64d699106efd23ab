"""The plain forms' own gradients, against JAX's and PyTorch's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxperceptual.ops import plain


@pytest.mark.parametrize("size", [(1, 1), (4, 5), (7, 6)])
def test_gradients_of_a_transposed_convolution(size):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    h, w = size
    x = rng.normal(size=(2, h, w, 3)).astype(np.float32)
    kernel = rng.normal(size=(3, 3, 3, 4)).astype(np.float32)
    g = rng.normal(size=(2, 2 * h, 2 * w, 4)).astype(np.float32)

    def as_jax_has_it(x, kernel):
        pads = ((1, 2), (1, 2))
        return plain.conv(x, kernel[::-1, ::-1], pads, lhs_dilation=(2, 2))

    y, back = jax.vjp(plain.conv_transpose, x, kernel)
    dx, dkernel = back(jnp.asarray(g))
    _, back = jax.vjp(as_jax_has_it, x, kernel)
    for ours, theirs in zip((dx, dkernel), back(jnp.asarray(g)), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)

    t, k = (torch.tensor(a, requires_grad=True) for a in (x, kernel))
    theirs = torch.nn.functional.conv_transpose2d(
        t.permute(0, 3, 1, 2), k.permute(2, 3, 0, 1), None, 2, 1, 1
    ).permute(0, 2, 3, 1)
    theirs.backward(torch.tensor(g))
    for ours, reference in ((y, theirs.detach()), (dx, t.grad), (dkernel, k.grad)):
        np.testing.assert_allclose(ours, reference.numpy(), rtol=1e-4, atol=1e-4)
