"""Arguments that several commands have in common, and what their values may be."""

import argparse
import math

from jaxperceptual.core import cli
from jaxperceptual.networks.pretrained import DEFAULT_STYLE


def add_style(made: cli.Parser) -> None:
    """Which style, and how: --model, --style, --strength and so on."""
    made.add_argument(
        "--model",
        help="a run folder, a model.safetensors, or the name of a shipped model "
        f"(default: the shipped gallery, style {DEFAULT_STYLE})",
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


def positive(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"{text!r}: use a whole number from 1 up")
    return int(text)


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
