"""Every program for a GPU, lowered without one: what it must hold, and must not.

Here there is none to run them. What a CPU computes more cleverly, Winograd's sums,
rearranged convolutions, calls into oneDNN, has no place in them.
"""

import functools
import re
from collections import Counter

import jax
import numpy as np
import pytest
from helpers import restoration_model, style_model

from jaxperceptual.baseline.pixels import PixelOptimizer
from jaxperceptual.core import config_files
from jaxperceptual.inference.restorer import Restorer
from jaxperceptual.inference.stylizer import Stylizer
from jaxperceptual.training import run
from jaxperceptual.training.devices import replicate
from jaxperceptual.training.step import init_state, make_train_step

NET, VGG = 16, 4  # convolutions: of the style network, of VGG-16 to relu2_2
STEP = (3 * NET - 1) + 3 * VGG  # forward, to kernels and inputs; outputs, targets, back
GRAM = 3  # products: forward, and back to either factor


@pytest.fixture(autouse=True)
def for_cuda(monkeypatch):
    """What asks for the backend hears of a GPU, and what is lowered is for CUDA."""
    lower = functools.partialmethod(
        jax.stages.Traced.lower, lowering_platforms=("cuda",)
    )
    monkeypatch.setattr(jax.stages.Traced, "lower", lower)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")


def check(lowered, *, convolutions, dots=0, dtype="f32", precision="HIGHEST"):
    """The text of the program, which holds just these products in just this dtype."""
    text = lowered.as_text()
    results = re.findall(r"stablehlo\.convolution\(.*-> tensor<[\dx]+x(\w+)>", text)
    assert Counter(results) == {dtype: convolutions}
    found = re.findall(r"stablehlo\.dot_general.*-> tensor<[\dx]+x(\w+)>", text)
    assert Counter(found) == ({"f32": dots} if dots else {})  # sums of Grams
    precisions = re.findall(r"(?:#stablehlo<precision |precision = \[)(\w+)", text)
    # What is dilated meets a kernel, never a map: cuDNN would take that for a filter.
    dilated = re.findall(
        r"stablehlo\.convolution\(.*lhs_dilate = \[2, 2\].*, tensor<(\d+)x(\d+)x", text
    )
    assert all(int(side) <= 9 for sides in dilated for side in sides)
    assert set(precisions) == {precision}
    assert "custom_call" not in text and "xf64>" not in text
    assert ("bf16" in text) == (dtype == "bf16")
    return text


@pytest.mark.parametrize(
    "settings, told",
    [
        ([], {}),
        (["net.norm=instance", "net.upsample=resize"], {}),
        pytest.param(["net.norm=instance"], {}, marks=pytest.mark.slow),
        pytest.param(["net.upsample=resize"], {}, marks=pytest.mark.slow),
        pytest.param(["precision=bfloat16"], {"dtype": "bf16"}, marks=pytest.mark.slow),
        (["precision=tf32"], {"precision": "HIGH"}),
        (["optimizer.method=muon"], {"muon": True}),
    ],
    ids=lambda given: "-".join(given) if isinstance(given, list) else "",
)
def test_a_training_step(settings, told):
    state, text = _step(settings, steps=1, rows=False, **told)
    assert text.count("tf.aliasing_output") == len(jax.tree.leaves(state))
    assert "stablehlo.while" not in text or "muon" in told


@pytest.mark.parametrize("rows", [False, True])
def test_many_steps_in_a_dispatch(rows):
    state, text = _step([], steps=3, rows=rows)
    assert text.count("tf.aliasing_output") == len(jax.tree.leaves(state))
    assert text.count("stablehlo.while") == 1
    assert ("tensor<1x9x32x32x3xui8>" in text) == rows  # photos on the device


def _step(settings, *, steps, rows, muon=False, **expected):
    config = config_files.load_config("smoke.py")
    config_files.override_all(config, settings)
    made = run.prepare(config)
    state = init_state(jax.random.key(0), made.net, made.tx, made.input_size)
    devices = jax.local_devices()[:1]
    step = make_train_step(made.net, made.goal.objective, made.tx, devices=devices)
    arguments = [replicate(state, devices), replicate(made.goal.frozen, devices)]
    if rows:
        arguments += [np.zeros((1, steps, 4), np.int32)]
        arguments += [replicate(np.zeros((9, 32, 32, 3), np.uint8), devices)]
    else:
        arguments += [np.zeros((1, steps, 4, 32, 32, 3), np.uint8)]
    with made.goal.products():
        lowered = step.lower(*arguments)
    if muon:  # its products of matrices are beside those of the Grams
        text = lowered.as_text()
        assert text.count("stablehlo.convolution") == STEP
        assert text.count("stablehlo.dot_general") > GRAM
    else:
        text = check(lowered, convolutions=STEP, dots=GRAM, **expected)
    return state, text


@pytest.mark.parametrize("upsample", ["transposed", "resize"])
@pytest.mark.parametrize("norm", ["batch", "instance"])
def test_inference(norm, upsample):
    model = style_model(norm=norm, upsample=upsample)
    image = np.zeros((1, 40, 56, 3), np.float32)
    for precision, told in (
        ("float32", {}),
        ("tf32", {"precision": "HIGH"}),
        ("bfloat16", {"dtype": "bf16"}),
    ):
        stylizer = Stylizer(model, precision=precision)
        lowered = stylizer._apply_exactly.lower(stylizer._variables, image)
        check(lowered, convolutions=NET, **told)


def test_enlarging():
    restorer = Restorer(restoration_model(name="SuperResolutionNet", factor=4))
    image = np.zeros((1, 24, 24, 3), np.float32)
    lowered = restorer._apply.lower(restorer._variables, image)
    check(lowered, convolutions=1 + 8 + 2 + 1)


@pytest.mark.parametrize("precision, told", [("float32", "HIGHEST"), ("tf32", "HIGH")])
def test_the_baselines_evaluations_are_one_loop(precision, told):
    config = config_files.load_config("smoke.py")
    config_files.override_all(config, [f"precision={precision}"])
    goal = run.prepare(config).goal
    optimizer = PixelOptimizer(goal.objective)
    targets = np.zeros((2, 32, 32, 3), np.float32)
    with goal.products():
        step, frozen = optimizer.start(targets, goal.frozen, targets)
        lowered = optimizer._updates.lower(*step, frozen, targets, count=3)
    text = lowered.as_text()
    assert text.count("stablehlo.convolution(") == 2 * VGG  # forward and back
    grams = re.findall(r"dot_general.*precision = \[(\w+)", text)
    assert grams.count(told) >= GRAM and "custom_call" not in text
    convolved = re.findall(r"#stablehlo<precision (\w+)>", text)
    assert set(convolved) == {told}
    donated = text.count("tf.aliasing_output") + text.count("jax.buffer_donor")
    assert donated == len(jax.tree.leaves(step))
    assert text.count("stablehlo.while") >= 1
