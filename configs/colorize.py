"""Colourisation, the future work that the paper names: grey photos in, colour out."""

from jaxperceptual.configs import sr_x4_feat
from ml_collections import ConfigDict


def get_config():
    config = sr_x4_feat.get_config()
    config.net.factor = 1
    config.degradation = ConfigDict(dict(name="grey"))
    config.objective.pixel_weight = 0.01  # about as much as the feature loss
    return config
