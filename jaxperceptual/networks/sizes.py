"""Numbers of f_W (supplementary, table 1), and shapes of its variables.

Nothing here imports JAX.
"""

BORDER = 40  # px of reflection: ten unpadded 3 x 3 convolutions at a quarter size
NUM_RESIDUAL_BLOCKS = 5
EPSILON = 1e-5  # Torch's, in both norms
# Each output pixel sums 9 * 9 * 32 = 2,592 rectified inputs of mean 0.4, so one Adam
# step of 1e-3 can move the sum by 1: at scale 1 that is most of the tanh's slope, and
# ten steps drive it into the flat ends. What functions the network can be is the same.
TANH_SCALE = 20.0

Shapes = dict[str, tuple[int, ...]]  # by names as "params/conv1/conv/kernel"


def style_net_shapes(width: float, norm: str | None, num_styles: int = 0) -> Shapes:
    """Names and shapes of a `StyleNet`'s variables."""
    few, some, many = (round(c * width) for c in (32, 64, 128))
    layers = [("conv1", 9, 3, few), ("conv2", 3, few, some), ("conv3", 3, some, many)]
    layers += [
        (f"residual{i}/block{j}", 3, many, many)
        for i in range(1, NUM_RESIDUAL_BLOCKS + 1)
        for j in (1, 2)
    ]
    layers += [("up1", 3, many, some), ("up2", 3, some, few)]
    return block_shapes(layers, norm, num_styles) | conv_shapes("out", 9, few, 3)


def block_shapes(layers, norm: str | None, num_styles: int = 0) -> Shapes:
    """Of `layers.ConvBlock`s."""
    found = {}
    for name, size, inputs, outputs in layers:
        found |= conv_shapes(f"{name}/conv", size, inputs, outputs)
        if norm is not None:
            rows = (num_styles, outputs) if num_styles else (outputs,)
            found |= {f"params/{name}/norm/{key}": rows for key in ("scale", "bias")}
        if norm == "batch":
            seen = f"batch_stats/{name}/norm"
            found |= {f"{seen}/{key}": (outputs,) for key in ("mean", "var")}
    return found


def conv_shapes(name: str, size: int, inputs: int, outputs: int) -> Shapes:
    kernel = (size, size, inputs, outputs)
    return {f"params/{name}/kernel": kernel, f"params/{name}/bias": (outputs,)}
