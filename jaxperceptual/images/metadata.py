"""What a photo's file tells beside its pixels: date, camera, place, resolution."""

import re
from pathlib import Path
from typing import Any, NamedTuple

from PIL import ExifTags, Image as pil
from PIL.PngImagePlugin import PngInfo

from jaxperceptual.core.errors import InputError
from jaxperceptual.images.formats import NO_LIMIT, open_picture

# What no longer holds of another image of the same scene: left out, or written anew.
_GONE = (
    *(ExifTags.Base.Orientation, ExifTags.Base.ImageWidth, ExifTags.Base.ImageLength),
    *(ExifTags.Base.BitsPerSample, ExifTags.Base.Compression),
    *(ExifTags.Base.PhotometricInterpretation, ExifTags.Base.SamplesPerPixel),
    *(ExifTags.Base.StripOffsets, ExifTags.Base.StripByteCounts),
    *(ExifTags.Base.RowsPerStrip, ExifTags.Base.PlanarConfiguration),
    *(ExifTags.Base.Predictor, ExifTags.Base.SampleFormat, ExifTags.Base.ColorMap),
    *(ExifTags.Base.TileWidth, ExifTags.Base.TileLength, ExifTags.Base.TileOffsets),
    *(ExifTags.Base.TileByteCounts, ExifTags.Base.ExtraSamples),
    *(ExifTags.Base.JpegIFOffset, ExifTags.Base.JpegIFByteCount),
    *(ExifTags.Base.InterColorProfile, ExifTags.Base.XMLPacket),
    *(ExifTags.Base.XResolution, ExifTags.Base.YResolution),
    ExifTags.Base.ResolutionUnit,  # of dpi, which every format has a place for
)
_SRGB = 1
_XMP_KEY = "XML:com.adobe.xmp"  # of a PNG's text
_XMP_TIFF_TAG = 700


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
            for tag in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo):
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
        dpi = dpi if len(dpi) == 2 and min(dpi) > 1 else None
    except (TypeError, ValueError, ZeroDivisionError):
        dpi = None
    xmp = xmp.encode() if isinstance(xmp, str) else xmp
    tells = any(tag not in _GONE for tag in exif)
    return Metadata(exif, xmp, dpi) if tells or xmp or dpi else None


def save_options(
    metadata: Metadata, kind: str, width: int, height: int
) -> dict[str, Any]:
    """What Pillow's `save` takes to keep it in a file of a format, of this size.

    kind: "JPEG", "PNG", "WEBP", "TIFF" or "BMP". Orientation and thumbnail are gone, as
    the pixels are upright and new; sizes and colour space are the new image's. A TIFF
    by libtiff has no room for the directories of details and place: camera, date and
    XMP are kept there.
    """
    options: dict[str, Any] = {}
    if metadata.dpi and kind in ("JPEG", "PNG", "TIFF", "BMP"):
        options["dpi"] = metadata.dpi
    if kind == "BMP":
        return options
    exif = _of_another_image(metadata.exif, width, height)
    if kind == "TIFF":
        date = exif.get_ifd(ExifTags.IFD.Exif).get(ExifTags.Base.DateTimeOriginal)
        exif = _without_directories(exif)
        if date:
            exif.setdefault(ExifTags.Base.DateTime, date)
    if len(exif) or exif.get_ifd(ExifTags.IFD.Exif):
        options["exif"] = exif if kind == "TIFF" else exif.tobytes()
    if xmp := _upright_xmp(metadata.xmp):
        if kind == "PNG":
            info = PngInfo()
            info.add_itxt(_XMP_KEY, xmp.decode(errors="replace"))
            options["pnginfo"] = info
        elif kind == "TIFF":
            exif[_XMP_TIFF_TAG] = xmp
            options["exif"] = exif
        else:
            options["xmp"] = xmp
    return options


def _of_another_image(exif: pil.Exif, width: int, height: int) -> pil.Exif:
    made = pil.Exif()
    for tag, value in exif.items():
        if tag not in _GONE and tag not in list(ExifTags.IFD):
            made[tag] = value
    for ifd in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo):
        if values := dict(exif.get_ifd(ifd)):
            made.get_ifd(ifd).update(values)
    if len(made) or made.get_ifd(ExifTags.IFD.Exif):
        details = made.get_ifd(ExifTags.IFD.Exif)
        details[ExifTags.Base.ExifImageWidth] = width
        details[ExifTags.Base.ExifImageHeight] = height
        details[ExifTags.Base.ColorSpace] = _SRGB
    return made


def _without_directories(exif: pil.Exif) -> pil.Exif:
    made = pil.Exif()
    for tag, value in exif.items():
        if tag not in list(ExifTags.IFD):
            made[tag] = value
    return made


def _upright_xmp(xmp: bytes) -> bytes:
    """With the orientation that pixels now have; sizes there are left out."""
    xmp = re.sub(rb'(tiff:Orientation=")\d(")', rb"\g<1>1\2", xmp)
    xmp = re.sub(rb"(<tiff:Orientation>)\d(<)", rb"\g<1>1\2", xmp)
    return re.sub(
        rb'\s(?:tiff:Image(?:Width|Length)|exif:Pixel[XY]Dimension)="\d+"', b"", xmp
    )
