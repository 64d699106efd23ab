"""The baseline of Gatys et al. (2015): the objective minimised over the pixels."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxperceptual.baseline import lbfgs
from jaxperceptual.core.types import Image, Images
from jaxperceptual.losses.objective import Frozen, PerceptualObjective

_COARSEST = 0.02  # cycles a pixel


class Trace(NamedTuple):
    """What each evaluation left behind: arrays [k], or [k n] for n images."""

    iteration: jax.Array | np.ndarray
    evaluations: jax.Array | np.ndarray
    objective: jax.Array | np.ndarray
    terms: Any  # weighted, by name


class PixelOptimizer:
    """The objective over the pixels of a batch, each image a problem of its own.

    objective: eq. 5; what it reads of the targets is computed once.
    options: of `ProjectedLBFGS`; its metric is `coarse_first`, unless given.
    """

    def __init__(self, objective: PerceptualObjective, **options):
        def loss_fn(image, frozen, target):
            return objective(frozen, image[None], target[None])

        self._objective = objective
        options = {"metric": coarse_first, **options}
        self.solver = lbfgs.ProjectedLBFGS(loss_fn, 0.0, 255.0, has_aux=True, **options)
        # Of what is frozen only the content belongs to single images.
        each = (0, 0, Frozen(vgg=None, style=None, content=0), 0)
        self._init = jax.jit(jax.vmap(self.solver.init_state, each[:1] + each[2:]))
        self._update = jax.vmap(self.solver.update, each)
        self._updates = jax.jit(
            self._scan, static_argnames="count", donate_argnames=("images", "state")
        )

    def start(self, images: Images, frozen: Frozen, targets: Images):
        """The first evaluation of `images` [n h w 3], and what `advance` takes.

        Returns `(OptStep, frozen)`, the latter with the targets' activations.
        """
        content = self._objective.content_targets(frozen.vgg, targets)
        # As [n 1 h w c], since the objective sees batches of one.
        frozen = frozen._replace(
            content={name: x[:, None] for name, x in content.items()}
        )
        images = jnp.clip(jnp.asarray(images), 0.0, 255.0)
        return lbfgs.OptStep(images, self._init(images, frozen, targets)), frozen

    def advance(
        self, step: lbfgs.OptStep, frozen: Frozen, targets: Images, count: int
    ) -> tuple[lbfgs.OptStep, Trace]:
        """Makes `count` evaluations of every image; `step` is donated.

        Returns the new step and what each evaluation left behind, on the host.
        """
        images, state = step
        if jax.default_backend() == "cpu":  # whose loops do without threads
            rows = []
            for _ in range(count):
                images, state, row = self._updates(
                    images, state, frozen, targets, count=1
                )
                rows.append(row)
            trace = jax.tree.map(lambda *x: np.concatenate(x), *rows)
        else:
            images, state, trace = self._updates(
                images, state, frozen, targets, count=count
            )
        return lbfgs.OptStep(images, state), jax.tree.map(np.asarray, trace)

    def _scan(self, images, state, frozen, targets, *, count):
        def body(carry, _):
            images, state = self._update(*carry, frozen, targets)
            return (images, state), trace_of(state)

        if count == 1:
            (images, state), row = body((images, state), None)
            return images, state, jax.tree.map(lambda x: x[None], row)
        (images, state), trace = jax.lax.scan(body, (images, state), length=count)
        return images, state, trace


def trace_of(state: lbfgs.LBFGSState) -> Trace:
    """What is worth plotting of a state: counts, objective and terms."""
    return Trace(state.iter_num, state.num_fun_eval, state.value, state.aux)


def coarse_first(image: jax.Array) -> jax.Array:
    """Divides the spectrum of [h w 3] by the square root of the frequency.

    As `metric`: VGG's first layers answer to fine detail most, so that the objective
    curves more along it, and the inverse Hessian starts with less of it.
    """
    h, w, _ = image.shape
    rows, columns = np.fft.fftfreq(h)[:, None], np.fft.rfftfreq(w)[None]
    scale = (_COARSEST + np.hypot(rows, columns)) ** -0.5
    spectrum = jnp.fft.rfft2(image, axes=(0, 1)) * scale.astype(np.float32)[..., None]
    return jnp.fft.irfft2(spectrum, s=(h, w), axes=(0, 1)).astype(image.dtype)


def white_noise(seed: int, height: int, width: int | None = None) -> Image:
    """The start: uniform in [0, 255], [height width 3]; a square without width."""
    rng = np.random.default_rng(seed)
    return rng.uniform(0, 255, (height, width or height, 3)).astype(np.float32)
