"""Large photos in strips: what the whole image gives, in less memory."""

import subprocess
import sys

import numpy as np
import pytest
from helpers import ROOT, Command, style_model
from PIL import Image

from jaxperceptual.core import memory
from jaxperceptual.core.errors import InputError
from jaxperceptual.inference.stylizer import Stylizer
from jaxperceptual.networks.model_file import write_model

RANGE = dict(rtol=0, atol=0.01)  # of 255; sums of a whole image in another order


def photo_of(h, w):
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (6, 5, 3), dtype=np.uint8)
    image = Image.fromarray(coarse).resize((w, h), Image.Resampling.BICUBIC)
    image.paste((0, 0, 0), (10, h // 3, w // 2, h // 2))  # which gets grain
    return np.asarray(image)


@pytest.mark.parametrize(
    "norm, upsample, h, w, strip",
    [
        ("instance", "resize", 203, 130, 64),  # seven strips, and an odd end
        ("instance", "transposed", 66, 61, 40),
        ("batch", "resize", 61, 90, 64),
        ("instance", "resize", 50, 41, 400),  # one strip, higher than the image
    ],
)
def test_strips_do_not_show(norm, upsample, h, w, strip):
    stylizer = Stylizer(style_model(norm=norm, upsample=upsample))
    image = photo_of(h, w)
    whole = stylizer(image.astype(np.float32))
    found = np.full_like(whole, np.nan)
    stylizer.in_strips(image, strip=strip)  # the programs are there
    stylizer._strips(stylizer._variables, image, found.__setitem__, strip=strip)
    np.testing.assert_allclose(found, whole, **RANGE)
    assert whole.std() > 5


def test_what_else_a_photo_is_given(tmp_path):
    """Alpha, strength, colours and scale, as without strips; a rounding may differ."""
    write_model(tmp_path / "m.safetensors", style_model(norm="instance"))
    alpha = Image.linear_gradient("L").resize((75, 90))
    picture = Image.fromarray(photo_of(90, 75))
    picture.putalpha(alpha)
    picture.save(tmp_path / "photo.png")
    for i, options in enumerate(
        ([], ["--strength=0.6", "--preserve-color"], ["--style-scale=1.3"])
    ):
        made = []
        for tile in ("auto", "64"):
            target = tmp_path / f"{i}-{tile}.png"
            arguments = [tmp_path / "photo.png", f"--model={tmp_path}/m.safetensors"]
            code = Command("stylize")(
                *arguments, "-o", target, f"--tile={tile}", *options
            )
            assert code == 0
            made.append(np.asarray(Image.open(target)).astype(int))
        different = np.abs(made[0] - made[1])
        assert different.max() <= 1 and (different > 0).mean() < 1e-3
        assert made[0].shape == (90, 75, 4)


def test_strips_are_for_what_does_not_fit(tmp_path, monkeypatch):
    write_model(tmp_path / "m.safetensors", style_model(norm="instance"))
    Image.fromarray(photo_of(100, 80)).save(tmp_path / "photo.png")
    arguments = [tmp_path / "photo.png", f"--model={tmp_path}/m.safetensors"]
    arguments += ["-o", tmp_path / "out.png"]
    used = []
    real = Stylizer.in_strips
    monkeypatch.setattr(
        Stylizer, "in_strips", lambda *a, **o: used.append(1) or real(*a, **o)
    )
    assert Command("stylize")(*arguments) == 0 and not used
    whole = np.asarray(Image.open(tmp_path / "out.png")).astype(int)

    needed = Stylizer(style_model(norm="instance")).memory(100, 80) + 42 * 8000
    monkeypatch.setattr(memory, "free_memory", lambda: needed)
    monkeypatch.setattr(Stylizer, "memory_in_strips", lambda *_: needed - 1)
    assert Command("stylize")(*arguments) == 0 and used
    found = np.asarray(Image.open(tmp_path / "out.png")).astype(int)
    assert np.abs(found - whole).max() <= 1

    (tmp_path / "out.png").unlink()
    monkeypatch.setattr(Stylizer, "memory_in_strips", lambda *_: needed + 1)
    with pytest.raises(InputError, match="80 x 100 px need about .* use --size"):
        Command("stylize")(*arguments)
    assert not (tmp_path / "out.png").exists()


def test_free_memory_is_what_the_system_says():
    with open("/proc/meminfo") as file:
        total = 1024 * int(file.readline().split()[1])
    assert 0 < memory.free_memory() <= total


def test_a_network_that_pads_at_each_layer_is_refused():
    stylizer = Stylizer(style_model(norm="instance", padding="layers"))
    with pytest.raises(InputError, match="padding='layers' takes whole images alone"):
        stylizer.in_strips(photo_of(50, 40))


@pytest.mark.slow
def test_memory_of_strips_grows_with_the_kept_maps_alone(tmp_path):
    """The estimate holds, reading and writing included."""
    for side in (2000, 4000):
        Image.fromarray(photo_of(side, side)).save(tmp_path / "photo.jpg")
        code = (
            "import sys; from jaxperceptual.core import cli, memory\n"
            "from jaxperceptual.commands import stylize\n"
            "cli.call(stylize, sys.argv[1:]); print(memory.peak_memory())"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, "photo.jpg", "--tile=1024", "-o=out.jpg"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
            env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT)},
        )
        peak = int(done.stdout.split()[-1])
        expected = Stylizer.from_pretrained().memory_in_strips(side, side)
        assert 0.4 * expected < peak < expected, side
