"""The baseline of section 4.1 on many photos: from white noise to pixels on disk.

Each photo is a problem of its own. `folder` has what this leaves behind.
"""

import hashlib
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from tqdm import tqdm

from jaxperceptual.baseline.folder import Results
from jaxperceptual.baseline.lbfgs import LBFGSState
from jaxperceptual.baseline.options import Options
from jaxperceptual.baseline.photos import Photo, check_names, read_photos
from jaxperceptual.baseline.pixels import PixelOptimizer, Trace, trace_of, white_noise
from jaxperceptual.core import folders, provenance, signals
from jaxperceptual.core.errors import InputError
from jaxperceptual.core.memory import enough_memory
from jaxperceptual.core.progress import Bar
from jaxperceptual.core.types import Image
from jaxperceptual.losses.goal import Goal

_SAVE_EVERY_S = 60.0
_CHUNK = 10  # evaluations a dispatch; on a CPU 1, since there one takes long anyway


class Work(NamedTuple):
    """Which photos are to be optimised, how, into which folder: checked, not begun."""

    options: Options
    photos: list[Photo]
    unreadable: list[InputError]  # of photos that are left out
    output: Path

    def into(self, output: Path) -> "Work":
        """The same photos into another folder; InputError as `prepare` raises it."""
        check_names(self.photos, self.options, output)
        return self._replace(output=output)

    def enough_memory(self):
        """Within it, a lack of memory is an InputError that says what to lower."""
        size = self.options.size
        return enough_memory(
            f"{self.options.batch_size} image(s) of {size} x {size} px",
            "a smaller --batch-size or --size",
        )


def prepare(
    options: Options,
    content: Sequence[str | os.PathLike] | None,
    output: str | os.PathLike,
    *,
    num: int | None = None,
) -> Work:
    """Reads the photos.

    Args:
      options: How to optimise.
      content: Photos, and folders of photos; None for those in scikit-image.
      output: A folder, made if need be.
      num: Only the first so many photos.

    Raises:
      InputError: Options that cannot be, photos that are not there, of one name or
        replaced by a result.
    """
    options.check()
    output = Path(output)
    photos, unreadable = read_photos(content, options.size, num, output)
    check_names(photos, options, output)
    return Work(options, photos, unreadable, output)


def run(work: Work, goal: Goal, *, command: str = "") -> tuple[int, Results]:
    """Optimises each photo; returns the exit code and what the folder holds.

    Writes into `work.output` images/NAME.png, and images/NAME_0050.png and so on for
    `options.MARKS`, objective.csv and baseline.json. Photos that are done there
    already, with the same options, are left as they are. A SIGINT or SIGTERM saves, and
    the code is 128 + its number: the same call then continues, to the same images and
    objective.csv. The code is 1 if some photos could not be read.

    goal: what to minimise; of a style config.
    command: what baseline.json tells.

    Raises InputError for a folder that is not writable, or is another run's.
    """
    for error in work.unreadable:
        print(f"gatys_baseline: {error}", file=sys.stderr)
    options, output, photos = work.options, work.output, work.photos
    with folders.held(output, "-o", "gatys_baseline"):
        results = Results(output, options, goal.record)
        batches = results.pending_batches(photos)
        with signals.stop_signals() as caught:
            if batches:
                results.record["header"] = provenance.header(command)
                results.write_record()
                with work.enough_memory(), goal.products():
                    _Run(goal, options, results, caught).optimize(batches)
        if caught:
            name = signal.Signals(caught[0]).name
            print(f"{name}: saved in {output}; the same command continues")
            return 128 + caught[0], results
        print(f"{len(photos)} images of {options.steps} iterations: {output}")
    if lost := len(work.unreadable):
        print(
            f"gatys_baseline: {lost} of {lost + len(photos)} images could not be read, "
            "and were left out",
            file=sys.stderr,
        )
    return int(bool(lost)), results


def noise_for(name: str, *, seed: int, size: int) -> Image:
    """An image's start, whichever others there are: white noise [size size 3]."""
    digest = hashlib.sha256(f"{seed}/{name}".encode(errors="surrogateescape")).digest()
    return white_noise(int.from_bytes(digest[:8], "big"), size)


class _Run:
    """The loop over batches and evaluations, and its effects on the folder."""

    def __init__(
        self, goal: Goal, options: Options, results: Results, caught: list[int]
    ):
        self._goal = goal
        self._options = options
        self._results = results
        self._caught = caught
        # The paper's plain L-BFGS knows nothing of frequencies either.
        plain = {"metric": None} if options.projection == "clip" else {}
        self._optimizer = PixelOptimizer(
            goal.objective,
            linesearch=options.linesearch,
            projection=options.projection,
            **plain,
        )
        self._called: set[tuple[int, int]] = set()  # has been compiled

    def optimize(self, batches: list[list[Photo]]) -> None:
        """Optimises and writes, until all are done or a signal was caught."""
        total = self._options.steps * sum(len(photos) for photos in batches)
        self._results.record["first_calls_s"] = 0.0  # of this process, compiling too
        self._begin, self._done = time.monotonic(), 0  # iterations
        with Bar(total=total, unit="iteration") as bar:
            for photos in batches:
                if not self._caught:
                    self._optimize_batch(photos, bar)

    def _optimize_batch(self, photos: list[Photo], bar: Bar) -> None:
        options, results = self._options, self._results
        bar.set_description(", ".join(photo.name for photo in photos))
        noise = [
            noise_for(p.name, seed=options.seed, size=options.size) for p in photos
        ]
        targets = np.stack([photo.pixels for photo in photos]).astype(np.float32)
        clock = np.zeros(2)  # seconds and evaluations, of calls that were warm
        begin = time.perf_counter()
        step, frozen = self._optimizer.start(
            np.stack(noise), self._goal.frozen, targets
        )
        start = jax.tree.map(lambda x: np.asarray(x)[None], trace_of(step.state))
        self._add_time(clock, begin, len(photos), 0)
        for photo, value in zip(photos, start.objective[0], strict=True):
            if not np.isfinite(value):
                raise InputError(
                    f"{photo.name}: the objective of white noise is {value}; lower the "
                    "weights of --config.objective."
                )
        step, trace, clock = results.restore(photos, (step, start, clock))
        position = self._position(step.state)
        bar.total -= int(position.sum())
        saved = time.monotonic()
        while (position < options.steps).any():
            if self._caught or time.monotonic() - saved > _SAVE_EVERY_S:
                results.save(photos, (step, trace, clock))
                saved = time.monotonic()
            if self._caught:
                return
            count = self._count(position)
            begin = time.perf_counter()
            step, new = self._optimizer.advance(step, frozen, targets, count)
            self._add_time(clock, begin, len(photos), count)
            trace = jax.tree.map(lambda *x: np.concatenate(x), trace, new)
            before, position = position, self._position(step.state)
            for i, photo in enumerate(photos):
                marks = [m for m in options.marks() if before[i] < m <= position[i]]
                if marks:
                    results.write_images(photo.name, np.asarray(step.params[i]), marks)
            bar.set_postfix(objective=f"{new.objective[-1].mean():.4g}", refresh=False)
            bar.update(int((position - before).sum()))
            self._done += int((position - before).sum())
        facts = {
            "batch_size": len(photos),
            "device": results.record["header"]["device"],
            # Of the whole batch; None where all evaluations were first calls.
            "seconds_per_evaluation": clock[0] / clock[1] if clock[1] else None,
        }
        for i, photo in enumerate(photos):
            own = _accepted(jax.tree.map(lambda x, i=i: x[:, i], trace), options.steps)
            results.add(photo, own, facts)
        results.finish_batch()
        if bar.lines:  # a log file gets a line where a terminal has its bar
            self._print_progress(photos, trace, bar.total)

    def _print_progress(self, photos: list[Photo], trace: Trace, total: int) -> None:
        rate = max(self._done, 1) / (time.monotonic() - self._begin)
        left = tqdm.format_interval((total - self._done) / rate)
        names = ", ".join(photo.name for photo in photos)
        print(
            f"{names}: objective {trace.objective[-1].mean():.4g} after "
            f"{self._options.steps} iterations  {rate:.2f} it/s  {left} left",
            flush=True,
        )

    def _position(self, state: LBFGSState) -> np.ndarray:
        """Iterations that are behind each image; all, once no step makes it better."""
        steps = self._options.steps
        iterations = np.minimum(np.asarray(state.iter_num), steps)
        return np.where(np.asarray(state.failed), steps, iterations)

    def _count(self, position: np.ndarray) -> int:
        """Evaluations that take no image past its next mark."""
        marks = np.array(self._options.marks())
        room = min(marks[marks > at][0] - at for at in position if at < marks[-1])
        # Few counts, since each is compiled for itself.
        return _CHUNK if room >= _CHUNK and jax.default_backend() != "cpu" else 1

    def _add_time(self, clock: np.ndarray, begin: float, n: int, count: int) -> None:
        elapsed = time.perf_counter() - begin
        if (n, count) not in self._called:
            self._called.add((n, count))
            self._results.record["first_calls_s"] += elapsed
        elif count:
            clock += elapsed, count


def _accepted(trace: Trace, steps: int) -> Trace:
    """Of one image's trace [k]: the noise, and each iteration up to `steps`."""
    rises = np.diff(trace.iteration, prepend=-1) > 0
    kept = rises & (trace.iteration <= steps)
    return jax.tree.map(lambda x: x[kept], trace)
