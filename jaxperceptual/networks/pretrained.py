"""Which model file a name means: a run folder's, a file, or one that ships."""

import functools
import json
import os
from importlib import resources
from pathlib import Path

import safetensors

from jaxperceptual.core.errors import InputError

FORMAT, VERSION = "jaxperceptual-model", 1  # in the header of each
FILE_NAME = "model.safetensors"  # within a run folder
GALLERY = "gallery"  # whose styles go by their names
STEADY_GALLERY = "gallery_steady"  # the same styles, for what moves
# What ships for those who name no model.
DEFAULT_STYLE = "starry_night"  # of the gallery
# By the factor; x4 for those who name no factor either.
ENLARGERS = {2: "sr_x2", 4: "sr_x4", 8: "sr_x8_feat"}
DEFAULT_RESTORATION = ENLARGERS[4]

_PRETRAINED = Path(str(resources.files("jaxperceptual"))) / "pretrained"


def find_model(path: str | os.PathLike) -> Path:
    """The model file that `path` means: itself, a run folder's, or a shipped name's."""
    given, path = os.fspath(path), Path(split_style(path)[0])
    if path.is_dir():
        if (path / FILE_NAME).is_file():
            return path / FILE_NAME
        raise InputError(
            f"{given}: no {FILE_NAME} in this folder; jaxperceptual train writes it "
            "with the first checkpoint: go on with the run, or name another."
        )
    if path.exists():
        return path
    name = os.fspath(path)
    if name in pretrained_names():
        return pretrained_path(name)
    names = ", ".join([*gallery_styles(), *pretrained_names()]) or "none"
    raise InputError(
        f"{given}: no such model; give a model file, a run folder of jaxperceptual "
        f"train, or the name of a shipped model ({names})."
    )


def split_style(given: str | os.PathLike) -> tuple[str, str | None]:
    """`"runs/mine:wave"` as its model and its style; a shipped style alone likewise.

    ("gallery", "wave") for "gallery:wave" and "wave", ("runs/mine", None) for
    "runs/mine". A file or folder of the whole name goes before that.
    """
    given = os.fspath(given)
    if Path(given).exists() or given in pretrained_names():
        return given, None
    if given in gallery_styles():
        return GALLERY, given
    path, _, style = given.partition(":")
    if style and (Path(path).exists() or path in pretrained_names()):
        return path, style
    return given, None


def gallery_styles() -> tuple[str, ...]:
    """The styles of the shipped gallery, in its order; each is a model's name too."""
    if GALLERY not in pretrained_names():
        return ()
    return _styles_of(pretrained_path(GALLERY))


@functools.cache
def _styles_of(path: Path) -> tuple[str, ...]:
    with safetensors.safe_open(path, framework="numpy") as file:
        return tuple(json.loads(file.metadata()["styles"]))


def model_name(path: str | os.PathLike) -> str:
    """What tables call the model: its run folder, its file, or its shipped name.

    Raises InputError if there is no such model.
    """
    found = find_model(path).resolve()
    name = found.parent.name if found.name == FILE_NAME else found.stem
    _, style = split_style(path)
    return style if style and name == GALLERY else f"{name}:{style}" if style else name


def pretrained_names() -> list[str]:
    """The models that ship within the package, for `read_model(name)`."""
    return sorted(path.stem for path in _PRETRAINED.glob("*.safetensors"))


def shipped_enlarger(factor: int | None = None) -> str:
    """The shipped model that enlarges by `factor`, by name; None: the default.

    Raises InputError if there is none for this factor.
    """
    if factor is None:
        return DEFAULT_RESTORATION
    if factor not in ENLARGERS:
        factors = ", ".join(map(str, ENLARGERS))
        raise InputError(
            f"no shipped model enlarges by {factor}, but by {factors}; use one of "
            "these, or name a model."
        )
    return ENLARGERS[factor]


def pretrained_path(name: str) -> Path:
    """Where the shipped model `name` lies. Raises InputError if there is none."""
    if name not in pretrained_names():
        names = ", ".join(pretrained_names()) or "none"
        raise InputError(f"{name}: no shipped model of this name; there is: {names}.")
    return _PRETRAINED / f"{name}.safetensors"
