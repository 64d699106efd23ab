"""Super-resolution x4 by the pixel loss: the paper's comparison (section 4.2)."""

from jaxperceptual.configs import sr_x4_feat


def get_config():
    config = sr_x4_feat.get_config()
    config.objective.content.relu2_2 = 0.0
    config.objective.pixel_weight = 1.0
    return config
