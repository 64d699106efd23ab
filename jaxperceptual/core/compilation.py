"""The compiler's persistent cache: what was compiled once, found at the next start."""

import os

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
    try:
        # The compiler divides loops by the cores it sees; JAX's key leaves them out.
        folder = machine.cache_folder() / f"compiled-for-{machine.num_cores()}-cores"
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, InputError):  # a user without a home
        return
    if os.access(folder, os.W_OK | os.X_OK):
        jax.config.update("jax_compilation_cache_dir", str(folder))
        # JAX locks a bounded cache, and waits long for it where there are no locks.
        with open(folder / f".probe-{os.getpid()}", "w") as probe:
            size = MAX_BYTES if folders.take_lock(probe) else -1
        os.unlink(probe.name)
        jax.config.update("jax_compilation_cache_max_size", size)
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
