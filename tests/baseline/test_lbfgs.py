"""The solver against SciPy, optax and dense algebra; over pixels, against SciPy."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import pixel_problem
from scipy.optimize import minimize
from tolerances import REORDERED_TOTAL

from jaxperceptual.baseline import lbfgs
from jaxperceptual.baseline.options import LINE_SEARCHES
from jaxperceptual.baseline.pixels import PixelOptimizer, coarse_first, white_noise
from jaxperceptual.core import config_files
from jaxperceptual.core.errors import InputError

FLOAT64 = dict(rtol=1e-9, atol=1e-9)  # sums in another order
# Where solvers stop: of x, of its value, which is flat there, and of x in float32.
STOPPED = dict(rtol=0, atol=1e-5)
STOPPED_VALUE = dict(rtol=1e-10)
STOPPED_FLOAT32 = dict(rtol=1e-4)
UNCONVERGED = 1e-4  # what 120 iterations may leave
CANCELLING_SUM = dict(rtol=1e-4)  # of float32 products of both signs
# What 6 or 8 iterations make of float32 sums in another order.
ITERATED = dict(rtol=1e-3)
ITERATED_IN_A_BATCH = dict(rtol=2e-3)


def box_problem(seed):
    """A convex quadratic whose minimum lies at many bounds; NumPy's x, SciPy's."""
    rng = np.random.default_rng(seed)
    n = 40
    q, _ = np.linalg.qr(rng.normal(size=(n, n)))
    a = (q * np.geomspace(1, 1000, n)) @ q.T
    b = rng.normal(size=n) * 100
    lower, upper = -rng.uniform(0, 2, n), rng.uniform(0, 2, n)
    best = minimize(
        lambda x: (0.5 * x @ a @ x - b @ x, a @ x - b),
        np.zeros(n),
        jac=True,
        method="L-BFGS-B",
        bounds=list(zip(lower, upper, strict=True)),
        options=dict(ftol=1e-16, gtol=1e-9, maxiter=10_000, maxfun=10_000),
    )
    return (
        lambda x: 0.5 * x @ jnp.asarray(a) @ x - jnp.asarray(b) @ x,
        jnp.asarray(lower),
        jnp.asarray(upper),
        best,
        rng.uniform(-3, 3, n),  # the start: outside the box too
    )


@pytest.mark.parametrize("linesearch", LINE_SEARCHES)
@pytest.mark.parametrize("seed", range(4))
def test_reaches_the_constrained_minimum_that_scipy_finds(seed, linesearch):
    with jax.enable_x64(True):
        loss_fn, lower, upper, best, start = box_problem(seed)
        solver = lbfgs.ProjectedLBFGS(
            loss_fn, lower, upper, linesearch=linesearch, maxiter=300, tol=1e-7
        )
        x, state = jax.jit(solver.run)(start)
        held = (best.x <= lower) | (best.x >= upper)
        assert 10 < held.sum() < 35  # or the problem would test nothing
        np.testing.assert_allclose(x, best.x, **STOPPED)
        np.testing.assert_allclose(state.value, best.fun, **STOPPED_VALUE)
        assert state.value == loss_fn(x) and state.num_fun_eval < 150


def test_clipping_alone_stalls_above_the_minimum():
    with jax.enable_x64(True):
        loss_fn, lower, upper, best, start = box_problem(0)
        solver = lbfgs.ProjectedLBFGS(
            loss_fn, lower, upper, projection="clip", maxiter=150
        )
        _, state = jax.jit(solver.run)(start)
        assert state.value > best.fun + 1e-4 * abs(best.fun)


@pytest.mark.slow
def test_without_bounds_it_is_optax_lbfgs():
    with jax.enable_x64(True):
        loss_fn, _, _, _, start = box_problem(0)
        solver = lbfgs.ProjectedLBFGS(loss_fn, -np.inf, np.inf, history_size=3)
        reference = optax.scale_by_lbfgs(memory_size=3)
        x, y = jnp.asarray(start), jnp.asarray(start)
        state, theirs = solver.init_state(x), reference.init(y)
        update, their_update = jax.jit(solver.update), jax.jit(reference.update)
        gradient = jax.jit(jax.grad(loss_fn))
        for _ in range(8):  # the memory is overwritten from the fourth on
            x, state = update(x, state)
            step, theirs = their_update(gradient(y), theirs, y)
            y = y - step
            np.testing.assert_allclose(x, y, **FLOAT64)


def test_direction_of_the_free_variables_by_dense_algebra():
    """BFGS's inverse Hessian of the free part of each pair, as a matrix."""
    with jax.enable_x64(True):
        rng = np.random.default_rng(1)
        n, m = 7, 3
        metric = rng.normal(size=(n, n))
        metric = metric @ metric.T + np.eye(n)
        solver = lbfgs.ProjectedLBFGS(
            lambda x: jnp.sum(x * x),
            0.0,
            1.0,
            history_size=m,
            metric=lambda v: jnp.asarray(metric) @ v,
        )
        x = np.array([0, 0, 1, 1, 0.5, 0.2, 0.7])
        grad = np.array([3, -3, -2, 2, 1.0, -1, 2])
        free = np.array([0, 1, 0, 1, 1, 1, 1.0])  # at a bound and pushed out: held
        s = rng.normal(size=(m, n))
        y = s + 0.1 * rng.normal(size=(m, n))
        y[0] = -s[0]  # of negative curvature: left out, although the newest
        state = solver.init_state(x)._replace(
            grad=jnp.asarray(grad),
            s_history=jnp.asarray(s),
            y_history=jnp.asarray(y),
            num_pairs=jnp.asarray(4, jnp.int32),  # the newest is at 0, the oldest at 1
        )
        f = np.diag(free)
        y2 = f @ y[2]
        h = f @ metric @ f * (s[2] @ y2) / (y2 @ metric @ y2)
        for i in (1, 2):
            si, yi = f @ s[i], f @ y[i]
            v = np.eye(n) - np.outer(yi, si) / (si @ yi)
            h = v.T @ h @ v + np.outer(si, si) / (si @ yi)
        np.testing.assert_allclose(
            solver._direction(jnp.asarray(x), state), -h @ (free * grad), **FLOAT64
        )


def rosenbrock(x):
    return jnp.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


@pytest.mark.slow
def test_line_search_never_rises_and_counts_every_evaluation():
    calls = []

    def loss_fn(x):
        jax.debug.callback(lambda: calls.append(1))
        return rosenbrock(x)

    solver = lbfgs.ProjectedLBFGS(loss_fn, -2.0, 0.9, linesearch="backtracking")
    x = jnp.full(6, -1.5)
    state = solver.init_state(x)
    update = jax.jit(solver.update)
    values, compiled = [state.value], jax.jit(rosenbrock)
    for _ in range(120):
        x, state = update(x, state)
        values.append(state.value)
        np.testing.assert_allclose(state.value, compiled(x), **REORDERED_TOTAL)
    jax.effects_barrier()
    assert np.all(np.diff(values) <= 0)
    assert state.iter_num < state.num_fun_eval <= len(calls) == 121
    assert jnp.all((x >= -2) & (x <= 0.9))
    best = minimize(
        lambda z: float(compiled(jnp.asarray(z, jnp.float32))),
        np.full(6, -1.5),
        method="Nelder-Mead",  # no gradients at all
        bounds=[(-2, 0.9)] * 6,
        options=dict(maxfev=20_000, maxiter=20_000, xatol=1e-5),
    )
    assert state.value <= best.fun + UNCONVERGED


@pytest.mark.parametrize("linesearch", LINE_SEARCHES)
def test_steps_back_from_where_the_loss_is_not_finite(linesearch):
    def loss_fn(x):  # log: nan beyond 1
        return -jnp.sum(jnp.log(1 - x)) - 30 * jnp.sum(x)

    solver = lbfgs.ProjectedLBFGS(
        loss_fn, 0.0, 255.0, linesearch=linesearch, maxiter=40
    )
    x, state = solver.run(jnp.full(4, 0.5))
    np.testing.assert_allclose(x, 1 - 1 / 30, **STOPPED_FLOAT32)
    assert jnp.isfinite(state.value) and state.num_fun_eval > state.iter_num + 1


def test_at_the_minimum_it_stays():
    solver = lbfgs.ProjectedLBFGS(
        lambda x: jnp.sum(x), 0.0, 255.0, linesearch="backtracking"
    )
    x, state = solver.run(jnp.zeros(3))
    assert state.error == 0 and state.iter_num == 0
    update = jax.jit(solver.update)
    for _ in range(30):
        x, state = update(x, state)
    assert jnp.all(x == 0) and state.value == 0 and state.failed


@pytest.mark.parametrize(
    "options, message",
    [
        (dict(linesearch="wolfe"), "linesearch='wolfe'; use one of none, backtracking"),
        (dict(projection="none"), "projection='none'; use one of mask, clip"),
        (dict(history_size=0), "history_size=0; use 1"),
        (dict(lower=1.0, upper=1.0), "lower must be below upper"),
    ],
)
def test_options_that_cannot_be(options, message):
    with pytest.raises(InputError, match=message):
        box = dict(lower=0.0, upper=255.0)
        lbfgs.ProjectedLBFGS(lambda x: jnp.sum(x), **(box | options))


def test_metric_is_symmetric_positive_and_spares_detail():
    rng = np.random.default_rng(0)
    a, b = jnp.asarray(rng.normal(size=(2, 9, 12, 3)), jnp.float32)
    ma, mb = coarse_first(a), coarse_first(b)
    np.testing.assert_allclose(np.sum(ma * b), np.sum(a * mb), **CANCELLING_SUM)
    assert np.sum(ma * a) > 0
    flat = jnp.ones((8, 8, 3))
    board = jnp.tile(jnp.indices((8, 8)).sum(0)[..., None] % 2 * 2 - 1.0, 3)
    # 0.02 cycles a pixel stand for none; a checkerboard has sqrt(1/2).
    np.testing.assert_allclose(coarse_first(flat), flat * 0.02**-0.5, **REORDERED_TOTAL)
    expected = board * (0.02 + 0.5**0.5) ** -0.5
    np.testing.assert_allclose(coarse_first(board), expected, **REORDERED_TOTAL)


def evaluations_of_scipy(value_and_grad, start, count):
    values = []

    def loss_fn(x):
        value, grad = value_and_grad(x.reshape(start.shape).astype(np.float32))
        values.append(float(value))
        return values[-1], np.asarray(grad, np.float64).ravel()

    minimize(
        loss_fn,
        start.ravel().astype(np.float64),
        jac=True,
        method="L-BFGS-B",
        bounds=[(0, 255)] * start.size,
        options=dict(maxfun=count, maxiter=count, ftol=0, gtol=0),
    )
    assert len(values) >= count
    return min(values[:count])


def evaluations_of_torch(value_and_grad, start, count):
    torch = pytest.importorskip("torch")
    x = torch.from_numpy(start.copy()).requires_grad_()
    options = dict(max_iter=10 * count, max_eval=count, history_size=100)
    optimizer = torch.optim.LBFGS([x], tolerance_grad=0, tolerance_change=0, **options)
    values = []

    def closure():
        with torch.no_grad():
            x.clamp_(0, 255)
        value, grad = value_and_grad(x.detach().numpy())
        values.append(float(value))
        x.grad = torch.from_numpy(np.array(grad))
        return torch.tensor(values[-1])

    optimizer.step(closure)
    assert len(values) >= count
    return min(values[:count])


@pytest.mark.slow
@pytest.mark.weights
@pytest.mark.parametrize("reference", [evaluations_of_scipy, evaluations_of_torch])
def test_pixels_get_lower_than_by_others(reference):
    objective, frozen, targets = pixel_problem(32, "smoke.py")
    optimizer = PixelOptimizer(objective)
    start = white_noise(0, 32)
    step, full = optimizer.start(start[None], frozen, targets[:1])
    loss_fn = jax.jit(
        jax.value_and_grad(lambda x: objective(frozen, x[None], targets[:1])[0])
    )
    theirs = reference(loss_fn, start, 60)
    step, trace = optimizer.advance(step, full, targets[:1], 59)
    assert trace.evaluations[-1, 0] == 60 and trace.iteration[-1, 0] == 59
    assert trace.objective.min() <= theirs
    # The state's value is that of the clipped pixels.
    value, _ = loss_fn(step.params[0])
    np.testing.assert_allclose(trace.objective[-1, 0], value, **REORDERED_TOTAL)
    terms = sum(trace.terms.values())
    np.testing.assert_allclose(terms, trace.objective, **REORDERED_TOTAL)
    assert step.params.min() >= 0 and step.params.max() <= 255


@pytest.mark.weights
@pytest.mark.parametrize(
    "linesearch",
    [
        pytest.param(s, marks=[] if s == LINE_SEARCHES[0] else [pytest.mark.slow])
        for s in LINE_SEARCHES
    ],
)
def test_a_batch_is_its_images_one_by_one(linesearch):
    objective, frozen, targets = pixel_problem(32, "smoke.py")
    optimizer = PixelOptimizer(objective, linesearch=linesearch)
    noise = np.stack([white_noise(i, 32) for i in range(2)])
    step, full = optimizer.start(noise, frozen, targets)
    _, together = optimizer.advance(step, full, targets, 8)
    for i in range(2):
        step, full = optimizer.start(noise[i : i + 1], frozen, targets[i : i + 1])
        _, first = optimizer.advance(step, full, targets[i : i + 1], 8)
        np.testing.assert_allclose(
            first.objective[:, 0], together.objective[:, i], **ITERATED_IN_A_BATCH
        )


@pytest.mark.weights
def test_a_loop_on_the_device_is_its_iterations():
    """What accelerators run in one dispatch equals what a CPU runs in several."""
    objective, frozen, targets = pixel_problem(32, "smoke.py")
    optimizer = PixelOptimizer(objective)
    noise = white_noise(0, 32)[None]
    step, full = optimizer.start(noise, frozen, targets[:1])
    _, expected = optimizer.advance(step, full, targets[:1], 6)
    step, full = optimizer.start(noise, frozen, targets[:1])
    _, _, found = optimizer._updates(*step, full, targets[:1], count=6)
    np.testing.assert_allclose(found.objective, expected.objective, **ITERATED)
    np.testing.assert_array_equal(found.evaluations, expected.evaluations)


# The shipped configs, one for each different set of weights.
OBJECTIVES = {
    config_files.load_config(str(path)).objective.to_json(): str(path)
    for path in sorted(config_files.FOLDER.glob("style_*.py"))
}


@pytest.mark.slow
@pytest.mark.weights
@pytest.mark.parametrize("size", [256, 512, 1024])
@pytest.mark.parametrize("config", OBJECTIVES.values(), ids=lambda p: Path(p).stem)
def test_no_divergence_from_white_noise(config, size):
    objective, frozen, targets = pixel_problem(size, config)
    optimizer = PixelOptimizer(objective)
    noise = white_noise(0, size)[None]
    step, full = optimizer.start(noise, frozen, targets[:1])
    start = float(step.state.value[0])
    step, trace = optimizer.advance(step, full, targets[:1], 15)
    assert np.all(np.isfinite(trace.objective))
    assert trace.objective.max() <= start and trace.objective[-1] < 0.3 * start
    assert jnp.all((step.params >= 0) & (step.params <= 255))
