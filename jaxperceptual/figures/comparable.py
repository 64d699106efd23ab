"""Whether a trained network and a baseline minimise the same objective."""

from jaxperceptual.core import records
from jaxperceptual.core.errors import InputError
from jaxperceptual.losses.goal import Goal
from jaxperceptual.networks.model_file import Model


def check_comparable(model: Model, goal: Goal, name: str) -> None:
    """InputError unless the model was trained to minimise just this objective.

    `name` is what the message calls the model. Style image and its size, VGG weights,
    and every weight of the objective must be the same: otherwise the model's loss and
    that of the pixels have nothing to do with each other.
    """
    if model.task != "style":
        raise InputError(f"{name}: a model for {model.task}; give a style model.")
    was = {
        "style image": (model.trained.style or {}).get("sha256"),
        "VGG weights": (model.trained.vgg or {}).get("fingerprint"),
        "style_size": model.trained.config.get("style_size"),
        **model.trained.objective,
    }
    now = {
        "style image": goal.record["style"]["sha256"],
        "VGG weights": goal.record["vgg"]["fingerprint"],
        **records.flatten({"objective": goal.record["objective"]}),
    }
    now["style_size"] = now.pop("objective.style_size")
    was, now = records.completed(was), records.completed(now)
    if found := records.first_difference(was, now):
        raise InputError(
            f"{name} was trained with {found.key} {found.was}, this config has "
            f"{found.now}: their objectives cannot be compared; give the "
            "--config and --style that it was trained with."
        )
