"""How many images a second the loader gives, by where the photos lie; no device."""

import contextlib
import statistics
import tempfile
import time
from typing import Any

from jaxperceptual.data.loader import Loader

HEAD = (
    "| input | photos | images/s | min-max | first batch s | of what a step eats |\n"
    "|---|--:|--:|--:|--:|--:|"
)
STRETCH = 2.0  # s, that one rate is measured over, and as long before


def measure(
    source: str, repeats: int, *, cached: bool, batch_size: int, **options: Any
) -> dict[str, Any]:
    """Rates of `Loader(source, **options)` while nothing else takes time.

    cached: from a cache of decoded photos, made in a temporary folder before the clock
        starts. Raises InputError as the loader does.
    """
    with contextlib.ExitStack() as stack:
        folder = None
        if cached:
            folder = stack.enter_context(tempfile.TemporaryDirectory())
        start = time.perf_counter()
        loader = stack.enter_context(
            contextlib.closing(
                Loader(source, batch_size=batch_size, cache=folder, **options)
            )
        )
        next(loader)
        row = {
            "work": "input",
            "source": source,
            "cached": cached,
            "num_images": loader.num_images,
            "batch_size": batch_size,
            **options,
            "first_batch_s": time.perf_counter() - start,
        }
        _rate(loader, batch_size)  # what had been decoded ahead is gone then
        rates = [_rate(loader, batch_size) for _ in range(repeats)]
    return row | {"rates": rates, "images_per_second": statistics.median(rates)}


def _rate(loader: Loader, batch_size: int) -> float:
    count, start = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - start) < STRETCH:
        next(loader)
        count += batch_size
    return count / elapsed


def row_markdown(row: dict[str, Any], eaten: float | None) -> str:
    """A line below `HEAD`; `eaten` is how many images a second the device trains on."""
    low, high = min(row["rates"]), max(row["rates"])
    cells = [
        row["source"] + (", cached" if row["cached"] else ""),
        f"{row['num_images']:,}",
        f"{row['images_per_second']:.0f}",
        f"{low:.0f}-{high:.0f}",
        f"{row['first_batch_s']:.1f}",
        f"{row['images_per_second'] / eaten:.1f}x" if eaten else "",
    ]
    return f"| {' | '.join(cells)} |"
