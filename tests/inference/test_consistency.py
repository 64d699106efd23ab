"""Enlarged photos made consistent with their inputs: Pillow, laws, tiles, reach."""

import numpy as np
import pytest
from PIL import Image
from tolerances import PIXEL_ROUNDINGS

from jaxperceptual.images import resampling
from jaxperceptual.inference import windowed
from jaxperceptual.inference.consistency import ITERATIONS, REACH, consistent


def pixels(h, w, seed=0):
    rng = np.random.default_rng(seed)
    return rng.uniform(0, 255, (h, w, 3)).astype(np.float32)


def shrunk(image, factor):
    return np.asarray(resampling.downsample(image[None], factor))[0]


@pytest.mark.parametrize("factor", [2, 4, 8])
def test_an_iteration_by_pillow(factor):
    output, small = pixels(9 * factor, 7 * factor), pixels(9, 7, seed=1)

    def resized(plane, w, h):
        return np.asarray(Image.fromarray(plane).resize((w, h), Image.BICUBIC))

    lacking = small[..., 0] - resized(output[..., 0], 7, 9)
    added = output[..., 0] + resized(lacking, 7 * factor, 9 * factor)
    assert added.min() < 0 and added.max() > 255
    found = consistent(output, small, 1)
    np.testing.assert_allclose(found[..., 0], added.clip(0, 255), **PIXEL_ROUNDINGS)


@pytest.mark.parametrize("factor", [2, 4, 8])
def test_what_is_consistent_stays(factor):
    output = pixels(6 * factor, 5 * factor)
    found = consistent(output, shrunk(output, factor), ITERATIONS)
    np.testing.assert_allclose(found, output, **PIXEL_ROUNDINGS)


def test_each_iteration_comes_nearer_and_colours_come_back():
    small = 60 + pixels(12, 15) / 2
    output = np.asarray(resampling.upsample(small[None], 4))[0] * 0.8 + 20
    output += 0.1 * pixels(48, 60, seed=1)
    errors = [
        np.abs(shrunk(consistent(output, small, n), 4) - small).mean() for n in range(5)
    ]
    assert (np.diff(errors) < 0).all()
    assert errors[ITERATIONS] < errors[0] / 5  # of noise; of photos, far less
    found = consistent(output, small, ITERATIONS).mean(axis=(0, 1))
    np.testing.assert_allclose(found, small.mean(axis=(0, 1)), atol=0.2)
    assert np.abs(output.mean(axis=(0, 1)) - small.mean(axis=(0, 1))).min() > 5


@pytest.mark.parametrize("factor", [2, 4, 8])
def test_tiles_do_not_show(factor, monkeypatch):
    output, small = pixels(50 * factor, 43 * factor), pixels(50, 43, seed=1)
    whole = consistent(output, small, 2)
    monkeypatch.setattr(windowed, "WHOLE", 0)
    monkeypatch.setattr(windowed, "TILE", 10 * factor)
    tiled = consistent(output, small, 2)
    np.testing.assert_allclose(tiled, whole, **PIXEL_ROUNDINGS)
    assert np.abs(whole - output).max() > 20


@pytest.mark.parametrize("factor", [2, 4, 8])
@pytest.mark.parametrize("iterations", [1, 3])
def test_a_pixel_changes_what_is_in_reach_and_no_more(factor, iterations):
    """Of what came in; changes grow weak with the distance, and count all the same."""
    small = np.full((41, 41, 3), 128, np.float32)
    output = np.full((41 * factor, 41 * factor, 3), 128, np.float32)
    touched = output.copy()
    touched[20 * factor : 21 * factor, 20 * factor : 21 * factor] += 100
    change = consistent(touched, small, iterations) - consistent(
        output, small, iterations
    )
    rows = np.flatnonzero(np.abs(change).max(axis=(1, 2)) > 1e-5) // factor
    assert REACH - 1 <= max(20 - rows.min(), rows.max() - 20) <= REACH * iterations


def test_no_iteration_is_no_change():
    output = pixels(8, 8)
    np.testing.assert_array_equal(consistent(output, pixels(4, 4), 0), output)
