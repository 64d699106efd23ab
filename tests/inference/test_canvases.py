"""Canvases for known sizes: what they hold, what they cost, against all partitions."""

import numpy as np

from jaxperceptual.inference import canvases
from jaxperceptual.inference.canvases import Place


def lying(size):
    return min(size), max(size)


def cost(sizes, groups, program):
    """Pixels in all if the sizes of a group share a canvas, and those of programs."""
    pixels = 0
    for group in groups:
        h, w = (max(side) for side in zip(*group, strict=True))
        pixels += h * w * sum(lying(size) in group for size in sizes)
    return pixels + program * len(groups)


def partitions(items):
    if not items:
        yield []
        return
    first, rest = items[0], items[1:]
    for groups in partitions(rest):
        yield [[first], *groups]
        for i in range(len(groups)):
            yield [*groups[:i], [first, *groups[i]], *groups[i + 1 :]]


def test_one_size_is_exact_lying_or_not():
    assert canvases.places([(427, 640)] * 3) == {
        (427, 640): Place(427, 640, turned=False, exact=True)
    }
    assert canvases.places([(640, 427), (427, 640)]) == {
        (640, 427): Place(427, 640, turned=True, exact=True),
        (427, 640): Place(427, 640, turned=False, exact=True),
    }


def test_few_alike_share_and_many_unlike_do_not():
    few = canvases.places([(427, 640), (640, 425)])
    assert set(few.values()) == {
        Place(428, 640, turned=False, exact=False),  # sides that two strides halve
        Place(428, 640, turned=True, exact=False),
    }
    many = canvases.places([(427, 640)] * 50 + [(100, 640)] * 50)
    assert all(place.exact for place in many.values())


def test_each_image_fits_and_the_whole_is_about_the_cheapest():
    rng = np.random.default_rng(0)
    for _ in range(20):
        distinct = [tuple(map(int, rng.integers(40, 700, 2))) for _ in range(6)]
        sizes = [size for n, size in enumerate(distinct, 1) for _ in range(n)]
        program = float(10 ** rng.uniform(4, 6.5))
        found = canvases.places(sizes, program)
        groups = {}
        for (h, w), place in found.items():
            short, long = lying((h, w))
            assert place.turned == (h > w)
            assert short <= place.h and long <= place.w
            groups.setdefault((place.h, place.w), []).append((short, long))
        kinds = sorted(set(map(lying, sizes)))
        best = min(cost(sizes, each, program) for each in partitions(kinds))
        assert cost(sizes, groups.values(), program) <= 1.1 * best


def test_thousands_of_sizes_take_a_moment():
    rng = np.random.default_rng(0)
    sizes = [tuple(map(int, rng.integers(300, 700, 2))) for _ in range(3000)]
    found = canvases.places(sizes)
    for h, w in sizes:
        place = found[h, w]
        assert lying((h, w)) <= (place.h, place.w) and max(h, w) <= place.w
    assert len({(p.h, p.w) for p in found.values()}) <= canvases.MOST
