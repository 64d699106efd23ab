"""Pictures of pictures: grids, labels, one size for all."""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32
from PIL import ImageDraw, ImageFont

from jaxperceptual.core.host_types import Image
from jaxperceptual.images.reading import pil


def grid(
    images: Sequence[Float32[np.ndarray, "_ _ 3"]], columns: int, *, gap: int = 4
) -> Float32[np.ndarray, "_ _ 3"]:
    """Images in rows of `columns`, `gap` white pixels apart, row by row.

    Cells have the size of the largest image; smaller ones stand centred on white.
    """
    cell_h = max(image.shape[0] for image in images)
    cell_w = max(image.shape[1] for image in images)
    rows = -(-len(images) // columns)
    columns = min(columns, len(images))
    sheet = np.full(
        (rows * (cell_h + gap) - gap, columns * (cell_w + gap) - gap, 3),
        255,
        np.float32,
    )
    for i, image in enumerate(images):
        height, width, _ = image.shape
        top = i // columns * (cell_h + gap) + (cell_h - height) // 2
        left = i % columns * (cell_w + gap) + (cell_w - width) // 2
        sheet[top : top + height, left : left + width] = image
    return sheet


def resized(image: Image, size: int) -> Float32[np.ndarray, "_ _ 3"]:
    """[h w 3] in [0, 255] with `size` pixels on its long side (Lanczos)."""
    h, w, _ = image.shape
    target = [max(1, round(n * size / max(h, w))) for n in (w, h)]
    picture = pil.fromarray(np.rint(image).astype(np.uint8))
    return np.float32(picture.resize(target, pil.Resampling.LANCZOS))


def labelled(
    image: Float32[np.ndarray, "h w 3"], text: str
) -> Float32[np.ndarray, "_ _ 3"]:
    """The image, unchanged at the top, over its name on white; wider where that is."""
    h, w, _ = image.shape
    size = max(10, min(h, w) // 14)
    font = ImageFont.load_default(size=size)
    width = max(w, math.ceil(font.getlength(text)) + 2)
    strip = pil.new("RGB", (width, 2 * size), "white")
    draw = ImageDraw.Draw(strip)
    draw.text((width / 2, size), text, fill="black", font=font, anchor="mm")
    left = (width - w) // 2
    sheet = np.full((h + 2 * size, width, 3), 255, np.float32)
    sheet[:h, left : left + w] = image
    sheet[h:] = np.asarray(strip)
    return sheet
