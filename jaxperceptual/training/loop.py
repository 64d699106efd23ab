"""The loop over updates, and its effects on the run folder."""

import dataclasses
import itertools
from collections import deque
from collections.abc import Iterator
from typing import NoReturn

import jax
import numpy as np
from ml_collections import ConfigDict
from tqdm import tqdm

from jaxperceptual.core import distributed, signals
from jaxperceptual.core.errors import InputError
from jaxperceptual.training import reporting
from jaxperceptual.training.devices import (
    first_of,
    largest,
    own,
    replicate,
    unreplicate,
)
from jaxperceptual.training.outputs import Nothing
from jaxperceptual.training.step import TrainState, fit

DEAD = 20  # steps without a gradient, after which a run is ended


@dataclasses.dataclass
class Loop:
    """The loop over updates, and its effects on the run folder."""

    config: ConfigDict
    devices: list[jax.Device]
    outputs: Nothing
    dead: int = 0  # steps, the last ones, whose gradient was 0

    def __call__(self, train_step, state, frozen, loader) -> tuple[TrainState, int]:
        """The last state, on the host, and the signal that ended the loop, or 0.

        A signal to one process of many ends it in all, at one step.
        """
        config, outputs = self.config, self.outputs
        start = step = int(state.step)
        replicated = replicate(state, self.devices)
        frozen = replicate(frozen, self.devices)
        photos = replicate(loader.table, self.devices)
        # Dispatches not yet known to be done and finite, with the step they end at, and
        # a signal of any process's.
        pending: deque[tuple[int, dict, jax.Array | int]] = deque()
        metrics: dict[str, float] = {}
        stopped = 0

        def wait(leave: int = 0) -> None:
            """Waits for all but the last `leave` dispatches, and checks them."""
            nonlocal metrics, stopped
            while len(pending) > leave:
                at, on_device, told = pending.popleft()
                metrics = self._finite(at, on_device)
                stopped = stopped or _number(told)

        def asked() -> int:
            """A signal that is known at once, where there is no one to agree with."""
            return caught[0] if caught and distributed.count() == 1 else 0

        def save() -> TrainState:
            wait()
            host = unreplicate(replicated)
            outputs.save(host)
            return host

        clock = reporting.Clock(loader, config.data.batch_size)
        bar = tqdm(
            total=config.num_steps,
            initial=start,
            unit="step",
            disable=None if distributed.is_first() else True,
        )
        with bar, signals.stop_signals() as caught:
            batches = _grouped(
                loader, start, config.num_steps, config.steps_per_dispatch
            )
            dispatches = fit(
                train_step, replicated, frozen, batches, len(own(self.devices)), photos
            )
            for replicated, on_device in dispatches:
                before, step = step, step + on_device["loss"].shape[1]
                told = largest(caught[0] if caught else 0, self.devices)
                pending.append((step, on_device, told))
                wait(leave=2)
                bar.update(step - before)
                if before == start:
                    wait()
                    clock.restart(step)  # no rate counts the time to compile
                last = stopped or asked() or step >= config.num_steps
                if last or _passed(before, step, config.log_every_steps):
                    wait()
                    line = {"step": step, **clock.measure(step), **metrics}
                    outputs.log(line)
                    reporting.show_progress(line, bar, config.data.batch_size)
                if _passed(before, step, config.sample_every_steps):
                    wait()
                    outputs.sample(step, unreplicate(replicated))
                    clock.restart(step)
                if _passed(before, step, config.checkpoint_every_steps):
                    save()
                if stopped := stopped or asked():
                    break
            state = save()
            outputs.wait()
            if not stopped and not _passed(step - 1, step, config.sample_every_steps):
                outputs.sample(step, state)
        return state, stopped

    def _finite(self, step: int, on_device) -> dict[str, float]:
        """The metrics of the dispatch's last step.

        InputError if one is not finite, or if the gradient has died.
        """
        here = {name: first_of(values) for name, values in on_device.items()}
        metrics = {name: values[0] for name, values in jax.device_get(here).items()}
        # The loss first where it is shown; where it is to blame, the terms first.
        for name in sorted(metrics, key=lambda name: name in ("loss", "grad_norm")):
            bad = ~np.isfinite(metrics[name])
            if bad.any():
                at = step - len(bad) + 1 + int(bad.argmax())
                self._end(f"step {at}: {name} is {metrics[name][bad.argmax()]}")
        for norm in metrics["grad_norm"]:
            self.dead = 0 if norm else self.dead + 1
        if self.dead >= DEAD:
            self._end(
                f"step {step}: the gradient has been 0 for {self.dead} steps, so that "
                "nothing is learnt any more (are outputs all black or white?)"
            )
        names = ["loss", *(name for name in metrics if name != "loss")]
        return {name: float(metrics[name][-1]) for name in names}

    def _end(self, reason: str) -> NoReturn:
        """Ends a run that leads nowhere; InputError says why, and what there is."""
        raise InputError(
            f"{reason}; {self.outputs.kept()}. Lower "
            "--config.optimizer.learning_rate or the weights, in a new --workdir."
        )


def room_for_photos(devices: list[jax.Device]) -> int:
    """Bytes of photos that each device can keep: a third of what is free.

    0 on a CPU, whose memory they are in anyway.
    """
    if devices[0].platform == "cpu":
        return 0
    free = [
        stats["bytes_limit"] - stats["bytes_in_use"]
        for device in own(devices)
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


def _number(told: jax.Array | int) -> int:
    return told if isinstance(told, int) else int(np.asarray(first_of(told))[0])


def _passed(before: int, step: int, every: int) -> bool:
    return bool(every) and before // every < step // every
