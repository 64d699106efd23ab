"""Which ways to do a piece of work are timed: ours, and those of references."""

import importlib.util
from typing import NamedTuple

from jaxperceptual.benchmarks import timing
from jaxperceptual.benchmarks.ours import Ours
from jaxperceptual.benchmarks.pieces import Piece
from jaxperceptual.core.errors import InputError

# By the name of --reference: a variant's name, and how it is made.
REFERENCES = {
    "torch": {
        "torch": dict(channels_last=False, compiled=False),
        "torch, channels last": dict(channels_last=True, compiled=False),
        "torch.compile": dict(channels_last=True, compiled=True),
    }
}


class Variants(NamedTuple):
    """Which ways to do a piece of work, besides ours."""

    reference: str | None = None  # a key of `REFERENCES`
    forms: bool = False  # also ours without the forms of a CPU
    compiled: bool = True  # also what a reference's compiler makes
    precision: str = "float32"  # of ours, a name of `precision`, and of the reference's
    only: str | None = None  # the one to be made, by name


def check_reference(name: str | None) -> None:
    """Raises InputError unless the reference is known and installed."""
    if name is None:
        return
    if name not in REFERENCES:
        raise InputError(f"--reference {name}: unknown; use {', '.join(REFERENCES)}.")
    if importlib.util.find_spec("torch") is None:
        raise InputError(
            "PyTorch is not installed; pip install 'jaxperceptual[reference]', or "
            "leave out --reference."
        )
    from jaxperceptual.benchmarks.torch import tensors  # an extra

    tensors.check_device()


def work(variants: Variants, piece: Piece) -> timing.Work:
    """The piece, and each variant of it."""
    forms = {"jax": "auto"} | ({"jax, plain forms": "plain"} if variants.forms else {})
    layouts = {
        name: layout
        for name, layout in REFERENCES.get(variants.reference, {}).items()
        if variants.compiled or not layout["compiled"]
    }

    def made(name):
        if name in forms:
            return Ours(name, forms[name], variants.precision)(piece)
        # An extra; not imported where the memory of another variant is measured.
        from jaxperceptual.benchmarks.torch.theirs import Theirs

        return Theirs(name, {"precision": variants.precision, **layouts[name]})(piece)

    return timing.Work(
        {**piece.facts, "precision": variants.precision},
        [made(n) for n in [*forms, *layouts] if variants.only in (None, n)],
        references=tuple(layouts),
        tolerances=timing.TOLERANCES_OF[variants.precision],
        count=piece.count,
        next_agrees=piece.next_agrees,
    )
