"""What several test files share."""

import importlib
from pathlib import Path

import jax
import numpy as np
from flax import traverse_util
from PIL import Image

from jaxperceptual.core import cli, config_files
from jaxperceptual.losses.goal import build_goal
from jaxperceptual.losses.style_image import read_style
from jaxperceptual.networks import registry
from jaxperceptual.networks.model_file import Model, write_model
from jaxperceptual.networks.trained import Trained

ROOT = Path(__file__).parents[1]


class Command:
    """A command by name: called with arguments, as in a shell but in this process."""

    def __init__(self, name):
        self.name = name
        self.module = importlib.import_module(f"jaxperceptual.commands.{name}")

    def __call__(self, *argv):
        """The exit code; errors are raised."""
        return cli.call(self.module, [str(argument) for argument in argv])

    def exit(self, *argv):
        """As a process ends: raises SystemExit, errors are lines on stderr."""
        cli.main(self.module, [str(argument) for argument in argv])


def noise_photos(folder):
    """Five photos of noise, 50 x 40 px, in an existing folder."""
    rng = np.random.default_rng(0)
    for i in range(5):
        pixels = rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png")


def pixel_problem(size, config="style_muse.py", num_images=2):
    """`(objective, frozen, targets)` of a style config, on real weights."""
    config = config_files.load_config(config)
    config.style_image = "cubist.png"
    config.style_size = 64
    goal = build_goal(config, read_style(config))
    rng = np.random.default_rng(0)
    coarse = rng.uniform(0, 255, (num_images, 4, 4, 3)).astype(np.float32)
    targets = np.asarray(
        jax.image.resize(coarse, (num_images, size, size, 3), "cubic").clip(0, 255)
    )
    return goal.objective, goal.frozen, targets


SMALL_NET = {"norm": "batch", "width": 0.125, "upsample": "resize"}


def style_model(metadata=None, *, seed=0, **net):
    """A small style network of random weights (`SMALL_NET`, and what `net` changes).

    metadata: what the file's header says of the training.
    """
    return _model("style", SMALL_NET | net, metadata, seed, shifts=(0.5, 1.5))


def write_gallery(path, styles):
    """A file with a small gallery of random weights; `styles` as `Model` has them."""
    made = style_model(norm="instance", num_styles=len(styles))
    write_model(path, made._replace(styles=styles))
    return path


def restoration_model(metadata=None, **net):
    """A restoration network of random weights, as strong as a trained one."""
    made = _model("restoration", net, metadata, 0, shifts=(-0.3, 0.3))
    # The tanh's slope is of a twentieth.
    made.variables["params"].get("out", {"kernel": np.zeros(1)})["kernel"] *= 10
    return made


def _model(task, net, metadata, seed, *, shifts):
    # Drawn here, since `net.init` compiles for seconds, and leaves all scales at 1.
    network = registry.make_net(task, net, source="test")
    images = jax.ShapeDtypeStruct((1, 16, 16, 3), np.float32)
    shapes = jax.eval_shape(
        lambda key, x: network.init(key, x, train=False), jax.random.key(0), images
    )
    rng = np.random.default_rng(seed)

    def draw(path, leaf):
        if path[-1] == "kernel":
            value = rng.normal(0, np.prod(leaf.shape[:-1]) ** -0.5, leaf.shape)
        else:
            near_1 = path[-1] in ("scale", "var")
            value = rng.uniform(*((0.5, 1.5) if near_1 else shifts), leaf.shape)
        return value.astype(np.float32)

    variables = traverse_util.path_aware_map(draw, {"batch_stats": {}} | dict(shapes))
    return Model(task, net, variables, Trained.parse(metadata or {}))


def identity_model(metadata):
    """SRCNN x2 whose network is the identity: it makes a bicubic interpolation."""
    made = restoration_model(metadata, name="SRCNN", factor=2)
    params = made.variables["params"]
    for layer in params.values():
        for leaf in layer.values():
            leaf[:] = 0
    # Two channels carry x and -x through the ReLUs.
    params["conv1"]["kernel"][4, 4, 0, :2] = 1, -1
    params["conv2"]["kernel"][0, 0, [0, 1], [0, 1]] = 1
    params["conv3"]["kernel"][2, 2, :2, 0] = 1, -1
    return made


def foreign_state(layout):
    """A state dict of another project's layout, random, of an eighth of the width."""
    rng = np.random.default_rng(0)
    few, some, many = 4, 8, 16  # channels
    channels = {"conv1": (3, few, 9), "conv2": (few, some, 3), "conv3": (some, many, 3)}
    channels |= {"up1": (many, some, 3), "up2": (some, few, 3), "out": (few, 3, 9)}
    state = {}
    for name, (conv, norm) in layout.names.items():
        inputs, outputs, size = channels.get(name, (many, many, 3))
        shape = [outputs, inputs, size, size]
        if conv.endswith("conv_transpose"):
            shape[:2] = inputs, outputs
        spread = (40 if name == "out" else 1) / np.sqrt(inputs * size * size)
        state[f"{conv}.weight"] = rng.normal(0, spread, shape)
        state[f"{conv}.bias"] = rng.normal(100 if name == "out" else 0, 1, outputs)
        if norm:
            state[f"{norm}.weight"] = rng.uniform(0.5, 1.5, outputs)
            state[f"{norm}.bias"] = rng.normal(0, 0.5, outputs)
            # What older versions of PyTorch saved beside them.
            state[f"{norm}.running_mean"] = np.zeros(outputs)
    return {k: np.float32(v) for k, v in state.items()}


def relative_error(found, expected):
    """In the norm over all entries: |found - expected| / |expected|."""
    return np.linalg.norm(found - expected) / np.linalg.norm(expected)
