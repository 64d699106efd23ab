"""Recipes compared, and models judged, at small size."""

import json

import jax
import numpy as np
import pytest
from PIL import Image

from jaxperceptual.benchmarks import objectives, recipes
from jaxperceptual.core import cli, config_files
from jaxperceptual.core.errors import InputError
from jaxperceptual.inference.stylizer import Stylizer
from jaxperceptual.losses.goal import build_goal
from jaxperceptual.losses.style_image import read_style

pytestmark = pytest.mark.weights
THROUGH_THE_LOSS = dict(rtol=1e-4)  # float32, in programs of other forms


@pytest.fixture
def photos(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    (tmp_path / "photos").mkdir()
    for i in range(4):
        coarse = Image.fromarray(rng.integers(0, 256, (4, 5, 3), np.uint8))
        coarse.resize((50, 40), Image.BICUBIC).save(tmp_path / "photos" / f"{i}.png")
    return tmp_path / "photos"


@pytest.mark.slow
def test_objectives_are_the_configs_of_each_models_output(photos, tmp_path, capsys):
    argv = ["--config=smoke.py", f"--held={photos}", "--num-held=2", "-o=found.json"]
    argv += ["--config.data.image_size=32", "gallery:wave", "style_cubist"]
    assert cli.call(objectives, argv) == 0
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["photos"] == ["0.png", "1.png"] and found["size"] == 32
    values = found["objective"]["smoke.py"]
    config = config_files.load_config("smoke.py")
    goal = build_goal(config, read_style(config))
    for name, value in zip(found["models"], values, strict=True):
        stylizer, by_hand = Stylizer.from_pretrained(name, grain=False), []
        for i in range(2):
            photo = Image.open(photos / f"{i}.png").crop((5, 0, 45, 40))
            square = np.asarray(photo.resize((32, 32), Image.LANCZOS), np.float32)[None]
            loss, _ = jax.jit(goal.objective)(goal.frozen, stylizer(square), square)
            by_hand.append(float(loss))
        np.testing.assert_allclose(value, np.mean(by_hand), **THROUGH_THE_LOSS)
    assert f"mean {values[0]:.4g} {values[1]:.4g}" in capsys.readouterr().out


def test_the_optimizer_is_the_recipes_whatever_the_config_has(photos):
    argv = ["--config=style_muse.py", "--quick", f"--data={photos}", f"--held={photos}"]
    args = recipes.parser().parse_args([*argv, "adam_3e-3_cosine"])
    runner = recipes.Runner(args)
    for recipe, method in (
        ("config", "muon"),  # by --quick
        ("adam_3e-3_cosine", "adam"),
        ("muon_3e-3_cosine_zoom_b1", "muon"),
    ):
        optimizer = runner.config(recipe, seed=0, steps=300).optimizer
        assert (optimizer.method, optimizer.learning_rate) == (method, 3e-3)
        assert optimizer.decay_steps == 300
    data = runner.config("muon_3e-3_cosine_zoom_b1", seed=0, steps=300).data
    assert (data.batch_size, data.crop) == (1, "zoom")
    small = runner.config("muon_1e-2_cosine_beta2_0.99_small", seed=0, steps=300)
    assert (small.num_steps, small.optimizer.decay_steps) == (750, 750)  # 600 of half
    assert (small.optimizer.b2, small.optimizer.b1) == (0.99, 0.9)
    with pytest.raises(InputError, match="recipe sgd: unknown; use config or adam_"):
        runner.config("sgd_b1", seed=0, steps=300)


@pytest.mark.slow
def test_each_recipe_and_seed_leaves_a_line_and_a_sheet(photos, tmp_path):
    argv = ["--config=smoke.py", f"--data={photos}", f"--held={photos}", "--steps=2"]
    names = ["adam_3e-3_ema", "muon_1e-2_cosine_b2", "adam_3e-3_beta1_0.5_small"]
    assert cli.call(recipes, [*argv, "-o=out/found", *names]) == 0
    lines = (tmp_path / "out" / "found.jsonl").read_text().splitlines()
    lines = [json.loads(line) for line in lines]
    assert [(x["recipe"], x["seed"]) for x in lines] == [
        (name, seed) for name in names for seed in range(2)
    ]
    assert [x["steps"] for x in lines] == [2, 2, 2, 2, 5, 5]  # four of half the size
    assert [x["batch_size"] for x in lines] == [4, 4, 2, 2, 4, 4]
    terms = ("content/relu2_2", "style/relu1_2", "tv")
    for line in lines:
        assert line["loss"] == pytest.approx(sum(line[t] for t in terms), rel=1e-4)
    assert len(list((tmp_path / "out").glob("*.jpg"))) == 6
