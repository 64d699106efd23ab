"""How much weight a painting's style takes for its textures to come out.

Paintings differ by a factor of ten in how far photos are from them in equation 4. The
weights that were chosen by eye for the gallery fall with that distance, and `found`
goes by it: docs/styles.md has the fit.
"""

import jax
import numpy as np

from jaxperceptual.core.types import Images
from jaxperceptual.losses.objective import Frozen, PerceptualObjective

# Of the fit `REFERENCE / distance ** EXPONENT`.
REFERENCE = 7.1e5
EXPONENT = 0.87
MOST = 1e6  # of what a config may say


def found(objective: PerceptualObjective, frozen: Frozen, photos: Images) -> float:
    """The factor for the style's terms, to two digits; `photos` as they are.

    objective: with style weights of factor 1; `frozen` has the style's Gram matrices.
    """

    @jax.jit
    def distance(frozen, photo):
        _, terms = objective.of_batch(frozen, photo, photo)
        return sum(value for name, value in terms.items() if name.startswith("style/"))

    mean = np.mean([float(distance(frozen, photo[None])) for photo in photos])
    return float(f"{REFERENCE / mean**EXPONENT:.2g}")
