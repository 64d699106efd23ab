"""Writes a trained network for other programs: ONNX, or StableHLO."""

import argparse
from pathlib import Path

from jaxperceptual.core import cli

DETAILS = """\
The network takes and gives RGB float32 [n height width 3] in [0, 255], of any size,
both sides times the factor if it enlarges. It is the network alone: what stylize and
super_resolve do before and after (orientation, colours, consistency, tiles) is theirs.

ONNX runs in onnxruntime, OpenVINO, browsers; its metadata tells how the network was
trained. StableHLO is for JAX (jax.export.deserialize(...).call(images)) on a CPU, a GPU
or a TPU, and needs no jaxperceptual there."""


def parser() -> cli.Parser:
    made = cli.Parser(prog="export", description=__doc__, epilog=DETAILS)
    add = made.add_argument
    add(
        "--model",
        required=True,
        help="a run folder, a model.safetensors, or a name that ships: wave, sr_x4",
    )
    add("--style", metavar="NAME", help="of a gallery: a style, or wave:0.6,udnie:0.4")
    add("--format", choices=("onnx", "stablehlo"), help="default: as FILE ends")
    add(
        "--float16-weights",
        action="store_true",
        help="ONNX of half the size, computed in float32; says what that costs",
    )
    add("-o", "--output", required=True, type=Path, metavar="FILE")
    return made


def run(args: argparse.Namespace) -> None:
    from jaxperceptual.export import writing
    from jaxperceptual.networks.model_file import read_model

    model = read_model(args.model, task=None)
    if model.styles or args.style is not None:
        model = model.pick(args.style)
    path = writing.export_model(
        model,
        args.output,
        format=args.format,
        half_weights=args.float16_weights,
        card=writing.card_of(args.model),
    )
    size = path.stat().st_size / 1e6
    print(f"{path}: {model.task}, {size:.2f} MB")
    if args.float16_weights:
        most, mean = writing.cost_of_half_weights(model)
        print(
            f"float16 weights: {most:.2g} of 255 levels at most, {mean:.2g} on "
            "average, on a photo of 256 px"
        )
