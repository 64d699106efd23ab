"""Operations counted against counts by hand."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxperceptual import ops
from jaxperceptual.benchmarks import flops
from jaxperceptual.networks.style_net import StyleNet
from jaxperceptual.ops import choice


def of(*shape):
    return jax.ShapeDtypeStruct(shape, np.float32)


def test_products_and_convolutions_by_hand():
    assert flops.count(jnp.matmul, of(5, 7), of(7, 3)) == 2 * 5 * 7 * 3
    x, *weights = of(2, 8, 10, 3), of(3, 3, 3, 4), of(4)
    with choice.forms("plain"):
        conv = flops.count(functools.partial(ops.conv, p=1), x, *weights)
        half = flops.count(functools.partial(ops.conv, stride=2, p=1), x, *weights)
        twice = flops.count(ops.conv_transpose, x, *weights)
        gram = flops.count(ops.gram, x)
    assert conv == 2 * (2 * 8 * 10 * 4) * 27
    assert half == conv / 4
    assert twice == conv  # zeros between the pixels are no work
    assert gram == 2 * (2 * 3 * 3) * 80


def test_a_gradient_is_twice_the_work():
    def loss(x, kernel):
        return jnp.sum(ops.conv(x, kernel, jnp.zeros(4), stride=2, p=1) ** 2)

    x, kernel = of(2, 8, 8, 3), of(3, 3, 3, 4)
    with choice.forms("plain"):
        once = flops.count(loss, x, kernel)
        both = flops.count(jax.grad(loss, (0, 1)), x, kernel)
        kernels = flops.count(jax.grad(loss, 1), x, kernel)
    assert kernels == 2 * once
    # Its transposed convolution has whole windows at the border as well.
    assert 3 * once <= both <= 3.6 * once


def test_loops_and_branches_count():
    def loop(x):
        return jax.lax.scan(lambda x, _: (jnp.tanh(x @ x), None), x, length=5)[0]

    assert flops.count(jax.jit(loop), of(4, 4)) == 5 * 2 * 4**3

    def endless(x):
        return jax.lax.while_loop(lambda x: x.sum() > 0, lambda x: x @ x, x)

    with pytest.raises(ValueError, match="while"):
        flops.count(endless, of(4, 4))


def test_the_papers_network(key):
    """Supplementary, table 1, summed by hand for 256 x 256: 2 k k i o h w each."""
    net = StyleNet()
    images = of(1, 256, 256, 3)
    variables = jax.eval_shape(lambda k, x: net.init(k, x, train=False), key, images)
    with choice.forms("plain"):
        found = flops.count(
            lambda v, x: net.apply(v, x, train=False), variables, images
        )
    layers = [(9, 3, 32, 336), (3, 32, 64, 168), (3, 64, 128, 84)]
    layers += [(3, 128, 128, 84 - 2 * i) for i in range(1, 11)]
    layers += [(3, 128, 64, 128 / 2), (3, 64, 32, 256 / 2), (9, 32, 3, 256)]
    expected = sum(2 * k * k * i * o * side**2 for k, i, o, side in layers)
    assert found == expected
