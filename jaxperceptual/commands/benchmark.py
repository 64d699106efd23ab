"""Measures table 1 of the paper, or pieces of work, also against other programs."""

import argparse
import dataclasses

from jaxperceptual.benchmarks.options import Options
from jaxperceptual.core import cli

CACHED = False  # it shows how long compiling takes

DETAILS = """\
Without --train, --inference, --gatys or --input: table 1. For each size the seconds of
100, 300 and 500 iterations of the baseline (Gatys et al.) and of the config's network,
and the speed-ups; the paper's own numbers stand below. Where --budget does not pay for
all iterations, stretches of n and 2 n are timed, and the table says whether an
iteration takes the same in both; what is extrapolated bears a ~.

All variants of a piece of work have the same weights and inputs, must compute the same
numbers before they are timed, are warm, and take turns; what is short is done several
times in a turn, of 0.4 s of ours or longer. The ratio is the best median of the
reference over ours; what the first call took (compiling) stands apart. Measure on an
idle machine: the header shows its load.

Exit status: 0; 1 if two variants disagree (they get no ratio); 2 for bad input."""


def run(args: argparse.Namespace) -> int:
    import os

    from jaxperceptual.benchmarks.run import benchmark

    # JAX would take most of a GPU, on which PyTorch and the processes that count
    # memory want some too.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

    names = [field.name for field in dataclasses.fields(Options)]
    given = {name: getattr(args, name) for name in names}
    lists = {name: tuple(v) for name, v in given.items() if isinstance(v, list)}
    options = Options(**(given | lists))
    return benchmark(options, args.output, args.command)


def parser() -> cli.Parser:
    made = cli.Parser(
        prog="benchmark",
        description=__doc__,
        epilog=DETAILS,
    )
    add, usual = made.add_argument, Options()

    def listed(values):
        return f"(default: {' '.join(map(str, values))})"

    add("--train", action="store_true", help="a whole training step")
    add("--inference", action="store_true", help="one image through the network")
    add("--gatys", action="store_true", help="one iteration of the baseline")
    add("--input", action="store_true", help="the loader alone, images/s")
    add(
        "--data",
        nargs="+",
        metavar="SOURCE",
        help=f"of --input: folders, .tar, tfds:NAME, embedded {listed(usual.data)}",
    )
    add(
        "--reference",
        nargs="+",
        metavar="NAME",
        help="also measure: torch; openvino, onnxruntime (inference in float32 on a "
        "CPU); pip install 'jaxperceptual[reference]'",
    )
    add(
        "--sizes",
        type=int,
        nargs="+",
        metavar="PX",
        help=f"of all but training {listed(usual.sizes)}",
    )
    add(
        "--train-size",
        type=int,
        metavar="PX",
        help="also of --input (default: %(default)s)",
    )
    add(
        "--norms",
        nargs="+",
        metavar="NORM",
        help=f"of --train and --inference {listed(usual.norms)}",
    )
    add(
        "--upsamplings",
        nargs="+",
        metavar="KIND",
        help=f"of --train and --inference {listed(usual.upsamplings)}",
    )
    add(
        "--batch-size",
        type=int,
        metavar="N",
        help="of training and input (default: %(default)s); inference takes one image",
    )
    add(
        "--repeats",
        type=int,
        metavar="N",
        help="timed runs of each variant (default: %(default)s)",
    )
    add(
        "--budget",
        type=float,
        metavar="S",
        help="table 1: seconds for timing iterations at each size, all variants and "
        "repeats together; three iterations a repeat are the least (default: "
        "%(default)s)",
    )
    add("--full", action="store_true", help="table 1: all 500, whatever they take")
    add(
        "--forms",
        action="store_true",
        help="also ours without the CPU forms (XLA's flag, which holds for the whole "
        "process, stays as it is), and by a program that sizes share",
    )
    add(
        "--no-compile",
        dest="compiled",
        action="store_false",
        help="leave out torch.compile, which takes minutes to compile",
    )
    add(
        "--precision",
        metavar="NAME",
        help="float32, tf32 or bfloat16, for which PyTorch's is autocast (default: "
        "%(default)s)",
    )
    add(
        "--no-memory",
        dest="memory",
        action="store_false",
        help="leave out peak memory, for which each variant runs in a new process",
    )
    add(
        "--config",
        help="its network (of --train and --inference only the width), objective, VGG "
        "and learning rate (default: %(default)s)",
    )
    add(
        "-o",
        "--output",
        metavar="OUT",
        help="a folder for table1.md and .json, or benchmark.md and .json",
    )
    made.set_defaults(**vars(usual))
    return made
