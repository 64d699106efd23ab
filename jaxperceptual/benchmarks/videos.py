"""Videos: how steady, how sharp, and how fast from file to file.

    python -m jaxperceptual.benchmarks.videos --clip CLIP.mp4 --photo PHOTO -o OUT

Steadiness, of CLIP and of two clips made of a large PHOTO, a pan and a zoom, whose true
flow is known: `measures.warping_error` and `measures.edge_energy` with `--steady` and
without, as a share of each frame by itself, by the same model or by `--than`'s. CLIP's
flow is Farneback's, which is not the method's own. Rate: frames/s of `stylize_video`'s
work on CLIP at the sizes given, from the first frame to the last, and of the network
alone, warmed up, in turns. Writes OUT.json, OUT.md.
"""

import argparse
import itertools
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxperceptual.core import cli, files, provenance
from jaxperceptual.core.errors import InputError
from jaxperceptual.images.reading import read_image
from jaxperceptual.inference.stylizer import Stylizer
from jaxperceptual.video import measures, steady
from jaxperceptual.video.clips import Frame
from jaxperceptual.video.reading import Reader
from jaxperceptual.video.run import stylize_video

PAN = np.float32([3.3, 1.7])  # px a frame
ZOOM = 1.01  # a frame


class Moving(NamedTuple):
    """Frames, uint8 [h w 3], and of each but the first where its pixels were before."""

    frames: list[np.ndarray]
    flows: list[np.ndarray]
    masks: list[np.ndarray]


def parser() -> cli.Parser:
    made = cli.Parser(
        prog="python -m jaxperceptual.benchmarks.videos", description=__doc__
    )
    add = made.add_argument
    add("--clip", required=True, help="a video")
    add("--photo", required=True, help="a photo of 2 megapixels or so")
    add("--start", type=float, default=0.0, help="of the clip, s (default: 0)")
    add("--num", type=int, default=20, help="frames to judge (default: 20)")
    add("--size", type=int, default=256, help="of these, px (default: 256)")
    add("--model", default="style_cubist", help="(default: style_cubist)")
    add("--style", help="of a gallery")
    add(
        "--than",
        metavar="MODEL",
        help="whose frames by themselves count as 1 (default: those of --model)",
    )
    add("--rate-sizes", type=int, nargs="*", default=[640], help="px (default: 640)")
    add("--seconds", type=float, default=3.0, help="of the rate's clip (default: 3)")
    add("--repeats", type=int, default=3, help="of each rate (default: 3)")
    add("-o", "--output", required=True, metavar="OUT")
    return made


def run(args: argparse.Namespace) -> None:
    if not steady.has_flow():
        raise InputError("OpenCV is not installed; pip install 'jaxperceptual[video]'.")
    report: dict[str, Any] = {"header": provenance.header(args.command)}
    stylizer = Stylizer.from_pretrained(args.model, style=args.style, grain=False)
    clips = {
        Path(args.clip).name: from_clip(args),
        "pan": from_photo(args, pan),
        "zoom": from_photo(args, zoom),
    }
    base = stylizer
    if args.than:
        base = Stylizer.from_pretrained(args.than, grain=False)
    report["than"] = args.than
    report["steadiness"] = {k: steadiness(stylizer, v, base) for k, v in clips.items()}
    report["rates"] = [rate(stylizer, args, size) for size in args.rate_sizes]
    files.write_text(Path(f"{args.output}.json"), json.dumps(report, indent=1) + "\n")
    text = markdown(report)
    files.write_text(Path(f"{args.output}.md"), text)
    print(text)


def from_clip(args: argparse.Namespace) -> Moving:
    """Frames of a video; the flow is Farneback's."""
    source = Reader(args.clip, size=args.size, start=args.start)
    shown = (item for item in source if isinstance(item, Frame))
    frames = [item.pixels for item in itertools.islice(shown, args.num)]
    source.close()
    pairs = [
        (measures.other_flow(b, a), measures.other_flow(a, b))
        for a, b in itertools.pairwise(frames)
    ]
    return Moving(
        frames,
        [back for back, _ in pairs],
        [steady.consistent(back, ahead) for back, ahead in pairs],
    )


def from_photo(args: argparse.Namespace, motion) -> Moving:
    """Windows of a photo that move as `motion` has it, and the true flow."""
    photo = read_image(args.photo)
    side = args.size
    if min(photo.shape[:2]) < 2 * side:
        raise InputError(f"--photo {args.photo}: needs sides of {2 * side} px or more.")
    y, x = np.mgrid[:side, :side].astype(np.float32)
    frames, flows, masks = [], [], []
    for i in range(args.num):
        at = motion(i, x, y, side)
        window = steady.warped(photo, at - _grid(side, side), sharp=True)
        frames.append(np.rint(window.clip(0, 255)).astype(np.uint8))
        if i:
            flow = flow_between(motion, i, x, y, side)
            at = _grid(side, side) + flow
            inside = (at >= 0).all(-1) & (at <= side - 1).all(-1)
            flows.append(flow)
            masks.append(inside)
    return Moving(frames, flows, masks)


def _grid(h, w):
    y, x = np.mgrid[:h, :w].astype(np.float32)
    return np.stack([x, y], -1)


def pan(i, x, y, side):
    """Where in the photo, [x y], the window's pixels of frame i lie."""
    return np.stack([x, y], -1) + i * PAN


def zoom(i, x, y, side):
    """As `pan`."""
    middle = np.float32(side)
    factor = np.float32(ZOOM**-i)
    return np.stack([x, y], -1) * factor + middle * (1 - factor / 2)


def flow_between(motion, i, x, y, side):
    """Where the pixels of frame i were in frame i - 1, px away: both are affine."""
    now, origin = motion(i, x, y, side), motion(i - 1, x, y, side)[0, 0]
    scale = motion(i - 1, x, y, side)[0, 1, 0] - origin[0]
    return (now - origin) / scale - np.stack([x, y], -1)


def steadiness(
    stylizer: Stylizer, clip: Moving, base: Stylizer
) -> dict[str, dict[str, float]]:
    """Warping error and edge energy of the input, of each frame by itself (`base`: by
    that network), and of steady frames."""

    def frame_by_frame(network):
        return [network(frame.astype(np.float32)) for frame in clip.frames]

    alone = frame_by_frame(stylizer)
    find, smooth = steady.MotionFinder(), steady.Steady()
    kept = [
        smooth(output, find(frame))
        for frame, output in zip(clip.frames, alone, strict=True)
    ]
    shown = {
        "input": [frame.astype(np.float32) for frame in clip.frames],
        "base": alone if base is stylizer else frame_by_frame(base),
        "alone": alone,
        "steady": kept,
    }
    return {
        name: {
            "warping_error": measures.warping_error(frames, clip.flows, clip.masks),
            "edge_energy": measures.edge_energy(frames),
        }
        for name, frames in shown.items()
    }


def rate(stylizer: Stylizer, args: argparse.Namespace, size: int) -> dict[str, Any]:
    """Frames/s of the whole work, with and without --steady, and of the network, each
    the median of `--repeats` turns."""
    turns: dict[str, list[float]] = {"network": [], "alone": [], "steady": []}
    for _ in range(args.repeats):
        for name, found in turns.items():
            source = Reader(
                args.clip, size=size, start=args.start, duration=args.seconds
            )
            clip = source.clip
            stylizer.warm_up(clip.height, clip.width)
            if name == "network":
                found.append(rate_of_network(stylizer, clip.height, clip.width))
            else:
                with tempfile.TemporaryDirectory() as folder:
                    target = Path(folder) / "out.mp4"
                    keep = name == "steady"
                    done = stylize_video(stylizer, source, target, steady=keep)
                found.append(done.num_frames / done.seconds)
            source.close()
    return {
        "size": [clip.width, clip.height],
        "frames": done.num_frames,
        "turns": turns,
        **{name: float(np.median(found)) for name, found in turns.items()},
    }


def rate_of_network(stylizer: Stylizer, height: int, width: int) -> float:
    """Frames/s, of the median of ten."""
    image = np.zeros((height, width, 3), np.float32)
    times = []
    for _ in range(10):
        began = time.perf_counter()
        stylizer(image)
        times.append(time.perf_counter() - began)
    return 1 / float(np.median(times))


def markdown(report: dict[str, Any]) -> str:
    base = f"{report['than']}'s" if report["than"] else "its own"
    lines = [
        provenance.head_markdown(report["header"]),
        f"| warping error, edge energy; {base} frames by themselves = 1 | input | "
        "`--no-steady` | `--steady` |",
        "|---|--:|--:|--:|",
    ]
    for name, found in report["steadiness"].items():
        cells = []
        for kind in ("input", "alone", "steady"):
            of_base = found["base"].items()
            shares = (found[kind][measure] / value for measure, value in of_base)
            cells.append(", ".join(f"{share:.2f}" for share in shares))
        lines.append(f"| {name} | {' | '.join(cells)} |")
    lines += [
        "",
        "| frames/s | the network alone | `--no-steady` | `--steady` |",
        "|---|--:|--:|--:|",
    ]
    for found in report["rates"]:
        w, h = found["size"]
        alone, own = found["network"], (found["alone"], found["steady"])
        cells = [f"{alone:.2f}", *(f"{x:.2f} ({x / alone:.2f})" for x in own)]
        lines.append(f"| {w} x {h}, {found['frames']} frames | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    cli.main(sys.modules[__name__], sys.argv[1:])
