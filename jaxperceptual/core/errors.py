"""The one exception that means "your input, not our code", and two common checks."""

from collections.abc import Sequence


class InputError(ValueError):
    """Bad input from outside: a file, a flag, a weight, a device count.

    The message is one line that gives the value, the rule and the way out. Commands
    print it without a traceback and exit with 2 (`cli.main`).
    """


def first_line(error: Exception) -> str:
    """What it says, for within a line: 200 characters at most; or its type."""
    return str(error).strip().partition("\n")[0][:200] or type(error).__name__


def check_range(
    name: str, value: int | float, low: int | float, high: int | float
) -> None:
    """InputError unless `low <= value <= high`; NaN is not."""
    if not low <= value <= high:
        raise InputError(f"{name} {value}; use {low} to {high}.")


def check_choice(name: str, value: str, known: Sequence[str]) -> None:
    """InputError unless the value is one of the known ones."""
    if value not in known:
        raise InputError(f"{name} {value}: unknown; use {' or '.join(known)}.")
