"""Many photos on disk to stylised photos on disk: which goes where, and in what order.

`plan` looks at names only and raises before anything is written; `run` does the work.
"""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import PIL.ExifTags
import PIL.Image

from jaxperceptual import images, inference, runs
from jaxperceptual.errors import InputError
from jaxperceptual.types import Image

OPAQUE_SUFFIXES = (".bmp", ".jpeg", ".jpg")  # have no place for alpha

# A batch holds no more pixels than this, so that memory is bounded by one big image.
MAX_BATCH_PIXELS = 4 * 1024**2


class Job(NamedTuple):
    """One photo and where its stylised self goes."""

    source: Path
    target: Path


class Result(NamedTuple):
    """What became of a job: written, or the reason why its photo could not be read."""

    job: Job
    error: InputError | None


def plan(inputs: Sequence[str], output: str | None) -> list[Job]:
    """The jobs for files and folders; `output` is a folder or, for one photo, a file.

    Folders are searched recursively and keep their sub-folders below the output folder;
    what lies in an output folder within them (an earlier run's) is left out. Without
    an output, NAME.jpg becomes NAME-stylized.jpg and a folder NAME becomes the folder
    NAME-stylized, both in the current folder.

    Raises InputError, with nothing written, for missing or empty inputs, an output that
    is an input, two inputs with one output, and an output that cannot be written.
    """
    as_file = output is not None and _names_a_file(output)
    jobs = []
    for given in inputs:
        path = Path(given)
        if path.is_dir():
            if as_file:
                raise InputError(
                    f"-o {output} names one file, but {given} is a folder; "
                    "give a folder with -o."
                )
            jobs += _plan_folder(path, output)
        elif path.is_file():
            suffix = _target_suffix(path)
            default = Path(f"{path.stem}-stylized{suffix}")
            in_folder = Path(output or "") / f"{path.stem}{suffix}"
            target = Path(output) if as_file else in_folder if output else default
            jobs.append(Job(path, target))
        else:
            raise InputError(f"{given}: no such photo or folder; check the name.")
    jobs = list(dict.fromkeys(jobs))  # the same photo twice is one job
    if as_file and len(jobs) > 1:
        raise InputError(
            f"-o {output} names one file, but there are {len(jobs)} inputs; "
            "give a folder with -o."
        )
    _check_targets(jobs)
    return jobs


def run(
    stylizer: inference.Stylizer,
    jobs: Sequence[Job],
    *,
    size: int | None = None,
    strength: float = 1.0,
    preserve_color: bool = False,
    batch_size: int = 4,
) -> Iterator[Result]:
    """Stylises and writes; yields each job once it is written or found unreadable.

    Photos of equal size go through the network together, at most `batch_size` at once;
    only those of one batch are in memory. `size` bounds the longer side, in pixels.

    Raises InputError when an output cannot be written or memory does not suffice.
    """
    for group in _batches(jobs, size, batch_size):
        # What a header says may be a pixel off what decoding and scaling give.
        photos: dict[tuple[int, ...], list[tuple]] = {}
        for job in group:
            try:
                image, alpha = images.read_with_alpha(job.source, size=size)
            except InputError as error:
                yield Result(job, error)
            else:
                photos.setdefault(image.shape, []).append((job, image, alpha))
        for same_shape in photos.values():
            batch = np.stack([image for _, image, _ in same_shape])
            outputs = _apply(stylizer, batch) if strength > 0 else batch
            for (job, image, alpha), output in zip(same_shape, outputs, strict=True):
                mixed = inference.mix(
                    image, output, strength=strength, preserve_color=preserve_color
                )
                _write(job.target, mixed, alpha)
                yield Result(job, None)


def format_changes(jobs: Sequence[Job]) -> Counter[str]:
    """How many photos become PNG, because their own format is not written."""
    return Counter(
        f"{job.source.suffix or 'a file without a suffix'} is saved as .png"
        for job in jobs
        if job.target.suffix == ".png"
        and job.source.suffix.lower() not in images.WRITABLE_SUFFIXES
    )


def _plan_folder(folder: Path, output: str | None) -> list[Job]:
    root = Path(output or f"{folder.resolve().name}-stylized")
    own = root.resolve()
    found = [
        path
        for path in images.find_images(folder)
        if own == folder.resolve() or own not in path.resolve().parents
    ]
    if not found:
        raise InputError(
            f"{folder}: no images in this folder but those of the output {root}; "
            "give another."
        )
    targets = (root / path.relative_to(folder) for path in found)
    return [
        Job(path, target.with_suffix(_target_suffix(path)))
        for path, target in zip(found, targets, strict=True)
    ]


def _names_a_file(output: str) -> bool:
    """Whether -o means a file; raises InputError for a file that is no such image."""
    path = Path(output)
    if path.is_dir() or output.endswith(("/", os.sep)):
        return False
    if path.suffix.lower() in images.WRITABLE_SUFFIXES:
        return True
    if path.exists() or path.suffix.lower() in images.IMAGE_SUFFIXES:
        raise InputError(
            f"-o {output}: not a format that is written; "
            f"use a folder, or a file ending in {' '.join(images.WRITABLE_SUFFIXES)}."
        )
    return False


def _target_suffix(source: Path) -> str:
    return (
        source.suffix if source.suffix.lower() in images.WRITABLE_SUFFIXES else ".png"
    )


def _check_targets(jobs: Sequence[Job]) -> None:
    # By device and inode, as os.path.samefile: links do not hide an input.
    inputs = {_identity(job.source): job.source for job in jobs}
    sources: dict[str, Path] = {}
    for job in jobs:
        target = job.target
        if target.exists() and _identity(target) in inputs:
            raise InputError(
                f"{target}: the output for {job.source} is the input "
                f"{inputs[_identity(target)]}; choose another output with -o."
            )
        if target.is_dir():
            raise InputError(f"{target}: a folder; choose another output with -o.")
        name = os.path.join(os.path.realpath(target.parent), target.name)
        if name in sources:
            raise InputError(
                f"{sources[name]} and {job.source} would both become {target}; "
                "stylise them into different folders."
            )
        sources[name] = job.source
    for folder in dict.fromkeys(job.target.parent for job in jobs):
        existing = next(p for p in (folder, *folder.parents) if p.exists())
        if not existing.is_dir():
            raise InputError(
                f"{existing}: not a folder; choose another output with -o."
            )
        if not os.access(existing, os.W_OK | os.X_OK):
            raise InputError(
                f"{existing}: folder is not writable; choose another with -o."
            )


def _identity(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino


def _batches(
    jobs: Sequence[Job], size: int | None, batch_size: int
) -> Iterator[list[Job]]:
    """Jobs of equal image size together, unreadable ones each alone."""
    groups: dict[tuple[int, int] | None, list[Job]] = {}
    for job in jobs:
        groups.setdefault(_read_shape(job.source, size), []).append(job)
    for shape, group in groups.items():
        pixels = shape[0] * shape[1] if shape else MAX_BATCH_PIXELS
        n = max(1, min(batch_size, MAX_BATCH_PIXELS // pixels))
        yield from (group[start : start + n] for start in range(0, len(group), n))


def _read_shape(path: Path, size: int | None) -> tuple[int, int] | None:
    """Height and width that the photo will have, from its header; None if unreadable.

    Decoding is what judges a file, and says why; this only finds photos of equal size.
    """
    try:
        with PIL.Image.open(path) as file:
            w, h = file.size
            turned = file.getexif().get(PIL.ExifTags.Base.Orientation) in (5, 6, 7, 8)
    except Exception:  # Pillow's readers raise whatever the bytes provoke
        return None
    factor = min(1.0, size / max(h, w)) if size else 1.0
    h, w = (max(1, round(side * factor)) for side in (h, w))
    return (w, h) if turned else (h, w)


def _apply(stylizer: inference.Stylizer, batch: np.ndarray) -> np.ndarray:
    n, h, w, _ = batch.shape
    with runs.enough_memory(
        f"{n} image(s) of {w} x {h} px", "a smaller --size or --batch-size"
    ):
        return stylizer(batch)


def _write(path: Path, image: Image, alpha: np.ndarray | None) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        opaque = path.suffix.lower() in OPAQUE_SUFFIXES
        images.write_image(path, image, alpha=None if opaque else alpha)
    except OSError as error:
        raise InputError(
            f"{path}: cannot be written ({error.strerror or error}); "
            "choose another output with -o."
        ) from error
