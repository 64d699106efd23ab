"""The runtime of the page that needs no server: onnxruntime-web, from its npm package.

One version, whose package is known by its hash, so that what visitors' browsers run is
what was tested here.
"""

import hashlib
import os
import subprocess
import tarfile
import tempfile
from pathlib import Path

from jaxperceptual.core.errors import InputError

VERSION = "1.30.0"
_SHA512 = (
    "ab4cbe26baedba45d2cec05610c71c55fa97db92d19a8b171c5f8269126683ca"
    "590a5cdc57bb2f35ce2b298de32f4d956fb42644c0ecd528a0a91e025c07ca61"
)
# By the file that a page loads: WASM alone, and with WebGPU. A visitor fetches one.
FILES = (
    *("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm"),
    "ort.webgpu.min.mjs",
    "ort-wasm-simd-threaded.asyncify.mjs",
    "ort-wasm-simd-threaded.asyncify.wasm",
)


def copy_files(folder: Path, package: str | os.PathLike | None = None) -> None:
    """Writes the runtime's files into the folder.

    package: the npm package as a file, what `npm pack onnxruntime-web@VERSION` gives;
        None: npm fetches it.

    Raises InputError without npm, or for another package.
    """
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(package) if package else _packed(temporary)
        try:
            digest = hashlib.sha512(path.read_bytes()).hexdigest()
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror}).") from error
        if digest != _SHA512:
            raise InputError(
                f"{path}: not the package onnxruntime-web {VERSION}; "
                f"npm pack onnxruntime-web@{VERSION} fetches it."
            )
        with tarfile.open(path) as archive:
            for name in FILES:
                member = archive.extractfile(f"package/dist/{name}")
                (folder / name).write_bytes(member.read())


def _packed(folder: str) -> Path:
    command = ["npm", "pack", "--silent", f"onnxruntime-web@{VERSION}"]
    try:
        subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
    except FileNotFoundError:
        raise InputError(
            "npm is missing, which fetches onnxruntime-web; install Node.js, or name "
            f"the package's file: --onnxruntime-web onnxruntime-web-{VERSION}.tgz"
        ) from None
    except subprocess.CalledProcessError as error:
        reason = (error.stderr or error.stdout).strip().splitlines()[-1:]
        raise InputError(f"{' '.join(command)}: {' '.join(reason)}") from error
    return next(Path(folder).glob("*.tgz"))
