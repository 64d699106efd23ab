"""Variants of the same work: first whether they agree, then how long each takes.

They are warm and take turns (A B A B ...), so that whatever else the machine does meets
all of them alike. Which work there is: `pieces`.
"""

import math
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxperceptual.core import precision

# What must agree, by kind (a key of `TOLERANCES`), then by name.
Numbers = Mapping[str, Mapping[str, np.ndarray | np.floating]]

# Relative errors up to which two variants count as doing the same. The gradients of two
# right float32 formulations differ by 5e-3 at times: a ReLU or a maximum decides
# otherwise where its inputs nearly tie. Adam makes full steps of such differences.
TOLERANCES = {"output": 1e-3, "terms": 1e-3, "gradient": 2e-2, "next terms": 1e-2}
# By precision: TF32 has 10 bits of 23, and who rounds what to it differs between
# frameworks; bfloat16 has 8, and which numbers are kept in it does too.
TOLERANCES_OF = {
    "float32": TOLERANCES,
    "tf32": {"output": 1e-2, "terms": 1e-2, "gradient": 0.15, "next terms": 5e-2},
    "bfloat16": {"output": 3e-2, "terms": 3e-2, "gradient": 0.3, "next terms": 0.1},
}

ROWS_HEAD = (
    "| work | network | variant | median ms | min-max | GFLOP/s | of peak "
    "| memory MiB | process MiB | first call s | relative error "
    "| best reference / ours |\n"
    "|---|---|---|--:|--:|--:|--:|--:|--:|--:|---|---|"
)

# OpenMP's threads keep spinning for some 10 ms after their work is done, on cores that
# the next variant wants.
_PAUSE = 0.05  # s
# What is over sooner is done again and again: the first call after another variant's
# meets that one's data in the caches and threads that sleep.
_TURN = 0.4  # s
_MOST_CALLS = 100


class Unavailable(Exception):
    """A variant cannot run here; the message, one line, says why."""


class Variant(NamedTuple):
    """One way to do a piece of work, with its weights and inputs."""

    name: str
    call: Callable[[int], Any]  # does the work so many times, and waits for it
    numbers: Callable[[Any], Numbers]  # of what `call` returned


class Work(NamedTuple):
    """A piece of work and the ways to do it. The first is ours; all must equal it."""

    facts: dict[str, Any]  # work, batch_size, size, norm, upsample, ...
    variants: list[Variant]
    references: tuple[str, ...] = ()  # the variants that ours is to be compared with
    count: int = 1  # how often a timed call does it; times are those of once
    next_agrees: bool = True  # whether a second call's numbers must agree as well
    tolerances: Mapping[str, float] = TOLERANCES


def measure(work: Work, repeats: int) -> dict[str, Any]:
    """What `compare` finds, times in ms per variant, and `ratio`: best reference/ours.

    The ratio is of medians. Nothing is timed where variants disagree. A turn lasts for
    `_TURN` or longer, of ours: as many calls of each variant.
    """
    row = compare(work)
    if row["disagreement"]:
        return row
    calls = math.ceil(_TURN / seconds(work.variants[0], work.count))
    calls = min(max(calls, 1), _MOST_CALLS)
    row["calls"] = calls * work.count
    times: dict[str, list[float]] = {}
    for _ in range(repeats):
        for variant in available(work, row):
            elapsed = 1000 * seconds(variant, work.count, calls) / row["calls"]
            times.setdefault(variant.name, []).append(elapsed)
    medians = {name: statistics.median(values) for name, values in times.items()}
    for name, values in times.items():
        row["variants"][name] |= {"median_ms": medians[name], "times_ms": values}
    if references := [name for name in work.references if name in times]:
        best = min(references, key=medians.__getitem__)
        ours = work.variants[0].name
        row |= {"best_reference": best, "ratio": medians[best] / medians[ours]}
    return row


def compare(work: Work) -> dict[str, Any]:
    """The facts, what each variant's first call took, and whether all agree with ours.

    If a variant's numbers differ from ours, `disagreement` says where and by how much.
    `first_call_s` includes compiling; afterwards all variants are warm.
    """
    ours = work.variants[0].name
    found: dict[str, dict[str, Any]] = {}
    numbers: dict[str, Numbers] = {}
    for variant in work.variants:
        start = time.perf_counter()
        try:
            result = variant.call(1)
        except Unavailable as error:
            found[variant.name] = {"unavailable": str(error)}
            continue
        found[variant.name] = {"first_call_s": time.perf_counter() - start}
        numbers[variant.name] = variant.numbers(result)
        result = variant.call(work.count)  # after an update, where there is one
        if work.next_agrees:
            second = variant.numbers(result).items()
            numbers[variant.name] |= {f"next {k}": v for k, v in second}
    disagreement = []
    for name in [name for name in numbers if name != ours]:
        errors = relative_errors(numbers[ours], numbers[name])
        found[name]["errors"] = errors
        disagreement += [
            f"{kind} of {name} and {ours} differ by {error:.1e}, allowed {limit:.0e}"
            for kind, error in errors.items()
            if not error <= (limit := work.tolerances[kind])  # or NaN
        ]
    return work.facts | {"variants": found, "disagreement": "; ".join(disagreement)}


def available(work: Work, row: Mapping[str, Any]) -> list[Variant]:
    """The variants that `compare`, whose result `row` is, could run."""
    return [v for v in work.variants if "first_call_s" in row["variants"][v.name]]


def seconds(variant: Variant, count: int, calls: int = 1) -> float:
    """What `calls` of `count` times the work take, once the machine is at rest."""
    time.sleep(_PAUSE)
    start = time.perf_counter()
    for _ in range(calls):
        variant.call(count)
    return time.perf_counter() - start


def peak_rate(name: str) -> float:
    """Operations a second of the best of several large products in that precision."""
    side = 2048 if jax.default_backend() == "cpu" else 8192
    x = jax.random.normal(jax.random.key(0), (side, side), precision.dtype(name))
    with precision.products(name):
        product = jax.jit(jnp.matmul).lower(x, x).compile()
    jax.block_until_ready(product(x, x))
    times = []
    for _ in range(10):
        start = time.perf_counter()
        jax.block_until_ready(product(x, x))
        times.append(time.perf_counter() - start)
    return 2 * side**3 / min(times)


def relative_errors(ours: Numbers, theirs: Numbers) -> dict[str, float]:
    """By kind, the largest `|theirs - ours| / |ours|` (norms) among its arrays."""

    def error(ours, theirs):
        if ours.keys() != theirs.keys():
            raise ValueError(f"on one side only: {set(ours) ^ set(theirs)}")
        norm = np.linalg.norm
        errors = [norm(theirs[k] - ours[k]) / (norm(ours[k]) or 1) for k in ours]
        return math.nan if np.isnan(errors).any() else float(max(errors))

    return {k: error(ours[k], theirs[k]) for k in ours if k in TOLERANCES}


def row_markdown(row: Mapping[str, Any], peak: float | None = None) -> str:
    """One piece of work as lines below `ROWS_HEAD`, a variant a line.

    peak: `peak_rate`, of which a variant's rate is a share.
    """
    size = row["size"]
    lines = []
    for i, (name, found) in enumerate(row["variants"].items()):
        work = f"{row['work']}, {row['batch_size']} x {size} x {size}"
        net = "none: pixels"
        if "norm" in row:
            size_of_net = f"x{row['factor']}" if "factor" in row else None
            size_of_net = size_of_net or f"width {row['width']:g}"
            net = f"{row['norm']}, {row['upsample']}, {size_of_net}"
        cells = [work, net, name] if i == 0 else ["", "", name]
        if "times_ms" in found:
            low, high = min(found["times_ms"]), max(found["times_ms"])
            cells += [_ms(found["median_ms"]), f"{_ms(low)}-{_ms(high)}"]
        else:
            cells += [found.get("unavailable", "not timed"), ""]
        rate = None
        if "times_ms" in found and "flops" in row:
            rate = 1000 * row["flops"] / found["median_ms"]
        cells.append(f"{rate / 1e9:.0f}" if rate else "")
        cells.append(f"{rate / peak:.0%}" if rate and peak else "")
        cells += [str(found.get(name, "")) for name in ("memory_mib", "process_mib")]
        cells.append(f"{found['first_call_s']:.1f}" if "first_call_s" in found else "")
        errors = found.get("errors", {}).items()
        cells.append(", ".join(f"{kind} {error:.0e}" for kind, error in errors))
        if i == 0 and row["disagreement"]:
            cells.append(f"none: {row['disagreement']}")
        elif i == 0 and "ratio" in row:
            cells.append(f"**{row['ratio']:.2f}** ({row['best_reference']})")
        else:
            cells.append("")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _ms(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}"
