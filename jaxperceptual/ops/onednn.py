"""Convolutions by oneDNN, the fastest on an x86 CPU, in programs that are not kept.

jaxlib for x86 holds oneDNN, and XLA a call into it, `__onednn$convolution`, that adds a
bias and rectifies. XLA as released never makes that call by itself, but a program may.

Nobody promises it, so: only with the jaxlib versions it was tried with, and after a
small convolution came out right (`works`); never for gradients, which it lacks; never
in a program that JAX might write to its persistent cache, since XLA fails in writing it
down, and not in a clean way (`programs`). Everywhere else `cpu` computes the same sums
with XLA's own convolutions.
"""

import contextlib
import contextvars
import functools
import json
import math
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from jaxperceptual.core import xla
from jaxperceptual.ops import rearranged, winograd
from jaxperceptual.ops.choice import cpu_forms

_TARGET = "__onednn$convolution"
_in_use = contextvars.ContextVar("onednn", default=False)  # of this thread
_lasting = contextvars.ContextVar("lasting", default=False)  # likewise
# Bytes of a map, up to which what Winograd's sums read and write stays in the cache.
_CACHED = 8 * 1024**2


@contextlib.contextmanager
def programs(*, lasting: bool = False) -> Iterator[None]:
    """What is traced *and compiled* within this block may use oneDNN, if it `works`.

    lasting: It will run often: may compile twice as long for a tenth of the time.

    Then nothing compiled within it is kept in JAX's persistent cache. A function traced
    here must not be compiled again outside: lower and compile it in the block.
    """
    if not works():
        yield
        return
    with _nothing_kept():
        tokens = _in_use.set(True), _lasting.set(lasting)
        try:
            yield
        finally:
            _in_use.reset(tokens[0])
            _lasting.reset(tokens[1])


def in_use() -> bool:
    """Whether what is traced now may use this module."""
    return _in_use.get()


def serves(dtype: DTypeLike) -> bool:
    """Whether `programs` would be faster, with what is traced in this type, here."""
    return works() and cpu_forms(np.zeros((), dtype))


@functools.cache
def works() -> bool:
    """Whether this machine's jaxlib makes the call, and makes it right."""
    if jax.default_backend() != "cpu" or not xla.known_jaxlib():
        return False
    rng = np.random.default_rng(0)
    x = rng.integers(-4, 5, (2, 5, 6, 3)).astype(np.float32)
    kernel = rng.integers(-4, 5, (3, 2, 3, 4)).astype(np.float32)
    bias = np.arange(4, dtype=np.float32)
    pads = ((1, 0), (0, 2))

    @jax.jit
    def both(x, kernel, bias):
        theirs = _convolve(x, kernel, bias, 2, pads, relu=True)
        ours = jax.lax.conv_general_dilated(
            x, kernel, (2, 2), pads, dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        return theirs, jax.nn.relu(ours + bias)

    try:
        with _nothing_kept():
            theirs, ours = both(x, kernel, bias)
            return np.array_equal(theirs, ours)  # small integers: every sum is exact
    except (jax.errors.JaxRuntimeError, ImportError, AttributeError):
        return False  # there is no such call, or no way to keep it out of the cache


def conv(
    x: jax.Array, kernel: jax.Array, bias: jax.Array, stride: int, p: int, relu: bool
) -> jax.Array:
    """As `ops.conv`."""
    k, _, inputs, outputs = kernel.shape
    if k >= 5 and stride == 1 and outputs <= 4:
        return _finished(rearranged.to_few(x, kernel, _linear, p), bias, relu)
    fewest = min(inputs, outputs)
    small = _lasting.get() and math.prod(x.shape[1:]) * x.dtype.itemsize <= _CACHED
    if k == 3 and stride == 1 and fewest >= (64 if small else 128):
        m = winograd.winograd_rows(x.shape[1] - 2 + 2 * p) if fewest >= 128 else 4
        kernels = winograd.winograd_kernel(kernel, m)
        return _finished(winograd.winograd_conv(x, kernels, p, _linear), bias, relu)
    return _convolve(x, kernel, bias, stride, ((p, p), (p, p)), relu)


def conv_transpose(
    x: jax.Array, kernel: jax.Array, bias: jax.Array, relu: bool
) -> jax.Array:
    """As `ops.conv_transpose`."""
    return rearranged.transposed(x, kernel, _with(bias, relu))


def upsample_conv(
    x: jax.Array, kernel: jax.Array, bias: jax.Array, relu: bool
) -> jax.Array:
    """As `ops.upsample_conv`, without a margin."""
    even, odd = rearranged.upsampled_rows(x, kernel, _with(bias, relu))
    # Stacked and reshaped they would be made twice for a norm: XLA fuses the reshape
    # into what reads it, and the sums and the difference then read different arrays.
    zero, as_is = jnp.zeros((), x.dtype), (0, 0, 0)
    even = jax.lax.pad(even, zero, (as_is, (0, 1, 1), as_is, as_is))
    return even + jax.lax.pad(odd, zero, (as_is, (1, 0, 1), as_is, as_is))


def _with(bias, relu):
    """A `plain.Convolve` to two outputs for each channel, each with bias and ReLU."""

    def convolve(x, kernel, pads):
        return _convolve(x, kernel, jnp.tile(bias, 2), 1, pads, relu)

    return convolve


def _linear(x, kernel, pads):
    return _convolve(x, kernel, None, 1, pads, relu=False)


def _finished(y, bias, relu):
    return jax.nn.relu(y + bias) if relu else y + bias


def _convolve(x, kernel, bias, stride, pads, relu):
    """The call: [n h w i] * [kh kw i o], padded, with bias [o] or None."""
    fusions = (["BIAS"] if bias is not None else []) + (["RELU"] if relu else [])
    data = {"batch_dim": 0, "spatial_dims": [1, 2], "feature_dim": 3}
    filters = {"spatial_dims": [0, 1], "input_feature_dim": 2, "output_feature_dim": 3}
    # XLA's OneDnnConvolutionConfig.
    config = {
        "dims": 4,
        "input": {"data": data},
        "kernel": {"filter": filters},
        "output": {"data": data},
        "window": {
            "pad_left": [before for before, _ in pads],
            "pad_right": [after for _, after in pads],
            "strides": [stride, stride],
            "window_dilations": [1, 1],
        },
        "feature_groups": 1,
        "fusions": {"ops": fusions},
    }
    h, w = (
        (side + before + after - k) // stride + 1
        for side, k, (before, after) in zip(
            x.shape[1:3], kernel.shape[:2], pads, strict=True
        )
    )
    call = jax.ffi.ffi_call(
        _TARGET,
        jax.ShapeDtypeStruct((len(x), h, w, kernel.shape[-1]), x.dtype),
        custom_call_api_version=2,  # of which XLA itself makes its calls
        legacy_backend_config=json.dumps({"onednn_conv_config": config}),
    )
    return call(x, kernel) if bias is None else call(x, kernel, bias)


def _nothing_kept() -> contextlib.AbstractContextManager:
    """What this thread compiles within it stays out of JAX's persistent cache."""
    # Not public, as the call itself; of the thread, which `jax.config.update` is not.
    from jax._src import config

    return config.persistent_cache_min_compile_time_secs(math.inf)
