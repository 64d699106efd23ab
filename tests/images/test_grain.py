"""Grain where an image is flat, against a slow search square by square."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxperceptual.images import grain


def drawing(seed=0, h=61, w=83):
    """Patches of one colour on noise."""
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (h, w, 3)).astype(np.float32)
    image[5:20, 10:40] = 0
    image[30:37, 10:60] = 255  # 7 px high: not flat
    image[30:50, 60:68] = (3, 200, 9)
    image[:9, 70:] = image[50:, :9] = 77
    image[40, 63, 2] += 40
    image[19, 39] = 1  # the corner of a square
    return image


def flat_by_search(image):
    h, w, _ = image.shape
    found = np.zeros((h, w), bool)
    for i in range(h - 7):
        for j in range(w - 7):
            square = image[i : i + 8, j : j + 8].reshape(64, 3)
            if (square == square[0]).all():
                found[i : i + 8, j : j + 8] = True
    return found


@pytest.mark.parametrize("kind", [np.asarray, jnp.asarray])
def test_flat_is_what_lies_in_a_square_of_one_colour(kind):
    image = drawing()
    np.testing.assert_array_equal(grain.flat(kind(image)), flat_by_search(image))
    assert not grain.flat(kind(image[:7])).any()


@pytest.mark.parametrize("kind", [np.asarray, jnp.asarray])
def test_grain_is_there_alone(kind):
    image = drawing()
    grained = np.asarray(grain.with_grain(kind(image)))
    there = flat_by_search(image)
    np.testing.assert_array_equal(grained[~there], image[~there])
    added = (grained - image)[there]
    assert abs(added - added[:, :1]).max() < 1e-4  # of all colours alike
    assert 0.9 < added[:, 0].std() < 1.1 and abs(added[:, 0].mean()) < 0.1
    # What the hash is, for other languages: `page/static/engine.js`.
    np.testing.assert_allclose(
        grain._grain(np.arange(3), np.arange(3) + 5),
        [-0.7896772, -1.4028631, 0.30292132],
        atol=1e-6,
    )


def test_kinds_batches_and_rows_agree():
    images = np.stack([drawing(), drawing(1)[::-1]])
    images[1, :40] = np.random.default_rng(2).integers(0, 256, (40, 83, 3))
    grained = grain.with_grain(images)
    np.testing.assert_allclose(
        grain.with_grain(jnp.asarray(images)), grained, atol=1e-4
    )
    for image, one in zip(images, grained, strict=True):
        np.testing.assert_array_equal(grain.with_grain(image), one)
        for first, stop in ((0, 61), (0, 9), (13, 14), (31, 45), (50, 61)):
            rows = grain.rows_with_grain(image.astype(np.uint8), first, stop)
            np.testing.assert_array_equal(rows, one[first:stop])


def test_what_is_not_flat_is_not_copied():
    photo = np.random.default_rng(0).uniform(0, 255, (64, 64, 3)).astype(np.float32)
    assert grain.with_grain(photo) is photo
