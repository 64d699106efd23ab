"""A style network over an image too large for it at once: strip by strip, exactly.

Instance norm looks at the whole image, so tiles by themselves would differ in colour.
Here the statistics of each layer are taken over all strips before the next layer gets
to work; the result is that of the whole image, but for the order of sums. What is
before the residual blocks and behind them, a third of the work, is done anew for each
statistic; the maps between, of a quarter of the image's sides, are kept in memory
(float32), and each block replaces them in place. Without instance norms there is one
pass. In all 2.4 times the network's multiplications, and 1.0 times.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float32

from jaxperceptual import ops
from jaxperceptual.core.ahead import Ahead
from jaxperceptual.core.errors import InputError
from jaxperceptual.core.memory import give_memory_back
from jaxperceptual.core.precision import products
from jaxperceptual.core.progress import Bar
from jaxperceptual.core.types import Bytes, Image, Params
from jaxperceptual.images.grain import rows_with_grain
from jaxperceptual.images.tiles import Window, windows
from jaxperceptual.networks.layers import Conv
from jaxperceptual.networks.sizes import BORDER, EPSILON, NUM_RESIDUAL_BLOCKS
from jaxperceptual.networks.style_net import StyleNet, to_pixels
from jaxperceptual.ops import onednn

STRIP = 1448  # px; a strip has as many pixels as a square of this side
# How far, in px of the image, a window's end may spoil what its layers make of it: 15
# at most, 4 by each of the 9 x 9 convolutions and 7 by the strides between.
_HALO = 16
_HEAD = {"conv1": 1, "conv2": 2, "conv3": 4}  # the image's sides over the output's
_TAIL = {"up1": 2, "up2": 4, "out": 4}  # the output's sides over the kept maps'
_RESIDUAL = ("first", "second", "whole")  # a block's two statistics, and its output

Kept = Float32[np.ndarray, "_ _ c"]
# Takes the rows of the image, and what they became, [rows w 3] in [0, 255].
Keep = Callable[[slice, Float32[np.ndarray, "_ _ 3"]], None]


class Moments(NamedTuple):
    """Of each channel [c] over all positions: the mean, and the squares about it."""

    count: Any
    mean: Any
    squares: Any


class Plan(NamedTuple):
    """Sides of the image, rounded up to multiples of 4, and rows of a strip."""

    height: int
    width: int
    rows: int


class Strips:
    """A network, and the programs for images of the last size that it was given.

    net: a StyleNet without batch norm (`folding.fold`).
    grain: As a `Stylizer` has it.

    Raises InputError for a network of another project's that pads at each layer.
    """

    def __init__(
        self, net: StyleNet, precision: str = "float32", *, grain: bool = False
    ):
        if net.padding != "input":
            raise InputError(
                f"a network with padding={net.padding!r} takes whole images alone; "
                "use a smaller --size."
            )
        self._net = net
        self._precision = precision
        self._grain = grain
        self._plan: Plan | None = None
        self._programs = Ahead({})

    def __call__(
        self,
        variables: Params,
        image: Bytes | Image,
        keep: Keep,
        *,
        strip: int = STRIP,
    ) -> None:
        """Gives `keep` the stylised image, from the top down, when all of the image has
        been read.

        strip: of as many pixels as a square of this side; 4 rows at least.
        """
        h, w, _ = image.shape
        sides = (side + -side % 4 for side in (h, w))
        plan = Plan(*sides, rows=max(4, strip**2 // w // 4 * 4))
        params = variables["params"]
        if plan != self._plan:
            self._plan, self._programs = plan, self._prepared(plan, params)
        with Bar(total=self._count(plan), unit="strip", leave=False) as bar:
            maps, moments = self._head(plan, params, image, bar)
            for i in range(1, NUM_RESIDUAL_BLOCKS + 1):
                maps = self._residual(plan, params[f"residual{i}"], maps, bar)
            self._tail(plan, params, maps, moments, bar, keep, (h, w))

    def _stages(self, names) -> list[str]:
        """Of those in order, the ones that there is something to find by."""
        return list(names) if self._net.norm else [list(names)[-1]]

    def _count(self, plan):
        """Strips in all passes."""

        def of(rows, names):
            return -(-rows // plan.rows) * len(self._stages(names))

        height = plan.height + 2 * BORDER
        blocks = NUM_RESIDUAL_BLOCKS * of(height, _RESIDUAL)
        return of(height, _HEAD) + blocks + of(plan.height, _TAIL)

    # The three parts. Each yields what the next one needs.

    def _head(self, plan, params, image, bar) -> tuple[Kept, dict]:
        height, width = plan.height + 2 * BORDER, plan.width + 2 * BORDER
        features = params["conv3"]["conv"]["kernel"].shape[-1]
        maps = np.empty((height // 4, width // 4, features), np.float32)
        moments: dict[str, Moments] = {}
        for name in self._stages(_HEAD):
            found = _Sum()
            for window in windows(height, plan.rows, _HALO):
                pixels = _reflected(image, window.seen, width, self._grain)
                own = _own(window, width, 1, _HEAD[name])
                seen, made = self._programs[name](params, moments, pixels[None], own)
                found.add(seen)
                if name == "conv3":
                    target = slice(window.start // 4, window.stop // 4)
                    maps[target] = np.asarray(made)[0, own[0] : own[1]]
                bar.update()
            if self._net.norm:
                moments[name] = found.moments()
        if self._net.norm:
            _normalise(maps, moments["conv3"], params["conv3"]["norm"], plan.rows // 4)
        return maps, moments

    def _residual(self, plan, params, maps: Kept, bar) -> Kept:
        """Smaller by 2 at each side, in the place of what it is made of.

        A row of the output is made of the same and the next four rows, so that what is
        replaced is not needed any more.
        """
        height, width, _ = maps.shape
        full = (plan.width + 2 * BORDER) // 4  # programs are all of one width
        maps, rows = _full(maps, full), plan.rows // 4
        moments: dict[str, Moments] = {}
        for name in self._stages(_RESIDUAL):
            less = 2 if name == "first" else 4
            found = _Sum()
            for start in range(0, height - less, rows):
                stop = min(start + rows, height - less)
                window = np.zeros((1, rows + 4, *maps.shape[1:]), np.float32)
                seen = maps[start : min(start + rows + 4, height)]
                window[0, : len(seen)] = seen
                own = np.int32([0, stop - start, width - less])
                moment, made = self._programs[name](params, moments, window, own)
                found.add(moment)
                if name == "whole":
                    maps[start:stop, : full - 4] = np.asarray(made)[0, : stop - start]
                bar.update()
            if self._net.norm:
                moments[name] = found.moments()
        return maps[: height - 4, : width - 4]

    def _tail(self, plan, params, maps, moments, bar, keep, sides) -> None:
        h, w = sides
        for name in self._stages(_TAIL):
            found = _Sum()
            for window in windows(plan.height // 4, plan.rows // 4, _HALO // 4):
                own = _own(window, plan.width // 4, _TAIL[name], 1)
                seen = np.ascontiguousarray(maps[window.seen])[None]
                moment, made = self._programs[name](params, moments, seen, own)
                found.add(moment)
                if name == "out":
                    rows = slice(4 * window.start, min(4 * window.stop, h))
                    made = np.asarray(made)[0, own[0] : own[0] + rows.stop - rows.start]
                    keep(rows, made[:, :w])
                bar.update()
            if self._net.norm:
                moments[name] = found.moments()

    # Their programs: (params, moments, window, own rows and columns) -> (moments of the
    # last layer before its norm, None or what it is there for).

    def _convolved(self, params, x, stride=1, padding=0, upsample=None, relu=False):
        kernel = params["kernel"]
        conv = Conv(
            kernel.shape[-1],
            kernel.shape[0],
            stride,
            padding,
            upsample,
            relu=relu and self._net.norm is None,
            dtype=self._net.dtype,
        )
        return conv.apply({"params": params}, x)

    def _apply_head(self, name, params, moments, x, own):
        x = x / 127.5 - 1.0
        for layer, options in (
            ("conv1", dict(padding=4)),
            ("conv2", dict(stride=2, padding=1)),
            ("conv3", dict(stride=2, padding=1)),
        ):
            x = self._convolved(params[layer]["conv"], x, relu=True, **options)
            if layer == name:
                break
            x = self._normed(params[layer], moments.get(layer), x)
        return self._moments(x, own), ops.widened(x) if name == "conv3" else None

    def _apply_residual(self, name, params, moments, x, own):
        first, second = params["block1"], params["block2"]
        y = self._convolved(first["conv"], x, relu=True)
        if name == "first":
            return self._moments(y, own), None
        y = self._convolved(
            second["conv"], self._normed(first, moments.get("first"), y)
        )
        if name == "second":
            return self._moments(y, own), None
        y = self._normed(second, moments.get("second"), y, relu=False)
        return None, ops.widened(x[:, 2:-2, 2:-2] + y)

    def _apply_tail(self, name, params, moments, x, own):
        x = x.astype(self._net.dtype)
        for layer in ("up1", "up2"):
            x = self._convolved(
                params[layer]["conv"], x, upsample=self._net.upsample, relu=True
            )
            if layer == name:
                return self._moments(x, own), None
            x = self._normed(params[layer], moments.get(layer), x)
        x = self._convolved(params["out"], x, padding=4)
        return None, to_pixels(x, self._net.output)

    def _normed(self, params, moments, x, relu=True):
        if self._net.norm is None:
            return x
        gain = _gain(moments, params["norm"])
        y = (ops.widened(x) - moments.mean) * gain + params["norm"]["bias"]
        return (jax.nn.relu(y) if relu else y).astype(x.dtype)

    def _moments(self, x, own) -> Moments | None:
        if self._net.norm is None:
            return None
        x = ops.widened(x)[0]
        first, end, columns = own
        rows = jnp.arange(x.shape[0])
        inside = ((rows >= first) & (rows < end))[:, None, None]
        inside &= (jnp.arange(x.shape[1]) < columns)[:, None]

        def total(values):
            return jnp.where(inside, values, 0).sum(1).sum(0)

        count = ((end - first) * columns).astype(jnp.float32)
        mean = total(x) / count
        return Moments(count, mean, total(jnp.square(x - mean)))

    def _prepared(self, plan: Plan, params: Params) -> Ahead:
        """Programs in the order of their use; one is compiled while another runs."""
        height, width = plan.height + 2 * BORDER, plan.width + 2 * BORDER

        def abstract(*shape, kind=np.float32):
            return jax.ShapeDtypeStruct(shape, kind)

        def known(layers):
            if not self._net.norm:
                return {}
            sizes = {k: v["conv"]["kernel"].shape[-1] for k, v in layers.items()}
            return {
                k: Moments(abstract(), abstract(size), abstract(size))
                for k, size in sizes.items()
            }

        def maker(apply, name, params, moments, window):
            def make():
                arguments = (params, moments, window, abstract(3, kind=np.int32))
                with onednn.programs(lasting=True), products(self._precision):
                    lowered = jax.jit(apply, static_argnums=0).lower(name, *arguments)
                    program = lowered.compile()
                give_memory_back()
                return program

            return make

        rows = min(height, plan.rows + 2 * _HALO)
        head = abstract(1, rows, width, 3)
        features = params["conv3"]["conv"]["kernel"].shape[-1]
        inner = abstract(1, plan.rows // 4 + 4, width // 4, features)
        rows = min(plan.height, plan.rows + 2 * _HALO)
        tail = abstract(1, rows // 4, plan.width // 4, features)
        block = params["residual1"]
        order = dict(zip(_RESIDUAL, ("block1", "block2", None), strict=True))
        makers = {}
        before: dict[str, Any] = {}
        for name in _HEAD:
            makers[name] = maker(self._apply_head, name, params, known(before), head)
            before[name] = params[name]
        of_head, before = dict(before), {}
        for name in _RESIDUAL:
            makers[name] = maker(
                self._apply_residual, name, block, known(before), inner
            )
            if order[name]:
                before[name] = block[order[name]]
        before = of_head
        for name in _TAIL:
            makers[name] = maker(self._apply_tail, name, params, known(before), tail)
            before[name] = params[name]
        stages = [
            name for part in (_HEAD, _RESIDUAL, _TAIL) for name in self._stages(part)
        ]
        return Ahead({name: makers[name] for name in stages})


class _Sum:
    """Moments of parts put together (Chan et al., 1979), in float64."""

    def __init__(self):
        self._count, self._mean, self._squares = 0.0, 0.0, 0.0

    def add(self, part: Moments | None) -> None:
        if part is None:
            return
        count, mean, squares = (np.asarray(x, np.float64) for x in part)
        total = self._count + count
        change = mean - self._mean
        self._mean = self._mean + change * count / total
        self._squares = (
            self._squares + squares + change**2 * self._count * count / total
        )
        self._count = total

    def moments(self) -> Moments:
        return Moments(*map(np.float32, (self._count, self._mean, self._squares)))


def _gain(moments: Moments, norm: Mapping[str, Any]):
    variance = moments.squares / moments.count
    return norm["scale"] / (variance + EPSILON) ** 0.5


def _normalise(maps: Kept, moments: Moments, norm: Params, rows: int) -> None:
    gain = np.asarray(_gain(moments, norm), np.float32)
    bias = np.asarray(norm["bias"])
    for start in range(0, len(maps), rows):
        part = maps[start : start + rows]
        np.maximum((part - moments.mean) * gain + bias, 0, out=part)


def _own(window: Window, columns: int, up: int, down: int) -> np.ndarray:
    """Of a layer's output: the window's own first row, the next one's, and columns."""
    first, end = window.start - window.first, window.stop - window.first
    return np.int32([first, end, columns]) * up // down


def _full(maps: Kept, width: int) -> Kept:
    """The view of `width` columns that the maps are the first columns of."""
    base = maps
    while base.base is not None and base.base.ndim == 3:
        base = base.base
    return base[: len(maps), :width]


def _reflected(
    image: Bytes | Image, rows: slice, width: int, grain: bool
) -> Float32[np.ndarray, "_ _ 3"]:
    """Rows of the image with its border of reflection, float32."""
    h, w, _ = image.shape
    down = ops.reflections(BORDER, rows.stop, h)[rows]
    across = ops.reflections(BORDER, width, w)
    if grain:
        first, stop = int(down.min()), int(down.max()) + 1
        image, down = rows_with_grain(image, first, stop), down - first
    return np.ascontiguousarray(image[down][:, across], np.float32)
