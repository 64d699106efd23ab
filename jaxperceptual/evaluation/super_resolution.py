"""Figures 8 and 9 in numbers: how near is an enlarged photo to the one it came from.

Ground truth is made small by the same `degradations` as in training, made large again
by each method, and compared: PSNR and SSIM on Y as in the literature, and LPIPS, since
PSNR and SSIM reward blur (section 4.2).
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxperceptual.core.errors import InputError
from jaxperceptual.core.memory import enough_memory
from jaxperceptual.core.types import Image
from jaxperceptual.data import degradations
from jaxperceptual.evaluation import lpips, metrics
from jaxperceptual.images import resampling
from jaxperceptual.images.finding import find_images
from jaxperceptual.images.reading import read_header, read_image
from jaxperceptual.inference.restorer import Restorer
from jaxperceptual.networks import pretrained
from jaxperceptual.networks.model_file import Model, read_model

SCORES = ("psnr", "ssim", "lpips_alex", "lpips_vgg")
BICUBIC = "bicubic"


class Task(NamedTuple):
    """What all methods are judged on."""

    factor: int
    blur: float
    restorers: dict[str, Restorer]  # by the name of the model; they do what follows it


class Photo(NamedTuple):
    """One ground-truth image, and what each method made of its small version."""

    dataset: str
    name: str
    truth: Image
    outputs: dict[str, Image]
    scores: dict[str, dict[str, float]]  # by method, `SCORES`

    def without_pixels(self) -> "Photo":
        """What is worth keeping of many."""
        return self._replace(truth=self.truth[:0, :0], outputs={})


def read_task(
    names: Sequence[str],
    *,
    factor: int | None,
    blur: float | None,
    histogram_match: bool | None = None,
    consistency: int | None = None,
    tile: int | None = None,
) -> Task:
    """The models, and the degradation that they were trained to undo.

    `factor` and `blur` (px) overrule what the models say; without models, blur is 0
    unless given. `histogram_match` and `consistency` (`Restorer`) overrule what follows
    each network: histogram matching alone, as in the paper, but for SRCNN, which leaves
    colour as bicubic interpolation has it; and after a network with a skip connection,
    which is not the paper's, what users get.

    Raises InputError for a model of another task or factor, for models trained with
    several blurs where none is given, and for no models and no factor.
    """
    restorers: dict[str, Restorer] = {}
    blurs = set()
    for given in names:
        model = read_model(given, task="restoration")
        restorer = Restorer(
            model, tile=tile, **_finish(model, histogram_match, consistency)
        )
        factor = restorer.factor if factor is None else factor
        restorer.check_enlarges(f"--model {given}", factor)
        name = pretrained.model_name(given)
        if name in restorers or name == BICUBIC:
            raise InputError(f"--model {given}: a second {name}; rename its folder.")
        restorers[name] = restorer
        blurs.add(model.trained.blur)
    if factor is None:
        raise InputError("no --model and no --scale; give one of them.")
    if factor == 1:
        raise InputError(
            "a factor of 1 enlarges nothing; give a super-resolution model."
        )
    if blur is None:
        if len(blurs) > 1:
            raise InputError(
                f"the models were trained with blurs {sorted(blurs)}; choose with "
                "--blur."
            )
        blur = blurs.pop() if blurs else 0.0
    degradations.Downsample(factor, blur)  # is there such a one?
    return Task(factor, blur, restorers)


def find_photos(
    folders: Sequence[str], factor: int, output: str | None = None
) -> list[tuple[str, Path]]:
    """(data set, file) of every image in the folders; a folder's name is the set's.

    Raises InputError for a folder without images, two folders of one name, two photos
    of one name in a set, a photo too small to be judged, or an `output` folder within
    the data, of which it would be part the next time.
    """
    # LPIPS needs more than SSIM, and a border of `factor` px is left out; cutting to a
    # multiple of it takes less than another.
    least = 3 * factor + lpips.MIN_SIDE
    found: dict[str, list[Path]] = {}
    for folder in folders:
        name = Path(folder).resolve().name
        if output is not None and Path(output).resolve().is_relative_to(
            Path(folder).resolve()
        ):
            raise InputError(
                f"-o {output}: within --data {folder}, and would be judged the next "
                "time; choose another."
            )
        if name in found:
            raise InputError(f"--data {folder}: a second {name}; rename one.")
        found[name] = find_images(folder)
        stems = Counter(path.stem for path in found[name])
        for path in found[name]:
            if stems[path.stem] > 1:
                raise InputError(f"{path}: a second {path.stem}; rename one.")
            width, height, _ = read_header(path)
            if min(width, height) < least:
                raise InputError(
                    f"{path}: {width} x {height} px is too small to be judged at "
                    f"x{factor}; both sides need {least} px: leave it out."
                )
    return [(name, path) for name, paths in found.items() for path in paths]


def photos(task: Task, paths: Sequence[tuple[str, Path]]) -> Iterator[Photo]:
    """Judges every method on every photo, one after the other.

    Raises InputError for a photo that cannot be read, or does not fit into memory.
    """
    judge = Judge(task)
    for dataset, path in paths:
        grey = read_header(path).grey
        truth = read_image(path)
        h, w, _ = truth.shape
        with enough_memory(f"{path}, {w} x {h} px,", "the other photos"):
            photo = judge(dataset, path.stem, truth, grey=grey)
        yield photo


class Judge:
    """Makes photos small, has every method make them large again, and compares."""

    def __init__(self, task: Task):
        self._task = task
        self._distances = {
            f"lpips_{net}": lpips.LPIPS.from_pretrained(net) for net in lpips.NETS
        }
        degrade = degradations.Downsample(task.factor, task.blur)
        no_key = jax.random.key(0)  # nothing is random
        self._shrink = jax.jit(lambda images: degrade(no_key, images))
        self._enlarge = jax.jit(
            lambda small: resampling.quantize(resampling.upsample(small, task.factor))
        )

    def __call__(self, dataset: str, name: str, truth: Image, *, grey: bool) -> Photo:
        """All about one photo [h w 3] in [0, 255], whose file may hold `grey` alone.

        Cuts off what is not a multiple of the factor; the rest must have the size that
        `find_photos` asks for.
        """
        task = self._task
        truth = resampling.modcrop(truth, task.factor)
        small = np.asarray(self._shrink(truth[None]))[0]
        outputs = {BICUBIC: np.asarray(self._enlarge(small[None]))[0]}
        for method, restorer in task.restorers.items():
            # What a file would hold: the metrics are of 8-bit images.
            outputs[method] = np.rint(restorer(small).clip(0, 255))
        scores = {
            method: self._scores(output, truth, grey)
            for method, output in outputs.items()
        }
        return Photo(dataset, name, truth, outputs, scores)

    def _scores(self, output: Image, truth: Image, grey: bool) -> dict[str, float]:
        border = self._task.factor
        output, truth = (metrics.shave(image, border) for image in (output, truth))
        a, b = (metrics.plane(image, grey=grey) for image in (output, truth))
        scores = {"psnr": metrics.psnr(a, b), "ssim": metrics.ssim(a, b)}
        for name, distance in self._distances.items():
            scores[name] = float(distance(output[None], truth[None])[0])
        return scores


def _finish(
    model: Model, histogram_match: bool | None, consistency: int | None
) -> dict[str, Any]:
    """Options of `Restorer`: what is given, else what belongs to the model."""
    finish: dict[str, Any] = {}
    if not model.net_config.get("skip"):
        is_srcnn = model.net_config.get("name") == "SRCNN"
        finish = dict(histogram_match=not is_srcnn, consistency=0)
    given = dict(histogram_match=histogram_match, consistency=consistency)
    return finish | {key: value for key, value in given.items() if value is not None}
