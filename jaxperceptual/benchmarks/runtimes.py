"""OpenVINO and ONNX Runtime doing the same inference, from our own ONNX file.

What a user in a hurry would pick on a CPU. Each has all cores, float32, and what suits
it: OpenVINO is told the size of the images.
"""

import importlib
from collections.abc import Callable

import numpy as np

from jaxperceptual.benchmarks.pieces import Inference, repeated
from jaxperceptual.benchmarks.timing import Variant
from jaxperceptual.core import machine
from jaxperceptual.export.onnx_model import INPUT, OUTPUT, to_onnx
from jaxperceptual.networks.model_file import Model

Run = Callable[[np.ndarray], np.ndarray]


def onnxruntime(content: bytes, shape: tuple[int, ...] | None = None) -> Run:
    """The model on all cores; `shape` is of no use to it."""
    del shape
    runtime = importlib.import_module("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = machine.num_cores()
    # Or its threads would spin on cores that the next variant wants.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    session = runtime.InferenceSession(
        content, options, providers=["CPUExecutionProvider"]
    )
    return lambda images: session.run([OUTPUT], {INPUT: images})[0]


def openvino(content: bytes, shape: tuple[int, ...] | None = None) -> Run:
    """The model on all cores; for images of this shape alone, if one is given."""
    core = importlib.import_module("openvino").Core()
    model = core.read_model(content)
    if shape is not None:
        model.reshape({0: list(shape)})
    options = {
        "INFERENCE_NUM_THREADS": machine.num_cores(),
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",
    }
    compiled = core.compile_model(model, "CPU", options)
    return lambda images: compiled(images)[0]


def variant(name: str, piece: Inference) -> Variant:
    """`openvino` or `onnxruntime`, compiled at its first call."""
    compiled = None

    def once():
        nonlocal compiled
        if compiled is None:
            model = Model(piece.task, dict(piece.net), piece.variables)
            content = to_onnx(model).SerializeToString()
            compiled = globals()[name](content, piece.images.shape)
        return compiled(piece.images)

    return Variant(name, repeated(once), piece.numbers)
