"""Section 3 against values worked out by hand, laws, NumPy and derivatives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from tolerances import FEW_ROUNDINGS, REORDERED_SUM

from jaxperceptual.losses.terms import (
    feature_loss,
    gram_matrix,
    luma_loss,
    pixel_loss,
    style_loss,
    total_variation,
)
from jaxperceptual.ops import choice


def test_feature_loss_by_hand():
    output = jnp.zeros((2, 1, 2, 3)).at[0, 0, 0, 0].set(6.0)
    # Image 0: 36 / (1 * 2 * 3) = 6; image 1: 0; their mean is 3.
    assert feature_loss(output, jnp.zeros_like(output)) == 3.0


def test_pixel_loss_by_hand():
    output = jnp.full((1, 2, 2, 3), 255.0)
    assert pixel_loss(output, output - 10.0) == 100.0


def test_luma_loss_by_hand():
    output = jnp.zeros((1, 1, 2, 3)).at[0, 0, 0].set(jnp.array([10.0, 100.0, 1000.0]))
    # One of two pixels is off by 2.99 + 58.7 + 114 = 175.69.
    np.testing.assert_allclose(
        luma_loss(output, jnp.zeros_like(output)), 175.69**2 / 2, **FEW_ROUNDINGS
    )


def test_gram_by_hand():
    features = jnp.array([[[[1.0, 2.0], [3.0, 4.0]]]])  # h = 1, w = 2, c = 2
    expected = np.array([[1 + 9, 2 + 12], [2 + 12, 4 + 16]]) / 4
    np.testing.assert_array_equal(gram_matrix(features)[0], expected)


def test_style_loss_is_a_sum_over_the_matrix():
    output = jnp.zeros((2, 2, 2)).at[0].set(1.0)
    # Image 0: four entries off by 1, so 4; image 1: 0. One style for both images.
    assert style_loss(output, jnp.zeros((1, 2, 2))) == 2.0


def test_total_variation_of_a_checkerboard():
    board = jnp.indices((4, 4)).sum(axis=0) % 2.0
    images = jnp.tile(board[None, :, :, None], (2, 1, 1, 3))
    assert total_variation(images) == 3 * (12 + 12)  # channels * unit steps


def test_gram_forgets_where_pixels_are(key):
    features = jax.random.normal(key, (2, 5, 7, 8))
    moved = jax.random.permutation(key, features.reshape(2, 35, 8), axis=1)
    np.testing.assert_allclose(
        gram_matrix(moved.reshape(2, 7, 5, 8)),
        gram_matrix(features),
        **REORDERED_SUM,
    )


def test_gram_does_not_depend_on_image_size(key):
    features = jax.random.normal(key, (1, 4, 4, 3))
    np.testing.assert_allclose(
        gram_matrix(jnp.tile(features, (1, 2, 3, 1))),
        gram_matrix(features),
        **REORDERED_SUM,
    )


@pytest.mark.parametrize("forms", ["plain", "cpu"])
@pytest.mark.parametrize(
    "loss",
    [
        gram_matrix,
        lambda x: style_loss(gram_matrix(x), jnp.ones((1, 2, 2))),
        lambda x: feature_loss(x, jnp.ones_like(x)),
        total_variation,
    ],
)
def test_derivatives(loss, forms, key):
    with jax.enable_x64(True), choice.forms(forms):
        x = jax.random.normal(key, (2, 3, 4, 2), jnp.float64)
        # check_grads probes with NumPy arrays.
        check_grads(lambda x: loss(jnp.asarray(x)), (x,), order=2, modes=["rev"])
