"""bin/stylize from end to end: a tiny network once, else inverted colours for speed."""

import contextlib
import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from helpers import ROOT, Command, style_model
from tolerances import ROUNDED_TO_8_BITS

from jaxperceptual.core.errors import InputError
from jaxperceptual.images.reading import read_image
from jaxperceptual.inference import batches, stylizer
from jaxperceptual.inference.jobs import Job
from jaxperceptual.inference.stylizer import Stylizer
from jaxperceptual.networks import pretrained
from jaxperceptual.networks.model_file import read_model, write_model

SCRIPT = ROOT / "bin" / "stylize"
HALVED_CHROMA = dict(rtol=0, atol=25)  # of JPEG and WebP, twice: read and written


run = Command("stylize")


class Inverted(Stylizer):
    """Stands in for the network, which takes seconds to compile for each shape."""

    def __init__(self, model, style=None):
        assert style is None
        self.model, self.shapes = model, []

    def prepare(self, sizes):
        return self

    def memory(self, h, w):
        return 0

    def rank(self, h, w):
        return 0

    def __call__(self, images, style_scale=1.0):
        self.shapes.append(images.shape)
        return 255 - images


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "muse"
    write_model(folder / pretrained.FILE_NAME, style_model(norm="instance"))
    return folder


@pytest.fixture
def stylize(model, tmp_path, monkeypatch):
    """Runs the script in an empty folder: (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(stylizer, "Stylizer", Inverted)

    def stylize(*argv):
        argv = [str(arg) for arg in argv]
        if "--model" not in argv:
            argv = ["--model", str(model), *argv]
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            with pytest.raises(SystemExit) as stopped:
                run.exit(*argv)
        return stopped.value.code, out.getvalue(), err.getvalue()

    return stylize


@pytest.fixture(scope="module")
def gallery(tmp_path_factory):
    """A gallery of three styles, of which one has a title."""
    folder = tmp_path_factory.mktemp("runs") / "gallery"
    styles = {"dots": {"name": "dots.jpg"}, "wave": {"name": "wave.jpg"}, "photo": {}}
    told = {"training": {"styles.wave.title": "Hokusai, The Great Wave"}}
    made = style_model(told, norm="instance", num_styles=3)
    write_model(folder / pretrained.FILE_NAME, made._replace(styles=styles))
    return folder


def test_a_gallery_is_listed_picked_mixed_and_shown(
    gallery, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    model = f"--model={gallery}"
    assert run(model, "--list") == 0
    listed = capsys.readouterr().out.splitlines()
    assert [line.split(maxsplit=1) for line in listed[1:]] == [
        ["dots", "dots.jpg"],
        ["wave", "Hokusai, The Great Wave"],
        ["photo"],
    ]
    save("photo.png", 20, 24)
    photo = read_image("photo.png")
    outputs = {}
    for style in ("dots", "wave:3,photo", "photo"):
        assert run(model, f"--style={style}", "photo.png", "-o=out.png") == 0
        outputs[style] = read_image("out.png")
        expected = Stylizer.from_pretrained(gallery, style=style)(photo)
        np.testing.assert_allclose(outputs[style], expected, **ROUNDED_TO_8_BITS)
    assert run(f"{model}:dots", "photo.png", "-o=out.png") == 0
    np.testing.assert_array_equal(read_image("out.png"), outputs["dots"])
    assert run(model, "--sheet", "photo.png") == 0
    sheet = read_image("photo-styles.png")
    # Cells stand as wide as their labels; of the outputs each pixel is somewhere.
    for image in (photo, outputs["dots"], outputs["photo"]):
        assert _find(sheet, np.rint(image))
    for argv, message in (
        ([model, "photo.png"], "a gallery of 3 styles; name one: dots, wave, photo"),
        ([model, "--style=dot", "photo.png"], "dot: not in it; there is dots"),
        ([model, "--style=dots", "--sheet", "photo.png"], "leave --style dots off"),
        ([model, "--tile=64", "--sheet", "photo.png"], "leave --tile 64 off"),
    ):
        with pytest.raises(InputError, match=message):
            run(*argv)


def _find(sheet, image):
    """Whether the image stands somewhere in the sheet, to a level of rounding."""
    h, w, _ = image.shape
    windows = np.lib.stride_tricks.sliding_window_view(sheet, (h, w, 3))
    return abs(windows - image).max(axis=(-1, -2, -3)).min() <= 1


def save(path, h=6, w=8, mode="RGB", seed=0, **options):
    """An image file of smooth colours, so that JPEG hardly changes them."""
    rng = np.random.default_rng(seed)
    corners = rng.integers(0, 255, (2, 2, len(mode)), dtype=np.uint8)
    image = PIL.Image.fromarray(corners, mode=None).resize(
        (w, h), PIL.Image.Resampling.BILINEAR
    )
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)
    return image


def files(folder="."):
    return sorted(str(p.relative_to(folder)) for p in Path(folder).rglob("*.*"))


@pytest.mark.parametrize("h, w", [(1, 1), (7, 5), (33, 50)])
def test_one_photo(stylize, h, w):
    before = np.asarray(save("in/photo.png", h, w))
    assert stylize("in/photo.png") == (0, "photo-stylized.png\n", "")
    assert files() == ["in/photo.png", "photo-stylized.png"]
    np.testing.assert_array_equal(PIL.Image.open("photo-stylized.png"), 255 - before)


def test_folders_keep_their_shape_and_formats(stylize):
    names = ["a.jpg", "b.jpeg", "sub/a.png", "sub/deep/c.WEBP", "d.tif", "e.bmp"]
    for i, name in enumerate(names):
        save(f"photos/{name}", seed=i)
    save("single.jpg", 9, 9)
    code, out, err = stylize("photos", "single.jpg", "-o", "out", "--batch-size", 4)
    assert (code, out, err) == (0, "", "")
    assert files("out") == sorted([*names, "single.jpg"])
    formats = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG", ".tif": "TIFF"}
    for name in names:
        with PIL.Image.open(Path("out", name)) as image:
            suffix = Path(name).suffix.lower()
            assert image.format == formats.get(suffix, suffix[1:].upper())
    for name in names:  # batched with others, each is its own
        got, before = (read_image(Path(d, name)) for d in ("out", "photos"))
        np.testing.assert_allclose(got, 255 - before, **HALVED_CHROMA)


def test_a_folder_without_o_and_again(stylize):
    save("photos/a.jpg")
    save("photos/b.jpg")
    for _ in range(2):
        assert stylize("photos")[0] == 0
        assert files("photos-stylized") == ["a.jpg", "b.jpg"]
    for _ in range(2):  # an output folder within is not an input the second time
        assert stylize("photos", "-o", "photos/out")[0] == 0
        assert files("photos") == ["a.jpg", "b.jpg", "out/a.jpg", "out/b.jpg"]


def test_orientation_is_applied(stylize):
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    save("turned.png", 4, 9, exif=exif)
    save("upright.png", 9, 4)
    assert stylize("turned.png", "upright.png", "-o", "out")[0] == 0
    with PIL.Image.open("out/turned.png") as image:
        assert image.size == (4, 9)
        assert not image.getexif().get(0x0112)


def test_alpha_is_kept_where_the_format_can(stylize):
    alpha = save("cut.png", 12, 10, "RGBA").getchannel("A")
    assert stylize("cut.png", "-o", "out/")[0] == 0
    with PIL.Image.open("out/cut.png") as image:
        assert image.mode == "RGBA"
        np.testing.assert_array_equal(image.getchannel("A"), alpha)
    assert stylize("cut.png", "-o", "flat.jpg") == (0, "flat.jpg\n", "")
    with PIL.Image.open("flat.jpg") as image:
        assert image.mode == "RGB"


def test_size_bounds_the_long_side(stylize):
    save("wide.png", 20, 40, "RGBA")
    save("tiny.png", 3, 5)
    assert stylize("wide.png", "tiny.png", "-o", "out", "--size", 16)[0] == 0
    with PIL.Image.open("out/wide.png") as wide, PIL.Image.open("out/tiny.png") as tiny:
        assert (wide.size, tiny.size) == ((16, 8), (5, 3))


def test_strength_zero_and_preserve_color(stylize):
    before = np.asarray(save("photo.png", 12, 10))
    assert stylize("photo.png", "--strength", 0, "-o", "same.png")[0] == 0
    np.testing.assert_array_equal(PIL.Image.open("same.png"), before)
    assert stylize("photo.png", "--preserve-color", "-o", "out")[0] == 0
    assert stylize("photo.png", "-o", "plain.png")[0] == 0
    assert Path("plain.png").read_bytes() != Path("out/photo.png").read_bytes()


def test_a_format_that_is_not_written_becomes_png(stylize):
    save("cat.gif")
    code, out, err = stylize("cat.gif", "-o", "out")
    assert (code, out) == (0, "out/cat.png\n")
    assert err == "stylize: note: .gif is saved as .png (1)\n"


def test_only_one_batch_is_in_memory(monkeypatch, tmp_path):
    jobs = []
    for i in range(7):
        save(tmp_path / f"{i}.png", 6, 8 + i // 5)
        jobs.append(Job(tmp_path / f"{i}.png", tmp_path / "out" / f"{i}.png"))
    stylizer = Inverted(None)
    results = list(batches.stylize_files(stylizer, jobs, batch_size=3))
    assert [result.job for result in results] == jobs
    assert stylizer.shapes == [(3, 6, 8, 3), (2, 6, 8, 3), (2, 6, 9, 3)]
    monkeypatch.setattr(batches, "MAX_BATCH_PIXELS", 6 * 8)
    stylizer.shapes.clear()
    list(batches.stylize_files(stylizer, jobs, batch_size=3))
    assert [shape[0] for shape in stylizer.shapes] == [1] * 7


def test_one_bad_photo_among_many(stylize):
    save("photos/a.png", seed=1)
    save("photos/c.png", seed=2)
    Path("photos/b.png").write_bytes(Path("photos/a.png").read_bytes()[:-30])
    Path("photos/d.jpg").write_text("no image")
    Path("photos/e.jpg").write_bytes(b"")
    code, _, err = stylize("photos", "-o", "out")
    assert code == 1
    assert files("out") == ["a.png", "c.png"]
    for name in ("b.png", "d.jpg", "e.jpg"):
        assert err.count(f"stylize: photos/{name}: ") == 1
    assert err.endswith("stylize: 3 of 5 images were left out\n")
    assert stylize("photos/d.jpg", "photos/e.jpg", "-o", "out2")[0] == 2


def test_each_photo_of_a_folder_is_done_or_named_with_its_reason(stylize):
    save("in/photo.png", seed=1)
    save("in/photo.gif", seed=2)
    save("in/sub/photo.png", seed=3)
    save("in/b.jfif", seed=4, format="JPEG")
    Path("in/gone.jpg").symlink_to("nowhere.jpg")
    Path("in/phone.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(9))
    strange = os.fsdecode(b"in/caf\xe9.png")  # no UTF-8
    save(strange, seed=5)
    code, out, err = stylize("in", "-o", "out")
    assert code == 1 and out == ""
    written = ["b.jfif", os.fsdecode(b"caf\xe9.png"), "photo-2.png", "photo.png"]
    assert files("out") == sorted([*written, "sub/photo.png"])
    np.testing.assert_array_equal(  # keeps its name, as it keeps its format
        read_image("out/photo.png"), 255 - read_image("in/photo.png")
    )
    assert "in/photo.gif becomes out/photo-2.png, as another has its name" in err
    assert "gone.jpg: no such file" in err
    assert "phone.heic: cannot be read as an image (" in err
    assert "2 of 7 images were left out" in err
    # Single files likewise; those that are out of memory do not stop the others.
    code, out, err = stylize("in/photo.png", "in/sub/photo.png", "-o", "o")
    assert (code, files("o")) == (0, ["photo-2.png", "photo.png"])


def test_of_an_animation_one_frame_and_a_word(stylize):
    frames = [PIL.Image.new("RGB", (9, 7), color) for color in ("red", "blue", "green")]
    frames[0].save("moving.gif", save_all=True, append_images=frames[1:])
    save("still.gif", seed=1)
    code, _, err = stylize("moving.gif", "still.gif", "-o", "out")
    assert (code, files("out")) == (0, ["moving.png", "still.png"])
    assert "moving.gif has 3 frames, of which the first is taken; stylize_video" in err
    assert "still.gif has" not in err
    np.testing.assert_array_equal(
        read_image("out/moving.png"), 255 - read_image("moving.gif")
    )


def test_shares_together_are_all(stylize):
    for i in range(5):
        save(f"in/{i}.png", seed=i)
    save("in/0.gif", seed=9)
    whole = stylize("in", "-o", "whole")
    assert whole[0] == 0
    of_each = []
    for i in (1, 2, 3):
        assert (
            stylize("in", "-o", "out", "--shard", f"{i}/3", "--skip-existing")[0] == 0
        )
        of_each.append(len(files("out")))
    assert of_each == [2, 4, 6] and files("out") == files("whole")
    for name in files("out"):
        assert Path("out", name).read_bytes() == Path("whole", name).read_bytes()
    # More shares than photos: some have nothing to do.
    assert stylize("in", "-o", "more", "--shard", "7/8")[0] == 0
    for wrong in ("0/3", "4/3", "3", "a/b", "1/0"):
        code, _, err = stylize("in", "-o", "out", "--shard", wrong)
        assert code == 2 and f"'{wrong}': use I/N, from 1/N to N/N" in err


def test_a_terminal_of_another_encoding(model, tmp_path):
    save(tmp_path / "caf\u00e9 \u2603.png", 8, 8)
    command = [sys.executable, str(SCRIPT), "--model", str(model), "--strength=0"]
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    done = subprocess.run(
        [*command, "caf\u00e9 \u2603.png"],
        cwd=tmp_path,
        capture_output=True,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == b"caf\\xe9 \\u2603-stylized.png\n"
    assert (tmp_path / "caf\u00e9 \u2603-stylized.png").exists()


@pytest.mark.parametrize(
    "argv, message",
    [
        (["gone.jpg"], "gone.jpg: no such photo or folder"),
        (["ok.png", "gone.jpg"], "gone.jpg: no such photo or folder"),
        (["text.jpg"], "text.jpg: cannot be read as an image"),
        (["empty.jpg"], "empty.jpg: the file is empty"),
        (["cut.png"], "cut.png: cannot be read as an image"),
        (["hollow"], "hollow: no images in this folder"),
        (["ok.png", "--strength", "1.5"], "'1.5': use a number from 0 to 1"),
        (["ok.png", "--strength", "nan"], "'nan': use a number from 0 to 1"),
        (["ok.png", "--strength", "x"], "'x': use a number from 0 to 1"),
        (["ok.png", "--size", "0"], "'0': use a whole number from 1 up"),
        (["ok.png", "--batch-size", "2.5"], "'2.5': use a whole number from 1 up"),
        (["ok.png", "--sise", "8"], "unrecognized arguments: --sise"),
        (["ok.png", "--style-scale", "9"], "'9': use a number from 0.125 to 8"),
        ([], "no photo named; give one, or --list"),
        (["ok.png", "--sheet"], "a network of one style; --sheet needs a gallery"),
        (["--list"], "a network of one style; --list tells of a gallery"),
        (["ok.png", "--list", "--sheet"], "--sheet: not allowed with argument --list"),
        (["ok.png", "--model", "gone"], "gone: no such model"),
        (["ok.png", "--model", "hollow"], "no model.safetensors in this folder"),
        (["ok.png", "--model", "ok.png"], "ok.png: not a whole safetensors file"),
        (["ok.png", "-o", "ok.png"], "the output for ok.png is the input ok.png"),
        (["ok.png", "-o", "."], "the output for ok.png is the input ok.png"),
        (["ok.png", "-o", "soft.png"], "the output for ok.png is the input ok.png"),
        (["ok.png", "-o", "hard.png"], "the output for ok.png is the input ok.png"),
        (["many/sub/x.png", "many/x.png", "-o", "many"], "is the input many/x.png"),
        (["many", "-o", "many"], "is the input many/"),
        (["many", "-o", "o.png"], "names one file, but many is a folder"),
        (["ok.png", "many/x.png", "-o", "o.png"], "names one file, but there are 2"),
        (["ok.png", "-o", "o.gif"], "o.gif: not a format that is written"),
        (["ok.png", "-o", "note.txt"], "note.txt: not a format that is written"),
        (["ok.png", "-o", "note.txt/out"], "note.txt: not a folder"),
        (["ok.png", "-o", "blocked"], "blocked/ok.png: a folder"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(stylize, argv, message):
    image = save("ok.png", 24, 24, seed=3)
    Path("text.jpg").write_text("no image")
    Path("empty.jpg").write_bytes(b"")
    Path("cut.png").write_bytes(Path("ok.png").read_bytes()[:-40])
    Path("note.txt").write_text("a note")
    Path("hollow").mkdir()
    Path("blocked/ok.png").mkdir(parents=True)
    os.symlink("ok.png", "soft.png")
    os.link("ok.png", "hard.png")
    save("many/x.png")
    save("many/sub/x.png", seed=1)
    before = files()
    code, out, err = stylize(*argv)
    assert (code, out) == (2, "")
    assert err.startswith("stylize: error: ") and err.count("\n") == 1
    assert message in err
    assert files() == before
    np.testing.assert_array_equal(PIL.Image.open("ok.png"), image)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_unwritable_output_folder(stylize):
    save("ok.png")
    Path("locked").mkdir(mode=0o555)
    code, _, err = stylize("ok.png", "-o", "locked/out")
    assert (code, err.count("\n")) == (2, 1)
    assert "locked: folder is not writable" in err


def test_a_disk_that_refuses(stylize, monkeypatch):
    save("ok.png")

    def refuse(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "mkdir", refuse)
    code, _, err = stylize("ok.png", "-o", "out")
    assert code == 2
    assert "out/ok.png: cannot be written (No space left on device)" in err


def test_out_of_memory_is_said(stylize, monkeypatch):
    save("ok.png")

    def exhaust(self, images, style_scale):
        raise RuntimeError("RESOURCE_EXHAUSTED: Out of memory")

    monkeypatch.setattr(Inverted, "__call__", exhaust)
    code, _, err = stylize("ok.png")
    assert code == 2
    assert (
        "8 x 6 px does not fit into memory; use --tile 1024, a smaller --size or" in err
    )


def test_as_a_command(model, tmp_path):
    save(tmp_path / "a.png", 33, 50)
    command = [sys.executable, str(SCRIPT), "--model", str(model)]
    done = subprocess.run(
        [*command, "a.png", "-o", "out"], cwd=tmp_path, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, "out/a.png\n"), done.stderr
    expected = stylizer.stylize(read_image(tmp_path / "a.png"), model=read_model(model))
    got = read_image(tmp_path / "out" / "a.png")
    np.testing.assert_allclose(got, expected, **ROUNDED_TO_8_BITS)
    bad = subprocess.run(
        [*command, "gone.jpg"], cwd=tmp_path, capture_output=True, text=True
    )
    assert bad.returncode == 2
    assert bad.stderr.startswith("stylize: error: gone.jpg:")
    assert "Traceback" not in bad.stderr


def test_format_and_quality_of_all_results(stylize):
    save("in/a.png", 40, 60)
    save("in/b.bmp", 40, 60)
    for quality in (95, 30):
        out = f"out{quality}"
        options = ("--format", "jpg", "--quality", quality)
        assert stylize("in", "-o", out, *options)[0] == 0
        assert files(out) == ["a.jpg", "b.jpg"]
    assert Path("out30/a.jpg").stat().st_size < Path("out95/a.jpg").stat().st_size
    with PIL.Image.open("out95/a.jpg") as picture:
        assert picture.format == "JPEG"
    code, _, told = stylize("in/a.png", "-o", "one.png", "--format", "webp")
    assert code == 2 and "--format says .webp" in told
    for wrong in (["--format", "gif"], ["--quality", "0"], ["--quality", "101"]):
        code, _, told = stylize("in", *wrong)
        assert code == 2 and "use" in told


def test_what_is_there_is_skipped_where_asked(stylize):
    save("in/a.png")
    save("in/b.png", seed=1)
    assert stylize("in", "-o", "out")[0] == 0
    Path("out/b.png").unlink()
    Path("out/a.png").write_bytes(b"kept")
    code, _, told = stylize("in", "-o", "out", "--skip-existing")
    assert code == 0 and "1 of 2 images are there already" in told
    assert Path("out/a.png").read_bytes() == b"kept"
    assert Path("out/b.png").exists()
    code, _, told = stylize("in", "-o", "out", "--skip-existing")
    assert code == 0 and "2 of 2" in told


class Pipe(io.StringIO):
    """A standard stream with a buffer for bytes, not a terminal."""

    def __init__(self, data=b""):
        super().__init__()
        self.buffer = io.BytesIO(data)


def test_standard_input_and_output(model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(stylizer, "Stylizer", Inverted)
    before = np.asarray(save("photo.png", 20, 30))
    data = Path("photo.png").read_bytes()

    def piped(*argv, sent=data):
        out = Pipe()
        monkeypatch.setattr(sys, "stdin", Pipe(sent))
        monkeypatch.setattr(sys, "stdout", out)
        code = run(f"--model={model}", *argv)
        monkeypatch.undo()
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(stylizer, "Stylizer", Inverted)
        assert code == 0
        return out.buffer.getvalue() + out.getvalue().encode()

    for argv in (["-"], ["-", "-o", "-"], ["photo.png", "-o", "-"]):
        with PIL.Image.open(io.BytesIO(piped(*argv))) as picture:
            assert picture.format == "PNG"
            np.testing.assert_array_equal(np.asarray(picture), 255 - before)
    with PIL.Image.open(io.BytesIO(piped("-", "--format", "webp"))) as picture:
        assert picture.format == "WEBP" and picture.size == (30, 20)
    phone = io.BytesIO()  # a JPEG with a second picture in it
    pictures = [PIL.Image.fromarray(before)] * 2
    pictures[0].save(phone, "MPO", save_all=True, append_images=pictures[1:])
    with PIL.Image.open(io.BytesIO(piped("-", sent=phone.getvalue()))) as picture:
        assert picture.format == "JPEG"
    assert piped("-", "-o", "out.png") == b"out.png\n"
    np.testing.assert_array_equal(read_image("out.png"), 255 - before)
    assert files() == ["out.png", "photo.png"]
    for argv, sent, message in (
        (["-", "photo.png"], data, "one photo at a time"),
        (["-"], b"text", "standard input: cannot be read as an image"),
        (["-"], b"", "standard input: it is empty"),
        (["-", "-o", "out.png"], data[:200], "standard input: cannot be read as an im"),
    ):
        with pytest.raises(InputError, match=message):
            piped(*argv, sent=sent)
    for stream in ("stdin", "stdout"):
        monkeypatch.setattr(sys, "stdin", Pipe(data))
        monkeypatch.setattr(sys, stream, None)
        with pytest.raises(InputError, match="is closed; give a"):
            run(
                f"--model={model}",
                "-",
                *(["-o", "out.png"] if stream == "stdin" else []),
            )
        monkeypatch.undo()
        monkeypatch.chdir(tmp_path)
