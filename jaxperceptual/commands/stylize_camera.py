"""A camera in a trained style, live in a window; a video in place of it."""

import argparse
import itertools
from pathlib import Path

from jaxperceptual.commands import options
from jaxperceptual.core import cli
from jaxperceptual.core.errors import InputError
from jaxperceptual.networks.pretrained import STEADY_GALLERY

DETAILS = """\
Keys in the window: left and right change the style, up and down its strength, c keeps
the camera's colours, space holds the picture, s writes it as camera-0001.png and on, h
hides the words, q or Esc ends.

Wants OpenCV with windows: pip install opencv-python, not opencv-python-headless, which
the extra video brings. (bin/serve has a camera in the browser.) A camera that is too
fast drops frames; what is shown is always the newest."""


def parser() -> cli.Parser:
    made = cli.Parser(prog="stylize_camera", description=__doc__, epilog=DETAILS)
    source = made.add_mutually_exclusive_group()
    source.add_argument(
        "--camera", type=int, default=0, metavar="N", help="which one (default: 0)"
    )
    source.add_argument(
        "--file", metavar="VIDEO", help="in its place; pattern: a generated one"
    )
    options.add_style(made, STEADY_GALLERY)
    made.add_argument(
        "--size",
        type=options.positive,
        default=480,
        metavar="N",
        help="at most N pixels on the longer side (default: 480)",
    )
    made.add_argument(
        "--frames", type=options.positive, metavar="N", help="end after N frames"
    )
    made.add_argument(
        "-o",
        "--output",
        type=Path,
        default=Path(),
        metavar="FOLDER",
        help="for snapshots (default: the current one)",
    )
    return made


def run(args: argparse.Namespace) -> None:
    from jaxperceptual.inference.stylizer import Stylizer
    from jaxperceptual.video import camera, reading

    if not args.output.is_dir():
        raise InputError(f"-o {args.output}: no such folder; make it first.")
    try:
        window = camera.Window("jaxperceptual")
    except ModuleNotFoundError as error:
        raise InputError(
            f"the package {error.name} is missing; pip install av opencv-python."
        ) from error
    try:
        if args.file == camera.PATTERN:
            frames = camera.pattern()
        elif args.file:
            frames = reading.pictures(args.file)
        else:
            frames = camera.of_camera(args.camera)
        frames = camera.of_size(frames, args.size)
        first = next(frames, None)
        if first is None:
            raise InputError("no picture came; try another --camera, or --file.")
        model, style = options.moving_style(args)
        stylizer = Stylizer.from_pretrained(model, style=style, grain=False)
        if args.style_scale == 1:
            stylizer.warm_up(*first.shape[:2])
        view = camera.View(
            stylizer,
            style,
            folder=args.output,
            strength=args.strength,
            preserve_color=args.preserve_color,
            style_scale=args.style_scale,
        )
        frames = itertools.islice(itertools.chain([first], frames), args.frames)
        shown = camera.show(view, frames, window)
    finally:
        window.close()
    for path in view.snapshots:
        print(path)
    print(f"{shown} frames")
