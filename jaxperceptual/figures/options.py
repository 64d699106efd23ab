"""What `reconstruct` reconstructs, and how; imports no JAX, so a parser may read it."""

import dataclasses
from typing import NamedTuple

from jaxperceptual.core.errors import check_choice, check_range


class Figure(NamedTuple):
    """The paper's figure: its number, its layers, and what `Options.tv` suits it."""

    number: int
    layers: tuple[str, ...]
    tv: float


# By what is reconstructed. The weights of the total variation were chosen by looking
# (96 px, 100 steps): with a hundredth, relu4_3 and deeper bring back coloured noise at
# a loss no lower; with ten times as much for the style, relu1_2 loses its colours.
FIGURES = {
    "features": Figure(3, ("relu2_2", "relu3_3", "relu4_3", "relu5_1", "relu5_3"), 0.3),
    "style": Figure(4, ("relu1_2", "relu2_2", "relu3_3", "relu4_3"), 0.03),
}
MIN_SIZE, MAX_SIZE = 32, 4096  # px, of --size


@dataclasses.dataclass(frozen=True)
class Options:
    """What to reconstruct, and how.

    kind: `features` (eq. 2) or `style` (eq. 4), of each of `layers` for itself.
    tv: weight of the total variation in units of white noise's, beside the layer's loss
        in units of an output's whose features are 0. Both are relative, so that one
        weight does for all layers and sizes. 0 leaves it out.
    size: upper bound of the target's long side, pixels.
    steps: evaluations after that of the white noise.
    """

    kind: str
    layers: tuple[str, ...]
    tv: float
    size: int = 256
    steps: int = 500
    seed: int = 0
    vgg: str | None = None  # weights of the loss network; None: the default ones

    def check(self) -> None:
        """Raises InputError for what cannot be; of layers, `vgg` knows."""
        check_choice("kind", self.kind, list(FIGURES))
        for name, value, low, high in (
            ("--size", self.size, MIN_SIZE, MAX_SIZE),
            ("--steps", self.steps, 1, 1_000_000),
            ("--tv", self.tv, 0, 1_000_000),
            ("--seed", self.seed, 0, 2**32 - 1),
        ):
            check_range(name, value, low, high)
