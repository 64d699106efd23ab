"""Style transfer, The Muse: the paper's recipe (section 4.1 and the supplementary)."""

from ml_collections import ConfigDict

# Weights of eq. 4, a *sum* over the Gram matrix: STYLE_WEIGHT / c**2 is the weight of
# the mean that other implementations use. How it was chosen: docs/styles.md.
STYLE_WEIGHT = 2e9


def get_config() -> ConfigDict:
    config = ConfigDict()
    config.task = "style"
    config.seed = 0
    config.num_steps = 40_000  # 160,000 images / 4 a step: two passes over 80,000
    config.style_image = "la_muse.jpg"  # a path, or a file in configs/styles
    config.default_style_image = "cubist.png"  # where that one is not at hand
    config.style_size = 512  # px, long side
    config.style_weight = 1.0  # of the style terms; 0: found, by the painting
    config.steady_weight = 0.0  # of what a moved photo changes: for video
    config.loss_network = "vgg16"  # or alexnet, which has other layers
    config.vgg = "vgg16_torchvision"
    config.net = ConfigDict(dict(norm="batch", width=1.0, upsample="transposed"))
    config.data = ConfigDict(
        dict(
            source="embedded",  # or a folder, a tar, tfds:coco/2014
            image_size=256,
            batch_size=4,
            crop="stretch",  # as the paper; or random, or patch
            flip=False,
            cache="",  # a folder: decode once, then read a memory map
            on_device=True,  # with a cache that a GPU has room for: all photos there
            num_workers=0,  # processes; 0 reads in threads
        )
    )
    config.objective = ConfigDict(
        dict(
            content={"relu2_2": 1e5},
            style={
                "relu1_2": STYLE_WEIGHT / 64**2,
                "relu2_2": STYLE_WEIGHT / 128**2,
                "relu3_3": STYLE_WEIGHT / 256**2,
                "relu4_3": STYLE_WEIGHT / 512**2,
            },
            tv_weight=1e-4,
            pixel_weight=0.0,
        )
    )
    config.optimizer = ConfigDict(
        dict(
            learning_rate=1e-3,
            warmup_steps=0,
            decay_from=0,
            decay_steps=0,
            method="adam",  # or muon
            b1=0.9,  # of Adam's moments; of Muon's Adam too
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
    # What --quick changes: minutes on two CPU cores, from the network that ships.
    config.quick = ConfigDict(
        dict(
            init="gallery",
            num_steps=200,
            style_size=384,
            style_weight=0.0,
            net=dict(norm="instance", width=0.5, upsample="resize"),
            data=dict(image_size=192, batch_size=2),
            optimizer=dict(
                method="muon", learning_rate=3e-3, warmup_steps=10, decay_steps=200
            ),
            log_every_steps=10,
            sample_every_steps=100,
            checkpoint_every_steps=100,
        )
    )
    return config
