"""Names for what flows between modules.

Between the doors of the package an image is RGB, NHWC, float32, in [0, 255].
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Float32, Int, UInt8

AnyArray = jax.Array | np.ndarray
# One image on the host, and a batch on the device: RGB, [0, 255].
Image = Float32[np.ndarray, "h w 3"]
Bytes = UInt8[np.ndarray, "h w 3"]
Images = Float[Array | np.ndarray, "n h w 3"]


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


Features = Mapping[str, jax.Array]  # activations [n h w c] by layer name
Grams = Mapping[str, Float[Array, "n c c"]]  # by layer name, "relu2_2"
Metrics = dict[str, Float[Array, ""]]
Params = Mapping[str, Any]  # nested dicts of arrays, as Linen keeps them


class Frozen(NamedTuple):
    """What every step reads and none changes; travels replicated, undifferentiated."""

    vgg: Params  # variables of `vgg.VGG16`
    style: Grams  # style targets, one image
    # Activations to be kept, by layer, where they are the same at every step; without
    # them they are computed anew from each step's targets.
    content: Features | None = None
    # All photos, where a device has room for them; batches are then rows of it.
    photos: UInt8[Array, "N h w 3"] | None = None


class TrainState(NamedTuple):
    """All that a step changes, and so all that a checkpoint must hold."""

    step: Int[Array, "..."]
    params: Params
    batch_stats: Params  # empty for instance norm
    opt_state: Any


# (frozen, outputs, targets) -> (scalar to minimise, its terms by name)
Objective = Callable[[Frozen, jax.Array, jax.Array], tuple[jax.Array, Metrics]]
