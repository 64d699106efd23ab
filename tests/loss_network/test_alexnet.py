"""AlexNet as loss network, against PyTorch running the same weights."""

import jax
import numpy as np
import pytest
from helpers import relative_error
from tolerances import NEAR_TIES, OTHER_FRAMEWORK

from jaxperceptual.core import config_files
from jaxperceptual.core.errors import InputError
from jaxperceptual.loss_network import alexnet, phi
from jaxperceptual.losses.goal import build_goal
from jaxperceptual.losses.objective import PerceptualObjective
from jaxperceptual.losses.style_image import StyleImage


def torchs(params):
    """torchvision's `alexnet().features`, written out."""
    from torch import nn, tensor

    layers = [
        *(nn.Conv2d(3, 64, 11, stride=4, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2)),
        *(nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2)),
        *(nn.Conv2d(192, 384, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(384, 256, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(256, 256, 3, padding=1), nn.ReLU()),
    ]
    convs = [layer for layer in layers if isinstance(layer, nn.Conv2d)]
    for conv, arrays in zip(convs, params.values(), strict=True):
        conv.weight.data = tensor(arrays["kernel"].transpose(3, 2, 0, 1).copy())
        conv.bias.data = tensor(arrays["bias"])
    reached = [layer for layer in layers if not isinstance(layer, nn.Conv2d)]
    return layers, dict(zip(reached, alexnet.LAYERS, strict=True))


@pytest.mark.weights
def test_layers_and_the_pixels_gradient_equal_pytorch():
    torch = pytest.importorskip("torch")
    network, stored = phi.load("alexnet", "")
    images = np.random.default_rng(0).uniform(0, 255, (1, 67, 90, 3)).astype("f")
    layers, names = torchs(stored.params)
    pixels = torch.tensor(images, requires_grad=True)
    mean, std = (
        torch.tensor(v) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    )
    x = ((pixels / 255 - mean) / std).permute(0, 3, 1, 2)
    expected = {}
    for layer in layers:
        x = layer(x)
        if layer in names:
            expected[names[layer]] = x
    sum(x.square().mean() for x in expected.values()).backward()

    variables = network.freeze(stored.params, alexnet.LAYERS)

    @jax.jit
    def run(images):
        found = network.apply(variables, images, alexnet.LAYERS)
        return sum((x**2).mean() for x in found.values()), found

    (_, found), gradient = jax.value_and_grad(run, has_aux=True)(images)
    assert set(found) == set(alexnet.LAYERS)
    for name, theirs in expected.items():
        theirs = theirs.detach().permute(0, 2, 3, 1).numpy()
        error = relative_error(np.asarray(found[name]), theirs)
        assert error < OTHER_FRAMEWORK["rtol"], f"{name}: {error}"
    assert relative_error(np.asarray(gradient), pixels.grad.numpy()) < NEAR_TIES


@pytest.mark.weights
def test_a_config_names_it():
    config = config_files.load_config("smoke.py")
    with config.unlocked():
        config.loss_network = "alexnet"
        config.objective.content = {"relu3": 1.0}
        config.objective.style = {"relu1": 1.0}
    photo = np.random.default_rng(0).uniform(0, 255, (1, 64, 64, 3)).astype("f")
    goal = build_goal(config, StyleImage("noise.png", "", photo[0], ""))
    assert goal.record["vgg"]["name"] == "alexnet"
    _, terms = jax.jit(goal.objective)(goal.frozen, photo, photo)
    assert set(terms) == {"content/relu3", "style/relu1", "tv"}


def test_what_cannot_be_is_refused():
    with pytest.raises(
        InputError, match="AlexNet has no layer 'relu2_2'; use one of re"
    ):
        PerceptualObjective(alexnet.AlexNet(), content={"relu2_2": 1.0})
    with pytest.raises(
        InputError, match="loss_network='resnet'; use one of vgg16, alex"
    ):
        phi.load("resnet", "")
    with pytest.raises(InputError, match="31 x 40 px is too small for AlexNet"):
        alexnet.AlexNet().apply({}, np.zeros((1, 40, 31, 3), "f"), ["relu1"])
