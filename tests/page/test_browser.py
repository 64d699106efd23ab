"""The page in a headless Chromium, against the server."""

import re
import subprocess
import sys

import numpy as np
import pytest
from browsing import (
    after,
    as_file,
    browser,
    choose,
    downloaded,
    opened,
    put,
    shown,
    until,
)
from helpers import ROOT, Command, write_gallery
from PIL import Image

from jaxperceptual.networks import pretrained

pytestmark = pytest.mark.slow
STYLES = {"wave": {"name": "wave.jpg", "sha256": "1"}, "dots": {}, "lines": {}}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / pretrained.FILE_NAME
    return write_gallery(path, STYLES)


@pytest.fixture(scope="module")
def address(model):
    argv = [ROOT / "bin/serve", "--model", model, "--port", "0"]
    process = subprocess.Popen(
        [sys.executable, *map(str, argv)], stdout=subprocess.PIPE, text=True
    )
    yield process.stdout.readline().split()[0]
    process.terminate()
    process.communicate(timeout=60)


@pytest.fixture(scope="module")
def chromium():
    with browser() as running:
        yield running


@pytest.fixture
def page(chromium, address):
    made = opened(chromium, address)
    yield made
    assert not made.troubles
    made.context.close()


def photo(size=(60, 44), seed=0):
    corners = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    return Image.fromarray(corners).resize(size, Image.Resampling.BICUBIC)


def test_a_download_is_what_stylize_writes(page, model, tmp_path):
    image = photo()
    image.save(tmp_path / "in.png")
    after(page, lambda: page.set_input_files("#file", as_file(image)))
    after(page, lambda: choose(page, "dots"))
    after(page, lambda: page.select_option("#second", "lines"))
    after(page, lambda: put(page, "share", 25))
    after(page, lambda: put(page, "strength", 70))
    after(page, lambda: page.check("#colors"))
    Command("stylize")(
        *(tmp_path / "in.png", f"-o={tmp_path / 'out.png'}", f"--model={model}"),
        *("--style=dots:0.75,lines:0.25", "--strength=0.7", "--preserve-color"),
    )
    name, found = downloaded(page)
    assert name == "photo-stylized.png"
    with Image.open(tmp_path / "out.png") as expected:
        assert np.abs(np.int16(found) - np.int16(expected)).max() <= 1
    np.testing.assert_array_equal(shown(page), np.asarray(found.convert("RGB")))
    page.select_option("#format", "webp")
    name, found = downloaded(page)
    assert name == "photo-stylized.webp" and found.format == "WEBP"


def test_dropped_pasted_and_several_photos(page):
    send = """([kind, parts]) => {
        const data = new DataTransfer();
        for (const [name, bytes] of parts)
            data.items.add(new File([new Uint8Array(bytes)], name));
        const event = kind === "drop"
            ? new DragEvent("drop", { dataTransfer: data, bubbles: true })
            : new ClipboardEvent("paste", { clipboardData: data, bubbles: true });
        document.body.dispatchEvent(event);
    }"""
    files = [as_file(photo(seed=i), f"{i}.png") for i in range(3)]
    parts = [[file["name"], list(file["buffer"])] for file in files]
    after(page, lambda: page.evaluate(send, ["drop", parts]))
    assert page.locator("#strip button").count() == 3
    first = shown(page)
    after(page, lambda: page.locator("#strip button").nth(2).click())
    assert np.any(first != shown(page))
    after(page, lambda: page.evaluate(send, ["paste", parts[:1]]))
    np.testing.assert_array_equal(shown(page), first)
    assert page.locator("#strip").is_hidden()


def test_the_slider_and_the_keyboard(page):
    after(page, lambda: page.set_input_files("#file", as_file(photo())))
    page.focus("#split")
    for _ in range(20):
        page.keyboard.press("ArrowRight")
    at = page.evaluate("getComputedStyle(document.getElementById('after')).clipPath")
    assert re.search(r"inset\(0(px)? 0(px)? 0(px)? 10%\)", at)
    page.focus("#styles input:checked")
    before = shown(page)
    after(page, lambda: page.keyboard.press("ArrowRight"))
    assert page.locator("#styles input:checked").get_attribute("value") == "dots"
    assert np.any(before != shown(page))


def test_enlarged_without_a_style(page):
    after(page, lambda: page.set_input_files("#file", as_file(photo())))
    after(page, lambda: choose(page, "none"))
    np.testing.assert_array_equal(shown(page), np.asarray(photo()))
    after(page, lambda: page.select_option("#enlarge", "2"))
    assert shown(page).shape == (88, 120, 3)
    assert downloaded(page)[0] == "photo-enlarged.png"


def test_a_text_file_named_jpg_is_a_sentence_and_the_next_photo_works(page):
    text = {"name": "notes.jpg", "mimeType": "image/jpeg", "buffer": b"hello"}
    after(page, lambda: page.set_input_files("#file", text))
    assert "cannot be read as an image" in page.inner_text("#error")
    assert page.locator("#save").is_disabled()
    large = text | {"buffer": bytes(33_000_000)}
    after(page, lambda: page.set_input_files("#file", large))
    assert "larger than 32 MB" in page.inner_text("#error")
    after(page, lambda: page.set_input_files("#file", as_file(photo())))
    assert page.locator("#error").is_hidden() and page.locator("#save").is_enabled()


def test_the_camera(page):
    page.locator(".camera").first.click()
    until(page, "frames", 3)
    assert shown(page).shape == shown(page, "before").shape
    assert "pictures a second" in page.inner_text("#told")
    name, picture = downloaded(page)
    assert name == "camera-stylized.png" and max(picture.size) == 320
    page.locator(".bar .camera").click()
    assert page.locator(".bar .camera").inner_text() == "Use the camera"


def test_a_phone_has_no_sideways_scrolling(chromium, address):
    page = opened(chromium, address, viewport={"width": 360, "height": 740})
    after(page, lambda: page.set_input_files("#file", as_file(photo())))
    wide = page.evaluate("document.documentElement.scrollWidth")
    assert wide <= 360 and not page.troubles
    page.context.close()
