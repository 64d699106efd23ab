"""This process and the machine: cores, memory, and where the user's caches lie."""

import contextlib
import os
import resource
import subprocess
import sys
from pathlib import Path

_STATUS = Path("/proc/self/status")


def num_cores() -> int:
    """Cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def peak_memory() -> int:
    """Bytes of RAM that this process has taken at most."""
    if _STATUS.exists():  # `getrusage` would begin with the parent's
        return _peak_of(_STATUS.read_text())
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # in bytes on macOS


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


def cache_folder() -> Path:
    """The user's folder for what can be made again; it may not exist yet."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "jaxperceptual"
