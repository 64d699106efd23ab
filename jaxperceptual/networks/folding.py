"""Batch norms as part of the convolutions before them, for inference."""

import flax.linen as nn
import numpy as np

from jaxperceptual.core.types import Params
from jaxperceptual.networks.sizes import EPSILON


def fold(net: nn.Module, variables: Params) -> tuple[nn.Module, Params]:
    """A network without batch norms that computes what `net` does when not training.

    What they do to a convolution's output, a factor and a summand for each channel,
    becomes part of its kernel and bias. Other networks come back as they are.
    """
    if getattr(net, "norm", None) != "batch":
        return net, variables
    params = _folded(variables["params"], variables["batch_stats"])
    return net.clone(norm=None), {"params": params}


def _folded(params: Params, stats: Params) -> Params:
    if "norm" not in params:
        return {
            name: _folded(part, stats[name]) if name in stats else part
            for name, part in params.items()
        }
    conv, norm, seen = params["conv"], params["norm"], stats["norm"]
    gain = norm["scale"] / np.sqrt(seen["var"] + EPSILON)
    bias = (conv["bias"] - seen["mean"]) * gain + norm["bias"]
    return {"conv": {"kernel": conv["kernel"] * gain, "bias": bias}}
