"""The style image: found by name, read at its size."""

from pathlib import Path
from typing import NamedTuple

from ml_collections import ConfigDict

from jaxperceptual.core import config_files, files
from jaxperceptual.core.errors import InputError
from jaxperceptual.core.types import Image
from jaxperceptual.images.reading import read_image

STYLES = config_files.FOLDER / "styles"
MIN_STYLE_SIDE = 16  # px: relu4_3 sees an eighth of it, relu5_3 a sixteenth


class StyleImage(NamedTuple):
    """A style image, and which file it is."""

    name: str  # of the file, without folders
    sha256: str  # of the file
    pixels: Image  # [h w 3]
    line: str  # which it is and how to have another: for a person


def read_style(config: ConfigDict) -> StyleImage | None:
    """The style image that the config names; None for a config that names none.

    `style_image` is a path or a name in configs/styles; where there is neither, the
    config's `default_style_image` stands in, if it names one. Raises InputError if
    nothing is found or readable.
    """
    if "style_image" not in config:
        return None
    note = "another: --style PATH"
    for name in (config.style_image, config.default_style_image):
        for path in (Path(name), STYLES / name):
            if name and path.is_file():
                pixels = read_image(path, size=config.style_size)
                _check_size(path, pixels, config.style_size)
                line = f"style image: {path} ({note})"
                return StyleImage(path.name, files.sha256(path), pixels, line)
        note = f"{name} is not in configs/styles; put it there or give --style PATH"
    raise InputError(
        f"style image {config.style_image}: no such file, here or in configs/styles; "
        "give one with --style PATH."
    )


def _check_size(path: Path, pixels: Image, size: int) -> None:
    h, w, _ = pixels.shape
    if min(h, w) < MIN_STYLE_SIDE:
        raise InputError(
            f"style image {path}: {w} x {h} px at style_size={size}; its short side "
            f"needs {MIN_STYLE_SIDE}."
        )
