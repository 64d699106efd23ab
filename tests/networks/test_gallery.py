"""A gallery: each image in its own style; one of them, or a mixture, alone."""

import jax
import numpy as np
import pytest
from helpers import relative_error, style_model

from jaxperceptual.core.errors import InputError
from jaxperceptual.inference.stylizer import Stylizer
from jaxperceptual.networks import gallery
from jaxperceptual.networks.model_file import build_net, read_model, write_model

NAMES = ("night", "photo", "wave")
CONFIG = {
    "objective.style.relu1_2": 100.0,
    "styles.night.image": "night.jpg",
    "styles.night.size": 384,
    "styles.night.weight": 0.5,
    "net.num_styles": 3,
}


@pytest.fixture(scope="module")
def model():
    made = style_model(
        {"training": CONFIG, "steps": 7}, norm="instance", num_styles=len(NAMES)
    )
    styles = {"night": {"name": "night.jpg", "sha256": "1"}, "photo": {}}
    return made._replace(styles=styles | {"wave": {"name": "wave.jpg", "sha256": "2"}})


@pytest.mark.slow
def test_an_image_in_a_batch_comes_out_as_by_its_style_alone(model):
    photos = np.random.default_rng(0).uniform(0, 255, (3, 24, 20, 3)).astype("f")
    mixture = {"night": 0.25, "wave": 0.75}
    styles = np.stack(
        [gallery.rows(m, NAMES) for m in (mixture, {"wave": 1.0}, {"night": 1.0})]
    )
    found = jax.jit(build_net(model).apply, static_argnames="train")(
        model.variables, photos, train=False, styles=styles
    )
    for i, style in enumerate((mixture, "wave", "night")):
        alone = Stylizer(model.pick(style))(photos[i])
        np.testing.assert_allclose(found[i], alone, atol=2e-3)
    assert relative_error(np.asarray(found[0]), np.asarray(found[1])) > 0.01


def test_a_picked_style_has_the_row_bit_for_bit_and_tells_its_own_training(model):
    picked = model.pick("wave")
    table = model.variables["params"]["conv1"]["norm"]["scale"]
    np.testing.assert_array_equal(
        picked.variables["params"]["conv1"]["norm"]["scale"], table[2]
    )
    assert "num_styles" not in picked.net_config and not picked.styles
    assert picked.trained.style == {"name": "wave.jpg", "sha256": "2"}
    trained = model.pick("night").trained
    assert trained.objective["objective.style.relu1_2"] == 50.0
    assert trained.config["style_image"] == "night.jpg"
    assert trained.config["style_size"] == 384 and trained.steps == 7


def test_the_file_keeps_the_styles_names_in_order(model, tmp_path):
    write_model(tmp_path / "gallery.safetensors", model)
    found = read_model(tmp_path / "gallery.safetensors")
    assert list(found.styles) == list(NAMES) and found.styles == model.styles
    name = f"{tmp_path / 'gallery.safetensors'}:wave:3,night"
    mixed = model.pick({"wave": 0.75, "night": 0.25}).variables["params"]
    found = read_model(name).variables["params"]
    jax.tree.map(np.testing.assert_array_equal, found, mixed)
    with pytest.raises(InputError, match="3 styles in its norms.* names 0"):
        write_model(tmp_path / "bad.safetensors", model._replace(styles={}))


@pytest.mark.parametrize(
    ("text", "weights"),
    [
        ("a", {"a": 1.0}),
        ("a:0.6,b:0.4", {"a": 0.6, "b": 0.4}),
        ("a, b", {"a": 0.5, "b": 0.5}),
        ("a:3,b:1", {"a": 0.75, "b": 0.25}),
        ({"a": 3.0, "b": 1.0}, {"a": 0.75, "b": 0.25}),
    ],
)
def test_a_mixture_is_read_as_weights_that_add_up_to_1(text, weights):
    assert gallery.parse(text) == pytest.approx(weights)


@pytest.mark.parametrize(
    "style",
    [
        "",
        "a:",
        "a:x",
        "a:-1",
        "a,a",
        "a:nan",
        "a,,b",
        {"a": np.nan},
        {"a": -1.0, "b": 2.0},
    ],
)
def test_what_is_no_mixture_is_refused(style):
    with pytest.raises(InputError, match="use NAME, or NAME:WEIGHT"):
        gallery.parse(style)
    for nothing in ({}, "a:1e308,b:1e308"):
        with pytest.raises(InputError, match="weights that add up to"):
            gallery.parse(nothing)


def test_a_style_that_is_not_there_is_refused(model):
    with pytest.raises(InputError, match="sunset: not in it; there is night, photo"):
        model.pick("sunset")
    with pytest.raises(InputError, match="a network of one style"):
        style_model().pick("night")
    with pytest.raises(InputError, match="a gallery of 3 styles; name one: night,"):
        model.pick(None)


def test_batch_norm_cannot_hold_many_styles():
    with pytest.raises(InputError, match="net.norm='batch' with 2 styles"):
        style_model(norm="batch", num_styles=2)
