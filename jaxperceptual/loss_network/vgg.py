"""The loss network phi: VGG-16 (Simonyan and Zisserman 2014) up to a layer.

Weights and what pixels they want come from `store`; this is the arithmetic.
"""

import os
from collections.abc import Iterable, Mapping

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxperceptual import ops
from jaxperceptual.core.errors import InputError
from jaxperceptual.core.memory import give_memory_back
from jaxperceptual.core.types import Images, Params
from jaxperceptual.loss_network import store
from jaxperceptual.loss_network.dialects import Preprocessing
from jaxperceptual.loss_network.vgg_layers import CONV_SHAPES, LAYERS, check_layers
from jaxperceptual.loss_network.weights import DEFAULT


class VGG16(nn.Module):
    """Activations by name: [n h w 3] in [0, 255] -> {"relu2_2": [n h/2 w/2 128], ...}.

    Computes down to the deepest layer asked for and no further. Variables: `params`,
    and `transforms` of the kernels on a platform that has a use for them (`freeze`
    makes both). No gradient reaches the parameters. Computed in `dtype`, of which kind
    the activations are.
    """

    preprocessing: Preprocessing
    dtype: DTypeLike = jnp.float32

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str | os.PathLike = DEFAULT,
        *,
        layers: Iterable[str] = ("relu4_3",),
        dtype: DTypeLike = jnp.float32,
    ) -> tuple["VGG16", Params]:
        """The module, and its variables down to the deepest of `layers`.

        name_or_path: as `store.load` has it; raises InputError as that does.
        """
        stored = store.load(name_or_path)
        return cls(stored.preprocessing, dtype), freeze(stored.params, layers)

    @staticmethod
    def check_layers(layers: Iterable[str]) -> tuple[str, ...]:
        """The names as a tuple; InputError for none, or for one that is not there."""
        return check_layers(layers)

    @staticmethod
    def freeze(params: Mapping[str, Params], layers: Iterable[str]) -> Params:
        """Variables for `apply`, as the module's `freeze` makes them."""
        return freeze(params, layers)

    @nn.compact
    def __call__(self, images: Images, layers: Iterable[str]) -> dict[str, jax.Array]:
        """Activations of `layers` by name; InputError for a layer that is none."""
        wanted = check_layers(layers)
        x = preprocess(images, self.preprocessing).astype(self.dtype)
        found = {}
        for name in LAYERS[: max(LAYERS.index(layer) for layer in wanted) + 1]:
            if name.startswith("relu"):
                conv = _FrozenConv(name.replace("relu", "conv"), name=_conv_of(name))
                x = nn.relu(conv(x))
            else:
                x = ops.max_pool(x)
            if name in wanted:
                found[name] = x
        return found


class _FrozenConv(nn.Module):
    """3 x 3 same convolution and bias, whose kernel may come with transforms."""

    layer: str

    @nn.compact
    def __call__(self, x):
        shape = CONV_SHAPES[self.layer]
        kernel = self.param("kernel", nn.initializers.he_normal(), shape)
        bias = self.param("bias", nn.initializers.zeros, shape[-1:])
        transforms = None
        if self.has_variable("transforms", "kernel"):
            transforms = self.get_variable("transforms", "kernel")
        y = ops.frozen_conv(x, kernel.astype(x.dtype), transforms)
        return y + jax.lax.stop_gradient(bias).astype(x.dtype)


def preprocess(images: Images, preprocessing: Preprocessing) -> jax.Array:
    """RGB in [0, 255] -> what these weights were trained on."""
    channels, scale, mean, std = preprocessing
    x = images[..., ::-1] if channels == "BGR" else images
    return (x / scale - jnp.asarray(mean)) / jnp.asarray(std)


def freeze(params: Mapping[str, Params], layers: Iterable[str]) -> Params:
    """Variables for `VGG16.apply`, cut off below the deepest of `layers`.

    Holds what this platform wants precomputed of the kernels, so that no step repeats
    it. Raises InputError if the weights do not reach that deep.
    """
    deepest = max(LAYERS.index(layer) for layer in check_layers(layers))
    needed = [_conv_of(n) for n in LAYERS[: deepest + 1] if n.startswith("relu")]
    missing = [name for name in needed if name not in params]
    if missing:
        raise InputError(
            f"{LAYERS[deepest]} needs {missing[0]}, and these VGG weights end above "
            "it; convert them again without --layers-to."
        )
    transforms = {
        name: {"kernel": jax.tree.map(jnp.asarray, made)}
        for name in needed
        if (made := ops.frozen_transforms(params[name]["kernel"])) is not None
    }
    if transforms:
        give_memory_back()  # as much again as they take
    params = {name: jax.tree.map(jnp.asarray, dict(params[name])) for name in needed}
    return {"params": params} | ({"transforms": transforms} if transforms else {})


def _conv_of(relu: str) -> str:
    return relu.replace("relu", "conv")
