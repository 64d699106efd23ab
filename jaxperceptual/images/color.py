"""Brightness of RGB pixels, for NumPy and JAX arrays alike."""

LUMA_WEIGHTS = (0.299, 0.587, 0.114)  # BT.601, as in JPEG


def luma(images):
    """Y' of BT.601: [... 3] in a range from 0 -> [...] in the same range.

    Grey that is added to a pixel changes Y' by as much, and neither Cb nor Cr. The
    literature's Y of [16, 235] is `16 + 219 / 255 * luma` (`metrics.luminance`).
    """
    # A sum, not a product of matrices: that would be TF32 on some GPUs.
    return sum(w * images[..., c] for c, w in enumerate(LUMA_WEIGHTS))
