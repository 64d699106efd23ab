"""Figures 3 and 4: white noise becomes what one VGG layer knows of an image."""

import argparse

from jaxperceptual.core import cli
from jaxperceptual.figures.options import FIGURES, Options

DETAILS = """\
Each layer is reconstructed for itself; its image is written as soon as it is done.
--features keeps the features (eq. 2; the paper's figure 3), --style the style (eq. 4;
figure 4). Both losses are relative to the target's own features, and the total
variation is relative to that of white noise, so that --tv means the same everywhere."""


def run(args: argparse.Namespace) -> int:
    from jaxperceptual.figures import reconstruction

    figure = FIGURES[args.kind]
    options = Options(
        kind=args.kind,
        layers=figure.layers if args.layers is None else tuple(args.layers),
        tv=figure.tv if args.tv is None else args.tv,
        size=args.size,
        steps=args.steps,
        seed=args.seed,
        vgg=args.vgg,
    )
    print(reconstruction.run(options, args.image, args.output))
    return 0


def parser() -> cli.Parser:
    made = cli.Parser(
        prog="reconstruct",
        description=__doc__,
        epilog=DETAILS,
    )
    add = made.add_argument
    add("image", metavar="IMAGE")
    kind = made.add_mutually_exclusive_group(required=True)
    for name in ("features", "style"):
        kind.add_argument(
            f"--{name}", dest="kind", action="store_const", const=name, help="what"
        )
    layers, tvs = (
        ", ".join(f"{text(figure)} for --{name}" for name, figure in FIGURES.items())
        for text in (lambda f: " ".join(f.layers), lambda f: f"{f.tv:g}")
    )
    add("--layers", nargs="+", metavar="LAYER", help=f"(default: {layers})")
    for name, metavar, text in (
        ("size", "PX", "of the long side, at most"),
        ("steps", "N", "evaluations a layer"),
        ("seed", "N", "of the white noise"),
    ):
        add(
            f"--{name}",
            type=int,
            default=getattr(Options, name),
            metavar=metavar,
            help=f"{text} (default: %(default)s)",
        )
    add(
        "--tv",
        type=float,
        metavar="W",
        help=f"weight of the total variation (default: {tvs})",
    )
    add("--vgg", metavar="NAME", help="the VGG-16 weights (default: vgg16_torchvision)")
    add("-o", "--output", required=True, metavar="OUT", help="a folder")
    return made
