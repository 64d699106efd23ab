"""Other sizes of a batch [n h w c], on the device: bicubic as MATLAB's and Pillow's."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import UInt8
from PIL import Image as pil

from jaxperceptual.core.errors import InputError
from jaxperceptual.core.types import AnyArray, Images

FACTORS = (1, 2, 4, 8)


def check_factor(factor: int) -> None:
    """InputError unless it is one of `FACTORS`."""
    if factor not in FACTORS:
        raise InputError(f"factor={factor}; use one of {', '.join(map(str, FACTORS))}.")


def downsample(images: Images, factor: int) -> jax.Array:
    """Antialiased bicubic, 1/factor of the size: MATLAB's imresize, Pillow's BICUBIC.

    [n h w c] -> [n h/factor w/factor c], both sides multiples of `factor`.
    """
    n, h, w, c = images.shape
    if h % factor or w % factor:
        raise ValueError(f"{w} x {h} px: not multiples of the factor {factor}.")
    return _bicubic(images, (n, h // factor, w // factor, c))


def upsample(images: Images, factor: int) -> jax.Array:
    """Bicubic, [n h w c] -> [n factor*h factor*w c]; may leave [0, 255]."""
    n, h, w, c = images.shape
    return _bicubic(images, (n, h * factor, w * factor, c))


def resized(images: AnyArray, height: int, width: int) -> AnyArray:
    """[h w 3] or [n h w 3] of floats at another size, antialiased bicubic, float32.

    On the host by Pillow, where no program is compiled for a size; else by JAX, which
    gives the same. May leave [0, 255].
    """
    if not isinstance(images, np.ndarray):
        *n, _, _, c = images.shape
        return _bicubic(images, (*n, height, width, c))
    if images.ndim == 4:
        return np.stack([resized(image, height, width) for image in images])
    planes = np.moveaxis(images.astype(np.float32), -1, 0)
    return np.stack([_resized_plane(plane, width, height) for plane in planes], -1)


def _resized_plane(plane, width, height):
    picture = pil.fromarray(np.ascontiguousarray(plane))
    return np.asarray(picture.resize((width, height), pil.Resampling.BICUBIC))


def quantize(images: jax.Array) -> jax.Array:
    """What an 8-bit file keeps: clipped to [0, 255] and rounded, still float32."""
    return jnp.round(jnp.clip(images, 0.0, 255.0))


def modcrop(image: np.ndarray, factor: int) -> np.ndarray:
    """[h w ...] without the last rows and columns that `factor` does not divide."""
    h, w = image.shape[:2]
    return image[: h - h % factor, : w - w % factor]


def _bicubic(images, shape):
    return jax.image.resize(images, shape, "bicubic", antialias=True)


def resized_alpha(
    alpha: UInt8[np.ndarray, "h w"], width: int, height: int
) -> UInt8[np.ndarray, "_ _"]:
    """An alpha channel at another size, bicubic as the colours are; on the host."""
    resized = pil.fromarray(alpha).resize((width, height), pil.Resampling.BICUBIC)
    return np.array(resized)
