"""Equation 5: which layers, which weights, one scalar, its terms by name.

An objective is a pure function of pixels. Training hands it the network's output,
optimisation over pixels the image itself, so both can be plotted on one axis.
"""

import dataclasses
import functools
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import flax.linen as nn
import jax
import numpy as np
from jaxtyping import Array, Float, Int

from jaxperceptual.core.errors import InputError
from jaxperceptual.core.types import Features, Grams, Image, Images, Metrics, Params
from jaxperceptual.loss_network.vgg_layers import check_layers
from jaxperceptual.losses.terms import (
    feature_loss,
    gram_matrix,
    luma_loss,
    pixel_loss,
    style_loss,
    total_variation,
)
from jaxperceptual.ops.choice import cpu_forms


class Frozen(NamedTuple):
    """What every step reads and none changes; travels replicated, undifferentiated."""

    vgg: Params  # variables of the loss network
    style: Grams  # style targets: one image's, or a row for each style of a gallery
    # Activations to be kept, by layer, where they are the same at every step; without
    # them they are computed anew from each step's targets.
    content: Features | None = None
    # What each style's terms are multiplied with. Not in the objective's own weights,
    # so that programs are the same for every painting.
    style_weights: Float[Array, " s"] | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class PerceptualObjective:
    """The objective `(frozen, outputs, targets) -> (loss, terms)`, eq. 5.

    `outputs` and `targets` are RGB [n h w 3] in [0, 255]; the targets are the images
    whose content is kept. Terms are weighted and add up to the loss:
    `content/relu2_2`, `style/relu1_2`, `tv`, `pixel`, `luma`. A weight of 0 leaves its
    term out. Only `outputs` have a gradient.

    Args:
      network: phi, as `VGG16`: `apply(variables, images, layers)` gives activations by
        layer. None for an objective of pixels alone.
      content: Weights of eq. 2, by layer.
      style: Weights of eq. 4, a *sum* over the Gram matrix, by layer.
      tv_weight: Of the total variation, a sum over each image.
      pixel_weight: Of the pixel loss (section 3.2).
      luma_weight: Of the pixel loss of brightness alone.

    Raises:
      InputError: Unknown layers, weights that are negative or not finite, layers
        without a network, or nothing to minimise.
    """

    network: nn.Module | None = None
    _: dataclasses.KW_ONLY
    content: Mapping[str, float] = dataclasses.field(default_factory=dict)
    style: Mapping[str, float] = dataclasses.field(default_factory=dict)
    tv_weight: float = 0.0
    pixel_weight: float = 0.0
    luma_weight: float = 0.0

    def __post_init__(self):
        on_pixels = {
            "tv": self.tv_weight,
            "pixel": self.pixel_weight,
            "luma": self.luma_weight,
        }
        # One after the other: a style's weight must not hide a content's of its layer.
        for named in (self.content, self.style, on_pixels):
            for name, weight in named.items():
                if not (np.isfinite(weight) and weight >= 0):
                    raise InputError(
                        f"objective weight {name}={weight}; use a finite number >= 0."
                    )
        for field in ("content", "style"):
            kept = {name: w for name, w in getattr(self, field).items() if w}
            object.__setattr__(self, field, kept)
        if self.layers:
            getattr(self.network, "check_layers", check_layers)(self.layers)
            if self.network is None:
                raise InputError(
                    f"{self.layers[0]} has a weight, and there is no loss network; "
                    "give one."
                )
        elif not any(on_pixels.values()):
            raise InputError(
                "every weight of the objective is 0; give at least one term."
            )

    @property
    def layers(self) -> tuple[str, ...]:
        """The layers that it reads of the outputs, each once."""
        return tuple(dict.fromkeys([*self.content, *self.style]))

    def features(
        self, variables: Params, images: Images, layers: Iterable[str]
    ) -> Features:
        """Activations of the loss network by layer; none without layers."""
        layers = tuple(layers)
        return self.network.apply(variables, images, layers) if layers else {}

    def freeze(self, variables: Params, style_image: Image | None = None) -> "Frozen":
        """What a call reads: the network's variables, and the style's Gram matrices.

        style_image: RGB [h w 3] in [0, 255], of any size; None without a style.
        """
        grams = (
            {} if style_image is None else self.style_targets(variables, style_image)
        )
        return Frozen(variables, grams)

    def style_targets(self, variables: Params, image: Image) -> Grams:
        """Gram matrices of the style image [h w 3], whatever its size; once per run."""

        @jax.jit
        def grams(variables, images):
            features = self.features(variables, images, self.style)
            return {name: gram_matrix(features[name]) for name in self.style}

        return grams(variables, image[None])

    def content_targets(self, variables: Params, images: Images) -> Features:
        """Activations of images whose content is kept over many steps (`Frozen`)."""
        return jax.jit(lambda variables, x: self.features(variables, x, self.content))(
            variables, images
        )

    def __call__(
        self,
        frozen: Frozen,
        outputs: Images,
        targets: Images,
        styles: Int[Array, " n"] | None = None,
    ) -> tuple[Float[Array, ""], Metrics]:
        """The loss, a mean over the batch, and its weighted terms by name.

        styles: of a gallery, which row of `frozen` is each image's style.
        """
        one_style = all(len(gram) == 1 for gram in jax.tree.leaves(frozen.style))
        shared = frozen.content is None and (one_style or styles is not None)
        alone = self.layers and len(outputs) > 1 and shared and cpu_forms(outputs)
        whole = _image_by_image if alone else PerceptualObjective.of_batch
        return whole(self, frozen, outputs, targets, styles)

    def of_batch(
        self,
        frozen: Frozen,
        outputs: Images,
        targets: Images,
        styles: Int[Array, " n"] | None = None,
    ) -> tuple[Float[Array, ""], Metrics]:
        """The objective of all images at once, which is what a call computes."""
        grams, weights = frozen.style, frozen.style_weights
        if styles is not None:
            grams = {name: gram[styles] for name, gram in grams.items()}
            weights = weights[styles]
        terms: Metrics = {}
        found = self.features(frozen.vgg, outputs, self.layers)
        wanted = frozen.content
        if wanted is None:
            # Its own, shallower pass: no gradient, and no layer below the content's.
            targets = jax.lax.stop_gradient(targets)
            wanted = self.features(frozen.vgg, targets, self.content)
        for name, weight in self.content.items():
            terms[f"content/{name}"] = weight * feature_loss(found[name], wanted[name])
        for name, weight in self.style.items():
            gram = gram_matrix(found[name])
            terms[f"style/{name}"] = weight * style_loss(gram, grams[name], weights)
        if self.tv_weight:
            terms["tv"] = self.tv_weight * total_variation(outputs)
        if self.pixel_weight:
            terms["pixel"] = self.pixel_weight * pixel_loss(outputs, targets)
        if self.luma_weight:
            terms["luma"] = self.luma_weight * luma_loss(outputs, targets)
        return sum(terms.values()), terms


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _image_by_image(objective, frozen, outputs, targets, styles):
    """The same objective in the forms for a CPU: one image of a batch after another.

    Each image's gradient is found with its value, so that the activations of only one
    are held at a time: less memory, and more of it in the cache.
    """
    return objective.of_batch(frozen, outputs, targets, styles)


def _image_by_image_fwd(objective, frozen, outputs, targets, styles):
    def one(image):
        output, target, style = jax.tree.map(lambda x: x[None], image)
        return jax.value_and_grad(objective.of_batch, argnums=1, has_aux=True)(
            frozen, output, target, style
        )

    values, gradients = jax.lax.map(one, (outputs, targets, styles))
    # The objective, and each term of it, is a mean over images.
    values = jax.tree.map(lambda v: v.mean(0), values)
    return values, gradients[:, 0] / len(outputs)


def _image_by_image_bwd(objective, gradient, cotangents):
    del objective
    cotangent, _ = cotangents  # the terms are only looked at
    return None, cotangent * gradient, None, None


_image_by_image.defvjp(_image_by_image_fwd, _image_by_image_bwd)
