"""What a run of the baseline reads and leaves behind: photos, and a folder of results.

What is done stays done, and what was begun goes on from where it was.
"""

import csv
import dataclasses
import hashlib
import io
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import PIL.Image
from ml_collections import ConfigDict

from jaxperceptual import configs, files, gatys, images, sources
from jaxperceptual.errors import InputError
from jaxperceptual.types import Bytes, Image

MARKS = (50, 100, 300, 500)  # iterations whose images are kept, as in the paper
MIN_SIZE, MAX_SIZE = 32, 4096  # px, of --size


@dataclasses.dataclass(frozen=True)
class Options:
    """How to optimise.

    size: side of the square, pixels.
    steps: iterations, that is accepted steps; `evaluations` may be more.
    linesearch, projection: of `gatys.ProjectedLBFGS`.
    seed: of all images' white noise, each with its name's.
    batch_size: images that are optimised together; other sizes round differently.
    """

    size: int = 256
    steps: int = 500
    linesearch: str = "none"
    projection: str = "mask"
    seed: int = 0
    batch_size: int = 1

    def check(self) -> None:
        """Raises InputError for what cannot be."""
        for name, value, low, high in (
            ("--size", self.size, MIN_SIZE, MAX_SIZE),
            ("--steps", self.steps, 1, 1_000_000),
            ("--seed", self.seed, 0, 2**32 - 1),
            ("--batch-size", self.batch_size, 1, 256),
        ):
            if not low <= value <= high:
                raise InputError(f"{name} {value}; use {low} to {high}.")
        for name, value, known in (
            ("--linesearch", self.linesearch, gatys.LINE_SEARCHES),
            ("--projection", self.projection, gatys.PROJECTIONS),
        ):
            if value not in known:
                raise InputError(f"{name} {value}: unknown; use {' or '.join(known)}.")

    def marks(self) -> list[int]:
        """Iterations whose image is written; the last one is `steps`."""
        return sorted({*(mark for mark in MARKS if mark <= self.steps), self.steps})

    def image_names(self, name: str, mark: int) -> list[str]:
        """Files in images/ that hold the image of `name` at one of `marks`."""
        names = [f"{name}_{mark:04d}.png"] if mark in MARKS else []
        return [*names, f"{name}.png"] if mark == self.steps else names


class Photo(NamedTuple):
    """A content image; `name` is its file's without suffix."""

    name: str
    path: Path
    sha256: str  # of the file
    pixels: Bytes  # [size size 3]


def read_photos(
    content: Sequence[str | os.PathLike] | None, size: int, num: int | None = None
) -> tuple[list[Photo], list[InputError]]:
    """The photos of files and folders, and why some of them cannot be read.

    None stands for the photos that scikit-image ships.

    Raises InputError for a path that is not there, a folder without images, and if
    none can be read.
    """
    if num is not None and num < 1:
        raise InputError(f"--num {num}; use 1 or more.")
    if content is None:
        source = sources.open_source(sources.EMBEDDED)
        content = [source.name(i) for i in range(len(source))]
    paths = [path for given in content for path in images.find_images(given)]
    photos, errors = [], []
    for path in list(dict.fromkeys(paths))[:num]:
        try:
            pixels = read_square(path, size)
            sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
            photos.append(Photo(path.stem, path, sha256, pixels))
        except InputError as error:
            errors.append(error)
    if not photos:
        raise errors[0]
    return photos, errors


def read_square(path: str | os.PathLike, size: int) -> Bytes:
    """The centre square of an image file, scaled to [size size 3], uint8.

    Raises InputError if it cannot be read.
    """
    photo = images.load_rgb(Path(path))
    side = min(photo.size)
    left, top = ((length - side) // 2 for length in photo.size)
    square = photo.crop((left, top, left + side, top + side))
    return np.array(square.resize((size, size), PIL.Image.Resampling.LANCZOS))


def check_names(photos: list[Photo], options: Options, output: Path) -> None:
    """InputError if a result would replace another one, or a photo, or has no name."""
    sources = {photo.path.resolve() for photo in photos}
    results: dict[str, Photo] = {}
    for photo in photos:
        if not photo.name.isprintable():  # nor can a table hold it
            raise InputError(f"{str(photo.path)!r}: not a name for results; rename it.")
        for mark in options.marks():
            for name in options.image_names(photo.name, mark):
                other = results.setdefault(name, photo)
                path = output / "images" / name
                if other is not photo:
                    raise InputError(
                        f"{other.path} and {photo.path} would both become {path}; "
                        "rename one, or optimise them into different folders."
                    )
                if path.resolve() in sources:
                    raise InputError(
                        f"{path}: a result would replace this photo; choose another -o."
                    )


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
            _check_same(old, json.loads(json.dumps(self.record)), folder)
            self.record = old
            if (folder / "objective.csv").exists():
                text = (folder / "objective.csv").read_text(encoding="utf-8")
                for row in csv.DictReader(text.splitlines()):
                    self._rows.setdefault(row["image"], []).append(row)
            if self._state.exists():
                with np.load(self._state) as file:
                    begun = json.loads(str(file["photos"]))
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

    def write_images(self, name: str, pixels: Image, marks: Sequence[int]) -> None:
        (self.folder / "images").mkdir(exist_ok=True)
        for mark in marks:
            for path in self.options.image_names(name, mark):
                images.write_image(self.folder / "images" / path, pixels)

    def add(self, photo: Photo, trace: gatys.Trace, facts: dict[str, Any]) -> None:
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

    def restore(self, photos: list[Photo], like: Any) -> Any:
        """What an earlier process saved of this batch, or `like`, if there is nothing.

        Raises InputError if it is not made of such arrays as `like` is.
        """
        if list(self._begun) != [photo.name for photo in photos]:
            return like
        arrays, structure = jax.tree.flatten(like)
        with np.load(self._state) as file:
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
    try:
        record = json.loads(path.read_text())
        if {"goal", "options", "photos"} <= record.keys():
            return record
        reason = "not a baseline's"
    except (ValueError, AttributeError) as error:
        reason = error
    raise InputError(f"{path}: cannot be read ({reason}); delete it or use another -o.")


def _check_same(old: dict[str, Any], new: dict[str, Any], folder: Path) -> None:
    """InputError if results of `old` and `new` cannot lie in one folder."""
    was, now = (
        configs.flatten(ConfigDict({**record["goal"], **record["options"]}))
        for record in (old, new)
    )
    for key in now | was:
        if was.get(key) != now.get(key):
            raise InputError(
                f"{folder} holds a baseline with {key}={was.get(key)}, now it is "
                f"{now.get(key)}; use the same settings to continue it, or another -o."
            )
