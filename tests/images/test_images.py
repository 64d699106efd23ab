""""""

import io
import os
import struct
import sys

import numpy as np
import pytest
from PIL import Image as pil, TiffImagePlugin, TiffTags

from jaxperceptual.core.errors import InputError
from jaxperceptual.images import formats, metadata, profiles, sheets
from jaxperceptual.images.finding import find_images
from jaxperceptual.images.reading import (
    from_picture,
    load_rgb,
    read_header,
    read_image,
    read_with_alpha,
)
from jaxperceptual.images.writing import check_fits, without_white, write_image

# Grey levels of 255.
JPEG = dict(rtol=0, atol=2)  # one colour, at quality 100
LOSSY = dict(rtol=0, atol=4)  # one colour, at the quality that is written
AVERAGED = dict(rtol=0, atol=1)  # pixels of 0 and 255, by weights of 8 bits
ROUNDED_TWICE = dict(rtol=0, atol=1)  # to 8 bits, as colours and over white
UNDER_HALF_ALPHA = dict(rtol=0, atol=1.1)  # half a level, divided by 128 / 255


def pixel(path):
    return read_image(path)[0, 0].tolist()


def ramp(height, width):
    """Every pixel different, so that a turn or a shift shows."""
    return np.arange(height * width * 3, dtype=np.float32).reshape(height, width, 3)


# ---- conversions -----------------------------------------------------------------


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_undone(tmp_path, orientation):
    upright = ramp(2, 3).astype(np.uint8)
    # What a camera stores under each tag, from the EXIF table: where row 0 and column
    # 0 of the stored picture lie in the upright one.
    stored = {
        1: upright,  # top, left
        2: upright[:, ::-1],  # top, right
        3: upright[::-1, ::-1],  # bottom, right
        4: upright[::-1],  # bottom, left
        5: upright.swapaxes(0, 1),  # left, top
        6: upright[:, ::-1].swapaxes(0, 1),  # right, top
        7: upright[::-1, ::-1].swapaxes(0, 1),  # right, bottom
        8: upright[::-1].swapaxes(0, 1),  # left, bottom
    }[orientation]
    exif = pil.Exif()
    exif[0x0112] = orientation
    for suffix in ("png", "tif"):  # Pillow itself turns a TIFF when it is loaded
        path = tmp_path / f"turned.{suffix}"
        pil.fromarray(np.ascontiguousarray(stored)).save(path, exif=exif)
        np.testing.assert_array_equal(read_image(path), upright)
        with pil.open(path) as picture:
            np.testing.assert_array_equal(from_picture(picture)[0], upright)
        assert read_header(path)[:2] == (3, 2)


@pytest.mark.parametrize(
    ("mode", "color", "expected"),
    [
        ("1", 1, [255, 255, 255]),
        ("L", 77, [77, 77, 77]),
        ("LA", (100, 0), [255, 255, 255]),
        ("RGBA", (255, 0, 0, 0), [255, 255, 255]),
        ("RGBA", (255, 0, 0, 51), [255, 204, 204]),  # a fifth of red, the rest white
        ("RGB", (1, 2, 3), [1, 2, 3]),
    ],
)
def test_modes(tmp_path, mode, color, expected):
    pil.new(mode, (2, 2), color).save(tmp_path / "image.png")
    assert pixel(tmp_path / "image.png") == expected


def test_palette_with_a_transparent_entry(tmp_path):
    picture = pil.new("P", (2, 1))
    picture.putpalette([10, 20, 30, 40, 50, 60])
    picture.putdata([0, 1])
    picture.save(tmp_path / "opaque.png")
    picture.save(tmp_path / "clear.png", transparency=1)
    assert read_image(tmp_path / "opaque.png").tolist() == [
        [[10, 20, 30], [40, 50, 60]]
    ]
    rgb, alpha = read_with_alpha(tmp_path / "clear.png")
    assert rgb.tolist() == [[[10, 20, 30], [255, 255, 255]]]
    assert alpha.tolist() == [[255, 0]]


@pytest.mark.parametrize("suffix", ["png", "tiff"])
def test_sixteen_bit_grey(tmp_path, suffix):
    values = np.array([[0, 257, 128 * 257, 65535]], np.uint16)
    path = tmp_path / f"deep.{suffix}"
    pil.fromarray(values).save(path)
    assert read_image(path)[0, :, 1].tolist() == [0, 1, 128, 255]


def test_thirty_two_bit_grey_is_read_as_sixteen_or_refused(tmp_path):
    path = tmp_path / "deep.tiff"
    pil.fromarray(np.array([[65535]], np.int32)).save(path)
    assert pixel(path) == [255, 255, 255]
    pil.fromarray(np.array([[65536]], np.int32)).save(path)
    with pytest.raises(InputError, match="beyond 16 bits"):
        read_image(path)
    pil.fromarray(np.array([[0.5]], np.float32)).save(path)
    with pytest.raises(InputError, match="no agreed range"):
        read_image(path)


def test_cmyk_and_its_inverted_jpeg(tmp_path):
    ink = pil.new("CMYK", (8, 8), (255, 0, 255, 0))  # cyan and yellow: green
    ink.save(tmp_path / "ink.tiff")
    # Pillow writes CMYK JPEGs as Adobe does, inverted and marked so.
    ink.save(tmp_path / "ink.jpg", quality=100)
    assert b"Adobe" in (tmp_path / "ink.jpg").read_bytes()
    for name in ("ink.tiff", "ink.jpg"):
        np.testing.assert_allclose(pixel(tmp_path / name), [0, 255, 0], **JPEG)


def test_damaged_exif_does_not_cost_the_image():
    file = io.BytesIO()
    pil.new("RGB", (4, 2), "blue").save(file, "PNG", exif=b"Exif\0\0not a tiff header")
    assert load_rgb(file.getvalue()).size == (4, 2)


# ---- sizes -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "expected"), [(50, (25, 50)), (100, (50, 100)), (900, (50, 100))]
)
def test_size_bounds_the_long_side_and_never_enlarges(tmp_path, size, expected):
    pil.new("RGBA", (100, 50), (0, 0, 0, 9)).save(tmp_path / "image.png")
    rgb, alpha = read_with_alpha(tmp_path / "image.png", size=size)
    assert rgb.shape == (*expected, 3) and rgb.dtype == np.float32
    assert alpha.shape == expected


def test_downscaling_averages(tmp_path):
    board = np.indices((256, 256)).sum(axis=0) % 2 * 255
    pil.fromarray(board.astype(np.uint8)).save(tmp_path / "board.png")
    small = read_image(tmp_path / "board.png", size=32)
    np.testing.assert_allclose(small, 127.5, **AVERAGED)


def test_at_least_never_undercuts():
    file = io.BytesIO()
    pil.new("RGB", (4000, 900), "red").save(file, "JPEG")
    assert load_rgb(file.getvalue(), at_least=200).size == (1000, 225)


def test_grid():
    black = np.zeros((2, 2, 3), np.float32)
    sheet = sheets.grid([black, black, black[:, :1]], 2, gap=1)
    assert (sheet[..., 0] / 255).tolist() == [
        [0, 0, 1, 0, 0],
        [0, 0, 1, 0, 0],
        [1, 1, 1, 1, 1],
        [0, 1, 1, 1, 1],
        [0, 1, 1, 1, 1],
    ]


# ---- writing ---------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["png", "bmp", "tiff", "TIF"])
def test_written_pixels_are_clipped_and_rounded(tmp_path, suffix):
    image = np.array([[[-3, 0.4, 0.6], [254.6, 255, 300]]], np.float32)
    path = tmp_path / f"out.{suffix}"
    write_image(path, image)
    assert read_image(path).tolist() == [[[0, 0, 1], [255, 255, 255]]]
    assert os.listdir(tmp_path) == [path.name]


@pytest.mark.parametrize("suffix", ["jpg", "jpeg", "webp"])
def test_lossy_formats_come_close(tmp_path, suffix):
    image = np.full((16, 16, 3), (200, 100, 50), np.float32)
    write_image(tmp_path / f"out.{suffix}", image)
    found = read_image(tmp_path / f"out.{suffix}")
    np.testing.assert_allclose(found, image, **LOSSY)


@pytest.mark.parametrize("suffix", ["png", "tiff"])
def test_alpha_survives(tmp_path, suffix):
    alpha = np.array([[0, 128, 255]], np.uint8)
    path = tmp_path / f"out.{suffix}"
    write_image(path, np.zeros((1, 3, 3), np.float32), alpha=alpha)
    rgb, read = read_with_alpha(path)
    assert read.tolist() == alpha.tolist()
    assert rgb[0, :, 0].tolist() == [255, 127, 0]  # black over white


def test_refused_outputs_leave_nothing_behind(tmp_path):
    gray = np.full((2, 2, 3), 9, np.float32)
    alpha = np.zeros((2, 2), np.uint8)
    (tmp_path / "file").touch()
    write_image(tmp_path / "kept.webp", gray)
    before = (tmp_path / "kept.webp").read_bytes()
    for path, image, alpha_, message in [
        (tmp_path / "out.gif", gray, None, "cannot write .gif; use one of .jpg"),
        (tmp_path / "out", gray, None, "a name without suffix"),
        (tmp_path / "out.jpg", gray, alpha, "JPEG has no transparency"),
        (tmp_path / "out.png", gray * np.nan, None, "NaN"),
        (tmp_path / "none" / "out.png", gray, None, "No such file or directory"),
        (tmp_path / "file" / "out.png", gray, None, "Not a directory"),
        (tmp_path / "kept.webp", np.zeros((1, 20_000, 3), np.float32), None, "20000"),
    ]:
        with pytest.raises(InputError, match=message):
            write_image(path, image, alpha=alpha_)
    assert sorted(os.listdir(tmp_path)) == ["file", "kept.webp"]
    assert (tmp_path / "kept.webp").read_bytes() == before


# ---- bad input -------------------------------------------------------------------


def test_bad_files_are_input_errors(tmp_path, monkeypatch):
    good = io.BytesIO()
    pil.effect_noise((64, 64), 50).save(good, "JPEG")
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.jpg").write_text("not a picture")
    (tmp_path / "cut.jpg").write_bytes(good.getvalue()[:-500])
    for name, message in [
        ("missing.jpg", "no such file"),
        ("empty.jpg", "is empty"),
        ("text.jpg", "no known image format"),
        ("cut.jpg", "truncated"),
        (".", "a folder; give an image file"),
    ]:
        with pytest.raises(InputError, match=message) as caught:
            read_image(tmp_path / name)
        assert str(tmp_path) in str(caught.value) and "\n" not in str(caught.value)


def test_the_limit_of_pixels_is_our_own(recwarn):
    """Pillow's, a global of whoever imports us, stays: a warning there, none here."""
    for side, message in ((14_000, None), (14_200, "more than 200 million pixels")):
        file = io.BytesIO()
        pil.new("1", (side, side)).save(file, "PNG")  # 196 and 202 million
        try:
            assert formats.open_picture(file.getvalue()).size == (side, side)
            assert message is None
        except ValueError as error:
            assert str(error) == message
    assert not recwarn
    assert pil.MAX_IMAGE_PIXELS == 1024**3 // 4 // 3


def test_only_formats_of_the_table_are_tried(tmp_path, monkeypatch):
    """An EPS called holiday.jpg starts no Ghostscript; a pipe is not waited for."""
    (tmp_path / "holiday.jpg").write_text(
        "%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"
    )
    (tmp_path / "a.jpg").write_bytes(b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(50))
    os.mkfifo(tmp_path / "pipe.png")
    for name, message in [
        ("holiday.jpg", "PostScript, which is not read"),
        ("a.jpg", "JPEG XL, which is not read"),
        ("pipe.png", "not a file"),
    ]:
        for read in (read_image, read_header):
            with pytest.raises(InputError, match=message):
                read(tmp_path / name)
    for suffix in ("jpe", "jfif", "avif", "jp2", "tga", "pbm"):
        pil.new("RGB", (9, 5), (200, 0, 0)).convert(
            "1" if suffix == "pbm" else "RGB"
        ).save(tmp_path / f"a.{suffix}")
        assert read_image(tmp_path / f"a.{suffix}").shape == (5, 9, 3)


def test_heic_by_its_extra(tmp_path, monkeypatch):
    """In sRGB, and nothing of Pillow's is changed by it."""
    pillow_heif = pytest.importorskip("pillow_heif")
    # As if imageio, which changes Pillow, had read nothing in this process.
    monkeypatch.delitem(pil.OPEN, "HEIF", raising=False)
    monkeypatch.delitem(pil.EXTENSION, ".heic", raising=False)
    coarse = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    picture = pil.fromarray(coarse).resize((48, 32), pil.Resampling.BICUBIC)
    picture.info["icc_profile"] = swapped()
    pillow_heif.from_pillow(picture).save(tmp_path / "phone.heic", quality=100)
    picture.save(tmp_path / "same.png", icc_profile=swapped())
    found, expected = (read_image(tmp_path / n) for n in ("phone.heic", "same.png"))
    assert found.shape == (32, 48, 3)
    assert np.abs(found - expected).mean() < 8  # lossy; 60 without the profile
    assert read_header(tmp_path / "phone.heic")[:2] == (48, 32)
    assert "HEIF" not in pil.OPEN and ".heic" not in pil.EXTENSION
    (tmp_path / "cut.heic").write_bytes((tmp_path / "phone.heic").read_bytes()[:300])
    with pytest.raises(InputError, match="cut.heic: cannot be read as an image"):
        read_image(tmp_path / "cut.heic")
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(InputError, match=r"pip install 'jaxperceptual\[heic\]'"):
        read_image(tmp_path / "phone.heic")


# ---- colour profiles, metadata ---------------------------------------------------


def swapped():
    """sRGB's profile with red for green: (200, 100, 50) means (100, 200, 50)."""
    profile = bytearray(profiles.srgb())
    tags = {
        bytes(profile[at : at + 4]): at
        for at in range(132, 132 + 12 * int.from_bytes(profile[128:132], "big"), 12)
    }
    red, green = tags[b"rXYZ"], tags[b"gXYZ"]
    profile[red : red + 4], profile[green : green + 4] = b"gXYZ", b"rXYZ"
    return bytes(profile)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "L"])
def test_a_profile_is_applied(tmp_path, mode):
    picture = pil.new("RGB", (8, 6), (200, 100, 50)).convert(mode)
    picture.save(tmp_path / "a.png", icc_profile=swapped())
    grey = [int(picture.getpixel((0, 0)))] * 3 if mode == "L" else None
    expected = grey or [100, 200, 50]  # a profile of colours says nothing of grey
    np.testing.assert_allclose(pixel(tmp_path / "a.png"), expected, atol=4)
    # What is written says that it is sRGB, which changes nothing when read.
    for name in ("b.png", "b.webp", "b.jpg", "b.tif"):
        write_image(tmp_path / name, read_image(tmp_path / "a.png"))
        with pil.open(tmp_path / name) as written:
            assert written.info["icc_profile"] == profiles.srgb()
        was = pixel(tmp_path / "a.png")
        np.testing.assert_allclose(pixel(tmp_path / name), was, **LOSSY)


def linear_grey():
    """A profile of light itself, gamma 1, by the ICC's specification."""
    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, 0x100)
    white = b"XYZ \0\0\0\0" + struct.pack(">3i", 63190, 65536, 54061)
    tags = struct.pack(">I4sII4sII", 2, b"kTRC", 156, 14, b"wtpt", 172, 20)
    header = struct.pack(
        ">II4s4s4s4s12x4s", 192, 0, b"\2\x10\0\0", b"mntr", b"GRAY", b"XYZ ", b"acsp"
    )
    header = header.ljust(68, b"\0") + struct.pack(">3i", 63190, 65536, 54061)
    return header.ljust(128, b"\0") + tags + curve + b"\0\0" + white


@pytest.mark.parametrize("mode", ["L", "LA", "I;16"])
def test_a_grey_profile_is_applied_at_every_depth(tmp_path, mode):
    """Half of the light is 188 of sRGB: 255 * (1.055 * 0.5 ** (1 / 2.4) - 0.055)."""
    half = {"L": 128, "LA": (128, 255), "I;16": 32896}[mode]
    pil.new(mode, (8, 6), half).save(tmp_path / "a.png", icc_profile=linear_grey())
    np.testing.assert_allclose(pixel(tmp_path / "a.png"), [188] * 3, atol=1)


def test_a_damaged_profile_is_as_none(tmp_path):
    picture = pil.new("RGB", (8, 6), (200, 100, 50))
    for broken in (b"no profile", swapped()[:200]):
        picture.save(tmp_path / "a.png", icc_profile=broken)
        assert pixel(tmp_path / "a.png") == [200, 100, 50]


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
def test_metadata_is_kept_and_mended(tmp_path, suffix):
    exif = pil.Exif()
    exif[0x010F], exif[0x0112] = "Camera & Co", 6
    exif.get_ifd(0x8769).update({0x9003: "2026:01:02 03:04:05", 0xA002: 9, 0xA003: 5})
    exif.get_ifd(0x8825).update({1: "N", 2: (47.0, 22.0, 30.0)})
    xmp = b'<x:xmpmeta tiff:Orientation="6" dc:creator="me" tiff:ImageWidth="9"/>'
    pil.new("RGB", (9, 5)).save(tmp_path / "a.jpg", exif=exif, dpi=(300, 300), xmp=xmp)
    image = read_image(tmp_path / "a.jpg")
    assert image.shape == (9, 5, 3)  # upright
    large = np.tile(image, (2, 2, 1))
    told = metadata.read_metadata(tmp_path / "a.jpg")
    path = tmp_path / f"b.{suffix}"
    write_image(path, large, metadata=told)
    assert read_image(path).shape == (18, 10, 3)  # not turned again
    with pil.open(path) as written:
        found = written.getexif()
        assert found[0x010F] == "Camera & Co" and found.get(0x0112, 1) == 1
        details = found.get_ifd(0x8769)
        if suffix == "tif":  # has no room for more
            assert found[0x0132] == "2026:01:02 03:04:05"
        else:
            assert details[0x9003] == "2026:01:02 03:04:05"
            assert (details[0xA002], details[0xA003], details[0xA001]) == (10, 18, 1)
            assert dict(found.get_ifd(0x8825)) == {1: "N", 2: (47.0, 22.0, 30.0)}
        if suffix != "webp":
            dpi = [float(value) for value in written.info["dpi"]]
            np.testing.assert_allclose(dpi, (300, 300), rtol=1e-3)
    again = metadata.read_metadata(path)
    assert b'Orientation="1"' in again.xmp and b"ImageWidth" not in again.xmp
    assert b'creator="me"' in again.xmp
    plain = tmp_path / f"c.{suffix}"
    write_image(plain, large)
    assert metadata.read_metadata(plain) is None


def tiff_with(path, tag, kind, value, **options):
    told = TiffImagePlugin.ImageFileDirectory_v2()
    told[271] = "Maker"
    told.tagtype[tag] = kind
    told[tag] = value
    pil.new("RGB", (9, 5)).save(path, tiffinfo=told, **options)


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
@pytest.mark.parametrize(
    "tag, kind, value",
    [
        (269, TiffTags.SHORT, 5),  # DocumentName is a text; by libtiff a crash
        (33723, TiffTags.LONG, 5),  # news, as Photoshop wrote them
        (37724, TiffTags.UNDEFINED, bytes(100_000)),  # its layers: the pixels before
        (332, TiffTags.BYTE, b"\1"),  # inks
    ],
)
def test_what_a_tiff_tells_of_itself_goes_and_the_rest_stays(
    tmp_path, tag, kind, value, suffix
):
    tiff_with(tmp_path / "a.tif", tag, kind, value)
    told = metadata.read_metadata(tmp_path / "a.tif")
    write_image(tmp_path / f"b.{suffix}", read_image(tmp_path / "a.tif"), metadata=told)
    with pil.open(tmp_path / f"b.{suffix}") as written:
        found = written.getexif()
        assert found[271] == "Maker" and tag not in found


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif", "bmp"])
def test_metadata_that_cannot_be_written_is_left_out(tmp_path, suffix):
    # A version of GPS as text, where bytes belong; its longitude is fine.
    gps = struct.pack(">HHHI4s", 2, 0, 2, 4, b"2.2") + struct.pack(
        ">HHI4sI", 3, 2, 2, b"E", 0
    )
    first = struct.pack(">HHHIII", 1, 0x8825, 4, 1, 26, 0)
    exif = b"Exif\0\0MM\0*\0\0\0\x08" + first + gps
    pil.new("RGB", (9, 5)).save(tmp_path / "a.jpg", exif=exif, dpi=(300, 300))
    told = metadata.read_metadata(tmp_path / "a.jpg")
    assert dict(told.exif.get_ifd(0x8825)) == {0: "2.2", 3: "E"}
    long = told._replace(xmp=b"<x:xmpmeta>" + bytes(70_000), dpi=None)
    long.exif.get_ifd(0x8769)[0x927C] = bytes(70_000)
    for name, given in (("b", told), ("c", long)):
        path = tmp_path / f"{name}.{suffix}"
        write_image(path, read_image(tmp_path / "a.jpg"), metadata=given)
        assert read_image(path).shape == (5, 9, 3)
        with pil.open(path) as written:
            place = dict(written.getexif().get_ifd(0x8825))
            assert place == ({3: "E"} if suffix in ("jpg", "png", "webp") else {})
    tiff_with(tmp_path / "d.tif", 305, TiffTags.ASCII, "x", dpi=(1e9, 1e9))
    assert metadata.read_metadata(tmp_path / "d.tif").dpi is None


def test_find_images(tmp_path):
    for name in ("b.PNG", "a.jpeg", "c/d.webp", ".hidden.jpg", ".git/e.jpg", "f.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "c" / "loop").symlink_to(tmp_path)
    found = [str(p.relative_to(tmp_path)) for p in find_images(tmp_path)]
    assert found == ["a.jpeg", "b.PNG", "c/d.webp"]
    assert find_images(tmp_path / "f.txt") == [tmp_path / "f.txt"]
    with pytest.raises(InputError, match="no such file or folder"):
        find_images(tmp_path / "none")
    with pytest.raises(InputError, match="no images in this folder"):
        find_images(tmp_path / ".git" / "..", suffixes=[".bmp"])


@pytest.mark.parametrize("mode, grey", [("L", True), ("LA", True), ("RGB", False)])
def test_headers(tmp_path, mode, grey):
    pil.new(mode, (3, 2)).save(tmp_path / "a.png")
    assert read_header(tmp_path / "a.png") == (3, 2, grey)
    with pytest.raises(InputError, match="no such file"):
        read_header(tmp_path / "gone.png")


@pytest.mark.parametrize("alpha", [0, 1, 128, 255])
def test_colours_under_alpha_look_the_same_over_white(alpha, tmp_path):
    pixels = np.array([[(200, 10, 60, alpha), (0, 255, 128, alpha)]], np.uint8)
    pil.fromarray(pixels).save(tmp_path / "a.png")
    seen, alphas = read_with_alpha(tmp_path / "a.png")
    alphas = np.full((1, 2), 255, np.uint8) if alphas is None else alphas
    colours = without_white(seen, alphas)
    if alpha >= 128:
        np.testing.assert_allclose(colours, pixels[..., :3], **UNDER_HALF_ALPHA)
    write_image(tmp_path / "b.png", colours, alpha=alphas)
    again, _ = read_with_alpha(tmp_path / "b.png")
    np.testing.assert_allclose(again, seen, **ROUNDED_TWICE)


def test_sides_beyond_the_format():
    check_fits("a.webp", 16_383, 1)
    check_fits("a.png", 100_000, 1)
    with pytest.raises(InputError, match="16384 x 1 px; WEBP has sides of 16383 px"):
        check_fits("a.webp", 16_384, 1)
