"""Adam or Muon, the warm-up and fall of their rate, and which parameters they train."""

import jax
import optax
from optax import contrib

from jaxperceptual.core.errors import InputError, check_choice
from jaxperceptual.core.types import Params

METHODS = ("adam", "muon")
TRAINED = ("all", "norms")


def make_optimizer(
    learning_rate: float,
    *,
    warmup_steps: int = 0,
    decay_steps: int = 0,
    method: str = "adam",
    trained: str = "all",
) -> optax.GradientTransformation:
    """Adam (section 4.1: 1e-3, no weight decay), its rate raised linearly at first.

    With `decay_steps` the rate falls along half a cosine, to 0 at that step; the paper
    keeps it.

    method: "muon" makes the updates of inner convolutions orthogonal, as large as
        Adam's are (Jordan et al., 2024); the rest stays with Adam.
    trained: "norms" leaves all but the scales and biases of norms as they are.

    Raises InputError for numbers out of range and names that are none.
    """
    check_choice("optimizer.method", method, METHODS)
    check_choice("trained", trained, TRAINED)
    if not learning_rate > 0:
        raise InputError(
            f"optimizer.learning_rate={learning_rate}; use a positive number."
        )
    if warmup_steps < 0:
        raise InputError(f"optimizer.warmup_steps={warmup_steps}; use 0 or more.")
    if decay_steps and decay_steps <= warmup_steps:
        raise InputError(
            f"optimizer.decay_steps={decay_steps}; use 0 (a constant rate), or more "
            f"than the {warmup_steps} of warmup_steps."
        )
    # The first step already moves: rate/warmup, 2 rate/warmup, ..., rate.
    first = learning_rate / max(warmup_steps, 1)
    schedule = learning_rate
    if warmup_steps > 1:
        schedule = optax.linear_schedule(first, learning_rate, warmup_steps - 1)
    if decay_steps:
        falling = optax.cosine_decay_schedule(
            learning_rate, decay_steps - max(warmup_steps - 1, 0)
        )
        schedule = (
            optax.join_schedules([schedule, falling], [warmup_steps - 1])
            if warmup_steps > 1
            else falling
        )
    if method == "muon":
        tx = contrib.muon(
            schedule, muon_weight_dimension_numbers=_matrices, consistent_rms=0.2
        )
    else:
        tx = optax.adam(schedule)
    if trained == "norms":
        tx = optax.multi_transform({True: tx, False: optax.set_to_zero()}, _in_norm)
    return tx


def _matrices(params: Params):
    """Of convolutions between many channels, [k k i o] as a matrix [k*k*i o]."""

    def of(p):
        many = p.ndim == 4 and min(p.shape[2:]) > 3
        return contrib.MuonDimensionNumbers((0, 1, 2), 3) if many else None

    return jax.tree.map(of, params)


def _in_norm(params: Params):
    return jax.tree_util.tree_map_with_path(
        lambda path, _: any(getattr(key, "key", None) == "norm" for key in path), params
    )
