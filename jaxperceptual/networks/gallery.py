"""Many styles in one network, and any of them, or a mixture, as an ordinary one.

A gallery's instance norms have a row of scales and biases for each style, and all else
is shared (`layers.Norm`). Picking takes a row of every table, mixing a weighted sum of
rows: what is left is a style network like any other.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from jaxperceptual.core.errors import InputError
from jaxperceptual.core.host_types import Params
from jaxperceptual.networks.trained import Trained

TABLES = ("scale", "bias")  # of a norm


def parse(style: str | Mapping[str, float]) -> dict[str, float]:
    """`"a"` as `{"a": 1.0}`, `"a:0.6,b:0.4"` as `{"a": 0.6, "b": 0.4}`; or weights.

    They are scaled to add up to 1. Raises InputError for anything else.
    """
    if not isinstance(style, str | Mapping):
        raise InputError(f"style {style!r}: use a name, or a dictionary of weights.")
    weights: dict[str, float] = {}
    for part in style.split(",") if isinstance(style, str) else style.items():
        name, number = part if isinstance(part, tuple) else _named(part)
        try:
            weight = float(number)
        except (TypeError, ValueError):
            weight = -1.0
        if not name or not 0 < weight < math.inf or name in weights:
            raise InputError(
                f"style {style!r}: {part!r} is none, or is there twice; use "
                "NAME, or NAME:WEIGHT,NAME:WEIGHT with positive weights."
            )
        weights[name] = weight
    total = sum(weights.values())
    if not 0 < total < math.inf:
        raise InputError(f"style {style!r}: weights that add up to {total}; scale them")
    return {name: weight / total for name, weight in weights.items()}


def _named(part):
    name, colon, number = part.strip().partition(":")
    return name, number if colon else 1.0


def rows(weights: Mapping[str, float], names: Iterable[str]) -> np.ndarray:
    """[s] float32, of each style how much; raises InputError for a name not there."""
    names = list(names)
    for name in weights:
        if name not in names:
            raise InputError(f"style {name}: not in it; there is {', '.join(names)}.")
    return np.float32([weights.get(name, 0.0) for name in names])


def mixed(params: Params, weights: np.ndarray) -> Params:
    """The parameters of the style network that a mixture [s] of the rows is."""

    def of(params: Params, in_norm: bool) -> Params:
        return {
            name: (
                of(part, name == "norm")
                if isinstance(part, Mapping)
                else np.tensordot(weights, part, 1).astype(np.float32)
                if in_norm and name in TABLES
                else part
            )
            for name, part in params.items()
        }

    return of(params, False)


def trained_alone(
    trained: Trained, styles: Mapping[str, Mapping[str, str]], weights: Mapping
) -> Trained:
    """How a mixture was trained; of one style, in the words of a run of that alone.

    Its objective is then the one that a config with that style image would have.
    """
    config: dict[str, Any] = {
        key: value
        for key, value in trained.config.items()
        if not key.startswith("styles.") and key != "net.num_styles"
    }
    other = dict(trained.other) | {"gallery": dict(weights)}
    style = None
    if len(weights) == 1:
        (name,) = weights
        own = {
            key: trained.config.get(f"styles.{name}.{key}")
            for key in ("image", "size", "weight")
        }
        style = styles[name] or None
        if all(value is not None for value in own.values()):
            config |= {
                "style_image": own["image"],
                "style_size": own["size"],
                "style_weight": own["weight"],
            }
    return Trained(trained.steps, config, style, trained.vgg, other)
