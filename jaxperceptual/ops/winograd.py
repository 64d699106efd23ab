"""3 x 3 convolutions with fewer products: Winograd's F(m, 3) along the height.

Lavin and Gray 2016, section 4.1: m output rows from m + 2 input rows with m + 2
products where the plain sum takes 3 m.
"""

import functools
import operator

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxperceptual.core.types import AnyArray
from jaxperceptual.ops import plain
from jaxperceptual.ops.plain import Convolve

# By m: the combinations of input rows, of kernel rows, and of products.
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
    convolve: Convolve = plain.conv,
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
