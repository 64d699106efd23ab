"""What XLA makes of our programs for an H200, and what that has to take by arithmetic.

    pip install 'jax[cuda12]'
    python -m jaxperceptual.benchmarks.gpu_programs --config style_muse.py gallery.py

Nothing runs, and no GPU is needed: XLA compiles for a description of one. Looked at are
its calls of cuDNN, the largest filter among them, maps that are only turned around, and
memory. The time is arithmetic: for each call and fusion, the longer of what its
multiplications take at the peak rate and what its bytes take at the memory's bandwidth,
one after another. What a device can do no program beats; how near ours comes, only a
GPU can tell.
"""

import argparse
import math
import re
import sys
import time
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from jaxperceptual.benchmarks.scaling import SHAPE, num_bytes
from jaxperceptual.core import cli
from jaxperceptual.core.errors import InputError

CACHED = False
# NVIDIA's data sheet: dense multiply-adds count twice.
RATES = {"float32": 67e12, "tf32": 494.7e12, "bfloat16": 989.4e12}  # FLOP/s
BANDWIDTH = 4.8e12  # bytes/s
# As XLA describes a device (GpuTargetConfigProto).
H200 = """
gpu_device_info {
  threads_per_block_limit: 1024
  threads_per_warp: 32
  shared_memory_per_block: 49152
  shared_memory_per_core: 233472
  threads_per_core_limit: 2048
  core_count: 132
  fpus_per_core: 128
  block_dim_limit_x: 2147483647
  block_dim_limit_y: 65535
  block_dim_limit_z: 65535
  memory_bandwidth: 4800000000000
  l2_cache_size: 52428800
  clock_rate_ghz: 1.98
  device_memory_size: 151397597184
  shared_memory_per_block_optin: 232448
  cuda_compute_capability { major: 9 }
  registers_per_core_limit: 65536
  registers_per_block_limit: 65536
}
platform_name: "CUDA"
dnn_version_info { major: 9 minor: 10 }
runtime_version { major: 12 minor: 8 }
device_description_str: "NVIDIA H200"
"""
# Choosing cuDNN's algorithms takes a device.
_OPTIONS = {"xla_gpu_autotune_level": 0}
_LINE = re.compile(r"^ *(?:ROOT )?%(\S+) = (.*?) ([\w-]+)\((.*?)\)(.*)$")
_WINDOW = re.compile(r"window=\{size=(\d+)x(\d+)")
# Seen as one with what uses them, or of no work.
_FREE = ("parameter", "constant", "get-tuple-element", "tuple", "bitcast")


class Call(NamedTuple):
    """One operation of a program: what it is, its work, and its largest filter side."""

    name: str  # "convForward", "fusion", ...
    flops: float
    bytes: int
    filter: int
    layer: str  # of f_W, "up2"; "loss network"; or "the rest": losses, Adam

    def seconds(self, rate: float) -> float:
        return max(self.flops / rate, self.bytes / BANDWIDTH)


def parser() -> cli.Parser:
    made = cli.Parser(
        prog="python -m jaxperceptual.benchmarks.gpu_programs",
        description=__doc__,
        allow_abbrev=False,
        settings=["data"],
    )
    add = made.add_argument
    add("--config", nargs="+", default=["style_muse.py"])
    add("--precision", nargs="+", choices=[*RATES], default=["bfloat16"])
    add("--layers", action="store_true", help="a line for each layer too")
    return made


def join(args: argparse.Namespace) -> None:
    """What runs here does so on the CPU, which the plugin has to know as it starts."""
    del args
    import jax

    jax.config.update("jax_platforms", "cpu")


def run(args: argparse.Namespace) -> int:
    from jaxperceptual.core import config_files

    device = described()
    print(
        "| work | precision | cuDNN calls | largest filter | MB turned around | "
        "GFLOP | GB moved | ms by arithmetic | MB of working memory | s to compile |"
    )
    print("|---|---|--:|--:|--:|--:|--:|--:|--:|--:|", flush=True)
    for name in args.config:
        for precision in args.precision:
            config = config_files.load_config(name)
            settings = [*args.settings, f"precision={precision}"]
            config_files.override_all(config, settings)
            size = config.data.image_size
            work = f"step of {config.data.batch_size} x {size} px, {name}"
            began = time.perf_counter()
            compiled = compiled_step(config, device)
            seconds = time.perf_counter() - began
            calls = list(calls_of(compiled.as_text()))
            print(row(work, precision, calls, compiled, seconds), flush=True)
            if args.layers:
                print(by_layer(calls, RATES[precision]))
    return 0


def described():
    """The device that XLA compiles for; InputError without JAX's plugin for CUDA."""
    from jax.experimental import topologies

    try:
        made = topologies.get_topology_desc(
            "h200", "cuda", target_config=H200, topology="1x1x1"
        )
    except Exception as error:  # of many kinds, by what is missing
        reason = str(error).strip().partition("\n")[0]
        raise InputError(
            f"no compiler for CUDA ({reason}); pip install 'jax[cuda12]'."
        ) from error
    return made.devices[0]


def compiled_step(config, device):
    """The training step of a config, compiled for the device."""
    import jax
    import numpy as np
    from jax.sharding import Mesh, NamedSharding, PartitionSpec

    from jaxperceptual.ops import choice
    from jaxperceptual.training.devices import DEVICES
    from jaxperceptual.training.run import prepare
    from jaxperceptual.training.step import init_state, make_train_step

    with choice.forms("plain"):
        made = prepare(config)
        state = init_state(jax.random.key(0), made.net, made.tx, made.input_size)
        step = make_train_step(
            made.net,
            made.goal.objective,
            made.tx,
            devices=jax.local_devices()[:1],
            degradation=made.degradation,
            styles=made.taught() if made.styles else (),
            steady_weight=config.get("steady_weight", 0.0),
        )
        # What is pmapped, over a mesh: pmap wants a device that is there.
        mesh = Mesh(np.array([device]), (DEVICES,))
        everywhere = NamedSharding(mesh, PartitionSpec())
        dispatch = jax.jit(
            jax.shard_map(
                lambda *arguments: step.__wrapped__(*arguments),
                mesh=mesh,
                in_specs=PartitionSpec(),
                out_specs=PartitionSpec(),
                check_vma=False,
            ),
            donate_argnums=0,
        )
        size = config.data.image_size
        images = np.zeros((1, config.data.batch_size, size, size, 3), np.uint8)
        arguments = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(
                np.shape(x), np.asarray(x).dtype, sharding=everywhere
            ),
            (state, made.goal.frozen, images),
        )
        with made.goal.products():
            lowered = dispatch.trace(*arguments).lower(lowering_platforms=("cuda",))
            return lowered.compile(compiler_options=_OPTIONS)


def calls_of(program: str) -> Iterator[Call]:
    """What a program (the text of its HLO) does, operation by operation."""
    _, _, entry = program.partition("\nENTRY ")
    shapes: dict[str, str] = {}
    for line in entry.splitlines():
        if not (found := _LINE.match(line)):
            continue
        name, result, kind, inputs, rest = found.groups()
        shapes[name] = result
        if kind in _FREE:
            continue
        operands = [shapes.get(x, "") for x in re.findall(r"%([\w.-]+)", inputs)]
        moved = sum(map(num_bytes, (result, *operands)))
        flops, window = 0.0, 0
        if target := re.search(r'custom_call_target="([^"]+)"', rest):
            kind = target[1].removeprefix("__cudnn$")
        if kind.startswith("conv"):
            flops = _of_convolution(kind, result, operands)
            window = max(map(int, _WINDOW.search(rest).groups()), default=0)
        elif kind == "fusion" and "transpose" in name:
            kind = "transpose"
        yield Call(kind, flops, moved, window, _layer(rest))


def _layer(told: str) -> str:
    """Whose an operation is, by the name that JAX gave it."""
    if found := re.search(r"(?:StyleNet|SuperResolutionNet)\)*/(\w+)", told):
        return found[1]
    return "loss network" if "VGG16" in told or "AlexNet" in told else "the rest"


def _of_convolution(kind, result, operands) -> float:
    """Two for each multiplication; of `[n h w c]` and filters `[o kh kw i]`."""
    if "BackwardFilter" in kind:
        kernel, outputs = result, operands[1]
    elif "BackwardInput" in kind:
        kernel, outputs = operands[1], operands[0]
    else:
        kernel, outputs = operands[1], result
    *positions, _ = _sides(outputs)
    return 2.0 * math.prod(positions) * math.prod(_sides(kernel))


def _sides(text: str) -> list[int]:
    """Of the first array in the text."""
    found = SHAPE.search(text)
    return [int(n) for n in found[2].split(",") if n] if found else []


def row(work, precision, calls, compiled, seconds) -> str:
    convolutions = [c for c in calls if c.name.startswith("conv")]
    kinds = Counter(c.name for c in convolutions)
    turned = sum(c.bytes // 2 for c in calls if c.name in ("transpose", "copy"))
    cells = (
        work,
        precision,
        ", ".join(f"{n} {kind.removeprefix('conv')}" for kind, n in kinds.items()),
        max(c.filter for c in convolutions),
        f"{turned / 1e6:.0f}",
        f"{sum(c.flops for c in calls) / 1e9:.0f}",
        f"{sum(c.bytes for c in calls) / 1e9:.2f}",
        f"{1e3 * sum(c.seconds(RATES[precision]) for c in calls):.2f}",
        f"{compiled.memory_analysis().temp_size_in_bytes / 1e6:.0f}",
        f"{seconds:.0f}",
    )
    return f"| {' | '.join(map(str, cells))} |"


def by_layer(calls, rate) -> str:
    layers: dict[str, list[Call]] = {}
    for call in calls:
        layers.setdefault(call.layer, []).append(call)
    lines = ["", "| layer | GFLOP | MB moved | ms |", "|---|--:|--:|--:|"]
    for name, some in sorted(layers.items()):
        cells = (
            name,
            f"{sum(c.flops for c in some) / 1e9:.1f}",
            f"{sum(c.bytes for c in some) / 1e6:.0f}",
            f"{1e3 * sum(c.seconds(rate) for c in some):.3f}",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    cli.main(sys.modules[__name__], sys.argv[1:])
