"""Perceptual losses for real-time style transfer and super-resolution, in JAX/Flax."""

from jaxperceptual import cpu as _cpu

_cpu.configure_xla()  # before JAX starts its backend
