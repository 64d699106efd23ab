"""Figures 3 and 4: what one layer of the loss network knows of an image.

White noise is turned, over its pixels, into an image that has the features (eq. 2) or
the style (eq. 4) of a target in one layer.
"""

import csv
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxperceptual.baseline.pixels import PixelOptimizer, Trace, trace_of, white_noise
from jaxperceptual.core import files, folders
from jaxperceptual.core.errors import InputError
from jaxperceptual.core.memory import enough_memory
from jaxperceptual.core.progress import Bar
from jaxperceptual.core.types import Image, Params
from jaxperceptual.figures.options import FIGURES, Options
from jaxperceptual.images import sheets
from jaxperceptual.images.reading import read_image
from jaxperceptual.images.writing import write_image
from jaxperceptual.loss_network import store, vgg
from jaxperceptual.loss_network.vgg_layers import check_layers
from jaxperceptual.loss_network.weights import DEFAULT
from jaxperceptual.losses.objective import Frozen, PerceptualObjective
from jaxperceptual.losses.style_image import MIN_STYLE_SIDE

_CHUNK = 10  # evaluations between two looks at the progress
_NOISE_STEP = 255**2 / 6  # mean squared difference of two uniform values in [0, 255]


class Row(NamedTuple):
    """A line of features.csv or style.csv: what one evaluation left behind."""

    layer: str
    iteration: int
    evaluations: int
    objective: float  # the sum of the two terms
    loss: float  # of the layer, relative as in `Options.tv`
    tv: float  # weighted


def run(options: Options, path: str | os.PathLike, output: str | os.PathLike) -> Path:
    """Reconstructs the image at `path` from each layer; returns the figure's path.

    Writes NAME_features_LAYER.png and features.csv (columns: `Row`) whenever a layer is
    done, and at the end figure3.png: the target and all reconstructions in a row; of
    style NAME_style_LAYER.png, style.csv and figure4.png. Raises InputError, before
    anything is computed, for options that cannot be, an image that cannot be read or is
    too small, VGG weights that are not there or not deep enough, and a folder that
    takes no files.
    """
    options.check()
    layers = tuple(dict.fromkeys(check_layers(options.layers)))
    path, output = Path(path), Path(output)
    target = read_image(path, size=options.size)
    h, w, _ = target.shape
    if min(h, w) < MIN_STYLE_SIDE:
        raise InputError(
            f"{path}: {w} x {h} px at --size {options.size}; its short side needs "
            f"{MIN_STYLE_SIDE}."
        )
    stem = f"{path.stem}_{options.kind}"
    results = {layer: output / f"{stem}_{layer}.png" for layer in layers}
    figure = output / f"figure{FIGURES[options.kind].number}.png"
    if path.resolve() in (result.resolve() for result in (figure, *results.values())):
        raise InputError(f"{path}: a result would replace it; choose another -o.")
    weights = store.load(DEFAULT if options.vgg is None else options.vgg)
    network = vgg.VGG16(weights.preprocessing)
    variables = vgg.freeze(weights.params, layers)
    folders.make_folder(output, "-o")

    rows: list[Row] = []
    cells = [sheets.labelled(target, "original")]
    total = (options.steps + 1) * len(layers)
    with Bar(total=total, unit="step") as bar:
        for layer, result in results.items():
            bar.set_description(layer)
            states = reconstruct(options, layer, target, network, variables)
            for state in states:
                pixels, trace = state
                rows += trace
                bar.set_postfix(objective=f"{rows[-1].objective:.3g}", refresh=False)
                bar.update(len(trace))
            write_image(result, pixels)
            files.write_text(output / f"{options.kind}.csv", _as_csv(rows))
            cells.append(sheets.labelled(read_image(result), layer))
    write_image(figure, sheets.grid(cells, len(cells)))
    return figure


def reconstruct(
    options: Options,
    layer: str,
    target: Image,
    network: vgg.VGG16,
    variables: Params,
) -> Iterator[tuple[Image, list[Row]]]:
    """Yields the image so far [h w 3], and what evaluations since the last one left.

    First the white noise of `options.seed`; the objective never rises after it. Raises
    InputError for a layer that is 0 everywhere on this target, and for want of memory.
    """
    h, w, _ = target.shape
    grams = {}
    if options.kind == "features":
        objective = PerceptualObjective(network, content={layer: 1.0})
        found = objective.content_targets(variables, target[None])
        weight = 1 / _positive(jnp.mean(jnp.square(found[layer])), layer)
        weights = {"content": {layer: weight}}
    else:
        objective = PerceptualObjective(network, style={layer: 1.0})
        grams = objective.style_targets(variables, target)
        weight = 1 / _positive(jnp.sum(jnp.square(grams[layer])), layer)
        weights = {"style": {layer: weight}}
    neighbours = 3 * ((h - 1) * w + h * (w - 1))
    objective = PerceptualObjective(
        network, **weights, tv_weight=options.tv / (neighbours * _NOISE_STEP)
    )
    # With a line search the last image is the best; without, the deep layers' jumps.
    optimizer = PixelOptimizer(objective, linesearch="backtracking")
    noise = white_noise(options.seed, h, w)
    with enough_memory(f"{layer} of {w} x {h} px", "a smaller --size"):
        step, frozen = optimizer.start(
            noise[None], Frozen(variables, grams), target[None]
        )
        start = trace_of(step.state)
        yield noise, _rows(layer, jax.tree.map(lambda x: np.asarray(x)[None], start))
        for done in range(0, options.steps, _CHUNK):
            count = min(_CHUNK, options.steps - done)
            step, trace = optimizer.advance(step, frozen, target[None], count)
            yield np.asarray(step.params[0]), _rows(layer, trace)


def _rows(layer: str, trace: Trace) -> list[Row]:
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
