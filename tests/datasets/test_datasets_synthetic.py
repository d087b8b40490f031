"""Synthetic data: counts are exact, bits repeat; MovieLens looks like ratings, a matrix of low rank is one."""

from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from scipy.sparse.linalg import svds

from rfm_recsys.datasets import Interactions, synthetic, synthetic_low_rank, synthetic_movielens
from rfm_recsys.errors import ParameterError, ParameterTypeError

FULL_SIZE = (6040, 3706, 1_000_000)


@pytest.fixture(scope="module")
def full() -> Interactions:
    return synthetic_movielens()


@pytest.mark.parametrize(
    "size", [FULL_SIZE, (50, 30, 400), (1, 4, 2), (40, 40, 800), (300, 20, 300), (7, 5000, 17_500), (1200, 90, 20_011)]
)
def test_counts_are_exact_and_no_pair_stands_twice(size: tuple[int, int, int], full: Interactions) -> None:
    n_users, n_items, n_interactions = size
    data = full if size == FULL_SIZE else synthetic_movielens(*size)
    assert data.shape == (n_users, n_items)
    assert len(np.unique(data.users * n_items + data.items)) == len(data.users) == n_interactions
    assert np.bincount(data.users, minlength=n_users).min() >= 1
    assert set(np.unique(data.values)) <= {1, 2, 3, 4, 5}


def test_a_seed_fixes_every_column() -> None:
    one, two, other = (synthetic_movielens(200, 100, 3000, random_state=seed) for seed in (5, 5, 6))
    for column in ("users", "items", "values", "timestamps"):
        np.testing.assert_array_equal(getattr(one, column), getattr(two, column))
    assert one.content_hash() != other.content_hash()


def test_activity_and_popularity_are_skewed_like_movielens(full: Interactions) -> None:
    activity = np.bincount(full.users)
    assert activity.min() >= 20
    assert 80 < np.median(activity) < 120
    assert 1000 < activity.max() < 3000
    popularity = np.sort(np.bincount(full.items, minlength=3706))[::-1]
    assert 0.4 < popularity[:370].sum() / 1_000_000 < 0.7  # the top tenth's share; ML-1M: .44
    assert np.median(popularity) < 0.6 * popularity.mean()


def test_ratings_are_like_movielens_and_shared_tastes_show(full: Interactions) -> None:
    shares = np.bincount(full.values.astype(int), minlength=6)[1:] / len(full.values)
    assert 3.4 < full.values.mean() < 3.8
    assert shares.argmax() + 1 == 4
    assert (shares > 0.01).all()
    matrix = full.to_csr()
    matrix.data[:] = 1
    popularity = np.asarray(matrix.sum(axis=0)).ravel()
    top = matrix[:, np.argsort(-popularity)[:200]].toarray()
    correlation = np.corrcoef(top.T)[np.triu_indices(200, 1)]
    assert correlation.std() > 0.05  # independent items would have 1 / sqrt(6040) = .013


def test_ratings_follow_shared_tastes(full: Interactions) -> None:
    """What is left of the ratings without users' and items' means has a direction that a shuffle of it lacks."""
    counts = np.bincount(full.items, minlength=3706)
    left = full.values - (np.bincount(full.users, full.values) / np.bincount(full.users))[full.users]
    left -= (np.bincount(full.items, left, minlength=3706) / np.maximum(counts, 1))[full.items]
    shuffled = np.random.default_rng(0).permutation(left)
    strengths = [
        svds(csr_matrix((data, (full.users, full.items)), shape=full.shape), 1, return_singular_vectors=False)[0]
        for data in (left, shuffled)
    ]
    assert strengths[0] > 1.05 * strengths[1]  # the shuffled one varies by a percent


def test_timestamps_span_years_and_come_in_sittings(full: Interactions) -> None:
    assert full.timestamps is not None
    assert 2 < (full.timestamps.max() - full.timestamps.min()) / synthetic.DAY / 365 < 6
    order = np.lexsort((full.timestamps, full.users))
    gaps = np.diff(full.timestamps[order])[np.diff(full.users[order]) == 0]
    assert (gaps >= 0).all()
    assert np.mean(gaps < 3600) > 0.9
    assert np.mean(gaps > synthetic.DAY) > 0.001


@pytest.mark.parametrize(
    ("size", "message"),
    [
        ((50, 30, 751), r"n_interactions is 751, outside 50\.\.750 .*pass another number"),
        ((50, 30, 49), r"n_interactions is 49, outside 50\.\.750"),
        ((50, 30, 0), "n_interactions is 0; pass an integer in 1"),
        ((0, 30, 10), "n_users is 0; pass an integer in 1"),
        ((50, -1, 10), "n_items is -1; pass an integer in 1"),
        ((1, 1, 1), r"n_interactions is 1, outside 1\.\.0"),
    ],
)
def test_impossible_sizes_are_refused(size: tuple[int, int, int], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        synthetic_movielens(*size)


def test_arguments_that_are_no_integers_are_refused() -> None:
    with pytest.raises(ParameterTypeError, match=r"n_users is 2\.5, of type float; pass an integer"):
        synthetic_movielens(2.5)  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match="random_state is -1; pass an integer in 0"):
        synthetic_movielens(50, 30, 400, random_state=-1)


@pytest.mark.parametrize("shape", [(90, 60), (30, 200)])
def test_a_matrix_of_low_rank(shape: tuple[int, int]) -> None:
    n_observed = 4 * max(shape) * 2
    observed, left, right = synthetic_low_rank(shape, 4, n_observed, 100.0, random_state=1)
    Y = left @ right.T
    np.testing.assert_allclose(observed.data, Y[observed.nonzero()])
    assert observed.nnz == n_observed
    assert min(np.diff(observed.indptr).min(), np.diff(observed.tocsc().indptr).min()) >= 4
    values = np.linalg.svd(Y)[1]
    np.testing.assert_allclose(values[:4] / values[0], [1, 100 ** (-1 / 3), 100 ** (-2 / 3), 0.01])
    assert values[4] < 1e-12 * values[0]
    _, left, right = synthetic_low_rank(shape, 4, n_observed)
    assert np.mean((left @ right.T) ** 2) == pytest.approx(1)
    assert (observed != synthetic_low_rank(shape, 4, n_observed, 100.0, random_state=1)[0]).nnz == 0
    assert (observed != synthetic_low_rank(shape, 4, n_observed, 100.0, random_state=2)[0]).nnz > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (((5, 4), 5, 20), "rank is 5, and the matrix is 5 x 4; pass a rank of at most 4"),
        (((50, 40), 2, 199), r"n_observed is 199; pass from 2 rank max\(rows, columns\) = 200 to 2000"),
        (((50, 40), 2, 2001), "n_observed is 2001"),
        (((50, 40), 2, 300, 0.5), "condition_number is 0.5"),
        (((0, 40), 2, 300), "rows is 0"),
    ],
)
def test_matrices_that_cannot_be(arguments: Any, message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        synthetic_low_rank(*arguments)
