"""Figures 6 and 7: style, content, baseline and network side by side."""

import argparse

from jaxperceptual.core import cli

DETAILS = """\
A row for each model and photo. OUT gets figure6.png (256 px), figure7.png (512 px) or
figure_SIZE.png, and what gatys_baseline writes, in baseline_MODEL_SIZE folders.
Ctrl-C or SIGTERM saves; the same command continues."""


def run(args: argparse.Namespace) -> int:
    from jaxperceptual.figures import side_by_side

    return side_by_side.run(
        args.model,
        args.content,
        args.output,
        styles=args.style,
        sizes=args.sizes,
        steps=args.steps,
        num=args.num,
        command=args.command,
    )


def parser() -> cli.Parser:
    made = cli.Parser(
        prog="figures",
        description=__doc__,
        epilog=DETAILS,
    )
    add = made.add_argument
    add(
        "--model",
        nargs="+",
        required=True,
        metavar="RUN",
        help="run folders, model files or shipped models",
    )
    add(
        "--content",
        nargs="+",
        metavar="PHOTO",
        help="files or folders (default: the photos in scikit-image)",
    )
    add(
        "--style",
        nargs="+",
        default=[],
        metavar="PATH",
        help="the style image of each model (default: that name in configs/styles)",
    )
    add(
        "--sizes",
        type=int,
        nargs="+",
        default=[256, 512],
        metavar="PX",
        help="(default: 256 512)",
    )
    add("--steps", type=int, default=500, metavar="N", help="(default: 500)")
    add("--num", type=int, metavar="N", help="only the first N photos")
    add("-o", "--output", required=True, metavar="OUT", help="a folder")
    return made
