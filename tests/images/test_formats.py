"""Every mode, depth and layout of every format: read right, or refused.

Lossless files are written here, byte by byte by their specifications, and the pixels
put in must come out; the others are written and read by imagecodecs (libjpeg-turbo,
OpenJPEG, libwebp, libavif), not by Pillow. TIFF has its own file.
"""

import itertools
import struct
import zlib

import imagecodecs as codecs
import numpy as np
import pytest

from jaxperceptual.core.errors import InputError
from jaxperceptual.images.reading import load_rgb

H, W = 13, 19  # no multiple of 8 pixels, of 4 bytes, or of a block
RNG = np.random.default_rng(0)
ROUNDED = 2  # grey levels: 16 bits lose their low byte, in colour and in alpha


def read(data, name):
    """The pixels, or None if they are refused by name."""
    try:
        return np.asarray(load_rgb(data, name=name)).astype(int)
    except InputError as error:
        assert str(error).startswith(f"{name}: cannot be read as an image (")
        return None


def over_white(colours, alpha=1.0):
    """[h w 3] in [0, 255] of colours [h w 1 or 3] and alpha, both in [0, 1]."""
    colours = np.broadcast_to(colours, (*colours.shape[:2], 3))
    return 255 * (colours * alpha + (1 - alpha))


def packed(samples, depth, order=">"):
    """Rows of samples [h n], each row begun at a byte."""
    if depth == 16:
        return samples.astype(f"{order}u2").view(np.uint8)
    bits = (samples[..., None] >> np.arange(depth)[::-1]) & 1
    return np.packbits(bits.reshape(len(samples), -1).astype(np.uint8), axis=1)


def chunk(name, data):
    whole = name + data
    return struct.pack(">I", len(data)) + whole + struct.pack(">I", zlib.crc32(whole))


ADAM7 = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2))
ADAM7 += ((0, 1, 2, 2), (1, 0, 2, 1))


def png(samples, depth, kind, chunks, interlaced):
    """Of samples [h w n], without filters."""
    passes = ADAM7 if interlaced else ((0, 0, 1, 1),)
    data = b""
    for top, left, down, right in passes:
        part = samples[top::down, left::right]
        for row in packed(part.reshape(len(part), -1), depth) if part.size else ():
            data += b"\0" + row.tobytes()
    header = struct.pack(">IIBBBBB", W, H, depth, kind, 0, 0, int(interlaced))
    image = chunk(b"IHDR", header) + chunks + chunk(b"IDAT", zlib.compress(data))
    return b"\x89PNG\r\n\x1a\n" + image + chunk(b"IEND", b"")


GREY, RGB, PALETTE, GREY_ALPHA, RGBA = 0, 2, 3, 4, 6
PNG_KINDS = [
    *((GREY, depth) for depth in (1, 2, 4, 8, 16)),
    *((PALETTE, depth) for depth in (1, 2, 4, 8)),
    *itertools.product((RGB, GREY_ALPHA, RGBA), (8, 16)),
]


@pytest.mark.parametrize("transparent", [False, True])
@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("kind, depth", PNG_KINDS)
def test_png(kind, depth, interlaced, transparent):
    channels = {GREY: 1, RGB: 3, PALETTE: 1, GREY_ALPHA: 2, RGBA: 4}[kind]
    most = 2**depth - 1
    samples = RNG.integers(0, most + 1, (H, W, channels))
    values, alpha, chunks = samples / most, 1.0, b""
    if kind == PALETTE:
        palette = RNG.integers(0, 256, (most + 1, 3), np.uint8)
        values = palette[samples[..., 0]] / 255
        chunks = chunk(b"PLTE", palette.tobytes())
        if transparent:
            alphas = RNG.integers(0, 256, most, np.uint8)  # the last one is opaque
            chunks += chunk(b"tRNS", alphas.tobytes())
            alpha = (np.append(alphas, 255)[samples] / 255).reshape(H, W, 1)
    elif kind in (GREY_ALPHA, RGBA):
        values, alpha = values[..., :-1], values[..., -1:]
    elif transparent:  # one colour is
        chunks = chunk(b"tRNS", samples[3, 4].astype(">u2").tobytes())
        alpha = 1.0 - (samples == samples[3, 4]).all(-1, keepdims=True)
    found = read(png(samples, depth, kind, chunks, interlaced), "x.png")
    if found is None:
        assert (kind, depth, transparent) == (RGB, 16, True)
        return
    assert np.abs(found - over_white(values, alpha)).max() <= ROUNDED


@pytest.mark.parametrize("most", [1, 100, 255, 1000, 65535])
@pytest.mark.parametrize("kind", range(1, 7))
def test_pnm(kind, most):
    bitmap, colour = kind in (1, 4), kind in (3, 6)
    samples = RNG.integers(0, most + 1, (H, W, 3 if colour else 1))
    if bitmap:
        samples = np.minimum(samples, 1)
    values = 1 - samples if bitmap else samples / most  # there 1 is black
    header = f"P{kind}\n# a remark\n{W} {H}\n" + ("" if bitmap else f"{most}\n")
    rows = samples.reshape(H, -1)
    if kind < 4:
        body = "\n".join(" ".join(map(str, row)) for row in rows).encode()
    else:
        body = packed(rows, 1 if bitmap else 8 if most < 256 else 16).tobytes()
    found = read(header.encode() + body, "x.pnm")
    assert found is not None
    assert np.abs(found - over_white(values)).max() <= ROUNDED


def bmp(rows, bits, compression, palette=b"", masks=b"", upside_down=True):
    """With a header of 40 bytes, 108 where it has a mask of alpha."""
    size = 108 if len(masks) == 16 else 40
    body = b"".join(row + b"\0" * (-len(row) % 4) for row in rows)
    offset = 14 + size + (len(masks) if size == 40 else 0) + len(palette)
    height = H if upside_down else -H
    head = struct.pack("<IiiHHI", size, W, height, 1, bits, compression)
    head += struct.pack("<IiiII", len(body), 2835, 2835, len(palette) // 4, 0)
    head += masks if size == 40 else masks.ljust(68, b"\0")
    file = struct.pack("<2sIHHI", b"BM", offset + len(body), 0, 0, offset)
    return file + head + palette + body


RLE = {4: 2, 8: 1}
BITFIELDS = 3


@pytest.mark.parametrize("upside_down", [True, False])
@pytest.mark.parametrize("bits", [1, 4, 8])
def test_bmp_of_a_palette(bits, upside_down):
    palette = RNG.integers(0, 256, (2**bits, 4), np.uint8)
    samples = RNG.integers(0, 2**bits, (H, W))
    rows = [row.tobytes() for row in packed(samples, bits)]
    rows = rows[::-1] if upside_down else rows
    file = bmp(rows, bits, 0, palette.tobytes(), upside_down=upside_down)
    found = read(file, "x.bmp")
    assert found is not None
    np.testing.assert_array_equal(found, palette[samples][..., 2::-1])


@pytest.mark.parametrize("bits", [4, 8])
def test_bmp_of_runs(bits):
    """Runs, then pixels as they are, then the line's end; a jump is not tried."""
    palette = RNG.integers(0, 256, (2**bits, 4), np.uint8)
    samples = RNG.integers(0, 2**bits, (H, W))
    samples[:, :6] = samples[:, :1]
    rows = []
    for row in samples[::-1]:
        run = int(row[0]) * (17 if bits == 4 else 1)
        as_is = packed(row[None, 6:], bits)[0].tobytes()
        as_is += b"\0" * (len(as_is) % 2)
        rows.append(bytes([6, run, 0, W - 6]) + as_is + b"\0\0")
    data = b"".join(rows) + b"\0\1"
    found = read(bmp([data], bits, RLE[bits], palette.tobytes()), "x.bmp")
    assert found is not None
    np.testing.assert_array_equal(found, palette[samples][..., 2::-1])


@pytest.mark.parametrize("upside_down", [True, False])
@pytest.mark.parametrize(
    "bits, widths, masks",
    [
        (16, (5, 5, 5, 0), None),
        (16, (5, 6, 5, 0), (0xF800, 0x7E0, 0x1F)),
        (16, (5, 5, 5, 0), (0x7C00, 0x3E0, 0x1F)),
        (16, (4, 4, 4, 0), (0xF00, 0xF0, 0xF)),
        (24, (8, 8, 8, 0), None),
        (32, (8, 8, 8, 0), None),  # the fourth byte means nothing
        (32, (8, 8, 8, 0), (0xFF0000, 0xFF00, 0xFF)),
        (32, (8, 8, 8, 0), (0xFF, 0xFF00, 0xFF0000)),
        (32, (8, 8, 8, 8), (0xFF0000, 0xFF00, 0xFF, 0xFF000000)),
        (32, (10, 10, 10, 0), (0x3FF00000, 0xFFC00, 0x3FF)),
    ],
)
def test_bmp_of_colours(bits, widths, masks, upside_down):
    samples = np.stack([RNG.integers(0, 2**w, (H, W)) for w in widths], -1)
    blue_first = sum(widths[:0:-1]) - widths[3]  # no masks: red is highest
    shifts = (
        (blue_first, widths[2], 0, 24)
        if masks is None
        else [mask and (mask & -mask).bit_length() - 1 for mask in (*masks, 0)[:4]]
    )
    words = sum(samples[..., i].astype(np.uint64) << int(shifts[i]) for i in range(4))
    if not widths[3] and bits == 32 and max(widths) == 8:
        words += RNG.integers(1, 256, (H, W)).astype(np.uint64) << 24
    content = words.astype("<u4").view(np.uint8).reshape(H, W, 4)[..., : bits // 8]
    rows = [row.tobytes() for row in content]
    file = bmp(
        rows[::-1] if upside_down else rows,
        bits,
        0 if masks is None else BITFIELDS,
        masks=b"" if masks is None else struct.pack(f"<{len(masks)}I", *masks),
        upside_down=upside_down,
    )
    found = read(file, "x.bmp")
    if found is None:
        # What no program is known to write.
        assert max(widths) in (4, 10) or masks == (0xFF, 0xFF00, 0xFF0000)
        return
    most = 2 ** np.array(widths) - 1
    alpha = samples[..., 3:] / most[3] if widths[3] else 1.0
    right = over_white(samples[..., :3] / most[:3], alpha)
    # Some decoders shift bits of 5 up to 8, others scale.
    assert np.abs(found - right).max() <= (8 if bits == 16 else ROUNDED)


def tga_packets(rows, width):
    """Run-length packets: three pixels of a run, the rest as they are."""
    data = b""
    for row in rows:
        pixels = [row[i : i + width] for i in range(0, len(row), width)]
        assert pixels[0] == pixels[1] == pixels[2]
        data += bytes([0x82]) + pixels[0]
        data += bytes([len(pixels) - 4]) + b"".join(pixels[3:])
    return data


@pytest.mark.parametrize("runs", [False, True])
@pytest.mark.parametrize("right_to_left", [False, True])
@pytest.mark.parametrize("top_down", [False, True])
@pytest.mark.parametrize("kind", ["palette", "grey", "rgb16", "rgb24", "rgb32"])
def test_tga(kind, top_down, right_to_left, runs):
    bits = {"palette": 8, "grey": 8}.get(kind) or int(kind[3:])
    code = {"palette": 1, "grey": 3}.get(kind, 2)
    palette = RNG.integers(0, 256, (256, 3), np.uint8)
    if code == 2:
        depth = 5 if bits == 16 else 8
        samples = RNG.integers(0, 2**depth, (H, W, 4 if bits == 32 else 3))
    else:
        samples = RNG.integers(0, 256, (H, W, 1))
    stored = samples[:, ::-1] if right_to_left else samples
    stored[:, :3] = stored[:, :1]
    alpha = 1.0
    if kind == "palette":
        right = palette[samples[..., 0]][..., ::-1].astype(float)
    elif kind == "grey":
        right = over_white(samples / 255)
    else:
        alpha = samples[..., 3:] / 255 if bits == 32 else 1.0
        right = over_white(samples[..., :3] / (2**depth - 1), alpha)
    if bits == 16:
        words = (stored << np.array([10, 5, 0])).sum(-1).astype("<u2")
        content = words.view(np.uint8).reshape(H, W, 2)
    else:
        order = [2, 1, 0, 3][: stored.shape[-1]] if code == 2 else [0]
        content = stored[..., order].astype(np.uint8)
    rows = [row.tobytes() for row in (content if top_down else content[::-1])]
    data = tga_packets(rows, bits // 8) if runs else b"".join(rows)
    mapped = code == 1
    header = struct.pack(
        "<BBBHHBHHHHBB",
        *(0, int(mapped), code + 8 * runs, 0, 256 * mapped, 24 * mapped, 0, 0),
        *(W, H, bits, 8 * (bits == 32) | 0x10 * right_to_left | 0x20 * top_down),
    )
    footer = struct.pack("<II18s", 0, 0, b"TRUEVISION-XFILE.\0")
    file = header + palette.tobytes() * mapped + data + footer
    found = read(file, "x.tga")
    if found is None:
        assert right_to_left or bits == 16  # old programs' only
        return
    assert np.abs(found - right).max() <= (8 if bits == 16 else ROUNDED)


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("transparent", [False, True])
@pytest.mark.parametrize("local", [False, True])
def test_gif(local, transparent, interlaced):
    """Codes of nine bits; the table is cleared before they would need ten."""
    palette = RNG.integers(0, 256, (256, 3), np.uint8)
    samples = RNG.integers(0, 256, (H, W))
    rows = [*range(0, H, 8), *range(4, H, 8), *range(2, H, 4), *range(1, H, 2)]
    order = samples[rows] if interlaced else samples
    codes = []
    for i, value in enumerate(order.ravel()):
        codes += [256, value] if i % 200 == 0 else [value]
    bits = sum(int(code) << (9 * i) for i, code in enumerate([*codes, 257]))
    data = bits.to_bytes((9 * (len(codes) + 1) + 7) // 8, "little")
    blocks = (data[i : i + 255] for i in range(0, len(data), 255))
    file = b"GIF89a" + struct.pack("<HHBBB", W, H, 0 if local else 0xF7, 0, 0)
    file += b"" if local else palette.tobytes()
    index = int(samples[0, 0])
    if transparent:
        file += b"\x21\xf9\x04" + struct.pack("<BHBB", 1, 0, index, 0)
    flags = (0x87 if local else 0) | (0x40 if interlaced else 0)
    file += b"," + struct.pack("<HHHHB", 0, 0, W, H, flags)
    file += (palette.tobytes() if local else b"") + b"\x08"
    file += b"".join(bytes([len(block)]) + block for block in blocks) + b"\0;"
    right = palette[samples].astype(int)
    if transparent:
        right[samples == index] = 255
    found = read(file, "x.gif")
    assert found is not None
    np.testing.assert_array_equal(found, right)


def smooth(channels):
    """A picture that compresses well, so that decoders agree closely."""
    y, x = np.mgrid[:H, :W]
    waves = [np.sin(x / (5 + i) + i) + np.cos(y / (4 + i)) for i in range(channels)]
    return np.rint(127.5 + 60 * np.stack(waves, -1)).astype(np.uint8)


@pytest.mark.parametrize("subsampling", ["444", "422", "420", "440"])
@pytest.mark.parametrize("space", ["GRAYSCALE", "YCBCR", "RGB", "CMYK", "YCCK"])
def test_jpeg(space, subsampling):
    channels = {"GRAYSCALE": 1, "CMYK": 4, "YCCK": 4}.get(space, 3)
    picture = smooth(channels)
    options = {} if space in ("GRAYSCALE", "RGB") else {"subsampling": subsampling}
    file = codecs.jpeg8_encode(
        picture[..., 0] if channels == 1 else picture,
        level=98,
        colorspace="CMYK" if channels == 4 else "RGB" if channels == 3 else None,
        outcolorspace=space,
        **options,
    )
    values = codecs.jpeg8_decode(file, outcolorspace="CMYK" if channels == 4 else None)
    values = values.reshape(H, W, -1) / 255
    if channels == 4:  # Adobe's, which every program writes: inverted
        values = values[..., :3] * values[..., 3:]
    found = read(file, "x.jpg")
    assert found is not None
    assert np.abs(found - over_white(values)).max() <= 3


@pytest.mark.parametrize("reversible", [True, False])
@pytest.mark.parametrize("container", ["jp2", "j2k"])
@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_jpeg2000(channels, depth, container, reversible):
    picture = smooth(channels).astype(f"u{depth // 8}")
    if depth == 16:
        picture = picture * 257
    file = codecs.jpeg2k_encode(
        picture[..., 0] if channels == 1 else picture,
        codecformat=container,
        reversible=reversible,
        level=0 if reversible else 60,
    )
    values = codecs.jpeg2k_decode(file).reshape(H, W, -1) / (2**depth - 1)
    found = read(file, f"x.{container}")
    if found is None:
        assert channels in (2, 4) or depth == 16
        return
    alpha = values[..., -1:] if channels in (2, 4) else 1.0
    right = over_white(values[..., :3] if channels > 2 else values[..., :1], alpha)
    assert np.abs(found - right).max() <= 2


@pytest.mark.parametrize("lossless", [True, False])
@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("name", ["webp", "avif"])
def test_webp_and_avif(name, channels, lossless):
    picture = smooth(channels)
    if name == "webp":
        file = codecs.webp_encode(picture, level=90, lossless=lossless)
        values = codecs.webp_decode(file)
    else:
        file = codecs.avif_encode(picture, level=None if lossless else 90)
        values = codecs.avif_decode(file)
    values = values / 255
    alpha = values[..., 3:] if channels == 4 else 1.0
    found = read(file, f"x.{name}")
    assert found is not None
    assert np.abs(found - over_white(values[..., :3], alpha)).max() <= 2
