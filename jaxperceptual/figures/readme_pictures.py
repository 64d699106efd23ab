"""Draws the README's pictures, of scikit-image's photos, by the models that ship.

python -m jaxperceptual.figures.readme_pictures docs/images [cubist.jpg] [...]
"""

import sys
from pathlib import Path

import numpy as np

from jaxperceptual.data import sources
from jaxperceptual.evaluation import report
from jaxperceptual.evaluation.super_resolution import Judge, read_task
from jaxperceptual.images import sheets, squares
from jaxperceptual.images.writing import write_image
from jaxperceptual.inference.stylizer import Stylizer
from jaxperceptual.networks import pretrained
from jaxperceptual.networks.model_file import read_model

SIDE = 256  # px, of the photos to be stylised
PATCH = 288  # px, from the middle
JUDGED = (1, 2)  # of scikit-image's photos


def cubist():
    source = sources.open_source(sources.EMBEDDED)
    pictures = [source.load(i, SIDE) for i in range(len(source))]
    photos = np.stack([np.float32(squares.centre(p, SIDE)) for p in pictures])
    outputs = Stylizer(read_model("style_cubist"))(photos)
    return sheets.grid([*photos, *outputs], columns=len(photos))


def super_resolution():
    names = [name for name in pretrained.pretrained_names() if "x4" in name]
    names.sort(key=lambda name: (name == pretrained.ENLARGERS[4], "feat" in name))
    judge = Judge(read_task(names, factor=4, blur=None))
    source = sources.open_source(sources.EMBEDDED)
    strips = []
    for i in JUDGED:
        photo = source.load(i, at_least=None)
        left, top = ((side - PATCH) // 2 for side in photo.size)
        photo = photo.crop((left, top, left + PATCH, top + PATCH))
        judged = judge("", "", np.float32(photo), grey=False)
        strips.append(report.strip(judged))
    return sheets.grid(strips, columns=1)


if __name__ == "__main__":
    drawings = {"cubist.jpg": cubist, "super_resolution.jpg": super_resolution}
    folder, *names = sys.argv[1:]
    for name in names or drawings:
        write_image(Path(folder) / name, drawings[name]())
