"""Figures 6 and 7: style, content, the baseline and the network side by side."""

import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from ml_collections import ConfigDict

from jaxperceptual.baseline import run as baseline
from jaxperceptual.baseline.folder import Results
from jaxperceptual.baseline.options import Options
from jaxperceptual.core import config_files, folders
from jaxperceptual.core.errors import InputError
from jaxperceptual.core.types import Image
from jaxperceptual.figures import comparable
from jaxperceptual.images import sheets
from jaxperceptual.images.reading import read_image
from jaxperceptual.images.writing import write_image
from jaxperceptual.inference.stylizer import Stylizer
from jaxperceptual.losses.goal import build_goal
from jaxperceptual.losses.style_image import StyleImage, read_style
from jaxperceptual.networks import pretrained
from jaxperceptual.networks.model_file import Model, read_model

FIGURES = {256: "figure6.png", 512: "figure7.png"}  # as the paper numbers them


def run(
    model_names: Sequence[str],
    content: Sequence[str | os.PathLike] | None,
    output: str | os.PathLike,
    *,
    styles: Sequence[str] = (),
    sizes: Sequence[int] = (256, 512),
    steps: int = 500,
    num: int | None = None,
    command: str = "",
) -> int:
    """Draws a grid for each size: a row for each model and photo; returns an exit code.

    The objective of each model's baseline is that which the model was trained with, as
    its file tells. Writes into `output` figure6.png (256 px), figure7.png (512 px) or
    figure_SIZE.png, and a folder baseline_MODEL_SIZE as `baseline.run` does: stopped by
    a signal, the same call continues there.

    Args:
      model_names: Run folders, model files, or names of shipped models.
      content: Photos and folders of photos, None for those in scikit-image; their
        centre squares are shown.
      output: A folder, made if need be.
      styles: The style image of each model, where it is not in configs/styles.
      sizes: Sides of the squares, pixels.
      steps: Iterations of the baseline.
      num: Only the first so many photos.
      command: What baseline.json tells.

    Raises InputError, before anything is computed or written, for a model that is not
    there or no style model, a style image that is not the one it was trained with,
    sizes and steps that cannot be, photos that are not there or that a result would
    replace, two photos of one name, and a folder that takes no files. Photos that
    cannot be read are named on stderr and left out; the exit code is then 1.
    """
    rows = _read_rows(model_names, styles, steps, sizes)
    output = Path(output)
    figures = {size: output / FIGURES.get(size, f"figure_{size}.png") for size in sizes}
    works = {}
    for size, figure in figures.items():
        options = Options(size=size, steps=steps)
        read = baseline.prepare(options, content, output, num=num)
        unreadable = read.unreadable
        if figure.resolve() in (photo.path.resolve() for photo in read.photos):
            raise InputError(f"{figure}: would replace this photo; choose another -o.")
        read = read._replace(unreadable=[])  # told once, below
        for short in rows:
            works[size, short] = read.into(output / f"baseline_{short}_{size}")
    folders.make_folder(output, "-o")
    for error in unreadable:
        print(f"figures: {error}; left out", file=sys.stderr)
    code = int(bool(unreadable))
    for size, figure in figures.items():
        cells: list[Image] = []
        for short, row in rows.items():
            work = works[size, short]
            goal = build_goal(row.config, row.style)
            new_code, results = baseline.run(work, goal, command=command)
            code = max(code, new_code)
            if code > 1:
                return code
            cells += _cells(short, row, work, results)
        write_image(figure, sheets.grid(cells, columns=4))
        print(figure)
    return code


def _cells(
    short: str, row: "_Row", work: baseline.Work, results: Results
) -> Iterator[Image]:
    """Four for each photo, of one model and size."""
    size, steps = work.options.size, work.options.steps
    stylizer = Stylizer(row.model, grain=False)
    style = sheets.resized(row.style.pixels, size)
    for photo in work.photos:
        square = photo.pixels.astype(np.float32)
        optimised = read_image(results.image_path(photo.name))
        yield sheets.labelled(style, f"style: {short}")
        yield sheets.labelled(square, "content")
        yield sheets.labelled(optimised, f"baseline, {steps} iterations")
        yield sheets.labelled(stylizer(square), "network")


class _Row(NamedTuple):
    """A model, and what it was trained to minimise.

    Its goal is built when it is needed: it holds a loss network of 160 MB.
    """

    model: Model
    config: ConfigDict
    style: StyleImage


def _read_rows(
    names: Sequence[str], styles: Sequence[str], steps: int, sizes: Sequence[int]
) -> dict[str, _Row]:
    """By what the figure calls the models."""
    if styles and len(styles) != len(names):
        raise InputError(
            f"{len(styles)} --style for {len(names)} --model; give one for each."
        )
    for size in sizes:
        Options(size=size, steps=steps).check()
    rows: dict[str, _Row] = {}
    for name, style in zip(names, styles or [None] * len(names), strict=True):
        short = pretrained.model_name(name)
        if short in rows:
            raise InputError(f"two models are called {short}; rename one.")
        rows[short] = _read_row(name, style)
    return rows


def _read_row(name: str, style_path: str | None) -> _Row:
    """The model, and its objective with `style_path` in place of its style image's."""
    model = read_model(name)
    trained = model.trained
    if not trained.config or not trained.style:
        raise InputError(
            f"{name}: does not tell how it was trained; use a model that "
            "jaxperceptual train wrote."
        )
    with (config := config_files.unflatten(trained.config)).unlocked():
        config.style_image = style_path or trained.style["name"]
        config.default_style_image = ""
    style = read_style(config)
    print(style.line)
    comparable.check_comparable(model, build_goal(config, style), name)
    return _Row(model, config, style)
