"""What `bin/benchmark` measures and writes: table 1 of the paper, or pieces of work.

Pieces of work are the training step, inference and the baseline's iteration, ours and
PyTorch's (`works`); how they are timed: `timing`, `table1`.
"""

import contextlib
import dataclasses
import functools
import io
import itertools
import json
import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from jaxperceptual import (
    compilation,
    configs,
    feeding,
    files,
    gatys,
    goals,
    machine,
    nets,
    precision,
    runs,
    table1,
    timing,
    works,
)
from jaxperceptual.errors import InputError
from jaxperceptual.sources import EMBEDDED
from jaxperceptual.timing import Work

_DAY = 86_400  # s


@dataclasses.dataclass(frozen=True)
class Options:
    """What to measure: table 1 if none of the first four."""

    train: bool = False
    inference: bool = False
    gatys: bool = False
    input: bool = False
    reference: str | None = None
    sizes: tuple[int, ...] = (256, 512, 1024)  # px, of all but training
    norms: tuple[str, ...] = ("batch", "instance")  # table 1 has the config's
    upsamplings: tuple[str, ...] = ("transposed", "resize")  # likewise
    batch_size: int = 4  # of training and input
    train_size: int = 256  # px, of input as well
    data: tuple[str, ...] = ("embedded",)  # sources of input
    repeats: int = 5
    budget: float = 60.0  # s a size, for the iterations of table 1
    full: bool = False  # all iterations of table 1, whatever they take
    precision: str = "float32"
    forms: bool = False  # also ours without the forms of `cpu`
    memory: bool = True  # also the peak of each variant, in a process of its own
    compiled: bool = True  # also what a reference's compiler makes
    config: str = "style_muse.py"  # its network, objective, VGG and learning rate

    @property
    def table1(self) -> bool:
        return not (self.train or self.inference or self.gatys or self.input)

    def check(self) -> None:
        """Raises InputError for what cannot be measured."""
        if self.full and not self.table1:
            raise InputError(
                "--full is for table 1; leave out --train, --inference, --gatys and "
                "--input."
            )
        if self.reference not in (None, *works.REFERENCES):
            known = ", ".join(works.REFERENCES)
            raise InputError(f"--reference {self.reference}: unknown; use {known}.")
        precision.check(self.precision)
        if not 0 < self.budget <= _DAY:  # or NaN
            raise InputError(
                f"--budget {self.budget:g}; use seconds above 0, up to {_DAY} (a day)."
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
    """Measures, prints a table, and writes it with all raw times into `output`.

    That is table1.md and table1.json, or benchmark.md and benchmark.json. Returns 1 if
    two variants disagree; those are not timed. Raises InputError for options that
    cannot be, PyTorch not installed, or an `output` that takes no files.
    """
    options.check()
    if output is not None:
        output = runs.make_folder(Path(output), "-o")
    if options.reference:
        works.torch_reference().torch.set_num_threads(machine.num_cores())
    config = _load_config(options)
    _check_config(options, config)
    goal = functools.cache(lambda: goals.load_goal(config))
    if options.table1 or options.gatys:
        goal()  # says which style image it is
    report = {"header": timing.header(command)}
    if report["header"]["load"] > machine.num_cores() / 2:
        print(
            f"benchmark: note: load {report['header']['load']}: others are using this "
            "machine. OpenMP's threads (PyTorch) then stall for up to a second in "
            "waiting for each other, and ratios mean little; wait, or set "
            "OMP_WAIT_POLICY=passive.",
            file=sys.stderr,
        )
    text = [timing.head_markdown(report["header"])]
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


def _load_config(options: Options) -> ConfigDict:
    config = configs.load_config(options.config)
    config.precision = options.precision
    return config


def _check_config(options: Options, config: ConfigDict) -> None:
    """Raises InputError for work that the config does not know."""
    if "norm" not in config.net and (options.train or options.inference):
        raise InputError(
            f"--config {options.config}: {config.net.name} has no norm to choose; use "
            "a config of another network."
        )
    if "style_image" not in config and (options.table1 or options.gatys):
        raise InputError(
            f"--config {options.config}: table 1 and --gatys are of style transfer; "
            "give a style config, or --train or --inference."
        )
    if options.reference and config.get("degradation", {}).get("name") == "noise":
        raise InputError(
            f"--config {options.config}: its noise is drawn anew at each step, so that "
            "PyTorch would do other work; leave out --reference."
        )
    factor = config.net.get("factor", 1)
    for name, size in (
        *(("--sizes", size) for size in options.sizes if options.inference),
        *([("--train-size", options.train_size)] if options.train else []),
    ):
        if size % factor:
            raise InputError(f"{name} {size}; use a multiple of the factor {factor}.")


def pieces(
    options: Options, config: ConfigDict, goal: Callable[[], goals.Goal]
) -> Iterator[Callable[[works.Variants], Work]]:
    """What makes each piece of work that the options ask for.

    `goal` is called for the pieces that need it, when they are reached.
    """
    for norm, upsample in itertools.product(options.norms, options.upsamplings):
        net = config.net.to_dict() | dict(norm=norm, upsample=upsample)
        if options.train:
            yield functools.partial(
                works.train_step,
                net=net,
                config=config,
                batch_size=options.batch_size,
                size=options.train_size,
            )
        for size in options.sizes if options.inference else ():
            yield functools.partial(works.apply, task=config.task, net=net, size=size)
    for size in options.sizes if options.gatys else ():
        yield functools.partial(works.baseline, goal=goal(), config=config, size=size)


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
    for index, make in enumerate(pieces(options, config, goal)):
        work = make(_variants(options))
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
    yield "\n" + feeding.HEAD
    report["input"] = []
    keeps = config.data.crop == "stretch"  # a copy of each photo, that is
    for source, cached in itertools.product(options.data, (False, True)):
        if cached and (not keeps or source == EMBEDDED):
            continue
        row = feeding.measure(
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
        yield feeding.row_markdown(row, report["eaten"])


def memory(options: Options, index: int, name: str) -> dict[str, int]:
    """Peaks of a variant of piece `index`, in a process of its own, as columns in MiB.

    `memory_mib` is what it takes beyond what the process had taken before, with all
    modules in. `process_mib`, on a CPU, is that and the modules: of ours all that this
    command imports, of a reference its library alone.
    """
    spawned = multiprocessing.get_context("spawn")
    with futures.ProcessPoolExecutor(1, mp_context=spawned) as pool:
        found = pool.submit(_memory_here, options, index, name).result()
    return {k: v // 1024**2 for k, v in found.items() if v is not None}


def _memory_here(options: Options, index: int, name: str) -> dict[str, int | None]:
    compilation.give_memory_back_after_compiling()  # as every command does
    config = _load_config(options)
    references = works.REFERENCES.get(options.reference, {})
    if name in references:
        works.torch_reference().torch.set_num_threads(machine.num_cores())
    device = jax.device_put(0.0).block_until_ready().device

    def peak() -> int:
        """Bytes of the device's memory that this process has taken; a CPU's is RAM."""
        if device.platform == "cpu":
            return machine.peak_memory()
        if name in references:
            return works.torch_reference().torch.cuda.max_memory_allocated()
        return device.memory_stats()["peak_bytes_in_use"]

    before = peak()
    goal = functools.partial(goals.load_goal, config)
    with contextlib.redirect_stdout(io.StringIO()):  # it has been said
        make = next(itertools.islice(pieces(options, config, goal), index, None))
    if name in references:  # without what JAX takes to draw weights and load the goal
        make(_variants(options)._replace(only=""))
        machine.forget_peak_memory()
        before = peak()
    work = make(_variants(options)._replace(only=name))
    for _ in range(2):
        work.variants[0].call(work.count)
    own, process = peak() - before, None
    if device.platform == "cpu":
        process = peak()
        if name in references:  # here JAX is in beside it
            imported = machine.memory_of_importing(options.reference)
            process = None if imported is None else own + imported
    return {"memory_mib": own, "process_mib": process}


def _table1(options, config, goal, report: dict[str, Any]) -> Iterator[str]:
    """Measures table 1 into `report`; yields its lines."""
    net = config.net.to_dict()
    report |= {"net": net, "budget_s": options.budget, "results": []}
    yield (
        f"Network: {net['norm']} norm, {net['upsample']}, width {net['width']:g}; "
        f"baseline: L-BFGS with {gatys.HISTORY_SIZE} pairs, no line search; one image, "
        f"{options.config}.\n"
    )
    yield table1.HEAD
    for size in options.sizes:
        network = timing.measure(
            works.apply(_variants(options), config.task, net, size), options.repeats
        )
        baseline = table1.measure_iterations(
            works.baseline(_variants(options), goal(), config, size),
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


def _variants(options: Options) -> works.Variants:
    return works.Variants(
        options.reference,
        options.forms,
        options.compiled,
        precision=options.precision,
    )
