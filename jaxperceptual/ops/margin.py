"""The padding that lets images of many sizes share one compiled program."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Int


class Margin(NamedTuple):
    """Rows at the bottom and columns at the right that are not image but zeros.

    With it, images of many sizes lie on canvases of a few, and share a program.
    """

    rows: Int[Array, ""]
    columns: Int[Array, ""]

    def scaled(self, up: int, down: int) -> "Margin":
        """That of the canvas enlarged by `up` and made smaller by `down`."""
        # `//` would round downwards below zero too, and XLA computes what it takes for
        # that in each of a hundred loops: half the time of compiling a network.
        # The barrier has them read the number.
        sides = (jnp.int32(side) * up for side in self)
        return Margin(
            *lax.optimization_barrier(tuple(lax.div(side, down) for side in sides))
        )

    def inside(self, shape: tuple[int, ...]) -> Bool[Array, "1 h w 1"]:
        """Where, on a canvas of `shape` [n h w c], the image is."""
        h, w = shape[1:3]
        rows = jnp.arange(h) < h - self.rows
        columns = jnp.arange(w) < w - self.columns
        return (rows[:, None] & columns)[None, ..., None]

    def clear(self, x: jax.Array) -> jax.Array:
        """Zeros where the margin of [n h w c] is."""
        return jnp.where(self.inside(x.shape), x, 0)
