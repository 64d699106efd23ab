"""Adam or Muon, the warm-up and fall of their rate, and which parameters they train."""

import jax
import jax.numpy as jnp
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
    decay_from: int = 0,
    decay_steps: int = 0,
    method: str = "adam",
    b1: float = 0.9,
    b2: float = 0.999,
    trained: str = "all",
) -> optax.GradientTransformation:
    """Adam (section 4.1: 1e-3, no weight decay), the rate of `make_schedule`.

    method: "muon" makes the updates of inner convolutions orthogonal, as large as
        Adam's are (Jordan et al., 2024); the rest stays with Adam.
    b1, b2: how much Adam's two moments keep of themselves each step.
    trained: "norms" leaves all but the scales and biases of norms as they are.

    Raises InputError for numbers out of range and names that are none.
    """
    check_choice("optimizer.method", method, METHODS)
    check_choice("trained", trained, TRAINED)
    for name, value in (("b1", b1), ("b2", b2)):
        if not 0 <= value < 1:
            raise InputError(f"optimizer.{name}={value}; use 0 or more, and below 1.")
    schedule = make_schedule(
        learning_rate,
        warmup_steps=warmup_steps,
        decay_from=decay_from,
        decay_steps=decay_steps,
    )
    if not warmup_steps > 1 and not decay_steps:
        schedule = learning_rate  # keeps no count
    if method == "muon":
        tx = contrib.muon(
            schedule,
            adam_b1=b1,
            adam_b2=b2,
            muon_weight_dimension_numbers=_matrices,
            consistent_rms=0.2,
        )
    else:
        tx = optax.adam(schedule, b1, b2)
    if trained == "norms":
        tx = optax.multi_transform({True: tx, False: optax.set_to_zero()}, _in_norm)
    return tx


def with_counts(old, new, step: int):
    """The optimiser's `old` state, for one whose state is made as `new` is.

    They may differ in that one counts steps for its rate and the other has a constant
    one: `step` have been made.
    """
    counting, constant = optax.ScaleByScheduleState, optax.EmptyState

    def of(new, old):
        if isinstance(new, counting) and isinstance(old, constant):
            return new._replace(count=jnp.asarray(step, new.count.dtype))
        return new if isinstance(new, constant) else old

    kinds = (counting, constant)
    return jax.tree.map(of, new, old, is_leaf=lambda x: isinstance(x, kinds))


def make_schedule(
    learning_rate: float,
    *,
    warmup_steps: int = 0,
    decay_from: int = 0,
    decay_steps: int = 0,
) -> optax.Schedule:
    """The rate of each step, raised linearly at first: rate/warmup, 2 rate/warmup, ...

    With `decay_steps` it falls along half a cosine, to 0 at that step, from the end of
    the warm-up on or from step `decay_from` on; the paper keeps it.

    Raises InputError for numbers out of range.
    """
    if not learning_rate > 0:
        raise InputError(
            f"optimizer.learning_rate={learning_rate}; use a positive number."
        )
    if warmup_steps < 0:
        raise InputError(f"optimizer.warmup_steps={warmup_steps}; use 0 or more.")
    if decay_from and not warmup_steps <= decay_from < decay_steps:
        raise InputError(
            f"optimizer.decay_from={decay_from}; use a step before decay_steps="
            f"{decay_steps}, and not before warmup_steps={warmup_steps}."
        )
    if decay_steps and decay_steps <= warmup_steps:
        raise InputError(
            f"optimizer.decay_steps={decay_steps}; use 0 (a constant rate), or more "
            f"than the {warmup_steps} of warmup_steps."
        )
    parts, ends = [optax.constant_schedule(learning_rate)], []
    if warmup_steps > 1:
        # The first step already moves.
        first = learning_rate / warmup_steps
        rising = optax.linear_schedule(first, learning_rate, warmup_steps - 1)
        parts, ends = [rising, *parts], [warmup_steps - 1]
    if decay_steps:
        start = max(decay_from, warmup_steps - 1, 0)
        falling = optax.cosine_decay_schedule(learning_rate, decay_steps - start)
        parts, ends = [*parts, falling], [*ends, start]
    return optax.join_schedules(parts, ends)


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
