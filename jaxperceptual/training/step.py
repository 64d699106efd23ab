"""One update, pmapped over the devices (section 4.1: Adam on equation 5)."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Int

from jaxperceptual.core.types import Metrics, Params
from jaxperceptual.data import degradations
from jaxperceptual.losses.objective import Frozen
from jaxperceptual.training import steadiness
from jaxperceptual.training.devices import DEVICES, shard

# On a CPU, of a program that runs once: LLVM's passes over the random numbers of a net
# took 22 s in place of 2, for the same numbers, bit for bit.
_RUN_ONCE = {"xla_backend_optimization_level": 1}


class TrainState(NamedTuple):
    """All that a step changes, and so all that a checkpoint must hold."""

    step: Int[Array, "..."]
    params: Params
    batch_stats: Params  # empty for instance norm
    opt_state: Any


# (replicated state, replicated frozen, uint8 [devices, steps, n, h, w, 3] or rows of
# replicated photos) -> (state, metrics [steps])
TrainStep = Callable[..., tuple[TrainState, Metrics]]
# `PerceptualObjective`, or any (frozen, outputs, targets) -> (loss, terms); of a
# gallery, with each image's style as a fourth
Objective = Callable[..., tuple[jax.Array, Metrics]]


def init_state(
    key: jax.Array, net: nn.Module, tx: optax.GradientTransformation, image_size: int
) -> TrainState:
    """A fresh state for `image_size` px inputs, on one device."""
    images = jnp.zeros((1, image_size, image_size, 3))
    init = jax.jit(
        lambda key: net.init(key, images, train=True),
        compiler_options=_RUN_ONCE if jax.default_backend() == "cpu" else None,
    )
    variables = init(key)
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
    devices: list[jax.Device] | None = None,
    degradation: degradations.Degradation | None = None,
    seed: int = 0,
    styles: Sequence[int] = (),
    steady_weight: float = 0.0,
) -> TrainStep:
    """Builds the pmapped `(state, frozen, images, photos=None) -> (state, metrics)`.

    `images` is uint8 [devices steps n h w 3], or int32 [devices steps n], rows of
    `photos` [devices N h w 3], or `~row` for a photo that is to be mirrored. One
    dispatch makes as many updates as there are steps, and the metrics have that many
    entries. `net` must be made with `axis_name=DEVICES`, so that batch norm sees the
    batch of all devices. `devices` are all local ones, if None.

    The images are the targets. The network gets them too, or what `degradation` leaves
    of them; what is random in that follows from `seed`, the step and an image's place
    in the batch of all devices.

    styles: of a gallery, the rows that are trained, which images take in turn.
    steady_weight: of the term `steady`, which the loss then has too: how far the
        outputs of the images differ from those of the same images moved
        (`steadiness`).
    """

    def places(n: int) -> jax.Array:
        """Of this device's n images, where in the batch of all devices they are."""
        return jax.lax.axis_index(DEVICES) * n + jnp.arange(n)

    def in_turn(step: jax.Array, n: int) -> jax.Array:
        batch_size = n * jax.lax.axis_size(DEVICES)
        turn = (step % len(styles) * batch_size + places(n)) % len(styles)
        return jnp.asarray(styles)[turn]

    def keys(step: jax.Array, n: int) -> jax.Array:
        key = jax.random.fold_in(jax.random.key(seed), step)
        return jax.vmap(lambda place: jax.random.fold_in(key, place))(places(n))

    def degraded(step: jax.Array, images: jax.Array) -> jax.Array:
        if degradation is None:
            return images
        return degradation(keys(step, len(images)), images)

    def train_step(state: TrainState, frozen: Frozen, images: jax.Array, photos):
        if photos is not None:
            images = _look_up(photos, images)
        images = images.astype(jnp.float32)
        inputs = degraded(state.step, images)
        of_net, of_objective = {}, ()
        if styles:
            chosen = in_turn(state.step, len(images))
            of_net = {"styles": jax.nn.one_hot(chosen, net.num_styles)}
            of_objective = (chosen,)
        if steady_weight:
            again, offsets = steadiness.moved(keys(state.step, len(images)), inputs)
            inputs = jnp.concatenate([inputs, again])
            of_net = {
                key: jnp.concatenate([value] * 2) for key, value in of_net.items()
            }

        def loss_fn(params):
            variables = {"params": params, "batch_stats": state.batch_stats}
            outputs, updated = net.apply(
                variables, inputs, train=True, mutable=["batch_stats"], **of_net
            )
            own = outputs[: len(images)]
            loss, terms = objective(frozen, own, images, *of_objective)
            if steady_weight:
                of_moved = outputs[len(images) :]
                steady = steadiness.steady_loss(own, of_moved, offsets)
                terms = terms | {"steady": steady_weight * steady}
                loss += terms["steady"]
            return loss, ({"loss": loss, **terms}, updated.get("batch_stats", {}))

        grads, (metrics, batch_stats) = jax.grad(loss_fn, has_aux=True)(state.params)
        grads, metrics, batch_stats = jax.lax.pmean(
            (grads, metrics, batch_stats), DEVICES
        )
        updates, opt_state = tx.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        metrics |= {"grad_norm": optax.tree.norm(grads)}
        return TrainState(state.step + 1, params, batch_stats, opt_state), metrics

    def dispatch(state, frozen, images, photos=None):
        if images.shape[0] == 1:  # a loop costs XLA's CPU backend its threads
            state, metrics = train_step(state, frozen, images[0], photos)
            return state, jax.tree.map(lambda m: m[None], metrics)
        return jax.lax.scan(
            lambda state, batch: train_step(state, frozen, batch, photos), state, images
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
    photos: jax.Array | None = None,
) -> Iterator[tuple[TrainState, Metrics]]:
    """Yields `(state, metrics)` per dispatch; a state is donated to the next.

    `batches` are uint8 [steps n h w 3], or int32 [steps n], rows of the replicated
    `photos` (`make_train_step`). Nothing here waits for the device.
    """
    for images in batches:
        images = shard(images, num_devices)
        state, metrics = train_step(state, frozen, images, photos)
        yield state, metrics
