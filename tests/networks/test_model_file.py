"""Model files: written, read again, refused; shapes without tracing."""

import functools
import json
import os

import flax.linen as nn
import jax
import numpy as np
import pytest
import safetensors.numpy
from flax import traverse_util
from helpers import SMALL_NET, style_model

from jaxperceptual.core import records
from jaxperceptual.core.errors import InputError
from jaxperceptual.networks import pretrained
from jaxperceptual.networks.model_file import read_model, write_model
from jaxperceptual.networks.shapes import shapes_of
from jaxperceptual.networks.srcnn import SRCNN
from jaxperceptual.networks.style_net import StyleNet
from jaxperceptual.networks.super_resolution_net import SuperResolutionNet
from jaxperceptual.networks.trained import Trained

METADATA = {"steps": 3, "training": {"learning_rate": 1e-3}, "poem": "ü"}
CONFIG = records.completed(METADATA["training"])


@pytest.fixture(scope="module")
def model():
    return style_model(METADATA)


@pytest.fixture
def path(model, tmp_path):
    write_model(tmp_path / "runs" / "muse" / pretrained.FILE_NAME, model)
    return tmp_path / "runs" / "muse" / pretrained.FILE_NAME


def rewrite(path, *, header=None, **changes):
    """The file again, with tensors and header entries changed; None removes one."""
    with safetensors.safe_open(path, framework="numpy") as file:
        metadata = file.metadata() | (header or {})
    tensors = safetensors.numpy.load_file(path) | changes
    tensors = {name: value for name, value in tensors.items() if value is not None}
    safetensors.numpy.save_file(tensors, path, metadata=metadata)


@pytest.mark.parametrize("norm", ["batch", "instance"])
def test_reads_back_what_it_wrote(tmp_path, norm):
    model = style_model(METADATA, norm=norm)
    write_model(tmp_path / pretrained.FILE_NAME, model)
    for path in (tmp_path, tmp_path / pretrained.FILE_NAME, str(tmp_path)):
        got = read_model(path)
        assert got[:2] == model[:2]
        assert got.trained == model.trained
        assert got.trained.metadata() == METADATA | {"training": CONFIG}
        jax.tree.map(
            np.testing.assert_array_equal,
            got.variables,
            {"batch_stats": {}} | model.variables,
        )
    assert os.listdir(tmp_path) == [pretrained.FILE_NAME]  # no temporary file is left


class OneOfAUsers(nn.Module):
    @nn.compact
    def __call__(self, images, *, train):
        return nn.Dense(3)(images)


@pytest.mark.parametrize(
    "net",
    [
        StyleNet(norm="batch", width=0.3),
        StyleNet(norm="instance", width=0.5, upsample="resize", num_styles=3),
        StyleNet(norm=None),
        SuperResolutionNet(factor=8),
        SuperResolutionNet(factor=1, norm=None, skip=True),
        SRCNN(factor=4),
        OneOfAUsers(),
    ],
    ids=repr,
)
def test_shapes_are_those_of_init(net):
    image = jax.ShapeDtypeStruct((1, 16, 16, 3), np.float32)
    init = functools.partial(net.init, train=False)
    made = jax.eval_shape(init, jax.random.key(0), image)
    flat = traverse_util.flatten_dict(made, sep="/")
    assert shapes_of(net) == {name: leaf.shape for name, leaf in flat.items()}


def test_the_file_is_plain_safetensors(path):
    tensors = safetensors.numpy.load_file(path)
    assert tensors["params/out/kernel"].dtype == np.float32
    with safetensors.safe_open(path, framework="numpy") as file:
        header = file.metadata()
    assert (header["format"], header["task"]) == ("jaxperceptual-model", "style")
    assert json.loads(header["net"]) == SMALL_NET
    assert json.loads(header["steps"]) == 3


def test_names_of_shipped_models(monkeypatch, path, model):
    monkeypatch.setattr(pretrained, "_PRETRAINED", path.parent)
    assert pretrained.pretrained_names() == ["model"]
    assert read_model("model").trained == model.trained
    with pytest.raises(InputError, match=r"^wave: no such model; .*\(model\)\.$"):
        read_model("wave")
    with pytest.raises(InputError, match="^wave: no shipped model .* is: model"):
        pretrained.pretrained_path("wave")


@pytest.mark.parametrize(
    "changes, message",
    [
        (dict(header={"format": "pt"}), "not a jaxperceptual-model"),
        (dict(header={"version": "2"}), "version 2 of the model format"),
        (dict(header={"task": "super_resolution"}), "super_resolution, not style"),
        (dict(header={"net": "{"}), "net in the header is not JSON"),
        (dict(header={"net": "[]"}), "no net options"),
        (dict(header={"net": '{"depth": 3}'}), "'depth'"),
        (dict(header={"net": '{"norm": "layer"}'}), "use one of batch, instance"),
        (dict(header={"net": '{"width": 0.25}'}), r"has shape \[.*width=0.25"),
        ({"params/out/kernel": None}, "lacks params/out/kernel"),
        ({"foreign": np.zeros(3, np.float32)}, "has a foreign foreign"),
        ({"params/out/bias": np.zeros(4, np.float32)}, r"has shape \[4\].*has \[3\]"),
        ({"params/out/bias": np.zeros(3, np.float16)}, "is F16; a model holds float32"),
        ({"params/out/bias": np.full(3, np.nan, np.float32)}, "NaN or infinity"),
    ],
)
def test_refuses_a_changed_file(path, changes, message):
    header = changes.pop("header", None) if "header" in changes else None
    rewrite(path, header=header, **changes)
    with pytest.raises(InputError, match=message) as caught:
        read_model(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_refuses_what_is_no_model_file(path, tmp_path):
    content = path.read_bytes()
    for damaged in (b"", content[:4], content[:-1], b"x" * 1000, content + b"x"):
        path.write_bytes(damaged)
        with pytest.raises(InputError, match="not a whole safetensors file"):
            read_model(path)
    safetensors.numpy.save_file({"a": np.zeros(2)}, path)
    with pytest.raises(InputError, match="not a jaxperceptual-model"):
        read_model(path)
    with pytest.raises(InputError, match="no model.safetensors in this folder"):
        read_model(tmp_path)
    with pytest.raises(InputError, match="gone: no such model"):
        read_model(tmp_path / "gone")


def test_refuses_to_write_what_could_not_be_read(model, tmp_path):
    path = tmp_path / pretrained.FILE_NAME
    path.write_text("the last good one")
    broken = jax.tree.map(lambda leaf: leaf * np.nan, model.variables)
    for bad, message in (
        (model._replace(variables=broken), "NaN"),
        (model._replace(net_config={}), "has shape"),
        (model._replace(task="poetry"), "task='poetry'; use one of style"),
    ):
        with pytest.raises(InputError, match=message):
            write_model(path, bad)
    clash = Trained.parse({"task": 1})
    with pytest.raises(ValueError, match="metadata task: taken"):
        write_model(path, model._replace(trained=clash))
    assert path.read_text() == "the last good one"
    with pytest.raises(InputError, match="cannot be written"):
        write_model(path / "sub" / "model", model)
