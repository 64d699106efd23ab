"""Every photo decoded once, then read from a memory map [N size size 3] on disk."""

import contextlib
import functools
import json
import os
import secrets
import shutil
import sys
from concurrent import futures
from pathlib import Path

import numpy as np
import tqdm
from jaxtyping import UInt8

from jaxperceptual.errors import InputError
from jaxperceptual.photos import Photos
from jaxperceptual.workers import num_cores


class Cached:
    """As `Photos`: rows of a uint8 memory map, which each process maps anew."""

    def __init__(self, path: Path, bad: dict[int, str]):
        self._path = str(path)
        self._bad = bad

    def pixels(self, i: int, draws: np.ndarray) -> UInt8[np.ndarray, "size size 3"]:
        del draws  # no crop
        if i in self._bad:
            raise InputError(self._bad[i])
        return np.array(_open_map(self._path, os.stat(self._path).st_ino)[i])


def open_cache(folder: Path, photos: Photos) -> Cached:
    """The cache in `folder`, made now if it is not that of these photos.

    Raises:
      InputError: The folder cannot be written or lacks the room, or no image can be
        used.
    """
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
        return Cached(table, bad)
    if found_key is not None:
        tqdm.tqdm.write(
            f"cache {folder}: made for other images or another size; making it anew",
            file=sys.stderr,
        )

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
        bad = _fill(temporary, photos)
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
    return Cached(table, bad)


@functools.lru_cache(4)
def _open_map(path: str, inode: int) -> np.ndarray:
    del inode  # a cache made anew is another file of the same name
    return np.load(path, mmap_mode="r")


def _fill(path: Path, photos: Photos) -> dict[int, str]:
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

    with futures.ThreadPoolExecutor(num_cores()) as pool:
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
