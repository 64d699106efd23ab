"""Photos to repeatable batches (Grain).

The order of the images, their crops and flips follow from the seed and from the
position in the stream alone: neither the number of workers nor an interruption
changes a batch, so a checkpoint need only hold how many batches were consumed.
"""

import contextlib
import functools
import hashlib
import importlib.util
import json
import multiprocessing
import os
import re
import secrets
import shutil
import signal
import sys
import tarfile
import threading
import time
import warnings
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent import futures
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any, NamedTuple

import grain
import numpy as np
import tqdm
from absl import flags
from jaxtyping import UInt8
from PIL import Image as pil

from jaxperceptual import images
from jaxperceptual.errors import InputError

EMBEDDED = "embedded"
# Of what scikit-image ships in colour, the photographs of things: no star field, eye
# or tissue section, and one half of the stereo pair of the motorcycle.
EMBEDDED_PHOTOS = (
    *("astronaut.png", "chelsea.png", "coffee.png", "motorcycle_left.png"),
    "rocket.jpg",
)
MIN_SIDE = 16  # px; a smaller image is an icon or a tracking pixel, not a photo

# A random crop is a box whose short side is this share of the photo's short side, of
# this aspect ratio before it becomes square.
CROP_SCALES, CROP_ASPECTS = (1 / 1.5, 1.0), (1.0, 1.0)
# A few photos must do for a whole run: more zoom, and the range of distortion that
# stretching 4:3 and 3:4 photos to a square gives with larger sets.
EMBEDDED_SCALES, EMBEDDED_ASPECTS = (0.4, 1.0), (3 / 4, 4 / 3)

Batch = UInt8[np.ndarray, "n size size 3"]


class Loader:
    """An endless iterator of shuffled uint8 batches [n, image_size, image_size, 3].

    Every photo comes once an epoch, each epoch in another order; batches run over the
    ends of epochs. By default a photo is stretched to the square, antialiased, as the
    authors' release does. A file that cannot be decoded, or whose short side is below
    `MIN_SIDE`, is passed over for the next one in the source.

    Args:
      source: A folder, searched in depth, of images and of uncompressed tar archives
        of images; one such archive; `tfds:NAME` or `tfds:NAME:SPLIT` (`train` if not
        given; `tfds:coco/2014`), prepared as array_record; or `embedded`, the photos
        inside the scikit-image package, always cropped at random scales and
        positions and flipped at random.
      seed: Non-negative, below 2**32.
      batch_size: Images a batch.
      image_size: Side of the square, pixels.
      start: Batches to pass over, without decoding them.
      random_crop: Instead of stretching, cut a square from a random place, its side
        1 / 1.5 to 1 times the photo's short side.
      flip: Mirror every second image, at random.
      num_workers: Processes that decode; 0 decodes in threads of this process.
      cache: A folder for the decoded, resized images (N * image_size**2 * 3 bytes):
        filled at the first use, read from then on, made anew when `source` or
        `image_size` changed.
      data_dir: Where TFDS keeps its data; the TFDS_DATA_DIR variable by default.
      on_skip: Called in this process, once for each file passed over, with its name
        and the reason; prints a line to stderr by default.

    Attributes:
      num_images: Images in the source, good or bad.
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
        random_crop: bool = False,
        flip: bool = False,
        num_workers: int = 0,
        cache: str | Path | None = None,
        data_dir: str | Path | None = None,
        on_skip: Callable[[str, str], None] | None = None,
    ):
        _check_range("seed", seed, 0, 2**32 - 1)
        _check_range("batch_size", batch_size, 1)
        _check_range("image_size", image_size, 1)
        _check_range("start", start, 0)
        _check_range("num_workers", num_workers, 0)
        if cache is not None and (random_crop or str(source) == EMBEDDED):
            what = "random_crop" if random_crop else f"the source {EMBEDDED!r}"
            raise InputError(
                f"cache={cache} keeps one resized copy of each image, but {what} cuts "
                "a new crop each time; use one or the other."
            )
        self._source = open_source(str(source), data_dir=data_dir)
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

        crop = None
        if isinstance(self._source, _Embedded):
            crop, flip = (EMBEDDED_SCALES, EMBEDDED_ASPECTS), True
        elif random_crop:
            crop = CROP_SCALES, CROP_ASPECTS
        photos: _Photos | _Cached = _Photos(self._source, image_size, crop)
        if cache is not None:
            photos = _open_cache(Path(cache), photos)
        dataset = (
            grain.MapDataset.range(self.num_images)
            .seed(seed)
            .shuffle()
            .repeat()
            .random_map(_Pick(photos, self.num_images, flip))
            # Batches before workers: Grain deals whole batches out to the workers
            # and takes them back in turn, so their number does not show.
            .batch(batch_size, drop_remainder=True, batch_fn=_stack)
        )[start:]
        batch_bytes = batch_size * image_size**2 * 3
        self._dataset = _prefetch(dataset, num_workers, batch_bytes)

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
        with _hidden_main():
            with _blocked_signals():
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


def open_source(name: str, *, data_dir: str | Path | None = None) -> "Source":
    """The photos that a `source` string names; see `Loader`. Raises InputError."""
    if name == EMBEDDED:
        return _Embedded()
    if name.startswith("tfds:"):
        return _Tfds(name.removeprefix("tfds:"), data_dir)
    return _Files(name)


# ---- sources: what is there, and the bytes of it ---------------------------------


class Source:
    """Encoded images by index; pickled, it carries names and offsets, no open file."""

    def __len__(self) -> int:
        raise NotImplementedError

    def name(self, i: int) -> str:
        """What a message calls image `i`."""
        raise NotImplementedError

    def load(self, i: int, at_least: int) -> pil.Image:
        """Image `i` as RGB; see `images.load_rgb`, also for the InputError."""
        raise NotImplementedError

    def fingerprint(self) -> str:
        """Changes when a file comes, goes, or is written."""
        raise NotImplementedError


class _Entry(NamedTuple):
    path: str
    member: str = ""  # of a tar archive
    offset: int = 0
    num_bytes: int = -1  # to the end


class _Files(Source):
    def __init__(self, path: str):
        suffixes = (*images.IMAGE_SUFFIXES, ".tar")
        if re.search(r"\.(tgz|tar\.\w+|zip)$", path, re.IGNORECASE):
            raise InputError(
                f"{path}: a compressed archive has no random access; unpack it into a "
                "folder or a plain .tar."
            )
        self._root = Path(path)
        self._entries: list[_Entry] = []
        for file in images.find_images(path, suffixes=suffixes):
            if file.suffix.lower() == ".tar":
                self._entries += _tar_entries(file)
            else:
                self._entries.append(_Entry(str(file)))
        if not self._entries:
            raise InputError(
                f"{path}: no images in the archive; members ending in "
                f"{' '.join(images.IMAGE_SUFFIXES)} count."
            )

    def __len__(self) -> int:
        return len(self._entries)

    def name(self, i: int) -> str:
        entry = self._entries[i]
        return os.path.join(entry.path, entry.member) if entry.member else entry.path

    def load(self, i: int, at_least: int) -> pil.Image:
        entry = self._entries[i]
        try:
            # Opened for each read: no position or descriptor that threads or
            # processes could share, and little beside the decoding (20 us to 5 ms).
            with open(entry.path, "rb", buffering=0) as file:
                file.seek(entry.offset)
                data = file.read(entry.num_bytes)
        except OSError as error:
            raise InputError(
                f"{self.name(i)}: cannot be opened ({error.strerror})."
            ) from None
        return images.load_rgb(data or b"", name=self.name(i), at_least=at_least)

    def fingerprint(self) -> str:
        return _hash_files(
            [(e.path, f"{e.member}:{e.offset}:{e.num_bytes}") for e in self._entries]
        )


def _tar_entries(path: Path) -> list[_Entry]:
    try:
        with tarfile.open(path, "r:") as archive:
            return [
                _Entry(str(path), member.name, member.offset_data, member.size)
                for member in archive
                if member.isreg()
                and not member.issparse()
                and not os.path.basename(member.name).startswith(".")
                and member.name.lower().endswith(images.IMAGE_SUFFIXES)
            ]
    except (tarfile.TarError, OSError) as error:
        raise InputError(
            f"{path}: cannot be read as a plain tar archive ({error}); if it is "
            "compressed, unpack it, and if damaged, fetch it again."
        ) from error


class _Embedded(_Files):
    def __init__(self):
        package = importlib.util.find_spec("skimage")
        if package is None:
            raise InputError(
                f"source={EMBEDDED!r} needs scikit-image; install it or name a folder."
            )
        folder = Path(package.submodule_search_locations[0]) / "data"
        self._entries = [_Entry(str(folder / name)) for name in EMBEDDED_PHOTOS]
        missing = [e.path for e in self._entries if not os.path.isfile(e.path)]
        if missing:
            raise InputError(
                f"{missing[0]}: scikit-image no longer ships this photo; install "
                "scikit-image 0.26 or name a folder of photos."
            )

    def load(self, i: int, at_least: int) -> pil.Image:
        # Four megabytes in all, read again for every crop.
        return _load_once(self._entries[i].path)


@functools.lru_cache(len(EMBEDDED_PHOTOS))
def _load_once(path: str) -> pil.Image:
    return images.load_rgb(path)


class _Tfds(Source):
    # Group 1 is the data set with its configuration and version, group 2 the split,
    # which may hold a colon itself: coco/2014:1.1.0:train[:80%].
    _NAME = re.compile(r"([^:]+(?::\d+\.\d+\.\d+)?)(?::(.+))?")

    def __init__(self, name: str, data_dir: str | Path | None):
        match = self._NAME.fullmatch(name)
        if match is None:
            raise InputError(f"tfds:{name}: write tfds:NAME or tfds:NAME:SPLIT.")
        where = data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
        self._args = match[1], match[2] or "train", os.path.expanduser(where)
        opened = _open_tfds(*self._args)
        self._length, self._feature = len(opened.records), opened.feature
        self._files = opened.files

    def __len__(self) -> int:
        return self._length

    def name(self, i: int) -> str:
        return f"tfds:{self._args[0]}:{self._args[1]}#{i}"

    def load(self, i: int, at_least: int) -> pil.Image:
        # Looked up, not kept: a worker process opens its own files.
        data = _open_tfds(*self._args).records[i][self._feature]
        return images.load_rgb(data, name=self.name(i), at_least=at_least)

    def fingerprint(self) -> str:
        return _hash_files([(path, self.name(0)) for path in self._files])


class _TfdsRecords(NamedTuple):
    records: Sequence[dict[str, Any]]
    feature: str
    files: list[str]


@functools.lru_cache
def _open_tfds(name: str, split: str, data_dir: str) -> _TfdsRecords:
    import tensorflow_datasets as tfds  # a second that only this source needs
    from tensorflow_datasets.core import read_only_builder

    build = f"tfds build {name} --file_format=array_record --data_dir={data_dir}"
    try:
        # From the files alone: `tfds.data_source` would import the program that
        # made them, which for COCO imports TensorFlow.
        builder = read_only_builder.builder_from_files(name, data_dir=data_dir)
    except tfds.core.DatasetNotFoundError as error:
        raise InputError(
            f"tfds:{name}: not prepared in {data_dir}; prepare it with `{build}` "
            "(needs TensorFlow, reading does not), or set data_dir or TFDS_DATA_DIR."
        ) from error
    features = builder.info.features
    found = [k for k, v in features.items() if isinstance(v, tfds.features.Image)]
    if "image" not in found and len(found) != 1:
        raise InputError(
            f"tfds:{name}: has no feature `image`, and its image features are "
            f"{found or 'none'}; use a data set of images."
        )
    try:
        records = builder.as_data_source(
            split=split, decoders={k: tfds.decode.SkipDecoding() for k in features}
        )
    except NotImplementedError as error:
        raise InputError(
            f"tfds:{name}: prepared as {builder.info.file_format.value}, which has no "
            f"random access; prepare it with `{build}`."
        ) from error
    except ValueError as error:
        raise InputError(
            f"tfds:{name}: no split {split!r}; it has {', '.join(builder.info.splits)}."
        ) from error
    if not len(records):
        raise InputError(f"tfds:{name}: the split {split!r} is empty.")
    files = sorted(str(path) for path in Path(builder.data_path).iterdir())
    return _TfdsRecords(records, "image" if "image" in found else found[0], files)


def _hash_files(entries: Sequence[tuple[str, str]]) -> str:
    """Over the paths, sizes and times of files, and a word beside each."""

    @functools.lru_cache(None)
    def state(path: str) -> str:
        try:
            stat = os.stat(path)
        except FileNotFoundError:
            return "gone"
        return f"{stat.st_size}:{stat.st_mtime_ns}"

    digest = hashlib.sha256()
    for path, word in entries:
        digest.update(
            f"{os.path.abspath(path)}\0{state(path)}\0{word}\n".encode(
                "utf-8", "replace"
            )
        )
    return digest.hexdigest()


# ---- one element: index and random numbers to pixels -----------------------------

_Range = tuple[float, float]


class _Photos:
    """Decodes and resizes image `i` of a source."""

    def __init__(
        self, source: Source, image_size: int, crop: tuple[_Range, _Range] | None
    ):
        self.source = source
        self.image_size = image_size
        self._crop = crop

    def pixels(self, i: int, draws: np.ndarray) -> UInt8[np.ndarray, "size size 3"]:
        """`draws` are four numbers in [0, 1) that place the crop."""
        size = self.image_size
        # Twice what is needed leaves the antialiasing to the resize; a crop takes as
        # little as two thirds of a side.
        photo = self.source.load(i, at_least=3 * size if self._crop else 2 * size)
        if min(photo.size) < MIN_SIDE:
            width, height = photo.size
            raise InputError(
                f"{self.source.name(i)}: {width} x {height} px is tiny; the short side "
                f"needs {MIN_SIDE} px."
            )
        box = None
        if self._crop is not None:
            box = _random_box(draws, *photo.size, *self._crop)
        photo = photo.resize(
            (size, size), pil.Resampling.BICUBIC, box=box, reducing_gap=2.0
        )
        return np.array(photo)


def _random_box(
    draws: np.ndarray, width: int, height: int, scales: _Range, aspects: _Range
) -> tuple[float, float, float, float]:
    """(left, top, right, bottom): log-uniform scale and aspect, uniform position."""

    def between(low: float, high: float, draw: float) -> float:
        return low * (high / low) ** draw

    side = between(*scales, draws[0]) * min(width, height)
    aspect = between(*aspects, draws[1])
    box_w = min(side * max(aspect, 1.0), width)
    box_h = min(side * max(1 / aspect, 1.0), height)
    left, top = draws[2] * (width - box_w), draws[3] * (height - box_h)
    return left, top, min(left + box_w, width), min(top + box_h, height)


class _Pick:
    """(index, rng) to {image, skipped}: the photo there, or the next good one.

    What was passed over travels with the element, from whichever process met it, so
    that the main process can report it.
    """

    def __init__(self, photos: "_Photos | _Cached", num_images: int, flip: bool):
        self._photos = photos
        self._num_images = num_images
        self._flip = flip
        self._bad: dict[int, str] = {}  # met in this process, not to be tried again

    def __call__(self, index: int, rng: np.random.Generator) -> dict[str, Any]:
        draws = rng.random(5)  # all at once: the same whatever happens below
        skipped = []
        for step in range(self._num_images):
            i = (int(index) + step) % self._num_images
            if i not in self._bad:
                try:
                    image = self._photos.pixels(i, draws[:4])
                except InputError as error:
                    self._bad[i] = str(error)
                else:
                    if self._flip and draws[4] < 0.5:
                        image = image[:, ::-1]
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


# ---- the cache: every image decoded once -----------------------------------------


class _Cached:
    """Rows of a uint8 memory map [N size size 3]; each process maps it anew."""

    def __init__(self, path: Path, bad: dict[int, str]):
        self._path = str(path)
        self._bad = bad

    def pixels(self, i: int, draws: np.ndarray) -> UInt8[np.ndarray, "size size 3"]:
        del draws  # no crop
        if i in self._bad:
            raise InputError(self._bad[i])
        return np.array(_open_map(self._path, os.stat(self._path).st_ino)[i])


@functools.lru_cache(4)
def _open_map(path: str, inode: int) -> np.ndarray:
    del inode  # a cache made anew is another file of the same name
    return np.load(path, mmap_mode="r")


def _open_cache(folder: Path, photos: _Photos) -> _Cached:
    """The cache in `folder`, made now if it is not that of these photos."""
    table, notes = folder / "images.npy", folder / "images.json"
    key = {
        "version": 1,
        "num_images": len(photos.source),
        "files": photos.source.fingerprint(),
        "image_size": photos.image_size,
        "resize": "stretch",
    }
    try:
        found = json.loads(notes.read_text())
        found_key, bad = found["key"], {int(i): r for i, r in found["skipped"].items()}
    except FileNotFoundError:
        found_key = None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        found_key = "unreadable"
    if found_key == key and table.is_file():
        return _Cached(table, bad)
    if found_key is not None:
        _print(f"cache {folder}: made for other images or another size; making it anew")

    num_bytes = key["num_images"] * photos.image_size**2 * 3
    temporary = folder / f"images.{secrets.token_hex(4)}.tmp"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # A memory map that outgrows the disk kills the process: ask first.
        free = shutil.disk_usage(folder).free
        if free < num_bytes:
            raise InputError(
                f"cache={folder}: needs {num_bytes / 1e9:.1f} GB, {free / 1e9:.1f} GB "
                "are free; choose another folder, or do without."
            )
        notes.unlink(missing_ok=True)
        bad = _fill_cache(temporary, photos)
        os.replace(temporary, table)
        temporary.write_text(
            json.dumps({"key": key, "skipped": {str(i): r for i, r in bad.items()}})
        )
        os.replace(temporary, notes)
    except OSError as error:
        raise InputError(
            f"cache={folder}: cannot be written ({error.strerror}); choose a folder "
            "that is writable and has room."
        ) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()
    return _Cached(table, bad)


def _fill_cache(path: Path, photos: _Photos) -> dict[int, str]:
    """Writes the table; returns the reasons of the rows that stay empty."""
    num_images, size = len(photos.source), photos.image_size
    rows = np.lib.format.open_memmap(
        path, mode="w+", dtype=np.uint8, shape=(num_images, size, size, 3)
    )
    bad = {}

    def fill(i: int) -> None:
        try:
            rows[i] = photos.pixels(i, np.empty(0))
        except InputError as error:
            bad[i] = str(error)

    with futures.ThreadPoolExecutor(_num_cores()) as pool:
        done = pool.map(fill, range(num_images))
        try:
            for _ in tqdm.tqdm(done, total=num_images, desc="cache", unit="image"):
                pass
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    if len(bad) == num_images:
        raise InputError(
            f"None of the {num_images} images can be used; the first: {bad[0]}"
        )
    rows.flush()
    return dict(sorted(bad.items()))


# ---- threads and processes -------------------------------------------------------


def _prefetch(
    dataset: grain.MapDataset, num_workers: int, batch_bytes: int
) -> grain.IterDataset:
    """Batches decoded ahead: in threads, or in processes whose number does not show."""
    if num_workers == 0:
        threads = min(16, _num_cores())
        ahead = min(16, max(2, 2**28 // batch_bytes))  # at most 256 MB
        return dataset.to_iter_dataset(
            grain.ReadOptions(
                num_threads=min(threads, ahead), prefetch_buffer_size=ahead
            )
        )
    iterable = dataset.to_iter_dataset(
        grain.ReadOptions(num_threads=1, prefetch_buffer_size=2)
    ).mp_prefetch(
        grain.MultiprocessingOptions(num_workers=num_workers, per_worker_buffer_size=2),
        worker_init_fn=_init_worker,
    )
    return grain.experimental.ThreadPrefetchIterDataset(
        iterable, prefetch_buffer_size=num_workers
    )


def _init_worker(index: int, count: int) -> None:
    del index, count
    warnings.simplefilter("ignore")  # what matters comes back with the batch
    parent = multiprocessing.parent_process()

    def follow() -> None:
        parent.join()
        os._exit(0)

    # The main process, killed, takes its workers along.
    threading.Thread(target=follow, daemon=True).start()


@contextlib.contextmanager
def _blocked_signals() -> Iterator[None]:
    """Threads and processes begun in here leave SIGINT and SIGTERM to this one.

    A terminal or a scheduler signals the whole group. Workers that end at once would
    take away the batches with which the main process still finishes its step.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    # Its start would unblock the signals again.
    resource_tracker.ensure_running()
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


@contextlib.contextmanager
def _hidden_main() -> Iterator[None]:
    """Keeps workers begun in here from importing the main script.

    By default a spawned process imports it first: a script without the `__main__`
    guard would start training once more in every worker.
    """
    main = sys.modules["__main__"]
    hidden = {
        name: main.__dict__[name]
        for name in ("__file__", "__spec__")
        if name in main.__dict__
    }
    try:
        main.__dict__.update(dict.fromkeys(hidden, None))
        yield
    finally:
        main.__dict__.update(hidden)


def _stop(running: list[Iterator[dict[str, Any]]]) -> None:
    while running:
        # Dropped here too: what is left of Grain's iterators when the interpreter
        # takes its modules apart complains about it.
        running.pop().close()


def _num_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _check_range(name: str, value: int, low: int, high: int | None = None) -> None:
    if value < low or (high is not None and value > high):
        limit = f"at least {low}" if high is None else f"from {low} to {high}"
        raise InputError(f"{name}={value} is out of range; give a number {limit}.")


def _print_skip(name: str, reason: str) -> None:
    _print(f"skipped {reason}")


def _print(line: str) -> None:
    tqdm.tqdm.write(line, file=sys.stderr)
