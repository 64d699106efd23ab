"""Draws the README's pictures, of scikit-image's photos, by the models that ship.

python -m jaxperceptual.figures.readme_pictures docs/images [gallery.jpg] [...]
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import skimage.data

from jaxperceptual.core import cli, files
from jaxperceptual.core.errors import InputError
from jaxperceptual.data import sources
from jaxperceptual.evaluation import report
from jaxperceptual.evaluation.super_resolution import Judge, read_task
from jaxperceptual.images import animations, resampling, sheets, squares
from jaxperceptual.images.writing import write_image
from jaxperceptual.inference import batches
from jaxperceptual.inference.restorer import Restorer
from jaxperceptual.inference.stylizer import Stylizer
from jaxperceptual.networks import pretrained
from jaxperceptual.video import steady

SIDE, WIDTH = 320, 1240  # px, of the photo to be stylised, of all of them together
PATCH = 288  # px, from the middle
WINDOW, NUM_FRAMES, FRAME_MS = (200, 240), 24, 70  # px; ms
JUDGED = (1, 2)  # of scikit-image's photos


def gallery():
    photo = sheets.resized(np.float32(skimage.data.astronaut()), SIDE)
    stylizer = Stylizer.from_pretrained()
    return sheets.resized(batches.sheet_of_styles(stylizer, photo), WIDTH)


def super_resolution():
    names = [name for name in pretrained.pretrained_names() if "x4" in name]
    names.sort(key=lambda name: (name == pretrained.ENLARGERS[4], "feat" in name))
    judge = Judge(read_task(names, factor=4, blur=None))
    source = sources.open_source(sources.EMBEDDED)
    strips = []
    for i in JUDGED:
        photo = source.load(i, at_least=None)
        left, top = ((side - PATCH) // 2 for side in photo.size)
        photo = photo.crop((left, top, left + PATCH, top + PATCH))
        judged = judge("", "", np.float32(photo), grey=False)
        strips.append(report.strip(judged))
    return sheets.grid(strips, columns=1)


def loss_networks():
    """By the runs that docs/loss-networks.md has the commands of."""
    coffee = sources.open_source(sources.EMBEDDED).load(2, at_least=SIDE)
    photo = np.float32(squares.centre(coffee, SIDE))
    small = np.float32(skimage.data.astronaut())[:SIDE, 80 : 80 + SIDE]
    shrunk = resampling.quantize(resampling.downsample(small[None], 4))
    bicubic = resampling.quantize(resampling.upsample(shrunk, 4))[0]
    small = np.asarray(shrunk[0])
    cells = [sheets.labelled(photo, "photo")]
    for name, label in (
        ("style_cubist-night", "VGG-16"),
        ("style_alexnet-night", "AlexNet"),
    ):
        output = Stylizer.from_pretrained(f"runs/{name}")(photo)
        cells.append(sheets.labelled(output, label))
    cells.append(sheets.labelled(np.asarray(bicubic), "bicubic"))
    for name, label in (("sr_x4-small", "VGG-16"), ("sr_x4_alexnet-small", "AlexNet")):
        output = Restorer.from_pretrained(f"runs/{name}")(small)
        cells.append(sheets.labelled(output, label))
    return sheets.grid(cells, columns=3)


def video():
    """A window that moves over a photo: each frame as a photo, and as a video's."""
    photo = np.float32(skimage.data.astronaut())
    of_photos = Stylizer.from_pretrained()
    of_videos = Stylizer.from_pretrained(
        pretrained.pretrained_path(pretrained.STEADY_GALLERY),
        style=pretrained.DEFAULT_STYLE,
        grain=False,
    )
    h, w = WINDOW
    find, smooth = steady.MotionFinder(), steady.Steady()
    shown = []
    for i in range(NUM_FRAMES):
        x = y = round(100 * (1 - np.cos(2 * np.pi * i / NUM_FRAMES)) / 2)  # and back
        window = photo[y : y + h, x + 100 : x + 100 + w]
        kept = smooth(of_videos(window), find(window.astype(np.uint8)))
        cells = [window, of_photos(window), kept]
        names = ("video", "stylize, each frame", "stylize_video")
        labelled = [sheets.labelled(*pair) for pair in zip(cells, names, strict=True)]
        shown.append(sheets.grid(labelled, columns=3))
    return shown


SHIPPED = {"gallery.jpg": gallery, "super_resolution.jpg": super_resolution}
DRAWINGS = SHIPPED | {"loss_networks.jpg": loss_networks, "video.webp": video}


def parser() -> cli.Parser:
    made = cli.Parser(
        prog="python -m jaxperceptual.figures.readme_pictures",
        description=__doc__.partition("\n")[0],
    )
    add = made.add_argument
    add("folder", type=Path)
    add("names", nargs="*", metavar="NAME", help=f"of {', '.join(DRAWINGS)}")
    return made


def run(args: argparse.Namespace) -> None:
    for name in args.names or SHIPPED:
        if name not in DRAWINGS:
            raise InputError(f"{name}: no such picture; use {', '.join(DRAWINGS)}.")
    for name in args.names or SHIPPED:
        drawn = DRAWINGS[name]()
        if name.endswith(".webp"):
            frames = [np.rint(frame).astype(np.uint8) for frame in drawn]
            with files.replacing(args.folder / name) as file:
                times = len(frames) * [FRAME_MS]
                animations.write_animation(file, frames, times, ".webp", quality=50)
        else:
            write_image(args.folder / name, drawn)


if __name__ == "__main__":
    cli.main(sys.modules[__name__], sys.argv[1:])
