"""Everything once, at a size that a test can afford: not for pictures."""

from jaxperceptual.configs import style_muse
from ml_collections import ConfigDict


def get_config():
    config = style_muse.get_config()
    config.num_steps = 4
    config.style_image = "cubist.png"
    config.style_size = 64
    config.net.width = 0.125
    config.data.image_size = 32
    config.objective.style = {"relu1_2": 1e4}
    config.log_every_steps = 1
    config.sample_every_steps = 2
    config.checkpoint_every_steps = 2
    config.keep_every_steps = 0
    config.quick = ConfigDict(dict(num_steps=2))
    return config
