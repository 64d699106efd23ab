"""Equation 5: which layers, which weights, one scalar, its terms by name.

An objective is a pure function of pixels. Training hands it the network's output,
optimisation over pixels the image itself, so both can be plotted on one axis.
"""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from jaxperceptual import losses, ops, vgg
from jaxperceptual.errors import InputError
from jaxperceptual.types import (
    Features,
    Frozen,
    Grams,
    Images,
    Metrics,
    Objective,
    Params,
)

# (variables of VGG16, images in [0, 255], layer names) -> activations by name
FeaturesFn = Callable[[Params, Images, tuple[str, ...]], Features]


def vgg_features(preprocessing, dtype: DTypeLike = jnp.float32) -> FeaturesFn:
    """Activations of `vgg.VGG16` as a pure function of variables, images and layers.

    Computed in `dtype`; what the losses make of them is float32.
    """
    network = vgg.VGG16(preprocessing, dtype)

    def features(variables, images, layers):
        return network.apply(variables, images, layers) if layers else {}

    return features


def no_features(variables, images, layers) -> Features:
    """The `FeaturesFn` of an objective that reads no layer."""
    assert not layers
    return {}


def layers_of(*weights: Mapping[str, float]) -> tuple[str, ...]:
    """The layers that an objective with these weights reads, each once."""
    return tuple(dict.fromkeys(k for named in weights for k, w in named.items() if w))


def style_targets(
    features_fn: FeaturesFn, variables: Params, image: np.ndarray, layers
) -> Grams:
    """Gram matrices of the style image [h w 3], whatever its size; once per run."""
    layers = tuple(layers)

    @jax.jit
    def grams(variables, images):
        features = features_fn(variables, images, layers)
        return {name: losses.gram_matrix(features[name]) for name in layers}

    return grams(variables, image[None])


def content_targets(
    features_fn: FeaturesFn, variables: Params, images: Images, layers
) -> Features:
    """Activations of images whose content is kept over many steps; for `Frozen`."""
    layers = tuple(layers)
    return jax.jit(lambda variables, x: features_fn(variables, x, layers))(
        variables, images
    )


def perceptual_objective(
    features_fn: FeaturesFn,
    *,
    content: Mapping[str, float],
    style: Mapping[str, float],
    tv_weight: float = 0.0,
    pixel_weight: float = 0.0,
    luma_weight: float = 0.0,
) -> Objective:
    """Builds `(frozen, outputs, targets) -> (loss, terms)`.

    `content` and `style` map layers to weights: of eq. 2, and of eq. 4 (a *sum* over
    the Gram matrix). `targets` are the images whose content is kept. Terms are
    weighted and add up to the loss: `content/relu2_2`, `style/relu1_2`, `tv`, `pixel`,
    `luma`. A weight of 0 leaves its term out. Only `outputs` have a gradient. Raises
    InputError for unknown layers, negative weights, or nothing to minimise.
    """
    content = {name: w for name, w in dict(content).items() if w}
    style = {name: w for name, w in dict(style).items() if w}
    on_pixels = {"tv": tv_weight, "pixel": pixel_weight, "luma": luma_weight}
    for name, w in {**content, **style, **on_pixels}.items():
        if not (np.isfinite(w) and w >= 0):
            raise InputError(f"objective weight {name}={w}; use a finite number >= 0.")
    if content or style:
        vgg.check_layers([*content, *style])
    elif not any(on_pixels.values()):
        raise InputError("every weight of the objective is 0; give at least one term.")
    layers = layers_of(content, style)

    def objective(frozen: Frozen, outputs: Images, targets: Images):
        terms: Metrics = {}
        found = features_fn(frozen.vgg, outputs, layers)
        wanted = frozen.content
        if wanted is None:
            # Its own, shallower pass: no gradient, and no layer below the content's.
            targets = jax.lax.stop_gradient(targets)
            wanted = features_fn(frozen.vgg, targets, tuple(content))
        for name, weight in content.items():
            loss = losses.feature_loss(found[name], wanted[name])
            terms[f"content/{name}"] = weight * loss
        for name, weight in style.items():
            gram = losses.gram_matrix(found[name])
            loss = losses.style_loss(gram, frozen.style[name])
            terms[f"style/{name}"] = weight * loss
        if tv_weight:
            terms["tv"] = tv_weight * losses.total_variation(outputs)
        if pixel_weight:
            terms["pixel"] = pixel_weight * losses.pixel_loss(outputs, targets)
        if luma_weight:
            terms["luma"] = luma_weight * losses.luma_loss(outputs, targets)
        return sum(terms.values()), terms

    return _image_by_image(objective) if layers else objective


def _image_by_image(objective: Objective) -> Objective:
    """The same objective; in the forms for a CPU, one image of a batch after another.

    Each image's gradient is found with its value, so that the activations of only one
    are held at a time: less memory, and more of it in the cache.
    """

    @jax.custom_vjp
    def mapped(frozen, outputs, targets):
        return objective(frozen, outputs, targets)

    def forward(frozen, outputs, targets):
        def one(pair):
            output, target = pair
            return jax.value_and_grad(objective, argnums=1, has_aux=True)(
                frozen, output[None], target[None]
            )

        values, gradients = jax.lax.map(one, (outputs, targets))
        # The objective, and each term of it, is a mean over images.
        values = jax.tree.map(lambda v: v.mean(0), values)
        return values, gradients[:, 0] / len(outputs)

    def backward(gradient, cotangents):
        cotangent, _ = cotangents  # the terms are only looked at
        return None, cotangent * gradient, None

    mapped.defvjp(forward, backward)

    def chosen(frozen: Frozen, outputs: Images, targets: Images):
        shared = frozen.content is None and all(
            len(gram) == 1 for gram in jax.tree.leaves(frozen.style)
        )
        if len(outputs) > 1 and shared and ops.cpu_forms(outputs):
            return mapped(frozen, outputs, targets)
        return objective(frozen, outputs, targets)

    return chosen
