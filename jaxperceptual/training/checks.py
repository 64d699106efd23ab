"""What a config may say to a run, and whether a folder holds that run."""

from pathlib import Path

import numpy as np
from ml_collections import ConfigDict

from jaxperceptual.core import config_files, records
from jaxperceptual.core.errors import InputError
from jaxperceptual.data import degradations
from jaxperceptual.losses.style_image import MIN_STYLE_SIDE
from jaxperceptual.training.optimizer import make_schedule
from jaxperceptual.training.steadiness import MIN_STEADY_SIDE

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
    "data.source",  # the photos themselves are compared
)
# These may change so long as the rates of the steps that are done would not have.
_RATE_KEYS = ("learning_rate", "warmup_steps", "decay_from", "decay_steps")


def check_config(config: ConfigDict) -> None:
    """InputError for numbers out of their range, or that do not go together."""
    flat = records.flatten(config)
    for key, least, most in (
        ("seed", 0, 2**32 - 1),
        ("num_steps", 1, 10**9),
        ("style_size", MIN_STYLE_SIDE, 8192),
        ("steps_per_dispatch", 1, 10**4),
        ("log_every_steps", 1, 10**9),
        ("sample_every_steps", 0, 10**9),
        ("checkpoint_every_steps", 1, 10**9),
        ("keep_last", 1, 10**9),
        ("keep_every_steps", 0, 10**9),
        ("data.batch_size", 1, 65536),
        ("data.image_size", 16, 8192),
        ("data.num_workers", 0, 1024),
        ("steady_weight", 0, 1e12),
    ):
        if key in flat and not least <= flat[key] <= most:
            raise InputError(f"{key}={flat[key]}; use {least} or more, {most} at most.")
    for key, of in config_files.MULTIPLES.items():
        if flat[key] % flat[of]:
            raise InputError(f"{key}={flat[key]}; use a multiple of {of}={flat[of]}.")
    if flat.get("steady_weight"):
        if config.task != "style":
            raise InputError(
                f"steady_weight={config.steady_weight} in a config of {config.task}; "
                "it is of style networks alone: use 0."
            )
        if config.data.image_size < MIN_STEADY_SIDE:
            raise InputError(
                f"data.image_size={config.data.image_size} with a steady_weight; use "
                f"{MIN_STEADY_SIDE} or more."
            )
    decay = config.optimizer.get("decay_steps", 0)
    if 0 < decay < config.num_steps:
        raise InputError(
            f"num_steps={config.num_steps}, but optimizer.decay_steps={decay}, after "
            "which the rate is 0 and nothing is learnt; give both the same number in "
            "a new run, which may start from this network: --init."
        )


def read_degradation(
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


def check_same_run(old: dict, new: dict, workdir: Path, step: int) -> None:
    """InputError if to continue `old`, of `step` steps, with `new` makes neither run.

    What the objective and a gallery have must be the same; of all else, what both
    records tell. Keys that `old` was written before count as having had their default.
    """
    was, now = (
        records.flatten({**record, "config": records.completed(record["config"])})
        for record in (old, new)
    )

    def is_free(key: str) -> bool:
        if key == "devices":  # the batch is that of all, however many
            return True
        name = key.removeprefix("config.")
        if name.removeprefix("optimizer.") in _RATE_KEYS:
            return True
        if name in _FREE_KEYS or name.startswith("quick."):
            return True
        if name.startswith("styles.") and name.endswith(".title"):
            return True
        told = key in was and key in now
        return not told and not name.startswith(("objective.", "styles."))

    if found := records.first_difference(was, now, free=is_free):
        raise InputError(
            f"{workdir} holds a run with {found.key}={found.was}, now it is "
            f"{found.now}; use the same settings to continue it, or another --workdir."
        )
    if not np.array_equal(_rates(was, step), _rates(now, step)):
        keys = [f"config.optimizer.{key}" for key in _RATE_KEYS]
        changed = [key for key in keys if was[key] != now[key]]
        old, new = (
            ", ".join(f"{key}={of[key]}" for key in changed) for of in (was, now)
        )
        given = " ".join(f"--{key}={was[key]}" for key in changed)
        raise InputError(
            f"{workdir} holds a run of {step} steps with {old}, now {new}, and their "
            f"rates would have been others; give {given} to continue it, or start a "
            f"new run from its network: --init {workdir} --workdir ANOTHER."
        )


def _rates(flat: dict, steps: int) -> np.ndarray:
    options = {key: flat[f"config.optimizer.{key}"] for key in _RATE_KEYS}
    rates = make_schedule(**options)(np.arange(steps))
    return np.broadcast_to(np.float32(rates), steps)
