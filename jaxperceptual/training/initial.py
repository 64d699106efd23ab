"""A run that starts from a trained network: `init` of a config, `--init` of `train`."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from jaxperceptual.core import files
from jaxperceptual.core.errors import InputError
from jaxperceptual.core.types import Params
from jaxperceptual.images import sheets
from jaxperceptual.losses.goal import Goal
from jaxperceptual.networks import pretrained, registry
from jaxperceptual.networks.gallery import TABLES
from jaxperceptual.networks.model_file import Model, build_net, read_model
from jaxperceptual.training.step import TrainState

NONE = ("", "none")  # what `init` says for a start from random weights


NUM_PHOTOS, PHOTO_SIZE = 2, 128  # px, what the nearest styles are found with


class Start(NamedTuple):
    """A state to start from, and what it came from, for the record."""

    state: TrainState
    # {"name", "sha256", "steps", "styles"}; and of a gallery's start, how much of which
    # style each style began as: "from".
    origin: dict[str, Any]


def start_from(
    name: str,
    fresh: TrainState,
    *,
    task: str,
    net_config: Mapping[str, Any],
    goal: Goal,
    photos: np.ndarray,
    styles: tuple[str, ...] = (),
) -> Start:
    """The fresh state with the weights of the model `name`; step and optimiser as new.

    name: a model as `read_model` takes it.
    goal: what is minimised. A style that a gallery does not have starts as those of its
        styles which are nearest, by the goal of `photos` [n h w 3] (`nearest`).
    styles: of a gallery to be trained, in the order of its rows; those that the model
        has keep their rows.

    Raises InputError if the model cannot be read, or is of another architecture.
    """
    model = read_model(name, task=task)
    _check_architecture(name, model, task, net_config)
    origin = {
        "name": pretrained.model_name(name),
        "sha256": files.sha256(pretrained.find_model(name)),
        "steps": model.trained.steps,
        "styles": list(model.styles),
    }
    params = model.variables["params"]
    if model.styles:
        weights, new = _start_rows(model, goal, photos, styles)
        params = _with_rows(params, weights if styles else weights[0])
        if new:
            origin["from"] = new
    elif styles:
        params = _with_rows(params, np.ones((len(styles), 1), np.float32))
    state = fresh._replace(
        params=jax.tree.map(jnp.asarray, params),
        batch_stats=jax.tree.map(jnp.asarray, model.variables["batch_stats"]),
    )
    return Start(state, origin)


def nearest(model: Model, goal: Goal, photos: np.ndarray, rows: Sequence[int | None]):
    """[r s], for each of the goal's styles the mixture of the gallery's with the least
    objective: one of them, or the mean of the best two or three.

    rows: the goal's styles, by row; [None] for the goal of one style.
    """
    net = build_net(model)

    @jax.jit
    def loss(variables, frozen, photos, weights, row):
        n = len(photos)
        outputs = net.apply(
            variables, photos, train=False, styles=jnp.tile(weights, (n, 1))
        )
        of_row = () if row is None else (jnp.full(n, row),)
        return goal.objective(frozen, outputs, photos, *of_row)[0]

    def of_style(row):
        def objective(weights):
            return float(loss(model.variables, goal.frozen, photos, weights, row))

        each = np.eye(len(model.styles), dtype=np.float32)
        best = each[np.argsort([objective(one) for one in each])]
        return min((best[:count].mean(0) for count in (1, 2, 3)), key=objective)

    return np.stack([of_style(row) for row in rows])


def _start_rows(
    model: Model, goal: Goal, photos: np.ndarray, styles: tuple[str, ...]
) -> tuple[np.ndarray, dict[str, dict[str, float]]]:
    """[new old], of which of the model's rows each row is a mixture; those found."""
    old = list(model.styles)
    wanted = styles or (None,)
    weights = np.float32([[name == other for other in old] for name in wanted])
    new = [i for i, name in enumerate(wanted) if name not in old]
    if not new:
        return weights, {}
    small = np.stack([sheets.resized(x, PHOTO_SIZE) for x in photos[:NUM_PHOTOS]])
    rows = new if styles else [None]
    weights[new] = nearest(model, goal, small, rows)
    told = {
        wanted[i] or "style": {
            name: round(float(w), 3)
            for name, w in zip(old, weights[i], strict=True)
            if w
        }
        for i in new
    }
    return weights, told


def _with_rows(params: Params, weights: np.ndarray) -> Params:

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
    options = ("factor", "norm", "width", "upsample", "skip", "padding", "output")
    told = [f"{key}={getattr(net, key)}" for key in options if hasattr(net, key)]
    return f"{type(net).__name__}({', '.join(told)})"
