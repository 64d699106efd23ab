"""Super-resolution x2, trained as `sr_x4`."""

from jaxperceptual.configs import sr_x4


def get_config():
    config = sr_x4.get_config()
    config.net.factor = 2
    return config
