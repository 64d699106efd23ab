"""Figures 3 and 4: what one layer of the loss network knows of an image.

White noise is turned, over its pixels, into an image that has the features (eq. 2) or
the style (eq. 4) of a target in one layer.
"""

import csv
import dataclasses
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from jaxperceptual import (
    files,
    gatys,
    goals,
    images,
    objectives,
    runs,
    vgg,
    vgg_weights,
)
from jaxperceptual.errors import InputError
from jaxperceptual.types import Frozen, Image, Params


class Figure(NamedTuple):
    """The paper's figure: its number, its layers, and what `Options.tv` suits it."""

    number: int
    layers: tuple[str, ...]
    tv: float


# By what is reconstructed. The weights of the total variation were chosen by looking
# (96 px, 100 steps): with a hundredth, relu4_3 and deeper bring back coloured noise at
# a loss no lower; with ten times as much for the style, relu1_2 loses its colours.
FIGURES = {
    "features": Figure(3, ("relu2_2", "relu3_3", "relu4_3", "relu5_1", "relu5_3"), 0.3),
    "style": Figure(4, ("relu1_2", "relu2_2", "relu3_3", "relu4_3"), 0.03),
}
MIN_SIZE, MAX_SIZE = 32, 4096  # px, of --size

_CHUNK = 10  # evaluations between two looks at the progress
_NOISE_STEP = 255**2 / 6  # mean squared difference of two uniform values in [0, 255]


@dataclasses.dataclass(frozen=True)
class Options:
    """What to reconstruct, and how.

    kind: `features` (eq. 2) or `style` (eq. 4), of each of `layers` for itself.
    tv: weight of the total variation in units of white noise's, beside the layer's loss
        in units of an output's whose features are 0. Both are relative, so that one
        weight does for all layers and sizes. 0 leaves it out.
    size: upper bound of the target's long side, pixels.
    steps: evaluations after that of the white noise.
    """

    kind: str
    layers: tuple[str, ...]
    tv: float
    size: int = 256
    steps: int = 500
    seed: int = 0
    vgg: str = vgg_weights.DEFAULT

    def check(self) -> None:
        """Raises InputError for what cannot be reconstructed."""
        if self.kind not in FIGURES:
            raise InputError(f"{self.kind}: unknown; use one of {', '.join(FIGURES)}.")
        vgg.check_layers(self.layers)
        for name, value, low, high in (
            ("--size", self.size, MIN_SIZE, MAX_SIZE),
            ("--steps", self.steps, 1, 1_000_000),
            ("--tv", self.tv, 0, 1_000_000),
            ("--seed", self.seed, 0, 2**32 - 1),
        ):
            if not low <= value <= high:
                raise InputError(f"{name} {value}; use {low} to {high}.")


class Row(NamedTuple):
    """A line of reconstruction.csv: what one evaluation left behind."""

    layer: str
    iteration: int
    evaluations: int
    objective: float  # the sum of the two terms
    loss: float  # of the layer, relative as in `Options.tv`
    tv: float  # weighted


def run(options: Options, path: str | os.PathLike, output: str | os.PathLike) -> Path:
    """Reconstructs the image at `path` from each layer; returns the figure's path.

    Writes NAME_LAYER.png and reconstruction.csv (columns: `Row`) whenever a layer is
    done, and at the end figure3.png (features) or figure4.png (style): the target and
    all reconstructions in a row. Raises InputError, before anything is computed, for
    options that cannot be, an image that cannot be read or is too small, VGG weights
    that are not there or not deep enough, and a folder that takes no files.
    """
    options.check()
    path, output = Path(path), Path(output)
    target = images.read_image(path, size=options.size)
    h, w, _ = target.shape
    if min(h, w) < goals.MIN_STYLE_SIDE:
        raise InputError(
            f"{path}: {w} x {h} px at --size {options.size}; its short side needs "
            f"{goals.MIN_STYLE_SIDE}."
        )
    layers = tuple(dict.fromkeys(options.layers))
    results = {layer: output / f"{path.stem}_{layer}.png" for layer in layers}
    figure = output / f"figure{FIGURES[options.kind].number}.png"
    if path.resolve() in (result.resolve() for result in (figure, *results.values())):
        raise InputError(f"{path}: a result would replace it; choose another -o.")
    weights = vgg_weights.load(options.vgg)
    features_fn = objectives.vgg_features(weights.preprocessing)
    variables = vgg.frozen(weights.params, layers)
    runs.make_folder(output, "-o")

    rows: list[Row] = []
    cells = [images.labelled(target, "original")]
    total = (options.steps + 1) * len(layers)
    with tqdm(total=total, unit="step", disable=None) as bar:
        for layer, result in results.items():
            bar.set_description(layer)
            states = reconstruct(options, layer, target, features_fn, variables)
            for state in states:
                pixels, trace = state
                rows += trace
                bar.set_postfix(objective=f"{rows[-1].objective:.3g}", refresh=False)
                bar.update(len(trace))
            images.write_image(result, pixels)
            files.write_text(output / "reconstruction.csv", _as_csv(rows))
            cells.append(images.labelled(images.read_image(result), layer))
    images.write_image(figure, images.grid(cells, len(cells)))
    return figure


def reconstruct(
    options: Options,
    layer: str,
    target: Image,
    features_fn: objectives.FeaturesFn,
    variables: Params,
) -> Iterator[tuple[Image, list[Row]]]:
    """Yields the image so far [h w 3], and what evaluations since the last one left.

    First the white noise of `options.seed`; the objective never rises after it. Raises
    InputError for a layer that is 0 everywhere on this target, and for want of memory.
    """
    h, w, _ = target.shape
    content, style, grams = {}, {}, {}
    if options.kind == "features":
        found = objectives.content_targets(
            features_fn, variables, target[None], [layer]
        )
        content[layer] = 1 / _positive(jnp.mean(jnp.square(found[layer])), layer)
    else:
        grams = objectives.style_targets(features_fn, variables, target, [layer])
        style[layer] = 1 / _positive(jnp.sum(jnp.square(grams[layer])), layer)
    neighbours = 3 * ((h - 1) * w + h * (w - 1))
    objective = objectives.perceptual_objective(
        features_fn,
        content=content,
        style=style,
        tv_weight=options.tv / (neighbours * _NOISE_STEP),
    )
    # With a line search the last image is the best; without, the deep layers' jumps.
    optimizer = gatys.PixelOptimizer(
        objective, features_fn, tuple(content), linesearch="backtracking"
    )
    noise = gatys.white_noise(options.seed, h, w)
    with runs.enough_memory(f"{layer} of {w} x {h} px", "a smaller --size"):
        step, frozen = optimizer.start(
            noise[None], Frozen(variables, grams), target[None]
        )
        start = gatys.trace_of(step.state)
        yield noise, _rows(layer, jax.tree.map(lambda x: np.asarray(x)[None], start))
        for done in range(0, options.steps, _CHUNK):
            count = min(_CHUNK, options.steps - done)
            step, trace = optimizer.advance(step, frozen, target[None], count)
            yield np.asarray(step.params[0]), _rows(layer, trace)


def _rows(layer: str, trace: gatys.Trace) -> list[Row]:
    """Of a trace of one image, [k 1]."""
    tv = trace.terms.get("tv", np.zeros_like(trace.objective))
    (loss,) = (value for name, value in trace.terms.items() if name != "tv")
    columns = (trace.iteration, trace.evaluations, trace.objective, loss, tv)
    columns = (column[:, 0].tolist() for column in columns)
    return [Row(layer, *values) for values in zip(*columns, strict=True)]


def _as_csv(rows: list[Row]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([Row._fields, *rows])
    return text.getvalue()


def _positive(scale: jax.Array, layer: str) -> float:
    if not scale > 0:
        raise InputError(f"{layer} is 0 everywhere on this image; use another layer.")
    return float(scale)
