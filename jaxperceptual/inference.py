"""A trained style model and a photo of any size to a stylised photo."""

import jax
import numpy as np
from jaxtyping import Array, Float

from jaxperceptual import color, models
from jaxperceptual.types import Image


class Stylizer:
    """A style model, ready to run: compiled once for each shape of images it meets.

    An image is never cut into tiles: instance norm looks at the whole of it, so tiles
    would differ in brightness. 4096 x 4096 therefore takes several GB of memory.
    """

    def __init__(self, model: models.Model):
        net = models.build_net(model)
        self._variables = jax.device_put(model.variables)
        self._apply = jax.jit(
            lambda variables, images: net.apply(variables, images, train=False)
        )

    def __call__(
        self, images: Float[Array | np.ndarray, "*n h w 3"]
    ) -> Float[Array | np.ndarray, "*n h w 3"]:
        """Stylises [h w 3] or [n h w 3], RGB in [0, 255]; same kind and shape back."""
        if images.ndim not in (3, 4) or images.shape[-1] != 3:
            raise ValueError(f"images: shape {images.shape}; use [h w 3] or [n h w 3].")
        batch = images.reshape((-1, *images.shape[-3:]))
        outputs = self._apply(self._variables, batch).reshape(images.shape)
        return np.asarray(outputs) if isinstance(images, np.ndarray) else outputs


def stylize(
    model: models.Model | Stylizer,
    image: Image,
    *,
    strength: float = 1.0,
    preserve_color: bool = False,
) -> Image:
    """The stylised photo [h w 3] in [0, 255]; see `mix` for both options.

    A `Stylizer` in place of a model saves compiling again for the next image.
    """
    stylizer = model if isinstance(model, Stylizer) else Stylizer(model)
    stylized = stylizer(image) if strength > 0 else image
    return mix(image, stylized, strength=strength, preserve_color=preserve_color)


def mix(
    photo: Image,
    stylized: Image,
    *,
    strength: float = 1.0,
    preserve_color: bool = False,
) -> Image:
    """Puts some of the photo back into its stylised self, both in [0, 255].

    preserve_color: brightness from the stylised image, colour from the photo, that is Y
        of the one with Cb and Cr of the other (luminance-only transfer of Gatys et
        al., "Preserving Color in Neural Artistic Style Transfer", 2016). What leaves
        [0, 255] by that is clipped.
    strength: 0 gives the photo, 1 the stylised image, in between a blend of the two.

    Raises ValueError for a strength outside [0, 1].
    """
    if not 0 <= strength <= 1:
        raise ValueError(f"strength={strength}; use 0 (the photo) to 1 (all style).")
    if preserve_color:
        # Cb and Cr depend on B - Y and R - Y alone: adding grey keeps them.
        shift = color.luma(stylized - photo)
        stylized = np.clip(photo + shift[..., None], 0.0, 255.0)
    if strength == 1:
        return stylized
    return (photo + np.float32(strength) * (stylized - photo)).astype(np.float32)
