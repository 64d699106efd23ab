"""A trained style model and a photo of any size to a stylised photo."""

import copy
import dataclasses
import functools
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import UInt8

from jaxperceptual.core.ahead import Ahead, Once
from jaxperceptual.core.errors import InputError
from jaxperceptual.core.memory import give_memory_back
from jaxperceptual.core.precision import dtype, products
from jaxperceptual.core.types import Bytes, Image, Params
from jaxperceptual.images.grain import with_grain
from jaxperceptual.images.mixing import check_strength, mix
from jaxperceptual.images.resampling import resized
from jaxperceptual.images.writing import to_bytes, without_white
from jaxperceptual.inference import canvases
from jaxperceptual.inference.kinds import same_kind
from jaxperceptual.inference.strips import STRIP, Strips
from jaxperceptual.networks.folding import fold
from jaxperceptual.networks.model_file import Model, build_net, read_model, write_model
from jaxperceptual.networks.pretrained import (
    DEFAULT_STYLE,
    FILE_NAME,
    GALLERY,
    find_model,
    pretrained_path,
)
from jaxperceptual.ops import onednn
from jaxperceptual.ops.margin import Margin

MIN_STEP = 32  # px
# Pixels in all, up to which it pays to compile in half the time what then takes a
# twentieth longer: three programs, 2 s of a core each, against 0.05 s a megapixel.
QUICK = 50e6


class Stylizer:
    """A style model, ready to run on images of any size: load once, call many times.

    Compiling takes seconds, so sizes share programs: an image lies at the top left of
    a canvas, whose sides are `canvas_side(h)` and `canvas_side(w)`, and comes out as if
    it were alone, to rounding. That is up to an eighth of work for nothing on each
    side; `warm_up` makes a program for one size exactly. A batch norm is part of the
    convolutions (`folding.fold`). Programs for canvases come from JAX's persistent
    cache where there is one.

    An image goes through the network as a whole: at half width 4096 x 4096 takes 3.5 GB
    (`memory`). `in_strips` takes a tenth of that, and longer.

    model: whose task is "style"; `from_pretrained` reads one by name.
    style: of a gallery, which of its styles, or a mixture, as `Model.pick` has it.
    precision: "float32"; "tf32" or "bfloat16" (see `precision`) are faster where the
        device has units for them, and a fraction of a grey level off.
    grain: whether what is of one colour gets something to paint (`images.grain`); False
        for what the network alone makes of an image.

    Attributes:
      model: the model, of one style.
      styles: of a gallery, the names of its styles.
    """

    def __init__(
        self,
        model: Model,
        *,
        style: str | Mapping[str, float] | None = None,
        precision: str = "float32",
        grain: bool = True,
    ):
        if model.task != "style":
            raise InputError(f"a model for {model.task}; give one for style.")
        self._gallery = model
        self.styles = tuple(model.styles)
        self.model = model.pick(style)
        net = build_net(self.model, dtype(precision))
        net, variables = fold(net, self.model.variables)
        self._net, self._precision, self._grain = net, precision, grain
        self._strips: Strips | None = None
        self._variables = jax.device_put(variables)
        self._turned: Params | None = None  # variables of the network that lies
        self._exact: dict[tuple[int, ...], Callable[..., jax.Array]] = {}
        self._places: dict[tuple[int, int], canvases.Place] = {}
        self._programs = Ahead({})  # of places that were prepared
        self._shared = Once(functools.partial(self._compiled, lasting=True))
        self._traced: list[tuple[int, ...]] = []

        def apply(variables, images, margin=None):
            self._traced.append(images.shape)
            with products(precision):
                return net.apply(variables, images, train=False, margin=margin)

        # Of their own, so that nothing else compiles what is traced for `onednn`.
        def apply_exactly(variables, images):
            return apply(variables, images)

        def apply_anew(variables, images, margin=None):
            return apply(variables, images, margin)

        self._apply = jax.jit(apply)
        self._apply_exactly = jax.jit(apply_exactly)
        self._apply_anew = jax.jit(apply_anew)

    @classmethod
    def from_pretrained(
        cls, name_or_path: str | os.PathLike | None = None, **options
    ) -> "Stylizer":
        """That of a shipped model's name, a run folder or a model file.

        name_or_path: None for the gallery that ships, and its default style where
            `options` name none; a file or folder of the name of a shipped model goes
            before that.
        options: as `Stylizer` has them.

        Raises InputError as `read_model` and `Model.pick` do.
        """
        if name_or_path is None:
            name_or_path = pretrained_path(GALLERY)
            if options.get("style") is None:
                options["style"] = DEFAULT_STYLE
        return cls(read_model(name_or_path, task="style"), **options)

    @property
    def num_programs(self) -> int:
        """How many have been compiled, for all styles together."""
        return len(self._traced)

    def with_style(self, style: str | Mapping[str, float]) -> "Stylizer":
        """This gallery's Stylizer of another style; both share compiled programs.

        Raises InputError as `Model.pick` does.
        """
        other = copy.copy(self)
        other.model = self._gallery.pick(style)
        net = build_net(other.model)
        other._variables = jax.device_put(fold(net, other.model.variables)[1])
        other._turned = None
        return other

    def save_pretrained(self, folder: str | os.PathLike) -> Path:
        """Writes the model into `folder`, for `from_pretrained(folder)`; its path."""
        path = Path(folder) / FILE_NAME
        write_model(path, self.model)
        return path

    def warm_up(self, h: int, w: int, *, num_images: int = 1) -> "Stylizer":
        """Compiles, and runs once, what images of just this size will be given to.

        Without, an image lies on a canvas.
        """
        shape = num_images, h, w, 3
        images = jnp.zeros(shape)
        with onednn.programs(lasting=True):
            lowered = self._apply_exactly.lower(self._variables, images)
            self._exact[shape] = lowered.compile()
        give_memory_back()
        jax.block_until_ready(self(images))
        return self

    def prepare(self, sizes: Iterable[tuple[int, int]]) -> "Stylizer":
        """Chooses the programs for many single images, whose sizes [h w] are known.

        Where oneDNN is at hand (`onednn`), on a CPU: few programs (`canvases`), each
        compiled while images go through the one before, best in the order of `rank`;
        not kept, since to read what was kept takes as long. Elsewhere images share
        canvases as always.
        """
        sizes = [*sizes]
        if onednn.works():
            self._places = dict(canvases.places(sizes))
            quick = sum(h * w for h, w in sizes) < QUICK
            options = {"xla_backend_optimization_level": 1} if quick else {}
            flat = {dataclasses.replace(p, turned=False) for p in self._places.values()}
            compiles = {
                p: functools.partial(self._compiled, p, options=options) for p in flat
            }
            self._programs = Ahead(dict(sorted(compiles.items())))
        return self

    def rank(self, h: int, w: int) -> int:
        """The order in which to give images: equal for those that share a program.

        The next program is compiled meanwhile. 0 for sizes that were not prepared.
        """
        place = self._places.get((h, w))
        if place is None:
            return 0
        return self._programs.keys.index(dataclasses.replace(place, turned=False))

    def _compiled(self, place, *, lasting=False, options=None):
        arguments = [jax.ShapeDtypeStruct((1, place.h, place.w, 3), np.float32)]
        if not place.exact:
            arguments.append(Margin(*2 * [jax.ShapeDtypeStruct((), np.int32)]))
        with onednn.programs(lasting=lasting):
            lowered = self._apply_anew.lower(self._variables, *arguments)
            program = lowered.compile(compiler_options=options)
        give_memory_back()
        return program

    def _placed(
        self,
        image: Image,
        place: canvases.Place,
        programs: Ahead | Once,
    ) -> Image:
        """One image [h w 3] through the one of these programs that is its place's."""
        lying = image.transpose(1, 0, 2) if place.turned else image
        h, w, _ = lying.shape
        missing = place.h - h, place.w - w
        arguments = [_padded(lying[None], 0, *missing)]
        if not place.exact:
            arguments.append(Margin(*map(np.int32, missing)))
        variables = self._variables
        if place.turned:
            if self._turned is None:
                self._turned = turned(self._variables)
            variables = self._turned
        program = programs[dataclasses.replace(place, turned=False)]
        output = np.asarray(program(variables, *arguments))[0, :h, :w]
        return output.transpose(1, 0, 2) if lying is not image else output

    def memory(self, h: int, w: int) -> int:
        """About how many bytes an image of this size takes as a whole.

        As measured on a CPU: 200 a pixel at half width, 310 at full.
        """
        return round(h * w * (90 + 220 * self._net.width))

    def memory_in_strips(self, h: int, w: int, style_scale: float = 1.0) -> int:
        """Likewise `in_strips`, reading and writing included."""
        pixels = h * w / style_scale**2
        kept = 4 / 16 * round(128 * self._net.width) * pixels
        floats = 0 if style_scale == 1 else 28 * max(h * w, pixels)
        return round(1.4e9 + max(11 * h * w, 3 * h * w + kept) + floats)

    def in_strips(
        self,
        image: Bytes,
        *,
        strength: float = 1.0,
        preserve_color: bool = False,
        style_scale: float = 1.0,
        strip: int = STRIP,
        alpha: UInt8[np.ndarray, "h w"] | None = None,
        out: Bytes | None = None,
    ) -> Bytes:
        """One image as `__call__` has it, in less memory: strip by strip (`strips`).

        image: uint8 [h w 3]; so is the result, rounded.
        strip: a strip has as many pixels as a square of this side.
        alpha: what the image was laid over white with; the result is then what is to be
            stored beside it (`writing.without_white`).
        out: where the result goes; may be the image.

        Raises as `__call__` does, and InputError for a network of another project's.
        """
        check_strength(strength)
        check_style_scale(style_scale)
        h, w, _ = image.shape
        out = np.empty_like(image) if out is None else out

        def keep(rows, painted):
            photo = image[rows].astype(np.float32)
            mixed = mix(
                photo, painted, strength=strength, preserve_color=preserve_color
            )
            if alpha is not None:
                mixed = without_white(mixed, alpha[rows])
            out[rows] = to_bytes(mixed)

        def keep_all(painted):
            for start in range(0, h, MIN_STEP):
                rows = slice(start, min(h, start + MIN_STEP))
                keep(rows, painted[rows])

        if self._strips is None:
            self._strips = Strips(self._net, self._precision, grain=self._grain)
        if strength == 0:
            keep_all(image.astype(np.float32))
        elif style_scale == 1:
            self._strips(self._variables, image, keep, strip=strip)
        else:
            smaller = resized(image, *scaled(h, w, style_scale)).clip(0.0, 255.0)
            self._strips(self._variables, smaller, smaller.__setitem__, strip=strip)
            keep_all(resized(smaller, h, w).clip(0.0, 255.0))
        return out

    def __call__(
        self,
        images: Any,
        *,
        strength: float = 1.0,
        preserve_color: bool = False,
        style_scale: float = 1.0,
    ) -> Any:
        """Stylises images; the same kind comes back.

        Args:
          images: A path, a Pillow image, a NumPy or JAX array [h w 3] or [n h w 3] in
            [0, 255], or a list of these (`kinds.same_kind`).
          strength, preserve_color: See `mix`.
          style_scale: How large strokes become: the image is stylised at 1/style_scale
            of its size, and that enlarged to the image's.

        Raises InputError for a file that cannot be read, an array of
        another shape, a strength outside [0, 1] or a style_scale outside [1/8, 8].
        """
        check_strength(strength)
        check_style_scale(style_scale)

        def stylized(pixels):
            output = self._at_scale(pixels, style_scale) if strength > 0 else pixels
            return mix(pixels, output, strength=strength, preserve_color=preserve_color)

        return same_kind(images, stylized)

    def _at_scale(self, images, style_scale):
        if style_scale == 1:
            return self._stylized(images)
        h, w = images.shape[-3:-1]
        smaller = resized(images, *scaled(h, w, style_scale)).clip(0.0, 255.0)
        outputs = self._stylized(smaller)
        return resized(outputs, h, w).clip(0.0, 255.0)

    def _stylized(self, images):
        """Float32 [h w 3] or [n h w 3], on the host or a device, to the same."""
        on_host = isinstance(images, np.ndarray)
        if self._grain:
            images = with_grain(images)
        batch = images if images.ndim == 4 else images[None]
        n, h, w, _ = batch.shape
        traced = isinstance(batch, jax.core.Tracer)  # has no use for what is compiled
        if batch.shape in self._exact and not traced:
            outputs = self._exact[batch.shape](self._variables, batch)
            outputs = np.asarray(outputs) if on_host else outputs
        elif on_host and (h, w) in self._places:
            place, programs = self._places[h, w], self._programs
            outputs = np.stack([self._placed(x, place, programs) for x in batch])
        elif not traced and onednn.serves(self._net.dtype):
            place, programs = canvases.shared(*canvas_of(h, w)), self._shared
            outputs = np.stack(
                [self._placed(x, place, programs) for x in np.asarray(batch)]
            )
            outputs = outputs if on_host else jnp.asarray(outputs)
        else:
            outputs = self._apply(self._variables, *_on_canvas(batch))
            # Free on the host; on a device it compiles for each shape of images.
            outputs = (np.asarray(outputs) if on_host else outputs)[:n, :h, :w]
        return outputs if images.ndim == 4 else outputs[0]


def _on_canvas(batch):
    """The batch, enlarged to what it shares a program with, and the margin."""
    n, h, w, _ = batch.shape
    height, width = canvas_of(h, w)
    rows, columns = height - h, width - w
    more = 2 ** (n - 1).bit_length() - n
    canvas = _padded(batch, more, rows, columns)
    return canvas, Margin(np.int32(rows), np.int32(columns))


def _padded(batch, more, rows, columns):
    pad = np.pad if isinstance(batch, np.ndarray) else jnp.pad
    return pad(batch, ((0, more), (0, rows), (0, columns), (0, 0)))


def turned(variables: Params) -> Params:
    """Those of the network whose output is the transpose, for the image's transpose."""

    def of(path, leaf):
        return leaf.swapaxes(0, 1) if path[-1].key == "kernel" else leaf

    return jax.tree_util.tree_map_with_path(of, variables)


def canvas_of(h: int, w: int) -> tuple[int, int]:
    """The canvas that an image of this size shares a program on."""
    return canvas_side(h), canvas_side(w)


def canvas_side(side: int) -> int:
    """The canvas for so many pixels: multiples of `MIN_STEP`, at most 8 an octave."""
    step = max(MIN_STEP, 2 ** (side.bit_length() - 4))
    return -(-side // step) * step


def stylize(
    images: Any,
    *,
    model: str | os.PathLike | Model | Stylizer | None = None,
    style: str | Mapping[str, float] | None = None,
    strength: float = 1.0,
    preserve_color: bool = False,
    style_scale: float = 1.0,
) -> Any:
    """Stylises images in one line; the same kind comes back (`Stylizer.__call__`).

    model: None for the default that ships; or a shipped model's name, a run folder, a
        model file, a model, or a `Stylizer`;
        the last one that a name or path led to is kept for the next call.
    style: of a gallery, the shipped one if no model is named: "wave", "wave:2,udnie".
    strength, preserve_color: See `mix`.
    style_scale: See `Stylizer.__call__`.

    Raises InputError for a model or a file that cannot be read, and as a
    `Stylizer` does.
    """
    if isinstance(model, Model):
        model = Stylizer(model, style=style)
    elif isinstance(model, Stylizer):
        model = model if style is None else model.with_style(style)
    else:
        if model is None:
            model, style = pretrained_path(GALLERY), style or DEFAULT_STYLE
        model = os.fspath(model)
        picked = style if style is None or isinstance(style, str) else (*style.items(),)
        model = _read(model, picked, find_model(model).stat().st_mtime_ns)
    return model(
        images,
        strength=strength,
        preserve_color=preserve_color,
        style_scale=style_scale,
    )


@functools.lru_cache(1)
def _read(name: str, style: str | tuple | None, written: int) -> Stylizer:
    del written  # another file, another entry
    style = dict(style) if isinstance(style, tuple) else style
    return Stylizer.from_pretrained(name, style=style)


def scaled(h: int, w: int, style_scale: float) -> tuple[int, int]:
    """The size [h w] at which an image of this size goes through the network."""
    return max(1, round(h / style_scale)), max(1, round(w / style_scale))


def check_style_scale(style_scale: float) -> None:
    """InputError unless it is from 1/8 to 8."""
    if not 1 / 8 <= style_scale <= 8:
        raise InputError(f"style_scale={style_scale}; use 0.125 to 8, 1 for as it is.")
