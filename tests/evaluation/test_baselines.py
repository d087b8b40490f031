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
    ContentKNN,
    CosineItemKNN,
    Fold,
    Popularity,
    Recommender,
    RegressedALS,
    evaluate,
    mean_over_users,
)
from rfm_recsys.evaluation.metrics import fold_metrics, rank

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


def described(seed: int = 0) -> tuple[csr_matrix, csr_matrix]:
    """Return interactions that follow three kinds of items, the last ten of which nobody has, and the kinds."""
    rng = np.random.default_rng(seed)
    kind, taste = rng.integers(0, 3, 60), rng.integers(0, 3, 200)
    X = (rng.random((200, 60)) < np.where(taste[:, None] == kind, 0.5, 0.05)).astype(np.float32)
    X[:, 50:] = 0
    return csr_matrix(X), csr_matrix(np.eye(3)[kind])


def test_new_items_of_regressed_als_are_like_old_ones_of_their_kind() -> None:
    X, kinds = described()
    model = RegressedALS(8, random_state=0)
    model.fit(X, item_features=kinds)
    F, which = model._model.item_factors, kinds.toarray().argmax(axis=1)
    for item in range(50, 60):
        of_kind = F[:50][which[:50] == which[item]].mean(axis=0)
        assert np.linalg.norm(F[item] - of_kind) < 0.2 * np.linalg.norm(of_kind)
    plain = ALS(8, random_state=0)
    plain.fit(X)
    np.testing.assert_array_equal(plain._model.item_factors[:50], F[:50])


def test_new_users_of_regressed_als_are_like_old_ones_of_their_kind() -> None:
    X, kinds = described()
    model = RegressedALS(8, random_state=0)
    model.fit(csr_matrix(X.T), user_features=kinds)
    F, which = model._model.user_factors, kinds.toarray().argmax(axis=1)
    for user in range(50, 60):
        of_kind = F[:50][which[:50] == which[user]].mean(axis=0)
        assert np.linalg.norm(F[user] - of_kind) < 0.2 * np.linalg.norm(of_kind)


def test_content_knn_is_its_formula() -> None:
    X, _ = described()
    features = interactions(60, 7, 0.5, 3)
    model = ContentKNN()
    model.fit(X, item_features=features)
    dense = features.toarray()
    unit = dense / np.maximum(np.linalg.norm(dense, axis=1), 1e-300)[:, None]
    among = np.array([3, 20, 55])
    ids, scores = model.recommend(np.arange(5), X[:5], N=4, filter_already_liked_items=False, items=among)
    wanted = (X[:5] @ unit @ unit.T)[:, among]
    np.testing.assert_array_equal(ids[:, :3], among[np.argsort(-wanted, axis=1, kind="stable")])
    np.testing.assert_allclose(scores[:, :3], -np.sort(-wanted, axis=1), rtol=1e-5)
    assert (ids[:, 3] == -1).all()
    with pytest.raises(DataError, match="--item-table"):
        ContentKNN().fit(X)


@pytest.mark.parametrize("model", [ALS(4), CosineItemKNN(), EASE(), Popularity()])
def test_lists_among_some_items_hold_no_others(model: Recommender) -> None:
    X = interactions(40, 30, 0.2, 4)
    model.fit(X, show_progress=False)
    among = np.array([1, 4, 9, 16, 25])
    target = csr_matrix(1 - (X.toarray() != 0))[:, :]
    target = csr_matrix(target.multiply(np.isin(np.arange(30), among)[None, :]))
    target.eliminate_zeros()
    fold = Fold(X, np.arange(40), X, target, known=True, items=among)
    ids = rank(model, fold, 8)
    assert {*ids.ravel().tolist()} <= {-1, *among.tolist()}
    values = fold_metrics(ids, fold, [5])
    has = np.diff(target.indptr) > 0
    np.testing.assert_allclose(values["recall@5"][has], 1)  # all that a user has not is listed
    assert np.isnan(values["auc@5"]).all()  # and of others there is none
