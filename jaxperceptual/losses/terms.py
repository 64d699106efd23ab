"""Section 3.2: what two images differ by, as arithmetic on their features.

Each loss is a mean over the batch of a value for each image. That value is, for the
feature and the pixel loss, a mean over h * w * c (eq. 2); for the style loss, a *sum*
over the Gram matrix (eq. 4); for the total variation, a sum over the image.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxperceptual import ops
from jaxperceptual.images import color


def feature_loss(
    output: Float[Array, "n h w c"], target: Float[Array, "n h w c"]
) -> Float[Array, ""]:
    """Feature reconstruction, eq. 2: squared distance over `h * w * c`."""
    return jnp.mean(jnp.square(ops.widened(output) - ops.widened(target)))


def pixel_loss(
    output: Float[Array, "n h w c"], target: Float[Array, "n h w c"]
) -> Float[Array, ""]:
    """Squared distance over `h * w * c`, pixels in [0, 255] (section 3.2)."""
    return jnp.mean(jnp.square(output - target))


def luma_loss(
    output: Float[Array, "n h w 3"], target: Float[Array, "n h w 3"]
) -> Float[Array, ""]:
    """The pixel loss of brightness alone, Y' in [0, 255]; what SRCNN minimises."""
    return jnp.mean(jnp.square(color.luma(output - target)))


def gram_matrix(features: Float[Array, "n h w c"]) -> Float[Array, "n c c"]:
    """Channel co-activations, eq. 3: `x^T x / (h*w*c)`, so image size cancels.

    Summed in float32, also for features that are in less.
    """
    _, h, w, c = features.shape
    return ops.gram(features) / (h * w * c)


def style_loss(
    output: Float[Array, "n c c"],
    target: Float[Array, "m c c"],
    weights: Float[Array, " m"] | None = None,
) -> Float[Array, ""]:
    """Style reconstruction, eq. 4: the *sum* over c x c of squared Gram differences.

    The authors' release and most ports take the mean instead: a weight of theirs is
    `c**2` times the weight here. `target` may be one style for the whole batch (m = 1).
    `weights` are those of the styles; 1 if None.
    """
    each = jnp.sum(jnp.square(output - target), axis=(1, 2))
    return jnp.mean(each if weights is None else weights * each)


def total_variation(images: Float[Array, "n h w c"]) -> Float[Array, ""]:
    """Squared differences of neighbours, summed over each image."""
    rows = jnp.square(images[:, 1:] - images[:, :-1])
    columns = jnp.square(images[:, :, 1:] - images[:, :, :-1])
    return (jnp.sum(rows) + jnp.sum(columns)) / images.shape[0]
