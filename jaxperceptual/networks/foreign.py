"""Style networks of other projects' files as models of ours.

Those of pytorch/examples (fast_neural_style) and of rrmina/fast-neural-style-pytorch:
the architecture of this project's `StyleNet` but for where pixels are reflected
(`padding="layers"`) and what ends it (`output`). Their layouts were read in their
source; nothing in a file is run.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxperceptual.core import containers, files
from jaxperceptual.core.errors import InputError
from jaxperceptual.networks.model_file import Model
from jaxperceptual.networks.sizes import NUM_RESIDUAL_BLOCKS
from jaxperceptual.networks.trained import Trained

_KINDS = (".weight", ".bias")
_WRAPPINGS = ("module.", "_orig_mod.")  # of DataParallel, of torch.compile


class Layout(NamedTuple):
    """Whose file it is: names by ours, of a convolution and of its norm."""

    project: str
    upsample: str
    bgr: bool  # pixels in and out are BGR, OpenCV's order
    names: Mapping[str, tuple[str, str]]


def _of_pytorch_examples() -> Layout:
    names = {f"conv{i}": (f"conv{i}.conv2d", f"in{i}") for i in (1, 2, 3)}
    for i in range(1, NUM_RESIDUAL_BLOCKS + 1):
        for j in (1, 2):
            own = f"res{i}.conv{j}.conv2d", f"res{i}.in{j}"
            names[f"residual{i}/block{j}"] = own
    names |= {f"up{i}": (f"deconv{i}.conv2d", f"in{i + 3}") for i in (1, 2)}
    names["out"] = "deconv3.conv2d", ""
    return Layout("pytorch/examples", "resize", False, names)


def _of_rrmina() -> Layout:
    def layer(name, kind="conv_layer"):
        return f"{name}.{kind}", f"{name}.norm_layer"

    names = {f"conv{i + 1}": layer(f"ConvBlock.{2 * i}") for i in range(3)}
    for i in range(NUM_RESIDUAL_BLOCKS):
        for j in (1, 2):
            names[f"residual{i + 1}/block{j}"] = layer(f"ResidualBlock.{i}.conv{j}")
    for i in range(2):
        names[f"up{i + 1}"] = layer(f"DeconvBlock.{2 * i}", "conv_transpose")
    names["out"] = "DeconvBlock.4.conv_layer", ""
    return Layout("rrmina/fast-neural-style-pytorch", "transposed", True, names)


LAYOUTS = (_of_pytorch_examples(), _of_rrmina())


def read_foreign(path: str | os.PathLike, *, tanh: bool = False) -> Model:
    """The model of another project's `.pth`, `.pt` or `.safetensors` file.

    tanh: whether the network ends in 150 tanh, which its weights do not tell: that of
        some versions of rrmina's does.

    Raises InputError for a file that cannot be read, or of another network.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file; check the path.")
    tensors, _ = containers.read(path, lambda name, _: name.endswith(_KINDS))
    tensors = {_unwrapped(name): value for name, value in tensors.items()}
    firsts = [f"{layout.names['conv1'][0]}.weight" for layout in LAYOUTS]
    layout = next(
        (of for of, first in zip(LAYOUTS, firsts, strict=True) if first in tensors),
        None,
    )
    if layout is None:
        raise InputError(
            f"{path}: has none of {', '.join(firsts)}; a style network of "
            f"{' or '.join(layout.project for layout in LAYOUTS)} is wanted."
        )
    params = {}
    for name, (conv, norm) in layout.names.items():
        node = params
        for part in name.split("/"):
            node = node.setdefault(part, {})
        of_conv = _convolution(path, tensors, conv)
        if norm:
            scale, bias = (_get(path, tensors, norm, k, 1) for k in ("weight", "bias"))
            node |= {"conv": of_conv, "norm": {"scale": scale, "bias": bias}}
        else:
            node |= of_conv
    _to_our_pixels(params, layout.bgr)
    width = len(params["conv1"]["conv"]["bias"]) / 32
    net = dict(norm="instance", width=width, upsample=layout.upsample)
    net |= dict(padding="layers", output="tanh150" if tanh else "linear")
    source = {"project": layout.project, "file": path.name}
    source["sha256"] = files.sha256(path)
    trained = Trained(other={"source": source})
    return Model("style", net, {"params": params, "batch_stats": {}}, trained)


def _unwrapped(name: str) -> str:
    for wrapping in _WRAPPINGS:
        name = name.removeprefix(wrapping)
    return name


def _get(path, tensors, name, kind, ndim):
    value = tensors.get(f"{name}.{kind}")
    if value is None or value.ndim != ndim:
        what = "is missing" if value is None else f"has the shape {value.shape}"
        raise InputError(f"{path}: {name}.{kind} {what}; is it another network?")
    return np.asarray(value, np.float32)


def _convolution(path, tensors, name):
    weight = _get(path, tensors, name, "weight", 4)
    # Torch keeps OIHW, and IOHW where it transposes.
    axes = (2, 3, 0, 1) if name.endswith("conv_transpose") else (2, 3, 1, 0)
    return {
        "kernel": np.ascontiguousarray(weight.transpose(axes)),
        "bias": _get(path, tensors, name, "bias", 1),
    }


def _to_our_pixels(params, bgr):
    """Theirs come as they are, ours as p / 127.5 - 1, and always RGB."""
    first, last = params["conv1"]["conv"], params["out"]
    if bgr:
        first["kernel"] = first["kernel"][:, :, ::-1]
        last["kernel"] = last["kernel"][..., ::-1]
        last["bias"] = last["bias"][::-1]
    kernel = first["kernel"].astype(np.float64)
    bias = first["bias"] + 127.5 * kernel.sum((0, 1, 2))
    params["conv1"]["conv"] = {
        "kernel": (127.5 * kernel).astype(np.float32),
        "bias": bias.astype(np.float32),
    }
