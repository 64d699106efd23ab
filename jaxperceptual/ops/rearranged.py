"""Convolutions said by means of another one that is fast: parities, blocks, shifts.

Each takes the convolution to use, `Convolve`, so that `cpu` puts XLA's into it and
`onednn` oneDNN's. Without gradients of their own: those are `cpu`'s.
"""

import jax
import jax.numpy as jnp
from jax import lax

from jaxperceptual.ops import plain
from jaxperceptual.ops.plain import Convolve


def transposed(x: jax.Array, kernel: jax.Array, convolve: Convolve) -> jax.Array:
    """`conv_transpose` as two convolutions to twice the channels."""
    # Along a row: y[2a] = x[a] w[1], y[2a+1] = x[a] w[2] + x[a+1] w[0].
    even, odd = ((1, None), (2, 0))
    return two_parities(x, kernel, (even, odd), ((0, 0), (0, 1)), convolve)


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


def two_parities(x, kernel, taps, pads, convolve):
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


def conv_in_blocks(x, kernel, block):
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
    y = plain.conv(_space_to_depth(x, a, b), kernel)
    return _depth_to_space(y, a, b)[:, :ho, :wo]


def _space_to_depth(x, a, b):
    n, h, w, c = x.shape
    x = x.reshape(n, h // a, a, w // b, b, c).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(n, h // a, w // b, a * b * c)


def _depth_to_space(y, a, b):
    n, h, w, c = y.shape
    y = y.reshape(n, h, w, a, b, c // (a * b)).transpose(0, 1, 3, 2, 4, 5)
    return y.reshape(n, h * a, w * b, c // (a * b))
