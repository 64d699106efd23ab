"""The padding that lets images of many sizes share one compiled program."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int


class Margin(NamedTuple):
    """Rows at the bottom and columns at the right that are not image but zeros.

    With it, images of many sizes lie on canvases of a few, and share a program.
    """

    rows: Int[Array, ""]
    columns: Int[Array, ""]

    def scaled(self, up: int, down: int) -> "Margin":
        """That of the canvas enlarged by `up` and made smaller by `down`."""
        return Margin(self.rows * up // down, self.columns * up // down)

    def inside(self, shape: tuple[int, ...]) -> Bool[Array, "1 h w 1"]:
        """Where, on a canvas of `shape` [n h w c], the image is."""
        h, w = shape[1:3]
        rows = jnp.arange(h) < h - self.rows
        columns = jnp.arange(w) < w - self.columns
        return (rows[:, None] & columns)[None, ..., None]

    def clear(self, x: jax.Array) -> jax.Array:
        """Zeros where the margin of [n h w c] is."""
        return jnp.where(self.inside(x.shape), x, 0)
