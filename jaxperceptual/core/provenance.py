"""Where, when and with what something was measured: the head of every table."""

import datetime
import os
import platform
import subprocess
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import jax

from jaxperceptual.core import machine

# That change times.
_VARIABLES = ("XLA_FLAGS", "GLIBC_TUNABLES", "OMP_NUM_THREADS", "OMP_WAIT_POLICY")
# Vectors of x86, the widest first, and the flag of Linux that tells of them.
_VECTORS = {"AVX-512": "avx512f", "AVX2": "avx2"}


def header(command: str) -> dict[str, Any]:
    """Where, when and with what something was measured."""
    packages = ["jax", "jaxlib", "torch", "openvino", "onnxruntime"]
    return {
        "command": command,
        "commit": _commit(),
        "date": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        "device": _device(),
        "cores": machine.num_cores(),
        "load": round(os.getloadavg()[0], 1),  # of the minute before
        "python": platform.python_version(),
        "versions": {p: v for p in packages if (v := _version(p))},
        "environment": {
            name: os.environ[name].strip() for name in _VARIABLES if name in os.environ
        },
    }


def head_markdown(header: Mapping[str, Any]) -> str:
    """The header as text."""
    versions = ", ".join(f"{k} {v}" for k, v in header["versions"].items())
    environment = ", ".join(f"`{k}={v}`" for k, v in header["environment"].items())
    return "\n".join(
        [
            f"`{header['command']}`",
            "",
            f"{header['device']}, {header['cores']} cores, load {header['load']} at "
            f"the start; Python {header['python']}, {versions}; commit "
            f"{header['commit']}; {header['date']}.",
            f"For the whole process: {environment or 'no variable set'}.",
            "",
        ]
    )


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _commit() -> str:
    command = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    folder = Path(__file__).parent
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    except OSError:  # no git
        return "unknown"
    return done.stdout.strip() or "unknown"


def _device() -> str:
    device = jax.devices()[0]
    if device.platform != "cpu":
        return device.device_kind
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    fields = {
        key.strip(): value.split()
        for key, _, value in (line.partition(":") for line in lines)
    }
    name = " ".join(fields.get("model name", [])) or platform.machine()
    flags = fields.get("flags", [])  # hosts of one name differ in them, and so in speed
    vectors = [x for x, flag in _VECTORS.items() if flag in flags]
    return f"{name} ({vectors[0]})" if vectors else name
