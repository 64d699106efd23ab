"""Super-resolution x8 by the feature loss (section 4.2)."""

from jaxperceptual.configs import sr_x4_feat


def get_config():
    config = sr_x4_feat.get_config()
    config.net.factor = 8
    return config
