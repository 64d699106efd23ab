"""What every script in bin/ shares: one-line errors, exit codes, atomic outputs."""

import argparse
import sys
from collections.abc import Callable
from typing import NoReturn

from jaxperceptual.errors import InputError


class Parser(argparse.ArgumentParser):
    """argparse whose errors are one line and exit with 2."""

    def error(self, message: str) -> NoReturn:
        print(f"{self.prog}: error: {message} (see --help)", file=sys.stderr)
        raise SystemExit(2)


def run(main: Callable[[list[str]], int | None], prog: str) -> NoReturn:
    """Runs `main(argv)`; an `InputError` becomes one line on stderr and exit code 2."""
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
