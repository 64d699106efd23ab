"""f_W as StableHLO: the program that JAX would compile, for any device and place."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import export

from jaxperceptual.core.errors import InputError
from jaxperceptual.networks.folding import fold
from jaxperceptual.networks.model_file import Model, build_net
from jaxperceptual.ops import choice

PLATFORMS = ("cpu", "cuda", "tpu")


def to_stablehlo(
    model: Model, *, platforms: Sequence[str] = PLATFORMS
) -> export.Exported:
    """What `Stylizer` or `Restorer.network` computes of the model, weights included.

    `.call(images)` takes [n h w 3] in [0, 255], any n, h and w of 1 and more, compiling
    for each; `.serialize()` is what `jax.export.deserialize` reads, and
    `.mlir_module_serialized` portable StableHLO for others. Plain forms: none of what
    makes ours fast on a CPU.

    Raises InputError for a gallery of which no style was picked, or another platform.
    """
    for name in platforms:
        if name not in PLATFORMS:
            raise InputError(f"platform {name}: use some of {', '.join(PLATFORMS)}.")
    if model.styles:
        model.pick(None)  # says which there are
    net, variables = fold(build_net(model), model.variables)
    variables = jax.device_put(variables)

    def outputs(images):
        return jnp.clip(net.apply(variables, images, train=False), 0.0, 255.0)

    shape = export.symbolic_shape("n, height, width, 3")
    with choice.forms("plain"):
        made = export.export(jax.jit(outputs), platforms=platforms)
        return made(jax.ShapeDtypeStruct(shape, np.float32))
