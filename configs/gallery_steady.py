"""The gallery, trained on so that strokes stay when a photo moves: for video.

What its weight does, and what it costs: docs/video.md#steady.
"""

from jaxperceptual.configs import gallery


def get_config():
    config = gallery.get_config()
    config.init = "gallery"
    config.steady_weight = 3e2
    config.data.batch_size = 4
    config.data.flip = True
    config.num_steps = 2000
    config.optimizer.learning_rate = 2e-3
    config.optimizer.warmup_steps = 20
    config.optimizer.decay_steps = config.num_steps
    return config
