"""VGG-16's layers by name (Simonyan and Zisserman 2014, configuration D): a table."""

from collections.abc import Iterable, Sequence

from jaxperceptual.core.errors import InputError

# Output channels of the convolutions of each block, which ends in a pooling.
_BLOCKS = ((64, 64), (128, 128), (256,) * 3, (512,) * 3, (512,) * 3)
_CHANNELS = (3, *(c for block in _BLOCKS for c in block))
_NAMES = [
    f"conv{b}_{i}" for b, n in enumerate(_BLOCKS, 1) for i in range(1, len(n) + 1)
]

# Layer -> kernel shape, HWIO, from the pixels up; a bias has the last size.
CONV_SHAPES: dict[str, tuple[int, int, int, int]] = {
    name: (3, 3, _CHANNELS[i], _CHANNELS[i + 1]) for i, name in enumerate(_NAMES)
}
# relu1_1, relu1_2, pool1, relu2_1, ... pool5: every activation by name, in order.
LAYERS = tuple(
    name
    for block, convs in enumerate(_BLOCKS, start=1)
    for name in (
        *(f"relu{block}_{i}" for i in range(1, len(convs) + 1)),
        f"pool{block}",
    )
)


def check_layers(
    layers: Iterable[str], known: Sequence[str] = LAYERS, network: str = "VGG-16"
) -> tuple[str, ...]:
    """The names as a tuple; InputError for none, or for one that does not exist."""
    layers = tuple(layers)
    if not layers:
        raise InputError(f"no layer of {network} named; use for example {known[2]}.")
    for name in layers:
        if name not in known:
            raise InputError(
                f"{network} has no layer {name!r}; use one of {', '.join(known)}."
            )
    return layers
