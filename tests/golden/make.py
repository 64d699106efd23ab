"""Writes the golden numbers, as PyTorch computes them: python tests/golden/make.py

Weights are real or `golden_inputs`' formulas; all that is done with them is
`torch.nn.functional`'s, in double precision where the modules allow it.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # tests/, as pytest has it

import golden_inputs as inputs
import numpy as np
import torch
import torch.nn.functional as F

from jaxperceptual.benchmarks.torch import networks
from jaxperceptual.benchmarks.torch.objective import VGG16, Objective
from jaxperceptual.benchmarks.torch.tensors import nchw, nhwc
from jaxperceptual.loss_network import store


def loss_network(layers=inputs.LAYERS):
    """Activations of VGG-16: samples, and what all of each comes to."""
    weights = store.load("vgg16_torchvision")
    found = {"fingerprint": np.array(weights.fingerprint)}
    net = VGG16(weights, layers).double()
    for name, activation in net(nchw(inputs.SEEN).double(), layers).items():
        found[name] = inputs.sampled(nhwc(activation), name)
        found[f"{name} mean"] = np.float32(activation.mean())
        found[f"{name} std"] = np.float32(activation.std(correction=0))
    return found


def nets(names=tuple(inputs.NETS)):
    """Outputs of the networks, whole."""
    return {name: nhwc(_output(name)) for name in names}


def objective():
    """Equation 5 with its terms and its gradient by the pixels, strided."""
    weights = store.load("vgg16_torchvision")
    twin = Objective(weights, inputs.STYLE_IMAGE, **inputs.OBJECTIVE).double()
    pixels = nchw(inputs.PIXELS).double().requires_grad_()
    loss, terms = twin(pixels, nchw(inputs.TARGETS).double())
    loss.backward()
    found = {name: np.float32(term.item()) for name, term in terms.items()}
    gradient = inputs.strided(nhwc(pixels.grad))
    return found | {"loss": np.float32(loss.item()), "gradient": gradient}


FILES = {"loss_network": loss_network, "networks": nets, "losses": objective}


def _output(name):
    _, variables, images = inputs.network(name)
    task, options, _ = inputs.NETS[name]
    x = nchw(images).double()
    if options.get("name") == "SRCNN":
        net = networks.SRCNN(variables)
        # With antialiasing its cubic is the usual one (a = -0.5), which Pillow has.
        factor = options["factor"]
        x = F.interpolate(x, scale_factor=factor, mode="bicubic", antialias=True)
    elif task == "restoration":
        net = networks.SuperResolutionNet(variables, **options)
    else:
        net = networks.twin(variables, options)
    return net.double().eval()(x)


if __name__ == "__main__":
    for name, compute in FILES.items():
        path = inputs.FOLDER / f"{name}.npz"
        np.savez_compressed(path, **compute())
        print(f"{path.name}: {path.stat().st_size:,} bytes")
    print(f"by torch {torch.__version__}, numpy {np.__version__}, {sys.version}")
