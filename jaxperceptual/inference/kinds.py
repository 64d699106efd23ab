"""What a network may be called with: paths, Pillow images, arrays, lists of them."""

import os
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxperceptual.core.errors import InputError
from jaxperceptual.images.reading import from_picture, is_picture, read_with_alpha
from jaxperceptual.images.resampling import resized_alpha
from jaxperceptual.images.writing import to_picture


def same_kind(images: Any, function: Callable) -> Any:
    """`function` of images, whatever they are; the same kind comes back.

    - A path (str or os.PathLike) or a Pillow image of any mode: a Pillow image, RGB,
      or RGBA where something is transparent.
    - NumPy or JAX, floating, [h w 3] or [n h w 3] in [0, 255]: the same, float32.
    - NumPy or JAX, uint8: the same, rounded.
    - A list or tuple of these: a list.

    `function` takes and gives float32 [h w 3] or [n h w 3] in [0, 255], of which the
    sides may change. Raises InputError for a file that cannot be read and for
    arrays of another shape or without a pixel, TypeError for anything else.
    """
    if isinstance(images, list | tuple):
        return [same_kind(image, function) for image in images]
    if isinstance(images, str | os.PathLike) or is_picture(images):
        read = from_picture if is_picture(images) else read_with_alpha
        pixels, alpha = read(images)
        output = np.asarray(function(pixels))
        if alpha is not None:
            h, w = output.shape[:2]
            alpha = alpha if alpha.shape == (h, w) else resized_alpha(alpha, w, h)
        return to_picture(output, alpha=alpha)
    if not isinstance(images, np.ndarray | jax.Array):
        raise TypeError(
            f"images: a {type(images).__name__}; use a path, a Pillow image, a NumPy "
            "or JAX array, or a list of them."
        )
    _check_shape(images)
    output = function(images.astype(np.float32))
    if images.dtype != np.uint8:
        return output
    module = np if isinstance(output, np.ndarray) else jnp
    return module.rint(module.clip(output, 0, 255)).astype(np.uint8)


def _check_shape(images):
    if images.ndim not in (3, 4) or images.shape[-1] != 3:
        raise InputError(f"images: shape {images.shape}; use [h w 3] or [n h w 3].")
    if 0 in images.shape:
        raise InputError(f"images: shape {images.shape}; there is no pixel.")
