"""`jaxperceptual COMMAND ...`, also as `python -m jaxperceptual COMMAND ...`."""

import gc
import importlib
import sys
from typing import NoReturn

from jaxperceptual.core import cli

COMMANDS = (
    *("stylize", "stylize_video", "stylize_camera", "super_resolve", "serve"),
    *("train", "evaluate"),
    *("gatys_baseline", "figures", "reconstruct", "benchmark", "convert_vgg"),
    *("convert_model", "export"),
)


def run(name: str) -> NoReturn:
    """Runs the command of that name with this process' arguments, and exits."""
    _run(name, sys.argv[1:])


def main() -> NoReturn:
    """Runs the command that the first argument names, and exits."""
    name, *rest = sys.argv[1:] or ["--help"]
    if name in ("-h", "--help"):
        print(_usage())
        raise SystemExit(0)
    if name == "--version":
        from importlib import metadata

        print(metadata.version("jaxperceptual"))
        raise SystemExit(0)
    if name not in COMMANDS:
        import difflib

        close = difflib.get_close_matches(name, COMMANDS, 1)
        hint = f"; did you mean {close[0]}?" if close else " (see --help)"
        print(f"jaxperceptual: error: no command {name!r}{hint}", file=sys.stderr)
        raise SystemExit(2)
    _run(name, rest)


def _run(name, argv) -> NoReturn:
    # Imports make a hundred thousand objects to keep, which the collector would look
    # at again and again: a fifth of a second, and another as the process ends.
    gc.disable()  # until `cli.call` has prepared the command
    try:
        cli.main(_command(name), argv, at_once=True)
    finally:
        gc.freeze()


def _command(name: str):
    return importlib.import_module(f"jaxperceptual.commands.{name}")


def _usage() -> str:
    lines = [
        "usage: jaxperceptual COMMAND ...",
        "",
        "Perceptual losses for real-time style transfer and super-resolution.",
        "",
    ]
    for name in COMMANDS:
        first = (_command(name).__doc__ or "").partition("\n")[0]
        lines.append(f"  {name:<16}{first}")
    lines += ["", "jaxperceptual COMMAND --help tells more; --version, which this is."]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
