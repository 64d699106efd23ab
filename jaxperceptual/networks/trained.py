"""How a network was trained, as its model file tells it."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from jaxperceptual.core import records

_FACTS = ("steps", "training", "style", "vgg")


@dataclasses.dataclass(frozen=True)
class Trained:
    """Facts about a training; None, or empty, for what the file does not tell.

    steps: updates.
    config: the config's keys and values, `{"data.image_size": 256, ...}`.
    style: name and sha256 of the style image's file.
    vgg: name and fingerprint of the loss network's weights.
    other: whatever else stands in the header, kept as it is.
    """

    steps: int | None = None
    config: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    style: Mapping[str, str] | None = None
    vgg: Mapping[str, str] | None = None
    other: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @classmethod
    def parse(cls, metadata: Mapping[str, Any]) -> "Trained":
        """What the header of a model file says; keys that came later get their default.

        Anything may stand in a header: what is not as training writes it is not told.
        """

        def told(key, kind):
            value = metadata.get(key)
            return value if isinstance(value, kind) else None

        config = told("training", dict) or {}
        return cls(
            steps=told("steps", int),
            config=records.completed(config) if config else {},
            style=told("style", dict),
            vgg=told("vgg", dict),
            other={k: v for k, v in metadata.items() if k not in _FACTS},
        )

    def metadata(self) -> dict[str, Any]:
        """What a model file keeps of it, for `parse`."""
        facts = {"steps": self.steps, "style": self.style, "vgg": self.vgg}
        told = {key: value for key, value in facts.items() if value is not None}
        if self.config:
            told["training"] = dict(self.config)
        return dict(self.other) | told

    @property
    def unfinished(self) -> str:
        """At which step a training stands that has not ended; or ""."""
        last = self.config.get("num_steps")
        if not isinstance(last, int) or self.steps is None or self.steps >= last:
            return ""
        return f"step {self.steps:,} of {last:,}"

    @property
    def degradation(self) -> str | None:
        """Name of what a restoration network learnt to undo."""
        return self.config.get("degradation.name")

    @property
    def blur(self) -> float:
        """Of that, the Gaussian's standard deviation, px; 0 for none."""
        return float(self.config.get("degradation.blur", 0.0))

    @property
    def objective(self) -> dict[str, Any]:
        """Its keys alone: `{"objective.content.relu2_2": 1e5, ...}`.

        The style's are what they were with the config's `style_weight`.
        """
        factor = self.config.get("style_weight", 1.0)
        return {
            key: value * factor if key.startswith("objective.style.") else value
            for key, value in self.config.items()
            if key.startswith("objective.")
        }
