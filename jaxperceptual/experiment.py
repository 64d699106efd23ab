"""From a config to a trained network on disk: builds, runs, logs, saves."""

import contextlib
import hashlib
import itertools
import json
import os
import signal
import sys
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np
from ml_collections import ConfigDict
from tqdm import tqdm

from jaxperceptual import (
    configs,
    data,
    files,
    images,
    models,
    objectives,
    parallel,
    reporting,
    training,
    vgg,
    vgg_weights,
)
from jaxperceptual.checkpoints import Checkpoints
from jaxperceptual.errors import InputError
from jaxperceptual.types import Frozen, Image, TrainState

STYLES = configs.FOLDER / "styles"

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
    _check_counts(config)
    devices = jax.local_devices()
    parallel.check_divides(config.data.batch_size, len(devices))
    style_path, style_image = read_style(config)
    style = {
        "name": style_path.name,
        "sha256": hashlib.sha256(style_path.read_bytes()).hexdigest(),
    }
    weights = vgg_weights.load(config.vgg)
    net = models.NETS[config.task](**config.net, axis_name=parallel.DEVICES)
    tx = training.make_optimizer(**config.optimizer)
    features_fn = objectives.vgg_features(weights.preprocessing)
    objective = objectives.perceptual_objective(
        features_fn, **config.objective.to_dict()
    )
    layers = [*config.objective.content, *config.objective.style]
    variables = vgg.frozen(weights.params, layers)
    grams = objectives.style_targets(
        features_fn, variables, style_image, list(config.objective.style)
    )
    state = training.init_state(
        jax.random.key(config.seed), net, tx, config.data.image_size
    )
    record = {
        "config": configs.flatten(config),
        "style": style,
        "vgg": {"name": config.vgg, "fingerprint": weights.fingerprint},
    }
    _make_workdir(workdir)
    checkpoints = Checkpoints(
        workdir,
        keep_last=config.keep_last,
        keep_every_steps=config.keep_every_steps,
    )
    with contextlib.closing(checkpoints):
        latest = checkpoints.latest()
        if latest is not None:
            _check_same_run(checkpoints.record(latest), record, workdir)
            state = checkpoints.restore(latest, state)
            print(f"continuing {workdir} from step {latest}")
        files.write_text(workdir / "config.json", json.dumps(record, indent=2) + "\n")
        step = int(state.step)
        if step < config.num_steps:
            loader = data.Loader(
                config.data.source,
                seed=config.seed,
                batch_size=config.data.batch_size,
                image_size=config.data.image_size,
                random_crop=config.data.random_crop,
                flip=config.data.flip,
                cache=config.data.cache or None,
                num_workers=config.data.num_workers,
                start=step,
            )
            print(
                f"{loader.num_images} images from {config.data.source}; "
                f"{config.num_steps - step} steps of {config.data.batch_size} x "
                f"{config.data.image_size} px on {len(devices)} x "
                f"{devices[0].device_kind}"
            )
            with contextlib.closing(loader):
                state, stopped = _run(
                    config,
                    workdir,
                    checkpoints,
                    loader,
                    training.make_train_step(net, objective, tx, devices=devices),
                    state,
                    Frozen(variables, grams),
                    reporting.Sampler(
                        net,
                        reporting.sample_photos(config.sample_photos),
                        workdir / "samples",
                    ),
                    record,
                    devices,
                )
            if stopped:
                name = signal.Signals(stopped).name
                print(
                    f"{name}: saved step {int(state.step)}; the same command continues"
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
                    "style": style,
                    "vgg": record["vgg"],
                    "training": record["config"],
                },
            ),
        )
        print(f"step {int(state.step)} done: {model_path}")
    return 0


def _run(
    config,
    workdir,
    checkpoints,
    loader,
    train_step,
    state,
    frozen,
    sampler,
    record,
    devices,
) -> tuple[TrainState, int]:
    """The loop and its effects: the last state, and the signal that ended it or 0."""
    start = step = int(state.step)
    batch_size = config.data.batch_size
    replicated = parallel.replicate(state, devices)
    frozen = parallel.replicate(frozen, devices)
    log = reporting.MetricsLog(workdir, start, tensorboard=config.tensorboard)
    pending: deque[tuple[int, dict]] = deque()

    def check(leave: int) -> None:
        """Waits for all but the last `leave` dispatches, and for finite losses."""
        while len(pending) > leave:
            at, metrics = pending.popleft()
            _check_finite(at, jax.device_get(metrics), checkpoints, workdir)

    def save() -> TrainState:
        check(0)
        host = parallel.unreplicate(replicated)
        checkpoints.save(host, record | {"batches": int(host.step)})
        return host

    stopped = 0
    bar = tqdm(
        total=config.num_steps, initial=start, unit="step", disable=None, smoothing=0.05
    )
    clock = reporting.Clock(loader, batch_size)
    with contextlib.closing(log), bar, _signals() as caught:
        batches = _grouped(loader, config.num_steps - start, config.steps_per_dispatch)
        steps = training.fit(train_step, replicated, frozen, batches, len(devices))
        for replicated, metrics in steps:
            before, step = step, step + metrics["loss"].shape[1]
            pending.append((step, metrics))
            check(2)
            bar.update(step - before)
            if before == start:  # this dispatch compiled, which no rate should count
                check(0)
                clock.restart(step)
            elif _passed(before, step, config.log_every_steps):
                check(0)
                line = {
                    "step": step,
                    **clock.measure(step),
                    "loss": float(metrics["loss"][0, -1]),
                    **{k: float(v[0, -1]) for k, v in metrics.items() if k != "loss"},
                }
                log.write(line)
                images_left = (config.num_steps - step) * batch_size
                reporting.show_progress(line, bar, images_left)
            if _passed(before, step, config.sample_every_steps):
                check(0)
                sampler(step, parallel.unreplicate(replicated))
                clock.restart(step)
            if _passed(before, step, config.checkpoint_every_steps):
                save()
            if caught:
                stopped = caught[0]
                break
        state = save()
        checkpoints.wait()
        if not stopped:
            sampler(step, state)
    return state, stopped


def read_style(config: ConfigDict) -> tuple[Path, Image]:
    """The style image's path and pixels, and one printed line that says which it is.

    `style_image` is a path or a name in configs/styles; where there is neither, the
    config's `default_style_image` stands in, if it names one. Raises InputError if
    nothing is found or readable.
    """
    if config.style_size < 16:
        raise InputError(f"style_size={config.style_size}; use at least 16 px.")
    note = "another: --style PATH"
    for name in (config.style_image, config.default_style_image):
        for path in (Path(name), STYLES / name):
            if name and path.is_file():
                pixels = images.read_image(path, size=config.style_size)
                print(f"style image: {path} ({note})")
                return path, pixels
        note = f"{name} is not in configs/styles; put it there or give --style PATH"
    raise InputError(
        f"style image {config.style_image}: no such file, here or in configs/styles; "
        "give one with --style PATH."
    )


def _grouped(batches, num_steps: int, group: int) -> Iterator[np.ndarray]:
    """`num_steps` batches [n h w 3] as [group n h w 3]; the last may be fewer."""
    batches = itertools.islice(batches, num_steps)
    while grouped := list(itertools.islice(batches, group)):
        yield np.stack(grouped)


def _passed(before: int, step: int, every: int) -> bool:
    return bool(every) and before // every < step // every


@contextlib.contextmanager
def _signals():
    """A list that SIGINT and SIGTERM append themselves to; a second one interrupts."""
    caught: list[int] = []

    def handler(number, _):
        if caught:
            raise KeyboardInterrupt
        caught.append(number)
        print(f"{signal.Signals(number).name}: saving ...", file=sys.stderr)

    previous = {s: signal.signal(s, handler) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield caught
    finally:
        for number, old in previous.items():
            signal.signal(number, old)


def _check_finite(step, metrics, checkpoints: Checkpoints, workdir: Path) -> None:
    # The terms by name before what they make up.
    for name in sorted(metrics, key=lambda name: name in ("loss", "grad_norm")):
        values = metrics[name]
        bad = ~np.isfinite(values[0])
        if bad.any():
            at = step - len(values[0]) + 1 + int(bad.argmax())
            checkpoints.wait()
            latest = checkpoints.latest()
            kept = (
                f"the last good checkpoint is step {latest}, kept in {workdir}"
                if latest is not None
                else "there is no checkpoint yet"
            )
            raise InputError(
                f"step {at}: {name} is {values[0][bad.argmax()]}; {kept}. Lower "
                "--config.optimizer.learning_rate or the style weights, in a new "
                "--workdir."
            )


def _check_counts(config: ConfigDict) -> None:
    if config.task not in models.NETS:
        raise InputError(f"task={config.task!r}; use one of {', '.join(models.NETS)}.")
    for key, least in (
        ("num_steps", 1),
        ("steps_per_dispatch", 1),
        ("log_every_steps", 1),
        ("sample_every_steps", 0),
        ("checkpoint_every_steps", 1),
        ("keep_last", 1),
        ("keep_every_steps", 0),
        ("data.image_size", 16),
        ("data.num_workers", 0),
    ):
        value = configs.flatten(config)[key]
        if value < least:
            raise InputError(f"{key}={value}; use {least} or more.")


def _make_workdir(workdir: Path) -> None:
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        probe = workdir / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise InputError(
            f"--workdir {workdir}: cannot be written ({error.strerror}); "
            "choose another folder."
        ) from error


def _check_same_run(old: dict, new: dict, workdir: Path) -> None:
    """InputError if continuing `old` with `new` would make a run that is neither."""
    pairs = [
        (f"config.{key}", old["config"].get(key), value)
        for key, value in json.loads(json.dumps(new["config"])).items()
        if key not in _FREE_KEYS and not key.startswith("quick.")
    ]
    pairs += [(key, old[key], new[key]) for key in ("style", "vgg")]
    for key, was, now in pairs:
        if was != now:
            raise InputError(
                f"{workdir} holds a run with {key}={was}, now it is {now}; use the "
                "same settings to continue it, or another --workdir."
            )
