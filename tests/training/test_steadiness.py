"""A photo and the same photo moved: what the two are compared by, and the step."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxperceptual.core import config_files
from jaxperceptual.core.errors import InputError
from jaxperceptual.losses.objective import Frozen
from jaxperceptual.losses.terms import pixel_loss
from jaxperceptual.training import checks, steadiness
from jaxperceptual.training.devices import replicate, shard
from jaxperceptual.training.step import init_state, make_train_step

SIZE = 40  # px


def photos(num, seed=0):
    shape = (num, SIZE, SIZE, 3)
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


def test_what_lies_along_the_motion_costs_nothing(monkeypatch):
    """Any function of single pixels is steady; without noise, to the last bit."""
    monkeypatch.setattr(steadiness, "NOISE", 0.0)
    images = jnp.float32(photos(64))
    moved, offsets = steadiness.moved(jax.random.split(jax.random.key(1), 64), images)
    assert steadiness.steady_loss(255 - images, 255 - moved, offsets) == 0
    assert steadiness.steady_loss(images, images, offsets) > 1000
    assert set(np.unique(offsets)) == set(range(-8, 9))
    y, x = np.array(offsets[3])
    np.testing.assert_array_equal(moved[3, 20 + y, 15 + x], images[3, 20, 15])


def test_noise_is_what_it_says():
    images = jnp.full((8, SIZE, SIZE, 3), 100.0)
    moved, offsets = steadiness.moved(jax.random.split(jax.random.key(2), 8), images)
    # A variance of 13,824 draws: one sigma is 1.2 %.
    loss = steadiness.steady_loss(images, moved, offsets)
    np.testing.assert_allclose(loss, steadiness.NOISE**2, rtol=0.05)


def test_the_loss_by_hand():
    rng = np.random.default_rng(3)
    outputs, of_moved = rng.uniform(0, 255, (2, 2, SIZE, SIZE, 3)).astype(np.float32)
    offsets = np.array([[8, -3], [0, 5]])
    total, count = 0.0, 0
    for n, (dy, dx) in enumerate(offsets):
        for y in range(8, SIZE - 8):
            for x in range(8, SIZE - 8):
                away = of_moved[n, y, x] - outputs[n, y - dy, x - dx]
                total, count = (
                    total + np.sum(np.square(away, dtype=np.float64)),
                    count + 3,
                )
    arrays = map(jnp.array, (outputs, of_moved, offsets))
    loss = steadiness.steady_loss(*arrays)
    np.testing.assert_allclose(loss, total / count, rtol=1e-5)


def keeps(frozen, outputs, targets):
    loss = pixel_loss(outputs, targets)
    return loss, {"pixel": loss}


class OneLayer(nn.Module):
    """Sees 9 px, and compiles in no time."""

    @nn.compact
    def __call__(self, images, *, train):
        return nn.Conv(3, (9, 9), padding="SAME")(images)


def trained(steady_weight, num_devices=1, steps=1):
    devices = jax.local_devices()[:num_devices]
    net = OneLayer()
    tx = optax.sgd(1e-6)
    step = make_train_step(
        net, keeps, tx, devices=devices, seed=5, steady_weight=steady_weight
    )
    state = replicate(init_state(jax.random.key(0), net, tx, SIZE), devices)
    images = np.stack([photos(4, seed) for seed in range(steps)])
    state, metrics = step(
        state, replicate(Frozen({}, {}), devices), shard(images, num_devices)
    )
    of_one = {name: np.array(value[0]) for name, value in metrics.items()}
    return jax.tree.map(lambda x: np.array(x[0]), state.params), of_one


def test_a_step_pays_for_both_and_devices_share_it():
    """The other terms are what they are without it; on two devices the same update."""
    params, metrics = trained(2.0)
    plain, without = trained(0.0)
    assert "steady" not in without
    np.testing.assert_allclose(metrics["pixel"], without["pixel"], rtol=1e-5)
    np.testing.assert_allclose(
        metrics["loss"], metrics["pixel"] + metrics["steady"], rtol=1e-6
    )
    twice = trained(4.0)[1]
    np.testing.assert_allclose(twice["steady"], 2 * metrics["steady"], rtol=1e-5)
    assert any(
        np.any(a != b)
        for a, b in zip(*map(jax.tree.leaves, (params, plain)), strict=True)
    )
    shared, of_two = trained(2.0, num_devices=2)
    np.testing.assert_allclose(of_two["steady"], metrics["steady"], rtol=1e-4)
    for a, b in zip(*map(jax.tree.leaves, (params, shared)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=2e-6)


@pytest.mark.parametrize(
    "name, settings, line",
    [
        ("style_cubist.py", {"steady_weight": -1.0}, "steady_weight=-1.0; use 0 or"),
        ("style_cubist.py", {"steady_weight": float("nan")}, "steady_weight=nan; use"),
        (
            "style_cubist.py",
            {"steady_weight": 1.0, "data.image_size": 16},
            "data.image_size=16 with a steady_weight; use 32 or more",
        ),
        ("sr_x4_feat.py", {"steady_weight": 1.0}, "of style networks alone"),
    ],
)
def test_what_cannot_be(name, settings, line):
    config = config_files.load_config(name)
    with config.unlocked():
        for key, value in settings.items():
            *groups, last = key.split(".")
            node = config
            for group in groups:
                node = node[group]
            node[last] = value
    with pytest.raises(InputError, match=line.replace("(", r"\(")):
        checks.check_config(config)
