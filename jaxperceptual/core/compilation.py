"""The compiler's persistent cache: what was compiled once, found at the next start."""

import os
from pathlib import Path

import jax

from jaxperceptual.core import folders, machine
from jaxperceptual.core.errors import InputError

MAX_BYTES = 512 * 1024**2  # then the entries that were not used for longest go


def use_cache() -> None:
    """Keeps what is compiled in the user's cache folder, and finds it there.

    JAX's own settings, as JAX_COMPILATION_CACHE_DIR or JAX_ENABLE_COMPILATION_CACHE=0,
    go first. A folder that cannot be written is no reason to stop: there is no cache
    then.
    """
    if jax.config.jax_compilation_cache_dir is not None:
        return
    # The compiler divides loops by the cores it sees; JAX's key leaves them out.
    name = f"compiled-for-{machine.num_cores()}-cores"
    try:
        parent = machine.cache_folder()
        parent.mkdir(parents=True, exist_ok=True)
        locks = _has_locks(parent)
        # JAX locks a bounded cache, and waits long for it where there are no locks; an
        # unbounded one keeps no times, without which the other cannot read it.
        folder = parent / (name if locks else f"{name}-unbounded")
        folder.mkdir(exist_ok=True)
    except (OSError, InputError):  # a user without a home
        return
    if os.access(folder, os.W_OK | os.X_OK):
        jax.config.update("jax_compilation_cache_dir", str(folder))
        jax.config.update("jax_compilation_cache_max_size", MAX_BYTES if locks else -1)
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


def _has_locks(folder: Path) -> bool:
    probe = folder / f".probe-{os.getpid()}"
    try:
        with probe.open("w") as file:
            return folders.take_lock(file)
    finally:
        probe.unlink(missing_ok=True)
