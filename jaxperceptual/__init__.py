"""Perceptual losses for real-time style transfer and super-resolution, in JAX/Flax.

    import jaxperceptual
    jaxperceptual.stylize("photo.jpg").save("out.png")

Johnson, Alahi and Fei-Fei, ECCV 2016. What stands in `__all__` is imported when it is
first asked for; docs/api.md shows each. Images are RGB in [0, 255].

The rooms, each from those before it: `core`; `images` and `ops` (pixels, tensors);
`networks` (f_W), `loss_network` (phi) and `data`; `losses` (equations 2 to 5) and
`inference`; `training`, `baseline` and `evaluation` (section 4); `figures` and
`benchmarks`; `commands`. A checkout's configs/ is `jaxperceptual.configs`; pretrained/
has the models that ship. docs/where-things-are.md goes from an idea to its file.
"""

import importlib
import os
from typing import TYPE_CHECKING

from jaxperceptual.core import xla as _xla

_xla.configure_xla()  # before JAX starts its backend

# In a checkout `jaxperceptual.configs` is the configs/ beside this folder, whichever
# checkout is installed, or none.
_checkout = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
if os.path.isfile(os.path.join(_checkout, "configs", "style_muse.py")):
    __path__.append(_checkout)

if TYPE_CHECKING:  # `as` exports it
    from jaxperceptual.baseline.lbfgs import ProjectedLBFGS as ProjectedLBFGS
    from jaxperceptual.core.errors import InputError as InputError
    from jaxperceptual.evaluation.lpips import LPIPS as LPIPS
    from jaxperceptual.evaluation.metrics import (
        luminance as luminance,
        psnr as psnr,
        ssim as ssim,
    )
    from jaxperceptual.inference.restorer import (
        Restorer as Restorer,
        super_resolve as super_resolve,
    )
    from jaxperceptual.inference.stylizer import (
        Stylizer as Stylizer,
        stylize as stylize,
    )
    from jaxperceptual.loss_network.vgg import VGG16 as VGG16
    from jaxperceptual.losses.objective import (
        PerceptualObjective as PerceptualObjective,
    )
    from jaxperceptual.losses.terms import (
        feature_loss as feature_loss,
        gram_matrix as gram_matrix,
        pixel_loss as pixel_loss,
        style_loss as style_loss,
        total_variation as total_variation,
    )
    from jaxperceptual.networks.srcnn import SRCNN as SRCNN
    from jaxperceptual.networks.style_net import StyleNet as StyleNet
    from jaxperceptual.networks.super_resolution_net import (
        SuperResolutionNet as SuperResolutionNet,
    )
    from jaxperceptual.training.devices import (
        replicate as replicate,
        unreplicate as unreplicate,
    )
    from jaxperceptual.training.step import (
        init_state as init_state,
        make_train_step as make_train_step,
    )

_MODULES = {
    "InputError": "core.errors",
    "LPIPS": "evaluation.lpips",
    "PerceptualObjective": "losses.objective",
    "ProjectedLBFGS": "baseline.lbfgs",
    "Restorer": "inference.restorer",
    "SRCNN": "networks.srcnn",
    "StyleNet": "networks.style_net",
    "Stylizer": "inference.stylizer",
    "SuperResolutionNet": "networks.super_resolution_net",
    "VGG16": "loss_network.vgg",
    "feature_loss": "losses.terms",
    "gram_matrix": "losses.terms",
    "init_state": "training.step",
    "luminance": "evaluation.metrics",
    "make_train_step": "training.step",
    "pixel_loss": "losses.terms",
    "psnr": "evaluation.metrics",
    "replicate": "training.devices",
    "ssim": "evaluation.metrics",
    "style_loss": "losses.terms",
    "stylize": "inference.stylizer",
    "super_resolve": "inference.restorer",
    "total_variation": "losses.terms",
    "unreplicate": "training.devices",
}
__all__ = [*_MODULES]


def __getattr__(name: str):
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(f"{__name__}.{_MODULES[name]}")
    globals()[name] = value = getattr(module, name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
