"""What an evaluation leaves: tables as Markdown and JSON, and strips of pictures."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxperceptual.core import files
from jaxperceptual.core.errors import InputError
from jaxperceptual.core.types import Image
from jaxperceptual.evaluation import super_resolution
from jaxperceptual.images import sheets

DETAIL = 48  # px, side of the detail in a strip
STRIP = 288  # px, long side of a picture in a strip


def means(
    found: Sequence[super_resolution.Photo],
) -> dict[str, dict[str, dict[str, float]]]:
    """By data set, method and score."""
    by_set: dict[str, list[super_resolution.Photo]] = {}
    for photo in found:
        by_set.setdefault(photo.dataset, []).append(photo)
    return {
        dataset: {
            method: {
                score: float(np.mean([p.scores[method][score] for p in group]))
                for score in super_resolution.SCORES
            }
            for method in group[0].scores
        }
        for dataset, group in by_set.items()
    }


def markdown(
    task: super_resolution.Task, found: Sequence[super_resolution.Photo]
) -> str:
    """The tables, one a data set: an image a row, its mean last."""
    methods = [super_resolution.BICUBIC, *task.restorers]
    lines = [
        f"x{task.factor}, ground truth blurred with sigma {task.blur:g} px, then "
        "antialiased bicubic, 8 bits. In a cell: PSNR (dB) / SSIM on Y, "
        f"{task.factor} px of border left out / LPIPS (AlexNet) / LPIPS (VGG), lower "
        "is better.",
        *_finishes(task),
    ]
    for dataset, mean in means(found).items():
        lines += [
            "",
            f"**{dataset}**",
            "",
            "| | " + " | ".join(map(_escaped, methods)) + " |",
        ]
        lines += ["|---" * (len(methods) + 1) + "|"]
        rows = [(p.name, p.scores) for p in found if p.dataset == dataset]
        for name, scores in [*rows, ("**mean**", mean)]:
            cells = " | ".join(_cell(scores[method]) for method in methods)
            lines.append(f"| {_escaped(name)} | {cells} |")
    return "\n".join(lines) + "\n"


def _escaped(name: str) -> str:
    return name.replace("|", r"\|")


def record(
    task: super_resolution.Task,
    found: Sequence[super_resolution.Photo],
    facts: Mapping[str, Any],
) -> str:
    """All of it as JSON; `facts` (device, date, command, ...) come first."""
    return (
        json.dumps(
            {
                **facts,
                **_settings(task),
                "mean": means(found),
                "images": [
                    {"dataset": p.dataset, "name": p.name, "scores": p.scores}
                    for p in found
                ],
            },
            indent=2,
        ).replace(": Infinity", ": null")  # PSNR of equal images; JSON lacks it
        + "\n"
    )


def strip(photo: super_resolution.Photo) -> np.ndarray:
    """Ground truth and every method side by side [h w 3], above a detail of each."""
    whole = {"ground truth": photo.truth, **photo.outputs}
    box = _busiest(photo.truth)
    tops, bottoms = [], []
    for name, image in whole.items():
        text = f"{name}: PSNR / LPIPS"
        if name in photo.scores:
            scores = photo.scores[name]
            text = f"{name} {scores['psnr']:.2f} / {scores['lpips_alex']:.3f}"
        top = sheets.resized(image, STRIP) if max(image.shape) > STRIP else image
        detail = image[box]
        times = max(1, top.shape[1] // detail.shape[1])
        detail = detail.repeat(times, axis=0).repeat(times, axis=1)
        tops.append(top)
        bottoms.append(sheets.labelled(detail, text))
    return sheets.grid([*tops, *bottoms], columns=len(whole))


def write(
    folder: Path,
    task: super_resolution.Task,
    found: Sequence[super_resolution.Photo],
    facts,
) -> None:
    """results.json and results.md in `folder`, each whole."""
    files.write_text(folder / "results.json", record(task, found, facts))
    files.write_text(folder / "results.md", markdown(task, found))


def read(path: Path, task: super_resolution.Task) -> list[super_resolution.Photo]:
    """The photos, without pixels, of a results.json; none where there is no such file.

    Raises InputError for results of another task, or a file that is damaged.
    """
    if not path.exists():
        return []
    with files.reading(path):
        was = json.loads(path.read_text())
        if any(was[key] != value for key, value in _settings(task).items()):
            raise InputError(
                f"{path}: of other models or settings; choose another folder with -o."
            )
        return [
            super_resolution.Photo(
                dataset=image["dataset"],
                name=image["name"],
                truth=np.zeros((0, 0, 3), np.float32),
                outputs={},
                scores={
                    method: {
                        score: math.inf if value is None else float(value)
                        for score, value in scores.items()
                    }
                    for method, scores in image["scores"].items()
                },
            )
            for image in was["images"]
        ]


def _settings(task: super_resolution.Task) -> dict[str, Any]:
    """What was judged, as JSON has it."""
    told = {
        "factor": task.factor,
        "blur": task.blur,
        "models": {
            name: {
                "histogram_match": restorer.histogram_match,
                "consistency": restorer.consistency,
                "steps": restorer.model.trained.steps,
                "training": dict(restorer.model.trained.config) or None,
            }
            for name, restorer in task.restorers.items()
        },
    }
    return json.loads(json.dumps(told))


def _finishes(task: super_resolution.Task) -> list[str]:
    """What followed each network, in a paragraph of its own; nothing without one."""
    told = []
    for name, restorer in task.restorers.items():
        steps = ["histogram matching"] if restorer.histogram_match else []
        if restorer.consistency:
            steps.append(f"consistency {restorer.consistency}")
        told.append(f"`{name}`: {', '.join(steps) or 'nothing'}")
    return ["", f"After the network, {'; '.join(told)}."] if told else []


def _cell(scores: Mapping[str, float]) -> str:
    psnr, ssim, *distances = (scores[name] for name in super_resolution.SCORES)
    return " / ".join([f"{psnr:.2f}", f"{ssim:.4f}", *(f"{d:.3f}" for d in distances)])


def _busiest(image: Image) -> tuple[slice, slice]:
    """The square of `DETAIL` px in which neighbours differ most."""
    grey = image.mean(axis=-1)
    size = min(DETAIL, *grey.shape)
    edges = np.pad(
        np.abs(np.diff(grey, axis=0))[:, 1:] + np.abs(np.diff(grey, axis=1))[1:],
        ((1, 0), (1, 0)),
    )
    sums = np.pad(edges.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    inside = (
        sums[size:, size:]
        - sums[:-size, size:]
        - sums[size:, :-size]
        + sums[:-size, :-size]
    )
    top, left = np.unravel_index(inside.argmax(), inside.shape)
    return slice(top, top + size), slice(left, left + size)
