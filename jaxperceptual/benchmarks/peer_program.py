"""Photos through an ONNX file by OpenVINO or ONNX Runtime, files to files.

    python -m jaxperceptual.benchmarks.peer_program openvino MODEL.onnx OUT PHOTO [...]

What somebody would write who has the ONNX file and not this project: it imports neither
JAX nor anything of ours. One photo: compiled for its size; more: once, for all sizes.
Files are written by a thread (JPEG of quality 95, as ours).
"""

import sys
from concurrent import futures
from pathlib import Path

import numpy as np
from PIL import Image


def main(runtime: str, model: str, output: str, *photos: str) -> None:
    images = (
        np.asarray(Image.open(p).convert("RGB"), np.float32)[None] for p in photos
    )
    first = next(images)
    shape = [1, *first.shape[1:]] if len(photos) == 1 else None
    run = {"openvino": _openvino, "onnxruntime": _onnxruntime}[runtime](model, shape)
    Path(output).mkdir(parents=True, exist_ok=True)
    with futures.ThreadPoolExecutor(1) as writer:
        written = []
        for photo, image in zip(photos, _again(first, images), strict=True):
            pixels = np.rint(run(image)[0]).astype(np.uint8)
            target = Path(output) / Path(photo).name
            written.append(writer.submit(_write, pixels, target))
        for one in written:
            one.result()


def _again(first, rest):
    yield first
    yield from rest


def _write(pixels, path):
    Image.fromarray(pixels).save(path, quality=95)


def _openvino(path, shape):
    import openvino

    core = openvino.Core()
    model = core.read_model(path)
    if shape:
        model.reshape({0: shape})
    hints = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    compiled = core.compile_model(model, "CPU", hints)
    return lambda images: compiled(images)[0]


def _onnxruntime(path, shape):
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda images: session.run(None, {"images": images})[0]


if __name__ == "__main__":
    main(*sys.argv[1:])
