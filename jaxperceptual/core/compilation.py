"""The compiler's persistent cache: what was compiled once, found at the next start."""

import contextlib
import os
import shutil
import time
from pathlib import Path

import jax

from jaxperceptual.core import machine
from jaxperceptual.core.errors import InputError

MAX_BYTES = 512 * 1024**2  # then, at a start, what was not used for longest goes
_KEPT = 0.75  # of them
ROOM = 100 * 1024**2  # bytes; with less on the disk, nothing is added
_WRITING = 10.0  # s in which JAX of another process may still write a file


def use_cache() -> None:
    """Keeps what is compiled in the user's cache folder, and finds it there.

    JAX's own settings, as JAX_COMPILATION_CACHE_DIR or JAX_ENABLE_COMPILATION_CACHE=0,
    go first. A folder that cannot be written is no reason to stop: there is no cache
    then. On a disk that is all but full, it is read alone.
    """
    if jax.config.jax_compilation_cache_dir is not None:
        return
    try:
        # The compiler divides loops by the cores it sees; JAX's key leaves them out.
        folder = machine.cache_folder() / f"compiled-for-{machine.num_cores()}-cores"
        folder.mkdir(parents=True, exist_ok=True)
        prune(folder, MAX_BYTES)
        drop_cut(folder)
        room = shutil.disk_usage(folder).free
    except (OSError, InputError):  # a user without a home
        return
    if os.access(folder, os.W_OK | os.X_OK):
        jax.config.update("jax_compilation_cache_dir", str(folder))
        least = 0.0 if room > ROOM else float("inf")
        jax.config.update("jax_persistent_cache_min_compile_time_secs", least)


def prune(folder: Path, most: int) -> None:
    """Deletes the files used least lately, if there are more than `most` bytes.

    JAX's own bound looks at every file, under a lock, for each one that it adds: with
    thousands of them that takes longer than to compile most programs.
    """
    with os.scandir(folder) as entries:
        found = [(entry.stat(), entry.path) for entry in entries if entry.is_file()]
    total = sum(stat.st_size for stat, _ in found)
    if total <= most:
        return
    found.sort(key=lambda file: max(file[0].st_atime, file[0].st_mtime))
    for stat, path in found:
        if total <= _KEPT * most:
            return
        with contextlib.suppress(FileNotFoundError):  # by another start
            os.unlink(path)
        total -= stat.st_size


def drop_cut(folder: Path) -> None:
    """Deletes what was not written to its end, by a process killed or a full disk.

    JAX writes under the final name, and never again where there is a file; it would
    warn of it at each start. What was looked at once is not again.
    """
    # It alone knows how it compresses, with zlib or one of two zstandards.
    from jax._src.compilation_cache import decompress_executable

    stamp = folder / "whole"
    since = stamp.stat().st_mtime if stamp.exists() else 0.0
    until = time.time() - _WRITING
    with os.scandir(folder) as entries:
        found = [e for e in entries if e.name.endswith("-cache") and e.is_file()]
    for entry in found:
        with contextlib.suppress(FileNotFoundError):  # by another start
            if not since <= entry.stat().st_mtime < until:
                continue
            data = Path(entry.path).read_bytes()
            try:
                decompress_executable(data)
            except Exception:  # each of them has its own
                os.unlink(entry.path)
    stamp.touch()
    os.utime(stamp, (until, until))
