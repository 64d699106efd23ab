"""f_W for style transfer (supplementary, table 1)."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxperceptual import ops
from jaxperceptual.core.types import Images
from jaxperceptual.networks.layers import (
    Conv,
    ConvBlock,
    ResidualBlock,
    check_net_options,
    scaled_tanh,
)
from jaxperceptual.ops.margin import Margin

BORDER = 40  # px of reflection: ten unpadded 3 x 3 convolutions at a quarter size
NUM_RESIDUAL_BLOCKS = 5


class StyleNet(nn.Module):
    """Style transfer network f_W (supplementary, table 1): [n h w 3] -> [n h w 3].

    Any size of 1 px and more; pixels in and out are RGB in [0, 255]. With a `margin`
    the images lie on canvases, whose sides are multiples of 4.

    norm: "batch" (the paper), "instance" (the authors' later release), or None for no
        norm at all.
    width: 1.0 is the paper's 32/64/128 channels, 0.5 the release's 16/32/64.
    upsample: "transposed" (the paper) or "resize", which leaves no checkerboard.
    axis_name: the device axis over which batch norm's statistics are taken.
    dtype: what convolutions compute in; images are float32 in any case.
    """

    norm: str | None = "batch"
    width: float = 1.0
    upsample: str = "transposed"
    axis_name: str | None = None
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, images: Images, *, train: bool, margin: Margin | None = None
    ) -> jax.Array:
        """[n h w 3] -> [n h w 3]; `train` takes a batch's own statistics for norms."""
        check_net_options(self.norm, self.width, self.upsample)

        def block(features, size, **options):
            return ConvBlock(
                round(features * self.width),
                size,
                self.norm,
                axis_name=self.axis_name,
                dtype=self.dtype,
                **options,
            )

        h, w = images.shape[1:3]
        x = images / 127.5 - 1.0
        pads = (BORDER, BORDER + -h % 4), (BORDER, BORDER + -w % 4)
        x = ops.reflection_pad(x, pads, margin)
        half = quarter = None
        if margin is not None:
            quarter = margin.scaled(1, 4)
            half = quarter.scaled(2, 1)
            margin = half.scaled(2, 1)  # `pads` of the images alone fill the rest
            x = margin.clear(x)
        x = block(32, 9, padding=4, name="conv1")(x, train=train, margin=margin)
        x = block(64, 3, stride=2, padding=1, name="conv2")(
            x, train=train, margin=margin
        )
        x = block(128, 3, stride=2, padding=1, name="conv3")(
            x, train=train, margin=half
        )
        for i in range(1, NUM_RESIDUAL_BLOCKS + 1):
            x = ResidualBlock(
                round(128 * self.width),
                self.norm,
                axis_name=self.axis_name,
                dtype=self.dtype,
                name=f"residual{i}",
            )(x, train=train, margin=quarter)
        x = block(64, 3, upsample=self.upsample, name="up1")(
            x, train=train, margin=quarter
        )
        x = block(32, 3, upsample=self.upsample, name="up2")(
            x, train=train, margin=half
        )
        x = Conv(3, 9, padding=4, dtype=self.dtype, name="out")(x)
        return scaled_tanh(x)[:, :h, :w]
