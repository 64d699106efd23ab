"""Names for what flows between modules, on the host (`host_types`) and on devices."""

from collections.abc import Mapping

import jax
import numpy as np
from jaxtyping import Array, Float

from jaxperceptual.core.host_types import (
    Bytes as Bytes,
    Image as Image,
    Params as Params,
)

AnyArray = jax.Array | np.ndarray
# A batch on the device: RGB, [0, 255].
Images = Float[Array | np.ndarray, "n h w 3"]
Features = Mapping[str, jax.Array]  # activations [n h w c] by layer name
Grams = Mapping[str, Float[Array, "n c c"]]  # by layer name, "relu2_2"
Metrics = dict[str, Float[Array, ""]]
