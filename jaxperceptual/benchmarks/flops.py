"""Floating-point operations of a function, counted from the shapes in its trace.

Convolutions and matrix products alone: 2 for each multiplication and addition. The rest
(norms, activations, Adam) is some percent of that in the networks here.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
from jax.extend.core import ClosedJaxpr, Jaxpr


def count(function: Callable[..., Any], *arguments: Any) -> int:
    """What one call takes, on one device; arguments may be `jax.ShapeDtypeStruct`s.

    What a stride passes over, or a fractional stride puts in as zeros, does not count;
    zero padding does. Count the plain forms (`choice.forms`): the fast ones do the same
    with fewer, or with more on purpose. Raises ValueError for a loop whose length the
    trace does not tell.
    """
    return _count(jax.make_jaxpr(function)(*arguments).jaxpr)


def _count(jaxpr: Jaxpr) -> int:
    total = 0
    for equation in jaxpr.eqns:
        name, options = equation.primitive.name, equation.params
        if name == "conv_general_dilated":
            total += _convolution(equation)
        elif name == "dot_general":
            (contracted, _), _ = options["dimension_numbers"]
            left = equation.invars[0].aval.shape
            terms = math.prod(left[i] for i in contracted)
            total += 2 * terms * math.prod(equation.outvars[0].aval.shape)
        else:
            inner = sum(map(_count, _inner(options)))
            if inner and name == "while":
                raise ValueError("a while loop has no known length; count its body.")
            total += inner * (options["length"] if name == "scan" else 1)
    return total


def _convolution(equation) -> int:
    options = equation.params
    left, right = (each.aval.shape for each in equation.invars)
    numbers = options["dimension_numbers"]
    inputs, window = right[numbers.rhs_spec[1]], numbers.rhs_spec[2:]
    terms = inputs * math.prod(right[i] for i in window)
    output = math.prod(equation.outvars[0].aval.shape)
    return 2 * terms * output // math.prod(options["lhs_dilation"])


def _inner(options: dict[str, Any]):
    """The traces within an equation: of calls, loops, branches, custom gradients."""
    for value in options.values():
        for each in value if isinstance(value, tuple | list) else (value,):
            if isinstance(each, ClosedJaxpr):
                yield each.jaxpr
            elif isinstance(each, Jaxpr):
                yield each
