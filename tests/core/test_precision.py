"""bfloat16: what is computed in it, what is not, and how far off that is."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import style_model
from tolerances import FEW_ROUNDINGS

from jaxperceptual.core import precision
from jaxperceptual.core.errors import InputError
from jaxperceptual.inference.stylizer import Stylizer
from jaxperceptual.loss_network import dialects, vgg
from jaxperceptual.losses.objective import Frozen, PerceptualObjective
from jaxperceptual.losses.terms import feature_loss, gram_matrix
from jaxperceptual.networks import registry
from jaxperceptual.training.devices import DEVICES, replicate, unreplicate
from jaxperceptual.training.optimizer import make_optimizer
from jaxperceptual.training.step import TrainState, make_train_step

BF16 = jnp.bfloat16
BFLOAT16 = dict(rtol=0.01)  # its digits are of 4e-3, and a step's metrics sum over many
FLOAT32_BLOCKS = dict(rtol=1e-3)  # 4,096 equal summands, in whatever blocks


def photos(n=2, size=32):
    rng = np.random.default_rng(0)
    return rng.uniform(0, 255, (n, size, size, 3)).astype(np.float32)


@pytest.mark.parametrize(
    "norm", [pytest.param("batch", marks=pytest.mark.slow), "instance"]
)
def test_output_is_float32_and_near(norm):
    model = style_model(norm=norm)
    exact = Stylizer(model)(photos())
    near = Stylizer(model, precision="bfloat16")(photos())
    assert near.dtype == np.float32
    error = np.abs(near - exact)
    assert 0.01 < error.mean() < 2 and np.ptp(exact) > 40


def test_sums_are_float32():
    features = jnp.full((1, 64, 64, 2), 1.01, BF16)
    gram = gram_matrix(features)
    assert gram.dtype == jnp.float32
    # In bfloat16, 4,096 such summands stop growing at 256.
    np.testing.assert_allclose(
        gram * 2, float(features[0, 0, 0, 0]) ** 2, **FLOAT32_BLOCKS
    )
    loss = feature_loss(features, features * 0)
    assert loss.dtype == jnp.float32
    np.testing.assert_allclose(loss, float(features[0, 0, 0, 0]) ** 2, **FEW_ROUNDINGS)


def make_step(dtype):
    rng = np.random.default_rng(1)
    params = {
        name: {
            "kernel": rng.normal(0, (2 / np.prod(shape[:3])) ** 0.5, shape),
            "bias": rng.uniform(0, 0.1, shape[-1]),
        }
        for name, shape in list(dialects.CONV_SHAPES.items())[:2]
    }
    params = jax.tree.map(np.float32, params)
    network = vgg.VGG16(
        dialects.Preprocessing("RGB", 255.0, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)), dtype
    )
    objective = PerceptualObjective(
        network, content={"relu1_2": 1.0}, style={"relu1_2": 10.0}, tv_weight=1e-5
    )
    variables = vgg.freeze(params, ["relu1_2"])
    grams = objective.style_targets(variables, photos()[0])
    model = style_model(norm="batch")
    net = registry.make_net(
        "style", model.net_config, source="", axis_name=DEVICES, dtype=dtype
    )
    tx = make_optimizer(1e-3, warmup_steps=0)
    state = TrainState(
        np.int32(0),
        model.variables["params"],
        model.variables["batch_stats"],
        tx.init(model.variables["params"]),
    )
    devices = jax.local_devices()[:1]
    step = make_train_step(net, objective, tx, devices=devices)
    batch = photos().astype(np.uint8)[None, None]
    state, metrics = step(
        replicate(state, devices),
        replicate(Frozen(variables, grams), devices),
        batch,
    )
    return unreplicate(state), jax.device_get(metrics)


@pytest.mark.slow
def test_a_training_step_keeps_float32_and_is_within_a_percent():
    exact, near = make_step(jnp.float32), make_step(BF16)
    for leaf in jax.tree.leaves(near[0]):
        assert leaf.dtype in (np.float32, np.int32)
    for name, value in near[1].items():
        assert value.dtype == np.float32
        np.testing.assert_allclose(value, exact[1][name], **BFLOAT16, err_msg=name)
    assert near[1]["loss"] != exact[1]["loss"]
    gradients = [
        np.concatenate([x.ravel() for x in jax.tree.leaves(moment)])
        for moment in (optax.tree.get(s[0].opt_state, "mu") for s in (exact, near))
    ]
    cosine = np.dot(*gradients) / np.prod([np.linalg.norm(g) for g in gradients])
    assert cosine > 0.98


def test_float32_products_are_float32s_unless_asked():
    def precision_of(name):
        def product(x):
            with precision.products(name):
                return x @ x

        jaxpr = jax.make_jaxpr(product)(jnp.ones((2, 2)))
        return str(jaxpr.eqns[0].params["precision"])

    assert "HIGHEST" in precision_of("float32")
    assert precision_of("tf32") != precision_of("float32")


def test_a_misspelt_one_is_an_error():
    with pytest.raises(InputError, match="precision='bf16'; use one of float32, tf32"):
        precision.dtype("bf16")
