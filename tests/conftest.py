"""Four simulated CPU devices, and what several test files share."""

import os
import tempfile

# Before JAX starts. The tolerances are float32's, not those of an accelerator's TF32.
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=4"
    # In place of the option that `cpu.configure_xla` sets, which has some of the tests'
    # degenerate programs compile for 25 s in place of 5. `test_benchmark` holds what a
    # command runs, with that option, to PyTorch.
    " --xla_backend_extra_options=xla_cpu_none"
)

# What is compiled twice, in this process and in those it starts, compiles once.
os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="jaxperceptual-")
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"

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


def pixel_problem(size, config="style_muse.py", num_images=2):
    """`(objective, features_fn, content_layers, frozen, targets)` on real weights."""
    import numpy as np

    from jaxperceptual import configs, goals

    config = configs.load_config(config)
    config.style_image = "cubist.png"
    config.style_size = 64
    goal = goals.load_goal(config)
    rng = np.random.default_rng(0)
    coarse = rng.uniform(0, 255, (num_images, 4, 4, 3)).astype(np.float32)
    targets = np.asarray(
        jax.image.resize(coarse, (num_images, size, size, 3), "cubic").clip(0, 255)
    )
    return *goal[:4], targets
