"""Figures 6 and 7: style, content, the baseline and the network side by side."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jaxperceptual import (
    baseline,
    baseline_folder,
    configs,
    goals,
    images,
    inference,
    models,
    runs,
)
from jaxperceptual.errors import InputError
from jaxperceptual.types import Image

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
    if styles and len(styles) != len(model_names):
        raise InputError(
            f"{len(styles)} --style for {len(model_names)} --model; give one for each."
        )
    options = [baseline_folder.Options(size=size, steps=steps) for size in sizes]
    for each in options:
        each.check()
    found = {}
    for name, style in zip(
        model_names, styles or [None] * len(model_names), strict=True
    ):
        path = models.find_model(name)
        model = models.read_model(path)
        config = _config_of(model, name, style)
        goal = goals.load_goal(config)
        goals.check_comparable(model, goal, name)
        own = path.name == models.FILE_NAME  # a run folder's: the run has the name
        short = path.resolve().parent.name if own else path.stem
        if short in found:
            raise InputError(f"two models are called {short}; rename one.")
        found[short] = model, config, goal.style_image
    photos, errors = baseline_folder.read_photos(content, min(sizes), num)
    paths = [photo.path for photo in photos]
    output = Path(output)
    for each in options:
        for short in found:
            folder = _baseline_folder(output, short, each.size)
            baseline_folder.check_names(photos, each, folder)
        figure = _figure(output, each.size)
        if figure.resolve() in (path.resolve() for path in paths):
            raise InputError(f"{figure}: would replace this photo; choose another -o.")
    runs.make_folder(output, "-o")
    for error in errors:
        print(f"figures: {error}; left out", file=sys.stderr)
    code = int(bool(errors))
    for each in options:
        cells: list[Image] = []
        for short, (model, config, style_image) in found.items():
            folder = _baseline_folder(output, short, each.size)
            code = baseline.run(config, each, paths, folder, command=command) or code
            if code > 1:
                return code
            stylizer = inference.Stylizer(model)
            style = images.resized(style_image, each.size)
            for photo in photos:
                square = baseline_folder.read_square(photo.path, each.size)
                square = square.astype(np.float32)
                optimised = images.read_image(folder / "images" / f"{photo.name}.png")
                cells += [
                    images.labelled(style, f"style: {short}"),
                    images.labelled(square, "content"),
                    images.labelled(optimised, f"baseline, {steps} iterations"),
                    images.labelled(stylizer(square), "network"),
                ]
        figure = _figure(output, each.size)
        images.write_image(figure, images.grid(cells, columns=4))
        print(figure)
    return code


def _figure(output: Path, size: int) -> Path:
    return output / FIGURES.get(size, f"figure_{size}.png")


def _baseline_folder(output: Path, short: str, size: int) -> Path:
    return output / f"baseline_{short}_{size}"


def _config_of(model: models.Model, name: str, style: str | None):
    """What the model was trained with, with `style` as the style image's path."""
    try:
        with (config := configs.unflatten(model.metadata["training"])).unlocked():
            config.style_image = style or model.metadata["style"]["name"]
            config.default_style_image = ""
    except (KeyError, TypeError) as error:
        raise InputError(
            f"{name}: does not tell how it was trained ({error}); use a model that "
            "bin/train wrote."
        ) from error
    return config
