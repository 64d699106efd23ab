"""Names for what lies on the host; nothing here imports JAX.

Between the doors of the package an image is RGB, NHWC, float32, in [0, 255].
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8

# One image: RGB, [0, 255].
Image = Float32[np.ndarray, "h w 3"]
Bytes = UInt8[np.ndarray, "h w 3"]
Params = Mapping[str, Any]  # nested dicts of arrays, as Linen keeps them
