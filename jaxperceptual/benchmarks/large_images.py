"""Peak memory and time of large photos, from the command to the file.

    python -m jaxperceptual.benchmarks.large_images --photo photo.jpg --sides 2048 4096

A photo is enlarged to squares of these sides, as JPEG, and stylised by `stylize` in a
process of its own: as a whole, and in strips.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from jaxperceptual.core import cli

CACHED = False
WHOLE = 1_000_000  # px, a side that no photo has


def parser() -> cli.Parser:
    made = cli.Parser(
        prog="python -m jaxperceptual.benchmarks.large_images", description=__doc__
    )
    add = made.add_argument
    add("--photo", required=True, help="that the squares show")
    add("--sides", nargs="+", type=int, default=[2048, 4096], metavar="PX")
    add("--most-whole", type=int, default=4096, help="above, in strips alone")
    add("--model", help="as stylize has it")
    add("--strip", type=int, default=1448, help="as stylize --tile has it")
    return made


def run(args: argparse.Namespace) -> int:
    from jaxperceptual.core import provenance
    from jaxperceptual.images.reading import load_rgb

    print(provenance.head_markdown(provenance.header(args.command)))
    print("| side, px | megapixels | | peak, GB | s |\n|--:|--:|---|--:|--:|")
    photo = load_rgb(args.photo)
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "photo.jpg")
        for side in args.sides:
            photo.resize((side, side)).save(source)
            tiles = [("whole", WHOLE)] if side <= args.most_whole else []
            for name, tile in [*tiles, ("strips", args.strip)]:
                peak, seconds = _measured(source, tile, args.model)
                cells = (side, f"{side**2 / 1e6:.1f}", name)
                cells += (f"{peak / 1e9:.2f}", f"{seconds:.1f}")
                print(f"| {' | '.join(map(str, cells))} |", flush=True)
    return 0


def _measured(source: Path, tile: int, model: str | None) -> tuple[int, float]:
    """Peak bytes and seconds of one `stylize`. Raises where that fails."""
    command = [sys.executable, "-m", "jaxperceptual", "stylize", source]
    command += [f"--tile={tile}", "-o", source.with_name("out.jpg")]
    command += [f"--model={model}"] if model else []
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)  # waited for already
    if process.returncode:
        raise RuntimeError(f"stylize ended with {process.returncode}")
    return 1024 * usage.ru_maxrss, time.perf_counter() - started


if __name__ == "__main__":
    cli.main(sys.modules[__name__], sys.argv[1:])
