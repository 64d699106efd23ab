"""Batch and instance norm in the form that XLA threads on a CPU, with its gradient."""

import functools

import jax
import jax.numpy as jnp
from jax import lax


@functools.partial(jax.custom_vjp, nondiff_argnums=(3, 4, 5, 6))
def norm(x, scale, bias, over_batch, epsilon, relu, axis_name):
    """As `ops.norm`: the normalised x, and the mean and variance it was made with."""
    return _norm_fwd(x, scale, bias, over_batch, epsilon, relu, axis_name)[0]


def _norm_fwd(x, scale, bias, over_batch, epsilon, relu, axis_name):
    count = x.shape[1] * x.shape[2] * (x.shape[0] if over_batch else 1)
    mean = _across((_sums(over_batch, x)[0] / count,), axis_name)[0]
    centred = x - mean
    variance = _sums(over_batch, jnp.square(centred))[0] / count
    variance = _across((variance,), axis_name)[0]
    inverse = lax.rsqrt(variance + epsilon)
    y = centred * (inverse * scale) + bias
    y = jax.nn.relu(y) if relu else y
    return (y, mean, variance), (x, mean, inverse, scale, bias)


def _norm_bwd(over_batch, epsilon, relu, axis_name, saved, cotangents):
    del epsilon  # inside `inverse`
    g, _, _ = cotangents  # the statistics only feed running averages
    x, mean, inverse, scale, bias = saved
    count = x.shape[1] * x.shape[2] * (x.shape[0] if over_batch else 1)
    normalised = (x - mean) * inverse
    if relu:
        g = jnp.where(normalised * scale + bias > 0, g, 0.0)
    sum_g, sum_gx = _sums(over_batch, g, g * normalised)
    mean_g, mean_gx = _across((sum_g / count, sum_gx / count), axis_name)
    dx = (g - mean_g - normalised * mean_gx) * (inverse * scale)
    if scale.ndim == 1:  # one for all images
        sum_g, sum_gx = sum_g.sum((0, 1, 2)), sum_gx.sum((0, 1, 2))
    return dx, sum_gx, sum_g


norm.defvjp(_norm_fwd, _norm_bwd)


def _sums(over_batch, *arrays):
    """Sums over positions in two stages: XLA runs the first, along rows, threaded."""
    rows = lax.optimization_barrier(tuple(a.sum(2, keepdims=True) for a in arrays))
    return tuple(r.sum((0, 1) if over_batch else 1, keepdims=True) for r in rows)


def _across(values, axis_name):
    return lax.pmean(values, axis_name) if axis_name else values
