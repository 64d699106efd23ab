"""From a config to a trained network on disk: builds, runs, logs, saves."""

import contextlib
import dataclasses
import itertools
import json
import os
import signal
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict
from tqdm import tqdm

from jaxperceptual import (
    configs,
    data,
    degradations,
    files,
    goals,
    models,
    parallel,
    precision,
    reporting,
    runs,
    training,
)
from jaxperceptual.checkpoints import Checkpoints
from jaxperceptual.errors import InputError
from jaxperceptual.types import TrainState

# What a continued run may change: none of it touches the sequence of updates.
_FREE_KEYS = (
    "num_steps",
    "log_every_steps",
    "sample_every_steps",
    "sample_photos",
    "checkpoint_every_steps",
    "keep_last",
    "keep_every_steps",
    "tensorboard",
    "data.cache",
    "data.on_device",
    "data.num_workers",
    "default_style_image",
)


def train(config: ConfigDict, workdir: str | os.PathLike) -> int:
    """Trains, or continues, the run in `workdir`; returns the exit code.

    Leaves there config.json, metrics.jsonl, samples/, checkpoints/ and, at the end,
    model.safetensors. A SIGINT or SIGTERM saves and returns 128 + the signal's number.
    Raises InputError for anything in the config that cannot be, and when a loss stops
    being finite.
    """
    workdir = Path(workdir)
    _check_numbers(config)
    _check_decay(config)
    net = models.make_net(
        config.task,
        config.net.to_dict(),
        source="config",
        axis_name=parallel.DEVICES,
        dtype=precision.dtype(config.precision),
    )
    degradation, input_size = _read_degradation(config)
    devices = parallel.devices_for(config.data.batch_size)
    goal = goals.load_goal(config)
    tx = training.make_optimizer(**config.optimizer)
    state = training.init_state(jax.random.key(config.seed), net, tx, input_size)
    made_with = {
        key: goal.record[key] for key in ("style", "vgg") if key in goal.record
    }
    record = {
        "config": configs.flatten(config),
        **made_with,
        "devices": len(devices),
    }
    with contextlib.ExitStack() as stack:
        stack.enter_context(precision.products(config.precision))
        stack.enter_context(runs.held(workdir, "--workdir", "bin/train"))
        checkpoints = stack.enter_context(
            contextlib.closing(
                Checkpoints(
                    workdir,
                    keep_last=config.keep_last,
                    keep_every_steps=config.keep_every_steps,
                )
            )
        )
        latest = checkpoints.latest()
        old = checkpoints.record(latest) if latest is not None else record
        _check_same_run(old, record, workdir)
        if latest is not None:
            state = checkpoints.restore(latest, state)
            print(f"continuing {workdir} from step {latest}")
        if (step := int(state.step)) < config.num_steps:
            loader = stack.enter_context(
                data.Loader(
                    config.data.source,
                    seed=config.seed,
                    batch_size=config.data.batch_size,
                    image_size=config.data.image_size,
                    crop=config.data.crop,
                    flip=config.data.flip,
                    cache=config.data.cache or None,
                    num_workers=config.data.num_workers,
                    start=step,
                    rows_below=room_for_photos(devices) if config.data.on_device else 0,
                )
            )
            frozen = goal.frozen
            if loader.table is not None:
                print(f"photos on the device: {loader.table.nbytes / 1e9:.2f} GB")
                frozen = frozen._replace(photos=loader.table)
            record["images"] = {"count": loader.num_images, "names": loader.names_hash}
            _check_same_run(old, record, workdir)
            print(
                f"{loader.num_images} images from {config.data.source}; "
                f"{config.num_steps - step} steps of {config.data.batch_size} x "
                f"{config.data.image_size} px on {len(devices)} x "
                f"{devices[0].device_kind}"
            )
            files.write_text(
                workdir / "config.json", json.dumps(record, indent=2) + "\n"
            )
            run = _Run(config, workdir, devices, checkpoints, record)
            train_step = training.make_train_step(
                net,
                goal.objective,
                tx,
                devices=devices,
                degradation=degradation,
                seed=config.seed,
            )
            sampler = reporting.Sampler(
                net,
                reporting.sample_photos(config.sample_photos),
                workdir / "samples",
                degradation,
            )
            with runs.enough_memory(
                f"a step of {config.data.batch_size} x {config.data.image_size} px",
                "a smaller --data.batch_size or --data.image_size",
            ):
                state, stopped = run.loop(train_step, state, frozen, loader, sampler)
            if stopped:
                print(
                    f"{signal.Signals(stopped).name}: saved step {int(state.step)}; "
                    "the same command continues"
                )
                return 128 + stopped
        model_path = workdir / models.FILE_NAME
        models.write_model(
            model_path,
            models.Model(
                config.task,
                config.net.to_dict(),
                {"params": state.params, "batch_stats": state.batch_stats},
                {
                    "steps": int(state.step),
                    **made_with,
                    "training": record["config"],
                },
            ),
        )
        print(f"step {int(state.step)} done: {model_path}")
    return 0


@dataclasses.dataclass
class _Run:
    """The loop over updates, and its effects on the run folder."""

    config: ConfigDict
    workdir: Path
    devices: list[jax.Device]
    checkpoints: Checkpoints
    record: dict[str, Any]

    def loop(
        self, train_step, state, frozen, loader, sampler
    ) -> tuple[TrainState, int]:
        """The last state, on the host, and the signal that ended the loop, or 0."""
        config = self.config
        start = step = int(state.step)
        replicated = parallel.replicate(state, self.devices)
        frozen = parallel.replicate(frozen, self.devices)
        # Dispatches not yet known to be done and finite, with the step they end at.
        pending: deque[tuple[int, dict]] = deque()
        metrics: dict[str, float] = {}

        def wait(leave: int = 0) -> None:
            """Waits for all but the last `leave` dispatches, and checks them."""
            nonlocal metrics
            while len(pending) > leave:
                metrics = self._finite(*pending.popleft())

        def save() -> TrainState:
            wait()
            host = parallel.unreplicate(replicated)
            self.checkpoints.save(host, self.record)
            return host

        log = reporting.MetricsLog(self.workdir, start, tensorboard=config.tensorboard)
        clock = reporting.Clock(loader, config.data.batch_size)
        stopped = 0
        bar = tqdm(total=config.num_steps, initial=start, unit="step", disable=None)
        with contextlib.closing(log), bar, runs.stop_signals() as caught:
            batches = _grouped(
                loader, start, config.num_steps, config.steps_per_dispatch
            )
            dispatches = training.fit(
                train_step, replicated, frozen, batches, len(self.devices)
            )
            for replicated, on_device in dispatches:
                before, step = step, step + on_device["loss"].shape[1]
                pending.append((step, on_device))
                wait(leave=2)
                bar.update(step - before)
                if before == start:
                    wait()
                    clock.restart(step)  # no rate counts the time to compile
                if _passed(before, step, config.log_every_steps):
                    wait()
                    line = {"step": step, **clock.measure(step), **metrics}
                    log.write(line)
                    reporting.show_progress(line, bar, config.data.batch_size)
                if _passed(before, step, config.sample_every_steps):
                    wait()
                    sampler(step, parallel.unreplicate(replicated))
                    clock.restart(step)
                if _passed(before, step, config.checkpoint_every_steps):
                    save()
                if caught:
                    stopped = caught[0]
                    break
            state = save()
            self.checkpoints.wait()
            if not stopped and not _passed(step - 1, step, config.sample_every_steps):
                sampler(step, state)
        return state, stopped

    def _finite(self, step: int, on_device) -> dict[str, float]:
        """The metrics of the dispatch's last step; InputError if one is not finite."""
        metrics = {k: v[0] for k, v in jax.device_get(on_device).items()}
        # The loss first where it is shown; where it is to blame, the terms first.
        for name in sorted(metrics, key=lambda name: name in ("loss", "grad_norm")):
            bad = ~np.isfinite(metrics[name])
            if bad.any():
                self.checkpoints.wait()
                latest = self.checkpoints.latest()
                kept = (
                    f"the last good checkpoint is step {latest}, kept in {self.workdir}"
                    if latest is not None
                    else "there is no checkpoint yet"
                )
                at = step - len(bad) + 1 + int(bad.argmax())
                raise InputError(
                    f"step {at}: {name} is {metrics[name][bad.argmax()]}; {kept}. "
                    "Lower --config.optimizer.learning_rate or the weights, in "
                    "a new --workdir."
                )
        names = ["loss", *(name for name in metrics if name != "loss")]
        return {name: float(metrics[name][-1]) for name in names}


def room_for_photos(devices: list[jax.Device]) -> int:
    """Bytes of photos that each device can keep: a third of what is free.

    None on a CPU, whose memory they are in anyway.
    """
    if devices[0].platform == "cpu":
        return 0
    free = [
        stats["bytes_limit"] - stats["bytes_in_use"]
        for device in devices
        if (stats := device.memory_stats())
    ]
    return min(free, default=0) // 3


def _grouped(batches, start: int, num_steps: int, group: int) -> Iterator[np.ndarray]:
    """Batches [n ...] as [group n ...], from step `start` on.

    Groups end at multiples of `group`, so that a continued run makes the same ones: one
    step in a group and one alone are other programs, and may round differently.
    """
    step = start
    while step < num_steps:
        size = min(group - step % group, num_steps - step)
        yield np.stack(list(itertools.islice(batches, size)))
        step += size


def _passed(before: int, step: int, every: int) -> bool:
    return bool(every) and before // every < step // every


def _read_degradation(
    config: ConfigDict,
) -> tuple[degradations.Degradation | None, int]:
    """What is done to the photos of a restoration config, and the side that is left."""
    image_size = config.data.image_size
    if "degradation" not in config:
        return None, image_size
    factor = config.net.factor
    degradation = degradations.make(config.degradation.to_dict(), factor)
    if image_size % factor:
        raise InputError(
            f"data.image_size={image_size}; use a multiple of the factor {factor}."
        )
    return degradation, image_size // factor


def _check_numbers(config: ConfigDict) -> None:
    flat = configs.flatten(config)
    for key, least in (
        ("seed", 0),
        ("num_steps", 1),
        ("style_size", goals.MIN_STYLE_SIDE),
        ("steps_per_dispatch", 1),
        ("log_every_steps", 1),
        ("sample_every_steps", 0),
        ("checkpoint_every_steps", 1),
        ("keep_last", 1),
        ("keep_every_steps", 0),
        ("data.batch_size", 1),
        ("data.image_size", 16),
        ("data.num_workers", 0),
    ):
        if key in flat and not least <= flat[key] < 2**32:
            raise InputError(f"{key}={flat[key]}; use {least} or more, below 2**32.")
    # Checkpoints are made where dispatches end, and kept where checkpoints are made.
    for key, of in (
        ("checkpoint_every_steps", "steps_per_dispatch"),
        ("keep_every_steps", "checkpoint_every_steps"),
    ):
        if flat[key] % flat[of]:
            raise InputError(f"{key}={flat[key]}; use a multiple of {of}={flat[of]}.")


def _check_decay(config: ConfigDict) -> None:
    decay = config.optimizer.get("decay_steps", 0)
    if 0 < decay < config.num_steps:
        raise InputError(
            f"num_steps={config.num_steps}, but optimizer.decay_steps={decay}, after "
            "which the rate is 0 and nothing is learnt; give both the same number."
        )


def _check_same_run(old: dict, new: dict, workdir: Path) -> None:
    """InputError if continuing `old` with `new` would make a run that is neither."""
    was, now = (
        {
            **{f"config.{key}": value for key, value in record["config"].items()},
            **{key: value for key, value in record.items() if key != "config"},
        }
        for record in (old, json.loads(json.dumps(new)))
    )
    for key, value in now.items():
        name = key.removeprefix("config.")
        if name in _FREE_KEYS or name.startswith("quick."):
            continue
        if key in was and was[key] != value:
            raise InputError(
                f"{workdir} holds a run with {key}={was[key]}, now it is {value}; use "
                "the same settings to continue it, or another --workdir."
            )
