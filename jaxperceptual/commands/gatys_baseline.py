"""The baseline: white noise becomes each photo in the style, by L-BFGS over its pixels.

With --model also figure 5: how many iterations a trained network's one pass is worth.
"""

import argparse
import sys

from jaxperceptual.baseline.options import Options
from jaxperceptual.core import cli
from jaxperceptual.core.errors import InputError

DEFAULT_OUTPUT = "runs/gatys_baseline"
DETAILS = """\
Any key of the config: --config.objective.tv_weight=1e-5

OUT gets images/NAME.png and NAME_0050, _0100, _0300, _0500.png, objective.csv (a row an
iteration, from the noise on), baseline.json, and with --model figure5.png and .json.
Ctrl-C or SIGTERM saves; the same command continues, also after kill -9. Photos that are
done are left as they are, and more may be added.

Exit status: 0; 1 if some of many photos could not be read (the others are done); 2 for
bad input; 128 + the signal's number if stopped."""


def parser() -> cli.Parser:
    made = cli.Parser(
        prog="gatys_baseline",
        description=__doc__,
        epilog=DETAILS,
        allow_abbrev=False,
        settings=[],
    )
    add, usual = made.add_argument, Options()
    add("--config", default="style_muse.py", help="(default: %(default)s)")
    add("--style", metavar="PATH", help="style image, in place of the config's")
    add(
        "--content",
        nargs="+",
        metavar="PHOTO",
        help="files or folders (default: the photos in scikit-image)",
    )
    add("--num", type=int, metavar="N", help="only the first N photos")
    for name, metavar, text in (
        ("size", "PX", ""),
        ("steps", "N", ""),
        ("seed", "N", "of the noise "),
        ("batch_size", "N", "photos that are optimised together "),
    ):
        add(
            f"--{name.replace('_', '-')}",
            type=int,
            default=getattr(usual, name),
            metavar=metavar,
            help=f"{text}(default: %(default)s)",
        )
    add(
        "--linesearch",
        default=usual.linesearch,
        help="none or backtracking (default: %(default)s)",
    )
    add(
        "--projection",
        default=usual.projection,
        help="mask, or clip, the paper's (default: %(default)s)",
    )
    add("--model", metavar="RUN", help="a run folder, model file or shipped model")
    add("-o", "--output", metavar="OUT", help=f"a folder (default: {DEFAULT_OUTPUT})")
    return made


def run(args: argparse.Namespace) -> int:
    from jaxperceptual.baseline import run as baseline
    from jaxperceptual.core import config_files
    from jaxperceptual.figures import equal_iterations
    from jaxperceptual.losses.goal import build_goal
    from jaxperceptual.losses.style_image import read_style

    config = config_files.load_config(args.config)
    style = [] if args.style is None else [f"style_image={args.style}"]
    config_files.override_all(config, [*style, *args.settings])
    if args.output is None:
        print(f"gatys_baseline: note: writing to {DEFAULT_OUTPUT}", file=sys.stderr)
    options = Options(
        size=args.size,
        steps=args.steps,
        linesearch=args.linesearch,
        projection=args.projection,
        seed=args.seed,
        batch_size=args.batch_size,
    )
    output = args.output or DEFAULT_OUTPUT
    work = baseline.prepare(options, args.content, output, num=args.num)
    style = read_style(config)
    if style is None:
        raise InputError(
            "--config: the baseline is one of style transfer, and this config names no "
            "style_image; give a style config."
        )
    print(style.line)
    goal = build_goal(config, style)
    network = None
    if args.model is not None:
        network = equal_iterations.Network(args.model, goal)
    code, results = baseline.run(work, goal, command=args.command)
    if network and code < 2:
        found = equal_iterations.figure5(network, work, results, args.command)
        print(equal_iterations.summary(found))
    return code
