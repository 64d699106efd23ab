"""The loss network and the objective against PyTorch running the same weights."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import skimage.data
from jaxperceptual.errors import InputError
from jaxperceptual.types import Frozen
from PIL import Image

from jaxperceptual import objectives, ops, vgg, vgg_names, vgg_weights

RELUS = tuple(name for name in vgg.LAYERS if name.startswith("relu"))
STYLE = {
    "relu1_2": 1e10 / 64**2,
    "relu2_2": 1e10 / 128**2,
    "relu3_3": 1e10 / 256**2,
    "relu4_3": 1e10 / 512**2,
}
CONTENT = {"relu2_2": 1e5}
TV = 1e-2

needs_weights = pytest.mark.weights


@functools.cache
def weights():
    return vgg_weights.load("vgg16_torchvision")


@functools.cache
def photo(size):
    picture = Image.fromarray(skimage.data.coffee()).resize((size + 8, size))
    return np.float32(picture)[None]


@needs_weights
@pytest.mark.parametrize("forms", ["plain", "cpu"])
def test_features_equal_pytorch(forms):
    pytest.importorskip("torch")
    from jaxperceptual import torch_reference as reference

    images = photo(96)
    expected = reference.VGG16(weights(), RELUS)(reference.nchw(images), RELUS)
    with ops.forms(forms):
        variables = vgg.frozen(weights().params, RELUS)
        features = objectives.vgg_features(weights().preprocessing)
        found = jax.jit(lambda v, x: features(v, x, RELUS))(variables, images)
    assert set(found) == set(RELUS)
    for name in RELUS:
        theirs = reference.nhwc(expected[name])
        error = np.linalg.norm(found[name] - theirs) / np.linalg.norm(theirs)
        assert error < 1e-4, f"{name}: {error}"


@needs_weights
@pytest.mark.parametrize("forms", ["plain", "cpu"])
def test_objective_and_its_pixel_gradient_equal_pytorch(forms):
    pytest.importorskip("torch")
    from jaxperceptual import torch_reference as reference

    content = np.concatenate([photo(64), photo(64)[:, :, ::-1]])
    style = photo(80)[:, ::-1].copy()
    rng = np.random.default_rng(1)
    pixels = np.clip(content + rng.normal(0, 20, content.shape), 0, 255).astype("f")

    twin = reference.Objective(
        weights(), style[0], content=CONTENT, style=STYLE, tv_weight=TV
    )
    x = reference.nchw(pixels).requires_grad_()
    loss, their_terms = twin(x, reference.nchw(content))
    loss.backward()
    expected = reference.nhwc(x.grad)

    with ops.forms(forms):
        variables = vgg.frozen(weights().params, STYLE)
        features = objectives.vgg_features(weights().preprocessing)
        grams = objectives.style_targets(features, variables, style[0], STYLE)
        objective = objectives.perceptual_objective(
            features, content=CONTENT, style=STYLE, tv_weight=TV
        )
        (found, terms), gradient = jax.jit(
            jax.value_and_grad(
                lambda x: objective(Frozen(variables, grams), x, content), has_aux=True
            )
        )(pixels)
    np.testing.assert_allclose(found, loss.item(), rtol=1e-4)
    np.testing.assert_allclose(sum(terms.values()), found, rtol=1e-6)
    assert set(terms) == {"content/relu2_2", "tv", *(f"style/{k}" for k in STYLE)}
    for name, term in their_terms.items():
        np.testing.assert_allclose(terms[name], term.item(), rtol=1e-4)
    error = np.linalg.norm(gradient - expected) / np.linalg.norm(expected)
    # Rounding is 1e-6; a ReLU or a maximum whose inputs nearly tie adds up to 1e-3.
    assert error < 1e-3, error


def random_params():
    rng = np.random.default_rng(0)
    return {
        name: {
            "kernel": rng.normal(0, 0.05, shape).astype("f"),
            "bias": np.zeros(shape[-1], "f"),
        }
        for name, shape in vgg_names.CONV_SHAPES.items()
        if name < "conv3"
    }


def test_content_branch_has_no_gradient_and_goes_no_deeper():
    seen = []

    def features(variables, images, layers):
        seen.append(layers)
        return {name: images * (i + 1.0) for i, name in enumerate(layers)}

    objective = objectives.perceptual_objective(
        features, content={"relu2_2": 1.0}, style={"relu4_3": 1.0}
    )
    frozen = Frozen({}, {"relu4_3": jnp.zeros((1, 3, 3))})
    images = jnp.ones((1, 2, 2, 3))
    gradient = jax.grad(lambda t: objective(frozen, images, t)[0])(2 * images)
    assert not gradient.any()
    assert seen == [("relu2_2", "relu4_3"), ("relu2_2",)]


def test_computes_only_down_to_the_deepest_layer():
    params = random_params()
    variables = vgg.frozen(params, ["relu1_2"])
    assert set(variables["params"]) == {"conv1_1", "conv1_2"}
    network = vgg.VGG16(vgg_names.TORCHVISION)
    found = network.apply(variables, jnp.zeros((1, 8, 8, 3)), ["relu1_1", "relu1_2"])
    assert {k: v.shape for k, v in found.items()} == {
        "relu1_1": (1, 8, 8, 64),
        "relu1_2": (1, 8, 8, 64),
    }
    with pytest.raises(InputError, match="relu3_1 needs conv3_1"):
        vgg.frozen(params, ["relu3_1"])


def test_caffe_weights_see_bgr_minus_the_mean():
    pixel = jnp.array([[[[10.0, 20.0, 30.0]]]])
    found = vgg.preprocess(pixel, vgg_names.CAFFE)
    np.testing.assert_allclose(
        found.ravel(), [30 - 103.939, 20 - 116.779, 10 - 123.68], rtol=1e-6
    )


@pytest.mark.parametrize(
    "options, message",
    [
        (dict(content={"relu9_9": 1.0}, style={}), "no layer 'relu9_9'"),
        (dict(content={"relu2_2": -1.0}, style={}), "finite number >= 0"),
        (dict(content={"relu2_2": np.nan}, style={}), "finite number >= 0"),
        (dict(content={"relu2_2": 0.0}, style={}), "every weight"),
    ],
)
def test_objectives_that_cannot_be(options, message):
    with pytest.raises(InputError, match=message):
        objectives.perceptual_objective(lambda *_: {}, **options)
