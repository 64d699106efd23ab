"""The pattern of a network's own period: by hand, and of layers that must have one."""

import numpy as np
import pytest
from helpers import restoration_model

from jaxperceptual.evaluation import pattern
from jaxperceptual.images import resampling
from jaxperceptual.inference.restorer import Restorer

FLOAT64 = 1e-9  # sums in another order
FLOAT32 = 1e-3  # grey levels, through a network


def enlarged(image, factor):
    return np.asarray(resampling.upsample(image[None], factor))[0]


@pytest.mark.parametrize("factor", [2, 4, 8])
def test_a_known_pattern_is_found_on_any_gradient(factor):
    """A chequer of 3 levels up and down; on a slope, and beside what has no period."""
    y, x = np.mgrid[: 12 * factor, : 18 * factor]
    chequer = 3.0 * (-1.0) ** (x + y)
    ramp = 2.0 * x - 1.5 * y
    image = np.repeat((chequer + ramp)[..., None], 3, axis=-1)
    assert pattern.at_period(image, factor) == pytest.approx(3, abs=FLOAT64)
    assert pattern.at_period(image - chequer[..., None], factor) < FLOAT64
    bars = 5.0 * np.sin(2 * np.pi * x / factor + 0.3)
    image = np.repeat(bars[..., None], 3, axis=-1)
    rms = np.sqrt(np.mean(np.square(bars)))
    assert pattern.at_period(image, factor) == pytest.approx(rms, abs=FLOAT64)
    # Noise is averaged over the 36 periods of a cell.
    noise = np.random.default_rng(0).normal(0, 6, image.shape)
    assert pattern.at_period(noise, factor) < 1.1


def test_bicubic_interpolation_has_none():
    found = pattern.pattern(lambda image: enlarged(image, 4), 4)
    assert len(found) == len(dict(pattern.probes())) > 20
    assert max(found.values()) < FLOAT32


def test_probes_are_pixels_far_from_their_bounds():
    for name, image in pattern.probes():
        assert image.shape == (pattern.SIDE, pattern.SIDE, 3)
        assert 0 <= image.min() <= image.max() <= 255, name
        if name not in pattern.FLAT:
            assert np.ptp(image) > 50, name


def test_resizing_leaves_flat_colours_flat_and_transposed_convolutions_do_not():
    """Whatever the weights are: here, random ones."""
    found = {}
    for upsample in ("resize", "transposed"):
        model = restoration_model(factor=4, norm=None, upsample=upsample, skip=True)
        restorer = Restorer(model)
        found[upsample] = max(
            pattern.at_period(restorer(image)[100:-100, 100:-100], 4)
            for name, image in pattern.probes()
            if name in ("grey", "yellow")
        )
    assert found["resize"] < FLOAT32 < 1 < found["transposed"]
