"""Videos read and written: times, sound, rotation, colours, damage."""

import contextlib
import io
from fractions import Fraction

import av
import numpy as np
import PIL.Image
import pytest

from jaxperceptual.core.errors import InputError
from jaxperceptual.video.clips import Frame, Sound, conversion
from jaxperceptual.video.reading import Reader
from jaxperceptual.video.writing import writing

CODED = 8  # grey levels of 255: of smooth colours through H.264 at crf 5 and 4:2:0


def picture(i, h=48, w=64):
    """Smooth colours that change from frame to frame, brightest at the top left."""
    y, x = np.mgrid[:h, :w] / max(h, w)
    red, blue = 230 - 150 * y - 60 * x, 40 + 100 * x + 4 * i
    return np.stack([red, 200 - 120 * x, blue], -1).round().astype(np.uint8)


def make(
    path,
    times,
    *,
    sound=False,
    turn=0,
    full=False,
    matrix=5,
    aspect=1,
    h=48,
    w=64,
    options=None,
):
    """A video whose frame i is `picture(i)`, shown at `times[i]` / 1000 s."""
    with av.open(path, "w", options=options or {}) as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "5"})
        stream.width, stream.height, stream.pix_fmt = w, h, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        stream.codec_context.colorspace = matrix
        stream.codec_context.color_range = 2 if full else 1
        stream.codec_context.sample_aspect_ratio = Fraction(aspect)
        if turn:
            stream.set_display_rotation(turn)
        if sound:
            codec = "aac" if sound is True else sound
            heard = container.add_stream(codec, rate=48_000, layout="mono")
        coded = []
        for i, time in enumerate(times):
            frame = av.VideoFrame.from_ndarray(picture(i, h, w), format="rgb24")
            frame = frame.reformat(
                format="yuv420p",
                interpolation=conversion(av),
                src_color_range="JPEG",
                dst_color_range="JPEG" if full else "MPEG",
                dst_colorspace="ITU709" if matrix == 1 else "ITU601",
            )
            frame.pts, frame.time_base = time, Fraction(1, 1000)
            coded += stream.encode(frame)
        coded += stream.encode()
        if sound:
            wave = np.sin(np.arange(48 * times[-1]) / 20).astype(np.float32)
            for at in range(0, len(wave) - 1023, 1024):
                block = av.AudioFrame.from_ndarray(
                    wave[None, at : at + 1024], format="fltp", layout="mono"
                )
                block.sample_rate, block.pts = 48_000, at
                coded += heard.encode(block)
            coded += heard.encode()
        for packet in sorted(coded, key=lambda p: p.dts * p.time_base):
            container.mux(packet)
    return path


def frames(reader):
    return [item for item in reader if isinstance(item, Frame)]


def packets(path):
    with av.open(path) as container:
        if not container.streams.audio:
            return []
        demuxed = container.demux(container.streams.audio[0])
        return [(float(p.pts * p.time_base), bytes(p)) for p in demuxed if p.size]


def copied(source, path, **options):
    """What a `Reader` gives, written by a `writing`."""
    reader = Reader(source, **options)
    with writing(path, reader.clip, crf=5 if path.suffix == ".mp4" else None) as writer:
        for item in reader:
            writer.write(item)
    reader.close()
    return path


UNEVEN = [0, 40, 55, 200, 240, 1000, 1033]  # ms


@pytest.mark.parametrize("matrix, full", [(1, False), (5, False), (5, True)])
def test_colours_and_uneven_times_come_back(tmp_path, matrix, full):
    made = make(tmp_path / "in.mp4", UNEVEN, matrix=matrix, full=full)
    path = made
    for turn in range(2):  # of what another wrote, then of ours
        reader = Reader(path)
        assert (reader.clip.height, reader.clip.width) == (48, 64)
        assert reader.clip.matrix == {1: "bt709", 5: "bt601"}[matrix]
        shown = frames(reader)
        base = reader.clip.time_base
        assert [round(1000 * f.time * base) for f in shown] == UNEVEN
        for i, frame in enumerate(shown):
            apart = np.abs(frame.pixels.astype(int) - picture(i))
            assert apart.max() <= CODED and apart.mean() < 2
        assert reader.lost == 0 and reader.notes == []
        reader.close()
        if not turn:
            path = copied(path, tmp_path / "out.mp4")


def test_sound_is_copied_packet_by_packet_and_cut_with_the_picture(tmp_path):
    times = list(range(0, 2000, 40))
    made = make(tmp_path / "in.mp4", times, sound=True)
    before = packets(made)
    assert len(before) > 50
    whole = packets(copied(made, tmp_path / "out.mp4"))
    assert [data for _, data in whole] == [data for _, data in before]
    np.testing.assert_allclose([t for t, _ in whole], [t for t, _ in before], atol=1e-3)
    part = copied(made, tmp_path / "part.mkv", start=0.6, duration=0.8)
    shown = Reader(part)
    seconds = [float(f.time * shown.clip.time_base) for f in frames(shown)]
    np.testing.assert_allclose(seconds, np.arange(0, 0.8, 0.04), atol=2e-3)
    expected = [(t - 0.6, data) for t, data in before if 0.6 <= t < 1.4]
    kept = packets(part)
    assert [data for _, data in kept] == [data for _, data in expected]
    np.testing.assert_allclose(
        [t for t, _ in kept], [t for t, _ in expected], atol=2e-3
    )


def test_turned_videos_stand_upright_and_pixels_keep_their_shape(tmp_path):
    # As a phone held upright writes it: to be shown, turned by 90 degrees clockwise.
    made = make(tmp_path / "in.mp4", [0, 40], turn=-90, aspect="4/3")
    reader = Reader(made)
    assert (reader.clip.height, reader.clip.width) == (64, 48)
    assert reader.clip.aspect == Fraction(3, 4)
    expected = np.rot90(picture(0), -1).astype(int)
    assert np.abs(frames(reader)[0].pixels - expected).max() <= CODED
    out = copied(made, tmp_path / "out.mp4")
    again = Reader(out)
    assert (again.clip.height, again.clip.width) == (64, 48)
    assert again.clip.aspect == Fraction(3, 4)
    assert np.abs(frames(again)[0].pixels - expected).max() <= CODED


def test_odd_sides_gain_a_row_and_a_column_and_size_bounds_them(tmp_path):
    made = make(tmp_path / "in.mp4", [0, 40], h=48, w=64)
    reader = Reader(made, size=33)
    assert (reader.clip.height, reader.clip.width) == (25, 33)
    small = frames(reader)[0].pixels
    assert small.shape == (25, 33, 3)
    out = Reader(copied(made, tmp_path / "out.mp4", size=33))
    assert (out.clip.height, out.clip.width) == (26, 34)
    again = frames(out)[0].pixels.astype(int)
    assert np.abs(again[:25, :33] - small).max() <= CODED


@pytest.mark.parametrize("suffix", [".gif", ".webp"])
def test_animations_both_ways(tmp_path, suffix):
    times = [0, 100, 150, 400]
    made = make(tmp_path / "in.mp4", times)
    path = copied(made, tmp_path / f"out{suffix}")
    with PIL.Image.open(path) as picture_file:
        assert picture_file.n_frames == 4 and picture_file.info["loop"] == 0
    reader = Reader(path)
    assert [f.time for f in reader] == times
    for i, frame in enumerate(reader):
        assert np.abs(frame.pixels.astype(int) - picture(i)).mean() < 8
    back = Reader(copied(path, tmp_path / "back.mp4"))
    assert [round(1000 * f.time * back.clip.time_base) for f in frames(back)] == times
    late = Reader(path, start=0.12, duration=0.1)
    assert [f.time for f in late] == [0, 30]


def test_a_damaged_middle_is_counted_and_a_lost_end_is_no_end_of_the_rest(tmp_path):
    made = make(tmp_path / "in.mkv", list(range(0, 4000, 40)))
    whole = made.read_bytes()
    (tmp_path / "cut.mkv").write_bytes(whole[: len(whole) * 2 // 3])
    shown = frames(Reader(tmp_path / "cut.mkv"))
    assert 40 < len(shown) < 100
    damaged = bytearray(whole)
    rng = np.random.default_rng(0)
    for at in rng.integers(len(whole) // 3, len(whole) // 2, 300):
        damaged[at] = rng.integers(256)
    (tmp_path / "damaged.mkv").write_bytes(damaged)
    reader = Reader(tmp_path / "damaged.mkv")
    shown = frames(reader)
    assert reader.lost > 0 or reader.notes
    assert 30 < len(shown) < 100
    assert all(a.time < b.time for a, b in zip(shown, shown[1:], strict=False))


def test_what_is_no_video_or_no_target_is_one_line(tmp_path):
    (tmp_path / "text.mp4").write_text("no video")
    (tmp_path / "text.gif").write_text("no video")
    sound = tmp_path / "sound.mp4"
    with av.open(sound, "w") as container:
        stream = container.add_stream("aac", rate=48_000, layout="mono")
        container.mux(stream.encode())
    for name, what in (
        ("none.mp4", "no such file"),
        ("text.mp4", "cannot be read as a video"),
        ("text.gif", "cannot be read as an animation"),
        ("sound.mp4", "video"),
    ):
        with pytest.raises(InputError, match=what):
            Reader(tmp_path / name)
    made = make(tmp_path / "in.mp4", [0, 40])
    with pytest.raises(InputError, match="ends after"):
        Reader(made, start=5.0)
    clip = Reader(made).clip
    for name, options, what in (
        ("out.txt", {}, "not a format"),
        ("out.mp4", {"codec": "nonsense"}, "--codec nonsense"),
        ("out.gif", {"codec": "libx264"}, "no --codec"),
        ("out.mp4", {}, "not a single frame"),
    ):
        with pytest.raises(InputError, match=what):
            with writing(tmp_path / name, clip, **options):
                pass
        assert not (tmp_path / name).exists()


def test_sound_that_has_no_place_is_left_out_and_said(tmp_path):
    made = make(tmp_path / "in.mp4", list(range(0, 400, 40)), sound=True)
    reader = Reader(made)
    assert any(isinstance(item, Sound) for item in reader)
    reader = Reader(made, size=16)
    with writing(tmp_path / "out.webm", reader.clip) as writer:
        for item in reader:
            writer.write(item)
    assert len(frames(Reader(tmp_path / "out.webm"))) == 10
    assert writer.notes and "left out" in writer.notes[0]
    assert io.BytesIO(made.read_bytes()).getvalue()  # the input is as it was


@pytest.mark.parametrize(
    "sound, suffix, kept",
    [
        ("pcm_s16le", ".mp4", False),  # of old cameras
        ("pcm_s16le", ".avi", True),
        ("flac", ".mov", False),  # which only its header says
        ("flac", ".mkv", True),
    ],
)
def test_sound_has_a_place_or_is_left_out(tmp_path, sound, suffix, kept):
    made = make(tmp_path / "in.mkv", list(range(0, 400, 40)), sound=sound)
    reader = Reader(made)
    path = tmp_path / f"out{suffix}"
    with writing(path, reader.clip) as writer:
        for item in reader:
            writer.write(item)
    reader.close()
    with av.open(path) as container:
        # An AVI has no times of its own, and FFmpeg tells the next frame's.
        time = "dts" if suffix == ".avi" else "pts"
        stream = container.streams.video[0]
        shown = [
            float(getattr(f, time) * f.time_base) for f in container.decode(stream)
        ]
    np.testing.assert_allclose(shown, np.arange(10) / 25, atol=0.001)
    assert bool(packets(path)) == kept
    assert kept != any(f"({sound}) is left out" in note for note in writer.notes)


def test_a_part_has_its_sound_where_a_file_is_in_chunks(tmp_path):
    chunks = {"chunk_duration": "1000000"}  # us; sound lies behind its pictures
    times = list(range(0, 2000, 40))
    made = make(tmp_path / "in.mp4", times, sound=True, options=chunks)
    with av.open(made) as container:
        kinds = [packet.stream.type[0] for packet in container.demux() if packet.size]
    assert 20 * "v" in "".join(kinds)
    part = copied(made, tmp_path / "out.mp4", start=0.7, duration=0.6)
    assert len(frames(Reader(part))) == 15
    assert 0.55 < packets(part)[-1][0] < 0.6


@pytest.mark.parametrize("suffix", ["ts", "mp4"])
def test_a_part_of_a_file_without_an_index(tmp_path, suffix):
    made = make(tmp_path / f"in.{suffix}", list(range(0, 2000, 40)))  # one key frame
    reader = Reader(made, start=0.6, duration=0.8)
    found = frames(reader)
    base = float(reader.clip.time_base)
    np.testing.assert_allclose([f.time * base for f in found], np.arange(20) * 0.04)
    assert abs(np.float64(found[0].pixels) - picture(15)).mean() < CODED


def test_a_codec_without_crf(tmp_path):
    clip = Reader(make(tmp_path / "in.mp4", list(range(0, 400, 40)))).clip
    with pytest.raises(InputError, match="--crf 9: mpeg4 has none; leave it off"):
        with writing(tmp_path / "out.mp4", clip, codec="mpeg4", crf=9):
            pass
    assert not (tmp_path / "out.mp4").exists()


def test_tags_that_are_not_utf8(tmp_path):
    """As old cameras and tools write them."""
    with av.open(tmp_path / "a.mp4", "w") as container:
        container.metadata["title"] = "Caf___e"
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        frame = av.VideoFrame.from_ndarray(picture(0), format="rgb24")
        container.mux([*stream.encode(frame), *stream.encode()])
    data = (tmp_path / "a.mp4").read_bytes()
    assert b"Caf___e" in data
    (tmp_path / "a.mp4").write_bytes(data.replace(b"Caf___e", b"Caf\xe9 \xff."))
    with contextlib.closing(Reader(tmp_path / "a.mp4")) as reader:
        assert len([part for part in reader if isinstance(part, Frame)]) == 1
