"""Arrays to PyTorch's tensors and back, on the device that JAX is on."""

import jax
import numpy as np
import torch

from jaxperceptual.core import machine
from jaxperceptual.core.errors import InputError


def use_all_cores() -> None:
    """As many threads as JAX has cores, for the whole process."""
    torch.set_num_threads(machine.num_cores())


def peak_memory() -> int:
    """Bytes of a GPU that PyTorch has allocated at most."""
    return torch.cuda.max_memory_allocated()


def device() -> torch.device:
    """A GPU where JAX uses one, else the CPU."""
    return torch.device("cuda" if jax.default_backend() == "gpu" else "cpu")


def check_device() -> None:
    """InputError where JAX uses a GPU that this PyTorch cannot."""
    if device().type == "cuda" and not torch.cuda.is_available():
        raise InputError(
            f"JAX uses a GPU, and PyTorch {torch.__version__} cannot; install its CUDA "
            "build, leave out --reference, or compare on the CPU: JAX_PLATFORMS=cpu."
        )


def wait() -> None:
    """Until the device has done what it was given."""
    if device().type == "cuda":
        torch.cuda.synchronize()


def nchw(images: np.ndarray, *, channels_last: bool = False):
    """[n h w 3] of any dtype to a tensor [n 3 h w], contiguous or channels last."""
    tensor = torch.from_numpy(np.array(images)).to(device()).permute(0, 3, 1, 2)
    return tensor if channels_last else tensor.contiguous()


def nhwc(images) -> np.ndarray:
    """A tensor [n c h w] to [n h w c]."""
    return images.detach().float().cpu().permute(0, 2, 3, 1).numpy()


def as_tensor(x):
    return torch.from_numpy(np.array(x, np.float32)).to(device())
