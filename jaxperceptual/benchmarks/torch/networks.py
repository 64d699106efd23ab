"""The networks in PyTorch, from our weights.

Plain `torch.nn.functional` throughout, to compare numbers and speed with; on a GPU if
JAX is on one. Tensors are NCHW, pixels RGB in [0, 255]; parameters have our names
(`conv1.conv.kernel`) in Torch's layouts. PyTorch is an extra: importing this module
without it raises InputError.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from jaxperceptual.benchmarks.torch.tensors import as_tensor
from jaxperceptual.core.errors import InputError
from jaxperceptual.core.types import Params
from jaxperceptual.images.color import LUMA_WEIGHTS
from jaxperceptual.networks.sizes import TANH_SCALE
from jaxperceptual.networks.super_resolution_net import NUM_SR_RESIDUAL_BLOCKS


class StyleNet(nn.Module):
    """`StyleNet` from our `{"params": ..., "batch_stats": ...}`: NCHW to NCHW.

    Sides of 2 px and more. In train mode batch norm's running variance is the unbiased
    one, as Torch has it; ours is the biased one that the batch was normalised with.
    """

    def __init__(self, variables: Params, *, norm: str, upsample: str):
        super().__init__()
        params, stats = variables["params"], variables.get("batch_stats", {})

        def block(name, **options):
            return _Block(params[name], stats.get(name, {}), norm, **options)

        self.conv1 = block("conv1", padding=4)
        self.conv2 = block("conv2", stride=2, padding=1)
        self.conv3 = block("conv3", stride=2, padding=1)
        for i in range(1, 6):
            name = f"residual{i}"
            residual = _Residual(params[name], stats.get(name, {}), norm)
            self.add_module(name, residual)
        self.up1 = block("up1", upsample=upsample)
        self.up2 = block("up2", upsample=upsample)
        self.out = Conv(params["out"], padding=4)

    def forward(self, images):
        h, w = images.shape[2:]
        x = _reflect(images / 127.5 - 1, [40, 40 + -w % 4, 40, 40 + -h % 4])
        x = self.conv3(self.conv2(self.conv1(x)))
        for i in range(1, 6):
            x = getattr(self, f"residual{i}")(x)
        x = self.out(self.up2(self.up1(x)))
        return (127.5 * (torch.tanh(x.float() / TANH_SCALE) + 1))[:, :, :h, :w]


class SuperResolutionNet(nn.Module):
    """`SuperResolutionNet`, likewise."""

    def __init__(
        self,
        variables: Params,
        *,
        factor: int,
        norm: str,
        upsample: str,
        skip: bool = False,
    ):
        super().__init__()
        self.factor, self.skip = factor, skip
        params, stats = variables["params"], variables.get("batch_stats", {})

        def block(name, **options):
            return _Block(params[name], stats.get(name, {}), norm, **options)

        self.layers = ["conv1"]
        self.conv1 = block("conv1", padding=4)
        for i in range(1, NUM_SR_RESIDUAL_BLOCKS + 1):
            name = f"residual{i}"
            residual = _Residual(params[name], stats.get(name, {}), norm, padding=1)
            self.add_module(name, residual)
            self.layers.append(name)
        for i in range(1, factor.bit_length()):
            self.add_module(f"up{i}", block(f"up{i}", upsample=upsample))
            self.layers.append(f"up{i}")
        self.out = Conv(params["out"], padding=4)

    def forward(self, images):
        x = images / 127.5 - 1
        for name in self.layers:
            x = getattr(self, name)(x)
        x = 127.5 * (torch.tanh(self.out(x).float() / TANH_SCALE) + 1)
        if not self.skip:
            return x
        # Antialiasing changes nothing in enlarging, but chooses Keys' cubic.
        enlarged = F.interpolate(
            images, scale_factor=self.factor, mode="bicubic", antialias=True
        )
        return enlarged + x - 127.5


class SRCNN(nn.Module):
    """`SRCNN`; its bicubic is `torch.nn.functional`'s, which does not antialias
    and has another cubic, so that the enlarged image is an argument: NCHW to NCHW.
    """

    def __init__(self, variables: Params):
        super().__init__()
        params = variables["params"]
        self.convs = nn.ModuleList(Conv(params[f"conv{i}"]) for i in (1, 2, 3))
        self.register_buffer("weights", as_tensor(LUMA_WEIGHTS)[:, None, None])

    def forward(self, bicubic):
        luma = (bicubic * self.weights).sum(1, keepdim=True)
        x = F.pad(luma / 127.5 - 1, [6, 6, 6, 6], "replicate")
        first, second, third = self.convs
        x = third(F.relu(second(F.relu(first(x)))))
        return bicubic + 127.5 * (x + 1) - luma


def twin(variables: Params, net: Mapping[str, Any]) -> nn.Module:
    """The network that these options, as in a config, describe.

    Raises InputError for one that has no twin that could be timed.
    """
    options = dict(net)
    name = options.pop("name", "StyleNet")
    options.pop("width", None)  # the variables show it
    if {"padding", "output"} & {*options}:
        raise InputError("an imported network: no PyTorch twin; leave out --reference.")
    kinds = {"StyleNet": StyleNet, "SuperResolutionNet": SuperResolutionNet}
    if name not in kinds:
        raise InputError(f"net.name={name!r}: no PyTorch twin; leave out --reference.")
    return kinds[name](variables, **options)


class Conv(nn.Module):
    """Convolution and bias: plain, of stride 1/2 ("transposed"), or "resize" first."""

    def __init__(
        self, params, *, stride=1, padding=0, upsample=None, trained_bias=True
    ):
        super().__init__()
        # Torch keeps OIHW, and IOHW where it transposes: axes of those in HWIO order.
        self.hwio = (2, 3, 0, 1) if upsample == "transposed" else (2, 3, 1, 0)
        kernel = as_tensor(params["kernel"]).permute(*np.argsort(self.hwio).tolist())
        self.kernel = nn.Parameter(kernel.contiguous())
        self.bias = nn.Parameter(as_tensor(params["bias"]), requires_grad=trained_bias)
        self.stride, self.padding, self.upsample = stride, padding, upsample

    def forward(self, x):
        if self.upsample == "transposed":
            return F.conv_transpose2d(x, self.kernel, self.bias, 2, 1, 1)
        if self.upsample == "resize":
            x = F.interpolate(x, scale_factor=2, mode="nearest")
            x = F.pad(x, [1, 1, 1, 1], "reflect")
        return F.conv2d(x, self.kernel, self.bias, self.stride, self.padding)


class _Norm(nn.Module):
    def __init__(self, params, stats, kind):
        super().__init__()
        self.scale = nn.Parameter(as_tensor(params["scale"]))
        self.bias = nn.Parameter(as_tensor(params["bias"]))
        self.kind = kind
        for name, value in stats.items():
            self.register_buffer(name, as_tensor(value))

    def forward(self, x):
        if self.kind == "instance":
            return F.instance_norm(x, weight=self.scale, bias=self.bias, eps=1e-5)
        return F.batch_norm(
            x, self.mean, self.var, self.scale, self.bias, self.training, 0.1, 1e-5
        )


class _Block(nn.Module):
    def __init__(self, params, stats, norm, *, relu=True, **options):
        super().__init__()
        self.conv = Conv(params["conv"], trained_bias=False, **options)
        self.norm = _Norm(params["norm"], stats.get("norm", {}), norm)
        self.relu = relu

    def forward(self, x):
        x = self.norm(self.conv(x))
        return F.relu(x) if self.relu else x


class _Residual(nn.Module):
    def __init__(self, params, stats, norm, *, padding=0):
        super().__init__()
        for name, relu in (("block1", True), ("block2", False)):
            block = _Block(
                params[name], stats.get(name, {}), norm, relu=relu, padding=padding
            )
            self.add_module(name, block)
        self.crop = 2 - 2 * padding

    def forward(self, x):
        return F.pad(x, [-self.crop] * 4) + self.block2(self.block1(x))


def _reflect(x, pads):
    """F.pad, again and again where a side is shorter than its padding."""
    while any(pads):
        h, w = x.shape[2:]
        now = [min(p, n - 1) for p, n in zip(pads, (w, w, h, h), strict=True)]
        x = F.pad(x, now, "reflect")
        pads = [p - n for p, n in zip(pads, now, strict=True)]
    return x
