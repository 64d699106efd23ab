"""Pickles of arrays and tensors, read without running them.

The unpickler knows a few inert stand-ins and refuses every other name, so nothing in a
file is ever executed, and neither torch nor the program that wrote it is imported. Nor
does a small file grow: what a pickle may hold twice is no container of containers.
"""

import math
import pickle
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from jaxperceptual.core.errors import InputError

BFLOAT16 = "bfloat16"  # among codes of NumPy's dtypes, which has none for it


def dtype_of(code: str, order: str) -> np.dtype:
    """Of an array of a file, its bytes in that order."""
    if code != BFLOAT16:
        return np.dtype(order + code)
    if order != "<":
        raise ValueError("big-endian bfloat16")
    return np.dtype(jnp.bfloat16)


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


class PickledArray:
    def __init__(self, *_: Any):
        """Stands for `_reconstruct(ndarray, (0,), b"b")`; all comes with the state."""

    def __setstate__(self, state: tuple) -> None:
        _, self.shape, self.dtype, self.fortran, self.data = state

    def array(self) -> np.ndarray:
        if self.dtype.code not in ("f2", "f4", "f8"):
            raise ValueError(f"an array of {self.dtype.code!r}")
        flat = np.frombuffer(self.data, self.dtype.order + self.dtype.code)
        return flat.reshape(self.shape, order="F" if self.fortran else "C")


class Storage(NamedTuple):
    dtype: str
    key: str
    size: int  # elements


class PickledTensor(_Inert):
    def __init__(
        self, storage: Storage, offset: int, shape: tuple, stride: tuple, *_: Any
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
    def __new__(cls, tensor: PickledTensor, *_: Any):
        return tensor


# Classes that take any state, and strings: a pickle cannot set attributes on them,
# which it could on a function.
_INERT = {
    ("collections", "OrderedDict"): _Dict,
    ("numpy", "dtype"): _PickledDtype,
    ("numpy", "ndarray"): PickledArray,
    ("numpy.core.multiarray", "_reconstruct"): PickledArray,
    ("numpy._core.multiarray", "_reconstruct"): PickledArray,
    ("torch._utils", "_rebuild_tensor"): PickledTensor,
    ("torch._utils", "_rebuild_tensor_v2"): PickledTensor,
    ("torch._utils", "_rebuild_parameter"): _Parameter,
    ("torch.nn.parameter", "Parameter"): _Parameter,
    ("torch", "HalfStorage"): "f2",
    ("torch", "BFloat16Storage"): BFLOAT16,
    ("torch", "FloatStorage"): "f4",
    ("torch", "DoubleStorage"): "f8",
    ("torch", "LongStorage"): "i8",
}


_SHARED_ITEMS = 64  # shapes and the like


class InertUnpickler(pickle._Unpickler):  # in Python: each instruction can be refused
    """Builds only the stand-ins of `_INERT`; any other name is refused, not looked up.

    `pickle` finds every class and function through `find_class`, so that what is not in
    the table can be neither imported nor called. A container with containers in it that
    comes a second time is refused too: whatever walks or hashes the whole takes twice
    as long for each such level.
    """

    dispatch = dict(pickle._Unpickler.dispatch)

    def __init__(self, file: Any, path: Path):
        super().__init__(file)
        self.path = path
        self.storages: dict[str, Storage] = {}

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _INERT:
            raise InputError(
                f"{self.path}: its pickle asks for {module}.{name}, which no file of "
                "weights needs; nothing was run. Take the file from its publisher."
            )
        return _INERT[module, name]

    def persistent_load(self, pid: Any) -> Storage:
        kind, dtype, key, _, size, *view = pid
        if kind != "storage" or any(view):  # views: unknown to state dicts
            raise ValueError("a persistent id that is no whole storage")
        return self.storages.setdefault(key, Storage(dtype, key, size))


def _refusing_what_doubles(load):
    """`load`, an instruction that gets an object a second time, checked."""

    def checked(self):
        load(self)
        again = self.stack[-1]
        if isinstance(again, _CONTAINERS) and (
            len(again) > _SHARED_ITEMS or any(isinstance(x, _CONTAINERS) for x in again)
        ):
            raise ValueError("a container of containers comes twice")

    return checked


def _refused(self):
    raise ValueError("a bytearray")  # as long as it says, before there is a byte


_CONTAINERS = (tuple, list, dict, set, frozenset)
for _code in (pickle.GET, pickle.BINGET, pickle.LONG_BINGET, pickle.DUP):
    InertUnpickler.dispatch[_code[0]] = _refusing_what_doubles(
        pickle._Unpickler.dispatch[_code[0]]
    )
InertUnpickler.dispatch[pickle.BYTEARRAY8[0]] = _refused
