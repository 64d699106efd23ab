"""Which ways to do a piece of work are timed: ours, and those of references."""

import importlib.util
from collections.abc import Sequence
from typing import NamedTuple

import jax

from jaxperceptual.benchmarks import timing
from jaxperceptual.benchmarks.ours import CANVAS, Ours
from jaxperceptual.benchmarks.pieces import Inference, Piece
from jaxperceptual.core.errors import InputError

# By the name of --reference: a variant's name, and how it is made.
REFERENCES = {
    "torch": {
        "torch": dict(channels_last=False, compiled=False),
        "torch, channels last": dict(channels_last=True, compiled=False),
        "torch.compile": dict(channels_last=True, compiled=True),
    },
    "openvino": {"openvino": {}},
    "onnxruntime": {"onnxruntime": {}},
}
# They do inference alone, in float32, on a CPU.
RUNTIMES = ("openvino", "onnxruntime")


class Variants(NamedTuple):
    """Which ways to do a piece of work, besides ours."""

    references: tuple[str, ...] = ()  # keys of `REFERENCES`
    # Also ours without the forms of a CPU, and with a program that sizes share.
    forms: bool = False
    compiled: bool = True  # also what a reference's compiler makes
    precision: str = "float32"  # of ours, a name of `precision`, and of the reference's
    only: str | None = None  # the one to be made, by name


def installed(names: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Which of these references are installed, and which are not.

    Raises InputError for one that is unknown, if none is installed, or if PyTorch
    cannot use the device that JAX uses.
    """
    for name in names:
        if name not in REFERENCES:
            known = ", ".join(REFERENCES)
            raise InputError(f"--reference {name}: unknown; use {known}.")

    def is_here(name):
        needed = [name, "onnx"] if name in RUNTIMES else [name]
        return all(importlib.util.find_spec(package) for package in needed)

    here = tuple(name for name in names if is_here(name))
    missing = tuple(name for name in names if name not in here)
    if missing and not here:
        raise InputError(
            f"{', '.join(missing)}: not installed; pip install "
            "'jaxperceptual[reference]', or leave out --reference."
        )
    if "torch" in here:
        from jaxperceptual.benchmarks.torch import tensors  # an extra

        tensors.check_device()
    return here, missing


def reference_of(name: str, references: Sequence[str]) -> str | None:
    """The reference that has the variant of this name; None for one of ours."""
    return next((r for r in references if name in REFERENCES[r]), None)


def work(variants: Variants, piece: Piece) -> timing.Work:
    """The piece, and each variant of it."""
    forms = {"jax": "auto"}
    if variants.forms:
        forms["jax, plain forms"] = "plain"
        if isinstance(piece, Inference) and piece.task == "style":
            forms[CANVAS] = "auto"
    theirs = {
        name: options
        for reference in variants.references
        if reference not in RUNTIMES or _runs(piece, variants.precision)
        for name, options in REFERENCES[reference].items()
        if variants.compiled or not options.get("compiled")
    }

    def made(name):
        if name in forms:
            return Ours(name, forms[name], variants.precision)(piece)
        # Extras; not imported where the memory of another variant is measured.
        if name in RUNTIMES:
            from jaxperceptual.benchmarks import runtimes

            return runtimes.variant(name, piece)
        from jaxperceptual.benchmarks.torch.theirs import Theirs

        return Theirs(name, {"precision": variants.precision, **theirs[name]})(piece)

    return timing.Work(
        {**piece.facts, "precision": variants.precision},
        [made(n) for n in [*forms, *theirs] if variants.only in (None, n)],
        references=tuple(theirs),
        tolerances=timing.TOLERANCES_OF[variants.precision],
        count=piece.count,
        next_agrees=piece.next_agrees,
    )


def _runs(piece: Piece, precision: str) -> bool:
    """Whether a runtime of `RUNTIMES` does such work."""
    on_cpu = jax.local_devices()[0].platform == "cpu"
    return isinstance(piece, Inference) and precision == "float32" and on_cpu
