"""Which forms of the operations are traced: plain, or a CPU's.

`JAXPERCEPTUAL_FORMS=plain` (or `cpu`) in the environment overrides the choice by
platform, for comparison and for debugging.
"""

import contextlib
import contextvars
import os
from collections.abc import Iterator

import jax
import jax.numpy as jnp

from jaxperceptual.core.types import AnyArray

_FORMS = ("auto", "plain", "cpu")
_asked = os.environ.get("JAXPERCEPTUAL_FORMS", "auto")
if _asked not in _FORMS:
    raise SystemExit(
        f"error: JAXPERCEPTUAL_FORMS={_asked!r}; use one of {', '.join(_FORMS)}."
    )
# Of this thread, or task: what another one traces meanwhile is no affair of it.
_forms = contextvars.ContextVar("forms", default=_asked)


@contextlib.contextmanager
def forms(name: str) -> Iterator[None]:
    """Within this block, what is traced uses the forms `plain`, `cpu` or `auto`."""
    token = _forms.set(name)
    try:
        yield
    finally:
        _forms.reset(token)


def cpu_forms(x: AnyArray) -> bool:
    """Whether what is traced with `x` uses the forms of `cpu`."""
    if jnp.finfo(x.dtype).bits < 32:  # Winograd's sums want the digits
        return False
    asked = _forms.get()
    return asked == "cpu" or (asked == "auto" and jax.default_backend() == "cpu")
