"""The style image: found by name, read at its size."""

from pathlib import Path
from typing import NamedTuple

from ml_collections import ConfigDict

from jaxperceptual.core import config_files, files
from jaxperceptual.core.errors import InputError, check_range
from jaxperceptual.core.types import Image
from jaxperceptual.images.reading import read_image
from jaxperceptual.losses import style_weight

STYLES = config_files.FOLDER / "styles"
MIN_STYLE_SIDE = 16  # px: relu4_3 sees an eighth of it, relu5_3 a sixteenth


class StyleImage(NamedTuple):
    """A style image, and which file it is."""

    name: str  # of the file, without folders
    sha256: str  # of the file
    pixels: Image  # [h w 3]
    line: str  # which it is and how to have another: for a person


def read_gallery(config: ConfigDict) -> dict[str, StyleImage | None]:
    """The style images of a gallery's config, by name, in the order of its rows.

    `styles.NAME` has `image`, a path or a name in configs/styles, its `size`, and
    `weight`, which that style's terms are multiplied with (0: found, by
    `style_weight.found`). A style without an image has no style terms, and is None.
    Raises InputError as `read_style` does.
    """
    styles: dict[str, StyleImage | None] = {}
    for name, style in config.styles.items():
        check_range(f"styles.{name}.weight", style.weight, 0, style_weight.MOST)
        if not style.image:
            styles[name] = None
            continue
        styles[name] = _read(style.image, style.size, f"style {name}")
    return styles


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
        if style := _find(name, config.style_size, note):
            return style
        note = f"{name} is not in configs/styles; put it there or give --style PATH"
    raise _not_found(config.style_image)


def _read(name: str, size: int, note: str) -> StyleImage:
    if style := _find(name, size, note):
        return style
    raise _not_found(name)


def _find(name: str, size: int, note: str) -> StyleImage | None:
    for path in (Path(name), STYLES / name):
        if name and path.is_file():
            pixels = read_image(path, size=size)
            _check_size(path, pixels, size)
            line = f"style image: {path} ({note})"
            return StyleImage(path.name, files.sha256(path), pixels, line)
    return None


def _not_found(name: str) -> InputError:
    return InputError(
        f"style image {name}: no such file, here or in configs/styles; give one with "
        "--style PATH."
    )


def _check_size(path: Path, pixels: Image, size: int) -> None:
    h, w, _ = pixels.shape
    if min(h, w) < MIN_STYLE_SIDE:
        raise InputError(
            f"style image {path}: {w} x {h} px at style_size={size}; its short side "
            f"needs {MIN_STYLE_SIDE}."
        )
