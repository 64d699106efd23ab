"""Image transformation networks (section 3.1 and the supplementary's tables)."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from jaxperceptual import color, degradations, ops
from jaxperceptual.errors import InputError
from jaxperceptual.layers import (
    EPSILON,
    NORMS,
    UPSAMPLINGS,
    Conv,
    ConvBlock,
    ResidualBlock,
)
from jaxperceptual.types import Images, Margin, Params

BORDER = 40  # px of reflection: ten unpadded 3 x 3 convolutions at a quarter size
NUM_RESIDUAL_BLOCKS = 5
SR_WIDTH = 64  # channels
NUM_SR_RESIDUAL_BLOCKS = 4
# Each output pixel sums 9 * 9 * 32 = 2,592 rectified inputs of mean 0.4, so one Adam
# step of 1e-3 can move the sum by 1: at scale 1 that is most of the tanh's slope, and
# ten steps drive it into the flat ends. What functions the network can be is the same.
TANH_SCALE = 20.0


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


class SuperResolutionNet(nn.Module):
    """Restoration network (supplementary, table 2): [n h w 3] -> [n fh fw 3].

    Any size of 1 px and more; pixels in and out are RGB in [0, 255]. Zero padding, so
    nothing shrinks. With `factor` 1 it has no upsampling layer, for tasks that keep the
    size.

    factor: 1, 2, 4 or 8.
    norm: "batch" (the paper), "instance", or None for no norm at all.
    upsample: "transposed" (the paper) or "resize", which leaves no checkerboard.
    axis_name: the device axis over which batch norm's statistics are taken.
    dtype: what convolutions compute in; images are float32 in any case.
    """

    factor: int
    norm: str | None = "batch"
    upsample: str = "transposed"
    axis_name: str | None = None
    dtype: DTypeLike = jnp.float32

    @property
    def reach(self) -> int | None:
        """How far apart an input pixel and one that it changes can be, input pixels.

        None for as far as the image goes: instance norm looks at all of it.
        """
        if self.norm == "instance":
            return None
        reach = 4  # of the last 9 x 9, in pixels of the output
        for _ in range(1, self.factor.bit_length()):
            # Output 2a + p reads inputs a - 1 to a + 1, at most; rounded outwards.
            reach = (reach + 2) // 2
        return reach + 2 * NUM_SR_RESIDUAL_BLOCKS + 4

    @nn.compact
    def __call__(self, images: Images, *, train: bool) -> jax.Array:
        check_net_options(self.norm, 1.0, self.upsample)
        degradations.check_factor(self.factor)

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
        for i in range(1, self.factor.bit_length()):
            x = block(3, upsample=self.upsample, name=f"up{i}")(x, train=train)
        return scaled_tanh(Conv(3, 9, padding=4, dtype=self.dtype, name="out")(x))


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
        del train  # nothing differs
        degradations.check_factor(self.factor)
        bicubic = degradations.upsample(images, self.factor)
        luma = color.luma(bicubic)[..., None]
        x = luma / 127.5 - 1.0
        x = jnp.pad(x, ((0, 0), (6, 6), (6, 6), (0, 0)), mode="edge")
        x = Conv(64, 9, relu=True, dtype=self.dtype, name="conv1")(x)
        x = Conv(32, 1, relu=True, dtype=self.dtype, name="conv2")(x)
        x = Conv(1, 5, dtype=self.dtype, name="conv3")(x).astype(jnp.float32)
        return bicubic + (127.5 * (x + 1.0) - luma)


def scaled_tanh(x: jax.Array) -> jax.Array:
    """Maps all reals into [0, 255], the paper's output range, in float32."""
    x = ops.widened(x)
    return 127.5 * (jnp.tanh(x / TANH_SCALE) + 1.0)


def fold(net: nn.Module, variables: Params) -> tuple[nn.Module, Params]:
    """A network without batch norms that computes what `net` does when not training.

    What they do to a convolution's output, a factor and a summand for each channel,
    becomes part of its kernel and bias. Other networks come back as they are.
    """
    if getattr(net, "norm", None) != "batch":
        return net, variables
    params = _folded(variables["params"], variables["batch_stats"])
    return net.clone(norm=None), {"params": params}


def _folded(params: Params, stats: Params) -> Params:
    if "norm" not in params:
        return {
            name: _folded(part, stats[name]) if name in stats else part
            for name, part in params.items()
        }
    conv, norm, seen = params["conv"], params["norm"], stats["norm"]
    gain = norm["scale"] / np.sqrt(seen["var"] + EPSILON)
    bias = (conv["bias"] - seen["mean"]) * gain + norm["bias"]
    return {"conv": {"kernel": conv["kernel"] * gain, "bias": bias}}


def check_net_options(norm: str | None, width: float, upsample: str) -> None:
    """Raises InputError unless the options name a network that exists."""
    for name, value, known in (
        ("norm", norm, (*NORMS, None)),
        ("upsample", upsample, UPSAMPLINGS),
    ):
        if value not in known:
            names = ", ".join(map(str, known))
            raise InputError(f"net.{name}={value!r}; use one of {names}.")
    if not 0.03 <= width <= 8:
        raise InputError(f"net.width={width}; use 1.0 (paper), 0.5 or so, at most 8.")
