"""f_W as an ONNX graph, built from its weights: nothing is traced.

Batch, height and width are open: any size of 1 px and more. Pixels in and out are RGB
float32 in [0, 255], [n h w 3], as everywhere here; within, NCHW as ONNX wants it.
"""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx

from jaxperceptual.core.errors import InputError
from jaxperceptual.export.graph import Graph, integers
from jaxperceptual.images.color import LUMA_WEIGHTS
from jaxperceptual.networks.folding import fold
from jaxperceptual.networks.model_file import Model, build_net
from jaxperceptual.networks.sizes import (
    BORDER,
    EPSILON,
    NUM_RESIDUAL_BLOCKS,
    TANH_SCALE,
)
from jaxperceptual.networks.srcnn import SRCNN
from jaxperceptual.networks.style_net import StyleNet
from jaxperceptual.networks.super_resolution_net import (
    NUM_SR_RESIDUAL_BLOCKS,
    SuperResolutionNet,
)

INPUT, OUTPUT = "images", "outputs"
STYLES = "styles"  # a second input, of a gallery
HEIGHT, WIDTH = 2, 3  # axes of NCHW


def to_onnx(
    model: Model,
    *,
    half_weights: bool = False,
    card: str = "",
    all_styles: bool = False,
) -> onnx.ModelProto:
    """What `Stylizer` or `Restorer.network` computes of the model, as an ONNX model.

    Input `images` [n height width 3], output `outputs` [n height width 3], both sides
    times the factor for one that enlarges; clipped to [0, 255]. Its metadata has what
    the model file's header has, each value as JSON, and the `card`.

    half_weights: store weights as float16: half the size, computed in float32 still.
    all_styles: a gallery as it is, with a second input `styles` [s], of each style how
        much; they add up to 1. The metadata's `styles` has their names, in order.

    Raises InputError for a gallery of which no style was picked, for `all_styles` of
    another network, or a network that there is no graph for.
    """
    if model.styles and not all_styles:
        model.pick(None)  # says which there are
    if all_styles and not model.styles:
        raise InputError("a network of one style; all styles are those of a gallery.")
    net, variables = fold(build_net(model), model.variables)
    if type(net) not in BODIES:
        raise InputError(f"{type(net).__name__}: no ONNX graph for this network.")
    graph = Graph(half_weights=half_weights)
    if all_styles:
        graph.styles = graph("Reshape", STYLES, integers(1, -1))
    x = graph("Transpose", INPUT, perm=[0, 3, 1, 2])
    x = BODIES[type(net)](graph, net, variables["params"], x)
    x = graph("Clip", x, np.float32(0), np.float32(255))
    x = graph("Transpose", x, perm=[0, 2, 3, 1])
    factor = getattr(net, "factor", 1)
    sides = ["height", "width"]
    larger = sides if factor == 1 else [f"{factor}*{side}" for side in sides]
    metadata = {"task": model.task, "net": model.net_config, "factor": factor}
    metadata |= model.trained.metadata() | ({"card": card} if card else {})
    inputs = {INPUT: ["n", *sides, 3]}
    if all_styles:
        metadata[STYLES] = list(model.styles)
        inputs[STYLES] = [len(model.styles)]
    return graph.finished(
        inputs,
        {OUTPUT: ["n", *larger, 3]},
        x,
        {
            key: v if isinstance(v, str) else json.dumps(v)
            for key, v in metadata.items()
        },
    )


# --- networks ------------------------------------------------------------------------

Params = Mapping[str, Any]


def _style_net(graph: Graph, net: StyleNet, params: Params, x: str) -> str:
    sides = [graph("Shape", x, start=a, end=a + 1) for a in (HEIGHT, WIDTH)]
    x = _to_unit(graph, x)
    reflect = net.padding == "layers"
    for axis in (HEIGHT, WIDTH):
        x = _reflected(graph, x, axis, 0 if reflect else BORDER, multiple=4)
    for name, stride, p in (("conv1", 1, 4), ("conv2", 2, 1), ("conv3", 2, 1)):
        x = _block(graph, x, params[name], name, stride=stride, p=p, reflect=reflect)
    for i in range(1, NUM_RESIDUAL_BLOCKS + 1):
        name = f"residual{i}"
        x = _residual(graph, x, params[name], name, p=int(reflect), reflect=reflect)
    for name in ("up1", "up2"):
        x = _block(graph, x, params[name], name, upsample=net.upsample)
    x = _conv(graph, x, params["out"], "out", p=4, reflect=reflect)
    if net.output == "tanh":
        x = _scaled_tanh(graph, x)
    elif net.output == "tanh150":
        x = graph("Mul", graph("Tanh", x), np.float32(150))
    ends = graph("Concat", *sides, axis=0)
    return graph("Slice", x, integers(0, 0), ends, integers(HEIGHT, WIDTH))


def _super_resolution_net(
    graph: Graph, net: SuperResolutionNet, params: Params, images: str
) -> str:
    x = _block(graph, _to_unit(graph, images), params["conv1"], "conv1", p=4)
    for i in range(1, NUM_SR_RESIDUAL_BLOCKS + 1):
        x = _residual(graph, x, params[f"residual{i}"], f"residual{i}", p=1)
    for i in range(1, net.doublings + 1):
        x = _block(graph, x, params[f"up{i}"], f"up{i}", upsample=net.upsample)
    x = _scaled_tanh(graph, _conv(graph, x, params["out"], "out", p=4))
    if net.skip:
        x = graph("Sub", x, np.float32(127.5))
        x = graph("Add", _bicubic(graph, images, net.factor), x)
    return x


def _srcnn(graph: Graph, net: SRCNN, params: Params, images: str) -> str:
    bicubic = _bicubic(graph, images, net.factor)
    weights = np.array(LUMA_WEIGHTS, np.float32).reshape(1, 3, 1, 1)
    luma = graph("Conv", bicubic, weights, kernel_shape=[1, 1])
    pads = integers(0, 0, 6, 6, 0, 0, 6, 6)
    x = graph("Pad", _to_unit(graph, luma), pads, mode="edge")
    for name in ("conv1", "conv2"):
        x = graph("Relu", _conv(graph, x, params[name], name))
    x = _from_unit(graph, _conv(graph, x, params["conv3"], "conv3"))
    return graph("Add", bicubic, graph("Sub", x, luma))


BODIES = {
    StyleNet: _style_net,
    SuperResolutionNet: _super_resolution_net,
    SRCNN: _srcnn,
}


# --- layers --------------------------------------------------------------------------


def _conv(graph, x, params, path, *, stride=1, p=0, upsample=None, reflect=False):
    """`layers.Conv`."""
    kernel = np.asarray(params["kernel"])
    bias = graph.weight(f"{path}/bias", params["bias"])
    if upsample == "transposed":
        weight = graph.weight(f"{path}/kernel", kernel.transpose(2, 3, 0, 1))
        return graph(
            "ConvTranspose",
            *(x, weight, bias),
            kernel_shape=[3, 3],
            strides=[2, 2],
            pads=[1, 1, 1, 1],
            output_padding=[1, 1],
        )
    if upsample == "resize":
        twice = np.array([1, 1, 2, 2], np.float32)
        x = graph(
            "Resize",
            *(x, "", twice),
            mode="nearest",
            coordinate_transformation_mode="asymmetric",
            nearest_mode="floor",
        )
        x = graph("Pad", x, integers(0, 0, 1, 1, 0, 0, 1, 1), mode="edge")
    if reflect:
        for axis in (HEIGHT, WIDTH):
            x = _reflected(graph, x, axis, p)
        p = 0
    weight = graph.weight(f"{path}/kernel", kernel.transpose(3, 2, 0, 1))
    return graph(
        "Conv",
        *(x, weight, bias),
        kernel_shape=[*kernel.shape[:2]],
        strides=[stride] * 2,
        pads=[p] * 4,
    )


def _block(graph, x, params, path, *, relu=True, **options):
    """`layers.ConvBlock`; its batch norm is part of the convolution by now."""
    x = _conv(graph, x, params["conv"], f"{path}/conv", **options)
    if "norm" in params:
        scale, bias = (
            _of_styles(graph, graph.weight(f"{path}/norm/{key}", params["norm"][key]))
            for key in ("scale", "bias")
        )
        x = graph("InstanceNormalization", x, scale, bias, epsilon=EPSILON)
    return graph("Relu", x) if relu else x


def _of_styles(graph, weight):
    """Of a gallery's table [s c], the mixture [c] that is asked for."""
    if graph.styles is None:
        return weight
    mixed = graph("MatMul", graph.styles, weight)
    return graph("Reshape", mixed, integers(-1))


def _residual(graph, x, params, path, *, p, reflect=False):
    """`layers.ResidualBlock`."""
    padded = dict(p=p, reflect=reflect)
    y = _block(graph, x, params["block1"], f"{path}/block1", **padded)
    y = _block(graph, y, params["block2"], f"{path}/block2", **padded, relu=False)
    if not p:
        inner = integers(2, 2), integers(-2, -2), integers(HEIGHT, WIDTH)
        x = graph("Slice", x, *inner)
    return graph("Add", x, y)


def _to_unit(graph, x):
    return graph("Sub", graph("Div", x, np.float32(127.5)), np.float32(1))


def _from_unit(graph, x):
    return graph("Mul", graph("Add", x, np.float32(1)), np.float32(127.5))


def _scaled_tanh(graph, x):
    return _from_unit(graph, graph("Tanh", graph("Div", x, np.float32(TANH_SCALE))))


def _reflected(graph, x, axis, border, multiple=1):
    """`ops.reflection_pad` by `border`, up to a `multiple`, of any side.

    (`Pad` of the mode "reflect" allows no more than side - 1.)
    """
    side = up = graph("Shape", x, start=axis, end=axis + 1)
    if multiple > 1:
        number = integers(multiple)
        more = graph("Add", side, integers(multiple - 1))
        up = graph("Mul", graph("Div", more, number), number)
    end = graph("Add", graph("Squeeze", up), np.int64(border))
    places = graph("Range", np.int64(-border), end, np.int64(1))
    period = graph("Mul", graph("Sub", side, integers(1)), integers(2))
    period = graph("Max", period, integers(1))
    phase = graph("Mod", places, period)  # has the period's sign
    places = graph("Min", phase, graph("Sub", period, phase))
    return graph("Gather", x, places, axis=axis)


def _bicubic(graph, x, factor):
    """`resampling.upsample`: each pixel spread by Keys' cubic, a = -1/2.

    What spreads from beyond the border is missing, and made up for by a division.
    (`Resize` has that as `exclude_outside`, which OpenVINO does not heed.)
    """
    if factor == 1:
        return x
    first = -3 * factor // 2  # of the outputs that the input pixel 0 reaches
    places = (np.arange(first, first + 4 * factor) + 0.5) / factor - 0.5
    cubic = _cubic(np.abs(places))
    kernel = np.outer(cubic, cubic).astype(np.float32)[None, None]

    def spread(y, channels):
        return graph(
            "ConvTranspose",
            *(y, np.repeat(kernel, channels, axis=0)),
            group=channels,
            kernel_shape=[4 * factor] * 2,
            strides=[factor] * 2,
            pads=[-first] * 4,
        )

    sides = graph("Shape", x, start=HEIGHT, end=WIDTH + 1)
    shape = graph("Concat", integers(1, 1), sides, axis=0)
    ones = graph(
        "ConstantOfShape", shape, value=onnx.numpy_helper.from_array(np.ones(1, "f4"))
    )
    return graph("Div", spread(x, 3), spread(ones, 1))


def _cubic(t):
    near = (1.5 * t - 2.5) * t * t + 1
    far = ((-0.5 * t + 2.5) * t - 4) * t + 2
    return np.where(t < 1, near, np.where(t < 2, far, 0))
