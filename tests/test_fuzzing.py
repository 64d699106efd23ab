"""Whatever a file, a request or a command line says: an answer, or one clear line.

Hypothesis damages good ones (bytes changed, cut, doubled, put in, overwritten with
extreme numbers) and makes settings and command lines up; InputError alone may come of
it, within seconds and a stated amount of memory. The same cases in every run; `-m slow`
tries many more, others each time. What fails is reduced to the least damage that does.
"""

import asyncio
import contextlib
import gc
import io
import json
import pickle
import shutil
import signal
import sys
import time
import unicodedata
import zipfile
from collections import Counter
from pathlib import Path

import httpx
import jax
import numpy as np
import pytest
from helpers import foreign_state, style_model, write_gallery
from hypothesis import HealthCheck, Phase, given, settings, strategies as st
from PIL import Image
from test_documented_commands import weights_file

from jaxperceptual.commands import stylize, train
from jaxperceptual.core import config_files, memory, records
from jaxperceptual.core.errors import InputError
from jaxperceptual.images import reading
from jaxperceptual.images.metadata import read_metadata
from jaxperceptual.inference import at_once
from jaxperceptual.loss_network import store
from jaxperceptual.networks import foreign
from jaxperceptual.networks.model_file import read_model, write_model
from jaxperceptual.training import checks
from jaxperceptual.training.checkpoints import Checkpoints, DamagedCheckpoint
from jaxperceptual.training.step import TrainState

# The largest, with a sign and without, and the least, in both orders of bytes.
NUMBERS = (b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\x00\x00\x00\x80", bytes(4))
FEW, MANY = 250, 8000  # cases of each kind
SECONDS = 20  # for one case
BYTES = 1.5e9  # that all cases of a kind may add to this process's peak


@st.composite
def damaged(draw, originals):
    """One of the originals with a few changes, of any kind."""
    data = bytearray(draw(st.sampled_from(originals)))
    for _ in range(draw(st.sampled_from((1, 1, 2, 5)))):
        if not data:
            break
        # The beginning, where most is said, as often as all the rest.
        most = len(data) if draw(st.booleans()) else min(len(data), 256)
        at = draw(st.integers(0, most - 1))
        kind = draw(st.sampled_from("set flip cut remove insert number repeat".split()))
        if kind == "set":
            data[at] = draw(st.integers(0, 255))
        elif kind == "flip":
            data[at] ^= 1 << draw(st.integers(0, 7))
        elif kind == "cut":
            del data[at:]
        elif kind == "remove":
            del data[at : at + draw(st.integers(1, 64))]
        elif kind == "insert":
            data[at:at] = draw(st.binary(min_size=1, max_size=64))
        elif kind == "number":
            data[at : at + 4] = draw(st.sampled_from(NUMBERS))
        else:
            data += data[at : at + 4096]
    return bytes(data)


class Late(BaseException):
    """Passes through whatever handles an Exception, and is not tried again."""


@contextlib.contextmanager
def bounded(what):
    """A bound of memory for all that is tried in it."""
    before = memory.peak_memory()
    yield
    assert memory.peak_memory() - before < BYTES, what


@contextlib.contextmanager
def in_time():
    def late(*_):
        raise Late(f"{SECONDS} s")

    old = signal.signal(signal.SIGALRM, late)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, old)


def tried(count, strategy):
    """A decorator: calls a function now, with `count` values of the strategy."""

    def call(function):
        def case(value):
            with in_time():
                function(value)

        how = settings(
            max_examples=count,
            derandomize=count == FEW,
            database=None,
            deadline=None,
            print_blob=True,
            phases=[Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
        )
        how(given(strategy)(case))()

    return call


def attack(read, originals, suffix, tmp_path, count):
    """Reads damaged files; what is raised beside InputError fails."""
    told = []
    path = tmp_path / f"case{suffix}"  # where the least that fails is left

    with bounded(suffix):

        @tried(count, damaged(originals))
        def _(data):
            path.write_bytes(data)
            try:
                read(path)
            except InputError as error:
                told.append(error)
                assert "\n" not in str(error).strip()

    assert len(told) > count / 20  # damage was done


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
    photo = tmp_path / "photo.png"
    photo.write_bytes(encoded("PNG"))

    def read(path):
        # Before JAX is there, and without a word of its own: what is refused is None.
        assert at_once.start(str(path), None, photo, None) is None  # too small a photo
        read_model(path)

    # The header is what there is to be misled by.
    attack(read, originals, ".safetensors", tmp_path, count)


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


def is_control(c):
    return unicodedata.category(c) == "Cc"


WORDS = [
    *"photo.jpg -o --style --model wave:1,udnie:2 --strength nan 1e400 -1 0".split(),
    *"--size --tile auto --sheet --list --shard 1/0 9/3 / --format gif".split(),
    *"--quality 101 -- - --config --config.num_steps=1 --data.flip=true".split(),
    *"--quick --init none --train norms smoke.py ../../etc/passwd =".split(),
    *"--config.x.y=3 --config.=1 --config.data=5".split(),
    *("", "\x00", "\u00e9"),
]


# As an operating system hands them over: bytes that are no UTF-8 too.
TEXT = st.text(
    st.characters(exclude_categories=["Cs"])
    | st.characters(min_codepoint=0xDC80, max_codepoint=0xDCFF, categories=["Cs"])
)


@pytest.mark.parametrize("count", counts())
@pytest.mark.parametrize("command", [stylize, train])
def test_command_lines(command, count, capsys):
    parser = command.parser()

    @tried(count, st.lists(st.sampled_from(WORDS) | TEXT, max_size=6))
    def _(argv):
        try:
            parser.parse_args(argv)
        except SystemExit as ended:
            err = capsys.readouterr().err
            assert ended.code == 2 and "Traceback" not in err
            line, end = err[:-1], err[-1]
            assert end == "\n" and not any(map(is_control, line))


CONFIG = config_files.load_config("smoke.py")
VALUES = ("1e999", "True", "None", "[]", "{", "(1,2)", "'", "9" * 400, "../..", "\x00")
VALUES += ("__import__('os').system('true')", "[" * 200, "1_000", "0x10", "polar")


@pytest.mark.parametrize("count", counts())
def test_settings(count):
    """A setting is applied and in its range, or refused."""
    known = [*records.flatten(CONFIG), "data", "styles", "objective.content.relu9_9"]
    value = (
        st.sampled_from(VALUES)
        | st.integers().map(str)
        | st.floats().map(repr)
        | st.booleans().map(str)
        | TEXT
    )
    setting = st.tuples(st.sampled_from(known) | TEXT, value).map("=".join)
    taken, refused = [], []

    @tried(count, st.lists(setting, min_size=1, max_size=3))
    def _(lines):
        config = CONFIG.copy_and_resolve_references()
        try:
            config_files.override_all(config, lines)
            checks.check_config(config)
        except InputError as error:
            refused.append(error)
        else:
            taken.append(config)
            # What a run's record holds is read back as it was.
            flat = records.flatten(config)
            assert records.flatten(config_files.unflatten(flat)) == flat

    assert min(len(taken), len(refused)) > count / 20


@pytest.mark.parametrize("count", counts())
def test_configs(count, tmp_path):
    """A config with a mistake in it, which Python runs."""
    source = (config_files.FOLDER / "style_muse.py").read_text().encode()

    def read(path):
        config = config_files.load_config(str(path))
        config_files.apply_quick(config)
        checks.check_config(config)

    attack(read, [source], ".py", tmp_path, count // 4)


PATHS = (
    *("/", "/api/about", "/api/picture", "/api/thumbnails/wave", "/api/thumbnails/.."),
    *("/../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/..%2f..%2fetc/passwd", "//"),
    *("/page.js", "/static/../server.py", "/../server.py", "/\u00e9", "/api/%00"),
)
KEYS = ("style", "strength", "size", "style_scale", "preserve_color", "enlarge", "x")
ANSWERS = ("wave", "wave:0.5,dots:1", "nan", "1e99", "-1", "1", "32", "", "..", "\0")


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
    photo = encoded("PNG")
    codes = Counter()
    requests = st.fixed_dictionaries(
        dict(
            method=st.sampled_from(("GET", "POST", "POST", "POST", "PUT", "DELETE")),
            url=st.sampled_from((*PATHS, *["/api/picture"] * len(PATHS))),
            params=st.dictionaries(
                st.sampled_from(KEYS), st.sampled_from(ANSWERS), max_size=2
            ),
            content=damaged([photo]) | st.just(b""),
            headers=st.fixed_dictionaries(
                {"content-type": st.sampled_from(("image/png", "text/x", ""))}
            ),
        )
    )
    transport = httpx.ASGITransport(app)  # raises what the application does
    client = httpx.AsyncClient(base_url="http://127.0.0.1:8000", transport=transport)

    with bounded("requests"), asyncio.Runner() as loop:

        @tried(count, requests)
        def _(request):
            answer = loop.run(client.request(**request))
            assert answer.status_code < 500, answer.text
            assert b"Traceback" not in answer.content
            assert b"root:" not in answer.content
            codes[answer.status_code] += 1

        loop.run(client.aclose())
    assert {200, 400, 404, 422} <= set(codes), codes


@pytest.mark.parametrize("count", counts())
def test_what_a_run_logged(count, tmp_path):
    """A log that a fault has damaged is continued, not stumbled over."""
    from jaxperceptual.training.reporting import MetricsLog

    lines = [json.dumps({"step": i, "loss": 1 / (i + 1)}) + "\n" for i in range(9)]
    path = tmp_path / "metrics.jsonl"

    @tried(count, damaged(["".join(lines).encode()]))
    def _(data):
        path.write_bytes(data)
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
    names = sorted(p.relative_to(whole) for p in whole.rglob("*") if p.is_file())
    refused = []

    @st.composite
    def faults(draw):
        name = draw(st.sampled_from(names))
        gone = draw(st.integers(0, 4)) == 0
        return name, None if gone else draw(damaged([(whole / name).read_bytes()]))

    @tried(count // 4, faults())
    def _(fault):
        name, data = fault
        shutil.rmtree(tmp_path / "checkpoints")
        shutil.copytree(whole, tmp_path / "checkpoints")
        path = tmp_path / "checkpoints" / name
        if data is None:
            path.unlink()
        else:
            path.write_bytes(data)
        made = Checkpoints(tmp_path, keep_last=1, keep_every_steps=0)
        with contextlib.closing(made) as checkpoints:
            if checkpoints.latest() is None:
                return refused.append(name)
            try:
                found = checkpoints.restore(3, state)
                told = checkpoints.record(3)
            except DamagedCheckpoint:
                return refused.append(name)
        for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(state), strict=True):
            np.testing.assert_array_equal(a, b)
        assert told == record

    assert len(refused) > count / 40
    gc.collect()  # orbax's tasks, while what they say is passed over


def test_the_harness_finds_what_it_is_for(tmp_path):
    def fails(path):
        if len(path.read_bytes()) < 50:
            raise KeyError("x")
        raise InputError("no")

    def hangs(path):
        time.sleep(60)

    with pytest.raises(KeyError):
        attack(fails, [bytes(100)], ".x", tmp_path, 100)
    assert (tmp_path / "case.x").read_bytes() == b""  # the simplest of them
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys.modules[__name__], "SECONDS", 1)
        with pytest.raises(Late):
            attack(hangs, [bytes(100)], ".x", tmp_path, 1)
