"""Consistency with the input: an enlarged photo, made small again, is that photo.

Back-projection (Irani and Peleg 1991), not in the paper: what the small photo has and
the enlarged one lacks is enlarged and added, again and again. Colours that a network
shifts come back; what it sharpens stays, since that is gone when made small.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from jaxperceptual.core.types import Image
from jaxperceptual.images import resampling
from jaxperceptual.inference.windowed import Large, assembled, default_tile

# One has most of the gain, ten no more than three (docs/super-resolution.md).
ITERATIONS = 3
# Enlarging and shrinking look 2 px of the input to each side, each.
REACH = 4  # px of the input, an iteration


def consistent(output: Large, image: Image, iterations: int) -> Large:
    """`output` nearer to what becomes `image` by antialiased bicubic interpolation.

    Args:
      output: [factor*h factor*w 3] in [0, 255], the enlarged image.
      image: [h w 3] in [0, 255].
      iterations: How often `output` is corrected, and clipped to [0, 255].

    Large outputs are done in tiles, with the same result.
    """
    h, w, _ = image.shape
    factor = output.shape[0] // h

    def part(rows, columns):
        large = output[_times(rows, factor), _times(columns, factor)]
        small = image[rows, columns]
        return np.asarray(_corrected(large[None], small[None], iterations, factor))[0]

    return assembled(
        part,
        image,
        factor=factor,
        tile=default_tile(h, w, factor),
        margin=REACH * iterations,
    )


@functools.partial(jax.jit, static_argnames="factor")
def _corrected(outputs, images, iterations, factor):
    def correct(_, outputs):
        lacking = images - resampling.downsample(outputs, factor)
        return jnp.clip(outputs + resampling.upsample(lacking, factor), 0.0, 255.0)

    return jax.lax.fori_loop(0, iterations, correct, outputs)


def _times(pixels: slice, factor: int) -> slice:
    return slice(factor * pixels.start, factor * pixels.stop)
