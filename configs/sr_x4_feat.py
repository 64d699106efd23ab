"""Super-resolution x4 by the feature loss: the paper's recipe (section 4.2)."""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    config = ConfigDict()
    config.task = "restoration"
    config.seed = 0
    config.num_steps = 200_000  # 800,000 patches / 4 a step
    config.loss_network = "vgg16"  # or alexnet, which has other layers
    config.vgg = "vgg16_torchvision"
    config.net = ConfigDict(
        dict(
            name="SuperResolutionNet",
            factor=4,
            norm="batch",
            upsample="transposed",
            skip=False,
        )
    )
    # What the network learns to undo; the factor is the network's.
    config.degradation = ConfigDict(dict(name="downsample", blur=1.0))
    config.data = ConfigDict(
        dict(
            source="embedded",  # or a folder, a tar, tfds:coco/2014
            image_size=288,  # px of the large image: the input has a factor-th of it
            batch_size=4,
            crop="patch",  # unscaled: what is learnt is the sharpness of real pixels
            flip=False,
            cache="",  # not with crop="patch", which cuts another one each time
            on_device=True,  # of use with a cache alone
            num_workers=0,  # processes; 0 reads in threads
        )
    )
    # Adam follows the gradient's direction, not its size: 1.0 is as good as any.
    config.objective = ConfigDict(
        dict(
            content={"relu2_2": 1.0},
            style={},
            tv_weight=0.0,
            pixel_weight=0.0,
            luma_weight=0.0,
        )
    )
    # decay_steps > 0: the rate falls along a cosine, to 0 there; the paper keeps it.
    config.optimizer = ConfigDict(
        dict(
            learning_rate=1e-3,
            warmup_steps=0,
            decay_from=0,
            decay_steps=0,
            method="adam",
            b1=0.9,
            b2=0.999,
        )
    )
    config.init = ""  # a trained network to start from
    config.trained = "all"  # or norms: their scales and biases alone
    config.precision = "float32"  # or tf32, bfloat16, on a device with such units
    config.steps_per_dispatch = 1  # more keeps a fast device busy; on a CPU leave 1
    config.log_every_steps = 20
    config.sample_every_steps = 1000
    config.sample_photos = ""  # a folder; empty: scikit-image's photos
    config.checkpoint_every_steps = 500
    config.keep_last = 3
    config.keep_every_steps = 10_000
    config.tensorboard = False
    # What --quick changes: minutes on two CPU cores.
    config.quick = ConfigDict(
        dict(
            num_steps=600,
            data=dict(image_size=144),
            optimizer=dict(decay_steps=600),
            log_every_steps=10,
            sample_every_steps=200,
            checkpoint_every_steps=100,
        )
    )
    return config
