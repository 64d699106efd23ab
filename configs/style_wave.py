"""Style transfer, The Great Wave; weights relative to The Muse as in the release."""

from jaxperceptual.configs import style_muse


def get_config():
    config = style_muse.get_config()
    config.style_image = "wave.jpg"
    config.objective.tv_weight *= 10  # release: 1/5/1e-4, Muse 1/5/1e-5
    return config
