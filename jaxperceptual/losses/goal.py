"""From a config to what is minimised: the objective, style targets, a record of both.

All start here (`build_goal`), so that their losses are the same: training, the
baseline, figures 5 to 7, the benchmarks. Figures 3 and 4 have no config, and objectives
of one layer.
"""

import contextlib
from collections.abc import Mapping
from concurrent import futures
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from jaxperceptual.core import precision
from jaxperceptual.core.errors import InputError, check_range
from jaxperceptual.core.memory import give_memory_back
from jaxperceptual.core.types import Image, Images
from jaxperceptual.loss_network import phi
from jaxperceptual.loss_network.weights import VGGWeights
from jaxperceptual.losses import style_weight
from jaxperceptual.losses.objective import Frozen, PerceptualObjective
from jaxperceptual.losses.style_image import StyleImage


class Goal(NamedTuple):
    """An objective, and what it needs."""

    objective: PerceptualObjective
    frozen: Frozen
    # {"style": ..., "vgg": ..., "objective": ..., "precision": ...} as JSON; and, by
    # key of the config, the weights that were found where it has 0.
    record: dict[str, Any]

    def products(self) -> contextlib.AbstractContextManager:
        """Within it, the objective is what the config's precision makes of it.

        So were the style's targets computed.
        """
        return precision.products(self.record["precision"])


def build_objective(
    config: ConfigDict,
) -> tuple[PerceptualObjective, VGGWeights | None]:
    """The objective, and the weights of its loss network; None where it reads none.

    Raises InputError for an objective that cannot be, or weights that are not there.
    """
    weights = config.objective.to_dict()
    if not any(any(weights[kind].values()) for kind in ("content", "style")):
        return PerceptualObjective(**weights), None
    network, stored = phi.load(
        config.get("loss_network", phi.VGG16),
        config.vgg,
        dtype=precision.dtype(config.precision),
    )
    return PerceptualObjective(network, **weights), stored


def _told(config: ConfigDict, stored: VGGWeights) -> dict[str, str]:
    """The loss network's weights, for a record."""
    network = config.get("loss_network", phi.VGG16)
    name = config.vgg if network == phi.VGG16 else network
    return {"name": name, "fingerprint": stored.fingerprint}


def freeze(
    objective: PerceptualObjective, stored: VGGWeights | None, style: Image | None
) -> Frozen:
    """What the objective reads at every step: the network, and the style's Grams."""
    variables = {}
    if stored:
        variables = objective.network.freeze(stored.params, objective.layers)
    return objective.freeze(variables, style)


def build_gallery_goal(
    config: ConfigDict,
    styles: Mapping[str, StyleImage | None],
    photos: Images | None = None,
) -> Goal:
    """The goal of a gallery's config and style images (`style_image.read_gallery`).

    photos: as `build_goal` has them. Raises InputError as `build_objective` does.
    """
    objective, stored = build_objective(config)
    if stored is None:
        raise InputError(
            "every layer's weight in the objective is 0; a gallery needs style weights."
        )
    if not objective.style or not any(styles.values()):
        raise InputError(
            "a gallery needs style weights and a style image; this one has no "
            f"{'image' if objective.style else 'weights'}."
        )
    variables = objective.network.freeze(stored.params, objective.layers)

    def targets(style: StyleImage | None):
        with precision.products(config.precision):  # of a thread
            return style and objective.style_targets(variables, style.pixels)

    # Each size of painting is a program: they are compiled side by side.
    with futures.ThreadPoolExecutor() as pool:
        found = list(pool.map(targets, styles.values()))
    empty = jax.tree.map(jnp.zeros_like, next(grams for grams in found if grams))
    grams = jax.tree.map(lambda *g: jnp.concatenate(g), *(g or empty for g in found))
    weights, found_weights = [], {}
    for name, own in zip(styles, found, strict=True):
        weight = config.styles[name].weight if own else 0.0
        if own and not weight:
            with precision.products(config.precision):
                weight = style_weight.found(objective, Frozen(variables, own), photos)
            found_weights[f"styles.{name}.weight"] = weight
        weights.append(weight)
    record = {
        "vgg": _told(config, stored),
        "found": found_weights,
        "styles": {
            name: {"name": style.name, "sha256": style.sha256} if style else {}
            for name, style in styles.items()
        },
        "objective": config.objective.to_dict(),
        "precision": config.precision,
    }
    jax.block_until_ready(grams)
    give_memory_back()
    frozen = Frozen(variables, grams, style_weights=jnp.float32(weights))
    return Goal(objective, frozen, record)


def build_goal(
    config: ConfigDict, style: StyleImage | None, photos: Images | None = None
) -> Goal:
    """The goal of a config and its style image (`style_image.read_style`).

    photos: what a `style_weight` of 0 is found with (`style_weight.found`).

    Raises InputError as `build_objective` does, and for a style without an image.
    """
    with precision.products(config.precision):
        return _build_goal(config, style, photos)


def _build_goal(
    config: ConfigDict, style: StyleImage | None, photos: Images | None
) -> Goal:
    objective, stored = build_objective(config)
    record: dict[str, Any] = {"found": {}, "precision": config.precision}
    if stored:
        record["vgg"] = _told(config, stored)
    weights = config.objective.to_dict()
    if style is not None:
        record["style"] = {"name": style.name, "sha256": style.sha256}
        weights = {"style_size": config.style_size, **weights}
    elif objective.style:
        raise InputError(
            "objective.style has weights, but this config names no style_image; "
            "use a style config, or weights of 0."
        )
    frozen = freeze(objective, stored, None if style is None else style.pixels)
    if objective.style:
        factor = config.get("style_weight", 1.0)
        check_range("style_weight", factor, 0, style_weight.MOST)
        if not factor:
            if photos is None:
                raise InputError(
                    "style_weight=0 is found by training alone; give a number, as "
                    "--config.style_weight=1.0."
                )
            factor = style_weight.found(objective, frozen, photos)
            record["found"]["style_weight"] = factor
        scaled = {name: weight * factor for name, weight in objective.style.items()}
        frozen = frozen._replace(style_weights=jnp.float32([factor]))
        weights["style"] = weights["style"] | scaled
    record["objective"] = weights
    jax.block_until_ready(frozen.style)
    give_memory_back()
    return Goal(objective, frozen, record)
