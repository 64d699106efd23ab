"""Photos to be made into other photos: which file becomes which, and writing it.

`plan` looks at names only and raises before anything is written; `run_jobs` is what a
command does with the jobs.
"""

import os
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxperceptual.core.errors import InputError
from jaxperceptual.core.host_types import Bytes, Image
from jaxperceptual.images.animations import MOVING_SUFFIXES, count_frames
from jaxperceptual.images.finding import find_images
from jaxperceptual.images.formats import IMAGE_SUFFIXES, UNREADABLE_SUFFIXES
from jaxperceptual.images.metadata import read_metadata
from jaxperceptual.images.writing import WRITABLE_SUFFIXES, without_white, write_image

PHOTO_SUFFIXES = (*IMAGE_SUFFIXES, *UNREADABLE_SUFFIXES)  # what a folder's owner means
OPAQUE_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".jpe", ".jfif")  # have no place for alpha


class Job(NamedTuple):
    """One photo, and where what is made of it goes."""

    source: Path
    target: Path
    renamed: bool = False  # since another photo has its target


class Result(NamedTuple):
    """What became of a job: written, or the reason why it could not be done."""

    job: Job
    error: InputError | None


def plan(
    inputs: Sequence[str],
    output: str | None,
    *,
    label: str,
    suffix: str | None = None,
) -> list[Job]:
    """The jobs for files and folders; `output` is a folder or, for one photo, a file.

    Folders are searched recursively and keep their sub-folders below the output folder;
    what lies in an output folder within them (an earlier run's) is left out. Without
    an output, NAME.jpg becomes NAME-LABEL.jpg and a folder NAME becomes the folder
    NAME-LABEL, both in the current folder.

    suffix: The format of all outputs; None for each photo's own, where it is written.

    Photos that would have one output get names of their own, `photo-2.png`.

    Raises InputError, with nothing written, for missing or empty inputs, an output that
    is an input, and an output folder that cannot be written to. What is wrong with a
    single photo is known when it is read.
    """
    as_file = output is not None and _names_a_file(output)
    if as_file and suffix and Path(output).suffix.lower() != suffix:
        raise InputError(f"-o {output}: --format says {suffix}; leave one of them.")
    jobs = []
    for given in inputs:
        path = Path(given)
        if path.is_dir():
            if as_file:
                raise InputError(
                    f"-o {output} names one file, but {given} is a folder; "
                    "give a folder with -o."
                )
            jobs += _plan_folder(path, output, label, suffix)
        elif path.is_file():
            ending = suffix or _target_suffix(path)
            default = Path(f"{path.stem}-{label}{ending}")
            in_folder = Path(output or "") / f"{path.stem}{ending}"
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
    jobs = _with_own_names(jobs)
    _check_targets(jobs)
    return jobs


def share(jobs: Sequence[Job], index: int, count: int) -> list[Job]:
    """Every `count`-th job, from the `index`-th (1 and up) on.

    Names were given before, so that processes with a share each agree on them.
    """
    return list(jobs[index - 1 :: count])


def to_do(jobs: Sequence[Job], prog: str) -> list[Job]:
    """Those whose output is not there yet; the others are told of."""
    missing = [job for job in jobs if not job.target.exists()]
    if len(missing) < len(jobs):
        there = f"{len(jobs) - len(missing)} of {len(jobs)} images are there already"
        print(f"{prog}: note: {there}", file=sys.stderr)
    return missing


def run_jobs(results: Iterator[Result], todo: Sequence[Job], prog: str) -> int:
    """Draws the results, which does the work, and tells of it; the exit code.

    That is 0, or 1 where some and 2 where all photos could not be done. The error of a
    single photo is raised.
    """
    if not todo:
        return 0
    for change, count in format_changes(todo).items():
        print(f"{prog}: note: {change} ({count})", file=sys.stderr)
    for job in todo:
        if job.source.suffix.lower() in MOVING_SUFFIXES:
            if (frames := count_frames(job.source)) > 1:
                print(
                    f"{prog}: note: {job.source} has {frames} frames, of which the "
                    "first is taken; stylize_video takes all of a .gif or .webp",
                    file=sys.stderr,
                )
        if job.renamed:
            note = f"{job.source} becomes {job.target}, as another has its name"
            print(f"{prog}: note: {note}", file=sys.stderr)
    if len(todo) == 1:
        ((job, error),) = results
        if error:
            raise error
        print(job.target)
        return 0
    from tqdm import tqdm

    from jaxperceptual.core.progress import Bar

    failures = 0
    for _, error in Bar(results, total=len(todo), unit="image"):
        if error:
            failures += 1
            tqdm.write(f"{prog}: {error}", file=sys.stderr)
    if failures:
        print(
            f"{prog}: {failures} of {len(todo)} images were left out",
            file=sys.stderr,
        )
    return 2 if failures == len(todo) else 1 if failures else 0


def format_changes(jobs: Sequence[Job]) -> Counter[str]:
    """How many photos become PNG, because their own format is not written."""
    return Counter(
        f"{job.source.suffix or 'a file without a suffix'} is saved as .png"
        for job in jobs
        if job.target.suffix == ".png"
        and job.source.suffix.lower() not in WRITABLE_SUFFIXES
    )


def _plan_folder(
    folder: Path, output: str | None, label: str, suffix: str | None
) -> list[Job]:
    root = Path(output or f"{folder.resolve().name}-{label}")
    found = find_images(folder, suffixes=PHOTO_SUFFIXES, leave_out=root)
    targets = (root / path.relative_to(folder) for path in found)
    return [
        Job(path, target.with_suffix(suffix or _target_suffix(path)))
        for path, target in zip(found, targets, strict=True)
    ]


def _names_a_file(output: str) -> bool:
    """Whether -o means a file; raises InputError for a file that is no such image."""
    path = Path(output)
    if path.is_dir() or output.endswith(("/", os.sep)):
        return False
    if path.suffix.lower() in WRITABLE_SUFFIXES:
        return True
    if path.exists() or path.suffix.lower() in PHOTO_SUFFIXES:
        raise InputError(
            f"-o {output}: not a format that is written; "
            f"use a folder, or a file ending in {' '.join(WRITABLE_SUFFIXES)}."
        )
    return False


def _target_suffix(source: Path) -> str:
    return source.suffix if source.suffix.lower() in WRITABLE_SUFFIXES else ".png"


def _with_own_names(jobs: Sequence[Job]) -> list[Job]:
    """The same jobs, no two with one target; those that keep their format go first."""
    taken: set[str] = set()
    found: dict[int, Job] = {}
    keeping = [job.source.suffix == job.target.suffix for job in jobs]
    for i in sorted(range(len(jobs)), key=lambda i: not keeping[i]):
        job = jobs[i]
        target, number = job.target, 2
        while (name := _real(target)) in taken:
            target = job.target.with_stem(f"{job.target.stem}-{number}")
            number += 1
        taken.add(name)
        found[i] = Job(job.source, target, target != job.target)
    return [found[i] for i in range(len(jobs))]


def _real(target: Path) -> str:
    return os.path.join(os.path.realpath(target.parent), target.name)


def _check_targets(jobs: Sequence[Job]) -> None:
    # By device and inode, as os.path.samefile: links do not hide an input.
    inputs = {_identity(job.source): job.source for job in jobs}
    inputs.pop(None, None)
    for job in jobs:
        target = job.target
        if target.exists() and _identity(target) in inputs:
            raise InputError(
                f"{target}: the output for {job.source} is the input "
                f"{inputs[_identity(target)]}; choose another output with -o."
            )
        if target.is_dir():
            raise InputError(f"{target}: a folder; choose another output with -o.")
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


def _identity(path: Path) -> tuple[int, int] | None:
    """None for a path that leads nowhere: a broken link in a folder."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def write(
    job: Job,
    image: Image | Bytes,
    alpha: np.ndarray | None,
    *,
    strip_metadata: bool = False,
    quality: int | None = None,
) -> None:
    """Writes a result [h w 3] in [0, 255], folders included, alpha where there is room,
    and what the photo's file tells beside its pixels (`images.metadata`).

    quality: See `write_image`.

    The result is what is to be seen over white, as `reading.read_with_alpha` reads; or,
    in uint8, what is to be stored.
    Raises InputError if that cannot be.
    """
    path = job.target
    metadata = None if strip_metadata else read_metadata(job.source)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix.lower() in OPAQUE_SUFFIXES:
            alpha = None
        if alpha is not None and image.dtype != np.uint8:
            image = without_white(image, alpha)
        write_image(path, image, alpha=alpha, metadata=metadata, quality=quality)
    except OSError as error:
        raise InputError(
            f"{path}: cannot be written ({error.strerror or error}); "
            "choose another output with -o."
        ) from error
