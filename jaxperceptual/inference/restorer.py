"""A restoration model and a photo of any size to a restored, larger photo (4.2)."""

import functools
import operator
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from skimage import exposure

from jaxperceptual.core.ahead import Once
from jaxperceptual.core.errors import InputError
from jaxperceptual.core.memory import enough_memory
from jaxperceptual.core.precision import dtype, products
from jaxperceptual.core.progress import Bar
from jaxperceptual.core.types import Bytes, Image
from jaxperceptual.images import color
from jaxperceptual.images.tiles import windows
from jaxperceptual.inference.consistency import ITERATIONS, REACH, consistent
from jaxperceptual.inference.kinds import same_kind
from jaxperceptual.inference.windowed import Large, assembled, default_tile
from jaxperceptual.networks.folding import fold
from jaxperceptual.networks.model_file import Model, build_net, read_model, write_model
from jaxperceptual.networks.pretrained import (
    FILE_NAME,
    find_model,
    pretrained_path,
    shipped_enlarger,
)
from jaxperceptual.ops import onednn

MIN_TILE = 16  # px; smaller ones are mostly margin
BAND = 48_000_000  # px of output that `in_bands` makes at a time


class Restorer:
    """A restoration model, ready to run: compiled once for each shape it meets.

    On an x86 CPU convolutions are oneDNN's where they can be (`onednn`): every process
    compiles its programs, in a second, and none is kept.

    model: whose task is "restoration"; InputError for another. `from_pretrained` reads
        one by name.
    tile: the side in input pixels of squares that are restored one by one, each with a
        margin as wide as the network's reach, so that only memory and time depend on
        it. InputError below `MIN_TILE`, and for instance norm, which looks at the
        whole image. None: tiles where the output is large and the network allows it
        (`windowed.default_tile`), else the whole image at once.
    precision: as `Stylizer` has it.
    histogram_match: give each channel of an output the distribution of the input's, as
        the paper does after its networks for super-resolution (section 4.2).
    consistency: how often an output is then corrected, so that it becomes its input
        again when made small (`consistency.consistent`); 0 for not at all, InputError
        below. A network that does not enlarge has none: its input is what it undoes.

    Attributes:
      model: the model.
      factor: by which both sides grow.
      enlarges: whether its task is super-resolution.
      histogram_match, consistency: what is done where a call does not say.
    """

    def __init__(
        self,
        model: Model,
        *,
        tile: int | None = None,
        precision: str = "float32",
        histogram_match: bool = False,
        consistency: int = ITERATIONS,
    ):
        if model.task != "restoration":
            raise InputError(
                f"a model for {model.task}; give one that was trained for restoration."
            )
        net = build_net(model, dtype(precision))
        net, variables = fold(net, model.variables)
        if tile is not None and tile < MIN_TILE:
            raise InputError(f"tile={tile} px; use {MIN_TILE} or more.")
        if tile is not None and net.reach is None:
            raise InputError(
                f"tile={tile}: a network with instance norm looks at the whole image; "
                "leave --tile out."
            )
        self.model = model
        self.factor: int = net.factor
        # Super-resolution alone takes its colours from the input.
        undone = model.trained.degradation
        self.enlarges = self.factor > 1 and undone in (None, "downsample")
        self.histogram_match = histogram_match
        self.consistency = _checked(consistency) if self.enlarges else 0
        self._tile = tile
        self._reach = net.reach
        self._variables = jax.device_put(variables)
        self._dtype = net.dtype
        self._compiled = Once(self._compile)  # by an image's shape

        def apply(variables, images):
            with products(precision):
                outputs = net.apply(variables, images, train=False)
            return jnp.clip(outputs, 0.0, 255.0)

        # Of its own, so that nothing else compiles what is traced for `onednn`.
        def apply_anew(variables, images):
            return apply(variables, images)

        self._apply = jax.jit(apply)
        self._apply_anew = jax.jit(apply_anew)

    def _program(self, shape):
        serves = onednn.serves(self._dtype)
        return self._compiled[shape] if serves else self._apply

    def _compile(self, shape):
        with onednn.programs():
            images = jax.ShapeDtypeStruct(shape, np.float32)
            return self._apply_anew.lower(self._variables, images).compile()

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str | os.PathLike | None = None,
        *,
        factor: int | None = None,
        **options,
    ) -> "Restorer":
        """That of a shipped model's name, a run folder or a model file.

        name_or_path: None for the model that ships for `factor`, or as the default; a
            file or folder of the name of a shipped model goes before that.
        factor: by which it must enlarge; None for any.
        options: as `Restorer` has them.

        Raises InputError as `read_model` does, and for a model of another factor.
        """
        path = name_or_path or pretrained_path(shipped_enlarger(factor))
        restorer = cls(read_model(path, task="restoration"), **options)
        if factor is not None:
            restorer.check_enlarges(os.fspath(path), factor)
        return restorer

    def save_pretrained(self, folder: str | os.PathLike) -> Path:
        """Writes the model into `folder`, for `from_pretrained(folder)`; its path."""
        path = Path(folder) / FILE_NAME
        write_model(path, self.model)
        return path

    def check_enlarges(self, name: str, factor: int | None = None) -> None:
        """InputError, with the model's `name`, unless it is for super-resolution.

        With a `factor`, unless it enlarges by just that.
        """
        if not self.enlarges:
            undoes = self.model.trained.degradation or "nothing known"
            raise InputError(
                f"{name}: trained to undo {undoes}, enlarges by "
                f"{self.factor}; give a super-resolution model."
            )
        if factor not in (None, self.factor):
            raise InputError(
                f"{name}: enlarges by {self.factor}, not by {factor}; give a model for "
                f"x{factor}."
            )

    def __call__(
        self,
        images: Any,
        *,
        histogram_match: bool | None = None,
        consistency: int | None = None,
    ) -> Any:
        """Restores images; the same kind comes back, both sides times `factor`.

        What is enlarged stays without colour if it was.

        Args:
          images: A path, a Pillow image, a NumPy or JAX array [h w 3] or [n h w 3] in
            [0, 255], or a list of these (`kinds.same_kind`).
          histogram_match: As `Restorer` has it; None for what that was given.
          consistency: Likewise.

        Raises InputError for a file that cannot be read, what does not fit into
        memory, and an array of another shape.
        """
        matches = self.histogram_match if histogram_match is None else histogram_match
        times = self.consistency
        if consistency is not None and self.enlarges:
            times = _checked(consistency)

        def restored(pixels):
            images = np.asarray(pixels).reshape(-1, *pixels.shape[-3:])
            outputs = [self._finished(image, matches, times) for image in images]
            stacked = np.stack(outputs) if pixels.ndim == 4 else outputs[0]
            return stacked if isinstance(pixels, np.ndarray) else jnp.asarray(stacked)

        return same_kind(images, restored)

    def memory(self, h: int, w: int) -> int:
        """About how many bytes an image [h w 3] takes, with its output as a whole."""
        return round(1.4e9 + h * w * (15 + 55 * self.factor**2))

    def memory_in_bands(self, h: int, w: int) -> int:
        """Likewise by `in_bands`, with an alpha, and the rest of it written."""
        return round(1.4e9 + 40 * BAND + h * w * (11 + self.factor**2))

    @property
    def why_whole(self) -> str:
        """What needs an output as a whole; empty if `in_bands` can make it."""
        if self._reach is None:
            return "instance norm"
        return "--histogram-match" if self.histogram_match else ""

    def in_bands(self, image: Bytes) -> Iterator[Large]:
        """The output of an image from the top down, so many rows at a time.

        image: uint8 [h w 3].

        What it adds up to is what `__call__` gives, to rounding. Raises InputError, on
        the first, for what needs the whole output: histogram matching, and instance
        norm.
        """
        h, w, _ = image.shape
        if self.why_whole:
            raise InputError(
                f"{w} x {h} px: with {self.why_whole}, the output has to fit into "
                "memory as a whole; enlarge a part of the image."
            )
        # Spoilt at a band's end: what the network reaches, then each correction.
        margin = self._reach + REACH * self.consistency
        rows = max(MIN_TILE, BAND // (self.factor**2 * w))
        grey = self._stays_grey(image)
        for window in Bar([*windows(h, rows, margin)], unit="band", leave=False):
            part = image[window.seen].astype(np.float32)
            output = self._finished(part, False, self.consistency, grey)
            yield output[window.kept(self.factor)]

    def _stays_grey(self, image: Image | Bytes) -> bool:
        return self.enlarges and all(
            (image[..., 0] == image[..., i]).all() for i in (1, 2)
        )

    def _finished(
        self,
        image: Image,
        histogram_match: bool,
        consistency: int,
        grey: bool | None = None,
    ) -> Large:
        output = self.network(image)
        h, w, _ = output.shape
        with enough_memory(f"an output of {w} x {h} px", "a part of the image"):
            grey = self._stays_grey(image) if grey is None else grey
            if grey:
                output = np.repeat(color.luma(output)[..., None], 3, axis=-1)
            if histogram_match:
                output = match_histogram(output, image)
            if consistency:
                output = consistent(output, image, consistency)
            # Equal channels may be rounded in three ways.
            return np.repeat(output[..., :1], 3, axis=-1) if grey else output

    def network(self, image: Image) -> Large:
        """[h w 3] -> [factor*h factor*w 3], both in [0, 255]; the network alone.

        Raises InputError if it does not fit into memory.
        """
        h, w, _ = image.shape
        tile = self._tile
        if tile is None and self._reach is not None:
            tile = default_tile(h, w, self.factor)

        def part(rows, columns):
            window = image[None, rows, columns]
            program = self._program(window.shape)
            return np.asarray(program(self._variables, window))[0]

        with enough_memory(f"an image of {w} x {h} px", "a (smaller) --tile"):
            return assembled(
                part, image, factor=self.factor, tile=tile, margin=self._reach or 0
            )


def super_resolve(
    images: Any,
    *,
    model: str | os.PathLike | Model | Restorer | None = None,
    factor: int | None = None,
    histogram_match: bool | None = None,
    consistency: int | None = None,
) -> Any:
    """Enlarges images in one line; the same kind comes back (`Restorer.__call__`).

    model: None for what ships for `factor`, or as the default; or a shipped model's
        name, a run folder, a model file, a model, or a `Restorer`;
        the last one that a name or path led to is kept for the next call.
    factor: By which the sides grow: 2, 4 or 8, as far as models ship, or that of
        `model`; None for that of the model.
    histogram_match, consistency: As `Restorer.__call__` has them.

    Raises InputError for a model or a file that cannot be read, or a model that does
    not enlarge, or not by `factor`; and as a `Restorer` does.
    """
    name = model if isinstance(model, str | os.PathLike) and model else "the model"
    if isinstance(model, Model):
        model = Restorer(model)
    elif not isinstance(model, Restorer):
        path = find_model(model) if model else pretrained_path(shipped_enlarger(factor))
        model = _read(path, path.stat().st_mtime_ns)
    model.check_enlarges(os.fspath(name), factor)
    return model(images, histogram_match=histogram_match, consistency=consistency)


@functools.lru_cache(1)
def _read(path: Path, written: int) -> Restorer:
    del written  # another file, another entry
    return Restorer.from_pretrained(path)


def _checked(consistency: int) -> int:
    try:
        times = operator.index(consistency)
    except TypeError:
        times = -1
    if times < 0:
        raise InputError(f"consistency={consistency}; use 0 (none) or more.")
    return times


def match_histogram(image: Large, reference: Image) -> Large:
    """The image with each channel's distribution that of the reference, of any size.

    Both as 8-bit files hold them: between whole numbers and others, each value would
    land half a step too low on average.
    """
    matched = exposure.match_histograms(
        np.rint(image), np.rint(reference), channel_axis=-1
    )
    return matched.astype(np.float32)
