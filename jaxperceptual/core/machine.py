"""This machine: cores, and where the user's caches lie."""

import os
from pathlib import Path

from jaxperceptual.core.errors import InputError


def num_cores() -> int:
    """Cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def check_platforms() -> None:
    """Raises InputError if JAX_PLATFORMS names what JAX does not find here."""
    if chosen := os.environ.get("JAX_PLATFORMS"):
        import jax  # workers that decode photos import this module, and not JAX

        try:
            jax.local_devices()
        except (RuntimeError, AssertionError) as error:
            reason = str(error).partition("\n")[0] or "no such device or plugin"
            raise InputError(
                f"JAX_PLATFORMS={chosen}: {reason} (leave it unset, or name cpu)"
            ) from None


def cache_folder() -> Path:
    """The user's folder for what can be made again; it may not exist yet.

    Raises InputError for a user without a home folder.
    """
    if base := os.environ.get("XDG_CACHE_HOME"):
        return Path(base) / "jaxperceptual"
    try:
        home = Path.home()
    except RuntimeError:
        raise InputError(
            "this user has no home folder for what is made once; name a folder with "
            "XDG_CACHE_HOME."
        ) from None
    return home / ".cache" / "jaxperceptual"
