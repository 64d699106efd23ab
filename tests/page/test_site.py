"""The page for any web server: its files; and in a browser, that it paints as we do."""

import functools
import http.server
import json
import shutil
import threading

import numpy as np
import pytest
from browsing import after, as_file, browser, choose, downloaded, opened, put
from helpers import Command, write_gallery
from PIL import Image

from jaxperceptual.core.errors import InputError
from jaxperceptual.inference.stylizer import Stylizer
from jaxperceptual.networks import pretrained
from jaxperceptual.page import onnxruntime_web, site

pytest.importorskip("onnx")
STYLES = {"wave": {"name": "wave.jpg", "sha256": "1"}, "dots": {}, "lines": {}}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / pretrained.FILE_NAME
    return write_gallery(path, STYLES)


def test_a_folder_whole_or_not_at_all(model, tmp_path, monkeypatch):
    (tmp_path / "other.tgz").write_bytes(b"no package")
    with pytest.raises(InputError, match="not the package onnxruntime-web"):
        site.write_site(tmp_path / "page", model, tmp_path / "other.tgz")
    with pytest.raises(InputError, match="missing.tgz: cannot be read"):
        site.write_site(tmp_path / "page", model, tmp_path / "missing.tgz")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(InputError, match="npm is missing.*--onnxruntime-web"):
        site.write_site(tmp_path / "page", model)
    assert [path.name for path in tmp_path.iterdir()] == ["other.tgz"]
    with pytest.raises(InputError, match="there is something; name a new folder"):
        site.write_site(tmp_path, model)
    monkeypatch.setattr(onnxruntime_web, "copy_files", lambda folder, package: None)
    made = site.write_site(tmp_path / "page", model)
    about = json.loads((made / "about.json").read_text())
    assert [style["name"] for style in about["styles"]] == [*STYLES]
    assert (made / "thumbnails/wave.webp").is_file()
    assert "Content-Security-Policy" in (made / "index.html").read_text()
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    site.write_site(".", model)
    names = {path.name for path in made.iterdir()}
    assert {path.name for path in (tmp_path / "empty").iterdir()} == names


def test_what_is_not_of_a_page(capsys, tmp_path, model):
    for argv, words in (
        (["--page", tmp_path / "p", "--style=wave"], "--style is not of a page"),
        (["--page", tmp_path / "p", "--model=style_cubist"], "those of a gallery"),
        (["-o", tmp_path / "x.onnx"], "no --model; name one"),
        (["-o", "x.onnx", "--onnxruntime-web=x.tgz"], "of a page; use it with --page"),
        (["--model", model, "--all-styles", "--style=wave", "-o=x.onnx"], "leave --st"),
    ):
        with pytest.raises(SystemExit) as ended:
            Command("export").exit(*argv)
        assert ended.value.code == 2 and words in capsys.readouterr().err
    assert not [*tmp_path.iterdir()]


@pytest.fixture(scope="module")
def address(model, tmp_path_factory):
    if shutil.which("npm") is None:
        pytest.skip("no npm")
    folder = tmp_path_factory.mktemp("web") / "page"
    Command("export")(f"--page={folder}", f"--model={model}")
    handler = functools.partial(Quiet, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


def photo(size=(60, 44)):
    corners = np.random.default_rng(0).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    image = Image.fromarray(corners).resize(size, Image.Resampling.BICUBIC)
    image.paste((255, 255, 250), (12, 9, 40, 30))  # flat, so that it gets grain
    image.putpixel((39, 29), (255, 255, 249))
    return image


@pytest.mark.slow
def test_the_browser_paints_as_we_do(address, model):
    with browser() as running:
        page = opened(running, address)
        pixels = np.float32(photo((61, 43)))
        found = page.evaluate(
            """async ([pixels, h, w, weights]) => {
                const { stylized, withGrain } = await import("./engine.js");
                const grained = withGrain(new Float32Array(pixels), h, w);
                const styles = new Float32Array(weights);
                return Array.from(await stylized(grained, h, w, styles));
            }""",
            [pixels.ravel().tolist(), 43, 61, [0.25, 0.75, 0.0]],
        )
        expected = Stylizer.from_pretrained(model, style="wave:1,dots:3")(pixels)
        apart = np.abs(np.reshape(found, expected.shape) - expected)
        assert apart.max() < 0.255  # a thousandth of the range

        # From the photo's file to the download's.
        after(page, lambda: page.set_input_files("#file", as_file(photo())))
        after(page, lambda: choose(page, "dots"))
        after(page, lambda: put(page, "strength", 70))
        after(page, lambda: page.check("#colors"))
        name, picture = downloaded(page)
        expected = Stylizer.from_pretrained(model, style="dots")(
            np.float32(photo()), strength=0.7, preserve_color=True
        )
        assert name == "photo-stylized.png"
        assert np.abs(np.int16(picture.convert("RGB")) - np.rint(expected)).max() <= 1
        text = {"name": "notes.jpg", "mimeType": "image/jpeg", "buffer": b"hello"}
        after(page, lambda: page.set_input_files("#file", text))
        assert "no image that this browser can read" in page.inner_text("#error")
        assert "3 styles" in page.inner_text("#state") and not page.troubles
