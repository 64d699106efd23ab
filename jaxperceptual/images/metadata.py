"""What a photo's file tells beside its pixels: date, camera, place, resolution."""

import math
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from PIL import ExifTags, Image as pil
from PIL.PngImagePlugin import PngInfo

from jaxperceptual.core.errors import InputError
from jaxperceptual.images.formats import NO_LIMIT, open_picture

_TEXT = (
    *(ExifTags.Base.ImageDescription, ExifTags.Base.Make, ExifTags.Base.Model),
    *(ExifTags.Base.Software, ExifTags.Base.DateTime, ExifTags.Base.Artist),
    *(ExifTags.Base.HostComputer, ExifTags.Base.Copyright),
    *(ExifTags.Base.DocumentName, ExifTags.Base.PageName),
)
# What a file's first directory tells of the scene, by the type of its value. All else
# is of the pixels as they were: sizes, layers, directories, raw colours.
_TOLD: dict[int, type] = dict.fromkeys(_TEXT, str) | {
    ExifTags.Base.Rating: int,
    ExifTags.Base.RatingPercent: int,
    ExifTags.Base.XPTitle: bytes,
    ExifTags.Base.XPComment: bytes,
    ExifTags.Base.XPAuthor: bytes,
    ExifTags.Base.XPKeywords: bytes,
    ExifTags.Base.XPSubject: bytes,
}
_DIRECTORIES = (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo)
_SRGB = 1
_XMP_KEY = "XML:com.adobe.xmp"  # of a PNG's text
_XMP_TIFF_TAG = 700
_MOST_DPI = 65_535  # what a JPEG has room for
_MOST_IN_JPEG = {"exif": 65_533, "xmp": 65_504}  # bytes of a segment


class Metadata(NamedTuple):
    """Of one file; empty, or None, for what it does not tell."""

    exif: pil.Exif
    xmp: bytes
    dpi: tuple[float, float] | None


def read_metadata(path: str | Path) -> Metadata | None:
    """Of an image file; None where nothing is told, or nothing that can be read."""
    try:
        with open_picture(path, most=NO_LIMIT) as picture:
            exif = picture.getexif()
            for tag in _DIRECTORIES:
                exif.get_ifd(tag)  # read while the file is open
            info = picture.info
    except InputError:
        raise
    except Exception:  # damaged metadata says nothing, and the pixels are fine
        return None
    xmp = info.get("xmp") or info.get(_XMP_KEY) or b""
    dpi = info.get("dpi")
    try:
        dpi = tuple(float(value) for value in dpi)
        fits = len(dpi) == 2 and all(1 < value < _MOST_DPI for value in dpi)
        dpi = dpi if fits else None
    except (TypeError, ValueError, ZeroDivisionError):
        dpi = None
    xmp = xmp.encode() if isinstance(xmp, str) else xmp
    tells = any(tag in _TOLD for tag in exif) or any(
        exif.get_ifd(directory) for directory in _DIRECTORIES
    )
    return Metadata(exif, xmp, dpi) if tells or xmp or dpi else None


def save_options(
    metadata: Metadata, kind: str, width: int, height: int
) -> dict[str, Any]:
    """What Pillow's `save` takes to keep it in a file of a format, of this size.

    kind: "JPEG", "PNG", "WEBP", "TIFF" or "BMP". Orientation and thumbnail are gone, as
    the pixels are upright and new; sizes and colour space are the new image's. A TIFF
    by libtiff has no room for the directories of details and place: camera, date and
    XMP are kept there. What cannot be written again, damaged or too long, is left out.
    """
    options: dict[str, Any] = {}
    if metadata.dpi and kind in ("JPEG", "PNG", "TIFF", "BMP"):
        options["dpi"] = metadata.dpi
    if kind == "BMP":
        return options
    most = _MOST_IN_JPEG if kind == "JPEG" else {}
    xmp = _upright_xmp(metadata.xmp)
    if len(xmp) > most.get("xmp", math.inf):
        xmp = b""
    if kind == "TIFF":
        exif = _for_libtiff(metadata.exif)
        if xmp:
            exif[_XMP_TIFF_TAG] = xmp
        return options | ({"exif": exif} if exif else {})
    exif = _of_another_image(metadata.exif, width, height)
    if details := exif.get_ifd(ExifTags.IFD.Exif):
        try:
            data = exif.tobytes()
        except Exception:  # of many kinds; which tag it is takes longer to find
            exif = _of_another_image(metadata.exif, width, height, keep=_writable)
            details, data = exif.get_ifd(ExifTags.IFD.Exif), exif.tobytes()
        if len(data) > most.get("exif", math.inf):
            details.pop(ExifTags.IFD.MakerNote, None)
            data = exif.tobytes()
        if len(data) <= most.get("exif", math.inf):
            options["exif"] = data
    if xmp and kind == "PNG":
        info = PngInfo()
        info.add_itxt(_XMP_KEY, xmp.decode(errors="replace"))
        options["pnginfo"] = info
    elif xmp:
        options["xmp"] = xmp
    return options


def _for_libtiff(exif: pil.Exif) -> pil.Exif:
    made = pil.Exif()
    made.update(_of_the_scene(exif))
    details = exif.get_ifd(ExifTags.IFD.Exif)
    for _, date in _values(details, [ExifTags.Base.DateTimeOriginal]):
        if isinstance(date, str):
            made.setdefault(ExifTags.Base.DateTime, date)
    return made


def _of_another_image(
    exif: pil.Exif,
    width: int,
    height: int,
    keep: Callable[..., bool] = lambda *_: True,
) -> pil.Exif:
    """Empty, or with details of the new image. `keep` as `_writable`."""
    made = pil.Exif()
    for tag, value in _of_the_scene(exif):
        if keep(tag, value):
            made[tag] = value
    for directory in _DIRECTORIES:
        values = exif.get_ifd(directory)
        for tag, value in _values(values, values):
            if tag != ExifTags.IFD.Interop and keep(tag, value, directory):
                made.get_ifd(directory)[tag] = value
    if made or any(made.get_ifd(directory) for directory in _DIRECTORIES):
        details = made.get_ifd(ExifTags.IFD.Exif)
        details[ExifTags.Base.ExifImageWidth] = width
        details[ExifTags.Base.ExifImageHeight] = height
        details[ExifTags.Base.ColorSpace] = _SRGB
    return made


def _of_the_scene(exif: pil.Exif):
    for tag, value in _values(exif, _TOLD):
        # libtiff would take a number for an address, where text belongs.
        if isinstance(value, _TOLD[tag]):
            yield tag, value


def _values(directory: Mapping[int, Any], tags: Iterable[int]):
    for tag in tags:
        try:
            value = directory.get(tag)  # is decoded now
        except Exception:  # damaged: it says nothing
            continue
        if value is not None:
            yield tag, value


def _writable(tag: int, value: Any, directory: int | None = None) -> bool:
    """Whether Pillow can write the value, whose type a file is free to choose."""
    alone = pil.Exif()
    (alone if directory is None else alone.get_ifd(directory))[tag] = value
    try:
        alone.tobytes()
    except Exception:
        return False
    return True


def _upright_xmp(xmp: bytes) -> bytes:
    """With the orientation that pixels now have; sizes there are left out."""
    xmp = re.sub(rb'(tiff:Orientation=")\d(")', rb"\g<1>1\2", xmp)
    xmp = re.sub(rb"(<tiff:Orientation>)\d(<)", rb"\g<1>1\2", xmp)
    return re.sub(
        rb'\s(?:tiff:Image(?:Width|Length)|exif:Pixel[XY]Dimension)="\d+"', b"", xmp
    )
