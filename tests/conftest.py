"""Four simulated CPU devices, and what several test files share."""

import os
import tempfile

# Before JAX starts. The tolerances are float32's, not those of an accelerator's TF32.
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=4"
)

# Runs of one configuration compile once, in this process and in those it starts.
os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="jaxperceptual-")
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.5"

import importlib.machinery
import importlib.util
from pathlib import Path

import jax
import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def key():
    return jax.random.key(0)


def load_script(name):
    """bin/NAME as a module; its `main(argv)` is the command."""
    loader = importlib.machinery.SourceFileLoader(name, str(ROOT / "bin" / name))
    spec = importlib.util.spec_from_loader(name, loader)
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module
