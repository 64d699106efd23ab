"""The pieces of work that `benchmark` times: training, inference, the baseline.

A piece is its inputs, which numbers of a variant must agree, and how many operations it
takes by its shapes. All variants (`ours`, `torch/theirs`) start from the same weights
and see the same pixels.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
import optax
from flax import traverse_util
from ml_collections import ConfigDict

from jaxperceptual.benchmarks import flops, timing
from jaxperceptual.core import precision
from jaxperceptual.core.types import Params
from jaxperceptual.data import degradations
from jaxperceptual.loss_network.weights import VGGWeights
from jaxperceptual.losses.goal import Goal, build_objective, freeze
from jaxperceptual.losses.objective import Frozen, PerceptualObjective
from jaxperceptual.losses.style_image import StyleImage
from jaxperceptual.networks import registry
from jaxperceptual.ops import choice
from jaxperceptual.training.devices import DEVICES
from jaxperceptual.training.optimizer import make_optimizer
from jaxperceptual.training.step import TrainState, TrainStep, make_train_step

# Iterations of the baseline in a dispatch, where an accelerator makes several at once.
ITERATIONS = 5
# Training steps in one, likewise.
STEPS = 10


class Inference(NamedTuple):
    """One image through a network."""

    task: str
    net: Mapping[str, Any]  # as a config has it
    variables: Params
    images: np.ndarray  # [1 h w 3] in [0, 255]
    facts: Mapping[str, Any]  # work, batch_size, size, flops, ...
    count: int = 1  # how often a timed call does it
    next_agrees: bool = True  # whether a second call's numbers must agree as well

    def numbers(self, pixels) -> timing.Numbers:
        """What must agree: the pixels that come out, in units of half the range."""
        return {"output": {"pixels": np.asarray(pixels).reshape(-1, 3) / 127.5 - 1}}


class Training(NamedTuple):
    """One update of a network from a batch."""

    config: ConfigDict  # task, precision, learning rate
    net: Mapping[str, Any]
    variables: Params
    objective: PerceptualObjective
    stored: VGGWeights | None  # of the loss network
    style_image: np.ndarray | None  # [size size 3]
    degradation: degradations.Degradation | None
    images: np.ndarray  # uint8 [n size size 3]
    facts: Mapping[str, Any] = {}
    count: int = 1  # steps in a dispatch
    next_agrees: bool = True

    def freeze(self) -> Frozen:
        """What the objective reads, in the forms of the moment."""
        return freeze(self.objective, self.stored, self.style_image)

    def start(self) -> TrainState:
        """The state before the first update."""
        params, stats = self.variables["params"], self.variables.get("batch_stats", {})
        return TrainState(np.int32(0), params, stats, self.optimizer().init(params))

    def optimizer(self) -> optax.GradientTransformation:
        """Adam at the config's rate, without warm-up."""
        return make_optimizer(self.config.optimizer.learning_rate, warmup_steps=0)

    def step(self) -> TrainStep:
        """The pmapped update, on one device."""
        net = registry.make_net(
            self.config.task,
            self.net,
            source="config",
            axis_name=DEVICES,
            dtype=precision.dtype(self.config.precision),
        )
        return make_train_step(
            net,
            self.objective,
            self.optimizer(),
            devices=jax.local_devices()[:1],
            degradation=self.degradation,
        )

    def numbers(self, metrics, moments) -> timing.Numbers:
        """What must agree: loss terms, and Adam's mean of the gradient."""
        # As one vector: a bias that a later norm cancels has rounding for a gradient,
        # and no meaningful relative error of its own.
        gradient = np.concatenate([moments[name].ravel() for name in sorted(moments)])
        return {"terms": _numbers_of(metrics), "gradient": {"all": gradient}}


class Iteration(NamedTuple):
    """One iteration of the baseline over the pixels of one image."""

    config: ConfigDict
    goal: Goal
    style_image: np.ndarray
    targets: np.ndarray  # [1 size size 3]
    start: np.ndarray  # likewise
    facts: Mapping[str, Any]
    count: int = ITERATIONS
    next_agrees: bool = False  # solvers differ: the terms and gradient at the start do

    def numbers(self, terms, gradient) -> timing.Numbers:
        """What must agree: loss terms and the pixels' gradient at the start."""
        return {"terms": _numbers_of(terms), "gradient": {"pixels": gradient}}


Piece = Inference | Training | Iteration


def inference(task: str, net: Mapping[str, Any], size: int) -> Inference:
    """One image through the network with these options; `size` px come out."""
    rng = np.random.default_rng(0)
    variables = _variables(task, net, rng)
    images = _pixels(rng, size // net.get("factor", 1))

    def once(variables, images):
        network = registry.make_net(task, net, source="config")
        return network.apply(variables, images, train=False)

    facts = dict(work="inference", batch_size=1, size=size, **net)
    facts["flops"] = _flops(once, variables, images)
    return Inference(task, net, variables, images, facts)


def training(
    net: Mapping[str, Any], config: ConfigDict, *, batch_size: int, size: int
) -> Training:
    """One update of the network from a batch of images of `size` px.

    What is done to the images of a restoration task is part of our step, and was done
    before where a reference is timed.
    """
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (batch_size, size, size, 3), dtype=np.uint8)
    style_image = rng.uniform(0, 255, (size, size, 3)).astype(np.float32)
    degradation = None
    if "degradation" in config:
        degradation = degradations.make(config.degradation.to_dict(), net["factor"])
    objective, stored = build_objective(config)
    piece = Training(
        config=config,
        net=net,
        variables=_variables(config.task, net, rng),
        objective=objective,
        stored=stored,
        style_image=style_image if objective.style else None,
        degradation=degradation,
        images=images,
        count=1 if jax.local_devices()[0].platform == "cpu" else STEPS,
    )
    facts = dict(work="train", batch_size=batch_size, size=size, **net)
    operations = _flops(
        lambda *args: piece.step()(*jax.tree.map(lambda x: x[None], args)),
        piece.start(),
        jax.eval_shape(piece.freeze),
        images[None],
    )
    return piece._replace(facts=facts | {"flops": operations})


def iteration(
    goal: Goal, style: StyleImage, config: ConfigDict, size: int
) -> Iteration:
    """One iteration of the baseline: forward, backward, L-BFGS, pixels into the box.

    One image of `size` px against `goal`, which `config` and the style image made; it
    goes on from call to call.
    """
    rng = np.random.default_rng(0)
    targets, start = _pixels(rng, size), _pixels(rng, size)
    objective = goal.objective

    def once(frozen, content, pixels):
        frozen = frozen._replace(content=content)
        return jax.grad(lambda x: objective(frozen, x, targets)[0])(pixels)

    def content(variables, images):  # computed before, so it does not count
        return objective.features(variables, images, objective.content)

    facts = dict(work="gatys iteration", batch_size=1, size=size)
    shapes = jax.eval_shape(content, goal.frozen.vgg, targets)
    facts["flops"] = _flops(once, goal.frozen, shapes, start)
    return Iteration(config, goal, style.pixels, targets, start, facts)


def repeated(
    once: Callable[[], Any], wait: Callable[[], None] = lambda: None
) -> Callable[[int], Any]:
    """`once` as a `Variant.call`, which ends when `wait` returns."""

    def call(count):
        for _ in range(count):
            result = once()
        wait()
        return result

    return call


def _flops(function, *arguments) -> int:
    """Counted in the plain forms, which do what the shapes say."""
    with choice.forms("plain"):
        return flops.count(function, *arguments)


def _numbers_of(terms) -> dict[str, np.float64]:
    return {name: np.float64(float(value)) for name, value in terms.items()}


def _pixels(rng: np.random.Generator, size: int) -> np.ndarray:
    return rng.uniform(0, 255, (1, size, size, 3)).astype(np.float32)


def _variables(task: str, net: Mapping, rng: np.random.Generator) -> Params:
    """Weights of such a network: kernels as fresh, the rest off their 0 and 1.

    What mixes up a bias, a scale or a running average would go unseen otherwise.
    """
    network = registry.make_net(task, net, source="config")
    init = functools.partial(network.init, train=False)
    images = jax.ShapeDtypeStruct((1, 16, 16, 3), np.float32)

    def draw(path, leaf):
        if path[-1] == "kernel":
            return rng.normal(0, np.prod(leaf.shape[:-1]) ** -0.5, leaf.shape)
        return (path[-1] in ("scale", "var")) + rng.uniform(0, 0.1, leaf.shape)

    shapes = jax.eval_shape(init, jax.random.key(0), images)
    return jax.tree.map(np.float32, traverse_util.path_aware_map(draw, shapes))
