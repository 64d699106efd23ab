"""The Muse with the authors' later network: instance norm at half width."""

from jaxperceptual.configs import style_muse


def get_config():
    config = style_muse.get_config()
    config.net.norm = "instance"
    config.net.width = 0.5
    return config
