"""Many photos on disk to stylised photos on disk, those of one size together."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import PIL.ExifTags
import PIL.Image

from jaxperceptual import images, inference, jobs, runs
from jaxperceptual.errors import InputError
from jaxperceptual.jobs import Job, Result

# A batch holds no more pixels than this, so that memory is bounded by one big image.
MAX_BATCH_PIXELS = 4 * 1024**2


def run(
    stylizer: inference.Stylizer,
    todo: Sequence[Job],
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
    for group in _batches(todo, size, batch_size):
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
                jobs.write(job.target, mixed, alpha)
                yield Result(job, None)


def _batches(
    todo: Sequence[Job], size: int | None, batch_size: int
) -> Iterator[list[Job]]:
    """Jobs of equal image size together, unreadable ones each alone."""
    groups: dict[tuple[int, int] | None, list[Job]] = {}
    for job in todo:
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
