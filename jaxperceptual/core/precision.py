"""What the arithmetic of convolutions and matrix products is done in.

Parameters, a norm's statistics, Gram sums, losses and Adam are float32 in any case.
"""

import contextlib

import jax
import jax.numpy as jnp

from jaxperceptual.core.errors import InputError

# By name: what activations are, and what JAX calls the arithmetic of products of
# float32, where the device offers several.
_KINDS = {
    "float32": (jnp.float32, "float32"),
    "tf32": (jnp.float32, "tensorfloat32"),  # 10 bits of 23, on NVIDIA's tensor cores
    "bfloat16": (jnp.bfloat16, "float32"),
}


def use_float32() -> None:
    """Products of float32 are exact, not TF32, from now on, unless the user chose."""
    if jax.config.jax_default_matmul_precision is None:
        jax.config.update("jax_default_matmul_precision", "float32")


def check(name: str) -> None:
    """Raises InputError unless there is such a precision."""
    if name not in _KINDS:
        raise InputError(f"precision={name!r}; use one of {', '.join(_KINDS)}.")


def dtype(name: str) -> jnp.dtype:
    """The dtype of activations."""
    check(name)
    return jnp.dtype(_KINDS[name][0])


def products(name: str) -> contextlib.AbstractContextManager:
    """Within it, what is traced multiplies float32 by float32 as the name says."""
    check(name)
    return jax.default_matmul_precision(_KINDS[name][1])
