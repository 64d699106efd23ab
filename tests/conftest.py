"""Four simulated CPU devices, and what several test files share."""

import gc
import os
from pathlib import Path

# Before JAX starts. The tolerances are float32's, not those of an accelerator's TF32.
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=4"
    # Programs run for less time than they compile here: few passes, and each in one
    # piece, since the other cores have tests of their own.
    " --xla_backend_optimization_level=0 --xla_cpu_parallel_codegen_split_count=1"
)
os.environ["JAX_INCLUDE_FULL_TRACEBACKS_IN_LOCATIONS"] = "false"

# PyTorch's threads would wait for each other spinning, on cores that other tests use.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

# What is compiled twice, in this process, those it starts and the next run's, compiles
# once. (`rm -r .pytest_cache` for the time of a first run.)
os.environ["JAX_COMPILATION_CACHE_DIR"] = str(
    Path(__file__).parents[1] / ".pytest_cache" / "compiled"
)
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"

import jax
import pytest

from jaxperceptual.core import compilation

# Tracing makes millions of objects, but few circles: looking for those took a tenth of
# the time.
gc.set_threshold(200_000, 50, 1000)


def pytest_configure(config):
    folder = Path(os.environ["JAX_COMPILATION_CACHE_DIR"])
    if folder.is_dir() and not hasattr(config, "workerinput"):
        compilation.prune(folder, 2 * 1024**3)


@pytest.fixture
def key():
    return jax.random.key(0)
