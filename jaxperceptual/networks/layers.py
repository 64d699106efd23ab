"""Convolutions, norms, residual blocks, scaled tanh: parts of section 3.1's networks.

Parameters are float32, and so are a norm's statistics; convolutions compute in `dtype`,
and what flows between layers is of that kind.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from jaxperceptual import ops
from jaxperceptual.core.errors import InputError
from jaxperceptual.networks.sizes import EPSILON, TANH_SCALE
from jaxperceptual.ops.margin import Margin

NORMS = ("batch", "instance")
UPSAMPLINGS = ("transposed", "resize")
MOMENTUM = 0.9  # of batch norm's running averages: Torch's 0.1 the other way round


class Norm(nn.Module):
    """Spatial batch or instance norm over [n h w c], with an optional ReLU.

    Batch norm keeps running averages in `batch_stats` and uses them when not `train`.
    With `axis_name`, a batch is that of all devices on the axis.

    With `num_styles`, `scale` and `bias` are tables [num_styles c], of which each image
    has the rows that `styles` weights: conditional instance norm (Dumoulin et al.,
    "A Learned Representation for Artistic Style", 2017).
    """

    kind: str
    relu: bool = True
    axis_name: str | None = None
    num_styles: int = 0

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "n h w c"],
        *,
        train: bool,
        margin: Margin | None = None,
        styles: Float[Array, "n s"] | None = None,
    ) -> jax.Array:
        c = x.shape[-1]
        shape = (self.num_styles, c) if self.num_styles else (c,)
        scale = self.param("scale", nn.initializers.ones, shape)
        bias = self.param("bias", nn.initializers.zeros, shape)
        if self.num_styles:
            scale, bias = (_of_images(table, styles) for table in (scale, bias))
        if self.kind == "instance" and margin is not None:
            return ops.norm_within(
                x, scale, bias, margin, epsilon=EPSILON, relu=self.relu
            )
        if self.kind == "instance":
            y, _, _ = ops.norm(
                x, scale, bias, over_batch=False, epsilon=EPSILON, relu=self.relu
            )
            return y
        mean = self.variable("batch_stats", "mean", jnp.zeros, (c,))
        variance = self.variable("batch_stats", "var", jnp.ones, (c,))
        if not train:
            gain = jax.lax.rsqrt(variance.value + EPSILON) * scale
            y = (x - mean.value) * gain + bias
            return (nn.relu(y) if self.relu else y).astype(x.dtype)
        y, batch_mean, batch_variance = ops.norm(
            x,
            scale,
            bias,
            over_batch=True,
            epsilon=EPSILON,
            relu=self.relu,
            axis_name=None if self.is_initializing() else self.axis_name,
        )
        if not self.is_initializing():
            for running, seen in ((mean, batch_mean), (variance, batch_variance)):
                running.value = MOMENTUM * running.value + (1 - MOMENTUM) * seen.ravel()
        return y


def _of_images(table: jax.Array, styles: jax.Array | None) -> jax.Array:
    """[s c] to [n 1 1 c]: each image's mixture of rows; the first row without one."""
    if styles is None:
        return table[:1, None, None]
    # A row is picked as it is, whatever products are rounded to elsewhere.
    rows = jnp.matmul(styles, table, precision=jax.lax.Precision.HIGHEST)
    return rows[:, None, None]


class Conv(nn.Module):
    """A convolution, `kernel` [k k i o] and `bias` [o], plain or upsampling.

    `upsample` is None, "transposed" (stride 1/2) or "resize" (nearest x2, then conv).
    A bias in front of a norm (`trained_bias=False`) is part of the published layout
    and of its parameter count, but the norm cancels it: its gradient is exactly zero,
    and stopping it keeps the rounding noise there from Adam, which would scale that
    noise to full steps.

    reflect: whether it is the image's reflection that `padding` pixels hold, not zeros.
        A `margin` is then left out of it.
    """

    features: int
    size: int
    stride: int = 1
    padding: int = 0
    upsample: str | None = None
    relu: bool = False
    trained_bias: bool = True
    reflect: bool = False
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[Array, "n h w c"], margin: Margin | None = None
    ) -> jax.Array:
        kernel = self.param(
            "kernel",
            nn.initializers.lecun_normal(),
            (self.size, self.size, x.shape[-1], self.features),
        )
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        if not self.trained_bias:
            bias = jax.lax.stop_gradient(bias)
        x, kernel, bias = (a.astype(self.dtype) for a in (x, kernel, bias))
        if self.upsample == "transposed":
            return ops.conv_transpose(x, kernel, bias, relu=self.relu)
        if self.upsample == "resize":
            return ops.upsample_conv(x, kernel, bias, margin, relu=self.relu)
        p = self.padding
        if self.reflect:
            x, p = ops.reflection_pad(x, ((p, p), (p, p)), margin), 0
        return ops.conv(x, kernel, bias, stride=self.stride, p=p, relu=self.relu)


class ConvBlock(nn.Module):
    """Convolution, norm (None for none), and a ReLU unless `relu` is off.

    With a `margin`, that of the input, which must be zeros, so is that of the output.
    """

    features: int
    size: int
    norm: str | None
    stride: int = 1
    padding: int = 0
    upsample: str | None = None
    relu: bool = True
    reflect: bool = False
    axis_name: str | None = None
    num_styles: int = 0
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "n h w c"],
        *,
        train: bool,
        margin: Margin | None = None,
        styles: Float[Array, "n s"] | None = None,
    ) -> jax.Array:
        x = Conv(
            self.features,
            self.size,
            self.stride,
            self.padding,
            self.upsample,
            relu=self.relu and self.norm is None,
            trained_bias=self.norm is None,
            reflect=self.reflect,
            dtype=self.dtype,
            name="conv",
        )(x, margin)
        margin = self.margin_of(margin)
        if self.norm is not None:
            norm = Norm(
                self.norm, self.relu, self.axis_name, self.num_styles, name="norm"
            )
            x = norm(x, train=train, margin=margin, styles=styles)
        return x if margin is None else margin.clear(x)

    def margin_of(self, margin: Margin | None) -> Margin | None:
        """That of the output, of the input's."""
        up = 2 if self.upsample else 1
        return None if margin is None else margin.scaled(up, self.stride)


class ResidualBlock(nn.Module):
    """Two 3 x 3 blocks plus the input; no ReLU after the sum (supplementary, fig. 2).

    Without padding the output is smaller by 2 px a side, and the input is
    centre-cropped to match.
    """

    features: int
    norm: str | None
    padding: int = 0
    reflect: bool = False
    axis_name: str | None = None
    num_styles: int = 0
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "n h w c"],
        *,
        train: bool,
        margin: Margin | None = None,
        styles: Float[Array, "n s"] | None = None,
    ) -> jax.Array:
        def block(relu, name):
            return ConvBlock(
                self.features,
                3,
                self.norm,
                padding=self.padding,
                relu=relu,
                reflect=self.reflect,
                axis_name=self.axis_name,
                num_styles=self.num_styles,
                dtype=self.dtype,
                name=name,
            )

        y = block(True, "block1")(x, train=train, margin=margin, styles=styles)
        y = block(False, "block2")(y, train=train, margin=margin, styles=styles)
        crop = 2 - 2 * self.padding
        h, w = x.shape[1:3]
        y = x[:, crop : h - crop, crop : w - crop] + y
        return y if margin is None else margin.clear(y)


def scaled_tanh(x: jax.Array) -> jax.Array:
    """Maps all reals into [0, 255], the paper's output range, in float32."""
    x = ops.widened(x)
    return 127.5 * (jnp.tanh(x / TANH_SCALE) + 1.0)


def check_net_options(
    norm: str | None, width: float, upsample: str, num_styles: int = 0
) -> None:
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
    if num_styles and norm != "instance":
        raise InputError(
            f"net.norm={norm!r} with {num_styles} styles in one network; use "
            "net.norm='instance', whose scales a style can have for itself."
        )
