"""Convolutions, pooling, sums and norms in forms that XLA runs fast on a CPU.

Every function equals the plain form of the same name in `ops` within float32 rounding,
values and gradients (`tests/test_cpu.py`). `ops` chooses between the two; nothing else
calls them, but for `onednn`, which puts other convolutions into some of them. The
gains, and the forms that did not help, are in docs/cpu.md.

XLA on a CPU has fast kernels for stride-1 convolutions with many channels and for
matrix products, and slow ones for dilated convolutions, for few channels and for
scatters. The forms below say the same sums in terms of the fast ones. Their gradients
are written out, since the transpose of a fast form is often a slow one.

Shapes are NHWC and HWIO throughout; `p` is symmetric zero padding, `pads` is
`((top, bottom), (left, right))`.
"""

import functools
import importlib.util
import operator
import os
from collections.abc import Callable
from importlib import metadata

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.custom_batching import custom_vmap

from jaxperceptual.types import AnyArray

# jaxlib versions whose CPU compiler knows the flags below and the call of `onednn`. XLA
# aborts the process on a flag it does not know, so an untried version goes without.
_JAXLIB = ((0, 10), (0, 11))
_FLAGS = {
    "xla_cpu_experimental_ynn_fusion_type": "-individual_convolution",
    # Steps in an order that holds less at a time: memory that is new to the process
    # costs more than what the other order's concurrency gains.
    "xla_cpu_scheduler_type": "CPU_SCHEDULER_TYPE_MEMORY_OPTIMIZED",
    # Fusions by XLA's older code generator: programs as fast, in a third less time to
    # compile, and hundreds of megabytes less.
    "xla_backend_extra_options": "xla_cpu_disable_new_fusion_emitters",
}
_STRIP = 16_384  # columns of `masked_products`: 1.3 MB of 20 rows


def configure_xla() -> None:
    """Keeps convolutions off YNNPACK, and the memory of programs and compiler small.

    Acts through XLA_FLAGS, so it must run before JAX starts its backend, and never
    overrides a value that the user set. Where JAX would use an accelerator it does
    nothing: plugins read the same variable and need not know the flag.
    """
    platforms = os.environ.get("JAX_PLATFORMS", "")
    if platforms.split(",")[0] != "cpu" and (platforms or _has_accelerator_plugin()):
        return
    flags = os.environ.get("XLA_FLAGS", "")
    if known_jaxlib():
        added = [f"--{k}={v}" for k, v in _FLAGS.items() if k not in flags]
        os.environ["XLA_FLAGS"] = " ".join([*flags.split(), *added])


def known_jaxlib() -> bool:
    """Whether what XLA does not promise was tried with the jaxlib installed."""
    version = metadata.version("jaxlib").split(".")
    return tuple(int(part) for part in version[:2]) in _JAXLIB


def _has_accelerator_plugin() -> bool:
    """Whether packages are installed through which JAX would find an accelerator."""
    return bool(metadata.entry_points(group="jax_plugins")) or any(
        importlib.util.find_spec(name) for name in ("jax_plugins", "libtpu")
    )


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
    dx = _two_parities(
        g, kernel.transpose(0, 1, 3, 2), (even, odd), ((1, 1), (0, 1)), _padded
    )
    dx = dx[:, : x.shape[1], : x.shape[2]]
    return dx, _kernel_gradient(lambda w: _conv(x, w, 2, 0), kernel, g)


_conv3_stride2.defvjp(_conv3_stride2_fwd, _conv3_stride2_bwd)


@jax.custom_vjp
def conv_transpose(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """3 x 3 convolution of stride 1/2: `y[2a + d - 1] += x[a] kernel[d]`."""
    return transposed(x, kernel, _padded)


def _conv_transpose_fwd(x, kernel):
    return conv_transpose(x, kernel), (x, kernel)


def _conv_transpose_bwd(saved, g):
    x, kernel = saved
    # Its transpose is the ordinary convolution of stride 2, which is fast.
    g_padded = jnp.pad(g, ((0, 0), (1, 0), (1, 0), (0, 0)))
    dx = _conv(g_padded, kernel.transpose(0, 1, 3, 2), 2, 0)
    return dx, _kernel_gradient(lambda w: transposed(x, w, _padded), kernel, g)


conv_transpose.defvjp(_conv_transpose_fwd, _conv_transpose_bwd)


def upsample_conv(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Nearest-neighbour x2, reflection padding, 3 x 3; computed at low resolution."""
    n, h, w, _ = x.shape
    rows = upsampled_rows(x, kernel, _padded)
    return jnp.stack(rows, 2).reshape(n, 2 * h, 2 * w, kernel.shape[-1])


@jax.custom_vjp
def _conv_to_few(x, kernel):
    return to_few(x, kernel, _padded, 0)


def _conv_to_few_fwd(x, kernel):
    return _conv_to_few(x, kernel), (x, kernel)


def _conv_to_few_bwd(saved, g):
    x, kernel = saved
    dx = _conv_in_blocks(_zero_pad(g, kernel.shape[0] - 1), _turned(kernel), (1, 4))
    return dx, _kernel_gradient(lambda w: _conv_in_blocks(x, w, (4, 4)), kernel, g)


_conv_to_few.defvjp(_conv_to_few_fwd, _conv_to_few_bwd)


@jax.custom_vjp
def _conv_from_few(x, kernel):
    return _conv_in_blocks(x, kernel, (1, 4))


def _conv_from_few_fwd(x, kernel):
    return _conv_from_few(x, kernel), (x, kernel)


def _conv_from_few_bwd(saved, g):
    x, kernel = saved
    dx = _conv_to_few(_zero_pad(g, kernel.shape[0] - 1), _turned(kernel))
    return dx, _kernel_gradient(lambda w: _conv(x, w), kernel, g)


_conv_from_few.defvjp(_conv_from_few_fwd, _conv_from_few_bwd)


# --- convolutions by means of another ----------------------------------------------

# Of stride 1: (x, kernel, pads) -> y.
Convolve = Callable[[jax.Array, jax.Array, tuple], jax.Array]


def transposed(x: jax.Array, kernel: jax.Array, convolve: Convolve) -> jax.Array:
    """`conv_transpose` as two convolutions to twice the channels."""
    # Along a row: y[2a] = x[a] w[1], y[2a+1] = x[a] w[2] + x[a+1] w[0].
    even, odd = ((1, None), (2, 0))
    return _two_parities(x, kernel, (even, odd), ((0, 0), (0, 1)), convolve)


def upsampled_rows(
    x: jax.Array, kernel: jax.Array, convolve: Convolve
) -> tuple[jax.Array, jax.Array]:
    """`upsample_conv` as two convolutions to twice the channels: even and odd rows.

    Reflecting the enlarged image repeats its edge, since its first two rows are equal;
    hence the edge padding. Along a row, with w the kernel:
    y[2a] = x[a-1] w[0] + x[a] (w[1] + w[2]),
    y[2a+1] = x[a] (w[0] + w[1]) + x[a+1] w[2].
    """
    n, h, w, _ = x.shape
    outputs = kernel.shape[-1]
    x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
    zero = jnp.zeros_like(kernel[0, 0])

    def columns(row):  # (3 taps, inputs, 2 column parities x outputs)
        left, middle, right = row
        return jnp.stack(
            [
                jnp.concatenate([left, zero], -1),
                jnp.concatenate([middle + right, left + middle], -1),
                jnp.concatenate([zero, right], -1),
            ]
        )

    top, middle, bottom = kernel
    no_pads = ((0, 0), (0, 0))
    even = jnp.stack([columns(top), columns(middle + bottom)])
    odd = jnp.stack([columns(top + middle), columns(bottom)])
    # Each makes a row too many, which costs less than a copy of x without its last.
    rows = [convolve(x, even, no_pads)[:, :h], convolve(x, odd, no_pads)[:, 1:]]
    even, odd = (y.reshape(n, h, 2 * w, outputs) for y in rows)
    return even, odd


def to_few(x: jax.Array, kernel: jax.Array, convolve: Convolve, p: int) -> jax.Array:
    """k x k to few channels: a 1 x k convolution to k x outputs, then shift and add."""
    k, _, inputs, outputs = kernel.shape
    height = x.shape[1] + 2 * p - k + 1
    rows = kernel.transpose(1, 2, 0, 3).reshape(1, k, inputs, k * outputs)
    z = convolve(x, rows, ((p, p), (p, p)))
    return sum(
        z[:, j : j + height, :, j * outputs : (j + 1) * outputs] for j in range(k)
    )


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


# --- the memory of L-BFGS ----------------------------------------------------------


@custom_vmap
def masked_products(
    a: jax.Array, b: jax.Array, mask: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """As `ops.masked_products`, strip by strip: what is masked stays in the cache."""
    return jax.tree.map(lambda x: x[0], _masked_products(a[None], b[None], mask[None]))


@masked_products.def_vmap
def _(n, are_batched, *arguments):
    return _masked_products(*_all_batched(n, are_batched, arguments)), (True, True)


def _masked_products(a, b, mask):
    n, m, k = *a.shape[:2], b.shape[1]
    a, b, mask = a.reshape(n, m, -1), b.reshape(n, k, -1), mask.reshape(n, 1, -1)

    def add(i, start, width, sums):
        x, y, kept = (
            lax.dynamic_slice(rows, (i, 0, start), (1, rows.shape[1], width))[0]
            for rows in (a, b, mask)
        )
        masked = kept * y
        products = lax.dot_general(
            x, masked, (((1,), (1,)), ((), ())), precision="highest"
        )
        return sums[0].at[i].add(products), sums[1].at[i].add(jnp.sum(masked * y, 1))

    def add_strips(sums, start, width, count):
        def body(at, sums):
            return add(at // count, start + at % count * width, width, sums)

        return lax.fori_loop(0, n * count, body, sums) if width and count else sums

    strips, rest = divmod(a.shape[2], _STRIP)
    sums = jnp.zeros((n, m, k), a.dtype), jnp.zeros((n, k), b.dtype)
    sums = add_strips(sums, 0, _STRIP, strips)
    return add_strips(sums, strips * _STRIP, rest, 1)


@custom_vmap
def replace_row(
    rows: jax.Array, index: jax.Array, row: jax.Array, keep: jax.Array
) -> jax.Array:
    """As `ops.replace_row`: in place, in a loop of one turn or none.

    Outside a loop XLA fuses the update into each use of the result, and gives each use
    a copy of all rows.
    """
    return lax.fori_loop(
        0, keep.astype(np.int32), lambda _, rows: rows.at[index].set(row), rows
    )


@replace_row.def_vmap
def _(n, are_batched, *arguments):
    rows, index, row, keep = _all_batched(n, are_batched, arguments)

    def replace(i, rows):
        return lax.fori_loop(
            0,
            keep[i].astype(np.int32),
            lambda _, rows: rows.at[i, index[i]].set(row[i]),
            rows,
        )

    return lax.fori_loop(0, n, replace, rows), True


def _all_batched(n, are_batched, arguments):
    return [
        x if batched else jnp.broadcast_to(x, (n, *x.shape))
        for x, batched in zip(arguments, are_batched, strict=True)
    ]


# --- norms -------------------------------------------------------------------------


@functools.partial(jax.custom_vjp, nondiff_argnums=(3, 4, 5, 6))
def norm(x, scale, bias, over_batch, epsilon, relu, axis_name):
    """As `ops.norm`: the normalised x, and the mean and variance it was made with."""
    return _norm_fwd(x, scale, bias, over_batch, epsilon, relu, axis_name)[0]


def _norm_fwd(x, scale, bias, over_batch, epsilon, relu, axis_name):
    count = x.shape[1] * x.shape[2] * (x.shape[0] if over_batch else 1)
    mean = _across((_sums(over_batch, x)[0] / count,), axis_name)[0]
    centred = x - mean
    variance = _sums(over_batch, jnp.square(centred))[0] / count
    variance = _across((variance,), axis_name)[0]
    inverse = lax.rsqrt(variance + epsilon)
    y = centred * (inverse * scale) + bias
    y = jax.nn.relu(y) if relu else y
    return (y, mean, variance), (x, mean, inverse, scale, bias)


def _norm_bwd(over_batch, epsilon, relu, axis_name, saved, cotangents):
    del epsilon  # inside `inverse`
    g, _, _ = cotangents  # the statistics only feed running averages
    x, mean, inverse, scale, bias = saved
    count = x.shape[1] * x.shape[2] * (x.shape[0] if over_batch else 1)
    normalised = (x - mean) * inverse
    if relu:
        g = jnp.where(normalised * scale + bias > 0, g, 0.0)
    sum_g, sum_gx = _sums(over_batch, g, g * normalised)
    mean_g, mean_gx = _across((sum_g / count, sum_gx / count), axis_name)
    dx = (g - mean_g - normalised * mean_gx) * (inverse * scale)
    return dx, sum_gx.sum((0, 1, 2)), sum_g.sum((0, 1, 2))


norm.defvjp(_norm_fwd, _norm_bwd)


def _sums(over_batch, *arrays):
    """Sums over positions in two stages: XLA runs the first, along rows, threaded."""
    rows = lax.optimization_barrier(tuple(a.sum(2, keepdims=True) for a in arrays))
    return tuple(r.sum((0, 1) if over_batch else 1, keepdims=True) for r in rows)


def _across(values, axis_name):
    return lax.pmean(values, axis_name) if axis_name else values


# --- building blocks ---------------------------------------------------------------


def _conv(x, kernel, stride=1, p=0):
    return _padded(x, kernel, ((p, p), (p, p)), stride)


def _padded(x, kernel, pads, stride=1):
    return lax.conv_general_dilated(
        x, kernel, (stride, stride), pads, dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def _kernel_gradient(conv_of_kernel, kernel, g):
    """Gradient with respect to the kernel, by transposing that one linear function."""
    return jax.linear_transpose(conv_of_kernel, kernel)(g)[0]


def _turned(kernel):
    """The kernel of the transposed convolution: half a turn, channels swapped."""
    return kernel[::-1, ::-1].transpose(0, 1, 3, 2)


def _zero_pad(x, p):
    return jnp.pad(x, ((0, 0), (p, p), (p, p), (0, 0))) if p else x


def _two_parities(x, kernel, taps, pads, convolve):
    """A stride-1/2 convolution as two ordinary ones, one per parity of the output row.

    `taps[parity]` names, for the two neighbouring inputs of an output, the kernel index
    (None: no contribution); rows and columns are alike. `pads` gives the zero padding
    (before, after) per parity. The parities of a column lie in the channels, where a
    reshape interleaves them at no cost; a stack interleaves the rows.
    """
    inputs, outputs = kernel.shape[2:]
    zero = jnp.zeros((inputs, outputs), kernel.dtype)
    before = max(b for b, _ in pads)
    after = max(a for _, a in pads)

    def tap(row, index):
        return zero if index is None else row[index]

    def columns(row):
        pairs = zip(*taps, strict=True)
        return jnp.stack(
            [jnp.concatenate([tap(row, i) for i in pair], -1) for pair in pairs]
        )

    ys = []
    for (first, second), (top, bottom) in zip(taps, pads, strict=True):
        rows = [columns(kernel[i]) for i in (first, second) if i is not None]
        y = convolve(x, jnp.stack(rows), ((top, bottom), (before, after)))
        ys.append(y.reshape(*y.shape[:2], 2 * y.shape[2], outputs))
    y = jnp.stack(ys, 2)
    return y.reshape(y.shape[0], 2 * y.shape[1], *y.shape[3:])


def _conv_in_blocks(x, kernel, block):
    """The same convolution on blocks of `a x b` pixels moved into the channels.

    With 3 channels a convolution uses a fraction of the machine's vector registers;
    with 3ab inputs and ab times the outputs it fills them.
    """
    a, b = block
    n, h, w, c = x.shape
    kh, kw, _, outputs = kernel.shape
    ho, wo = h - kh + 1, w - kw + 1
    blocks_h, blocks_w = -(-ho // a), -(-wo // b)
    taps_h, taps_w = -(-(kh + a - 1) // a), -(-(kw + b - 1) // b)
    # Output (r, t) of a block sees the kernel moved down by r and right by t.
    moved = [
        jnp.pad(
            kernel,
            ((r, taps_h * a - kh - r), (t, taps_w * b - kw - t), (0, 0), (0, 0)),
        )
        for r in range(a)
        for t in range(b)
    ]
    kernel = jnp.stack(moved, -2).reshape(taps_h, a, taps_w, b, c, a * b * outputs)
    kernel = kernel.transpose(0, 2, 1, 3, 4, 5)
    kernel = kernel.reshape(taps_h, taps_w, a * b * c, a * b * outputs)
    pad_h = (blocks_h + taps_h - 1) * a - h
    pad_w = (blocks_w + taps_w - 1) * b - w
    # The last output block may start past what it needs: the padding is then negative.
    x = lax.pad(
        x, jnp.zeros((), x.dtype), ((0, 0, 0), (0, pad_h, 0), (0, pad_w, 0), (0, 0, 0))
    )
    y = _conv(_space_to_depth(x, a, b), kernel)
    return _depth_to_space(y, a, b)[:, :ho, :wo]


def _space_to_depth(x, a, b):
    n, h, w, c = x.shape
    x = x.reshape(n, h // a, a, w // b, b, c).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(n, h // a, w // b, a * b * c)


def _depth_to_space(y, a, b):
    n, h, w, c = y.shape
    y = y.reshape(n, h, w, a, b, c // (a * b)).transpose(0, 1, 3, 2, 4, 5)
    return y.reshape(n, h * a, w * b, c // (a * b))


# Winograd's F(m, 3) along the height (Lavin and Gray 2016, section 4.1): m output rows
# from m + 2 input rows with m + 2 products where the plain sum takes 3 m. By m: the
# combinations of input rows, of kernel rows, and of products.
_WINOGRAD = {
    4: (
        (
            (4, 0, -5, 0, 1, 0),
            (0, -4, -4, 1, 1, 0),
            (0, 4, -4, -1, 1, 0),
            (0, -2, -1, 2, 1, 0),
            (0, 2, -1, -2, 1, 0),
            (0, 4, 0, -5, 0, 1),
        ),
        (
            (1 / 4, 0, 0),
            (-1 / 6, -1 / 6, -1 / 6),
            (-1 / 6, 1 / 6, -1 / 6),
            (1 / 24, 1 / 12, 1 / 6),
            (1 / 24, -1 / 12, 1 / 6),
            (0, 0, 1),
        ),
        (
            (1, 1, 1, 1, 1, 0),
            (0, 1, -1, 2, -2, 0),
            (0, 1, 1, 4, 4, 0),
            (0, 1, -1, 8, -8, 1),
        ),
    ),
    6: (
        (
            (1, 0, -21 / 4, 0, 21 / 4, 0, -1, 0),
            (0, 1, 1, -17 / 4, -17 / 4, 1, 1, 0),
            (0, -1, 1, 17 / 4, -17 / 4, -1, 1, 0),
            (0, 1 / 2, 1 / 4, -5 / 2, -5 / 4, 2, 1, 0),
            (0, -1 / 2, 1 / 4, 5 / 2, -5 / 4, -2, 1, 0),
            (0, 2, 4, -5 / 2, -5, 1 / 2, 1, 0),
            (0, -2, 4, 5 / 2, -5, -1 / 2, 1, 0),
            (0, -1, 0, 21 / 4, 0, -21 / 4, 0, 1),
        ),
        (
            (1, 0, 0),
            (-2 / 9, -2 / 9, -2 / 9),
            (-2 / 9, 2 / 9, -2 / 9),
            (1 / 90, 1 / 45, 2 / 45),
            (1 / 90, -1 / 45, 2 / 45),
            (32 / 45, 16 / 45, 8 / 45),
            (32 / 45, -16 / 45, 8 / 45),
            (0, 0, 1),
        ),
        (
            (1, 1, 1, 1, 1, 1, 1, 0),
            (0, 1, -1, 2, -2, 1 / 2, -1 / 2, 0),
            (0, 1, 1, 4, 4, 1 / 4, 1 / 4, 0),
            (0, 1, -1, 8, -8, 1 / 8, -1 / 8, 0),
            (0, 1, 1, 16, 16, 1 / 16, 1 / 16, 0),
            (0, 1, -1, 32, -32, 1 / 32, -1 / 32, 1),
        ),
    ),
}


def winograd_kernel(kernel: AnyArray, m: int) -> tuple[AnyArray, ...]:
    """3 x 3 kernel [3 3 i o] -> the m + 2 kernels in a row [3 i o] of F(m, 3).

    Not one array: XLA would copy its slices. Nor with the row's axis of length 1, whose
    layout it takes for another and copies what enters a loop.
    """
    _, kernel_rows, _ = _WINOGRAD[m]
    return tuple(_combine(kernel_rows, list(kernel)))


def winograd_rows(height: int) -> int:
    """The m of F(m, 3) that takes the fewest products for so many rows of output."""
    return min(_WINOGRAD, key=lambda m: -(-height // m) * (m + 2))


def winograd_conv(
    x: jax.Array,
    kernels: tuple[jax.Array, ...],
    p: int,
    convolve: Convolve = _padded,
) -> jax.Array:
    """3 x 3 convolution as 1 x 3 convolutions, `winograd_kernel`s, on combined rows."""
    n, h, w, c = x.shape
    m = len(kernels) - 2
    input_rows, _, output_rows = _WINOGRAD[m]
    ho = h - 2 + 2 * p
    tiles = -(-ho // m)
    x = jnp.pad(x, ((0, 0), (p, p + m * tiles - ho), (0, 0), (0, 0)))
    last = m * (tiles - 1) + 1
    rows = [
        lax.slice(x, (0, i, 0, 0), (n, i + last, w, c), (1, m, 1, 1))
        for i in range(m + 2)
    ]
    # The barriers keep XLA from redoing the cheap sums inside each convolution.
    rows = lax.optimization_barrier(_combine(input_rows, rows))
    products = [
        convolve(row, kernel[None], ((0, 0), (p, p)))
        for row, kernel in zip(rows, kernels, strict=True)
    ]
    products = lax.optimization_barrier(products)
    y = jnp.stack(_combine(output_rows, products), 2)
    return y.reshape(n, m * tiles, *y.shape[3:])[:, :ho]


def _combine(matrix, terms):
    """Rows of `matrix` times the list of arrays, skipping zeros."""
    return [
        functools.reduce(
            operator.add,  # of NumPy's arrays and of JAX's
            [
                term if factor == 1 else np.float32(factor) * term
                for factor, term in zip(row, terms, strict=True)
                if factor
            ],
        )
        for row in matrix
    ]
