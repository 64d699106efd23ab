"""Which networks there are, by task and name: from a config's options to a module.

A new network is a module here and a line in `NETS`.
"""

import os
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike

from jaxperceptual.core.errors import InputError
from jaxperceptual.networks.srcnn import SRCNN
from jaxperceptual.networks.style_net import StyleNet
from jaxperceptual.networks.super_resolution_net import SuperResolutionNet

# By task and name; the first is that of a model which names none.
NETS: dict[str, dict[str, type[nn.Module]]] = {
    "style": {"StyleNet": StyleNet},
    "restoration": {
        "SuperResolutionNet": SuperResolutionNet,
        "SRCNN": SRCNN,
    },
}


def make_net(
    task: str,
    net_config: Mapping[str, Any],
    *,
    source: str | os.PathLike,
    axis_name: str | None = None,
    dtype: DTypeLike = jnp.float32,
) -> nn.Module:
    """The network that a config or a model file, `source`, describes.

    axis_name, dtype: as the network has them.

    Raises InputError for a task, a name or an option that there is none of.
    """
    if task not in NETS:
        raise InputError(f"{source}: task={task!r}; use one of {', '.join(NETS)}.")
    options = dict(net_config)
    name = options.pop("name", next(iter(NETS[task])))
    if name not in NETS[task]:
        names = ", ".join(NETS[task])
        raise InputError(f"{source}: net.name={name!r} for {task}; use one of {names}.")
    try:
        return NETS[task][name](**options, axis_name=axis_name, dtype=dtype)
    except TypeError as error:
        raise InputError(
            f"{source}: net options {options} do not fit {name} ({error}); "
            "use the jaxperceptual that wrote it."
        ) from error
