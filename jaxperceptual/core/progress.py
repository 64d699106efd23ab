"""How far long work has got: a bar on a terminal, elsewhere a line every so often."""

import sys
import time

from tqdm import tqdm

EVERY = 30.0  # s between lines
_LINE = "{desc}{n_fmt} of {total_fmt} {unit}s, {rate_fmt}, {remaining} left{postfix}"

_UP = "\x1b[A"  # of a bar below another


class Bar(tqdm):
    """tqdm, whose bar becomes lines where stderr is no terminal: a log file, a pipe.

    What takes less than `EVERY` seconds says nothing there.

    Attributes:
      lines: whether it does.
    """

    def __init__(self, *args, **options):
        self.lines = not (sys.stderr is not None and sys.stderr.isatty())
        if self.lines:
            options |= dict(file=_Lines(), bar_format=_LINE, leave=False)
            options |= dict(mininterval=EVERY, maxinterval=EVERY)
            if options.get("desc"):
                options["desc"] += ": "
        super().__init__(*args, **options)


class _Lines:
    """What a bar is drawn on, without what redraws it."""

    def __init__(self):
        self._told, self._text = time.monotonic(), ""

    def write(self, text: str) -> None:
        text = text.replace(_UP, "").strip("\r\n ")
        now = time.monotonic()
        due = now - self._told >= EVERY and sys.stderr is not None
        if text and text != self._text and due:
            self._told, self._text = now, text
            print(text, file=sys.stderr, flush=True)

    def flush(self) -> None: ...
