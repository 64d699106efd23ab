"""The models that ship: whole, small, described, and good at what they are for."""

import jax
import numpy as np
import pytest
from PIL import Image, ImageDraw

from jaxperceptual.data import degradations, sources
from jaxperceptual.evaluation import metrics, pattern, super_resolution
from jaxperceptual.images import resampling
from jaxperceptual.inference.restorer import Restorer
from jaxperceptual.networks import pretrained
from jaxperceptual.networks.model_file import read_model

NAMES = pretrained.pretrained_names()
SLOW = pytest.mark.slow
WITHOUT_PATTERN = [name for name in ("sr_x2", "sr_x4") if name in NAMES]
# Grey levels, RMS, at the network's own period, where bicubic interpolation has none.
NO_PATTERN = 0.1
# dB below bicubic interpolation: what has no detail to be found, as bars of 3 px made
# four times smaller, is guessed a little worse.
HARDLY_WORSE = 0.5


def task_of(name):
    style = name.startswith(("style", pretrained.GALLERY))
    return "style" if style else "restoration"


@pytest.mark.parametrize("name", NAMES)
def test_is_small_and_has_a_card(name):
    path = pretrained.pretrained_path(name)
    assert path.stat().st_size < 8e6
    card = path.with_suffix(".md").read_text()
    model = read_model(name, task=task_of(name))
    assert f"{model.trained.steps:,}" in card
    assert f"bin/train --config {name}.py" in card
    assert "Terms: " in card
    # It says which photos, and not where they lay.
    source = model.trained.config["data.source"]
    assert source and "/" not in source and source.split()[0] in card


@pytest.mark.weights
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(n, marks=[] if n == pretrained.DEFAULT_RESTORATION else [SLOW])
        for n in NAMES
        if task_of(n) == "restoration"
    ],
)
def test_enlarges_better_than_bicubic_interpolation(name):
    """On a photo that it was not trained on, under its own degradation."""
    judge = super_resolution.Judge(
        super_resolution.read_task([name], factor=None, blur=None)
    )
    photo = sources.open_source(sources.EMBEDDED).load(0, None)
    photo = photo.crop((150, 0, 310, 160))  # a face
    scores = judge("", "", np.float32(photo), grey=False).scores
    ours, bicubic = scores[name], scores[super_resolution.BICUBIC]
    if "feat" in name or name in WITHOUT_PATTERN:
        assert ours["lpips_alex"] < 0.75 * bicubic["lpips_alex"]
    if "feat" not in name:
        assert ours["psnr"] > bicubic["psnr"] + 0.3


def test_each_factor_has_its_model():
    for factor, name in pretrained.ENLARGERS.items():
        assert pretrained.shipped_enlarger(factor) == name
        assert Restorer.from_pretrained(name).factor == factor
    default = pretrained.shipped_enlarger()
    assert default == pretrained.DEFAULT_RESTORATION == pretrained.ENLARGERS[4]


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(n, marks=[] if n == pretrained.DEFAULT_RESTORATION else [SLOW])
        for n in WITHOUT_PATTERN
    ],
)
def test_flat_colours_and_gradients_stay_so(name):
    restorer = Restorer.from_pretrained(name)
    found = pattern.pattern(restorer, restorer.factor)
    worst = max(found, key=found.get)
    assert found[worst] < NO_PATTERN, worst


@pytest.mark.slow
def test_the_papers_network_has_a_pattern():
    """So that the measure can fail: transposed convolutions, the feature loss alone."""
    restorer = Restorer.from_pretrained("sr_x4_feat")
    found = pattern.pattern(restorer, restorer.factor)
    assert np.median(list(found.values())) > 1


def drawings():
    """Flat graphics [192 192 3] in [0, 255], by name."""
    y, x = np.mgrid[:192, :192]

    def two(where, first, second):
        return np.where(where[..., None], np.float32(first), np.float32(second))

    logo = Image.new("RGB", (192, 192), "white")
    draw = ImageDraw.Draw(logo)
    draw.ellipse((20, 20, 120, 120), fill=(220, 30, 40))
    draw.rectangle((90, 80, 180, 170), fill=(20, 60, 160))
    draw.polygon([(30, 180), (80, 110), (130, 180)], fill=(250, 200, 20))
    draw.ellipse((50, 50, 90, 90), fill="white")
    draw.line((10, 140, 180, 30), fill="black", width=6)
    white, black, red, blue = (255,) * 3, (0,) * 3, (255, 0, 0), (0, 0, 255)
    return {
        "logo": np.float32(logo),
        "chequer": two((x // 16 + y // 16) % 2 == 0, white, black),
        "coloured chequer": two((x // 16 + y // 16) % 2 == 0, red, blue),
        "coloured bars": two(x // 12 % 2 == 0, (20, 60, 160), (250, 200, 20)),
        "bars": two(y // 5 % 2 == 0, white, black),
        "fine bars": two(y // 3 % 2 == 0, white, black),
    }


def gains_on_drawings(restorer):
    """dB above bicubic interpolation, by drawing; made small without a blur."""
    factor = restorer.factor
    degrade = degradations.Downsample(factor, 0.0)
    gains = {}
    for name, truth in drawings().items():
        small = np.asarray(degrade(jax.random.key(0), truth[None]))[0]
        bicubic = np.asarray(resampling.upsample(small[None], factor))[0]
        ours, theirs = (
            metrics.psnr(
                np.rint(output.clip(0, 255)).reshape(192, -1), truth.reshape(192, -1)
            )
            for output in (restorer(small), bicubic)
        )
        gains[name] = ours - theirs
    return gains


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(n, marks=[] if n == pretrained.DEFAULT_RESTORATION else [SLOW])
        for n in sorted({*pretrained.ENLARGERS.values(), *WITHOUT_PATTERN})
    ],
)
def test_flat_graphics_are_never_far_worse_than_bicubic(name):
    gains = gains_on_drawings(Restorer.from_pretrained(name))
    assert min(gains.values()) > -HARDLY_WORSE, gains
    assert gains["logo"] > 1


def test_flat_graphics_suffer_from_histogram_matching():
    """The paper's last step takes colours in between for one of the few."""
    paper = Restorer.from_pretrained("sr_x4_feat", histogram_match=True, consistency=0)
    assert min(gains_on_drawings(paper).values()) < -3
