"""The loss network and the objective against PyTorch running the same weights."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import skimage.data
from helpers import relative_error
from PIL import Image
from tolerances import FEW_ROUNDINGS, NEAR_TIES, OTHER_FRAMEWORK

from jaxperceptual.core.errors import InputError
from jaxperceptual.loss_network import dialects, store, vgg
from jaxperceptual.loss_network.dialects import TORCHVISION
from jaxperceptual.losses.objective import Frozen, PerceptualObjective
from jaxperceptual.ops import choice

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
    return store.load("vgg16_torchvision")


@functools.cache
def photo(size):
    picture = Image.fromarray(skimage.data.coffee()).resize((size + 8, size))
    return np.float32(picture)[None]


@needs_weights
@pytest.mark.parametrize("forms", ["plain", "cpu"])
def test_features_equal_pytorch(forms):
    pytest.importorskip("torch")
    from jaxperceptual.benchmarks.torch.objective import VGG16
    from jaxperceptual.benchmarks.torch.tensors import nchw, nhwc

    images = photo(96)
    expected = VGG16(weights(), RELUS)(nchw(images), RELUS)
    with choice.forms(forms):
        variables = vgg.freeze(weights().params, RELUS)
        network = vgg.VGG16(weights().preprocessing)
        found = jax.jit(lambda v, x: network.apply(v, x, RELUS))(variables, images)
    assert set(found) == set(RELUS)
    for name in RELUS:
        theirs = nhwc(expected[name])
        error = relative_error(found[name], theirs)
        assert error < OTHER_FRAMEWORK["rtol"], f"{name}: {error}"


@needs_weights
@pytest.mark.slow  # every run: what PyTorch once found, losses/test_golden.py
@pytest.mark.parametrize("forms", ["plain", "cpu"])
def test_objective_and_its_pixel_gradient_equal_pytorch(forms):
    pytest.importorskip("torch")
    from jaxperceptual.benchmarks.torch.objective import Objective
    from jaxperceptual.benchmarks.torch.tensors import nchw, nhwc

    content = np.concatenate([photo(64), photo(64)[:, :, ::-1]])
    style = photo(80)[:, ::-1].copy()
    rng = np.random.default_rng(1)
    pixels = np.clip(content + rng.normal(0, 20, content.shape), 0, 255).astype("f")

    twin = Objective(weights(), style[0], content=CONTENT, style=STYLE, tv_weight=TV)
    x = nchw(pixels).requires_grad_()
    loss, their_terms = twin(x, nchw(content))
    loss.backward()
    expected = nhwc(x.grad)

    with choice.forms(forms):
        variables = vgg.freeze(weights().params, STYLE)
        objective = PerceptualObjective(
            vgg.VGG16(weights().preprocessing),
            content=CONTENT,
            style=STYLE,
            tv_weight=TV,
        )
        grams = objective.style_targets(variables, style[0])
        (found, terms), gradient = jax.jit(
            jax.value_and_grad(
                lambda x: objective(Frozen(variables, grams), x, content), has_aux=True
            )
        )(pixels)
    np.testing.assert_allclose(found, loss.item(), **OTHER_FRAMEWORK)
    np.testing.assert_allclose(sum(terms.values()), found, **FEW_ROUNDINGS)
    assert set(terms) == {"content/relu2_2", "tv", *(f"style/{k}" for k in STYLE)}
    for name, term in their_terms.items():
        np.testing.assert_allclose(terms[name], term.item(), **OTHER_FRAMEWORK)
    error = relative_error(gradient, expected)
    assert error < NEAR_TIES, error


def random_params():
    rng = np.random.default_rng(0)
    return {
        name: {
            "kernel": rng.normal(0, 0.05, shape).astype("f"),
            "bias": np.zeros(shape[-1], "f"),
        }
        for name, shape in dialects.CONV_SHAPES.items()
        if name < "conv3"
    }


def test_content_branch_has_no_gradient_and_goes_no_deeper():
    seen = []

    class Network(nn.Module):
        def apply(self, variables, images, layers):
            seen.append(layers)
            return {name: images * (i + 1.0) for i, name in enumerate(layers)}

    objective = PerceptualObjective(
        Network(), content={"relu2_2": 1.0}, style={"relu4_3": 1.0}
    )
    frozen = Frozen({}, {"relu4_3": jnp.zeros((1, 3, 3))})
    images = jnp.ones((1, 2, 2, 3))
    gradient = jax.grad(lambda t: objective(frozen, images, t)[0])(2 * images)
    assert not gradient.any()
    assert seen == [("relu2_2", "relu4_3"), ("relu2_2",)]


def test_computes_only_down_to_the_deepest_layer():
    params = random_params()
    variables = vgg.freeze(params, ["relu1_2"])
    assert set(variables["params"]) == {"conv1_1", "conv1_2"}
    network = vgg.VGG16(dialects.TORCHVISION)
    found = network.apply(variables, jnp.zeros((1, 8, 8, 3)), ["relu1_1", "relu1_2"])
    assert {k: v.shape for k, v in found.items()} == {
        "relu1_1": (1, 8, 8, 64),
        "relu1_2": (1, 8, 8, 64),
    }
    with pytest.raises(InputError, match="relu3_1 needs conv3_1"):
        vgg.freeze(params, ["relu3_1"])


def test_caffe_weights_see_bgr_minus_the_mean():
    pixel = jnp.array([[[[10.0, 20.0, 30.0]]]])
    found = vgg.preprocess(pixel, dialects.CAFFE)
    np.testing.assert_allclose(
        found.ravel(), [30 - 103.939, 20 - 116.779, 10 - 123.68], **FEW_ROUNDINGS
    )


@pytest.mark.parametrize(
    "options, message",
    [
        (dict(content={"relu9_9": 1.0}, style={}), "no layer 'relu9_9'"),
        (dict(content={"relu2_2": -1.0}, style={}), "finite number >= 0"),
        (dict(content={"relu2_2": np.nan}, style={}), "finite number >= 0"),
        # A style's weight does not hide a content's of the same layer.
        (dict(content={"r": -1.0}, style={"r": 1.0}), "weight r=-1.0; use a finite"),
        (dict(content={"relu2_2": 0.0}, style={}), "every weight"),
    ],
)
def test_objectives_that_cannot_be(options, message):
    with pytest.raises(InputError, match=message):
        PerceptualObjective(vgg.VGG16(TORCHVISION), **options)
