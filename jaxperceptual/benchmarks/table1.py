"""Table 1 of the paper: seconds of the baseline and of the network, and the speed-up.

An iteration of the baseline takes as long as the one before it. So where 500 of them
are too slow to wait for, a stretch of n and one of 2 n are timed, again and again: what
an iteration takes in both shows whether that holds, and more iterations take so much
more. What was extrapolated like this bears a `~`.
"""

import itertools
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from jaxperceptual.benchmarks import timing

MARKS = (100, 300, 500)  # iterations
STRETCHES = (100, 200, 200)  # ends at the marks; the second twice as long as the first
# On a Titan X, by size in px: seconds at the marks, of the network, speed-ups.
PAPER = {
    256: ((3.17, 9.52, 15.86), 0.015, (212, 636, 1060)),
    512: ((10.97, 32.91, 54.85), 0.05, (205, 615, 1026)),
    1024: ((42.89, 128.66, 214.44), 0.21, (208, 625, 1042)),
}
LINEAR = 0.05  # deviation up to which an iteration counts as taking the same in both

HEAD = (
    "| size px | variant | 100 iterations s | 300 s | 500 s | network s "
    "| speed-up at 100 / 300 / 500 | linear | first calls s |\n"
    "|---|---|--:|--:|--:|--:|--:|--:|--:|"
)
_COLUMNS = HEAD.splitlines()[0].count("|") - 1


def measure_iterations(
    work: timing.Work, *, repeats: int, budget: float, full: bool
) -> dict[str, Any]:
    """Times stretches of the baseline's iterations; variants take turns.

    budget: seconds for all of it, which decides how long the stretches are; `full` and
        they are `STRETCHES` anyway. Three iterations a repeat are the least.

    What `timing.compare` finds, with `stretches` (iterations of each), `references`
    (names) and by variant `seconds`, a row a repeat. Nothing is timed where variants
    disagree.
    """
    row = timing.compare(work)
    if row["disagreement"]:
        return row
    variants = timing.available(work, row)
    once_s = sum(timing.seconds(variant, 1) for variant in variants)
    stretches = STRETCHES
    if not full:
        stretches = choose_stretches(budget / repeats / once_s, work.count)
    for variant in variants:
        row["variants"][variant.name]["seconds"] = [[] for _ in range(repeats)]
    for repeat in range(repeats):
        for count in stretches:
            for variant in variants:
                elapsed = timing.seconds(variant, count)
                row["variants"][variant.name]["seconds"][repeat].append(elapsed)
    return row | {"stretches": stretches, "references": work.references}


def choose_stretches(iterations: float, dispatch: int) -> tuple[int, ...]:
    """`STRETCHES` if so many iterations a repeat can be paid for, or n and 2 n.

    Where it can be, n is a multiple of `dispatch`, the iterations of a whole dispatch.
    """
    if iterations >= sum(STRETCHES):
        return STRETCHES
    n = max(1, min(int(iterations / 3), STRETCHES[0]))
    if n > dispatch:
        n -= n % dispatch
    return n, 2 * n


def entry(baseline: Mapping[str, Any], network: Mapping[str, Any]) -> dict[str, Any]:
    """One size of the table, from `measure_iterations` and `timing.measure`.

    `table` has by variant: `iterations` (by mark: seconds as median, min and max, and
    whether measured), `network` (the same), `speedup` by mark, and `linearity`: what an
    iteration takes in the second stretch over that in the first. `ratio`, where there
    are references, is the fastest one's median over ours, by mark and of the network.
    Where variants disagree there are neither.
    """
    made = {"size": baseline["size"], "baseline": baseline, "network": network}
    if baseline["disagreement"] or network["disagreement"]:
        return made
    table = {}
    for name, found in baseline["variants"].items():
        times = network["variants"][name].get("times_ms")
        if times and "seconds" in found:
            table[name] = _summary(baseline["stretches"], found["seconds"], times)
    made["table"] = table
    ours, *_ = table.values()
    if theirs := [table[name] for name in baseline["references"] if name in table]:

        def ratio(of):
            return min(of(row)["median"] for row in theirs) / of(ours)["median"]

        by_mark = {n: ratio(lambda row, n=n: row["iterations"][n]) for n in MARKS}
        made["ratio"] = by_mark | {"network": ratio(lambda row: row["network"])}
    return made


def entry_markdown(entry: Mapping[str, Any]) -> str:
    """The lines of one size below `HEAD`, a variant a line."""
    size, baseline, network = entry["size"], entry["baseline"], entry["network"]
    if "table" not in entry:
        found = (row["disagreement"] for row in (network, baseline))
        return _line(size, f"none: {'; '.join(filter(None, found))}")
    lines = []
    for name, found in baseline["variants"].items():
        if row := entry["table"].get(name):
            first = (r["variants"][name]["first_call_s"] for r in (baseline, network))
            lines.append(_line(size, name, *_cells(row), " + ".join(map(_s, first))))
        else:
            why = found.get("unavailable") or network["variants"][name]["unavailable"]
            lines.append(_line(size, name, why))
    if ratio := entry.get("ratio"):
        numbers = (f"**{value:.2f}**" for value in ratio.values())
        lines.append(_line(size, "fastest reference / jax", *numbers))
    return "\n".join(lines)


def paper_markdown() -> str:
    """The paper's own table, as lines below those of `entry_markdown`."""
    lines = [_line("", "*the paper's, on a Titan X; not measured here*")]
    for size, (baseline, network, speedups) in PAPER.items():
        lines.append(
            _line(
                size,
                "*paper*",
                *(f"*{seconds}*" for seconds in (*baseline, network)),
                " / ".join(f"*{speedup}x*" for speedup in speedups),
            )
        )
    return "\n".join(lines)


def notes_markdown(entries: Sequence[Mapping[str, Any]], repeats: int) -> str:
    """What the table's columns and marks mean, and how much was measured."""
    done = [entry for entry in entries if "table" in entry]
    notes = [
        f"Medians and min-max of repeats ({repeats}), warm. An iteration is one "
        "forward and one backward pass and the update of the pixels. First calls "
        "(baseline + network) include compiling and are in no other column.",
    ]
    for entry in done:
        stretches = entry["baseline"]["stretches"]
        notes.append(
            f"{entry['size']} px: each repeat timed "
            f"{' + '.join(map(str, stretches))} iterations."
        )
    cells = [
        cell
        for entry in done
        for row in entry["table"].values()
        for cell in row["iterations"].values()
    ]
    if not all(cell["measured"] for cell in cells):
        notes.append(
            "`~`: extrapolated, the time of an iteration times their number; --full "
            "measures all 500."
        )
    notes.append(
        "Linear: what an iteration takes in the second stretch (twice as long) over "
        f"that in the first; **no** where it is off by more than {LINEAR:.0%}, and "
        "extrapolation is in doubt."
    )
    return "\n".join(f"- {note}" for note in notes)


def _summary(
    stretches: Sequence[int],
    rounds: Sequence[Sequence[float]],
    network_ms: Sequence[float],
) -> dict[str, Any]:
    iterations = {n: _seconds_of(n, stretches, rounds) for n in MARKS}
    network = _cell([ms / 1000 for ms in network_ms], measured=True)
    first, second, *_ = stretches
    return {
        "iterations": iterations,
        "network": network,
        "speedup": {n: iterations[n]["median"] / network["median"] for n in MARKS},
        "linearity": statistics.median(
            (b / second) / (a / first) for a, b, *_ in rounds
        ),
    }


def _seconds_of(
    count: int, stretches: Sequence[int], rounds: Sequence[Sequence[float]]
) -> dict[str, Any]:
    """What `count` iterations take: measured if some first stretches are so many."""
    ends = list(itertools.accumulate(stretches))
    if count in ends:
        used = ends.index(count) + 1
        return _cell([sum(seconds[:used]) for seconds in rounds], measured=True)
    scale = count / ends[-1]
    return _cell([sum(seconds) * scale for seconds in rounds], measured=False)


def _cell(seconds: Sequence[float], *, measured: bool) -> dict[str, Any]:
    return {
        "median": statistics.median(seconds),
        "min": min(seconds),
        "max": max(seconds),
        "measured": measured,
    }


def _cells(row: Mapping[str, Any]) -> list[str]:
    """All of a variant's line but its ends."""
    marks = {n: "" if c["measured"] else "~" for n, c in row["iterations"].items()}
    cells = [
        f"{'' if cell['measured'] else '~'}{_s(cell['median'])} "
        f"({_s(cell['min'])}-{_s(cell['max'])})"
        for cell in (*row["iterations"].values(), row["network"])
    ]
    cells.append(" / ".join(f"{marks[n]}{x:.0f}x" for n, x in row["speedup"].items()))
    linear = abs(row["linearity"] - 1) <= LINEAR
    return [*cells, f"{row['linearity']:.2f}" + ("" if linear else " **no**")]


def _line(*cells: Any) -> str:
    texts = [str(cell) for cell in cells]
    return f"| {' | '.join(texts + [''] * (_COLUMNS - len(texts)))} |"


def _s(seconds: float) -> str:
    """Three digits: 0.0123, 1.23, 123, 1234."""
    return f"{seconds:.0f}" if seconds >= 100 else f"{seconds:.3g}"
