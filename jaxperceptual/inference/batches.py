"""Many photos on disk to stylised, or restored, photos on disk."""

import collections
import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent import futures
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Float32

from jaxperceptual.core import memory
from jaxperceptual.core.errors import InputError
from jaxperceptual.core.memory import enough_memory
from jaxperceptual.core.types import Image
from jaxperceptual.images import sheets, streams
from jaxperceptual.images.formats import MAX_PIXELS, NO_LIMIT
from jaxperceptual.images.metadata import read_metadata
from jaxperceptual.images.mixing import mix
from jaxperceptual.images.reading import (
    fit,
    read_bytes,
    read_header,
    read_with_alpha,
)
from jaxperceptual.images.resampling import resized_alpha
from jaxperceptual.images.writing import check_fits, to_bytes, without_white
from jaxperceptual.inference import jobs
from jaxperceptual.inference.restorer import Restorer
from jaxperceptual.inference.strips import STRIP
from jaxperceptual.inference.stylizer import Stylizer, scaled

# A batch holds no more pixels than this, so that memory is bounded by one big image.
MAX_BATCH_PIXELS = 4 * 1024**2
T = TypeVar("T")
SHARE = 0.7  # of the memory that is free, up to which a photo goes as a whole


def restore_files(
    restorer: Restorer, todo: Sequence[jobs.Job], **saving: Any
) -> Iterator[jobs.Result]:
    """Restores and writes; yields each job once it is written, or known not to be.

    That is for a photo that cannot be read, or whose result has no room in its format
    or in memory, or cannot be written: it says why, and the others go on. Alpha is
    enlarged as bicubic interpolation has it. What would not fit into memory is written
    as PNG while it is made (`Restorer.in_bands`). saving: see `jobs.write`.
    """
    for job in todo:
        shape = _read_shape(job.source, None)
        if shape and _output_too_large(restorer, job, shape):
            yield _by_bands(restorer, job, shape, **saving)
            continue
        try:
            image, alpha = read_with_alpha(job.source)
        except InputError as error:
            yield jobs.Result(job, error)
            continue
        h, w = (restorer.factor * side for side in image.shape[:2])
        try:
            check_fits(job.target, w, h)
        except InputError as error:
            yield jobs.Result(job, error)
            continue
        try:
            output = restorer(image)
            with enough_memory(f"an output of {w} x {h} px", "a part of the image"):
                if alpha is not None:
                    alpha = resized_alpha(alpha, w, h)
                jobs.write(job, output, alpha, **saving)
        except InputError as error:
            yield jobs.Result(job, error)
        else:
            yield jobs.Result(job, None)


def _output_too_large(restorer, job, shape) -> bool:
    if shape[0] * shape[1] > MAX_PIXELS:
        return True
    # Written while it is made well before memory ends; what cannot be, at its end.
    share = 1 if _why_whole(restorer, job) else SHARE
    free = memory.free_memory()
    return free is not None and restorer.memory(*shape) > share * free


def _why_whole(restorer, job) -> str:
    """What needs the output as a whole; empty if it can be written while it is made."""
    suffix = job.target.suffix.lower()
    return restorer.why_whole or ("" if suffix in streams.SUFFIXES else suffix)


def _by_bands(
    restorer, job, shape, *, strip_metadata=False, quality=None
) -> jobs.Result:
    """The output written while it is made."""
    del quality  # of formats that cannot be written so
    h, w = shape
    height, width = (restorer.factor * side for side in shape)
    needed, free = restorer.memory_in_bands(h, w), memory.free_memory()
    try:
        if why := _why_whole(restorer, job):
            way_out = "enlarge a part of the image"
            if not restorer.why_whole:
                way_out = "use --format png"
            raise InputError(
                f"{job.source}: an output of {width} x {height} px, which {why} needs "
                f"as a whole, takes about {restorer.memory(h, w) / 1e9:.1f} GB of "
                f"memory; {way_out}."
            )
        if free is not None and needed > free:
            raise InputError(
                f"{job.source}: {w} x {h} px need about {needed / 1e9:.1f} GB of "
                f"memory, and {free / 1e9:.1f} are free; enlarge a part of the image."
            )
        image, alpha = read_bytes(job.source, most=NO_LIMIT)
        if alpha is not None:
            alpha = resized_alpha(alpha, width, height)
        metadata = None if strip_metadata else read_metadata(job.source)
        job.target.parent.mkdir(parents=True, exist_ok=True)
        with (
            memory.enough_memory(f"{job.source}: {w} x {h} px", "a part of the image"),
            streams.writing_png(
                job.target, width, height, alpha=alpha is not None, metadata=metadata
            ) as put,
        ):
            start = 0
            for rows in restorer.in_bands(image):
                stop = start + len(rows)
                if alpha is None:
                    put(to_bytes(rows))
                else:
                    seen = without_white(rows, alpha[start:stop])
                    put(np.dstack([to_bytes(seen), alpha[start:stop]]))
                start = stop
    except OSError as error:
        reason = f"{job.target}: cannot be written ({error.strerror or error})"
        return jobs.Result(job, InputError(f"{reason}; choose another with -o."))
    except InputError as error:
        return jobs.Result(job, error)
    return jobs.Result(job, None)


def stylize_files(
    stylizer: Stylizer,
    todo: Sequence[jobs.Job],
    *,
    size: int | None = None,
    strength: float = 1.0,
    preserve_color: bool = False,
    style_scale: float = 1.0,
    batch_size: int = 4,
    tile: int | None = None,
    **saving: Any,
) -> Iterator[jobs.Result]:
    """Stylises and writes; yields each job once it is written, or known not to be.

    tile: photos of more than tile x tile pixels go in strips of as many
        (`Stylizer.in_strips`); None: those that do not fit into memory as a whole.

    Photos of equal size go through the network together, at most `batch_size` at once;
    while they do, the next batch is read and the one before written, so that those of
    three are in memory. `size` bounds the longer side, in pixels;
    `saving` is `jobs.write`'s.

    A photo that cannot be read, is too large for memory, or whose output cannot be
    written does not stop the others: its result says why.
    """
    shapes = [_read_shape(job.source, size) for job in todo]
    look = dict(strength=strength, preserve_color=preserve_color)
    mixing = look | dict(style_scale=style_scale)

    large = {
        shape
        for shape in {*shapes}
        if shape and _too_large(stylizer, shape, style_scale, tile)
    }
    if strength > 0:
        whole = (shape for shape in shapes if shape and shape not in large)
        stylizer.prepare(scaled(*shape, style_scale) for shape in whole)

    def rank(shape):
        return stylizer.rank(*scaled(*shape, style_scale)) if shape else 0

    groups = list(_batches(todo, shapes, batch_size, rank))
    reads = (
        functools.partial(_read, [] if shape in large else group, size)
        for shape, group in groups
    )
    with _Writer(**saving) as writer:
        for (shape, group), read in zip(groups, _one_ahead(reads), strict=True):
            if shape in large:
                yield from writer.done()
                strip = tile or STRIP
                for job in group:
                    yield _by_strips(stylizer, job, shape, size, mixing, strip, saving)
                continue
            # What a header says may be a pixel off what decoding and scaling give.
            photos: dict[tuple[int, ...], list[tuple]] = {}
            for job, image, alpha in read:
                if isinstance(image, InputError):
                    yield from writer.done()
                    yield jobs.Result(job, image)
                else:
                    photos.setdefault(image.shape, []).append((job, image, alpha))
            for same_shape in photos.values():
                batch = np.stack([image for _, image, _ in same_shape])
                try:
                    outputs = (
                        _one_by_one(stylizer, batch, style_scale=style_scale)
                        if strength > 0
                        else batch
                    )
                except InputError as error:
                    yield from writer.done()
                    yield from (jobs.Result(job, error) for job, _, _ in same_shape)
                    continue
                for (job, image, alpha), output in zip(
                    same_shape, outputs, strict=True
                ):
                    mixed = functools.partial(mix, image, output, **look)
                    writer.put(job, mixed, alpha)
                yield from writer.done(but=len(same_shape))
        yield from writer.done()


def _read(group: Sequence[jobs.Job], size: int | None) -> list[tuple]:
    """Each job's image and alpha, or in place of the image what is wrong with it."""
    found = []
    for job in group:
        try:
            found.append((job, *read_with_alpha(job.source, size=size)))
        except InputError as error:
            found.append((job, error, None))
    return found


def _one_ahead(makers: Iterable[Callable[[], T]]) -> Iterator[T]:
    """What each makes, while what the one before made is in use."""
    with futures.ThreadPoolExecutor(1) as pool:
        made = None
        for maker in makers:
            following = pool.submit(maker)
            if made is not None:
                yield made.result()
            made = following
        if made is not None:
            yield made.result()


class _Writer:
    """Finishes and writes results in a thread, in order, while the next are made.

    saving: `jobs.write`'s.
    """

    def __init__(self, **saving: Any):
        self._saving = saving
        self._pool = futures.ThreadPoolExecutor(1)
        self._begun: collections.deque[futures.Future] = collections.deque()

    def __enter__(self) -> "_Writer":
        return self

    def __exit__(self, *raised: object) -> None:
        self._pool.shutdown()

    def put(self, job: jobs.Job, finish: Callable[[], Image], alpha: Any) -> None:
        """Writes what `finish` makes."""

        def write():
            try:
                jobs.write(job, finish(), alpha, **self._saving)
            except InputError as error:
                return jobs.Result(job, error)
            return jobs.Result(job, None)

        self._begun.append(self._pool.submit(write))

    def done(self, *, but: int = 0) -> Iterator[jobs.Result]:
        """Waits for all, but so many of the last."""
        while len(self._begun) > but:
            yield self._begun.popleft().result()


def _too_large(stylizer, shape, style_scale, tile) -> bool:
    h, w = scaled(*shape, style_scale)
    if tile is not None:
        return h * w > tile**2
    if shape[0] * shape[1] > MAX_PIXELS:
        return True
    network = stylizer.memory(h, w)
    # Beside it, the photo and its output as floats, and what writes them.
    for needed, free in (
        (network + 42 * shape[0] * shape[1], memory.free_memory()),
        (network, memory.free_device_memory()),
    ):
        if free is not None and needed > SHARE * free:
            return True
    return False


def _by_strips(stylizer, job, shape, size, mixing, strip, saving) -> jobs.Result:
    h, w = shape
    needed = stylizer.memory_in_strips(h, w, mixing["style_scale"])
    free = memory.free_memory()
    try:
        if free is not None and needed > free:
            raise InputError(
                f"{job.source}: {w} x {h} px need about {needed / 1e9:.1f} GB of "
                f"memory, in strips, and {free / 1e9:.1f} are free; use --size."
            )
        image, alpha = read_bytes(job.source, size=size, most=NO_LIMIT)
        with memory.enough_memory(f"{job.source}: {w} x {h} px", "a smaller --size"):
            if job.target.suffix.lower() in jobs.OPAQUE_SUFFIXES:
                alpha = None
            image = stylizer.in_strips(
                image, strip=strip, alpha=alpha, out=image, **mixing
            )
            jobs.write(job, image, alpha, **saving)
    except InputError as error:
        return jobs.Result(job, error)
    return jobs.Result(job, None)


def _batches(
    todo: Sequence[jobs.Job],
    shapes: Sequence[tuple[int, int] | None],
    batch_size: int,
    rank: Callable[[tuple[int, int] | None], int],
) -> Iterator[tuple[tuple[int, int] | None, list[jobs.Job]]]:
    """Jobs of equal image size together, unreadable ones each alone, by `rank`."""
    groups: dict[tuple[int, int] | None, list[jobs.Job]] = {}
    for job, shape in zip(todo, shapes, strict=True):
        groups.setdefault(shape, []).append(job)
    for shape in sorted(groups, key=rank):
        group = groups[shape]
        pixels = shape[0] * shape[1] if shape else MAX_BATCH_PIXELS
        n = max(1, min(batch_size, MAX_BATCH_PIXELS // pixels))
        for start in range(0, len(group), n):
            yield shape, group[start : start + n]


def _read_shape(path: Path, size: int | None) -> tuple[int, int] | None:
    """Height and width that the photo will have, from its header; None if unreadable.

    Decoding is what judges a file, and says why; this only finds photos of equal size.
    """
    try:
        header = read_header(path)
    except InputError:
        return None
    return fit(header.height, header.width, size)


def sheets_of_files(
    stylizer: Stylizer,
    todo: Sequence[jobs.Job],
    *,
    size: int,
    strength: float = 1.0,
    preserve_color: bool = False,
    style_scale: float = 1.0,
    quality: int | None = None,
) -> Iterator[jobs.Result]:
    """Every style of a gallery on each photo, in one labelled picture; as above.

    `size` bounds the longer side of each cell, in pixels.
    """
    shapes = [_read_shape(job.source, size) for job in todo]
    sizes = [scaled(*shape, style_scale) for shape in shapes if shape]
    stylizer.prepare(sizes * len(stylizer.styles))
    for job in todo:
        try:
            photo, _ = read_with_alpha(job.source, size=size)
        except InputError as error:
            yield jobs.Result(job, error)
            continue
        try:
            sheet = sheet_of_styles(
                stylizer,
                photo,
                strength=strength,
                preserve_color=preserve_color,
                style_scale=style_scale,
            )
            jobs.write(job, sheet, None, strip_metadata=True, quality=quality)
        except InputError as error:
            yield jobs.Result(job, error)
        else:
            yield jobs.Result(job, None)


def sheet_of_styles(
    stylizer: Stylizer,
    photo: Image,
    *,
    strength: float = 1.0,
    preserve_color: bool = False,
    style_scale: float = 1.0,
) -> Float32[np.ndarray, "_ _ 3"]:
    """A photo [h w 3] in [0, 255], and it in every style of a gallery, labelled."""
    cells = [sheets.labelled(photo, "photo")]
    for style in stylizer.styles:
        of_style = stylizer.with_style(style)
        output = _apply(of_style, photo[None], style_scale=style_scale)
        mixed = mix(photo, output[0], strength=strength, preserve_color=preserve_color)
        cells.append(sheets.labelled(mixed, style))
    return sheets.grid(cells, columns=_columns(cells))


def _columns(cells: Sequence[np.ndarray]) -> int:
    """Of a grid wider than high, the last row as full as can be."""
    h, w, _ = cells[0].shape
    least = max(1, round((1.5 * len(cells) * h / w) ** 0.5))
    return min(range(least, least + 3), key=lambda n: -len(cells) % n)


def _apply(stylizer: Stylizer, batch: np.ndarray, **options) -> np.ndarray:
    n, h, w, _ = batch.shape
    with enough_memory(
        f"{n} image(s) of {w} x {h} px", "--tile 1024, a smaller --size or --batch-size"
    ):
        return stylizer(batch, **options)


def _one_by_one(stylizer: Stylizer, batch: np.ndarray, **options) -> np.ndarray:
    """As `_apply`, of single images where they do not fit into memory together."""
    try:
        return _apply(stylizer, batch, **options)
    except InputError:
        if len(batch) == 1:
            raise
    return np.concatenate([_apply(stylizer, x[None], **options) for x in batch])
