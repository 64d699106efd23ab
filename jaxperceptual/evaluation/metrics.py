"""PSNR and SSIM of planes, and what the literature takes them of.

That is `plane` (Y, or grey values) after `shave` (the border; `super_resolution` cuts
as many pixels as the factor). `psnr` and `ssim` themselves convert and cut nothing.
"""

import numpy as np
from jaxtyping import Float
from skimage import metrics

from jaxperceptual.core.errors import InputError
from jaxperceptual.core.types import Image
from jaxperceptual.images import color

WINDOW = 11  # px, side of SSIM's Gaussian window

Plane = Float[np.ndarray, "_ _"]


def luminance(images: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n"]:
    """Y of YCbCr: [... 3] RGB in [0, 255] -> [...] whole numbers in [16, 235].

    65.481 R + 128.553 G + 24.966 B + 16 for R, G, B in [0, 1], rounded as MATLAB's
    rgb2ycbcr does for 8-bit images (0.013 dB). The full range would move PSNR by
    1.3 dB.
    """
    return np.rint(16 + 219 / 255 * color.luma(np.asarray(images, np.float64)))


def plane(image: Image, *, grey: bool) -> Plane:
    """What PSNR and SSIM are taken of, as published numbers have it.

    That is `luminance`; but of a ground truth whose file has one channel (`grey`), and
    of what is compared with it, the grey values from 0 to 255, since MATLAB converts
    only images with three channels. For `bridge` of Set14 that is 1.3 dB, for the mean
    over that set 0.09.
    """
    if grey:
        return np.rint(color.luma(image.astype(np.float64)))
    return luminance(image)


def shave(image: np.ndarray, border: int) -> np.ndarray:
    """[h w ...] without `border` pixels on each side, where methods only guess.

    Raises InputError if nothing would be left.
    """
    h, w = image.shape[:2]
    if min(h, w) <= 2 * border:
        raise InputError(
            f"{w} x {h} px: nothing is left without a border of {border}; use a larger "
            "image."
        )
    return image[border : h - border, border : w - border]


def psnr(a: Plane, b: Plane, *, max_value: float = 255.0) -> float:
    """Peak signal-to-noise ratio in dB; infinite for equal planes.

    Raises ValueError for two shapes.
    """
    _check_shapes(a, b)
    error = np.mean(np.square(np.subtract(a, b, dtype=np.float64)))
    return float(10 * np.log10(max_value**2 / error)) if error else float("inf")


def ssim(a: Plane, b: Plane, *, max_value: float = 255.0) -> float:
    """Structural similarity (Wang et al. 2004), at most 1.

    Gaussian window of 11 px and sigma 1.5, population covariance, averaged over the
    places where the window lies inside the image, as the authors' ssim_index.m.
    Raises InputError for planes smaller than the window, ValueError for two shapes.
    """
    _check_shapes(a, b)
    if min(a.shape) < WINDOW:
        h, w = a.shape
        raise InputError(
            f"{w} x {h} px is too small for SSIM; both sides need {WINDOW} px."
        )
    return float(
        metrics.structural_similarity(
            np.asarray(a, np.float64),
            np.asarray(b, np.float64),
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            data_range=max_value,
        )
    )


def _check_shapes(a: np.ndarray, b: np.ndarray) -> None:
    if a.shape != b.shape:  # which arithmetic might broadcast
        raise ValueError(f"planes of shapes {a.shape} and {b.shape}; use equal ones.")
