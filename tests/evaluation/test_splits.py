"""Splits: the parts add up to the input exactly, nothing leaks, a seed decides, and each does what it says."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from places import DATA
from scipy.sparse import coo_matrix, csr_array, csr_matrix

from rfm_recsys.datasets import Interactions, from_frame, read_lightgcn
from rfm_recsys.errors import DataError, ParameterError, ParameterTypeError
from rfm_recsys.evaluation.splits import (
    Fold,
    Split,
    canonical_csr,
    cold_items,
    cold_users,
    given_split,
    k_core,
    leave_k_out,
    leave_last_out,
    random_fraction,
    strong_generalisation,
    time_split,
)

Entry = tuple[int, int, float]


def table(users: int, items: int, density: float, seed: int) -> Interactions:
    """Make interactions whose values tell them apart, in no order, with users and items without any and tied times."""
    rng = np.random.default_rng(seed)
    kept = (rng.random((users, items)) < density) & (rng.random((users, 1)) < 0.9)
    rows, columns = rng.permutation(np.argwhere(kept)).T
    return Interactions.from_indices(
        rows, columns, np.arange(1, len(rows) + 1), rng.integers(0, 20, len(rows)), n_users=users, n_items=items
    )


def entries(matrix: csr_matrix) -> list[Entry]:
    """List what is stored, sorted; a doubled or lost entry shows."""
    coo = matrix.tocoo()
    return sorted(zip(coo.row.tolist(), coo.col.tolist(), coo.data.tolist(), strict=True))


def placed(fold: Fold, part: csr_matrix) -> list[Entry]:
    """List the entries of a fold's users by their rows in the original matrix."""
    return sorted((int(fold.users[row]), item, value) for row, item, value in entries(part))


def check_known(matrix: csr_matrix, split: Split) -> None:
    """Check all that holds of every split of known users."""
    for fold in (split.validation, split.test):
        assert fold.known
        assert fold.train.shape == matrix.shape
        assert entries(fold.fold_in) == entries(fold.train[fold.users])
    assert sorted(entries(split.validation.train) + placed(split.validation, split.validation.target)) == entries(
        split.test.train
    )
    assert sorted(entries(split.test.train) + placed(split.test, split.test.target)) == entries(matrix)
    check_folds(split)


def check_unknown(matrix: csr_matrix, split: Split) -> None:
    """Check all that holds of every split of unknown users."""
    folds = (split.validation, split.test)
    held_out = np.concatenate([fold.users for fold in folds])
    assert len({*held_out.tolist()}) == len(held_out)
    others = np.setdiff1d(np.arange(matrix.shape[0]), held_out)
    everything = [(int(others[row]), item, value) for row, item, value in entries(split.test.train)]
    for fold in folds:
        assert not fold.known
        assert entries(fold.train) == entries(split.test.train)
        assert fold.train.shape == (len(others), matrix.shape[1])
        everything += placed(fold, fold.fold_in) + placed(fold, fold.target)
    assert sorted(everything) == entries(matrix)
    check_folds(split)


def check_folds(split: Split) -> None:
    for fold in (split.validation, split.test):
        n = len(fold.users)
        assert fold.users.dtype == np.intp
        assert (np.diff(fold.users) > 0).all()
        assert fold.fold_in.shape == fold.target.shape == (n, fold.train.shape[1])
        assert (np.diff(fold.target.indptr) > 0).all()
        assert not {entry[:2] for entry in entries(fold.fold_in)} & {entry[:2] for entry in entries(fold.target)}
        for part in (fold.train, fold.fold_in, fold.target):
            assert isinstance(part, csr_matrix)
            assert part.has_canonical_format


def same(left: Split, right: Split) -> bool:
    return all(
        np.array_equal(a.users, b.users)
        and all(entries(getattr(a, part)) == entries(getattr(b, part)) for part in ("train", "fold_in", "target"))
        for a, b in ((left.validation, right.validation), (left.test, right.test))
    )


Function = Callable[..., Split]
SEEDED: list[Function] = [strong_generalisation, random_fraction, leave_k_out, cold_items, cold_users]
TIMED: list[Function] = [leave_last_out, time_split]
EVERY = [pytest.param(function, id=function.__name__) for function in SEEDED + TIMED]


# Laws


@settings(max_examples=150, deadline=None)
@given(
    users=st.integers(3, 30), items=st.integers(3, 20), density=st.floats(0.2, 1), seed=st.integers(0, 2**32),
    function=st.sampled_from(SEEDED + TIMED), data=st.data(),
)  # fmt: skip
def test_the_parts_add_up_to_the_input(
    users: int, items: int, density: float, seed: int, function: Function, data: st.DataObject
) -> None:
    interactions = table(users, items, density, seed)
    options: dict[str, Any] = {"random_state": seed} if function in SEEDED else {}
    if function is strong_generalisation:
        options["held_out_users"] = data.draw(st.integers(1, 4))
    elif function in (leave_k_out, leave_last_out):
        options["k"] = data.draw(st.integers(1, 3))
    else:
        options["fraction"] = data.draw(st.floats(0.05, 0.45))
    matrix = interactions.to_csr()
    before = replace(
        interactions,
        users=interactions.users.copy(),
        items=interactions.items.copy(),
        values=interactions.values.copy(),
        timestamps=_times(interactions).copy(),
    )
    try:
        split = function(interactions, **options)
    except DataError:
        counts = np.diff(matrix.indptr)
        least = {
            "strong_generalisation": (counts >= 5).sum() < 2 * options.get("held_out_users", 0)
            or 2 * options.get("held_out_users", 0) >= (counts > 0).sum(),
            "leave_k_out": counts.max(initial=0) < 2 * options.get("k", 0) + 1,
            "leave_last_out": counts.max(initial=0) < 2 * options.get("k", 0) + 1,
            "random_fraction": counts.max(initial=0) * options.get("fraction", 0) < 2,
            "cold_items": len({*matrix.indices}) * max(2 * options.get("fraction", 0), 0.5) < 2,
            "cold_users": (counts > 0).sum() * max(2 * options.get("fraction", 0), 0.5) < 2,
            "time_split": matrix.nnz * options.get("fraction", 0) < 1,
        }
        assert least[function.__name__]  # refused for good reason only
        return
    (check_unknown if function is strong_generalisation else check_known)(matrix, split)
    assert np.array_equal(interactions.users, before.users)
    assert np.array_equal(interactions.items, before.items)
    assert np.array_equal(interactions.values, before.values)
    assert np.array_equal(_times(interactions), _times(before))


@pytest.mark.parametrize("function", SEEDED)
def test_a_seed_decides_the_split(function: Function) -> None:
    interactions = table(60, 40, 0.4, 0)
    split = function(interactions, random_state=1)
    assert same(split, function(interactions, random_state=1))
    assert same(split, function(interactions, random_state=np.random.default_rng(1)))
    assert not same(split, function(interactions, random_state=2))


@pytest.mark.parametrize("function", SEEDED)
def test_matrices_of_any_form_are_split_like_the_interactions(function: Function) -> None:
    interactions = table(40, 30, 0.5, 0)
    split = function(interactions, random_state=3)
    coo = coo_matrix((interactions.values, (interactions.users, interactions.items)), shape=interactions.shape)
    unsorted = interactions.to_csr()
    for row in range(40):
        piece = slice(unsorted.indptr[row], unsorted.indptr[row + 1])
        unsorted.indices[piece] = unsorted.indices[piece][::-1].copy()
        unsorted.data[piece] = unsorted.data[piece][::-1].copy()
    unsorted.has_sorted_indices = False
    before = unsorted.indices.copy(), unsorted.data.copy()
    for matrix in (coo, coo.tocsc(), coo.tocsr(), csr_array(coo), unsorted):
        assert same(split, function(matrix, random_state=3))
    assert np.array_equal(unsorted.indices, before[0])
    assert np.array_equal(unsorted.data, before[1])


@pytest.mark.parametrize("function", SEEDED)
@pytest.mark.parametrize("form", ["coo", "csr"])
def test_duplicates_are_one_interaction_and_do_not_leak(function: Function, form: str) -> None:
    """Their values are added up, and the same item is never in two parts."""
    once = table(20, 15, 0.8, 0).to_csr().tocoo()
    twice = coo_matrix((np.tile(once.data / 2, 2), (np.tile(once.row, 2), np.tile(once.col, 2))), shape=once.shape)
    if form == "csr":  # SciPy would add them up on the way
        order = np.argsort(twice.row, kind="stable")
        indptr = np.concatenate(([0], np.cumsum(np.bincount(twice.row, minlength=20))))
        twice = csr_matrix((twice.data[order], twice.col[order], indptr), shape=once.shape)
    stored = twice.nnz
    assert same(function(twice, random_state=0), function(once, random_state=0))
    assert twice.nnz == stored == 2 * once.nnz


@pytest.mark.parametrize("function", SEEDED)
def test_values_pass_through(function: Function) -> None:
    """Zeros, negative numbers and nan are interactions like any other; the dtype stays."""
    values = np.array([0.0, -1.5, np.nan, 1e300, 7.0, 2.0], dtype=np.float64)
    matrix = csr_matrix((np.tile(values, 12), (np.repeat(np.arange(12), 6), np.tile(np.arange(6), 12))))
    split = function(matrix, random_state=0)
    fold = split.test
    parts = [fold.train, fold.target]
    if not fold.known:
        parts += [fold.fold_in, split.validation.fold_in, split.validation.target]
    stored = np.concatenate([part.data for part in parts])
    assert stored.dtype == np.float64
    np.testing.assert_array_equal(np.sort(stored), np.sort(np.tile(values, 12)))


@pytest.mark.parametrize("function", EVERY)
def test_ids_do_not_matter(function: Function) -> None:
    interactions = table(40, 30, 0.5, 0)
    named = replace(
        interactions,
        user_ids=pd.Index(np.arange(40) * 1000 + 7),
        item_ids=pd.Index([f"item {i}" for i in range(30)]),
    )
    assert same(function(named), function(interactions))


@pytest.mark.parametrize("function", EVERY)
def test_rows_of_the_table_may_come_in_any_order(function: Function) -> None:
    interactions = table(40, 30, 0.5, 0)
    assert interactions.timestamps is not None
    order = np.random.default_rng(0).permutation(len(interactions.users))
    shuffled = replace(
        interactions,
        users=interactions.users[order],
        items=interactions.items[order],
        values=interactions.values[order],
        timestamps=interactions.timestamps[order],
    )
    assert same(function(shuffled), function(interactions))


# Each does what it says


@settings(max_examples=50, deadline=None)
@given(users=st.integers(20, 40), items=st.integers(8, 30), held_out=st.integers(1, 3), seed=st.integers(0, 2**32))
def test_strong_generalisation_keeps_a_fifth_to_be_found(users: int, items: int, held_out: int, seed: int) -> None:
    matrix = table(users, items, 0.9, seed).to_csr()
    split = strong_generalisation(matrix, held_out, seed)
    for fold in (split.validation, split.test):
        counts = np.diff(matrix[fold.users].indptr)
        assert len(fold.users) == held_out
        assert (counts >= 5).all()
        assert (np.diff(fold.target.indptr) == counts // 5).all()


@pytest.mark.parametrize(("users", "held_out"), [(60, 6), (6, 1), (6500, 600)])
def test_a_tenth_of_the_users_or_600_are_held_out(users: int, held_out: int) -> None:
    matrix = csr_matrix(np.ones((users, 5), dtype=np.float32))
    split = strong_generalisation(matrix)
    assert len(split.validation.users) == len(split.test.users) == held_out


def test_every_user_and_item_can_be_held_out() -> None:
    """Over many seeds each is chosen about as often as any other: within 5 standard deviations."""
    matrix = csr_matrix(np.ones((20, 10), dtype=np.float32))
    users, items = np.zeros(20), np.zeros(10)
    for seed in range(400):
        fold = strong_generalisation(matrix, 2, seed).test
        users[fold.users] += 1
        items += np.bincount(fold.target.indices, minlength=10)
    assert np.abs(users - 40).max() < 5 * np.sqrt(36)
    assert np.abs(items - 160).max() < 5 * np.sqrt(128)


@pytest.mark.parametrize(
    ("fraction", "test", "validation"), [(0.2, 2, 1), (0.1, 1, 0), (0.3, 3, 2), (0.5, 5, 2), (0.58, 5, 2), (0.9, 9, 0)]
)
def test_random_fraction_rounds_down_and_leaves_one(fraction: float, test: int, validation: int) -> None:
    """Of users with 10 items; a fraction that is a whole number but for rounding, as .58 of 100, is that number."""
    matrix = csr_matrix(np.arange(100) < np.array([[10], [10], [100]]))
    split = random_fraction(matrix, fraction)
    found = np.zeros((2, 3), dtype=int)
    for row, fold in enumerate((split.test, split.validation)):
        found[row, fold.users] = np.diff(fold.target.indptr)
    assert found[:, :2].tolist() == [[test, test], [validation, validation]]
    assert found[0, 2] == round(100 * fraction)
    assert (np.diff(split.validation.train.indptr) >= 1).all()


def test_leave_k_out_leaves_users_with_too_few_items_in_train() -> None:
    matrix = csr_matrix(np.tri(8, 8, dtype=np.float32))  # 1 to 8 items
    split = leave_k_out(matrix, k=2)
    for fold in (split.validation, split.test):
        assert fold.users.tolist() == [4, 5, 6, 7]
        assert np.diff(fold.target.indptr).tolist() == [2] * 4
    assert entries(split.validation.train[:4]) == entries(matrix[:4])


def test_leave_last_out_by_hand() -> None:
    """Users 7, 9; of items with the same time the later one by index is the last; user 3 has too few."""
    frame = pd.DataFrame(
        [
            (9, "a", 5), (9, "b", 4), (9, "c", 3), (9, "d", 2),
            (7, "d", 1), (7, "c", 1), (7, "a", 1), (7, "b", 0),
            (3, "a", 1), (3, "b", 2),
        ],
        columns=["user_id", "item_id", "time"],
    )  # fmt: skip
    interactions = from_frame(frame, timestamp="time")
    split = leave_last_out(interactions)

    def ids(fold: Fold) -> list[tuple[int, str]]:
        return [(interactions.user_ids[u], interactions.item_ids[i]) for u, i, _ in placed(fold, fold.target)]

    assert ids(split.test) == [(7, "d"), (9, "a")]
    assert ids(split.validation) == [(7, "c"), (9, "b")]
    assert leave_last_out(interactions, k=1).test.fold_in.nnz == 6


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**32), k=st.integers(1, 3))
def test_leave_last_out_never_tests_on_the_past(seed: int, k: int) -> None:
    interactions = table(12, 15, 0.8, seed)
    times = dict(zip(zip(*_pairs(interactions), strict=True), _times(interactions), strict=True))
    split = leave_last_out(interactions, k)
    for fold in (split.validation, split.test):
        for row, user in enumerate(fold.users.tolist()):
            past = [times[user, item] for item in fold.fold_in[row].indices.tolist()]
            future = [times[user, item] for item in fold.target[row].indices.tolist()]
            assert len(future) == k
            assert max(past) <= min(future)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**32), fraction=st.floats(0.05, 0.45))
def test_time_split_never_tests_on_the_past(seed: int, fraction: float) -> None:
    interactions = table(12, 15, 0.8, seed)
    times = dict(zip(zip(*_pairs(interactions), strict=True), _times(interactions), strict=True))
    split = time_split(interactions, fraction)
    for fold in (split.validation, split.test):
        past = [times[user, item] for user, item, _ in entries(fold.train)]
        future = [times[user, item] for user, item, _ in placed(fold, fold.target)]
        assert len(future) == int(len(times) * fraction + 1e-9)
        assert max(past) <= min(future)


def _pairs(interactions: Interactions) -> tuple[list[int], list[int]]:
    return interactions.users.tolist(), interactions.items.tolist()


def _times(interactions: Interactions) -> NDArray[np.int64]:
    assert interactions.timestamps is not None
    return interactions.timestamps


def test_time_split_by_hand() -> None:
    """Of one time the higher user, then the higher item is the later; user 2, without a past, is kept."""
    interactions = Interactions.from_indices(
        [0, 0, 1, 1, 2, 0, 1, 0, 1, 1], [0, 1, 0, 1, 0, 2, 2, 3, 3, 4], np.arange(10), [0, 1, 1, 2, 9, 3, 3, 4, 5, 6],
        n_users=3, n_items=5,
    )  # fmt: skip
    split = time_split(interactions, 0.2)
    assert placed(split.test, split.test.target) == [(1, 4, 9), (2, 0, 4)]
    assert placed(split.validation, split.validation.target) == [(0, 3, 7), (1, 3, 8)]
    assert split.test.users.tolist() == [1, 2]
    assert split.test.fold_in[1].nnz == 0
    tied = replace(interactions, timestamps=np.zeros(10, dtype=np.int64))
    assert [entry[:2] for entry in placed(time_split(tied, 0.2).test, time_split(tied, 0.2).test.target)] == [
        (1, 4),
        (2, 0),
    ]


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_a_given_split_is_kept(seed: int) -> None:
    matrix = table(10, 12, 0.5, seed).to_csr()
    rng = np.random.default_rng(seed)
    coo = matrix.tocoo()
    part = rng.integers(0, 3, coo.nnz)
    parts = [
        csr_matrix((coo.data[part == p], (coo.row[part == p], coo.col[part == p])), shape=coo.shape) for p in range(3)
    ]
    if any(p.nnz == 0 for p in parts):
        return
    split = given_split(*parts)
    check_known(matrix, split)
    assert entries(split.validation.train) == entries(parts[0])
    assert placed(split.validation, split.validation.target) == entries(parts[1])
    assert placed(split.test, split.test.target) == entries(parts[2])


@settings(max_examples=100, deadline=None)
@given(
    users=st.integers(1, 25), items=st.integers(1, 20), density=st.floats(0.05, 1), seed=st.integers(0, 2**32),
    least=st.tuples(st.integers(1, 5), st.integers(1, 5)),
)  # fmt: skip
def test_a_core_is_what_is_left_when_no_more_can_be_dropped(
    users: int, items: int, density: float, least: tuple[int, int], seed: int
) -> None:
    interactions = replace(
        table(users, items, density, seed),
        user_ids=pd.Index([f"u{u}" for u in range(users)]),
        item_ids=pd.Index(np.arange(items) * 3 + 1),
    )
    matrix = interactions.to_csr()
    dense = matrix.toarray() != 0
    rows, columns = set(range(users)), set(range(items))
    while True:  # one user or item at a time: the core does not depend on the order
        weak = [u for u in rows if sum(dense[u, i] for i in columns) < least[0]]
        weak_items = [i for i in columns if sum(dense[u, i] for u in rows) < least[1]]
        if weak:
            rows.remove(weak[0])
        elif weak_items:
            columns.remove(weak_items[0])
        else:
            break
    if not rows:
        with pytest.raises(DataError, match="nothing is left"):
            k_core(matrix, *least)
        return
    core, kept_users, kept_items = k_core(matrix, *least)
    assert kept_users.tolist() == sorted(rows)
    assert kept_items.tolist() == sorted(columns)
    assert core.shape == (len(rows), len(columns))
    assert entries(core) == entries(matrix[kept_users][:, kept_items])

    named = k_core(interactions, *least)
    assert named.shape == core.shape
    assert entries(named.to_csr()) == entries(core)
    assert named.user_ids.tolist() == [f"u{u}" for u in kept_users]
    assert named.item_ids.tolist() == (kept_items * 3 + 1).tolist()
    times = dict(zip(interactions.values.tolist(), _times(interactions).tolist(), strict=True))
    assert [times[value] for value in named.values.tolist()] == _times(named).tolist()
    assert k_core(named, *least).shape == named.shape


def test_a_core_drops_over_and_over() -> None:
    """A chain: without item 3 user 0 has too few items, then item 2 too few users, and so on."""
    chain = np.eye(6, 7) + np.eye(6, 7, 1)
    square = np.zeros((2, 9))
    square[:, 7:] = 1
    matrix = csr_matrix(np.vstack([np.pad(chain, ((0, 0), (0, 2))), square]))
    core, users, items = k_core(matrix, 2, 2)
    assert (users.tolist(), items.tolist()) == ([6, 7], [7, 8])
    assert core.toarray().tolist() == [[1, 1], [1, 1]]


@pytest.mark.parametrize("shown", [0, 1, 3])
@pytest.mark.parametrize("mixed", [False, True])
def test_nobody_has_met_the_new_items_but_for_what_is_shown(shown: int, mixed: bool) -> None:
    matrix = table(60, 50, 0.4, 1).to_csr()
    split = cold_items(matrix, 0.2, shown, mixed, random_state=3)
    counts = np.bincount(matrix.indices, minlength=50)
    for fold in (split.validation, split.test):
        met = np.bincount(fold.train.indices, minlength=50)
        wanted = np.bincount(fold.target.indices, minlength=50)
        if not mixed:
            assert fold.items is not None
            assert len(fold.items) == np.count_nonzero(counts) // 5
            assert (met[fold.items] == shown).all()
            assert (np.flatnonzero(wanted) == fold.items).all()
        else:
            assert fold.items is None
            # a fifth of each user's old items, of which there are at most 24, and all of the new
            assert np.count_nonzero(met == shown) >= np.count_nonzero(counts) // 5
            assert (wanted > 0).sum() > np.count_nonzero(counts) // 5
    if not mixed:
        assert not {*split.test.items} & {*split.validation.items}  # type: ignore[misc]


@pytest.mark.parametrize("shown", [0, 2])
def test_nothing_is_known_of_new_users_but_what_is_shown(shown: int) -> None:
    matrix = table(60, 50, 0.4, 1).to_csr()
    split = cold_users(matrix, 0.2, shown, random_state=3)
    for fold in (split.validation, split.test):
        assert len(fold.users) == np.count_nonzero(np.diff(matrix.indptr)) // 5
        assert (np.diff(fold.fold_in.indptr) == shown).all()


# What is refused


FULL = csr_matrix(np.ones((20, 10), dtype=np.float32))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: strong_generalisation(FULL, 0), ParameterError, "held_out_users is 0; pass"),
        (lambda: strong_generalisation(FULL, 11), DataError, "20 of 20 users .* 2 x 11 .*; pass"),
        (lambda: strong_generalisation(FULL[:, :4], 1), DataError, "0 of 20 users have 5 items"),
        (lambda: strong_generalisation(FULL, 10), DataError, "no interaction to train on; pass"),
        (lambda: strong_generalisation(csr_matrix((0, 0))), DataError, "0 of 0 users"),
        (lambda: random_fraction(FULL, 0), ParameterError, "fraction is 0; pass"),
        (lambda: random_fraction(FULL, 1), ParameterError, "fraction is 1; pass"),
        (lambda: random_fraction(FULL, np.nan), ParameterError, "fraction is nan; pass"),
        (lambda: random_fraction(FULL, 0.05), DataError, "the most are 10; pass"),
        (lambda: random_fraction(FULL, 0.1), DataError, "the most are 10; pass"),
        (lambda: leave_k_out(FULL, 0), ParameterError, "k is 0; pass"),
        (lambda: leave_k_out(FULL, 5), DataError, "k=5: the most are 10; pass"),
        (lambda: leave_k_out(csr_matrix((0, 3))), DataError, "the most are 0; pass"),
        (lambda: leave_last_out(FULL), DataError, "csr_matrix has no timestamps; pass"),
        (lambda: time_split(FULL), DataError, "csr_matrix has no timestamps; pass"),
        (lambda: leave_last_out(replace(table(5, 5, 1, 0), timestamps=None)), DataError, "no timestamps; name"),
        (lambda: time_split(table(5, 5, 1, 0), 0.5), ParameterError, "fraction is 0.5; pass"),
        (lambda: time_split(table(3, 3, 1, 0), 0.1), DataError, "is none; pass"),
        (lambda: given_split(FULL, FULL[:5], FULL), DataError, "one shape"),
        (lambda: given_split(FULL, csr_matrix((20, 10)), FULL), DataError, "validation has no interaction; pass"),
        (lambda: given_split(_one(3, 4), _one(0, 1), _one(3, 4)), DataError, "user 3 has item 4 in train and in test"),
        (lambda: given_split(_one(3, 4), _one(0, 1), _one(0, 1)), DataError, "item 1 in validation and in test"),
        (lambda: cold_items(FULL, 0.5), ParameterError, "fraction is 0.5; pass"),
        (lambda: cold_items(FULL[:, :1]), DataError, "2 x 1 are to be new, and 1 have more than 0 interactions; pass"),
        (lambda: cold_users(FULL, 0.4, 10), DataError, "2 x 8 are to be new, and 0 have more than 10"),
        (lambda: cold_users(FULL, 0.4, -1), ParameterError, "shown is -1; pass"),
        (lambda: k_core(FULL, 0), ParameterError, "users is 0; pass"),
        (lambda: k_core(FULL, 1, 0), ParameterError, "items is 0; pass"),
        (lambda: k_core(FULL, 11), DataError, "nothing is left where every user has 11 items"),
        (lambda: k_core(csr_matrix((3, 3))), DataError, "nothing is left"),
        (lambda: leave_k_out(FULL.toarray()), ParameterTypeError, "ndarray is no SciPy sparse matrix; pass"),
        (lambda: leave_k_out(csr_array(np.ones(5))), DataError, r"1 dimension\(s\); pass"),
        (lambda: leave_k_out(_corrupt()), DataError, "corrupt: .*; rebuild"),
        (lambda: leave_k_out(_twice()), DataError, "user 0 has item 1 more than once; make"),
    ],
)  # fmt: skip
def test_bad_input_is_refused(call: Callable[[], object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


def _one(user: int, item: int) -> csr_matrix:
    return csr_matrix(([1.0], ([user], [item])), shape=(5, 6))


def _corrupt() -> csr_matrix:
    matrix = FULL.copy()
    matrix.indices[7] = 10**9
    return matrix


def _twice() -> Interactions:
    return Interactions.from_indices([0, 0, 0], [1, 2, 1], [1, 1, 1], n_users=1, n_items=3)


# Data that are there already


GOWALLA = DATA / "gowalla"


@pytest.mark.skipif(not GOWALLA.is_dir(), reason="LightGCN's Gowalla is not at ../shared/data/gowalla")
def test_gowalla_has_the_published_size() -> None:
    split = given_split(*read_lightgcn(*(GOWALLA / f"{part}.txt" for part in ("train", "valid", "test"))))
    assert split.test.train.shape == (29_858, 40_981)
    assert split.test.train.nnz == 810_128
    assert split.test.target.nnz == 217_242


def test_canonical_form_does_not_copy_what_has_it() -> None:
    assert np.shares_memory(canonical_csr(FULL).data, FULL.data)
