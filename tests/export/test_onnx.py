"""ONNX files against our own networks, by onnxruntime."""

import json

import numpy as np
import pytest
from helpers import Command, restoration_model, style_model
from tolerances import THROUGH_A_NETWORK

from jaxperceptual.core.errors import InputError
from jaxperceptual.export import writing
from jaxperceptual.inference.restorer import Restorer
from jaxperceptual.inference.stylizer import Stylizer
from jaxperceptual.networks import pretrained
from jaxperceptual.networks.model_file import read_model, write_model

onnx = pytest.importorskip("onnx")
# [n h w]: sides of one pixel, shorter than the reflection, odd, of each rest by 4.
SIZES = [(1, 1, 1), (1, 1, 17), (1, 17, 5), (1, 30, 32), (2, 31, 2)]
SIZES += [(1, 64, 33), (1, 50, 64), (2, 47, 61)]
STYLES = {
    "the paper's": dict(norm="batch", upsample="transposed"),
    "the gallery's": dict(norm="instance", upsample="resize"),
    "no norm": dict(norm=None),
}
RESTORATIONS = {
    "the paper's": dict(factor=4),
    "added to bicubic": dict(factor=2, norm=None, upsample="resize", skip=True),
    "of one size": dict(factor=1, norm="instance"),
    "SRCNN": dict(name="SRCNN", factor=4),
}


def session(path):
    runtime = pytest.importorskip("onnxruntime")
    return runtime.InferenceSession(path, providers=["CPUExecutionProvider"])


def photos(*shape):
    return np.random.default_rng(0).uniform(0, 255, (*shape, 3)).astype(np.float32)


def agrees(found, network, sizes):
    for size in sizes:
        images = photos(*size)
        (outputs,) = found.run(["outputs"], {"images": images})
        np.testing.assert_allclose(outputs, network(images), **THROUGH_A_NETWORK)
    assert outputs.std() > 4  # there was something to see


def sizes_for(model):
    # Of one pixel, instance norm makes rounding over rounding.
    return SIZES[1:] if model.net_config.get("norm") == "instance" else SIZES


@pytest.mark.parametrize(
    "name",
    ["the paper's", "the gallery's", pytest.param("no norm", marks=pytest.mark.slow)],
)
def test_a_style_network_at_eight_sizes(name, tmp_path):
    model = style_model(**STYLES[name])
    path = writing.export_model(model, tmp_path / "sub" / "model.onnx")
    agrees(session(path), network_of(model), sizes_for(model))


def test_a_gallery_with_all_its_styles(tmp_path, monkeypatch):
    styles = {"wave": {}, "dots": {}, "lines": {}}
    made = style_model(norm="instance", num_styles=3)._replace(styles=styles)
    write_model(tmp_path / pretrained.FILE_NAME, made)
    path = tmp_path / "gallery.onnx"
    Command("export")(f"--model={tmp_path}", "--all-styles", f"-o={path}")
    found = session(path)
    assert json.loads(found.get_modelmeta().custom_metadata_map["styles"]) == [*styles]
    photo = photos(1, 37, 42)
    for weights in ([0.0, 1.0, 0.0], [0.5, 0.25, 0.25]):
        mixture = {name: w for name, w in zip(styles, weights, strict=True) if w}
        inputs = {"images": photo, "styles": np.float32(weights)}
        (outputs,) = found.run(["outputs"], inputs)
        expected = Stylizer(made, style=mixture)(photo)
        np.testing.assert_allclose(outputs, expected, **THROUGH_A_NETWORK)
    one = style_model(norm="instance")
    with pytest.raises(InputError, match="all styles are those of a gallery"):
        writing.export_model(one, tmp_path / "one.onnx", all_styles=True)
    with pytest.raises(InputError, match="all styles: of ONNX alone"):
        writing.export_model(made, tmp_path / "one.stablehlo", all_styles=True)


def network_of(model):
    if model.task == "style":
        return Stylizer(model)
    restorer = Restorer(model)
    return lambda images: np.stack([restorer.network(image) for image in images])


@pytest.mark.parametrize("name", RESTORATIONS)
def test_a_restoration_network(name, tmp_path):
    model = restoration_model(**RESTORATIONS[name])
    path = writing.export_model(model, tmp_path / "model.onnx")
    # Each is a program of its own here.
    agrees(session(path), network_of(model), [(1, 1, 1), (1, 2, 3), (1, 17, 5)])


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        f"{name}:wave" if name.startswith(pretrained.GALLERY) else name
        for name in pretrained.pretrained_names()
    ],
)
def test_what_ships_at_eight_sizes(name, tmp_path):
    model = read_model(name, task=None)
    path = writing.export_model(model, tmp_path / "model.onnx")
    agrees(session(path), network_of(model), sizes_for(model))


def test_half_weights_cost_what_is_said(tmp_path):
    model = style_model(width=0.25)
    whole, half = (
        writing.export_model(model, tmp_path / f"{half}.onnx", half_weights=half)
        for half in (False, True)
    )
    assert half.stat().st_size < 0.6 * whole.stat().st_size
    most, mean = writing.cost_of_half_weights(model, side=64)
    images = np.float32(writing.middle(64))
    outputs = [session(p).run(None, {"images": images})[0] for p in (whole, half)]
    apart = np.abs(outputs[0] - outputs[1])
    assert 0 < mean < most < 1
    assert abs(apart.max() - most) < 0.01 and abs(apart.mean() - mean) < 0.01


def test_the_command_writes_one_style_and_tells_of_it(tmp_path, capsys):
    path = tmp_path / "mine.onnx"
    command = Command("export")
    assert command("--model", "gallery", "--style", "wave:1,udnie:3", "-o", path) == 0
    assert f"{path}: style, 1.72 MB" in capsys.readouterr().out
    made = onnx.load(path)
    told = {entry.key: entry.value for entry in made.metadata_props}
    assert told["task"] == "style" and json.loads(told["net"])["norm"] == "instance"
    assert (
        told["card"]
        == pretrained.pretrained_path("gallery").with_suffix(".md").read_text()
    )
    names = {array.name for array in made.graph.initializer}
    assert {"residual5/block2/norm/scale", "up2/conv/kernel", "out/bias"} <= names
    dims = [d.dim_param or d.dim_value for d in shape_of(made.graph.input[0])]
    assert dims == ["n", "height", "width", 3]


def shape_of(value):
    return value.type.tensor_type.shape.dim


@pytest.mark.parametrize(
    "arguments, said",
    [
        ("--model gallery -o x.onnx", "name one: composition_a"),
        ("--model sr_x4 --style wave -o x.onnx", "network of one style"),
        ("--model wave -o x.bin", "neither in .onnx nor .stablehlo"),
        ("--model wave --float16-weights -o x.stablehlo", "of ONNX alone"),
        ("--model nothing -o x.onnx", "no such model"),
    ],
)
def test_what_cannot_be_exported(arguments, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=said):
        Command("export")(*arguments.split())
    assert not [*tmp_path.iterdir()]


def test_a_run_of_either_task_is_exported(tmp_path):
    for model in (style_model(), restoration_model(factor=2)):
        run = tmp_path / model.task
        write_model(run / pretrained.FILE_NAME, model)
        assert Command("export")("--model", run, "-o", run / "x.onnx") == 0
        told = {p.key: p.value for p in onnx.load(run / "x.onnx").metadata_props}
        assert told["task"] == model.task and "card" not in told
