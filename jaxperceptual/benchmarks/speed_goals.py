"""Every goal of speed on this machine, measured, and whether it is met: one command.

    python -m jaxperceptual.benchmarks.speed_goals --data train/ --held val/ -o OUT

Runs what a CPU, or a GPU where JAX finds one, has to show, piece by piece, and writes
OUT/cpu-NAME.md and .json (or gpu-...) for each, then OUT/cpu-goals.md. A piece whose
JSON stands there is not run again: where a machine is lent by the minute, the same
command goes on, and `--only NAME ...` takes some pieces alone.

A CPU takes most of an hour, a GPU less than half of one. Measure on an idle machine.
"""

import argparse
import json
import os
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax

from jaxperceptual.benchmarks.first_picture import NOTHING_CACHED, SECOND
from jaxperceptual.core import cli, files, provenance
from jaxperceptual.core.errors import InputError
from jaxperceptual.losses.style_image import STYLES

PAPER = "--norms batch --upsamplings transposed"
OTHER = "--norms instance --upsamplings resize"
REFERENCE = "--reference torch --repeats 9"
ALL = "--reference torch openvino onnxruntime --repeats 9"  # for inference

CACHED = False
# By device, by name: what jaxperceptual benchmark is given. The first come first.
BENCHMARKS = {
    "cpu": {
        "batch-transposed": f"--train --inference {PAPER} {ALL} --forms",
        "half-width": f"--train --inference --config style_cubist.py {OTHER} {ALL} "
        "--forms",
        "instance-resize": f"--train --inference {OTHER} {ALL}",
        "gatys": "--gatys --sizes 256 512 --reference torch",
        "batch-resize": f"--train --inference --norms batch --upsamplings resize "
        f"{REFERENCE}",
        "instance-transposed": f"--train --inference --norms instance --upsamplings "
        f"transposed {REFERENCE}",
        "sr-x4-train-288": f"--train --train-size 288 --config sr_x4_feat.py {PAPER} "
        f"{REFERENCE}",
        "sr-x4-train-144": f"--train --train-size 144 --config sr_x4_feat.py {PAPER} "
        f"{REFERENCE}",
        "sr-x4-inference": f"--inference --config sr_x4_feat.py {PAPER} {REFERENCE}",
        "input": f"--train --input {PAPER} --no-memory --repeats 3",
        "gatys-1024": "--gatys --sizes 1024 --reference torch --repeats 3",
        "table1": "--repeats 3",
    },
    "gpu": {
        **{
            f"{kind}-batch-transposed": f"--train --inference {PAPER} {REFERENCE} "
            f"--precision {kind}"
            for kind in ("bfloat16", "tf32", "float32")
        },
        "input": f"--train --input {PAPER} --precision bfloat16 --no-memory",
        "bfloat16-instance-resize": f"--train --inference {OTHER} {REFERENCE} "
        "--precision bfloat16",
        "gatys": f"--gatys {REFERENCE} --precision tf32",
        "table1": "--repeats 3 --precision tf32",
    },
}
# The paper's run, in the shortest of ways that this device offers.
TRAINING = {
    "cpu": "--config.num_steps=40 --config.log_every_steps=10",
    "gpu": "--config.precision=bfloat16 --config.steps_per_dispatch=20 "
    "--config.log_every_steps=1000 --config.checkpoint_every_steps=10000",
}
PRECISIONS = "--config.num_steps=4000 --config.optimizer.decay_steps=4000 "
PRECISIONS += "--config.steps_per_dispatch=20 --config.log_every_steps=1000"
# Two short trainings of each, for the rate at the end of the second.
GALLERY = {"gallery": "gallery.py", "one style": "style_cubist.py"}
RATES = "--data embedded --config.data.batch_size=4 --config.num_steps=16 "
RATES += "--config.optimizer.warmup_steps=2 --config.log_every_steps=8 "
RATES += "--config.sample_every_steps=0"
# Everything once, at a size that a test can afford, to see that the command works.
SMOKE = {
    "benchmark": "--sizes 64 --train-size 32 --repeats 2 --no-compile --budget 1",
    "train": "--config.num_steps=8 --config.log_every_steps=4 --config.precision="
    "float32 --config.checkpoint_every_steps=20 --config.steps_per_dispatch=1",
    "first-picture": "--num 2 --repeats 1",
    "gallery": "--config.num_steps=4 --config.log_every_steps=2 "
    "--config.data.image_size=48 --config.data.batch_size=1",
    "precisions": "--config smoke.py --config.num_steps=2 --num 1 --seeds 0",
}


def parser() -> cli.Parser:
    made = cli.Parser(
        prog="python -m jaxperceptual.benchmarks.speed_goals", description=__doc__
    )
    add = made.add_argument
    add("--data", nargs="+", default=[], metavar="SOURCE", help="photos to train on")
    add("--held", metavar="FOLDER", help="other photos, to judge precisions by")
    add("--style", metavar="IMAGE", help="of training (default: the config's)")
    add("--device", choices=list(BENCHMARKS), help="default: what JAX finds")
    add("--only", nargs="+", metavar="NAME", help="these pieces alone")
    add("--smoke", action="store_true", help="tiny sizes: that it works, not how fast")
    add("-o", "--output", required=True, type=Path, metavar="OUT")
    return made


def run(args: argparse.Namespace) -> None:
    # Several processes share a GPU: this one, each command, its own ones for memory.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    device = args.device or ("gpu" if jax.default_backend() == "gpu" else "cpu")
    first, *others = BENCHMARKS[device]
    pieces = {
        first: run_benchmark,
        **({"first-picture": run_first_picture} if device == "cpu" else {}),
        "training": run_training,
        **({"precisions": run_precisions} if device == "gpu" else {}),
        **({"gallery": run_gallery} if device == "cpu" else {}),
        **dict.fromkeys(others, run_benchmark),
        "second-start": run_twice,
    }
    for name in args.only or ():
        if name not in pieces:
            raise InputError(f"--only {name}: unknown; use {', '.join(pieces)}.")
    args.output.mkdir(parents=True, exist_ok=True)
    for name in args.only or pieces:
        path = args.output / f"{device}-{name}.json"
        if not path.exists():
            print(f"goals: {name}", flush=True)
            pieces[name](args, device, name, path)
    found = {
        name: json.loads(path.read_text())
        for name in pieces
        if (path := args.output / f"{device}-{name}.json").exists()
    }
    text = markdown(device, found, args.command)
    files.write_text(args.output / f"{device}-goals.md", text)
    print(text)


def run_benchmark(args, device, name, path):
    """jaxperceptual benchmark's files under names of their own."""
    options = shlex.split(BENCHMARKS[device][name])
    if args.smoke:
        if "--config" not in options:
            options += ["--config", "smoke.py"]
        options += shlex.split(SMOKE["benchmark"])
    if name == "input":
        options += ["--data", "embedded", *args.data]
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".") as folder:
        start("jaxperceptual", "benchmark", *options, "-o", folder)
        for made in sorted(Path(folder).iterdir(), reverse=True):  # .json last
            # The folder's name is drawn anew each time, and so no part of a command.
            text = made.read_text().replace(folder, "OUT")
            files.write_text(path.with_suffix(made.suffix), text)


def run_training(args, device, name, path):
    """A training as users run it: its whole time, compiling included, and its log."""
    workdir = path.parent / f"{device}-training"
    # What was interrupted begins anew: a time is of one whole run.
    shutil.rmtree(workdir, ignore_errors=True)
    cache = workdir.with_name(f"{device}-cache") if device == "gpu" else None
    options = ["--config", "smoke.py" if args.smoke else "style_muse.py"]
    options += ["--data", args.data[0]] if args.data else []
    options += [f"--data.cache={cache}"] if cache and args.data else []
    options += [f"--style={args.style}"] if args.style else []
    options += shlex.split(TRAINING[device])
    options += shlex.split(SMOKE["train"]) if args.smoke else []
    command = ["jaxperceptual", "train", *options, "--workdir", str(workdir)]
    header = provenance.header(shlex.join(command))
    report = {"header": header, "seconds": start(*command)}
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    report["log"] = [json.loads(line) for line in lines]
    report["config"] = json.loads((workdir / "config.json").read_text())["config"]
    files.write_text(path, json.dumps(report, indent=1) + "\n")


def run_gallery(args, device, name, path):
    """Many styles in one network against one: the rates of both, in turns."""
    options = shlex.split(RATES) + shlex.split(SMOKE["gallery"] if args.smoke else "")
    rates: dict[str, list[float]] = {}
    for _ in range(1 if args.smoke else 3):
        for kind, config in GALLERY.items():
            with tempfile.TemporaryDirectory() as folder:
                given = ["train", "--config", config, *options]
                start("jaxperceptual", *given, "--workdir", folder)
                *_, last = (Path(folder) / "metrics.jsonl").read_text().splitlines()
            rates.setdefault(kind, []).append(json.loads(last)["images_per_second"])
    command = ["jaxperceptual", "train", "--config", GALLERY["gallery"], *options]
    report = {"header": provenance.header(shlex.join(command)), "rates": rates}
    files.write_text(path, json.dumps(report, indent=1) + "\n")


def run_twice(args, device, name, path):
    """One photo's command at two starts, the first with an empty compilation cache."""
    with tempfile.TemporaryDirectory() as folder:
        options = ["--size", "64" if args.smoke else "256", "-o", f"{folder}/out.png"]
        photo = str(STYLES / "cubist.png")
        command = ["jaxperceptual", "stylize", *options, photo]
        environment = os.environ | {"XDG_CACHE_HOME": f"{folder}/cache"}
        environment.pop("JAX_COMPILATION_CACHE_DIR", None)
        report = {
            "header": provenance.header(shlex.join([*command[:4], "PHOTO"])),
            "seconds": [start(*command, environment=environment) for _ in range(2)],
        }
    files.write_text(path, json.dumps(report, indent=1) + "\n")


def run_first_picture(args, device, name, path):
    """From the command to the file, by `first_picture`."""
    if not args.data:
        raise InputError("no --data: photos to stylise; give a folder.")
    options = ["--data", args.data[0], "-o", str(path.with_suffix(""))]
    options += shlex.split(SMOKE["first-picture"]) if args.smoke else []
    start("jaxperceptual.benchmarks.first_picture", *options)


def run_precisions(args, device, name, path):
    """What bfloat16 costs in the objective, by `precisions`."""
    if not args.held:
        raise InputError("no --held: photos to judge precisions by; give a folder.")
    options = ["--content", args.held, "-o", str(path.with_suffix(""))]
    options += ["--data", args.data[0]] if args.data else []
    options += [f"--config.style_image={args.style}"] if args.style else []
    options += shlex.split(SMOKE["precisions"] if args.smoke else PRECISIONS)
    start("jaxperceptual.benchmarks.precisions", *options)


def start(module: str, *arguments: str, environment=None) -> float:
    """Seconds that `python -m` took. InputError if it failed; it has said why."""
    command = [sys.executable, "-m", module, *arguments]
    began = time.monotonic()
    code = subprocess.run(command, env=environment).returncode
    if code:
        raise InputError(f"{shlex.join(command)} ended with {code}; see above.")
    return time.monotonic() - began


# --- goals ---------------------------------------------------------------------------

# What was aimed at, what came out, and whether that is enough; None: beside the point.
Row = tuple[str, str, bool | None]


def markdown(device: str, found: dict[str, dict], command: str) -> str:
    """The table of goals, over what it was measured on."""
    parts = [f"`{command}`", ""]
    headers = [report["header"] for report in found.values()]
    for where in sorted({header["device"] for header in headers}):
        here = [header for header in headers if header["device"] == where]
        versions = ", ".join(f"{k} {v}" for k, v in here[0]["versions"].items())
        commits = ", ".join(sorted({header["commit"] for header in here}))
        dates = ", ".join(sorted({header["date"][:10] for header in here}))
        parts.append(f"{where}; {versions}; commit {commits}; {dates}.")
    parts += ["", "| goal | measured | met |", "|---|---|---|"]
    for goal, measured, met in rows(device, found):
        said = {True: "yes", False: "**no**", None: ""}[met]
        parts.append(f"| {goal} | {measured} | {said} |")
    return "\n".join(parts) + "\n"


def rows(device: str, found: dict[str, dict]) -> Iterator[Row]:
    """Every goal that what was `found` has something to say of, by name of a piece."""
    of_row = {"cpu": cpu_rows, "gpu": gpu_rows}[device]
    for name, report in found.items():
        if name not in ("table1", "input"):
            for row in report.get("results", ()):
                yield from of_row(row)
    yield from shared_rows(found)
    if device == "gpu" and "training" in found:
        steps = found["training"]["config"]["num_steps"]
        seconds = found["training"]["seconds"]
        measured = f"{seconds:.0f} s for {steps:,}, compiling included"
        met = seconds < 180 if steps == 40_000 else None
        yield "the paper's 40,000 iterations of batch 4: 180 s", measured, met
    if "precisions" in found:
        yield from change_of_precision(found["precisions"])


# Times the best reference's.
RATIOS = {"inference": 1.25, "train": 1.3, "gatys iteration": 1.4}


def cpu_rows(row: dict[str, Any]) -> Iterator[Row]:
    """Of one piece of work: its ratio, no more memory, compiling."""
    work, variants = title(row), row["variants"]
    goal = RATIOS[row["work"]]
    if "ratio" not in row:
        yield f"{work}: {goal}", row["disagreement"] or "no reference", False
        return
    ours, best = variants["jax"], variants[row["best_reference"]]
    times = f"{ms(ours['median_ms'])} against {ms(best['median_ms'])}"
    times += f", {row['best_reference']}"
    yield f"{work}: {goal}", f"**{row['ratio']:.2f}** ({times})", row["ratio"] >= goal
    if "median_ms" in (shared := variants.get("jax, canvas", {})):
        more = shared["median_ms"] / ours["median_ms"] - 1
        yield "by a program that sizes share: 3 % more", f"{more:+.1%}", more <= 0.03
    for key, what in (
        ("memory_mib", "its memory, loading and compiling included"),
        ("process_mib", "the whole process with it"),
    ):
        theirs = {
            name: found[key]
            for name, found in variants.items()
            if not name.startswith("jax") and key in found
        }
        if theirs and key in ours:
            least = min(theirs, key=theirs.__getitem__)
            measured = f"{ours[key]} MiB against {theirs[least]} ({least})"
            goal = f"{what}: no more than the least reference's"
            yield goal, measured, ours[key] <= theirs[least]
    if row["work"] == "train":
        compiling = ours["first_call_s"] - ours["median_ms"] / 1000
        yield "its compiling: 8 s", f"{compiling:.1f} s", compiling < 8


def gpu_rows(row: dict[str, Any]) -> Iterator[Row]:
    """Of one piece of work: 1.5 times PyTorch eager, 1.1 times its compiler; 3 ms."""
    work, variants = f"{title(row)}, {row['precision']}", row["variants"]
    if row["disagreement"] or "median_ms" not in variants["jax"]:
        yield f"{work}: to agree", row["disagreement"] or "not timed", False
        return
    ours = variants["jax"]["median_ms"]
    eager = [
        found["median_ms"]
        for name, found in variants.items()
        if name in ("torch", "torch, channels last") and "median_ms" in found
    ]
    if eager:
        times = f"({ms(ours)} against {ms(min(eager))})"
        ratio = min(eager) / ours
        goal = f"{work}: 1.5 times PyTorch eager, the better layout"
        yield goal, f"**{ratio:.2f}** {times}", ratio >= 1.5
    if "median_ms" in (compiled := variants.get("torch.compile", {})):
        times = f"({ms(ours)} against {ms(compiled['median_ms'])})"
        ratio = compiled["median_ms"] / ours
        goal = f"{work}: 1.1 times torch.compile"
        yield goal, f"**{ratio:.2f}** {times}", ratio >= 1.1
    if row["work"] == "inference" and row["size"] == 1024:
        yield f"{work}: 3 ms", ms(ours), ours < 3


def shared_rows(found: dict[str, dict]) -> Iterator[Row]:
    """Of the loader, the log and the cache."""
    if "input" in found and (eaten := found["input"]["eaten"]):
        rates = [row["images_per_second"] for row in found["input"]["input"]]
        names = [
            row["source"] + (", cached" if row["cached"] else "")
            for row in found["input"]["input"]
        ]
        said = "; ".join(
            f"{rate:,.0f} {name}" for rate, name in zip(rates, names, strict=True)
        )
        times = min(rates) / eaten
        measured = f"{times:,.1f} times or more: {said} images/s, {eaten:,.1f} eaten"
        yield "the loader alone, of what a step eats: 2", measured, times >= 2
    if "training" in found:
        waits = [line["input_wait"] for line in found["training"]["log"]]
        waits = [wait for wait in waits if wait is not None]
        rate = statistics.median(
            line["images_per_second"]
            for line in found["training"]["log"]
            if line["images_per_second"]
        )
        measured = f"{max(waits):.1%} at most in a line, {rate:,.1f} images/s"
        yield "input wait of a training's log: 2 %", measured, max(waits) < 0.02
    if "first-picture" in found:
        yield from first_pictures(found["first-picture"])
    if "first-picture" in found and "half-width" in found:
        yield folder_alone(found["first-picture"], found["half-width"]["results"])
    if "gallery" in found:
        medians = {
            k: statistics.median(v) for k, v in found["gallery"]["rates"].items()
        }
        ours, one = (medians[kind] for kind in GALLERY)
        measured = f"**{ours / one:.2f}** ({ours:.3g} against {one:.3g} images/s)"
        yield "the gallery's step, per image, of one style's: 1", measured, ours >= one
    if "second-start" in found:
        first, second = found["second-start"]["seconds"]
        command = found["second-start"]["header"]["command"]
        measured = f"`{command}`: {first:.1f} s, then {second:.1f} s"
        yield "the second start reads the cache", measured, second < first


def first_pictures(report: dict[str, Any]) -> Iterator[Row]:
    """Of whole processes: one photo and a folder."""
    of = {
        work: {way: statistics.median(times) for way, times in report[work].items()}
        for work in ("photo", "folder")
    }
    for work, way, peer, most in (
        ("photo", SECOND, "onnxruntime", 1.5),
        ("photo", NOTHING_CACHED, "onnxruntime", 3.0),
        ("folder", NOTHING_CACHED, "openvino", 1.0),
        ("folder", SECOND, "openvino", 0.8),
    ):
        if peer not in of[work]:
            continue
        ours, theirs = of[work][way], of[work][peer]
        goal = f"{way}, {work}: at most {most} times {peer}"
        measured = f"**{ours / theirs:.2f}** ({ours:.1f} s against {theirs:.1f} s)"
        yield goal, measured, ours <= most * theirs


def folder_alone(report: dict[str, Any], results: list[dict[str, Any]]) -> Row:
    """How much of a folder's time the network alone would take, by its rate at 512 px
    (`results` are of the network that ships, warm)."""
    size = 512
    (row,) = (r for r in results if (r["work"], r["size"]) == ("inference", size))
    each = row["variants"]["jax"]["median_ms"] / 1000
    alone = each * report["megapixels"] * 1e6 / size**2
    ours = statistics.median(report["folder"][SECOND])
    goal = f"{SECOND}, folder: 0.85 of the network's own rate at {size} x {size}"
    measured = f"**{alone / ours:.2f}** ({alone:.1f} s of {ours:.1f} s)"
    return goal, measured, alone >= 0.85 * ours


def change_of_precision(report: dict[str, Any]) -> Iterator[Row]:
    """bfloat16's mean objective on held photos over float32's, of what was compared."""
    means = {
        kind: statistics.fmean(v for values in seeds.values() for v in values.values())
        for kind, seeds in report["objective"].items()
    }
    change = means["bfloat16"] / means["float32"] - 1
    goal = "bfloat16's final objective on held photos: within 1 % of float32's"
    yield goal, f"{change:+.2%}", abs(change) <= 0.01


def title(row: dict[str, Any]) -> str:
    """What a piece of work is, in words."""
    size = row["size"]
    if row["work"] == "gatys iteration":
        return f"Gatys iteration, {size} x {size}"
    kind = "batch norm" if row["norm"] == "batch" else "instance norm"
    net = f"{kind}, {row['upsample']}"
    if row.get("width", 1) != 1:
        net += f", width {row['width']}"
    if "factor" in row:
        net += f", x{row['factor']}"
    if row["work"] == "train":
        return f"training step, {row['batch_size']} x {size} x {size}, {net}"
    return f"inference, {size} x {size}, {net}"


def ms(value: float) -> str:
    """Milliseconds, or seconds where they are many."""
    return f"{value / 1000:.2f} s" if value >= 1000 else f"{value:.3g} ms"


if __name__ == "__main__":
    cli.main(sys.modules[__name__], sys.argv[1:])
