"""Applies a trained style to photos: files and folders, of any size."""

import argparse

from jaxperceptual.core import cli
from jaxperceptual.networks.pretrained import DEFAULT_STYLE

DETAILS = """\
Where the results go:
  without -o     photo.jpg becomes photo-stylized.jpg, a folder NAME becomes the folder
                 NAME-stylized; both in the current folder
  -o out/        file names are kept, and sub-folders of folders, below out/
  -o FILE.jpg    for a single photo
The format stays that of the photo (what cannot be written, as GIF, becomes PNG), its
EXIF orientation is applied, alpha is kept. Earlier results of the same name are
replaced; an input never is: a result that would land on one is an error.

Exit status: 0; 1 if some of many photos could not be read (the others are done); 2 if
nothing could be done."""


def run(args: argparse.Namespace) -> int:
    from jaxperceptual.inference import jobs

    todo = jobs.plan(args.photos, args.output, label="stylized")

    from jaxperceptual.inference import batches
    from jaxperceptual.inference.stylizer import Stylizer

    results = batches.stylize_files(
        Stylizer.from_pretrained(args.model),
        todo,
        size=args.size,
        strength=args.strength,
        preserve_color=args.preserve_color,
        batch_size=args.batch_size,
    )
    return jobs.run_jobs(results, todo, "stylize")


def parser() -> cli.Parser:
    made = cli.Parser(
        prog="stylize",
        description=__doc__,
        epilog=DETAILS,
    )
    made.add_argument("photos", nargs="+", metavar="PHOTO", help="files or folders")
    made.add_argument("-o", "--output", help="a folder, or a file for one photo")
    made.add_argument(
        "--model",
        help="a run folder, a model.safetensors, or the name of a shipped model "
        f"(default: {DEFAULT_STYLE})",
    )
    made.add_argument(
        "--size",
        type=_positive,
        metavar="N",
        help="scale photos down to have at most N pixels on the longer side",
    )
    made.add_argument(
        "--strength",
        type=_strength,
        default=1.0,
        metavar="S",
        help="0 (the photo) to 1 (all style, the default)",
    )
    made.add_argument(
        "--preserve-color",
        action="store_true",
        help="take only brightness from the stylised photo, colour from the photo",
    )
    made.add_argument(
        "--batch-size",
        type=_positive,
        default=4,
        metavar="N",
        help="photos of equal size that are stylised at once (default: 4)",
    )
    return made


def _positive(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"{text!r}: use a whole number from 1 up")
    return int(text)


def _strength(text: str) -> float:
    try:
        strength = float(text)
    except ValueError:
        strength = -1.0
    if not 0 <= strength <= 1:
        raise argparse.ArgumentTypeError(f"{text!r}: use a number from 0 to 1")
    return strength
