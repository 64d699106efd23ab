"""`evaluate`: judges folders of photos; results.json, results.md and strips/."""

import os
import time
from collections.abc import Sequence
from pathlib import Path

from jaxperceptual.core import files, folders, provenance
from jaxperceptual.core.errors import InputError
from jaxperceptual.core.progress import Bar
from jaxperceptual.evaluation import report, super_resolution
from jaxperceptual.images.writing import write_image

SHARE = 0.05  # of the time, that writing down what has been found may take


def evaluate(
    task: super_resolution.Task,
    data: Sequence[str],
    output: str | os.PathLike | None,
    command: str,
    *,
    shard: tuple[int, int] | None = None,
    skip_existing: bool = False,
) -> str:
    """Judges all photos of the folders `data`; returns the tables as Markdown.

    `output`, if given, gets results.json, results.md and strips/SET/PHOTO.png, up to
    date every so often.

    shard: (I, N): the I-th of N shares of the photos alone. What is found is in
        results-I-of-N.json; the process that ends last puts all together, and what
        another returns is a line that says so.
    skip_existing: take what is in such a file already from there.

    Raises InputError as `super_resolution.find_photos` and `super_resolution.photos`
    do, for an output that takes no files, a shard without one, and results there of
    other models.
    """
    if output is None and (shard or skip_existing):
        raise InputError("--shard and --skip-existing: name a folder with -o.")
    paths = super_resolution.find_photos(data, task.factor, output)
    index, count = shard or (1, 1)
    mine = paths[index - 1 :: count]
    folder, found = None, []
    if output is not None:
        folder = folders.make_folder(Path(output), "-o")
        for dataset, _ in paths:
            folders.make_folder(folder / "strips" / dataset, "-o")
        if skip_existing:
            found = _of(mine, report.read(_part(folder, shard), task))
    known = {(photo.dataset, photo.name) for photo in found}
    todo = [(name, path) for name, path in mine if (name, path.stem) not in known]
    facts = provenance.header(command)

    def write():
        if folder and shard:
            files.write_text(_part(folder, shard), report.record(task, found, facts))
        elif folder:
            report.write(folder, task, found, facts)

    due = 0.0
    for photo in Bar(
        super_resolution.photos(task, todo), total=len(todo), unit="photo"
    ):
        found.append(photo.without_pixels())
        if folder:
            path = folder / "strips" / photo.dataset / f"{photo.name}.png"
            write_image(path, report.strip(photo))
        if (started := time.monotonic()) >= due:
            write()
            due = time.monotonic() + (time.monotonic() - started) / SHARE
    found = _of(mine, found)
    write()
    if not shard:
        return report.markdown(task, found)
    everyone = _of(
        paths,
        [
            photo
            for i in range(1, count + 1)
            for photo in report.read(_part(folder, (i, count)), task)
        ],
    )
    if len(everyone) < len(paths):
        return (
            f"{len(everyone)} of {len(paths)} photos are judged; the share that ends "
            "last writes the tables.\n"
        )
    report.write(folder, task, everyone, facts)
    return report.markdown(task, everyone)


def _part(folder: Path, shard: tuple[int, int] | None) -> Path:
    if shard is None:
        return folder / "results.json"
    index, count = shard
    return folder / f"results-{index}-of-{count}.json"


def _of(
    paths: Sequence[tuple[str, Path]], found: Sequence[super_resolution.Photo]
) -> list[super_resolution.Photo]:
    """Those found of the photos, in their order."""
    by_name = {(photo.dataset, photo.name): photo for photo in found}
    keys = ((dataset, path.stem) for dataset, path in paths)
    return [by_name[key] for key in keys if key in by_name]
