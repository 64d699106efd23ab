"""The call into oneDNN: equal to the plain forms, and made only where it may be."""

import functools
import threading
from concurrent import futures

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


@pytest.mark.parametrize("side, lasting", [(20, True), (20, False), (190, True)])
def test_what_runs_often_multiplies_less(side, lasting):
    arguments = normal(0, 1, side, side, 64), normal(1, 3, 3, 64, 64), normal(2, 64)
    with choice.forms("plain"):
        expected = ops.conv(*arguments)
    with onednn.programs(lasting=lasting):
        lowered = jax.jit(lambda *a: ops.conv(*a)).lower(*arguments)
        found = lowered.compile()(*arguments)
    # Winograd's six rows in, for four out; not of maps that the cache does not hold.
    small = side == 20
    assert lowered.as_text().count(CALL) == (6 if lasting and small else 1)
    scale = np.abs(expected).max()
    np.testing.assert_allclose(found / scale, expected / scale, **WINOGRAD)


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


def test_compiled_programs_make_the_call_and_none_is_kept(persistent_cache):
    stylizer = Stylizer(style_model(norm="instance"))
    image = np.random.default_rng(0).uniform(0, 255, (20, 24, 3)).astype(np.float32)
    with choice.forms("plain"):
        plain = Stylizer(stylizer.model)(image)
    kept = [path.name for path in persistent_cache.iterdir()]
    assert any("jit_apply-" in name for name in kept)
    canvas = stylizer(image)
    (program,) = (made.result() for made in stylizer._shared._made.values())
    exact = stylizer.warm_up(20, 24)(image)
    for output in (canvas, exact):
        np.testing.assert_allclose(output, plain, **THROUGH_A_NETWORK)
    assert CALL in program.as_text()
    assert CALL in stylizer._exact[1, 20, 24, 3].as_text()
    kept = [path.name for path in persistent_cache.iterdir()]
    assert not any("jit_apply_" in name for name in kept)

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


def test_another_thread_traces_as_it_would_alone(persistent_cache):
    arguments = normal(0, 1, 8, 8, 8), normal(1, 3, 3, 8, 8), normal(2, 8)
    inside, done = threading.Event(), threading.Event()

    def warming():
        with onednn.programs(), choice.forms("cpu"):
            inside.set()
            assert done.wait(60)
            return jax.jit(lambda *a: ops.conv(*a)).lower(*arguments).as_text()

    with futures.ThreadPoolExecutor() as pool:
        warmed = pool.submit(warming)
        try:
            assert inside.wait(60)
            with choice.forms("plain"):
                text = jax.jit(lambda *a: ops.conv(*a)).lower(*arguments).as_text()
            assert CALL not in text
            jax.grad(lambda x: ops.conv(x, *arguments[1:]).sum())(arguments[0])
            jax.jit(lambda x: x + 41)(arguments[0]).block_until_ready()
        finally:
            done.set()
        assert CALL in warmed.result()
    assert any("lambda" in path.name for path in persistent_cache.iterdir())


@pytest.mark.slow
def test_eight_threads_warm_up_stylise_and_differentiate():
    model = style_model(norm="instance")
    sizes = [(20, 24), (36, 70)]
    rng = np.random.default_rng(0)
    images = {s: rng.uniform(0, 255, (*s, 3)).astype(np.float32) for s in sizes}

    def gradient(stylizer, image):
        mean = jax.jit(jax.grad(lambda x: stylizer(x).mean()))
        return np.asarray(mean(jnp.asarray(image)))

    alone = Stylizer(model)
    expected = {s: (alone(x), gradient(alone, x)) for s, x in images.items()}
    shared = Stylizer(model)
    together = threading.Barrier(8)

    def work(i):
        together.wait()
        size = sizes[i % 2]
        if i < 4:
            shared.warm_up(*size)
        return size, shared(images[size]), gradient(shared, images[size])

    with futures.ThreadPoolExecutor(8) as pool:
        for size, output, slope in pool.map(work, range(8)):
            np.testing.assert_allclose(output, expected[size][0], **THROUGH_A_NETWORK)
            scale = np.abs(expected[size][1]).max()
            np.testing.assert_allclose(
                slope / scale, expected[size][1] / scale, **THROUGH_A_NETWORK
            )
