"""Style transfer, Starry Night; weights relative to The Muse as in the release."""

from jaxperceptual.configs import style_muse


def get_config():
    config = style_muse.get_config()
    config.style_image = "starry_night.jpg"
    for layer, weight in config.objective.style.items():
        config.objective.style[layer] = (
            weight * 3 / 5
        )  # release: 1/3/1e-5, Muse 1/5/1e-5
    return config
