"""What a run tells while it goes on: sample pictures, metrics.jsonl, progress lines."""

import importlib.util
import json
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

from jaxperceptual.core import files
from jaxperceptual.core.errors import InputError
from jaxperceptual.data import degradations, sources
from jaxperceptual.data.loader import Loader
from jaxperceptual.images import sheets, squares
from jaxperceptual.images.finding import find_images
from jaxperceptual.images.reading import load_rgb
from jaxperceptual.images.writing import write_image
from jaxperceptual.training.step import TrainState

SAMPLE_SIZE = 256  # px
NUM_SAMPLES = 5


class Sampler:
    """What becomes of the same few photos, every so often: samples/step_001000.png."""

    def __init__(
        self,
        net,
        photos: np.ndarray,
        folder: Path,
        degradation: degradations.Degradation | None = None,
    ):
        self._num_styles = getattr(net, "num_styles", 0)
        self._photos = self._inputs = photos
        self._folder = folder
        if degradation is not None:
            keys = jax.random.split(jax.random.key(0), len(photos))
            self._inputs = np.asarray(jax.jit(degradation)(keys, photos))
        self._apply = jax.jit(
            lambda variables, photos, **of_net: net.apply(
                variables, photos, train=False, **of_net
            )
        )

    def __call__(self, step: int, state: TrainState) -> None:
        """Writes the grid for a state on the host: photos above, outputs below.

        Between them stands what the network got, if that is not the photos. Of a
        gallery, each style has a photo, in turn, in rows below.
        """
        variables = {"params": state.params, "batch_stats": state.batch_stats}
        outputs = []
        for i in range(self._num_styles or len(self._inputs)):
            # One at a time: the memory of a batch is the training step's to use.
            x = self._inputs[i % len(self._inputs)][None]
            of_net = {}
            if self._num_styles:
                of_net = {"styles": np.eye(self._num_styles, dtype=np.float32)[[i]]}
            outputs.append(np.asarray(self._apply(variables, x, **of_net))[0])
        inputs = ()
        if self._inputs is not self._photos:
            # Small ones as large squares of one colour: what the network has to see.
            factor = self._photos.shape[1] // self._inputs.shape[1]
            inputs = self._inputs.repeat(factor, axis=1).repeat(factor, axis=2)
        cells = [*self._photos, *inputs, *outputs]
        grid = sheets.grid(cells, columns=len(self._photos))
        self._folder.mkdir(exist_ok=True)
        write_image(self._folder / f"step_{step:06d}.png", grid)


class MetricsLog:
    """metrics.jsonl (one object a logged step), and TensorBoard where asked for.

    What a killed run logged past the checkpoint it continues from is cut off.
    """

    def __init__(self, workdir: Path, step: int, *, tensorboard: bool):
        path = workdir / "metrics.jsonl"
        kept = []
        if path.exists():
            lines = path.read_text(errors="replace").splitlines()
            kept = [line for line in lines if _step_of(line) <= step]
        files.write_text(path, "".join(line + "\n" for line in kept))
        self._writer = _tensorboard_writer(workdir) if tensorboard else None
        self._file = path.open("a", buffering=1)

    def write(self, line: dict[str, Any]) -> None:
        """Appends one object, on the disk when this returns."""
        self._file.write(json.dumps(line) + "\n")
        if self._writer:
            for name, value in line.items():
                if name != "step" and value is not None:
                    self._writer.add_scalar(name, value, line["step"])

    def close(self) -> None:
        """Closes the files."""
        self._file.close()
        if self._writer:
            self._writer.close()


class Clock:
    """Images a second, and the share of the time that the loader kept us waiting."""

    def __init__(self, loader: Loader, batch_size: int):
        self._loader = loader
        self._batch_size = batch_size
        self.restart(0)

    def restart(self, step: int) -> None:
        """Counts from this step and moment on."""
        self._step = step
        self._since = time.monotonic()
        self._waited = self._loader.wait_seconds

    def measure(self, step: int) -> dict[str, float | None]:
        """Both figures since the last restart or measurement; None if that was now."""
        if step == self._step:
            return {"images_per_second": None, "input_wait": None}
        images = (step - self._step) * self._batch_size
        seconds = time.monotonic() - self._since
        waited = self._loader.wait_seconds - self._waited
        self.restart(step)
        return {"images_per_second": images / seconds, "input_wait": waited / seconds}


def sample_photos(folder: str) -> np.ndarray:
    """[n 256 256 3] float32, the centres of the same few photos for the whole run."""
    if folder:
        pictures = [load_rgb(path) for path in find_images(folder)[:NUM_SAMPLES]]
    else:
        source = sources.open_source(sources.EMBEDDED)
        count = min(NUM_SAMPLES, len(source))
        pictures = [source.load(i, SAMPLE_SIZE) for i in range(count)]
    return np.stack([np.float32(squares.centre(p, SAMPLE_SIZE)) for p in pictures])


def show_progress(line: dict[str, Any], bar: tqdm, batch_size: int) -> None:
    """One progress line: on a terminal beside the bar, else printed."""
    terms = "  ".join(
        f"{name} {value:.3g}"
        for name, value in line.items()
        if name not in ("step", "images_per_second", "input_wait")
    )
    text = f"step {line['step']}/{bar.total}  {terms}"
    if rate := line["images_per_second"]:
        left = tqdm.format_interval((bar.total - line["step"]) * batch_size / rate)
        text += f"  {rate:.2f} images/s  {left} left"
        text += f"  input wait {line['input_wait']:.1%}"
    if bar.disable:
        print(text, flush=True)
    else:
        bar.write(text)


def _step_of(line: str) -> float:
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return float("inf")  # half a line of a killed process


def check_tensorboard() -> None:
    """InputError where tensorboardX is missing."""
    if importlib.util.find_spec("tensorboardX") is None:
        raise InputError(
            "tensorboard=True needs tensorboardX: "
            "pip install 'jaxperceptual[tensorboard]'."
        )


def _tensorboard_writer(workdir: Path):
    from tensorboardX import SummaryWriter

    return SummaryWriter(str(workdir / "tensorboard"))
