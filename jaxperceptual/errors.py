"""The one exception that means "your input, not our code"."""


class InputError(ValueError):
    """Bad input from outside: a file, a flag, a weight, a device count.

    The message is one line that gives the value, the rule and the way out. Commands
    print it without a traceback and exit with 2 (`cli.run`).
    """
