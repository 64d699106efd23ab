"""Which forms of the operations are traced: plain, or a CPU's.

`JAXPERCEPTUAL_FORMS=plain` (or `cpu`) in the environment overrides the choice by
platform, for comparison and for debugging.
"""

import contextlib
import os
from collections.abc import Iterator

import jax
import jax.numpy as jnp

from jaxperceptual.core.types import AnyArray

_FORMS = ("auto", "plain", "cpu")
_forms = os.environ.get("JAXPERCEPTUAL_FORMS", "auto")
if _forms not in _FORMS:
    raise SystemExit(
        f"error: JAXPERCEPTUAL_FORMS={_forms!r}; use one of {', '.join(_FORMS)}."
    )


@contextlib.contextmanager
def forms(name: str) -> Iterator[None]:
    """Within this block, what is traced uses the forms `plain`, `cpu` or `auto`."""
    global _forms
    previous, _forms = _forms, name
    try:
        yield
    finally:
        _forms = previous


def cpu_forms(x: AnyArray) -> bool:
    """Whether what is traced with `x` uses the forms of `cpu`."""
    if jnp.finfo(x.dtype).bits < 32:  # Winograd's sums want the digits
        return False
    return _forms == "cpu" or (_forms == "auto" and jax.default_backend() == "cpu")
