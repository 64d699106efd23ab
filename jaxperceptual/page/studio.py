"""An uploaded photo, and what is asked of it, to a picture: the page's work.

The pixels are those that `stylize`, and `super_resolve` after it, would write.
"""

import contextlib
import functools
import io
import os
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from jaxperceptual.core import config_files
from jaxperceptual.core.errors import InputError
from jaxperceptual.core.memory import enough_memory
from jaxperceptual.images import reading, writing
from jaxperceptual.images.mixing import mix
from jaxperceptual.images.resampling import resized_alpha
from jaxperceptual.inference import at_once
from jaxperceptual.inference.restorer import Restorer
from jaxperceptual.inference.stylizer import Stylizer, canvas_of, scaled
from jaxperceptual.networks import pretrained
from jaxperceptual.networks.model_file import read_model

NO_STYLE = "none"  # the photo as it is, to be enlarged
MAX_SIZE = 2048  # px, long side of what goes through the network
MAX_ENLARGED = 16e6  # pixels that come out
STYLE_SCALES = (0.5, 4.0)
# Each size of canvas is a program: beyond so many, all are dropped, so that a server
# that runs for months, whatever it is asked for, holds no more.
MAX_PROGRAMS = 64
TYPES = {"png": "image/png", "jpg": "image/jpeg", "webp": "image/webp"}
_OPAQUE = ("jpg",)
THUMBNAIL = 192  # px, both sides
# What is compiled before anyone asks [h w]: photos 4:3 and 3:2 at the page's first
# size, lying and upright, and its camera.
FIRST_SIZES = ((480, 640), (427, 640), (240, 320), (640, 480), (640, 427))


class Wish(NamedTuple):
    """What is asked of a photo."""

    style: str
    size: int = 640  # px, at most, of the long side
    strength: float = 1.0
    style_scale: float = 1.0
    preserve_color: bool = False
    enlarge: int = 1
    format: str = "png"

    @classmethod
    def parse(cls, query: Mapping[str, str]) -> "Wish":
        """From the words of a request. Raises InputError for what cannot be."""
        for key in query:
            if key not in cls._fields:
                raise InputError(f"{key}: unknown; use {', '.join(cls._fields)}.")
        wish = cls(
            style=query.get("style", NO_STYLE),
            size=round(_number(query, "size", 640, 16, MAX_SIZE)),
            strength=_number(query, "strength", 1, 0, 1),
            style_scale=_number(query, "style_scale", 1, *STYLE_SCALES),
            preserve_color=bool(_number(query, "preserve_color", 0, 0, 1)),
            enlarge=round(_number(query, "enlarge", 1, 1, 8)),
            format=query.get("format", "png"),
        )
        if wish.enlarge not in (1, *pretrained.ENLARGERS):
            raise InputError(f"enlarge={wish.enlarge}; use 1, 2, 4 or 8.")
        if wish.format not in TYPES:
            raise InputError(f"format={wish.format}; use {', '.join(TYPES)}.")
        return wish


def _number(query, key, default, least, most):
    text = query.get(key, default)
    try:
        number = float(text)
    except ValueError:
        number = float("nan")
    if not least <= number <= most:
        raise InputError(f"{key}={text}; use a number from {least} to {most}.")
    return number


class Studio:
    """The network, and what it has been asked for. For one thread at a time, and one
    that does `warm_up`.

    model: a gallery, or a network of one style, as `Stylizer.from_pretrained` has it.

    Attributes:
      model: the model. styles: their names. default: the first to be shown.
      wanted: sizes [h w] that were asked for and made at once (`at_once`); with
        `warm_up` they will take less time.

    Raises InputError as `read_model` does.
    """

    def __init__(self, model: str | os.PathLike | None = None):
        read = read_model(model or pretrained.pretrained_path(pretrained.GALLERY))
        name = pretrained.model_name(model) if model else pretrained.GALLERY
        self.styles = tuple(read.styles) or (name,)
        self.default = self.styles[0]
        if pretrained.DEFAULT_STYLE in self.styles:
            self.default = pretrained.DEFAULT_STYLE
        self._is_gallery = bool(read.styles)
        self.model = read
        self._thumbnails: dict[str, bytes | None] = {}
        self._begin()

    def _begin(self):
        style = self.default if self._is_gallery else None
        self._stylizer = Stylizer(self.model, style=style)
        self._of_style = functools.lru_cache(64)(self._stylizer.with_style)
        self._restorer = functools.lru_cache(4)(Restorer.from_pretrained)
        self._enlarged_shapes: set[tuple[int, ...]] = set()
        self._painters: dict[tuple[int, int], at_once.Painter] = {}
        self._ready: set[tuple[int, int]] = set()  # canvases
        self.wanted: list[tuple[int, int]] = []

    @property
    def num_programs(self) -> int:
        """How many are held."""
        others = len(self._painters) + len(self._enlarged_shapes)
        return self._stylizer.num_programs + others

    def about(self) -> dict[str, Any]:
        """What the page shows: styles, bounds, words."""
        return {
            "styles": [
                {"name": name, "title": self._title(name)} for name in self.styles
            ],
            "default": self.default,
            "max_size": MAX_SIZE,
            "enlarge": [*pretrained.ENLARGERS],
            "formats": [*TYPES],
        }

    def _title(self, name):
        config = self.model.trained.config
        title = config.get(f"styles.{name}.title") or name.replace("_", " ")
        return str(title)

    def thumbnail(self, name: str) -> bytes | None:
        """A style's painting as a small WebP; None where it is not at hand."""
        if name not in self.styles:
            return None
        if name not in self._thumbnails:
            self._thumbnails[name] = self._painting(name)
        return self._thumbnails[name]

    def _painting(self, name):
        told = self.model.styles.get(name, {}).get("name")
        told = told or (self.model.trained.style or {}).get("name")
        path = config_files.FOLDER / "styles" / os.path.basename(told or "")
        if not told or not path.is_file():
            return None
        picture = reading.load_rgb(path, at_least=THUMBNAIL)
        w, h = picture.size
        side = min(w, h)
        left, top = (w - side) // 2, (h - side) // 2
        box = (left, top, left + side, top + side)
        return _encoded(picture.resize((THUMBNAIL, THUMBNAIL), box=box), "webp", 80)

    def warm_up(self, size: tuple[int, int]) -> None:
        """Compiles what a photo of this size [h w] takes."""
        self._stylizer(np.zeros((*size, 3), np.float32))
        self._ready.add(canvas_of(*size))
        self._painters.pop(size, None)

    def picture(self, data: bytes, wish: Wish) -> bytes:
        """The encoded picture. Raises InputError for what cannot be read, or be."""
        photo, alpha = reading.read_with_alpha(data, size=wish.size)
        output = photo
        if self.num_programs >= MAX_PROGRAMS:
            self._begin()
        with enough_memory("a picture of this size", "a smaller one"):
            if wish.style != NO_STYLE:
                output = self._stylized(photo, wish)
            if wish.enlarge > 1:
                output, alpha = self._enlarged(output, alpha, wish.enlarge)
            if wish.format in _OPAQUE:
                alpha = None
            return _encoded(writing.to_picture(output, alpha=alpha), wish.format)

    def _stylized(self, photo, wish):
        stylizer = self._stylizer
        if self._is_gallery:
            stylizer = self._of_style(wish.style)
        elif wish.style not in self.styles:
            raise InputError(f"style {wish.style}: there is {self.default} alone.")
        h, w = scaled(*photo.shape[:2], wish.style_scale)
        if max(h, w) > MAX_SIZE:
            raise InputError(
                f"style_scale={wish.style_scale:g} at {wish.size} px needs "
                f"{w} x {h} px, over {MAX_SIZE}; use a smaller size."
            )
        mixing = dict(strength=wish.strength, preserve_color=wish.preserve_color)
        if wish.style_scale == 1 and canvas_of(h, w) not in self._ready:
            with contextlib.suppress(at_once.Unavailable):
                return mix(photo, self._at_once(stylizer.model, photo), **mixing)
        output = stylizer(photo, style_scale=wish.style_scale, **mixing)
        self._ready.add(canvas_of(h, w))
        return output

    def _at_once(self, model, photo):
        """The first of a size: in a second, where its program takes four to compile."""
        h, w, _ = photo.shape
        params = model.variables["params"]
        painter = self._painters.get((h, w))
        if painter is None:
            painter = at_once.painter(model.net_config, params, h, w)
            if painter is None:
                raise at_once.Unavailable
            self._painters[h, w] = painter
            self.wanted.append((h, w))
        return painter(photo, params)

    def _enlarged(self, image, alpha, factor):
        h, w = (factor * side for side in image.shape[:2])
        if h * w > MAX_ENLARGED:
            raise InputError(
                f"enlarged by {factor} it would have {w} x {h} px, over "
                f"{MAX_ENLARGED / 1e6:.0f} megapixels; use a smaller size or factor."
            )
        # As a file between the two commands would hold it.
        image = np.rint(image.clip(0.0, 255.0))
        restorer = self._restorer(pretrained.shipped_enlarger(factor))
        self._enlarged_shapes.add((factor, *image.shape))
        alpha = None if alpha is None else resized_alpha(alpha, w, h)
        return restorer(image), alpha


def _encoded(picture, format, quality=95):
    options = {"compress_level": 1} if format == "png" else {"quality": quality}
    file = io.BytesIO()
    picture.save(file, {"jpg": "jpeg"}.get(format, format), **options)
    return file.getvalue()
