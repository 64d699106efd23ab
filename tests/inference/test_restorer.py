"""Restored photos: tiles, reach, histograms, consistency, grey."""

import numpy as np
import pytest
from helpers import Command, restoration_model, style_model
from PIL import Image as pil
from tolerances import PIXEL_ROUNDINGS

from jaxperceptual.core import memory
from jaxperceptual.core.errors import InputError
from jaxperceptual.images import resampling
from jaxperceptual.inference import windowed
from jaxperceptual.inference.consistency import ITERATIONS, consistent
from jaxperceptual.inference.restorer import Restorer, match_histogram, super_resolve
from jaxperceptual.networks import pretrained
from jaxperceptual.networks.model_file import write_model
from jaxperceptual.ops import choice

# Grey levels of 255: float32 sums through a network without instance norm.
REORDERED_PIXELS = dict(rtol=0, atol=2e-3)


def photo(h, w, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (h, w, 3)).astype(np.float32)


NETS = [
    dict(factor=2, upsample="transposed"),
    dict(factor=4, upsample="resize"),
    dict(factor=8, upsample="transposed"),
    dict(name="SRCNN", factor=4),
]


def programs_of(restorer):
    """The shapes whose programs it asks for from now on."""
    shapes, program = [], restorer._program
    restorer._program = lambda shape: shapes.append(shape) or program(shape)
    return shapes


@pytest.mark.parametrize(
    "net", [*NETS[1::2], *(pytest.param(x, marks=pytest.mark.slow) for x in NETS[::2])]
)
def test_tiles_do_not_show(net):
    model = restoration_model(**net)
    image = photo(37, 61)  # windows of 16 + 2 * 14 or 15: moved, cut short, whole
    whole = Restorer(model).network(image)
    tiled = Restorer(model, tile=16)
    assert whole.shape == (37 * net["factor"], 61 * net["factor"], 3)
    assert whole.std() > 3
    shapes = programs_of(tiled)
    np.testing.assert_allclose(tiled.network(image), whole, **REORDERED_PIXELS)
    assert len(set(shapes)) == 1
    with choice.forms("plain"):
        np.testing.assert_allclose(tiled.network(image), whole, **REORDERED_PIXELS)
    assert tiled._apply._cache_size() == 1
    finished = Restorer(model)(image)
    np.testing.assert_allclose(tiled(image), finished, **REORDERED_PIXELS)


def test_large_outputs_are_tiled_unasked(monkeypatch):
    monkeypatch.setattr(windowed, "WHOLE", 40 * 40)
    monkeypatch.setattr(windowed, "TILE", 64)
    restorer = Restorer(restoration_model(name="SRCNN", factor=4))
    image = photo(10, 60)
    shapes = programs_of(restorer)
    restorer.network(image)
    assert shapes == [(1, 10, 26, 3)] * 4
    shapes.clear()
    restorer.network(photo(10, 10))
    assert shapes == [(1, 10, 10, 3)]


@pytest.mark.parametrize("net", NETS)
def test_an_input_pixel_changes_what_is_in_reach_and_no_more(net):
    restorer = Restorer(restoration_model(**net))
    image = np.full((41, 41, 3), 128, np.float32)
    touched = image.copy()
    touched[20, 20] += 100
    change = np.abs(restorer.network(touched) - restorer.network(image)).max(axis=-1)
    changed = change > PIXEL_ROUNDINGS["atol"]
    rows = np.flatnonzero(changed.any(axis=1)) // net["factor"]
    reach = max(20 - rows.min(), rows.max() - 20)
    bound = restorer._reach
    assert bound - 2 <= reach <= bound


@pytest.mark.parametrize("h, w", [(1, 1), (3, 50)])
def test_tiny_images(h, w):
    output = Restorer(restoration_model(factor=4))(photo(h, w))
    assert output.shape == (4 * h, 4 * w, 3)
    assert np.isfinite(output).all() and 0 <= output.min() <= output.max() <= 255


def test_histogram_matching_by_hand():
    # Ranks stay, values are the reference's: here a permutation of it.
    rng = np.random.default_rng(1)
    values = rng.permutation(192).astype(np.float32)
    reference = values.reshape(8, 8, 3)
    image = rng.permutation(192).astype(np.float32).reshape(8, 8, 3)
    matched = match_histogram(image, reference)
    for channel in range(3):
        expected = np.sort(reference[..., channel].ravel())
        np.testing.assert_allclose(
            np.sort(matched[..., channel].ravel()), expected, **PIXEL_ROUNDINGS
        )
        order = image[..., channel].ravel().argsort()
        assert (np.diff(matched[..., channel].ravel()[order]) >= 0).all()


def test_matched_output_has_the_distribution_of_the_input():
    restorer = Restorer(restoration_model(factor=4), consistency=0)
    image = photo(24, 24) / 2 + 30
    raw = restorer(image)
    matched = restorer(image, histogram_match=True)
    np.testing.assert_array_equal(raw, restorer.network(image))
    quantiles = np.linspace(0.05, 0.95, 10)
    wanted = np.quantile(image, quantiles, axis=(0, 1))
    # The random network's output has few grey levels, and equal pixels stay equal.
    assert np.abs(np.quantile(matched, quantiles, axis=(0, 1)) - wanted).max() < 6
    assert np.abs(np.quantile(raw, quantiles, axis=(0, 1)) - wanted).max() > 20


def test_matching_does_not_darken():
    rng = np.random.default_rng(0)
    image = rng.uniform(0, 255, (200, 200, 3)).astype(np.float32)
    matched = match_histogram(image, photo(50, 50))
    assert abs(matched.mean() - photo(50, 50).mean()) < 0.1


def test_an_output_made_small_again_is_its_input():
    image = photo(14, 11) / 2 + 60
    restorer = Restorer(restoration_model(factor=4))
    assert restorer.consistency == ITERATIONS and not restorer.histogram_match

    def error(output):
        return np.abs(resampling.downsample(output[None], 4)[0] - image).mean()

    found = [error(restorer(image, consistency=n)) for n in range(ITERATIONS + 1)]
    assert (np.diff(found) < 0).all() and found[-1] < found[0] / 10
    assert error(restorer(image)) == found[-1]


def test_matching_comes_first():
    image, model = photo(12, 12), restoration_model(factor=2)
    both = Restorer(model, histogram_match=True)(image)
    matched = match_histogram(Restorer(model).network(image), image)
    np.testing.assert_array_equal(both, consistent(matched, image, ITERATIONS))


@pytest.mark.parametrize("histogram_match", [False, True])
def test_grey_stays_grey(histogram_match):
    image = np.repeat(photo(9, 7)[..., :1], 3, axis=-1)
    restorer = Restorer(restoration_model(factor=2), histogram_match=histogram_match)
    assert np.ptp(restorer.network(image), axis=-1).max() > 1
    output = restorer(image)
    assert output.shape == (18, 14, 3) and not np.ptp(output, axis=-1).any()


@pytest.mark.parametrize("task", ["grey", "noise"])
def test_other_tasks_get_what_the_network_makes(task):
    """Colour for a grey photo, and no return to the noise."""
    metadata = {"training": {"degradation.name": task}}
    restorer = Restorer(restoration_model(factor=1, metadata=metadata))
    image = np.repeat(photo(12, 9)[..., :1], 3, axis=-1)
    output = restorer(image)
    np.testing.assert_array_equal(output, restorer.network(image))
    np.testing.assert_array_equal(output, restorer(image, consistency=2))
    assert restorer.consistency == 0 and np.ptp(output, axis=-1).max() > 1


@pytest.mark.parametrize("grey", [False, True])
def test_bands_are_the_output_from_the_top_down(grey, monkeypatch):
    monkeypatch.setattr("jaxperceptual.inference.restorer.BAND", 16 * 20 * 30)
    restorer = Restorer(restoration_model(factor=4))
    image = photo(140, 20).astype(np.uint8)
    if grey:
        image = np.repeat(image[..., :1], 3, axis=-1)
        image[3, 2] = 0, 0, 1  # a little colour, in the first band alone
    bands = [*restorer.in_bands(image)]
    assert [len(band) for band in bands] == [120, 120, 120, 120, 80]
    whole = restorer(image.astype(np.float32))
    np.testing.assert_allclose(np.concatenate(bands), whole, **REORDERED_PIXELS)


def test_bands_need_an_output_that_is_local():
    image = photo(20, 20).astype(np.uint8)
    for restorer, message in (
        (Restorer(restoration_model(factor=2, norm="instance")), "with instance norm"),
        (
            Restorer(restoration_model(factor=2), histogram_match=True),
            "--histogram-match",
        ),
    ):
        with pytest.raises(InputError, match=message):
            next(restorer.in_bands(image))


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_what_does_not_fit_is_written_while_it_is_made(mode, tmp_path, monkeypatch):
    write_model(tmp_path / "m.safetensors", restoration_model(factor=4))
    picture = pil.fromarray(photo(60, 40).astype(np.uint8))
    if mode == "RGBA":
        picture.putalpha(pil.linear_gradient("L").resize((40, 60)))
    exif = pil.Exif()
    exif[0x010F] = "Maker"
    picture.save(tmp_path / "photo.png", exif=exif, dpi=(300, 300))
    picture.convert("RGB").save(tmp_path / "photo.jpg")
    run = Command("super_resolve")
    arguments = [f"--model={tmp_path / 'm.safetensors'}", "-o"]
    assert run(tmp_path / "photo.png", *arguments, tmp_path / "whole.png") == 0

    monkeypatch.setattr(memory, "free_memory", lambda: 10**9)
    monkeypatch.setattr(Restorer, "memory_in_bands", lambda *_: 10**9)
    monkeypatch.setattr("jaxperceptual.inference.restorer.BAND", 16 * 40 * 25)
    assert run(tmp_path / "photo.png", *arguments, tmp_path / "bands.png") == 0
    whole, bands = (pil.open(tmp_path / f"{n}.png") for n in ("whole", "bands"))
    assert whole.mode == bands.mode == mode and bands.info["dpi"] == whole.info["dpi"]
    assert bands.info["icc_profile"] == whole.info["icc_profile"]
    assert dict(bands.getexif()) == dict(whole.getexif()) != {}
    different = np.abs(np.subtract(whole, bands, dtype=int))
    assert different.max() <= 1 and (different > 0).mean() < 1e-3

    message = "px, which .jpg needs as a whole, .* use --format png"
    with pytest.raises(InputError, match=message):
        run(tmp_path / "photo.jpg", *arguments, tmp_path / "out.jpg")
    message = "which --histogram-match needs as a whole, .* a part of the image"
    with pytest.raises(InputError, match=message):
        arguments = ["--histogram-match", *arguments]
        run(tmp_path / "photo.png", *arguments, tmp_path / "out.png")
    arguments = arguments[1:]
    monkeypatch.setattr(Restorer, "memory_in_bands", lambda *_: 10**9 + 1)
    with pytest.raises(InputError, match="need about 1.0 GB of memory, and 1.0 are"):
        run(tmp_path / "photo.png", *arguments, tmp_path / "out.png")
    kept = {"m.safetensors", "photo.png", "photo.jpg", "whole.png", "bands.png"}
    assert {path.name for path in tmp_path.iterdir()} == kept


@pytest.mark.slow
def test_the_factor_chooses_what_ships():
    for factor, name in pretrained.ENLARGERS.items():
        assert Restorer.from_pretrained(factor=factor).factor == factor
        assert Restorer.from_pretrained(name, factor=factor).factor == factor
        assert super_resolve(photo(3, 5), factor=factor).shape[0] == 3 * factor
    default = Restorer.from_pretrained()
    assert default.factor == Restorer.from_pretrained(factor=4).factor == 4
    with pytest.raises(InputError, match="no shipped model enlarges by 3, but by"):
        super_resolve(photo(3, 5), factor=3)
    with pytest.raises(InputError, match="sr_x8_feat: enlarges by 8, not by 4"):
        Restorer.from_pretrained("sr_x8_feat", factor=4)
    with pytest.raises(InputError, match="srcnn_x4: enlarges by 4, not by 2"):
        super_resolve(photo(3, 5), model="srcnn_x4", factor=2)


def test_models_and_tiles_that_cannot_be():
    with pytest.raises(InputError, match="a model for style; give one that"):
        Restorer(style_model())
    model = restoration_model(factor=2)
    with pytest.raises(InputError, match="tile=15 px; use 16 or more"):
        Restorer(model, tile=15)
    with pytest.raises(InputError, match="instance norm looks at the whole image"):
        Restorer(restoration_model(factor=2, norm="instance"), tile=32)
    with pytest.raises(InputError, match="consistency=-1; use 0"):
        Restorer(model, consistency=-1)
    restorer = Restorer(model)
    with pytest.raises(InputError, match="consistency=-2; use 0"):
        restorer(photo(3, 3), consistency=-2)
    with pytest.raises(InputError, match="mine: enlarges by 2, not by 4"):
        restorer.check_enlarges("mine", 4)
    restorer.check_enlarges("mine", 2)
    training = {"training": {"degradation.name": "noise"}}
    with pytest.raises(InputError, match="mine: trained to undo noise"):
        Restorer(restoration_model(factor=1, metadata=training)).check_enlarges("mine")
