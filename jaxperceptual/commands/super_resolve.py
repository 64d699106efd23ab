"""Enlarges photos with a trained network: files and folders, of any size."""

import argparse

from jaxperceptual.commands import options
from jaxperceptual.core import cli
from jaxperceptual.networks.pretrained import DEFAULT_RESTORATION, ENLARGERS

DETAILS = """\
Where the results go:
  without -o     photo.jpg becomes photo-x4.jpg, a folder NAME becomes the folder
                 NAME-x4; both in the current folder
  -o out/        file names are kept, and sub-folders of folders, below out/
  -o FILE.png    for a single photo
  -              in place of a photo or FILE: standard input, standard output
The format stays that of the photo (what cannot be written, as GIF, becomes PNG), its
EXIF orientation is applied, colours become sRGB, alpha is kept and enlarged, grey stays
grey; date, place, camera and resolution are kept where the format has room. Earlier
results of the same name are replaced; an input never is.

Exit status: 0; 1 if some of many photos could not be read (the others are done); 2 if
nothing could be done."""


def run(args: argparse.Namespace) -> int:
    from jaxperceptual.inference import batches, jobs, pipes
    from jaxperceptual.inference.restorer import Restorer

    restorer = Restorer.from_pretrained(
        args.model,
        factor=args.scale,
        tile=args.tile,
        histogram_match=args.histogram_match,
        consistency=args.consistency,
    )
    restorer.check_enlarges(args.model or DEFAULT_RESTORATION)
    unfinished = restorer.model.trained.unfinished
    options.tell_if_unfinished("super_resolve", args.model, unfinished)
    with pipes.piped(args.photos, args.output, args.format) as (photos, output):
        label = f"x{restorer.factor}"
        todo = jobs.plan(photos, output, label=label, suffix=args.format)
        if args.shard:
            todo = jobs.share(todo, *args.shard)
        if args.skip_existing:
            todo = jobs.to_do(todo, "super_resolve")
        results = batches.restore_files(
            restorer, todo, strip_metadata=args.strip_metadata, quality=args.quality
        )
        return jobs.run_jobs(results, todo, "super_resolve")


def parser() -> cli.Parser:
    made = cli.Parser(
        prog="super_resolve",
        description=__doc__,
        epilog=DETAILS,
    )
    add = made.add_argument
    add("photos", nargs="+", metavar="PHOTO", help="files or folders")
    add("-o", "--output", help="a folder, or a file for one photo")
    add(
        "--model",
        help="a run folder, a model.safetensors, or the name of a shipped model "
        f"(default: the one for --scale, or {DEFAULT_RESTORATION})",
    )
    shipped = ", ".join(f"{factor}: {name}" for factor, name in ENLARGERS.items())
    add(
        "--scale",
        type=int,
        metavar="N",
        help=f"the factor, which chooses the shipped model ({shipped}); beside "
        "--model, refuse one of another factor",
    )
    add(
        "--tile",
        type=int,
        metavar="N",
        help="enlarge in tiles of N x N pixels of the photo: same result, less memory "
        "(default: where the result is large, tiles that are 1024 px in it)",
    )
    add(
        "--consistency",
        type=int,
        default=3,  # `consistency.ITERATIONS`; a test compares
        metavar="N",
        help="how often the result is corrected, so that it becomes the photo again "
        "when made small; 0: never (default: %(default)s)",
    )
    add(
        "--histogram-match",
        action=argparse.BooleanOptionalAction,
        default=False,
        help="give the result the photo's histogram, before that: the paper's last "
        "step, with --consistency 0",
    )
    options.add_saving(made)
    return made
