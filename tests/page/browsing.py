"""A headless Chromium, where there is one, and what tests do with pages in it."""

import contextlib
import io
import shutil

import numpy as np
import pytest
from PIL import Image


@contextlib.contextmanager
def browser():
    """Skips where Playwright or Chromium is missing. Its camera is a test picture."""
    sync_api = pytest.importorskip("playwright.sync_api")
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no Chromium")
    flags = [
        "--no-sandbox",  # as root
        "--use-fake-ui-for-media-stream",
        "--use-fake-device-for-media-stream",
    ]
    with sync_api.sync_playwright() as made:
        running = made.chromium.launch(executable_path=chromium, args=flags)
        yield running
        running.close()


def opened(running, address, **options):
    """A page whose errors, and requests to anyone else, fail the test at its end."""
    page = running.new_context(accept_downloads=True, **options).new_page()
    page.troubles = []
    page.on("pageerror", lambda error: page.troubles.append(str(error)))

    def on_request(request):
        if not request.url.startswith((address, "blob:", "data:")):
            page.troubles.append(request.url)

    page.on("request", on_request)
    page.goto(address)
    page.wait_for_selector("body[data-styles]")
    return page


def after(page, action):
    """Does it, and waits for the picture that comes of it."""
    done = count(page, "done")
    action()
    until(page, "done", done + 1)


def count(page, name):
    """Of pictures, `done`, or of the camera's, `frames`."""
    return int(page.get_attribute("body", f"data-{name}") or 0)


def until(page, name, number, seconds=60):
    """Waits; not by `wait_for_function`, which the page's policy forbids."""
    for _ in range(20 * seconds):
        if count(page, name) >= number:
            return
        page.wait_for_timeout(50)
    raise AssertionError(f"{name}: {count(page, name)} after {seconds} s")


def as_file(image, name="photo.png", kind="png"):
    """For `set_input_files`."""
    data = io.BytesIO()
    image.save(data, kind)
    return {"name": name, "mimeType": f"image/{kind}", "buffer": data.getvalue()}


def shown(page, element="after"):
    """The pixels of an image in the page."""
    numbers = page.evaluate(
        """async (id) => {
            const image = document.getElementById(id);
            await image.decode();
            const canvas = document.createElement("canvas");
            [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
            const context = canvas.getContext("2d");
            context.drawImage(image, 0, 0);
            const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
            return [canvas.height, canvas.width, Array.from(data)];
        }""",
        element,
    )
    h, w, values = numbers
    return np.uint8(values).reshape(h, w, 4)[..., :3]


def downloaded(page):
    """(name, picture) that the button gives."""
    with page.expect_download() as waiting:
        page.click("#save")
    with Image.open(waiting.value.path()) as picture:
        picture.load()
    return waiting.value.suggested_filename, picture


def choose(page, style):
    page.check(f"#styles input[value='{style}']", force=True)


def put(page, element, value):
    """A slider, a box or a list, as someone who uses it would leave it."""
    page.evaluate(
        """([id, value]) => {
            const input = document.getElementById(id);
            input.value = value;
            for (const kind of ["input", "change"])
                input.dispatchEvent(new Event(kind, { bubbles: true }));
        }""",
        [element, str(value)],
    )
