"""A run on disk: everything that continuing it bit for bit takes."""

import contextlib
import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from jaxperceptual.core.errors import InputError, first_line
from jaxperceptual.training.step import TrainState

_HASHES = "hashes"  # beside state and record: what those were
_HASHED = {"state", "record"}
_WITHIN = "sha256"  # where they were for a while, in the record


class DamagedCheckpoint(InputError):
    """A checkpoint that cannot be read."""


class Checkpoints:
    """The checkpoints of one run folder, `checkpoints/<step>/`, by orbax.

    A checkpoint holds the state (parameters, statistics, optimiser state, step) and a
    JSON record (data position, configuration), and of both a hash: orbax itself does
    not notice if a byte of an array has changed. Orbax writes under a temporary name
    and renames, so a killed process leaves whole checkpoints only. Of many processes
    the first alone has them: states are equal on all devices.

    keep_last: how many of the newest to keep.
    keep_every_steps: besides those, all at multiples of this; 0 for none.
    """

    def __init__(self, workdir: Path, *, keep_last: int, keep_every_steps: int):
        if keep_last < 1:
            raise InputError(f"keep_last={keep_last}; keep at least 1 checkpoint.")
        self.path = workdir / "checkpoints"
        self.path.mkdir(exist_ok=True)
        options = ocp.CheckpointManagerOptions(
            max_to_keep=keep_last,
            keep_period=keep_every_steps or None,
            # Remains of a killed process, never a whole checkpoint.
            cleanup_tmp_directories=True,
            create=False,  # orbax leaves it to us where one of many writes
            multiprocessing_options=ocp.options.MultiprocessingOptions(
                primary_host=0, active_processes={0}
            ),
        )
        try:
            self._manager = ocp.CheckpointManager(self.path.absolute(), options=options)
        except ValueError:
            # Times and names, which orbax keeps in each and checkpoints are read
            # without: where they are damaged, it reads none.
            for told in self.path.glob("*/_CHECKPOINT_METADATA"):
                told.unlink()
            self._manager = ocp.CheckpointManager(self.path.absolute(), options=options)

    def latest(self) -> int | None:
        """The newest whole checkpoint's step."""
        return self._manager.latest_step()

    def steps(self) -> list[int]:
        """Of those that there are, the newest first."""
        return sorted(self._manager.all_steps(), reverse=True)

    def set_aside(self, step: int) -> Path:
        """Renames a damaged checkpoint, so that its step may be saved again."""
        aside = self.path / f"{step}.damaged"
        shutil.rmtree(aside, ignore_errors=True)  # of an earlier time
        (self.path / str(step)).rename(aside)
        self._manager.reload()
        return aside

    def save(self, state: TrainState, record: dict[str, Any]) -> None:
        """Starts writing; `state` is on the host and must not change meanwhile.

        InputError, here and in `wait` and `close`, if one cannot be written.
        """
        step = int(state.step)
        if step in self._manager.all_steps():
            return
        hashes = {"state": _hash(state), "record": _hash_of_text(record)}
        with self._writing():
            self._manager.save(
                step,
                args=ocp.args.Composite(
                    state=ocp.args.StandardSave(state._asdict()),
                    record=ocp.args.JsonSave(record),
                    **{_HASHES: ocp.args.JsonSave(hashes)},
                ),
            )

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError) as error:  # tensorstore's are of the second kind
            reason = getattr(error, "strerror", None) or str(error)
            if full := os.strerror(errno.ENOSPC) in reason:
                reason = os.strerror(errno.ENOSPC)
            latest = self.latest()
            kept = "there is none yet" if latest is None else f"step {latest} is kept"
            raise InputError(
                f"{self.path}: a checkpoint cannot be written "
                f"({reason.strip().partition(chr(10))[0][:200]}); {kept}. "
                f"{'Make room' if full else 'Mend that'}: the same command continues."
            ) from error

    def record(self, step: int) -> dict[str, Any]:
        """The JSON record saved with a step.

        DamagedCheckpoint if it cannot be read, or is not what was saved.
        """
        record, hashes = self._record(step)
        if hashes and hashes["record"] != _hash_of_text(record):
            raise self._damaged(step, "its record has changed")
        return record

    def _record(self, step: int) -> tuple[dict[str, Any], dict[str, str]]:
        """The record and the hashes, of which older checkpoints have none."""
        record = self._read(step, "record", ocp.args.JsonRestore())
        if not isinstance(record, dict):
            raise self._damaged(step, "its record is none")
        hashes = record.pop(_WITHIN, {})
        if (self.path / str(step) / _HASHES).exists():
            hashes = self._read(step, _HASHES, ocp.args.JsonRestore())
        if not isinstance(hashes, dict) or hashes.keys() not in ({*()}, _HASHED):
            raise self._damaged(step, "its hashes are none")
        return record, hashes

    def restore(self, step: int, like: TrainState) -> TrainState:
        """The state of a step, arrays on the host, shaped as `like`.

        DamagedCheckpoint if it cannot be read, or is not what was saved.
        """
        abstract = jax.tree.map(
            lambda x: np.zeros(np.shape(x), np.asarray(x).dtype), like
        )
        state = ocp.args.StandardRestore(abstract._asdict())
        found = TrainState(**self._read(step, "state", state))
        _, hashes = self._record(step)
        if hashes and hashes["state"] != _hash(found):
            raise self._damaged(step, "its arrays have changed")
        return found

    def _read(self, step: int, name: str, how: ocp.args.CheckpointArgs):
        try:
            args = ocp.args.Composite(**{name: how})
            return self._manager.restore(step, args=args)[name]
        except (ValueError, KeyError, TypeError, OSError) as error:
            raise self._damaged(step, first_line(error)) from error

    def _damaged(self, step: int, reason: str) -> DamagedCheckpoint:
        return DamagedCheckpoint(
            f"checkpoint {self.path / str(step)} cannot be read ({reason}), and there "
            "is no good one before it; choose another --workdir."
        )

    def wait(self) -> None:
        """Returns when all that was saved is on the disk."""
        with self._writing():
            self._manager.wait_until_finished()

    def close(self) -> None:
        """Waits, and ends orbax's threads."""
        with self._writing():
            # Of those, one that orbax waits for where something is saved alone; left
            # behind, it complains while the interpreter ends.
            if cleaning := getattr(self._manager, "_cleanup_tmp_directory_future", 0):
                cleaning.result()
            self._manager.close()


def _hash(state: TrainState) -> str:
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(state._asdict()):
        array = np.ascontiguousarray(leaf)
        digest.update(f"{array.dtype}{array.shape}".encode())
        digest.update(array)
    return digest.hexdigest()


def _hash_of_text(record: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()
