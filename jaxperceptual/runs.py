"""What long-running commands share: a folder of their own, being stopped, memory."""

import contextlib
import fcntl
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

from jaxperceptual import files
from jaxperceptual.errors import InputError


def make_folder(path: Path, flag: str) -> Path:
    """The folder, made if need be. Raises InputError if it takes no files."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        files.write_text(path / ".writable", "")
        (path / ".writable").unlink()
    except OSError as error:
        raise InputError(
            f"{flag} {path}: cannot be written ({error.strerror}); "
            "choose another folder."
        ) from error
    return path


@contextlib.contextmanager
def held(path: Path, flag: str, command: str) -> Iterator[None]:
    """Makes the folder, and keeps other processes from running in it meanwhile.

    Raises InputError if it takes no files, or if another process holds it.
    """
    with open(make_folder(path, flag) / ".lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise InputError(
                f"{flag} {path}: another {command} is running in it; wait for it, or "
                "choose another folder."
            ) from error
        yield


@contextlib.contextmanager
def stop_signals() -> Iterator[list[int]]:
    """A list that SIGINT and SIGTERM append themselves to; a second one interrupts."""
    caught: list[int] = []

    def handler(number, _):
        if caught:
            raise KeyboardInterrupt
        caught.append(number)
        print(f"{signal.Signals(number).name}: saving ...", file=sys.stderr)

    previous = {s: signal.signal(s, handler) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield caught
    finally:
        for number, old in previous.items():
            signal.signal(number, old)


@contextlib.contextmanager
def enough_memory(what: str, way_out: str) -> Iterator[None]:
    """Turns running out of memory, here or on the device, into an InputError."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:  # XLA's is one of the latter
        if isinstance(error, RuntimeError) and "RESOURCE_EXHAUSTED" not in str(error):
            raise
        raise InputError(f"{what} does not fit into memory; use {way_out}.") from error
