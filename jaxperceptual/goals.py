"""What is minimised, from a config: the style image, VGG's weights, the objective.

Training and the baseline (`gatys`) both start here, so that their losses are the same.
"""

import hashlib
from pathlib import Path
from typing import Any, NamedTuple

import jax
from ml_collections import ConfigDict

from jaxperceptual import (
    compilation,
    configs,
    images,
    models,
    objectives,
    precision,
    vgg,
    vgg_weights,
)
from jaxperceptual.errors import InputError
from jaxperceptual.types import Frozen, Image, Objective

STYLES = configs.FOLDER / "styles"
MIN_STYLE_SIDE = 16  # px: relu4_3 sees an eighth of it, relu5_3 a sixteenth


class Goal(NamedTuple):
    """An objective, and what it needs."""

    objective: Objective
    features_fn: objectives.FeaturesFn
    content_layers: tuple[str, ...]
    frozen: Frozen
    style_image: Image | None  # of a style config
    record: dict[str, Any]  # {"style": ..., "vgg": ..., "objective": ...} as JSON


def load_goal(config: ConfigDict) -> Goal:
    """Reads the style image and the weights that the config names.

    An objective of pixels alone takes no VGG. Prints which style image it is, where the
    config is one of style. Raises InputError for what is not there, or for an objective
    that cannot be.
    """
    weighted = config.objective.to_dict()
    layers = objectives.layers_of(weighted["content"], weighted["style"])
    features_fn, variables = objectives.no_features, {}
    style_image, grams, record = None, {}, {}
    if layers:
        weights = vgg_weights.load(config.vgg)
        dtype = precision.dtype(config.precision)
        features_fn = objectives.vgg_features(weights.preprocessing, dtype)
        variables = vgg.frozen(weights.params, layers)
        record["vgg"] = {"name": config.vgg, "fingerprint": weights.fingerprint}
    objective = objectives.perceptual_objective(features_fn, **weighted)
    if "style_image" in config:
        style_path, style_image = read_style(config)
        grams = objectives.style_targets(
            features_fn, variables, style_image, objectives.layers_of(weighted["style"])
        )
        jax.block_until_ready(grams)
        compilation.give_memory_back()
        record["style"] = {
            "name": style_path.name,
            "sha256": hashlib.sha256(style_path.read_bytes()).hexdigest(),
        }
        weighted = {"style_size": config.style_size, **weighted}
    elif objectives.layers_of(weighted["style"]):
        raise InputError(
            "objective.style has weights, but this config names no style_image; "
            "use a style config, or weights of 0."
        )
    record["objective"] = weighted
    return Goal(
        objective,
        features_fn,
        objectives.layers_of(weighted["content"]),
        Frozen(variables, grams),
        style_image,
        record,
    )


def check_comparable(model: models.Model, goal: Goal, name: str) -> None:
    """InputError unless the model was trained to minimise just this objective.

    `name` is what the message calls the model. Style image and its size, VGG weights,
    and every weight of the objective must be the same: otherwise the model's loss and
    that of the pixels have nothing to do with each other.
    """
    if model.task != "style":
        raise InputError(f"{name}: a model for {model.task}; give a style model.")
    trained = model.metadata.get("training", {})
    was = {
        "style image": model.metadata.get("style", {}).get("sha256"),
        "VGG weights": model.metadata.get("vgg", {}).get("fingerprint"),
        "style_size": trained.get("style_size"),
        **{
            key.removeprefix("objective."): value
            for key, value in trained.items()
            if key.startswith("objective.")
        },
    }
    objective = configs.flatten(ConfigDict(goal.record["objective"]))
    now = {
        "style image": goal.record["style"]["sha256"],
        "VGG weights": goal.record["vgg"]["fingerprint"],
        **objective,
    }
    for key in now | was:
        if was.get(key) != now.get(key):
            raise InputError(
                f"{name} was trained with {key} {was.get(key)}, this config has "
                f"{now.get(key)}: their objectives cannot be compared; give the "
                "--config and --style that it was trained with."
            )


def read_style(config: ConfigDict) -> tuple[Path, Image]:
    """The style image's path and pixels, and one printed line that says which it is.

    `style_image` is a path or a name in configs/styles; where there is neither, the
    config's `default_style_image` stands in, if it names one. Raises InputError if
    nothing is found or readable.
    """
    note = "another: --style PATH"
    for name in (config.style_image, config.default_style_image):
        for path in (Path(name), STYLES / name):
            if name and path.is_file():
                pixels = images.read_image(path, size=config.style_size)
                if min(pixels.shape[:2]) < MIN_STYLE_SIDE:
                    h, w, _ = pixels.shape
                    raise InputError(
                        f"style image {path}: {w} x {h} px at style_size="
                        f"{config.style_size}; its short side needs {MIN_STYLE_SIDE}."
                    )
                print(f"style image: {path} ({note})")
                return path, pixels
        note = f"{name} is not in configs/styles; put it there or give --style PATH"
    raise InputError(
        f"style image {config.style_image}: no such file, here or in configs/styles; "
        "give one with --style PATH."
    )
