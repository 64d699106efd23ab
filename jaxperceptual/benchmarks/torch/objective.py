"""VGG-16 and equation 5 in PyTorch."""

from collections.abc import Iterable, Mapping

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from jaxperceptual.benchmarks.torch.networks import Conv
from jaxperceptual.benchmarks.torch.tensors import as_tensor, nchw
from jaxperceptual.images.color import LUMA_WEIGHTS
from jaxperceptual.loss_network.vgg_layers import LAYERS, check_layers
from jaxperceptual.loss_network.weights import VGGWeights


class VGG16(nn.Module):
    """`vgg.VGG16` down to the deepest of `layers`; its parameters are frozen."""

    def __init__(self, weights: VGGWeights, layers: Iterable[str]):
        super().__init__()
        layers = check_layers(layers, network="PyTorch's reference, a VGG-16,")
        names = LAYERS[: max(map(LAYERS.index, layers)) + 1]
        self.convs = nn.ModuleDict(
            {
                name: Conv(weights.params[name.replace("relu", "conv")], padding=1)
                for name in names
                if name.startswith("relu")
            }
        ).requires_grad_(False)
        channels, self.scale, mean, std = weights.preprocessing
        self.flip = channels == "BGR"
        self.register_buffer("mean", as_tensor(mean)[:, None, None])
        self.register_buffer("std", as_tensor(std)[:, None, None])

    def forward(self, images, layers):
        x = images.flip(1) if self.flip else images
        x = (x / self.scale - self.mean) / self.std
        found = {}
        for name in LAYERS[: max(map(LAYERS.index, layers)) + 1]:
            if name.startswith("pool"):
                x = F.max_pool2d(x, 2)
            else:
                x = F.relu(self.convs[name](x))
            if name in layers:
                found[name] = x
        return found


class Objective(nn.Module):
    """Equation 5, as `PerceptualObjective`: `(loss, terms by name)`.

    `style_image` is [h w 3]; its Gram matrices are computed here, by this VGG. It may
    be None where no style has a weight.
    """

    def __init__(
        self,
        weights: VGGWeights,
        style_image: np.ndarray | None,
        *,
        content: Mapping[str, float],
        style: Mapping[str, float],
        tv_weight: float = 0.0,
        pixel_weight: float = 0.0,
        luma_weight: float = 0.0,
    ):
        super().__init__()
        self.content = {name: weight for name, weight in content.items() if weight}
        self.style = {name: weight for name, weight in style.items() if weight}
        self.tv_weight, self.pixel_weight = tv_weight, pixel_weight
        self.luma_weight = luma_weight
        self.register_buffer("luma", as_tensor(LUMA_WEIGHTS)[:, None, None])
        layers = [*self.content, *self.style]
        self.vgg = VGG16(weights, layers) if layers else None
        self.grams = {}
        if self.style:
            with torch.no_grad():
                found = self.vgg(nchw(style_image[None]), list(self.style))
            self.grams = {name: _gram(found[name]) for name in self.style}

    def content_of(self, targets) -> dict:
        """The targets' activations, which `forward` takes as `wanted`."""
        if not self.content:
            return {}
        with torch.no_grad():
            return self.vgg(targets, list(self.content))

    def forward(self, outputs, targets, wanted=None):
        layers = [*self.content, *self.style]
        found = self.vgg(outputs, layers) if layers else {}
        if wanted is None:
            wanted = self.content_of(targets)
        terms = {}
        for name, weight in self.content.items():
            terms[f"content/{name}"] = weight * F.mse_loss(found[name], wanted[name])
        for name, weight in self.style.items():
            difference = _gram(found[name]) - self.grams[name]
            squares = difference.square().sum() / len(outputs)
            terms[f"style/{name}"] = weight * squares
        if self.tv_weight:
            rows = (outputs[:, :, 1:] - outputs[:, :, :-1]).square().sum()
            columns = (outputs[..., 1:] - outputs[..., :-1]).square().sum()
            terms["tv"] = self.tv_weight * (rows + columns) / len(outputs)
        if self.pixel_weight:
            terms["pixel"] = self.pixel_weight * F.mse_loss(outputs, targets)
        if self.luma_weight:
            difference = ((outputs - targets) * self.luma).sum(1)
            terms["luma"] = self.luma_weight * difference.square().mean()
        return sum(terms.values()), terms


def _gram(x):
    n, c, h, w = x.shape
    x = x.reshape(n, c, h * w)
    return x @ x.transpose(1, 2) / (c * h * w)
