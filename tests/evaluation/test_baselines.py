"""The baselines: closed forms, laws that all share, and published numbers."""

import numpy as np
import pytest
from places import DATA
from scipy.sparse import csr_matrix, load_npz, random_array

from rfm_recsys.datasets import read_lightgcn
from rfm_recsys.errors import DataError, InsufficientMemoryError, ParameterError
from rfm_recsys.evaluation import (
    ALS,
    BPR,
    EASE,
    BM25ItemKNN,
    CosineItemKNN,
    Fold,
    Popularity,
    Recommender,
    evaluate,
    mean_over_users,
)

ML_1M, GOWALLA = DATA / "ml-1m/strong", DATA / "gowalla"


def interactions(users: int, items: int, density: float, seed: int) -> csr_matrix:
    return csr_matrix(random_array((users, items), density=density, rng=np.random.default_rng(seed), format="csr"))


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


def test_ease_that_does_not_fit_is_refused_beforehand(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match="leave out"):
        EASE().fit(csr_matrix(([1.0], ([0], [0])), shape=(1, 10_000_000)))
    monkeypatch.setattr("rfm_recsys.core.memory.available_memory", lambda: 10_000)
    with pytest.raises(InsufficientMemoryError, match="leave out"):
        EASE().fit(interactions(60, 40, 0.3, 0))


@pytest.mark.parametrize("regularization", [0.0, -1.0, np.nan, np.inf])
def test_ease_needs_a_positive_regularization(regularization: float) -> None:
    with pytest.raises(ParameterError, match="positive"):
        EASE(regularization)


def test_popularity_breaks_ties_by_item() -> None:
    model = Popularity()
    model.fit(csr_matrix([[1, 0, 1, 1], [0, 0, 1, 1], [1, 0, 0, 1]]))
    ids, _ = model.recommend(np.arange(2), csr_matrix([[0, 0, 0, 1], [0, 0, 0, 0]]), N=5)
    assert ids.tolist() == [[0, 2, 1, 3, -1], [3, 0, 2, 1, -1]]


def test_ease_takes_its_regularization_from_the_size_of_small_data() -> None:
    X = interactions(100, 30, 0.2, 0)
    default, given = EASE(), EASE(30.0)
    for model in (default, given):
        model.fit(X)
    np.testing.assert_array_equal(default.recommend(np.arange(5), X[:5])[1], given.recommend(np.arange(5), X[:5])[1])


FOLDING_IN = [
    Popularity(),
    EASE(10),
    ALS(factors=8, random_state=0),
    CosineItemKNN(20),
    BM25ItemKNN(20),
]


@pytest.mark.parametrize("model", FOLDING_IN, ids=lambda model: type(model).__name__)
def test_baselines_rank_what_is_new_first_and_leave_empty_slots_empty(model: Recommender) -> None:
    X = interactions(60, 20, 0.3, 0)
    X.data[:] = 1
    model.fit(X[:50], show_progress=False)
    ids, scores = model.recommend(np.arange(10), X[50:], N=25, recalculate_user=True)
    assert ids.shape == scores.shape == (10, 25)
    for row, liked in zip(ids, X[50:].toarray() > 0, strict=True):
        filled = row[row >= 0]
        assert len(filled) == len(set(filled))
        assert (row[20:] == -1).all()
        assert not liked[row[: 20 - liked.sum()]].any()


def test_bpr_ranks_its_own_users_and_repeats_to_the_bit() -> None:
    X = interactions(60, 20, 0.3, 0)
    lists = []
    for model in (BPR(8, random_state=0), BPR(8, random_state=0)):
        model.fit(X, show_progress=False)
        lists.append(model.recommend(np.arange(60), X, N=10)[0])
        with pytest.raises(NotImplementedError):
            model.recommend(np.arange(2), X[:2], recalculate_user=True)
    np.testing.assert_array_equal(lists[0], lists[1])


@pytest.mark.skipif(not ML_1M.is_dir(), reason="the ready ML-1M split is not at ../shared/data/ml-1m/strong")
@pytest.mark.parametrize(
    ("model", "expected", "tolerance"),
    [
        (Popularity(), {"ndcg@100": 0.2195}, 1e-4),
        (EASE(1000), {"capped_recall@20": 0.4257, "capped_recall@50": 0.4945, "ndcg@100": 0.4920}, 5e-5),
        (
            ALS(random_state=0),  # of another seed than the published figures
            {"capped_recall@20": 0.4068, "capped_recall@50": 0.4950, "ndcg@100": 0.4804},
            2e-3,
        ),
    ],
    ids=["Popularity", "EASE", "ALS"],
)
def test_known_numbers_on_ml_1m(model: Recommender, expected: dict[str, float], tolerance: float) -> None:
    train, fold_in, target = (load_npz(ML_1M / f"{part}.npz") for part in ("train", "valid_in", "valid_out"))
    model.fit(train, show_progress=False)
    values, _ = evaluate(model, Fold(train, np.arange(fold_in.shape[0]), fold_in, target, known=False), [20, 50, 100])
    assert {name: mean_over_users(values[name]) for name in expected} == pytest.approx(expected, abs=tolerance)


@pytest.mark.skipif(not GOWALLA.is_dir(), reason="Gowalla is not at ../shared/data/gowalla")
def test_item_knn_on_gowalla_is_where_it_is_published() -> None:
    train, valid, test = read_lightgcn(*(GOWALLA / f"{part}.txt" for part in ("train", "valid", "test")))
    both = train + valid
    users = np.flatnonzero(np.diff(test.indptr))
    model = CosineItemKNN()
    model.fit(both, show_progress=False)
    values, _ = evaluate(model, Fold(both, users, both[users], test[users], known=True), [20])
    assert 0.150 <= mean_over_users(values["recall@20"]) <= 0.165
