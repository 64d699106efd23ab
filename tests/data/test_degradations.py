"""What is done to photos, against Pillow and SciPy."""

import jax
import numpy as np
import pytest
from PIL import Image
from scipy import ndimage
from tolerances import ROUNDED_TO_8_BITS

from jaxperceptual.core.errors import InputError
from jaxperceptual.data import degradations
from jaxperceptual.images import color, resampling

REORDERED_PIXELS = dict(rtol=0, atol=2e-4)  # float32 sums of pixels up to 255
SAMPLED = dict(rtol=0.03)  # the deviation of 12,288 draws; 0.006 is one sigma


@pytest.fixture
def images():
    rng = np.random.default_rng(0)
    return rng.uniform(0, 255, (2, 48, 32, 3)).astype(np.float32)


def pillow(images, height, width):
    """Bicubic resizing on float planes, which antialiases as MATLAB's imresize."""
    return np.stack(
        [
            np.stack(
                [
                    Image.fromarray(plane).resize((width, height), Image.BICUBIC)
                    for plane in np.moveaxis(image, -1, 0)
                ],
                axis=-1,
            )
            for image in images
        ]
    )


@pytest.mark.parametrize("factor", [1, 2, 4, 8])
def test_downsampling_is_pillows(factor, images):
    np.testing.assert_allclose(
        resampling.downsample(images, factor),
        pillow(images, 48 // factor, 32 // factor),
        **REORDERED_PIXELS,
    )


@pytest.mark.parametrize("factor", [2, 4, 8])
def test_upsampling_is_pillows(factor, images):
    small = images[:, :7, :5]
    np.testing.assert_allclose(
        resampling.upsample(small, factor),
        pillow(small, 7 * factor, 5 * factor),
        **REORDERED_PIXELS,
    )


@pytest.mark.parametrize("sigma", [0.0, 0.7, 1.0, 3.0])
def test_blur_is_scipys(sigma, images):
    expected = ndimage.gaussian_filter(images, (0, sigma, sigma, 0), mode="nearest")
    np.testing.assert_allclose(
        degradations.gaussian_blur(images, sigma), expected, **REORDERED_PIXELS
    )


def test_the_papers_low_resolution_images(images, key):
    blurred = ndimage.gaussian_filter(images, (0, 1, 1, 0), mode="nearest")
    expected = pillow(blurred, 12, 8)
    found = np.asarray(
        degradations.Downsample(4, 1.0)(jax.random.split(key, 2), images)
    )
    assert (found == np.rint(found)).all()
    np.testing.assert_allclose(found, expected, **ROUNDED_TO_8_BITS)


def test_noise_has_its_deviation_and_differs_between_images(key):
    images = np.full((2, 64, 64, 3), 128, np.float32)
    noisy = np.asarray(degradations.Noise(20.0)(jax.random.split(key, 2), images))
    np.testing.assert_allclose(noisy.std(axis=(1, 2, 3)), 20, **SAMPLED)
    assert abs((noisy[0] * noisy[1]).mean() - noisy[0].mean() * noisy[1].mean()) < 8
    assert (noisy == np.rint(noisy)).all()


def test_grey_has_the_luma_and_no_colour(images, key):
    grey = np.asarray(degradations.Grey()(jax.random.split(key, 2), images))
    assert (grey == grey[..., :1]).all()
    np.testing.assert_allclose(
        color.luma(grey), color.luma(images), **ROUNDED_TO_8_BITS
    )
    np.testing.assert_array_equal(color.luma(np.array([255, 0, 0])), 0.299 * 255)


def test_modcrop_cuts_below_and_on_the_right():
    image = np.arange(7 * 9).reshape(7, 9)
    np.testing.assert_array_equal(resampling.modcrop(image, 4), image[:4, :8])


@pytest.mark.parametrize(
    "options, factor, message",
    [
        (dict(name="rain"), 1, "'rain'; use one of downsample, noise, grey"),
        (dict(sigma=3.0), 1, "degradation.name=None"),
        (dict(name="noise", sigma=25.0), 4, "noise keeps the size, but net.factor=4"),
        (dict(name="noise", sigma=0.0), 1, "sigma=0.0; use more than 0"),
        (dict(name="noise", blur=1.0), 1, r"noise with \['blur'\]; it takes sigma"),
        (dict(name="grey", sigma=1.0), 1, "it takes no options"),
        (dict(name="downsample", blur=-1.0), 4, "blur=-1.0 px; use 0"),
        (dict(name="downsample", blur=1.0), 3, "factor=3; use one of 1, 2, 4, 8"),
    ],
)
def test_options_that_cannot_be(options, factor, message):
    with pytest.raises(InputError, match=message):
        degradations.make(options, factor)
