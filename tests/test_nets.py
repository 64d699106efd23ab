"""The transformation network against the paper's table and a PyTorch twin."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxperceptual import nets
from jaxperceptual.errors import InputError


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
    net = nets.StyleNet(norm=norm, width=width, upsample=upsample)
    images = jnp.zeros((1, 64, 64, 3))
    variables = jax.eval_shape(lambda key: net.init(key, images, train=True), key)
    assert count(variables) == parameters


def test_layer_sizes_follow_the_table(key):
    net = nets.StyleNet()
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
    net = nets.StyleNet(norm="instance", width=0.125)
    images = jax.random.uniform(key, (1, h, w, 3), maxval=255.0)
    output = run(net, init(net, key), images)
    assert output.shape == images.shape
    assert 0 <= output.min() and output.max() <= 255


def test_scaled_tanh_covers_exactly_the_pixel_range():
    x = jnp.array([-1e9, 0.0, 1e9])
    np.testing.assert_array_equal(nets.scaled_tanh(x), [0.0, 127.5, 255.0])


@pytest.mark.parametrize("norm", ["batch", "instance"])
@pytest.mark.parametrize("upsample", ["transposed", "resize"])
def test_equals_pytorch(norm, upsample, key):
    torch = pytest.importorskip("torch")
    F = torch.nn.functional
    net = nets.StyleNet(norm=norm, width=0.25, upsample=upsample)
    images = np.random.default_rng(0).uniform(0, 255, (2, 26, 39, 3)).astype("f")
    # Not the initial zeros and ones, which would hide a wrong bias or scale.
    leaves, tree = jax.tree.flatten(init(net, key))
    keys = jax.random.split(key, len(leaves))
    variables = jax.tree.unflatten(
        tree,
        [
            x + 0.1 * jax.random.uniform(k, x.shape)
            for x, k in zip(leaves, keys, strict=True)
        ],
    )

    def tensor(x):
        return torch.from_numpy(np.array(x))

    def kernel(p):
        return tensor(p["kernel"].transpose(3, 2, 0, 1))

    def norm_of(x, name):
        p = variables["params"]
        for part in name:
            p = p[part]
        scale, bias = tensor(p["norm"]["scale"]), tensor(p["norm"]["bias"])
        if norm == "instance":
            return F.instance_norm(x, weight=scale, bias=bias, eps=1e-5)
        s = variables["batch_stats"]
        for part in name:
            s = s[part]
        mean, var = tensor(s["norm"]["mean"]), tensor(s["norm"]["var"])
        return F.batch_norm(x, mean, var, scale, bias, eps=1e-5)

    def block(x, *name, stride=1, padding=0, relu=True):
        p = variables["params"]
        for part in name:
            p = p[part]
        p = p["conv"]
        x = F.conv2d(x, kernel(p), tensor(p["bias"]), stride, padding)
        x = norm_of(x, name)
        return F.relu(x) if relu else x

    def up(x, name):
        p = variables["params"][name]["conv"]
        if upsample == "transposed":
            w = tensor(p["kernel"].transpose(2, 3, 0, 1))
            x = F.conv_transpose2d(x, w, tensor(p["bias"]), 2, 1, 1)
        else:
            x = F.interpolate(x, scale_factor=2, mode="nearest")
            x = F.conv2d(F.pad(x, [1] * 4, "reflect"), kernel(p), tensor(p["bias"]))
        return F.relu(norm_of(x, (name,)))

    with torch.no_grad():
        # Reflected again and again, as 26 px are fewer than 40.
        padded = np.pad(
            images / 127.5 - 1, ((0, 0), (40, 42), (40, 41), (0, 0)), "reflect"
        )
        x = tensor(padded.transpose(0, 3, 1, 2))
        x = block(x, "conv1", padding=4)
        x = block(x, "conv2", stride=2, padding=1)
        x = block(x, "conv3", stride=2, padding=1)
        for i in range(1, 6):
            y = block(x, f"residual{i}", "block1")
            y = block(y, f"residual{i}", "block2", relu=False)
            x = x[:, :, 2:-2, 2:-2] + y
        x = up(up(x, "up1"), "up2")
        p = variables["params"]["out"]
        x = F.conv2d(x, kernel(p), tensor(p["bias"]), padding=4)
        expected = 127.5 * (np.tanh(x.numpy() / nets.TANH_SCALE) + 1)
        expected = expected.transpose(0, 2, 3, 1)[:, :26, :39]

    found = run(net, variables, images)
    np.testing.assert_allclose(found, expected, atol=0.01)  # of 255


@pytest.mark.parametrize(
    "options", [dict(norm="layer"), dict(upsample="bilinear"), dict(width=0.0)]
)
def test_unknown_options(options, key):
    with pytest.raises(InputError, match="; use "):
        init(nets.StyleNet(**options), key)
