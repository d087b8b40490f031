"""Ranking metrics: naive twins, two other libraries, cases by hand, laws, and ranking in blocks."""

import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import naive_metrics as naive
import numpy as np
import pytest
import pytrec_eval
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from sklearn import metrics as sk

from rfm_recsys.core.runtime import threads
from rfm_recsys.errors import DataError, ParameterError, ParameterTypeError
from rfm_recsys.evaluation.groups import Group, activity_groups, popularity_groups
from rfm_recsys.evaluation.metrics import (
    CATALOGUE_METRICS,
    USER_METRICS,
    catalogue_metrics,
    evaluate,
    mae,
    mean_over_users,
    rank,
    rmse,
    user_metrics,
)
from rfm_recsys.evaluation.splits import Fold

EXACT = 1e-12
CUTOFFS = [1, 2, 3, 5, 8, 40]


def rows_of(matrix: csr_matrix) -> list[set[int]]:
    return [set(matrix[user].indices.tolist()) for user in range(matrix.shape[0])]


def random_fold(rng: np.random.Generator, users: int, items: int, known: bool = False) -> Fold:
    """Make a fold with disjoint fold_in and target, users without targets, and users without items."""
    kind = rng.choice(3, (users, items), p=(0.6, 0.2, 0.2)) * (rng.random((users, 1)) < 0.85)
    train = csr_matrix((rng.random((users + 3, items)) < 0.3).astype(np.float32))
    return Fold(train, np.arange(users), csr_matrix(kind == 1), csr_matrix(kind == 2), known)


@st.composite
def cases(draw: st.DrawFn, slots: bool = True, scores: bool = False) -> tuple[Fold, NDArray[np.int32]]:
    """Draw a fold and lists: with repetitions and empty slots, or ranked by scores with ties."""
    users, items = draw(st.integers(1, 10)), draw(st.integers(1, 14))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    fold = random_fold(rng, users, items)
    if scores:
        ties = rng.integers(0, 4, (users, items)).astype(float)
        ties[fold.fold_in.toarray()] = -1
        return fold, np.argsort(-ties, axis=1, kind="stable").astype(np.int32)
    return fold, rng.integers(-1 if slots else 0, items, (users, max(CUTOFFS))).astype(np.int32)


# Naive twins


@settings(max_examples=150, deadline=None)
@given(cases())
def test_user_metrics_equal_their_naive_twins(case: tuple[Fold, NDArray[np.int32]]) -> None:
    fold, ids = case
    found = user_metrics(ids, fold.target, CUTOFFS, fold.fold_in)
    every = set(range(fold.target.shape[1]))
    assert list(found) == [f"{name}@{k}" for name in USER_METRICS for k in CUTOFFS]
    for user, (wanted, owned) in enumerate(zip(rows_of(fold.target), rows_of(fold.fold_in), strict=True)):
        for k in CUTOFFS:
            listed = [item if item not in owned else -1 for item in ids[user].tolist()]
            expected = naive.user_metrics(listed, wanted, k, every - owned)
            for name, value in expected.items():
                np.testing.assert_allclose(found[f"{name}@{k}"][user], value, rtol=0, atol=EXACT, err_msg=f"{name}@{k}")


@settings(max_examples=100, deadline=None)
@given(cases())
def test_catalogue_metrics_equal_their_naive_twins(case: tuple[Fold, NDArray[np.int32]]) -> None:
    fold, ids = case
    found = catalogue_metrics(ids, fold, CUTOFFS)
    assert list(found) == [f"{name}@{k}" for name in CATALOGUE_METRICS for k in CUTOFFS]
    for k in CUTOFFS:
        expected = naive.catalogue_metrics(
            ids.tolist(), rows_of(fold.fold_in), rows_of(fold.train), fold.train.shape[1], k
        )
        for name, value in expected.items():
            np.testing.assert_allclose(found[f"{name}@{k}"], value, rtol=EXACT, atol=EXACT, err_msg=f"{name}@{k}")


@pytest.mark.parametrize("top", [[], [4], [0, 4], [3, 1, 4], [2, 0, 3, 1, 4, 5]])
def test_auc_is_the_mean_over_all_orders_of_what_is_not_listed(top: list[int]) -> None:
    wanted, candidates = {1, 4}, {0, 1, 2, 3, 4, 5}
    ids = np.array([[*top, *[-1] * (6 - len(top))]])
    target = csr_matrix([[0, 1, 0, 0, 1, 0, 0]])
    found = user_metrics(ids, target, [6], csr_matrix([[0, 0, 0, 0, 0, 0, 1]]))["auc@6"]
    np.testing.assert_allclose(found, naive.expected_auc(top, wanted, candidates), rtol=0, atol=EXACT)


# Other libraries


def scikit_learn(listed: list[int], wanted: set[int], k: int, items: int, candidates: list[int]) -> dict[str, float]:
    """Return what scikit-learn calls the same; candidates that are not listed share the lowest score."""
    relevant = np.isin(np.arange(items), [*wanted])
    top = listed[:k]
    scores = np.zeros(items)
    scores[top] = np.arange(len(top), 0, -1)
    found = {
        "recall": sk.recall_score(relevant, np.isin(np.arange(items), top)),
        "ndcg": sk.ndcg_score([relevant[candidates]], [scores[candidates]], k=k) if len(candidates) > 1 else None,
        "precision": sk.precision_score(relevant, np.isin(np.arange(items), top)) if len(top) == k else None,
        "auc": sk.roc_auc_score(relevant[candidates], scores[candidates]) if len(wanted) < len(candidates) else None,
        "map": sk.average_precision_score(relevant[candidates], scores[candidates])
        if len(top) == len(candidates)
        else None,
    }
    return {name: float(value) for name, value in found.items() if value is not None}


def trec_eval(lists: list[list[int]], wanted: list[set[int]], k: int) -> list[dict[str, float]]:
    """Return what trec_eval calls the same, for each user; nothing for those without targets or lists."""
    judged = {str(user): {str(item): 1 for item in row} for user, row in enumerate(wanted) if row}
    run = {
        str(user): {str(item): float(k - place) for place, item in enumerate(row[:k])}
        for user, row in enumerate(lists)
        if row
    }
    measures = {f"{name}.{k}" for name in ("recall", "P", "success", "ndcg_cut", "map_cut")} | {"recip_rank"}
    found = pytrec_eval.RelevanceEvaluator(judged, measures).evaluate(run) if judged else {}
    table: list[dict[str, float]] = []
    for user, row in enumerate(wanted):
        theirs = found.get(str(user))
        table.append(
            {}
            if theirs is None
            else {
                "recall": theirs[f"recall_{k}"],
                "precision": theirs[f"P_{k}"],
                "hit_rate": theirs[f"success_{k}"],
                "ndcg": theirs[f"ndcg_cut_{k}"],
                "map": theirs[f"map_cut_{k}"] * len(row) / min(k, len(row)),
                "mrr": theirs["recip_rank"],
            }
        )
    return table


@settings(max_examples=60, deadline=None)
@given(cases(scores=True))
def test_metrics_equal_other_libraries(case: tuple[Fold, NDArray[np.int32]]) -> None:
    """Ties among scores, users without targets and fewer items than the cut-off are among the cases."""
    fold, ids = case
    items = ids.shape[1]
    owned, wanted = rows_of(fold.fold_in), rows_of(fold.target)
    lists = [[item for item in row if item not in own] for row, own in zip(ids.tolist(), owned, strict=True)]
    padded = np.array([row + [-1] * (items - len(row)) for row in lists])
    found = user_metrics(padded, fold.target, CUTOFFS, fold.fold_in)
    for k in CUTOFFS:
        for user, theirs in enumerate(trec_eval(lists, wanted, k)):
            if not wanted[user]:
                assert all(np.isnan(found[f"{name}@{k}"][user]) for name in USER_METRICS)
                continue
            candidates = [item for item in range(items) if item not in owned[user]]
            ours = {name: found[f"{name}@{k}"][user] for name in USER_METRICS}
            assert theirs == pytest.approx({name: ours[name] for name in theirs}, abs=1e-9)
            others = scikit_learn(lists[user], wanted[user], k, items, candidates)
            assert others == pytest.approx({name: ours[name] for name in others}, abs=1e-9)
            assert {*theirs} >= {"recall", "precision", "hit_rate", "ndcg", "map", "mrr"}
            assert "recall" in others


@settings(max_examples=60, deadline=None)
@given(cases(slots=False))
def test_duplicates_are_worth_what_other_libraries_give_for_the_list_without_them(
    case: tuple[Fold, NDArray[np.int32]],
) -> None:
    """Recall and hit rate do not depend on places, so the list without repetitions has the same."""
    fold, ids = case
    found = user_metrics(ids, fold.target, [40])
    for user, theirs in enumerate(trec_eval([[*dict.fromkeys(row)] for row in ids.tolist()], rows_of(fold.target), 40)):
        for name in {"recall", "hit_rate", "precision"} & {*theirs}:
            assert found[f"{name}@40"][user] == pytest.approx(theirs[name], abs=1e-9)


@given(st.lists(st.tuples(st.floats(-5, 5), st.floats(-5, 5)), min_size=1, max_size=30))
def test_errors_of_ratings_equal_scikit_learn(pairs: list[tuple[float, float]]) -> None:
    predicted, actual = np.array(pairs).T
    assert rmse(predicted, actual) == pytest.approx(sk.root_mean_squared_error(actual, predicted), abs=1e-9)
    assert mae(predicted, actual) == pytest.approx(sk.mean_absolute_error(actual, predicted), abs=1e-9)


# Cases by hand


def test_user_metrics_by_hand() -> None:
    target = csr_matrix([[1, 1, 1, 0, 0, 0], [1, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0]])
    ids = np.array([[3, 0, 1], [-1, 0, 0], [0, 1, 2]])
    second, third = 1 / np.log2(3), 0.5
    found = user_metrics(ids, target, [3, 1, 2], csr_matrix([[0, 0, 0, 0, 0, 1], [0] * 6, [0] * 6]))
    expected: dict[str, list[float]] = {
        "recall@1": [0, 0], "recall@2": [1 / 3, 1], "recall@3": [2 / 3, 1],
        "capped_recall@1": [0, 0], "capped_recall@2": [1 / 2, 1], "capped_recall@3": [2 / 3, 1],
        "precision@1": [0, 0], "precision@2": [1 / 2, 1 / 2], "precision@3": [2 / 3, 1 / 3],
        "hit_rate@1": [0, 0], "hit_rate@2": [1, 1],
        "ndcg@2": [second / (1 + second), second], "ndcg@3": [(second + third) / (1 + second + third), second],
        "fixed_ndcg@2": [second / (1 + second)] * 2, "fixed_ndcg@3": [(second + third) / (1 + second + third),
                                                                     second / (1 + second + third)],
        "map@2": [1 / 4, 1 / 2], "map@3": [(1 / 2 + 2 / 3) / 3, 1 / 2],
        "mrr@1": [0, 0], "mrr@2": [1 / 2, 1 / 2],
        # user 0: of the non-targets 3 and 4, one is before item 0; items 1 and 2 follow in random order, then also 4
        "auc@2": [(1 + 2 * 1 / 2) / 6, 1], "auc@3": [(1 + 1 + 1 / 2) / 6, 1], "auc@1": [3 / 2 / 6, 1 / 2],
    }  # fmt: skip
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], np.append(values, np.nan), rtol=EXACT, err_msg=name)


def test_a_target_that_the_user_has_already_counts_as_a_target() -> None:
    target, fold_in = csr_matrix([[1, 0, 1, 0, 0]]), csr_matrix([[1, 1, 0, 0, 0]])
    found = user_metrics(np.array([[3, 0, 2, 4]]), target, [4], fold_in)
    assert found["recall@4"] == 1
    assert found["auc@4"] == 1 / 2  # of the non-targets 3 and 4, one is before both targets


def test_catalogue_metrics_by_hand() -> None:
    train = csr_matrix([[1, 1, 0, 0], [1, 0, 0, 0], [1, 1, 0, 0], [1, 0, 1, 0]])  # popularity 4, 2, 1, 0
    fold = Fold(
        train,
        np.array([1, 2]),
        csr_matrix([[1, 0, 0, 0], [1, 1, 0, 0]]),
        csr_matrix([[0, 1, 0, 0], [0, 0, 1, 0]]),
        True,
    )
    found = catalogue_metrics(np.array([[1, 2], [2, 3]]), fold, [1, 2])
    assert found["coverage@1"] == 2 / 4
    assert found["coverage@2"] == 3 / 4
    assert found["gini@1"] == (-3 * 0 - 1 * 0 + 1 * 1 + 3 * 1) / (4 * 2)
    assert found["gini@2"] == (-3 * 0 - 1 * 1 + 1 * 1 + 3 * 2) / (4 * 4)
    assert found["novelty@1"] == (1 + 2) / 2  # shares 2/4, 1/4
    assert found["novelty@2"] == (1 + 2 + 2 + 2) / 4  # item 3 counts as one that a single user has
    assert found["popularity_bias@2"] == pytest.approx((3 / 2 + 1 / 2) / (4 + 3))


def test_equal_recommendations_have_no_gini() -> None:
    fold = random_fold(np.random.default_rng(0), 4, 4)
    nothing = csr_matrix((4, 4))
    fold = Fold(fold.train, fold.users, nothing, fold.target, known=False)
    found = catalogue_metrics(np.array([[0, 1], [1, 2], [2, 3], [3, 0]]), fold, [1, 2])
    assert found["gini@1"] == found["gini@2"] == 0
    assert found["coverage@1"] == 1
    assert np.isnan(found["popularity_bias@1"])
    everybody_the_same = catalogue_metrics(np.zeros((4, 1), dtype=int), fold, [1])
    assert everybody_the_same["gini@1"] == 1 - 1 / 4


def test_groups_by_hand() -> None:
    fold_in = csr_matrix(np.tri(8, 9, -1))  # 0 to 7 items
    target = csr_matrix((np.ones(8), ([0, 1, 2, 3, 4, 5, 6, 7], [8] * 8)), shape=(8, 9))
    fold = Fold(fold_in, np.arange(8), fold_in, target, known=True)
    values = np.array([0.0, 1.0, np.nan, 0.5, 0.5, 0.25, 0.75, 1.0])
    assert activity_groups(values, fold) == [
        Group("0-1 items", 2, 0.5),
        Group("3-4 items", 2, 0.5),
        Group("5-6 items", 2, 0.5),
        Group("7 items", 1, 1.0),
    ]

    train = csr_matrix([[1, 1, 0], [1, 1, 0], [1, 0, 0]])  # popularity 3, 2, 0
    target = csr_matrix([[1, 1, 1], [0, 1, 1], [1, 0, 0]])
    fold = Fold(train, np.arange(3), csr_matrix((3, 3)), target, known=False)
    ids = np.array([[0, 0, 1], [2, 1, -1], [-1, 1, 0]])
    assert popularity_groups(ids, fold, 2) == [
        Group("0 users", 2, 1 / 2),
        Group("2 users", 2, 1 / 2),
        Group("3 users", 2, 1 / 2),
    ]
    assert [group.value for group in popularity_groups(ids, fold, 3)] == [1 / 2, 1, 1]


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 60))
def test_groups_are_a_partition(seed: int, users: int) -> None:
    """Weighted by counts, groups average to the whole; none is empty; equal users are in one group."""
    rng = np.random.default_rng(seed)
    fold = random_fold(rng, users, 12)
    ids = rng.integers(-1, 12, (users, 5))
    values = user_metrics(ids, fold.target, [5])["recall@5"]
    n_targets = np.diff(fold.target.indptr)
    groups = activity_groups(values, fold)
    assert sum(group.count for group in groups) == (n_targets > 0).sum()
    assert len({group.label for group in groups}) == len(groups) <= 4
    bands = popularity_groups(ids, fold, 5)
    assert sum(band.count for band in bands) == n_targets.sum()
    assert len({band.label for band in bands}) == len(bands) <= 3
    assert all(group.count > 0 for group in groups + bands)
    if n_targets.any():
        mean = sum(group.count * group.value for group in groups) / sum(group.count for group in groups)
        assert mean == pytest.approx(mean_over_users(values))
        hits = sum(band.count * band.value for band in bands)
        assert hits == pytest.approx(np.nansum(values * n_targets))


def test_groups_of_distinct_users_are_about_equally_large() -> None:
    fold_in = csr_matrix(np.tri(103, 103))
    fold = Fold(fold_in, np.arange(103), fold_in, csr_matrix((103, 103)), known=True)
    assert [group.count for group in activity_groups(np.ones(103), fold)] == [26, 26, 26, 25]


# Laws


@settings(max_examples=100, deadline=None)
@given(cases())
def test_no_metric_is_outside_0_to_1(case: tuple[Fold, NDArray[np.int32]]) -> None:
    fold, ids = case
    ids[:, 10:] = ids[:, :1]  # one item, over and over
    for values in user_metrics(ids, fold.target, CUTOFFS, fold.fold_in).values():
        measured = values[~np.isnan(values)]
        assert (measured >= 0).all()
        assert (measured <= 1 + 1e-12).all()
    catalogue = catalogue_metrics(ids, fold, CUTOFFS)
    for k in CUTOFFS:
        assert 0 <= catalogue[f"coverage@{k}"] <= 1
        assert np.isnan(catalogue[f"gini@{k}"]) or 0 <= catalogue[f"gini@{k}"] < 1


def test_a_perfect_list_has_1_in_all_but_the_metrics_that_know_no_short_target() -> None:
    target = csr_matrix([[1, 0, 1, 0, 1, 0]])
    found = user_metrics(np.array([[4, 0, 2, 1, 3]]), target, [3, 5])
    assert all(found[f"{name}@3"] == 1 for name in USER_METRICS)
    assert all(found[f"{name}@5"] == 1 for name in USER_METRICS if name not in ("precision", "fixed_ndcg"))
    assert found["precision@5"] == 3 / 5
    assert found["fixed_ndcg@5"] < 1


def test_cutoffs_do_not_depend_on_each_other() -> None:
    rng = np.random.default_rng(0)
    fold = random_fold(rng, 50, 30)
    ids = rng.integers(-1, 30, (50, 20))
    together = user_metrics(ids, fold.target, [20, 3, 7, 3], fold.fold_in)
    together_catalogue = catalogue_metrics(ids, fold, [20, 3, 7])
    for k in (3, 7, 20):
        alone = user_metrics(ids[:, :k], fold.target, [k], fold.fold_in)
        alone_catalogue = catalogue_metrics(ids[:, :k], fold, [k])
        assert all(np.array_equal(values, together[name], equal_nan=True) for name, values in alone.items())
        assert alone_catalogue == pytest.approx({name: together_catalogue[name] for name in alone_catalogue})


def test_permuting_users_permutes_values() -> None:
    rng = np.random.default_rng(1)
    fold = random_fold(rng, 300, 40)
    ids = rng.integers(-1, 40, (300, 10)).astype(np.int64)
    order = rng.permutation(300)
    before = user_metrics(ids, fold.target, [10], fold.fold_in)
    after = user_metrics(ids[order], fold.target[order], [10], fold.fold_in[order])
    for name, values in before.items():
        assert np.array_equal(values[order], after[name], equal_nan=True)


def test_any_number_of_threads_gives_the_same_bits() -> None:
    rng = np.random.default_rng(2)
    fold = random_fold(rng, 1000, 50)
    ids = rng.integers(-1, 50, (1000, 20))
    found = []
    for n in (1, 2, 0):
        with threads(n):
            found.append([v.tobytes() for v in user_metrics(ids, fold.target, [5, 20], fold.fold_in).values()])
    assert found[0] == found[1] == found[2]


def test_stored_order_and_index_type_do_not_matter() -> None:
    rng = np.random.default_rng(3)
    fold = random_fold(rng, 20, 15)
    ids = rng.integers(-1, 15, (20, 10))
    coo = fold.target.tocoo()
    order = rng.permutation(np.repeat(np.arange(coo.nnz), 2))
    doubled = csr_matrix((np.ones(len(order)), (coo.row[order], coo.col[order])), shape=coo.shape)
    wide = fold.target.copy()
    wide.indices, wide.indptr = wide.indices.astype(np.int64), wide.indptr.astype(np.int64)
    expected = user_metrics(ids, fold.target, [10])
    for same in (doubled, wide, coo, fold.target.tocsc()):
        for name, values in user_metrics(ids, same, [10]).items():
            assert np.array_equal(values, expected[name], equal_nan=True)


def test_inputs_are_left_as_they_are() -> None:
    rng = np.random.default_rng(4)
    fold = random_fold(rng, 10, 8)
    ids = np.tile(fold.fold_in.toarray().argmax(axis=1)[:, None], (1, 8)).astype(np.int32)
    before = ids.copy(), fold.target.copy()
    user_metrics(ids, fold.target, [8], fold.fold_in)
    catalogue_metrics(ids, fold, [8])
    assert np.array_equal(ids, before[0])
    assert (fold.target != before[1]).nnz == 0


def test_more_items_than_16_bits_hold() -> None:
    items = 70_000
    target = csr_matrix(([1.0, 1.0], ([0, 0], [65_537, 69_999])), shape=(1, items))
    found = user_metrics(np.array([[1, 69_999, 65_537]]), target, [3])
    assert found["recall@3"] == 1
    assert user_metrics(np.array([[1, 4463, 4464]]), target, [3])["recall@3"] == 0  # 69,999 and 70,000 less 2^16


def test_the_compiled_code_equals_the_interpreted() -> None:
    code = (
        "import numpy as np, scipy.sparse as sp;"
        "from rfm_recsys.evaluation.metrics import user_metrics, catalogue_metrics;"
        "from rfm_recsys.evaluation.splits import Fold; rng = np.random.default_rng(5);"
        "kind = rng.integers(0, 3, (20, 15)); a, b = sp.csr_matrix(kind == 1), sp.csr_matrix(kind == 2);"
        "ids = rng.integers(-1, 15, (20, 10)); f = Fold(a, np.arange(20), a, b, True);"
        "print([v.tolist() for v in user_metrics(ids, b, [3, 10], a).values()], catalogue_metrics(ids, f, [3, 10]))"
    )
    results = [
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "NUMBA_DISABLE_JIT": flag},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for flag in ("0", "1")
    ]
    assert results[0] == results[1] != ""


# What is refused


@pytest.mark.parametrize(
    ("ids", "cutoffs", "error", "message"),
    [
        ([[0, 1]], [], ParameterError, "no cut-off"),
        ([[0, 1]], [2, 0], ParameterError, "is 0"),
        ([[0, 1]], [1.5], ParameterTypeError, "1.5"),
        ([[0, 1]], [3], DataError, r"shape \(1, 3\)"),
        ([0, 1], [2], DataError, r"shape \(2,\)"),
        ([[0, 1], [1, 2]], [2], DataError, r"shape \(2, 2\)"),
        ([[0, 3]], [2], DataError, r"outside -1\.\.2"),
        ([[0, -2]], [2], DataError, r"outside -1\.\.2"),
        ([[0, 2**40]], [2], DataError, r"outside -1\.\.2"),
        ([[0.0, 1.0]], [2], DataError, "float64"),
    ],
)
def test_ids_and_cutoffs_that_do_not_fit_are_refused(
    ids: Any, cutoffs: list[int], error: type[Exception], message: str
) -> None:
    target = csr_matrix([[1, 0, 1]])
    fold = Fold(target, np.arange(1), csr_matrix((1, 3)), target, known=False)
    for call in (
        lambda: user_metrics(np.array(ids), target, cutoffs),
        lambda: catalogue_metrics(np.array(ids), fold, cutoffs),
    ):
        with pytest.raises(error, match=message):
            call()


def test_a_list_may_be_as_short_as_the_catalogue() -> None:
    found = user_metrics(np.array([[1, 0, 2]]), csr_matrix([[1, 1, 0]]), [100])
    assert found["recall@100"] == found["ndcg@100"] == found["map@100"] == 1
    assert found["precision@100"] == 2 / 100


def test_other_things_that_do_not_fit_are_refused() -> None:
    target = csr_matrix([[1, 0, 1]])
    fold = Fold(target, np.arange(1), csr_matrix((1, 3)), target, known=False)
    with pytest.raises(DataError, match="same users"):
        user_metrics(np.array([[0]]), target, [1], csr_matrix((2, 3)))
    with pytest.raises(ParameterTypeError, match="sparse"):
        user_metrics(np.array([[0]]), target.toarray(), [1])
    with pytest.raises(DataError, match="1 users"):
        activity_groups(np.ones(2), fold)
    with pytest.raises(ParameterError, match="k is 0"):
        popularity_groups(np.array([[0]]), fold, 0)
    with pytest.raises(DataError, match="none of 2 users"):
        mean_over_users(np.full(2, np.nan))
    for error in (rmse, mae):
        for pair in (([], []), ([1.0], [1.0, 2.0]), ([[1.0]], [[1.0]])):
            with pytest.raises(DataError, match="one or more"):
                error(np.array(pair[0]), np.array(pair[1]))


def test_corrupt_indices_do_not_reach_the_compiled_code() -> None:
    target = csr_matrix([[1.0, 0, 1]])
    target.indices[1] = 10**9
    good = csr_matrix([[0, 1.0, 0]])
    for call in (
        lambda: user_metrics(np.array([[0]]), target, [1]),
        lambda: user_metrics(np.array([[0]]), good, [1], target),
        lambda: catalogue_metrics(np.array([[0]]), Fold(good, np.arange(1), target, good, False), [1]),
        lambda: popularity_groups(np.array([[0]]), Fold(good, np.arange(1), good, target, False), 1),
    ):
        with pytest.raises(DataError, match="corrupt"):
            call()


# Ranking


class Scores:
    """A model with fixed scores, which answers as implicit does, and remembers what it was asked."""

    def __init__(self, scores: NDArray[np.float64], known: bool) -> None:
        self.scores, self.known = scores, known
        self.asked: list[int] = []

    def recommend(
        self,
        userid: NDArray[np.intp],
        user_items: csr_matrix,
        N: int = 10,
        *,
        filter_already_liked_items: bool = True,
        recalculate_user: bool = False,
    ) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
        assert filter_already_liked_items
        assert recalculate_user is not self.known
        assert user_items.format == "csr"
        assert user_items.shape == (len(userid), self.scores.shape[1])
        self.asked.extend(userid.tolist())
        scores = self.scores[userid].copy()
        scores[user_items.toarray() != 0] = -np.finfo(np.float32).max
        ids = np.zeros((len(userid), N), dtype=np.int32)  # implicit fills up with item 0
        order = np.argsort(-scores, axis=1, kind="stable")[:, :N]
        ids[:, : order.shape[1]] = order
        return ids, np.zeros(ids.shape)


@settings(max_examples=50, deadline=None)
@given(
    seed=st.integers(0, 2**32), users=st.integers(1, 12), items=st.integers(1, 10), depth=st.integers(1, 14),
    step=st.integers(1, 15), known=st.booleans(),
)  # fmt: skip
def test_rank_lists_what_is_new_in_the_order_of_scores(
    seed: int, users: int, items: int, depth: int, step: int, known: bool
) -> None:
    rng = np.random.default_rng(seed)
    fold = random_fold(rng, users, items, known)
    fold = Fold(fold.train, np.arange(3, users + 3), fold.fold_in, fold.target, known)
    model = Scores(rng.integers(0, 4, (users + 3, items)).astype(float), known)
    ids = rank(model, fold, depth, users_at_once=step)
    assert ids.dtype == np.int32
    asked = fold.users if known else np.arange(users)
    assert model.asked == asked.tolist()
    for row, user, owned in zip(ids.tolist(), asked, rows_of(fold.fold_in), strict=True):
        best = sorted(set(range(items)) - owned, key=lambda item: (-model.scores[user, item], item))[:depth]
        assert [item for item in row if item >= 0] == best
        assert len(row) == depth


def test_evaluate_ranks_and_measures() -> None:
    rng = np.random.default_rng(6)
    fold = random_fold(rng, 30, 20)
    model = Scores(rng.random((30, 20)), known=False)
    users, catalogue = evaluate(model, fold, [3, 10, 25])
    ids = rank(model, fold, 25)
    expected = user_metrics(ids, fold.target, [3, 10, 25], fold.fold_in)
    assert all(np.array_equal(values, users[name], equal_nan=True) for name, values in expected.items())
    assert catalogue == catalogue_metrics(ids, fold, [3, 10, 25])
    assert catalogue["coverage@25"] == 1


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda n, k: np.zeros(n, dtype=int), "of shape"),
        (lambda n, k: np.zeros((n + 1, k), dtype=int), "of shape"),
        (lambda n, k: np.zeros((n, k + 1), dtype=int), "of shape"),
        (lambda n, k: np.full((n, k), 20), r"outside -1\.\.19"),
        (lambda n, k: np.full((n, k), -2), r"outside -1\.\.19"),
        (lambda n, k: np.zeros((n, k)), "float64"),
    ],
)
def test_answers_that_are_no_lists_are_refused(answer: Callable[[int, int], NDArray[Any]], message: str) -> None:
    class Wrong:
        def recommend(self, userid: Any, user_items: Any, N: int = 10, **_: bool) -> Any:
            return answer(len(userid), N), None

    with pytest.raises(DataError, match=message):
        rank(Wrong(), random_fold(np.random.default_rng(0), 4, 20), 5)


def test_a_shorter_answer_is_filled_up() -> None:
    class Short:
        def recommend(self, userid: Any, user_items: Any, N: int = 10, **_: bool) -> Any:
            return [[1]] * len(userid), None

    fold = Fold(csr_matrix((1, 3)), np.arange(1), csr_matrix((1, 3)), csr_matrix([[0, 1, 0]]), known=False)
    assert rank(Short(), fold, 3).tolist() == [[1, -1, -1]]
