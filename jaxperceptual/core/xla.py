"""XLA's flags for a CPU, set before JAX starts; nothing here imports JAX."""

import functools
import importlib.util
import os
from importlib import metadata

# jaxlib versions whose CPU compiler knows the flags below and the call of `onednn`. XLA
# aborts the process on a flag it does not know, so an untried version goes without.
_JAXLIB = ((0, 10), (0, 11))
_FLAGS = {
    "xla_cpu_experimental_ynn_fusion_type": "-individual_convolution",
    # Steps in an order that holds less at a time: memory that is new to the process
    # costs more than what the other order's concurrency gains.
    "xla_cpu_scheduler_type": "CPU_SCHEDULER_TYPE_MEMORY_OPTIMIZED",
    # Fusions by XLA's older code generator: programs as fast, in a third less time to
    # compile, and hundreds of megabytes less.
    "xla_backend_extra_options": "xla_cpu_disable_new_fusion_emitters",
}


def configure_xla() -> None:
    """Keeps convolutions off YNNPACK, and the memory of programs and compiler small.

    Acts through XLA_FLAGS, so it must run before JAX starts its backend, and never
    overrides a value that the user set. Where JAX would use an accelerator it does
    nothing: plugins read the same variable and need not know the flag.
    """
    if not on_cpu():
        return
    flags = os.environ.get("XLA_FLAGS", "")
    if known_jaxlib():
        added = [f"--{k}={v}" for k, v in _FLAGS.items() if k not in flags]
        os.environ["XLA_FLAGS"] = " ".join([*flags.split(), *added])


def on_cpu() -> bool:
    """Whether JAX will use a CPU, as far as can be told before it starts."""
    platforms = os.environ.get("JAX_PLATFORMS", "")
    if platforms:
        return platforms.split(",")[0] == "cpu"
    return not _has_accelerator_plugin()


def known_jaxlib() -> bool:
    """Whether what XLA does not promise was tried with the jaxlib installed."""
    version = metadata.version("jaxlib").split(".")
    return tuple(int(part) for part in version[:2]) in _JAXLIB


@functools.cache
def _has_accelerator_plugin() -> bool:
    """Whether packages are installed through which JAX would find an accelerator."""
    return bool(metadata.entry_points(group="jax_plugins")) or any(
        importlib.util.find_spec(name) for name in ("jax_plugins", "libtpu")
    )
