"""Applies a trained style to photos: files and folders, of any size."""

import argparse
from pathlib import Path

from jaxperceptual.commands import options
from jaxperceptual.core import cli
from jaxperceptual.core.errors import InputError
from jaxperceptual.networks.pretrained import (
    GALLERY,
    pretrained_names,
    pretrained_path,
)

DETAILS = """\
Where the results go:
  without -o     photo.jpg becomes photo-stylized.jpg, a folder NAME becomes the folder
                 NAME-stylized; both in the current folder
  -o out/        file names are kept, and sub-folders of folders, below out/
  -o FILE.jpg    for a single photo
  -              in place of a photo or FILE: standard input, standard output
The format stays that of the photo (what cannot be written, as GIF, becomes PNG), its
EXIF orientation is applied, colours become sRGB, alpha is kept; date, place, camera and
resolution too, where the format has room. Earlier results of the same name are
replaced; an input never is: a result that would land on one is an error.

Exit status: 0; 1 if some of many photos could not be read (the others are done); 2 if
nothing could be done."""


SHEET_SIZE = 320  # px


def at_once(args: argparse.Namespace) -> int | None:
    """One photo without JAX, where that can be; None where it takes the usual way."""
    if len(args.photos) != 1 or not (photo := Path(args.photos[0])).is_file():
        return None
    if args.list or args.sheet or args.tile or args.strength == 0:
        return None
    if args.style_scale != 1:
        return None
    from jaxperceptual.inference import at_once

    started = at_once.start(args.model, args.style, photo, args.size)
    if started is None:
        return None
    try:
        return _run(args, lambda todo: _results_at_once(started, args, todo))
    except at_once.Unavailable:
        return None


def run(args: argparse.Namespace) -> int:
    if args.list:
        print(_table(args.model))
        return 0
    if not args.photos:
        raise InputError("no photo named; give one, or --list for the styles there are")
    return _run(args, lambda todo: _results(args, todo))


def _run(args, results) -> int:
    from jaxperceptual.inference import jobs, pipes

    with pipes.piped(args.photos, args.output, args.format) as (photos, output):
        label = "styles" if args.sheet else "stylized"
        todo = jobs.plan(photos, output, label=label, suffix=args.format)
        if args.shard:
            todo = jobs.share(todo, *args.shard)
        if args.skip_existing:
            todo = jobs.to_do(todo, "stylize")
        return jobs.run_jobs(results(todo), todo, "stylize") if todo else 0


def _results(args, todo):
    from jaxperceptual.inference import batches
    from jaxperceptual.inference.stylizer import Stylizer

    mixing = dict(
        strength=args.strength,
        preserve_color=args.preserve_color,
        style_scale=args.style_scale,
    )
    if args.sheet:
        if args.style is not None:
            raise InputError(f"--sheet has every style; leave --style {args.style} off")
        if args.tile:
            raise InputError(f"--sheet is in one piece; leave --tile {args.tile} off")
        return batches.sheets_of_files(
            _for_sheets(args.model),
            todo,
            size=args.size or SHEET_SIZE,
            quality=args.quality,
            **mixing,
        )
    stylizer = Stylizer.from_pretrained(args.model, style=args.style)
    options.tell_if_unfinished("stylize", args.model, stylizer.model.trained.unfinished)
    return batches.stylize_files(
        stylizer,
        todo,
        size=args.size,
        batch_size=args.batch_size,
        tile=args.tile,
        strip_metadata=args.strip_metadata,
        quality=args.quality,
        **mixing,
    )


def _results_at_once(started, args, todo):
    from jaxperceptual.inference import at_once, jobs

    (job,) = todo
    try:
        mixed, alpha = at_once.paint(
            started.painter,
            job.source,
            size=args.size,
            strength=args.strength,
            preserve_color=args.preserve_color,
        )
        options.tell_if_unfinished("stylize", args.model, started.unfinished)
        saving = dict(strip_metadata=args.strip_metadata, quality=args.quality)
        jobs.write(job, mixed, alpha, **saving)
    except InputError as error:
        yield jobs.Result(job, error)
    else:
        yield jobs.Result(job, None)


def _for_sheets(name: str | None):
    from jaxperceptual.inference.stylizer import Stylizer
    from jaxperceptual.networks.model_file import read_model

    model = read_model(name or pretrained_path(GALLERY))
    if not model.styles:
        raise InputError(f"{name}: a network of one style; --sheet needs a gallery")
    return Stylizer(model, style=next(iter(model.styles)))


def _table(name: str | None) -> str:
    """What --style and --model may say, a line each; of a model, its styles."""
    from jaxperceptual.networks.model_file import read_model

    model = read_model(name or pretrained_path(GALLERY))
    named = "" if name is None else f"--model {name} "
    lines = [f"{named}--style NAME, or a mixture, NAME:0.6,NAME:0.4"]
    if not model.styles:
        raise InputError(f"{name}: a network of one style; --list tells of a gallery")
    width = max(map(len, model.styles)) + 2
    for style, image in model.styles.items():
        title = model.trained.config.get(f"styles.{style}.title")
        lines.append(f"  {style:{width}}{title or image.get('name', '')}".rstrip())
    alone = [n for n in pretrained_names() if n.startswith(("style_", f"{GALLERY}_"))]
    if name is None and alone:
        lines += ["--model NAME", *(f"  {n}" for n in alone)]
    return "\n".join(lines)


def parser() -> cli.Parser:
    made = cli.Parser(
        prog="stylize",
        description=__doc__,
        epilog=DETAILS,
    )
    made.add_argument("photos", nargs="*", metavar="PHOTO", help="files or folders")
    made.add_argument("-o", "--output", help="a folder, or a file for one photo")
    options.add_style(made)
    choice = made.add_mutually_exclusive_group()
    choice.add_argument(
        "--list", action="store_true", help="the styles and models that there are"
    )
    choice.add_argument(
        "--sheet",
        action="store_true",
        help="every style of the gallery in one picture, PHOTO-styles.jpg",
    )
    made.add_argument(
        "--size",
        type=options.positive,
        metavar="N",
        help="scale photos down to have at most N pixels on the longer side "
        f"(default with --sheet: {SHEET_SIZE})",
    )
    made.add_argument(
        "--batch-size",
        type=options.positive,
        default=4,
        metavar="N",
        help="photos of equal size that are stylised at once (default: 4)",
    )
    made.add_argument(
        "--tile",
        type=options.tile,
        metavar="N",
        help="photos of more than N x N pixels go through the network in strips of as "
        "many: the same result in less memory, in more than twice the time "
        "(default: auto, what would not fit into memory, in strips of 1448 x 1448)",
    )
    options.add_saving(made)
    return made
