"""Training for steadiness: strokes stay on what they paint when the photo moves.

Not in the paper. A video's frames differ by a motion and by noise, and a network that
was trained on single photos may paint each anew. Here it sees each photo twice, the
second time moved and with noise, and pays for what differs between its two outputs.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from jaxperceptual.core.types import Images
from jaxperceptual.losses.terms import pixel_loss

# A photo moves by up to so many px each way. Whole ones: nothing is interpolated, so
# that a blurred output has no advantage; f_W's two strides of 2 make four phases.
REACH = 8
MIN_STEADY_SIDE = 4 * REACH  # px, of a photo: half of each side is compared
NOISE = 4.0  # levels of 255, standard deviation: two frames of a compressed video

Offsets = Int[Array, "n 2"]


def moved(keys: jax.Array, images: Images) -> tuple[Images, Offsets]:
    """Each image of [0, 255] moved by its own offset (y, x), and with noise.

    keys: one for each image. What comes in at the edges is the image's reflection.
    """

    def one(key, image):
        of_motion, of_noise = jax.random.split(key)
        offset = jax.random.randint(of_motion, (2,), -REACH, REACH + 1)
        around = jnp.pad(image, ((REACH, REACH), (REACH, REACH), (0, 0)), "reflect")
        start = REACH - offset
        image = jax.lax.dynamic_slice(around, (*start, 0), image.shape)
        noise = NOISE * jax.random.normal(of_noise, image.shape)
        return jnp.clip(image + noise, 0.0, 255.0), offset

    return jax.vmap(one)(keys, images)


def steady_loss(outputs: Images, of_moved: Images, offsets: Offsets) -> jax.Array:
    """The pixel loss between the outputs of the `moved` images, and those of the
    images, moved by the same `offsets`; of what both have, without the edges."""
    _, height, width, channels = outputs.shape
    inner = (height - 2 * REACH, width - 2 * REACH, channels)

    def one(image, offset):
        return jax.lax.dynamic_slice(image, (*(REACH - offset), 0), inner)

    return pixel_loss(
        of_moved[:, REACH:-REACH, REACH:-REACH], jax.vmap(one)(outputs, offsets)
    )
