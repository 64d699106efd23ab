"""Convolutions, pooling and Gram products in forms that XLA runs fast on a CPU.

Every function equals the plain form of the same name within float32 rounding, values
and gradients (`tests/ops/test_cpu.py`). `ops` chooses between the two; nothing else
calls them. The gains, and the forms that did not help, are in docs/cpu.md.

XLA on a CPU has fast kernels for stride-1 convolutions with many channels and for
matrix products, and slow ones for dilated convolutions, for few channels and for
scatters. The forms here, in `rearranged` and in `winograd` say the same sums in terms
of the fast ones. Their gradients are written out, since the transpose of a fast form is
often a slow one.

Shapes are NHWC and HWIO throughout; `p` is symmetric zero padding, `pads` is
`((top, bottom), (left, right))`.
"""

import functools

import jax
import jax.numpy as jnp

from jaxperceptual.core.types import AnyArray
from jaxperceptual.ops import plain, rearranged
from jaxperceptual.ops.winograd import winograd_conv, winograd_kernel, winograd_rows

# --- convolutions that learn -------------------------------------------------------


def conv(x: jax.Array, kernel: jax.Array, stride: int, p: int) -> jax.Array:
    """Convolution with zero padding `p`, by the form that suits the shape."""
    k, _, inputs, outputs = kernel.shape
    if k == 3 and stride == 1 and min(inputs, outputs) >= 64:
        return _conv3(x, kernel, p)
    if k == 3 and stride == 2 and inputs > 4:
        return _conv3_stride2(_zero_pad(x, p), kernel)
    if k >= 5 and stride == 1 and outputs <= 4:
        return _conv_to_few(_zero_pad(x, p), kernel)
    if k >= 5 and stride == 1 and inputs <= 4:
        return _conv_from_few(_zero_pad(x, p), kernel)
    return _conv(x, kernel, stride, p)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _conv3(x, kernel, p):
    m = winograd_rows(x.shape[1] - 2 + 2 * p)
    return winograd_conv(x, winograd_kernel(kernel, m), p)


def _conv3_fwd(x, kernel, p):
    return _conv3(x, kernel, p), (x, kernel)


def _conv3_bwd(p, saved, g):
    x, kernel = saved
    turned = winograd_kernel(_turned(kernel), winograd_rows(x.shape[1]))
    dx = winograd_conv(g, turned, 2 - p)
    return dx, _kernel_gradient(lambda w: _conv(x, w, 1, p), kernel, g)


_conv3.defvjp(_conv3_fwd, _conv3_bwd)


@jax.custom_vjp
def _conv3_stride2(x, kernel):
    return _conv(x, kernel, 2, 0)


def _conv3_stride2_fwd(x, kernel):
    return _conv3_stride2(x, kernel), (x, kernel)


def _conv3_stride2_bwd(saved, g):
    x, kernel = saved
    # Along a row the input gradient at 2a is g[a] w[0] + g[a-1] w[2], at 2a+1 it is
    # g[a] w[1]: two convolutions, one per row parity, never a dilated one.
    even, odd = ((2, 0), (None, 1))
    dx = rearranged.two_parities(
        g,
        kernel.transpose(0, 1, 3, 2),
        (even, odd),
        ((1, 1), (0, 1)),
        plain.conv,
    )
    dx = dx[:, : x.shape[1], : x.shape[2]]
    return dx, _kernel_gradient(lambda w: _conv(x, w, 2, 0), kernel, g)


_conv3_stride2.defvjp(_conv3_stride2_fwd, _conv3_stride2_bwd)


@jax.custom_vjp
def conv_transpose(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """3 x 3 convolution of stride 1/2: `y[2a + d - 1] += x[a] kernel[d]`."""
    return rearranged.transposed(x, kernel, plain.conv)


def _conv_transpose_fwd(x, kernel):
    return conv_transpose(x, kernel), (x, kernel)


def _conv_transpose_bwd(saved, g):
    x, kernel = saved
    # Its transpose is the ordinary convolution of stride 2, which is fast.
    g_padded = jnp.pad(g, ((0, 0), (1, 0), (1, 0), (0, 0)))
    dx = _conv(g_padded, kernel.transpose(0, 1, 3, 2), 2, 0)
    return dx, _kernel_gradient(
        lambda w: rearranged.transposed(x, w, plain.conv), kernel, g
    )


conv_transpose.defvjp(_conv_transpose_fwd, _conv_transpose_bwd)


def upsample_conv(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Nearest-neighbour x2, reflection padding, 3 x 3; computed at low resolution."""
    n, h, w, _ = x.shape
    rows = rearranged.upsampled_rows(x, kernel, plain.conv)
    return jnp.stack(rows, 2).reshape(n, 2 * h, 2 * w, kernel.shape[-1])


@jax.custom_vjp
def _conv_to_few(x, kernel):
    return rearranged.to_few(x, kernel, plain.conv, 0)


def _conv_to_few_fwd(x, kernel):
    return _conv_to_few(x, kernel), (x, kernel)


def _conv_to_few_bwd(saved, g):
    x, kernel = saved
    dx = rearranged.conv_in_blocks(
        _zero_pad(g, kernel.shape[0] - 1), _turned(kernel), (1, 4)
    )
    return dx, _kernel_gradient(
        lambda w: rearranged.conv_in_blocks(x, w, (4, 4)), kernel, g
    )


_conv_to_few.defvjp(_conv_to_few_fwd, _conv_to_few_bwd)


@jax.custom_vjp
def _conv_from_few(x, kernel):
    return rearranged.conv_in_blocks(x, kernel, (1, 4))


def _conv_from_few_fwd(x, kernel):
    return _conv_from_few(x, kernel), (x, kernel)


def _conv_from_few_bwd(saved, g):
    x, kernel = saved
    dx = _conv_to_few(_zero_pad(g, kernel.shape[0] - 1), _turned(kernel))
    return dx, _kernel_gradient(lambda w: _conv(x, w), kernel, g)


_conv_from_few.defvjp(_conv_from_few_fwd, _conv_from_few_bwd)


# --- the frozen loss network -------------------------------------------------------


@jax.custom_vjp
def frozen_conv(x: jax.Array, kernel: jax.Array, winograd) -> jax.Array:
    """3 x 3 same convolution whose kernel takes no gradient.

    `winograd` is `frozen_kernels(kernel)`, made once, or None.
    """
    return _frozen_forward(x, kernel, winograd)


def _frozen_forward(x, kernel, winograd):
    if winograd is None:
        return _conv(x, kernel, 1, 1)
    return winograd_conv(x, winograd["forward"], 1)


def _frozen_bwd(saved, g):
    kernel, winograd = saved
    if winograd is not None:
        dx = winograd_conv(g, winograd["backward"], 1)
    elif kernel.shape[2] <= 4:
        dx = _conv_to_few(_zero_pad(g, 1), _turned(kernel))
    else:
        dx = _conv(g, _turned(kernel), 1, 1)
    return dx, None, None


frozen_conv.defvjp(
    lambda x, kernel, winograd: (
        _frozen_forward(x, kernel, winograd),
        (kernel, winograd),
    ),
    _frozen_bwd,
)


def frozen_kernels(kernel: AnyArray) -> dict[str, tuple[AnyArray, ...]] | None:
    """Winograd transforms of a frozen kernel and its transpose; None if too small."""
    if min(kernel.shape[2:]) < 64:
        return None
    # For images of any height, so by width alone: VGG's 512 channels see few rows, of
    # which 6 at a time waste some, and their larger transforms would be read for them.
    m = 4 if max(kernel.shape[2:]) >= 512 else 6
    return {
        "forward": winograd_kernel(kernel, m),
        "backward": winograd_kernel(_turned(kernel), m),
    }


def max_pool(x: jax.Array) -> jax.Array:
    """2 x 2 maximum, from strided slices: its gradient is a select, not a scatter.

    Tied maxima share the gradient; behind a ReLU ties are zeros, which pass none on.
    """
    h, w = x.shape[1] // 2 * 2, x.shape[2] // 2 * 2
    x = x[:, :h, :w]
    top = jnp.maximum(x[:, ::2, ::2], x[:, ::2, 1::2])
    bottom = jnp.maximum(x[:, 1::2, ::2], x[:, 1::2, 1::2])
    return jnp.maximum(top, bottom)


@jax.custom_vjp
def gram(x: jax.Array) -> jax.Array:
    """x^T x over positions, [n h w c] -> [n c c], not divided by anything."""
    x = x.reshape(x.shape[0], -1, x.shape[-1])
    return jnp.einsum("npc,npd->ncd", x, x)


def _gram_bwd(x, g):
    flat = x.reshape(x.shape[0], -1, x.shape[-1])
    symmetric = g + g.transpose(0, 2, 1)  # one product where autodiff makes two
    return (jnp.einsum("npc,ncd->npd", flat, symmetric).reshape(x.shape),)


gram.defvjp(lambda x: (gram(x), x), _gram_bwd)


# --- building blocks ---------------------------------------------------------------


def _conv(x, kernel, stride=1, p=0):
    return plain.conv(x, kernel, ((p, p), (p, p)), stride)


def _kernel_gradient(conv_of_kernel, kernel, g):
    """Gradient with respect to the kernel, by transposing that one linear function."""
    return jax.linear_transpose(conv_of_kernel, kernel)(g)[0]


def _turned(kernel):
    """The kernel of the transposed convolution: half a turn, channels swapped."""
    return kernel[::-1, ::-1].transpose(0, 1, 3, 2)


def _zero_pad(x, p):
    return jnp.pad(x, ((0, 0), (p, p), (p, p), (0, 0))) if p else x
