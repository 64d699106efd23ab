"""`evaluate`: judges folders of photos; results.json, results.md and strips/."""

import os
from collections.abc import Sequence
from pathlib import Path

from jaxperceptual.core import folders, provenance
from jaxperceptual.core.progress import Bar
from jaxperceptual.evaluation import report, super_resolution
from jaxperceptual.images.writing import write_image


def evaluate(
    task: super_resolution.Task,
    data: Sequence[str],
    output: str | os.PathLike | None,
    command: str,
) -> str:
    """Judges all photos of the folders `data`; returns the tables as Markdown.

    `output`, if given, gets results.json, results.md and strips/SET/PHOTO.png, up to
    date after each photo. Raises InputError as `super_resolution.find_photos` and
    `super_resolution.photos` do, and for an output that takes no files.
    """
    paths = super_resolution.find_photos(data, task.factor, output)
    folder = None
    if output is not None:
        folder = folders.make_folder(Path(output), "-o")
        for dataset, _ in paths:
            folders.make_folder(folder / "strips" / dataset, "-o")
    facts = provenance.header(command)
    found = []
    judged = super_resolution.photos(task, paths)
    for photo in Bar(judged, total=len(paths), unit="photo"):
        found.append(photo.without_pixels())
        if folder:
            path = folder / "strips" / photo.dataset / f"{photo.name}.png"
            write_image(path, report.strip(photo))
            report.write(folder, task, found, facts)
    return report.markdown(task, found)
