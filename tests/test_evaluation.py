"""Splits, metrics and baselines: laws, slow twins, cases by hand, and two published numbers."""

from math import log2
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, load_npz, random_array, vstack

from rfm_recsys.errors import DataError, InsufficientMemoryError, ParameterError
from rfm_recsys.evaluation import (
    ALS,
    EASE,
    Popularity,
    Recommender,
    mean_over_users,
    ndcg,
    plain_recall,
    recall,
    strong_generalisation,
)

ML_1M = Path(__file__).parents[2] / "shared/data/ml-1m/strong"


def interactions(users: int, items: int, density: float, seed: int) -> csr_matrix:
    """Make a matrix with values that tell its entries apart."""
    matrix = csr_matrix(random_array((users, items), density=density, rng=np.random.default_rng(seed), format="csr"))
    matrix.sort_indices()
    matrix.data = np.arange(1, matrix.nnz + 1, dtype=np.float32)
    return matrix


def equal(left: csr_matrix, right: csr_matrix) -> bool:
    return bool(left.shape == right.shape and (left != right).nnz == 0)


# Splits


@settings(max_examples=50, deadline=None)
@given(
    users=st.integers(4, 40), items=st.integers(8, 30), density=st.floats(0.5, 1), held_out=st.integers(1, 3),
    seed=st.integers(0, 2**32),
)  # fmt: skip
def test_the_parts_of_a_split_add_up(users: int, items: int, density: float, held_out: int, seed: int) -> None:
    matrix = interactions(users, items, density, seed % 1000)
    if (np.diff(matrix.indptr) >= 5).sum() < held_out:
        return
    before = matrix.copy()
    split = strong_generalisation(matrix, held_out, seed)
    assert equal(matrix, before)

    chosen = split.held_out_users
    others = np.setdiff1d(np.arange(users), chosen)
    assert len(np.unique(chosen)) == held_out
    assert equal(split.train, matrix[others])
    assert equal(split.fold_in + split.target, matrix[chosen])
    assert split.fold_in.multiply(split.target).nnz == 0
    counts = np.diff(matrix[chosen].indptr)
    assert (counts >= 5).all()
    assert (np.diff(split.target.indptr) == counts // 5).all()
    assert equal(vstack([split.train, split.fold_in + split.target])[np.argsort([*others, *chosen])], matrix)


def test_a_seed_decides_the_split() -> None:
    matrix = interactions(60, 40, 0.4, 0)
    first, again, other = (strong_generalisation(matrix, 6, seed) for seed in (1, np.random.default_rng(1), 2))
    assert equal(first.train, again.train)
    assert equal(first.target, again.target)
    assert not np.array_equal(first.held_out_users, other.held_out_users)


def test_a_tenth_of_the_users_is_held_out() -> None:
    assert len(strong_generalisation(interactions(60, 40, 0.4, 0)).held_out_users) == 6


def test_a_duplicate_does_not_leak_into_the_target() -> None:
    row = [0, 1, 2, 3, 4, 4]
    matrix = csr_matrix((np.ones(12), row * 2, [0, 6, 12]), shape=(2, 6))
    split = strong_generalisation(matrix, 1)
    assert split.fold_in.multiply(split.target).nnz == 0
    assert split.target.nnz == 1


@pytest.mark.parametrize(
    ("matrix", "held_out", "error"),
    [
        (interactions(20, 10, 0.9, 0), 0, ParameterError),
        (interactions(20, 10, 0.9, 0), 21, DataError),
        (interactions(20, 4, 1.0, 0), 1, DataError),
        (interactions(20, 10, 1.0, 0), 20, DataError),
        (csr_matrix((0, 0)), None, DataError),
    ],
)
def test_data_that_are_too_small_are_refused(matrix: csr_matrix, held_out: int | None, error: type[Exception]) -> None:
    with pytest.raises(error, match=r"; (hold out|pass)"):
        strong_generalisation(matrix, held_out)


# Metrics


def naive(ids: NDArray[np.integer], targets: csr_matrix, k: int) -> NDArray[np.float64]:
    """Compute (recall, plain recall, N@k) for every user, place by place."""
    table = []
    for recommended, row in zip(ids.tolist(), targets.toarray() != 0, strict=True):
        wanted = set(np.flatnonzero(row).tolist())
        if not wanted:
            table.append([np.nan] * 3)
            continue
        found: set[int] = set()
        gain = 0.0
        for place, item in enumerate(recommended[:k], 1):
            if item in wanted - found:
                found.add(item)
                gain += 1 / log2(place + 1)
        ideal = sum(1 / log2(place + 1) for place in range(1, min(k, len(wanted)) + 1))
        table.append([len(found) / min(k, len(wanted)), len(found) / len(wanted), gain / ideal])
    return np.array(table)


@settings(max_examples=100, deadline=None)
@given(users=st.integers(1, 12), items=st.integers(1, 15), k=st.integers(1, 20), seed=st.integers(0, 2**32))
def test_metrics_equal_their_naive_twins(users: int, items: int, k: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    targets = interactions(users, items, rng.random(), seed % 1000)
    ids = rng.integers(-1, items, (users, max(k, 3))).astype(np.int32)
    ours = np.column_stack([metric(ids, targets, k) for metric in (recall, plain_recall, ndcg)])
    np.testing.assert_allclose(ours, naive(ids, targets, k), rtol=1e-12)


def test_metrics_by_hand() -> None:
    targets = csr_matrix([[1, 1, 1, 0, 0], [1, 0, 0, 0, 0], [0, 0, 0, 0, 0]])
    ids = np.array([[3, 0, 1], [-1, 0, 0], [0, 1, 2]])
    np.testing.assert_allclose(recall(ids, targets, 2), [1 / 2, 1, np.nan])
    np.testing.assert_allclose(plain_recall(ids, targets, 2), [1 / 3, 1, np.nan])
    np.testing.assert_allclose(ndcg(ids, targets, 3), [(0.6309298 + 0.5) / 2.1309298, 0.6309298, np.nan], rtol=1e-6)
    assert mean_over_users(recall(ids, targets, 2)) == 0.75


def test_an_empty_slot_is_not_the_item_before_the_row() -> None:
    targets = csr_matrix([[0, 0, 1], [1, 0, 0]])
    assert recall(np.array([[0], [-1]]), targets, 1).tolist() == [0, 0]


def test_fewer_items_than_places() -> None:
    targets = csr_matrix([[1, 1, 0]])
    for metric in (recall, plain_recall, ndcg):
        assert metric(np.array([[1, 0, 2]]), targets, 100).tolist() == [1]


@pytest.mark.parametrize(
    ("ids", "k", "error"),
    [
        ([[0, 1]], 0, ParameterError),
        ([[0, 1]], 3, DataError),
        ([0, 1], 2, DataError),
        ([[0, 1], [1, 2]], 2, DataError),
        ([[0, 3]], 2, DataError),
        ([[0, -2]], 2, DataError),
    ],
)
def test_ids_that_do_not_fit_are_refused(ids: list[int], k: int, error: type[Exception]) -> None:
    with pytest.raises(error):
        recall(np.array(ids), csr_matrix([[1, 0, 1]]), k)


def test_no_user_with_a_target_has_no_mean() -> None:
    with pytest.raises(DataError, match="none of 2 users"):
        mean_over_users(recall(np.zeros((2, 1), dtype=int), csr_matrix((2, 3)), 1))


# Baselines


def test_ease_is_its_closed_form() -> None:
    X = interactions(300, 600, 0.05, 0)  # more items than are computed at a time
    X.data[:] = 1
    P = np.linalg.inv((X.T @ X).toarray() + 7 * np.eye(600))
    B = np.eye(600) - P / np.diag(P)
    model = EASE(regularization=7)
    model.fit(X)
    ids, scores = model.recommend(np.arange(300), X, N=600, filter_already_liked_items=False)
    np.testing.assert_allclose(scores, np.take_along_axis(X @ B, ids, axis=1), atol=1e-5)
    assert (np.diff(scores) <= 0).all()


def test_ease_that_does_not_fit_into_memory_is_refused_beforehand() -> None:
    with pytest.raises(InsufficientMemoryError, match="leave out"):
        EASE().fit(csr_matrix(([1.0], ([0], [0])), shape=(1, 10_000_000)))


@pytest.mark.parametrize("regularization", [0.0, -1.0, np.nan, np.inf])
def test_ease_needs_a_positive_regularization(regularization: float) -> None:
    with pytest.raises(ParameterError, match="positive"):
        EASE(regularization)


def test_popularity_breaks_ties_by_item() -> None:
    model = Popularity()
    model.fit(csr_matrix([[1, 0, 1, 1], [0, 0, 1, 1], [1, 0, 0, 1]]))
    ids, _ = model.recommend(np.arange(2), csr_matrix([[0, 0, 0, 1], [0, 0, 0, 0]]), N=5)
    assert ids.tolist() == [[0, 2, 1, 3, -1], [3, 0, 2, 1, -1]]


@pytest.mark.parametrize("model", [Popularity(), EASE(10), ALS(factors=8, random_state=0)])
def test_baselines_rank_what_is_new_first_and_leave_empty_slots_empty(model: Recommender) -> None:
    X = interactions(60, 20, 0.3, 0)
    X.data[:] = 1
    model.fit(X[:50], show_progress=False)
    ids, scores = model.recommend(np.arange(10), X[50:], N=25, recalculate_user=True)
    assert ids.shape == scores.shape == (10, 25)
    for row, liked in zip(ids, X[50:].toarray() > 0, strict=True):
        assert sorted(row[:20]) == list(range(20))
        assert (row[20:] == -1).all()
        assert not liked[row[: 20 - liked.sum()]].any()


@pytest.mark.skipif(not ML_1M.is_dir(), reason="the ready ML-1M split is not at ../shared/data/ml-1m/strong")
@pytest.mark.parametrize(
    ("model", "expected", "tolerance"),
    [
        (Popularity(), {"N@100": 0.2195}, 1e-4),
        (EASE(1000), {"R@20": 0.4257, "R@50": 0.4945, "N@100": 0.4920}, 1e-4),
        (ALS(random_state=0), {"R@20": 0.4068, "R@50": 0.4950, "N@100": 0.4804}, 2e-3),  # differs from run to run
    ],
)
def test_known_numbers_on_ml_1m(model: Recommender, expected: dict[str, float], tolerance: float) -> None:
    train, fold_in, target = (load_npz(ML_1M / f"{part}.npz") for part in ("train", "valid_in", "valid_out"))
    model.fit(train, show_progress=False)
    ids, _ = model.recommend(np.arange(len(target.indptr) - 1), fold_in, N=100, recalculate_user=True)
    found = {"R@20": recall(ids, target, 20), "R@50": recall(ids, target, 50), "N@100": ndcg(ids, target, 100)}
    assert {name: mean_over_users(found[name]) for name in expected} == pytest.approx(expected, abs=tolerance)
