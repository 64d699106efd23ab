"""A folder of one's own: made, writable, and held against other processes."""

import contextlib
import sys
import tempfile
from collections.abc import Iterator
from io import IOBase
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

from jaxperceptual.core.errors import InputError


def make_folder(path: Path, flag: str) -> Path:
    """The folder, made if need be. Raises InputError if it takes no files."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise InputError(
            f"{flag} {path}: cannot be written ({error.strerror}); "
            "choose another folder."
        ) from error
    return path


@contextlib.contextmanager
def held(path: Path, flag: str, command: str) -> Iterator[None]:
    """Makes the folder, and keeps other processes from running in it meanwhile.

    Raises InputError if it takes no files, or if another process holds it. On a file
    system without locks it says so, and goes on.
    """
    with open(make_folder(path, flag) / ".lock", "w") as lock:
        try:
            if not take_lock(lock):
                print(
                    f"{command}: note: the file system of {path} has no locks; start "
                    f"no other {command} in it meanwhile",
                    file=sys.stderr,
                )
        except BlockingIOError as error:
            raise InputError(
                f"{flag} {path}: another {command} is running in it; wait for it, or "
                "choose another folder."
            ) from error
        yield


def take_lock(file: IOBase) -> bool:
    """Locks the file until it is closed; False where there are no locks.

    That is on some network file systems, and on Windows. Raises BlockingIOError if
    another process holds it.
    """
    if fcntl is None:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError:  # ENOSYS, ENOLCK, ENOTSUP, EINVAL: by file system
        return False
    return True
