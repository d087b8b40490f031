"""lin-RFM on matrices: that it is IRLS-p, from how many entries it recovers a matrix of low rank, and in what time.

Recovery without noise, of matrices from :func:`~rfm_recsys.datasets.synthetic_low_rank`. Oversampling is the number of
observed entries over that of parameters, ``rank (rows + columns - rank)``. What a method chooses, it chooses by the
observed entries; IRLS is told the rank besides.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import islice
from typing import Any

import loky
import numpy as np
import scipy.linalg
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from tqdm.auto import tqdm

from rfm_recsys.completion.model import complete
from rfm_recsys.completion.observations import Observations
from rfm_recsys.completion.one_sided import complete_rows, one_sided_rounds
from rfm_recsys.core.arrays import Floats, row_of_entry
from rfm_recsys.core.runtime import threads
from rfm_recsys.datasets import synthetic_low_rank
from rfm_recsys.errors import DataError
from rfm_recsys.paper.networks import deep_network
from rfm_recsys.paper.vectors import EQUIVALENT_POWERS, enough

Mask = NDArray[np.bool_]
Method = Callable[[csr_matrix, int], Floats]

POWERS = {"1/4": 1 / 4, "1/3": 1 / 3, "3/8": 3 / 8, "1/2": 1 / 2, "3/4": 3 / 4, "1": 1.0}
SUCCESS = 1e-2  # the relative error below which a matrix counts as recovered: the networks' start leaves traces
CONDITIONS = (1.0, 10.0)
INITIAL = {2: 1e-16, 3: 1e-8, 4: 1e-6}  # larger ones end farther away; smaller ones do not get there in time
ROUNDS, TOLERANCE = 100, 1e-5
TIMED_ROUNDS = 3


def equivalence(quick: bool) -> dict[str, Any]:
    """Compare one-sided lin-RFM at power a with IRLS-p at ``p = 2 - 4 a``, iterate by iterate, from all weights 1.

    Returns
    -------
    dict
        ``rows``, one for each power and seed: ``power``, ``p``, ``seed``, ``worst relative difference`` of any iterate,
        and the number of ``rounds`` compared.
    """
    rows = []
    n_rounds = 30 if quick else 40
    for power in EQUIVALENT_POWERS:
        for seed in range(3 if quick else 10):
            observed, _ = problem(45, 30, 2, 2.5, 1.0, seed)
            rounds = [*islice(one_sided_rounds(Observations(observed), power, 0.0, 0.9), n_rounds)]
            p = 2 - 4 * power
            smoothing = iter([iterate.eps for iterate in rounds[1:]])
            others = irls(observed, p, lambda *_, smoothing=smoothing: next(smoothing, None))
            worst = max(relative_error(iterate.X, other) for iterate, (other, _) in zip(rounds, others, strict=True))
            rows.append({"power": power, "p": p, "seed": seed, "worst relative difference": worst, "rounds": n_rounds})
    return {"rows": rows}


def phase_transitions(quick: bool) -> dict[str, Any]:
    """Measure how often each method recovers a matrix, by oversampling, for equal singular values and for unequal.

    Returns
    -------
    dict
        As :func:`recovery_curves`. The quick setting has three of the six powers of either form.
    """
    if quick:
        left_out = [
            f"{form}-sided lin-RFM, power {power}" for form in ("one", "two") for power in ("1/3", "3/8", "3/4")
        ]
        methods = [name for name in METHODS if name not in left_out]
        return recovery_curves(40, 2, [1.5, 2.0, 3.0], 5, methods)
    return recovery_curves(50, 2, [1.3, 1.5, 1.7, 2.0, 2.5, 3.0, 4.0], 10, [*METHODS])


def recovery_curves(
    size: int, rank: int, oversampling: Sequence[float], seeds: int, methods: Sequence[str]
) -> dict[str, Any]:
    """Measure how often each method recovers a square matrix, on all cores.

    Returns
    -------
    dict
        ``size``, ``rank``, ``seeds``, ``oversampling``; and in ``conditions``, for each ``condition number``:
        ``curves`` with the ``method``, the share of ``success`` and the ``median error``, relative, for each
        oversampling; and ``needed`` with the ``method`` and the least ``oversampling`` from which on nine in ten are
        recovered, None if there is none.
    """
    tasks = [(condition, factor, seed) for condition in CONDITIONS for factor in oversampling for seed in range(seeds)]
    pool = loky.get_reusable_executor(max_workers=min(loky.cpu_count(), len(tasks)))
    found = pool.map(partial(_errors, size, rank, methods), tasks)
    flat = [*tqdm(found, total=len(tasks), desc="matrix completion", disable=None)]
    errors = np.array(flat).reshape(len(CONDITIONS), len(oversampling), seeds, len(methods))
    conditions: list[dict[str, Any]] = []
    for condition, by_oversampling in zip(CONDITIONS, errors, strict=True):
        success, median = np.mean(by_oversampling < SUCCESS, axis=1), np.median(by_oversampling, axis=1)
        curves: list[dict[str, Any]] = [
            {"method": name, "success": success[:, place].tolist(), "median error": median[:, place].tolist()}
            for place, name in enumerate(methods)
        ]
        needed = [
            {"method": curve["method"], "oversampling": enough([*oversampling], curve["success"])} for curve in curves
        ]
        conditions.append({"condition number": condition, "curves": curves, "needed": needed})
    about = {"size": size, "rank": rank, "seeds": seeds, "oversampling": [*oversampling]}
    return {**about, "conditions": conditions}


def _errors(size: int, rank: int, methods: Sequence[str], task: tuple[float, float, int]) -> list[float]:
    """Return the relative error of each method on the matrix of one condition number, oversampling and seed."""
    condition, oversampling, seed = task
    observed, Y = problem(size, size, rank, oversampling, condition, seed)
    errors = []
    with threads(1):
        for name in methods:
            try:
                errors.append(relative_error(METHODS[name](observed, rank), Y))
            except DataError:  # its equations are lost to rounding: as good as a matrix of zeros
                errors.append(1.0)
    return errors


def few_entries(quick: bool) -> dict[str, Any]:
    """Measure the error of recovery from few entries: rank 5, condition number 10 at 1.5 and 1e5 at 1.9 oversampling.

    Returns
    -------
    dict
        As :func:`errors_from_few`.
    """
    return errors_from_few(500 if quick else 1000, 5, 5 if quick else 20)


def errors_from_few(size: int, rank: int, seeds: int) -> dict[str, Any]:
    """Measure the error of both forms of lin-RFM, at power 1/2, where few entries are observed.

    Returns
    -------
    dict
        ``size``, ``rank``, and ``rows`` with the ``form``, ``condition number``, ``oversampling``, relative ``errors``,
        their ``median error``, and ``seconds``, the median. The one-sided form is run once for each.
    """
    rows = []
    with tqdm(total=2 * (seeds + 1), desc="few entries", disable=None) as bar:
        for condition, oversampling in ((10.0, 1.5), (1e5, 1.9)):
            for form, n_seeds, options in (
                ("two-sided", seeds, {}),
                ("one-sided", 1, {"two_sided": False, "iterations": 60}),
            ):
                errors, seconds = [], []
                for seed in range(n_seeds):
                    observed, Y = problem(size, size, rank, oversampling, condition, seed)
                    begun = time.perf_counter()
                    completion = complete(observed, **options)  # type: ignore[arg-type]
                    seconds.append(time.perf_counter() - begun)
                    errors.append(relative_error(completion.toarray(), Y))
                    bar.update()
                row = {"form": form, "condition number": condition, "oversampling": oversampling, "errors": errors}
                row |= {"median error": float(np.median(errors)), "seconds": float(np.median(seconds))}
                rows.append(row)
    return {"size": size, "rank": rank, "rows": rows}


def times(quick: bool) -> dict[str, Any]:
    """Measure the time of a round, and of a whole two-sided completion, by the size of the matrix.

    Returns
    -------
    dict
        As :func:`times_by_size`.
    """
    if quick:
        return times_by_size([125, 250, 500, 1000], [125, 250, 500, 1000, 2000], rank=5)
    return times_by_size([125, 250, 500, 1000, 2000, 5000], [125, 250, 500, 1000, 2000, 5000, 10_000], rank=10)


def times_by_size(sizes: Sequence[int], low_rank_sizes: Sequence[int], rank: int) -> dict[str, Any]:
    """Measure the seconds of a one-sided round in three ways, and of a two-sided completion; oversampling is 3.

    One-sided, power 1/2, the feature matrix comes from products, as lin-RFM has it, from an eigendecomposition of the
    AGOP, or from a singular value decomposition of X, as IRLS has it; the solve of the rows is the same.

    Returns
    -------
    dict
        ``rank``; ``rounds`` with the ``method``, ``size`` and ``seconds``, the least of some rounds; ``completions``
        with the ``size``, ``missing`` entries, ``seconds`` and relative ``error``.
    """
    rounds, completions = [], []
    with tqdm(total=len(sizes) + len(low_rank_sizes), desc="time", disable=None) as bar:
        for size in sizes:
            observed, _, _ = _low_rank(size, size, rank, 3.0, 1.0, 0)
            for method, feature_matrix in FEATURE_MATRICES.items():
                seconds = _seconds_a_round(Observations(observed), feature_matrix)
                rounds.append({"method": method, "size": size, "seconds": seconds})
            bar.update()
        complete(observed)  # compiles
        for size in low_rank_sizes:
            observed, left, right = _low_rank(size, size, rank, 3.0, 1.0, 0)
            begun = time.perf_counter()
            completion = complete(observed)
            seconds = time.perf_counter() - begun
            error = _factor_error(completion.left, completion.right, left, right)
            missing = size**2 - observed.nnz
            completions.append({"size": size, "missing": missing, "seconds": seconds, "error": error})
            bar.update()
    return {"rank": rank, "rounds": rounds, "completions": completions}


def _seconds_a_round(observed: Observations, feature_matrix: Callable[[Floats, float], Floats]) -> float:
    """Return the least time of some rounds: the feature matrix of X, and the solve of the rows for it."""
    X = observed.sparse(observed.values).toarray()
    eps = float(np.linalg.norm(X)) / 4
    seconds = []
    with threads(0):
        for _ in range(TIMED_ROUNDS):
            begun = time.perf_counter()
            X = complete_rows(observed, feature_matrix(X, eps), 0.0)
            seconds.append(time.perf_counter() - begun)
    return min(seconds)


def _by_products(X: Floats, eps: float) -> Floats:
    K: Floats = X.T @ X
    K.flat[:: len(K) + 1] += eps**2
    K /= np.trace(K)
    return K


def _by_eigenvectors(X: Floats, eps: float) -> Floats:
    values, V = scipy.linalg.eigh(X.T @ X, driver="evd")
    K: Floats = (V * (np.maximum(values, 0) + eps**2)) @ V.T
    K /= np.trace(K)
    return K


def _by_singular_vectors(X: Floats, eps: float) -> Floats:
    _, s, Vt = scipy.linalg.svd(X, full_matrices=False)
    K: Floats = (Vt.T * (s**2 + eps**2)) @ Vt
    K /= np.trace(K)
    return K


FEATURE_MATRICES = {
    "lin-RFM, products": _by_products,
    "lin-RFM, eigendecomposition": _by_eigenvectors,
    "IRLS, SVD": _by_singular_vectors,
}


def problem(
    n_rows: int, n_columns: int, rank: int, oversampling: float, condition: float, seed: int
) -> tuple[csr_matrix, Floats]:
    """Return the observed entries of a matrix of low rank, and the matrix."""
    observed, left, right = _low_rank(n_rows, n_columns, rank, oversampling, condition, seed)
    return observed, left @ right.T


def _low_rank(
    n_rows: int, n_columns: int, rank: int, oversampling: float, condition: float, seed: int
) -> tuple[csr_matrix, Floats, Floats]:
    n_observed = round(oversampling * rank * (n_rows + n_columns - rank))
    return synthetic_low_rank((n_rows, n_columns), rank, n_observed, condition, seed)


def relative_error(found: Floats, Y: Floats) -> float:
    """Return the distance of two matrices, relative to the norm of the second."""
    return float(np.linalg.norm(found - Y) / np.linalg.norm(Y))


def _factor_error(left: Floats, right: Floats, true_left: Floats, true_right: Floats) -> float:
    """Return the same for ``left right^T`` and ``true_left true_right^T``, neither of which is formed."""
    A, B = np.hstack([left, -true_left]), np.hstack([right, true_right])
    parts = [np.linalg.norm(np.linalg.qr(P)[1] @ np.linalg.qr(Q)[1].T) for P, Q in ((A, B), (true_left, true_right))]
    return float(parts[0] / parts[1])


def _dense(observed: csr_matrix) -> tuple[Floats, Mask]:
    """Return the observed values, with zero elsewhere, and where they are."""
    values, mask = observed.toarray(), np.zeros(observed.shape, dtype=bool)
    mask[row_of_entry(observed.indptr), observed.indices] = True
    return values, mask


# The methods. Each takes the observed entries and the true rank, of which most make no use.


def lin_rfm(observed: csr_matrix, _rank: int, power: float, two_sided: bool) -> Floats:
    """Return lin-RFM's completion."""
    return complete(observed, power, iterations=ROUNDS, tol=TOLERANCE, two_sided=two_sided).toarray()


def nuclear_norm(observed: csr_matrix, _rank: int) -> Floats:
    """Return the matrix of the least nuclear norm that has the observed entries.

    By Douglas-Rachford splitting: soft-thresholding of singular values and projection on the observed entries in turns.
    The threshold, which only the speed depends on, is a quarter of the largest singular value to be expected.
    """
    values, mask = _dense(observed)
    threshold = float(np.linalg.norm(values, 2)) / 4
    Z = X = values
    for _ in range(5 * ROUNDS):
        left, s, right = np.linalg.svd(Z, full_matrices=False)
        X = (left * np.maximum(s - threshold, 0)) @ right
        step = np.where(mask, values, 2 * X - Z) - X
        Z = Z + step
        if np.linalg.norm(step) < TOLERANCE * np.linalg.norm(X):
            break
    return X


def irls(
    observed: csr_matrix, p: float, next_eps: Callable[[Floats, float], float | None]
) -> Iterator[tuple[Floats, float]]:
    """Yield the iterates of IRLS-p, ``min tr(X (X_before^T X_before + eps^2 I)^(p/2 - 1) X^T)``, and their changes.

    Mohan and Fazel 2012. The first has all weights 1; ``next_eps`` is given the singular values of each and its change,
    relative to its norm, and returns the eps of the next, or None for an end.
    """
    values, mask = _dense(observed)
    X, before = values, np.zeros_like(values)
    while True:
        change = relative_error(before, X)
        yield X, change
        _, s, Vt = np.linalg.svd(X)
        eps = next_eps(s, change)
        if eps is None:
            return
        s = np.pad(s, (0, len(Vt) - len(s)))
        root = (Vt.T * ((s**2 + eps**2) / (s[0] ** 2 + eps**2)) ** (0.5 - p / 4)) @ Vt
        before = X
        X = np.array([_least(root, values[row, seen], seen) for row, seen in enumerate(mask)])


def _least(root: Floats, y: Floats, seen: Mask) -> Floats:
    """Return ``root z`` for the least z for which it has the values y at the places seen."""
    Q, R = np.linalg.qr(root[:, seen])
    return np.asarray(root @ (Q @ scipy.linalg.solve_triangular(R, y, trans="T", check_finite=False)))


def irls_of_known_rank(observed: csr_matrix, rank: int) -> Floats:
    """Return the completion of IRLS-0, whose eps follows the (rank + 1)-st singular value (Fornasier et al. 2011)."""
    eps = np.inf

    def next_eps(s: Floats, change: float) -> float | None:
        nonlocal eps
        eps = min(eps, float(s[rank]))
        return eps if change > TOLERANCE < eps / s[0] else None

    *_, (X, _) = islice(irls(observed, 0, next_eps), 3 * ROUNDS)
    return X


def network(observed: csr_matrix, _rank: int, depth: int) -> Floats:
    """Return the completion of a deep linear network."""
    values, mask = _dense(observed)
    return deep_network(values, mask, depth, INITIAL[depth], np.random.default_rng(0))[0]


METHODS: dict[str, Method] = {
    **{f"two-sided lin-RFM, power {name}": partial(lin_rfm, power=a, two_sided=True) for name, a in POWERS.items()},
    **{f"one-sided lin-RFM, power {name}": partial(lin_rfm, power=a, two_sided=False) for name, a in POWERS.items()},
    "nuclear norm": nuclear_norm,
    "IRLS, p = 0, told the rank": irls_of_known_rank,
    **{f"deep network, depth {depth}": partial(network, depth=depth) for depth in INITIAL},
}
