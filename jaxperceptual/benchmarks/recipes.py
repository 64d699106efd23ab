"""Which way of training gets furthest in a given time, on photos not trained on.

    python -m jaxperceptual.benchmarks.recipes --config style_cubist.py --data PHOTOS \
        --held OTHER_PHOTOS --seconds 150 --seeds 2 -o OUT adam_1e-3 adam_3e-3_cosine

A recipe is a name in `RECIPES`, settings of the config, with any of `ENDINGS`, as in
muon_1e-2_cosine_b1. Each is first timed for a few steps, then trained anew for as many
steps as fit into the seconds (or for --steps), its rate falling to 0 at the last where
it falls. What counts is the mean objective of the held photos, at the config's size or
--held-size. Writes OUT.jsonl, a line a run.
"""

import argparse
import contextlib
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np
import optax

from jaxperceptual.core import cli, config_files, precision, provenance
from jaxperceptual.core.errors import check_choice
from jaxperceptual.data.loader import Loader
from jaxperceptual.images import sheets, squares
from jaxperceptual.images.finding import find_images
from jaxperceptual.images.reading import load_rgb
from jaxperceptual.images.writing import write_image
from jaxperceptual.training import initial, reporting, run as training_run
from jaxperceptual.training.devices import replicate, unreplicate
from jaxperceptual.training.loop import room_for_photos
from jaxperceptual.training.step import fit, init_state, make_train_step

FALLING = "falling"  # decay_steps at the last step
EMA = "ema"  # judged are parameters averaged over so many last steps
SMALL = "small"  # first half of the time on photos of half the size


def _adam(rate, **more):
    return {"optimizer.learning_rate": rate, "optimizer.method": "adam", **more}


def _muon(rate, **more):
    return _adam(rate, **more) | {"optimizer.method": "muon"}


COSINE = {FALLING: True}
AS_IT_IS = "config"  # the config's own
RECIPES = {
    AS_IT_IS: {},
    "adam_1e-3": _adam(1e-3),
    "adam_3e-3": _adam(3e-3),
    "adam_1e-3_cosine": _adam(1e-3, **COSINE),
    "adam_2e-3_cosine": _adam(2e-3, **COSINE),
    "adam_3e-3_cosine": _adam(3e-3, **COSINE),
    "adam_5e-3_cosine": _adam(5e-3, **COSINE),
    "adam_1e-2_cosine": _adam(1e-2, **COSINE),
    "adam_3e-3_cosine_warm": _adam(3e-3, **COSINE, **{"optimizer.warmup_steps": 20}),
    "adam_5e-3_cosine_warm": _adam(5e-3, **COSINE, **{"optimizer.warmup_steps": 20}),
    "muon_1e-2": _muon(1e-2),
    "muon_1e-3_cosine": _muon(1e-3, **COSINE),
    "muon_3e-3_cosine": _muon(3e-3, **COSINE),
    "muon_1e-2_cosine": _muon(1e-2, **COSINE),
    "muon_2e-2_cosine": _muon(2e-2, **COSINE),
}
ENDINGS = {f"_b{n}": {"data.batch_size": n} for n in (1, 2, 4, 8, 16)} | {
    "_crop": {"data.crop": "random"},
    "_zoom": {"data.crop": "zoom"},
    "_ema": {EMA: 50},
    "_small": {SMALL: True},
    "_beta1_0.5": {"optimizer.b1": 0.5},
    "_beta2_0.99": {"optimizer.b2": 0.99},
}


def settings(recipe: str) -> dict:
    """What the recipe's name stands for, those of `ENDINGS` included.

    Raises InputError for a name that is none.
    """
    for ending, more in ENDINGS.items():
        if recipe.endswith(ending):
            return settings(recipe.removesuffix(ending)) | more
    check_choice("recipe", recipe, tuple(RECIPES))
    return RECIPES[recipe]


def parts(recipe: str, steps: int) -> list[tuple[int, int]]:
    """(divisor of the photos' size, steps), one after the other, in time of `steps`.

    A photo of half the size takes a quarter of the time.
    """
    if SMALL in settings(recipe):
        half = steps // 2
        return [(2, 4 * half), (1, steps - half)]
    return [(1, steps)]


class Runner:
    """Trains a config by a recipe, and judges what comes of it."""

    def __init__(self, args: argparse.Namespace):
        self.args = args
        paths = find_images(args.held)[: args.num_held]
        self.photos = [load_rgb(path) for path in paths]

    def config(self, recipe: str, seed: int, steps: int):
        """The config with the recipe's settings, for the time of so many steps."""
        config = config_files.load_config(self.args.config)
        if self.args.quick:
            config_files.apply_quick(config)
        found = settings(recipe)
        config_files.override_all(config, self.args.settings)
        with config.unlocked():
            for key, value in found.items():
                if key not in (FALLING, EMA, SMALL):
                    group, _, last = key.rpartition(".")
                    (config[group] if group else config)[last] = value
            config.seed = seed
            config.num_steps = steps = sum(n for _, n in parts(recipe, steps))
            falls = (
                config.optimizer.decay_steps if recipe == AS_IT_IS else FALLING in found
            )
            config.optimizer.decay_steps = steps if falls else 0
            config.data.source = self.args.data
        return config

    def train(self, recipe: str, seed: int, steps: int) -> tuple[dict, float]:
        """The trained variables, and the seconds that the steps took, compiling not."""
        config = self.config(recipe, seed, steps)
        made = training_run.prepare(config)
        state = init_state(jax.random.key(seed), made.net, made.tx, made.input_size)
        if config.init not in initial.NONE:
            state, _ = initial.start_from(
                config.init,
                state,
                task=config.task,
                net_config=made.net_config,
                goal=made.goal,
                photos=reporting.sample_photos(""),
                styles=made.styles,
            )
        step = make_train_step(
            made.net,
            made.goal.objective,
            made.tx,
            devices=made.devices,
            degradation=made.degradation,
            seed=seed,
            styles=range(len(made.styles)),
            steady_weight=config.get("steady_weight", 0.0),
        )
        frozen = replicate(made.goal.frozen, made.devices)
        keep = settings(recipe).get(EMA, 0)
        average = None
        blend = jax.jit(optax.incremental_update, static_argnums=2)
        state = replicate(state, made.devices)
        room = room_for_photos(made.devices) if config.data.on_device else 0
        before, seconds = 0, 0.0
        for divisor, num_steps in parts(recipe, steps):
            loader = Loader(
                config.data.source,
                seed=seed,
                batch_size=config.data.batch_size,
                image_size=config.data.image_size // divisor,
                start=before,
                crop=config.data.crop,
                cache=config.data.cache or None,
                rows_below=room,
            )
            before += num_steps
            with contextlib.closing(loader):
                photos = replicate(loader.table, made.devices)
                batches = _batches(loader, num_steps, config.steps_per_dispatch)
                updates = fit(step, state, frozen, batches, len(made.devices), photos)
                started = None
                for state, metrics in updates:
                    if keep:
                        average = (
                            jax.tree.map(lambda x: x.copy(), state.params)
                            if average is None
                            else blend(state.params, average, 1 / keep)
                        )
                    if started is None:
                        jax.block_until_ready(metrics)
                        started = time.monotonic()
                jax.block_until_ready(state)
                seconds += time.monotonic() - started
        state = unreplicate(state)
        params = unreplicate(average) if keep else state.params
        self.made = made
        return {"params": params, "batch_stats": state.batch_stats}, seconds

    def judge(self, variables, size: int, sheet: Path | None = None) -> dict:
        """Mean objective and terms of the held photos, each as large as `size`."""
        made = self.made
        net = made.net.clone(axis_name=None)
        num_styles = len(made.styles)

        @jax.jit
        def terms(variables, frozen, photo, style):
            of_net, of_objective = {}, ()
            if num_styles:
                of_net = {"styles": jax.nn.one_hot(style, num_styles)}
                of_objective = (style,)
            output = net.apply(variables, photo, train=False, **of_net)
            loss, terms = made.goal.objective(frozen, output, photo, *of_objective)
            return output, {"loss": loss, **terms}

        found, outputs = [], []
        for i, photo in enumerate(self.photos):
            square = np.float32(squares.centre(photo, size))[None]
            style = np.int32([i % max(num_styles, 1)])
            output, values = terms(variables, made.goal.frozen, square, style)
            found.append(jax.device_get(values))
            outputs.append(np.asarray(output)[0])
        if sheet:
            write_image(sheet, sheets.grid(outputs[:20], columns=5))
        return {key: float(np.mean([f[key] for f in found])) for key in found[0]}


def _batches(loader, steps: int, group: int) -> Iterator[np.ndarray]:
    for _ in range(steps // group):
        yield np.stack([next(loader) for _ in range(group)])


def run(args: argparse.Namespace) -> int:
    for recipe in args.recipes:
        settings(recipe)  # told before the first is trained
    runner = Runner(args)
    with precision.products(runner.config(args.recipes[0], 0, 1).precision):
        return _runs(runner, args)


def _runs(runner: Runner, args: argparse.Namespace) -> int:
    out = Path(args.output)
    out.parent.mkdir(parents=True, exist_ok=True)
    for recipe in args.recipes:
        steps = args.steps
        if not steps:
            tried = 8
            _, seconds = runner.train(recipe, 0, tried)
            steps = max(round(args.seconds / (seconds / (tried - 1))), 1)
        for seed in range(args.seeds):
            variables, seconds = runner.train(recipe, seed, steps)
            config = runner.config(recipe, seed, steps)
            size = args.held_size or config.data.image_size
            sheet = out.parent / f"{out.name}-{recipe}-{seed}.jpg"
            line = {
                "recipe": recipe,
                "seed": seed,
                "steps": config.num_steps,
                "batch_size": config.data.batch_size,
                "image_size": config.data.image_size,
                "init": config.init,
                "seconds": round(seconds, 2),
                "held_size": size,
                **runner.judge(variables, size, sheet),
                **provenance.header(args.command),
            }
            with out.with_name(out.name + ".jsonl").open("a") as file:
                file.write(json.dumps(line) + "\n")
            print(
                f"{recipe} seed {seed}: {config.num_steps} steps, {seconds:.1f} s, "
                f"held {line['loss']:.4g}",
                flush=True,
            )
    return 0


def parser() -> cli.Parser:
    made = cli.Parser(
        prog="python -m jaxperceptual.benchmarks.recipes",
        description=__doc__.partition("\n")[0],
        allow_abbrev=False,
        settings=[],
    )
    add = made.add_argument
    add("recipes", nargs="+", metavar="RECIPE", help=", ".join([*RECIPES, *ENDINGS]))
    add("--config", required=True)
    add("--quick", action="store_true", help="with the config's quick section")
    add("--data", required=True, help="photos to train on")
    add("--held", required=True, help="a folder of photos to judge on")
    add("--num-held", type=int, default=20)
    add("--held-size", type=int, default=0, help="px (default: the config's)")
    add("--seconds", type=float, default=120.0, help="of training, each run")
    add("--steps", type=int, default=0, help="in place of seconds")
    add("--seeds", type=int, default=2)
    add("-o", "--output", default="recipes")
    return made


if __name__ == "__main__":
    cli.main(sys.modules[__name__], sys.argv[1:])
