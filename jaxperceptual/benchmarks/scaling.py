"""What many devices exchange in a training step, and what that takes of its time.

    python -m jaxperceptual.benchmarks.scaling --config style_muse.py

Counted are the bytes of every all-reduce in the program that XLA makes of the pmapped
step, for simulated CPU devices; they do not depend on the number of devices or on the
batch. The rest is arithmetic, and called so: a ring moves 2 (n - 1) / n times as many
bytes over each device's link, one after another with the step, in which nothing of it
is hidden.
"""

import argparse
import contextlib
import math
import re
import sys

from jaxperceptual.core import cli

CACHED = False
DEVICES = 2  # simulated
LINKS = {  # bytes/s each way, by their makers' names
    "NVLink 4 (450 GB/s)": 450e9,
    "InfiniBand NDR (50 GB/s)": 50e9,
    "Ethernet, 100 Gbit/s": 12.5e9,
    "Ethernet, 10 Gbit/s": 1.25e9,
}
COUNTS = (2, 8, 64)
_BYTES = dict(f32=4, s32=4, u32=4, bf16=2, f16=2, f64=8, u8=1, pred=1)
_REDUCE = re.compile(r"= (.*?) all-reduce(?:-start)?\(")
SHAPE = re.compile(r"(\w+)\[([\d,]*)\]")


def parser() -> cli.Parser:
    made = cli.Parser(
        prog="python -m jaxperceptual.benchmarks.scaling",
        description=__doc__,
        allow_abbrev=False,
        settings=["data"],
    )
    add = made.add_argument
    add("--config", nargs="+", default=["style_muse.py"], help="of style networks")
    add("--step", type=float, default=0.05, help="s of a step on one device")
    return made


def join(args: argparse.Namespace) -> None:
    """Simulated devices, before JAX looks for any."""
    del args
    import jax

    with contextlib.suppress(RuntimeError):  # it has looked
        jax.config.update("jax_platforms", "cpu")
        jax.config.update("jax_num_cpu_devices", DEVICES)


def run(args: argparse.Namespace) -> int:
    from jaxperceptual.core import config_files

    print("| config | all-reduces | MB a step | of them gradient |")
    print("|---|--:|--:|--:|")
    most = 0
    for name in args.config:
        config = config_files.load_config(name)
        config_files.override_all(config, args.settings)
        sizes, gradient = reduced(config)
        most = max(most, sum(sizes))
        print(
            f"| {name} | {len(sizes)} | {sum(sizes) / 1e6:.2f} | {gradient / 1e6:.2f} |"
        )
    print(f"\nBy arithmetic, for {most / 1e6:.2f} MB and a step of {args.step} s:\n")
    print("| link | " + " | ".join(f"{n} devices" for n in COUNTS) + " |")
    print("|---" * (1 + len(COUNTS)) + "|")
    for link, rate in LINKS.items():
        seconds = [2 * (n - 1) / n * most / rate for n in COUNTS]
        cells = (f"{1e3 * s:.2f} ms, {s / (s + args.step):.1%}" for s in seconds)
        print(f"| {link} | " + " | ".join(cells) + " |")
    return 0


def reduced(config) -> tuple[list[int], int]:
    """Bytes of each all-reduce in a step of the config, and of its gradient."""
    import jax
    import numpy as np

    from jaxperceptual.training.devices import devices_for, replicate
    from jaxperceptual.training.run import prepare
    from jaxperceptual.training.step import init_state, make_train_step

    config.data.batch_size = DEVICES
    size = config.data.image_size = min(config.data.image_size, 64)
    made = prepare(config)
    devices = devices_for(config.data.batch_size)
    state = init_state(jax.random.key(0), made.net, made.tx, made.input_size)
    step = make_train_step(
        made.net,
        made.goal.objective,
        made.tx,
        devices=devices,
        degradation=made.degradation,
        styles=made.taught(),
        steady_weight=config.get("steady_weight", 0.0),
    )
    images = np.zeros((len(devices), 1, 1, size, size, 3), np.uint8)
    arguments = (replicate(state, devices), replicate(made.goal.frozen, devices))
    program = step.lower(*arguments, images).compile().as_text()
    gradient = sum(4 * leaf.size for leaf in jax.tree.leaves(state.params))
    return bytes_of(program), gradient


def bytes_of(program: str) -> list[int]:
    """Of each all-reduce in a program's text (HLO)."""
    return [num_bytes(shapes) for shapes in _REDUCE.findall(program)]


def num_bytes(text: str) -> int:
    """Of all arrays that a piece of HLO's text names."""
    return sum(
        _BYTES[kind] * math.prod(int(n) for n in sides.split(",") if n)
        for kind, sides in SHAPE.findall(text)
    )


if __name__ == "__main__":
    cli.main(sys.modules[__name__], sys.argv[1:])
