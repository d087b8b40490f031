"""Every kernel, and every matrix function of the AGOP, against its slow twin in ``naive.py``."""

import os
import subprocess
import sys
from typing import Any

import naive
import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from places import ROOT
from scipy.sparse import csr_matrix, random_array, vstack

from rfm_recsys.core import kernels, linalg
from rfm_recsys.core.arrays import Floats, csr_arrays
from rfm_recsys.core.kernels import (
    BLOCK,
    GATHERED,
    LONG,
    NOT_FINITE,
    PANEL,
    PARTIAL_ROWS,
    PRODUCT_ROWS,
    TOPK_COLUMNS,
    TOPK_USERS,
    gathered_rows,
)
from rfm_recsys.core.linalg import top_eigenpairs, weighted_gram
from rfm_recsys.core.runtime import run, threads
from rfm_recsys.recommender.agop import feature_map, leading_directions, low_rank_factor, reweighting, smoother

DTYPES = [np.float64, np.float32]
FACTORS = 512
GATHER_ROWS = GATHERED // FACTORS
# Rounding of a system of condition number 1 + |O| max(c) max|F|^2, below 1e4 here: 1e4 units of the last place.
TOLERANCE = {np.float64: 1e-9, np.float32: 2e-3}
FEW = settings(max_examples=40, deadline=None)


def assert_close(result: Floats, twin: Floats, dtype: Any = np.float64, condition: float = 1e4) -> None:
    assert result.dtype == dtype
    tolerance = TOLERANCE[dtype] * condition / 1e4
    np.testing.assert_allclose(result, twin, rtol=tolerance, atol=tolerance * max(1.0, np.abs(twin).max(initial=0)))


def sparse(users: int, items: int, density: float, seed: int = 0) -> csr_matrix:
    """Make confidences between 1 and 21, every fifth below 0; every seventh row is empty."""
    rng = np.random.default_rng(seed)
    matrix = csr_matrix(random_array((users, items), density=density, rng=rng))
    matrix.sort_indices()
    matrix.data = 1 + 20 * matrix.data
    matrix.data[::5] *= -1
    matrix.data[np.repeat(np.arange(users) % 7 == 6, np.diff(matrix.indptr))] = 0
    matrix.eliminate_zeros()
    return matrix


@st.composite
def sparse_matrices(draw: st.DrawFn) -> csr_matrix:
    """Draw confidences of every kind: 0 to 8 users, 1 to 10 items; at, above and below 1, liked and disliked."""
    users, items = draw(st.integers(0, 8)), draw(st.integers(1, 10))
    values = st.sampled_from([0.0, 0.0, 1.0, -1.0, 0.25, -0.5, 3.0, -7.0, 40.0])
    rows = draw(st.lists(st.lists(values, min_size=items, max_size=items), min_size=users, max_size=users))
    return csr_matrix(np.array(rows, dtype=np.float64).reshape(users, items))


def factor(items: int, factors: int, seed: int = 1) -> Floats:
    """Make an F with all eigenvalues of ``F F^T`` below 1, as those of a smoother are."""
    F = np.random.default_rng(seed).normal(size=(items, factors))
    scaled: Floats = 0.95 * F / np.linalg.norm(F, 2)
    return scaled


def solve_rows(confidence: csr_matrix, F: Floats, prior: Floats | None = None) -> Floats:
    U = np.full((confidence.shape[0], F.shape[1]), np.nan, dtype=F.dtype)
    indptr, indices, values = csr_arrays(confidence.astype(F.dtype))
    with threads(0):
        status = kernels.solve_rows(indptr, indices, values, F, U, prior=prior)
    assert not status.any()
    return U


@numba.njit  # type: ignore[untyped-decorator, unused-ignore]
def iterate_compiled(items: Any, c: Any, F: Any, rows: Any, work: Any, tolerance: Any, u: Any) -> Any:
    return kernels._iterate(items, c, F, rows, work, tolerance, u)


@numba.njit  # type: ignore[untyped-decorator, unused-ignore]
def factorise_compiled(items: Any, c: Any, F: Any, rows: Any, u: Any) -> Any:
    return kernels._factorise(items, c, F, rows, u)


def iterate(confidence: csr_matrix, F: Floats) -> tuple[bool, Floats, Floats]:
    """Return whether conjugate gradients converge for the one user, the right-hand side, and what they make of it."""
    _, items, values = csr_arrays(confidence.astype(F.dtype))
    rhs: Floats = F[items].T @ np.maximum(values, 0)
    u, work = rhs.copy(), np.empty((4, F.shape[1]), dtype=F.dtype)
    tolerance = F.dtype.type(kernels.RESIDUAL * np.finfo(F.dtype).eps)
    return bool(iterate_compiled(items, values, F, F[items], work, tolerance, u)), rhs, u


def row(n_items: int, least: float, most: float, seed: int = 2) -> csr_matrix:
    """Make one user's confidences, spread evenly over their orders of magnitude, every fifth below 0."""
    values = np.exp(np.random.default_rng(seed).uniform(np.log(least), np.log(most), size=(1, n_items)))
    values[0, 1::5] *= -1
    return csr_matrix(values)


def solve_rows_full(weight: csr_matrix, rhs: Floats, S: Floats) -> tuple[Floats, Floats]:
    indptr, indices, values = csr_arrays(weight.astype(S.dtype))
    a, fitted = np.full_like(values, np.nan), np.full_like(values, np.nan)
    arguments = (rhs.astype(S.dtype), S, a, fitted)
    with threads(0):
        assert not kernels.solve_rows_full(indptr, indices, values, *arguments).any()
    return a, fitted


# --- solve_rows ---


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("factors", [1, 7, 40, 90])
def test_solve_rows(dtype: Any, factors: int) -> None:
    confidence, F = sparse(70, 60, 0.3), factor(60, factors)
    assert_close(solve_rows(confidence, F.astype(dtype)), naive.solve_rows(confidence, F), dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_items", [1, 30, 120])
@pytest.mark.parametrize(("least", "most"), [(1, 30), (1e-3, 1e7), (1, 1e9)])
def test_solve_rows_with_a_prior(dtype: Any, n_items: int, least: float, most: float) -> None:
    """By conjugate gradients and by both factorisations; a row without entries is its prior."""
    confidence = csr_matrix(vstack([row(n_items, least, most).astype(dtype), csr_matrix((1, n_items), dtype=dtype)]))
    F, prior = factor(n_items, 50).astype(dtype), np.random.default_rng(3).normal(size=(2, 50)).astype(dtype)
    U = solve_rows(confidence, F, prior)
    assert_close(U, naive.solve_rows(confidence, F, prior), dtype, max(1e4, most / 100))
    assert (U[1] == prior[1]).all()


@given(sparse_matrices(), st.integers(1, 12))
@FEW
def test_solve_rows_of_any_confidences(confidence: csr_matrix, factors: int) -> None:
    F = factor(confidence.shape[1], factors)
    assert_close(solve_rows(confidence, F), naive.solve_rows(confidence, F))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_items", [30, 50, 120])
@pytest.mark.parametrize(("least", "most"), [(1e-3, 1), (1e-2, 30), (1, 30), (1, 1)])
def test_conjugate_gradients_end_within_their_residual_over_the_least_confidence(
    dtype: Any, n_items: int, least: float, most: float
) -> None:
    """The matrix is at least min(c, 1), so that the error of u is at most the residual over it."""
    confidence, F = row(n_items, least, most).astype(dtype), factor(n_items, 50).astype(dtype)
    converged, rhs, _ = iterate(confidence, F)
    assert converged
    u = solve_rows(confidence, F)[0].astype(np.float64)
    c, exact = np.abs(confidence.toarray()[0]).astype(np.float64), F.astype(np.float64)
    matrix = np.eye(50) + exact.T @ np.diag(c - 1) @ exact
    residual = float(np.linalg.norm(exact.T @ np.maximum(confidence.toarray()[0], 0) - matrix @ u))
    # what the iterations end with, 8 eps, and as much again for the rounding of the sums that carried it along
    assert residual <= 16 * np.finfo(dtype).eps * np.linalg.norm(rhs)
    error = np.linalg.norm(u - naive.solve_rows(confidence, F)[0])
    assert error <= (residual + 10 * np.finfo(np.float64).eps * np.linalg.norm(rhs)) / min(c.min(), 1)


@pytest.mark.parametrize(
    ("dtype", "least", "most"),
    [
        (np.float64, 1e6, 1e9),
        (np.float64, 1, 1e9),
        (np.float64, 1, 1e6),
        (np.float64, 1e-2, 1e4),
        (np.float32, 1, 1e4),
        (np.float32, 1e-2, 1e4),
    ],
)
@pytest.mark.parametrize("n_items", [55, 69, 70, 71, 120])
def test_solve_rows_factorises_where_conjugate_gradients_do_not_converge(
    dtype: Any, least: float, most: float, n_items: int
) -> None:
    """In the items below 70 of them, unless a confidence is below 1, and in the factors from there on."""
    confidence, F = row(n_items, least, most), factor(n_items, 70)
    converged, rhs, u = iterate(confidence, F.astype(dtype))
    assert not converged
    np.testing.assert_array_equal(u, rhs)
    assert_close(solve_rows(confidence, F.astype(dtype)), naive.solve_rows(confidence, F), dtype, condition=most)


@pytest.mark.parametrize("n_items", [20, 70, 200])
def test_solve_rows_with_confidences_of_six_decades_is_as_exact_as_the_factors(n_items: int) -> None:
    """Single precision alone loses as many digits as the confidences have."""
    confidence, F = row(n_items, 2e2, 2e8).astype(np.float32), factor(n_items, 70).astype(np.float32)
    exact, found = naive.solve_rows(confidence.astype(np.float64), F.astype(np.float64)), solve_rows(confidence, F)
    np.testing.assert_allclose(found, exact, rtol=0, atol=4 * np.finfo(np.float32).eps * np.abs(exact).max())


@pytest.mark.parametrize("n_items", [30, 120])
def test_solve_rows_to_a_tolerance(n_items: int) -> None:
    confidence, F = row(n_items, 1, 30), factor(n_items, 50)
    _, items, values = csr_arrays(confidence)
    U = np.empty((1, 50))
    with threads(0):
        kernels.solve_rows(confidence.indptr, items, values, F, U, 1e-2)
    weight, rhs = np.abs(values) - 1, F[items].T @ np.maximum(values, 0)
    residual = np.linalg.norm(U[0] + F[items].T @ (weight * (F[items] @ U[0])) - rhs)
    assert 1e-6 * np.linalg.norm(rhs) < residual <= 1e-2 * np.linalg.norm(rhs)


@pytest.mark.parametrize("n_items", [5, 6, 7, 1024])  # fewer items than factors, as many, more, and many more
def test_solve_rows_of_a_user_who_dislikes_everything_is_zero(n_items: int) -> None:
    assert not solve_rows(-abs(row(n_items, 0.5, 9)), factor(n_items, 6)).any()


@pytest.mark.parametrize(("dtype", "tiny"), [(np.float32, 1e-14), (np.float32, 1e-25), (np.float64, 1e-160)])
@pytest.mark.parametrize("n_items", [5, 20, 300])
def test_solve_rows_where_the_square_of_the_right_hand_side_underflows(dtype: Any, tiny: float, n_items: int) -> None:
    confidence, F = row(n_items, 0.1, 9), (factor(n_items, 8) * tiny).astype(dtype)
    assert not iterate(confidence, F)[0]
    twin = naive.solve_rows(confidence, F)
    assert_close(solve_rows(confidence, F) / dtype(tiny), twin / tiny, dtype)


@pytest.mark.parametrize("n_items", [GATHER_ROWS, GATHER_ROWS + 1])
@pytest.mark.parametrize("last", [9.0, 0.5])
def test_solve_rows_gathers_long_rows_in_parts(n_items: int, last: float) -> None:
    values = np.random.default_rng(2).uniform(1.5, 9, size=(1, n_items))
    values[0, -1] = last
    confidence, F = csr_matrix(values), factor(n_items, FACTORS)
    twin = naive.solve_rows(confidence, F)
    assert_close(solve_rows(confidence, F), twin)
    _, items, c = csr_arrays(confidence)
    u = np.zeros(FACTORS)
    rows = np.empty((gathered_rows(FACTORS), FACTORS))
    assert factorise_compiled(items, c, F, rows, u) == 0
    assert_close(u, twin[0])


@pytest.mark.parametrize("least", [1.5, 0.1])
def test_solve_rows_factorises_rows_that_are_long_for_their_factors(least: float) -> None:
    n_items = GATHERED // 100 + 1
    assert n_items > LONG * 100
    confidence, F = row(n_items, least, 9), factor(n_items, 100)
    assert_close(solve_rows(confidence, F), naive.solve_rows(confidence, F))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_gram_products(dtype: Any) -> None:
    confidence = sparse(300, 200, 0.5)  # of more entries in a row than are gathered at a time
    confidence.data = (confidence.data * 3).astype(dtype)
    F, chosen = factor(200, 7).astype(dtype), np.array([299, 3, 50, *range(100, 290)])
    P = np.random.default_rng(3).normal(size=(len(chosen), 7)).astype(dtype)
    out = np.full_like(P, np.nan)
    kernels.gram_products(csr_arrays(confidence), F, chosen, P, out)
    assert np.diff(confidence.indptr).max() > kernels.AT_ONCE
    assert_close(out, naive.gram_products(confidence, F, chosen.tolist(), P), dtype)


def test_gram_products_of_parts_add_up_to_what_a_solve_is_without() -> None:
    confidence, F = sparse(20, 40, 0.3), factor(40, 5)
    U, out = solve_rows(confidence, F), np.zeros((20, 5))
    for columns in (slice(0, 15), slice(15, 40)):
        part, some = csr_matrix(confidence[:, columns]), np.empty_like(out)
        kernels.gram_products(csr_arrays(part), np.ascontiguousarray(F[columns]), np.arange(20), U, some)
        out += some
    np.testing.assert_allclose(U + out, np.maximum(confidence.toarray(), 0) @ F, atol=1e-12)


def test_solve_rows_gathers_in_parts_what_weighs_less_than_an_unobserved_entry() -> None:
    values = np.random.default_rng(2).uniform(0.1, 2, size=(1, 2 * GATHER_ROWS + 3))
    confidence, F = csr_matrix(values), factor(2 * GATHER_ROWS + 3, FACTORS)
    assert_close(solve_rows(confidence, F), naive.solve_rows(confidence, F))


def test_solve_rows_deals_out_more_rows_than_tasks() -> None:
    confidence, F = sparse(1000, 12, 0.4), factor(12, 5)
    assert_close(solve_rows(confidence, F), naive.solve_rows(confidence, F))


def test_a_row_whose_items_all_have_confidence_one_is_the_sum_of_its_factors() -> None:
    F = factor(10, 4)
    confidence = csr_matrix(np.array([[1.0] * 3 + [0.0] * 7, [1.0] * 8 + [0.0] * 2]))
    np.testing.assert_allclose(solve_rows(confidence, F), [F[:3].sum(axis=0), F[:8].sum(axis=0)], atol=1e-14)


def test_a_disliked_item_scores_less_than_if_it_had_not_been_seen() -> None:
    F = factor(6, 6)
    liked, disliked = csr_matrix([[5.0, 0, 0, 0, 0, 0]]), csr_matrix([[5.0, -5.0, 0, 0, 0, 0]])
    before, after = (solve_rows(row, F) @ F.T for row in (liked, disliked))
    assert abs(after[0, 1]) < abs(before[0, 1])


@pytest.mark.parametrize("items", [2, 9, 161])
def test_a_row_that_overflows_is_reported_and_the_others_are_solved(items: int) -> None:
    confidence = csr_matrix(np.vstack([np.full((1, items), 2.0), np.full((1, items), 1.7e308)]))
    F = factor(items, 5) * 40
    U = np.empty((2, 5))
    with threads(0):
        status = kernels.solve_rows(*csr_arrays(confidence), F, U)
    assert status.tolist() == [0, NOT_FINITE]
    assert np.isfinite(U[0]).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("n_items", "factors"), [(12, 30), (60, 9), (30, 30)])
@pytest.mark.parametrize("full", [False, True])
def test_leave_one_out_is_a_solve_without_the_entry(dtype: Any, n_items: int, factors: int, full: bool) -> None:
    confidence, F = sparse(20, n_items, 0.5).astype(dtype), factor(n_items, factors).astype(dtype)
    features = F.astype(np.float64)
    S = (F @ F.T).astype(dtype)
    indptr, indices, values = csr_arrays(confidence)
    out, variance = np.full((2, confidence.nnz), np.nan)
    with threads(0):
        assert not kernels.leave_one_out(indptr, indices, values, S if full else F, full, out, variance).any()
    close = 1e-11 if dtype == np.float64 else 2e-5
    for place, (user, item) in enumerate(zip(*confidence.nonzero(), strict=True)):
        rest = confidence[user].astype(np.float64).toarray()
        rest[0, item] = 0
        expected = naive.solve_rows(csr_matrix(rest), features)[0] @ features[item]
        assert out[place] == pytest.approx(expected, abs=close)
        A = np.eye(factors) + features.T @ np.diag(np.where(rest[0] != 0, np.abs(rest[0]) - 1, 0)) @ features
        assert variance[place] == pytest.approx(features[item] @ np.linalg.inv(A) @ features[item], abs=close)


# --- variances, draw_users ---


def confidences_from(least: float, n_users: int, n_items: int) -> csr_matrix:
    """Return signed confidences from ``least`` on; a user has none, and another all items."""
    confidence = sparse(n_users, n_items, 0.4).tolil()
    confidence[0] = 0
    confidence[1] = 3.0
    confidence = csr_matrix(confidence)
    confidence.data = np.sign(confidence.data) * (least + np.abs(confidence.data))
    return confidence


@pytest.mark.parametrize("least", [0.1, 1.0])
@pytest.mark.parametrize(("n_items", "factors"), [(12, 30), (300, 9), (30, 30)])
@pytest.mark.parametrize("full", [False, True])
def test_variances(n_items: int, factors: int, full: bool, least: float) -> None:
    confidence, F = confidences_from(least, 9, n_items), factor(n_items, factors)
    S = F @ F.T + (1e-4 * np.eye(n_items) if full else 1e-13 * np.eye(n_items))  # which the twin inverts
    asked = np.tile(np.arange(-1, n_items, dtype=np.int32), (9, 1))
    out = np.full(asked.shape, np.nan)
    with threads(0):
        assert not kernels.variances(*csr_arrays(confidence), S if full else F, full, asked, out).any()
    if full:
        expected = np.array([np.diag(each) for each in naive.posterior(confidence, S)])
    else:
        weight = np.where(confidence.toarray() != 0, np.abs(confidence.toarray()) - 1, 0)
        inverses = [np.linalg.inv(np.eye(factors) + F.T @ np.diag(row) @ F) for row in weight]
        expected = np.array([np.diag(F @ inverse @ F.T) for inverse in inverses])
    np.testing.assert_allclose(out[:, 1:], expected, rtol=1e-9, atol=1e-11)
    assert not out[:, 0].any()


@pytest.mark.parametrize("least", [0.1, 1.0])
@pytest.mark.parametrize("dtype", DTYPES)
def test_draws_have_the_posterior_covariance_and_depend_on_seed_and_id_alone(least: float, dtype: Any) -> None:
    n_draws, n_items, factors = 4000, 8, 3
    confidence, F = confidences_from(least, 4, n_items).astype(dtype), factor(n_items, factors).astype(dtype)
    copies = csr_matrix(np.repeat(confidence.toarray(), n_draws, axis=0))
    ids = np.arange(4 * n_draws)
    out, again = np.empty((2, 4 * n_draws, factors), dtype=dtype)
    with threads(0):
        assert not kernels.draw_users(np.uint64(5), ids, *csr_arrays(copies), F, out).any()
    with threads(1):
        backwards = csr_matrix(copies[::-1])
        assert not kernels.draw_users(np.uint64(5), ids[::-1].copy(), *csr_arrays(backwards), F, again).any()
    assert out.tobytes() == again[::-1].tobytes()
    for user, row in enumerate(confidence.toarray().astype(np.float64)):
        A = np.eye(factors) + F.T @ np.diag(np.where(row != 0, np.abs(row) - 1, 0)) @ F
        drawn = out[user * n_draws : (user + 1) * n_draws] @ np.linalg.cholesky(A)
        assert np.abs(drawn.mean(axis=0)).max() < 0.07
        assert np.abs(drawn.T @ drawn / n_draws - np.eye(factors)).max() < 0.1


# --- solve_rows_full ---


@pytest.mark.parametrize("dtype", DTYPES)
def test_solve_rows_full(dtype: Any) -> None:
    confidence, F = sparse(70, 60, 0.3), factor(60, 60)
    weight, rhs = confidence.copy(), np.maximum(confidence.data, 0)
    weight.data = np.abs(weight.data) - 1
    S = F @ F.T
    for result, twin in zip(
        solve_rows_full(weight, rhs, S.astype(dtype)), naive.solve_rows_full(weight, rhs, S), strict=True
    ):
        assert_close(result, twin, dtype)


def test_the_full_form_predicts_what_the_low_rank_form_does() -> None:
    confidence, F = sparse(70, 60, 0.3), factor(60, 20)
    weight = confidence.copy()
    weight.data = np.abs(weight.data) - 1
    a, fitted = solve_rows_full(weight, np.maximum(confidence.data, 0), F @ F.T)
    scores = csr_matrix((a, confidence.indices, confidence.indptr), shape=confidence.shape) @ F @ F.T
    np.testing.assert_allclose(scores, solve_rows(confidence, F) @ F.T, rtol=1e-9, atol=1e-9)
    users = np.repeat(np.arange(70), np.diff(confidence.indptr))
    np.testing.assert_allclose(fitted, scores[users, confidence.indices], rtol=1e-9, atol=1e-9)


@given(sparse_matrices())
@FEW
def test_solve_rows_full_with_weights_of_at_least_zero(weight: csr_matrix) -> None:
    weight.data = np.abs(weight.data) - 0.25
    rhs = np.random.default_rng(5).normal(size=weight.nnz)
    F = factor(weight.shape[1], weight.shape[1])
    S = F @ F.T
    for result, twin in zip(solve_rows_full(weight, rhs, S), naive.solve_rows_full(weight, rhs, S), strict=True):
        assert_close(result, twin)


@given(sparse_matrices())
@FEW
def test_solve_rows_full_with_weights_below_zero(weight: csr_matrix) -> None:
    weight.data = np.maximum(np.abs(weight.data) / 4, 0.1) - 1
    rhs = np.random.default_rng(5).normal(size=weight.nnz)
    F = factor(weight.shape[1], weight.shape[1])
    S = F @ F.T
    for result, twin in zip(solve_rows_full(weight, rhs, S), naive.solve_rows_full(weight, rhs, S), strict=True):
        assert_close(result, twin)


def test_solve_rows_full_solves_plain_ridge_regression() -> None:
    pattern, F, ridge = sparse(30, 20, 0.4), factor(20, 20), 0.03
    K, weight = F @ F.T, pattern.copy()
    weight.data = np.full(pattern.nnz, 1 / ridge)
    a, fitted = solve_rows_full(weight, pattern.data / ridge, K)
    np.testing.assert_allclose(fitted + ridge * a, pattern.data, rtol=1e-9)


# --- sparse and dense products ---


@given(sparse_matrices())
@FEW
def test_transpose(matrix: csr_matrix) -> None:
    indptr, indices, values = kernels.transpose(*csr_arrays(matrix), matrix.shape[1])
    twin = naive.transpose(matrix.toarray())
    assert ([*indptr], [*indices], [*values]) == twin


def test_transpose_of_more_rows_than_parts() -> None:
    matrix = sparse(300, 7, 0.3)
    indptr, indices, values = kernels.transpose(*csr_arrays(matrix), 7)
    assert ([*indptr], [*indices], [*values]) == naive.transpose(matrix.toarray())


@pytest.mark.parametrize("dtype", DTYPES)
def test_residuals(dtype: Any) -> None:
    confidence, F = sparse(40, 30, 0.3), factor(30, 6)
    U = np.random.default_rng(3).normal(size=(40, 6))
    out = np.full(confidence.nnz, np.nan, dtype=dtype)
    kernels.residuals(*csr_arrays(confidence.astype(dtype)), U.astype(dtype), F.astype(dtype), out)
    assert_close(out, naive.residuals(confidence, U, F), dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("length", range(9))
def test_sparse_product_adds_to_what_is_there(dtype: Any, length: int) -> None:
    rng = np.random.default_rng(4)
    matrix = np.zeros((3, 12))
    matrix[::2, rng.permutation(12)[:length]] = rng.normal(size=(2, length))
    Q, out = rng.normal(size=(12, 5)), rng.normal(size=(3, 5))
    result = out.astype(dtype)
    kernels.sparse_product(*csr_arrays(csr_matrix(matrix).astype(dtype)), Q.astype(dtype), result)
    assert_close(result, out + matrix @ Q, dtype)


@given(sparse_matrices(), st.integers(1, 4))
@FEW
def test_sparse_product_of_any_matrix(matrix: csr_matrix, width: int) -> None:
    Q, out = np.random.default_rng(4).normal(size=(matrix.shape[1], width)), np.zeros((matrix.shape[0], width))
    kernels.sparse_product(*csr_arrays(matrix), Q, out)
    assert_close(out, matrix.toarray() @ Q)


def first_product(
    confidence: csr_matrix, penalty: float, row_scale: Floats, column_scale: Floats, Q: Floats, n_threads: int = 0
) -> Floats:
    """Return what the kernel writes, with all in the dtype of Q."""
    out = np.full((confidence.shape[0], Q.shape[1]), np.nan, dtype=Q.dtype)
    rows, columns = row_scale.astype(Q.dtype), column_scale.astype(Q.dtype)
    with threads(n_threads):
        kernels.first_product(*csr_arrays(confidence.astype(Q.dtype)), penalty, rows, columns, Q, out)
    return out


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("width", [1, 7])
def test_first_product(dtype: Any, width: int) -> None:
    """Every seventh row is empty, and an item that nobody has is scaled to zero."""
    rng = np.random.default_rng(14)
    confidence, row_scale, (column_scale, _) = sparse(1000, 20, 0.3), rng.uniform(0.2, 2, 1000), scales(20, 3)
    Q = rng.normal(size=(20, width))
    result = first_product(confidence, 3.0, row_scale, column_scale, Q.astype(dtype))
    assert_close(result, naive.first_product(confidence, 3.0, row_scale, column_scale, Q), dtype)
    for n_threads in (1, 2):
        again = first_product(confidence, 3.0, row_scale, column_scale, Q.astype(dtype), n_threads)
        np.testing.assert_array_equal(again, result)


def test_first_product_takes_columns_in_parts() -> None:
    rng, width = np.random.default_rng(14), BLOCK // 7
    confidence, Q = sparse(9, 30, 0.4), rng.normal(size=(30, width)).astype(np.float32)
    row_scale, column_scale = rng.uniform(0.2, 2, 9), rng.uniform(0.2, 2, 30)
    result = first_product(confidence, 3.0, row_scale, column_scale, Q)
    assert_close(result, naive.first_product(confidence, 3.0, row_scale, column_scale, Q), np.float32)


@given(sparse_matrices(), st.integers(1, 4))
@FEW
def test_first_product_of_any_matrix(confidence: csr_matrix, width: int) -> None:
    rng = np.random.default_rng(14)
    row_scale, column_scale = (rng.uniform(0, 2, size=n) for n in confidence.shape)
    Q = rng.normal(size=(confidence.shape[1], width))
    result = first_product(confidence, 0.5, row_scale, column_scale, Q)
    assert_close(result, naive.first_product(confidence, 0.5, row_scale, column_scale, Q))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rows", [1, PRODUCT_ROWS, PRODUCT_ROWS + 1, 3 * PRODUCT_ROWS - 1])
def test_dense_product(dtype: Any, rows: int) -> None:
    rng = np.random.default_rng(6)
    A, B = rng.normal(size=(rows, 7)), rng.normal(size=(7, 4))
    out = np.full((rows, 4), np.nan, dtype=dtype)
    with threads(0):
        kernels.dense_product(A.astype(dtype), B.astype(dtype), out)
    assert_close(out, A @ B, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rows", [1, PARTIAL_ROWS, PARTIAL_ROWS + 1, 3 * PARTIAL_ROWS + 5])
@pytest.mark.parametrize("columns", [3, PANEL, PANEL + 1, 2 * PANEL + 5])
def test_symmetric_product(dtype: Any, rows: int, columns: int) -> None:
    rng = np.random.default_rng(7)
    A = rng.normal(size=(rows, columns))
    B = A * rng.normal(size=(rows, 1))
    with threads(0):
        result = kernels.symmetric_product(A.astype(dtype), B.astype(dtype), np.empty(0, dtype))
    assert_close(result, np.einsum("ni,nj->ij", A, B), dtype)
    np.testing.assert_array_equal(result, result.T)


# --- interruptions ---


@pytest.mark.parametrize("reason", [KeyboardInterrupt, ValueError])
def test_a_kernel_that_is_interrupted_says_so(reason: type[BaseException]) -> None:
    def kernel(first: int, last: int) -> None:
        try:
            raise reason
        except reason as error:
            try:
                raise SystemError("returned a result with an exception set") from error
            except SystemError as again:
                raise SystemError("the same, for its caller") from again

    with pytest.raises(KeyboardInterrupt if reason is KeyboardInterrupt else SystemError):
        run(kernel, 1)


# --- beyond 16 bits ---

MANY = 2**16 + 7


def test_more_than_65536_items() -> None:
    items = np.array([0, 3, 2**16 - 1, 2**16, 2**16 + 1, MANY - 1])
    matrix = csr_matrix((np.full(6, 4.0), (np.zeros(6, dtype=int), items)), shape=(1, MANY))
    F = np.random.default_rng(8).normal(size=(MANY, 3)) / 300
    U = solve_rows(matrix, F)
    near = csr_matrix((matrix.data, np.arange(6), matrix.indptr), shape=(1, 6))
    assert_close(U, naive.solve_rows(near, F[items]))
    out, product = np.empty(6), np.zeros((1, 3))
    kernels.residuals(*csr_arrays(matrix), U, F, out)
    assert_close(out, naive.residuals(matrix, U, F))
    kernels.sparse_product(*csr_arrays(matrix), F, product)
    assert_close(product, matrix @ F)
    scores = (U @ F.T)[0]
    scores[items] = np.finfo(np.float64).min
    ids, _ = top_k(U, F, matrix, [], 20)
    np.testing.assert_array_equal(ids[0], np.argsort(-scores, kind="stable")[:20])


def test_more_than_65536_users() -> None:
    rows = csr_matrix(np.array([[3.0, 0, -2, 0], [0, 9, 0, 0], [1.0, 1, 1, 8], [0, 0, 0, 0], [2.0, 2, 2, 2]]))
    kind = np.arange(MANY) % 5
    many, F = rows[kind], factor(4, 3)
    U = solve_rows(many, F)
    assert_close(U, naive.solve_rows(rows, F)[kind])
    out, product = np.empty(many.nnz), np.zeros((MANY, 3))
    kernels.residuals(*csr_arrays(many), U, F, out)
    users = np.repeat(np.arange(MANY), np.diff(many.indptr))
    assert_close(out, (many.data > 0) - (U @ F.T)[users, many.indices])
    kernels.sparse_product(*csr_arrays(many), F, product)
    assert_close(product, many @ F)
    with threads(0):
        assert_close(linalg.gram(U, U), U.T @ U)
    ids, _ = top_k(U, F, many, [], 2)
    np.testing.assert_array_equal(ids[-5:], ids[(MANY - 5) % 5 :][:5])


# --- top_k ---

Lists = tuple[NDArray[np.int32], Floats]


def fields(rows: int, k: int, dtype: Any) -> tuple[Lists, Lists]:
    """Return ids and scores to write, and what lies behind them in memory, not to be written."""
    ids, scores = np.full(rows * k + 8, -7, dtype=np.int32), np.full(rows * k + 8, -7, dtype=dtype)
    inside, behind = slice(0, rows * k), slice(rows * k, None)
    return (ids[inside].reshape(rows, k), scores[inside].reshape(rows, k)), (ids[behind], scores[behind])


def top_k(U: Floats, V: Floats, liked: csr_matrix, filtered: list[int], k: int) -> Lists:
    result, behind = fields(len(U), k, V.dtype)
    with threads(0):
        kernels.top_k(U, V, *csr_arrays(liked)[:2], np.unique(filtered).astype(np.intp), *result)
    assert all((part == -7).all() for part in behind)
    return result


def top_k_sparse(A: csr_matrix, S: Floats, liked: csr_matrix, filtered: list[int], k: int) -> Lists:
    result, behind = fields(A.shape[0], k, S.dtype)
    columns = np.unique(filtered).astype(np.intp)
    with threads(0):
        kernels.top_k_sparse(csr_arrays(A), S, *csr_arrays(liked)[:2], columns, *result)
    assert all((part == -7).all() for part in behind)
    return result


def assert_sorted_like_the_twin(result: Lists, values: Floats, liked: csr_matrix, filtered: list[int]) -> None:
    excluded = [set(np.flatnonzero(row).tolist()) | set(filtered) for row in liked.toarray()]
    ids, scores = naive.top_k(values, excluded, result[0].shape[1], float(np.finfo(result[1].dtype).min))
    np.testing.assert_array_equal(result[0], np.array(ids).reshape(result[0].shape))
    np.testing.assert_array_equal(result[1], np.array(scores).reshape(result[1].shape))


@st.composite
def rankings(draw: st.DrawFn) -> tuple[Floats, Floats, csr_matrix, list[int]]:
    """Draw small whole numbers, whose products are exact and full of ties; liked and filtered columns, at times all."""
    rows, columns, factors = draw(st.integers(0, 5)), draw(st.integers(1, 9)), draw(st.integers(1, 2))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    U, V = (rng.integers(-2, 3, size=(n, factors)).astype(float) for n in (rows, columns))
    liked = rng.random((rows, columns)) < draw(st.sampled_from([0, 0.3, 1]))
    return U, V, csr_matrix(liked.astype(float)), draw(st.lists(st.integers(0, columns - 1), max_size=9))


@given(rankings(), st.integers(1, 12), st.sampled_from(DTYPES))
@FEW
def test_top_k(ranking: tuple[Floats, Floats, csr_matrix, list[int]], k: int, dtype: Any) -> None:
    U, V, liked, filtered = ranking
    assert_sorted_like_the_twin(top_k(U.astype(dtype), V.astype(dtype), liked, filtered, k), U @ V.T, liked, filtered)


@given(rankings(), st.integers(1, 12), st.sampled_from(DTYPES))
@FEW
def test_top_k_sparse(ranking: tuple[Floats, Floats, csr_matrix, list[int]], k: int, dtype: Any) -> None:
    U, V, liked, filtered = ranking
    S = V.T.astype(dtype).copy()
    assert_sorted_like_the_twin(
        top_k_sparse(csr_matrix(U).astype(dtype), S, liked, filtered, k), U @ V.T, liked, filtered
    )


@pytest.mark.parametrize("k", [1, 10, TOPK_COLUMNS - 1, TOPK_COLUMNS, TOPK_COLUMNS + 1, 2 * TOPK_COLUMNS + 9])
def test_top_k_of_more_columns_than_are_scored_at_a_time(k: int) -> None:
    rng, columns = np.random.default_rng(9), 2 * TOPK_COLUMNS + 3
    U, V = (rng.integers(-9, 10, size=(n, 3)).astype(float) for n in (3, columns))
    liked, filtered = sparse(3, columns, 0.01), [TOPK_COLUMNS - 1, TOPK_COLUMNS, columns - 1]
    assert_sorted_like_the_twin(top_k(U, V, liked, filtered, k), U @ V.T, liked, filtered)


@pytest.mark.parametrize("k", [1, 10, 299, 300, 301])
def test_top_k_of_many_columns_and_rows(k: int) -> None:
    rng = np.random.default_rng(9)
    U, V = (rng.integers(-9, 10, size=(n, 3)).astype(float) for n in (2 * TOPK_USERS + 1, 300))
    liked = sparse(len(U), 300, 0.1)
    assert_sorted_like_the_twin(top_k(U, V, liked, [5, 250], k), U @ V.T, liked, [5, 250])
    assert_sorted_like_the_twin(top_k_sparse(csr_matrix(U), V.T.copy(), liked, [5, 250], k), U @ V.T, liked, [5, 250])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("k", [3, 290, 310])
def test_top_k_with_deviations(k: int, dtype: Any) -> None:
    rng = np.random.default_rng(9)
    n = TOPK_USERS + 40
    U, V = (rng.normal(size=(m, 6)).astype(dtype) for m in (n, 300))
    D, squares = (rng.random((m, 4)).astype(dtype) for m in (n, 300))
    U[3], liked = 0, sparse(n, 300, 0.1)

    def best(rows: Any) -> Lists:
        result = np.empty((len(rows), k), dtype=np.int32), np.empty((len(rows), k), dtype=dtype)
        with threads(0):
            spread = D[rows].copy(), squares
            kernels.top_k(U[rows].copy(), V, *csr_arrays(liked[rows])[:2], np.array([7]), *result, spread)
        return result

    ids, scores = best(np.arange(n))
    some, their_scores = best(np.arange(2, 9))
    assert (some == ids[2:9]).all()
    assert their_scores.tobytes() == scores[2:9].tobytes()
    wide = [array.astype(np.float64) for array in (U, V, D, squares)]
    values = wide[0] @ wide[1].T + np.sqrt(wide[2] @ wide[3].T)
    if dtype == np.float64:
        excluded = [{7, *row.indices.tolist()} for row in liked]
        twin = naive.top_k(values, excluded, k, float(np.finfo(dtype).min))
        assert ids.tolist() == twin[0]
    found = ids >= 0
    found[found] = scores[found] > np.finfo(dtype).min
    rows = np.nonzero(found)[0]
    np.testing.assert_allclose(scores[found], values[rows, ids[found]], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("k", [1, 10, 100, 290])
@pytest.mark.parametrize("factors", [1, 3, 64])
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_list_of_top_k_depends_to_the_bit_on_its_row_and_the_columns_alone(k: int, factors: int, dtype: Any) -> None:
    """With ties beyond the columns that are kept, and near ones, which another order of summation would swap."""
    rng = np.random.default_rng(11)
    U, V = (rng.normal(size=(n, factors)).astype(dtype) for n in (TOPK_USERS + 40, 300))
    V[100:200] = V[7]
    V[200:210] = V[8] * (1 + np.arange(10, dtype=dtype)[:, None] * np.finfo(dtype).eps)
    U[3] = 0
    liked, filtered = sparse(len(U), 300, 0.1), [5, 250]
    ids, scores = top_k(U, V, liked, filtered, k)
    exact = U.astype(np.float64) @ V.T.astype(np.float64)
    left_out = scores == np.finfo(dtype).min
    np.testing.assert_allclose(
        np.where(left_out, 0, scores), np.where(left_out, 0, np.take_along_axis(exact, ids.astype(np.intp), axis=1)),
        atol=64 * np.finfo(dtype).eps * np.sqrt(factors),
    )  # fmt: skip
    for rows in (slice(0, 1), slice(3, 12), slice(100, 101), slice(17, 77), slice(31, len(U))):
        some, their_scores = top_k(U[rows].copy(), V, liked[rows], filtered, k)
        np.testing.assert_array_equal(some, ids[rows])
        np.testing.assert_array_equal(their_scores, scores[rows])
    columns = np.setdiff1d(np.arange(300), filtered)
    some, their_scores = top_k(U, V[columns].copy(), liked[:, columns], [], k)
    np.testing.assert_array_equal(columns[some][~left_out], ids[~left_out])
    np.testing.assert_array_equal(their_scores, scores)


def test_a_list_of_no_places_writes_nothing() -> None:
    for result in (
        top_k(np.ones((2, 1)), np.arange(4.0)[:, None], csr_matrix((2, 4)), [], 0),
        top_k_sparse(csr_matrix(np.ones((2, 1))), np.arange(4.0)[None, :].copy(), csr_matrix((2, 4)), [], 0),
    ):
        assert [part.shape for part in result] == [(2, 0), (2, 0)]


def test_top_k_sparse_deals_out_more_rows_than_tasks() -> None:
    rng = np.random.default_rng(10)
    U, V = (rng.integers(-9, 10, size=(n, 3)).astype(float) for n in (1000, 5))
    liked = csr_matrix((len(U), 5))
    assert_sorted_like_the_twin(top_k_sparse(csr_matrix(U), V.T.copy(), liked, [], 2), U @ V.T, liked, [])


def test_when_everything_is_left_out_the_ids_come_in_order_with_the_lowest_score() -> None:
    ids, scores = top_k(np.ones((1, 1)), np.arange(4.0)[:, None], csr_matrix((1, 4)), [3, 2, 1, 0, 0], 6)
    np.testing.assert_array_equal(ids, [[0, 1, 2, 3, -1, -1]])
    assert (scores == np.finfo(np.float64).min).all()


# --- the matrix functions of the AGOP ---


def gram(items: int, rank: int, scale: Floats, seed: int = 11) -> Floats:
    X = np.random.default_rng(seed).normal(size=(rank, items)) * scale
    G: Floats = X.T @ X / rank
    return G


def scales(items: int, missing: int) -> tuple[Floats, Floats]:
    """Return D and its inverse, both zero for the last ``missing`` items."""
    D = np.random.default_rng(12).uniform(0.5, 2, size=items)
    D[items - missing :] = 0
    return D, np.divide(1, D, out=np.zeros(items), where=D > 0)


@pytest.mark.parametrize("power", [0, 0.25, 0.35, 0.5, 1, 1.3])
@pytest.mark.parametrize(("rank", "missing"), [(20, 0), (6, 0), (20, 3)])
def test_reweighting(power: float, rank: int, missing: int) -> None:
    D, inverse_D = scales(12, missing)
    G = gram(12, rank, D)
    K = reweighting(G, inverse_D, power)
    assert_close(K, naive.reweighting(G, inverse_D, power))
    np.testing.assert_allclose(np.trace(K * D * D[:, None]), 12 - missing)


@pytest.mark.parametrize("penalty", [0.01, 3, 100])
def test_smoother(penalty: float) -> None:
    K = reweighting(gram(12, 20, np.ones(12)), np.ones(12), 0.35)
    assert_close(smoother(K.copy(), penalty), naive.smoother(K, penalty))


def test_smoother_of_a_singular_reweighting_is_its_limit() -> None:
    K = reweighting(gram(12, 6, np.ones(12)), np.ones(12), 0.35)
    np.testing.assert_allclose(smoother(K.copy(), 2.0), naive.smoother(K + 1e-9 * np.eye(12), 2.0), atol=1e-8)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("power", [0, 0.25, 0.5, 1])
@pytest.mark.parametrize(("rank", "missing"), [(12, 0), (5, 0), (9, 3)])
def test_low_rank_factor(dtype: Any, power: float, rank: int, missing: int) -> None:
    D, inverse_D = scales(12, missing)
    values, vectors = (part[..., ::-1][..., :rank] for part in np.linalg.eigh(gram(12, 20, D)))
    given_vectors, given_scale = np.ascontiguousarray(vectors, dtype=dtype), inverse_D.astype(dtype)
    mixed, unmixing = mix(given_vectors)
    F = low_rank_factor(values, mixed, unmixing, given_scale, power, 3.0, rank + 2)
    assert_close(F @ F.T, naive.low_rank_smoother(values, vectors, inverse_D, power, 3.0), dtype)
    assert F.shape == (12, rank + 2)
    assert not F[:, rank:].any()


@pytest.mark.parametrize("dtype", DTYPES)
def test_leading_directions_are_those_of_the_product(dtype: Any) -> None:
    F = np.random.default_rng(3).normal(size=(12, 7)).astype(dtype)
    values, V = np.linalg.eigh(F.astype(np.float64) @ F.T)
    kept = leading_directions(F, 4)
    assert kept.shape == (12, 4)
    assert_close(kept @ kept.T, (V[:, -4:] * values[-4:]) @ V[:, -4:].T, dtype)
    assert leading_directions(F, 7) is F


def mix(vectors: Floats) -> tuple[Floats, Floats]:
    """Return a block with the same span, and what turns it back into the vectors."""
    mixing = np.random.default_rng(14).normal(size=(vectors.shape[1], vectors.shape[1])) + 4 * np.eye(len(vectors.T))
    return (vectors @ mixing).astype(vectors.dtype), np.linalg.inv(mixing)


def map_of(A: Floats, B: Floats, D: Floats, root_w: Floats, power: float) -> Floats:
    grams = A.T @ A, weighted_gram(A, D), weighted_gram(B, root_w)
    T, scaled_gram = feature_map(*grams, int(np.count_nonzero(D)), power, 3.0)
    assert_close(scaled_gram, T.T @ A.T @ np.diag(D**2) @ A @ T, scaled_gram.dtype.type)
    return T


def sides(rows: int, missing: int, seed: int = 15) -> tuple[Floats, Floats, Floats, Floats, Floats]:
    """Return A, zero for the last rows, which nobody has; B; the diagonals of D, its inverse and ``W^(1/2)``."""
    rng, (D, inverse_D) = np.random.default_rng(seed), scales(rows, missing)
    A, B = rng.normal(size=(rows, 6)), rng.normal(size=(32 - rows, 6))
    A[D == 0] = 0
    return A, B, D, inverse_D, rng.uniform(0.5, 2, size=len(B))


def smoother_of(A: Floats, B: Floats, D: Floats, inverse_D: Floats, root_w: Floats, power: float, rank: int) -> Floats:
    G = np.diag(D) @ A @ B.T @ np.diag(root_w**2) @ B @ A.T @ np.diag(D)
    return naive.singular_smoother(naive.reweighting(G, inverse_D, power, rank), 3.0)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("power", [0, 0.25, 0.5, 1])
@pytest.mark.parametrize(("rows", "missing"), [(12, 0), (20, 3)])
@pytest.mark.parametrize("rank", [6, 4])
def test_feature_map(dtype: Any, power: float, rows: int, missing: int, rank: int) -> None:
    """Of either side of X; factors beyond the rank are zero, as in a fit."""
    A, B, D, inverse_D, root_w = sides(rows, missing)
    A[:, rank:] = B[:, rank:] = 0
    T = map_of(A.astype(dtype), B.astype(dtype), D.astype(dtype), root_w.astype(dtype), power)
    assert T.shape == (6, 6)
    assert not T[:, rank:].any()
    F = (A @ T).astype(dtype)
    assert_close(F @ F.T, smoother_of(A, B, D, inverse_D, root_w, power, rank), dtype)


@pytest.mark.parametrize("power", [0, 0.25, 0.5, 1])
@pytest.mark.parametrize("rows", [12, 20])
@pytest.mark.parametrize("dependent", ["A", "B", "both"])
def test_feature_map_where_factors_depend_on_one_another(power: float, rows: int, dependent: str) -> None:
    for seed in range(100):
        A, B, D, inverse_D, root_w = sides(rows, 3, seed)
        for name, side in (("A", A), ("B", B)):
            if dependent in (name, "both"):
                side[:, 4:] = side[:, :2] + side[:, 2:4]
        T = map_of(A, B, D, root_w, power)
        F = A @ T
        assert_close(F @ F.T, smoother_of(A, B, D, inverse_D, root_w, power, 4))
        assert not T[:, 4:].any()


@pytest.mark.parametrize("rows", [1, PARTIAL_ROWS, PARTIAL_ROWS + 1, 2 * PARTIAL_ROWS + 5])
def test_weighted_gram(rows: int) -> None:
    rng = np.random.default_rng(16)
    A, root = rng.normal(size=(rows, 3)), rng.uniform(0.5, 2, size=rows)
    assert_close(weighted_gram(A, root), np.einsum("ij,i,ik->jk", A, root**2, A))


@pytest.mark.parametrize("rank", [40, 8])
@pytest.mark.parametrize("passes", [1, 3])
def test_top_eigenpairs_are_exact_where_the_block_spans_the_range(rank: int, passes: int) -> None:
    G = gram(30, rank, np.ones(30))
    block = np.random.default_rng(13).normal(size=(30, min(rank + 4, 30)))
    values, Z, T = top_eigenpairs(lambda Q: G @ Q, block, passes)
    V = Z @ T
    exact = np.linalg.eigvalsh(G)[::-1][:rank]
    assert_close(values, exact)
    np.testing.assert_allclose(V.T @ V, np.eye(len(values)), atol=1e-7)
    np.testing.assert_allclose(V * values @ V.T, G, atol=1e-9)


def test_more_passes_bring_the_eigenvalues_closer_to_the_exact_ones_from_below() -> None:
    G = gram(60, 80, np.linspace(2, 0.1, 60))
    exact = np.linalg.eigvalsh(G)[::-1][:5]
    block = np.random.default_rng(13).normal(size=(60, 8))
    few, many = (top_eigenpairs(lambda Q: G @ Q, block, passes)[0][:5] for passes in (1, 50))
    assert (few <= exact * (1 + 1e-12)).all()
    assert (many >= few).all()
    np.testing.assert_allclose(many, exact, rtol=1e-6)


# --- without the compiler ---


@pytest.mark.skipif(bool(os.environ.get("NUMBA_DISABLE_JIT")), reason="this is the run without the JIT")
def test_kernels_and_low_rank_rounds_equal_their_twins_with_the_jit_off() -> None:
    """Python checks every index, where compiled code would read what lies beside an array."""
    slow = ("65536", "in_parts", "jit_off", "to_the_bit", "long_for_their_factors")
    selection = f"test_kernels and not ({' or '.join(slow)}) or naive_twin or training_loss or perturbation"
    # sizes on both sides of a change of method are compared by the compiled code
    alike = [f"test_top_k_of_many_columns_and_rows[{n}]" for n in (299, 301)]
    alike += ["test_top_k_with_deviations[290-float32]", "test_top_k_with_deviations[310-float64]"]
    result = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-p",
            "no:cacheprovider",
            "-k",
            selection,
            *(f"--deselect=tests/core/test_kernels.py::{each}" for each in alike),
            "tests/core/test_kernels.py",
            "tests/recommender/test_model.py",
        ],
        cwd=ROOT,
        env={**os.environ, "NUMBA_DISABLE_JIT": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr


# --- posterior_rows ---


def posterior(
    ratings: csr_matrix, factors: int, dtype: Any, num_threads: int = 0
) -> tuple[list[Any], tuple[Floats, Floats, Floats]]:
    """Return the arguments of the naive twin for every row, and the kernel's means, second moments and errors."""
    rng = np.random.default_rng(5)
    n, others = ratings.shape
    x = rng.normal(size=(others, factors + 1))
    roots = 0.3 * rng.normal(size=(others, factors + 1, factors + 1))
    S = roots @ roots.transpose(0, 2, 1)
    m, C = rng.normal(size=(n, factors + 1)), np.eye(factors + 1) + 0.2
    noise, upper = 0.5, np.triu_indices(factors + 2)
    means, spread = np.insert(x, 1, 1, axis=1), np.insert(np.insert(S, 1, 0, axis=1), 1, 0, axis=2)
    moments = (means[:, :, None] * means[:, None, :] + spread)[:, upper[0], upper[1]]
    precision = noise * np.linalg.inv(C)
    own = np.full((n, factors + 2), np.nan, dtype), np.full((n, len(upper[0])), np.nan, dtype)
    errors = np.full(n, np.nan, dtype)
    rows = csr_arrays(ratings.astype(dtype))
    prior, other = (
        (precision.astype(dtype), (m @ precision).astype(dtype)),
        (means.astype(dtype), moments.astype(dtype)),
    )
    with threads(num_threads):
        status = kernels.posterior_rows(rows, other, prior, dtype(noise), own, errors)
    assert not status.any()
    twins = [
        (row.data, [(x[i], S[i]) for i in row.indices], m_row, C, noise) for row, m_row in zip(ratings, m, strict=True)
    ]
    return twins, (*own, errors)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("factors", [1, 2, 7])
def test_posterior_rows_equal_their_twin(factors: int, dtype: Any) -> None:
    ratings = sparse(15, 12, 0.5)
    twins, (means, moments, errors) = posterior(ratings, factors, dtype)
    upper = np.triu_indices(factors + 2)
    for row, arguments in enumerate(twins):
        w, S, error = naive.posterior_row(*arguments)
        mean, spread = np.insert(w, 1, 1), np.insert(np.insert(S, 1, 0, axis=0), 1, 0, axis=1)
        assert_close(means[row], mean, dtype)
        assert_close(moments[row], (np.outer(mean, mean) + spread)[upper], dtype)
        assert_close(errors[[row]], np.array([error]), dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_posterior_rows_are_the_same_bits_on_any_number_of_threads_and_in_any_order(dtype: Any) -> None:
    ratings = sparse(600, 50, 0.2)
    one, two = (posterior(ratings, 4, dtype, n)[1] for n in (1, 2))
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_row_without_ratings_keeps_its_prior_and_a_posterior_minimises_its_free_energy() -> None:
    """At the posterior mean the expected error plus the prior's is least: no perturbation improves it."""
    ratings = sparse(7, 12, 0.5)
    twins, (means, _, errors) = posterior(ratings, 3, np.float64)
    assert ratings[6].nnz == errors[6] == 0
    _, _, m, C, noise = twins[6]
    np.testing.assert_allclose(np.delete(means[6], 1), m, rtol=1e-12)
    rng = np.random.default_rng(6)
    y, others, m, C, noise = twins[0]
    w = np.delete(means[0], 1)

    def energy(w: Floats) -> float:
        expected = sum(
            (r - naive.rating_mean(w, x)) ** 2 + naive.rating_variance(w, np.zeros((4, 4)), x, S)
            for r, (x, S) in zip(y, others, strict=True)
        )
        return float(expected / noise + (w - m) @ np.linalg.solve(C, w - m))

    for _ in range(20):
        assert energy(w + 1e-3 * rng.normal(size=4)) > energy(w)


def test_posterior_rows_report_a_system_that_cannot_be_factorised() -> None:
    rows = csr_arrays(csr_matrix(np.ones((2, 1))))
    own, other = (np.empty((2, 3)), np.empty((2, 6))), (np.full((1, 3), 1.0), np.full((1, 6), -9.0))
    arguments = ((np.eye(2), np.zeros((2, 2))), 1.0, own, np.empty(2))
    with threads(0):
        assert (kernels.posterior_rows(rows, other, *arguments) != 0).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_sparse_gram(dtype: Any) -> None:
    X = random_array((40, 30), density=0.2, rng=np.random.default_rng(0), format="csr", dtype=dtype)
    parts = X.indptr.astype(np.int32), X.indices.astype(np.int32), X.data
    out = np.full((30, 30), np.nan, dtype=dtype)
    kernels.sparse_gram(*parts, kernels.transpose(*parts, 30), out)
    assert_close(out, X.toarray().astype(np.float64).T @ X.toarray(), dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [kernels.FACTORISED, 4 * kernels.FACTORISED + 3])
def test_long_rows_of_the_full_form_are_solved_by_conjugate_gradients_too(dtype: Any, n: int) -> None:
    rng = np.random.default_rng(0)
    Q = np.linalg.qr(rng.normal(size=(n, n)))[0]
    S = ((Q * rng.uniform(0, 1, n)) @ Q.T).astype(dtype)
    weight, rhs = rng.uniform(0, 6, n).astype(dtype), rng.uniform(1, 7, n).astype(dtype)
    a, fitted = np.empty_like(weight), np.empty_like(weight)
    indptr, indices = np.array([0, n], dtype=np.int32), np.arange(n, dtype=np.int32)
    assert not kernels.solve_rows_full(indptr, indices, weight, rhs, S, a, fitted).any()
    exact = np.linalg.solve(np.eye(n) + weight[:, None].astype(np.float64) * S, rhs)
    assert_close(a, exact, dtype)
    assert_close(fitted, S.astype(np.float64) @ exact, dtype)
