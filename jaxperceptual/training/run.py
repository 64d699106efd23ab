"""From a config to a trained network on disk: builds, runs, logs, saves."""

import contextlib
import dataclasses
import functools
import hashlib
import json
import os
import signal
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import numpy as np
import optax
from ml_collections import ConfigDict

from jaxperceptual.core import (
    config_files,
    distributed,
    files,
    folders,
    precision,
    records,
)
from jaxperceptual.core.errors import InputError
from jaxperceptual.core.memory import enough_memory
from jaxperceptual.data import sources
from jaxperceptual.data.degradations import Degradation
from jaxperceptual.data.loader import Loader
from jaxperceptual.losses.goal import Goal, build_gallery_goal, build_goal
from jaxperceptual.losses.style_image import read_gallery, read_style
from jaxperceptual.networks import pretrained, registry
from jaxperceptual.networks.model_file import Model, write_model
from jaxperceptual.networks.trained import Trained
from jaxperceptual.training import checks, initial, reporting
from jaxperceptual.training.checkpoints import Checkpoints, DamagedCheckpoint
from jaxperceptual.training.devices import DEVICES, devices_for
from jaxperceptual.training.loop import Loop, room_for_photos
from jaxperceptual.training.optimizer import make_optimizer, with_counts
from jaxperceptual.training.outputs import Nothing, Outputs
from jaxperceptual.training.step import TrainState, init_state, make_train_step

# Where photos lie; they themselves are compared.
_OF_A_HOST = {f"config.data.{key}" for key in ("source", "cache", "num_workers")}


def train(config: ConfigDict, workdir: str | os.PathLike) -> int:
    """Trains, or continues, the run in `workdir`; returns the exit code.

    Leaves there config.json, metrics.jsonl, samples/, checkpoints/ and, from the first
    checkpoint on, model.safetensors. A SIGINT or SIGTERM saves and returns 128 + the
    signal's number. Raises InputError for anything in the config that cannot be, and
    when a loss stops being finite.
    """
    workdir = Path(workdir)
    with distributed.together():
        checks.check_config(config)
        if config.tensorboard:
            reporting.check_tensorboard()
        run = prepare(config)
    shared = json.dumps(
        {k: v for k, v in records.flatten(run.record).items() if k not in _OF_A_HOST}
    )
    distributed.check_same(
        "settings, paintings or weights", hashlib.sha256(shared.encode()).hexdigest()
    )
    fresh = init_state(jax.random.key(config.seed), run.net, run.tx, run.input_size)
    with contextlib.ExitStack() as stack:
        stack.enter_context(precision.products(config.precision))
        stack.enter_context(distributed.peers())
        checkpoints, old, state = None, run.record, fresh
        with distributed.together():
            if distributed.is_first():
                stack.enter_context(folders.held(workdir, "--workdir", "train"))
                checkpoints = stack.enter_context(
                    contextlib.closing(
                        Checkpoints(
                            workdir,
                            keep_last=config.keep_last,
                            keep_every_steps=config.keep_every_steps,
                        )
                    )
                )
                run, old, state = resume(run, fresh, checkpoints, workdir)
        run, old, state = as_the_first(run, old, state)
        if int(state.step) < config.num_steps:
            state, stopped = go_on(run, old, state, checkpoints, workdir)
            if stopped:
                print(
                    f"{signal.Signals(stopped).name}: saved step {int(state.step)}; "
                    "the same command continues"
                )
                return 128 + stopped
        if distributed.is_first():
            finish(run, state, workdir)
    return 0


@dataclasses.dataclass(frozen=True)
class Run:
    """What a config means, before there is a folder or a photo."""

    config: ConfigDict
    net: nn.Module
    tx: optax.GradientTransformation
    goal: Goal
    degradation: Degradation | None  # of a restoration task
    input_size: int  # px, what of a photo's side the network gets
    devices: list[jax.Device]
    record: dict[str, Any]  # what a continued run must have been made with
    net_config: dict[str, Any]  # options of the network
    styles: tuple[str, ...]  # of a gallery, in the order of rows

    def taught(self) -> list[int]:
        """The rows of a gallery that photos are stylised in.

        Where norms alone are trained, those that the network to start from lacks.
        """
        known = self.record.get("init", {}).get("styles", [])
        added = [i for i, name in enumerate(self.styles) if name not in known]
        only = self.config.get("trained", "all") == "norms" and added
        return added if only else list(range(len(self.styles)))


def prepare(config: ConfigDict) -> Run:
    """Builds what the config says. Raises InputError for what cannot be built."""
    styles: tuple[str, ...] = ()
    photos = reporting.sample_photos("")
    if "styles" in config:
        images = read_gallery(config)
        styles = tuple(images)
        goal = build_gallery_goal(config, images, photos)
        print(f"{len(styles)} styles: {', '.join(styles)}")
    else:
        style = read_style(config)
        if style is not None:
            print(style.line)
        goal = build_goal(config, style, photos)
    for key, weight in goal.record["found"].items():
        print(f"{key} {weight}, by the painting; another: --config.{key}=NUMBER")
    net_config = config.net.to_dict()
    if styles:
        net_config["num_styles"] = len(styles)
    net = registry.make_net(
        config.task,
        net_config,
        source="config",
        axis_name=DEVICES,
        dtype=precision.dtype(config.precision),
    )
    _check_trained(config, net)
    degradation, input_size = checks.read_degradation(config)
    devices = devices_for(config.data.batch_size)
    record = {"config": records.flatten(config) | goal.record["found"]}
    told = ("style", "styles", "vgg")
    record |= {key: goal.record[key] for key in told if key in goal.record}
    return Run(
        config=config,
        net=net,
        tx=make_optimizer(**config.optimizer, trained=config.get("trained", "all")),
        goal=goal,
        degradation=degradation,
        input_size=input_size,
        devices=devices,
        record=record | {"devices": len(devices)},
        net_config=net_config,
        styles=styles,
    )


def _check_trained(config: ConfigDict, net: nn.Module) -> None:
    if config.get("trained", "all") != "norms":
        return
    if getattr(net, "norm", None) is None:
        raise InputError("trained=norms, of a network that has none; use --train all.")
    if config.get("init", "") in initial.NONE:
        raise InputError(
            "trained=norms, and all else would stay random; start from a trained "
            "network, --init NAME, or use --train all."
        )


def resume(
    run: Run, fresh: TrainState, checkpoints: Checkpoints, workdir: Path
) -> tuple[Run, dict[str, Any], TrainState]:
    """The record and the state to go on from: the newest checkpoint's, or those of a
    start, from a trained network where the config's `init` names one. And the run,
    whose record tells of that network.

    Raises InputError if the folder holds another run, or the run cannot start so.
    """
    latest, old = checkpoints.latest(), run.record
    if latest is not None:
        latest, old, state = _newest(run, fresh, checkpoints, workdir)
        print(f"continuing {workdir} from step {latest}")
        if (before := old.get("devices", len(run.devices))) != len(run.devices):
            print(
                f"it had {before} devices and has {len(run.devices)} now: the same "
                "updates, but sums are rounded in another order"
            )
        origin = old.get("init")
    elif (name := run.config.get("init", "")) not in initial.NONE:
        state, origin = initial.start_from(
            name,
            fresh,
            task=run.config.task,
            net_config=run.net_config,
            goal=run.goal,
            photos=reporting.sample_photos(""),
            styles=run.styles,
        )
        steps = origin["steps"]  # which a converted file does not tell
        told = "" if steps is None else f", trained for {steps:,} steps"
        print(f"starting from {name}{told}")
        for style, rows in origin.get("from", {}).items():
            print(f"{style} begins as {', '.join(rows)}, the nearest of its styles")
    else:
        state, origin = fresh, None
    if origin:
        run = dataclasses.replace(run, record=run.record | {"init": origin})
    return run, run.record if latest is None else old, state


def _newest(
    run: Run, fresh: TrainState, checkpoints: Checkpoints, workdir: Path
) -> tuple[int, dict[str, Any], TrainState]:
    """Step, record and state of the newest checkpoint that can be read.

    Those after it are set aside, and it is said. Raises InputError if there is none, or
    if it is of another run.
    """
    damaged: dict[int, DamagedCheckpoint] = {}
    for step in checkpoints.steps():
        try:
            old = checkpoints.record(step)
            checks.check_same_run(old, run.record, workdir, step)
            was = config_files.unflatten(records.completed(old["config"]))
            tx = make_optimizer(**was.optimizer, trained=was.trained)
            like = fresh._replace(opt_state=tx.init(fresh.params))
            state = checkpoints.restore(step, like)
        except DamagedCheckpoint as error:
            damaged[step] = error
            continue
        for late in damaged:
            aside = checkpoints.set_aside(late)
            print(f"the checkpoint of step {late} cannot be read; it is {aside} now")
        state = state._replace(
            opt_state=with_counts(state.opt_state, fresh.opt_state, step)
        )
        return step, old, state
    raise next(iter(damaged.values()))


def as_the_first(
    run: Run, old: dict[str, Any], state: TrainState
) -> tuple[Run, dict[str, Any], TrainState]:
    """What the first process goes on from, in all."""
    old, origin = distributed.from_first([old, run.record.get("init")])
    if origin:
        run = dataclasses.replace(run, record=run.record | {"init": origin})
    return run, old, distributed.arrays_from_first(state)


def go_on(
    run: Run,
    old: dict[str, Any],
    state: TrainState,
    checkpoints: Checkpoints | None,
    workdir: Path,
) -> tuple[TrainState, int]:
    """Opens the photos and trains to the end; the last state, and a signal or 0.

    checkpoints: None in a process that is not the first, which writes nothing.

    Raises InputError for photos that cannot be had, or that are not those of the `old`
    record.
    """
    config, devices, step = run.config, run.devices, int(state.step)
    with contextlib.ExitStack() as stack:
        rows_below = 0
        if config.data.on_device:
            rows_below = distributed.least(room_for_photos(devices))
        with distributed.together():
            loader = stack.enter_context(
                Loader(
                    config.data.source,
                    seed=config.seed,
                    batch_size=config.data.batch_size,
                    image_size=config.data.image_size,
                    crop=config.data.crop,
                    flip=config.data.flip,
                    cache=config.data.cache or None,
                    num_workers=config.data.num_workers,
                    start=step,
                    part=(distributed.index(), distributed.count()),
                    leave_out=workdir / "samples",
                    rows_below=rows_below,
                )
            )
        if loader.table is not None:
            print(f"photos on the device: {loader.table.nbytes / 1e9:.2f} GB")
        images = {
            "count": loader.num_images,
            "content": loader.identity,
            # Of these, crops are of another kind.
            "embedded": config.data.source == sources.EMBEDDED,
        }
        distributed.check_same("photos", json.dumps(images))
        record = run.record | {"images": images}
        checks.check_same_run(old, record, workdir, step)
        processes = f" in {n} processes" if (n := distributed.count()) > 1 else ""
        print(
            f"{loader.num_images} images from {config.data.source}; "
            f"{config.num_steps - step} steps of {config.data.batch_size} x "
            f"{config.data.image_size} px on {len(devices)} x "
            f"{devices[0].device_kind}{processes}"
        )
        train_step = make_train_step(
            run.net,
            run.goal.objective,
            run.tx,
            devices=devices,
            degradation=run.degradation,
            seed=config.seed,
            styles=run.taught(),
            steady_weight=config.get("steady_weight", 0.0),
        )
        outputs = Nothing()
        with distributed.together():
            if checkpoints is not None:
                outputs = begin(run, record, step, checkpoints, workdir)
                stack.enter_context(contextlib.closing(outputs))
        with enough_memory(
            f"a step of {config.data.batch_size} x {config.data.image_size} px",
            "a smaller --data.batch_size or --data.image_size",
        ):
            return Loop(config, devices, outputs)(
                train_step, state, run.goal.frozen, loader
            )


def begin(
    run: Run,
    record: dict[str, Any],
    step: int,
    checkpoints: Checkpoints,
    workdir: Path,
) -> Outputs:
    """Writes config.json, and opens all else that a run leaves in its folder."""
    config = run.config
    samples = reporting.sample_photos(config.sample_photos)
    files.write_text(workdir / "config.json", json.dumps(record, indent=2) + "\n")
    sampler = reporting.Sampler(run.net, samples, workdir / "samples", run.degradation)
    return Outputs(
        workdir,
        reporting.MetricsLog(workdir, step, tensorboard=config.tensorboard),
        sampler,
        checkpoints,
        record,
        functools.partial(write, run, workdir=workdir),
    )


def finish(run: Run, state: TrainState, workdir: Path) -> None:
    """Writes the model file of a training that has ended."""
    path = write(run, state, workdir=workdir)
    print(f"step {int(state.step)} done: {path}")


def write(run: Run, state: TrainState, *, workdir: Path) -> Path:
    """Writes the model file, whose training may go on (`Trained.unfinished`); its path.

    A network that is not finite is not written: the loss of its next step will say so.
    """
    path = workdir / pretrained.FILE_NAME
    if not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state.params)):
        return path
    trained = Trained(
        steps=int(state.step),
        config=run.record["config"],
        style=run.record.get("style"),
        vgg=run.record.get("vgg"),
        other={"init": run.record["init"]} if "init" in run.record else {},
    )
    model = Model(
        run.config.task,
        run.net_config,
        {"params": state.params, "batch_stats": state.batch_stats},
        trained,
        run.record.get("styles", {}),
    )
    write_model(path, model)
    return path
