"""An image file written from the top down, so that no more than some rows are held."""

import contextlib
import io
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
from jaxtyping import UInt8
from PIL import Image as pil

from jaxperceptual.core import files
from jaxperceptual.core.errors import InputError
from jaxperceptual.images import profiles
from jaxperceptual.images.metadata import Metadata, save_options
from jaxperceptual.images.writing import PNG_LEVEL

SUFFIXES = (".png",)
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_UP = 2  # the filter: each byte less the one above it
_LONGEST = 2**31 - 1  # px a side

Rows = UInt8[np.ndarray, "rows w c"]


@contextlib.contextmanager
def writing_png(
    path: str | Path,
    width: int,
    height: int,
    *,
    alpha: bool = False,
    metadata: Metadata | None = None,
) -> Iterator[Callable[[Rows], None]]:
    """A function that takes rows, uint8 [rows w 3], or [rows w 4] with `alpha`.

    The file appears whole when the block ends, all rows having been given, or not at
    all. It says that its colours are sRGB, and what `metadata` tells, as
    `writing.write_image` has it.

    Raises InputError if it cannot be written.
    """
    try:
        with files.replacing(Path(path)) as file:
            rows = _Rows(file, width, 4 if alpha else 3)
            size = struct.pack(">IIBBBBB", width, height, 8, 6 if alpha else 2, 0, 0, 0)
            file.write(_SIGNATURE)
            _write_chunk(file, b"IHDR", size)
            for kind, data in _told(metadata, width, height):
                _write_chunk(file, kind, data)
            yield rows.put
            rows.end()
            if rows.count != height:
                raise ValueError(f"{rows.count} rows of {height}")
            _write_chunk(file, b"IEND", b"")
    except OSError as error:
        raise InputError(
            f"{path}: cannot be written ({error.strerror or error}); choose a folder "
            "that exists, is writable and has room."
        ) from error


class _Rows:
    """Rows as a PNG's compressed data."""

    def __init__(self, file: BinaryIO, width: int, channels: int):
        self.count = 0
        self._file = file
        self._shape = width, channels
        self._above = np.zeros((1, width * channels), np.uint8)
        self._packed = zlib.compressobj(PNG_LEVEL)

    def put(self, rows: Rows) -> None:
        n, *shape = rows.shape
        if tuple(shape) != self._shape:
            raise ValueError(f"rows of {shape}; the image's are {self._shape}.")
        flat = rows.reshape(n, -1)
        filtered = np.empty((n, 1 + flat.shape[1]), np.uint8)
        filtered[:, 0] = _UP
        np.subtract(flat, np.concatenate([self._above, flat[:-1]]), out=filtered[:, 1:])
        self._above = flat[-1:].copy()
        self.count += n
        self._write(self._packed.compress(filtered))

    def end(self) -> None:
        self._write(self._packed.flush())

    def _write(self, data: bytes) -> None:
        if data:
            _write_chunk(self._file, b"IDAT", data)


def _write_chunk(file: BinaryIO, kind: bytes, data: bytes) -> None:
    file.write(struct.pack(">I", len(data)) + kind + data)
    file.write(struct.pack(">I", zlib.crc32(data, zlib.crc32(kind))))


def _told(metadata: Metadata | None, width: int, height: int):
    """What Pillow writes beside the pixels, chunk by chunk."""
    options = {} if metadata is None else save_options(metadata, "PNG", width, height)
    made = io.BytesIO()
    pil.new("RGB", (1, 1)).save(made, "PNG", icc_profile=profiles.srgb(), **options)
    data, at = made.getvalue(), len(_SIGNATURE)
    while at < len(data):
        (length,), kind = struct.unpack_from(">I", data, at), data[at + 4 : at + 8]
        if kind not in (b"IHDR", b"IDAT", b"IEND"):
            yield kind, data[at + 8 : at + 8 + length]
        at += 12 + length
