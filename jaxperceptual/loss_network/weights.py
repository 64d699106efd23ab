"""The one file that holds VGG-16's convolutions here: reading it, writing it."""

import hashlib
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import safetensors.numpy

from jaxperceptual.core import containers, files
from jaxperceptual.core.errors import InputError
from jaxperceptual.loss_network import dialects

DEFAULT = "vgg16_torchvision"
FOLDER_VARIABLE = "JAXPERCEPTUAL_VGG_WEIGHTS"
FORMAT, VERSION = "jaxperceptual-vgg16", "1"  # in the metadata of our files


class VGGWeights(NamedTuple):
    """Convolutions from conv1_1 down to some layer, and what belongs with them."""

    params: (
        dialects.Params
    )  # {"conv1_1": {"kernel": HWIO float32, "bias": float32}, ...}
    preprocessing: dialects.Preprocessing
    source: str  # the published file they came from
    sha256: str  # of that file
    fingerprint: str  # SHA-256 over the arrays' bytes; depends on the depth


def read_weights(path: str | Path) -> VGGWeights:
    """Reads a file that `convert` wrote, and checks all of it.

    It may stop at any layer, but holds every layer above. `InputError` names the file,
    and the tensor where one is to blame: missing, foreign, of another shape, not
    finite, or not the bytes of which the file's own fingerprint was taken.
    """
    path = existing_file(path)
    tensors, metadata = containers.read_safetensors(path, is_wanted)
    if metadata.get("format") != FORMAT:
        raise InputError(
            f"{path}: not written by this project (metadata 'format' is "
            f"{metadata.get('format')!r}, not {FORMAT!r}); convert it first: "
            f"jaxperceptual convert_vgg {path.name}"
        )
    if metadata.get("version") != VERSION:
        raise InputError(
            f"{path}: version {metadata.get('version')!r} of the format, and this "
            f"program reads {VERSION!r}; make it again: jaxperceptual convert_vgg."
        )
    with containers.blaming(path, "its metadata is incomplete"):
        preprocessing = _parse_preprocessing(metadata["preprocessing"])
        source, sha256 = metadata["source"], metadata["source_sha256"]
        expected = metadata["fingerprint"]
    params = dialects.assemble(path, tensors, dialects.OURS)
    found = fingerprint_of(params)
    if found != expected:
        raise InputError(
            f"{path}: its arrays have fingerprint {found[:16]}..., its metadata says "
            f"{expected[:16]}...: the file was changed; delete it and make it again."
        )
    return VGGWeights(params, preprocessing, source, sha256, found)


def is_wanted(name: str, metadata: Mapping[str, str]) -> bool:
    """Spares reading the classifier, nine tenths of a published file; in one of our
    own any other name is an error."""
    return metadata.get("format") == FORMAT or dialects.is_convolution(name)


def fingerprint_of(params: dialects.Params) -> str:
    digest = hashlib.sha256()
    for layer in params.values():
        for kind in ("kernel", "bias"):
            digest.update(layer[kind].astype("<f4", copy=False).tobytes())
    return digest.hexdigest()


def _parse_preprocessing(text: str) -> dialects.Preprocessing:
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
    return dialects.Preprocessing(channels, scale, mean, std)


# Disk ---------------------------------------------------------------------------------


def existing_file(path: str | Path) -> Path:
    path = Path(path).expanduser()
    if not path.is_file():
        raise InputError(
            f"{path}: no such file; jaxperceptual convert_vgg makes one, and the name "
            f"{DEFAULT} needs none."
        )
    if not os.access(path, os.R_OK):
        raise InputError(f"{path}: may not be read; change its permissions.")
    return path


def write_weights(path: Path, weights: VGGWeights) -> None:
    tensors = {
        f"{layer}/{kind}": array
        for layer, arrays in weights.params.items()
        for kind, array in arrays.items()
    }
    metadata = {
        "format": FORMAT,
        "version": VERSION,
        "source": weights.source,
        "source_sha256": weights.sha256,
        "preprocessing": json.dumps(weights.preprocessing._asdict()),
        "fingerprint": weights.fingerprint,
    }
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with files.replacing(path) as file:
            file.write(safetensors.numpy.save(tensors, metadata))
    except OSError as error:
        raise InputError(
            f"{path}: cannot be written ({error.strerror}); choose another place, or "
            f"another folder for all weights with {FOLDER_VARIABLE}."
        ) from error
