"""The update: over devices, over steps in one dispatch, and warming up."""

from unittest import mock

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from PIL import Image
from tolerances import REORDERED_TOTAL

from jaxperceptual.core.errors import InputError
from jaxperceptual.data import degradations
from jaxperceptual.data.loader import Loader
from jaxperceptual.losses.objective import Frozen
from jaxperceptual.losses.terms import pixel_loss
from jaxperceptual.networks.layers import Conv, ConvBlock, ResidualBlock, scaled_tanh
from jaxperceptual.ops import choice
from jaxperceptual.training.devices import (
    DEVICES,
    devices_for,
    replicate,
    shard,
    unreplicate,
)
from jaxperceptual.training.optimizer import make_optimizer, with_counts
from jaxperceptual.training.step import init_state, make_train_step

REORDERED_GRADIENT = dict(rtol=2e-4, atol=2e-6)  # float32 sums over pixels and images
COMPILED_APART = dict(rtol=1e-5, atol=1e-8)  # the same sums in two programs
ADAM = dict(rtol=0, atol=2e-5)  # its 1 - 0.999^n has lost three digits of float32's
SAMPLED = dict(rtol=0.1)  # the deviation of 768 draws; 0.026 is one sigma


class TinyNet(nn.Module):
    """A kind of each layer that StyleNet has, and compiled in a second."""

    norm: str
    axis_name: str | None = DEVICES

    @nn.compact
    def __call__(self, images, *, train):
        options = dict(norm=self.norm, axis_name=self.axis_name)
        x = images / 127.5 - 1
        x = ConvBlock(8, 9, padding=4, name="first", **options)(x, train=train)
        x = ConvBlock(8, 3, stride=2, padding=1, **options)(x, train=train)
        x = ResidualBlock(8, padding=1, **options)(x, train=train)
        x = ConvBlock(8, 3, upsample="transposed", **options)(x, train=train)
        return scaled_tanh(10 * Conv(3, 3, padding=1, name="out")(x))


def objective(frozen, outputs, targets):
    loss = pixel_loss(outputs / 255, targets / 255)
    return loss, {"pixel": loss}


def updated(net, tx, images, num_devices, size=None, photos=None):
    """The state after the updates in `images` [steps n h w 3], or rows of photos."""
    devices = jax.local_devices()[:num_devices]
    size = size or images.shape[2]
    state = init_state(jax.random.key(0), net, tx, size)
    step = make_train_step(net, objective, tx, devices=devices)
    state, metrics = step(
        replicate(state, devices),
        replicate(Frozen({}, {}), devices),
        shard(images, num_devices),
        replicate(photos, devices),
    )
    # Every device holds the same state afterwards.
    for leaf in jax.tree.leaves(state):
        for piece in leaf.addressable_shards:
            np.testing.assert_array_equal(piece.data, leaf.addressable_shards[0].data)
    return unreplicate(state), metrics


@pytest.mark.slow
def test_rows_of_photos_on_the_device_are_those_photos(tmp_path):
    """From the loader to the update, mirrored ones among them."""
    rng = np.random.default_rng(0)
    for i in range(6):
        photo = rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(photo).save(tmp_path / f"{i}.png")
    (tmp_path / "3.png").write_bytes(b"no photo")
    options = dict(seed=0, batch_size=4, image_size=16, flip=True)
    options |= dict(cache=tmp_path / "cache", on_skip=lambda *_: None)
    net, tx, found = TinyNet("batch"), optax.sgd(0.1), []
    for rows_below in (0, 10**6):
        with Loader(tmp_path, rows_below=rows_below, **options) as loader:
            batches = np.stack([next(loader) for _ in range(3)])
        photos = loader.table
        found.append(updated(net, tx, batches, 2, 16, photos))
    assert batches.dtype == np.int32 and (batches < 0).any() and (batches >= 0).any()
    for pixels, rows in zip(*map(jax.tree.leaves, found), strict=True):
        np.testing.assert_allclose(pixels, rows, **COMPILED_APART)
    assert not loader.table[3].any() and 3 not in batches and ~3 not in batches


def random_images(*shape):
    return np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    "norm, forms",
    [
        ("batch", "cpu"),
        ("instance", "plain"),
        pytest.param("batch", "plain", marks=pytest.mark.slow),
        pytest.param("instance", "cpu", marks=pytest.mark.slow),
    ],
)
def test_four_devices_make_the_step_of_one(norm, forms):
    assert jax.local_device_count() == 4
    with choice.forms(forms):
        check_four_devices(norm)


def check_four_devices(norm):
    net = TinyNet(norm)
    # SGD: Adam turns rounding in a near-zero gradient into a full step.
    tx = optax.sgd(0.1)
    images = random_images(1, 4, 16, 16)
    one, _ = updated(net, tx, images, 1)
    four, metrics = updated(net, tx, images, 4)
    assert metrics["loss"].shape == (4, 1)
    start = init_state(jax.random.key(0), net, tx, 16)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(four), strict=True):
        np.testing.assert_allclose(a, b, **REORDERED_GRADIENT)
    moved = jax.tree.map(lambda a, b: np.abs(a - b).max(), one.params, start.params)
    assert moved["out"]["kernel"] > 1e-4  # the tolerance would not hide no step
    if norm == "batch":
        mean = one.batch_stats["first"]["norm"]["mean"]
        assert np.abs(mean).max() > 1e-3


def test_steps_in_one_dispatch_are_the_steps_one_by_one():
    net = TinyNet("batch")
    tx = optax.sgd(0.1)
    images = random_images(3, 2, 16, 16)
    together, metrics = updated(net, tx, images, 1)
    assert metrics["loss"].shape == (1, 3) and int(together.step) == 3
    devices = jax.local_devices()[:1]
    step = make_train_step(net, objective, tx, devices=devices)
    state = replicate(init_state(jax.random.key(0), net, tx, 16), devices)
    frozen = replicate(Frozen({}, {}), devices)
    for batch in images:
        state, _ = step(state, frozen, shard(batch[None], 1))
    alone = unreplicate(state)
    for a, b in zip(jax.tree.leaves(alone), jax.tree.leaves(together), strict=True):
        np.testing.assert_allclose(a, b, **REORDERED_GRADIENT)


def test_learns_the_identity_a_little():
    net = TinyNet("instance")
    tx = make_optimizer(1e-3, warmup_steps=0)
    images = np.repeat(random_images(1, 2, 4, 4), 4, axis=2).repeat(4, axis=3)
    _, metrics = updated(net, tx, np.repeat(images, 60, axis=0), 1)
    first, last = metrics["loss"][0, 0], metrics["loss"][0, -1]
    assert last < 0.5 * first


def test_bias_in_front_of_a_norm_stays_where_it_is():
    net = TinyNet("instance")
    state, _ = updated(
        net, make_optimizer(1e-3, warmup_steps=0), random_images(2, 1, 8, 8), 1
    )
    assert not state.params["first"]["conv"]["bias"].any()
    assert state.params["out"]["bias"].any()


def moves_of(tx, steps, opt_state=None):
    """The rates, as Adam moves by them where gradients agree, and the last state."""
    params, moves = jnp.zeros(()), []
    opt_state = opt_state or tx.init(params)
    for _ in range(steps):
        update, opt_state = tx.update(jnp.ones(()), opt_state, params)
        moves.append(float(-update))
    return moves, opt_state


def test_warmup_is_linear_from_the_first_step():
    moves, _ = moves_of(make_optimizer(0.8, warmup_steps=4), 6)
    np.testing.assert_allclose(moves, [0.2, 0.4, 0.6, 0.8, 0.8, 0.8], **ADAM)


def test_decay_is_a_cosine_that_ends_at_zero():
    moves, _ = moves_of(make_optimizer(0.8, warmup_steps=3, decay_steps=6), 8)
    falling = 0.4 * (1 + np.cos(np.pi * np.arange(5) / 4))
    expected = [0.8 / 3, 1.6 / 3, *falling, 0.0]
    np.testing.assert_allclose(moves, expected, **ADAM)
    with pytest.raises(InputError, match="decay_steps=3; use 0"):
        make_optimizer(0.8, warmup_steps=3, decay_steps=3)


def test_a_constant_rate_may_begin_to_fall():
    constant, opt_state = moves_of(make_optimizer(0.8), 2)
    tx = make_optimizer(0.8, decay_from=2, decay_steps=4)
    opt_state = with_counts(opt_state, tx.init(jnp.zeros(())), 2)
    falling, _ = moves_of(tx, 3, opt_state)
    np.testing.assert_allclose(constant + falling, [0.8, 0.8, 0.8, 0.4, 0.0], **ADAM)
    with pytest.raises(InputError, match="decay_from=4; use a step before"):
        make_optimizer(0.8, decay_from=4, decay_steps=4)


def test_moments_are_those_of_pytorchs_adam():
    torch = pytest.importorskip("torch")
    grads = np.float32(np.random.default_rng(0).normal(size=(6, 5)))
    theirs = torch.zeros(5, requires_grad=True)
    adam = torch.optim.Adam([theirs], lr=0.1, betas=(0.5, 0.99))
    tx = make_optimizer(0.1, b1=0.5, b2=0.99)
    ours = jnp.zeros(5)
    opt_state = tx.init(ours)
    for grad in grads:
        theirs.grad = torch.from_numpy(grad)
        adam.step()
        updates, opt_state = tx.update(jnp.asarray(grad), opt_state, ours)
        ours = optax.apply_updates(ours, updates)
    np.testing.assert_allclose(ours, theirs.detach().numpy(), rtol=1e-4)
    # Muon's, for parameters that are no matrices, look ahead by Nesterov's rule.
    muon = make_optimizer(0.1, method="muon", b1=0.5, b2=0.99)
    nadam = optax.nadam(0.1, 0.5, 0.99)
    params = {"bias": ours}
    one, other = (
        tx.update(params, tx.init(params), params)[0]["bias"] for tx in (muon, nadam)
    )
    np.testing.assert_allclose(one, other, rtol=1e-6)
    with pytest.raises(InputError, match="optimizer.b2=1.0; use 0 or more"):
        make_optimizer(0.1, b2=1.0)


class Identity(nn.Module):
    """What goes in, plus a bias that starts at 0."""

    @nn.compact
    def __call__(self, images, *, train):
        return images + self.param("bias", nn.initializers.zeros, (3,))


def test_noise_follows_seed_step_and_place_alone():
    images = np.full((2, 4, 8, 8, 3), 100, np.uint8)
    noise = degradations.Noise(10.0)

    def losses_of(num_devices, seed, images):
        devices = jax.local_devices()[:num_devices]
        step = make_train_step(
            Identity(), objective, optax.sgd(0.0), devices=devices,
            degradation=noise, seed=seed,
        )  # fmt: skip
        state = init_state(jax.random.key(0), Identity(), optax.sgd(0.0), 8)
        _, metrics = step(
            replicate(state, devices),
            replicate(Frozen({}, {}), devices),
            shard(images, num_devices),
        )
        return np.asarray(metrics["loss"][0])

    one = losses_of(1, 0, images)
    # The targets stay as they are, so the loss is the noise's variance.
    np.testing.assert_allclose(255 * np.sqrt(one), 10, **SAMPLED)
    assert one[0] != one[1]  # of the two steps
    np.testing.assert_allclose(losses_of(4, 0, images), one, **REORDERED_TOTAL)
    assert losses_of(1, 1, images)[0] != one[0]


@pytest.mark.parametrize("batch_size, count", [(8, 4), (6, 3), (3, 3), (7, 1)])
def test_uses_as_many_devices_as_the_batch_divides_over(batch_size, count, capsys):
    assert len(devices_for(batch_size)) == count
    assert (f"using {count} of 4" in capsys.readouterr().out) == (count < 4)


def test_of_many_processes_each_has_as_many_devices(monkeypatch, capsys):
    def device(process, id_):
        return mock.Mock(jax.Device, process_index=process, id=id_)

    # As JAX may list them, and one process has more than the other.
    found = [device(1, 9), device(1, 8), device(0, 1), device(0, 0), device(0, 2)]
    monkeypatch.setattr(jax, "devices", lambda: found)
    monkeypatch.setattr(jax, "device_count", lambda: len(found))
    assert [d.id for d in devices_for(8)] == [0, 1, 8, 9]
    assert "using 4 of 5 devices" in capsys.readouterr().out
    assert [d.id for d in devices_for(6)] == [0, 8]
    with pytest.raises(InputError, match="batch_size=3 does not divide over 2 proc"):
        devices_for(3)
