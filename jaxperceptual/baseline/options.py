"""How the baseline optimises, and which iterations leave an image."""

import dataclasses

from jaxperceptual.core.errors import check_choice, check_range

LINE_SEARCHES = ("none", "backtracking")
PROJECTIONS = ("mask", "clip")
MARKS = (50, 100, 300, 500)  # iterations whose images are kept, as in the paper
MIN_SIZE, MAX_SIZE = 32, 4096  # px, of --size


@dataclasses.dataclass(frozen=True)
class Options:
    """How to optimise.

    size: side of the square, pixels.
    steps: iterations, that is accepted steps; `evaluations` may be more.
    linesearch, projection: of `lbfgs.ProjectedLBFGS`.
    seed: of all images' white noise, each with its name's.
    batch_size: images that are optimised together; other sizes round differently.
    """

    size: int = 256
    steps: int = 500
    linesearch: str = "none"
    projection: str = "mask"
    seed: int = 0
    batch_size: int = 1

    def check(self) -> None:
        """Raises InputError for what cannot be."""
        for name, value, low, high in (
            ("--size", self.size, MIN_SIZE, MAX_SIZE),
            ("--steps", self.steps, 1, 1_000_000),
            ("--seed", self.seed, 0, 2**32 - 1),
            ("--batch-size", self.batch_size, 1, 256),
        ):
            check_range(name, value, low, high)
        for name, value, known in (
            ("--linesearch", self.linesearch, LINE_SEARCHES),
            ("--projection", self.projection, PROJECTIONS),
        ):
            check_choice(name, value, known)

    def marks(self) -> list[int]:
        """Iterations whose image is written; the last one is `steps`."""
        return sorted({*(mark for mark in MARKS if mark <= self.steps), self.steps})

    def all_image_names(self, name: str) -> list[str]:
        """Files in images/ that hold the image of `name`, at any of `marks`."""
        return [file for mark in self.marks() for file in self.image_names(name, mark)]

    def image_names(self, name: str, mark: int) -> list[str]:
        """Files in images/ that hold the image of `name` at one of `marks`."""
        names = [f"{name}_{mark:04d}.png"] if mark in MARKS else []
        return [*names, f"{name}.png"] if mark == self.steps else names
