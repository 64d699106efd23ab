"""What every command shares: its parser, one-line errors, exit codes.

A command is a module with `parser()` and `run(args)`; `CACHED = False` in it keeps what
is compiled out of the cache. JAX is imported between the two, so that `--help` and a
wrong flag answer at once. Where a command has `join(args)`, that comes first: after it
the process may be one of many.
"""

import argparse
import codecs
import contextlib
import gc
import os
import shlex
import sys
import traceback
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import NoReturn

from jaxperceptual.core.errors import InputError

_DISTRIBUTED = "jaxperceptual.core.distributed"  # imported by `train` alone


class Parser(argparse.ArgumentParser):
    """argparse whose errors are one line and exit with 2.

    settings: None, or names of config groups. Then --config.KEY=VALUE is an argument,
        and --GROUP.KEY=VALUE, short for --config.GROUP.KEY=VALUE; `args.settings` has
        the `KEY=VALUE` of each, in order.
    """

    def __init__(self, *args, settings: Sequence[str] | None = None, **options):
        options.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(*args, **options)
        self._groups = settings

    def error(self, message: str) -> NoReturn:
        _complain(self.prog, f"{message} (see --help)")
        raise SystemExit(2)

    def parse_args(self, args=None, namespace=None) -> argparse.Namespace:
        """As argparse has it; what is neither argument nor setting is an error."""
        if self._groups is None:
            return super().parse_args(args, namespace)
        parsed, rest = self.parse_known_args(args, namespace)
        prefixes = tuple(f"--{name}." for name in ("config", *self._groups))
        for argument in rest:
            if not argument.startswith(prefixes):
                self.error(
                    f"unknown argument {argument}; --config.KEY=VALUE sets a key"
                )
        parsed.settings = [a.removeprefix("--").removeprefix("config.") for a in rest]
        return parsed


def call(command: ModuleType, argv: Sequence[str], *, at_once: bool = False) -> int:
    """Parses, prepares JAX, and runs; the exit code. Errors are raised.

    at_once: where a command has `at_once(args)`, that comes before JAX, and its exit
        code is it, unless None. After it JAX may be of no use in this process.
    """
    parser = command.parser()
    args = parser.parse_args(list(argv))
    # What is written down as the way to get the same again.
    args.command = shlex.join([*_program(parser.prog), *argv])

    if at_once and hasattr(command, "at_once"):
        if (code := command.at_once(args)) is not None:
            return code

    from jaxperceptual.core import compilation, machine, memory, precision

    if hasattr(command, "join"):
        command.join(args)
    memory.keep_freed_memory()
    machine.check_platforms()
    precision.use_float32()
    memory.give_memory_back_after_compiling()
    if getattr(command, "CACHED", True):
        compilation.use_cache()
    gc.enable()
    return command.run(args) or 0


def main(command: ModuleType, argv: Sequence[str], **options: bool) -> NoReturn:
    """`call`, and exits; an `InputError` is one line on stderr and exit code 2."""
    codecs.register_error("any_name", _any_name)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="any_name")
    prog = command.parser().prog
    try:
        code = call(command, argv, **options)
    except InputError as error:
        _complain(prog, str(error))
        code = 2
    except BrokenPipeError:
        code = 141
    except OSError as error:  # names no file system takes, a full disk, ...
        where = f"{error.filename}: " if error.filename else ""
        _complain(prog, f"{where}{error.strerror or error}")
        code = 2
    except KeyboardInterrupt:
        print(f"{prog}: interrupted", file=sys.stderr, flush=True)
        code = 130
        if _DISTRIBUTED not in sys.modules:
            _leave(code)
    except Exception:
        if _DISTRIBUTED not in sys.modules:
            raise
        traceback.print_exc()
        code = 1
    if module := sys.modules.get(_DISTRIBUTED):
        module.end(code)
    raise SystemExit(code)


def _leave(code: int) -> NoReturn:
    """Without the interpreter's end, which meets what XLA's threads still compute."""
    with contextlib.suppress(OSError, ValueError):
        if sys.stdout is not None:
            sys.stdout.flush()
    os._exit(code)


def _complain(prog: str, message: str) -> None:
    """One line on stderr, whatever a name in it holds: ends of lines, escapes."""
    line = " ".join(f"{prog}: error: {message}".split())
    controls = [c for c in set(line) if unicodedata.category(c) == "Cc"]
    shown = line.translate({ord(c): ascii(c)[1:-1] for c in controls})
    print(shown, file=sys.stderr)


def _any_name(error: UnicodeError) -> tuple[bytes, int]:
    """Bytes in file names as they are, and escapes for what a terminal lacks."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    part = error.object[error.start : error.end]
    return b"".join(
        bytes([ord(c) - 0xDC00])
        if 0xDC80 <= ord(c) <= 0xDCFF
        else c.encode("ascii", "backslashreplace")
        for c in part
    ), error.end


def _program(prog: str) -> list[str]:
    """How the command was called: bin/NAME in a checkout, or jaxperceptual NAME."""
    if prog.startswith("python -m"):
        return prog.split()
    script = Path(sys.argv[0]).absolute()
    in_bin = script.parent.name == "bin" and script.name == prog
    return [f"bin/{prog}"] if in_bin else ["jaxperceptual", prog]
