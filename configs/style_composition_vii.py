"""Style transfer, Composition VII; weights relative to The Muse as in the release."""

from jaxperceptual.configs import style_muse


def get_config():
    config = style_muse.get_config()
    config.style_image = "composition_vii.jpg"
    config.num_steps = 60_000  # the release's
    config.objective.tv_weight /= 10  # release: 1/5/1e-6, Muse 1/5/1e-5
    return config
