"""Training many styles in one network, and starting a run from a trained one."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import Command, style_model
from PIL import Image

from jaxperceptual.core.errors import InputError
from jaxperceptual.losses.goal import Goal
from jaxperceptual.losses.objective import Frozen, PerceptualObjective
from jaxperceptual.networks import model_file, registry
from jaxperceptual.networks.model_file import read_model, write_model
from jaxperceptual.ops import choice
from jaxperceptual.training import initial
from jaxperceptual.training.devices import DEVICES, replicate, shard
from jaxperceptual.training.optimizer import make_optimizer
from jaxperceptual.training.step import init_state, make_train_step

train = Command("train")
NET = {"norm": "instance", "width": 0.125, "upsample": "resize"}
REORDERED = dict(rtol=2e-5, atol=1e-6)


GALLERY = """
from jaxperceptual.configs import smoke
from ml_collections import ConfigDict

def get_config():
    config = smoke.get_config()
    del config.style_image, config.default_style_image
    del config.style_size, config.style_weight
    config.net.norm = "instance"
    b = dict(image="cubist.png", size=64, weight=1.0)
    config.styles = ConfigDict(dict(b=b, photo=dict(image="", size=64, weight=0.0)))
    return config
"""


class Features(nn.Module):
    """In place of a loss network: one layer that is the pixels, times a variable."""

    @nn.compact
    def __call__(self, images, layers):
        gain = self.param("gain", nn.initializers.ones, ())
        return {name: gain * images / 255 for name in layers}


VARIABLES = {"params": {"gain": jnp.float32(2)}}


@pytest.mark.parametrize("form", [pytest.param("plain", marks=pytest.mark.slow), "cpu"])
def test_each_image_has_the_objective_of_its_own_style(form):
    rng = np.random.default_rng(0)
    outputs, targets = jnp.float32(rng.uniform(0, 255, (2, 3, 8, 8, 3)))
    grams = jnp.float32(rng.uniform(0, 0.2, (4, 3, 3)))
    weights = jnp.float32([0.5, 0.0, 2.0, 3.0])
    objective = PerceptualObjective(
        Features(), content={"relu2_2": 1.0}, style={"relu2_2": 5.0}, tv_weight=1e-4
    )
    frozen = Frozen(VARIABLES, {"relu2_2": grams}, None, weights)
    styles = jnp.int32([2, 0, 1])
    alone = []
    for i, style in enumerate(styles):
        scaled = PerceptualObjective(
            Features(),
            content={"relu2_2": 1.0},
            style={"relu2_2": 5.0 * float(weights[style])},
            tv_weight=1e-4,
        )
        one = Frozen(VARIABLES, {"relu2_2": grams[style][None]})
        alone.append(
            jax.value_and_grad(
                lambda x, scaled=scaled, one=one, i=i: scaled(
                    one, x, targets[i : i + 1]
                )[0]
            )(outputs[i : i + 1])
        )
    with choice.forms(form):
        found, gradient = jax.value_and_grad(
            lambda x: objective(frozen, x, targets, styles)[0]
        )(outputs)
    np.testing.assert_allclose(found, np.mean([v for v, _ in alone]), **REORDERED)
    each = np.concatenate([g for _, g in alone]) / 3
    np.testing.assert_allclose(gradient, each, **REORDERED)


@pytest.mark.parametrize("num_devices", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_images_take_the_styles_in_turn(num_devices):
    """By which rows move: of 5 styles, those of two steps of 4, minus one not drawn."""
    devices = jax.local_devices()[:num_devices]
    net = registry.make_net(
        "style", NET | {"num_styles": 5}, source="test", axis_name=DEVICES
    )
    tx = optax.sgd(1.0)
    seen = []

    def objective(frozen, outputs, targets, styles):
        # The styles' numbers, out of the compiled step.
        terms = {f"{s}": (styles == s).mean() for s in range(5)}
        return outputs.mean(), terms

    step = make_train_step(net, objective, tx, devices=devices, styles=(0, 1, 3, 4))
    state = replicate(init_state(jax.random.key(0), net, tx, 16), devices)
    images = np.random.default_rng(0).integers(0, 256, (1, 2, 16, 16, 3), np.uint8)
    before = np.asarray(state.params["conv1"]["norm"]["bias"][0])
    for _ in range(3):
        state, metrics = step(
            state, replicate(Frozen({}, {}), devices), shard(images, num_devices)
        )
        shares = {s: float(metrics[s][0, 0]) for s in "01234"}
        seen.append({int(s) for s, share in shares.items() if share})
    assert seen == [{0, 1}, {3, 4}, {0, 1}]
    moved = (np.asarray(state.params["conv1"]["norm"]["bias"][0]) != before).any(1)
    assert moved.tolist() == [True, True, False, True, True]


def fresh(options, tx=None):
    net = registry.make_net("style", options, source="test")
    return init_state(jax.random.key(1), net, tx or optax.adam(1e-3), 16)


NO_GOAL = Goal(PerceptualObjective(pixel_weight=1.0), Frozen({}, {}), {})


def start(path, options, goal=NO_GOAL, **more):
    return initial.start_from(
        str(path),
        fresh(options),
        task="style",
        net_config=options,
        goal=goal,
        photos=PHOTOS,
        **more,
    )


PHOTOS = np.random.default_rng(3).uniform(0, 255, (2, 128, 128, 3)).astype(np.float32)


def goal_like(model, styles):
    """A goal whose styles are the model's outputs by these weights of its rows."""
    objective = PerceptualObjective(Features(), style={"relu2_2": 1.0})
    net = model_file.build_net(model)
    grams = []
    for weights in styles:
        made = jax.jit(net.apply, static_argnames="train")(
            model.variables, PHOTOS[:1], train=False, styles=jnp.float32([weights])
        )
        grams.append(objective.style_targets(VARIABLES, np.asarray(made)[0])["relu2_2"])
    grams = {"relu2_2": jnp.concatenate(grams)}
    frozen = Frozen(VARIABLES, grams, None, jnp.ones(len(styles)))
    return Goal(objective, frozen, {})


def test_a_start_has_the_models_weights_and_nothing_else_of_it(tmp_path):
    model = style_model({"steps": 9}, **NET)
    write_model(tmp_path / "model.safetensors", model)
    state, origin = start(tmp_path, NET)
    jax.tree.map(np.testing.assert_array_equal, state.params, model.variables["params"])
    assert int(state.step) == 0
    assert not any(np.any(x) for x in jax.tree.leaves(state.opt_state[0]))
    assert origin["steps"] == 9 and origin["name"] == tmp_path.name
    assert len(origin["sha256"]) == 64


@pytest.mark.slow
def test_a_galleries_rows_go_where_their_names_are(tmp_path):
    names = {"a": {}, "b": {}, "c": {}}
    made = style_model(**NET, num_styles=3)
    write_model(tmp_path / "model.safetensors", made._replace(styles=names))
    table = made.variables["params"]["up1"]["norm"]["scale"]
    # A new style starts as those of the gallery that are nearest to it.
    options = NET | {"num_styles": 3}
    goal = goal_like(made, [(0, 0, 1), (0.5, 0, 0.5), (1, 0, 0)])
    state, origin = start(tmp_path, options, goal, styles=("c", "new", "a"))
    found = state.params["up1"]["norm"]["scale"]
    np.testing.assert_array_equal(found[::2], table[[2, 0]])  # bit for bit
    np.testing.assert_allclose(found[1], (table[0] + table[2]) / 2, rtol=1e-6)
    assert origin["from"] == {"new": {"a": 0.5, "c": 0.5}}
    state, origin = start(tmp_path, NET, goal_like(made, [(0, 1, 0)]))
    np.testing.assert_array_equal(state.params["up1"]["norm"]["scale"], table[1])
    assert origin["from"] == {"style": {"b": 1.0}}
    chosen = start(f"{tmp_path}:c", NET)[0].params["up1"]["norm"]["scale"]
    np.testing.assert_array_equal(chosen, table[2])


def test_another_architecture_is_refused_with_both_named(tmp_path):
    write_model(tmp_path / "model.safetensors", style_model(**NET))
    with pytest.raises(InputError, match=r"width=0\.125.*the config's is.*width=0\.25"):
        start(tmp_path, NET | {"width": 0.25})
    with pytest.raises(InputError, match="padding=layers, output=linear"):
        start(tmp_path, NET | {"padding": "layers", "output": "linear"})
    with pytest.raises(InputError, match="no such model"):
        start(tmp_path / "gone", NET)


def test_training_norms_alone_leaves_the_rest_bit_equal():
    params = style_model(**NET).variables["params"]
    tx = make_optimizer(1e-2, trained="norms")
    ones = jax.tree.map(jnp.ones_like, params)
    updates, _ = tx.update(ones, tx.init(params), params)
    after = optax.apply_updates(params, updates)
    conv, norm = ("conv1", "conv", "kernel"), ("conv1", "norm", "scale")
    np.testing.assert_array_equal(*(_at(p, conv) for p in (params, after)))
    np.testing.assert_array_equal(*(_at(p, ("out", "kernel")) for p in (params, after)))
    assert (_at(params, norm) != _at(after, norm)).all()


def _at(tree, path):
    for key in path:
        tree = tree[key]
    return tree


@pytest.mark.slow
def test_muon_makes_the_updates_of_inner_convolutions_orthogonal():
    params = style_model(**NET).variables["params"]
    tx = make_optimizer(1.0, method="muon")
    rng = np.random.default_rng(0)
    grads = jax.tree.map(lambda p: rng.normal(size=p.shape).astype(np.float32), params)
    updates, _ = tx.update(grads, tx.init(params), params)
    kernel = np.asarray(updates["conv2"]["conv"]["kernel"])
    values = np.linalg.svd(kernel.reshape(-1, kernel.shape[-1]), compute_uv=False)
    # Newton-Schulz leaves them between 0.7 and 1.2 of one value.
    assert values.max() / values.min() < 1.9
    # The first and the last convolution see colours: Adam's first step is the same
    # for all, whatever the gradient.
    np.testing.assert_allclose(np.ptp(abs(updates["out"]["kernel"])), 0, atol=1e-3)


def test_the_command_trains_a_gallery(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(GALLERY)
    steps = ["--config=mine.py", "--config.num_steps=2"]
    assert train(*steps, "--workdir=first") == 0
    first = read_model("first")
    assert list(first.styles) == ["b", "photo"]
    assert first.styles["photo"] == {} and first.styles["b"]["name"] == "cubist.png"
    assert (tmp_path / "first/samples/step_000002.png").exists()


@pytest.mark.slow
def test_a_style_added_by_norms_leaves_the_others_bit_equal(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(GALLERY)
    steps = ["--config=mine.py", "--config.num_steps=2"]
    train(*steps, "--workdir=first")
    Image.new("RGB", (40, 30), (200, 60, 20)).save("my painting.png")
    more = ["--style=my painting.png", "--init=first", "--train=norms"]
    assert train(*steps, *more, "--workdir=second") == 0
    first, second = read_model("first"), read_model("second")
    assert list(second.styles) == ["b", "my_painting", "photo"]
    assert second.trained.other["init"]["name"] == "first"
    assert second.trained.config["styles.my_painting.weight"] > 0
    for name in first.styles:
        jax.tree.map(
            np.testing.assert_array_equal,
            first.pick(name).variables["params"],
            second.pick(name).variables["params"],
        )
    table = second.variables["params"]["up1"]["norm"]["scale"]
    begun = second.trained.other["init"]["from"]["my_painting"]
    begun = sum(w * table[{"b": 0, "photo": 2}[name]] for name, w in begun.items())
    assert (table[1] != begun).any()  # it has learnt
