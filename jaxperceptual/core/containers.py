"""The containers that weights come in: arrays by name, whoever wrote the file."""

import contextlib
import math
import os
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
import safetensors

from jaxperceptual.core import inert_pickle
from jaxperceptual.core.errors import InputError

# Of one array that is read; the largest of VGG-16's, in float64, has 19 MB.
MAX_BYTES = 64 * 1024**2
_MAX_PICKLE = 16 * 1024**2  # of names and shapes, in a zip of torch.save

Contents = tuple[dict[str, np.ndarray], dict[str, str]]  # arrays by name, metadata
Wanted = Callable[[str, dict[str, str]], bool]  # of (name, metadata): read this array?


def read(path: Path, wanted: Wanted) -> Contents:
    """Arrays as the file names and shapes them; the metadata is empty in most formats.

    Raises:
      InputError: An unknown ending, or a file that is damaged or holds more than data.
    """
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise InputError(
            f"{path}: weights are read from {', '.join(_READERS)} files, not "
            f"{path.suffix or 'a file without an ending'}."
        )
    return reader(path, wanted)


def read_safetensors(path: Path, wanted: Wanted) -> Contents:
    """As `read`, whatever the ending."""
    with blaming(path, "damaged, cut short, or not a safetensors file"):
        with safetensors.safe_open(path, framework="np") as file:
            metadata = file.metadata() or {}
            names = [n for n in file.keys() if wanted(n, metadata)]
            return {name: file.get_tensor(name) for name in names}, metadata


@contextlib.contextmanager
def blaming(path: Path, what: str) -> Iterator[None]:
    """A damaged file makes its reader raise nearly anything: all of it is the file's
    fault, and one line."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        detail = " ".join(f"{type(error).__name__}: {error}".split())[:120]
        raise InputError(f"{path}: {what} ({detail}); fetch it again.") from error


def _read_npz(path: Path, wanted: Wanted) -> Contents:
    with blaming(path, "damaged, cut short, or not an npz file"):
        # Opened here: np.load leaves a damaged file open.
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            names = [n for n in file.files if wanted(n, {})]
            members = {n.removesuffix(".npy"): n for n in file.zip.namelist()}
            for name in names:
                _check_npy(file.zip, members[name])
            return {name: file[name] for name in names}, {}


def _check_size(name: str, num_bytes: int, most: int = MAX_BYTES) -> None:
    """What a file declares, before memory is taken for it."""
    if not 0 <= num_bytes <= most:
        raise ValueError(f"{name} would have {num_bytes} bytes")


def _check_npy(archive: zipfile.ZipFile, member: str) -> None:
    info = archive.getinfo(member)
    _check_size(member, info.file_size)
    with archive.open(info) as file:
        version = np.lib.format.read_magic(file)
        read = {1: np.lib.format.read_array_header_1_0}
        header = read.get(version[0], np.lib.format.read_array_header_2_0)(file)
    shape, _, dtype = header
    _check_size(member, math.prod(shape) * dtype.itemsize, info.file_size)


def _read_keras(path: Path, wanted: Wanted) -> Contents:
    try:
        import h5py
    except ImportError:
        raise InputError(
            f"{path}: reading Keras .h5 files needs h5py, which is not installed: "
            "pip install 'jaxperceptual[keras]'"
        ) from None
    tensors = {}

    def visit(name, node):
        if isinstance(node, h5py.Dataset) and wanted(name, {}):
            _check_size(name, node.nbytes)
            tensors[name] = node[()]

    with blaming(path, "damaged, cut short, or not an HDF5 file"):
        with h5py.File(path, "r") as file:
            file.visititems(visit)
    return tensors, {}


def _read_ckpt(path: Path, wanted: Wanted) -> Contents:
    tensors, seen = {}, set()

    def visit(name, node):
        if isinstance(node, inert_pickle.PickledArray) and wanted(name, {}):
            tensors[name] = node.array()  # of bytes that are in the file
        elif isinstance(node, dict):
            if id(node) in seen:
                raise ValueError(f"{name} comes twice")
            seen.add(id(node))
            for key, child in node.items():
                visit(f"{name}/{key}" if name else str(key), child)

    with blaming(path, "damaged, cut short, or not a pickle of arrays"):
        with path.open("rb") as file:
            visit("", inert_pickle.InertUnpickler(file, path).load())
    return tensors, {}


def _read_torch(path: Path, wanted: Wanted) -> Contents:
    """A state dict by `torch.save`, in the zip format or the one before torch 1.6 (in
    which torchvision's vgg16-397923af.pth is published)."""
    with blaming(path, "damaged, cut short, or not a state dict of torch.save"):
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
                if isinstance(tensor, inert_pickle.PickledTensor) and wanted(name, {}):
                    with blaming(path, f"tensor {name!r} is damaged or cut short"):
                        tensors[name] = tensor.array(read(tensor.storage))
    return tensors, {}


_READERS = {
    ".ckpt": _read_ckpt,
    ".pth": _read_torch,
    ".pt": _read_torch,
    ".safetensors": read_safetensors,
    ".h5": _read_keras,
    ".hdf5": _read_keras,
    ".npz": _read_npz,
}


def _torch_zip(file: BinaryIO, path: Path):
    archive = zipfile.ZipFile(file)
    names = archive.namelist()
    for name in names:
        if name.endswith(("/data.pkl", "/byteorder")):
            _check_size(name, archive.getinfo(name).file_size, _MAX_PICKLE)
    (pickled,) = [n for n in names if n.count("/") == 1 and n.endswith("/data.pkl")]
    root = pickled.removesuffix("data.pkl")
    order = "<"
    if f"{root}byteorder" in names and archive.read(f"{root}byteorder") == b"big":
        order = ">"
    with archive.open(pickled) as stream:
        state = inert_pickle.InertUnpickler(stream, path).load()

    def read(storage: inert_pickle.Storage) -> np.ndarray:
        dtype = inert_pickle.dtype_of(storage.dtype, order)
        member = archive.getinfo(f"{root}data/{storage.key}")
        _check_size(member.filename, member.file_size)
        if member.file_size != storage.size * dtype.itemsize:
            raise ValueError(f"{member.filename} has {member.file_size} bytes")
        return np.frombuffer(archive.read(member), dtype)  # checks its CRC

    return state, read


def _torch_legacy(file: BinaryIO, path: Path):
    # Five pickles (magic, protocol, machine, state, storage keys), then, in the order
    # of the keys, each storage: its length as int64, and its elements.
    magic, protocol, machine = (
        inert_pickle.InertUnpickler(file, path).load() for _ in range(3)
    )
    if (magic, protocol) != (0x1950A86A20F9469CFC6C, 1001):
        raise ValueError(f"magic number {magic!r}, protocol {protocol!r}")
    order = "<" if machine["little_endian"] else ">"
    unpickler = inert_pickle.InertUnpickler(file, path)
    state = unpickler.load()
    places = {}
    for key in inert_pickle.InertUnpickler(file, path).load():
        (size,) = np.frombuffer(file.read(8), f"{order}i8")
        places[key] = file.tell()
        if size != unpickler.storages[key].size:
            raise ValueError(f"storage {key} has {size} elements")
        dtype = inert_pickle.dtype_of(unpickler.storages[key].dtype, order)
        file.seek(int(size) * dtype.itemsize, os.SEEK_CUR)

    def read(storage: inert_pickle.Storage) -> np.ndarray:
        file.seek(places[storage.key])
        dtype = inert_pickle.dtype_of(storage.dtype, order)
        _check_size(f"storage {storage.key}", storage.size * dtype.itemsize)
        return np.frombuffer(file.read(storage.size * dtype.itemsize), dtype)

    return state, read
