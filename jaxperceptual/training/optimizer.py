"""Adam, its warm-up and the fall of its rate."""

import optax

from jaxperceptual.core.errors import InputError


def make_optimizer(
    learning_rate: float, *, warmup_steps: int = 0, decay_steps: int = 0
) -> optax.GradientTransformation:
    """Adam (section 4.1: 1e-3, no weight decay), its rate raised linearly at first.

    With `decay_steps` the rate falls along half a cosine, to 0 at that step; the paper
    keeps it. Raises InputError for numbers out of range.
    """
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
    return optax.adam(schedule)
