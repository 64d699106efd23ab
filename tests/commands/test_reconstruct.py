"""bin/reconstruct at a tiny size: what comes back of an image, and what is written."""

import csv

import numpy as np
import pytest
import skimage.data
from helpers import Command
from tolerances import REORDERED_TOTAL

from jaxperceptual.baseline.pixels import PixelOptimizer
from jaxperceptual.core.errors import InputError
from jaxperceptual.images import sheets
from jaxperceptual.images.reading import read_image
from jaxperceptual.images.writing import write_image

run = Command("reconstruct")
pytestmark = pytest.mark.weights


@pytest.fixture(scope="module")
def photo(tmp_path_factory):
    path = tmp_path_factory.mktemp("photos") / "cat.png"
    cat = np.float32(skimage.data.chelsea()[60:260, 100:340])
    write_image(path, sheets.resized(cat, 48))
    return path


def reconstruct(photo, out, *argv):
    assert run(str(photo), "-o", str(out), "--size", "48", *argv) == 0
    with open(out / f"{argv[0].removeprefix('--')}.csv") as file:
        return list(csv.DictReader(file))


def test_features_of_the_first_layers_bring_the_image_back(photo, tmp_path, capsys):
    argv = "--features --layers relu1_1 relu1_2 --steps 60 --tv 1e-3".split()
    rows = reconstruct(photo, tmp_path, *argv)
    target = read_image(photo)
    h, w, _ = target.shape
    assert (h, w) == (40, 48)  # the photo's aspect
    for layer, closeness in (("relu1_1", 0.99), ("relu1_2", 0.9)):
        found = read_image(tmp_path / f"cat_features_{layer}.png")
        assert np.corrcoef(found.ravel(), target.ravel())[0, 1] > closeness
        own = [row for row in rows if row["layer"] == layer]
        assert [row["evaluations"] for row in own] == [str(i) for i in range(1, 62)]
        values = [float(row["objective"]) for row in own]
        assert np.all(np.diff(values) <= 0) and values[-1] < values[0] / 20
        for row in own:
            parts = float(row["loss"]) + float(row["tv"])
            np.testing.assert_allclose(
                parts, float(row["objective"]), **REORDERED_TOTAL
            )
    figure = read_image(tmp_path / "figure3.png")
    np.testing.assert_array_equal(figure[:h, :w], target)  # the first cell, unlabelled
    assert figure.shape[0] > h and figure.shape[1] >= 3 * w
    assert capsys.readouterr().out.strip() == str(tmp_path / "figure3.png")


@pytest.mark.slow
def test_style_forgets_where_things_are(photo, tmp_path):
    argv = "--style --layers relu2_2 --steps 40 --tv 0".split()
    rows = reconstruct(photo, tmp_path, *argv)
    assert all(row["tv"] == "0.0" for row in rows)
    values = [float(row["loss"]) for row in rows]
    assert values[-1] < values[0] / 100
    found = read_image(tmp_path / "cat_style_relu2_2.png").ravel()
    assert abs(np.corrcoef(found, read_image(photo).ravel())[0, 1]) < 0.5
    assert (tmp_path / "figure4.png").exists()


@pytest.mark.parametrize(
    "argv, message",
    [
        ("--features --layers relu9_1", "no layer 'relu9_1'"),
        ("--features --steps 0", "--steps 0; use 1"),
        ("--features --size 5000", "--size 5000; use 32 to 4096"),
        ("--style --tv -1", "--tv -1.0; use 0"),
        ("--style --vgg vgg99", "vgg99"),
    ],
)
def test_bad_options(photo, tmp_path, argv, message):
    out = tmp_path / "out"
    with pytest.raises(InputError, match=message):
        run(str(photo), "-o", str(out), *argv.split())
    assert not out.exists()


@pytest.mark.parametrize("argv", ["", "--features --style"])
def test_features_or_style(photo, tmp_path, argv, capsys):
    with pytest.raises(SystemExit) as error:
        run(str(photo), "-o", str(tmp_path), *argv.split())
    assert error.value.code == 2 and "--style" in capsys.readouterr().err


def test_bad_images_and_folders(photo, tmp_path):
    text = tmp_path / "text.png"
    text.write_text("no image")
    for image, out, message in (
        (tmp_path / "none.png", tmp_path, "none.png"),
        (text, tmp_path, "cannot be read as an image"),
        (photo, photo, "cannot be written"),
    ):
        with pytest.raises(InputError, match=message):
            run(str(image), "--features", "-o", str(out))


def test_out_of_memory_is_said(monkeypatch, photo, tmp_path):
    def exhaust(*args):
        raise RuntimeError("RESOURCE_EXHAUSTED: Out of memory")

    monkeypatch.setattr(PixelOptimizer, "start", exhaust)
    with pytest.raises(InputError, match="relu2_2 of 48 x 40 px does not fit"):
        run(str(photo), "--style", "--layers", "relu2_2", "-o", str(tmp_path))
