"""Style transfer by AlexNet in place of VGG-16: docs/loss-networks.md."""

from jaxperceptual.configs import style_cubist
from ml_collections import ConfigDict

CHANNELS = {"relu1": 64, "relu2": 192, "relu3": 384, "relu4": 256, "relu5": 256}
# As `style_muse.STYLE_WEIGHT`; both kinds of terms then begin as large as VGG-16's.
STYLE_WEIGHT = 5e9
CONTENT_WEIGHT = 2e5


def get_config():
    config = style_cubist.get_config()
    config.style_image = "starry_night.jpg"
    config.style_size = 512
    config.loss_network = "alexnet"
    config.objective.content = ConfigDict({"relu2": CONTENT_WEIGHT})
    config.objective.style = ConfigDict(
        {name: STYLE_WEIGHT / c**2 for name, c in CHANNELS.items()}
    )
    # Its first convolution takes every fourth pixel: without more of this, dots 4 px
    # apart are seen in the sky.
    config.objective.tv_weight = 3e-3
    config.quick.style_weight = 1.0  # what is found by the painting is VGG-16's
    return config
