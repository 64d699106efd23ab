"""What a network draws at its own period where there is nothing to draw.

Each input pixel becomes factor x factor pixels, and a network may treat them unlike: a
transposed convolution leaves a chequer on flat colours (Odena et al. 2016). PSNR hardly
sees it, since it is weak; eyes do, since it is everywhere.
"""

from collections.abc import Callable, Iterator

import numpy as np
from jaxtyping import Float

from jaxperceptual.core.types import Image

BORDER = 28  # px of the input left out: a network's reach, and of three corrections
CELL = 6  # px of the input, the side of the parts whose phases are compared
SIDE = 2 * BORDER + 4 * CELL  # px of what is enlarged
FLAT = {
    "white": (255, 255, 255),
    "black": (0, 0, 0),
    "dark grey": (64, 64, 64),
    "grey": (128, 128, 128),
    "light grey": (192, 192, 192),
    "red": (220, 30, 30),
    "green": (30, 160, 60),
    "blue": (30, 60, 200),
    "yellow": (250, 220, 40),
    "cyan": (40, 200, 220),
    "magenta": (200, 40, 180),
    "skin": (224, 172, 140),
    "pure red": (255, 0, 0),
    "pure blue": (0, 0, 255),
}
RAMPS = {"grey": (1.0, 1.0, 1.0), "warm": (1.0, 0.5, -0.5)}  # a channel's slope
SLOPES = (1, 3)  # grey levels a pixel


def pattern(enlarge: Callable[[Image], np.ndarray], factor: int) -> dict[str, float]:
    """`at_period` of what `enlarge` makes of each flat colour and each gradient.

    enlarge: [h w 3] -> [factor*h factor*w 3], both in [0, 255], and not rounded: of a
        gradient, rounding alone has a pattern.
    """
    return {
        name: at_period(_inside(np.asarray(enlarge(image)), factor), factor)
        for name, image in probes()
    }


def probes() -> Iterator[tuple[str, Image]]:
    """Flat colours and gradients [SIDE SIDE 3] in [0, 255], by name."""
    for name, colour in FLAT.items():
        yield name, np.full((SIDE, SIDE, 3), colour, np.float32)
    y, x = np.mgrid[:SIDE, :SIDE] - SIDE / 2
    for slope in SLOPES:
        for way, distance in {"right": x, "down": y, "aslant": (x + y) / 2}.items():
            for colour, slopes in RAMPS.items():
                image = 128 + slope * distance[..., None] * np.array(slopes)
                yield f"{colour} {way} {slope}", image.astype(np.float32)


def at_period(image: Float[np.ndarray, "h w c"], factor: int) -> float:
    """How much of the image repeats every `factor` pixels, RMS in grey levels.

    Without its mean over a period, which takes all of that period and leaves gradients
    as they are; then, in each cell, the mean of each of factor x factor phases. Their
    RMS over phases, channels and cells; what is left over beside the cells is not used.
    """
    high = image - _mean_of_a_period(image.astype(np.float64), factor)
    high = high[factor:-factor, factor:-factor]  # where the mean was whole
    size = CELL * factor
    rows, columns = high.shape[0] // size, high.shape[1] // size
    cells = high[: rows * size, : columns * size].reshape(
        rows, CELL, factor, columns, CELL, factor, -1
    )
    phases = cells.mean(axis=(1, 4))  # [rows factor columns factor c]
    phases -= phases.mean(axis=(1, 3), keepdims=True)
    return float(np.sqrt(np.mean(np.square(phases))))


def _mean_of_a_period(image, factor):
    """Centred: of `factor` + 1 pixels the first and the last count half."""
    weights = np.ones(factor + 1)
    weights[[0, -1]] = 0.5
    for axis in (0, 1):
        pads = [(0, 0)] * image.ndim
        pads[axis] = (factor // 2, factor // 2)
        padded, size = np.pad(image, pads, mode="edge"), image.shape[axis]
        image = sum(
            weight / factor * padded.take(np.arange(i, i + size), axis=axis)
            for i, weight in enumerate(weights)
        )
    return image


def _inside(image, factor):
    """Without the border, but for what `at_period` takes off."""
    border = (BORDER - 1) * factor
    return image[border:-border, border:-border]
