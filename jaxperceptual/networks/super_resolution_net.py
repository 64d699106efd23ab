"""f_W for super-resolution and other restoration (supplementary, table 2)."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxperceptual.core.types import Images
from jaxperceptual.images import resampling
from jaxperceptual.networks.layers import (
    Conv,
    ConvBlock,
    ResidualBlock,
    check_net_options,
    scaled_tanh,
)

SR_WIDTH = 64  # channels
NUM_SR_RESIDUAL_BLOCKS = 4


class SuperResolutionNet(nn.Module):
    """Restoration network (supplementary, table 2): [n h w 3] -> [n fh fw 3].

    Any size of 1 px and more; pixels in and out are RGB in [0, 255]. Zero padding, so
    nothing shrinks. With `factor` 1 it has no upsampling layer, for tasks that keep the
    size.

    factor: 1, 2, 4 or 8.
    norm: "batch" (the paper), "instance", or None for no norm at all.
    upsample: "transposed" (the paper) or "resize", which leaves no checkerboard.
    skip: whether what the layers make is added to the enlarged input, bicubically, so
        that they need not learn to hand on its colours (not the paper's). What comes
        out may leave [0, 255].
    axis_name: the device axis over which batch norm's statistics are taken.
    dtype: what convolutions compute in; images are float32 in any case.
    """

    factor: int
    norm: str | None = "batch"
    upsample: str = "transposed"
    skip: bool = False
    axis_name: str | None = None
    dtype: DTypeLike = jnp.float32

    @property
    def doublings(self) -> int:
        """How many of its layers double the sides."""
        return self.factor.bit_length() - 1

    @property
    def reach(self) -> int | None:
        """How far apart an input pixel and one that it changes can be, input pixels.

        None for as far as the image goes: instance norm looks at all of it.
        """
        if self.norm == "instance":
            return None
        reach = 4  # of the last 9 x 9, in pixels of the output
        for _ in range(self.doublings):
            # Output 2a + p reads inputs a - 1 to a + 1, at most; rounded outwards.
            reach = (reach + 2) // 2
        return reach + 2 * NUM_SR_RESIDUAL_BLOCKS + 4

    @nn.compact
    def __call__(self, images: Images, *, train: bool) -> jax.Array:
        """[n h w 3] -> [n fh fw 3]; `train` takes a batch's statistics for norms."""
        check_net_options(self.norm, 1.0, self.upsample)
        resampling.check_factor(self.factor)

        def block(size, **options):
            return ConvBlock(
                SR_WIDTH,
                size,
                self.norm,
                axis_name=self.axis_name,
                dtype=self.dtype,
                **options,
            )

        x = images / 127.5 - 1.0
        x = block(9, padding=4, name="conv1")(x, train=train)
        for i in range(1, NUM_SR_RESIDUAL_BLOCKS + 1):
            x = ResidualBlock(
                SR_WIDTH,
                self.norm,
                padding=1,
                axis_name=self.axis_name,
                dtype=self.dtype,
                name=f"residual{i}",
            )(x, train=train)
        for i in range(1, self.doublings + 1):
            x = block(3, upsample=self.upsample, name=f"up{i}")(x, train=train)
        x = scaled_tanh(Conv(3, 9, padding=4, dtype=self.dtype, name="out")(x))
        if self.skip:  # scaled_tanh(0) is 127.5
            x = resampling.upsample(images, self.factor) + (x - 127.5)
        return x
