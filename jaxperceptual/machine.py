"""This process and the machine: cores, memory, and where the user's caches lie."""

import contextlib
import os
import resource
from pathlib import Path


def num_cores() -> int:
    """Cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def peak_memory() -> int:
    """Bytes of RAM that this process has taken at most."""
    status = Path("/proc/self/status")
    if status.exists():  # `getrusage` would begin with the parent's
        (line,) = (x for x in status.read_text().splitlines() if x.startswith("VmHWM"))
        return 1024 * int(line.split()[1])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # in bytes on macOS


def forget_peak_memory() -> None:
    """What this process takes now is its peak, from here on; on Linux alone."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def cache_folder() -> Path:
    """The user's folder for what can be made again; it may not exist yet."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "jaxperceptual"
