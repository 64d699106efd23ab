"""Files of an exported model, and what half the size costs."""

import os
from pathlib import Path

import jax
import numpy as np
import skimage.data

from jaxperceptual.core import files
from jaxperceptual.core.errors import InputError
from jaxperceptual.core.types import Images
from jaxperceptual.export.stablehlo import to_stablehlo
from jaxperceptual.networks import pretrained
from jaxperceptual.networks.folding import fold
from jaxperceptual.networks.model_file import Model, build_net

FORMATS = {".onnx": "onnx", ".stablehlo": "stablehlo"}


def export_model(
    model: Model,
    path: str | os.PathLike,
    *,
    format: str | None = None,
    half_weights: bool = False,
    card: str = "",
    all_styles: bool = False,
) -> Path:
    """Writes the model for other programs, atomically; parent folders are made.

    format: "onnx" (`to_onnx`) or "stablehlo" (`to_stablehlo`); None: as `path` ends.
    half_weights, card, all_styles: of ONNX, as `to_onnx` has them.

    Raises InputError as those two, for a format that there is not, or without `onnx`.
    """
    path = Path(path)
    format = format or FORMATS.get(path.suffix)
    if format is None:
        raise InputError(
            f"{path}: ends neither in {' nor '.join(FORMATS)}; name the format."
        )
    if format == "stablehlo":
        if half_weights or all_styles:
            what = "all styles" if all_styles else "float16 weights"
            raise InputError(f"{what}: of ONNX alone; leave them out.")
        content = to_stablehlo(model).serialize()
    elif format == "onnx":
        try:
            from jaxperceptual.export.onnx_model import to_onnx
        except ModuleNotFoundError as error:
            if error.name != "onnx":
                raise
            raise InputError(
                "the package onnx is missing; pip install 'jaxperceptual[onnx]'."
            ) from error
        made = to_onnx(
            model, half_weights=half_weights, card=card, all_styles=all_styles
        )
        content = made.SerializeToString()
    else:
        known = " or ".join(FORMATS.values())
        raise InputError(f"format {format}: unknown; use {known}.")
    path.parent.mkdir(parents=True, exist_ok=True)
    with files.replacing(path) as file:
        file.write(content)
    return path


def card_of(name: str | os.PathLike) -> str:
    """The card that lies beside the model file, as those that ship have one; or ""."""
    card = pretrained.find_model(name).with_suffix(".md")
    return card.read_text() if card.is_file() else ""


def cost_of_half_weights(model: Model, side: int = 256) -> tuple[float, float]:
    """How far float16 weights move an output, in grey levels: the most, and the mean.

    Of `middle(side)`.
    """
    net, variables = fold(build_net(model), model.variables)
    photo = middle(side)
    apply = jax.jit(lambda v: net.apply(v, photo, train=False).clip(0.0, 255.0))
    rounded = jax.tree.map(lambda a: a.astype(np.float16).astype(a.dtype), variables)
    apart = np.abs(apply(variables) - apply(rounded))
    return float(apart.max()), float(apart.mean())


def middle(side: int) -> Images:
    """[1 side side 3] in [0, 255], of the middle of scikit-image's astronaut."""
    photo = skimage.data.astronaut()
    top, left = ((size - side) // 2 for size in photo.shape[:2])
    return np.float32(photo[None, top : top + side, left : left + side])
