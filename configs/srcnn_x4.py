"""SRCNN x4 (Dong et al. 2014), the paper's baseline: 9-1-5, on brightness alone."""

from jaxperceptual.configs import sr_x4_pixel
from ml_collections import ConfigDict


def get_config():
    config = sr_x4_pixel.get_config()
    config.net = ConfigDict(dict(name="SRCNN", factor=4))
    config.objective.pixel_weight = 0.0
    config.objective.luma_weight = 1.0
    config.data.batch_size = 16
    config.data.image_size = 144
    return config
