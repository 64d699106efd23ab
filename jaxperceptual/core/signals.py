"""SIGINT and SIGTERM, for work that saves before it stops."""

import contextlib
import signal
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def stop_signals() -> Iterator[list[int]]:
    """A list that SIGINT and SIGTERM append themselves to; a second one interrupts."""
    caught: list[int] = []

    def handler(number, _):
        if caught:
            raise KeyboardInterrupt
        caught.append(number)
        print(f"{signal.Signals(number).name}: saving ...", file=sys.stderr)

    previous = {s: signal.signal(s, handler) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield caught
    finally:
        for number, old in previous.items():
            signal.signal(number, old)
