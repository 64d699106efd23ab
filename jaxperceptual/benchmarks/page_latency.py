"""The page's server: from the command to the page, from a click to the picture.

    python -m jaxperceptual.benchmarks.page_latency --photo PHOTO -o OUT

Starts `serve` with nothing cached, and again, and asks it for what the page would: the
photo at 640 px in one style after another, larger, with a blend, enlarged. Each time is
from sending the photo to having the picture; beside it the network's own on the same
pixels, in the program that the server uses. Writes OUT.json, OUT.md.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from pathlib import Path

from jaxperceptual.core import cli, files, provenance
from jaxperceptual.core.errors import InputError
from jaxperceptual.images.reading import read_image
from jaxperceptual.inference.stylizer import Stylizer

STYLES = ("wave", "udnie", "irises", "cubist", "the_kiss")
WISHES = {  # by what they are called; the size of each photo, px
    "a style, {size} px": {},
    "a blend, {size} px": {"style": "wave:0.6,irises:0.4"},
    "a style, {size} px, enlarged x2": {"enlarge": 2},
}


def parser() -> cli.Parser:
    made = cli.Parser(
        prog="python -m jaxperceptual.benchmarks.page_latency", description=__doc__
    )
    add = made.add_argument
    add("--photo", required=True, help="a photo of 640 px and more")
    add("--sizes", type=int, nargs="+", default=[640, 1024], help="(default: 640 1024)")
    add("--repeats", type=int, default=5, help="of each picture (default: 5)")
    add("-o", "--output", required=True, metavar="OUT")
    return made


def run(args: argparse.Namespace) -> None:
    photo = Path(args.photo)
    read_image(photo)
    report = {"header": provenance.header(args.command), "start": {}, "pictures": {}}
    # Before there is a server, which compiles when nobody asks.
    alone = {size: network_alone(photo, size, args.repeats) for size in args.sizes}
    with tempfile.TemporaryDirectory() as cache:
        for way in ("nothing cached", "second start"):
            with _Served(cache) as served:
                served.until_warm()
                report["start"][way] = {"page": served.page, "warm": served.warm}
                if way == "second start":
                    report["pictures"] = pictures(served, photo, alone, args)
    write(args, report)
    print(Path(f"{args.output}.md").read_text())


def pictures(served, photo, alone, args):
    """Seconds by name: the first, the median of the others, the network's own."""
    data, found = photo.read_bytes(), {}
    for size in args.sizes:
        for name, wish in WISHES.items():
            times = []
            for i in range(args.repeats + 1):
                asked = {"style": STYLES[i % len(STYLES)], "size": size} | wish
                times.append(served.picture(data, asked))
            found[name.format(size=size)] = {
                "first": times[0],
                "then": statistics.median(times[1:]),
                "network": alone[size],
            }
    return found


def network_alone(photo, size, repeats):
    image, stylizer = read_image(photo, size=size), Stylizer.from_pretrained()
    stylizer(image)
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        stylizer(image)
        times.append(time.perf_counter() - began)
    return statistics.median(times)


class _Served:
    """A server that has just been started, and when the page was there."""

    def __init__(self, cache: str):
        environment = os.environ | {"XDG_CACHE_HOME": cache}
        environment.pop("JAX_COMPILATION_CACHE_DIR", None)
        command = [sys.executable, "-m", "jaxperceptual", "serve", "--port", "0"]
        self._began = time.perf_counter()
        self._process = subprocess.Popen(
            command, stdout=subprocess.PIPE, env=environment, text=True
        )
        words = self._process.stdout.readline().split()
        if not words:
            raise InputError("serve did not start; see above.")
        self._address = words[0]
        self._get("")
        self.page = time.perf_counter() - self._began
        self.warm = 0.0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.terminate()
        self._process.communicate()

    def until_warm(self):
        while not json.loads(self._get("api/about"))["warm"]:
            time.sleep(0.05)
        self.warm = time.perf_counter() - self._began

    def picture(self, data, wish) -> float:
        query = urllib.parse.urlencode(wish)
        began = time.perf_counter()
        self._get(f"api/picture?{query}", data)
        return time.perf_counter() - began

    def _get(self, path, data=None):
        with urllib.request.urlopen(f"{self._address}/{path}", data) as answer:
            return answer.read()


def write(args, report):
    files.write_text(Path(f"{args.output}.json"), json.dumps(report, indent=1) + "\n")
    lines = [
        provenance.head_markdown(report["header"]),
        "| s after the command | the page | warm |",
        "|---|--:|--:|",
    ]
    for way, times in report["start"].items():
        lines.append(f"| {way} | {times['page']:.1f} | {times['warm']:.1f} |")
    lines += [
        "",
        "| s from click to picture | the first | then | the network alone |",
        "|---|--:|--:|--:|",
    ]
    for name, times in report["pictures"].items():
        cells = (f"{times[key]:.2f}" for key in ("first", "then", "network"))
        lines.append(f"| {name} | {' | '.join(cells)} |")
    files.write_text(Path(f"{args.output}.md"), "\n".join(lines) + "\n")


if __name__ == "__main__":
    cli.main(sys.modules[__name__], sys.argv[1:])
