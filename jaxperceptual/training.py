"""One update, and the loop (section 4.1: Adam on equation 5)."""

from collections.abc import Callable, Iterable, Iterator

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxperceptual import parallel
from jaxperceptual.degradations import Degradation
from jaxperceptual.errors import InputError
from jaxperceptual.parallel import DEVICES
from jaxperceptual.types import Frozen, Metrics, Objective, TrainState

# (replicated state, replicated frozen, uint8 [devices, steps, n, h, w, 3] or rows)
#   -> (state, metrics [steps])
TrainStep = Callable[[TrainState, Frozen, np.ndarray], tuple[TrainState, Metrics]]


def make_optimizer(
    learning_rate: float, warmup_steps: int, decay_steps: int = 0
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


def init_state(
    key: jax.Array, net: nn.Module, tx: optax.GradientTransformation, image_size: int
) -> TrainState:
    """A fresh state for `image_size` px inputs, on one device."""
    images = jnp.zeros((1, image_size, image_size, 3))
    variables = jax.jit(lambda key: net.init(key, images, train=True))(key)
    params = variables["params"]
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        batch_stats=variables.get("batch_stats", {}),
        opt_state=tx.init(params),
    )


def make_train_step(
    net: nn.Module,
    objective: Objective,
    tx: optax.GradientTransformation,
    *,
    devices: list[jax.Device],
    degradation: Degradation | None = None,
    seed: int = 0,
) -> TrainStep:
    """Builds the pmapped `(state, frozen, images) -> (state, metrics)`.

    `images` is uint8 [devices steps n h w 3], or int32 [devices steps n], rows of
    `frozen.photos`, or `~row` for a photo that is to be mirrored. One dispatch makes as
    many updates as there are steps, and the metrics have that many entries. `net` must
    be made with `axis_name=DEVICES`, so that batch norm sees the batch of all devices.

    The images are the targets. The network gets them too, or what `degradation` leaves
    of them; what is random in that follows from `seed`, the step and an image's place
    in the batch of all devices.
    """

    def degraded(step: jax.Array, images: jax.Array) -> jax.Array:
        if degradation is None:
            return images
        n = images.shape[0]
        places = jax.lax.axis_index(DEVICES) * n + jnp.arange(n)
        key = jax.random.fold_in(jax.random.key(seed), step)
        return degradation(
            jax.vmap(lambda place: jax.random.fold_in(key, place))(places), images
        )

    def train_step(state: TrainState, frozen: Frozen, images: jax.Array):
        if frozen.photos is not None:
            images = _look_up(frozen.photos, images)
        images = images.astype(jnp.float32)
        inputs = degraded(state.step, images)

        def loss_fn(params):
            variables = {"params": params, "batch_stats": state.batch_stats}
            outputs, updated = net.apply(
                variables, inputs, train=True, mutable=["batch_stats"]
            )
            loss, terms = objective(frozen, outputs, images)
            return loss, ({"loss": loss, **terms}, updated.get("batch_stats", {}))

        grads, (metrics, batch_stats) = jax.grad(loss_fn, has_aux=True)(state.params)
        grads, metrics, batch_stats = jax.lax.pmean(
            (grads, metrics, batch_stats), DEVICES
        )
        updates, opt_state = tx.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        metrics |= {"grad_norm": optax.tree.norm(grads)}
        return TrainState(state.step + 1, params, batch_stats, opt_state), metrics

    def dispatch(state, frozen, images):
        if images.shape[0] == 1:  # a loop costs XLA's CPU backend its threads
            state, metrics = train_step(state, frozen, images[0])
            return state, jax.tree.map(lambda m: m[None], metrics)
        return jax.lax.scan(
            lambda state, batch: train_step(state, frozen, batch), state, images
        )

    return jax.pmap(dispatch, axis_name=DEVICES, donate_argnums=0, devices=devices)


def _look_up(photos, rows):
    mirrored = rows < 0
    images = photos[jnp.where(mirrored, ~rows, rows)]
    return jnp.where(mirrored[:, None, None, None], images[:, :, ::-1], images)


def fit(
    train_step: TrainStep,
    state: TrainState,
    frozen: Frozen,
    batches: Iterable[np.ndarray],
    num_devices: int,
) -> Iterator[tuple[TrainState, Metrics]]:
    """Yields `(state, metrics)` per dispatch; a state is donated to the next.

    `batches` are uint8 [steps n h w 3], or int32 [steps n] (`make_train_step`). Nothing
    here waits for the device.
    """
    for images in batches:
        state, metrics = train_step(state, frozen, parallel.shard(images, num_devices))
        yield state, metrics
