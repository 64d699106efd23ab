"""From a config to what is minimised: the objective, style targets, a record of both.

All start here (`build_goal`), so that their losses are the same: training, the
baseline, figures 5 to 7, the benchmarks. Figures 3 and 4 have no config, and objectives
of one layer.
"""

from typing import Any, NamedTuple

import jax
from ml_collections import ConfigDict

from jaxperceptual.core import precision
from jaxperceptual.core.errors import InputError
from jaxperceptual.core.memory import give_memory_back
from jaxperceptual.core.types import Image
from jaxperceptual.loss_network import store, vgg
from jaxperceptual.loss_network.weights import VGGWeights
from jaxperceptual.losses.objective import Frozen, PerceptualObjective
from jaxperceptual.losses.style_image import StyleImage


class Goal(NamedTuple):
    """An objective, and what it needs."""

    objective: PerceptualObjective
    frozen: Frozen
    record: dict[str, Any]  # {"style": ..., "vgg": ..., "objective": ...} as JSON


def build_objective(
    config: ConfigDict,
) -> tuple[PerceptualObjective, VGGWeights | None]:
    """The objective, and the weights of its loss network; None where it reads none.

    Raises InputError for an objective that cannot be, or weights that are not there.
    """
    weights = config.objective.to_dict()
    if not any(any(weights[kind].values()) for kind in ("content", "style")):
        return PerceptualObjective(**weights), None
    stored = store.load(config.vgg)
    network = vgg.VGG16(stored.preprocessing, precision.dtype(config.precision))
    return PerceptualObjective(network, **weights), stored


def freeze(
    objective: PerceptualObjective, stored: VGGWeights | None, style: Image | None
) -> Frozen:
    """What the objective reads at every step: the network, and the style's Grams."""
    variables = vgg.freeze(stored.params, objective.layers) if stored else {}
    return objective.freeze(variables, style)


def build_goal(config: ConfigDict, style: StyleImage | None) -> Goal:
    """The goal of a config and its style image (`style_image.read_style`).

    Raises InputError as `build_objective` does, and for a style without an image.
    """
    objective, stored = build_objective(config)
    record: dict[str, Any] = {}
    if stored:
        record["vgg"] = {"name": config.vgg, "fingerprint": stored.fingerprint}
    weights = config.objective.to_dict()
    if style is not None:
        record["style"] = {"name": style.name, "sha256": style.sha256}
        weights = {"style_size": config.style_size, **weights}
    elif objective.style:
        raise InputError(
            "objective.style has weights, but this config names no style_image; "
            "use a style config, or weights of 0."
        )
    record["objective"] = weights
    frozen = freeze(objective, stored, None if style is None else style.pixels)
    jax.block_until_ready(frozen.style)
    give_memory_back()
    return Goal(objective, frozen, record)
