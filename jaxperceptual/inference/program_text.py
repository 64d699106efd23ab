"""f_W for one photo of one size, written down as StableHLO; nothing here imports JAX.

What JAX would trace and lower takes longer than what XLA then makes of it, and JAX's
import longer than either. For the networks that ship: instance norm, resizing; the
convolutions are oneDNN's, as in `ops.onednn`, in the forms that `ops` chooses there.
"""

import json
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from jaxperceptual.core.host_types import Params
from jaxperceptual.networks.sizes import (
    BORDER,
    EPSILON,
    NUM_RESIDUAL_BLOCKS,
    TANH_SCALE,
)

ONEDNN = "__onednn$convolution"
LEAST = 2 * BORDER  # px of a side, so that one reflection fills the border


class Value(NamedTuple):
    """A float32 tensor of the program: its name, "%7", and its shape."""

    name: str
    shape: tuple[int, ...]

    @property
    def type(self) -> str:
        return f"tensor<{'x'.join(map(str, (*self.shape, 'f32')))}>"


class Program(NamedTuple):
    """What to compile, and the arguments before the image."""

    text: str
    weights: list[np.ndarray]


def writes(net: Mapping[str, object]) -> bool:
    """Whether a network with these options is one of those that can be written."""
    given = {k: v for k, v in net.items() if k not in ("width", "num_styles")}
    return given == {"norm": "instance", "upsample": "resize"}


def style_program(params: Params, h: int, w: int) -> Program:
    """That of [1 h w 3] float32 -> [1 h w 3], both in [0, 255].

    params: those of a network that `writes`; one style's, not a gallery's.
    """
    if min(h, w) < LEAST:
        raise ValueError(f"{w} x {h} px: {LEAST} at least.")
    made = _Text()
    image = made.input((1, h, w, 3))
    x = made.minus(made.divided(image, made.constant(127.5)), made.constant(1.0))
    for axis in (1, 2):
        x = made.reflected(x, axis, BORDER, BORDER + -x.shape[axis] % 4)
    for name, stride, p in (("conv1", 1, 4), ("conv2", 2, 1), ("conv3", 2, 1)):
        x = made.block(x, params[name], stride=stride, p=p)
    for i in range(1, NUM_RESIDUAL_BLOCKS + 1):
        blocks = params[f"residual{i}"]
        y = made.block(made.block(x, blocks["block1"]), blocks["block2"], relu=False)
        x = made.plus(made.part(x, {1: (2, -2), 2: (2, -2)}), y)
    for name in ("up1", "up2"):
        x = made.block(x, params[name], upsample=True)
    x = made.to_few(x, params["out"], p=4)
    x = made.part(x, {1: (0, h), 2: (0, w)})
    x = made.op("tanh", made.divided(x, made.constant(TANH_SCALE)))
    x = made.times(made.plus(x, made.constant(1.0)), made.constant(127.5))
    return made.finished(x)


def trial() -> tuple[Program, np.ndarray, np.ndarray]:
    """A small convolution that tells whether oneDNN is there, its input, its output.

    Of small integers, so that every sum is exact.
    """
    x = _scattered(1, 5, 6, 3)
    kernel = _scattered(3, 3, 3, 4)
    bias = np.arange(4, dtype=np.float32)
    padded = np.pad(x[0], ((1, 1), (1, 1), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(0, 1))
    expected = np.einsum("hwiab,abio->hwo", windows[::2, ::2], kernel) + bias
    made = _Text()
    made.finished(made.convolved(made.input(x.shape), kernel, bias, stride=2, p=1))
    return made.program, x, expected[None]


def _scattered(*shape: int) -> np.ndarray:
    """From -4 to 4, without importing NumPy's random numbers."""
    return (37 * np.arange(np.prod(shape)) ** 2 % 9 - 4).reshape(shape).astype("f4")


class _Text:
    """A program as it grows, line by line; each method adds an operation."""

    def __init__(self):
        self._lines: list[str] = []
        self._weights: list[np.ndarray] = []
        self._image: Value | None = None
        self.program: Program | None = None

    def input(self, shape: Sequence[int]) -> Value:
        self._image = Value("%image", tuple(shape))
        return self._image

    def weight(self, value: np.ndarray) -> Value:
        self._weights.append(np.ascontiguousarray(value, np.float32))
        return Value(f"%weight{len(self._weights)}", value.shape)

    def finished(self, result: Value) -> Program:
        inputs = [
            f"%weight{i}: {Value('', weight.shape).type}"
            for i, weight in enumerate(self._weights, 1)
        ]
        inputs.append(f"{self._image.name}: {self._image.type}")
        lines = [
            "module {",
            f"func.func public @main({', '.join(inputs)}) -> {result.type} {{",
            *self._lines,
            f"return {result.name} : {result.type}",
            "}",
            "}",
        ]
        self.program = Program("\n".join(lines), self._weights)
        return self.program

    def _add(self, line: str, shape: Sequence[int], type: str = "") -> Value:
        """Of `line`, which is followed by the type of its result unless given."""
        value = Value(f"%{len(self._lines)}", tuple(shape))
        self._lines.append(f"{value.name} = stablehlo.{line} {type or value.type}")
        return value

    def constant(self, number: float) -> Value:
        return self._add(f"constant dense<{number:.9e}> :", ())

    def op(self, name: str, x: Value, *others: Value) -> Value:
        """Elementwise; what is smaller than x is the same along the other axes."""
        names = [x.name, *(self.like(y, x.shape).name for y in others)]
        return self._add(f"{name} {', '.join(names)} :", x.shape)

    def plus(self, x: Value, y: Value) -> Value:
        return self.op("add", x, y)

    def minus(self, x: Value, y: Value) -> Value:
        return self.op("subtract", x, y)

    def times(self, x: Value, y: Value) -> Value:
        return self.op("multiply", x, y)

    def divided(self, x: Value, y: Value) -> Value:
        return self.op("divide", x, y)

    def like(self, x: Value, shape: Sequence[int]) -> Value:
        """x, a number, [c], [1 1 1 c] or of this shape, in this shape."""
        if x.shape == tuple(shape):
            return x
        axes = [*range(len(shape) - len(x.shape), len(shape))]
        wanted = Value("", tuple(shape)).type
        line = f"broadcast_in_dim {x.name}, dims = {axes} : ({x.type}) ->"
        return self._add(line, shape, wanted)

    def part(self, x: Value, bounds: Mapping[int, tuple[int, int]]) -> Value:
        """A slice along some axes; its end may count from theirs."""
        cut = [
            (a, b if b > 0 else side + b)
            for side, (a, b) in (
                (side, bounds.get(axis, (0, side))) for axis, side in enumerate(x.shape)
            )
        ]
        texts = ", ".join(f"{a}:{b}" for a, b in cut)
        line = f"slice {x.name} [{texts}] : ({x.type}) ->"
        return self._add(line, [b - a for a, b in cut])

    def joined(self, parts: Sequence[Value], axis: int) -> Value:
        shape = list(parts[0].shape)
        shape[axis] = sum(x.shape[axis] for x in parts)
        names = ", ".join(x.name for x in parts)
        types = ", ".join(x.type for x in parts)
        line = f"concatenate {names}, dim = {axis} : ({types}) ->"
        return self._add(line, shape)

    def reshaped(self, x: Value, shape: Sequence[int]) -> Value:
        return self._add(f"reshape {x.name} : ({x.type}) ->", shape)

    def reflected(self, x: Value, axis: int, before: int, after: int) -> Value:
        """By less than its side, without its edge, at both ends."""
        end = x.shape[axis] - 1
        ends = ((1, before + 1), (end - after, end))
        head, tail = (
            self._add(f"reverse {cut.name}, dims = [{axis}] :", cut.shape)
            for cut in (self.part(x, {axis: bounds}) for bounds in ends)
        )
        return self.joined((head, x, tail), axis)

    def mean(self, x: Value) -> Value:
        """[1 h w c] over positions, [c]: rows first, so that XLA threads those."""
        _, h, w, c = x.shape
        zero = self.constant(0.0)
        rows = self._sum(x, zero, 2, (1, h, c))
        rows = self._add(f"optimization_barrier {rows.name} :", rows.shape)
        total = self.reshaped(self._sum(rows, zero, 1, (1, c)), (c,))
        return self.divided(total, self.constant(float(h * w)))

    def _sum(self, x, zero, axis, shape):
        return self._add(
            f"reduce({x.name} init: {zero.name}) applies stablehlo.add across "
            f"dimensions = [{axis}] : ({x.type}, tensor<f32>) ->",
            shape,
        )

    def normalized(self, x: Value, params: Params, relu: bool) -> Value:
        """`layers.Norm` of one image."""
        centred = self.minus(x, self.mean(x))
        variance = self.mean(self.times(centred, centred))
        inverse = self.op("rsqrt", self.plus(variance, self.constant(EPSILON)))
        gain = self.times(inverse, self.weight(params["scale"]))
        y = self.plus(self.times(centred, gain), self.weight(params["bias"]))
        return self.op("maximum", y, self.constant(0.0)) if relu else y

    def block(
        self,
        x: Value,
        params: Params,
        *,
        relu: bool = True,
        upsample: bool = False,
        **how,
    ) -> Value:
        """`layers.ConvBlock`."""
        kernel, bias = params["conv"]["kernel"], params["conv"]["bias"]
        if upsample:
            y = self.upsampled(x, kernel, bias)
        else:
            y = self.convolved(x, kernel, bias, **how)
        return self.normalized(y, params["norm"], relu)

    def convolved(
        self,
        x: Value,
        kernel: np.ndarray,
        bias: np.ndarray | None,
        *,
        stride: int = 1,
        p: int = 0,
    ) -> Value:
        """`ops.conv`, by oneDNN."""
        weights = [self.weight(kernel)]
        if bias is not None:
            weights.append(self.weight(bias))
        kh, kw, _, outputs = kernel.shape
        h, w = (
            (side + 2 * p - k) // stride + 1
            for side, k in zip(x.shape[1:3], (kh, kw), strict=True)
        )
        data = {"batch_dim": 0, "spatial_dims": [1, 2], "feature_dim": 3}
        taps = {
            "spatial_dims": [0, 1],
            "input_feature_dim": 2,
            "output_feature_dim": 3,
        }
        config = {  # XLA's OneDnnConvolutionConfig
            "dims": 4,
            "input": {"data": data},
            "kernel": {"filter": taps},
            "output": {"data": data},
            "window": {
                "pad_left": [p, p],
                "pad_right": [p, p],
                "strides": [stride, stride],
                "window_dilations": [1, 1],
            },
            "feature_groups": 1,
            "fusions": {"ops": ["BIAS"] if bias is not None else []},
        }
        options = json.dumps({"onednn_conv_config": config}).replace('"', "\\22")
        inputs = [x, *weights]
        names = ", ".join(value.name for value in inputs)
        types = ", ".join(value.type for value in inputs)
        line = (
            f"custom_call @{ONEDNN}({names}) {{api_version = 2 : i32, "
            f'backend_config = "{options}"}} : ({types}) ->'
        )
        return self._add(line, (1, h, w, outputs))

    def to_few(self, x: Value, params: Params, p: int) -> Value:
        """`rearranged.to_few`: 1 x k to k times the outputs, then shifted and added."""
        kernel = params["kernel"]
        k, _, inputs, outputs = kernel.shape
        rows = kernel.transpose(1, 2, 0, 3).reshape(1, k, inputs, k * outputs)
        z = self.convolved(x, rows, None, p=p)
        height = x.shape[1] + 2 * p - k + 1
        y = None
        for j in range(k):
            channels = j * outputs, (j + 1) * outputs
            part = self.part(z, {1: (j, j + height), 3: channels})
            y = part if y is None else self.plus(y, part)
        return self.plus(y, self.weight(params["bias"]))

    def upsampled(self, x: Value, kernel: np.ndarray, bias: np.ndarray) -> Value:
        """`ops.upsample_conv`, as `rearranged.upsampled_rows` and `onednn` have it."""
        _, h, w, _ = x.shape
        for axis in (1, 2):
            first = self.part(x, {axis: (0, 1)})
            last = self.part(x, {axis: (x.shape[axis] - 1, x.shape[axis])})
            x = self.joined((first, x, last), axis)
        outputs = kernel.shape[-1]
        zero = np.zeros_like(kernel[0, 0])

        def columns(row):  # [3 taps, inputs, 2 column parities x outputs]
            left, middle, right = row
            parities = (
                (left, zero),
                (middle + right, left + middle),
                (zero, right),
            )
            return np.stack([np.concatenate(pair, -1) for pair in parities])

        top, middle, bottom = kernel
        y = None
        for first, rows in (
            (0, (columns(top), columns(middle + bottom))),
            (1, (columns(top + middle), columns(bottom))),
        ):
            z = self.convolved(x, np.stack(rows), np.tile(bias, 2))
            z = self.part(z, {1: (first, first + h)})
            z = self.reshaped(z, (1, h, 2 * w, outputs))
            z = self._spread(z, first)
            y = z if y is None else self.plus(y, z)
        return y

    def _spread(self, x: Value, first: int) -> Value:
        """Its rows as every other one, from the `first` on, zeros between them."""
        n, h, w, c = x.shape
        zero = self.constant(0.0)
        line = (
            f"pad {x.name}, {zero.name}, low = [0, {first}, 0, 0], "
            f"high = [0, {1 - first}, 0, 0], interior = [0, 1, 0, 0] : "
            f"({x.type}, tensor<f32>) ->"
        )
        return self._add(line, (n, 2 * h, w, c))
