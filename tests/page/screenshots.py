"""Draws the picture of the page in docs/: `python tests/page/screenshots.py OUT.jpg`.

In light, dark, and on a phone, side by side; the photo is scikit-image's. A server
must run: `bin/serve`. Needs what `test_browser` needs.
"""

import io
import sys

import skimage.data
from browsing import after, as_file, browser, choose, put
from PIL import Image

ADDRESS = "http://127.0.0.1:8000"
LOOKS = (  # colour scheme, px, style, where the slider stands
    ("light", (1240, 900), "irises", 45),
    ("dark", (1240, 900), "udnie", 30),
    ("light", (390, 900), "wave", 50),
)


def main(target):
    photo = as_file(Image.fromarray(skimage.data.astronaut()), "astronaut.png")
    shots = []
    with browser() as running:
        for scheme, (width, height), style, at in LOOKS:
            page = running.new_page(
                color_scheme=scheme, viewport={"width": width, "height": height}
            )
            page.goto(ADDRESS)
            page.wait_for_selector("body[data-styles]")
            after(page, lambda p=page: p.set_input_files("#file", photo))
            after(page, lambda p=page, style=style: choose(p, style))
            put(page, "split", at)
            page.wait_for_timeout(1000)
            shots.append(Image.open(io.BytesIO(page.screenshot())).convert("RGB"))
    joined = Image.new("RGB", (sum(s.width + 16 for s in shots) - 16, 900), "white")
    left = 0
    for shot in shots:
        joined.paste(shot, (left, 0))
        left += shot.width + 16
    joined.resize((joined.width // 2, 450), Image.Resampling.LANCZOS).save(
        target, quality=88
    )


if __name__ == "__main__":
    main(sys.argv[1])
