"""bin/super_resolve from end to end."""

import sys

import numpy as np
import pytest
from helpers import Command, identity_model, restoration_model
from PIL import Image
from tolerances import ROUNDED_TO_8_BITS

from jaxperceptual.images import resampling
from jaxperceptual.images.reading import read_image
from jaxperceptual.inference.restorer import Restorer, match_histogram
from jaxperceptual.networks import pretrained
from jaxperceptual.networks.model_file import write_model

run = Command("super_resolve")
ROUNDED_TWICE = dict(rtol=0, atol=1.6)  # to 8 bits, before enlarging and after


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("run") / pretrained.FILE_NAME
    training = {"training": {"degradation.name": "downsample"}}
    write_model(path, identity_model(training))
    return path.parent


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """In the current folder: colour, 16-bit grey, with alpha, in a sub-folder, none."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    colour = rng.integers(0, 256, (13, 9, 3), dtype=np.uint8)
    folder = tmp_path / "photos"
    (folder / "deeper").mkdir(parents=True)
    Image.fromarray(colour).save(folder / "colour.png")
    grey = rng.integers(0, 2**16, (5, 8), dtype=np.uint16)
    Image.fromarray(grey).save(folder / "grey16.png")
    alpha = np.zeros((6, 7), np.uint8)
    alpha[:, 3:] = 255
    transparent = np.dstack([colour[:6, :7], alpha])
    Image.fromarray(transparent).save(folder / "deeper" / "alpha.png")
    Image.fromarray(colour[:1, :1]).save(folder / "dot.gif")
    return folder


def super_resolve(model, *argv):
    return run(f"--model={model}", *map(str, argv))


def bicubic(pixels):
    return np.asarray(resampling.upsample(np.float32(pixels)[None], 2))[0]


def test_one_photo(model, photos, tmp_path, capsys):
    alone = [photos / "colour.png", "--consistency=0"]  # that is, interpolated
    assert super_resolve(model, *alone) == 0
    assert capsys.readouterr().out == "colour-x2.png\n"
    output = np.asarray(Image.open(tmp_path / "colour-x2.png"))
    expected = bicubic(Image.open(photos / "colour.png"))
    np.testing.assert_allclose(output, expected.clip(0, 255), **ROUNDED_TO_8_BITS)
    assert super_resolve(model, *alone, "--tile=16", "-o", "t.png") == 0
    np.testing.assert_array_equal(Image.open(tmp_path / "t.png"), output)


def test_a_folder_with_all_kinds(model, photos, tmp_path, capsys):
    (photos / "broken.png").write_bytes(b"no image")
    assert super_resolve(model, photos, "-o", "out", "--consistency=0") == 1
    err = capsys.readouterr().err
    assert "broken.png: cannot be read" in err and "1 of 5 images" in err
    assert ".gif is saved as .png (1)" in err
    made = {}
    for path in (tmp_path / "out").rglob("*.*"):
        with Image.open(path) as image:
            made[str(path.relative_to(tmp_path / "out"))] = image.copy()
    assert {name: image.size for name, image in made.items()} == {
        "colour.png": (18, 26),
        "grey16.png": (16, 10),
        "deeper/alpha.png": (14, 12),
        "dot.png": (2, 2),
    }
    grey = np.asarray(made["grey16.png"]).astype(int)
    assert not np.ptp(grey, axis=-1).any()
    expected = bicubic(
        np.repeat(np.asarray(Image.open(photos / "grey16.png"))[..., None] / 257, 3, -1)
    )
    np.testing.assert_allclose(grey, expected.clip(0, 255), **ROUNDED_TWICE)
    alpha = np.asarray(made["deeper/alpha.png"].getchannel("A"))
    assert (alpha[:, :4] == 0).all() and (alpha[:, 9:] == 255).all()


def test_what_follows_the_network(photos, tmp_path):
    """Consistency with the photo, unless told otherwise; the paper's matching."""
    model = restoration_model(factor=2)
    write_model(tmp_path / "run" / pretrained.FILE_NAME, model)
    source = photos / "colour.png"
    image, restorer = read_image(source), Restorer(model)
    raw = restorer.network(image)
    for options, expected in [
        ([], restorer(image)),
        (["--no-histogram-match", "--tile=16"], restorer(image)),
        (["--consistency=10"], restorer(image, consistency=10)),
        (["--consistency=0"], raw),
        (["--consistency=0", "--histogram-match"], match_histogram(raw, image)),
    ]:
        assert super_resolve(tmp_path / "run", source, "-o", "out.png", *options) == 0
        output = np.asarray(Image.open(tmp_path / "out.png"))
        np.testing.assert_allclose(output, expected, **ROUNDED_TO_8_BITS)


@pytest.mark.slow
def test_the_scale_chooses_the_model(photos, tmp_path, capsys):
    for factor, name in pretrained.ENLARGERS.items():
        assert run(f"--scale={factor}", photos / "colour.png") == 0
        assert capsys.readouterr().out == f"colour-x{factor}.png\n"
        assert run(f"--model={name}", photos / "colour.png", "-o", "named.png") == 0
        named = np.asarray(Image.open(tmp_path / "named.png"))
        chosen = np.asarray(Image.open(tmp_path / f"colour-x{factor}.png"))
        np.testing.assert_array_equal(chosen, named)
        capsys.readouterr()


def test_the_default_is_the_apis():
    args = run.module.parser().parse_args(["photo.png"])
    restorer = Restorer(restoration_model(factor=2))
    assert args.consistency == restorer.consistency
    assert args.histogram_match == restorer.histogram_match


@pytest.mark.parametrize(
    "argv, message",
    [
        (["--scale=4"], "enlarges by 2, not by 4; give a model for x4"),
        (["--scale=3", "--model="], "no shipped model enlarges by 3, but by"),
        (["--scale=8", "--model=srcnn_x4"], "srcnn_x4: enlarges by 4, not by 8"),
        (["--consistency=-1"], "consistency=-1; use 0 (none) or more"),
        (["--tile=3"], "tile=3 px; use 16 or more"),
        (["--tile=x"], "invalid int value"),
        (["-o", "photos/colour.png"], "is the input"),
        (["-o", "x.gif"], "not a format that is written"),
        (["--model=style_cubist"], "a model for the task style, not restoration"),
        (["--model=gone"], "gone: no such model"),
        (["missing.png"], "missing.png: no such photo or folder"),
    ],
)
def test_bad_input(argv, message, model, photos, monkeypatch, capsys):
    before = sorted(photos.parent.rglob("*"))
    command = ["super_resolve", f"--model={model}", "photos/colour.png", *argv]
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(SystemExit) as exit_:
        run.exit(*sys.argv[1:])
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert exit_.value.code == 2 and message in line
    assert sorted(photos.parent.rglob("*")) == before
