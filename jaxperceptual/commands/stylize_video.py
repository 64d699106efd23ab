"""Applies a trained style to a video, with its sound; GIF and WebP animations too."""

import argparse
from pathlib import Path

from jaxperceptual.commands import options
from jaxperceptual.core import cli
from jaxperceptual.core.errors import InputError
from jaxperceptual.networks.pretrained import STEADY_GALLERY

DETAILS = """\
Frames keep their times, also uneven ones; sound is copied as it is; rotation is
applied, the shape of pixels and the colours' coding are kept. Frames that cannot be
decoded are counted, and the ones before them stay longer. Ctrl-C ends it early: what is
done is in the file, which plays. A file of the output's name is replaced, the input
never.

Written are .mp4 .m4v .mov .mkv .webm .avi, and .gif .webp (without sound, all frames in
memory). Wants the extra video (PyAV and OpenCV); without OpenCV frames are kept steady
only where nothing moves.

Exit status: 0; 2 if nothing could be done; 130 if interrupted."""


def parser() -> cli.Parser:
    made = cli.Parser(prog="stylize_video", description=__doc__, epilog=DETAILS)
    made.add_argument("video", metavar="VIDEO", help="a video or an animation")
    made.add_argument("-o", "--output", required=True, metavar="FILE")
    options.add_style(made, STEADY_GALLERY)
    made.add_argument(
        "--size",
        type=options.positive,
        metavar="N",
        help="scale down to have at most N pixels on the longer side",
    )
    made.add_argument(
        "--start",
        type=options.seconds,
        default=0.0,
        metavar="S",
        help="leave out the first S seconds",
    )
    made.add_argument(
        "--duration", type=options.some_seconds, metavar="S", help="take S seconds"
    )
    made.add_argument(
        "--steady",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="keep strokes from frame to frame (default: --steady)",
    )
    made.add_argument(
        "--codec",
        help="an encoder of FFmpeg's: libx265, libsvtav1, ... (default: libx264; "
        "libvpx-vp9 for .webm)",
    )
    made.add_argument(
        "--crf",
        type=int,
        metavar="N",
        help="the encoder's quality, lower is better (default: 18 for libx264)",
    )
    return made


def run(args: argparse.Namespace) -> int:
    from jaxperceptual.video import writing

    target = Path(args.output)
    writing.check_target(target)
    if target.exists() and Path(args.video).exists() and target.samefile(args.video):
        raise InputError(f"-o {target}: is the input; choose another output.")
    if not target.parent.is_dir():
        raise InputError(f"-o {target}: no folder {target.parent}; make it first.")

    from jaxperceptual.video import reading

    source = reading.Reader(
        args.video, size=args.size, start=args.start, duration=args.duration
    )
    try:
        from jaxperceptual.inference.stylizer import Stylizer
        from jaxperceptual.video import run as videos

        model, style = options.moving_style(args)
        stylizer = Stylizer.from_pretrained(model, style=style, grain=False)
        unfinished = stylizer.model.trained.unfinished
        options.tell_if_unfinished("stylize_video", model, unfinished)
        done = videos.stylize_video(
            stylizer,
            source,
            target,
            strength=args.strength,
            preserve_color=args.preserve_color,
            style_scale=args.style_scale,
            steady=args.steady,
            codec=args.codec,
            crf=args.crf,
        )
    finally:
        source.close()
    videos.tell(done, target, "stylize_video")
    print(target)
    return 130 if done.interrupted else 0
