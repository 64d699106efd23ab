"""Files that appear whole or not at all."""

import contextlib
import hashlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO


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
    finally:
        with contextlib.suppress(OSError):  # gone already, or never made
            temporary.unlink()


def write_text(path: Path, text: str) -> None:
    """The whole of a small text file, or nothing; file names in it are their bytes."""
    with replacing(path) as file:
        file.write(text.encode(errors="surrogateescape"))


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
