"""Whatever a file, a request or a command line says: an answer, or one clear line.

Good ones are damaged at random (bytes changed, cut, doubled, put in, zeroed) and read:
InputError alone may come of it, within seconds and a stated amount of memory. The seed
is fixed; `-m slow` tries many more.
"""

import asyncio
import contextlib
import gc
import io
import json
import pickle
import random
import shutil
import signal
import sys
import time
import zipfile
from collections import Counter
from pathlib import Path

import httpx
import jax
import numpy as np
import pytest
from helpers import foreign_state, style_model, write_gallery
from PIL import Image
from test_documented_commands import weights_file

from jaxperceptual.commands import stylize, train
from jaxperceptual.core import config_files, memory
from jaxperceptual.core.errors import InputError
from jaxperceptual.images import reading
from jaxperceptual.images.metadata import read_metadata
from jaxperceptual.loss_network import store
from jaxperceptual.networks import foreign
from jaxperceptual.networks.model_file import read_model, write_model
from jaxperceptual.training.checkpoints import Checkpoints, DamagedCheckpoint
from jaxperceptual.training.step import TrainState

# The largest, with a sign and without, and the least, in both orders of bytes.
NUMBERS = (b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\x00\x00\x00\x80", bytes(4))
FEW, MANY = 250, 8000  # cases of each kind
SECONDS = 20  # for one case
BYTES = 1.5e9  # that all cases of a kind may add to this process's peak


def damaged(data: bytes, rng: random.Random) -> bytes:
    """A few changes, of any kind."""
    data = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 5))):
        if not data:
            break
        # The beginning, where most is said, as often as all the rest.
        most = len(data) if rng.random() < 0.5 else min(len(data), 256)
        at = rng.randrange(most)
        kind = rng.randrange(7)
        if kind == 0:
            data[at] = rng.randrange(256)
        elif kind == 1:
            data[at] ^= 1 << rng.randrange(8)
        elif kind == 2:
            del data[at:]
        elif kind == 3:
            del data[at : at + rng.randint(1, 64)]
        elif kind == 4:
            data[at:at] = rng.randbytes(rng.randint(1, 64))
        elif kind == 5:
            data[at : at + 4] = rng.choice(NUMBERS)
        else:
            data += data[at : at + 4096]
    return bytes(data)


@contextlib.contextmanager
def bounded(what):
    """A time limit for each case, one of memory for all of them."""

    def late(*_):
        raise TimeoutError(f"{what}: {SECONDS} s")

    before = memory.peak_memory()
    old = signal.signal(signal.SIGALRM, late)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, old)
    assert memory.peak_memory() - before < BYTES, what


def attack(read, originals, suffix, tmp_path, count):
    """Reads damaged files; what is raised beside InputError fails, and is kept."""
    rng = random.Random(0)
    told = 0
    with bounded(suffix):
        for case in range(count):
            data = damaged(rng.choice(originals), rng)
            path = tmp_path / f"case{suffix}"
            path.write_bytes(data)
            signal.alarm(SECONDS)
            try:
                read(path)
            except InputError as error:
                told += 1
                assert "\n" not in str(error).strip()
            except BaseException as error:
                kept = tmp_path / f"failed{suffix}"
                kept.write_bytes(data)
                raise AssertionError(f"case {case}: {kept}: {error!r}") from error
            finally:
                signal.alarm(0)
    assert told > count / 20  # damage was done


def counts():
    return [
        pytest.param(FEW, id="few"),
        pytest.param(MANY, id="many", marks=pytest.mark.slow),
    ]


def encoded(kind, **options):
    rng = np.random.default_rng(0)
    mode = options.pop("mode", "RGB")
    small = Image.fromarray(rng.integers(0, 256, (5, 6, 3), dtype=np.uint8))
    made = io.BytesIO()
    small.resize((40, 30)).convert(mode).save(made, kind, **options)
    return made.getvalue()


def exif():
    made = Image.Exif()
    made[0x010F], made[0x0112] = "Maker", 6
    return made.tobytes()


IMAGES = {
    ".png": lambda: [
        encoded("PNG", exif=exif(), dpi=(300, 300)),
        encoded("PNG", mode="RGBA"),
        encoded("PNG", mode="P"),
        encoded("PNG", mode="I;16"),
    ],
    ".jpg": lambda: [
        encoded("JPEG", exif=exif()),
        encoded("JPEG", mode="CMYK"),
        encoded("JPEG", progressive=True, xmp=b"<x/>"),
    ],
    ".webp": lambda: [encoded("WEBP"), encoded("WEBP", mode="RGBA", lossless=True)],
    ".bmp": lambda: [encoded("BMP"), encoded("BMP", mode="L")],
    ".tif": lambda: [
        encoded("TIFF"),
        encoded("TIFF", compression="tiff_lzw", mode="RGBA"),
        encoded("TIFF", compression="jpeg"),
        encoded("TIFF", mode="1", compression="group4"),
    ],
    ".gif": lambda: [encoded("GIF")],
    ".ppm": lambda: [encoded("PPM"), b"P3 2 1 255 1 2 3 4 5 6"],
    ".avif": lambda: [encoded("AVIF")],
    ".jp2": lambda: [encoded("JPEG2000")],
    ".tga": lambda: [encoded("TGA"), encoded("TGA", compression="tga_rle")],
}


@pytest.mark.filterwarnings("ignore")  # Pillow's, of what it passes over
@pytest.mark.parametrize("count", counts())
@pytest.mark.parametrize("suffix", IMAGES)
def test_images(suffix, count, tmp_path):
    def read(path):
        reading.read_header(path)
        read_metadata(path)
        pixels, alpha = reading.read_with_alpha(path, size=64)
        assert pixels.shape[:2] == (pixels if alpha is None else alpha).shape[:2]

    attack(read, IMAGES[suffix](), suffix, tmp_path, count)


@pytest.mark.parametrize("count", counts())
def test_model_files(count, tmp_path):
    path = tmp_path / "model.safetensors"
    write_model(path, style_model({"steps": 3, "training": {"num_steps": 4}}))
    originals = [path.read_bytes()]
    originals.append(write_gallery(path, {"wave": {}, "dots": {}}).read_bytes())
    # The header is what there is to be misled by.
    attack(read_model, originals, ".safetensors", tmp_path, count)


@pytest.mark.parametrize("count", counts())
@pytest.mark.parametrize(
    "name", ["vgg16_weights.npz", "w.safetensors", "w.pth", "w.h5"]
)
def test_vgg_weights(name, count, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    weights_file(name)
    data = Path(name).read_bytes()
    # 150 kB of weights, of which a few hundred bytes are more than numbers.
    attack(store.load, [data], Path(name).suffix, tmp_path, count // 4)


class Evil:
    """Pickled, it makes a file when it is read by `pickle.load`."""

    def __init__(self, path):
        self._path = path

    def __reduce__(self):
        return open, (str(self._path), "w")


@pytest.mark.parametrize("count", counts())
def test_other_peoples_networks(count, tmp_path):
    torch = pytest.importorskip("torch")
    state = foreign_state(foreign.LAYOUTS[0])
    torch.save({k: torch.from_numpy(v) for k, v in state.items()}, tmp_path / "a.pth")
    data = (tmp_path / "a.pth").read_bytes()
    attack(foreign.read_foreign, [data], ".pth", tmp_path, count // 4)


@pytest.mark.parametrize("wrapped", ["bare", "zip"])
def test_no_code_of_a_pickle_runs(wrapped, tmp_path):
    bomb = tmp_path / "made"
    data = pickle.dumps({"features.0.weight": Evil(bomb)})
    path = tmp_path / "evil.pth"
    if wrapped == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("evil/data.pkl", data)
            archive.writestr("evil/version", "3")
    else:
        path.write_bytes(data)
    for read in (store.load, foreign.read_foreign):
        with pytest.raises(InputError):
            read(path)
    assert not bomb.exists()


@pytest.mark.parametrize("count", counts())
def test_videos(count, tmp_path):
    av = pytest.importorskip("av")
    from jaxperceptual.video.reading import Reader

    with av.open(tmp_path / "a.mp4", "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 48, 32, "yuv420p"
        sound = container.add_stream("aac", rate=48_000, layout="mono")
        for i in range(3):
            pixels = np.full((32, 48, 3), 60 * i, np.uint8)
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            container.mux(stream.encode(frame))
        silence = np.zeros((1, 1024), np.float32)
        frame = av.AudioFrame.from_ndarray(silence, format="fltp", layout="mono")
        frame.sample_rate = 48_000
        container.mux(sound.encode(frame))
        container.mux([*stream.encode(), *sound.encode()])
    made = io.BytesIO()
    frames = [Image.new("RGB", (20, 16), (60 * i, 9, 9)) for i in range(3)]
    frames[0].save(made, "GIF", save_all=True, append_images=frames[1:], duration=40)

    def read(path):
        reader = Reader(path)
        try:
            for _ in reader:
                pass
        finally:
            reader.close()

    mp4 = (tmp_path / "a.mp4").read_bytes()
    attack(read, [mp4], ".mp4", tmp_path, count // 4)
    attack(read, [made.getvalue()], ".gif", tmp_path, count // 4)


WORDS = [
    *"photo.jpg -o --style --model wave:1,udnie:2 --strength nan 1e400 -1 0".split(),
    *"--size --tile auto --sheet --list --shard 1/0 9/3 / --format gif".split(),
    *"--quality 101 -- - --config --config.num_steps=1 --data.flip=true".split(),
    *"--quick --init none --train norms smoke.py ../../etc/passwd =".split(),
    *"--config.x.y=3 --config.=1 --config.data=5".split(),
    *("", "\x00", "\u00e9"),
]


@pytest.mark.parametrize("count", counts())
@pytest.mark.parametrize("command", [stylize, train])
def test_command_lines(command, count, capsys):
    rng = random.Random(0)
    parser = command.parser()
    for _ in range(count):
        argv = [rng.choice(WORDS) for _ in range(rng.randint(0, 6))]
        try:
            parser.parse_args(argv)
        except SystemExit as ended:
            err = capsys.readouterr().err
            assert ended.code == 2 and "Traceback" not in err
            assert len(err.strip().splitlines()) == 1, argv


@pytest.mark.parametrize("count", counts())
def test_settings(count):
    rng = random.Random(0)
    values = ("1", "-1", "1e999", "nan", "true", "None", "[]", "{", "(1,2)", "'", "")
    values += ("__import__('os').system('true')", "9" * 400, "../..", "\x00", "\u00e9")
    keys = ("num_steps", "data.flip", "data", "optimizer.method", "net.norm", "seed")
    keys += ("styles", "objective.content.relu9_9", "objective", "", ".", "a.b.c")
    config = config_files.load_config("smoke.py")
    for _ in range(count):
        setting = f"{rng.choice(keys)}={rng.choice(values)}"
        try:
            config_files.override_all(config.copy_and_resolve_references(), [setting])
        except InputError as error:
            assert "\n" not in str(error).strip(), setting


PATHS = (
    *("/", "/api/about", "/api/picture", "/api/thumbnails/wave", "/api/thumbnails/.."),
    *("/../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/..%2f..%2fetc/passwd", "//"),
    *("/page.js", "/static/../server.py", "/../server.py", "/\u00e9", "/api/%00"),
)
KEYS = ("style", "strength", "size", "style_scale", "preserve_color", "enlarge", "x")
VALUES = ("wave", "wave:0.5,dots:1", "nan", "1e99", "-1", "1", "32", "", "..", "\0")


@pytest.mark.filterwarnings("ignore")  # Pillow's
@pytest.mark.parametrize("count", counts())
def test_requests_to_the_page(count, tmp_path, monkeypatch):
    pytest.importorskip("starlette")
    from jaxperceptual.page import server, studio

    model = write_gallery(tmp_path / "model.safetensors", {"wave": {}, "dots": {}})
    # The network would be compiled for each size that damage makes.
    monkeypatch.setattr(studio.Stylizer, "__call__", lambda self, x, **options: x)
    monkeypatch.setattr(studio.Restorer, "__call__", lambda self, x: x)
    app = server.application(studio.Studio(model), warm=False, max_megabytes=0.1)
    rng = random.Random(0)
    photo = encoded("PNG")
    codes = Counter()

    async def ask():
        transport = httpx.ASGITransport(app)  # raises what the application does
        url = "http://127.0.0.1:8000"
        async with httpx.AsyncClient(base_url=url, transport=transport) as client:
            for _ in range(count):
                path = rng.choice((*PATHS, *["/api/picture"] * len(PATHS)))
                times = rng.choice((0, 0, 1, 2))
                query = {rng.choice(KEYS): rng.choice(VALUES) for _ in range(times)}
                answer = await client.request(
                    rng.choice(("GET", "POST", "POST", "POST", "PUT", "DELETE")),
                    path,
                    params=query,
                    content=damaged(photo, rng) if rng.random() < 0.9 else b"",
                    headers={"content-type": rng.choice(("image/png", "text/x", ""))},
                )
                assert answer.status_code < 500, (answer.request.url, answer.text)
                assert b"Traceback" not in answer.content
                assert b"root:" not in answer.content
                codes[answer.status_code] += 1

    with bounded("requests"):
        asyncio.run(ask())
    assert {200, 400, 404, 422} <= set(codes), codes


@pytest.mark.parametrize("count", counts())
def test_what_a_run_logged(count, tmp_path):
    """A log that a fault has damaged is continued, not stumbled over."""
    from jaxperceptual.training.reporting import MetricsLog

    lines = [json.dumps({"step": i, "loss": 1 / (i + 1)}) + "\n" for i in range(9)]
    data = "".join(lines).encode()
    rng = random.Random(0)
    for _ in range(count):
        path = tmp_path / "metrics.jsonl"
        path.write_bytes(damaged(data, rng))
        log = MetricsLog(tmp_path, 5, tensorboard=False)
        log.write({"step": 6, "loss": 0.5})
        log.close()
        *_, last = path.read_bytes().splitlines()
        assert json.loads(last) == {"step": 6, "loss": 0.5}


@pytest.mark.filterwarnings("ignore")  # orbax drops what else it was reading
@pytest.mark.parametrize("count", counts())
def test_checkpoints(count, tmp_path):
    """A damaged one is refused, or is what was saved: never another network."""
    rng = np.random.default_rng(0)
    state = TrainState(
        np.int32(3),
        {"conv": {"kernel": rng.normal(size=(3, 3, 4, 8)).astype(np.float32)}},
        {"norm": {"mean": rng.normal(size=8).astype(np.float32)}},
        {"mu": rng.normal(size=(30, 40)).astype(np.float32)},
    )
    record = {"config": {"seed": 1}, "devices": 1}
    made = contextlib.closing(Checkpoints(tmp_path, keep_last=1, keep_every_steps=0))
    with made as checkpoints:
        checkpoints.save(state, record)
        checkpoints.wait()
    whole = tmp_path / "whole"
    shutil.copytree(tmp_path / "checkpoints", whole)
    names = [path.relative_to(whole) for path in whole.rglob("*") if path.is_file()]
    python_rng, refused = random.Random(0), 0
    for _ in range(count // 4):
        shutil.rmtree(tmp_path / "checkpoints")
        shutil.copytree(whole, tmp_path / "checkpoints")
        path = tmp_path / "checkpoints" / python_rng.choice(names)
        if python_rng.random() < 0.2:
            path.unlink()
        else:
            path.write_bytes(damaged(path.read_bytes(), python_rng))
        made = Checkpoints(tmp_path, keep_last=1, keep_every_steps=0)
        with contextlib.closing(made) as checkpoints:
            if checkpoints.latest() is None:
                refused += 1
                continue
            try:
                found = checkpoints.restore(3, state)
                told = checkpoints.record(3)
            except DamagedCheckpoint:
                refused += 1
                continue
        where = path.relative_to(tmp_path)
        for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(state), strict=True):
            np.testing.assert_array_equal(a, b, err_msg=str(where))
        assert told == record, where
    assert refused > count / 40
    gc.collect()  # orbax's tasks, while what they say is passed over


def test_the_harness_finds_what_it_is_for(tmp_path):
    def fails(path):
        if len(path.read_bytes()) < 50:
            raise KeyError("x")
        raise InputError("no")

    def hangs(path):
        time.sleep(60)

    with pytest.raises(AssertionError, match="KeyError"):
        attack(fails, [bytes(100)], ".x", tmp_path, 100)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys.modules[__name__], "SECONDS", 1)
        with pytest.raises(AssertionError, match="TimeoutError"):
            attack(hangs, [bytes(100)], ".x", tmp_path, 1)
