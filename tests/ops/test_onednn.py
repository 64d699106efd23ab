"""The call into oneDNN: equal to the plain forms, and made only where it may be."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import style_model
from tolerances import THROUGH_A_NETWORK, WINOGRAD

from jaxperceptual import ops
from jaxperceptual.inference.stylizer import Stylizer
from jaxperceptual.ops import choice, onednn

CALL = onednn._TARGET

OPS = {  # the function, kernel size, inputs, outputs
    "first": (functools.partial(ops.conv, p=4), 9, 3, 32),
    "last": (functools.partial(ops.conv, p=4), 9, 32, 3),
    "strided": (functools.partial(ops.conv, stride=2, p=1), 3, 32, 64),
    "residual": (ops.conv, 3, 128, 128),
    "one by one": (ops.conv, 1, 64, 32),
    "transposed": (ops.conv_transpose, 3, 16, 8),
    "resize": (ops.upsample_conv, 3, 16, 8),
}


@pytest.fixture(autouse=True)
def available():
    if not onednn.works():
        pytest.skip("this jaxlib has no oneDNN that works")


@pytest.fixture
def persistent_cache(tmp_path, monkeypatch):
    names = ["jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs"]
    previous = [getattr(jax.config, name) for name in names]
    jax.experimental.compilation_cache.compilation_cache.reset_cache()
    for name, value in zip(names, (str(tmp_path), 0.0), strict=True):
        jax.config.update(name, value)
    yield tmp_path
    for name, value in zip(names, previous, strict=True):
        jax.config.update(name, value)
    jax.experimental.compilation_cache.compilation_cache.reset_cache()


def normal(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape, np.float32))


@pytest.mark.parametrize("n, h, w, relu", [(3, 12, 20, True), (1, 9, 7, False)])
@pytest.mark.parametrize("name", OPS)
def test_equals_the_plain_form(name, n, h, w, relu):
    op, k, inputs, outputs = OPS[name]
    arguments = (
        normal(0, n, h, w, inputs),
        normal(1, k, k, inputs, outputs),
        normal(2, outputs),
    )
    with choice.forms("plain"):
        expected = op(*arguments, relu=relu)
    with onednn.programs():
        lowered = jax.jit(lambda *a: op(*a, relu=relu)).lower(*arguments)
        found = lowered.compile()(*arguments)
    assert CALL in lowered.as_text()
    scale = np.abs(expected).max()
    np.testing.assert_allclose(found / scale, expected / scale, **WINOGRAD)
    assert relu == (found.min() == 0)


def test_an_upsampled_map_is_made_once_for_the_norm_behind_it():
    def layer(x, kernel, scale):
        y = ops.upsample_conv(x, kernel, scale)
        y, _, _ = ops.norm(y, scale, scale, over_batch=False, epsilon=1e-5, relu=True)
        return y.sum()

    with onednn.programs():
        shapes = (1, 128, 128, 16), (3, 3, 16, 16), (16,)
        lowered = jax.jit(layer).lower(*(jnp.zeros(shape) for shape in shapes))
        memory = lowered.compile().memory_analysis()
    # The two halves that become the map, and the map.
    assert memory.temp_size_in_bytes < 2.5 * 256 * 256 * 16 * 4


def test_other_forms_and_types_do_without():
    arguments = normal(0, 1, 8, 8, 8), normal(1, 3, 3, 8, 8), normal(2, 8)
    low = [a.astype(jnp.bfloat16) for a in arguments]
    with onednn.programs():
        assert CALL not in jax.jit(lambda *a: ops.conv(*a)).lower(*low).as_text()
        with choice.forms("plain"):
            text = jax.jit(lambda *a: ops.conv(*a)).lower(*arguments).as_text()
    assert CALL not in text
    assert CALL not in jax.jit(lambda *a: ops.conv(*a)).lower(*arguments).as_text()


def test_only_warm_programs_make_the_call_and_none_is_kept(persistent_cache):
    stylizer = Stylizer(style_model(norm="instance"))
    image = np.random.default_rng(0).uniform(0, 255, (20, 24, 3)).astype(np.float32)
    canvas = stylizer(image)
    kept = [path.name for path in persistent_cache.iterdir()]
    assert any("jit_apply" in name for name in kept)
    exact = stylizer.warm_up(20, 24)(image)
    np.testing.assert_allclose(exact, canvas, **THROUGH_A_NETWORK)
    assert CALL in stylizer._exact[1, 20, 24, 3].as_text()
    kept = [path.name for path in persistent_cache.iterdir()]
    assert not any("jit_apply_exactly" in name for name in kept)

    # Inside another program, which its owner may keep, it goes without.
    outer = jax.jit(stylizer).lower(image)
    assert CALL not in outer.as_text()
    np.testing.assert_allclose(outer.compile()(image), exact, **THROUGH_A_NETWORK)


def test_a_jaxlib_without_the_call_is_noticed(monkeypatch):
    monkeypatch.setattr(onednn, "_TARGET", "__onednn$no_such_call")
    assert onednn.works.__wrapped__() is False
    monkeypatch.undo()
    monkeypatch.setattr(onednn.xla.metadata, "version", lambda _: "0.99.0")
    assert onednn.works.__wrapped__() is False


def test_wrong_numbers_are_noticed(monkeypatch):
    right = onednn._convolve
    monkeypatch.setattr(onednn, "_convolve", lambda *a, **k: right(*a, **k) + 1)
    assert onednn.works.__wrapped__() is False
