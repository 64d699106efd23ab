"""Super-resolution x8 by the pixel loss (section 4.2)."""

from jaxperceptual.configs import sr_x4_pixel


def get_config():
    config = sr_x4_pixel.get_config()
    config.net.factor = 8
    return config
