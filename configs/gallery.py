"""Many styles in one network: each image of a batch is trained in its own style.

Half width and resizing, as `style_cubist`. The rate, its fall and the batch are not the
paper's: docs/recipes.md.
"""

from typing import NamedTuple

from jaxperceptual.configs import style_cubist
from ml_collections import ConfigDict


class Style(NamedTuple):
    """A style: its title and image, in configs/styles, at what size; its weight.

    size: px, long side. 512 for brushwork, less where bands and facets are the look.
    weight: of the style terms, times STYLE_WEIGHT (`style_muse`). Paintings differ in
        how far photos' Gram matrices are from theirs, and so in how much of a weight
        their textures take to come out: docs/styles.md has how these were chosen.
    """

    title: str
    image: str
    size: int
    weight: float


STYLES = {
    "composition_a": Style(
        "Piet Mondrian, Composition A, 1920", "composition_a.jpg", 256, 3.0
    ),
    "composition_vii": Style(
        "Wassily Kandinsky, Composition VII, 1913", "composition_vii.jpg", 512, 4.5
    ),
    "composition_viii": Style(
        "Wassily Kandinsky, Composition VIII, 1923", "composition_viii.jpg", 384, 2.5
    ),
    "cubist": Style("drawn by a program of this project", "cubist.png", 384, 1.0),
    "cyclist": Style(
        "Umberto Boccioni, Dynamism of a Cyclist, 1913", "cyclist.jpg", 384, 6.0
    ),
    "delaunay": Style("Robert Delaunay, Portrait, 1906", "delaunay.jpg", 384, 4.5),
    "four_girls": Style(
        "August Macke, Four Girls, 1912-13", "four_girls.jpg", 384, 8.0
    ),
    "grande_jatte": Style(
        "Georges Seurat, The Seine at La Grande Jatte, 1888",
        "grande_jatte.jpg",
        512,
        2.5,
    ),
    "irises": Style("Vincent van Gogh, Irises, 1889", "irises.jpg", 512, 4.0),
    "rhinoceros": Style(
        "Albrecht Dürer, The Rhinoceros, woodcut, 1515", "rhinoceros.jpg", 512, 0.9
    ),
    "starry_night": Style(
        "Vincent van Gogh, The Starry Night, 1889", "starry_night.jpg", 512, 4.0
    ),
    "strawberry_thief": Style(
        "William Morris, Strawberry Thief, printed cotton, 1883",
        "strawberry_thief.jpg",
        512,
        1.3,
    ),
    "the_kiss": Style("Gustav Klimt, The Kiss, 1907-08", "the_kiss.jpg", 384, 8.0),
    "the_scream": Style("Edvard Munch, The Scream, 1893", "the_scream.jpg", 384, 8.0),
    "udnie": Style("Francis Picabia, Udnie, 1913", "udnie.jpg", 384, 8.0),
    "wave": Style(
        "Katsushika Hokusai, The Great Wave off Kanagawa, about 1831",
        "wave.jpg",
        512,
        6.0,
    ),
}


def get_config():
    config = style_cubist.get_config()
    del config.style_image, config.default_style_image
    del config.style_size, config.style_weight
    config.styles = ConfigDict({name: s._asdict() for name, s in STYLES.items()})
    config.data.batch_size = len(STYLES)  # each style once a step
    config.num_steps = 10_000
    config.optimizer.method = "muon"
    config.optimizer.learning_rate = 5e-3
    config.optimizer.warmup_steps = 100
    config.optimizer.decay_steps = config.num_steps
    # One more style (--style), by scales and biases of its own: the others stay.
    del config.quick.net, config.quick.style_size, config.quick.style_weight
    config.quick.trained = "norms"
    return config
