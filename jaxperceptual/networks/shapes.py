"""Names and shapes of each network's variables, without JAX tracing it.

Reading a model file wants them at every start, where an abstract `init` takes half a
second. A test holds them to `init`'s, for each option.
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import traverse_util

from jaxperceptual.images import resampling
from jaxperceptual.networks.layers import check_net_options
from jaxperceptual.networks.sizes import NUM_RESIDUAL_BLOCKS
from jaxperceptual.networks.srcnn import SRCNN
from jaxperceptual.networks.style_net import StyleNet, check_options
from jaxperceptual.networks.super_resolution_net import (
    NUM_SR_RESIDUAL_BLOCKS,
    SR_WIDTH,
    SuperResolutionNet,
)

Shapes = dict[str, tuple[int, ...]]  # by names as "params/conv1/conv/kernel"


def shapes_of(net: nn.Module) -> Shapes:
    """Those of `net.init`'s variables; InputError for options that cannot be."""
    if type(net) is StyleNet:
        check_options(net)
        return _style_net(net)
    if type(net) is SuperResolutionNet:
        check_net_options(net.norm, 1.0, net.upsample)
        resampling.check_factor(net.factor)
        return _super_resolution_net(net)
    if type(net) is SRCNN:
        resampling.check_factor(net.factor)
        layers = (("conv1", 9, 1, 64), ("conv2", 1, 64, 32), ("conv3", 5, 32, 1))
        return {k: v for layer in layers for k, v in _conv(*layer).items()}
    init = functools.partial(net.init, train=False)
    image = jax.ShapeDtypeStruct((1, 16, 16, 3), jnp.float32)
    variables = jax.eval_shape(init, jax.random.key(0), image)
    flat = traverse_util.flatten_dict(variables, sep="/")
    return {name: leaf.shape for name, leaf in flat.items()}


def _style_net(net: StyleNet) -> Shapes:
    few, some, many = (round(c * net.width) for c in (32, 64, 128))
    layers = [("conv1", 9, 3, few), ("conv2", 3, few, some), ("conv3", 3, some, many)]
    layers += [
        (f"residual{i}/block{j}", 3, many, many)
        for i in range(1, NUM_RESIDUAL_BLOCKS + 1)
        for j in (1, 2)
    ]
    layers += [("up1", 3, many, some), ("up2", 3, some, few)]
    return _blocks(layers, net.norm, net.num_styles) | _conv("out", 9, few, 3)


def _super_resolution_net(net: SuperResolutionNet) -> Shapes:
    layers = [("conv1", 9, 3, SR_WIDTH)]
    layers += [
        (f"residual{i}/block{j}", 3, SR_WIDTH, SR_WIDTH)
        for i in range(1, NUM_SR_RESIDUAL_BLOCKS + 1)
        for j in (1, 2)
    ]
    layers += [(f"up{i}", 3, SR_WIDTH, SR_WIDTH) for i in range(1, net.doublings + 1)]
    return _blocks(layers, net.norm) | _conv("out", 9, SR_WIDTH, 3)


def _blocks(layers, norm: str | None, num_styles: int = 0) -> Shapes:
    """Of `layers.ConvBlock`s."""
    found = {}
    for name, size, inputs, outputs in layers:
        found |= _conv(f"{name}/conv", size, inputs, outputs)
        if norm is not None:
            rows = (num_styles, outputs) if num_styles else (outputs,)
            found |= {f"params/{name}/norm/{key}": rows for key in ("scale", "bias")}
        if norm == "batch":
            seen = f"batch_stats/{name}/norm"
            found |= {f"{seen}/{key}": (outputs,) for key in ("mean", "var")}
    return found


def _conv(name: str, size: int, inputs: int, outputs: int) -> Shapes:
    kernel = (size, size, inputs, outputs)
    return {f"params/{name}/kernel": kernel, f"params/{name}/bias": (outputs,)}
