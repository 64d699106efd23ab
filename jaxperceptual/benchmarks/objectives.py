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
from pathlib import Path

import jax
import numpy as np

from jaxperceptual.core import cli, config_files, files, precision, provenance
from jaxperceptual.images import squares
from jaxperceptual.images.finding import find_images
from jaxperceptual.images.reading import load_rgb
from jaxperceptual.networks.model_file import build_net, read_model
from jaxperceptual.training import run as training_run


def objectives(name: str, made: training_run.Run, photos: np.ndarray) -> list[float]:
    """The means over photos [n h w 3]: one, or one for each of the run's styles."""
    model = read_model(name)
    # Networks of one style, whichever: the same program does for all.
    styles = made.styles or (None,)
    picked = [model.pick(style if model.styles else None) for style in styles]
    net = build_net(picked[0])

    @jax.jit
    def objective(variables, frozen, photo, *of_row):
        output = net.apply(variables, photo, train=False)
        return made.goal.objective(frozen, output, photo, *of_row)[0]

    def mean(row, model):
        of_row = (np.int32([row]),) if made.styles else ()
        values = [
            objective(model.variables, made.goal.frozen, photo[None], *of_row)
            for photo in photos
        ]
        return float(np.mean(jax.device_get(values)))

    return [mean(row, model) for row, model in enumerate(picked)]


def run(args: argparse.Namespace) -> int:
    config = config_files.load_config(args.config)
    config_files.override_all(config, args.settings)
    paths = find_images(args.held)[: args.num_held]
    size = args.size or config.data.image_size
    photos = np.stack([np.float32(squares.centre(load_rgb(p), size)) for p in paths])
    with precision.products(config.precision):
        made = training_run.prepare(config)
        columns = [objectives(name, made, photos) for name in args.models]
    rows = np.transpose(columns)
    found = dict(zip(made.styles or (args.config,), rows.tolist(), strict=True))
    for label, values in (found | {"mean": rows.mean(0)}).items():
        print(label, *(f"{value:.4g}" for value in values))
    if args.output:
        record = {"models": args.models, "photos": [path.name for path in paths]}
        record |= {"size": size, "objective": found}
        record |= provenance.header(args.command)
        files.write_text(Path(args.output), json.dumps(record, indent=1) + "\n")
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
