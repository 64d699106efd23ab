"""Super-resolution x4 by AlexNet in place of VGG-16: docs/loss-networks.md."""

from jaxperceptual.configs import sr_x4
from ml_collections import ConfigDict


def get_config():
    config = sr_x4.get_config()
    config.loss_network = "alexnet"
    # As large, on what sr_x4 makes of photos, as the terms of that.
    config.objective.content = ConfigDict({"relu1": 7.0, "relu2": 3.5})
    return config
