"""Peak memory of a variant of a piece of work, in a process of its own."""

import functools
import importlib
import itertools
import multiprocessing
from concurrent import futures

import jax

from jaxperceptual.benchmarks import plan, timing, variants
from jaxperceptual.benchmarks.options import Options
from jaxperceptual.core.memory import (
    forget_peak_memory,
    give_memory_back_after_compiling,
    keep_freed_memory,
    memory_of_importing,
    peak_memory,
)


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
    keep_freed_memory()  # as every command does
    give_memory_back_after_compiling()
    config = plan.read_config(options)
    theirs = variants.reference_of(name, options.reference)
    if theirs == "torch":
        from jaxperceptual.benchmarks.torch import tensors  # an extra

        tensors.use_all_cores()
    elif theirs:
        from jaxperceptual.benchmarks import runtimes  # noqa: F401, with an extra

        importlib.import_module(theirs)
    device = jax.device_put(0.0).block_until_ready().device

    def peak() -> int:
        """Bytes of the device's memory that this process has taken; a CPU's is RAM."""
        if device.platform == "cpu":
            return peak_memory()
        if theirs:
            return tensors.peak_memory()
        return device.memory_stats()["peak_bytes_in_use"]

    def work(only: str) -> timing.Work:
        chosen = plan.variants_of(options)._replace(only=only)
        return variants.work(chosen, make())

    before = peak()
    goal = functools.partial(plan.read_goal, config)
    make = next(itertools.islice(plan.pieces_of(options, config, goal), index, None))
    if theirs:  # without what JAX takes to draw weights and load the goal
        work(only="")
        forget_peak_memory()
        before = peak()
    piece = work(only=name)
    for _ in range(2):
        piece.variants[0].call(piece.count)
    own, process = peak() - before, None
    if device.platform == "cpu":
        process = peak()
        if theirs:  # here JAX is in beside it
            imported = memory_of_importing(theirs)
            process = None if imported is None else own + imported
    return {"memory_mib": own, "process_mib": process}
