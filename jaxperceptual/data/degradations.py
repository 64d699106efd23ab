"""What is done to a photo, for a network to learn to undo it (section 4.2).

Pure functions of arrays, so that training applies them on the device, inside the step,
and evaluation applies the very same. Images are RGB, NHWC, in [0, 255]; what a
degradation returns is rounded, since in practice such images come as 8-bit files.

A new one is a dataclass here and a line in `DEGRADATIONS`; a config names it:
`degradation = dict(name="noise", sigma=25.0)`. What was trained so, `Restorer` runs;
`super_resolve` and `evaluate` are for super-resolution alone.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxperceptual.core.errors import InputError
from jaxperceptual.core.types import Images
from jaxperceptual.images import color, resampling

# Of the blur's Gaussian, in standard deviations: SciPy's. What lies beyond is 6e-5.
TRUNCATE = 4.0
MAX_BLUR = 20.0  # px


@dataclasses.dataclass(frozen=True)
class Downsample:
    """Gaussian blur, then antialiased bicubic, then 8 bits; the paper's blur is 1.0.

    factor: by which both sides shrink.
    blur: standard deviation in pixels of the large image; 0 for none, as in most of
        the literature.
    """

    factor: int
    blur: float

    def __post_init__(self):
        resampling.check_factor(self.factor)
        if not 0 <= self.blur <= MAX_BLUR:
            raise InputError(f"blur={self.blur} px; use 0 (none) to {MAX_BLUR:g}.")

    def __call__(self, keys: jax.Array, images: Images) -> jax.Array:
        del keys  # nothing is random
        return resampling.quantize(
            resampling.downsample(gaussian_blur(images, self.blur), self.factor)
        )


@dataclasses.dataclass(frozen=True)
class Noise:
    """White Gaussian noise of standard deviation `sigma` grey levels, then 8 bits."""

    sigma: float

    def __post_init__(self):
        if not 0 < self.sigma <= 255:
            raise InputError(f"sigma={self.sigma}; use more than 0, at most 255.")

    def __call__(self, keys: jax.Array, images: Images) -> jax.Array:
        noise = jax.vmap(lambda key: jax.random.normal(key, images.shape[1:]))(keys)
        return resampling.quantize(images + self.sigma * noise)


@dataclasses.dataclass(frozen=True)
class Grey:
    """Brightness alone, in all three channels."""

    def __call__(self, keys: jax.Array, images: Images) -> jax.Array:
        del keys
        grey = resampling.quantize(color.luma(jnp.asarray(images)))
        return jnp.repeat(grey[..., None], 3, axis=-1)


# (one key an image, images [n h w 3]) -> what the network gets, [n h/f w/f 3]
Degradation = Callable[[jax.Array, Images], jax.Array]
DEGRADATIONS: dict[str, type] = {"downsample": Downsample, "noise": Noise, "grey": Grey}


def make(options: Mapping[str, Any], factor: int) -> Degradation:
    """The degradation that a config names, with its options; `factor` is the network's.

    Raises InputError for an unknown name or option, a value out of range, or a network
    whose factor is not the degradation's.
    """
    options = dict(options)
    name = options.pop("name", None)
    if name not in DEGRADATIONS:
        raise InputError(
            f"degradation.name={name!r}; use one of {', '.join(DEGRADATIONS)}."
        )
    kind = DEGRADATIONS[name]
    fields = {field.name for field in dataclasses.fields(kind)}
    if "factor" in fields:
        options["factor"] = factor
    elif factor != 1:
        raise InputError(
            f"degradation {name} keeps the size, but net.factor={factor}; use 1."
        )
    if options.keys() != fields:
        takes = ", ".join(sorted(fields - {"factor"})) or "no options"
        raise InputError(
            f"degradation {name} with {sorted(options.keys() - {'factor'})}; "
            f"it takes {takes}."
        )
    return kind(**options)


def gaussian_blur(images: Images, sigma: float) -> jax.Array:
    """[n h w c] -> the same; the edge is repeated beyond the border."""
    images = jnp.asarray(images)
    if sigma == 0:
        return images
    radius = int(TRUNCATE * sigma + 0.5)
    offsets = np.arange(-radius, radius + 1)
    weights = np.exp(-0.5 * np.square(offsets / sigma))
    weights /= weights.sum()
    for axis in (1, 2):
        pads = [(0, 0)] * 4
        pads[axis] = (radius, radius)
        padded = jnp.pad(images, pads, mode="edge")
        size = images.shape[axis]
        # Shifted and added: three channels are too few for a fast convolution.
        images = sum(
            float(weight) * jax.lax.slice_in_dim(padded, i, i + size, axis=axis)
            for i, weight in enumerate(weights)
        )
    return images
