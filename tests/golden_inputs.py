"""What the golden numbers are of: images and weights that formulas make.

`golden/make.py` computes the numbers from them in PyTorch, the tests in JAX. Nothing is
drawn at random, since another version's stream could be another.
"""

import functools
import hashlib
import math

import jax
import numpy as np
from flax import traverse_util
from helpers import ROOT

from jaxperceptual.networks import registry

FOLDER = ROOT / "tests" / "golden"


@functools.cache
def golden(name):
    """The arrays of `golden/NAME.npz`, by name."""
    with np.load(FOLDER / f"{name}.npz") as file:
        return dict(file)


def image(h, w, phase=0.0):
    """A picture [h w 3] of 8 bits: broad waves of colour, and a fine grain in them."""
    y, x = np.mgrid[:h, :w][..., None]
    colour = phase + np.array([0.0, 2.0, 4.0])
    broad = np.sin(x / 7 + colour) * np.cos(y / 5 - 2 * colour)
    fine = np.sin(2.5 * x - 1.5 * y + 3 * colour) * np.cos(1.5 * x + 2.5 * y)
    pixels = np.rint(127.5 + 85 * broad + 40 * fine)
    return pixels.clip(0, 255).astype(np.float32)


# ---- the loss network --------------------------------------------------------------

LAYERS = ("relu1_2", "relu2_2", "relu3_3", "relu4_3", "relu5_3")
SEEN = image(40, 48)[None]  # pool4 has an odd side to leave a row of


def sampled(activation, layer):
    """Of an activation [1 h w c]: some 2,000 values all over it."""
    rows, columns, channels = {
        "relu1_2": (3, 4, 5),
        "relu2_2": (2, 3, 5),
        "relu3_3": (2, 2, 5),
        "relu4_3": (1, 2, 5),
        "relu5_3": (1, 1, 1),
    }[layer]
    return activation[:, ::rows, ::columns, ::channels]


# ---- the objective -----------------------------------------------------------------

# That of configs/style_muse.py, with a total variation that counts.
OBJECTIVE = dict(
    content={"relu2_2": 1e5},
    style={
        "relu1_2": 1e10 / 64**2,
        "relu2_2": 1e10 / 128**2,
        "relu3_3": 1e10 / 256**2,
        "relu4_3": 1e10 / 512**2,
    },
    tv_weight=1e-2,
)
STYLE_IMAGE = image(36, 32, phase=1.0)
TARGETS = np.stack([image(32, 36), image(32, 36, phase=3.0)])
PIXELS = 0.75 * TARGETS + 0.25 * TARGETS[::-1]  # each with a shade of the other


def strided(gradient):
    """Of [n h w 3]: every third row, every second column."""
    return gradient[:, ::3, ::2]


# ---- the networks ------------------------------------------------------------------

# By name: the task, options as in a config, height and width of what goes in.
NETS = {
    "batch norm, transposed": (
        "style",
        dict(norm="batch", upsample="transposed"),
        (20, 17),
    ),
    "instance norm, resize": (
        "style",
        dict(norm="instance", upsample="resize", width=0.5),
        (20, 17),
    ),
    "super-resolution x4": (
        "restoration",
        dict(factor=4, norm="batch", upsample="transposed"),
        (9, 7),
    ),
    "SRCNN x2": ("restoration", dict(name="SRCNN", factor=2), (20, 17)),
}


def uniform(name, shape):
    """Numbers in [-1, 1) that the name decides: 16 bits each of its SHAKE-256."""
    digest = hashlib.shake_256(name.encode()).digest(2 * math.prod(shape))
    bits = np.frombuffer(digest, "<u2").reshape(shape)
    return bits.astype(np.float32) / 2**15 - 1


def variables(net, images):
    """The network's `{"params": ..., "batch_stats": ...}`, each array from its name.

    A kernel's deviation is 1 / sqrt(fan-in), as at the start of a training.
    """
    shapes = jax.eval_shape(
        lambda key, x: net.init(key, x, train=False), jax.random.key(0), images
    )

    def fill(path, leaf):
        found = uniform("/".join(path), leaf.shape)
        if path[-1] == "kernel":
            found *= (3 / math.prod(leaf.shape[:-1])) ** 0.5
            # The tanh bends visibly, and does not saturate.
            return found * 10 if path[-2] == "out" else found
        return found / 2 + 1 if path[-1] in ("scale", "var") else found * 0.3

    filled = traverse_util.path_aware_map(fill, dict(shapes))
    return jax.tree.map(np.float32, filled)


def network(name):
    """`(net, variables, images)` of a name in `NETS`; two images."""
    task, options, size = NETS[name]
    net = registry.make_net(task, options, source="golden_inputs.py")
    images = np.stack([image(*size), image(*size, phase=1.0)])
    return net, variables(net, images), images
