"""PyTorch's way to do each piece of work.

It gets its inputs in the memory layout that suits it, before the clock starts.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxperceptual.baseline.lbfgs import HISTORY_SIZE
from jaxperceptual.benchmarks.pieces import (
    Inference,
    Iteration,
    Piece,
    Training,
    repeated,
)
from jaxperceptual.benchmarks.timing import Variant
from jaxperceptual.benchmarks.torch.networks import twin
from jaxperceptual.benchmarks.torch.objective import Objective
from jaxperceptual.benchmarks.torch.steps import PixelStep, TrainStep, prepare
from jaxperceptual.benchmarks.torch.tensors import nchw, nhwc, wait
from jaxperceptual.loss_network import store


class Theirs(NamedTuple):
    """A variant's name, and the options of `steps.prepare`."""

    name: str
    options: Mapping[str, Any]

    def __call__(self, piece: Piece) -> Variant:
        makers = {Inference: self._inference, Training: self._training}
        return makers.get(type(piece), self._iteration)(piece)

    def _inference(self, piece: Inference) -> Variant:
        network = prepare(twin(piece.variables, piece.net).eval(), **self.options)
        x = self._tensor(piece.images)
        return Variant(
            self.name,
            repeated(lambda: network(x), wait),
            lambda y: piece.numbers(nhwc(y)),
        )

    def _training(self, piece: Training) -> Variant:
        config = piece.config
        step = TrainStep(
            twin(piece.variables, piece.net),
            Objective(piece.stored, piece.style_image, **config.objective.to_dict()),
            config.optimizer.learning_rate,
            **self.options,
        )
        x = [self._tensor(piece.images)]
        if piece.degradation is not None:
            keys = jax.random.split(jax.random.key(0), len(piece.images))
            small = piece.degradation(keys, piece.images.astype(np.float32))
            x.append(self._tensor(np.asarray(small)))
        return Variant(
            self.name,
            repeated(lambda: step(*x), wait),
            lambda metrics: piece.numbers(metrics, step.moments()),
        )

    def _iteration(self, piece: Iteration) -> Variant:
        config = piece.config
        objective = Objective(
            store.load(config.vgg), piece.style_image, **config.objective.to_dict()
        )
        step = PixelStep(
            objective,
            piece.start,
            piece.targets,
            history_size=HISTORY_SIZE,
            **self.options,
        )
        return Variant(
            self.name,
            repeated(step, wait),
            lambda found: piece.numbers(found[0], nhwc(found[1])),
        )

    def _tensor(self, images: np.ndarray):
        return nchw(images, channels_last=self.options["channels_last"])
