"""SRCNN, the baseline of section 4.2 (Dong et al. 2014)."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxperceptual.core.types import Images
from jaxperceptual.images import color, resampling
from jaxperceptual.networks.layers import Conv


class SRCNN(nn.Module):
    """The baseline of section 4.2 (Dong et al. 2014): 9-1-5, on brightness alone.

    [n h w 3] -> [n fh fw 3], RGB in [0, 255]; what comes out may leave that range. What
    goes in is enlarged first, bicubically; colour stays as that leaves it. The edge is
    repeated beyond the border.

    factor: 1, 2, 4 or 8.
    axis_name: not used; there is no norm.
    dtype: what convolutions compute in; images are float32 in any case.
    """

    factor: int
    axis_name: str | None = None
    dtype: DTypeLike = jnp.float32

    @property
    def reach(self) -> int:
        """As `SuperResolutionNet.reach`: 6 px of the output, and 2 px of bicubic."""
        return -(-6 // self.factor) + 3  # rounded outwards

    @nn.compact
    def __call__(self, images: Images, *, train: bool) -> jax.Array:
        """[n h w 3] -> [n fh fw 3]; with `train` nothing differs."""
        del train
        resampling.check_factor(self.factor)
        bicubic = resampling.upsample(images, self.factor)
        luma = color.luma(bicubic)[..., None]
        x = luma / 127.5 - 1.0
        x = jnp.pad(x, ((0, 0), (6, 6), (6, 6), (0, 0)), mode="edge")
        x = Conv(64, 9, relu=True, dtype=self.dtype, name="conv1")(x)
        x = Conv(32, 1, relu=True, dtype=self.dtype, name="conv2")(x)
        x = Conv(1, 5, dtype=self.dtype, name="conv3")(x).astype(jnp.float32)
        return bicubic + (127.5 * (x + 1.0) - luma)
