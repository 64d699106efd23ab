"""bin/figures at a tiny size: the cells are the single images; what cannot be drawn."""

import numpy as np
import pytest
import skimage.data
from helpers import Command, style_model

from jaxperceptual.core import config_files, records
from jaxperceptual.core.errors import InputError
from jaxperceptual.figures import side_by_side
from jaxperceptual.images import sheets, squares
from jaxperceptual.images.reading import load_rgb, read_image
from jaxperceptual.images.writing import write_image
from jaxperceptual.inference.stylizer import Stylizer
from jaxperceptual.losses.goal import build_goal
from jaxperceptual.losses.style_image import read_style
from jaxperceptual.networks import pretrained
from jaxperceptual.networks.model_file import read_model, write_model
from jaxperceptual.networks.trained import Trained

run = Command("figures")
pytestmark = pytest.mark.weights


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    """A network that says that bin/train made it, with the smoke config."""
    folder = tmp_path_factory.mktemp("runs") / "smoke"
    config = config_files.load_config("smoke.py")
    record = build_goal(config, read_style(config)).record
    training = {"training": records.flatten(config), "steps": 2}
    training |= {key: record[key] for key in ("style", "vgg")}
    model = style_model(training, **config.net)
    write_model(folder / pretrained.FILE_NAME, model)
    return folder


@pytest.fixture(scope="module")
def photo(tmp_path_factory):
    path = tmp_path_factory.mktemp("photos") / "cat.png"
    write_image(path, np.float32(skimage.data.chelsea()))
    return path


@pytest.mark.slow
def test_cells_are_the_single_images(run_folder, photo, tmp_path):
    argv = f"--model {run_folder} --content {photo} --sizes 32 48 --steps 3"
    assert run(*argv.split(), "-o", str(tmp_path)) == 0
    stylizer = Stylizer(read_model(run_folder))
    for size in (32, 48):
        grid = read_image(tmp_path / f"figure_{size}.png")
        square = np.float32(squares.centre(load_rgb(photo), size))
        folder = tmp_path / f"baseline_smoke_{size}" / "images"
        style = read_image(config_files.FOLDER / "styles" / "cubist.png")
        cells = [
            sheets.labelled(sheets.resized(style, size), "style: smoke"),
            sheets.labelled(square, "content"),
            sheets.labelled(read_image(folder / "cat.png"), "baseline, 3 iterations"),
            sheets.labelled(np.rint(stylizer(square)), "network"),
        ]
        expected = sheets.grid(cells, columns=4)
        assert grid.shape == expected.shape
        # The style image is read at style_size first, and so resized twice.
        assert np.mean(np.abs(grid - expected)) < 2
        cell = expected.shape[1] // 4 + 2
        np.testing.assert_array_equal(grid[:, cell:], expected[:, cell:])


@pytest.mark.slow
def test_a_broken_photo_is_named_and_left_out(
    run_folder, photo, tmp_path, monkeypatch, capsys
):
    (tmp_path / "broken.png").write_bytes(photo.read_bytes()[:-2000])
    monkeypatch.chdir(run_folder)  # a model whose path has no folder in it
    argv = f"--model model.safetensors --content {tmp_path} {photo} --sizes 32"
    assert run(*argv.split(), "--steps", "1", "-o", str(tmp_path / "o")) == 1
    assert "broken.png: cannot be read as an image" in capsys.readouterr().err
    results = sorted(path.name for path in (tmp_path / "o").iterdir())
    assert results == ["baseline_smoke_32", "figure_32.png"]


def test_figures_have_the_papers_numbers():
    assert side_by_side.FIGURES == {256: "figure6.png", 512: "figure7.png"}


@pytest.mark.parametrize(
    "argv, message",
    [
        ("--model none", "none"),
        ("--model MODEL --style none.png", "none.png"),
        ("--model MODEL --style PHOTO", "was trained with style image"),
        ("--model MODEL --style PHOTO PHOTO", "2 --style for 1 --model"),
        ("--model MODEL MODEL", "two models are called smoke"),
        ("--model MODEL --sizes 16", "--size 16; use 32"),
        ("--model MODEL --steps 0", "--steps 0; use 1"),
        ("--model MODEL --content none.jpg", "none.jpg"),
        ("--model MODEL --content PHOTO OTHER", "would both become"),
    ],
)
def test_bad_input(run_folder, photo, tmp_path, argv, message):
    argv = argv.replace("MODEL", str(run_folder)).replace("PHOTO", str(photo))
    other = tmp_path / "cat.png"  # of the same name
    other.write_bytes(photo.read_bytes())
    argv = argv.replace("OTHER", str(other))
    argv = argv if "--content" in argv else f"{argv} --content {photo}"
    out = tmp_path / "out"
    with pytest.raises(InputError, match=message):
        run(*argv.split(), "-o", str(out))
    assert not out.exists()


def test_a_photo_is_never_replaced(run_folder, photo, tmp_path):
    path = tmp_path / "figure_32.png"
    path.write_bytes(photo.read_bytes())
    argv = f"--model {run_folder} --content {path} --sizes 32 -o {tmp_path}"
    with pytest.raises(InputError, match="would replace this photo"):
        run(*argv.split())
    assert path.read_bytes() == photo.read_bytes()


def test_a_folder_that_takes_no_files(run_folder, photo):
    argv = f"--model {run_folder} --content {photo} --sizes 32 -o {photo}"
    with pytest.raises(InputError, match="cannot be written"):
        run(*argv.split())


def test_a_model_that_does_not_tell_how_it_was_trained(run_folder, photo, tmp_path):
    model = read_model(run_folder)
    # As another program might have written it: no settings, and a bare name.
    bare = Trained.parse({"training": {}, "style": "cubist.png"})
    model = model._replace(trained=bare)
    write_model(tmp_path / "bare.safetensors", model)
    argv = f"--model {tmp_path / 'bare.safetensors'} --content {photo} -o {tmp_path}"
    with pytest.raises(InputError, match="does not tell how it was trained"):
        run(*argv.split())


@pytest.mark.slow
def test_a_model_older_than_some_keys_of_configs(photo, tmp_path):
    argv = f"--model style_cubist --content {photo} --sizes 32 --steps 1 -o {tmp_path}"
    assert run(*argv.split()) == 0
    assert (tmp_path / "figure_32.png").exists()
