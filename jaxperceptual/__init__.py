"""Perceptual losses for real-time style transfer and super-resolution, in JAX/Flax."""

from jaxperceptual.core import xla as _xla

_xla.configure_xla()  # before JAX starts its backend
