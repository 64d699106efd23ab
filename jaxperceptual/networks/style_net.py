"""f_W for style transfer (supplementary, table 1)."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from jaxperceptual import ops
from jaxperceptual.core.errors import InputError
from jaxperceptual.core.types import Images
from jaxperceptual.networks.layers import (
    Conv,
    ConvBlock,
    ResidualBlock,
    check_net_options,
    scaled_tanh,
)
from jaxperceptual.networks.sizes import BORDER, NUM_RESIDUAL_BLOCKS
from jaxperceptual.ops.margin import Margin

PADDINGS = ("input", "layers")
OUTPUTS = ("tanh", "linear", "tanh150")


class StyleNet(nn.Module):
    """Style transfer network f_W (supplementary, table 1): [n h w 3] -> [n h w 3].

    Any size of 1 px and more; pixels in and out are RGB in [0, 255]. With a `margin`
    the images lie on canvases, whose sides are multiples of 4.

    norm: "batch" (the paper), "instance" (the authors' later release), or None for no
        norm at all.
    width: 1.0 is the paper's 32/64/128 channels, 0.5 the release's 16/32/64.
    upsample: "transposed" (the paper) or "resize", which leaves no checkerboard.
    num_styles: more than 0 for a gallery: so many styles in one network, whose instance
        norms have a row of scales and biases for each (`layers.Norm`).
    padding: "input" (the paper): reflected once, and zeros at padded layers; or
        "layers", as in other people's networks (`foreign`): reflected at each.
    output: "tanh" (the paper); of those networks "linear" or "tanh150", clipped when
        not `train`.
    axis_name: the device axis over which batch norm's statistics are taken.
    dtype: what convolutions compute in; images are float32 in any case.
    """

    norm: str | None = "batch"
    width: float = 1.0
    upsample: str = "transposed"
    num_styles: int = 0
    padding: str = "input"
    output: str = "tanh"
    axis_name: str | None = None
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self,
        images: Images,
        *,
        train: bool,
        margin: Margin | None = None,
        styles: Float[Array, "n s"] | None = None,
    ) -> jax.Array:
        """[n h w 3] -> [n h w 3]; `train` takes a batch's own statistics for norms.

        styles: of a gallery, each image's weights of its styles, which add up to 1;
            None for the first style.
        """
        check_options(self)
        at_layers = self.padding == "layers"
        h, w = images.shape[1:3]
        options = dict(
            norm=self.norm,
            axis_name=self.axis_name,
            num_styles=self.num_styles,
            dtype=self.dtype,
        )

        def block(x, features, size, **more):
            nonlocal margin
            more |= dict(reflect=at_layers)
            made = ConvBlock(round(features * self.width), size, **options, **more)
            x = made(x, train=train, margin=margin, styles=styles)
            margin = made.margin_of(margin)
            return x

        # Sizes are those of an image of 256 x 256.
        border = 0 if at_layers else BORDER
        x = jnp.asarray(images) / 127.5 - 1.0
        x, margin = _padded(x, border, margin)  # 3 x 336 x 336
        x = block(x, 32, 9, padding=4, name="conv1")  # 32 x 336 x 336
        x = block(x, 64, 3, stride=2, padding=1, name="conv2")  # 64 x 168 x 168
        x = block(x, 128, 3, stride=2, padding=1, name="conv3")  # 128 x 84 x 84
        for i in range(1, NUM_RESIDUAL_BLOCKS + 1):  # 128 x 80 x 80, ... 64 x 64
            residual = ResidualBlock(
                round(128 * self.width),
                padding=int(at_layers),
                reflect=at_layers,
                **options,
                name=f"residual{i}",
            )
            x = residual(x, train=train, margin=margin, styles=styles)
        x = block(x, 64, 3, upsample=self.upsample, name="up1")  # 64 x 128 x 128
        x = block(x, 32, 3, upsample=self.upsample, name="up2")  # 32 x 256 x 256
        out = Conv(3, 9, padding=4, reflect=at_layers, dtype=self.dtype, name="out")
        x = out(x, margin)[:, :h, :w]  # 3 x 256 x 256
        return to_pixels(x, self.output, clip=not train)


def to_pixels(x: jax.Array, output: str, *, clip: bool = True) -> jax.Array:
    """What the last convolution gives, as `output` says (`StyleNet`), in float32."""
    if output == "tanh":
        return scaled_tanh(x)
    x = ops.widened(x)
    x = 150.0 * jnp.tanh(x) if output == "tanh150" else x
    return x.clip(0.0, 255.0) if clip else x


def check_options(net: StyleNet) -> None:
    """Raises InputError unless its options name a network that exists."""
    check_net_options(net.norm, net.width, net.upsample, net.num_styles)
    for name, known in (("padding", PADDINGS), ("output", OUTPUTS)):
        if getattr(net, name) not in known:
            raise InputError(
                f"net.{name}={getattr(net, name)!r}; use one of {', '.join(known)}."
            )


def _padded(
    x: jax.Array, border: int, margin: Margin | None
) -> tuple[jax.Array, Margin | None]:
    """Reflected by `border`, to sides that are multiples of 4; and the margin left.

    A canvas keeps as much margin as two strides of 2 can halve; the rest is reflection.
    """
    h, w = x.shape[1:3]
    pads = (border, border + -h % 4), (border, border + -w % 4)
    x = ops.reflection_pad(x, pads, margin)
    if margin is not None:
        margin = margin.scaled(1, 4).scaled(4, 1)
        x = margin.clear(x)
    return x, margin
