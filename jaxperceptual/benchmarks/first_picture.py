"""From the command to the file: one photo and a folder, against other runtimes.

    python -m jaxperceptual.benchmarks.first_picture --data PHOTOS -o OUT

Whole processes are timed: `stylize` with nothing cached (of ours, or of JAX) and at its
second start, and `peer_program` by ONNX Runtime and OpenVINO with our ONNX file of the
same network; they take turns. One photo is the first of the folder. Where outputs of
the photo differ by more than a grey level on average, nothing is timed. Writes
OUT.json, OUT.md.
"""

import argparse
import json
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from jaxperceptual.benchmarks import variants
from jaxperceptual.core import cli, files, provenance
from jaxperceptual.core.errors import InputError
from jaxperceptual.export.writing import export_model
from jaxperceptual.images.finding import find_images
from jaxperceptual.images.reading import read_header, read_image
from jaxperceptual.networks.model_file import read_model

NOTHING_CACHED, SECOND = "stylize, nothing cached", "stylize, second start"
LEVELS = 1.0  # of 255, on average: JPEG's, at quality 95, are a third of it


def parser() -> cli.Parser:
    made = cli.Parser(
        prog="python -m jaxperceptual.benchmarks.first_picture", description=__doc__
    )
    add = made.add_argument
    add("--data", required=True, help="a folder of photos")
    add("--num", type=int, default=128, help="of them (default: %(default)s)")
    add("--model", default="starry_night", help="(default: %(default)s)")
    add("--repeats", type=int, default=5, help="of one photo (default: %(default)s)")
    add("--folder-repeats", type=int, default=1, help="(default: %(default)s)")
    add("-o", "--output", required=True, metavar="OUT")
    return made


def run(args: argparse.Namespace) -> None:
    peers, missing = variants.installed(variants.RUNTIMES)
    photos = [str(path) for path in find_images(args.data)][: args.num]
    if not photos:
        raise InputError(f"--data {args.data}: no photos in it; name a folder of some.")
    sizes = [(h.height, h.width) for h in map(read_header, map(Path, photos))]
    report = {"header": provenance.header(args.command), "left_out": missing}
    report |= {"photos": len(photos), "sizes": len(set(sizes))}
    report["megapixels"] = sum(h * w for h, w in sizes) / 1e6
    with tempfile.TemporaryDirectory() as folder:
        model = export_model(
            read_model(args.model, task="style"), Path(folder) / "model.onnx"
        )
        start = Starter(args.model, model, Path(folder))
        start.compare(photos[0], peers)
        for name, some, repeats in (
            ("photo", photos[:1], args.repeats),
            ("folder", photos, args.folder_repeats),
        ):
            times: dict[str, list[float]] = {}
            for _ in range(repeats):
                for way in (NOTHING_CACHED, SECOND, *peers):
                    times.setdefault(way, []).append(start(way, some))
            report[name] = times
            header = read_header(Path(photos[0]))
            report["photo_size"] = [header.width, header.height]
            write(args, report)
    print(Path(f"{args.output}.md").read_text())


class Starter:
    """Starts programs, in a folder of theirs."""

    def __init__(self, name: str, model: Path, folder: Path):
        self._name, self._model, self._folder = name, model, folder
        self._cache = folder / "cache"

    def __call__(self, way: str, photos: list[str]) -> float:
        """Seconds that the process of this name took, with these photos."""
        environment = os.environ | {"XDG_CACHE_HOME": str(self._cache)}
        environment.pop("JAX_COMPILATION_CACHE_DIR", None)
        output = self._folder / "out" / way
        if way == NOTHING_CACHED:  # what it leaves is the second start's
            self._cache = Path(tempfile.mkdtemp(dir=self._folder))
            environment["XDG_CACHE_HOME"] = str(self._cache)
        if way in (NOTHING_CACHED, SECOND):
            command = ["jaxperceptual", "stylize", "--model", self._name]
            command += ["-o", f"{output}/", *photos]
        else:
            command = ["jaxperceptual.benchmarks.peer_program", way]
            command += [str(self._model), str(output), *photos]
        command = [sys.executable, "-m", *command]
        began = time.perf_counter()
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        seconds = time.perf_counter() - began
        if done.returncode:
            raise InputError(f"{shlex.join(command[2:6])} ... failed: {done.stderr}")
        return seconds

    def compare(self, photo: str, peers) -> None:
        """InputError unless all make the same of the photo."""
        made = []
        for way in (SECOND, *peers):
            self(way, [photo])
            made.append(read_image(self._folder / "out" / way / Path(photo).name))
            apart = np.abs(made[0] - made[-1]).mean()
            if not apart < LEVELS:
                raise InputError(f"{way}: {apart:.2g} grey levels from {SECOND}.")


def write(args, report):
    files.write_text(Path(f"{args.output}.json"), json.dumps(report, indent=1) + "\n")
    width, height = report["photo_size"]
    lines = [
        provenance.head_markdown(report["header"]),
        f"| s | one photo, {width} x {height} | {report['photos']} photos of "
        f"{report['sizes']} sizes |",
        "|---|--:|--:|",
    ]
    for way in report["photo"]:
        cells = [
            f"{statistics.median(report[name][way]):.2f}" if name in report else ""
            for name in ("photo", "folder")
        ]
        lines.append(f"| {way} | {' | '.join(cells)} |")
    files.write_text(Path(f"{args.output}.md"), "\n".join(lines) + "\n")


if __name__ == "__main__":
    cli.main(sys.modules[__name__], sys.argv[1:])
