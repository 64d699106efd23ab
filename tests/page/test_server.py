"""The page's server, without a browser: pictures, refusals, bounds.

In a browser: `test_browser`.
"""

import asyncio
import io
import platform
import re
import threading

import httpx
import numpy as np
import pytest
from helpers import Command, style_model
from PIL import Image

from jaxperceptual.core.errors import InputError
from jaxperceptual.networks import pretrained
from jaxperceptual.networks.model_file import write_model
from jaxperceptual.page import server, studio

STYLES = {"wave": {"name": "wave.jpg", "sha256": "1"}, "dots": {}}
TRAINED = {"training": {"styles.wave.title": "Hokusai, Wave"}, "steps": 7}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / pretrained.FILE_NAME
    made = style_model(TRAINED, norm="instance", num_styles=2)
    write_model(path, made._replace(styles=STYLES))
    return path


@pytest.fixture(scope="module")
def client(model):
    app = server.application(studio.Studio(model), warm=False, max_megabytes=0.1)
    return Client(app)


class Client:
    """Requests to an application, without a socket, one after the other."""

    def __init__(self, app, base_url="http://127.0.0.1:8000"):
        self._options = dict(transport=httpx.ASGITransport(app), base_url=base_url)

    def request(self, *args, **options):
        async def one():
            async with httpx.AsyncClient(**self._options) as client:
                return await client.request(*args, **options)

        return asyncio.run(one())

    def get(self, path, **options):
        return self.request("GET", path, **options)

    def post(self, path, **options):
        return self.request("POST", path, **options)


def encoded(image, kind="png"):
    file = io.BytesIO()
    image.save(file, kind)
    return file.getvalue()


def photo(mode="RGB", size=(44, 30), seed=0):
    shape = (size[1], size[0], {"RGB": 3, "RGBA": 4}[mode])
    pixels = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    return Image.fromarray(pixels, mode=None)


def asked(client, image, **wish):
    answer = client.post("/api/picture", params=wish, content=encoded(image))
    assert answer.status_code == 200, answer.text
    return Image.open(io.BytesIO(answer.content))


@pytest.mark.skipif(
    platform.machine().lower() not in ("x86_64", "amd64"), reason="oneDNN is of x86"
)
def test_the_first_of_a_size_is_made_at_once_and_then_by_the_faster_program(tmp_path):
    made = style_model(norm="instance", upsample="resize", num_styles=len(STYLES))
    write_model(tmp_path / "model.safetensors", made._replace(styles=STYLES))
    work = studio.Studio(tmp_path / "model.safetensors")
    data = encoded(photo(size=(96, 84)))

    def pictures():
        wishes = [studio.Wish(style, size=96, strength=0.9) for style in STYLES]
        return [
            np.int16(Image.open(io.BytesIO(work.picture(data, wish))))
            for wish in wishes
        ]

    at_first = pictures()
    assert work.wanted == [(84, 96)] and work.num_programs == 1  # for both styles
    work.warm_up(work.wanted.pop())
    then = pictures()
    assert not work.wanted and work.num_programs == 1
    for first, later in zip(at_first, then, strict=True):
        assert np.abs(first - later).max() <= 1  # rounded
    assert np.abs(then[0] - then[1]).max() > 1


@pytest.mark.parametrize(
    "wish, argv",
    [
        ({"style": "wave"}, ["--style=wave"]),
        ({"style": "wave:3,dots:1", "strength": "0.4"}, None),
        ({"style": "dots", "preserve_color": "1", "size": "32"}, None),
        ({"style": "dots", "style_scale": "1.5"}, None),
    ],
)
def test_a_picture_is_what_stylize_writes(client, model, tmp_path, wish, argv):
    source, target = tmp_path / "in.png", tmp_path / "out.png"
    image = photo("RGBA" if "strength" in wish else "RGB")
    source.write_bytes(encoded(image))
    argv = [f"--{key.replace('_', '-')}={value}" for key, value in wish.items()]
    argv = [a.replace("--preserve-color=1", "--preserve-color") for a in argv]
    Command("stylize")(source, f"-o={target}", f"--model={model}", *argv)
    with Image.open(target) as expected:
        found = asked(client, image, **wish)
        assert found.mode == expected.mode and found.size == expected.size
        # Programs of the two ways of choosing one: a rounding here and there.
        apart = np.abs(np.int16(found) - np.int16(expected))
        assert apart.max() <= 1 and (apart > 0).mean() < 0.01
        assert found.info["icc_profile"] == expected.info["icc_profile"]


def test_enlarged_is_what_super_resolve_makes_of_it(client, tmp_path):
    source, target = tmp_path / "in.png", tmp_path / "out.png"
    source.write_bytes(encoded(photo(size=(20, 12))))
    Command("super_resolve")(source, f"-o={target}", "--scale=2")
    found = asked(client, photo(size=(20, 12)), style="none", enlarge="2")
    with Image.open(target) as expected:
        assert found.size == (40, 24)
        np.testing.assert_array_equal(found, expected)


def test_formats_and_what_the_page_is_told(client):
    for name, kind in (("jpg", "JPEG"), ("webp", "WEBP")):
        found = asked(client, photo("RGBA"), style="wave", format=name)
        assert found.format == kind and found.size == (44, 30)
    told = client.get("/api/about").json()
    assert told["styles"] == [
        {"name": "wave", "title": "Hokusai, Wave"},
        {"name": "dots", "title": "dots"},
    ]
    assert told["default"] == "wave" and told["warm"] is True
    thumbnail = client.get("/api/thumbnails/wave")
    with Image.open(io.BytesIO(thumbnail.content)) as picture:
        assert picture.size == (studio.THUMBNAIL,) * 2
    for name in ("dots", "nobody", "..%2F..%2Fpyproject.toml", "cubist.png"):
        assert client.get(f"/api/thumbnails/{name}").status_code == 404


@pytest.mark.parametrize(
    "wish, body, status, words",
    [
        ({"style": "wave"}, b"hello", 422, "no known image format"),
        ({"style": "wave"}, b"", 422, "the file is empty"),
        ({"style": "wave"}, b"%!PS-Adobe", 422, "PostScript, which is not read"),
        ({"style": "nobody"}, None, 422, "nobody: not in it; there is wave, dots"),
        ({"style": "wave:-1"}, None, 422, "use NAME, or NAME:WEIGHT"),
        ({"size": "nan"}, None, 400, "size=nan; use a number from 16 to 2048"),
        ({"size": "1e9"}, None, 400, "use a number from 16"),
        ({"strength": "2"}, None, 400, "strength=2; use a number from 0 to 1"),
        ({"enlarge": "3"}, None, 400, "enlarge=3; use 1, 2, 4 or 8"),
        ({"format": "exe"}, None, 400, "format=exe; use png, jpg, webp"),
        ({"model": "/etc"}, None, 400, "model: unknown; use style, size"),
        ({"style": "wave"}, b"\x89PNG" + bytes(200_000), 413, "larger than 0.1 MB"),
    ],
)
def test_what_cannot_be_is_a_sentence(client, wish, body, status, words):
    body = encoded(photo()) if body is None else body
    answer = client.post("/api/picture", params=wish, content=body)
    assert answer.status_code == status and words.lower() in answer.text.lower()
    assert answer.text[0].isupper() and "\n" not in answer.text
    assert answer.headers["content-type"].startswith("text/plain")


def test_a_body_without_a_length_is_bounded_too(client):
    async def parts():
        for _ in range(1000):
            yield bytes(1000)

    answer = client.post("/api/picture", content=parts())
    assert answer.status_code == 413


def test_sizes_of_what_is_computed_are_bounded(client):
    big = photo(size=(1100, 20))
    for wish, words in (
        ({"style": "wave", "size": "1100", "style_scale": "0.5"}, "over 2048"),
        ({"style": "none", "size": "1100", "enlarge": "8"}, None),
    ):
        answer = client.post("/api/picture", params=wish, content=encoded(big))
        if words:
            assert answer.status_code == 422 and words in answer.text
    with pytest.raises(InputError, match="over 16 megapixels"):
        studio.Studio().picture(
            encoded(Image.new("RGB", (1500, 1500))),
            studio.Wish("none", size=1500, enlarge=4),
        )


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "evil.example"},
        {"host": "127.0.0.1.evil.example:8000"},
        {"host": ""},
        {"host": "["},
        {"origin": "http://["},
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:9999"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
def test_other_pages_are_refused_before_anything_is_read(client, headers):
    for method, path in (("GET", "/"), ("GET", "/api/about"), ("POST", "/api/picture")):
        answer = client.request(method, path, headers=headers, content=b"")
        assert answer.status_code == 403
        assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize("host", ["localhost:1", "127.0.0.1", "[::1]:8000", "10.0.0.7"])
def test_names_that_are_this_machine_are_served(client, host):
    headers = {
        "host": host,
        "origin": f"http://{host}",
        "sec-fetch-site": "same-origin",
    }
    answer = client.get("/", headers=headers)
    assert answer.status_code == 200
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_a_name_may_be_allowed(model):
    app = server.application(studio.Studio(model), warm=False, hosts=["atelier.local"])
    client = Client(app, base_url="http://atelier.local:8000")
    assert client.get("/api/about").status_code == 200


def test_the_page_asks_nothing_of_anyone_else(client):
    for path in sorted(server.FOLDER.iterdir()):
        text = path.read_text().replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"(https?:)?//[\w-]+\.\w", text), path
        assert client.get(f"/{path.name}").status_code == 200
    page = client.get("/").text
    for name in re.findall(r'(?:src|href)="([^"]+)"', page):
        assert client.get(f"/{name}").status_code == 200, name
    # The policy allows no style and no script within the page.
    assert not re.search(
        r"<style|<script(?! type=\"module\" src)| style=| on\w+=", page
    )


def test_no_more_programs_are_held_than_some(model, monkeypatch):
    monkeypatch.setattr(studio, "MAX_PROGRAMS", 2)
    work = studio.Studio(model)
    for side in (20, 40, 80, 100):
        wish = studio.Wish("wave")
        work.picture(encoded(photo(size=(side, 20))), wish)
        assert work.num_programs <= 2


class Slow(studio.Studio):
    """A studio whose pictures take until they are let go."""

    def __init__(self):
        self.go, self.begun = threading.Event(), []

    def about(self):
        return {}

    def picture(self, data, wish):
        self.begun.append(data)
        assert self.go.wait(20)
        return b"picture of " + data


def together(work, num, options, *, after=lambda: None):
    """Answers to requests that are sent at once; `after` is called meanwhile."""
    app = server.application(work, warm=False, **options)

    async def run():
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, timeout=30) as client:
            sent = [
                asyncio.ensure_future(
                    client.post("http://localhost/api/picture", content=b"%d" % i)
                )
                for i in range(num)
            ]
            while len(work.begun) < 1:
                await asyncio.sleep(0.01)
            after()
            return await asyncio.gather(*sent)

    return asyncio.run(run())


def test_twenty_at_once_all_come_back():
    work = Slow()
    answers = together(work, 20, {}, after=work.go.set)
    assert [a.content for a in answers] == [b"picture of %d" % i for i in range(20)]


def test_a_full_line_and_time_that_is_up():
    work = Slow()
    answers = together(work, 5, {"max_waiting": 3, "timeout": 0.3})
    work.go.set()
    assert [a.status_code for a in answers].count(503) == 2
    assert [a.status_code for a in answers].count(504) == 3
    assert all("try again" in a.text or "smaller size" in a.text for a in answers)
    assert len(work.begun) == 1  # what waited in line is dropped


def test_what_nobody_waits_for_is_dropped():
    work = Slow()
    app = server.application(work, warm=False)

    def scope(query=b""):
        return {
            "type": "http",
            "method": "POST",
            "path": "/api/picture",
            "raw_path": b"/api/picture",
            "query_string": query,
            "headers": [(b"host", b"localhost")],
            "http_version": "1.1",
        }

    async def request(data, leaves):
        messages = [{"type": "http.request", "body": data, "more_body": False}]

        async def receive():
            if messages:
                return messages.pop()
            await (asyncio.sleep(0.1) if leaves else asyncio.sleep(30))
            return {"type": "http.disconnect"}

        async def send(message):
            pass

        await app(scope(), receive, send)

    async def run():
        stays = asyncio.ensure_future(request(b"stays", leaves=False))
        while not work.begun:
            await asyncio.sleep(0.01)
        await request(b"leaves", leaves=True)
        work.go.set()
        await stays

    asyncio.run(run())
    assert work.begun == [b"stays"]
