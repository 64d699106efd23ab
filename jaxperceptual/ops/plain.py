"""The operations in plain JAX: what an accelerator runs, and what all forms must equal.

Shapes are NHWC and HWIO; without bias or ReLU, which the doors in `ops` add.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

# Of stride 1: (x, kernel, pads) -> y.
Convolve = Callable[[jax.Array, jax.Array, tuple], jax.Array]
NO_PADS = ((0, 0), (0, 0))


def conv(x, kernel, pads=NO_PADS, stride=1, lhs_dilation=None):
    """Convolution with zero padding `((top, bottom), (left, right))`."""
    return lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        pads,
        lhs_dilation=lhs_dilation,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


@jax.custom_vjp
def conv_transpose(x, kernel):
    """As `ops.conv_transpose`.

    Its gradient is that of the strided convolution which it transposes. JAX's own for
    the kernel moves the whole enlarged map over x with zeros between: XLA makes that a
    cuDNN call with a filter of 255 x 255 (`benchmarks.gpu_programs`).
    """
    pads = ((1, 2), (1, 2))
    return conv(x, kernel[::-1, ::-1], pads, lhs_dilation=(2, 2))


def _conv_transpose_fwd(x, kernel):
    return conv_transpose(x, kernel), (x, kernel)


def _conv_transpose_bwd(saved, g):
    x, kernel = saved

    def strided(kernel):  # g[2a + d - 1] w[d], summed over d
        return conv(g, kernel, ((1, 1), (1, 1)), stride=2)

    # y[2a + d - 1] += x[a] w[d], so that is what x[a] is multiplied by.
    dx, to_kernel = jax.vjp(strided, kernel.swapaxes(2, 3))
    (dkernel,) = to_kernel(x)
    return dx, dkernel.swapaxes(2, 3)


conv_transpose.defvjp(_conv_transpose_fwd, _conv_transpose_bwd)


def upsample_conv(x, kernel):
    """As `ops.upsample_conv`, without a margin."""
    x = jnp.repeat(jnp.repeat(x, 2, axis=1), 2, axis=2)
    # Reflecting by 1 repeats the edge, since the first two rows are now equal; unlike
    # `ops.reflection_pad` its gradient is no scatter.
    return conv(jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge"), kernel)


def frozen_conv(x, kernel):
    """As `ops.frozen_conv`."""
    return conv(x, lax.stop_gradient(kernel), ((1, 1), (1, 1)))


def max_pool(x):
    """As `ops.max_pool`."""
    window = (1, 2, 2, 1)
    return lax.reduce_window(x, -jnp.inf, lax.max, window, window, "VALID")


def gram(x):
    """As `ops.gram`."""
    x = x.reshape(x.shape[0], -1, x.shape[-1])
    wide = jnp.promote_types(x.dtype, jnp.float32)
    return jnp.einsum("npc,npd->ncd", x, x, preferred_element_type=wide)


def masked_products(a, b, mask):
    """As `ops.masked_products`."""
    masked = mask * b
    inner = tuple(range(1, b.ndim))
    products = jnp.tensordot(a, masked, (inner, inner), precision="highest")
    return products, jnp.sum(masked * b, inner)


def replace_row(rows, index, row, keep):
    """As `ops.replace_row`."""
    return rows.at[index].set(jnp.where(keep, row, rows[index]))


def norm(x, scale, bias, over_batch, epsilon, relu, axis_name):
    """As `ops.norm`."""
    axes = (0, 1, 2) if over_batch else (1, 2)
    dtype, x = x.dtype, widened(x)

    def mean_of(a):
        m = jnp.mean(a, axes, keepdims=True)
        return lax.pmean(m, axis_name) if axis_name else m

    mean = mean_of(x)
    variance = mean_of(jnp.square(x - mean))
    y = (x - mean) * (lax.rsqrt(variance + epsilon) * scale) + bias
    y = (jax.nn.relu(y) if relu else y).astype(dtype)
    return y, lax.stop_gradient(mean), lax.stop_gradient(variance)


def widened(x):
    """In float32, if it was in less: for sums."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))
