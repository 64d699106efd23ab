"""PSNR and SSIM: values by hand, laws, SciPy, and the published bicubic row."""

import numpy as np
import pytest
from helpers import ROOT
from scipy import ndimage
from tolerances import ROUNDED_TO_8_BITS

from jaxperceptual.core.errors import InputError
from jaxperceptual.data import degradations
from jaxperceptual.evaluation import metrics
from jaxperceptual.images import resampling
from jaxperceptual.images.finding import find_images
from jaxperceptual.images.reading import read_header, read_image

SR = ROOT.parent / "shared" / "data" / "sr"
AS_WRITTEN = 1e-4  # numbers by hand have four decimals
FLOAT64 = 1e-9  # sums in another order
# What was published: PSNR to two decimals; SSIM by another program.
PUBLISHED_PSNR, PUBLISHED_SSIM = 0.01, 0.002


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_luminance_is_that_of_the_literature(rng):
    pixels = rng.integers(0, 256, (5, 7, 3)).astype(np.float32)
    r, g, b = np.moveaxis(pixels / 255.0, -1, 0)
    expected = 65.481 * r + 128.553 * g + 24.966 * b + 16
    np.testing.assert_allclose(metrics.luminance(pixels), expected, **ROUNDED_TO_8_BITS)
    extremes = np.array([[0, 0, 0], [255, 255, 255]], np.float32)
    assert metrics.luminance(extremes).tolist() == [16, 235]


def test_psnr_by_hand():
    a = np.zeros((4, 4))
    # Off by 1 on average squared: 20 log10(255); by 255: 0 dB.
    assert metrics.psnr(a, a + 1) == pytest.approx(48.1308, abs=AS_WRITTEN)
    assert metrics.psnr(a, a + 255) == 0
    assert metrics.psnr(a, a + 0.5, max_value=1.0) == pytest.approx(
        6.0206, abs=AS_WRITTEN
    )
    assert metrics.psnr(a, a) == float("inf")


def test_ssim_is_wangs(rng):
    a = rng.uniform(0, 255, (20, 30))
    b = a + rng.normal(0, 20, a.shape)

    def blur(x):  # Gaussian window of 11: 3.5 sigma on both sides
        return ndimage.gaussian_filter(x, 1.5, truncate=3.5)

    mean_a, mean_b = blur(a), blur(b)
    var_a, var_b = blur(a * a) - mean_a**2, blur(b * b) - mean_b**2
    covariance = blur(a * b) - mean_a * mean_b
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    ratio = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
    ratio /= (mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2)
    assert metrics.ssim(a, b) == pytest.approx(ratio[5:-5, 5:-5].mean(), abs=FLOAT64)
    assert metrics.ssim(a, a) == pytest.approx(1)


def test_planes_of_grey_and_colour(rng):
    image = np.repeat(rng.integers(0, 256, (3, 4, 1)), 3, axis=-1).astype(np.float32)
    np.testing.assert_array_equal(metrics.plane(image, grey=True), image[..., 0])
    found = metrics.plane(image, grey=False)
    np.testing.assert_array_equal(found, metrics.luminance(image))


@pytest.mark.parametrize("score", [metrics.psnr, metrics.ssim])
def test_planes_of_two_shapes(score):
    with pytest.raises(ValueError, match="use equal ones"):
        score(np.zeros((20, 20)), np.zeros((1, 20)))


def test_what_is_too_small():
    with pytest.raises(InputError, match="10 x 12 px is too small for SSIM"):
        metrics.ssim(np.zeros((12, 10)), np.zeros((12, 10)))
    assert metrics.shave(np.zeros((9, 10, 3)), 4).shape == (1, 2, 3)
    with pytest.raises(InputError, match="10 x 8 px: nothing is left"):
        metrics.shave(np.zeros((8, 10)), 4)


@pytest.mark.skipif(not SR.exists(), reason="the standard images are not at hand")
@pytest.mark.parametrize(
    "dataset, psnr, ssim",
    [
        ("Set5", 28.42, 0.8104),
        pytest.param("Set14", 26.00, 0.7027, marks=pytest.mark.slow),
    ],
)
def test_the_published_bicubic_row(dataset, psnr, ssim, key):
    """x4, antialiased bicubic without blur: Timofte et al. 2014 and many since."""
    degrade = degradations.Downsample(4, 0.0)
    scores = []
    for path in find_images(SR / dataset):
        truth = resampling.modcrop(read_image(path), 4)
        small = degrade(key, truth[None])
        output = resampling.quantize(resampling.upsample(small, 4))
        grey = read_header(path).grey
        a, b = (
            metrics.shave(metrics.plane(image, grey=grey), 4)
            for image in (np.asarray(output)[0], truth)
        )
        scores.append((metrics.psnr(a, b), metrics.ssim(a, b)))
    found = np.mean(scores, axis=0)
    assert found[0] == pytest.approx(psnr, abs=PUBLISHED_PSNR)
    assert found[1] == pytest.approx(ssim, abs=PUBLISHED_SSIM)
