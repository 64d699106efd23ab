"""Around the compiler: its persistent cache, and the memory that it leaves behind."""

import ctypes
import functools
import os

import jax

from jaxperceptual import machine

MAX_BYTES = 512 * 1024**2  # then the entries that were not used for longest go
LONG = 0.3  # s of compiling, after which it pays to give memory back


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
    except (OSError, RuntimeError):  # a user without a home
        return
    if os.access(folder, os.W_OK | os.X_OK):
        jax.config.update("jax_compilation_cache_dir", str(folder))
        jax.config.update("jax_compilation_cache_max_size", MAX_BYTES)
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


@functools.cache
def give_memory_back_after_compiling() -> None:
    """From now on: `give_memory_back` after each long compilation, before it runs."""

    def listen(event, seconds, **_):
        if event == "/jax/core/compile/backend_compile_duration" and seconds > LONG:
            give_memory_back()

    jax.monitoring.register_event_duration_secs_listener(listen)


def give_memory_back() -> None:
    """Returns what was freed to the system, which glibc would keep for this process.

    Compiling a training step leaves some 600 MB. Takes some 0.1 s; does nothing with
    another C library.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
