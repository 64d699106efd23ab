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
from jaxperceptual.networks import sizes
from jaxperceptual.networks.layers import check_net_options
from jaxperceptual.networks.srcnn import SRCNN
from jaxperceptual.networks.style_net import StyleNet, check_options
from jaxperceptual.networks.super_resolution_net import (
    NUM_SR_RESIDUAL_BLOCKS,
    SR_WIDTH,
    SuperResolutionNet,
)


def shapes_of(net: nn.Module) -> sizes.Shapes:
    """Those of `net.init`'s variables; InputError for options that cannot be."""
    if type(net) is StyleNet:
        check_options(net)
        return sizes.style_net_shapes(net.width, net.norm, net.num_styles)
    if type(net) is SuperResolutionNet:
        check_net_options(net.norm, 1.0, net.upsample)
        resampling.check_factor(net.factor)
        return _super_resolution_net(net)
    if type(net) is SRCNN:
        resampling.check_factor(net.factor)
        layers = (("conv1", 9, 1, 64), ("conv2", 1, 64, 32), ("conv3", 5, 32, 1))
        return {k: v for layer in layers for k, v in sizes.conv_shapes(*layer).items()}
    init = functools.partial(net.init, train=False)
    image = jax.ShapeDtypeStruct((1, 16, 16, 3), jnp.float32)
    variables = jax.eval_shape(init, jax.random.key(0), image)
    flat = traverse_util.flatten_dict(variables, sep="/")
    return {name: leaf.shape for name, leaf in flat.items()}


def _super_resolution_net(net: SuperResolutionNet) -> sizes.Shapes:
    layers = [("conv1", 9, 3, SR_WIDTH)]
    layers += [
        (f"residual{i}/block{j}", 3, SR_WIDTH, SR_WIDTH)
        for i in range(1, NUM_SR_RESIDUAL_BLOCKS + 1)
        for j in (1, 2)
    ]
    layers += [(f"up{i}", 3, SR_WIDTH, SR_WIDTH) for i in range(1, net.doublings + 1)]
    return sizes.block_shapes(layers, net.norm) | sizes.conv_shapes(
        "out", 9, SR_WIDTH, 3
    )
