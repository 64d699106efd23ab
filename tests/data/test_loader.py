""""""

import io
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time

import numpy as np
import pytest
from PIL import Image as pil

from jaxperceptual.core.errors import InputError
from jaxperceptual.data import sources
from jaxperceptual.data.decoded import Decoded
from jaxperceptual.data.loader import Loader
from jaxperceptual.images.finding import find_images

BAD = ("cut.jpg", "text.jpg", "tiny.png")
# Both ends of a side are read off pixels of 8 bits, and a crop has whole ones.
WHOLE_PIXELS = dict(rtol=0, atol=3)


def take(count, source, **options):
    """(batches, skipped): the first `count` batches at 16 px, four a batch."""
    options = {"seed": 3, "batch_size": 4, "image_size": 16} | options
    options.setdefault("on_skip", lambda name, reason: None)
    with Loader(source, **options) as loader:
        batches = np.stack([next(loader) for _ in range(count)])
    return batches, loader.skipped


def jpeg(pixels):
    file = io.BytesIO()
    pil.fromarray(pixels).save(file, "JPEG")
    return file.getvalue()


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Nine good photos in two folders, of one colour each, and three bad files."""
    folder = tmp_path_factory.mktemp("photos")
    (folder / "deeper").mkdir()
    for i in range(9):
        pixels = np.full((20 + i, 40, 3), 25 * i, np.uint8)
        where = folder / "deeper" if i % 2 else folder
        (where / f"{i}.png").write_bytes(jpeg(pixels))  # the content counts
    (folder / "cut.jpg").write_bytes(jpeg(np.zeros((64, 64, 3), np.uint8))[:-200])
    (folder / "text.jpg").write_text("not a picture")
    pil.new("RGB", (300, 15)).save(folder / "tiny.png")
    return folder


@pytest.fixture(scope="module")
def archive(photos, tmp_path_factory):
    """The same files, in the order in which the folder is read."""
    path = tmp_path_factory.mktemp("archive") / "photos.tar"
    with tarfile.open(path, "w") as tar:
        for file in find_images(photos):
            tar.add(file, file.relative_to(photos))
        tar.addfile(tarfile.TarInfo("readme.txt"))
        tar.addfile(tarfile.TarInfo("deeper/._0.png"))
    return path


# ---- the order -------------------------------------------------------------------


def test_an_epoch_shows_every_photo_once_and_the_next_in_another_order(tmp_path):
    for i in range(10):
        pil.new("L", (16, 16), 20 * i).save(tmp_path / f"{i}.png")
    batches, _ = take(6, tmp_path, batch_size=5)
    assert batches.dtype == np.uint8 and batches.shape == (6, 5, 16, 16, 3)
    epochs = batches[..., 0, 0, 0].reshape(3, 10)
    assert (np.sort(epochs) == 20 * np.arange(10)).all()
    assert (epochs[0] != epochs[1]).any() and (epochs[1] != epochs[2]).any()
    other, _ = take(6, tmp_path, batch_size=5, seed=4)
    assert (other != batches).any()


def test_neither_workers_nor_archives_change_a_batch(photos, archive):
    options = dict(crop="random", flip=True)
    expected, skipped = take(9, photos, **options)
    assert len(skipped) == 3
    in_workers, skipped_there = take(9, photos, num_workers=2, **options)
    np.testing.assert_array_equal(in_workers, expected)
    assert skipped_there == skipped
    from_tar, skipped_in_tar = take(9, archive, **options)
    np.testing.assert_array_equal(from_tar, expected)
    assert sorted(skipped_in_tar) == [os.path.join(archive, name) for name in BAD]


@pytest.mark.parametrize("start", [1, 5, 1000])
def test_start_passes_over_batches_without_decoding_them(start, monkeypatch):
    options = dict(image_size=8, batch_size=2)
    many, _ = take(7, "embedded", **options)
    decoded = []
    pixels = Decoded.pixels
    monkeypatch.setattr(
        Decoded,
        "pixels",
        lambda self, i, draws: decoded.append(i) or pixels(self, i, draws),
    )
    later, _ = take(2, "embedded", start=start, **options)
    assert len(decoded) <= 2 * (2 + 16)  # those returned, those read ahead
    if start + 2 <= 7:
        np.testing.assert_array_equal(later, many[start : start + 2])


# ---- what a batch holds ----------------------------------------------------------


def test_parts_of_a_batch_are_its_rows_in_order(photos):
    whole, _ = take(3, photos, flip=True, start=2)
    parts = [take(3, photos, flip=True, start=2, part=(i, 2))[0] for i in (0, 1)]
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), whole)
    with pytest.raises(InputError, match="batch_size=4 does not divide into 3 parts"):
        take(1, photos, part=(0, 3))


def test_stretches_the_whole_photo(tmp_path):
    pixels = np.zeros((64, 256, 3), np.uint8)
    pixels[:32, :, 0], pixels[:, 128:, 1] = 255, 255  # red above, green right
    pil.fromarray(pixels).save(tmp_path / "0.png")
    image = take(1, tmp_path, batch_size=1, image_size=32)[0][0, 0]
    rows, columns = np.mgrid[:32, :32]
    away = (abs(rows - 15.5) > 3) & (abs(columns - 15.5) > 3)
    assert (image[..., 0] > 127)[away].tolist() == (rows < 16)[away].tolist()
    assert (image[..., 1] > 127)[away].tolist() == (columns >= 16)[away].tolist()


@pytest.mark.parametrize("crop, part, reach", [("random", 1.5, 90), ("zoom", 3, 50)])
def test_crops_keep_the_aspect_and_reach_every_side(crop, part, reach, tmp_path):
    # Red is x and green is y, both in source pixels.
    y, x = np.mgrid[:120, :200]
    pixels = np.stack([x, y, 0 * x], axis=-1).astype(np.uint8)
    pil.fromarray(pixels).save(tmp_path / "0.png")
    options = dict(batch_size=50, image_size=40, crop=crop)
    crops = take(2, tmp_path, **options)[0].reshape(100, 40, 40, 3).astype(float)
    widths = np.diff(crops[:, 20, [5, 34], 0])[:, 0] * 40 / 29
    heights = np.diff(crops[:, [5, 34], 20, 1])[:, 0] * 40 / 29
    np.testing.assert_allclose(widths, heights, **WHOLE_PIXELS)
    assert 120 / part - 3 < widths.min() < reach and 112 < widths.max() < 123
    lefts, rights = crops[:, 20, 0, 0], crops[:, 20, -1, 0]
    assert lefts.min() < 12 and rights.max() > 187
    assert 65 < (crops[:, 20, 20, 0]).mean() < 135
    flipped, _ = take(2, tmp_path, flip=True, **options)
    is_flipped = np.diff(flipped.reshape(100, 40, 40, 3)[:, 20, [5, 34], 0].astype(int))
    assert 30 < (is_flipped < 0).sum() < 70


def test_patches_are_the_photos_own_pixels(tmp_path):
    # Red is x and green is y; one photo is too small for a patch. There are 32, since
    # grain takes the longer for each position of its order the fewer there are.
    y, x = np.mgrid[:50, :90]
    pixels = np.stack([x, y, 0 * x], axis=-1).astype(np.uint8)
    for i in range(31):
        pil.fromarray(pixels).save(tmp_path / f"{i}.png")
    pil.new("RGB", (200, 39)).save(tmp_path / "small.png")
    options = dict(batch_size=50, image_size=40, crop="patch")
    batches, skipped = take(8, tmp_path, **options)
    patches = batches.reshape(400, 40, 40, 3).astype(int)
    corners = patches[:, :1, :1]
    offsets = np.stack([*np.mgrid[:40, :40][::-1], np.zeros((40, 40))], axis=-1)
    assert (patches - corners == offsets).all()
    found = {tuple(corner) for corner in corners[:, 0, 0, :2]}
    assert {c[0] for c in found} == set(range(51))
    assert {c[1] for c in found} == set(range(11))
    (reason,) = skipped.values()
    assert "200 x 39 px is smaller than a patch of 40 px" in reason


def test_embedded_patches_are_not_scaled():
    batches, skipped = take(2, "embedded", crop="patch", image_size=64)
    assert not skipped and batches.shape[1:] == (4, 64, 64, 3)
    source = sources.open_source("embedded")
    photos = [np.array(source.load(i, None)) for i in range(len(source))]
    photos += [photo[:, ::-1] for photo in photos]

    def is_in(patch, photo):
        starts = (photo[:-63, :-63] == patch[0, 0]).all(-1)
        return any(
            (photo[top : top + 64, left : left + 64] == patch).all()
            for top, left in np.argwhere(starts)
        )

    for patch in batches.reshape(-1, 64, 64, 3):
        assert any(is_in(patch, photo) for photo in photos)


def test_embedded_photos_never_repeat():
    batches, skipped = take(10, "embedded")
    assert not skipped
    flat = batches.reshape(40, -1)
    assert len(np.unique(flat, axis=0)) == 40


# ---- bad files -------------------------------------------------------------------


def test_bad_files_are_named_once_and_the_next_one_takes_the_place(photos, capfd):
    with Loader(photos, seed=0, batch_size=12, image_size=16) as loader:
        epochs = [next(loader) for _ in range(3)]
    assert loader.num_images == 12 and loader.wait_seconds > 0
    assert sorted(loader.skipped) == [str(photos / name) for name in BAD]
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 3 and all(line.startswith("skipped ") for line in lines)
    assert "300 x 15 px is tiny" in loader.skipped[str(photos / "tiny.png")]
    # Sorted, cut.jpg precedes deeper/1.png (25); text.jpg and tiny.png end the list.
    gray = np.sort(np.rint(np.stack(epochs)[..., 8, 8, 0] / 25) * 25)
    assert gray.tolist() == [[0, 0, 0, 25, 25, *range(50, 201, 25)]] * 3


def test_nothing_to_read_is_an_error(tmp_path, archive):
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad").mkdir()
    for i in range(3):
        (tmp_path / "bad" / f"{i}.jpg").write_text("not a picture")
    with tarfile.open(tmp_path / "none.tar", "w") as tar:
        tar.addfile(tarfile.TarInfo("readme.txt"))
    with tarfile.open(tmp_path / "packed.tar", "w:gz") as tar:
        tar.add(archive, "0.jpg")
    for name, message in [
        ("missing", "no such file or folder"),
        ("empty", "no images in this folder"),
        ("none.tar", "no images in the archive"),
        ("packed.tar", "if it is compressed, unpack it"),
        ("photos.tar.gz", "has no random access; unpack it"),
        ("bad", "None of the 3 images can be used; the first: .*[012].jpg"),
    ]:
        with pytest.raises(InputError, match=message):
            take(1, str(tmp_path / name))
    with pytest.raises(InputError, match="None of the 3 images"):
        take(1, tmp_path / "bad", num_workers=1)


@pytest.mark.parametrize(
    "options",
    [
        {"seed": -1},
        {"batch_size": 0},
        {"image_size": 0},
        {"start": -1},
        {"num_workers": -1},
    ],
)
def test_numbers_out_of_range(options):
    with pytest.raises(InputError, match="=(-1|0) is out of range"):
        take(1, "embedded", **options)


# ---- the cache -------------------------------------------------------------------


def test_cache_gives_the_same_batches_and_is_made_once(photos, tmp_path, monkeypatch):
    cache = tmp_path / "cache"
    expected, skipped = take(9, photos, flip=True)
    made = take(9, photos, flip=True, cache=cache)
    assert sorted(path.suffix for path in cache.iterdir()) == [".json", ".npy"]
    with monkeypatch.context() as patch:
        patch.setattr(Decoded, "pixels", None)  # nothing is decoded again
        reused = take(9, photos, flip=True, cache=cache)
    for batches, skipped_here in (made, reused):
        np.testing.assert_array_equal(batches, expected)
        assert skipped_here == skipped
    # Another size in the same folder is another cache, and leaves this one alone.
    options = dict(seed=3, batch_size=4, image_size=16, flip=True, cache=cache)
    with Loader(photos, **options, on_skip=lambda *_: None) as loader:
        first = next(loader)
        take(2, photos, cache=cache, image_size=8)
        np.testing.assert_array_equal([first, next(loader)], expected[:2])
    assert len(list(cache.iterdir())) == 4


def test_cache_follows_changed_files(tmp_path):
    pil.new("L", (16, 16), 10).save(tmp_path / "0.png")
    options = dict(batch_size=1, cache=tmp_path / "cache")
    assert take(1, tmp_path / "0.png", **options)[0].max() == 10
    pil.new("L", (16, 16), 99).save(tmp_path / "0.png")
    os.utime(tmp_path / "0.png", ns=(0, 0))
    assert take(1, tmp_path / "0.png", **options)[0].max() == 99
    for notes in (tmp_path / "cache").glob("*.json"):
        notes.write_text("{")
    with pytest.raises(InputError, match="cannot be read .*; delete it"):
        take(1, tmp_path / "0.png", **options)


@pytest.mark.slow
def test_what_a_killed_filler_left_is_replaced_and_two_fill_once(photos, tmp_path):
    code = """if True:
    import os, sys
    from jaxperceptual.data import cache, loader
    fill = cache._fill
    def slowly(path, photos):
        bad = fill(path, photos)
        print("filled", flush=True)
        sys.stdin.readline()
        return bad
    cache._fill = slowly
    options = dict(seed=0, batch_size=2, image_size=16, cache=sys.argv[2])
    next(loader.Loader(sys.argv[1], **options))
    """
    argv = [sys.executable, "-c", code, str(photos), str(tmp_path)]
    pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    first = subprocess.Popen(argv, text=True, **pipes)
    assert first.stdout.readline() == "filled\n"
    first.kill()
    first.communicate()
    assert len([p for p in tmp_path.iterdir() if p.suffix == ".filling"]) == 1
    both = [subprocess.Popen(argv, text=True, **pipes) for _ in range(2)]
    for process in both:  # whichever fills: the other waits for it
        process.stdin.write("\n")
        process.stdin.flush()
    written = [process.communicate() for process in both]
    assert sorted(out for out, _ in written) == ["", "filled\n"]
    assert [process.returncode for process in both] == [0, 0]
    assert sorted(p.suffix for p in tmp_path.iterdir()) == [".json", ".npy"]


def test_cache_refuses_what_it_cannot_hold(photos, tmp_path, monkeypatch):
    with pytest.raises(InputError, match="crop=random cuts a new crop each time"):
        take(1, photos, cache=tmp_path, crop="random")
    with pytest.raises(InputError, match="'embedded' cuts a new crop"):
        take(1, "embedded", cache=tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be written"):
        take(1, photos, cache=tmp_path / "file" / "cache")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: type("", (), {"free": 9}))
    with pytest.raises(InputError, match="are free"):
        take(1, photos, cache=tmp_path / "full")
    assert os.listdir(tmp_path / "full") == []


# ---- TFDS ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tfds_dir(tmp_path_factory):
    """A data set that TFDS itself prepared, where TensorFlow is not installed."""
    import tensorflow_datasets as tfds

    class TinyPhotos(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            features = {
                "image": tfds.features.Image(shape=(None, None, 3)),
                "label": tfds.features.ClassLabel(num_classes=5),
            }
            return tfds.core.DatasetInfo(
                builder=self, features=tfds.features.FeaturesDict(features)
            )

        def _split_generators(self, dl_manager):
            return {
                "train": self._generate_examples(8),
                "validation": self._generate_examples(2),
            }

        def _generate_examples(self, count):
            for i in range(count):
                file = io.BytesIO(jpeg(np.full((30, 20 + i, 3), 30 * i, np.uint8)))
                yield i, {"image": file, "label": i % 5}

    folder = tmp_path_factory.mktemp("tfds")
    builder = TinyPhotos(data_dir=folder, file_format="array_record")
    builder.download_and_prepare()
    # As in another program: the files must do.
    del tfds.core.registered._DATASET_REGISTRY["tiny_photos"]
    return folder


def test_tfds_without_tensorflow(tfds_dir, monkeypatch):
    options = dict(batch_size=8, image_size=16)
    batches, skipped = take(2, "tfds:tiny_photos", data_dir=tfds_dir, **options)
    assert not skipped
    gray = np.rint(batches[..., 8, 8, 0] / 30)
    assert np.sort(gray).tolist() == [list(range(8))] * 2
    in_workers, _ = take(
        2, "tfds:tiny_photos:1.0.0", data_dir=tfds_dir, num_workers=1, **options
    )
    np.testing.assert_array_equal(in_workers, batches)
    monkeypatch.setenv("TFDS_DATA_DIR", str(tfds_dir))
    assert Loader("tfds:tiny_photos:validation", seed=0, **options).num_images == 2
    assert Loader("tfds:tiny_photos:train[:50%]", seed=0, **options).num_images == 4
    assert "tensorflow" not in sys.modules


def test_tfds_errors_say_what_to_do(tfds_dir):
    for source, message in [
        ("tfds:coco/2014", "prepare it with `tfds build coco/2014 --file_format=array"),
        ("tfds:tiny_photos:test", "no split 'test'; it has train, validation"),
        ("tfds:", "write tfds:NAME or tfds:NAME:SPLIT"),
        ("tfds:tiny photos", r"write tfds:NAME\[/CONFIG\]"),
    ]:
        with pytest.raises(InputError, match=message):
            take(1, source, data_dir=tfds_dir)


@pytest.mark.parametrize("damage", ["flipped", "cut", "gone", "no notes"])
def test_damaged_tfds_is_one_line(tfds_dir, tmp_path, damage):
    folder = shutil.copytree(tfds_dir, tmp_path / "tfds")
    (shard,) = folder.glob("tiny_photos/1.0.0/*-train.array_record*")
    data = bytearray(shard.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 64] = bytes(64)
    if damage == "flipped":
        shard.write_bytes(data)
    elif damage == "cut":
        shard.write_bytes(data[:1000])
    elif damage == "gone":
        shard.unlink()
    else:
        (shard.parent / "dataset_info.json").write_text("")
    with pytest.raises(InputError, match="prepare (it|the data set) again|can be used"):
        take(1, "tfds:tiny_photos", data_dir=folder, image_size=16, batch_size=2)


# ---- processes -------------------------------------------------------------------

# No `__main__` guard, no close: what a notebook cell turned into a script looks like.
SCRIPT = """
import multiprocessing, sys, time
from jaxperceptual.data.loader import Loader
loader = Loader("embedded", seed=0, batch_size=2, image_size=16, num_workers=2)
batches = [next(loader) for _ in range(3)]
print(*[child.pid for child in multiprocessing.active_children()], flush=True)
if sys.argv[1] == "fail":
    raise SystemExit("failed")
time.sleep(60)
"""


@pytest.mark.parametrize("end", ["fail", pytest.param("kill", marks=pytest.mark.slow)])
def test_workers_end_with_a_script_that_does_not_close(tmp_path, end):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    with subprocess.Popen(
        [sys.executable, script, end],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        workers = [int(pid) for pid in process.stdout.readline().split()]
        assert len(workers) == 2
        if end == "kill":
            process.send_signal(signal.SIGKILL)
        out, err = process.communicate(timeout=30)
    assert out == ""  # and the workers did not run the script again
    if end == "fail":
        assert err == "failed\n"
    deadline = time.monotonic() + 10
    while any(os.path.exists(f"/proc/{pid}") for pid in workers):
        assert time.monotonic() < deadline, "workers outlive the main process"
        time.sleep(0.05)
