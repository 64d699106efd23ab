"""What `bin/benchmark` measures: the training step and inference, ours and PyTorch's.

All variants of a piece of work start from the same weights and see the same pixels. A
reference gets its inputs in the memory layout that suits it, before the clock starts.
"""

import dataclasses
import functools
import itertools
import json
import os
import resource
import sys
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np
import optax
from flax import traverse_util
from ml_collections import ConfigDict

from jaxperceptual import (
    configs,
    files,
    inference,
    models,
    nets,
    objectives,
    ops,
    parallel,
    timing,
    training,
    vgg,
    vgg_weights,
)
from jaxperceptual.errors import InputError
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


@dataclasses.dataclass(frozen=True)
class Options:
    """What to measure."""

    train: bool = False
    inference: bool = False
    reference: str | None = None
    sizes: tuple[int, ...] = (256, 512, 1024)  # px, of inference
    norms: tuple[str, ...] = ("batch", "instance")
    upsamplings: tuple[str, ...] = ("transposed", "resize")
    batch_size: int = 4  # of training
    train_size: int = 256  # px
    repeats: int = 5
    forms: bool = False  # also ours without the forms of `cpu`
    compiled: bool = True  # also what a reference's compiler makes
    config: str = "style_muse.py"  # its width, objective, VGG and learning rate

    def check(self) -> None:
        """Raises InputError for what cannot be measured."""
        if not (self.train or self.inference):
            raise InputError("nothing to measure; give --train, --inference or both.")
        if self.reference not in (None, *REFERENCES):
            known = ", ".join(REFERENCES)
            raise InputError(f"--reference {self.reference}: unknown; use {known}.")
        if self.reference and jax.default_backend() != "cpu":
            raise InputError(
                f"--reference {self.reference} on {jax.default_backend()}: compares "
                "on a CPU only; set JAX_PLATFORMS=cpu, or leave it out."
            )
        for name, values, low, high in (
            ("--sizes", self.sizes, 16, 4096),
            ("--train-size", [self.train_size], 16, 1024),
            ("--batch-size", [self.batch_size], 1, 256),
            ("--repeats", [self.repeats], 1, 1000),
        ):
            for value in values:
                if not low <= value <= high:
                    raise InputError(f"{name} {value}; use {low} to {high}.")
        for norm, upsample in itertools.product(self.norms, self.upsamplings):
            nets.check_net_options(norm, 1.0, upsample)


def run(options: Options, output: str | os.PathLike | None, command: str) -> int:
    """Measures, prints a table, and writes benchmark.md and .json into `output`.

    Returns 1 if two variants disagree; those are not timed. Raises InputError for
    options that cannot be, PyTorch not installed, or an `output` that takes no files.
    """
    options.check()
    if output is not None:
        output = _made_folder(Path(output))
    if options.reference:
        _torch_reference().torch.set_num_threads(timing.num_cores())
    report = {"header": timing.header(command), "results": []}
    if report["header"]["load"] > timing.num_cores() / 2:
        print(
            f"benchmark: note: load {report['header']['load']}: others are using this "
            "machine. OpenMP's threads (PyTorch) then stall for up to a second in "
            "waiting for each other, and ratios mean little; wait, or set "
            "OMP_WAIT_POLICY=passive.",
            file=sys.stderr,
        )
    text = [timing.head_markdown(report["header"])]
    print(text[0])
    for work in works(options):
        row = timing.measure(work, options.repeats)
        report["results"].append(row)
        text.append(timing.row_markdown(row))
        print(text[-1], flush=True)
        del work  # before the next one takes memory
    # Linux counts it in KiB. Of everything above together, so it bounds each.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    report["peak_memory_mb"] = peak
    text.append(f"\nPeak memory of the process, all variants together: {peak} MiB.")
    print(text[-1])
    if output is not None:
        files.write_text(output / "benchmark.json", json.dumps(report, indent=2) + "\n")
        files.write_text(output / "benchmark.md", "\n".join(text) + "\n")
    return int(any(row["disagreement"] for row in report["results"]))


def works(options: Options) -> Iterator[Work]:
    """Each piece of work that the options ask for, made when its turn comes."""
    config = configs.load_config(options.config)
    for norm, upsample in itertools.product(options.norms, options.upsamplings):
        net = dict(norm=norm, width=config.net.width, upsample=upsample)
        if options.train:
            yield _training(options, net, config)
        for size in options.sizes if options.inference else ():
            yield _inference(options, net, size)


def _inference(options: Options, net: dict, size: int) -> Work:
    rng = np.random.default_rng(0)
    images = rng.uniform(0, 255, (1, size, size, 3)).astype(np.float32)
    variables = _variables(net, rng)
    model = models.Model("style", net, variables, {})

    def numbers(pixels):
        return {"output": {"pixels": np.asarray(pixels) / 127.5 - 1}}

    def ours(name, forms):
        stylizer, x = inference.Stylizer(model), jax.device_put(images)

        def call():
            with ops.forms(forms):
                return jax.block_until_ready(stylizer(x))

        return Variant(name, call, numbers)

    def theirs(name, layout):
        torch = _torch_reference()
        twin = torch.StyleNet(variables, norm=net["norm"], upsample=net["upsample"])
        twin = torch.prepare(twin.eval(), **layout)
        x = torch.nchw(images, channels_last=layout["channels_last"])
        return Variant(name, lambda: twin(x), lambda y: numbers(torch.nhwc(y)))

    facts = dict(work="inference", batch_size=1, size=size, **net)
    return _work(options, facts, ours, theirs)


def _training(options: Options, net: dict, config: ConfigDict) -> Work:
    rng = np.random.default_rng(0)
    size, n = options.train_size, options.batch_size
    images = rng.integers(0, 256, (n, size, size, 3), dtype=np.uint8)
    style_image = rng.uniform(0, 255, (size, size, 3)).astype(np.float32)
    weights = vgg_weights.load(config.vgg)
    goal = config.objective.to_dict()
    rate = config.optimizer.learning_rate
    devices = jax.local_devices()[:1]
    network = nets.StyleNet(**net, axis_name=parallel.DEVICES)
    tx = training.make_optimizer(rate, warmup_steps=0)
    variables = _variables(net, rng)
    params, stats = variables["params"], variables.get("batch_stats", {})
    start = TrainState(np.int32(0), params, stats, tx.init(params))

    def numbers(metrics, moments):
        # As one vector: a bias that a later norm cancels has rounding for a gradient,
        # and no meaningful relative error of its own.
        gradient = np.concatenate([moments[name].ravel() for name in sorted(moments)])
        terms = {name: np.float64(value) for name, value in metrics.items()}
        return {"terms": terms, "gradient": {"all": gradient}}

    def ours(name, forms):
        features_fn = objectives.vgg_features(weights.preprocessing)
        objective = objectives.perceptual_objective(features_fn, **goal)
        with ops.forms(forms):
            frozen = vgg.frozen(weights.params, [*goal["content"], *goal["style"]])
            grams = objectives.style_targets(
                features_fn, frozen, style_image, goal["style"]
            )
        frozen = parallel.replicate(Frozen(frozen, grams), devices)
        state = parallel.replicate(start, devices)
        step = training.make_train_step(network, objective, tx, devices=devices)

        def call():
            nonlocal state
            with ops.forms(forms):
                state, metrics = step(state, frozen, parallel.shard(images[None], 1))
            return jax.block_until_ready((metrics, state))[0]

        def our_numbers(metrics):
            moments = optax.tree.get(parallel.unreplicate(state.opt_state), "mu")
            moments = traverse_util.flatten_dict(moments, sep="/")
            return numbers({k: v[0, 0] for k, v in metrics.items()}, moments)

        return Variant(name, call, our_numbers)

    def theirs(name, layout):
        torch = _torch_reference()
        step = torch.TrainStep(
            torch.StyleNet(variables, norm=net["norm"], upsample=net["upsample"]),
            torch.Objective(weights, style_image, **goal),
            rate,
            **layout,
        )
        x = torch.nchw(images, channels_last=layout["channels_last"])
        return Variant(name, lambda: step(x), lambda m: numbers(m, step.moments()))

    facts = dict(work="train", batch_size=n, size=size, **net)
    return _work(options, facts, ours, theirs)


def _work(options: Options, facts, ours, theirs) -> Work:
    variants = [ours("jax", "auto")]
    if options.forms:
        variants.append(ours("jax, plain forms", "plain"))
    layouts = REFERENCES.get(options.reference, {})
    layouts = {
        k: v for k, v in layouts.items() if options.compiled or not v["compiled"]
    }
    variants += [theirs(name, layout) for name, layout in layouts.items()]
    return Work(facts, variants, references=tuple(layouts))


def _variables(net: dict, rng: np.random.Generator) -> Params:
    """Weights of such a network: kernels as fresh, the rest off their 0 and 1.

    What mixes up a bias, a scale or a running average would go unseen otherwise.
    """
    init = functools.partial(nets.StyleNet(**net).init, train=False)
    images = jax.ShapeDtypeStruct((1, 16, 16, 3), np.float32)

    def draw(path, leaf):
        if path[-1] == "kernel":
            return rng.normal(0, np.prod(leaf.shape[:-1]) ** -0.5, leaf.shape)
        return (path[-1] in ("scale", "var")) + rng.uniform(0, 0.1, leaf.shape)

    shapes = jax.eval_shape(init, jax.random.key(0), images)
    return jax.tree.map(np.float32, traverse_util.path_aware_map(draw, shapes))


def _torch_reference():
    from jaxperceptual import torch_reference  # an extra: it may be missing

    return torch_reference


def _made_folder(path: Path) -> Path:
    try:
        path.mkdir(parents=True, exist_ok=True)
        files.write_text(path / ".writable", "")
        (path / ".writable").unlink()
    except OSError as error:
        raise InputError(
            f"-o {path}: cannot be written ({error.strerror}); choose another folder."
        ) from error
    return path
