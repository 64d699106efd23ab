"""Draws cubist.jpg: scikit-image's photos, and what the shipped model makes of them.

python docs/images/draw.py
"""

from pathlib import Path

from jaxperceptual import images, inference, models, reporting

if __name__ == "__main__":
    photos = reporting.sample_photos("")
    outputs = inference.Stylizer(models.read_model("style_cubist"))(photos)
    grid = images.grid([*photos, *outputs], columns=len(photos))
    images.write_image(Path(__file__).with_name("cubist.jpg"), grid)
