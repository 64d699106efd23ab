"""Draws the README's pictures, of scikit-image's photos, by the models that ship.

python docs/images/draw.py [cubist.jpg] [super_resolution.jpg]
"""

import sys
from pathlib import Path

import numpy as np

from jaxperceptual import (
    evaluation,
    evaluation_report,
    images,
    inference,
    models,
    reporting,
    sources,
)

PATCH = 288  # px, from the middle
JUDGED = (1, 2)  # of scikit-image's photos


def cubist():
    photos = reporting.sample_photos("")
    outputs = inference.Stylizer(models.read_model("style_cubist"))(photos)
    return images.grid([*photos, *outputs], columns=len(photos))


def super_resolution():
    names = [name for name in models.pretrained_names() if name.startswith("sr")]
    names = [name for name in names if "x4" in name]
    names.sort(key=lambda name: "feat" in name)
    judge = evaluation.Judge(evaluation.read_task(names, factor=4, blur=None))
    source = sources.open_source(sources.EMBEDDED)
    strips = []
    for i in JUDGED:
        photo = source.load(i, at_least=None)
        left, top = ((side - PATCH) // 2 for side in photo.size)
        photo = photo.crop((left, top, left + PATCH, top + PATCH))
        judged = judge("", "", np.float32(photo), grey=False)
        strips.append(evaluation_report.strip(judged))
    return images.grid(strips, columns=1)


if __name__ == "__main__":
    drawings = {"cubist.jpg": cubist, "super_resolution.jpg": super_resolution}
    for name in sys.argv[1:] or drawings:
        images.write_image(Path(__file__).with_name(name), drawings[name]())
