"""bin/evaluate from end to end, on small photos."""

import json
from pathlib import Path

import numpy as np
import pytest
from helpers import Command, identity_model, restoration_model
from PIL import Image
from scipy import ndimage

from jaxperceptual.core.errors import InputError
from jaxperceptual.evaluation import metrics
from jaxperceptual.images.reading import read_image
from jaxperceptual.inference.consistency import ITERATIONS
from jaxperceptual.networks import pretrained
from jaxperceptual.networks.model_file import write_model

run = Command("evaluate")
pytestmark = pytest.mark.weights
SAME_PICTURE = 1e-3  # of any score: its pixels differ by float32's rounding alone
# Another program's blur and resizing: a pixel in many is rounded the other way.
OTHERWISE_ROUNDED_PSNR, OTHERWISE_ROUNDED_SSIM = 0.02, 1e-3


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """runs/same, runs/net and two sets of photos; paths are relative to it."""
    root = tmp_path_factory.mktemp("evaluate")
    training = {"training": {"degradation.name": "downsample", "degradation.blur": 1.0}}
    for name, model in {
        "same": identity_model(training),
        "net": restoration_model(factor=2, metadata=training),
        "x4": restoration_model(factor=4, metadata=training),
        "skip": restoration_model(factor=2, skip=True, metadata=training),
        "sharp": restoration_model(
            factor=2,
            metadata={
                "training": training["training"] | {"degradation.blur": 0.0},
            },
        ),
    }.items():
        write_model(root / "runs" / name / pretrained.FILE_NAME, model)
    rng = np.random.default_rng(0)
    for name, mode in (("A/one", "RGB"), ("A/two", "L"), ("B/one", "RGB")):
        (root / name).parent.mkdir(exist_ok=True)
        coarse = Image.fromarray(rng.integers(0, 256, (8, 7, 3), dtype=np.uint8))
        photo = coarse.resize((49, 53), Image.BICUBIC).convert(mode)
        photo.save(root / f"{name}.png")
    return root


def evaluate(*argv):
    return run(*argv)


def test_tables_and_strips(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    out = tmp_path / "out"
    assert (
        evaluate("--model", "runs/same", "runs/net", "--data", "A", "B", "-o", out) == 0
    )
    text = capsys.readouterr().out
    assert (out / "results.md").read_text() == text
    assert "| | bicubic | same | net |" in text and "sigma 1 px" in text
    assert "After the network, `same`: nothing; `net`: histogram matching." in text
    assert [line for line in text.splitlines() if line.startswith("**")] == [
        "**A**",
        "**B**",
    ]
    results = json.loads((out / "results.json").read_text())
    assert results["factor"] == 2 and results["blur"] == 1.0
    assert results["command"].startswith("jaxperceptual evaluate --model runs/same")
    found = {(i["dataset"], i["name"]): i["scores"] for i in results["images"]}
    assert list(found) == [("A", "one"), ("A", "two"), ("B", "one")]
    for scores in found.values():
        # A network that does nothing but bicubic interpolation has its scores.
        assert scores["same"] == pytest.approx(scores["bicubic"], abs=SAME_PICTURE)
        assert scores["net"]["psnr"] < scores["bicubic"]["psnr"] - 3
        assert scores["net"]["lpips_alex"] > scores["bicubic"]["lpips_alex"]
    for score in ("psnr", "ssim", "lpips_alex", "lpips_vgg"):
        mean = np.mean([found["A", n]["net"][score] for n in ("one", "two")])
        assert results["mean"]["A"]["net"][score] == pytest.approx(mean)
    strips = sorted(str(path.relative_to(out)) for path in out.rglob("*.png"))
    assert strips == [f"strips/{n}.png" for n in ("A/one", "A/two", "B/one")]
    strip = read_image(out / "strips" / "A" / "one.png")
    # Two rows of four cells, 4 px apart; the truth stands in the middle of the first.
    h, w = (strip.shape[0] - 4) // 2, (strip.shape[1] - 3 * 4) // 4
    top, left = (h - 52) // 2, (w - 48) // 2
    np.testing.assert_array_equal(
        strip[top : top + 52, left : left + 48],
        read_image("A/one.png")[:52, :48],
    )


@pytest.mark.slow
def test_shares_add_up_and_go_on(folder, tmp_path, monkeypatch, capsys):
    """Two processes, of which one was stopped, make what one makes."""
    monkeypatch.chdir(folder)
    command = ["--model", "runs/same", "--data", "A", "B", "-o"]
    assert evaluate(*command, tmp_path / "whole") == 0
    tables = capsys.readouterr().out
    out = tmp_path / "shared"
    assert evaluate(*command, out, "--shard=1/2") == 0  # A/one, B/one
    assert "2 of 3 photos are judged; the share" in capsys.readouterr().out
    assert not (out / "results.md").exists()

    part = out / "results-1-of-2.json"
    done = part.read_text()
    record = json.loads(done)
    del record["images"][1]  # as if it had been stopped
    record["images"][0]["scores"]["bicubic"]["psnr"] = None  # of equal pictures
    part.write_text(json.dumps(record))
    (out / "strips" / "A" / "one.png").unlink()
    assert evaluate(*command, out, "--shard=1/2", "--skip-existing") == 0
    assert not (out / "strips" / "A" / "one.png").exists()  # it was not done again
    images = json.loads(part.read_text())["images"]
    assert [i["name"] for i in images] == ["one", "one"]
    assert images[0]["scores"]["bicubic"]["psnr"] is None

    part.write_text(done)
    capsys.readouterr()
    assert evaluate(*command, out, "--shard=2/2", "--skip-existing") == 0
    assert capsys.readouterr().out == tables == (out / "results.md").read_text()
    with pytest.raises(InputError, match="of other models or settings"):
        evaluate(*command, out, "--shard=1/2", "--skip-existing", "--blur=0")
    with pytest.raises(InputError, match="name a folder with -o"):
        evaluate(*command[:-1], "--shard=1/2")


@pytest.mark.parametrize("blur", [0.0, 1.5])
def test_scores_by_other_programs(folder, blur, monkeypatch, tmp_path):
    """Pillow and SciPy make the images; only PSNR's formula is shared."""
    monkeypatch.chdir(folder)
    assert evaluate("--scale=4", f"--blur={blur}", "--data", "A", "-o", tmp_path) == 0
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["blur"] == blur and results["models"] == {}
    with Image.open("A/one.png") as photo:
        truth = np.asarray(photo, np.float32)[:52, :48]
    blurred = (
        truth
        if not blur
        else ndimage.gaussian_filter(truth, (blur, blur, 0), mode="nearest")
    )

    def resized(image, size):
        planes = [
            Image.fromarray(plane).resize(size, Image.BICUBIC)
            for plane in np.moveaxis(image, -1, 0)
        ]
        return np.rint(np.stack(planes, axis=-1).clip(0, 255))

    output = resized(resized(blurred, (12, 13)), (48, 52))
    weights = np.array([65.481, 128.553, 24.966]) / 255
    a, b = (np.rint(x @ weights + 16)[4:-4, 4:-4] for x in (output, truth))
    (scores,) = (i["scores"] for i in results["images"] if i["name"] == "one")
    assert scores["bicubic"]["psnr"] == pytest.approx(
        metrics.psnr(a, b), abs=OTHERWISE_ROUNDED_PSNR
    )
    assert scores["bicubic"]["ssim"] == pytest.approx(
        metrics.ssim(a, b), abs=OTHERWISE_ROUNDED_SSIM
    )


@pytest.mark.slow
def test_what_follows_a_network(folder, monkeypatch, tmp_path):
    """The paper's have its histogram matching; one with a skip, what users get."""
    monkeypatch.chdir(folder)
    psnr = []
    for flags, net, skip in [
        ([], (True, 0), (False, ITERATIONS)),
        (["--no-histogram-match"], (False, 0), (False, ITERATIONS)),
        (["--histogram-match", "--consistency=2"], (True, 2), (True, 2)),
    ]:
        command = ["--model", "runs/net", "runs/skip", "--data", "B", "-o", tmp_path]
        assert evaluate(*command, "--tile=16", *flags) == 0
        results = json.loads((tmp_path / "results.json").read_text())
        psnr.append(results["mean"]["B"]["net"]["psnr"])
        told = {
            name: (model["histogram_match"], model["consistency"])
            for name, model in results["models"].items()
        }
        assert told == {"net": net, "skip": skip}
    assert abs(psnr[0] - psnr[1]) > 0.1 and psnr[2] > psnr[0] + 1
    text = (tmp_path / "results.md").read_text()
    assert "`skip`: histogram matching, consistency 2." in text


@pytest.mark.parametrize(
    "argv, message",
    [
        ([], "no --model and no --scale"),
        (["--scale=3"], "factor=3; use one of 1, 2, 4, 8"),
        (["--scale=1"], "a factor of 1 enlarges nothing"),
        (["--model", "runs/net", "--scale=0"], "enlarges by 2, not by 0"),
        (
            ["--scale=4", "-o", "A/out"],
            "-o A/out: within --data A, and would be judged",
        ),
        (["--scale=4", "-o", "A"], "-o A: within --data A"),
        (["--scale=4", "--blur=-1"], "blur=-1.0 px; use 0"),
        (["--scale=4", "--data", "empty"], "empty: no images in this folder"),
        (["--scale=4", "--data", "gone"], "gone: no such file or folder"),
        (["--scale=4", "--data", "A", "A"], "--data A: a second A"),
        (["--scale=8"], "49 x 53 px is too small to be judged at x8"),
        (["--model", "runs/net", "runs/x4"], "enlarges by 4, not by 2"),
        (["--model", "runs/net", "--consistency=-1"], "consistency=-1; use 0"),
        (["--model", "runs/net", "--scale=4"], "enlarges by 2, not by 4"),
        (["--model", "runs/net", "runs/net"], "a second net"),
        (["--model", "runs/net", "runs/sharp"], "blurs [0.0, 1.0]; choose with --blur"),
        (["--model", "style_cubist"], "a model for the task style, not restoration"),
        (["--scale=4", "-o", "runs/net/model.safetensors"], "cannot be written"),
    ],
)
def test_bad_input(argv, message, folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    Path("empty").mkdir(exist_ok=True)
    before = sorted(folder.rglob("*"))
    data = [] if "--data" in argv else ["--data", "A"]
    with pytest.raises(SystemExit) as exit_:
        run.exit(*argv, *data)
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert exit_.value.code == 2 and message in line
    assert sorted(folder.rglob("*")) == before
