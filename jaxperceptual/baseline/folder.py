"""A run's output: images/, objective.csv, baseline.json, state.npz to go on from.

What is done stays done, and what was begun goes on from where it was.
"""

import contextlib
import csv
import dataclasses
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxperceptual.baseline.options import Options
from jaxperceptual.baseline.photos import Photo
from jaxperceptual.baseline.pixels import Trace
from jaxperceptual.core import files, records
from jaxperceptual.core.errors import InputError
from jaxperceptual.core.types import Image
from jaxperceptual.images.writing import write_image


class Results:
    """The folder: what is in it, what may be added, and how.

    objective.csv holds the rows of images that are done, and only those; state.npz
    those of the batch that is not, and all that its next evaluation needs.
    """

    def __init__(self, folder: Path, options: Options, goal: dict[str, Any]):
        self.folder = folder
        self.options = options
        settings = dataclasses.asdict(options)
        del settings["batch_size"]  # belongs to each image
        self.record = {"goal": goal, "options": settings, "photos": {}}
        self._rows: dict[str, list[dict[str, str]]] = {}  # of photos that are done
        self._state = folder / "state.npz"
        self._begun: dict[str, str] = {}  # its photos: SHA-256 by name
        if (folder / "baseline.json").exists():
            old = _read_record(folder / "baseline.json")
            _check_same(old, self.record, folder)
            self.record = old
            if (folder / "objective.csv").exists():
                self._rows = _read_rows(folder / "objective.csv")
            if self._state.exists():
                with self._reading_state(), np.load(self._state) as file:
                    begun = dict(json.loads(str(file["photos"])))
                # Else killed after the images were done, and before it was deleted.
                if not begun.keys() <= self._rows.keys():
                    self._begun = begun

    def pending_batches(self, photos: list[Photo]) -> list[list[Photo]]:
        """What is not done; the batch that was begun comes first, as it was.

        Raises InputError for photos that are others than those of these names here.
        """
        begun = self._begun
        known = {name: done["sha256"] for name, done in self.record["photos"].items()}
        for photo in photos:
            if (known | begun).get(photo.name, photo.sha256) != photo.sha256:
                raise InputError(
                    f"{photo.path}: {self.folder} has results for another photo of "
                    "this name; rename it, or use another -o."
                )
        pending = {
            photo.name: photo for photo in photos if photo.name not in self._rows
        }
        names = self.options.all_image_names
        owners = {file: name for name in self._rows for file in names(name)}
        for name, photo in pending.items():
            for owner in filter(None, map(owners.get, names(name))):
                raise InputError(
                    f"{photo.path}: would replace an image of {owner} in "
                    f"{self.folder}; rename it, or use another -o."
                )
        if not pending:
            return []
        missing = [name for name in begun if name not in pending]
        if missing:
            raise InputError(
                f"{self.folder} holds {missing[0]} half done; give that photo too, or "
                "use another -o."
            )
        batches = [[pending.pop(name) for name in begun]] if begun else []
        rest, n = list(pending.values()), self.options.batch_size
        return batches + [rest[i : i + n] for i in range(0, len(rest), n)]

    def write_record(self) -> None:
        text = json.dumps(self.record, indent=2) + "\n"
        files.write_text(self.folder / "baseline.json", text)

    def image_path(self, name: str) -> Path:
        """Where the last image of `name` lies, or shall lie."""
        return self.folder / "images" / f"{name}.png"

    def write_images(self, name: str, pixels: Image, marks: Sequence[int]) -> None:
        (self.folder / "images").mkdir(exist_ok=True)
        for mark in marks:
            for path in self.options.image_names(name, mark):
                write_image(self.folder / "images" / path, pixels)

    def add(self, photo: Photo, trace: Trace, facts: dict[str, Any]) -> None:
        """An image is done: `trace` [k] is its own, a row an iteration."""
        columns = {
            "iteration": trace.iteration,
            "evaluations": trace.evaluations,
            "objective": trace.objective,
            **trace.terms,
        }
        lists = (column.tolist() for column in columns.values())
        # 9 digits are float32's, all of them.
        self._rows[photo.name] = [
            {"image": photo.name}
            | {key: f"{x:.9g}" for key, x in zip(columns, values, strict=True)}
            for values in zip(*lists, strict=True)
        ]
        self.record["photos"][photo.name] = {
            "file": photo.path.name,
            "sha256": photo.sha256,
            "iterations": int(trace.iteration[-1]),
            "evaluations": int(trace.evaluations[-1]),
            "objective": float(trace.objective[-1]),
            **facts,
        }

    def finish_batch(self) -> None:
        """Writes what was added; the CSV says that it is done, and so comes last."""
        self.write_record()
        rows = [row for rows in self._rows.values() for row in rows]
        text = io.StringIO()
        writer = csv.DictWriter(text, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        files.write_text(self.folder / "objective.csv", text.getvalue())
        self._state.unlink(missing_ok=True)

    def curve(self, name: str) -> list[tuple[int, float]]:
        """`(evaluations, objective)` of each iteration of an image that is done."""
        return [
            (int(row["evaluations"]), float(row["objective"]))
            for row in self._rows[name]
        ]

    def save(self, photos: list[Photo], tree: Any) -> None:
        """Any tree of arrays: what a batch that is not done needs to go on."""
        leaves = jax.device_get(jax.tree.leaves(tree))
        names = {photo.name: photo.sha256 for photo in photos}
        with files.replacing(self._state) as file:
            np.savez(file, *leaves, photos=json.dumps(names))

    def _reading_state(self) -> contextlib.AbstractContextManager:
        return files.reading(self._state, "delete it, and what was begun starts anew")

    def restore(self, photos: list[Photo], like: Any) -> Any:
        """What an earlier process saved of this batch, or `like`, if there is nothing.

        Raises InputError if it is not made of such arrays as `like` is.
        """
        if list(self._begun) != [photo.name for photo in photos]:
            return like
        arrays, structure = jax.tree.flatten(like)
        with self._reading_state(), np.load(self._state) as file:
            saved = [file[f"arr_{i}"] for i in range(len(file.files) - 1)]
        shapes = [[leaf.shape[1:] for leaf in leaves] for leaves in (arrays, saved)]
        if shapes[0] != shapes[1]:
            raise InputError(
                f"{self._state}: of another version of this program; delete it to "
                f"optimise {photos[0].name} anew."
            )
        # Copied where it is JAX's to donate.
        leaves = [
            jnp.array(new) if isinstance(old, jax.Array) else new
            for old, new in zip(arrays, saved, strict=True)
        ]
        return jax.tree.unflatten(structure, leaves)


def _read_record(path: Path) -> dict[str, Any]:
    with files.reading(path, "delete it or use another -o"):
        record = json.loads(path.read_text())
        if not {"goal", "options", "photos"} <= dict(record).keys():
            raise ValueError("not a baseline's")
        return record


def _read_rows(path: Path) -> dict[str, list[dict[str, str]]]:
    """Rows of objective.csv by image."""
    rows: dict[str, list[dict[str, str]]] = {}
    with files.reading(path, "delete it or use another -o"):
        for row in csv.DictReader(path.read_text(encoding="utf-8").splitlines()):
            for key in ("iteration", "evaluations"):
                int(row[key])
            float(row["objective"])
            rows.setdefault(row["image"], []).append(row)
    return rows


def _check_same(old: dict[str, Any], new: dict[str, Any], folder: Path) -> None:
    """InputError if results of `old` and `new` cannot lie in one folder."""
    was, now = (
        records.completed(records.flatten({**record["goal"], **record["options"]}))
        for record in (old, new)
    )
    if found := records.first_difference(was, now):
        raise InputError(
            f"{folder} holds a baseline with {found.key}={found.was}, now it is "
            f"{found.now}; use the same settings to continue it, or another -o."
        )
