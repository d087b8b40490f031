"""lin-RFM as the paper has it: matrix completion, built on the same kernel as the recommender's full form.

Radhakrishnan, Belkin, Drusvyatskiy, arXiv 2401.04553. A round solves ``min_X |P_O(Y - X)|^2 + ridge tr(X K^-1 X^T)``
row by row, and takes ``K = (X^T X + eps^2 I)^(2 power)`` from the result.
"""

import naive
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from rfm_recsys.core import kernels
from rfm_recsys.core.arrays import Floats, csr_arrays
from rfm_recsys.core.runtime import threads


def regression_step(Y: csr_matrix, K: Floats, ridge: float) -> Floats:
    """Return ``X = A K``, where A solves ``(K_OO + ridge I) a = y`` for every row of Y on what it stores."""
    indptr, indices, values = csr_arrays(Y)
    a, fitted = np.empty_like(values), np.empty_like(values)
    weight = np.full_like(values, 1 / ridge)
    with threads(0):
        assert not kernels.solve_rows_full(indptr, indices, weight, values / ridge, K, a, fitted).any()
    X: Floats = csr_matrix((a, indices, indptr), shape=Y.shape) @ K
    return X


def agop_power(X: Floats, power: float, eps: float) -> Floats:
    """Return ``K = (X^T X + eps^2 I)^(2 power)``."""
    M = X.T @ X + eps**2 * np.eye(X.shape[1])
    if power in (0.5, 1):
        return np.asarray(M if power == 0.5 else M @ M)
    values, V = np.linalg.eigh(M)
    return np.asarray(V * np.maximum(values, eps**2) ** (2 * power) @ V.T)


def low_rank(n: int, m: int, rank: int, n_observed: int, seed: int) -> tuple[Floats, NDArray[np.bool_]]:
    """Make a matrix of the given rank with entries of variance 1, and choose the observed entries uniformly."""
    rng = np.random.default_rng(seed)
    Y = rng.normal(size=(n, rank)) @ rng.normal(size=(rank, m)) / rank**0.5
    observed = np.zeros(n * m, dtype=bool)
    observed[rng.choice(n * m, n_observed, replace=False)] = True
    return Y, observed.reshape(n, m)


@pytest.mark.parametrize(("shape", "ridge"), [((24, 18), 0.3), ((15, 20), 1.0), ((24, 18), 3.0)])
def test_power_one_quarter_at_full_rank_minimises_the_nuclear_norm(shape: tuple[int, int], ridge: float) -> None:
    """``ridge tr(X K^-1 X^T)`` with ``K = (X_0^T X_0)^(1/2)`` majorises ``2 ridge |X|_*`` and touches it at ``X_0``.

    Hence the fixed point minimises ``|P_O(Y - X)|^2 / 2 + ridge |X|_*``, a convex problem. Rows and columns take turns:
    rows alone get there too, but at a rate that falls with eps.
    """
    Y, observed = low_rank(*shape, rank=3, n_observed=shape[0] * shape[1] // 2, seed=0)
    Y += 0.3 * np.random.default_rng(1).normal(size=shape)
    data = csr_matrix(Y * observed)
    rows, columns, eps = data, csr_matrix(data.T), 3.0
    K: Floats = np.eye(shape[1])
    for _ in range(300):
        X = regression_step(rows, K, ridge)
        rows, columns, K, eps = columns, rows, agop_power(X.T, 1 / 4, eps), max(0.9 * eps, 1e-4)
    X = X.T
    convex = naive.soft_impute(Y, observed, ridge, steps=1000)
    assert 0 < np.linalg.matrix_rank(convex, tol=1e-6) < min(shape)
    np.testing.assert_allclose(X, convex, rtol=0, atol=1e-4 * float(np.linalg.norm(convex, 2)))
    # optimality: the residual is ridge times a subgradient of the nuclear norm at X
    residual = observed * (Y - X)
    assert np.linalg.norm(residual, 2) <= ridge * (1 + 1e-4)
    assert np.sum(residual * X) == pytest.approx(ridge * np.linalg.norm(X, "nuc"), rel=1e-4)


@pytest.mark.parametrize(("power", "stays"), [(1 / 4, True), (0.2, False), (0.3, False), (1 / 2, False)])
def test_the_minimiser_of_the_nuclear_norm_is_a_fixed_point_of_power_one_quarter_alone(
    power: float, stays: bool
) -> None:
    Y, observed = low_rank(24, 18, rank=3, n_observed=216, seed=0)
    convex = naive.soft_impute(Y, observed, 1.0, steps=1000)
    X = regression_step(csr_matrix(Y * observed), agop_power(convex, power, 1e-6), 1.0)
    distance = np.linalg.norm(X - convex) / np.linalg.norm(convex)
    assert distance < 1e-5 if stays else distance > 1e-2


@pytest.mark.parametrize("power", [1, 1 / 2])
def test_a_matrix_of_rank_5_is_recovered_from_10_000_of_its_250_000_entries(power: float) -> None:
    """The paper's demonstration: twice as many observations as unknowns, regularisation lowered from 5e-2 to 1e-3.

    Success is the paper's: a mean squared error below 1e-3 over all entries, which have variance 1. Rows and columns
    take turns, and eps is annealed; with the rows alone this number of observations is too small.
    """
    Y, observed = low_rank(500, 500, rank=5, n_observed=10_000, seed=0)
    data = csr_matrix(Y * observed)
    rows, columns, ridge, eps = data, csr_matrix(data.T), 5e-2, 10.0
    K: Floats = np.eye(500)
    errors = []
    for _ in range(34):
        X = regression_step(rows, K, ridge)
        errors.append(float(np.mean((X - Y) ** 2)))
        rows, columns, Y, K = columns, rows, Y.T, agop_power(X.T, power, eps)
        ridge, eps = max(0.9 * ridge, 1e-3), 0.9 * eps
    assert errors[0] > 0.9
    assert errors[-1] < 5e-4
