"""Other projects' networks, against PyTorch doing what their source says."""

import json

import numpy as np
import pytest
from helpers import Command, foreign_state
from tolerances import THROUGH_A_NETWORK

from jaxperceptual.core.errors import InputError
from jaxperceptual.export import writing
from jaxperceptual.inference.stylizer import Stylizer
from jaxperceptual.networks import foreign
from jaxperceptual.networks.model_file import read_model

torch = pytest.importorskip("torch")
F = torch.nn.functional
EXAMPLES, RRMINA = foreign.LAYOUTS


def state_of(layout):
    return {k: torch.from_numpy(v) for k, v in foreign_state(layout).items()}


def by_torch(layout, state, photo, tanh=False):
    """The network as that project's source has it; sides are multiples of 4."""

    def conv(x, name, stride=1):
        weight, bias = state[f"{name}.weight"], state[f"{name}.bias"]
        if name.endswith("conv_transpose"):
            return F.conv_transpose2d(x, weight, bias, 2, 1, 1)
        p = weight.shape[-1] // 2
        return F.conv2d(F.pad(x, [p] * 4, "reflect"), weight, bias, stride)

    def block(x, name, stride=1, relu=True):
        of_conv, norm = layout.names[name]
        if name.startswith("up") and layout.upsample == "resize":
            x = F.interpolate(x, scale_factor=2, mode="nearest")
        scale, bias = state[f"{norm}.weight"], state[f"{norm}.bias"]
        x = F.instance_norm(conv(x, of_conv, stride), weight=scale, bias=bias)
        return F.relu(x) if relu else x

    x = torch.tensor(photo).permute(2, 0, 1)[None]
    x = x.flip(1) if layout.bgr else x
    x = block(block(block(x, "conv1"), "conv2", 2), "conv3", 2)
    for i in range(1, 6):
        y = block(x, f"residual{i}/block1")
        x = x + block(y, f"residual{i}/block2", relu=False)
    x = conv(block(block(x, "up1"), "up2"), layout.names["out"][0])
    x = 150 * torch.tanh(x) if tanh else x
    x = x.flip(1) if layout.bgr else x
    return x[0].permute(1, 2, 0).clip(0, 255).numpy()


def photo(h, w):
    return np.random.default_rng(1).uniform(0, 255, (h, w, 3)).astype(np.float32)


@pytest.mark.parametrize("layout", foreign.LAYOUTS, ids=["examples", "rrmina"])
def test_it_paints_as_there(layout, tmp_path, capsys):
    state = state_of(layout)
    saved = {f"module.{k}": v for k, v in state.items()}
    saved["module.in1.num_batches_tracked"] = torch.tensor(5)  # of older versions
    torch.save(saved, tmp_path / "theirs.pth")
    target = tmp_path / "ours.safetensors"
    assert Command("convert_model")(tmp_path / "theirs.pth", "-o", target) == 0
    assert layout.project in capsys.readouterr().out
    stylizer = Stylizer.from_pretrained(target)
    for h, w in ((40, 52), (64, 36)):
        expected = by_torch(layout, state, photo(h, w))
        assert expected.std() > 10
        np.testing.assert_allclose(stylizer(photo(h, w)), expected, atol=0.02)
    # Other sides are reflected to multiples of 4, and cut.
    sides = np.pad(photo(39, 50), ((0, 1), (0, 2), (0, 0)), "reflect")
    expected = by_torch(layout, state, sides)[:39, :50]
    np.testing.assert_allclose(stylizer(photo(39, 50)), expected, atol=0.02)
    # In a program for one size, and as ONNX.
    exact = Stylizer.from_pretrained(target).warm_up(39, 50)
    np.testing.assert_allclose(exact(photo(39, 50)), expected, atol=0.02)
    runtime = pytest.importorskip("onnxruntime")
    path = writing.export_model(read_model(target), tmp_path / "ours.onnx")
    session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"images": photo(39, 50)[None]})
    np.testing.assert_allclose(found[0], exact(photo(39, 50)), **THROUGH_A_NETWORK)
    source = json.loads(session.get_modelmeta().custom_metadata_map["source"])
    assert source["file"] == "theirs.pth" and len(source["sha256"]) == 64


@pytest.mark.slow
def test_some_versions_end_in_a_tanh(tmp_path):
    state = state_of(RRMINA)
    last = RRMINA.names["out"][0]
    state |= {
        f"{last}.{kind}": state[f"{last}.{kind}"] / 100 for kind in ("weight", "bias")
    }
    torch.save(state, tmp_path / "theirs.pth")
    target = tmp_path / "ours.safetensors"
    Command("convert_model")(tmp_path / "theirs.pth", "-o", target, "--tanh")
    expected = by_torch(RRMINA, state, photo(40, 40), tanh=True)
    found = Stylizer.from_pretrained(target)(photo(40, 40))
    np.testing.assert_allclose(found, expected, atol=0.02)


def test_what_is_refused(tmp_path):
    state = state_of(EXAMPLES)
    for name, change, words in (
        ("none.pth", None, "no such file"),
        ("vgg.pth", {"features.0.weight": torch.zeros(1)}, "has none of conv1.conv2d"),
        (
            "cut.pth",
            {k: v for k, v in state.items() if k != "res3.in2.bias"},
            "res3.in2.bias is missing; is it another network",
        ),
        (
            "flat.pth",
            state | {"conv2.conv2d.weight": torch.zeros(8)},
            r"conv2.conv2d.weight has the shape \(8,\)",
        ),
        (
            "narrow.pth",
            state | {"res1.conv1.conv2d.weight": torch.zeros(8, 16, 3, 3)},
            "residual1/block1/conv/kernel",
        ),
    ):
        if change is not None:
            torch.save(change, tmp_path / name)
        with pytest.raises(InputError, match=words):
            Command("convert_model")(tmp_path / name, "-o", tmp_path / "o.safetensors")
    (tmp_path / "text.pth").write_text("hello")
    with pytest.raises(InputError, match="text.pth"):
        Command("convert_model")(
            tmp_path / "text.pth", "-o", tmp_path / "o.safetensors"
        )
    with pytest.raises(InputError, match="ends in .safetensors; name it so"):
        Command("convert_model")(tmp_path / "text.pth", "-o", tmp_path / "o.npz")
    assert not (tmp_path / "o.safetensors").exists()
