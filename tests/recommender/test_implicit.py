"""LinRFM in implicit's place: what implicit asks of its models, its faults and its evaluation; scikit-learn and Optuna.

``docs/implicit.md`` holds the script that is run here with either import.
"""

import copy
import hashlib
import io
import pickle
import re
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from implicit import evaluation
from places import DOCS, ROOT
from scipy.sparse import csr_matrix, random_array
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, KFold
from threadpoolctl import threadpool_info

from rfm_recsys import LinRFM
from rfm_recsys.core.arrays import Floats
from rfm_recsys.errors import DataError, NotFittedError, ParameterError

USERS = np.arange(50)
BOARDS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "3": {"factors": 3, "regularization": 0, "random_state": 23, "use_gpu": False},
    "32": {"factors": 32, "regularization": 0, "random_state": 23, "use_gpu": False},
    "32, .01": {"factors": 32, "regularization": 0.01, "random_state": 23},
    "32, chosen": {"factors": 32, "random_state": 23},
    "full": {"factors": None, "regularization": 0},
}


def checkerboard(size: int = 50) -> csr_matrix:
    """Let every user like the items of the same parity, but for the one of the same number."""
    liked = np.add.outer(np.arange(size), np.arange(size)) % 2 == 0
    np.fill_diagonal(liked, val=False)
    return csr_matrix(liked.astype(np.float64))


def new_model(factors: int | None = 32, **parameters: Any) -> LinRFM:
    return LinRFM(factors, **{"regularization": 0, "random_state": 23, "use_gpu": False, **parameters})


def fitted(data: csr_matrix, factors: int | None = 32, **parameters: Any) -> LinRFM:
    return new_model(factors, **parameters).fit(data, show_progress=False)


@pytest.fixture(scope="module", params=BOARDS)
def board(request: pytest.FixtureRequest) -> LinRFM:
    return LinRFM(**BOARDS[request.param]).fit(checkerboard(), show_progress=False)


@pytest.fixture(scope="module", params=BOARDS)
def large_board(request: pytest.FixtureRequest) -> LinRFM:
    return LinRFM(**BOARDS[request.param]).fit(checkerboard(256), show_progress=False)


def tastes(users: int = 300, items: int = 200, seed: int = 0) -> csr_matrix:
    """Let users like about a tenth of the items, by five features."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(users, 5)) @ rng.normal(size=(5, items))
    return csr_matrix(features > 3, dtype=np.float32)


def widened(matrix: csr_matrix, columns: int) -> csr_matrix:
    return csr_matrix((matrix.data, matrix.indices, matrix.indptr), shape=(matrix.shape[0], columns))


def assert_same(one: Any, two: Any) -> None:
    """Compare parameters, arrays and sparse matrices, to the bit."""
    assert type(one) is type(two)
    if isinstance(one, csr_matrix):
        assert one.shape == two.shape
        assert_same([one.data, one.indices, one.indptr], [two.data, two.indices, two.indptr])
    elif isinstance(one, list):
        for a, b in zip(one, two, strict=True):
            assert_same(a, b)
    elif isinstance(one, np.ndarray):
        assert one.dtype == two.dtype
        np.testing.assert_array_equal(one, two)
    else:
        assert one == two


def assert_same_state(one: LinRFM, two: LinRFM) -> None:
    assert vars(one).keys() == vars(two).keys()
    for name, value in vars(one).items():
        assert_same(value, getattr(two, name))


# --- what implicit's tests ask of every model ---


def test_the_withheld_item_is_ranked_first(board: LinRFM) -> None:
    ids, scores = board.recommend(USERS, checkerboard(), N=1)
    assert ids.shape == scores.shape == (50, 1)
    np.testing.assert_array_equal(ids[:, 0], USERS)


@pytest.mark.parametrize("filter_liked", [True, False])
def test_a_batch_is_its_users_one_by_one(board: LinRFM, filter_liked: bool) -> None:
    data = checkerboard()
    ids, scores = board.recommend(USERS, data, N=5, filter_already_liked_items=filter_liked)
    assert ids.shape == scores.shape == (50, 5)
    for user in USERS:
        one_ids, one_scores = board.recommend(user, data[user], N=5, filter_already_liked_items=filter_liked)
        np.testing.assert_allclose(one_scores, scores[user], rtol=1e-5, atol=1e-6)
        certain = int(np.logical_and.accumulate(np.diff(one_scores) < -1e-5).sum())
        np.testing.assert_array_equal(one_ids[:certain], ids[user, :certain])


@pytest.mark.parametrize("parameters", BOARDS.values(), ids=BOARDS)
def test_scores_descend_along_every_list(parameters: dict[str, Any]) -> None:
    data = csr_matrix(random_array((100, 200), density=0.05, rng=np.random.default_rng(10), format="csr"))
    model = LinRFM(**parameters).fit(data, show_progress=False)
    _, scores = model.recommend(np.arange(100), data)
    assert (np.diff(scores) <= 0).all()


def test_filter_items_leaves_an_item_out_of_every_list(board: LinRFM) -> None:
    for users in (0, [2, 3, 4]):
        ids, _ = board.recommend(users, checkerboard()[users], N=10, filter_items=[0])
        assert (ids != 0).all()


def test_more_items_than_there_are_can_be_asked_for(board: LinRFM) -> None:
    ids, scores = board.recommend(0, checkerboard()[0], N=10_000)
    assert ids.shape == scores.shape == (10_000,)
    assert sorted(ids[ids >= 0]) == list(range(50))


def test_folded_in_users_are_recommended_what_fitted_ones_are(board: LinRFM) -> None:
    data = checkerboard()
    ids, scores = board.recommend(USERS, data, N=1)
    folded_ids, folded_scores = board.recommend(USERS, data, N=1, recalculate_user=True)
    np.testing.assert_array_equal(folded_ids, ids)
    np.testing.assert_allclose(folded_scores, scores, atol=5e-4)
    for user in USERS:
        one_ids, one_scores = board.recommend(0, data[user], N=1, recalculate_user=True)
        np.testing.assert_array_equal(one_ids, ids[user])
        np.testing.assert_allclose(one_scores, scores[user], atol=5e-4)


def test_the_precision_of_the_withheld_items_is_1(board: LinRFM) -> None:
    withheld = csr_matrix(np.eye(50))
    assert evaluation.precision_at_k(board, checkerboard(), withheld, K=1, show_progress=False) == 1


@pytest.mark.parametrize("what", ["items", "users"])
def test_similar_rows_are_those_of_the_same_parity(large_board: LinRFM, what: str) -> None:
    similar: Callable[..., Any] = getattr(large_board, f"similar_{what}")
    ids, scores = similar(USERS, N=10)
    assert ids.shape == (50, 10)
    np.testing.assert_array_equal(ids[:, 0], USERS)
    np.testing.assert_allclose(scores[:, 0], 1, atol=1e-4)
    np.testing.assert_array_equal(ids % 2, np.repeat(USERS[:, None] % 2, 10, axis=1))
    for row in USERS[:10]:
        one_ids, one_scores = similar(row, N=10)
        assert one_ids[0] == row
        np.testing.assert_allclose(one_scores, scores[row], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("what", ["items", "users"])
def test_similar_rows_are_filtered_or_chosen_from(large_board: LinRFM, what: str) -> None:
    similar: Callable[..., Any] = getattr(large_board, f"similar_{what}")
    ids, _ = similar(USERS, N=10, **{f"filter_{what}": np.arange(52) * 5})
    assert (ids % 5 != 0).all()
    ids, _ = similar(USERS, N=10, **{what: np.arange(10)})
    np.testing.assert_array_equal(np.sort(ids, axis=1), np.tile(np.arange(10), (50, 1)))


def test_folded_in_items_are_similar_to_those_of_the_same_parity(large_board: LinRFM) -> None:
    users = checkerboard(256).T.tocsr()[USERS]
    if large_board.factors is None:
        with pytest.raises(ParameterError, match="full form"):
            large_board.similar_items(USERS, recalculate_item=True, item_users=users)
        return
    ids, _ = large_board.similar_items(USERS, N=10, recalculate_item=True, item_users=users)
    np.testing.assert_array_equal(ids[:, 0], USERS)
    np.testing.assert_array_equal(ids % 2, np.repeat(USERS[:, None] % 2, 10, axis=1))


@pytest.mark.parametrize("factors", [8, None], ids=["8", "full"])
def test_of_equal_rows_each_is_the_most_similar_to_itself(factors: int | None) -> None:
    data = csr_matrix(np.kron(np.eye(4), np.ones((6, 5))))
    model = LinRFM(factors).fit(data, show_progress=False)
    for what, count in (("items", 20), ("users", 24)):
        similar: Callable[..., Any] = getattr(model, f"similar_{what}")
        rows = np.arange(count)
        for chosen in ({}, {what: rows[::-1]}):
            ids, scores = similar(rows, N=3, **chosen)
            np.testing.assert_array_equal(ids[:, 0], rows)
            np.testing.assert_array_equal(ids // (count // 4), np.repeat(rows[:, None] // (count // 4), 3, axis=1))
            assert all(len(set(listed)) == 3 for listed in ids)
            np.testing.assert_allclose(scores, 1, atol=1e-6)
        ids, _ = similar(rows, N=3, **{f"filter_{what}": rows[1::2]})
        np.testing.assert_array_equal(ids[::2, 0], rows[::2])
        assert (ids[:, :2] % 2 == 0).all()
        np.testing.assert_array_equal(similar(rows, N=1, **{what: [7, 3]})[0][[7, 3], 0], [7, 3])
        assert similar(rows, N=0)[0].shape == (count, 0)


@pytest.mark.parametrize("parameters", BOARDS.values(), ids=BOARDS)
def test_an_item_that_nobody_has_is_similar_to_nothing(parameters: dict[str, Any]) -> None:
    data = checkerboard().tolil()
    data[[42, 49]], data[:, [42, 49]] = 0, 0
    model = LinRFM(**parameters).fit(csr_matrix(data), show_progress=False)
    ids, _ = model.similar_items(np.arange(40), N=10)
    assert not np.isin(ids, [42, 49]).any()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_interactions_of_either_precision_are_taken(dtype: Any) -> None:
    assert fitted(checkerboard().astype(dtype)).recommend(7, checkerboard()[7].astype(dtype), N=1)[0] == [7]


def test_only_the_given_items_are_ranked_and_liked_ones_come_last(board: LinRFM) -> None:
    data = checkerboard()
    ids, scores = board.recommend(0, data[0], items=np.arange(1, 7), N=20)
    assert set(ids[:3]) == {1, 3, 5}
    assert set(ids[3:]) == {2, 4, 6}
    assert (scores[3:] == -np.finfo(np.float32).max).all()
    ids, _ = board.recommend(USERS, data, items=np.arange(10) * 3)
    np.testing.assert_array_equal(np.sort(ids, axis=1), np.tile(np.arange(10) * 3, (50, 1)))
    ids, _ = board.recommend(4, data[4], items=[9, 30, 4], filter_already_liked_items=False)
    assert set(ids) == {4, 9, 30}


@pytest.mark.parametrize("wrong", [[-1, -3, -5], [51, 300, 200], [50], [-50]])
def test_unknown_items_are_an_index_error(board: LinRFM, wrong: list[int]) -> None:
    with pytest.raises(IndexError):
        board.recommend(3, checkerboard()[3], items=[5, 8, *wrong])
    with pytest.raises(IndexError):
        board.similar_items(wrong)


def test_rank_items_is_deprecated_and_ranks_all_that_it_is_given(board: LinRFM) -> None:
    data, selected = checkerboard(), np.arange(20)
    with pytest.deprecated_call():
        ids, scores = board.rank_items(7, data[7], selected)
    expected = board.recommend(7, data[7], N=20, items=selected, filter_already_liked_items=False)
    np.testing.assert_array_equal(ids, expected[0])
    np.testing.assert_array_equal(scores, expected[1])


@pytest.mark.parametrize("recalculate", [False, True])
def test_recommend_all_is_deprecated_and_gives_the_ids_of_recommend(board: LinRFM, recalculate: bool) -> None:
    data = checkerboard()
    with pytest.deprecated_call():
        ids = board.recommend_all(data, N=4, recalculate_user=recalculate, filter_items=[3])
    np.testing.assert_array_equal(ids, board.recommend(USERS, data, 4, True, [3], recalculate)[0])
    with pytest.deprecated_call():
        later = board.recommend_all(data[30:], N=4, recalculate_user=recalculate, users_items_offset=30)
    np.testing.assert_array_equal(later, board.recommend(USERS[30:], data[30:], N=4)[0])


def test_only_rows_of_a_csr_matrix_are_taken(board: LinRFM) -> None:
    data = checkerboard()
    for rows in (data[:1].tocsc(), data[:1].tocoo(), data.tocsc(), data, None):
        with pytest.raises(ValueError, match="user_items"):
            board.recommend(0, rows)


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_a_copy_and_a_pickle_are_the_model(board: LinRFM, duplicate: Callable[[LinRFM], LinRFM]) -> None:
    for model in (board, new_model(), new_model(random_state=np.random.default_rng(3))):
        twin = duplicate(model)
        assert vars(twin).keys() == vars(model).keys()
        if model is board:
            assert_same_state(twin, model)
            one, two = (copied.recommend(USERS, checkerboard(), recalculate_user=True) for copied in (model, twin))
            assert_same([*one], [*two])
        assert_same_state(twin.fit(checkerboard(), show_progress=False), twin)


@pytest.mark.parametrize("fit", [False, True])
@pytest.mark.parametrize("parameters", BOARDS.values(), ids=BOARDS)
def test_a_model_saved_and_loaded_has_an_equal_dict(tmp_path: Path, parameters: dict[str, Any], fit: bool) -> None:
    model = LinRFM(**parameters)
    if fit:
        model.fit(checkerboard(), show_progress=False)
    model.save(tmp_path / "model.npz")
    model.save(str(tmp_path / "model"))
    file = io.BytesIO()
    model.save(file)
    file.seek(0)
    for source in (tmp_path / "model.npz", str(tmp_path / "model"), file):
        loaded = type(model).load(source)
        assert_same_state(loaded, model)
        if fit:
            np.testing.assert_array_equal(loaded.recommend(USERS, checkerboard(), N=1)[0][:, 0], USERS)


# --- what implicit's tests ask of its ALS ---


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("switch", ["use_native", "use_cg"])
def test_a_small_matrix_is_reconstructed_without_regularization(dtype: Any, switch: str) -> None:
    liked = np.array([[1, 0, 1, 0, 0, 1], [1, 1, 0, 0, 0, 0], [0, 1, 0, 1, 1, 0], [0, 0, 1, 1, 0, 0],
                      [1, 0, 0, 0, 1, 0], [0, 1, 0, 0, 0, 1], [0, 0, 0, 1, 1, 1]])  # fmt: skip
    model = fitted(csr_matrix(liked * 2.0), 6, dtype=dtype, **{switch: False})
    np.testing.assert_allclose(model.user_factors @ model.item_factors.T, liked, atol=1e-4)


def triangles() -> csr_matrix:
    """Let six users and six others like what comes after them, less and less; the last of each have nothing."""
    distance = np.subtract.outer(np.arange(12), np.arange(12)).T
    together = np.equal.outer(np.arange(12) // 6, np.arange(12) // 6)
    return csr_matrix(np.where((distance > 0) & together, 1 + 1 / np.maximum(distance, 1), 0))


@pytest.mark.parametrize(
    ("data", "factors"),
    [
        (triangles(), 3),
        (csr_matrix(random_array((100, 100), density=0.0005, rng=np.random.default_rng(42), format="csr")), 32),
        (csr_matrix(np.eye(10)), 15),
        (csr_matrix(np.ones((10, 10))), 128),
    ],
    ids=["triangles", "nearly empty", "more factors than users", "rank 1"],
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_degenerate_data_give_finite_factors(data: csr_matrix, factors: int, dtype: Any) -> None:
    for regularization in (0, 0.01, 10):
        model = fitted(data, factors, regularization=regularization, iterations=10, dtype=dtype)
        assert np.isfinite(model.user_factors).all()
        assert np.isfinite(model.item_factors).all()


def test_with_more_factors_than_users_each_is_recommended_what_it_has() -> None:
    model = fitted(csr_matrix(np.eye(10)), 15)
    ids, scores = model.recommend(np.arange(10), None, filter_already_liked_items=False)
    np.testing.assert_array_equal(ids[:, 0], np.arange(10))
    assert np.isfinite(scores).all()


def test_the_explanation_of_a_recommendation_adds_up_to_its_score() -> None:
    counts = np.array([[8, 0, 2, 2, 0, 6, 0], [2, 2, 0, 0, 4, 0, 0], [0, 2, 6, 0, 0, 0, 2], [0, 0, 0, 2, 2, 0, 18],
                       [2, 0, 0, 10, 0, 2, 2]])  # fmt: skip
    counts = csr_matrix(counts, dtype=np.float32)
    model = fitted(counts, 4, regularization=20, iterations=100, use_native=False, use_cg=False)
    for user in range(5):
        ids, scores = model.recommend(user, counts[user], N=2)
        folded_ids, folded_scores = model.recommend(user, counts[user], N=2, recalculate_user=True)
        np.testing.assert_array_equal(folded_ids, ids)
        np.testing.assert_allclose(folded_scores, scores, atol=1e-5)
        score, shares, weights = model.explain(user, counts, ids[0])
        assert score == pytest.approx(scores[0], abs=1e-5)
        assert score == sum(share for _, share in shares)
        assert [share for _, share in shares] == sorted((share for _, share in shares), reverse=True)
        assert sorted(item for item, _ in shares) == sorted(counts[user].indices)
        again, first, _ = model.explain(user, counts, itemid=ids[0], user_weights=weights, N=2)
        assert again == score
        assert first == shares[:2]


def test_users_and_items_are_changed_and_added_one_by_one() -> None:
    likes = checkerboard()
    model = fitted(likes, 2)
    model.partial_fit_users([0], likes[1])
    assert model.recommend(0, likes[1])[0][0] == 1
    model.partial_fit_users([100], likes[1])
    assert len(model.user_factors) == 101
    assert model.recommend(100, likes[1])[0][0] == 1
    assert model.similar_users(100, N=52)[0].max() == 100
    likes = widened(likes, 101)
    model.partial_fit_items([100], likes[1])
    assert len(model.item_factors) == 101
    assert set(model.recommend(1, likes[1], N=2)[0]) == {1, 100}
    model.partial_fit_users([101], likes[1])
    likes = widened(likes, 102)
    model.partial_fit_items([101], likes[1])
    assert (len(model.user_factors), len(model.item_factors)) == (102, 102)
    assert set(model.recommend(101, likes[1], N=3)[0]) == {1, 100, 101}


@pytest.mark.parametrize("factors", [32, None], ids=["32", "full"])
def test_a_negative_value_says_disliked(factors: int | None) -> None:
    data = tastes()
    disliked = data.tolil()
    item = int(fitted(data, factors, regularization=4.0).recommend(5, data[5], N=1)[0][0])
    disliked[5, item] = -1
    model = fitted(csr_matrix(disliked), factors, regularization=4.0)
    row = csr_matrix(disliked[5])
    assert item not in model.recommend(5, row)[0]
    _, folded = model.recommend(5, data[5], items=[item], recalculate_user=True)
    _, with_it = model.recommend(5, row, items=[item], filter_already_liked_items=False)
    assert with_it[0] < folded[0]


# --- faults of implicit that are none of ours; the others are in test_core.py, test_metrics.py and test_splits.py ---


@pytest.mark.parametrize(
    ("call", "arguments"),
    [
        ("recommend", (0, checkerboard()[0])),
        ("recommend_all", (checkerboard(),)),
        ("rank_items", (0, checkerboard()[0], [1])),
        ("similar_items", (0,)),
        ("similar_users", (0,)),
        ("recalculate_user", (0, checkerboard()[0])),
        ("recalculate_item", (0, checkerboard()[0])),
        ("partial_fit_users", ([0], checkerboard()[0])),
        ("partial_fit_items", ([0], checkerboard()[0])),
        ("explain", (0, checkerboard(), 0)),
    ],
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_every_call_without_a_fit_says_so(call: str, arguments: tuple[Any, ...]) -> None:
    with pytest.raises(NotFittedError, match="call fit") as caught:
        getattr(new_model(), call)(*arguments)
    assert isinstance(caught.value, TypeError)
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize("factors", [32, None], ids=["32", "full"])
def test_a_second_fit_does_not_go_on_from_the_first(factors: int | None) -> None:
    model = fitted(tastes(), factors)
    assert_same_state(model.fit(checkerboard(), show_progress=False), fitted(checkerboard(), factors))
    model.item_factors = model.item_factors * 2
    assert_same_state(model.fit(checkerboard(), show_progress=False), fitted(checkerboard(), factors))


@pytest.mark.parametrize("factors", [32, None], ids=["32", "full"])
def test_explain_and_recommend_agree_in_single_precision_and_with_the_defaults(factors: int | None) -> None:
    data = tastes()
    model = LinRFM(factors).fit(data, show_progress=False)
    ids, scores = model.recommend(np.arange(20), data[:20], N=3)
    for user in range(20):
        for item, score in zip(ids[user], scores[user], strict=True):
            assert model.explain(user, data, item)[0] == pytest.approx(score, rel=1e-4, abs=1e-5)


ANOTHER_PROCESS = """
import hashlib, sys
from pathlib import Path
import numpy as np
from scipy.sparse import csr_matrix
from rfm_recsys import LinRFM
data = csr_matrix(np.load(sys.argv[1]))
model = LinRFM(16, num_threads=int(sys.argv[2])).fit(data, show_progress=False)
print(hashlib.sha256(model.user_factors.tobytes() + model.item_factors.tobytes()).hexdigest())
"""


def test_runs_in_other_processes_give_the_same_bits(tmp_path: Path) -> None:
    data = tastes()
    np.save(tmp_path / "data.npy", data.toarray())
    model = LinRFM(16).fit(data, show_progress=False)
    digest = hashlib.sha256(model.user_factors.tobytes() + model.item_factors.tobytes()).hexdigest()
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", ANOTHER_PROCESS, str(tmp_path / "data.npy"), threads],
            cwd=ROOT,
            text=True,
            stdout=subprocess.PIPE,
        )
        for threads in ("0", "1")
    ]
    for process in processes:
        assert process.communicate()[0].strip() == digest


def blas_threads() -> list[int]:
    return [library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"]


def test_blas_is_held_to_one_thread_during_a_fit_without_a_warning_and_given_back() -> None:
    before, during = blas_threads(), []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = LinRFM(16)
        model.fit(tastes(), show_progress=False, callback=lambda *_: during.extend(blas_threads()))
    assert set(during) == {1}
    assert blas_threads() == before


def test_nothing_that_is_not_finite_gets_into_the_factors() -> None:
    for value in (np.nan, np.inf, -np.inf):
        data = tastes()
        data.data[3] = value
        model = new_model()
        with pytest.raises(DataError, match="not a finite"):
            model.fit(data, show_progress=False)
        assert model.user_factors is None


# --- implicit's evaluation ---


@pytest.fixture(scope="module")
def split() -> tuple[csr_matrix, csr_matrix]:
    train, test = evaluation.train_test_split(tastes(), 0.8, random_state=0)
    return train, test


@pytest.mark.parametrize("num_threads", [1, 2])
@pytest.mark.parametrize("factors", [32, None], ids=["32", "full"])
def test_implicits_metrics_are_those_of_the_lists(
    split: tuple[csr_matrix, csr_matrix], factors: int | None, num_threads: int
) -> None:
    train, test = split
    model = LinRFM(factors).fit(train, show_progress=False)
    metrics = evaluation.ranking_metrics_at_k(model, train, test, K=10, show_progress=False, num_threads=num_threads)
    users = np.flatnonzero(np.diff(test.indptr))
    ids, _ = model.recommend(users, train[users], N=10)
    hits = np.take_along_axis(test[users].toarray() > 0, ids.astype(np.intp), axis=1)
    most = np.minimum(10, np.diff(test.indptr)[users])
    gains = 1 / np.log2(np.arange(2, 12))
    precisions = (hits * hits.cumsum(axis=1) / np.arange(1, 11)).sum(axis=1)
    assert metrics["precision"] == pytest.approx(hits.sum() / most.sum())
    assert metrics["map"] == pytest.approx((precisions / most).mean())
    assert metrics["ndcg"] == pytest.approx((hits @ gains / gains.cumsum()[most - 1]).mean())
    assert metrics["auc"] > 0.7


@pytest.mark.parametrize("name", ["precision_at_k", "mean_average_precision_at_k", "ndcg_at_k", "AUC_at_k"])
def test_each_of_implicits_metrics_takes_the_model_and_none_exceeds_1(
    split: tuple[csr_matrix, csr_matrix], name: str
) -> None:
    train, test = split
    model = LinRFM(32).fit(train, show_progress=False)
    for cutoff in (1, 10, 250):
        assert 0.2 < getattr(evaluation, name)(model, train, test, K=cutoff, show_progress=False) <= 1


def test_a_model_ranks_what_implicits_leave_k_out_left() -> None:
    train, test = evaluation.leave_k_out_split(tastes(), K=2)
    model = LinRFM(32).fit(train, show_progress=False)
    assert evaluation.precision_at_k(model, train, test, K=20, show_progress=False) > 0.2


@pytest.mark.parametrize("dtype", [np.int32, np.int64, np.uint16])
def test_ids_may_be_any_buffer_of_integers_and_lists_can_be_written_to(board: LinRFM, dtype: Any) -> None:
    buffer: Any = np.arange(4, dtype=dtype)
    ids, scores = board.recommend(memoryview(buffer), checkerboard()[:4], N=60)
    assert ids.dtype == np.int32
    assert ids.shape == scores.shape == (4, 60)
    assert ids.flags.writeable
    assert ids.flags.c_contiguous
    np.testing.assert_array_equal(ids, board.recommend(range(4), checkerboard()[:4], N=60)[0])


# --- scikit-learn and Optuna ---


def test_a_clone_has_the_parameters_and_no_factors() -> None:
    model = fitted(checkerboard(), power=0.5, dtype=np.float64, random_state=np.random.default_rng(3))
    twin = clone(model)
    assert twin.user_factors is None
    assert twin.item_factors is None
    assert {**twin.get_params(), "random_state": 0} == {**model.get_params(), "random_state": 0}


def recall_after_fold_in(model: LinRFM, user_items: csr_matrix) -> float:
    """Hide every fifth item of users that the model has not seen, and count how many come back."""
    known, hidden = user_items.copy(), user_items.copy()
    known.data[::5] = 0
    hidden.data[np.arange(hidden.nnz) % 5 != 0] = 0
    known.eliminate_zeros()
    hidden.eliminate_zeros()
    ids, _ = model.recommend(np.arange(known.shape[0]), known, N=20, recalculate_user=True)
    hits: Floats = np.take_along_axis(hidden.toarray(), ids.astype(np.intp), axis=1)
    return float(hits.sum() / hidden.nnz)


@pytest.mark.parametrize("n_jobs", [None, 2])
def test_grid_search_finds_the_parameters_that_rank_best(n_jobs: int | None) -> None:
    search = GridSearchCV(
        LinRFM(16),
        {"factors": [1, 16], "power": [0.25, 0.5]},
        scoring=recall_after_fold_in,
        cv=KFold(3, shuffle=True, random_state=0),
        n_jobs=n_jobs,
        error_score="raise",
    )
    search.fit(tastes(), show_progress=False)
    assert search.best_params_["factors"] == 16
    assert search.best_score_ > 0.5
    assert search.best_estimator_.user_factors.shape == (300, 16)


def test_optuna_tunes_the_model() -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    data = tastes()

    def objective(trial: optuna.Trial) -> float:
        model = LinRFM(
            trial.suggest_categorical("factors", [4, 16]),
            regularization=trial.suggest_float("regularization", 0.1, 100, log=True),
            power=trial.suggest_float("power", 0.1, 1),
            iterations=trial.suggest_int("iterations", 1, 3),
        )
        return recall_after_fold_in(model.fit(data[:200], show_progress=False), data[200:])

    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=0))
    study.optimize(objective, n_trials=5)
    assert study.best_value > 0.5
    assert LinRFM(**study.best_params).get_params()["power"] == study.best_params["power"]


# --- the scripts of the documentation ---


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (DOCS / "implicit.md").read_text(), re.DOTALL)


def side(diff: str, sign: str) -> str:
    """Return the text before (``-``) or after (``+``) a diff."""
    return "".join(f"{line[1:]}\n" for line in diff.splitlines() if line[:1] in ("", " ", sign))


@pytest.mark.parametrize("sign", ["-", "+"], ids=["implicit", "rfm_recsys"])
@pytest.mark.filterwarnings("ignore:OpenBLAS is configured:RuntimeWarning")
def test_the_whole_script_runs_with_either_import(
    sign: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    diff = blocks("diff")[0]
    assert sorted(line[0] for line in diff.splitlines() if line[:1].strip()) == ["+", "-"]
    names: dict[str, Any] = {"user_items": tastes(1200)}
    exec(compile(side(diff, sign), "implicit.md", "exec"), names)
    assert type(names["model"]).__name__ == ("LinRFM" if sign == "+" else "AlternatingLeastSquares")
    assert names["ids"].shape == (len(names["users"]), 10)
    assert float(re.findall(r"'ndcg': ([\d.]+)", capsys.readouterr().out)[0]) > 0.1
