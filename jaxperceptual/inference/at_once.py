"""A single photo without JAX: from the command to the file in a fifth of the time.

Most of that time goes to importing JAX, tracing, lowering and compiling. Here jaxlib
alone compiles what `program_text` wrote. Nobody promises that jaxlib can be used so:
only with the versions it was tried with, on an x86 CPU, and after a small convolution
came out right. Everything else takes the usual way (`Stylizer`), to the same picture.
"""

import contextlib
import json
import os
import platform
import sys
from collections.abc import Iterator, Mapping
from concurrent import futures
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import safetensors

from jaxperceptual.core import memory, xla
from jaxperceptual.core.host_types import Image, Params
from jaxperceptual.images.grain import with_grain
from jaxperceptual.images.mixing import mix
from jaxperceptual.images.reading import fit, read_header, read_with_alpha
from jaxperceptual.inference import program_text
from jaxperceptual.networks import gallery, pretrained
from jaxperceptual.networks.sizes import style_net_shapes
from jaxperceptual.networks.trained import Trained

ASKED = "JAXPERCEPTUAL_AT_ONCE"  # 0: never
MOST = 4_000_000  # px; for more, the usual way's choices are worth their time
_BYTES = 300  # a pixel takes less
# XLA's level 0 compiles in half the time of 1, and computes a third longer: up to so
# many pixels it is done sooner.
_QUICK = 800_000


class Unavailable(Exception):
    """There is no such program; take the usual way."""


class Painter:
    """A style network at one size, its program being compiled in a thread."""

    def __init__(self, params: Params, h: int, w: int):
        self._size = h, w
        self._params = params
        pool = futures.ThreadPoolExecutor(1)
        self._programs = pool.submit(_compiled, params, h, w)
        pool.shutdown(wait=False)

    def __call__(self, photo: Image, params: Params | None = None) -> Image:
        """[h w 3] in [0, 255] to the same; raises Unavailable.

        params: of another network of the same kind.

        In a process that has not imported JAX, it never can after this.
        """
        if photo.shape[:2] != self._size:  # a header may be a pixel off
            raise Unavailable
        try:
            tried, program = self._programs.result()
        except Exception as error:  # whatever another jaxlib may do
            raise Unavailable from error
        _, x, expected = program_text.trial()
        photo = with_grain(photo)
        with _without_jax():
            with contextlib.suppress(Exception):
                if np.array_equal(tried(x), expected):
                    return program(photo[None], self._weights(params))[0]
        if "jax" not in sys.modules:  # and would not work any more
            os.environ[ASKED] = "0"
            os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
        raise Unavailable

    def _weights(self, params):
        if params is None or params is self._params:
            return None  # those that it was compiled with
        return program_text.style_program(params, *self._size).weights


@contextlib.contextmanager
def _without_jax() -> Iterator[None]:
    """jaxlib asks JAX for a description of each array, and does without where it can't.

    It asks once in a process; who has imported JAX before is left alone.
    """
    if "jax" in sys.modules:
        yield
        return
    sys.modules["jax"] = None  # to import it is an error
    try:
        yield
    finally:
        del sys.modules["jax"]


def painter(
    net: Mapping[str, object], params: Params, h: int, w: int
) -> Painter | None:
    """One for a network of these options (`Model.net_config`); None if it cannot be."""
    forms = os.environ.get("JAXPERCEPTUAL_FORMS", "auto")
    if os.environ.get(ASKED) == "0" or forms not in ("auto", "cpu"):
        return None
    x86 = platform.machine().lower() in ("x86_64", "amd64")
    if not (x86 and xla.on_cpu() and xla.known_jaxlib() and program_text.writes(net)):
        return None
    free = memory.free_memory()
    fits = free is None or _BYTES * h * w < free / 2
    if not fits or min(h, w) < program_text.LEAST or h * w > MOST:
        return None
    return Painter(params, h, w)


class Started(NamedTuple):
    """A painter for a photo; `unfinished` as `Trained` has it."""

    painter: Painter
    unfinished: str


def start(
    model: str | None, style: str | None, photo: Path, size: int | None
) -> Started | None:
    """Begins to compile for this photo, at most `size` px long; None if it cannot be.

    model, style: As `Stylizer.from_pretrained` has them.

    What is wrong with the photo or the model, the usual way says.
    """
    try:
        header = read_header(photo)
        h, w = fit(header.height, header.width, size)
        found = _read(model, style)
    except Exception:  # a photo's or a model's file may hold anything
        return None
    if found is None:
        return None
    net, params, trained = found
    memory.keep_freed_memory()
    made = painter(net, params, h, w)
    return made and Started(made, trained.unfinished)


def paint(
    painter: Painter,
    photo: Path,
    *,
    size: int | None,
    strength: float,
    preserve_color: bool,
) -> tuple[Image, np.ndarray | None]:
    """The photo's picture and its alpha; raises InputError, or Unavailable."""
    image, alpha = read_with_alpha(photo, size=size)
    output = painter(image)
    mixed = mix(image, output, strength=strength, preserve_color=preserve_color)
    return mixed, alpha


def _read(name: str | None, style: str | None):
    """Options, parameters and `Trained` of a network of one style; None otherwise."""
    if name is None:
        name, style = pretrained.GALLERY, style or pretrained.DEFAULT_STYLE
        path = pretrained.pretrained_path(name)
    else:
        path = pretrained.find_model(name)
        _, named = pretrained.split_style(name)
        if named and style:
            return None
        style = named or style
    with safetensors.safe_open(path, framework="numpy") as file:
        texts = file.metadata() or {}
        if texts.get("format") != pretrained.FORMAT or texts.get("task") != "style":
            return None
        tensors = {name: file.get_tensor(name) for name in file.keys()}
    if texts.get("version") != str(pretrained.VERSION):
        return None
    told = {k: json.loads(v) for k, v in texts.items() if k not in ("format", "task")}
    net, names = told.pop("net", None), told.pop("styles", {})
    if not isinstance(net, dict):
        return None
    if bool(names) != bool(style) or net.get("num_styles", 0) != len(names):
        return None
    shapes = style_net_shapes(net["width"], net["norm"], len(names))
    if {name: value.shape for name, value in tensors.items()} != shapes:
        return None
    if not all(
        x.dtype == np.float32 and np.isfinite(x).all() for x in tensors.values()
    ):
        return None
    params = _nested(tensors)["params"]
    if names:
        params = gallery.mixed(params, gallery.rows(gallery.parse(style), names))
    return net, params, Trained.parse(told)


def _nested(tensors: Mapping[str, np.ndarray]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for name, value in tensors.items():
        *groups, last = name.split("/")
        node = nested
        for group in groups:
            node = node.setdefault(group, {})
        node[last] = value
    return nested


def _compiled(params, h, w):
    """The trial and the program, as functions; any exception means: there is none."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")  # as JAX does
    from jaxlib import xla_client

    client = xla_client.make_cpu_client()
    trial, _, _ = program_text.trial()
    program = program_text.style_program(params, h, w)
    level = 0 if h * w <= _QUICK else 1
    return _loaded(client, trial, 0), _loaded(client, program, level)


def _loaded(client, program: program_text.Program, level: int):
    from jaxlib import _jax, xla_client

    device, *_ = client.local_devices()
    options = xla_client.CompileOptions()
    options.env_option_overrides = [("xla_backend_optimization_level", str(level))]
    devices = _jax.DeviceList((device,))
    loaded = client.compile_and_load(program.text.encode(), devices, options)

    def put(value):
        # NumPy lends no array that is read-only; and strides are not looked at.
        own = np.array(value, np.float32, order="C")
        return _jax.dlpack_managed_tensor_to_buffer(own.__dlpack__(), device, None)

    def run(image, weights=None):
        weights = weights or program.weights
        arguments = [put(value) for value in (*weights, image)]
        results = loaded.execute_sharded(arguments)
        ((output,),) = results.disassemble_into_single_device_arrays()
        capsule = _jax.buffer_to_dlpack_managed_tensor(output)
        return np.from_dlpack(_Lent(capsule))

    return run


class _Lent:
    """What `np.from_dlpack` asks of an array on the host."""

    def __init__(self, capsule):
        self._capsule = capsule

    def __dlpack__(self, **_):
        return self._capsule

    def __dlpack_device__(self):
        return 1, 0  # DLPack's CPU
