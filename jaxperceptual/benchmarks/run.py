"""What `jaxperceptual benchmark` measures and writes: table 1, or pieces of work.

Pieces of work are the training step, inference and the baseline's iteration, ours and
PyTorch's (`plan`); how they are timed: `timing`, `table1`.
"""

import functools
import itertools
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jaxperceptual.baseline.lbfgs import HISTORY_SIZE
from jaxperceptual.benchmarks import loading, pieces, plan, table1, timing, variants
from jaxperceptual.benchmarks.memory import memory
from jaxperceptual.benchmarks.options import Options
from jaxperceptual.core import files, folders, machine, provenance
from jaxperceptual.data import sources


def benchmark(options: Options, output: str | os.PathLike | None, command: str) -> int:
    """Measures, prints a table, and writes it with all raw times into `output`.

    That is table1.md and table1.json, or benchmark.md and benchmark.json. Returns 1 if
    two variants disagree; those are not timed. Raises InputError for options that
    cannot be, PyTorch not installed, or an `output` that takes no files.
    """
    config = plan.read_config(options)
    if output is not None:
        output = folders.make_folder(Path(output), "-o")
    here, missing = variants.installed(options.reference)
    if missing:
        print(
            f"benchmark: note: {', '.join(missing)}: not installed, left out; pip "
            "install 'jaxperceptual[reference]'.",
            file=sys.stderr,
        )
    if "torch" in here:
        from jaxperceptual.benchmarks.torch import tensors  # an extra

        tensors.use_all_cores()
    goal = functools.cache(lambda: plan.read_goal(config))
    if options.table1 or options.gatys:
        print(goal().style.line)
    report = {"header": provenance.header(command), "left_out": missing}
    if report["header"]["load"] > machine.num_cores() / 2:
        print(
            f"benchmark: note: load {report['header']['load']}: others are using this "
            "machine. OpenMP's threads (PyTorch) then stall for up to a second in "
            "waiting for each other, and ratios mean little; wait, or set "
            "OMP_WAIT_POLICY=passive.",
            file=sys.stderr,
        )
    text = [provenance.head_markdown(report["header"])]
    print(text[0])
    measure = _table1 if options.table1 else _rows
    for line in measure(options, config, goal, report):
        text.append(line)
        print(line, flush=True)
    if output is not None:
        name = "table1" if options.table1 else "benchmark"
        files.write_text(output / f"{name}.json", json.dumps(report, indent=2) + "\n")
        files.write_text(output / f"{name}.md", "\n".join(text) + "\n")
    return int(any(_disagrees(row) for row in report["results"]))


def _rows(options, config, goal, report: dict[str, Any]) -> Iterator[str]:
    """Measures `pieces` and input into `report`; yields the lines of their tables."""
    report["results"] = []
    if options.train or options.inference or options.gatys:
        yield from _piece_rows(options, config, goal, report)
    if options.input:
        yield from _input_rows(options, config, report)


def _piece_rows(options, config, goal, report: dict[str, Any]) -> Iterator[str]:
    report["peak_flops"] = peak = timing.peak_rate(options.precision)
    yield (
        f"Peak, of a large matrix product in {options.precision}: "
        f"{peak / 1e9:.0f} GFLOP/s.\n"
    )
    yield timing.ROWS_HEAD
    for index, make in enumerate(plan.pieces_of(options, config, goal)):
        work = variants.work(plan.variants_of(options), make())
        row = timing.measure(work, options.repeats)
        report["results"].append(row)
        names = [variant.name for variant in timing.available(work, row)]
        del work  # before the next one takes memory
        if options.memory and not row["disagreement"]:
            for name in names:
                row["variants"][name] |= memory(options, index, name)
        yield timing.row_markdown(row, peak)


def _input_rows(options, config, report: dict[str, Any]) -> Iterator[str]:
    steps = [
        row["variants"]["jax"]["median_ms"] / 1000
        for row in report["results"]
        if row["work"] == "train" and not row["disagreement"]
    ]
    report["eaten"] = options.batch_size / min(steps) if steps else None
    yield (
        f"\nBatches of {options.batch_size} x {options.train_size} x "
        f"{options.train_size}, {config.data.crop}, from the loader alone, files read "
        "before (the system keeps them in memory)."
    )
    if steps:
        yield (
            "A training step above, the fastest, eats "
            f"{report['eaten']:.1f} images/s on its device."
        )
    yield "\n" + loading.HEAD
    report["input"] = []
    keeps = config.data.crop == "stretch"  # a copy of each photo, that is
    for source, cached in itertools.product(options.data, (False, True)):
        if cached and (not keeps or source == sources.EMBEDDED):
            continue
        row = loading.measure(
            source,
            options.repeats,
            cached=cached,
            seed=0,
            batch_size=options.batch_size,
            image_size=options.train_size,
            crop=config.data.crop,
            flip=config.data.flip,
            num_workers=config.data.num_workers,
        )
        report["input"].append(row)
        yield loading.row_markdown(row, report["eaten"])


def _table1(options, config, goal, report: dict[str, Any]) -> Iterator[str]:
    """Measures table 1 into `report`; yields its lines."""
    net = config.net.to_dict()
    report |= {"net": net, "budget_s": options.budget, "results": []}
    yield (
        f"Network: {net['norm']} norm, {net['upsample']}, width {net['width']:g}; "
        f"baseline: L-BFGS with {HISTORY_SIZE} pairs, no line search; one image, "
        f"{options.config}.\n"
    )
    yield table1.HEAD
    for size in options.sizes:
        chosen = plan.variants_of(options)
        inference = pieces.inference(config.task, net, size)
        network = timing.measure(variants.work(chosen, inference), options.repeats)
        iteration = pieces.iteration(*goal(), config, size)
        baseline = table1.measure_iterations(
            variants.work(chosen, iteration),
            repeats=options.repeats,
            budget=options.budget,
            full=options.full,
        )
        entry = table1.entry(baseline, network)
        report["results"].append(entry)
        yield table1.entry_markdown(entry)
    yield table1.paper_markdown()
    yield "\n" + table1.notes_markdown(report["results"], options.repeats)


def _disagrees(result: dict[str, Any]) -> bool:
    rows = [result[k] for k in ("baseline", "network") if k in result] or [result]
    return any(row["disagreement"] for row in rows)
