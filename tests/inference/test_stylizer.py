""""""

import jax
import jax.numpy as jnp
import numpy as np
import PIL.Image
import pytest
from helpers import style_model
from tolerances import PIXEL_ROUNDINGS, THROUGH_A_NETWORK

from jaxperceptual.images.mixing import mix
from jaxperceptual.inference.stylizer import Stylizer, canvas_side, stylize
from jaxperceptual.networks.model_file import build_net
from jaxperceptual.ops import choice, onednn

ROUNDED_LUMA, ROUNDED_CHROMA = 1, 2  # levels of 255: by Pillow, of RGB of 8 bits


@pytest.fixture(scope="module")
def stylizer():
    return Stylizer(style_model(norm="instance"))


def photo(h, w, seed=0):
    return np.random.default_rng(seed).uniform(0, 255, (h, w, 3)).astype(np.float32)


@pytest.mark.parametrize("h, w", [(1, 1), (7, 5), (33, 50)])
def test_any_size_keeps_its_size(stylizer, h, w):
    output = stylizer(photo(h, w))
    assert isinstance(output, np.ndarray) and output.dtype == np.float32
    assert output.shape == (h, w, 3)
    assert 0 <= output.min() <= output.max() <= 255


@pytest.mark.parametrize("norm", ["batch", "instance"])
def test_runs_the_network_of_the_model(norm):
    model = style_model(norm=norm)
    image = photo(9, 6)

    @jax.jit
    def plain(variables, images):
        with choice.forms("plain"):
            return build_net(model).apply(variables, images, train=False)

    expected = plain(model.variables, image[None])[0]
    assert np.ptp(expected) > 20  # says something
    output = stylize(image, model=model)
    np.testing.assert_allclose(output, expected, **THROUGH_A_NETWORK)


def test_what_is_of_one_colour_is_painted_too():
    model = style_model(norm="instance")
    image = photo(160, 240)
    image[:, 10:] = (0, 20, 0)
    plain = Stylizer(model, grain=False)(image)
    painted = Stylizer(model)(image)
    inside = np.s_[75:85, 120:160]  # out of reach of what is not flat
    assert plain[inside].std((0, 1)).max() < 1e-2
    assert painted[inside].std((0, 1)).min() > 1
    of_jax = stylize(jnp.asarray(image), model=model)
    np.testing.assert_allclose(of_jax, painted, **THROUGH_A_NETWORK)


@pytest.mark.slow
def test_a_batch_equals_its_images_one_by_one(stylizer):
    batch = np.stack([photo(7, 5, seed) for seed in range(3)])
    outputs = stylizer(batch)
    for image, output in zip(batch, outputs, strict=True):
        np.testing.assert_allclose(stylizer(image), output, **THROUGH_A_NETWORK)
    assert isinstance(stylizer(jnp.asarray(batch)), jax.Array)


@pytest.fixture
def compilations():
    """The names of what JAX has compiled, or read from its cache, since the start."""
    names = []

    def listen(event, seconds, **details):
        if event == "/jax/core/compile/backend_compile_duration":
            names.append(details["fun_name"])

    jax.monitoring.register_event_duration_secs_listener(listen)
    yield names
    jax.monitoring.unregister_event_duration_listener(listen)


@pytest.mark.parametrize(
    "form", ["auto", pytest.param("plain", marks=pytest.mark.slow)]
)
def test_many_sizes_share_a_program(form, compilations):
    stylizer = Stylizer(style_model(norm="instance"))
    onednn.works()  # asks by a program of its own
    alone = form == "auto" and onednn.works()  # through the program, each image
    compilations.clear()
    sizes = [(h, w) for h in (1, 9, 30, 32) for w in (2, 25, 31)]
    with choice.forms(form):
        for h, w in sizes:
            stylizer(photo(h, w))
        stylizer(photo(5, 5)[None])
        assert len(compilations) == stylizer.num_programs == 1
        for num_images in (3, 4):
            stylizer(np.stack([photo(20, 30)] * num_images))
        expected = 1 if alone else 2
        assert len(compilations) == stylizer.num_programs == expected
        stylizer.warm_up(30, 31)
    assert stylizer.num_programs == expected + 1
    on_device = jnp.asarray(photo(30, 31)[None])
    compilations.clear()
    stylizer(photo(30, 31))
    jax.block_until_ready(stylizer(on_device))
    assert not compilations


def test_at_another_scale_it_is_the_smaller_image_enlarged(stylizer):
    image = photo(40, 30)
    planes = [PIL.Image.fromarray(plane) for plane in np.moveaxis(image, -1, 0)]
    bicubic = PIL.Image.Resampling.BICUBIC
    small = np.stack([np.asarray(p.resize((20, 27), bicubic)) for p in planes], -1)
    output = jnp.asarray(stylizer(small.clip(0, 255)))
    expected = jax.image.resize(output, (40, 30, 3), "bicubic").clip(0, 255)
    found = stylizer(image, style_scale=1.5)
    assert np.ptp(found) > 20
    np.testing.assert_allclose(found, expected, **THROUGH_A_NETWORK)
    # On a device, likewise.
    found = stylizer(jnp.asarray(image)[None], style_scale=1.5)
    np.testing.assert_allclose(found[0], expected, **THROUGH_A_NETWORK)
    with pytest.raises(ValueError, match="style_scale=9.0; use 0.125 to 8"):
        stylizer(image, style_scale=9.0)


def test_styles_of_a_gallery_share_their_programs():
    model = style_model(norm="instance", num_styles=2)
    model = model._replace(styles={"a": {}, "b": {}})
    first = Stylizer(model, style="a")
    second = first.with_style("a:1,b:3")
    image = photo(9, 7)
    assert np.ptp(first(image) - second(image)) > 5
    assert first.num_programs == second.num_programs == 1
    alone = Stylizer(model, style={"a": 0.25, "b": 0.75})(image)
    np.testing.assert_allclose(second(image), alone, **PIXEL_ROUNDINGS)
    np.testing.assert_allclose(
        stylize(image, model=first, style="b"), first.with_style("b")(image)
    )


@pytest.mark.parametrize(
    "norm, upsample, form",
    [
        ("batch", "transposed", "plain"),
        ("instance", "resize", "auto"),
        pytest.param("batch", "transposed", "auto", marks=pytest.mark.slow),
        pytest.param("batch", "resize", "auto", marks=pytest.mark.slow),
        pytest.param("instance", "transposed", "auto", marks=pytest.mark.slow),
        pytest.param("instance", "resize", "plain", marks=pytest.mark.slow),
    ],
)
def test_a_canvas_changes_nothing(norm, upsample, form):
    model = style_model(norm=norm, upsample=upsample)
    shared, exact = Stylizer(model), Stylizer(model)
    sizes = [(32, 32), (31, 2), (5, 17)]
    for h, w in sizes:
        image = photo(h, w)
        with choice.forms(form):
            output = shared(image)
        assert np.ptp(output) > 20
        alone = exact.warm_up(h, w)(image)
        np.testing.assert_allclose(alone, output, **THROUGH_A_NETWORK)
        with choice.forms(form):
            on_device = shared(jnp.asarray(image))
        np.testing.assert_allclose(on_device, output, **PIXEL_ROUNDINGS)
    assert (shared.num_programs, exact.num_programs) == (1, len(sizes))


def test_canvases_waste_an_eighth_of_a_side_at_most():
    sides = np.arange(1, 5000)
    canvases = np.array([canvas_side(int(side)) for side in sides])
    assert (canvases >= sides).all() and (canvases % 4 == 0).all()
    assert (canvases < sides + np.maximum(32, sides / 8)).all()
    assert {32, 64, 256, 512, 576, 1024, 1152, 4096} < set(canvases)
    assert len(set(canvases[255:4096])) == 33  # eight an octave, and the first


@pytest.mark.parametrize("shape", [(2, 2, 4), (2, 2), (0, 4, 4, 3), (4, 0, 3)])
def test_refuses_what_is_no_image(stylizer, shape):
    with pytest.raises(ValueError, match="shape"):
        Stylizer.__call__.__wrapped__(stylizer, np.zeros(shape))


def test_strength_blends(stylizer):
    image = photo(7, 5)
    full = stylizer(image)
    np.testing.assert_array_equal(stylizer(image, strength=0.0), image)
    quarter = stylizer(image, strength=0.25)
    np.testing.assert_allclose(quarter, 0.75 * image + 0.25 * full, **PIXEL_ROUNDINGS)
    for strength in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match="strength="):
            stylizer(image, strength=strength)


def test_preserve_color_takes_luma_and_keeps_chroma():
    # Mild colours, so that nothing is clipped; Pillow's YCbCr is the judge.
    image, stylized = photo(16, 16) / 8 + 112, photo(16, 16, seed=1) / 8 + 112
    mixed = mix(image, stylized, preserve_color=True)

    def ycbcr(pixels):
        rgb = PIL.Image.fromarray(np.rint(pixels).astype(np.uint8))
        return np.asarray(rgb.convert("YCbCr")).astype(int)

    got = ycbcr(mixed)
    assert abs(got[..., 0] - ycbcr(stylized)[..., 0]).max() <= ROUNDED_LUMA
    assert abs(got[..., 1:] - ycbcr(image)[..., 1:]).max() <= ROUNDED_CHROMA
    extreme = mix(
        np.full((1, 1, 3), [255, 0, 0], np.float32),
        np.full((1, 1, 3), 255, np.float32),
        preserve_color=True,
    )
    assert 0 <= extreme.min() <= extreme.max() <= 255


@pytest.mark.slow
@pytest.mark.parametrize("h, w", [(4096, 4096), (1, 4096)])
def test_the_largest_sizes(h, w):
    model = style_model(norm="instance", width=0.5, upsample="resize")
    output = stylize(photo(h, w), model=model)
    assert output.shape == (h, w, 3) and np.isfinite(output).all()


@pytest.mark.parametrize(
    "upsampling", [pytest.param("transposed", marks=pytest.mark.slow), "resize"]
)
def test_sizes_known_beforehand_come_out_as_ever(upsampling):
    model = style_model(norm="instance", upsample=upsampling)
    usual, prepared = Stylizer(model), Stylizer(model)
    photos = [photo(*size) for size in ((40, 52), (52, 40), (37, 50), (90, 20))]
    sizes = [image.shape[:2] for image in photos]
    prepared.prepare(sizes)
    if not onednn.works():
        assert {prepared.rank(*size) for size in sizes} == {0}
        return
    # A program costs more than all of them: they lie on one canvas, turned or not.
    assert {prepared.rank(*size) for size in sizes} == {0}
    assert prepared.num_programs == 0  # until an image comes
    for image in photos:
        with choice.forms("plain"):
            expected = usual(image)
        np.testing.assert_allclose(prepared(image), expected, **THROUGH_A_NETWORK)
    assert prepared.num_programs == 1
    unknown = photo(8, 9)
    np.testing.assert_allclose(prepared(unknown), usual(unknown), **THROUGH_A_NETWORK)
