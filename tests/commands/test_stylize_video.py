"""bin/stylize_video from end to end, with a tiny network."""

import os
import signal
import subprocess
import sys
import time
from fractions import Fraction

import av
import numpy as np
import pytest
from helpers import ROOT, Command, style_model

from jaxperceptual.commands import options, stylize_video
from jaxperceptual.core.errors import InputError
from jaxperceptual.inference.stylizer import Stylizer
from jaxperceptual.networks import pretrained
from jaxperceptual.networks.model_file import write_model
from jaxperceptual.video.clips import Frame
from jaxperceptual.video.reading import Reader

run = Command("stylize_video")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "muse"
    write_model(folder / pretrained.FILE_NAME, style_model(norm="instance"))
    return folder


def clip(path, n, h=32, w=48):
    rng = np.random.default_rng(0)
    corners = rng.integers(0, 255, (4, 6, 3), dtype=np.uint8)
    still = np.kron(corners, np.ones((h // 4, w // 6, 1), np.uint8))
    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "5"})
        stream.width, stream.height, stream.pix_fmt = w, h, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for i in range(n):
            frame = av.VideoFrame.from_ndarray(np.roll(still, i, 1), format="rgb24")
            frame.pts, frame.time_base = 50 * i, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def read(path):
    reader = Reader(path)
    found = [item for item in reader if isinstance(item, Frame)]
    reader.close()
    return found


def test_each_frame_is_what_stylize_makes_of_it(model, tmp_path, capsys):
    source = clip(tmp_path / "in.mp4", 5)
    target = tmp_path / "out.mp4"
    argv = [str(source), f"-o={target}", f"--model={model}", "--crf=1"]
    assert run(*argv, "--no-steady") == 0
    assert capsys.readouterr().out == f"{target}\n"
    seen, made = read(source), read(target)
    assert [frame.time for frame in made] == [frame.time for frame in seen]
    stylizer = Stylizer.from_pretrained(model)
    for before, after in zip(seen, made, strict=True):
        expected = stylizer(before.pixels).astype(int)
        apart = np.abs(after.pixels.astype(int) - expected)
        # Half of the colours' resolution, and H.264.
        assert apart.mean() < 0.2 * np.abs(before.pixels - expected).mean()
    assert run(*argv, "--strength=0", "--size=24", "--duration=0.12") == 0
    assert [frame.pixels.shape for frame in read(target)] == 3 * [(16, 24, 3)]
    assert run(*argv, "--preserve-color") == 0  # steady
    assert len(read(target)) == 5
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


def test_without_a_model_it_is_the_steady_gallery(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "gallery_steady").mkdir()  # as a run of that config is called
    parse = stylize_video.parser().parse_args
    given = ["in.mp4", "-o", "out.mp4"]
    for argv, style in (([], pretrained.DEFAULT_STYLE), (["--style=wave"], "wave")):
        model, picked = options.moving_style(parse([*given, *argv]))
        assert pretrained.model_name(model) == "gallery_steady" and picked == style
    assert options.moving_style(parse([*given, "--model=wave"])) == ("wave", None)


def test_bad_input_is_one_line_and_writes_nothing(model, tmp_path):
    source = clip(tmp_path / "in.mp4", 2)
    before = source.read_bytes()
    link = tmp_path / "link.mp4"
    link.symlink_to(source)
    for argv, message in (
        ([source, "-o", source], "is the input"),
        ([source, "-o", link], "is the input"),
        ([source, "-o", tmp_path / "no" / "out.mp4"], "no folder"),
        ([source, "-o", tmp_path / "out.jpg"], "not a format"),
        ([tmp_path / "none.mp4", "-o", tmp_path / "out.mp4"], "no such file"),
        ([source, "-o", tmp_path / "out.mp4", "--crf=99"], "--crf 99: libx264 has 0"),
    ):
        with pytest.raises(InputError, match=message):
            run(*map(str, argv), f"--model={model}")
    assert source.read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.mp4", "link.mp4"]


@pytest.mark.slow
def test_an_interrupt_leaves_a_file_that_plays(tmp_path):
    source = clip(tmp_path / "in.mp4", 400, h=320, w=480)
    target = tmp_path / "out.mp4"
    command = [sys.executable, "-m", "jaxperceptual", "stylize_video", str(source)]
    command += ["-o", str(target), "--model=style_cubist"]
    with subprocess.Popen(
        command, cwd=ROOT, stderr=subprocess.PIPE, text=True, env=os.environ
    ) as process:
        time.sleep(25)
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=60)
    assert process.returncode == 130, told
    assert "interrupted after" in told
    assert 0 < len(read(target)) < 400
