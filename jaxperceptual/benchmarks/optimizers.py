"""The baseline's optimiser against SciPy's L-BFGS-B and PyTorch's L-BFGS, clamped.

    python -m jaxperceptual.benchmarks.optimizers --content FOLDER -o OUT

All minimise the same function (this package's objective and gradient, float32) from the
same white noise, and pay one evaluation for each value and gradient. What counts after
N evaluations is the lowest value that any of them had, at pixels within [0, 255]. Needs
the extra `reference`. Writes OUT.json (every value) and OUT.md.
"""

import argparse
import json
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
import scipy.optimize
import torch

from jaxperceptual.baseline.photos import read_photos
from jaxperceptual.baseline.pixels import PixelOptimizer, white_noise
from jaxperceptual.core import cli, config_files, files, provenance
from jaxperceptual.core.progress import Bar
from jaxperceptual.losses.goal import Goal, build_goal
from jaxperceptual.losses.style_image import read_style

MARKS = (100, 300, 500)


class Enough(Exception):
    """The evaluations are used up."""


class Problem(NamedTuple):
    """The objective of one photo over the pixels, and where to start."""

    goal: Goal
    target: np.ndarray
    start: np.ndarray
    value_and_grad: Callable  # pixels -> (float, float32 array); raises Enough
    seen: Callable  # for methods that evaluate by themselves: (value); raises Enough


def projected_lbfgs(problem, **options):
    """`ProjectedLBFGS`, one evaluation an update."""
    goal = problem.goal
    optimizer = PixelOptimizer(goal.objective, **options)
    target = problem.target[None]
    step, frozen = optimizer.start(problem.start[None], goal.frozen, target)
    problem.seen(float(step.state.value[0]))
    while True:
        step, trace = optimizer.advance(step, frozen, target, 1)
        problem.seen(float(trace.objective[-1, 0]))


def scipy_lbfgsb(problem, pairs):
    """SciPy's L-BFGS-B (float64 inside), not ending of itself."""

    def fun(x):
        value, grad = problem.value_and_grad(x.reshape(problem.start.shape))
        return value, grad.astype(np.float64).ravel()

    scipy.optimize.minimize(
        fun,
        problem.start.astype(np.float64).ravel(),
        jac=True,
        method="L-BFGS-B",
        bounds=[(0, 255)] * problem.start.size,
        options=dict(maxfun=10**9, maxiter=10**9, maxcor=pairs, ftol=0, gtol=0),
    )


def torch_lbfgs(problem, line_search):
    """`torch.optim.LBFGS`, history 100, pixels clamped before each evaluation."""
    x = torch.from_numpy(problem.start.copy()).requires_grad_()
    optimizer = torch.optim.LBFGS(
        [x],
        max_iter=10**9,
        max_eval=10**9,
        history_size=100,
        tolerance_grad=0,
        tolerance_change=0,
        line_search_fn=line_search,
    )

    def closure():
        with torch.no_grad():
            x.clamp_(0, 255)
        value, grad = problem.value_and_grad(x.detach().numpy())
        x.grad = torch.from_numpy(grad)
        return torch.tensor(value)

    optimizer.step(closure)


METHODS = {
    "ProjectedLBFGS": (projected_lbfgs, {}),
    "ProjectedLBFGS, backtracking": (projected_lbfgs, {"linesearch": "backtracking"}),
    "ProjectedLBFGS, no metric": (projected_lbfgs, {"metric": None}),
    "plain L-BFGS, clipped": (
        projected_lbfgs,
        {"metric": None, "projection": "clip"},
    ),
    "SciPy L-BFGS-B, 10 pairs": (scipy_lbfgsb, {"pairs": 10}),
    "SciPy L-BFGS-B, 20 pairs": (scipy_lbfgsb, {"pairs": 20}),
    "PyTorch L-BFGS, clamped": (torch_lbfgs, {"line_search": None}),
    "PyTorch L-BFGS, clamped, strong Wolfe": (
        torch_lbfgs,
        {"line_search": "strong_wolfe"},
    ),
}


def parser() -> cli.Parser:
    made = cli.Parser(
        prog="python -m jaxperceptual.benchmarks.optimizers", description=__doc__
    )
    add = made.add_argument
    add("--config", default="style_muse.py", help="(default: %(default)s)")
    add("--style", help="the style image")
    add("--content", required=True, help="a folder of photos")
    add("--num", type=int, default=3, help="photos (default: %(default)s)")
    add("--size", type=int, default=256, help="px (default: %(default)s)")
    add("--evaluations", type=int, default=500)
    add("--methods", nargs="+", choices=METHODS, default=[*METHODS])
    add("-o", "--output", required=True, help="OUT.json, OUT.md")
    return made


def run(args: argparse.Namespace) -> None:
    config = config_files.load_config(args.config)
    if args.style:
        config.style_image = args.style
    style = read_style(config)
    print(style.line)
    goal = build_goal(config, style)
    photos, _ = read_photos([args.content], args.size, args.num)
    header = provenance.header(args.command)
    evaluate = jax.jit(
        jax.value_and_grad(
            lambda x, *rest: goal.objective(rest[0], x[None], rest[1])[0]
        )
    )
    curves = {name: [] for name in args.methods}
    total = len(photos) * len(args.methods) * args.evaluations
    with Bar(total=total, unit="evaluation") as bar:
        for index, photo in enumerate(photos):
            target = photo.pixels.astype(np.float32)
            content = goal.objective.content_targets(goal.frozen.vgg, target[None])
            fixed = goal.frozen._replace(content=content), target[None]
            for name in args.methods:
                values: list[float] = []
                bar.set_description(f"{photo.name}, {name}")

                def seen(value, values=values):
                    values.append(value)
                    bar.update()
                    if len(values) >= args.evaluations:
                        raise Enough

                def value_and_grad(pixels, fixed=fixed, seen=seen):
                    value, grad = evaluate(pixels.astype(np.float32), *fixed)
                    seen(float(value))
                    return float(value), np.array(grad)

                method, options = METHODS[name]
                start = white_noise(index, args.size)
                try:
                    method(
                        Problem(goal, target, start, value_and_grad, seen), **options
                    )
                except Enough:
                    pass
                curves[name].append(values)
            write(args, header, photos[: index + 1], curves)
    print(Path(f"{args.output}.md").read_text())


def write(args, header, photos, curves):
    """What there is so far: all values as JSON, and a table of means."""
    report = {
        "header": header,
        "size": args.size,
        "photos": [photo.path.name for photo in photos],
        "values": curves,
    }
    files.write_text(Path(f"{args.output}.json"), json.dumps(report) + "\n")
    versions = ", ".join(f"{k} {v}" for k, v in header["versions"].items())
    marks = [n for n in MARKS if n < args.evaluations] + [args.evaluations]
    lines = [
        f"`{header['command']}`",
        "",
        f"{header['device']}, {header['cores']} cores; {versions}; commit "
        f"{header['commit']}; {header['date']}.",
        f"Means over {len(photos)} photos at {args.size} px of the lowest objective "
        "within the first N evaluations.",
        "",
        "| method | " + " | ".join(f"N = {n}" for n in marks) + " |",
        "|---|" + "--:|" * len(marks),
    ]
    for name, values in curves.items():
        # A method that ended before N stays at its lowest.
        means = [statistics.mean(min(v[:n]) for v in values) for n in marks]
        lines.append(f"| {name} | " + " | ".join(f"{m:,.0f}" for m in means) + " |")
    files.write_text(Path(f"{args.output}.md"), "\n".join(lines) + "\n")


if __name__ == "__main__":
    cli.main(sys.modules[__name__], sys.argv[1:])
