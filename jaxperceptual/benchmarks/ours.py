"""Our way to do each piece of work."""

import functools
from typing import NamedTuple

import jax
import numpy as np
import optax
from flax import traverse_util

from jaxperceptual.baseline.pixels import PixelOptimizer
from jaxperceptual.benchmarks.pieces import (
    ITERATIONS,
    Inference,
    Iteration,
    Piece,
    Training,
    repeated,
)
from jaxperceptual.benchmarks.timing import Variant
from jaxperceptual.core import precision as precisions
from jaxperceptual.inference.restorer import Restorer
from jaxperceptual.inference.stylizer import Stylizer
from jaxperceptual.networks.model_file import Model
from jaxperceptual.ops import choice
from jaxperceptual.training.devices import replicate, unreplicate

CANVAS = "jax, canvas"  # by a program that sizes share, as commands do


class Ours(NamedTuple):
    """A variant's name, the forms it traces (`ops.choice`), and its precision."""

    name: str
    forms: str
    precision: str

    def __call__(self, piece: Piece) -> Variant:
        makers = {Inference: self._inference, Training: self._training}
        return makers.get(type(piece), self._iteration)(piece)

    def _inference(self, piece: Inference) -> Variant:
        model = Model(piece.task, dict(piece.net), piece.variables)
        if piece.task == "style":
            stylizer = Stylizer(model, precision=self.precision, grain=False)
            # Compiled for images of just this size, in the first call.
            warm = functools.cache(lambda: stylizer.warm_up(*piece.images.shape[1:3]))
            x = jax.device_put(piece.images)
            if self.name == CANVAS:
                warm, x = lambda: stylizer, piece.images
        else:
            restorer = Restorer(model, precision=self.precision)
            warm, x = lambda: restorer.network, piece.images[0]

        def once():
            with choice.forms(self.forms):
                return jax.block_until_ready(warm()(x))

        return Variant(self.name, repeated(once), piece.numbers)

    def _training(self, piece: Training) -> Variant:
        devices = jax.local_devices()[:1]
        with choice.forms(self.forms):
            frozen = replicate(piece.freeze(), devices)
        state, step = replicate(piece.start(), devices), piece.step()
        batches = {
            n: replicate(np.repeat(piece.images[None], n, 0), devices)
            for n in {1, piece.count}
        }

        def call(count):
            nonlocal state
            with choice.forms(self.forms), precisions.products(self.precision):
                state, metrics = step(state, frozen, batches[count])
            return jax.block_until_ready((metrics, state))[0]

        def numbers(metrics):
            moments = optax.tree.get(unreplicate(state.opt_state), "mu")
            moments = traverse_util.flatten_dict(moments, sep="/")
            return piece.numbers({k: v[0, -1] for k, v in metrics.items()}, moments)

        return Variant(self.name, call, numbers)

    def _iteration(self, piece: Iteration) -> Variant:
        optimizer = PixelOptimizer(piece.goal.objective)
        targets = jax.device_put(piece.targets)
        step = frozen = first = None

        def call(count):
            nonlocal step, frozen, first
            with choice.forms(self.forms), precisions.products(self.precision):
                if step is None:
                    step, frozen = optimizer.start(
                        piece.start, piece.goal.frozen, targets
                    )
                    terms = {k: v[0] for k, v in step.state.aux.items()}
                    # A copy: the next step is made in this memory.
                    first = terms, np.array(step.state.grad)
                dispatches, rest = divmod(count, ITERATIONS)
                for n in [ITERATIONS] * dispatches + [1] * rest:
                    step, _ = optimizer.advance(step, frozen, targets, n)
            jax.block_until_ready(step)
            return first

        return Variant(self.name, call, lambda found: piece.numbers(*found))
