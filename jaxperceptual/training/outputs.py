"""What a run leaves in its folder while it goes on: by the first process alone."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jaxperceptual.training.checkpoints import Checkpoints
from jaxperceptual.training.reporting import MetricsLog, Sampler
from jaxperceptual.training.step import TrainState


class Nothing:
    """Of a process that is not the first, which leaves what the first does to it."""

    def log(self, line: dict[str, Any]) -> None:
        """Writes a line of the metrics."""

    def sample(self, step: int, state: TrainState) -> None:
        """Draws the sample pictures."""

    def save(self, state: TrainState) -> None:
        """Writes checkpoint and network; `state` must not change meanwhile."""

    def wait(self) -> None:
        """Returns when all of it is on the disk."""

    def kept(self) -> str:
        """Where what is good of a run that went wrong is."""
        return "process 0 says which checkpoint is good"

    def close(self) -> None:
        """Closes the files."""


@dataclasses.dataclass
class Outputs(Nothing):
    """metrics.jsonl, samples/, checkpoints/ and the network beside them."""

    workdir: Path
    metrics: MetricsLog
    sampler: Sampler
    checkpoints: Checkpoints
    record: dict[str, Any]
    publish: Callable[[TrainState], Any]  # writes the network

    def log(self, line: dict[str, Any]) -> None:
        self.metrics.write(line)

    def sample(self, step: int, state: TrainState) -> None:
        self.sampler(step, state)

    def save(self, state: TrainState) -> None:
        self.checkpoints.save(state, self.record)
        self.publish(state)

    def wait(self) -> None:
        self.checkpoints.wait()

    def kept(self) -> str:
        self.wait()
        latest = self.checkpoints.latest()
        if latest is None:
            return "there is no checkpoint yet"
        return f"the last good checkpoint is step {latest}, kept in {self.workdir}"

    def close(self) -> None:
        self.metrics.close()
