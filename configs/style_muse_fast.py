"""The paper's network by a recipe that gets further in less time: docs/recipes.md."""

from jaxperceptual.configs import style_muse


def get_config():
    config = style_muse.get_config()
    config.num_steps = 10_000
    config.optimizer.method = "muon"
    config.optimizer.learning_rate = 5e-3
    config.optimizer.warmup_steps = 100
    config.optimizer.decay_steps = config.num_steps
    return config
