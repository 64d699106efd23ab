"""Content images of the baseline, and whether their results may lie in one folder."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxperceptual.baseline.options import Options
from jaxperceptual.core import files
from jaxperceptual.core.errors import InputError
from jaxperceptual.core.types import Bytes
from jaxperceptual.data.sources import EMBEDDED, open_source
from jaxperceptual.images import squares
from jaxperceptual.images.finding import find_images
from jaxperceptual.images.reading import load_rgb


class Photo(NamedTuple):
    """A content image; `name` is its file's without suffix."""

    name: str
    path: Path
    sha256: str  # of the file
    pixels: Bytes  # [size size 3]


def read_photos(
    content: Sequence[str | os.PathLike] | None,
    size: int,
    num: int | None = None,
    leave_out: Path | None = None,
) -> tuple[list[Photo], list[InputError]]:
    """The photos of files and folders, and why some of them cannot be read.

    None stands for the photos that scikit-image ships. What lies in the folder
    `leave_out`, of results, is none of them.

    Raises InputError for a path that is not there, a folder without images, and if
    none can be read.
    """
    if num is not None and num < 1:
        raise InputError(f"--num {num}; use 1 or more.")
    if content is None:
        source = open_source(EMBEDDED)
        content = [source.name(i) for i in range(len(source))]
    paths = [
        path for given in content for path in find_images(given, leave_out=leave_out)
    ]
    photos, errors = [], []
    for path in list(dict.fromkeys(paths))[:num]:
        try:
            pixels = np.array(squares.centre(load_rgb(path), size))
            sha256 = files.sha256(path)
            photos.append(Photo(path.stem, path, sha256, pixels))
        except InputError as error:
            errors.append(error)
    if not photos:
        raise errors[0]
    return photos, errors


def check_names(photos: list[Photo], options: Options, output: Path) -> None:
    """InputError if a result would replace another one, or a photo, or has no name."""
    sources = {photo.path.resolve() for photo in photos}
    results: dict[str, Photo] = {}
    for photo in photos:
        if not photo.name.isprintable():  # nor can a table hold it
            raise InputError(f"{str(photo.path)!r}: not a name for results; rename it.")
        for name in options.all_image_names(photo.name):
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
