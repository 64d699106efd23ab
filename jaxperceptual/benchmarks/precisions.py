"""What a precision costs: the objective on held photos of networks trained in each.

    python -m jaxperceptual.benchmarks.precisions --data FOLDER --content HELD -o OUT

Trains one network for each precision and seed, the same batches for the same seed, then
judges each network's outputs, computed in the precision that it was trained in, by the
objective in float32. The seeds differ in initial weights and batches: how far their
float32 networks lie apart is the noise that a difference of precisions stands in.

Runs stand in OUT/PRECISION-SEED and are continued by the same command; OUT.json has
every photo's objective, OUT.md a table.
"""

import argparse
import json
import statistics
import sys
from pathlib import Path

import jax
import numpy as np

from jaxperceptual.baseline.photos import read_photos
from jaxperceptual.core import cli, config_files, files, precision, provenance
from jaxperceptual.core.errors import InputError
from jaxperceptual.inference.stylizer import Stylizer
from jaxperceptual.losses.goal import build_goal
from jaxperceptual.losses.style_image import read_style
from jaxperceptual.networks.model_file import read_model
from jaxperceptual.training.run import train

EXACT = "float32"


def parser() -> cli.Parser:
    made = cli.Parser(
        prog="python -m jaxperceptual.benchmarks.precisions",
        description=__doc__,
        epilog="Any key of the config: --config.num_steps=200 --data.flip=true",
        allow_abbrev=False,
        settings=["data"],
    )
    add = made.add_argument
    add("--config", default="style_muse.py", help="of style (default: %(default)s)")
    add("--quick", action="store_true", help="the config's own quick section")
    add("--data", help="photos to train on: folder, .tar, tfds:NAME or embedded")
    add("--content", required=True, help="a folder of other photos, to judge by")
    add("--num", type=int, default=20, help="of them (default: %(default)s)")
    add("--size", type=int, help="px of them (default: that of training)")
    add("--precisions", nargs="+", default=[EXACT, "bfloat16"], metavar="NAME")
    add("--seeds", type=int, nargs="+", default=[0, 1], metavar="N")
    add("-o", "--output", required=True, metavar="OUT")
    return made


def run(args: argparse.Namespace) -> int | None:
    def config_of(kind, seed):
        config = config_files.load_config(args.config)
        if args.quick:
            config_files.apply_quick(config)
        if args.data is not None:
            config.data.source = args.data
        config_files.override_all(config, args.settings)
        config.precision, config.seed = kind, seed
        return config

    for name in args.precisions:
        precision.check(name)
    exact = config_of(EXACT, 0)
    if exact.task != "style":
        raise InputError(f"--config {args.config}: of {exact.task}; give one of style.")
    size = args.size or exact.data.image_size
    photos, _ = read_photos([args.content], size, args.num)
    header = provenance.header(args.command)
    for seed in args.seeds:
        for kind in args.precisions:
            folder = Path(args.output) / f"{kind}-{seed}"
            if code := train(config_of(kind, seed), folder):
                return code

    style = read_style(exact)
    goal = build_goal(exact, style)
    objective = jax.jit(goal.objective)
    found = {}
    for kind in args.precisions:
        for seed in args.seeds:
            model = read_model(Path(args.output) / f"{kind}-{seed}")
            stylizer = Stylizer(model, precision=kind, grain=False)
            values = {}
            for photo in photos:
                target = photo.pixels.astype(np.float32)
                output = stylizer(target)
                value, _ = objective(goal.frozen, output[None], target[None])
                values[photo.path.name] = float(value)
            found.setdefault(kind, {})[seed] = values
    write(args, header, size, exact, found)
    print(Path(f"{args.output}.md").read_text())


def write(args, header, size, config, found):
    """Every value as JSON, and a table of means over the photos."""
    report = {"header": header, "size": size, "objective": found}
    files.write_text(Path(f"{args.output}.json"), json.dumps(report, indent=1) + "\n")
    means = {
        kind: [statistics.fmean(values.values()) for values in seeds.values()]
        for kind, seeds in found.items()
    }
    count = len(next(iter(found[args.precisions[0]].values())))
    data, seeds = config.data, " | ".join(f"seed {seed}" for seed in args.seeds)
    lines = [
        provenance.head_markdown(header),
        f"{config.num_steps:,} steps of {data.batch_size} x {data.image_size} px; mean "
        f"objective of {count} held photos at {size} px, in float32.",
        "",
        f"| precision | {seeds} | mean | against {EXACT} |",
        "|---|" + "--:|" * (len(args.seeds) + 2),
    ]
    for kind, values in means.items():
        mean, against = statistics.fmean(values), ""
        if EXACT in means and kind != EXACT:
            against = f"{mean / statistics.fmean(means[EXACT]) - 1:+.2%}"
        cells = [kind, *(f"{v:,.0f}" for v in values), f"{mean:,.0f}", against]
        lines.append(f"| {' | '.join(cells)} |")
    files.write_text(Path(f"{args.output}.md"), "\n".join(lines) + "\n")


if __name__ == "__main__":
    cli.main(sys.modules[__name__], sys.argv[1:])
