"""Makes another project's trained style network a model of ours."""

import argparse
from pathlib import Path

from jaxperceptual.core import cli
from jaxperceptual.core.errors import InputError

DETAILS = """\
Reads style networks of pytorch/examples (fast_neural_style) and of
rrmina/fast-neural-style-pytorch; which of them, the names in the file tell. What is
written works everywhere that a model does: stylize, stylize_video, serve, export."""


def parser() -> cli.Parser:
    made = cli.Parser(prog="convert_model", description=__doc__, epilog=DETAILS)
    made.add_argument("source", type=Path, help="a .pth, .pt or .safetensors file")
    made.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="FILE",
        help="the .safetensors to write (default: the source's name, here)",
    )
    made.add_argument(
        "--tanh",
        action="store_true",
        help="the network ends in 150 tanh, as some versions of rrmina's do: the file "
        "does not tell; without it their pictures are all but black",
    )
    return made


def run(args: argparse.Namespace) -> None:
    from jaxperceptual.networks.foreign import read_foreign
    from jaxperceptual.networks.model_file import write_model

    output = args.output or Path(f"{args.source.stem}.safetensors")
    if output.suffix != ".safetensors":
        raise InputError(f"{output}: a model file ends in .safetensors; name it so.")
    if output.resolve() == args.source.resolve():
        raise InputError(f"{output} is the source too; choose another name.")
    model = read_foreign(args.source, tanh=args.tanh)
    write_model(output, model)
    source = model.trained.other["source"]
    print(f"source    {source['project']}, {source['file']}, sha256 {source['sha256']}")
    print("network   " + ", ".join(f"{k} {v}" for k, v in model.net_config.items()))
    print(f"written   {output}")
