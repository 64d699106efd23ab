"""PNGs written row by row are those that Pillow reads."""

import numpy as np
import pytest
from PIL import Image

from jaxperceptual.core.errors import InputError
from jaxperceptual.images.streams import writing_png


@pytest.mark.parametrize("channels", [3, 4])
def test_rows_come_back(channels, tmp_path):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (37, 23, channels), dtype=np.uint8)
    with writing_png(tmp_path / "a.png", 23, 37, alpha=channels == 4) as put:
        for start in (0, 1, 20, 36):
            stop = {0: 1, 1: 20, 20: 36, 36: 37}[start]
            put(image[start:stop])
        assert not (tmp_path / "a.png").exists()
    with Image.open(tmp_path / "a.png") as picture:
        picture.verify()  # the checksums
    np.testing.assert_array_equal(Image.open(tmp_path / "a.png"), image)


def test_what_is_not_whole_is_not_there(tmp_path):
    rows = np.zeros((5, 8, 3), np.uint8)
    with pytest.raises(ValueError, match="5 rows of 6"):
        with writing_png(tmp_path / "a.png", 8, 6) as put:
            put(rows)
    with pytest.raises(ValueError, match="the image's are"):
        with writing_png(tmp_path / "a.png", 9, 5) as put:
            put(rows)
    assert not list(tmp_path.iterdir())
    with pytest.raises(InputError, match="cannot be written"):
        with writing_png(tmp_path / "missing" / "a.png", 8, 5) as put:
            put(rows)
