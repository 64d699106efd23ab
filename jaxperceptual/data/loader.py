"""Photos to repeatable batches (Grain).

The order of the images, their crops and flips follow from the seed and from the
position in the stream alone: neither the number of workers nor an interruption
changes a batch, so a checkpoint need only hold how many batches were consumed.
"""

import functools
import sys
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import grain
import numpy as np
import tqdm
from absl import flags
from jaxtyping import Int32, UInt8

from jaxperceptual.core.errors import InputError
from jaxperceptual.data import sources, workers
from jaxperceptual.data.decoded import check_crop
from jaxperceptual.data.photos import open_photos

Batch = UInt8[np.ndarray, "n size size 3"] | Int32[np.ndarray, "n"]


class Loader:
    """An endless iterator of shuffled uint8 batches [n, image_size, image_size, 3].

    Every photo comes once an epoch, each epoch in another order; batches run over the
    ends of epochs. By default a photo is stretched to the square, antialiased, as the
    authors' release does. A file that cannot be decoded, or whose short side is below
    `decoded.MIN_SIDE`, is passed over for the next one in the source.

    Args:
      source: A folder, searched in depth, of images and of uncompressed tar archives
        of images; one such archive; `tfds:NAME` or `tfds:NAME:SPLIT` (`train` if not
        given; `tfds:coco/2014`), prepared as array_record; or `embedded`, the photos
        inside the scikit-image package, flipped at random and cropped at random
        scales, aspect ratios and positions (or in patches).
      seed: Non-negative, below 2**32.
      batch_size: Images a batch.
      image_size: Side of the square, pixels.
      start: Batches to pass over, without decoding them.
      part: (i, n): of each batch the i-th of n equal parts alone, in its order; a
        process of many has its own.
      crop: What makes a photo square: "stretch"; "random", a square from a random
        place, its side 1 / 1.5 to 1 times the photo's short side, scaled; "zoom", the
        same from 1 / 3 of it on, so that large, soft pictures are among them; or
        "patch", from a random place too, but of the photo's own pixels, not scaled:
        smaller photos are passed over.
      flip: Mirror every second image, at random.
      num_workers: Processes that decode; 0 decodes in threads of this process.
      cache: A folder for the decoded, resized images (N * image_size**2 * 3 bytes):
        filled at the first use, read from then on, made anew when `source` or
        `image_size` changed.
      rows_below: If the photos in the cache take at most so many bytes, batches are
        int32 [n], rows of `table`, or `~row` where the photo is to be mirrored: for a
        device that holds them all (`step.make_train_step`).
      data_dir: Where TFDS keeps its data; the TFDS_DATA_DIR variable by default.
      leave_out: A folder whose pictures are no photos of the source, if below it.
      on_skip: Called in this process, once for each file passed over, with its name
        and the reason; prints a line to stderr by default.

    Attributes:
      num_images: Images in the source, good or bad.
      table: The cache, uint8 [num_images, image_size, image_size, 3], where batches are
        rows of it; else None.
      identity: SHA-256 of what they are, wherever they lie (`Source.identity`).
      wait_seconds: Time that the consumer has spent waiting in `next`.
      skipped: Reasons by the name of the file passed over.

    Raises:
      InputError: No such source, no images in it, none that can be read (on `next`),
        `cache` with random crops, or a number out of its range.
    """

    def __init__(
        self,
        source: str | Path,
        *,
        seed: int,
        batch_size: int,
        image_size: int,
        start: int = 0,
        part: tuple[int, int] = (0, 1),
        crop: str = "stretch",
        flip: bool = False,
        num_workers: int = 0,
        cache: str | Path | None = None,
        rows_below: int = 0,
        data_dir: str | Path | None = None,
        leave_out: str | Path | None = None,
        on_skip: Callable[[str, str], None] | None = None,
    ):
        _check_range("seed", seed, 0, 2**32 - 1)
        _check_range("batch_size", batch_size, 1)
        _check_range("image_size", image_size, 1)
        _check_range("start", start, 0)
        which, parts = part
        _check_range("part", which, 0, parts - 1)
        if batch_size % parts:
            raise InputError(
                f"batch_size={batch_size} does not divide into {parts} parts; use a "
                f"multiple of {parts}."
            )
        _check_range("num_workers", num_workers, 0)
        check_crop(crop, str(source), cache)
        self._source = sources.open_source(
            str(source), data_dir=data_dir, leave_out=leave_out
        )
        self.num_images = len(self._source)
        self.wait_seconds = 0.0
        self.skipped: dict[str, str] = {}
        self._on_skip = on_skip or _print_skip
        self._num_workers = num_workers
        self._first: deque[dict[str, Any]] = deque()
        # Empty until the first batch, and shared with the finalizer below.
        self._running: list[Iterator[dict[str, Any]]] = []
        # Also runs at exit, before multiprocessing ends its children the hard way.
        self._finalize = weakref.finalize(self, _stop, self._running)

        photos = open_photos(
            self._source,
            str(source),
            image_size=image_size,
            crop=crop,
            cache=cache,
            rows_below=rows_below,
        )
        self.table = photos.table
        # A few photos must do: every second one is mirrored.
        mirror = photos.mirror if flip or str(source) == sources.EMBEDDED else None
        dataset = (
            grain.MapDataset.range(self.num_images)
            .seed(seed)
            .shuffle()
            .repeat()
            .random_map(_Pick(photos.take, mirror, self.num_images))
            # Batches before workers: Grain deals whole batches out to the workers
            # and takes them back in turn, so their number does not show.
            .batch(batch_size // parts, drop_remainder=True, batch_fn=_stack)
        )[which::parts][start:]
        self._dataset = workers.prefetch(
            dataset, num_workers, batch_size // parts * photos.num_bytes
        )

    @functools.cached_property
    def identity(self) -> str:  # looks at every file, and not all loaders need it
        return self._source.identity()

    def __iter__(self) -> "Loader":
        return self

    def __next__(self) -> Batch:
        started = time.perf_counter()
        if not self._running:
            self._start()
        batch = self._first.popleft() if self._first else self._take()
        self.wait_seconds += time.perf_counter() - started
        for i, reason in batch["skipped"]:
            name = self._source.name(i)
            if name not in self.skipped:
                self.skipped[name] = reason
                self._on_skip(name, reason)
        # Workers hand over shared memory, which lives as long as Grain's array.
        return np.array(batch["images"]) if self._num_workers else batch["images"]

    def close(self) -> None:
        """Ends the threads and workers; also done when the loader is dropped."""
        self._finalize()

    def __enter__(self) -> "Loader":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _start(self) -> None:
        if not self._finalize.alive:
            raise ValueError("This loader is closed; make a new one.")
        if not flags.FLAGS.is_parsed():
            flags.FLAGS.mark_as_parsed()  # Grain asks its own flags, absl refuses
        iterator = iter(self._dataset)
        self._running.append(iterator)
        if self._num_workers == 0:
            return
        with workers.hidden_main():
            with workers.blocked_signals():
                iterator.start_prefetch()
            # One from each: by then all have started.
            self._first.extend(self._take() for _ in range(self._num_workers))

    def _take(self) -> dict[str, Any]:
        try:
            return next(self._running[0])
        except RuntimeError as error:
            if "Worker process" not in str(error):
                raise
            raise InputError(
                f"num_workers={self._num_workers}: a data worker died ({error}); is "
                "memory or /dev/shm short? num_workers=0 needs neither."
            ) from error


class _Pick:
    """(index, rng) to {image, skipped}: the photo there, or the next good one.

    What was passed over travels with the element, from whichever process met it, so
    that the main process can report it.
    """

    def __init__(
        self,
        take: Callable[[int, np.ndarray], np.ndarray],
        mirror: Callable[[np.ndarray], np.ndarray] | None,
        num_images: int,
    ):
        self._take = take
        self._mirror = mirror
        self._num_images = num_images
        self._bad: dict[int, str] = {}  # met in this process, not to be tried again

    def __call__(self, index: int, rng: np.random.Generator) -> dict[str, Any]:
        draws = rng.random(5)  # all at once: the same whatever happens below
        skipped = []
        for step in range(self._num_images):
            i = (int(index) + step) % self._num_images
            if i not in self._bad:
                try:
                    image = self._take(i, draws[:4])
                except InputError as error:
                    self._bad[i] = str(error)
                else:
                    if self._mirror and draws[4] < 0.5:
                        image = self._mirror(image)
                    return {"image": image, "skipped": skipped}
            skipped.append((i, self._bad[i]))
        raise InputError(
            f"None of the {self._num_images} images can be used; the first: "
            f"{skipped[0][1]}"
        )


def _stack(elements: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {
        "images": np.stack([element["image"] for element in elements]),
        "skipped": [entry for element in elements for entry in element["skipped"]],
    }


def _stop(running: list[Iterator[dict[str, Any]]]) -> None:
    while running:
        # Dropped here too: what is left of Grain's iterators when the interpreter
        # takes its modules apart complains about it.
        running.pop().close()


def _check_range(name: str, value: int, low: int, high: int | None = None) -> None:
    if value < low or (high is not None and value > high):
        limit = f"at least {low}" if high is None else f"from {low} to {high}"
        raise InputError(f"{name}={value} is out of range; give a number {limit}.")


def _print_skip(name: str, reason: str) -> None:
    tqdm.tqdm.write(f"skipped {reason}", file=sys.stderr)
