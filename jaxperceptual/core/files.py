"""Files that appear whole or not at all."""

import contextlib
import csv
import hashlib
import os
import secrets
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from jaxperceptual.core.errors import InputError, first_line


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A binary file to write, which becomes `path` when the block ends without error.

    Until then it has a name of its own in the same folder, so that the rename is atomic
    and two writers may race; an error leaves nothing behind. OSErrors pass through.
    """
    # The ending of `path` stays, since .gitignore and the like go by it.
    temporary = path.with_name(f".{secrets.token_hex(8)}{path.suffix}")
    try:
        with open(temporary, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        if error.filename is not None and Path(error.filename) == temporary:
            error.filename, error.filename2 = str(path), None
        raise
    finally:
        with contextlib.suppress(OSError):  # gone already, or never made
            temporary.unlink()


@contextlib.contextmanager
def reading(path: Path, way_out: str = "delete it") -> Iterator[None]:
    """Within it, a file that this project wrote is read, and taken to be as written.

    Raises InputError, with the file's name and the `way_out`, for whatever goes wrong
    in doing so: it was damaged, or is another program's.
    """
    try:
        yield
    except (OSError, EOFError, LookupError, ValueError, TypeError) as error:
        what = first_line(error)
    except (zipfile.BadZipFile, csv.Error) as error:
        what = str(error)
    else:
        return
    raise InputError(f"{path}: cannot be read ({what}); {way_out}.")


def write_text(path: Path, text: str) -> None:
    """The whole of a small text file, or nothing; file names in it are their bytes."""
    with replacing(path) as file:
        file.write(text.encode(errors="surrogateescape"))


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
