"""A page in the browser: photos in, styles, mixtures, enlarging, pictures out."""

import argparse
import os
import socket

from jaxperceptual.commands import options
from jaxperceptual.core import cli
from jaxperceptual.core.errors import InputError

DETAILS = """\
The page is for this computer alone unless --host says otherwise. With --host 0.0.0.0
everyone who can reach this computer can use it, over a connection that is not
encrypted: put a web server with HTTPS and a password before it where strangers can.
Photos are worked on in memory and kept nowhere. Ctrl-C ends it."""

LOOPBACK = ("127.0.0.1", "::1", "localhost")


def parser() -> cli.Parser:
    made = cli.Parser(prog="serve", description=__doc__, epilog=DETAILS)
    add = made.add_argument
    add(
        "--model",
        help="a gallery or a network of one style: a run folder, a model.safetensors, "
        "or a shipped name (default: the shipped gallery)",
    )
    add("--host", default="127.0.0.1", help="address to listen at (default: 127.0.0.1)")
    add("--port", type=_port, default=8000, help="0: any that is free (default: 8000)")
    add(
        "--allow-host",
        action="append",
        default=[],
        metavar="NAME",
        help="a name that the page is opened by, as my-computer.local; again for more",
    )
    add(
        "--max-megabytes",
        type=options.positive,
        default=32,
        metavar="N",
        help="of an uploaded file (default: 32)",
    )
    add(
        "--timeout",
        type=options.some_seconds,
        default=120.0,
        metavar="S",
        help="for a picture, waiting in line included (default: 120)",
    )
    return made


def run(args: argparse.Namespace) -> None:
    try:
        import uvicorn

        from jaxperceptual.page import server
    except ModuleNotFoundError as error:
        if error.name not in ("starlette", "uvicorn"):
            raise
        raise InputError(
            f"the package {error.name} is missing; pip install 'jaxperceptual[page]'."
        ) from error
    from jaxperceptual.page.studio import Studio

    # Listens before the network is read: errors of the address come first.
    with _listening(args.host, args.port) as listening:
        port = listening.getsockname()[1]
        app = server.application(
            Studio(args.model),
            hosts=[name.lower() for name in (args.host, *args.allow_host)],
            max_megabytes=args.max_megabytes,
            timeout=args.timeout,
        )
        shown = f"[{args.host}]" if ":" in args.host else args.host
        print(f"http://{shown}:{port}  (Ctrl-C ends it)", flush=True)
        if args.host not in LOOPBACK:
            print("not encrypted, and open to all who can reach this computer")
        config = uvicorn.Config(
            app,
            log_level="warning",
            limit_concurrency=256,
            timeout_graceful_shutdown=2,
            server_header=False,
        )
        uvicorn.Server(config).run(sockets=[listening])
    # Nothing else ends it; whether uvicorn passes it on depends on the moment.
    raise KeyboardInterrupt


def _listening(host: str, port: int) -> socket.socket:
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family)
    except OSError as error:
        names = isinstance(error, socket.gaierror)  # numbers of its own
        reason = error.strerror if names else os.strerror(error.errno)
        raise InputError(
            f"--host {host} --port {port}: {reason}; use another, or --port 0 for any "
            "that is free."
        ) from error


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) < 65536):
        raise argparse.ArgumentTypeError(f"{text!r}: use a whole number, 0 to 65535")
    return int(text)
