"""Every photo decoded once, then read from a memory map [N size size 3] on disk."""

import contextlib
import functools
import hashlib
import json
import os
import secrets
import shutil
import sys
import time
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path
from typing import TextIO

import numpy as np
from jaxtyping import UInt8

from jaxperceptual.core import files, folders, machine
from jaxperceptual.core.errors import InputError
from jaxperceptual.core.progress import Bar
from jaxperceptual.data.decoded import Decoded


class Cached:
    """As `Decoded`: rows of a uint8 memory map, which each process maps anew."""

    def __init__(self, path: Path, bad: dict[int, str]):
        self._path = str(path)
        self._bad = bad

    @property
    def table(self) -> UInt8[np.ndarray, "n size size 3"]:
        """All photos; the rows of bad ones are empty."""
        return _open_map(self._path)

    def pixels(self, i: int, draws: np.ndarray) -> UInt8[np.ndarray, "size size 3"]:
        del draws  # no crop
        self._check(i)
        return np.array(self.table[i])

    def row(self, i: int, draws: np.ndarray) -> np.int32:
        """Where in `table` its pixels are; InputError as `pixels` raises it."""
        del draws
        self._check(i)
        return np.int32(i)

    def _check(self, i: int) -> None:
        if i in self._bad:
            raise InputError(self._bad[i])


def open_cache(folder: Path, photos: Decoded) -> Cached:
    """The cache in `folder` of just these photos at this size, made now if need be.

    Its name holds a hash of what it is made of, so that one that is there is right, and
    is never changed under a run that reads it.

    Raises:
      InputError: The folder cannot be written or lacks the room, or no image can be
        used.
    """
    key = {
        "version": 1,
        "num_images": len(photos.source),
        "files": photos.source.fingerprint(),
        "image_size": photos.image_size,
        "resize": "stretch",
    }
    digest = hashlib.sha256(json.dumps(key).encode()).hexdigest()[:16]
    if found := _found(folder / digest, photos):
        return found
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _alone(folder / f".{digest}.lock") as alone:
            # Another process may have made it while this one waited.
            return _found(folder / digest, photos) or _made(
                folder / digest, photos, key, alone=alone
            )
    except OSError as error:
        raise InputError(
            f"cache={folder}: cannot be written ({error.strerror}); choose a folder "
            "that is writable and has room."
        ) from error


def _found(stem: Path, photos: Decoded) -> Cached | None:
    table, notes = stem.with_suffix(".npy"), stem.with_suffix(".json")
    if not (table.is_file() and notes.is_file()):
        return None
    with files.reading(notes):
        skipped = json.loads(notes.read_text())["skipped"]
        bad = {int(i): str(reason) for i, reason in skipped.items()}
    with files.reading(table):
        if _open_map(str(table)).shape[0] != len(photos.source):
            raise ValueError("of another number of photos")
    return Cached(table, bad)


def _made(stem: Path, photos: Decoded, key: dict, *, alone: bool) -> Cached:
    num_bytes = key["num_images"] * photos.image_size**2 * 3
    # Of one name, so that what a killed process left goes.
    word = "filling" if alone else secrets.token_hex(4)
    temporary = stem.with_name(f".{stem.name}.{word}")
    try:
        temporary.unlink(missing_ok=True)
        free = shutil.disk_usage(stem.parent).free
        if free < num_bytes:
            raise InputError(
                f"cache={stem.parent}: needs {num_bytes / 1e9:.1f} GB, "
                f"{free / 1e9:.1f} GB are free; choose another folder, or do without."
            )
        bad = _fill(temporary, photos)
        notes = json.dumps({"key": key, "skipped": bad})
        files.write_text(stem.with_suffix(".json"), notes)
        os.replace(temporary, stem.with_suffix(".npy"))
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()
    return Cached(stem.with_suffix(".npy"), bad)


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[bool]:
    """Holds a lock, and waits for it; False where there are none."""
    told = False
    while True:
        with path.open("w") as file:
            try:
                locked = folders.take_lock(file)
            except BlockingIOError:
                if not told:
                    print("cache: another process fills it; waiting", file=sys.stderr)
                told = True
                time.sleep(0.2)
                continue
            if locked and not _is_still(file, path):
                continue  # deleted by the one that held it
            try:
                yield locked
            finally:
                path.unlink(missing_ok=True)
            return


def _is_still(file: TextIO, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


@functools.lru_cache(4)
def _open_map(path: str) -> np.ndarray:
    return np.load(path, mmap_mode="r")


def _fill(path: Path, photos: Decoded) -> dict[int, str]:
    """Writes the table; returns the reasons of the rows that stay empty."""
    num_images, size = len(photos.source), photos.image_size
    rows = np.lib.format.open_memmap(
        path, mode="w+", dtype=np.uint8, shape=(num_images, size, size, 3)
    )
    # A memory map that outgrows the disk kills the process: all of it is taken now.
    with path.open("r+b") as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    bad = {}

    def fill(i: int) -> None:
        try:
            rows[i] = photos.pixels(i, np.empty(0))
        except InputError as error:
            bad[i] = str(error)

    with futures.ThreadPoolExecutor(machine.num_cores()) as pool:
        done = pool.map(fill, range(num_images))
        try:
            for _ in Bar(done, total=num_images, desc="cache", unit="image"):
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
