"""A photo and its stylised self, mixed; arrays of NumPy and JAX alike."""

from typing import Any

import numpy as np

from jaxperceptual.core.errors import InputError
from jaxperceptual.images import color


def mix(
    photo: Any,
    stylized: Any,
    *,
    strength: float = 1.0,
    preserve_color: bool = False,
) -> Any:
    """Puts some of the photo back into its stylised self, both in [0, 255].

    preserve_color: brightness from the stylised image, colour from the photo, that is Y
        of the one with Cb and Cr of the other (luminance-only transfer of Gatys et
        al., "Preserving Color in Neural Artistic Style Transfer", 2016). What leaves
        [0, 255] by that is clipped.
    strength: 0 gives the photo, 1 the stylised image, in between a blend of the two.

    Raises InputError for a strength outside [0, 1].
    """
    check_strength(strength)
    if preserve_color:
        # Cb and Cr depend on B - Y and R - Y alone: adding grey keeps them.
        shift = color.luma(stylized - photo)
        stylized = (photo + shift[..., None]).clip(0.0, 255.0)
    if strength == 1:
        return stylized
    return (photo + np.float32(strength) * (stylized - photo)).astype(np.float32)


def check_strength(strength: float) -> None:
    """InputError unless it is from 0 to 1."""
    if not 0 <= strength <= 1:
        raise InputError(f"strength={strength}; use 0 (the photo) to 1 (all style).")
