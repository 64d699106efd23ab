"""Which network phi is: `loss_network` of a config."""

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxperceptual.core.errors import InputError
from jaxperceptual.loss_network import alexnet, store, vgg
from jaxperceptual.loss_network.weights import VGGWeights

VGG16 = "vgg16"
NAMES = (VGG16, alexnet.NAME)


def load(
    name: str, vgg_weights: str, *, dtype: DTypeLike = jnp.float32
) -> tuple[nn.Module, VGGWeights]:
    """The module, which is called as `VGG16`, and its weights for its `freeze`.

    name: one of `NAMES`.
    vgg_weights: VGG-16's, as `store.load` has it; AlexNet has one set of weights.

    Raises InputError for another name, or weights that are not there.
    """
    if name == VGG16:
        stored = store.load(vgg_weights)
        return vgg.VGG16(stored.preprocessing, dtype), stored
    if name == alexnet.NAME:
        return alexnet.AlexNet(dtype=dtype), alexnet.load()
    raise InputError(f"loss_network={name!r}; use one of {', '.join(NAMES)}.")
