"""Figure 5: how many iterations of the baseline a trained network's one pass is worth.

The same objective of three images: the network's output, the content image itself, and
what the baseline has after each iteration.
"""

import importlib.util
import json
import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from jaxperceptual.baseline import run as baseline
from jaxperceptual.baseline.folder import Results
from jaxperceptual.core import files, folders, provenance
from jaxperceptual.core.errors import InputError
from jaxperceptual.core.types import Image
from jaxperceptual.figures import comparable
from jaxperceptual.inference.stylizer import Stylizer
from jaxperceptual.losses.goal import Goal
from jaxperceptual.networks import pretrained
from jaxperceptual.networks.model_file import read_model

if TYPE_CHECKING:
    import matplotlib.figure  # an extra


class Network:
    """A trained network whose objective may be compared with the baseline's.

    name: a run folder, a model file, or the name of a shipped model.

    Raises InputError if there is no such model, if it was trained to minimise another
    objective, or if matplotlib is not there to draw the figure.
    """

    def __init__(self, name: str, goal: Goal):
        if importlib.util.find_spec("matplotlib") is None:
            raise InputError(
                "--model draws figure 5, which needs matplotlib; install it: "
                "pip install 'jaxperceptual[figures]'."
            )
        model = read_model(name)
        comparable.check_comparable(model, goal, name)
        self.record = {
            "name": Path(name).resolve().name if Path(name).exists() else name,
            "sha256": files.sha256(pretrained.find_model(name)),
            "steps": model.trained.steps,
        }
        self.stylize = Stylizer(model, grain=False)
        self._goal = goal
        self._objective = jax.jit(goal.objective)

    def objective_of(self, image: Image, content: Image) -> float:
        """Of `image` [h w 3] in [0, 255], neither clipped nor rounded."""
        with self._goal.products():
            value, _ = self._objective(self._goal.frozen, image[None], content[None])
        return float(value)


def compare(
    network: Network,
    contents: Mapping[str, Image],
    curves: Mapping[str, Sequence[tuple[int, float]]],
    steps: int,
) -> dict[str, Any]:
    """What figure5.json holds, but for where and with what it was measured.

    Args:
      network: Whose outputs are judged.
      contents: Content images [size size 3] in [0, 255], by name.
      curves: By the same names, `(evaluations, objective)` after each iteration from
        0, the noise. One that ended before `steps`, since no step made it smaller,
        stays at its last value.
      steps: The last iteration.
    """
    images: dict[str, dict[str, Any]] = {}
    objectives = np.empty((len(contents), steps + 1))
    for i, (name, content) in enumerate(contents.items()):
        evaluations, values = zip(*curves[name], strict=True)
        objectives[i, : len(values)] = values
        objectives[i, len(values) :] = values[-1]
        reached = network.objective_of(network.stylize(content), content)
        equal = first_at_most(values, reached)
        images[name] = {
            "content": network.objective_of(content, content),
            "network": reached,
            "equal_to_iterations": equal,
            "equal_to_evaluations": None if equal is None else evaluations[equal],
        }

    def spread(key):
        values = [image[key] for image in images.values()]
        return {"mean": statistics.fmean(values), "std": statistics.pstdev(values)}

    return {
        "network": network.record,
        "num_images": len(images),
        "steps": steps,
        "std": "over the images, divided by their number",
        "objective": {
            "content": spread("content"),
            "network": spread("network"),
            "baseline": {
                "mean": objectives.mean(axis=0).tolist(),
                "std": objectives.std(axis=0).tolist(),
            },
        },
        "equal_to_iterations": _spread_of_counts(
            [image["equal_to_iterations"] for image in images.values()]
        ),
        "images": images,
    }


def figure5(
    network: Network, work: baseline.Work, results: Results, command: str
) -> dict[str, Any]:
    """Writes figure5.json and figure5.png beside what `baseline.run` left there.

    Returns what figure5.json holds. Raises InputError if another process is in there.
    """
    with folders.held(results.folder, "-o", "gatys_baseline"):
        return _figure5(network, work, results, command)


def _figure5(network, work, results, command):
    options = results.options
    with work.enough_memory():
        found = compare(
            network,
            {photo.name: photo.pixels.astype(np.float32) for photo in work.photos},
            {photo.name: results.curve(photo.name) for photo in work.photos},
            options.steps,
        )
    records = [results.record["photos"][photo.name] for photo in work.photos]
    devices = ", ".join(sorted({record["device"] for record in records}))
    note = (
        f"{len(records)} images of {options.size} x {options.size} px; style "
        f"{results.record['goal']['style']['name']}; network {network.record['name']}, "
        f"{network.record['steps']} steps\nbaseline from white noise: line search "
        f"{options.linesearch}, projection {options.projection}; on {devices}"
    )
    found = {"header": provenance.header(command), "note": note, **found}
    write(results.folder, found, note)
    return found


def first_at_most(values: Sequence[float], bound: float) -> int | None:
    """The first index whose value is `bound` or less; None if there is none."""
    return next((i for i, value in enumerate(values) if value <= bound), None)


def summary(found: Mapping[str, Any]) -> str:
    """The comparison in one line."""
    counts, steps = found["equal_to_iterations"], found["steps"]
    median, low, high = (
        f"more than {steps}" if counts[key] is None else f"{counts[key]:g}"
        for key in ("median", "min", "max")
    )
    return (
        f"the network's objective equals that of {median} iterations of the baseline "
        f"(median of {found['num_images']} images; {low} to {high}; "
        f"{counts['not_reached']} not reached in {steps})"
    )


def write(folder: Path, found: Mapping[str, Any], note: str) -> None:
    """figure5.json and figure5.png in `folder`; `note` is the small print."""
    files.write_text(folder / "figure5.json", json.dumps(found, indent=2) + "\n")
    with files.replacing(folder / "figure5.png") as file:
        draw(found, note).savefig(file, format="png", dpi=150)


def draw(found: Mapping[str, Any], note: str) -> "matplotlib.figure.Figure":
    """The paper's figure 5, for one size: the objective over the iterations."""
    # No pyplot: it has a state of its own, and looks for a screen.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4.5), layout="constrained")
    axes = figure.add_subplot()
    objective, steps = found["objective"], found["steps"]
    baseline, iterations = objective["baseline"], np.arange(steps + 1)
    mean, std = np.array(baseline["mean"]), np.array(baseline["std"])

    def level(key, name, **style):
        value = objective[key]
        label = f"{name}: {value['mean']:.3g} ± {value['std']:.2g}"
        axes.axhline(value["mean"], label=label, **style)

    level("content", "content image", color="tab:red", linestyle="--")
    axes.plot(iterations, mean, color="tab:blue", label="baseline: mean ± std")
    # A logarithmic axis has no place for what is 0 or less.
    lowest = np.maximum(mean - std, 0.01 * mean)
    axes.fill_between(
        iterations, lowest, mean + std, color="tab:blue", alpha=0.2, linewidth=0
    )
    level("network", "network", color="tab:green")
    axes.set(
        yscale="log",
        xlim=(0, steps),
        xlabel="iteration of the baseline",
        ylabel="objective",
    )
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, fontsize="small")
    figure.supxlabel(note, fontsize=6, color="0.4")
    return figure


def _spread_of_counts(counts: Sequence[int | None]) -> dict[str, Any]:
    """Those that were not reached count as more than any; None where that decides."""
    finite = [math.inf if count is None else count for count in counts]

    def known(value):
        return None if math.isinf(value) else value

    return {
        "median": known(statistics.median(finite)),
        "min": known(min(finite)),
        "max": known(max(finite)),
        "not_reached": sum(count is None for count in counts),
    }
