"""Which image formats are read: a table, and the one door to Pillow's decoders.

Pillow reads some forty formats, EPS by starting Ghostscript; here only those of the
table are tried. Its limit of pixels, a global of the host program, is left alone.
"""

import io
import os
import stat
import struct
from pathlib import Path

from PIL import (
    AvifImagePlugin,
    Image as pil,
    Jpeg2KImagePlugin,
    TgaImagePlugin,
    TiffImagePlugin,
    UnidentifiedImageError,
    WebPImagePlugin,
)

from jaxperceptual.core.errors import InputError

MAX_PIXELS = 200_000_000  # decoded: 600 MB as bytes, 2.4 GB as float32
NO_LIMIT = 2**62  # pixels; for a header, or where memory is asked for first

# By Pillow's names; TGA has no mark at its beginning, and so comes last.
FORMATS = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"),
    "PNG": (".png", ".apng"),
    "WEBP": (".webp",),
    "BMP": (".bmp",),
    "TIFF": (".tif", ".tiff"),
    "GIF": (".gif",),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm"),
    "AVIF": (".avif", ".avifs"),
    "JPEG2000": (".jp2", ".j2k", ".jpx"),
    "TGA": (".tga",),
}
IMAGE_SUFFIXES = tuple(suffix for suffixes in FORMATS.values() for suffix in suffixes)
# Photos too, which a folder's owner would miss: named with the reason, not left out;
# HEIC is read where the extra is installed.
UNREADABLE_SUFFIXES = (".heic", ".heif", ".jxl")

_MARKS = {  # what others begin with
    b"ftypheic": "HEIC",
    b"ftypheix": "HEIC",
    b"ftypmif1": "HEIC",
    b"ftyphevc": "HEIC",
    b"JXL ": "JPEG XL",
    b"\xff\x0a": "JPEG XL",
    b"%!PS": "PostScript",
    b"%PDF": "PDF",
}
_PLUGINS = (  # imported so that Pillow has them
    *(AvifImagePlugin, Jpeg2KImagePlugin, TgaImagePlugin, TiffImagePlugin),
    WebPImagePlugin,
)


def open_picture(
    source: str | os.PathLike | bytes, *, most: int = MAX_PIXELS
) -> pil.Image:
    """As `PIL.Image.open`, for the formats of the table: the header alone is read.

    Raises InputError for a path that is no regular file or may not be read, ValueError
    for more than `most` pixels, and what Pillow raises for what is no image.
    """
    if isinstance(source, bytes):
        return _checked(_opened(io.BytesIO(source), exclusive=False), most)
    check_regular(source)
    file = open(source, "rb")
    try:
        return _checked(_opened(file, exclusive=True), most)
    except BaseException:
        file.close()
        raise


def check_regular(path: str | os.PathLike) -> None:
    """InputError unless it is a file with something in it; not a device, or a pipe."""
    path = Path(path)
    try:
        status = path.stat()
        with_access = os.access(path, os.R_OK)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; check the path.") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{path}: cannot be opened ({reason}).") from None
    if stat.S_ISDIR(status.st_mode):
        raise InputError(f"{path}: a folder; give an image file.")
    if not stat.S_ISREG(status.st_mode):
        raise InputError(f"{path}: not a file (a pipe or a device); give a file.")
    if not with_access:
        raise InputError(
            f"{path}: cannot be opened (Permission denied); give an image file."
        )
    if not status.st_size:
        raise InputError(f"{path}: the file is empty (0 bytes); replace it.")


def _misread(picture: TiffImagePlugin.TiffImageFile) -> str:
    """What of a TIFF's layout Pillow 11 to 13 decodes to other pixels, or "".

    As a comparison with another decoder found: tests/images/test_tiff.py.
    """
    tags = picture.tag_v2
    deep = max(tags.get(TiffImagePlugin.BITSPERSAMPLE, (1,))) > 8
    planes = tags.get(TiffImagePlugin.PLANAR_CONFIGURATION, 1) == 2
    kind = tags.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION)
    if planes and deep and tags.get(TiffImagePlugin.COMPRESSION, 1) == 1:
        return "16-bit planes"
    if planes and kind in (0, 1) and tags.get(TiffImagePlugin.SAMPLESPERPIXEL, 1) > 1:
        return "grey and alpha planes"
    return "16-bit grey, 0 for white" if deep and kind == 0 else ""


def _mend_key(picture: pil.Image) -> str:
    """Of a PNG's one transparent colour: to the depth of the decoded pixels.

    Pillow 11 to 13 compares the colour as the file has it with pixels of 8 bits. What
    cannot be mended is returned, or "": tests/images/test_formats.py.
    """
    key = picture.info.get("transparency")
    raw = picture.tile[0][3] if picture.tile else None
    if isinstance(key, int) and raw in _FEW_BITS:
        picture.info["transparency"] = key * _FEW_BITS[raw]
    return "16-bit colours, one transparent" if key and raw == "RGB;16B" else ""


_FEW_BITS = {"L;2": 85, "L;4": 17}  # Pillow's raw modes; times this is 8 bits


def _opened(file: io.BufferedIOBase, exclusive: bool) -> pil.Image:
    prefix = file.read(16)
    pil.preinit()
    for name in FORMATS:
        factory, accept = pil.OPEN.get(name, (None, None))
        if factory is None or (accept and accept(prefix) is not True):
            continue
        file.seek(0)
        try:
            picture = factory(file, "")
        except (SyntaxError, IndexError, TypeError, struct.error):
            continue  # as Pillow does: not of this format after all
        if name == "TIFF" and (layout := _misread(picture)):
            raise ValueError(f"a TIFF of {layout}, which Pillow misreads")
        if name == "PNG" and (layout := _mend_key(picture)):
            raise ValueError(f"a PNG of {layout}, which Pillow misreads")
        picture._exclusive_fp = exclusive  # closing the picture closes the file
        return picture
    kinds = (kind for mark, kind in _MARKS.items() if mark in prefix)
    kind = next(kinds, None)
    if kind == "HEIC":
        return _heic(file, exclusive)
    reason = f"{kind}, which is not read" if kind else "no known image format"
    raise UnidentifiedImageError(reason)


def _heic(file: io.BufferedIOBase, exclusive: bool) -> pil.Image:
    """By pillow-heif, an extra, without making it one of Pillow's own.

    It turns pictures upright by itself.
    """
    try:
        from pillow_heif import HeifImageFile
    except ModuleNotFoundError:
        raise UnidentifiedImageError(
            "HEIC, which is read after pip install 'jaxperceptual[heic]'"
        ) from None
    file.seek(0)
    picture = HeifImageFile(file, "")
    picture._exclusive_fp = exclusive
    return picture


def _checked(picture: pil.Image, most: int) -> pil.Image:
    if picture.width * picture.height > most:
        raise ValueError(f"more than {most // 1_000_000} million pixels")
    return picture
