"""Judges super-resolution on ground-truth photos: PSNR, SSIM and LPIPS, as tables."""

import argparse
import sys

from jaxperceptual.commands import options
from jaxperceptual.core import cli

DETAILS = """\
Each photo is cut to a multiple of the factor, blurred, made small, and made large again
by bicubic interpolation and by every model. The paper's networks are followed by its
histogram matching, others (with a skip connection) by what super_resolve does; a line
above the tables says which. In the tables a photo is a row, and a cell is
PSNR / SSIM / LPIPS (AlexNet) / LPIPS (VGG).

  jaxperceptual evaluate --scale 4 --data Set5 Set14    plain bicubic, as published
  jaxperceptual evaluate --model sr_x4_feat srcnn_x4 --data Set5 -o OUT

-o OUT gets results.json, results.md and strips/SET/PHOTO.png; what was judged is on the
disk after every photo."""


def run(args: argparse.Namespace) -> int:
    from jaxperceptual.evaluation import run, super_resolution

    task = super_resolution.read_task(
        args.model,
        factor=args.scale,
        blur=args.blur,
        histogram_match=args.histogram_match,
        consistency=args.consistency,
        tile=args.tile,
    )
    tables = run.evaluate(
        task,
        args.data,
        args.output,
        args.command,
        shard=args.shard,
        skip_existing=args.skip_existing,
    )
    print(tables, end="")
    if args.output is not None:
        print(f"written: {args.output}", file=sys.stderr)
    return 0


def parser() -> cli.Parser:
    made = cli.Parser(
        prog="evaluate",
        description=__doc__,
        epilog=DETAILS,
    )
    add = made.add_argument
    add(
        "--model",
        nargs="+",
        default=[],
        metavar="RUN",
        help="run folders, model files or names of shipped models, of one factor",
    )
    add(
        "--data",
        nargs="+",
        required=True,
        metavar="FOLDER",
        help="ground truth: each folder is a data set",
    )
    add("--scale", type=int, metavar="N", help="2, 4 or 8 (default: the models')")
    add(
        "--blur",
        type=float,
        metavar="PX",
        help="sigma of the blur before shrinking: 1.0 as the paper, 0 as most of the "
        "literature (default: what the models were trained with; 0 without models)",
    )
    add(
        "--histogram-match",
        action=argparse.BooleanOptionalAction,
        help="give outputs the histogram of their inputs (default: the outputs of the "
        "paper's networks, but for SRCNN)",
    )
    add(
        "--consistency",
        type=int,
        metavar="N",
        help="how often outputs are corrected, as super_resolve does (default: 0 for "
        "the paper's networks, as often as super_resolve for others)",
    )
    add("--tile", type=int, metavar="N", help="enlarge in tiles of N px of the input")
    add("-o", "--output", metavar="OUT", help="a folder for tables and strips")
    options.add_sharing(made)
    return made
