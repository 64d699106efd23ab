"""bin/gatys_baseline from end to end, at 32 px: what it writes, stopping, figure 5."""

import csv
import json
import os
import re
import shutil
import signal
from pathlib import Path

import jax
import numpy as np
import PIL.Image
import pytest
from helpers import Command, style_model
from tolerances import FEW_ROUNDINGS, ROUNDED_TO_8_BITS

from jaxperceptual.baseline import options, run as baseline
from jaxperceptual.baseline.pixels import PixelOptimizer
from jaxperceptual.baseline.run import noise_for
from jaxperceptual.core import config_files, folders, records
from jaxperceptual.core.errors import InputError
from jaxperceptual.figures import equal_iterations
from jaxperceptual.images import squares
from jaxperceptual.images.reading import load_rgb, read_image
from jaxperceptual.losses.goal import build_goal
from jaxperceptual.losses.style_image import read_style
from jaxperceptual.networks import pretrained
from jaxperceptual.networks.model_file import read_model, write_model
from jaxperceptual.networks.trained import Trained

run = Command("gatys_baseline")

SIZE, STEPS = 32, 6
SMALL = ["--config", "smoke.py", "--size", SIZE, "--steps", STEPS]
OTHER_PROGRAM = dict(rtol=2e-5)  # float32 sums, compiled in other surroundings


def command(*argv):
    return run(*(*SMALL, *argv))


def save(path, width, height, seed):
    rng = np.random.default_rng(seed)
    coarse = PIL.Image.fromarray(rng.integers(0, 256, (4, 4, 3), np.uint8))
    path.parent.mkdir(parents=True, exist_ok=True)
    coarse.resize((width, height), PIL.Image.Resampling.BICUBIC).save(path)


def rows_of(folder):
    """objective.csv: {image: {column: numbers}}."""
    found = {}
    with open(folder / "objective.csv", newline="") as file:
        for row in csv.DictReader(file):
            image = found.setdefault(row.pop("image"), {})
            for key, value in row.items():
                image.setdefault(key, []).append(float(value))
    return found


def written(folder):
    """All that does not tell times."""
    paths = [*folder.glob("images/*"), folder / "objective.csv"]
    return {path.name: path.read_bytes() for path in paths}


@pytest.fixture(autouse=True, scope="module")
def marks():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(options, "MARKS", (2, 5, 50))
        yield


@pytest.fixture(scope="module")
def goal():
    config = config_files.load_config("smoke.py")
    return build_goal(config, read_style(config))


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    save(folder / "a.png", 64, 40, seed=1)
    save(folder / "b.png", 50, 90, seed=2)
    return folder


@pytest.fixture(scope="module")
def done(photos, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "deep" / "done"
    assert command("--content", photos, "-o", folder) == 0
    return folder


@pytest.fixture
def copy(done, tmp_path):
    return Path(shutil.copytree(done, tmp_path / "copy"))


@pytest.fixture(scope="module")
def model(goal, tmp_path_factory):
    """A run folder, of random weights that claim the same objective."""
    config = config_files.load_config("smoke.py")
    metadata = {
        "steps": 4,
        "style": goal.record["style"],
        "vgg": goal.record["vgg"],
        "training": records.flatten(config),
    }
    folder = tmp_path_factory.mktemp("runs") / "muse"
    model = style_model(metadata, **config.net)
    write_model(folder / pretrained.FILE_NAME, model)
    return folder


def test_writes_what_the_optimizer_finds(done, goal, photos):
    rows = rows_of(done)
    assert list(rows) == ["a", "b"]
    names = {f"{name}{mark}.png" for name in "ab" for mark in ("", "_0002", "_0005")}
    assert {path.name for path in (done / "images").iterdir()} == names
    optimizer = PixelOptimizer(goal.objective)
    objective = jax.jit(goal.objective)
    box = {"a": (12, 0, 52, 40), "b": (0, 20, 50, 70)}  # centre squares
    for name in "ab":
        with PIL.Image.open(photos / f"{name}.png") as photo:
            square = photo.crop(box[name]).resize((SIZE, SIZE), PIL.Image.LANCZOS)
        targets = np.asarray(square, np.float32)[None]
        noise = noise_for(name, seed=0, size=SIZE)[None]
        step, frozen = optimizer.start(noise, goal.frozen, targets)
        value, terms = objective(goal.frozen, noise, targets)
        values = [value]
        for i in range(STEPS):
            step, trace = optimizer.advance(step, frozen, targets, 1)
            values.append(trace.objective[0, 0])
            for path in (f"{name}_{i + 1:04d}.png", f"{name}.png"):
                if path in names and (path[1] == "_" or i + 1 == STEPS):
                    got = read_image(done / "images" / path)
                    np.testing.assert_allclose(got, step.params[0], **ROUNDED_TO_8_BITS)
        assert rows[name]["iteration"] == list(range(STEPS + 1))
        assert rows[name]["evaluations"] == list(range(1, STEPS + 2))
        np.testing.assert_allclose(rows[name]["objective"], values, **OTHER_PROGRAM)
        sums = np.sum([rows[name][term] for term in terms], axis=0)
        np.testing.assert_allclose(rows[name]["objective"], sums, **OTHER_PROGRAM)
        last, _ = objective(goal.frozen, step.params, targets)
        np.testing.assert_allclose(rows[name]["objective"][-1], last, **OTHER_PROGRAM)


def test_the_record(done, goal):
    record = json.loads((done / "baseline.json").read_text())
    assert record["goal"] == json.loads(json.dumps(goal.record))
    assert record["options"] == {
        "size": SIZE,
        "steps": STEPS,
        "linesearch": "none",
        "projection": "mask",
        "seed": 0,
    }
    assert record["header"]["command"].startswith(
        "jaxperceptual gatys_baseline --config smoke"
    )
    assert 0 < record["photos"]["b"]["seconds_per_evaluation"] < record["first_calls_s"]
    last = np.float32(rows_of(done)["b"]["objective"][-1])  # all its digits
    assert record["photos"]["b"]["objective"] == last
    assert not (done / "state.npz").exists()


class Killed(BaseException):
    """As if by kill -9: nothing of ours runs after it."""


@pytest.mark.parametrize(
    "how",
    ["SIGTERM", *(pytest.param(n, marks=pytest.mark.slow) for n in ("SIGINT", "kill"))],
)
def test_stopped_and_continued_is_the_same(how, done, photos, tmp_path, monkeypatch):
    advance, calls = PixelOptimizer.advance, []

    def stop_in_the_second_photo(*args):
        calls.append(args)
        if len(calls) == STEPS + 4:
            if how == "kill":
                raise Killed
            os.kill(os.getpid(), signal.Signals[how])
        return advance(*args)

    monkeypatch.setattr(PixelOptimizer, "advance", stop_in_the_second_photo)
    monkeypatch.setattr(baseline, "_SAVE_EVERY_S", 0.0 if how == "kill" else 60.0)
    argv = ["--content", photos, "-o", tmp_path]
    if how == "kill":
        with pytest.raises(Killed):
            command(*argv)
    else:
        assert command(*argv) == 128 + signal.Signals[how]
    assert list(rows_of(tmp_path)) == ["a"] and (tmp_path / "state.npz").exists()
    before = len(calls)
    with pytest.raises(InputError, match="holds b half done; give that photo too"):
        save(tmp_path / "other" / "c.png", 40, 40, seed=3)
        command("--content", tmp_path / "other", "-o", tmp_path)
    assert command(*argv) == 0
    assert len(calls) - before == STEPS - (3 if how == "kill" else 4)
    assert written(tmp_path) == written(done)
    assert not (tmp_path / "state.npz").exists()


def test_more_photos_and_unreadable_ones(copy, done, photos, tmp_path, capsys):
    save(tmp_path / "more" / "a0.png", 40, 40, seed=3)
    (tmp_path / "more" / "bad.jpg").write_text("no image")
    times = {p: p.stat().st_mtime_ns for p in copy.glob("images/*")}
    argv = ["--content", tmp_path / "more", photos, "-o", copy, "--batch-size", 3]
    assert command(*argv) == 1
    err = capsys.readouterr().err
    assert err.count("bad.jpg: cannot be read as an image") == 1
    assert err.endswith("1 of 4 images could not be read, and were left out\n")
    assert all(path.stat().st_mtime_ns == time for path, time in times.items())
    old, new = ((f / "objective.csv").read_text() for f in (done, copy))
    assert new.startswith(old) and list(rows_of(copy)) == ["a", "b", "a0"]
    save(tmp_path / "other" / "a0.png", 40, 40, seed=4)
    with pytest.raises(InputError, match="results for another photo of this name"):
        command("--content", tmp_path / "other", "-o", copy)
    name = min(path.stem for path in copy.glob("images/a_0*.png"))
    save(tmp_path / "third" / f"{name}.png", 40, 40, seed=5)
    with pytest.raises(InputError, match="would replace an image of a in"):
        command("--content", tmp_path / "third", "-o", copy)


@pytest.mark.slow
def test_line_search_in_a_batch(done, photos, tmp_path):
    argv = ["--batch-size", 2, "--linesearch", "backtracking"]
    assert command("--content", photos, "-o", tmp_path, *argv) == 0
    for name, rows in rows_of(tmp_path).items():
        assert rows["iteration"] == list(range(STEPS + 1))
        assert (np.diff(rows["objective"]) < 0).all()
        assert (np.diff(rows["evaluations"]) >= 1).all()
        # The same noise, and so the same start as alone and without.
        np.testing.assert_allclose(
            rows["objective"][0], rows_of(done)[name]["objective"][0], **OTHER_PROGRAM
        )


def test_a_minimum_before_the_last_step(done, photos, tmp_path, monkeypatch):
    advance = PixelOptimizer.advance

    def advance_up_to_three(*args):
        step, trace = advance(*args)
        failed = step.state.iter_num >= 3
        return step._replace(state=step.state._replace(failed=failed)), trace

    monkeypatch.setattr(PixelOptimizer, "advance", advance_up_to_three)
    argv = ["--content", photos / "a.png", "--steps", 60, "-o", tmp_path]
    assert command(*argv) == 0
    assert rows_of(tmp_path)["a"]["iteration"] == [0, 1, 2, 3]
    found = {path.name: path.read_bytes() for path in tmp_path.glob("images/*")}
    assert found.pop("a_0002.png") == written(done)["a_0002.png"]
    assert found.keys() == {"a.png", "a_0005.png", "a_0050.png"}
    assert len({*found.values()}) == 1  # it stays there


def test_figure_5(copy, photos, model, goal, monkeypatch, capsys):
    monkeypatch.delattr(PixelOptimizer, "advance")  # all is done already
    assert command("--content", photos, "-o", copy, "--model", model) == 0
    found = json.loads((copy / "figure5.json").read_text())
    rows = rows_of(copy)
    curves = np.array([rows[name]["objective"] for name in "ab"])
    objective = found["objective"]
    np.testing.assert_allclose(objective["baseline"]["mean"], curves.sum(0) / 2)
    np.testing.assert_allclose(
        objective["baseline"]["std"], abs(curves[0] - curves[1]) / 2, **FEW_ROUNDINGS
    )
    stylizer = equal_iterations.Stylizer(read_model(model))
    for name, curve in zip("ab", curves, strict=True):
        image = found["images"][name]
        square = squares.centre(load_rgb(photos / f"{name}.png"), SIZE)
        content = np.float32(square)[None]
        for key, outputs in (("content", content), ("network", stylizer(content))):
            value, _ = jax.jit(goal.objective)(goal.frozen, outputs, content)
            np.testing.assert_allclose(image[key], value, **OTHER_PROGRAM)
        reached = [i for i, value in enumerate(curve) if value <= image["network"]]
        assert image["equal_to_iterations"] == (reached[0] if reached else None)
    for key in ("content", "network"):
        values = [image[key] for image in found["images"].values()]
        np.testing.assert_allclose(objective[key]["mean"], np.mean(values))
        np.testing.assert_allclose(
            objective[key]["std"], np.std(values), **FEW_ROUNDINGS
        )
    assert capsys.readouterr().out.endswith(equal_iterations.summary(found) + "\n")
    with PIL.Image.open(copy / "figure5.png") as figure:
        assert figure.format == "PNG" and min(figure.size) > 400
        assert len(figure.convert("RGB").getcolors(1 << 20)) > 20  # lines, not blank


class FixedNetwork(equal_iterations.Network):
    """Whose objectives are what the pixels say."""

    def __init__(self):
        self.record = {}
        self.stylize = np.sqrt

    def objective_of(self, image, content):
        return float(image[0, 0, 0])


def test_iterations_that_are_never_reached_are_told():
    contents = {  # network: 2, 4, 1
        name: np.full((1, 1, 3), value, np.float32)
        for name, value in {"x": 4, "y": 16, "z": 1}.items()
    }
    curves = {
        "x": [(1, 9.0), (2, 3.0), (4, 2.0), (5, 1.0)],
        "y": [(1, 9.0), (2, 5.0), (3, 5.0), (9, 3.5)],
        "z": [(1, 9.0), (3, 3.0)],  # no step made it better
    }
    found = equal_iterations.compare(FixedNetwork(), contents, curves, 3)
    assert [i["equal_to_iterations"] for i in found["images"].values()] == [2, 3, None]
    assert [i["equal_to_evaluations"] for i in found["images"].values()] == [4, 9, None]
    assert found["equal_to_iterations"] == {
        "median": 3,
        "min": 2,
        "max": None,
        "not_reached": 1,
    }
    assert found["objective"]["baseline"]["mean"] == [9, 11 / 3, 10 / 3, 7.5 / 3]
    assert found["objective"]["content"]["mean"] == 7
    assert "(median of 3 images; 2 to more than 3; 1 not reached in 3)" in (
        equal_iterations.summary(found)
    )


@pytest.mark.parametrize(
    "argv, message",
    [
        (["--size", 31], "--size 31; use 32 to 4096"),
        (["--size", 4097], "--size 4097; use 32 to 4096"),
        (["--steps", 0], "--steps 0; use 1 to"),
        (["--seed", -1], "--seed -1; use 0 to"),
        (["--batch-size", 0], "--batch-size 0; use 1 to"),
        (["--num", 0], "--num 0; use 1 or more"),
        (["--linesearch", "zoom"], "zoom: unknown; use none or backtracking"),
        (["--projection", "none"], "none: unknown; use mask or clip"),
        (["--content", "gone"], "gone: no such file or folder"),
        (["--content", "hollow"], "hollow: no images in this folder"),
        (["--content", "text.jpg"], "text.jpg: cannot be read as an image"),
        (
            ["--content", "ok.png", "sub/ok.jpg"],
            "ok.png and sub/ok.jpg would both become",
        ),
        (["--content", "ok.png", "ok_0002.png"], "become out/images/ok_0002.png"),
        (
            ["--content", "images/ok.png", "-o", "."],
            "a result would replace this photo",
        ),
        (["--content", "new\nline.png"], "not a name for results"),
        (["--model", "gone"], "gone: no such model"),
        (
            ["--model", "style_cubist"],
            "style_cubist was trained with objective.style.relu1_2",
        ),
        (["--style", "gone.png"], "style image gone.png: no such file"),
        (["--config.objective.tv_wait=1"], 'Did you mean "tv_weight"?'),
        (["--config.vgg=gone"], "gone"),
        (["--config=sr_x4_feat.py"], "names no style_image; give a style config"),
        (["-o", "text.jpg"], "-o text.jpg: cannot be written"),
        (["-o", "text.jpg/out"], "cannot be written"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(argv, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = ("ok.png", "ok_0002.png", "sub/ok.jpg", "images/ok.png", "new\nline.png")
    for name in names:
        save(Path(name), 40, 40, seed=0)
    Path("hollow").mkdir()
    Path("text.jpg").write_text("no image")
    before = sorted(Path().rglob("*"))
    with pytest.raises(InputError, match=re.escape(message)) as error:
        command("--content", "ok.png", "-o", "out", *argv)
    assert len(str(error.value).splitlines()) == 1
    assert sorted(Path().rglob("*")) == before


@pytest.mark.parametrize(
    "metadata, message",
    [
        ({"style": {"sha256": "0"}}, "was trained with style image 0"),
        ({"vgg": {"fingerprint": "1"}}, "was trained with VGG weights 1"),
        ({"training": {}}, "was trained with objective.content.relu2_2 None"),
    ],
)
def test_another_objective_is_refused(metadata, message, model, copy, photos, tmp_path):
    trained = read_model(model)
    changed = Trained.parse(trained.trained.metadata() | metadata)
    other = trained._replace(trained=changed)
    write_model(tmp_path / "other.safetensors", other)
    before = written(copy)
    with pytest.raises(InputError, match=message):
        command(
            *("--content", photos, "-o", copy),
            *("--model", tmp_path / "other.safetensors"),
        )
    assert written(copy) == before and not (copy / "figure5.json").exists()


@pytest.mark.parametrize(
    "argv, message",
    [
        (["--seed", 1], "holds a baseline with seed=0, now it is 1"),
        (["--steps", 7], "holds a baseline with steps=6, now it is 7"),
        (["--config.objective.tv_weight=1e-3"], "tv_weight=0.0001, now it is 0.001"),
    ],
)
def test_other_settings_are_refused(argv, message, copy, photos):
    before = written(copy)
    with pytest.raises(InputError, match=message):
        command("--content", photos, "-o", copy, *argv)
    assert written(copy) == before


def test_two_processes_in_a_folder(copy, photos):
    with folders.held(copy, "-o", "gatys_baseline"):
        with pytest.raises(InputError, match="another gatys_baseline is running"):
            command("--content", photos, "-o", copy)


def test_without_matplotlib(monkeypatch, model, photos, tmp_path):
    monkeypatch.setattr(equal_iterations.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'jaxperceptual\[figures\]'"):
        command("--content", photos, "-o", tmp_path / "out", "--model", model)
    assert not (tmp_path / "out").exists()


def test_noise_belongs_to_the_name():
    a, b = (noise_for(name, seed=0, size=SIZE) for name in "ab")
    assert a.shape == (SIZE, SIZE, 3) and 0 <= a.min() and a.max() <= 255
    assert np.corrcoef(a.ravel(), b.ravel())[0, 1] < 0.1
    again = noise_for("a", seed=1, size=SIZE)
    assert np.corrcoef(a.ravel(), again.ravel())[0, 1] < 0.1


def test_out_of_memory_is_said(monkeypatch, photos, tmp_path):
    def exhaust(*args):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory")

    monkeypatch.setattr(PixelOptimizer, "start", exhaust)
    with pytest.raises(InputError, match="1 image.* of 32 x 32 px does not fit"):
        command("--content", photos, "-o", tmp_path)


def test_arguments_are_checked_before_anything_is_built(capsys, tmp_path):
    for argv in (["--size", 7], ["--content", "nowhere"], ["--projection", "foo"]):
        with pytest.raises(InputError):
            command(*argv, "-o", tmp_path / "out")
    assert capsys.readouterr().out == "" and not (tmp_path / "out").exists()
