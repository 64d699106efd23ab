"""Image files in folders."""

import os
from collections.abc import Sequence
from pathlib import Path

from jaxperceptual.core.errors import InputError
from jaxperceptual.images.formats import IMAGE_SUFFIXES


def find_images(
    path: str | Path,
    *,
    suffixes: Sequence[str] = IMAGE_SUFFIXES,
    leave_out: str | Path | None = None,
) -> list[Path]:
    """Files below a folder whose suffix, in any case, is listed; sorted.

    Goes into subfolders and through links; skips names that start with a dot. A path
    that is a file is returned alone, whatever its suffix.

    leave_out: a folder below it that is not gone into, where one's own results go.

    Raises:
      InputError: The path does not exist, or the folder holds no such file.
    """
    path = Path(path)
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise InputError(f"{path}: no such file or folder; check the path.")
    found: list[Path] = []
    seen = set() if leave_out is None else {os.path.realpath(leave_out)}
    seen -= {os.path.realpath(path)}
    for folder, folders, names in os.walk(path, followlinks=True):
        real = os.path.realpath(folder)
        # A link to a parent folder would be walked for ever.
        folders[:] = [] if real in seen else [f for f in folders if f[0] != "."]
        if real in seen:
            continue
        seen.add(real)
        found += [
            Path(folder, file)
            for file in names
            if file[0] != "." and file.lower().endswith(tuple(suffixes))
        ]
    if not found:
        but = (
            f" but those of {leave_out}"
            if leave_out and Path(leave_out).is_dir()
            else ""
        )
        raise InputError(
            f"{path}: no images in this folder{but}; names ending in "
            f"{' '.join(suffixes)} count, in subfolders too."
        )
    return sorted(found)
