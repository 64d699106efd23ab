"""PyTorch doing the same work with the same weights: an independent formulation.

Plain `torch.nn.functional` throughout, to compare numbers and speed with; on a GPU if
JAX is on one. Tensors are NCHW, pixels RGB in [0, 255]; parameters have our names
(`conv1.conv.kernel`) in Torch's layouts. PyTorch is an extra: importing this module
without it raises InputError.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import numpy as np

from jaxperceptual import vgg
from jaxperceptual.color import LUMA_WEIGHTS
from jaxperceptual.errors import InputError
from jaxperceptual.nets import NUM_SR_RESIDUAL_BLOCKS, TANH_SCALE
from jaxperceptual.timing import Unavailable
from jaxperceptual.types import Params
from jaxperceptual.vgg_weights import VGGWeights

try:
    import torch
    import torch.nn.functional as F
    from torch import nn
except ModuleNotFoundError as error:
    if error.name != "torch":
        raise
    raise InputError(
        "PyTorch is not installed; pip install -e '.[reference]', "
        "or leave out --reference."
    ) from error


class StyleNet(nn.Module):
    """`nets.StyleNet` from our `{"params": ..., "batch_stats": ...}`: NCHW to NCHW.

    Sides of 2 px and more. In train mode batch norm's running variance is the unbiased
    one, as Torch has it; ours is the biased one that the batch was normalised with.
    """

    def __init__(self, variables: Params, *, norm: str, upsample: str):
        super().__init__()
        params, stats = variables["params"], variables.get("batch_stats", {})

        def block(name, **options):
            return _Block(params[name], stats.get(name, {}), norm, **options)

        self.conv1 = block("conv1", padding=4)
        self.conv2 = block("conv2", stride=2, padding=1)
        self.conv3 = block("conv3", stride=2, padding=1)
        for i in range(1, 6):
            name = f"residual{i}"
            residual = _Residual(params[name], stats.get(name, {}), norm)
            self.add_module(name, residual)
        self.up1 = block("up1", upsample=upsample)
        self.up2 = block("up2", upsample=upsample)
        self.out = _Conv(params["out"], padding=4)

    def forward(self, images):
        h, w = images.shape[2:]
        x = _reflect(images / 127.5 - 1, [40, 40 + -w % 4, 40, 40 + -h % 4])
        x = self.conv3(self.conv2(self.conv1(x)))
        for i in range(1, 6):
            x = getattr(self, f"residual{i}")(x)
        x = self.out(self.up2(self.up1(x)))
        return (127.5 * (torch.tanh(x.float() / TANH_SCALE) + 1))[:, :, :h, :w]


class SuperResolutionNet(nn.Module):
    """`nets.SuperResolutionNet`, likewise."""

    def __init__(self, variables: Params, *, factor: int, norm: str, upsample: str):
        super().__init__()
        params, stats = variables["params"], variables.get("batch_stats", {})

        def block(name, **options):
            return _Block(params[name], stats.get(name, {}), norm, **options)

        self.layers = ["conv1"]
        self.conv1 = block("conv1", padding=4)
        for i in range(1, NUM_SR_RESIDUAL_BLOCKS + 1):
            name = f"residual{i}"
            residual = _Residual(params[name], stats.get(name, {}), norm, padding=1)
            self.add_module(name, residual)
            self.layers.append(name)
        for i in range(1, factor.bit_length()):
            self.add_module(f"up{i}", block(f"up{i}", upsample=upsample))
            self.layers.append(f"up{i}")
        self.out = _Conv(params["out"], padding=4)

    def forward(self, images):
        x = images / 127.5 - 1
        for name in self.layers:
            x = getattr(self, name)(x)
        return 127.5 * (torch.tanh(self.out(x).float() / TANH_SCALE) + 1)


class SRCNN(nn.Module):
    """`nets.SRCNN`; its bicubic is `torch.nn.functional`'s, which does not antialias
    and has another cubic, so that the enlarged image is an argument: NCHW to NCHW.
    """

    def __init__(self, variables: Params):
        super().__init__()
        params = variables["params"]
        self.convs = nn.ModuleList(_Conv(params[f"conv{i}"]) for i in (1, 2, 3))
        self.register_buffer("weights", _tensor(LUMA_WEIGHTS)[:, None, None])

    def forward(self, bicubic):
        luma = (bicubic * self.weights).sum(1, keepdim=True)
        x = F.pad(luma / 127.5 - 1, [6, 6, 6, 6], "replicate")
        first, second, third = self.convs
        x = third(F.relu(second(F.relu(first(x)))))
        return bicubic + 127.5 * (x + 1) - luma


def twin(variables: Params, net: Mapping[str, Any]) -> nn.Module:
    """The network that these options, as in a config, describe.

    Raises InputError for one that has no twin that could be timed.
    """
    options = dict(net)
    name = options.pop("name", "StyleNet")
    options.pop("width", None)  # the variables show it
    kinds = {"StyleNet": StyleNet, "SuperResolutionNet": SuperResolutionNet}
    if name not in kinds:
        raise InputError(f"net.name={name!r}: no PyTorch twin; leave out --reference.")
    return kinds[name](variables, **options)


class VGG16(nn.Module):
    """`vgg.VGG16` down to the deepest of `layers`; its parameters are frozen."""

    def __init__(self, weights: VGGWeights, layers: Iterable[str]):
        super().__init__()
        names = vgg.LAYERS[: max(map(vgg.LAYERS.index, layers)) + 1]
        self.convs = nn.ModuleDict(
            {
                name: _Conv(weights.params[name.replace("relu", "conv")], padding=1)
                for name in names
                if name.startswith("relu")
            }
        ).requires_grad_(False)
        channels, self.scale, mean, std = weights.preprocessing
        self.flip = channels == "BGR"
        self.register_buffer("mean", _tensor(mean)[:, None, None])
        self.register_buffer("std", _tensor(std)[:, None, None])

    def forward(self, images, layers):
        x = images.flip(1) if self.flip else images
        x = (x / self.scale - self.mean) / self.std
        found = {}
        for name in vgg.LAYERS[: max(map(vgg.LAYERS.index, layers)) + 1]:
            if name.startswith("pool"):
                x = F.max_pool2d(x, 2)
            else:
                x = F.relu(self.convs[name](x))
            if name in layers:
                found[name] = x
        return found


class Objective(nn.Module):
    """Equation 5, as `objectives.perceptual_objective`: `(loss, terms by name)`.

    `style_image` is [h w 3]; its Gram matrices are computed here, by this VGG. It may
    be None where no style has a weight.
    """

    def __init__(
        self,
        weights: VGGWeights,
        style_image: np.ndarray | None,
        *,
        content: Mapping[str, float],
        style: Mapping[str, float],
        tv_weight: float = 0.0,
        pixel_weight: float = 0.0,
        luma_weight: float = 0.0,
    ):
        super().__init__()
        self.content = {name: weight for name, weight in content.items() if weight}
        self.style = {name: weight for name, weight in style.items() if weight}
        self.tv_weight, self.pixel_weight = tv_weight, pixel_weight
        self.luma_weight = luma_weight
        self.register_buffer("luma", _tensor(LUMA_WEIGHTS)[:, None, None])
        layers = [*self.content, *self.style]
        self.vgg = VGG16(weights, layers) if layers else None
        self.grams = {}
        if self.style:
            with torch.no_grad():
                found = self.vgg(nchw(style_image[None]), list(self.style))
            self.grams = {name: _gram(found[name]) for name in self.style}

    def content_of(self, targets) -> dict:
        """The targets' activations, which `forward` takes as `wanted`."""
        if not self.content:
            return {}
        with torch.no_grad():
            return self.vgg(targets, list(self.content))

    def forward(self, outputs, targets, wanted=None):
        layers = [*self.content, *self.style]
        found = self.vgg(outputs, layers) if layers else {}
        if wanted is None:
            wanted = self.content_of(targets)
        terms = {}
        for name, weight in self.content.items():
            terms[f"content/{name}"] = weight * F.mse_loss(found[name], wanted[name])
        for name, weight in self.style.items():
            difference = _gram(found[name]) - self.grams[name]
            squares = difference.square().sum() / len(outputs)
            terms[f"style/{name}"] = weight * squares
        if self.tv_weight:
            rows = (outputs[:, :, 1:] - outputs[:, :, :-1]).square().sum()
            columns = (outputs[..., 1:] - outputs[..., :-1]).square().sum()
            terms["tv"] = self.tv_weight * (rows + columns) / len(outputs)
        if self.pixel_weight:
            terms["pixel"] = self.pixel_weight * F.mse_loss(outputs, targets)
        if self.luma_weight:
            difference = ((outputs - targets) * self.luma).sum(1)
            terms["luma"] = self.luma_weight * difference.square().mean()
        return sum(terms.values()), terms


class TrainStep:
    """One step of `training.make_train_step`: forward, backward, Adam."""

    def __init__(
        self,
        net: nn.Module,
        objective: Objective,
        learning_rate: float,
        **options,
    ):
        """`options` are those of `prepare`."""
        self._net = net.train()
        self._loss = prepare(_Loss(net, objective), **options)
        self._trained = [p for p in net.parameters() if p.requires_grad]
        self._optimizer = torch.optim.Adam(self._trained, learning_rate, fused=True)

    def __call__(self, images, inputs=None) -> dict:
        """An update from a uint8 batch [n 3 h w]; metrics of the time before it.

        The network gets the images, or the `inputs` [n 3 h/f w/f] made of them before.
        """
        self._optimizer.zero_grad()
        loss, terms = self._loss(images, inputs)
        loss.backward()
        norms = torch.stack([p.grad.norm() for p in self._trained])
        self._optimizer.step()
        metrics = {"loss": loss, **terms, "grad_norm": norms.norm()}
        return {name: value.detach() for name, value in metrics.items()}

    def moments(self) -> dict[str, np.ndarray]:
        """Adam's running mean of the gradient, by our names ("out/kernel"), as ours."""
        found = {}
        for path, module in self._net.named_modules():
            for name, p in module.named_parameters(recurse=False):
                state = self._optimizer.state.get(p)  # None: it is not trained
                moment = torch.zeros_like(p) if state is None else state["exp_avg"]
                if name == "kernel":
                    moment = moment.permute(module.hwio)
                moment = moment.detach().cpu().numpy()
                found[f"{path}.{name}".replace(".", "/")] = moment
        return found


class PixelStep:
    """One iteration over the pixels, the plain way: `torch.optim.LBFGS`, then clamp.

    One forward and backward pass, no line search; what the targets' content is was
    computed before. images, targets: [n h w 3].
    """

    def __init__(
        self,
        objective: Objective,
        images: np.ndarray,
        targets: np.ndarray,
        *,
        history_size: int,
        channels_last: bool = False,
        **options,
    ):
        # LBFGS wants the pixels contiguous; the loss lays them out as it likes.
        self._pixels = nn.Parameter(nchw(images))
        loss = _PixelLoss(objective, nchw(targets), channels_last)
        self._loss = prepare(loss, channels_last=channels_last, **options)
        self._optimizer = torch.optim.LBFGS(
            [self._pixels],
            max_iter=1,
            history_size=history_size,
            tolerance_grad=0,
            tolerance_change=0,
        )

    def __call__(self) -> tuple[dict, torch.Tensor]:
        """The terms and the gradient [n 3 h w] at the pixels before this iteration."""
        terms: dict = {}

        def closure():
            self._optimizer.zero_grad()
            loss, found = self._loss(self._pixels)
            loss.backward()
            terms.update(found)
            return loss

        self._optimizer.step(closure)
        with torch.no_grad():
            self._pixels.clamp_(0, 255)
        terms = {name: value.detach() for name, value in terms.items()}
        return terms, self._pixels.grad  # still on its device: nothing waits for it


def prepare(
    module: nn.Module,
    *,
    channels_last: bool = False,
    compiled: bool = False,
    precision: str = "float32",
) -> Callable:
    """The module in that memory format; `compiled` for just the shapes it will meet.

    precision: a name of `precision`; "bfloat16" is Torch's autocast.

    Without gradients in eval mode. Calls raise `timing.Unavailable` where the compiler
    does not work, for want of a C++ compiler for example.
    """
    if channels_last:
        module = module.to(memory_format=torch.channels_last)
    # For the whole process, whose variants all compute alike.
    torch.backends.cudnn.allow_tf32 = precision != "float32"
    torch.backends.cudnn.benchmark = True  # tries its convolutions, as XLA does
    torch.backends.cuda.matmul.allow_tf32 = precision != "float32"
    autocast = torch.autocast(
        device().type, torch.bfloat16, enabled=precision == "bfloat16"
    )
    run = module
    if compiled:
        torch.compiler.reset()  # or another shape, seen before, would make this dynamic
        run = torch.compile(module, dynamic=False)

    def call(*inputs):
        try:
            with torch.inference_mode(not module.training), autocast:
                return run(*inputs)
        except RuntimeError as error:
            if not compiled or not _compiler_failed(error):
                raise
            raise Unavailable(str(error).strip().splitlines()[0]) from error

    return call


def device() -> torch.device:
    """A GPU where JAX uses one, else the CPU."""
    return torch.device("cuda" if jax.default_backend() == "gpu" else "cpu")


def wait() -> None:
    """Until the device has done what it was given."""
    if device().type == "cuda":
        torch.cuda.synchronize()


def nchw(images: np.ndarray, *, channels_last: bool = False):
    """[n h w 3] of any dtype to a tensor [n 3 h w], contiguous or channels last."""
    tensor = torch.from_numpy(np.array(images)).to(device()).permute(0, 3, 1, 2)
    return tensor if channels_last else tensor.contiguous()


def nhwc(images) -> np.ndarray:
    """A tensor [n c h w] to [n h w c]."""
    return images.detach().float().cpu().permute(0, 2, 3, 1).numpy()


class _Conv(nn.Module):
    """Convolution and bias: plain, of stride 1/2 ("transposed"), or "resize" first."""

    def __init__(
        self, params, *, stride=1, padding=0, upsample=None, trained_bias=True
    ):
        super().__init__()
        # Torch keeps OIHW, and IOHW where it transposes: axes of those in HWIO order.
        self.hwio = (2, 3, 0, 1) if upsample == "transposed" else (2, 3, 1, 0)
        kernel = _tensor(params["kernel"]).permute(*np.argsort(self.hwio).tolist())
        self.kernel = nn.Parameter(kernel.contiguous())
        self.bias = nn.Parameter(_tensor(params["bias"]), requires_grad=trained_bias)
        self.stride, self.padding, self.upsample = stride, padding, upsample

    def forward(self, x):
        if self.upsample == "transposed":
            return F.conv_transpose2d(x, self.kernel, self.bias, 2, 1, 1)
        if self.upsample == "resize":
            x = F.interpolate(x, scale_factor=2, mode="nearest")
            x = F.pad(x, [1, 1, 1, 1], "reflect")
        return F.conv2d(x, self.kernel, self.bias, self.stride, self.padding)


class _Norm(nn.Module):
    def __init__(self, params, stats, kind):
        super().__init__()
        self.scale = nn.Parameter(_tensor(params["scale"]))
        self.bias = nn.Parameter(_tensor(params["bias"]))
        self.kind = kind
        for name, value in stats.items():
            self.register_buffer(name, _tensor(value))

    def forward(self, x):
        if self.kind == "instance":
            return F.instance_norm(x, weight=self.scale, bias=self.bias, eps=1e-5)
        return F.batch_norm(
            x, self.mean, self.var, self.scale, self.bias, self.training, 0.1, 1e-5
        )


class _Block(nn.Module):
    def __init__(self, params, stats, norm, *, relu=True, **options):
        super().__init__()
        self.conv = _Conv(params["conv"], trained_bias=False, **options)
        self.norm = _Norm(params["norm"], stats.get("norm", {}), norm)
        self.relu = relu

    def forward(self, x):
        x = self.norm(self.conv(x))
        return F.relu(x) if self.relu else x


class _Residual(nn.Module):
    def __init__(self, params, stats, norm, *, padding=0):
        super().__init__()
        for name, relu in (("block1", True), ("block2", False)):
            block = _Block(
                params[name], stats.get(name, {}), norm, relu=relu, padding=padding
            )
            self.add_module(name, block)
        self.crop = 2 - 2 * padding

    def forward(self, x):
        return F.pad(x, [-self.crop] * 4) + self.block2(self.block1(x))


class _Loss(nn.Module):
    """What of a training step is compiled: from bytes to the loss."""

    def __init__(self, net, objective):
        super().__init__()
        self.net, self.objective = net, objective

    def forward(self, images, inputs=None):
        images = images.float()
        inputs = images if inputs is None else inputs
        return self.objective(self.net(inputs), images)


class _PixelLoss(nn.Module):
    """What of an iteration over the pixels is compiled: from pixels to the loss."""

    def __init__(self, objective, targets, channels_last):
        super().__init__()
        self.objective, self.targets = objective, targets
        layout = torch.channels_last if channels_last else torch.contiguous_format
        self.layout = layout
        self.wanted = {
            name: x.contiguous(memory_format=layout)
            for name, x in objective.content_of(targets).items()
        }

    def forward(self, pixels):
        images = pixels.contiguous(memory_format=self.layout)
        return self.objective(images, self.targets, self.wanted)


def _compiler_failed(error: Exception) -> bool:
    from torch._dynamo.exc import BackendCompilerFailed  # imports half of the compiler

    return isinstance(error, BackendCompilerFailed)


def _reflect(x, pads):
    """F.pad, again and again where a side is shorter than its padding."""
    while any(pads):
        h, w = x.shape[2:]
        now = [min(p, n - 1) for p, n in zip(pads, (w, w, h, h), strict=True)]
        x = F.pad(x, now, "reflect")
        pads = [p - n for p, n in zip(pads, now, strict=True)]
    return x


def _gram(x):
    n, c, h, w = x.shape
    x = x.reshape(n, c, h * w)
    return x @ x.transpose(1, 2) / (c * h * w)


def _tensor(x):
    return torch.from_numpy(np.array(x, np.float32)).to(device())
