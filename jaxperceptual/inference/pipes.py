"""`-` in place of a photo or of -o: from standard input, to standard output."""

import contextlib
import io
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from jaxperceptual.core.errors import InputError
from jaxperceptual.images.formats import NO_LIMIT, open_picture
from jaxperceptual.images.reading import reason_of

PIPE, _STDIN = "-", "standard input"
_SUFFIXES = {"JPEG": ".jpg", "PNG": ".png", "WEBP": ".webp", "TIFF": ".tif"}
_SUFFIXES["MPO"] = _SUFFIXES["JPEG"]  # of a phone, with a second picture in it


@contextlib.contextmanager
def piped(
    photos: Sequence[str], output: str | None, suffix: str | None
) -> Iterator[tuple[Sequence[str], str | None]]:
    """Photos and output as files, where they were `-`.

    What comes in is kept in a file within the block; what was made goes out when the
    block ends without an error, in the format of `suffix`, or of what came in. Nothing
    else is printed meanwhile. A photo from standard input goes to standard output
    unless told otherwise.

    Raises InputError for more than one photo with one of them, and for a terminal as
    output.
    """
    if PIPE not in (*photos, output):
        yield photos, output
        return
    if len(photos) != 1:
        raise InputError(f"{PIPE}: one photo at a time; there are {len(photos)}.")
    to_stdout = output in (None, PIPE)
    if to_stdout and sys.stdout is None:
        raise InputError(f"-o {PIPE}: standard output is closed; give a file.")
    if to_stdout and sys.stdout.isatty():
        raise InputError(f"-o {PIPE}: a terminal; give a file, or | or > one.")
    with tempfile.TemporaryDirectory() as folder:
        (photo,) = photos
        if photo == PIPE:
            data, ending = _received()
            photo = str(Path(folder) / f"stdin{ending}")
            Path(photo).write_bytes(data)
        if not to_stdout:
            with _named(photo):
                yield [photo], output
            return
        ending = suffix or _target_of(Path(photo).suffix)
        target = Path(folder) / f"stdout{ending}"
        with contextlib.redirect_stdout(io.StringIO()), _named(photo):
            yield [photo], str(target)
        if target.exists():
            with target.open("rb") as file:
                shutil.copyfileobj(file, sys.stdout.buffer)
            sys.stdout.buffer.flush()


def _received():
    if sys.stdin is None:
        raise InputError(f"{PIPE}: standard input is closed; give a photo.")
    data = sys.stdin.buffer.read()
    if not data:
        raise InputError(f"{_STDIN}: it is empty (0 bytes); give a photo.")
    try:
        with open_picture(data, most=NO_LIMIT) as picture:
            return data, _SUFFIXES.get(picture.format, "")
    except InputError:
        raise
    except Exception as error:  # of many kinds, by format
        reason = reason_of(error)
    raise InputError(f"{_STDIN}: cannot be read as an image ({reason}); give a photo.")


@contextlib.contextmanager
def _named(photo):
    """What is wrong with the file is said of standard input."""
    try:
        yield
    except InputError as error:
        if Path(photo).stem != "stdin":
            raise
        raise InputError(str(error).replace(photo, _STDIN)) from error


def _target_of(suffix):
    return suffix if suffix.lower() in (".jpeg", *_SUFFIXES.values()) else ".png"
