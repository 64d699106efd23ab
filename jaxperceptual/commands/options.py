"""Arguments that several commands have in common, and what their values may be."""

import argparse
import math
import sys

from jaxperceptual.core import cli
from jaxperceptual.networks.pretrained import (
    DEFAULT_STYLE,
    GALLERY,
    STEADY_GALLERY,
    pretrained_path,
)

FORMATS = ("png", "jpg", "webp")


def add_style(made: cli.Parser, gallery: str = GALLERY) -> None:
    """Which style, and how: --model, --style, --strength and so on.

    gallery: the shipped one whose styles are meant where no model is named.
    """
    made.add_argument(
        "--model",
        help="a run folder, a model.safetensors, or the name of a shipped model "
        f"(default: {gallery}, style {DEFAULT_STYLE})",
    )
    made.add_argument(
        "--style",
        metavar="NAME",
        help="one of a gallery's styles, or a mixture: wave:0.6,udnie:0.4",
    )
    made.add_argument(
        "--strength",
        type=strength,
        default=1.0,
        metavar="S",
        help="0 (the photo) to 1 (all style, the default)",
    )
    made.add_argument(
        "--style-scale",
        type=style_scale,
        default=1.0,
        metavar="S",
        help="strokes S times as large: 0.125 to 8 (default: 1)",
    )
    made.add_argument(
        "--preserve-color",
        action="store_true",
        help="take only brightness from the stylised photo, colour from the photo",
    )


def moving_style(args: argparse.Namespace) -> tuple[str, str | None]:
    """The model and style of a video: without --model, those of the steady gallery."""
    if args.model is None:
        return str(pretrained_path(STEADY_GALLERY)), args.style or DEFAULT_STYLE
    return args.model, args.style


MIN_TILE = 64  # px


def add_saving(made: cli.Parser) -> None:
    """How results are written: --format, --quality and so on."""
    made.add_argument(
        "--format",
        type=_format,
        metavar="NAME",
        help="png, jpg or webp for all results (default: each photo's own)",
    )
    made.add_argument(
        "--quality",
        type=_quality,
        metavar="N",
        help="of JPEG and WebP, 1 to 100 (default: 95)",
    )
    add_sharing(made)
    made.add_argument(
        "--strip-metadata",
        action="store_true",
        help="leave out date, place, camera and resolution, which are kept otherwise",
    )


def add_sharing(made: cli.Parser) -> None:
    """Much work in parts: --skip-existing, --shard."""
    made.add_argument(
        "--skip-existing",
        action="store_true",
        help="leave photos out whose result is there",
    )
    made.add_argument(
        "--shard",
        type=_shard,
        metavar="I/N",
        help="do the I-th of N equal shares of the photos, 1/8 to 8/8: for eight "
        "processes, on as many machines, that together do all",
    )


def tell_if_unfinished(prog: str, name: str | None, unfinished: str) -> None:
    """A line on stderr for a network of a training that has not ended (`Trained`)."""
    if unfinished:
        line = f"{prog}: {name} stands at {unfinished}; its training has not ended"
        print(line, file=sys.stderr)


def _format(text: str) -> str:
    if text not in FORMATS:
        raise argparse.ArgumentTypeError(f"{text!r}: use one of {', '.join(FORMATS)}")
    return f".{text}"


def _shard(text: str) -> tuple[int, int]:
    parts = text.split("/")
    if len(parts) == 2 and all(part.isascii() and part.isdigit() for part in parts):
        index, count = map(int, parts)
        if 1 <= index <= count:
            return index, count
    raise argparse.ArgumentTypeError(f"{text!r}: use I/N, from 1/N to N/N")


def _quality(text: str) -> int:
    number = positive(text)
    if number > 100:
        raise argparse.ArgumentTypeError(f"{text!r}: use a whole number from 1 to 100")
    return number


def positive(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"{text!r}: use a whole number from 1 up")
    return int(text)


def tile(text: str) -> int | None:
    """None for "auto"."""
    if text == "auto":
        return None
    number = positive(text)
    if number < MIN_TILE:
        raise argparse.ArgumentTypeError(f"{text!r}: use auto, or {MIN_TILE} or more")
    return number


def strength(text: str) -> float:
    return _number(text, 0.0, 1.0)


def style_scale(text: str) -> float:
    return _number(text, 0.125, 8.0)


def _number(text: str, least: float, most: float) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not least <= number <= most:
        raise argparse.ArgumentTypeError(
            f"{text!r}: use a number from {least:g} to {most:g}"
        )
    return number


def seconds(text: str) -> float:
    return _number(text, 0.0, 1e6)


def some_seconds(text: str) -> float:
    return _number(text, 0.001, 1e6)
