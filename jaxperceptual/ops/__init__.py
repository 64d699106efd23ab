"""The tensor operations of networks, losses and the baseline: one door for each.

For section 3's networks and losses. On a CPU each operation has a form faster than the
plain one (`plain`): in `cpu`, `cpu_norm` and `cpu_history`, convolutions one more in
`onednn`; `rearranged` and `winograd` are what those are made of. The doors here choose,
as `choice` says. (How a batch is looped over is chosen where it is: `losses.objective`,
`baseline.pixels`.) A `margin` lets sizes share a program. Everything is NHWC, kernels
are HWIO, and `p` is symmetric zero padding in pixels. Imports `core`.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxperceptual.core.types import AnyArray
from jaxperceptual.ops import cpu, cpu_history, cpu_norm, onednn, plain
from jaxperceptual.ops.choice import cpu_forms
from jaxperceptual.ops.margin import Margin
from jaxperceptual.ops.plain import widened


def conv(
    x: jax.Array,
    kernel: jax.Array,
    bias: jax.Array,
    *,
    stride: int = 1,
    p: int = 0,
    relu: bool = False,
) -> jax.Array:
    """[n h w i] * [k k i o] + [o] -> [n h' w' o], h' = (h + 2p - k) // stride + 1.

    `relu`, here and below: what is negative becomes 0.
    """
    if onednn.in_use() and cpu_forms(x):
        return onednn.conv(x, kernel, bias, stride, p, relu)
    if cpu_forms(x):
        y = cpu.conv(x, kernel, stride, p)
    else:
        y = plain.conv(x, kernel, ((p, p), (p, p)), stride)
    return _finished(y, bias, relu)


def conv_transpose(
    x: jax.Array, kernel: jax.Array, bias: jax.Array, *, relu: bool = False
) -> jax.Array:
    """Fractionally strided 3 x 3 convolution, stride 1/2: [n h w i] -> [n 2h 2w o].

    `y[2a + d - 1] += x[a] kernel[d]` along each axis: Torch's SpatialFullConvolution
    of stride 2, padding 1, output padding 1, with its kernel in HWIO.
    """
    if onednn.in_use() and cpu_forms(x):
        return onednn.conv_transpose(x, kernel, bias, relu)
    chosen = cpu if cpu_forms(x) else plain
    return _finished(chosen.conv_transpose(x, kernel), bias, relu)


def upsample_conv(
    x: jax.Array,
    kernel: jax.Array,
    bias: jax.Array,
    margin: Margin | None = None,
    *,
    relu: bool = False,
) -> jax.Array:
    """Nearest-neighbour x2, reflection padding of 1, 3 x 3 convolution (Odena 2016)."""
    if margin is not None:
        x = _repeat_edge(x, margin)
    if onednn.in_use() and cpu_forms(x):
        return onednn.upsample_conv(x, kernel, bias, relu)
    chosen = cpu if cpu_forms(x) else plain
    return _finished(chosen.upsample_conv(x, kernel), bias, relu)


def frozen_conv(x: jax.Array, kernel: jax.Array, transforms=None) -> jax.Array:
    """3 x 3 same convolution whose kernel takes no gradient.

    `transforms` is what `frozen_transforms(kernel)` made once, where that helps.
    """
    if cpu_forms(x):
        return cpu.frozen_conv(x, kernel, transforms)
    return plain.frozen_conv(x, kernel)


def frozen_transforms(kernel: AnyArray) -> dict[str, tuple[AnyArray, ...]] | None:
    """What `frozen_conv` wants precomputed of a kernel on this platform, if any.

    Of a NumPy array by NumPy, without compiling anything.
    """
    return cpu.frozen_kernels(kernel) if cpu_forms(kernel) else None


def max_pool(x: jax.Array) -> jax.Array:
    """2 x 2 maximum with stride 2; an odd last row or column is dropped."""
    return (cpu if cpu_forms(x) else plain).max_pool(x)


def gram(x: jax.Array) -> jax.Array:
    """x^T x over positions, [n h w c] -> [n c c], not divided by anything.

    Summed, and returned, in float32 at least.
    """
    return (cpu if cpu_forms(x) else plain).gram(x)


def masked_products(
    a: jax.Array, b: jax.Array, mask: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Inner products of rows where the mask, of 0 and 1, lets them count.

    Of a [m ...], b [k ...], mask [...]: a_i . b_j as [m k], and b_j . b_j as [k].
    """
    return (cpu_history if cpu_forms(a) else plain).masked_products(a, b, mask)


def replace_row(
    rows: jax.Array, index: jax.Array, row: jax.Array, keep: jax.Array
) -> jax.Array:
    """`rows` with `rows[index]` replaced, if the scalar `keep` is true."""
    return (cpu_history if cpu_forms(rows) else plain).replace_row(
        rows, index, row, keep
    )


def norm(
    x: jax.Array,
    scale: jax.Array,
    bias: jax.Array,
    *,
    over_batch: bool,
    epsilon: float,
    relu: bool,
    axis_name: str | None = None,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Normalises over positions (and the batch), scales, shifts, and maybe rectifies.

    `scale` and `bias` are [c], or, where each image has its own, [n 1 1 c].
    With `axis_name`, statistics are those of all devices' images together. Returns y
    and the mean and (biased) variance used, [n or 1, 1, 1, c]; no gradient flows back
    through those two. Statistics are float32's, y is of x's kind.
    """
    chosen = cpu_norm if cpu_forms(x) else plain
    return chosen.norm(x, scale, bias, over_batch, epsilon, relu, axis_name)


def norm_within(
    x: jax.Array,
    scale: jax.Array,
    bias: jax.Array,
    margin: Margin,
    *,
    epsilon: float,
    relu: bool,
) -> jax.Array:
    """`norm` of each image, not over the batch. What is in the margin is of no use."""
    count = (x.shape[1] - margin.rows) * (x.shape[2] - margin.columns)
    staged = cpu_forms(x)  # of two stages, the first is threaded
    dtype, x = x.dtype, widened(x)

    def mean_of(a):
        rows = a.sum(2, keepdims=True)
        rows = lax.optimization_barrier(rows) if staged else rows
        return rows.sum(1, keepdims=True) / count

    centred = margin.clear(x - mean_of(margin.clear(x)))
    variance = mean_of(jnp.square(centred))
    y = centred * (lax.rsqrt(variance + epsilon) * scale) + bias
    return (jax.nn.relu(y) if relu else y).astype(dtype)


def reflection_pad(
    x: jax.Array, pads: tuple[tuple[Any, Any], ...], margin: Margin | None = None
) -> jax.Array:
    """Reflects [n h w c] at its borders by `((top, bottom), (left, right))` pixels.

    (These, like the sides, are integers, or symbols of `jax.export`.)

    The edge is not repeated. A side shorter than the padding is reflected again and
    again; a side of one pixel, which has no neighbour to reflect, is repeated. What
    reflections leave of a margin is of no use.
    """
    margins = (0, 0) if margin is None else margin
    rows, columns = (
        reflections(before, before + side + after, side - missing)
        for side, (before, after), missing in zip(
            x.shape[1:3], pads, margins, strict=True
        )
    )
    return x[:, rows][:, :, columns]


def reflections(before, length, size):
    """Which of `size` pixels lie at `length` places of a row that is reflected at its
    ends, of which `before` come before the first pixel."""
    fixed = all(isinstance(number, int) for number in (length, size))
    xp = np if fixed else jnp  # of a margin, or of `jax.export`'s symbolic shapes
    period = xp.maximum(2 * (size - 1), 1)
    phase = (xp.arange(length) - before) % period
    return xp.minimum(phase, period - phase)


def _repeat_edge(x, margin):
    """The last row and column of the image once more, in the margin if there is one."""
    for axis, missing in ((1, margin.rows), (2, margin.columns)):
        last = x.shape[axis] - missing - 1
        edge = lax.dynamic_slice_in_dim(x, last, 1, axis)
        # Without a margin, this index is clamped to `last`.
        x = lax.dynamic_update_slice_in_dim(x, edge, last + 1, axis)
    return x


def _finished(y, bias, relu):
    y = y + bias
    return jax.nn.relu(y) if relu else y
