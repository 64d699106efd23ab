"""What every script in bin/ shares: one-line errors, exit codes, atomic outputs."""

import argparse
import sys
from collections.abc import Callable
from typing import NoReturn

from jaxperceptual import compilation, precision
from jaxperceptual.errors import InputError


class Parser(argparse.ArgumentParser):
    """argparse whose errors are one line and exit with 2."""

    def error(self, message: str) -> NoReturn:
        print(f"{self.prog}: error: {message} (see --help)", file=sys.stderr)
        raise SystemExit(2)

    def parse_with_settings(
        self, argv: list[str], *groups: str
    ) -> tuple[argparse.Namespace, list[str]]:
        """Arguments, and `KEY=VALUE` of each --config.KEY=VALUE, in order.

        --GROUP.KEY=VALUE is short for --config.GROUP.KEY=VALUE. What else is not an
        argument is an error.
        """
        args, rest = self.parse_known_args(argv)
        prefixes = tuple(f"--{name}." for name in ("config", *groups))
        for argument in rest:
            if not argument.startswith(prefixes):
                self.error(
                    f"unknown argument {argument}; --config.KEY=VALUE sets a key"
                )
        return args, [a.removeprefix("--").removeprefix("config.") for a in rest]


def run(
    main: Callable[[list[str]], int | None], prog: str, *, cached: bool = True
) -> NoReturn:
    """Runs `main(argv)`; an `InputError` becomes one line on stderr and exit code 2.

    What is compiled is kept for the next start, if `cached`.
    """
    precision.use_float32()
    compilation.give_memory_back_after_compiling()
    if cached:
        compilation.use_cache()
    try:
        code = main(sys.argv[1:])
    except InputError as error:
        print(f"{prog}: error: {' '.join(str(error).split())}", file=sys.stderr)
        code = 2
    except BrokenPipeError:
        code = 141
    except OSError as error:  # names no file system takes, a full disk, ...
        where = f"{error.filename}: " if error.filename else ""
        print(f"{prog}: error: {where}{error.strerror or error}", file=sys.stderr)
        code = 2
    except KeyboardInterrupt:
        print(f"{prog}: interrupted", file=sys.stderr)
        code = 130
    raise SystemExit(code or 0)
