"""PyTorch's training step and iteration over the pixels, compiled or not."""

from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from jaxperceptual.benchmarks import timing
from jaxperceptual.benchmarks.torch.objective import Objective
from jaxperceptual.benchmarks.torch.tensors import device, nchw


class TrainStep:
    """One step of `step.make_train_step`: forward, backward, Adam."""

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
            raise timing.Unavailable(str(error).strip().splitlines()[0]) from error

    return call


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
