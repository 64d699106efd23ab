"""What the page talks to: an ASGI application with bounds on everything.

    GET  /                    the page, and its files
    GET  /api/about           styles, bounds, whether it is warm
    GET  /api/thumbnails/x    a style's painting
    POST /api/picture?style=  the body is an image file; a picture comes back

Whatever is refused is a status and a sentence.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Collection, Coroutine, Iterator
from concurrent import futures
from pathlib import Path

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from jaxperceptual.core.errors import InputError
from jaxperceptual.page import guard, studio

FOLDER = Path(__file__).parent / "static"
MAX_MEGABYTES = 32.0  # of an upload
MAX_WAITING = 32  # requests in line, the one at work included
TIMEOUT = 120.0  # s, for a picture, waiting in line included
IDLE = 4.0  # s without a request, until the next program is compiled unasked
UPLOAD_TIMEOUT = 60.0  # s, for a body to arrive


class Line:
    """Requests in line for the one thread that has the network.

    max_waiting: how many, the one at work included.
    timeout: s, until an answer is given up; work that has begun ends before the next
        begins, and what has not is dropped.
    """

    def __init__(self, max_waiting: int, timeout: float):
        self._pool = futures.ThreadPoolExecutor(1, "studio")
        self._aside = futures.ThreadPoolExecutor(1, "aside")
        self._max_waiting, self._timeout = max_waiting, timeout
        self.waiting = 0
        self._last = 0.0  # when someone last came or went

    @property
    def idle(self) -> float:
        """For how many seconds nobody has waited."""
        return 0.0 if self.waiting else time.monotonic() - self._last

    @contextlib.contextmanager
    def place(self) -> Iterator[None]:
        """A place in it, taken before a photo is read: so many are in memory at most.

        Raises Busy.
        """
        if self.waiting >= self._max_waiting:
            raise Busy
        self.waiting += 1
        try:
            yield
        finally:
            self.waiting -= 1
            self._last = time.monotonic()

    async def __call__(self, function, *args):
        """`function(*args)`, in the thread. Raises TimeoutError."""
        async with asyncio.timeout(self._timeout):
            return await asyncio.wrap_future(self._pool.submit(function, *args))

    async def unasked(self, function, *args) -> None:
        """Work that nobody waits for, in a thread beside that one."""
        await asyncio.wrap_future(self._aside.submit(function, *args))

    def close(self) -> None:
        for pool in (self._pool, self._aside):
            pool.shutdown(wait=False, cancel_futures=True)


class Busy(Exception):
    """The line is full."""


def application(
    work: studio.Studio,
    *,
    hosts: Collection[str] = (),
    max_megabytes: float = MAX_MEGABYTES,
    max_waiting: int = MAX_WAITING,
    timeout: float = TIMEOUT,
    warm: bool = True,
) -> Starlette:
    """The page over a studio, as an ASGI application.

    hosts: names that it is known by, besides localhost and addresses (`guard`).
    max_megabytes: of an upload. max_waiting, timeout: as `Line` has them.
    warm: compile what most photos take before anyone asks, and then what was asked for.
    """
    line = Line(max_waiting, timeout)
    most = int(max_megabytes * 1e6)
    warmed = asyncio.Event()

    async def warm_up():
        for size in studio.FIRST_SIZES:
            while warmed.is_set() and line.idle < IDLE:
                await asyncio.sleep(IDLE / 4)
            try:
                await line.unasked(work.warm_up, size)
            finally:
                warmed.set()
        while True:
            await asyncio.sleep(IDLE / 4)
            if line.idle >= IDLE and work.wanted:
                with contextlib.suppress(InputError):  # it goes without
                    await line.unasked(work.warm_up, work.wanted.pop(0))

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        task = asyncio.create_task(warm_up()) if warm else None
        yield
        if task:
            task.cancel()
        line.close()

    async def about(request: Request) -> Response:
        told = work.about() | {
            "warm": warmed.is_set() or not warm,
            "waiting": line.waiting,
            "max_megabytes": max_megabytes,
        }
        return JSONResponse(told)

    async def thumbnail(request: Request) -> Response:
        data = work.thumbnail(request.path_params["name"])
        if data is None:
            return PlainTextResponse("There is no picture of this style.", 404)
        headers = {"Cache-Control": "max-age=86400"}
        return Response(data, media_type=studio.TYPES["webp"], headers=headers)

    async def picture(request: Request) -> Response:
        try:
            with line.place():
                return await picture_of(request)
        except Busy:
            return PlainTextResponse(
                f"{max_waiting} photos are waiting already; try again in a moment.", 503
            )

    async def picture_of(request: Request) -> Response:
        try:
            wish = studio.Wish.parse(request.query_params)
            async with asyncio.timeout(UPLOAD_TIMEOUT):
                data = await _body(request, most)
        except InputError as error:
            return PlainTextResponse(sentence(error), 400)
        except TimeoutError:
            return PlainTextResponse("The photo took too long to arrive.", 408)
        except ClientDisconnect:
            return Response(status_code=400)
        if data is None:
            return PlainTextResponse(
                f"This file is larger than {max_megabytes:g} MB; use a smaller one.",
                413,
            )
        try:
            made = line(work.picture, data, wish)
            encoded = await _unless_gone(request, made)
        except InputError as error:
            return PlainTextResponse(sentence(error), 422)
        except TimeoutError:
            return PlainTextResponse(
                f"This took more than {timeout:g} s; use a smaller size.", 504
            )
        except ClientDisconnect:
            return Response(status_code=400)  # nobody reads it
        headers = {"Cache-Control": "no-store"}
        return Response(encoded, media_type=studio.TYPES[wish.format], headers=headers)

    return Starlette(
        routes=[
            Route("/api/about", about),
            Route("/api/thumbnails/{name}", thumbnail),
            Route("/api/picture", picture, methods=["POST"]),
            Mount("/", StaticFiles(directory=FOLDER, html=True)),
        ],
        middleware=[Middleware(_Guarded, names=frozenset(hosts))],
        lifespan=lifespan,
    )


def sentence(error: InputError) -> str:
    """An error's line as a sentence for a page."""
    text = " ".join(str(error).split())
    return text[:1].upper() + text[1:]


async def _body(request: Request, most: int) -> bytes | None:
    """The request's body; None for more bytes than `most`, said or sent."""
    said = request.headers.get("content-length", "0")
    if not (said.isascii() and said.isdigit()) or int(said) > most:
        return None
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > most:
            return None
        parts.append(part)
    return b"".join(parts)


async def _unless_gone(request: Request, made: Coroutine) -> bytes:
    """What is made, unless whoever asked hangs up: what then has not begun is dropped.

    Raises ClientDisconnect.
    """

    async def gone():
        while (await request.receive())["type"] != "http.disconnect":
            pass

    tasks = [asyncio.ensure_future(made), asyncio.ensure_future(gone())]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if not tasks[0].done():
            raise ClientDisconnect
        return tasks[0].result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class _Guarded:
    """Asks `guard` before anything else, and adds its headers to every answer."""

    def __init__(self, app: ASGIApp, names: Collection[str]):
        self._app, self._names = app, names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        app = self._app
        if scope["type"] != "http":
            return
        if reason := guard.check(request.headers, self._names):
            app = PlainTextResponse(reason, 403)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                more = [(k.lower().encode(), v.encode()) for k, v in _HEADERS]
                message["headers"] = [*message["headers"], *more]
            await send(message)

        await app(scope, receive, send_with_headers)


_HEADERS = tuple(guard.HEADERS.items())
