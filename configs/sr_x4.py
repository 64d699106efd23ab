"""Super-resolution x4 that is sharp and has no pattern: what `super_resolve` uses.

Not the paper's: the feature loss alone (`sr_x4_feat`) leaves a chequer, which resizing
in place of transposed convolutions, no norm, and a little of the pixel loss prevent;
`skip` hands on the input's colours. How it was found: docs/super-resolution.md.
"""

from jaxperceptual.configs import sr_x4_feat


def get_config():
    config = sr_x4_feat.get_config()
    config.net.norm = None
    config.net.upsample = "resize"
    config.net.skip = True
    config.objective.content.relu3_3 = 0.7
    config.objective.pixel_weight = 0.01
    config.num_steps = 20_000
    config.optimizer.warmup_steps = 100
    config.optimizer.decay_steps = config.num_steps
    return config
