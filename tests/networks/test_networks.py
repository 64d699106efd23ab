"""The transformation network against the paper's table and a PyTorch twin."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util
from tolerances import PIXEL_ROUNDINGS, THROUGH_A_NETWORK

from jaxperceptual.core import config_files
from jaxperceptual.core.errors import InputError
from jaxperceptual.images import resampling
from jaxperceptual.networks.layers import scaled_tanh
from jaxperceptual.networks.srcnn import SRCNN
from jaxperceptual.networks.style_net import StyleNet
from jaxperceptual.networks.super_resolution_net import SuperResolutionNet

# Of the output's deviation: a norm enlarges rounding as it does what it is added to.
NORMALISED = 1e-3


def count(variables):
    return sum(x.size for x in jax.tree.leaves(variables["params"]))


def init(net, key, size=16):
    images = jnp.zeros((1, size, size, 3))
    return jax.jit(lambda key: net.init(key, images, train=False))(key)


def run(net, variables, images):
    return jax.jit(lambda v, x: net.apply(v, x, train=False))(variables, images)


@pytest.mark.parametrize("width, parameters", [(1.0, 1_679_235), (0.5, 424_899)])
@pytest.mark.parametrize("norm", ["batch", "instance"])
@pytest.mark.parametrize("upsample", ["transposed", "resize"])
def test_parameter_counts(norm, width, upsample, parameters, key):
    net = StyleNet(norm=norm, width=width, upsample=upsample)
    images = jnp.zeros((1, 64, 64, 3))
    variables = jax.eval_shape(lambda key: net.init(key, images, train=True), key)
    assert count(variables) == parameters


def test_layer_sizes_follow_the_table(key):
    net = StyleNet()
    images = jnp.zeros((1, 256, 256, 3))

    def capture(key):
        return net.init_with_output(
            key, images, train=True, capture_intermediates=True, mutable=True
        )

    _, variables = jax.eval_shape(capture, key)
    found = variables["intermediates"]
    sizes = {
        name: found[name]["__call__"][0].shape[1:]
        for name in found
        if name != "__call__"
    }
    assert sizes == {
        "conv1": (336, 336, 32),
        "conv2": (168, 168, 64),
        "conv3": (84, 84, 128),
        **{f"residual{i}": (84 - 4 * i, 84 - 4 * i, 128) for i in range(1, 6)},
        "up1": (128, 128, 64),
        "up2": (256, 256, 32),
        "out": (256, 256, 3),
    }


@pytest.mark.parametrize("h, w", [(1, 1), (3, 50)])
def test_any_size_in_the_papers_range(h, w, key):
    net = StyleNet(norm="instance", width=0.125)
    images = jax.random.uniform(key, (1, h, w, 3), maxval=255.0)
    output = run(net, init(net, key), images)
    assert output.shape == images.shape
    assert 0 <= output.min() and output.max() <= 255


def test_scaled_tanh_covers_exactly_the_pixel_range():
    x = jnp.array([-1e9, 0.0, 1e9])
    np.testing.assert_array_equal(scaled_tanh(x), [0.0, 127.5, 255.0])


@pytest.mark.parametrize("norm", ["batch", "instance"])
@pytest.mark.parametrize("upsample", ["transposed", "resize"])
def test_equals_pytorch(norm, upsample, key):
    pytest.importorskip("torch")
    from jaxperceptual.benchmarks.torch import networks as theirs
    from jaxperceptual.benchmarks.torch.tensors import nchw, nhwc

    net = StyleNet(norm=norm, width=0.25, upsample=upsample)
    # Fewer pixels than the 40 of padding: reflected again and again.
    images = np.random.default_rng(0).uniform(0, 255, (2, 26, 39, 3)).astype("f")
    # Fresh biases are 0 and scales 1, which would hide a wrong one. (The kernels stay:
    # larger ones drive the tanh into its flat end, where all networks are equal.)
    variables = shaken(init(net, key))
    twin = theirs.StyleNet(variables, norm=norm, upsample=upsample).eval()
    expected = nhwc(twin(nchw(images)))
    found = run(net, variables, images)
    assert np.abs(found - expected).max() < NORMALISED * expected.std()


@pytest.mark.parametrize(
    "factor, parameters", [(1, 327_747), (2, 364_803), (4, 401_859), (8, 438_915)]
)
def test_super_resolution_parameter_counts(factor, parameters, key):
    net = SuperResolutionNet(factor)
    images = jnp.zeros((1, 8, 8, 3))
    variables = jax.eval_shape(lambda key: net.init(key, images, train=True), key)
    assert count(variables) == parameters


def test_srcnn_parameter_count(key):
    images = jnp.zeros((1, 8, 8, 3))
    net = SRCNN(4)
    variables = jax.eval_shape(lambda key: net.init(key, images, train=True), key)
    # 9 x 9 from 1 to 64, 1 x 1 to 32, 5 x 5 to 1, each with biases.
    assert count(variables) == 81 * 64 + 64 + 64 * 32 + 32 + 25 * 32 + 1


@pytest.mark.parametrize("factor", [1, 2, 4, 8])
@pytest.mark.parametrize("h, w", [(1, 1), (5, 2)])
def test_super_resolution_of_any_size(factor, h, w, key):
    net = SuperResolutionNet(factor)
    images = jax.random.uniform(key, (1, h, w, 3), maxval=255.0)
    shape = jax.eval_shape(
        lambda key: net.init_with_output(key, images, train=False)[0], key
    ).shape
    assert shape == (1, factor * h, factor * w, 3)


def shaken(variables):
    """Variables whose biases, scales and statistics are not the 0 and 1 of a start."""
    rng = np.random.default_rng(1)
    return traverse_util.path_aware_map(
        lambda path, x: np.float32(
            x if path[-1] == "kernel" else x + rng.uniform(0, 0.1, x.shape)
        ),
        jax.device_get(variables),
    )


@pytest.mark.parametrize(
    "factor, upsample, skip", [(4, "transposed", False), (2, "resize", True)]
)
def test_super_resolution_equals_pytorch(factor, upsample, skip, key):
    pytest.importorskip("torch")
    from jaxperceptual.benchmarks.torch import networks as theirs
    from jaxperceptual.benchmarks.torch.tensors import nchw, nhwc

    net = SuperResolutionNet(factor, upsample=upsample, skip=skip)
    images = np.random.default_rng(0).uniform(0, 255, (2, 9, 12, 3)).astype("f")
    variables = shaken(init(net, key))
    # As the benchmark makes it, of all options that a config has.
    options = config_files.load_config("sr_x4_feat.py").net.to_dict()
    options |= dict(factor=factor, upsample=upsample, skip=skip)
    twin = theirs.twin(variables, options).eval()
    expected = nhwc(twin(nchw(images)))
    found = run(net, variables, images)
    assert np.abs(found - expected).max() < NORMALISED * expected.std()


def test_srcnn_equals_pytorch_and_keeps_the_colour(key):
    pytest.importorskip("torch")
    from jaxperceptual.benchmarks.torch import networks as theirs
    from jaxperceptual.benchmarks.torch.tensors import nchw, nhwc

    images = np.random.default_rng(0).uniform(0, 255, (1, 8, 11, 3)).astype("f")
    net = SRCNN(2)
    variables = shaken(init(net, key))
    bicubic = np.asarray(resampling.upsample(images, 2))
    twin = theirs.SRCNN(variables).eval()
    expected = nhwc(twin(nchw(bicubic)))
    found = np.asarray(run(net, variables, images))
    np.testing.assert_allclose(found, expected, **THROUGH_A_NETWORK)
    # Cb and Cr, from any two differences of channels, are bicubic's.
    np.testing.assert_allclose(np.diff(found), np.diff(bicubic), **PIXEL_ROUNDINGS)


@pytest.mark.parametrize(
    "options", [dict(norm="layer"), dict(upsample="bilinear"), dict(width=0.0)]
)
def test_unknown_options(options, key):
    with pytest.raises(InputError, match="; use "):
        init(StyleNet(**options), key)
