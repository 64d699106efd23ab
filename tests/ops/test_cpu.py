"""Every CPU form against the plain one: values and gradients, odd sizes, batches."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tolerances import WINOGRAD

from jaxperceptual import ops
from jaxperceptual.ops import choice, cpu

KERNEL_GRADIENT = dict(rtol=1e-3, atol=2e-4)  # sums over all positions of the batch
# Up to 16,800 products of both signs, which NumPy adds up in float32 too.
LONG_SUM = dict(rtol=1e-3, atol=1e-2)
LONG_SUM_REORDERED = dict(rtol=1e-4, atol=1e-3)  # both sides of it ours

SIZES = [(4, 12, 20), (1, 9, 7)]

CONVS = {  # kernel, stride, inputs, outputs, p
    "residual": (3, 1, 128, 128, 0),
    "residual padded": (3, 1, 64, 64, 1),
    "strided": (3, 2, 32, 64, 1),
    "strided unpadded": (3, 2, 16, 8, 0),
    "first": (9, 1, 3, 32, 4),
    "last": (9, 1, 32, 3, 4),
    "no special form": (3, 1, 8, 16, 1),
}


def both(function, *arguments):
    """(value, gradients) in the plain form and in the CPU form."""
    results = []
    for name in ("plain", "cpu"):
        with choice.forms(name):

            @jax.jit
            def run(*arguments):
                value, pull = jax.vjp(function, *arguments)
                weights = jnp.cos(jnp.arange(value.size, dtype=value.dtype))
                return value, pull(weights.reshape(value.shape))

            results.append(run(*arguments))
    return results


def check(function, *arguments):
    (plain, plain_gradients), (fast, fast_gradients) = both(function, *arguments)
    scale = np.abs(plain).max()
    np.testing.assert_allclose(fast / scale, plain / scale, **WINOGRAD)
    for ours, theirs in zip(fast_gradients, plain_gradients, strict=True):
        scale = np.abs(theirs).max() + 1e-30
        np.testing.assert_allclose(ours / scale, theirs / scale, **KERNEL_GRADIENT)


def normal(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape, np.float32))


@pytest.mark.parametrize("n, h, w", SIZES)
@pytest.mark.parametrize("name", CONVS)
def test_conv(name, n, h, w):
    k, stride, inputs, outputs, p = CONVS[name]
    check(
        lambda *arguments: ops.conv(*arguments, stride=stride, p=p),
        normal(0, n, h, w, inputs),
        normal(1, k, k, inputs, outputs),
        normal(2, outputs),
    )


@pytest.mark.parametrize("n, h, w", [*SIZES, (1, 1, 1)])
@pytest.mark.parametrize("op", [ops.conv_transpose, ops.upsample_conv])
def test_upsampling(op, n, h, w):
    check(op, normal(0, n, h, w, 16), normal(1, 3, 3, 16, 8), normal(2, 8))


@pytest.mark.parametrize("n, h, w", SIZES)
@pytest.mark.parametrize("inputs, outputs", [(3, 64), (64, 64), (64, 128), (128, 256)])
def test_frozen_conv(inputs, outputs, n, h, w):
    kernel = normal(1, 3, 3, inputs, outputs)
    transforms = cpu.frozen_kernels(kernel)
    check(lambda x: ops.frozen_conv(x, kernel, transforms), normal(0, n, h, w, inputs))


@pytest.mark.parametrize("n, h, w", SIZES)
def test_max_pool_and_gram(n, h, w):
    x = normal(0, n, h, w, 16)
    check(ops.max_pool, x)
    check(ops.gram, x)


@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize("over_batch", [True, False])
@pytest.mark.parametrize("n, h, w", SIZES)
def test_norm(over_batch, relu, n, h, w):
    def normed(x, scale, bias):
        y, mean, variance = ops.norm(
            x, scale, bias, over_batch=over_batch, epsilon=1e-5, relu=relu
        )
        return y + 0.0 * (mean + variance)

    check(normed, 3 + normal(0, n, h, w, 8), normal(1, 8), normal(2, 8))


@pytest.mark.parametrize("shape", [(5,), (70, 80, 3)])  # a strip's part; and one more
def test_masked_products(shape):
    rng = np.random.default_rng(0)
    a, b = jnp.asarray(rng.standard_normal((2, 2, 4, *shape), np.float32))
    mask = np.float32(rng.uniform(size=(2, *shape)) < 0.8)
    masked = mask[:, None] * b
    products = np.einsum("nip,njp->nij", *(x.reshape(2, 4, -1) for x in (a, masked)))
    squares = np.sum(masked * b, tuple(range(2, b.ndim)))
    for name in ("plain", "cpu"):
        with choice.forms(name):
            found = jax.jit(jax.vmap(ops.masked_products))(a, b, mask)
            alone = ops.masked_products(*map(jnp.asarray, (a[1], b[1], mask[1])))
            shared = jax.vmap(ops.masked_products, (0, None, 0))(a, b[0], mask)
        for i, expected in enumerate((products, squares)):
            np.testing.assert_allclose(found[i], expected, **LONG_SUM)
            np.testing.assert_allclose(alone[i], found[i][1], **LONG_SUM_REORDERED)
            np.testing.assert_allclose(shared[i][0], found[i][0], **LONG_SUM_REORDERED)


@pytest.mark.parametrize("form", ["plain", "cpu"])
def test_replace_row(form):
    rows, row = jnp.zeros((2, 3, 4)), jnp.arange(1.0, 9.0).reshape(2, 4)
    index, keep = jnp.array([2, 1]), jnp.array([True, False])
    expected = np.zeros((2, 3, 4))
    expected[0, 2] = row[0]
    with choice.forms(form):
        np.testing.assert_array_equal(
            jax.jit(jax.vmap(ops.replace_row))(rows, index, row, keep), expected
        )
        for i in range(2):
            found = ops.replace_row(rows[i], index[i], row[i], keep[i])
            np.testing.assert_array_equal(found, expected[i])


def test_max_pool_shares_nothing_behind_a_relu():
    # All-zero windows tie; the ReLU in front passes none of it on.
    x = jnp.full((1, 4, 4, 1), -1.0)
    with choice.forms("cpu"):
        gradient = jax.grad(lambda x: ops.max_pool(jax.nn.relu(x)).sum())(x)
    assert not gradient.any()


def test_reflection_is_defined_for_any_size():
    x = jnp.arange(3.0).reshape(1, 1, 3, 1)
    padded = ops.reflection_pad(x, ((2, 1), (4, 3)))
    assert padded.shape == (1, 4, 10, 1)
    np.testing.assert_array_equal(padded[0, 0, :, 0], [0, 1, 2, 1, 0, 1, 2, 1, 0, 1])
