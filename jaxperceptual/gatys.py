"""The baseline of Gatys et al. (2015): the objective minimised over the pixels.

`ProjectedLBFGS` minimises any function of a vector, matrix or image in a box; below it
stands what is about images: white noise, and many iterations at a time.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.scipy.linalg import solve_triangular
from jaxtyping import Array, Float

from jaxperceptual import objectives, ops
from jaxperceptual.errors import InputError
from jaxperceptual.types import Frozen, Image, Images, Objective

Variables = Float[Array | np.ndarray, "..."]

LINE_SEARCHES = ("none", "backtracking")
PROJECTIONS = ("mask", "clip")
# In a trial at 96 px, 200 evaluations with 10 ended 0.5 % higher, with 30 0.2 % lower.
HISTORY_SIZE = 20  # pairs

_SUFFICIENT_DECREASE = 1e-4  # Armijo's constant (Nocedal and Wright, section 3.1)
_MAX_TRIALS = 12  # on one direction, before the memory is given up
# A pair with less curvature than this (s.y over y.y, relative to the newest) is left
# out: the objective is not convex, and rounding makes curvature of nothing.
_MIN_CURVATURE = 1e-10
_FIRST_STEP = 1 / 64  # of the box's width, root mean square over the variables
_COARSEST = 0.02  # cycles a pixel


class LBFGSState(NamedTuple):
    """What an iteration hands to the next; all of it belongs to the current point."""

    iter_num: jax.Array  # accepted steps
    num_fun_eval: jax.Array  # of value and gradient together, all trials included
    value: jax.Array
    grad: jax.Array
    error: jax.Array  # the largest entry of x - P(x - grad): 0 at a minimum
    aux: Any
    failed: jax.Array  # no step along the steepest descent makes the value smaller
    # The next trial is P(x + stepsize * direction).
    direction: jax.Array
    stepsize: jax.Array
    num_trials: jax.Array  # rejected ones, along this direction
    # The newest pairs of changes of x and of the gradient, [memory_size ...], and how
    # many there ever were: the newest is at (num_pairs - 1) % memory_size.
    s_history: jax.Array
    y_history: jax.Array
    num_pairs: jax.Array


class Trace(NamedTuple):
    """Of each evaluation [k] (and image [k n]): the state's value then."""

    iteration: jax.Array | np.ndarray
    evaluations: jax.Array | np.ndarray
    objective: jax.Array | np.ndarray
    terms: Any  # weighted, by name


class OptStep(NamedTuple):
    """As jaxopt's: where the solver is, and what it knows."""

    params: jax.Array
    state: LBFGSState


@dataclasses.dataclass(frozen=True)
class ProjectedLBFGS:
    """L-BFGS on `lower <= x <= upper`, with jaxopt's `init_state`, `update`, `run`.

    A two-metric projection (Bertsekas 1982): variables held at a bound, where the
    gradient points outwards, sit the step out; the inverse Hessian of the others comes
    from pairs of *projected* iterates, restricted to these variables, so that clipping
    never turns a descent direction into another. Value, gradient and `aux` in the state
    are those of the projected point.

    Each `update` evaluates `loss_fn` and its gradient once. Where a line search rejects
    a trial, x and value stay, and the next update tries a shorter step: so a compiled
    loop has one evaluation in its body, and in a batch (`jax.vmap`) no image waits for
    another one's line search.

    `optax.scale_by_lbfgs` has the recursion, but no place for the restriction and for
    leaving pairs out; a test compares both where there are no bounds.

    loss_fn: `(params, *args) -> value`, or `-> (value, aux)` with `has_aux`; params is
        one floating-point array of any shape.
    lower, upper: the box: numbers, or arrays that broadcast with params.
    maxiter, tol: `run` ends after so many accepted steps, or at an error up to `tol`.
    history_size: pairs kept.
    linesearch: `none` takes every finite step, one evaluation an iteration (the
        paper's accounting); `backtracking` makes steps shorter until the value falls
        sufficiently (Armijo), so values never rise.
    projection: `mask`, or `clip`: a plain L-BFGS whose iterates are clipped, as in the
        paper, which stalls above the minimum.
    metric: `(params) -> params`, linear, symmetric and positive definite: the shape of
        the inverse Hessian before there are pairs; None is the identity.

    Raises InputError for options that do not exist or make no sense.
    """

    loss_fn: Callable[..., Any]
    lower: Any = 0.0
    upper: Any = 255.0
    _: dataclasses.KW_ONLY
    maxiter: int = 500
    tol: float = 0.0
    history_size: int = HISTORY_SIZE
    linesearch: str = "none"
    projection: str = "mask"
    metric: Callable[[jax.Array], jax.Array] | None = None
    has_aux: bool = False

    def __post_init__(self):
        for name, value, known in (
            ("linesearch", self.linesearch, LINE_SEARCHES),
            ("projection", self.projection, PROJECTIONS),
        ):
            if value not in known:
                raise InputError(f"{name}={value!r}; use one of {', '.join(known)}.")
        if self.history_size < 1:
            raise InputError(f"history_size={self.history_size}; use 1 or more.")
        if not np.all(np.asarray(self.lower) < np.asarray(self.upper)):
            raise InputError(
                f"box [{self.lower}, {self.upper}]; lower must be below upper."
            )

    def init_state(self, init_params: Variables, *args) -> LBFGSState:
        """The state at the projection of `init_params`: one evaluation."""
        x = self._project(jnp.asarray(init_params))
        value, grad, aux = self._evaluate(x, *args)
        history = jnp.zeros((self.history_size, *x.shape), x.dtype)
        state = LBFGSState(
            iter_num=jnp.zeros((), jnp.int32),
            num_fun_eval=jnp.ones((), jnp.int32),
            value=value,
            grad=grad,
            error=self._error(x, grad),
            aux=aux,
            failed=jnp.zeros((), bool),
            direction=jnp.zeros_like(x),
            stepsize=jnp.ones((), x.dtype),
            num_trials=jnp.zeros((), jnp.int32),
            s_history=history,
            y_history=history,
            num_pairs=jnp.zeros((), jnp.int32),
        )
        return state._replace(direction=self._direction(x, state))

    def update(self, params: Variables, state: LBFGSState, *args) -> OptStep:
        """One evaluation: a step, or with a line search possibly a rejected trial."""
        x = self._project(params)
        trial = self._project(x + state.stepsize * state.direction)
        value, grad, aux = self._evaluate(trial, *args)
        s, y = trial - x, grad - state.grad
        slope = jnp.minimum(_dot(state.grad, s), 0)
        accepted = jnp.isfinite(value) & jnp.all(jnp.isfinite(grad)) & ~state.failed
        if self.linesearch == "backtracking":
            accepted &= value <= state.value + _SUFFICIENT_DECREASE * slope
            accepted &= value < state.value
        # A direction from which no step is accepted has a wrong memory, or none.
        give_up = ~accepted & (state.num_trials + 1 >= _MAX_TRIALS)
        keep = accepted & (_dot(s, y) > _MIN_CURVATURE * _dot(y, y))
        slot = state.num_pairs % self.history_size

        def chosen(new, old):
            return jax.tree.map(lambda a, b: jnp.where(accepted, a, b), new, old)

        x, value, grad, aux = chosen(
            (trial, value, grad, aux), (x, state.value, state.grad, state.aux)
        )
        state = state._replace(
            iter_num=state.iter_num + accepted,
            num_fun_eval=state.num_fun_eval + ~state.failed,
            value=value,
            grad=grad,
            error=self._error(x, grad),
            aux=aux,
            failed=state.failed | (give_up & (state.num_pairs == 0)),
            s_history=ops.replace_row(state.s_history, slot, s, keep),
            y_history=ops.replace_row(state.y_history, slot, y, keep),
            num_pairs=jnp.where(give_up, 0, state.num_pairs + keep),
        )
        restart = accepted | give_up
        return OptStep(
            x,
            state._replace(
                direction=jnp.where(
                    restart, self._direction(x, state), state.direction
                ),
                stepsize=jnp.where(restart, 1, state.stepsize / 4),
                num_trials=jnp.where(restart, 0, state.num_trials + 1),
            ),
        )

    def run(self, init_params: Variables, *args) -> OptStep:
        """Minimises until `maxiter` steps, an error up to `tol`, or failure.

        One compiled loop, which nothing interrupts; `jax.jit` and `jax.vmap` take it.
        """

        def unfinished(step):
            state = step.state
            far = (state.iter_num < self.maxiter) & (state.error > self.tol)
            return far & ~state.failed

        params = self._project(jnp.asarray(init_params))
        return jax.lax.while_loop(
            unfinished,
            lambda step: self.update(*step, *args),
            OptStep(params, self.init_state(params, *args)),
        )

    def _evaluate(self, x, *args):
        value, grad = jax.value_and_grad(self.loss_fn, has_aux=self.has_aux)(x, *args)
        return (value[0], grad, value[1]) if self.has_aux else (value, grad, ())

    def _project(self, x):
        return optax.projections.projection_box(x, self.lower, self.upper)

    def _error(self, x, grad):
        return jnp.max(jnp.abs(x - self._project(x - grad)))

    def _direction(self, x, state: LBFGSState):
        """Minus the gradient times the inverse Hessian of the free variables.

        The two loops of Nocedal and Wright's algorithm 7.4 with their inner products
        taken first, all at once (Byrd, Nocedal, Schnabel 1994, eq. 3.1): the memory is
        read three times whatever its size, in products of matrices.
        """
        m = self.history_size
        if self.projection == "mask":
            held = ((x <= self.lower) & (state.grad > 0)) | (
                (x >= self.upper) & (state.grad < 0)
            )
            free = (~held).astype(x.dtype)
        else:
            free = jnp.ones_like(x)

        def precondition(v):
            return free * self.metric(v) if self.metric else v

        g = free * state.grad
        order = (state.num_pairs + jnp.arange(m)) % m  # oldest first
        s, y = state.s_history, state.y_history
        # R = s_i . y_j for i <= j, of the pairs that show curvature on what is free.
        products, squares = ops.masked_products(s, y, free)
        products = products[order][:, order]
        curvatures = jnp.diagonal(products)
        used = curvatures > _MIN_CURVATURE * squares[order]
        pairs = used[:, None] & used[None]
        r = jnp.where(pairs, jnp.triu(products, 1), 0)
        r += jnp.diag(jnp.where(used, curvatures, 1))
        alphas = solve_triangular(r, jnp.where(used, _products(s, g)[order], 0))
        back = jnp.argsort(order)
        q = g - free * _combine(alphas[back], y)
        newest = m - 1 - jnp.argmax(used[::-1])
        y_new = free * y[order[newest]]
        scale = jnp.where(used[newest], curvatures[newest], 0) / jnp.where(
            used[newest], _dot(y_new, precondition(y_new)), 1
        )
        first = precondition(q)  # of g itself, as long as no pair is used
        q = scale * first
        betas = jnp.where(used, curvatures * alphas - _products(y, q)[order], 0)
        q += free * _combine(solve_triangular(r, betas, trans=1)[back], s)
        downhill = (_dot(g, q) > 0) & used[newest]
        last = s[(state.num_pairs - 1) % m]
        # Rounding may leave q uphill in spite of pairs: then the gradient must do.
        steepest = jnp.where(used[newest], g, first)
        steepest = self._steepest(steepest, last, state.num_pairs)
        return -jnp.where(downhill, q, steepest)

    def _steepest(self, g, last, num_pairs):
        """`g` as long as a first step, and no longer than the last one."""
        width = jnp.broadcast_to(jnp.asarray(self.upper) - self.lower, g.shape)
        length = jnp.mean(width) * _FIRST_STEP
        # Without a box there is no unit: optax's and SciPy's choice is a step of 1.
        length = jnp.where(jnp.isfinite(length), length, 1 / jnp.sqrt(float(g.size)))
        length = jnp.where(num_pairs > 0, jnp.minimum(length, _rms(last)), length)
        size = _rms(g)
        return g * (length / jnp.where(size > 0, size, 1))


class PixelOptimizer:
    """The objective over the pixels of a batch, each image a problem of its own.

    objective: of `objectives.perceptual_objective`.
    content_layers: those it reads of the targets, whose activations are computed once.
    options: of `ProjectedLBFGS`; its metric is `coarse_first`, unless given.
    """

    def __init__(
        self,
        objective: Objective,
        features_fn: objectives.FeaturesFn,
        content_layers=(),
        **options,
    ):
        def loss_fn(image, frozen, target):
            return objective(frozen, image[None], target[None])

        self._features_fn = features_fn
        self._content_layers = tuple(content_layers)
        options = {"metric": coarse_first, **options}
        self.solver = ProjectedLBFGS(loss_fn, 0.0, 255.0, has_aux=True, **options)
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
        content = objectives.content_targets(
            self._features_fn, frozen.vgg, targets, self._content_layers
        )
        # As [n 1 h w c], since the objective sees batches of one.
        frozen = frozen._replace(
            content={name: x[:, None] for name, x in content.items()}
        )
        images = jnp.clip(jnp.asarray(images), 0.0, 255.0)
        return OptStep(images, self._init(images, frozen, targets)), frozen

    def advance(
        self, step: OptStep, frozen: Frozen, targets: Images, count: int
    ) -> tuple[OptStep, Trace]:
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
        return OptStep(images, state), jax.tree.map(np.asarray, trace)

    def _scan(self, images, state, frozen, targets, *, count):
        def body(carry, _):
            images, state = self._update(*carry, frozen, targets)
            return (images, state), trace_of(state)

        if count == 1:
            (images, state), row = body((images, state), None)
            return images, state, jax.tree.map(lambda x: x[None], row)
        (images, state), trace = jax.lax.scan(body, (images, state), length=count)
        return images, state, trace


def trace_of(state: LBFGSState) -> Trace:
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


def _dot(a, b):
    return jnp.sum(a * b)


def _rms(a):
    return jnp.sqrt(jnp.mean(jnp.square(a)))


def _products(history, x):
    """Inner product of each `history[i]` with x."""
    return jnp.tensordot(history, x, x.ndim, precision="highest")


def _combine(weights, history):
    """Sum of `weights[i] * history[i]`."""
    return jnp.tensordot(weights, history, 1, precision="highest")
