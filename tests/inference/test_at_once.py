"""One photo without JAX: the same picture, and the usual way where that cannot be."""

import os
import platform
import subprocess
import sys

import numpy as np
import pytest
from helpers import ROOT, restoration_model, style_model, write_gallery
from PIL import Image

from jaxperceptual.commands import stylize
from jaxperceptual.core import cli
from jaxperceptual.inference import at_once, program_text
from jaxperceptual.inference.stylizer import Stylizer
from jaxperceptual.networks.model_file import write_model

pytestmark = pytest.mark.skipif(
    platform.machine().lower() not in ("x86_64", "amd64"), reason="oneDNN is of x86"
)
OPTIONS = dict(norm="instance", upsample="resize", width=0.25)
ROUNDING = dict(rtol=0, atol=2e-3)  # of 255; tanh's slope is behind norms


def noise(h, w, channels=3):
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (h, w, channels), dtype=np.uint8)


@pytest.fixture(scope="module")
def model_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    write_model(
        path, style_model({"steps": 3, "training": {"num_steps": 4}}, **OPTIONS)
    )
    return path


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.png"
    pixels = noise(85, 98, 4)  # with an alpha
    pixels[20:50, 30:60, :3] = 9  # flat, so that it gets grain
    Image.fromarray(pixels).save(path)
    return path


@pytest.mark.parametrize("size", [(80, 83), (85, 98), (101, 80)])
def test_the_program_computes_what_the_network_does(size):
    model = style_model(**OPTIONS)
    image = noise(*size).astype(np.float32)
    painter = at_once.Painter(model.variables["params"], *size)
    expected = Stylizer(model)(image)
    assert expected.std() > 5
    np.testing.assert_allclose(painter(image), expected, **ROUNDING)
    turned = np.asfortranarray(image)  # as an index by two arrays leaves it
    np.testing.assert_allclose(painter(turned), expected, **ROUNDING)
    with pytest.raises(at_once.Unavailable):
        painter(image[1:])


def test_of_a_gallery_it_is_the_style_or_mixture(tmp_path):
    path = write_gallery(tmp_path / "model.safetensors", {"wave": {}, "dots": {}})
    image = noise(80, 96)
    Image.fromarray(image).save(tmp_path / "photo.png")
    pixels = np.float32(image)
    for style in ("dots", "wave:1,dots:3"):
        painter, _ = at_once.start(str(path), style, tmp_path / "photo.png", None)
        stylizer = Stylizer.from_pretrained(path, style=style)
        np.testing.assert_allclose(painter(pixels), stylizer(pixels), **ROUNDING)
        other = stylizer.with_style("wave")  # by the program of another style
        found = painter(pixels, other.model.variables["params"])
        np.testing.assert_allclose(found, other(pixels), **ROUNDING)
        named = at_once.start(f"{path}:{style}", None, tmp_path / "photo.png", None)
        assert named is not None
    for style in (None, "nothing", "wave:0"):
        assert at_once.start(str(path), style, tmp_path / "photo.png", None) is None


@pytest.mark.parametrize(
    "why",
    ["batch", "transposed", "task", "not a model", "small", "large", "no photo", "off"],
)
def test_everything_else_takes_the_usual_way(why, photo, tmp_path, monkeypatch):
    path = tmp_path / "model.safetensors"
    if why in ("batch", "transposed"):
        more = {"norm": "batch"} if why == "batch" else {"upsample": "transposed"}
        write_model(path, style_model(**OPTIONS | more))
    elif why == "task":
        write_model(path, restoration_model(factor=2, norm=None))
    else:
        write_model(path, style_model(**OPTIONS))
    size = 79 if why == "small" else None
    assert why != "off" or at_once.start(str(path), None, photo, size) is not None
    if why == "not a model":
        path.write_bytes(path.read_bytes()[:-9])
    if why == "large":
        monkeypatch.setattr(at_once, "MOST", 85 * 98 - 1)
    if why == "no photo":
        photo.write_bytes(b"")
    if why == "off":
        monkeypatch.setenv(at_once.ASKED, "0")
    assert at_once.start(str(path), None, photo, size) is None


def test_a_command_needs_no_jax_and_makes_the_same(model_file, photo, tmp_path):
    def run(name, *more, **variables):
        code = (
            "import sys; from jaxperceptual import __main__ as m\ntry: m.run('stylize')"
        )
        code += "\nfinally: print('jax' in sys.modules)"
        command = [sys.executable, "-c", code, str(photo), f"--model={model_file}"]
        environment = os.environ | {"PYTHONPATH": str(ROOT)} | variables
        done = subprocess.run(
            [*command, "-o", name, "--strength=0.8", *more],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
        )
        made = np.array(Image.open(tmp_path / name), np.int16)
        return done.returncode, done.stdout.split(), done.stderr, made

    *told, picture = run("a.png")
    line = f"stylize: {model_file} stands at step 3 of 4; its training has not ended\n"
    assert told == [0, ["a.png", "False"], line]
    *told, usual = run("b.png", **{at_once.ASKED: "0"})
    assert told == [0, ["b.png", "True"], line]
    assert picture.shape == (85, 98, 4)
    assert np.abs(picture - usual).max() <= 1  # rounded


@pytest.mark.parametrize("broken", ["nothing compiles", "what compiled is wrong"])
def test_where_jaxlib_cannot_the_usual_way_is_taken(
    broken, model_file, photo, tmp_path, monkeypatch, capsys
):
    taken = []
    real = stylize._results
    monkeypatch.setattr(
        stylize, "_results", lambda *args: taken.append(1) or real(*args)
    )
    if broken == "nothing compiles":
        monkeypatch.setattr(at_once, "_compiled", lambda *_: 1 / 0)
    else:
        program, x, expected = program_text.trial()
        wrong = program, x, expected + 1
        monkeypatch.setattr(program_text, "trial", lambda: wrong)
    target = tmp_path / "out.png"
    argv = [str(photo), f"--model={model_file}", "-o", str(target)]
    assert cli.call(stylize, argv, at_once=True) == 0
    assert taken == [1] and target.exists()
    assert capsys.readouterr().out == f"{target}\n"


def test_a_wrong_sum_in_a_process_of_its_own_starts_it_anew(
    model_file, photo, tmp_path
):
    """Since JAX, which it had not imported, would not work there any more."""
    script = tmp_path / "script.py"
    script.write_text(
        f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from jaxperceptual.inference import program_text
program, x, expected = program_text.trial()
program_text.trial = lambda: (program, x, expected + 1)
from jaxperceptual.__main__ import run
print("started", flush=True)
run("stylize")
"""
    )
    done = subprocess.run(
        [sys.executable, script, photo, f"--model={model_file}", "-o", "out.png"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["started", "started", "out.png"]
    assert (tmp_path / "out.png").exists()
