"""A trained network as one file: weights, architecture, and how it was trained.

The file is safetensors: float32 tensors named "params/conv1/...", and JSON strings in
its header: `format`, `version`, `task`, `net` (options of the network), `styles` (those
of a gallery, in the order of its rows), and whatever else training wants to tell
(`training`, `vgg`, `steps`, ...: `trained`). Where a file
is older than a key of its config, `Trained.parse` has what held then; where it is older
than an option of its network, the network's default holds.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
import safetensors.numpy
from flax import traverse_util
from jax.typing import DTypeLike

from jaxperceptual.core import files
from jaxperceptual.core.errors import InputError
from jaxperceptual.networks import gallery, pretrained, registry, shapes
from jaxperceptual.networks.trained import Trained

_HEADER = ("format", "version", "task", "net", "styles")


class Model(NamedTuple):
    """All that is needed to run a trained network, and where it came from."""

    task: str  # a key of `NETS`
    net_config: dict[str, Any]  # `name`, and keyword options, of the network
    variables: dict[str, Any]  # {"params": ..., "batch_stats": ...}, float32
    trained: Trained = Trained()  # how
    # Of a gallery: its styles by name, in the order of rows, and the file and sha256 of
    # each one's image.
    styles: Mapping[str, Mapping[str, str]] = {}

    def pick(self, style: str | Mapping[str, float] | None = None) -> "Model":
        """The style network that one style of a gallery is, or a mixture of some.

        style: a name, `"a:0.6,b:0.4"`, or weights by name. Of a model that is no
            gallery, None alone gives that model.

        Raises InputError for a style that is not there, and for a gallery without one.
        """
        if not self.styles:
            if style is None:
                return self
            raise InputError(
                f"style {style}: this model is a network of one style; name a gallery."
            )
        if style is None:
            raise InputError(
                f"this model is a gallery of {len(self.styles)} styles; name one: "
                f"{', '.join(self.styles)}."
            )
        weights = gallery.parse(style)
        params = gallery.mixed(
            self.variables["params"], gallery.rows(weights, self.styles)
        )
        net = {k: v for k, v in self.net_config.items() if k != "num_styles"}
        trained = gallery.trained_alone(self.trained, self.styles, weights)
        return Model(self.task, net, self.variables | {"params": params}, trained)


def build_net(model: Model, dtype: DTypeLike = jnp.float32) -> nn.Module:
    """The network whose `apply(model.variables, images, train=False)` is the model.

    Raises InputError for a task or a net option that this version does not know.
    """
    return registry.make_net(model.task, model.net_config, source="model", dtype=dtype)


def write_model(path: str | os.PathLike, model: Model) -> None:
    """Writes one safetensors file, atomically; parent folders are made.

    Raises InputError if the weights are not those of the model's network or not finite,
    or if the file cannot be written: what is written can be read.
    """
    path = Path(path)
    metadata = model.trained.metadata()
    clash = sorted(set(_HEADER) & set(metadata))
    if clash:
        raise ValueError(f"metadata {', '.join(clash)}: taken; use another name.")
    tensors = {
        name: np.ascontiguousarray(value, np.float32)
        for name, value in _flatten(model.variables).items()
    }
    _check_styles(model.net_config, model.styles, path)
    _check_tensors(
        tensors, registry.make_net(model.task, model.net_config, source=path), path
    )
    header = {
        "format": pretrained.FORMAT,
        "version": pretrained.VERSION,
        "task": model.task,
        "net": model.net_config,
    } | metadata
    if model.styles:
        header["styles"] = model.styles
    texts = {
        # The format and the task stay bare words, as other tools' headers have them.
        key: value if isinstance(value, str) and key in _HEADER else json.dumps(value)
        for key, value in header.items()
    }
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with files.replacing(path) as file:
            file.write(safetensors.numpy.save(tensors, metadata=texts))
    except OSError as error:
        raise InputError(
            f"{path}: cannot be written ({error.strerror}); choose another folder."
        ) from error


def read_model(path: str | os.PathLike, *, task: str | None = "style") -> Model:
    """Reads a model file, the one in a run folder, or one of `pretrained_names()`.

    task: what it must be for; None for any.

    Raises InputError if it is missing, truncated, not a model of ours, for another
    task, or if its tensors are not those of its network or not finite. A name with a
    style (`pretrained.split_style`) gives that one's network (`Model.pick`).
    """
    (_, style), path = pretrained.split_style(path), pretrained.find_model(path)
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            header = file.metadata() or {}
            dtypes = {name: file.get_slice(name).get_dtype() for name in file.keys()}
            config = _check_header(header, task, path)
            for name, dtype in dtypes.items():
                if dtype != "F32":
                    raise InputError(
                        f"{path}: {name} is {dtype}; a model holds float32 (F32) only."
                    )
            tensors = {name: file.get_tensor(name) for name in dtypes}
    except safetensors.SafetensorError as error:
        raise InputError(
            f"{path}: not a whole safetensors file ({error}); "
            "copy it again, or train it again with jaxperceptual train."
        ) from error
    except OSError as error:
        raise InputError(
            f"{path}: cannot be read ({error.strerror or error}); check the file."
        ) from error
    task, styles = config["task"], config.get("styles", {})
    _check_styles(config["net"], styles, path)
    _check_tensors(tensors, registry.make_net(task, config["net"], source=path), path)
    variables = traverse_util.unflatten_dict(tensors, sep="/")
    metadata = {key: value for key, value in config.items() if key not in _HEADER}
    variables = {"batch_stats": {}} | variables
    model = Model(task, config["net"], variables, Trained.parse(metadata), styles)
    return model if style is None else model.pick(style)


def _check_header(
    header: Mapping[str, str], task: str | None, path: Path
) -> dict[str, Any]:
    """The header with its JSON decoded, once it is ours, current and for `task`."""
    if header.get("format") != pretrained.FORMAT:
        raise InputError(
            f"{path}: a safetensors file, but not a {pretrained.FORMAT}; "
            f"give the {pretrained.FILE_NAME} that jaxperceptual train wrote."
        )
    if header.get("version") != str(pretrained.VERSION):
        raise InputError(
            f"{path}: version {header.get('version')} of the model format; this "
            f"program reads version {pretrained.VERSION}: install the jaxperceptual "
            "that wrote it."
        )
    if task not in (None, header.get("task")):
        raise InputError(
            f"{path}: a model for the task {header.get('task')}, not {task}; "
            f"give a model that was trained for {task}."
        )
    config: dict[str, Any] = {"format": pretrained.FORMAT, "task": header.get("task")}
    for key, text in header.items():
        if key not in config:
            try:
                config[key] = json.loads(text)
            except json.JSONDecodeError as error:
                raise InputError(
                    f"{path}: {key} in the header is not JSON ({error}); "
                    "the file was changed: copy or train it again."
                ) from error
    if not isinstance(config.get("net"), dict):
        raise InputError(f"{path}: no net options in the header; train it again.")
    return config


def _check_styles(net: Mapping[str, Any], styles: Any, path: Path) -> None:
    """Raises InputError unless the rows of a gallery have just one name each."""
    count = net.get("num_styles", 0)
    if not isinstance(styles, Mapping) or len(styles) != count:
        raise InputError(
            f"{path}: {count} styles in its norms, but the header names "
            f"{len(styles) if isinstance(styles, Mapping) else styles!r}; the file was "
            "changed: copy or train it again."
        )


def _check_tensors(
    tensors: Mapping[str, np.ndarray], net: nn.Module, source: str | os.PathLike
) -> None:
    """Raises InputError unless `tensors` are exactly what `net` has, and finite."""
    try:
        expected = shapes.shapes_of(net)
    except (InputError, TypeError) as error:
        raise InputError(f"{source}: its network cannot be built: {error}") from error
    for what, names in (
        ("lacks", expected.keys() - tensors.keys()),
        ("has a foreign", tensors.keys() - expected.keys()),
    ):
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            raise InputError(
                f"{source}: {what} {min(names)}{more}; "
                f"the tensors must be those of {_describe(net)}."
            )
    for name, value in tensors.items():
        if value.shape != expected[name]:
            raise InputError(
                f"{source}: {name} has shape {list(value.shape)}, but "
                f"{_describe(net)} has {list(expected[name])}; the file was mixed up."
            )
        if not np.isfinite(value).all():
            raise InputError(
                f"{source}: {name} holds NaN or infinity; training diverged: "
                "train again with a lower learning rate."
            )


def _describe(net: nn.Module) -> str:
    options = ("factor", "norm", "width", "upsample", "skip", "num_styles")
    texts = [f"{key}={getattr(net, key)}" for key in options if hasattr(net, key)]
    return f"{type(net).__name__}({', '.join(texts)})"


def _flatten(variables: Mapping[str, Any]) -> dict[str, Any]:
    return traverse_util.flatten_dict(variables, sep="/")
