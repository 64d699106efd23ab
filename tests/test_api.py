"""What `import jaxperceptual` offers: names, kinds in and out, and docs/api.md."""

import ast
import importlib
import inspect
import re
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import ROOT, restoration_model, style_model
from PIL import Image

import jaxperceptual
from jaxperceptual import InputError, Restorer, Stylizer
from jaxperceptual.networks import pretrained

ROUNDED_TWICE = dict(rtol=0, atol=1)  # to 8 bits


def typed_names():
    """What the block for type checkers imports: {name: module}."""
    tree = ast.parse((ROOT / "jaxperceptual" / "__init__.py").read_text())
    blocks = [node for node in tree.body if isinstance(node, ast.If)]
    (block,) = (b for b in blocks if getattr(b.test, "id", None) == "TYPE_CHECKING")
    return {alias.asname: node.module for node in block.body for alias in node.names}


def test_names_are_where_checkers_look_for_them():
    typed = typed_names()
    assert set(typed) == set(jaxperceptual.__all__) <= set(dir(jaxperceptual))
    for name, module in typed.items():
        assert getattr(importlib.import_module(module), name) is getattr(
            jaxperceptual, name
        )
    assert (ROOT / "jaxperceptual" / "py.typed").exists()
    with pytest.raises(AttributeError, match="no attribute 'stylise'"):
        jaxperceptual.stylise  # noqa: B018


def test_importing_it_imports_no_jax():
    code = "import jaxperceptual, sys; print(*({'jax', 'numpy'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.split() == [], done.stderr


@pytest.mark.parametrize("name", sorted(jaxperceptual.__all__))
def test_options_go_by_keyword_and_everything_is_told(name):
    thing = getattr(jaxperceptual, name)
    assert len(inspect.getdoc(thing)) > 40
    if not inspect.isclass(thing):
        functions = [thing]
    elif issubclass(thing, Exception):
        functions = []
    else:
        functions = [f for n, f in vars(thing).items() if n[0] != "_"]
        functions = [getattr(f, "__func__", f) for f in functions]
        functions += [vars(thing)["__call__"]] if "__call__" in vars(thing) else []
    for function in filter(inspect.isfunction, functions):
        assert function.__doc__, function
        parameters = list(inspect.signature(function).parameters.values())
        optional = [p for p in parameters if p.default is not p.empty]
        by_position = [p.name for p in optional if p.kind is not p.KEYWORD_ONLY]
        # `from_pretrained()` and the like have one argument, which may be left out.
        assert len(by_position) <= 1, f"{function.__qualname__}: {by_position}"


@pytest.fixture(scope="module")
def models():
    small = Stylizer(style_model(norm="instance"))
    identity = restoration_model(factor=2, norm=None)
    return {"style": (small, 1), "restoration": (Restorer(identity), 2)}


def arrays_of(kind):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (2, 9, 13, 3), dtype=np.uint8)
    return pixels if kind == "uint8" else pixels.astype(kind)


@pytest.mark.parametrize("task", ["style", "restoration"])
@pytest.mark.parametrize("kind", ["uint8", "float32", "float64"])
@pytest.mark.parametrize("module", [np, jnp])
@pytest.mark.filterwarnings("ignore:Explicitly requested dtype")
def test_arrays_come_back_as_they_went_in(task, kind, module, models):
    apply, factor = models[task]
    batch = module.asarray(arrays_of(kind))
    output = apply(batch)
    assert isinstance(output, np.ndarray if module is np else jax.Array)
    assert output.dtype == (np.uint8 if kind == "uint8" else np.float32)
    assert output.shape == (2, 9 * factor, 13 * factor, 3)
    alone = apply(batch[1])
    assert alone.shape == output.shape[1:]
    one_level = 1 if kind == "uint8" else 1e-2  # rounding, another program
    np.testing.assert_allclose(np.float32(alone), np.float32(output[1]), atol=one_level)


@pytest.mark.parametrize("task", ["style", "restoration"])
def test_pictures_and_paths_come_back_as_pictures(task, models, tmp_path):
    apply, factor = models[task]
    pixels = arrays_of("uint8")[0]
    expected = apply(pixels)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    turned = Image.fromarray(pixels).transpose(Image.Transpose.ROTATE_90)
    exif = turned.getexif()
    exif[0x0112] = 6  # to be turned back
    turned.save(tmp_path / "turned.png", exif=exif)
    for image in (
        tmp_path / "photo.png",
        str(tmp_path / "turned.png"),
        Image.fromarray(pixels),
        [Image.fromarray(pixels)],
    ):
        output = apply(image)
        output = output[0] if isinstance(image, list) else output
        assert isinstance(output, Image.Image) and output.mode == "RGB"
        np.testing.assert_array_equal(np.asarray(output), expected)
    alpha = np.full(pixels.shape[:2], 255, np.uint8)
    alpha[:, :4] = 0
    rgba = Image.fromarray(np.dstack([pixels, alpha]))
    output = apply(rgba)
    assert output.mode == "RGBA" and output.size == (13 * factor, 9 * factor)
    assert output.getchannel("A").getextrema() == (0, 255)
    assert apply(Image.fromarray(pixels).convert("L")).mode == "RGB"


@pytest.mark.slow
def test_a_traced_call_has_a_gradient(models):
    stylizer, _ = models["style"]
    photo = jnp.asarray(arrays_of("float32")[0])
    gradient = jax.grad(lambda x: stylizer(x).sum())(photo)
    assert gradient.shape == photo.shape and np.abs(gradient).max() > 0


@pytest.mark.parametrize(
    "images, error, message",
    [
        (np.zeros((4, 4)), ValueError, r"shape \(4, 4\); use"),
        (np.zeros((0, 4, 3)), ValueError, "there is no pixel"),
        (7, TypeError, "a int; use a path"),
        ("nothing.png", InputError, "nothing.png: no such file"),
    ],
)
def test_what_is_no_image(images, error, message, models):
    for apply, _ in models.values():
        with pytest.raises(error, match=message):
            apply(images)


def test_saved_and_read_again_is_the_same(models, tmp_path):
    photo = arrays_of("float32")[0]
    for kind, (apply, _) in zip((Stylizer, Restorer), models.values(), strict=True):
        folder = tmp_path / kind.__name__
        assert apply.save_pretrained(folder) == folder / "model.safetensors"
        again = kind.from_pretrained(folder)
        np.testing.assert_array_equal(again(photo), apply(photo))


def test_the_default_is_what_ships(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "gallery").mkdir()  # as a run of that config is called
    shipped = pretrained.gallery_styles()
    for options, style in (({}, pretrained.DEFAULT_STYLE), ({"style": "wave"}, "wave")):
        stylizer = Stylizer.from_pretrained(**options)
        assert stylizer.styles == shipped
        assert stylizer.model.trained.other["gallery"] == {style: 1.0}
    with pytest.raises(InputError, match=r"gallery: no model.safetensors in"):
        Stylizer.from_pretrained("gallery")


def test_in_one_line(models, tmp_path):
    photo = arrays_of("uint8")[0]
    stylizer, _ = models["style"]
    stylizer.save_pretrained(tmp_path)
    half = jaxperceptual.stylize(photo, model=tmp_path, strength=0.5)
    whole = jaxperceptual.stylize(photo, model=stylizer)
    mean = (np.float32(photo) + whole) / 2
    np.testing.assert_allclose(half, mean, **ROUNDED_TWICE)
    restorer, _ = models["restoration"]
    with pytest.raises(InputError, match="a model for restoration"):
        jaxperceptual.stylize(photo, model=restorer.model)
    large = jaxperceptual.super_resolve(photo, model=restorer)
    np.testing.assert_array_equal(large, restorer(photo))


@pytest.mark.slow
@pytest.mark.weights
def test_the_pages_snippets_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pixels = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    Image.fromarray(pixels).save("photo.jpg")
    text = (ROOT / "docs" / "api.md").read_text()
    snippets = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(snippets) > 8
    names: dict = {}
    for snippet in snippets:
        exec(snippet, names)
    assert names["large"].shape == (192, 256, 3) and names["large"].dtype == np.uint8
    assert names["painted"].size == (64, 48)
    np.testing.assert_allclose(names["x"], 255.0)
    assert int(names["state"].step[0]) == 1
    assert {"content/relu2_2", "style/relu1_2", "tv"} == set(names["terms"])


def test_the_page_names_all_there_is():
    text = (ROOT / "docs" / "api.md").read_text()
    told = [name for name in jaxperceptual.__all__ if name not in text]
    assert not told, f"docs/api.md does not name {told}"
