"""A run that starts from a trained network: `init` of a config, `--init` of `train`."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from jaxperceptual.core import files
from jaxperceptual.core.errors import InputError
from jaxperceptual.core.types import Params
from jaxperceptual.networks import pretrained, registry
from jaxperceptual.networks.gallery import TABLES
from jaxperceptual.networks.model_file import Model, read_model
from jaxperceptual.training.step import TrainState

NONE = ("", "none")  # what `init` says for a start from random weights


class Start(NamedTuple):
    """A state to start from, and what it came from, for the record."""

    state: TrainState
    origin: dict[str, Any]  # {"name", "sha256", "steps", "styles"}


def start_from(
    name: str,
    fresh: TrainState,
    *,
    task: str,
    net_config: Mapping[str, Any],
    styles: tuple[str, ...] = (),
) -> Start:
    """The fresh state with the weights of the model `name`; step and optimiser as new.

    name: a model as `read_model` takes it. A gallery starts a network of one style from
        the mean of its styles; "GALLERY:STYLE" from that style.
    styles: of a gallery, in the order of its rows. Those that the model has keep their
        rows, others start from the mean of what it has.

    Raises InputError if the model cannot be read, or is of another architecture.
    """
    path, colon, style = name.partition(":")
    model = read_model(path, task=task)
    if colon:
        model = model.pick(style)
    _check_architecture(name, model, task, net_config)
    params = _with_rows(model.variables["params"], _weights(model, styles))
    found = pretrained.find_model(path)
    origin = {
        "name": pretrained.model_name(path) + colon + style,
        "sha256": files.sha256(found),
        "steps": model.trained.steps,
        "styles": list(model.styles),
    }
    state = fresh._replace(
        params=jax.tree.map(jnp.asarray, params),
        batch_stats=jax.tree.map(jnp.asarray, model.variables["batch_stats"]),
    )
    return Start(state, origin)


def _weights(model: Model, styles: tuple[str, ...]) -> np.ndarray | None:
    """[new old], or [old] for a network of one style: of which rows a row is the mean.

    None if the model has no rows to choose from.
    """
    old = list(model.styles) or [None]
    mean = np.full(len(old), 1 / len(old), np.float32)
    if not styles:
        return mean if model.styles else None
    own = np.eye(len(old), dtype=np.float32)
    return np.stack([own[old.index(s)] if s in old else mean for s in styles])


def _with_rows(params: Params, weights: np.ndarray | None) -> Params:
    if weights is None:
        return params

    def of(path, value):
        if path[-2:-1] != ("norm",) or path[-1] not in TABLES:
            return value
        table = value if value.ndim == 2 else value[None]
        # By hand: a product with 1 and 0s keeps a row bit for bit.
        return (weights[..., None] * table).sum(-2, dtype=np.float32)

    return traverse_util.path_aware_map(of, dict(params))


def _check_architecture(
    name: str, model: Model, task: str, net_config: Mapping[str, Any]
) -> None:
    was, now = (
        _architecture(registry.make_net(task, options, source=source))
        for options, source in ((model.net_config, name), (net_config, "config"))
    )
    if was != now:
        raise InputError(
            f"--init {name}: {was}, but the config's is {now}; start from a model of "
            "the same architecture, or give the config its options."
        )


def _architecture(net) -> str:
    """The network and its options, those of its parameters' shapes and meaning."""
    options = ("factor", "norm", "width", "upsample", "skip")
    told = [f"{key}={getattr(net, key)}" for key in options if hasattr(net, key)]
    return f"{type(net).__name__}({', '.join(told)})"
