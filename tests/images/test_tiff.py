"""TIFFs of every layout, written by another program: read right, or refused."""

import io
import itertools

import numpy as np
import pytest
import tifffile

from jaxperceptual.core.errors import InputError
from jaxperceptual.images.reading import load_rgb

H, W = 21, 35  # no multiple of a tile
LAYOUTS = list(
    itertools.product(
        *(("contig", "separate"), (None, "zlib"), "<>", (None, (16, 16))),
    )
)
ROUNDED = 3  # grey levels: 16 bits lose their low byte, here before a product


def expected(values, photometric, alpha):
    """[h w 3] over white, by the definitions of TIFF 6.0, of values in [0, 1]."""
    colours = values[..., : -1 if alpha else None]
    if photometric == "separated":
        colours = (1 - colours[..., :3]) * (1 - colours[..., 3:])
    if photometric == "miniswhite":
        colours = 1 - colours
    over = np.repeat(colours, 3, -1) if colours.shape[-1] == 1 else colours
    if alpha == "assocalpha":
        over = over + (1 - values[..., -1:])
    elif alpha:
        over = over * values[..., -1:] + (1 - values[..., -1:])
    return 255 * over


@pytest.mark.parametrize("alpha", [None, "unassalpha", "assocalpha"])
@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize(
    "photometric, channels",
    [("rgb", 3), ("minisblack", 1), ("miniswhite", 1), ("separated", 4)],
)
def test_a_tiff_is_read_right_or_refused(photometric, channels, depth, alpha):
    rng = np.random.default_rng(0)
    most = 2**depth - 1
    pixels = rng.integers(0, most + 1, (H, W, channels + bool(alpha)))
    if alpha == "assocalpha":
        pixels[..., :-1] = np.minimum(pixels[..., :-1], pixels[..., -1:])
    right = expected(pixels / most, photometric, alpha)
    num_right = 0
    for planar, compression, order, tile in LAYOUTS:
        array = pixels.astype(f"u{depth // 8}")
        if array.shape[-1] == 1:
            array = array[..., 0]
        elif planar == "separate":
            array = np.moveaxis(array, -1, 0).copy()
        file = io.BytesIO()
        tifffile.imwrite(
            file,
            array,
            photometric=photometric,
            planarconfig=planar if array.ndim == 3 else None,
            compression=compression,
            byteorder=order,
            tile=tile,
            extrasamples=[alpha] if alpha else None,
        )
        try:
            found = np.asarray(load_rgb(file.getvalue(), name="x.tif"))
        except InputError as error:
            assert "x.tif: cannot be read as an image" in str(error)
            continue
        layout = f"{planar} {compression} {order} {tile}"
        assert np.abs(found - right).max() <= ROUNDED, layout
        num_right += 1
    # What most photos are must be among those that are read.
    if (photometric, alpha) in (("rgb", None), ("minisblack", None)):
        assert num_right >= len(LAYOUTS) // 2
