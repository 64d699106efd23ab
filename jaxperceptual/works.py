"""The pieces of work that `bin/benchmark` times: training, inference, the baseline.

All variants of a piece of work start from the same weights and see the same pixels. A
reference gets its inputs in the memory layout that suits it, before the clock starts.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
import optax
from flax import traverse_util
from ml_collections import ConfigDict

from jaxperceptual import (
    degradations,
    flops,
    gatys,
    goals,
    inference,
    models,
    objectives,
    ops,
    parallel,
    precision,
    restoring,
    timing,
    training,
    vgg,
    vgg_weights,
)
from jaxperceptual.timing import Variant, Work
from jaxperceptual.types import Frozen, Params, TrainState

# By the name of --reference: a variant's name, and how it is made.
REFERENCES = {
    "torch": {
        "torch": dict(channels_last=False, compiled=False),
        "torch, channels last": dict(channels_last=True, compiled=False),
        "torch.compile": dict(channels_last=True, compiled=True),
    }
}

# Iterations of the baseline in a dispatch, where an accelerator makes several at once.
ITERATIONS = 5
# Training steps in one, likewise.
STEPS = 10


class Variants(NamedTuple):
    """Which ways to do a piece of work, besides ours."""

    reference: str | None = None  # a key of `REFERENCES`
    forms: bool = False  # also ours without the forms of `cpu`
    compiled: bool = True  # also what a reference's compiler makes
    precision: str = "float32"  # of ours, a name of `precision`, and of the reference's
    only: str | None = None  # the one to be made, by name


def apply(variants: Variants, task: str, net: dict[str, Any], size: int) -> Work:
    """One image through the network with these options; `size` px come out."""
    rng = np.random.default_rng(0)
    variables = _variables(task, net, rng)
    images = _pixels(rng, size // net.get("factor", 1))
    model = models.Model(task, net, variables, {})

    def numbers(pixels):
        return {"output": {"pixels": np.asarray(pixels).reshape(-1, 3) / 127.5 - 1}}

    def ours(name, forms):
        if task == "style":
            run = inference.Stylizer(model, precision=variants.precision)
            run = _warm_at_first(run, size)
            x = jax.device_put(images)
        else:
            run = restoring.Restorer(model, precision=variants.precision)
            x = images[0]

        def once():
            with ops.forms(forms):
                return jax.block_until_ready(run(x))

        return Variant(name, _repeated(once), numbers)

    def theirs(name, layout):
        torch = torch_reference()
        twin = torch.prepare(
            torch.twin(variables, net).eval(), precision=variants.precision, **layout
        )
        x = torch.nchw(images, channels_last=layout["channels_last"])
        return Variant(
            name,
            _repeated(lambda: twin(x), torch.wait),
            lambda y: numbers(torch.nhwc(y)),
        )

    def once(variables, images):
        return models.build_net(model).apply(variables, images, train=False)

    facts = dict(work="inference", batch_size=1, size=size, **net)
    return _work(variants, facts, ours, theirs, _flops(once, variables, images))


def train_step(
    variants: Variants,
    net: dict[str, Any],
    config: ConfigDict,
    *,
    batch_size: int,
    size: int,
) -> Work:
    """One update of the network from a batch of images of `size` px.

    What is done to the images of a restoration task is part of our step, and was done
    before where a reference is timed.
    """
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (batch_size, size, size, 3), dtype=np.uint8)
    style_image = rng.uniform(0, 255, (size, size, 3)).astype(np.float32)
    degradation = None
    if "degradation" in config:
        factor = net["factor"]
        degradation = degradations.make(config.degradation.to_dict(), factor)
    weights = vgg_weights.load(config.vgg)
    goal = config.objective.to_dict()
    rate = config.optimizer.learning_rate
    devices = jax.local_devices()[:1]
    network = models.make_net(
        config.task,
        net,
        source="config",
        axis_name=parallel.DEVICES,
        dtype=precision.dtype(variants.precision),
    )
    tx = training.make_optimizer(rate, warmup_steps=0)
    variables = _variables(config.task, net, rng)
    params, stats = variables["params"], variables.get("batch_stats", {})
    start = TrainState(np.int32(0), params, stats, tx.init(params))

    def numbers(metrics, moments):
        # As one vector: a bias that a later norm cancels has rounding for a gradient,
        # and no meaningful relative error of its own.
        gradient = np.concatenate([moments[name].ravel() for name in sorted(moments)])
        terms = {name: np.float64(float(value)) for name, value in metrics.items()}
        return {"terms": terms, "gradient": {"all": gradient}}

    features_fn = objectives.vgg_features(
        weights.preprocessing, precision.dtype(variants.precision)
    )
    count = 1 if devices[0].platform == "cpu" else STEPS

    def make_frozen():
        layers = objectives.layers_of(goal["content"], goal["style"])
        frozen = vgg.frozen(weights.params, layers) if layers else {}
        return Frozen(
            frozen,
            objectives.style_targets(features_fn, frozen, style_image, goal["style"]),
        )

    def make_step():
        return training.make_train_step(
            network,
            objectives.perceptual_objective(features_fn, **goal),
            tx,
            devices=devices,
            degradation=degradation,
        )

    def ours(name, forms):
        with ops.forms(forms):
            frozen = parallel.replicate(make_frozen(), devices)
        state, step = parallel.replicate(start, devices), make_step()
        batches = {
            n: parallel.replicate(np.repeat(images[None], n, 0), devices)
            for n in {1, count}
        }

        def call(count):
            nonlocal state
            with ops.forms(forms), precision.products(variants.precision):
                state, metrics = step(state, frozen, batches[count])
            return jax.block_until_ready((metrics, state))[0]

        def our_numbers(metrics):
            moments = optax.tree.get(parallel.unreplicate(state.opt_state), "mu")
            moments = traverse_util.flatten_dict(moments, sep="/")
            return numbers({k: v[0, -1] for k, v in metrics.items()}, moments)

        return Variant(name, call, our_numbers)

    def theirs(name, layout):
        torch = torch_reference()
        step = torch.TrainStep(
            torch.twin(variables, net),
            torch.Objective(weights, style_image, **goal),
            rate,
            precision=variants.precision,
            **layout,
        )
        x = [torch.nchw(images, channels_last=layout["channels_last"])]
        if degradation is not None:
            keys = jax.random.split(jax.random.key(0), batch_size)
            small = np.asarray(degradation(keys, images.astype(np.float32)))
            x.append(torch.nchw(small, channels_last=layout["channels_last"]))
        return Variant(
            name,
            _repeated(lambda: step(*x), torch.wait),
            lambda m: numbers(m, step.moments()),
        )

    facts = dict(work="train", batch_size=batch_size, size=size, **net)
    operations = _flops(
        lambda *args: make_step()(*jax.tree.map(lambda x: x[None], args)),
        start,
        jax.eval_shape(make_frozen),
        images[None],
    )
    return _work(variants, facts, ours, theirs, operations)._replace(count=count)


def baseline(
    variants: Variants, goal: goals.Goal, config: ConfigDict, size: int
) -> Work:
    """One iteration of the baseline: forward, backward, L-BFGS, pixels into the box.

    One image of `size` px against `goal`, which `config` made; it goes on from call to
    call. Solvers differ, so what must agree are the terms and the gradient at the
    start, not the iterates.
    """
    rng = np.random.default_rng(0)
    targets, start = _pixels(rng, size), _pixels(rng, size)

    def numbers(evaluation):
        terms, gradient = evaluation
        terms = {name: np.float64(float(value)) for name, value in terms.items()}
        return {"terms": terms, "gradient": {"pixels": gradient}}

    def ours(name, forms):
        optimizer = gatys.PixelOptimizer(
            goal.objective,
            goal.features_fn,
            goal.content_layers,
        )
        photo = jax.device_put(targets)
        step = frozen = first = None

        def call(count):
            nonlocal step, frozen, first
            with ops.forms(forms), precision.products(variants.precision):
                if step is None:
                    step, frozen = optimizer.start(start, goal.frozen, photo)
                    terms = {k: v[0] for k, v in step.state.aux.items()}
                    # A copy: the next step is made in this memory.
                    first = terms, np.array(step.state.grad)
                dispatches, rest = divmod(count, ITERATIONS)
                for n in [ITERATIONS] * dispatches + [1] * rest:
                    step, _ = optimizer.advance(step, frozen, photo, n)
            jax.block_until_ready(step)
            return first

        return Variant(name, call, numbers)

    def theirs(name, layout):
        torch = torch_reference()
        weights = vgg_weights.load(config.vgg)
        step = torch.PixelStep(
            torch.Objective(weights, goal.style_image, **config.objective.to_dict()),
            start,
            targets,
            history_size=gatys.HISTORY_SIZE,
            precision=variants.precision,
            **layout,
        )
        return Variant(
            name,
            _repeated(step, torch.wait),
            lambda found: numbers((found[0], torch.nhwc(found[1]))),
        )

    def once(frozen, content, pixels):
        frozen = frozen._replace(content=content)
        return jax.grad(lambda x: goal.objective(frozen, x, targets)[0])(pixels)

    def content(variables, images):  # computed before, so it does not count
        return goal.features_fn(variables, images, goal.content_layers)

    facts = dict(work="gatys iteration", batch_size=1, size=size)
    shapes = jax.eval_shape(content, goal.frozen.vgg, targets)
    operations = _flops(once, goal.frozen, shapes, start)
    work = _work(variants, facts, ours, theirs, operations)
    return work._replace(count=ITERATIONS, next_agrees=False)


def torch_reference():
    """The module of that name. Raises InputError where PyTorch is not installed."""
    from jaxperceptual import torch_reference  # an extra: it may be missing

    return torch_reference


def _work(variants: Variants, facts, ours, theirs, operations: int) -> Work:
    forms = {"jax": "auto"} | ({"jax, plain forms": "plain"} if variants.forms else {})
    layouts = {
        name: layout
        for name, layout in REFERENCES.get(variants.reference, {}).items()
        if variants.compiled or not layout["compiled"]
    }
    makers = {name: functools.partial(ours, name, form) for name, form in forms.items()}
    makers |= {name: functools.partial(theirs, name, x) for name, x in layouts.items()}
    made = [make() for name, make in makers.items() if variants.only in (None, name)]
    low = variants.precision == "bfloat16"
    return Work(
        facts | {"flops": operations, "precision": variants.precision},
        made,
        references=tuple(layouts),
        tolerances=timing.LOW_TOLERANCES if low else timing.TOLERANCES,
    )


def _flops(function, *arguments) -> int:
    """Counted in the plain forms, which do what the shapes say."""
    with ops.forms("plain"):
        return flops.count(function, *arguments)


def _repeated(
    once: Callable[[], Any], wait: Callable[[], None] = lambda: None
) -> Callable[[int], Any]:
    """`once` as a `Variant.call`, which ends when `wait` returns."""

    def call(count):
        for _ in range(count):
            result = once()
        wait()
        return result

    return call


def _warm_at_first(stylizer: inference.Stylizer, size: int) -> Callable:
    """`stylizer`, compiled for images of `size` px in the first call."""
    warm = functools.cache(lambda: stylizer.warm_up(size, size))
    return lambda images: warm()(images)


def _pixels(rng: np.random.Generator, size: int) -> np.ndarray:
    return rng.uniform(0, 255, (1, size, size, 3)).astype(np.float32)


def _variables(task: str, net: dict, rng: np.random.Generator) -> Params:
    """Weights of such a network: kernels as fresh, the rest off their 0 and 1.

    What mixes up a bias, a scale or a running average would go unseen otherwise.
    """
    network = models.make_net(task, net, source="config")
    init = functools.partial(network.init, train=False)
    images = jax.ShapeDtypeStruct((1, 16, 16, 3), np.float32)

    def draw(path, leaf):
        if path[-1] == "kernel":
            return rng.normal(0, np.prod(leaf.shape[:-1]) ** -0.5, leaf.shape)
        return (path[-1] in ("scale", "var")) + rng.uniform(0, 0.1, leaf.shape)

    shapes = jax.eval_shape(init, jax.random.key(0), images)
    return jax.tree.map(np.float32, traverse_util.path_aware_map(draw, shapes))
