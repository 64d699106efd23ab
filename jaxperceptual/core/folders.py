"""A folder of one's own: made, writable, and held against other processes."""

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path

from jaxperceptual.core import files
from jaxperceptual.core.errors import InputError


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
