"""Which images share a program: canvases for sizes that are known beforehand.

A program is compiled for a size, which takes as long as some photos take. An image may
lie on a larger canvas, at the cost of the pixels that are not its own; and one that is
higher than wide may lie there turned, with kernels turned as well, since a network of
convolutions knows no upright: f(x) is the transpose of f_turned(x transposed).
"""

import dataclasses
from collections.abc import Iterable, Mapping

# Pixels that go through a network in the time that a program more takes: 2 s at 1 MP/s,
# on two cores without AVX-512.
PROGRAM = 2e6
MOST = 48  # sizes that are weighed one by one; more are first rounded up


@dataclasses.dataclass(frozen=True, order=True)
class Place:
    """Where an image lies: on a canvas of h x w px, turned if it is higher than wide.

    exact: all images on the canvas are just as large, so that none needs a margin.
    """

    h: int
    w: int
    turned: bool
    exact: bool


def shared(h: int, w: int) -> Place:
    """A place on a canvas of h x w px for images of any size that it holds."""
    return Place(h, w, turned=False, exact=False)


def places(
    sizes: Iterable[tuple[int, int]], program: float = PROGRAM
) -> Mapping[tuple[int, int], Place]:
    """For each size [h w] its place, so that all take the least time, about.

    Sizes are taken as often as they come. Canvases are joined two by two, while what
    that costs in pixels is less than a `program`.
    """
    sizes = [(int(h), int(w)) for h, w in sizes]
    counts: dict[tuple[int, int], int] = {}
    for size in sizes:
        lying = min(size), max(size)
        counts[lying] = counts.get(lying, 0) + 1
    canvas_of = {lying: lying for lying in counts}
    step = 1
    while len(counts) > MOST:
        step *= 2
        canvas_of = {
            lying: (_up(h, step), _up(w, step)) for lying, (h, w) in canvas_of.items()
        }
        counts = _counted(sizes, canvas_of)
    while joined := _cheapest(counts, program):
        a, b = joined
        both = max(a[0], b[0]), max(a[1], b[1])
        canvas_of = {k: both if v in joined else v for k, v in canvas_of.items()}
        counts = _counted(sizes, canvas_of)
    on = {canvas: {k for k, v in canvas_of.items() if v == canvas} for canvas in counts}
    found = {}
    for h, w in sizes:
        canvas = canvas_of[min(h, w), max(h, w)]
        exact = on[canvas] == {canvas}
        if not exact:  # two strides of 2 halve a margin
            canvas = _up(canvas[0], 4), _up(canvas[1], 4)
        found[h, w] = Place(*canvas, turned=h > w, exact=exact)
    return found


def _counted(sizes, canvas_of):
    counts: dict[tuple[int, int], int] = {}
    for h, w in sizes:
        canvas = canvas_of[min(h, w), max(h, w)]
        counts[canvas] = counts.get(canvas, 0) + 1
    return counts


def _cheapest(counts, program):
    """The two canvases that cost the least to join, if that is less than a program."""
    best, found = program, None
    canvases = sorted(counts)
    for i, a in enumerate(canvases):
        for b in canvases[i + 1 :]:
            area = max(a[0], b[0]) * max(a[1], b[1])
            more = counts[a] * (area - a[0] * a[1]) + counts[b] * (area - b[0] * b[1])
            if more < best:
                best, found = more, (a, b)
    return found


def _up(side: int, step: int) -> int:
    return -(-side // step) * step
