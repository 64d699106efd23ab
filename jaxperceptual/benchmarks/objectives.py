"""The objective that trained networks reach, on photos that were not trained on.

    python -m jaxperceptual.benchmarks.objectives --config gallery.py --held PHOTOS \
        gallery runs/gallery

A line a style of the config, a column a model: the mean objective of the config over
the centre squares of the photos. Models of one style stand for every style of a
gallery's config; those of a gallery, for their own, or for the one named, as in
gallery:wave.
"""

import argparse
import json
import sys

import jax
import numpy as np

from jaxperceptual.core import cli, config_files, precision
from jaxperceptual.images import squares
from jaxperceptual.images.finding import find_images
from jaxperceptual.images.reading import load_rgb
from jaxperceptual.networks.model_file import build_net, read_model
from jaxperceptual.training import run as training_run


def mean_objective(name: str, goal, photos: np.ndarray, row: int | None, style: str):
    """Of the photos [n h w 3], one by one, by the goal, or by its row's."""
    model = read_model(name)
    if model.styles:
        model = model.pick(style)
    net = build_net(model)
    of_row = () if row is None else (np.int32([row]),)

    @jax.jit
    def objective(variables, frozen, photo, *of_row):
        output = net.apply(variables, photo, train=False)
        return goal.objective(frozen, output, photo, *of_row)[0]

    found = [
        objective(model.variables, goal.frozen, photo[None], *of_row)
        for photo in photos
    ]
    return float(np.mean(jax.device_get(found)))


def run(args: argparse.Namespace) -> int:
    config = config_files.load_config(args.config)
    config_files.override_all(config, args.settings)
    paths = find_images(args.held)[: args.num_held]
    size = args.size or config.data.image_size
    photos = np.stack([np.float32(squares.centre(load_rgb(p), size)) for p in paths])
    with precision.products(config.precision):
        made = training_run.prepare(config)
        found: dict[str, list[float]] = {}
        for row, style in enumerate(made.styles or ("",)):
            row = row if made.styles else None
            found[style or args.config] = values = [
                mean_objective(name, made.goal, photos, row, style)
                for name in args.models
            ]
            print(style or args.config, *(f"{v:.4g}" for v in values), flush=True)
    print("mean", *(f"{v:.4g}" for v in np.mean(list(found.values()), 0)))
    if args.output:
        record = {"models": args.models, "photos": [p.name for p in paths]}
        with open(args.output, "w") as file:
            json.dump(record | {"size": size, "objective": found}, file, indent=1)
    return 0


def parser() -> cli.Parser:
    made = cli.Parser(
        prog="python -m jaxperceptual.benchmarks.objectives",
        description=__doc__.partition("\n")[0],
        allow_abbrev=False,
        settings=[],
    )
    add = made.add_argument
    add("models", nargs="+", metavar="MODEL")
    add("--config", required=True)
    add("--held", required=True, help="a folder of photos to judge on")
    add("--num-held", type=int, default=20)
    add("--size", type=int, default=0, help="px (default: the config's)")
    add("-o", "--output", metavar="FILE.json")
    return made


if __name__ == "__main__":
    cli.main(sys.modules[__name__], sys.argv[1:])
