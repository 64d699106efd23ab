"""Names for what flows between modules.

Between the doors of the package an image is RGB, NHWC, float32, in [0, 255].
"""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float, Float32, UInt8

AnyArray = jax.Array | np.ndarray
# One image on the host, and a batch on the device: RGB, [0, 255].
Image = Float32[np.ndarray, "h w 3"]
Bytes = UInt8[np.ndarray, "h w 3"]
Images = Float[Array | np.ndarray, "n h w 3"]


Features = Mapping[str, jax.Array]  # activations [n h w c] by layer name
Grams = Mapping[str, Float[Array, "n c c"]]  # by layer name, "relu2_2"
Metrics = dict[str, Float[Array, ""]]
Params = Mapping[str, Any]  # nested dicts of arrays, as Linen keeps them
