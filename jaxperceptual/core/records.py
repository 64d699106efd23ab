"""Records of what a run or a result was made with, and whether two are the same."""

import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

# Keys of configs that came later than some records, and what held before there were
# such keys.
LATER_KEYS = {
    "precision": "float32",
    "steps_per_dispatch": 1,
    "objective.luma_weight": 0.0,
    "optimizer.decay_from": 0,
    "optimizer.decay_steps": 0,
    "optimizer.method": "adam",
    "optimizer.b1": 0.9,
    "optimizer.b2": 0.999,
    "data.on_device": False,
    "init": "",
    "trained": "all",
    "style_weight": 1.0,
    "steady_weight": 0.0,
    "loss_network": "vgg16",
}


class Difference(NamedTuple):
    """A key whose values differ; None stands for no such key."""

    key: str
    was: Any
    now: Any


def first_difference(
    was: Mapping[str, Any],
    now: Mapping[str, Any],
    *,
    free: Callable[[str], bool] = lambda key: False,
) -> Difference | None:
    """The first key of flat records whose values are not equal, `now`'s keys first.

    Values are compared as JSON keeps them: tuples are lists. `free` says of a key that
    it may differ.
    """
    was, now = (json.loads(json.dumps(record)) for record in (was, now))
    for key in now | was:
        if not free(key) and was.get(key) != now.get(key):
            return Difference(key, was.get(key), now.get(key))
    return None


def completed(flat: Mapping[str, Any]) -> dict[str, Any]:
    """The flat config, with keys that it is too old to have at what held then."""
    return LATER_KEYS | dict(flat)


def flatten(record: Any) -> dict[str, Any]:
    """`{"data": {"image_size": 256}}` as `{"data.image_size": 256}`.

    record: a dict or a ConfigDict (whose import takes as long as NumPy's).
    """
    flat: dict[str, Any] = {}
    for key, value in record.items():
        if hasattr(value, "items"):
            flat |= {f"{key}.{inner}": v for inner, v in flatten(value).items()}
        else:
            flat[key] = value
    return flat
