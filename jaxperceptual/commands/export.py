"""Writes a trained network for other programs: ONNX, StableHLO, a page in the web."""

import argparse
from pathlib import Path

from jaxperceptual.core import cli
from jaxperceptual.core.errors import InputError

DETAILS = """\
The network takes and gives RGB float32 [n height width 3] in [0, 255], of any size,
both sides times the factor if it enlarges. It is the network alone: what stylize and
super_resolve do before and after (orientation, colours, consistency, tiles) is theirs.

ONNX runs in onnxruntime, OpenVINO, browsers; its metadata tells how the network was
trained. StableHLO is for JAX (jax.export.deserialize(...).call(images)) on a CPU, a GPU
or a TPU, and needs no jaxperceptual there. --page writes the page of `serve` for any
web server: a gallery's network runs in the browser, by onnxruntime-web, and photos
never leave it."""


def parser() -> cli.Parser:
    made = cli.Parser(prog="export", description=__doc__, epilog=DETAILS)
    add = made.add_argument
    add(
        "--model",
        help="a run folder, a model.safetensors, or a name that ships: wave, sr_x4 "
        "(for a page: a gallery; default: the shipped one)",
    )
    add("--style", metavar="NAME", help="of a gallery: a style, or wave:0.6,udnie:0.4")
    add(
        "--all-styles",
        action="store_true",
        help="of a gallery, ONNX with a second input: how much of each style",
    )
    add("--format", choices=("onnx", "stablehlo"), help="default: as FILE ends")
    add(
        "--float16-weights",
        action="store_true",
        help="ONNX of half the size, computed in float32; says what that costs",
    )
    where = made.add_mutually_exclusive_group(required=True)
    where.add_argument("-o", "--output", type=Path, metavar="FILE")
    where.add_argument("--page", type=Path, metavar="FOLDER", help="a page in the web")
    add(
        "--onnxruntime-web",
        metavar="FILE.tgz",
        help="of a page: the npm package, where npm is not to fetch it",
    )
    return made


def run(args: argparse.Namespace) -> None:
    from jaxperceptual.export import writing
    from jaxperceptual.networks.model_file import read_model

    if args.page:
        _write_page(args)
        return
    if args.onnxruntime_web is not None:
        raise InputError("--onnxruntime-web is of a page; use it with --page")
    if args.model is None:
        raise InputError("no --model; name one, as --model wave.")
    model = read_model(args.model, task=None)
    if args.all_styles and args.style is not None:
        raise InputError(
            f"--all-styles has every style; leave --style {args.style} off"
        )
    if (model.styles and not args.all_styles) or args.style is not None:
        model = model.pick(args.style)
    path = writing.export_model(
        model,
        args.output,
        format=args.format,
        half_weights=args.float16_weights,
        card=writing.card_of(args.model),
        all_styles=args.all_styles,
    )
    size = path.stat().st_size / 1e6
    print(f"{path}: {model.task}, {size:.2f} MB")
    if args.float16_weights:
        most, mean = writing.cost_of_half_weights(model)
        print(
            f"float16 weights: {most:.2g} of 255 levels at most, {mean:.2g} on "
            "average, on a photo of 256 px"
        )


def _write_page(args: argparse.Namespace) -> None:
    from jaxperceptual.page import site

    for name in ("style", "format", "all_styles", "float16_weights"):
        if getattr(args, name):
            raise InputError(
                f"--{name.replace('_', '-')} is not of a page; leave it off"
            )
    folder = site.write_site(args.page, args.model, args.onnxruntime_web)
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    print(
        f"{folder}: {size / 1e6:.0f} MB; to see it: python -m http.server -d {folder}"
    )
