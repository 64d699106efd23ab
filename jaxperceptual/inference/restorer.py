"""A restoration model and a photo of any size to a restored, larger photo (4.2)."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float32
from skimage import exposure
from tqdm import tqdm

from jaxperceptual.core.errors import InputError
from jaxperceptual.core.memory import enough_memory
from jaxperceptual.core.precision import dtype, products
from jaxperceptual.core.types import Image
from jaxperceptual.images import color
from jaxperceptual.images.tiles import windows
from jaxperceptual.networks.folding import fold
from jaxperceptual.networks.model_file import Model, build_net

Large = Float32[np.ndarray, "_ _ 3"]  # of another size than the `Image` beside it

MIN_TILE = 16  # px; smaller ones are mostly margin
# Activations of 64 channels take 1 GiB a layer at 2048 x 2048.
WHOLE = 2048**2  # px of output
TILE = 1024  # px of output, a side


class Restorer:
    """A restoration model, ready to run: compiled once for each shape it meets.

    model: whose task is "restoration"; InputError for another.
    tile: the side in input pixels of squares that are restored one by one, each with a
        margin as wide as the network's reach, so that only memory and time depend on
        it. InputError below `MIN_TILE`, and for instance norm, which looks at the
        whole image. None: `TILE` where the output has more than `WHOLE` pixels and
        the network allows it, else the whole image at once.
    precision: as `Stylizer` has it.

    Attributes:
      model: the model.
      factor: by which both sides grow.
    """

    def __init__(
        self,
        model: Model,
        *,
        tile: int | None = None,
        precision: str = "float32",
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
        # Of the tasks, this one alone keeps what a photo's colours are.
        self.enlarges = model.trained.degradation in (None, "downsample")
        # SRCNN leaves colour as bicubic interpolation has it.
        self.matches = self.enlarges and model.net_config.get("name") != "SRCNN"
        self._tile = tile
        self._reach = net.reach
        self._variables = jax.device_put(variables)

        def apply(variables, images):
            with products(precision):
                outputs = net.apply(variables, images, train=False)
            return jnp.clip(outputs, 0.0, 255.0)

        self._apply = jax.jit(apply)

    def check_enlarges(self, name: str, factor: int | None = None) -> None:
        """InputError, with the model's `name`, unless it is for super-resolution.

        With a `factor`, unless it enlarges by just that.
        """
        if self.factor == 1 or not self.enlarges:
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

    def __call__(self, image: Image) -> Large:
        """[h w 3] -> [factor*h factor*w 3], both in [0, 255]; the network alone.

        Raises InputError if it does not fit into memory.
        """
        h, w, _ = image.shape
        with enough_memory(f"an image of {w} x {h} px", "a (smaller) --tile"):
            f, tile = self.factor, self._tile
            if tile is None and self._reach is not None and h * w * f**2 > WHOLE:
                tile = TILE // f
            if tile is None:
                return np.asarray(self._apply(self._variables, image[None]))[0]
            output = np.empty((h * f, w * f, 3), np.float32)
            pairs = list(
                itertools.product(
                    windows(h, tile, self._reach), windows(w, tile, self._reach)
                )
            )
            for rows, columns in tqdm(pairs, unit="tile", leave=False, disable=None):
                window = image[None, rows.all, columns.all]
                restored = np.asarray(self._apply(self._variables, window))[0]
                output[rows.target(f), columns.target(f)] = restored[
                    rows.kept(f), columns.kept(f)
                ]
        return output


def restore(
    restorer: Restorer, image: Image, *, histogram_match: bool | None = None
) -> Large:
    """The restored photo [factor*h factor*w 3] of [h w 3], in [0, 255].

    histogram_match: give each channel of the output the distribution of the input's, as
        the paper does after its networks for super-resolution. None: after those, but
        for SRCNN, which keeps the colours anyway.

    What is enlarged stays without colour if it was. Raises InputError as `Restorer`
    does.
    """
    output = restorer(image)
    if histogram_match is None:
        histogram_match = restorer.matches
    h, w, _ = output.shape
    with enough_memory(f"an output of {w} x {h} px", "a part of the image"):
        if restorer.enlarges and (image == image[..., :1]).all():
            output = np.repeat(color.luma(output)[..., None], 3, axis=-1)
        return match_histogram(output, image) if histogram_match else output


def match_histogram(image: Large, reference: Image) -> Large:
    """The image with each channel's distribution that of the reference, of any size.

    Both as 8-bit files hold them: between whole numbers and others, each value would
    land half a step too low on average.
    """
    matched = exposure.match_histograms(
        np.rint(image), np.rint(reference), channel_axis=-1
    )
    return matched.astype(np.float32)
