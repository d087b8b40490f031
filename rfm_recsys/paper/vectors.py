"""lin-RFM on vectors: that it is IRLS-p, and from how many samples it recovers sparse coefficients.

Sparse recovery without noise: ``y = X w`` for normal samples X and a w of few coefficients that are not zero, which are
normal. What a method chooses, it chooses by X and y. The Lasso, orthogonal matching pursuit and one IRLS are told more
than that, as is said where they are called: what they fall short by is not for want of a well chosen parameter.
"""

import warnings
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from functools import partial
from itertools import islice
from typing import Any

import numpy as np
import scipy.linalg
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import lars_path, orthogonal_mp
from tqdm.auto import tqdm

from rfm_recsys.core.arrays import Floats
from rfm_recsys.regression import Features, LinRFMRegressor, regression_rounds

EQUIVALENT_POWERS = (1 / 4, 1 / 3, 3 / 8, 1 / 2, 1)
RECOVERY_POWERS = (1 / 4, 3 / 8, 1 / 2, 1)
SUCCESS = 1e-4  # the relative error below which w counts as recovered
ENOUGH = 0.9  # the share of successes that makes a number of samples enough
TOLERANCE, ROUNDS = 1e-8, 300
INITIAL = {2: 1e-50, 3: 1e-5}  # weights of the diagonal networks, which are to be small: these leave no trace

Method = Callable[[Floats, Floats, Floats], Floats]


def equivalence(quick: bool) -> dict[str, Any]:
    """Compare lin-RFM at power a with IRLS-p at ``p = 2 - 4 a``, iterate by iterate and both from all weights 1.

    Returns
    -------
    dict
        ``rows``, one for each power and seed: ``power``, ``p``, ``seed``, ``worst relative difference`` of any iterate,
        and the number of ``rounds`` compared.
    """
    rows = []
    n_rounds = 60 if quick else 150
    for power in EQUIVALENT_POWERS:
        for seed in range(3 if quick else 10):
            X, y, _ = problem(np.random.default_rng(seed), 50, 100, 8)
            rounds = [*islice(regression_rounds(Features(X, centred=False), y, power, 0.0, 0.9), n_rounds)]
            p = 2 - 4 * power
            smoothing = iter([eps for _, eps in rounds[1:]])
            others = irls(X, y, p, lambda *_, smoothing=smoothing: next(smoothing, None))
            worst = max(relative_error(w, other) for (w, _), other in zip(rounds, others, strict=True))
            rows.append({"power": power, "p": p, "seed": seed, "worst relative difference": worst, "rounds": n_rounds})
    return {"rows": rows}


def sparse_regression(quick: bool) -> dict[str, Any]:
    """Measure how often each method recovers sparse coefficients, by the number of samples.

    Returns
    -------
    dict
        As :func:`recovery_curves`.
    """
    if quick:
        return recovery_curves(100, 6, range(12, 37, 4), 10)
    return recovery_curves(400, 20, range(40, 141, 10), 20)


def recovery_curves(dimension: int, sparsity: int, samples: Sequence[int], seeds: int) -> dict[str, Any]:
    """Measure how often each method recovers coefficients of which ``sparsity`` are not zero.

    Returns
    -------
    dict
        ``dimension``, ``sparsity``, ``seeds``, ``samples``; ``curves`` with the ``method``, and for each number of
        samples the share of ``success`` and the ``median error``, relative; ``needed`` with the ``method`` and the
        least number of ``samples`` from which on nine in ten are recovered, None if there is none.
    """
    errors: dict[str, list[list[float]]] = {name: [[] for _ in samples] for name in METHODS}
    with tqdm(total=len(samples) * seeds, desc="sparse regression", disable=None) as bar:
        for place, n in enumerate(samples):
            for seed in range(seeds):
                X, y, w = problem(np.random.default_rng([seed, n]), n, dimension, sparsity)
                for name, method in METHODS.items():
                    errors[name][place].append(relative_error(method(X, y, w), w))
                bar.update()
    curves: list[dict[str, Any]] = [
        {
            "method": name,
            "success": [float(np.mean(np.array(found) < SUCCESS)) for found in by_samples],
            "median error": [float(np.median(found)) for found in by_samples],
        }
        for name, by_samples in errors.items()
    ]
    needed = [{"method": curve["method"], "samples": enough(samples, curve["success"])} for curve in curves]
    about = {"dimension": dimension, "sparsity": sparsity, "seeds": seeds, "samples": [*samples]}
    return {**about, "curves": curves, "needed": needed}


def enough(samples: Sequence[float], success: list[float]) -> float | None:
    """Return the least number of samples from which on the share of successes is :data:`ENOUGH`; None if none is."""
    n_samples_needed = None
    for n, share in zip(reversed(samples), reversed(success), strict=True):
        if share < ENOUGH:
            break
        n_samples_needed = n
    return n_samples_needed


def problem(generator: np.random.Generator, n: int, d: int, k: int) -> tuple[Floats, Floats, Floats]:
    """Return X, shape (n, d), ``y = X w`` and w, which has k normal coefficients; the rest is zero."""
    X = generator.normal(size=(n, d))
    w = np.zeros(d)
    w[generator.choice(d, k, replace=False)] = generator.normal(size=k)
    return X, X @ w, w


def relative_error(found: Floats, w: Floats) -> float:
    """Return the distance of two vectors, relative to the norm of the second."""
    return float(np.linalg.norm(found - w) / np.linalg.norm(w))


# The methods. Each takes X, y and the true w, of which most make no use.


def lin_rfm(X: Floats, y: Floats, _w: Floats, power: float) -> Floats:
    """Return lin-RFM's coefficients."""
    model = LinRFMRegressor(power, regularization=0, max_iter=ROUNDS, fit_intercept=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # it may end at ROUNDS
        coefficients: Floats = model.fit(X, y).coef_
    return coefficients


def lasso(X: Floats, y: Floats, w: Floats) -> Floats:
    """Return the point of the Lasso's path that is nearest to the true w: no choice of its penalty does better."""
    return _nearest(lars_path(X, y, method="lasso")[2], w)


def matching_pursuit(X: Floats, y: Floats, w: Floats) -> Floats:
    """Return the step of orthogonal matching pursuit that is nearest to the true w."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # where it ends early, all being explained
        path = orthogonal_mp(X, y, n_nonzero_coefs=len(y) - 1, return_path=True)
    return _nearest(path.reshape(X.shape[1], -1), w)


def _nearest(path: Floats, w: Floats) -> Floats:
    return np.asarray(path[:, np.argmin(np.linalg.norm(path - w[:, None], axis=0))])


def irls(X: Floats, y: Floats, p: float, next_eps: Callable[[Floats, float], float | None]) -> Iterator[Floats]:
    """Yield the iterates of IRLS-p, ``min sum_i w_i^2 / (w_i,before^2 + eps^2)^(1 - p/2)`` subject to ``X w = y``.

    The first has all weights 1; ``next_eps`` is given each one and its change, relative to its norm, and returns the
    eps of the next, or None for an end.
    """
    scale, before = np.ones(X.shape[1]), np.zeros(X.shape[1])
    while True:
        Q, R = scipy.linalg.qr(scale[:, None] * X.T, mode="economic", check_finite=False)
        w = scale * (Q @ scipy.linalg.solve_triangular(R, y, trans="T", check_finite=False))
        yield w
        eps = next_eps(w, relative_error(before, w))
        if eps is None:
            return
        scale, before = (w**2 + eps**2) ** (0.5 - p / 4), w
        scale /= scale.max()


def irls_of_known_sparsity(X: Floats, y: Floats, w: Floats, p: float) -> Floats:
    """Return the coefficients of IRLS-p as Daubechies, DeVore, Fornasier and Gunturk have it (2010).

    Its eps follows the (k + 1)-st largest coefficient, divided by their number, for the true number k of coefficients.
    """
    k, eps = int(np.count_nonzero(w)), 1.0

    def next_eps(w: Floats, change: float) -> float | None:
        nonlocal eps
        eps = min(eps, float(np.sort(np.abs(w))[-k - 1]) / len(w))
        return eps if change > TOLERANCE < eps * len(w) else None

    return _last(irls(X, y, p, next_eps))


def irls_of_steps(X: Floats, y: Floats, _w: Floats, p: float) -> Floats:
    """Return the coefficients of IRLS-p as Chartrand and Yin have it (2008).

    Its eps^2 falls from 1 to 1e-16 by factors of ten, each time that the iterates change by less than ``eps / 100``.
    """
    squared = 1.0

    def next_eps(_w: Floats, change: float) -> float | None:
        nonlocal squared
        if change < squared**0.5 / 100:
            squared /= 10
        return squared**0.5 if squared > 0.5e-16 else None

    return _last(irls(X, y, p, next_eps))


def _last(iterates: Iterator[Floats]) -> Floats:
    *_, last = islice(iterates, ROUNDS)
    return last


def diagonal_network(X: Floats, y: Floats, _w: Floats, depth: int, initial: float) -> Floats:
    """Return what gradient flow makes of a diagonal linear network ``w = u^depth - v^depth`` from ``u = v = initial``.

    Where the flow ends needs no simulation (Woodworth et al. 2020, theorems 1 and 3). Up to a factor, let
    ``s = X^T z`` be the integral of the gradient over time. Then the flow of u and v is solved by ::

        depth 2:  w = initial^2 (e^s - e^-s)          depth 3:  w = initial^3 ((1 - s)^-3 - (1 + s)^-3)

    so it ends at the z with ``X w = y``. These are the optimality conditions of a convex problem. Newton's method finds
    z, its steps damped as for a self-concordant function, since the second derivative of w is at most the first one,
    for depth 2, and at most ``4 / (1 - abs(s))`` times the first one for depth 3.
    """
    z, w, size = np.zeros(len(y)), np.zeros(X.shape[1]), np.linalg.norm(y)
    room: Floats | float = 1.0  # how far s may move
    for _ in range(1000):
        s = X.T @ z
        if depth == 2:
            w, slope = 2 * initial**2 * np.sinh(s), 2 * initial**2 * np.cosh(s)
        else:
            w = initial**3 * ((1 - s) ** -3 - (1 + s) ** -3)
            slope = 3 * initial**3 * ((1 - s) ** -4 + (1 + s) ** -4)
            room = (1 - np.abs(s)) / 4
        residual = y - X @ w
        if np.linalg.norm(residual) < TOLERANCE * size:
            break
        order = np.argsort(-slope)  # with the pivots, what keeps rows of very different sizes from the others' rounding
        rows = np.sqrt(slope[order] / slope[order[0]])[:, None] * X.T[order]
        R, pivots = scipy.linalg.qr(rows, mode="r", pivoting=True, check_finite=False)
        step = residual[pivots] / slope[order[0]]
        for trans in ("T", "N"):
            step = scipy.linalg.solve_triangular(R[: len(y)], step, trans=trans, check_finite=False)
        step = step[np.argsort(pivots)]
        length = float(np.max(np.abs(X.T @ step) / room))
        z += step * np.log1p(length) / length if depth == 2 else step / (1 + length)
    return w


METHODS: dict[str, Method] = {
    **{f"lin-RFM, power {Fraction(power)}": partial(lin_rfm, power=power) for power in RECOVERY_POWERS},
    "Lasso, best of its path": lasso,
    "matching pursuit, best step": matching_pursuit,
    "IRLS, p = 1, told k": partial(irls_of_known_sparsity, p=1),
    "IRLS, p = 1/2, told k": partial(irls_of_known_sparsity, p=0.5),
    "IRLS, p = 0, eps in steps": partial(irls_of_steps, p=0),
    "diagonal network, depth 2": partial(diagonal_network, depth=2, initial=INITIAL[2]),
    "diagonal network, depth 3": partial(diagonal_network, depth=3, initial=INITIAL[3]),
}
