"""An image in overlapping windows of one shape, so that each compiles once."""

from collections.abc import Iterator
from typing import NamedTuple


class Window(NamedTuple):
    """A tile's range along one side.

    `first` and `length` are what the network sees, `start` and `stop` what is kept of
    it; all in pixels of the input.
    """

    first: int
    length: int
    start: int
    stop: int

    @property
    def seen(self) -> slice:
        return slice(self.first, self.first + self.length)

    def kept(self, factor: int) -> slice:
        """Within the restored window."""
        first = self.first
        return slice(factor * (self.start - first), factor * (self.stop - first))

    def target(self, factor: int) -> slice:
        """Within the whole output."""
        return slice(factor * self.start, factor * self.stop)


def windows(size: int, tile: int, margin: int) -> Iterator[Window]:
    """Covers a side of `size` pixels with windows that begin at any pixel.

    All windows have one length, so that they compile once: one that would stick out is
    moved inwards. Each ends at the image's border or a margin beyond what is kept.
    """
    length = min(size, tile + 2 * margin)
    for start in range(0, size, tile):
        first = max(0, min(start - margin, size - length))
        yield Window(first, length, start, min(start + tile, size))
