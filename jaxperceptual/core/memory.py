"""Memory: what this process took, giving it back to the system, running out of it.

JAX is imported by what asks it.
"""

import contextlib
import ctypes
import functools
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from jaxperceptual.core.errors import InputError

_STATUS = Path("/proc/self/status")


def peak_memory() -> int:
    """Bytes of RAM that this process has taken at most."""
    if _STATUS.exists():  # `getrusage` would begin with the parent's
        return _peak_of(_STATUS.read_text())
    try:
        import resource  # not on Windows
    except ImportError:
        raise InputError("memory cannot be measured on this system.") from None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # in bytes on macOS


def free_memory() -> int | None:
    """Bytes of RAM that this process may still take; None off Linux.

    What the system could give, and no more than its container's limit leaves.
    """
    try:
        told = Path("/proc/meminfo").read_text()
    except OSError:
        return None
    (line,) = (x for x in told.splitlines() if x.startswith("MemAvailable:"))
    return min(1024 * int(line.split()[1]), *_left_by_groups())


def free_device_memory() -> int | None:
    """Likewise of the first device; None where its memory is the system's."""
    import jax

    stats = jax.local_devices()[0].memory_stats()
    return stats["bytes_limit"] - stats["bytes_in_use"] if stats else None


def _left_by_groups() -> list[int]:
    """What limits of control groups leave; files that are cached can be dropped."""
    for folder, limit, used, cached in (
        ("/sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"),
        (
            "/sys/fs/cgroup/memory",
            "memory.limit_in_bytes",
            "memory.usage_in_bytes",
            "total_inactive_file",
        ),
    ):
        with contextlib.suppress(OSError, ValueError, KeyError):
            most = int(Path(folder, limit).read_text())  # or "max"
            now = int(Path(folder, used).read_text())
            stat = Path(folder, "memory.stat").read_text().split()
            files = int(dict(zip(stat[::2], stat[1::2], strict=True))[cached])
            return [max(0, most - now + files)]
    return [2**62]


def memory_of_importing(module: str) -> int | None:
    """Bytes of RAM of a Python process that imports just this; None off Linux."""
    if not _STATUS.exists():
        return None
    code = f"import {module}; print(open({str(_STATUS)!r}).read())"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return _peak_of(done.stdout)


def _peak_of(status: str) -> int:
    (line,) = (x for x in status.splitlines() if x.startswith("VmHWM"))
    return 1024 * int(line.split()[1])


def forget_peak_memory() -> None:
    """What this process takes now is its peak, from here on; on Linux alone."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def keep_freed_memory() -> None:
    """From now on what this process frees serves its next allocations; of glibc alone.

    Else glibc takes each map of more than 32 MB from the system anew, whose pages come
    zeroed, 4 KiB at a time: a tenth of the time of a network on a CPU. One arena, since
    a thread's holds no more than 64 MB. `give_memory_back` still does. Never over
    settings of the environment's.
    """
    mallopt = _of_libc("mallopt")
    asked = any(k == "GLIBC_TUNABLES" or k.startswith("MALLOC_") for k in os.environ)
    if mallopt is not None and not asked:
        for option, value in _KEEP.items():
            mallopt(option, value)


# From malloc.h.
_ARENA_MAX, _MMAP_MAX, _TRIM_THRESHOLD, _TOP_PAD = -8, -4, -1, -2
_KEEP = {
    _ARENA_MAX: 1,
    _MMAP_MAX: 0,
    _TRIM_THRESHOLD: 2**31 - 1,  # bytes
    _TOP_PAD: 64 * 1024**2,
}


def _of_libc(name: str):
    """A function of the C library's, None where it has none of the name."""
    if sys.platform != "linux":
        return None
    return getattr(ctypes.CDLL(None), name, None)


LONG = 0.3  # s of compiling, after which it pays to give memory back


@functools.cache
def give_memory_back_after_compiling() -> None:
    """From now on: `give_memory_back` after each long compilation, before it runs."""

    def listen(event, seconds, **_):
        if event == "/jax/core/compile/backend_compile_duration" and seconds > LONG:
            give_memory_back()

    import jax

    jax.monitoring.register_event_duration_secs_listener(listen)


def give_memory_back() -> None:
    """Returns what was freed to the system, which glibc would keep for this process.

    Compiling a training step leaves some 600 MB. Takes some 0.1 s; does nothing with
    another C library.
    """
    trim = _of_libc("malloc_trim")
    if trim is not None:
        trim(0)


@contextlib.contextmanager
def enough_memory(what: str, way_out: str) -> Iterator[None]:
    """Turns running out of memory, here or on the device, into an InputError."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:  # XLA's is one of the latter
        if isinstance(error, RuntimeError) and "RESOURCE_EXHAUSTED" not in str(error):
            raise
        raise InputError(f"{what} does not fit into memory; use {way_out}.") from error
