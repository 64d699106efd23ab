"""Work of many processes that is one: joining them, agreeing, ending together.

A process by itself may call everything here too: it agrees with itself.
"""

import atexit
import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from jaxperceptual.core.errors import InputError

PATIENCE = 300  # s that the first waits for the others, and they for the first
LOST = 30  # s without a sign of life, after which a process counts as gone
_TEXT = 1024  # bytes of a message that all get
_AGAIN = "start all of them again: the same commands continue"


def join(
    coordinator: str | None = None,
    num_processes: int | None = None,
    process_id: int | None = None,
) -> None:
    """This process becomes one of many, before it has asked JAX for a device.

    coordinator: HOST:PORT where the first process listens. None for all three in a
        cluster that JAX knows (SLURM, Open MPI, GKE, TPU).

    What all but the first print to stdout goes nowhere from here on. Raises InputError
    where there is no such cluster, and if the first process is not to be reached.
    """
    given = (coordinator, num_processes, process_id)
    if any(one is None for one in given):
        if given != (None, None, None):
            raise InputError(
                "--coordinator, --num-processes and --process-id go together; give "
                "all three, or --distributed alone in a cluster that JAX knows."
            )
    else:
        _check(*given)
        if num_processes > 1:
            print(
                f"process {process_id} of {num_processes}: waiting for the others at "
                f"{coordinator}, {PATIENCE} s at most",
                flush=True,
            )
        _find_coordinator(coordinator, process_id)
    # Ours save and stop (`core.signals`); JAX's handler would keep a SIGTERM from them.
    jax.config.update("jax_enable_preemption_service", False)
    _watch(given)
    try:
        jax.distributed.initialize(
            *given,
            initialization_timeout=PATIENCE,
            heartbeat_timeout_seconds=LOST,
        )
    except (ValueError, RuntimeError) as error:
        raise InputError(
            f"--distributed: {str(error).partition(chr(10))[0]} Where JAX knows no "
            "cluster, give --coordinator HOST:PORT --num-processes N --process-id I."
        ) from error
    if not is_first():
        sys.stdout = open(os.devnull, "w")


def count() -> int:
    """How many processes work as one."""
    return jax.process_count()


def index() -> int:
    """Which of them this is, from 0."""
    return jax.process_index()


def is_first() -> bool:
    """Whether this is the one that writes."""
    return index() == 0


@contextlib.contextmanager
def together() -> Iterator[None]:
    """What goes wrong in one process is an InputError in all, when all got here.

    An InputError, or one of the system's.
    """
    found = None
    try:
        yield
    except (InputError, OSError) as error:
        found = error
    if count() == 1:
        if found:
            raise found
        return
    told = _gathered(str(found) if found else "")
    wrong = [(i, text) for i, text in enumerate(told) if text]
    if wrong:
        at, text = wrong[0]
        everywhere = len(wrong) == count() and len({text for _, text in wrong}) == 1
        raise InputError(text if everywhere else f"process {at}: {text}") from found


def check_same(what: str, text: str) -> None:
    """Raises InputError, in all processes, if `text` is not the same in all."""
    if count() > 1 and len(set(_gathered(text))) > 1:
        raise InputError(
            f"the {count()} processes have not the same {what}; start all with the "
            "same command, and with the same files."
        )


def from_first(value: Any) -> Any:
    """What the first process has here; of numbers, text, lists and dicts."""
    if count() == 1:
        return value
    text = json.dumps(value).encode() if is_first() else b""
    size = int(multihost_utils.broadcast_one_to_all(np.int32(len(text))))
    padded = np.zeros(size, np.uint8)
    if is_first():
        padded[:] = np.frombuffer(text, np.uint8)
    sent = multihost_utils.broadcast_one_to_all(padded)
    return json.loads(np.asarray(sent).tobytes())


def arrays_from_first(tree: Any) -> Any:
    """The first process's arrays, on the host; in all others of the same shapes."""
    if count() == 1:
        return tree
    return multihost_utils.broadcast_one_to_all(jax.tree.map(np.asarray, tree))


def least(number: int) -> int:
    """The least of all processes' numbers."""
    if count() == 1:
        return number
    return min(int(text) for text in _gathered(str(number)))


@contextlib.contextmanager
def peers() -> Iterator[None]:
    """Turns the loss of another process, while arrays are exchanged, to InputError."""
    try:
        yield
    except RuntimeError as error:  # XLA's is one
        words = ("Gloo", "NCCL", "coordination", "UNAVAILABLE")
        if count() == 1 or not any(word in str(error) for word in words):
            raise
        reason = str(error).partition("\n")[0][:200]
        raise InputError(
            f"process {index()} of {count()}: another process is gone ({reason}); "
            f"{_AGAIN}."
        ) from error


def end(code: int) -> None:
    """Ends a process that joined others at once: what is left would wait for them."""
    if _watcher is None:
        return
    _dismiss()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    if code:
        os._exit(code)


def _gathered(text: str) -> list[str]:
    """Everyone's text, cut off where it is too long, by process."""
    padded = np.zeros(_TEXT, np.uint8)
    data = text.encode(errors="replace")[:_TEXT]
    padded[: len(data)] = np.frombuffer(data, np.uint8)
    rows = multihost_utils.process_allgather(padded)
    return [bytes(row).rstrip(b"\0").decode(errors="replace") for row in rows]


def _check(coordinator: str, num_processes: int, process_id: int) -> None:
    host, _, port = coordinator.rpartition(":")
    if not (host and port.isdecimal() and 0 < int(port) < 65536):
        raise InputError(f"--coordinator {coordinator}: give HOST:PORT.")
    if num_processes < 1:
        raise InputError(f"--num-processes {num_processes}: give 1 or more.")
    if not 0 <= process_id < num_processes:
        raise InputError(
            f"--process-id {process_id}: with --num-processes {num_processes} give "
            f"0 to {num_processes - 1}."
        )


def _find_coordinator(coordinator: str, process_id: int) -> None:
    """What JAX would end the process over, without a word of ours."""
    host, _, port = coordinator.rpartition(":")
    where = (host.strip("[]"), int(port))
    if process_id == 0:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("", where[1]))
            except OSError as error:
                raise InputError(
                    f"--coordinator {coordinator}: the port cannot be had "
                    f"({error.strerror}); choose another, for all processes."
                ) from None
        return
    until = time.monotonic() + PATIENCE
    while True:
        try:
            socket.create_connection(where, timeout=5).close()
            return
        except OSError as error:
            if time.monotonic() > until:
                raise InputError(
                    f"--coordinator {coordinator}: no process 0 there within "
                    f"{PATIENCE} s ({error.strerror or error}); start it, or name "
                    "where it is."
                ) from None
            time.sleep(0.5)


# JAX's runtime ends a process that has lost another from a thread of its own, with its
# words and no exception. Whoever outlives it says what that means.
_WATCH = """
import sys
if not sys.stdin.buffer.read():
    sys.stderr.write(sys.argv[1])
"""
_watcher: subprocess.Popen | None = None


def _watch(given) -> None:
    global _watcher
    _, num_processes, process_id = given
    which = "a process" if process_id is None else f"process {process_id}"
    of = f" of {num_processes}" if num_processes else ""
    line = (
        f"train: error: {which}{of} has ended: it was killed, or another one was, or "
        f"cannot be reached; {_AGAIN}.\n"
    )
    _watcher = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", _WATCH, line],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        start_new_session=True,  # what kills the group leaves it to say so
    )
    atexit.register(_dismiss)


def _dismiss() -> None:
    with contextlib.suppress(OSError, ValueError):
        _watcher.stdin.write(b"bye")
        _watcher.stdin.close()
