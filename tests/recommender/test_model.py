"""The model against whole rounds formed naively, its laws, its contract, its files, and what it refuses."""

import io
import os
import re
import tracemalloc
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import naive
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.sparse import coo_matrix, csr_array, csr_matrix, random_array

from rfm_recsys import LinRFM
from rfm_recsys.core import memory, modelfile
from rfm_recsys.core.arrays import Floats
from rfm_recsys.errors import (
    DataError,
    IdError,
    InsufficientMemoryError,
    ModelFileError,
    NotFittedError,
    ParameterError,
    ParameterTypeError,
    ParameterWarning,
    RfmRecsysError,
)
from rfm_recsys.recommender import blocks, rounds
from rfm_recsys.recommender.tuning import FALLBACK

FORMS = pytest.mark.parametrize("factors", [8, None], ids=["low-rank", "full"])
DTYPES = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def interactions(users: int = 80, items: int = 40, seed: int = 0, disliked: bool = False) -> csr_matrix:
    """Make values in 0..1; with ``disliked``, every sixth is negative."""
    rng = np.random.default_rng(seed)
    matrix = csr_matrix(random_array((users, items), density=0.2, rng=rng, format="csr"))
    if disliked:
        matrix.data[::6] *= -1
    return matrix


def fitted(data: Any, factors: int | None = 8, **parameters: Any) -> LinRFM:
    """Fit with all given, so that nothing is chosen."""
    return LinRFM(factors, **{**FALLBACK, **parameters}).fit(data, show_progress=False)


def scores_of(model: LinRFM) -> Floats:
    """Return what all users are recommended by, in the order of the items."""
    n_users, n_items = model.user_factors.shape[0], len(model.item_factors)
    ids, scores = model.recommend(np.arange(n_users), None, n_items, filter_already_liked_items=False)
    return np.take_along_axis(scores, np.argsort(ids, axis=1), axis=1)


def bits(model: LinRFM) -> list[NDArray[Any]]:
    users = model.user_factors
    parts = [users.data, users.indices, users.indptr] if isinstance(users, csr_matrix) else [users]
    return [model.item_factors, *parts]


def assert_same_bits(one: LinRFM, two: LinRFM) -> None:
    for a, b in zip(bits(one), bits(two), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


# --- whole rounds against their naive twins ---

SETTINGS = [
    {},
    {"power": 0.5, "item_norm": 0.0, "user_norm": 0.0, "alpha": 20.0, "regularization": 3.0},
    {"power": 0.25, "item_norm": 1.0, "user_norm": 1.0, "alpha": 0.7, "regularization": 0.5},
    {"power": 1.0, "item_norm": -1.0, "user_norm": 0.5, "regularization": 20.0},
    {"power": 0.0},
]


def naive_rounds(data: csr_matrix, model: LinRFM, factors: int | None = None) -> list[tuple[Floats, Floats]]:
    chosen = model.chosen_
    settings = blocks.Settings(**{name: value for name, value in chosen.items() if name != "iterations"})
    return list(naive.rounds(confidence_of(data, model), settings, model.iterations_, factors))


def confidence_of(data: csr_matrix, model: LinRFM) -> Floats:
    return naive.weights(data.toarray()) * model.alpha_


@pytest.mark.parametrize("parameters", SETTINGS)
@pytest.mark.parametrize(("disliked", "iterations"), [(False, 1), (True, 1), (True, 4)])
@pytest.mark.parametrize("factors", [None, 40])
def test_rounds_equal_the_naive_twin(
    parameters: dict[str, float], disliked: bool, iterations: int, factors: int | None
) -> None:
    data = interactions(disliked=disliked)
    model = fitted(data, factors, iterations=iterations, dtype=np.float64, **parameters)
    _, X = naive_rounds(data, model, factors)[-1]
    np.testing.assert_allclose(scores_of(model), X, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("parameters", SETTINGS)
@pytest.mark.parametrize("factors", [1, 10, 25])
def test_low_rank_rounds_equal_the_naive_twin_with_its_exact_eigenvectors(
    monkeypatch: pytest.MonkeyPatch, parameters: dict[str, float], factors: int
) -> None:
    """The block has as many columns as there are items, so that its eigenvectors are exact."""
    data = interactions(items=30, disliked=True)
    monkeypatch.setattr(rounds, "OVERSAMPLING", 30)
    ways = [(3, 0), (1, 8), (2, 8)] if parameters.get("power") != 0 else [(3, 0)]  # whose K has no order of directions
    for iterations, oversampling in ways:
        given = {**parameters, "iterations": iterations, "oversampling": oversampling}
        model = fitted(data, factors, dtype=np.float64, **given)
        assert model.item_factors.shape == (30, factors)
        _, X = naive_rounds(data, model, factors)[-1]
        np.testing.assert_allclose(scores_of(model), X, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("factors", [None, 40])
def test_rounds_with_items_that_nobody_likes_and_users_that_like_nothing(factors: int | None) -> None:
    data = interactions(disliked=True).tolil()
    data[:, 4], data[7], data[9] = 0, 0, -np.abs(data[9].toarray())
    data[:, 11] = -np.abs(data[:, 11].toarray())
    data = csr_matrix(data)
    model = fitted(data, factors, iterations=3, dtype=np.float64)
    _, X = naive_rounds(data, model, factors)[-1]
    assert not X[[7, 9]].any()
    np.testing.assert_allclose(scores_of(model), naive.with_mean_user(X), rtol=1e-9, atol=1e-9)
    assert not X[:, [4, 11]].any()


@pytest.mark.parametrize("factors", [None, 12])
def test_training_loss_is_the_objective_per_unit_of_weight(factors: int | None) -> None:
    data, losses = interactions(disliked=True)[:, :30], []
    model = LinRFM(factors, **{**FALLBACK, "iterations": 3}, dtype=np.float64, calculate_training_loss=True)
    model.fit(data, show_progress=False, callback=lambda iteration, elapsed, loss: losses.append(loss))
    confidence, penalty = confidence_of(data, model), model.alpha_ * model.regularization_
    weight = sum(naive.weight_and_target(row)[0].sum() for row in confidence)
    for loss, (K, X) in zip(losses, naive_rounds(data, model, factors), strict=True):
        terms = [naive.objective(row, x, K, penalty) for row, x in zip(confidence, X, strict=True)]
        assert loss == pytest.approx(sum(terms) / weight, rel=1e-8)


@FORMS
def test_no_perturbation_lowers_the_objective(factors: int | None) -> None:
    data = interactions(disliked=True)[:, :30]
    model = fitted(data, factors, dtype=np.float64, alpha=9.0, regularization=1.0)
    (*_, (K, _)), rng = naive_rounds(data, model, factors), np.random.default_rng(3)
    penalty, confidence = 9.0, confidence_of(data, model)
    for row, x in zip(confidence[:20], scores_of(model), strict=False):
        least = naive.objective(row, x, K, penalty)
        for size in (1e-3, 1e-2, 1):
            direction = model.item_factors @ rng.normal(size=model.item_factors.shape[1])
            assert naive.objective(row, x + size * direction, K, penalty) > least


# --- laws ---


@pytest.mark.parametrize("parameters", SETTINGS[:-1])
def test_with_as_many_factors_as_items_round_1_alone_is_that_of_the_full_form(parameters: dict[str, float]) -> None:
    """But for power 0, whose K is the same in every round."""
    data = interactions(disliked=True)
    for iterations in (1, 2):
        one, two = (fitted(data, n, iterations=iterations, dtype=np.float64, **parameters) for n in (40, None))
        difference = np.abs(scores_of(one) - scores_of(two)).max()
        assert difference < 1e-9 if iterations == 1 else difference > 1e-3


@FORMS
def test_permuting_users_permutes_scores(factors: int | None) -> None:
    data, order = interactions(), np.random.default_rng(2).permutation(80)
    one, two = (scores_of(fitted(matrix, factors, dtype=np.float64)) for matrix in (data, data[order]))
    np.testing.assert_allclose(two, one[order], atol=1e-9)


@pytest.mark.parametrize("factors", [40, None])
def test_permuting_items_permutes_scores(factors: int | None) -> None:
    data, order = interactions(), np.random.default_rng(2).permutation(40)
    one, two = (scores_of(fitted(matrix, factors, dtype=np.float64)) for matrix in (data, data[:, order]))
    np.testing.assert_allclose(two, one[:, order], atol=1e-9)


@FORMS
def test_users_without_interactions_change_nothing(factors: int | None) -> None:
    data = interactions()
    indptr = np.concatenate([[0, 0], data.indptr, [data.nnz] * 5])
    longer = csr_matrix((data.data, data.indices, indptr), shape=(87, 40))
    one, two = (scores_of(fitted(matrix, factors, dtype=np.float64)) for matrix in (data, longer))
    np.testing.assert_allclose(two[2:82], one, atol=1e-9)


@FORMS
def test_a_user_of_whom_nothing_is_known_is_the_mean_of_all_others(factors: int | None, tmp_path: Path) -> None:
    """In fit, in fold-in, in explain and after a load; and is like nobody."""
    data = interactions(disliked=True).tolil()
    data[3], data[7] = 0, -np.abs(data[7].toarray())
    data = csr_matrix(data)
    model = fitted(data, factors, dtype=np.float64)
    scores = scores_of(model)
    mean = np.delete(scores, [3, 7], axis=0).mean(axis=0)
    np.testing.assert_allclose(scores[[3, 7]], [mean, mean], rtol=1e-9, atol=1e-12)
    model.save(tmp_path / "model.npz")
    for each in (model, LinRFM.load(tmp_path / "model.npz")):
        folded = np.asarray(each.recalculate_user([0, 1], data[[7, 3]]) @ each.item_factors.T)
        np.testing.assert_allclose(folded, [mean, mean], rtol=1e-9, atol=1e-12)
        score, contributions, _ = each.explain(3, data, 5)
        assert score == pytest.approx(mean[5], rel=1e-9)
        assert contributions == []
        each.partial_fit_users([82, 4], data[[0, 3]])
        np.testing.assert_allclose(scores_of(each)[[4, 80, 81]], [mean] * 3, rtol=1e-9, atol=1e-12)
        likeness = dict(zip(*each.similar_users(0, 83), strict=True))
        assert not any(likeness[user] for user in (3, 4, 7, 80, 81))
    few = fitted(data[np.diff(data.indptr) > 0], factors, dtype=np.float64)
    np.testing.assert_allclose(
        few.similar_items(2, 40)[1], fitted(data, factors, dtype=np.float64).similar_items(2, 40)[1], atol=1e-9
    )


@FORMS
@DTYPES
def test_one_thread_and_many_give_the_same_bits(factors: int | None, dtype: Any) -> None:
    data = interactions(1500, 60, disliked=True)
    one, two, all_there_are = (fitted(data, factors, num_threads=n, iterations=3, dtype=dtype) for n in (1, 2, 0))
    assert_same_bits(one, two)
    assert_same_bits(one, all_there_are)
    for a, b in zip(one.recommend(np.arange(99), data[:99]), two.recommend(np.arange(99), data[:99]), strict=True):
        np.testing.assert_array_equal(a, b)


@FORMS
def test_both_dtypes_give_the_same_scores_to_rounding(factors: int | None) -> None:
    data = interactions()
    single, double = (fitted(data, factors, dtype=dtype) for dtype in (np.float32, np.float64))
    assert single.item_factors.dtype == single.user_factors.dtype == np.float32
    assert double.item_factors.dtype == double.user_factors.dtype == np.float64
    np.testing.assert_allclose(scores_of(single), scores_of(double), atol=1e-4)


def test_factors_beyond_the_rank_of_the_data_are_zero_and_change_nothing() -> None:
    data = csr_matrix(np.kron(np.eye(5), np.ones((4, 3))))
    few, many = (fitted(data, factors, dtype=np.float64) for factors in (5, 30))
    assert many.item_factors.shape == (15, 30)
    assert not many.item_factors[:, 5:].any()
    assert not many.user_factors[:, 5:].any()
    np.testing.assert_allclose(scores_of(many), scores_of(few), atol=1e-12)


# --- fit ---


@FORMS
def test_fit_leaves_its_input_as_it_was(factors: int | None) -> None:
    data = interactions()
    data.indices[:2] = data.indices[1::-1]
    data.data[5] = 0
    data.has_sorted_indices = False
    parts = [data.data, data.indices, data.indptr]
    before = [part.copy() for part in parts]
    model = fitted(data, factors)
    model.recommend(0, data[0])
    assert all(now is part for now, part in zip((data.data, data.indices, data.indptr), parts, strict=True))
    for now, part in zip(before, parts, strict=True):
        np.testing.assert_array_equal(now, part)


@FORMS
def test_fit_takes_read_only_arrays(factors: int | None) -> None:
    data = interactions()
    expected = fitted(data, factors)
    for part in (data.data, data.indices, data.indptr):
        part.flags.writeable = False
    assert_same_bits(fitted(data, factors), expected)


@FORMS
def test_duplicates_add_up_stored_zeros_and_the_order_of_entries_mean_nothing(factors: int | None) -> None:
    data = interactions()
    entries = data.tocoo()
    order = np.random.default_rng(4).permutation(data.nnz)
    rows = np.concatenate([entries.row[order], entries.row, [0, 1, 2]])
    columns = np.concatenate([entries.col[order], entries.col, [0, 1, 2]])
    values = np.concatenate([entries.data[order] / 2, entries.data / 2, [0, 0, 0]])
    by_row = np.argsort(rows, kind="stable")
    indptr = np.searchsorted(rows[by_row], np.arange(81))
    untidy = csr_matrix((values[by_row], columns[by_row], indptr), shape=data.shape)
    assert untidy.nnz == 2 * data.nnz + 3
    assert_same_bits(fitted(untidy, factors), fitted(data, factors))


@FORMS
def test_a_refit_with_another_shape_is_a_fresh_fit(factors: int | None) -> None:
    first, second = interactions(), interactions(30, 70, seed=1)
    model = fitted(first, factors)
    model.fit(second, show_progress=False)
    assert_same_bits(model, fitted(second, factors))
    ids, _ = model.recommend(29, second[29], N=70)
    assert sorted(ids) == list(range(70))


def test_a_fit_that_fails_leaves_the_model_as_it_was() -> None:
    model, twin = fitted(interactions()), fitted(interactions())
    with pytest.raises(DataError):
        model.fit(csr_matrix((3, 4)), show_progress=False)
    assert_same_bits(model, twin)


@FORMS
@pytest.mark.parametrize("calculate", [False, True])
def test_callback_is_given_iteration_elapsed_and_loss_positionally(factors: int | None, calculate: bool) -> None:
    calls: list[tuple[Any, ...]] = []
    model = LinRFM(factors, iterations=3, calculate_training_loss=calculate)
    model.fit(interactions(), show_progress=False, callback=lambda *arguments: calls.append(arguments))
    assert [iteration for iteration, _, _ in calls] == [0, 1, 2]
    assert all(elapsed > 0 for _, elapsed, _ in calls)
    assert all(isinstance(loss, float) if calculate else loss is None for _, _, loss in calls)


def test_progress_is_shown_unless_switched_off(capsys: pytest.CaptureFixture[str]) -> None:
    LinRFM(4).fit(interactions())
    assert "round" in capsys.readouterr().err
    LinRFM(4).fit(interactions(), show_progress=False)
    assert capsys.readouterr() == ("", "")


@FORMS
@pytest.mark.parametrize(
    "convert",
    [
        csr_array,
        lambda m: csr_matrix((m.data, m.indices.astype(np.int64), m.indptr.astype(np.int64)), shape=m.shape),
        lambda m: m.astype(np.float32),
    ],
    ids=["csr_array", "int64", "float32"],
)
def test_every_kind_of_csr_is_the_same_to_fit_and_recommend(
    factors: int | None, convert: Callable[[csr_matrix], Any]
) -> None:
    data = interactions()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model, twin, other = fitted(convert(data), factors), fitted(data, factors), convert(data)
        assert_same_bits(model, twin)
        for one, two in zip(model.recommend([3, 5], other[[3, 5]]), twin.recommend([3, 5], data[[3, 5]]), strict=True):
            np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("dtype", [bool, np.int8, np.uint16, np.int64])
def test_whole_numbers_and_booleans_are_values_too(dtype: Any) -> None:
    data = interactions()
    data.data[:] = 1
    assert_same_bits(fitted(data.astype(dtype)), fitted(data))


def test_a_matrix_in_another_format_is_converted_with_a_warning() -> None:
    data = interactions()
    with pytest.warns(ParameterWarning, match="COO"):
        model = fitted(coo_matrix(data))
    assert_same_bits(model, fitted(data))


def test_random_state_may_be_a_seed_a_generator_a_random_state_or_none() -> None:
    data = interactions(100, 80)
    seeds: list[Callable[[], Any]] = [
        lambda: 5, lambda: np.int64(5), lambda: np.random.default_rng(5), lambda: np.random.RandomState(5), lambda: None
    ]  # fmt: skip
    models = [fitted(data, 4, random_state=seed()) for seed in seeds]
    for model, seed in zip(models, seeds, strict=True):
        assert_same_bits(model, fitted(data, 4, random_state=seed()))
    assert_same_bits(models[0], models[1])
    assert_same_bits(models[0], models[2])
    assert_same_bits(models[4], fitted(data, 4, random_state=0))
    assert not np.array_equal(models[0].item_factors, models[4].item_factors)
    assert not np.array_equal(models[0].item_factors, models[3].item_factors)


# --- recommend, fold-in, similarity ---


@pytest.mark.parametrize("factors", [8, 200, None])
def test_fold_in_gives_what_fit_gave_and_recommend_ranks_by_the_scores(factors: int | None) -> None:
    data = interactions()
    model = fitted(data, factors, dtype=np.float64)
    folded = model.recalculate_user(np.arange(80), data)
    scores = scores_of(model)
    np.testing.assert_allclose(folded @ model.item_factors.T, scores, rtol=1e-9, atol=1e-9)
    ids, top = model.recommend(np.arange(80), data, N=50)
    assert ids.shape == (80, 50)
    assert ids.dtype == np.int32
    assert (ids[:, 40:] == -1).all()
    scores[data.nonzero()] = -np.finfo(np.float64).max
    np.testing.assert_allclose(top[:, :40], -np.sort(-scores, axis=1), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(top[:, :40], np.take_along_axis(scores, ids[:, :40], axis=1), rtol=1e-9, atol=1e-12)
    single, _ = model.recommend(3, data[3], N=50)
    np.testing.assert_array_equal(single, ids[3])
    refolded, _ = model.recommend(np.arange(80), data, N=5, recalculate_user=True)
    np.testing.assert_array_equal(refolded, ids[:, :5])


@FORMS
def test_a_user_that_fit_has_not_seen_folds_in(factors: int | None) -> None:
    data = interactions(disliked=True)
    model = fitted(data, factors, dtype=np.float64)
    ids, scores = model.recommend(10**6, data[3], N=5, recalculate_user=True)
    np.testing.assert_array_equal(ids, model.recommend(3, data[3], N=5)[0])
    single, several = model.recalculate_user(7, data[3]), model.recalculate_user([7], data[3])
    assert single.shape == (model.item_factors.shape[1],)
    assert several.shape == (1, model.item_factors.shape[1])
    np.testing.assert_allclose((single @ model.item_factors.T)[ids], scores, rtol=1e-9)


@pytest.mark.parametrize("parameters", SETTINGS)
def test_item_fold_in_equals_its_naive_twin(parameters: dict[str, float]) -> None:
    data = interactions(disliked=True).tolil()
    data[7] = 0
    data = csr_matrix(data)
    model = fitted(data, 8, dtype=np.float64, **parameters)
    new = interactions(80, 6, seed=3, disliked=True).T.tocsr()
    folded = model.recalculate_item(np.arange(6), new)
    levels = np.abs(data.toarray()).sum(axis=1) / np.maximum(np.diff(data.indptr), 1)
    ratio = np.abs(new.toarray()) / np.where(levels, levels, 1)
    weights = np.sign(new.toarray()) * np.rint((0.5 + ratio / (1 + ratio)) * 512) / 512
    penalty = model.alpha_ * model.regularization_
    X = scores_of(model)
    X[7] = 0
    twin = naive.fold_in_items(weights * model.alpha_, X, model.power_, penalty, 8)
    known = np.where(data.toarray().any(axis=1)[:, None], model.user_factors, 0)
    np.testing.assert_allclose(folded @ known.T, twin, rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose(model.recalculate_item(3, new[3]), folded[3], rtol=1e-12, atol=1e-12)


def test_partial_fits_store_what_recalculate_gives_and_make_room() -> None:
    data, new = interactions(), interactions(3, 40, seed=4)
    model = fitted(data)
    before = model.user_factors.copy()
    model.partial_fit_users([2, 83, 5], new)
    assert model.user_factors.shape == (84, 8)
    np.testing.assert_array_equal(model.user_factors[[2, 83, 5]], model.recalculate_user([2, 83, 5], new))
    untouched = np.setdiff1d(np.arange(80), [2, 5])
    np.testing.assert_array_equal(model.user_factors[untouched], before[untouched])
    assert not model.user_factors[80:83].any()
    item = interactions(84, 1, seed=5).T.tocsr()
    factors = model.recalculate_item([41], item)
    similar = model.similar_items(41, N=5, recalculate_item=True, item_users=item)
    model.partial_fit_items([41], item)
    assert model.item_factors.shape == (42, 8)
    np.testing.assert_array_equal(model.item_factors[[41]], factors)
    np.testing.assert_array_equal(model.similar_items(41, N=1)[0], [41])
    ids, scores = model.similar_items(41, N=5, items=np.arange(40))
    np.testing.assert_array_equal(ids, similar[0])
    np.testing.assert_allclose(scores, similar[1], rtol=1e-5)


def test_partial_fit_users_in_the_full_form_stores_what_recalculate_gives() -> None:
    data, new = interactions(), interactions(3, 40, seed=4)
    model = fitted(data, None)
    before = model.user_factors.toarray()
    model.partial_fit_users([2, 83, 5], new)
    stored = model.user_factors.toarray()
    np.testing.assert_array_equal(stored[[2, 83, 5]], model.recalculate_user([2, 83, 5], new).toarray())
    untouched = np.setdiff1d(np.arange(80), [2, 5])
    np.testing.assert_array_equal(stored[untouched], before[untouched])
    assert not stored[80:83].any()
    with pytest.raises(ParameterError, match="full form"):
        model.partial_fit_items([40], csr_matrix((1, 84)))


def test_new_items_rank_as_well_as_after_a_full_refit() -> None:
    """Ten of a hundred items are new: their places in the users' lists, by how many of the held-out likes they hit."""
    rng = np.random.default_rng(6)
    taste = rng.normal(size=(400, 4)) @ rng.normal(size=(4, 100)) + rng.normal(size=100)
    liked = taste + rng.normal(size=taste.shape) > 2
    train, held_out = liked & (rng.random(liked.shape) < 0.7), liked
    held_out = held_out & ~train
    new, data = np.arange(90, 100), csr_matrix(train.astype(np.float32))
    partial, refit = fitted(data[:, :90], 16), fitted(data, 16)
    partial.partial_fit_items(new, data[:, 90:].T.tocsr())
    hits = []
    for model in (partial, refit):
        ids, _ = model.recommend(np.arange(400), data, N=3, items=new)
        hits.append(np.take_along_axis(held_out, ids.astype(np.intp), axis=1).sum())
    assert hits[0] > 0.95 * hits[1] > 100


@FORMS
def test_explain_adds_up_to_the_score_that_recommend_gives(factors: int | None) -> None:
    data = interactions(disliked=True)
    model = fitted(data, factors, dtype=np.float64, alpha=3.0)
    for user in (0, 17):
        ids, scores = model.recommend(user, data[user], N=5)
        liked = data[user].indices[data[user].data > 0]
        weights = None
        for item, expected in zip(ids, scores, strict=True):
            score, shares, weights = model.explain(user, data, item, weights, N=40)
            assert score == sum(share for _, share in shares)
            assert score == pytest.approx(expected, rel=1e-9)
            assert sorted(other for other, _ in shares) == sorted(liked)
            assert [share for _, share in shares] == sorted((share for _, share in shares), reverse=True)
            assert model.explain(user, data, item, weights, N=2)[1] == shares[:2]


@FORMS
def test_explain_says_what_an_item_is_worth_to_first_order(factors: int | None) -> None:
    """A share is linear in the target of its entry, so leaving that target out of the right-hand side takes it away."""
    data = interactions()
    model = fitted(data, factors, dtype=np.float64, alpha=3.0)
    _, shares, _ = model.explain(3, data, 11, N=40)
    row = confidence_of(data, model)[3]
    K = model.item_factors if factors is None else model.item_factors @ model.item_factors.T
    liked = np.flatnonzero(row)
    M = np.eye(len(liked)) + np.diag(row[liked] - 1) @ K[np.ix_(liked, liked)]
    for item, share in shares:
        alone = np.where(liked == item, row[liked], 0)
        assert share == pytest.approx(K[11, liked] @ np.linalg.solve(M, alone), rel=1e-7, abs=1e-10)


def test_regularization_0_reconstructs() -> None:
    liked = interactions(7, 6, seed=8) > 0
    model = fitted(csr_matrix(liked.astype(float)), 6, regularization=0, dtype=np.float64)
    np.testing.assert_allclose(scores_of(model), naive.with_mean_user(liked.toarray().astype(float)), atol=1e-4)


@FORMS
def test_norms_are_those_of_the_factors(factors: int | None) -> None:
    data = interactions().tolil()
    data[4] = 0
    model = fitted(csr_matrix(data), factors, dtype=np.float64)
    users = model.user_factors.toarray() if factors is None else model.user_factors
    np.testing.assert_allclose(model.item_norms, np.linalg.norm(model.item_factors, axis=1))
    norms = np.linalg.norm(users, axis=1)
    np.testing.assert_allclose(model.user_norms, np.where(norms, norms, 1e-10))
    data[:, 4] = 0
    assert fitted(csr_matrix(data), factors).item_norms[4] == np.float32(1e-10)


@pytest.mark.parametrize(
    ("U", "F"),
    [
        (np.ones((3, 2)), np.ones((4, 3))),
        (np.ones(3), np.ones((4, 3))),
        (np.ones((3, 2), int), np.ones((4, 2), int)),
        (np.ones((3, 2), np.float32), np.ones((4, 2))),
    ],
)
def test_factors_set_by_hand_have_to_fit_together(U: Any, F: Any) -> None:
    model = LinRFM(8)
    model.user_factors, model.item_factors = U, F
    with pytest.raises(ParameterError, match="set both"):
        model.recommend(0, None, filter_already_liked_items=False)


def test_factors_set_by_hand_rank() -> None:
    model = LinRFM(8)
    model.user_factors, model.item_factors = np.eye(3), np.arange(12.0).reshape(4, 3)[::-1]
    np.testing.assert_array_equal(model.recommend(1, None, filter_already_liked_items=False, N=3)[0], [0, 1, 2])


def test_a_model_with_any_flag_can_be_shown() -> None:
    assert repr(LinRFM(8)).startswith("LinRFM(factors=8, regularization=None, ")
    endless: Any = 10**5000  # of more digits than Python prints
    assert "use_cg=of type int" in repr(LinRFM(use_cg=endless))


def test_parameters_are_set_by_name_or_not_at_all() -> None:
    model = LinRFM(8)
    assert LinRFM(**model.get_params()).get_params() == model.get_params()
    assert model.set_params(alpha=2.0, factors=4) is model
    assert (model.alpha, model.factors) == (2.0, 4)
    for wrong in ({"alpha": -1.0}, {"beta": 1}, {"factors": 9, "iterations": 0}):
        with pytest.raises(ParameterError):
            model.set_params(**wrong)
    assert (model.alpha, model.factors) == (2.0, 4)


@FORMS
def test_a_fit_resumes_from_its_checkpoint_to_the_same_bits(factors: int | None, tmp_path: Path) -> None:
    data, path = interactions(disliked=True), tmp_path / "fit.checkpoint"
    whole = fitted(data, factors, iterations=5)
    for last in range(5):
        model, seen = LinRFM(factors, **{**FALLBACK, "iterations": 5}), []

        def stop(iteration: int, elapsed: float, loss: Any, last: int = last) -> None:
            if iteration == last:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            model.fit(data, show_progress=False, callback=stop, checkpoint=path)
        assert model.item_factors is None
        model.fit(data, show_progress=False, callback=lambda i, *_: seen.append(i), checkpoint=path)  # noqa: B023
        assert seen == list(range(last + 1, 5))
        path.unlink()
        assert_same_bits(model, whole)


@FORMS
@DTYPES
def test_slots_beyond_the_catalogue_hold_no_item_and_the_lowest_number(factors: int | None, dtype: Any) -> None:
    data = interactions(30, 6)
    ids, scores = fitted(data, factors, dtype=dtype).recommend(0, data[0], N=9)
    assert ids.dtype == np.int32
    assert scores.dtype == dtype
    np.testing.assert_array_equal(ids[6:], -1)
    np.testing.assert_array_equal(scores[6:], -np.finfo(dtype).max)
    assert sorted(ids[:6]) == list(range(6))
    np.testing.assert_array_equal(scores[:6] == -np.finfo(dtype).max, np.isin(ids[:6], data[0].indices))


@FORMS
def test_filter_items_leaves_items_out_for_everybody(factors: int | None) -> None:
    data = interactions()
    model = fitted(data, factors)
    ids, scores = model.recommend([0, 1], None, N=40, filter_already_liked_items=False, filter_items=np.array([3, 17]))
    np.testing.assert_array_equal(np.sort(ids[:, 38:], axis=1), [[3, 17]] * 2)
    assert (scores[:, 38:] == -np.finfo(np.float32).max).all()
    everything, _ = model.recommend([0, 1], None, N=40, filter_already_liked_items=False)
    for kept, row in zip(ids[:, :38], everything, strict=True):
        np.testing.assert_array_equal(kept, row[~np.isin(row, [3, 17])])


@FORMS
@pytest.mark.parametrize("filter_liked", [False, True])
def test_items_are_the_only_ones_ranked(factors: int | None, filter_liked: bool) -> None:
    data = interactions()
    model = fitted(data, factors, dtype=np.float64)
    items = np.array([30, 2, 11, 5, 39])
    ids, scores = model.recommend([4, 9], data[[4, 9]], N=7, filter_already_liked_items=filter_liked, items=items)
    everything = scores_of(model)[[4, 9]]
    if filter_liked:
        everything[data[[4, 9]].nonzero()] = -np.finfo(np.float64).max
    assert ids.shape == (2, 5)
    np.testing.assert_allclose(scores, -np.sort(-everything[:, items], axis=1), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(scores, np.take_along_axis(everything, ids, axis=1), atol=1e-12)
    np.testing.assert_array_equal(np.sort(ids, axis=1), [np.sort(items)] * 2)


@FORMS
def test_similar_items_and_users_are_those_of_the_highest_cosine(factors: int | None) -> None:
    data = interactions()
    model = fitted(data, factors, dtype=np.float64)
    items, users = model.item_factors, model.user_factors
    if factors is not None:
        items, users = scores_of(model).T, scores_of(model)
    for rows, similar in ((items, model.similar_items), (np.asarray(csr_matrix(users).todense()), model.similar_users)):
        unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        cosines = unit[[5, 20]] @ unit.T
        ids, scores = similar([5, 20], N=12)
        np.testing.assert_array_equal(ids[:, 0], [5, 20])
        np.testing.assert_allclose(scores, -np.sort(-cosines, axis=1)[:, :12], atol=1e-12)
        np.testing.assert_allclose(scores, np.take_along_axis(cosines, ids, axis=1), atol=1e-12)
        single, _ = similar(20, N=12)
        np.testing.assert_array_equal(single, ids[1])


# --- what is refused ---


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"factors": 0}, ParameterError, "pass an integer in 1"),
        ({"factors": 4.0}, ParameterTypeError, "of type float"),
        ({"factors": True}, ParameterTypeError, "of type bool"),
        ({"iterations": 0}, ParameterError, "pass an integer in 1"),
        ({"num_threads": -1}, ParameterError, "pass an integer in 0"),
        ({"regularization": -1e-9}, ParameterError, "at least 0"),
        ({"regularization": "8"}, ParameterTypeError, "pass a number at least 0"),
        ({"alpha": -1.0}, ParameterError, "above 0"),
        ({"alpha": np.inf}, ParameterError, "finite"),
        ({"power": -0.1}, ParameterError, "at least 0"),
        ({"power": np.nan}, ParameterError, "finite"),
        ({"item_norm": "1"}, ParameterTypeError, "pass a number"),
        ({"values": "ones"}, ParameterError, "pass one of 'relative', 'confidence'"),
        ({"values": 1}, ParameterTypeError, "pass one of 'relative', 'confidence'"),
        ({"trials": 0}, ParameterError, "pass an integer in 1"),
        ({"user_norm": -5}, ParameterError, "at least -4"),
        ({"dtype": np.float16}, ParameterError, "pass np.float32 or np.float64"),
        ({"dtype": "number"}, ParameterTypeError, "pass np.float32 or np.float64"),
    ],
)
def test_parameters_are_refused_with_their_bounds(
    parameters: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message) as caught:
        LinRFM(**parameters)
    assert next(iter(parameters)) in str(caught.value)
    changed = LinRFM()
    setattr(changed, *next(iter(parameters.items())))
    with pytest.raises(error, match=message):
        changed.fit(interactions(), show_progress=False)


@pytest.mark.parametrize(
    ("seed", "error"), [(-1, ParameterError), ("x", ParameterTypeError), (0.5, ParameterTypeError)]
)
def test_a_random_state_that_is_none_of_the_kinds_is_refused(seed: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="random_state"):
        fitted(interactions(), random_state=seed)


@pytest.mark.parametrize("data", [None, [[1.0, 0.0]], np.eye(3), "data"])
def test_interactions_that_are_no_sparse_matrix_are_refused(data: Any) -> None:
    with pytest.raises(ParameterTypeError, match="pass a SciPy sparse matrix"):
        fitted(data)


def test_complex_values_are_refused() -> None:
    with pytest.raises(ParameterTypeError, match="pass real numbers"):
        fitted(interactions().astype(complex))


@FORMS
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300])
def test_a_value_that_is_not_finite_in_the_dtype_is_refused_with_its_place(factors: int | None, value: float) -> None:
    broken = interactions().tolil()
    broken[5, 7] = value
    broken = broken.tocsr()
    with pytest.raises(DataError, match=r"user 5, item 7 is not a finite float32.*remove or replace"):
        fitted(broken, factors)


@FORMS
@pytest.mark.parametrize("data", [csr_matrix((3, 4)), csr_matrix((0, 4)), csr_matrix((3, 0)), -csr_matrix(np.eye(3))])
def test_data_without_a_liked_interaction_is_refused(factors: int | None, data: csr_matrix) -> None:
    with pytest.raises(DataError, match="no liked interaction"):
        fitted(data, factors)


@FORMS
@pytest.mark.parametrize("item", [-1, 40, 2**30])
def test_a_corrupt_matrix_is_refused_and_does_not_crash(factors: int | None, item: int) -> None:
    corrupt = interactions()
    model = fitted(corrupt, factors)
    corrupt.indices[0] = item
    with pytest.raises(DataError, match="corrupt"):
        fitted(corrupt, factors)
    corrupt_row = interactions()[:1]
    corrupt_row.indices[0] = item
    with pytest.raises(DataError, match="corrupt"):
        model.recalculate_user(0, corrupt_row)


@FORMS
@pytest.mark.parametrize("row", [csr_matrix((1, 41)), csr_matrix((2, 40)), csr_matrix((2, 39)), csr_matrix((0, 40))])
def test_rows_of_another_shape_are_refused(factors: int | None, row: csr_matrix) -> None:
    model = fitted(interactions(), factors)
    with pytest.raises(DataError, match=r"(row|column)\(s\), not"):
        model.recommend(0, row)
    with pytest.raises(DataError, match=r"(row|column)\(s\), not"):
        model.recalculate_user(0, row)


@FORMS
@pytest.mark.parametrize("form", [csr_matrix, csr_array])
def test_columns_that_are_missing_at_the_end_have_no_entries(factors: int | None, form: Callable[..., Any]) -> None:
    """As in a matrix made before a partial fit, or from triplets without the last item."""
    data = interactions()
    data = data.multiply(np.where(np.add.outer(np.arange(80) >= 5, np.arange(40) < 30), 1, 0)).tocsr()
    data.eliminate_zeros()
    model, whole = fitted(data, factors), data[:5]
    narrow = form(whole[:, :30])
    for user in range(5):
        np.testing.assert_array_equal(
            model.recalculate_user(user, narrow[[user]]), model.recalculate_user(user, whole[[user]])
        )
    for recalculate in (False, True):
        for one, other in zip(
            model.recommend(np.arange(5), narrow, recalculate_user=recalculate),
            model.recommend(np.arange(5), whole, recalculate_user=recalculate),
            strict=True,
        ):
            np.testing.assert_array_equal(one, other)
    assert model.explain(2, narrow, 35)[:2] == model.explain(2, whole, 35)[:2]
    if factors is not None:
        item_users = csr_matrix(data.T.tocsr()[:3].multiply(np.arange(80) < 70))
        np.testing.assert_array_equal(
            model.recalculate_item(np.arange(3), form(item_users[:, :70])),
            model.recalculate_item(np.arange(3), item_users),
        )
    assert narrow.shape == (5, 30)


def test_recommend_asks_for_the_rows_that_it_needs() -> None:
    data = interactions()
    model = fitted(data)
    for rows in (None, data[0].tocoo(), data[0].toarray()):
        with pytest.raises(ParameterError, match="pass a CSR matrix"):
            model.recommend(0, rows)
    with pytest.raises(ParameterError, match="pass a CSR matrix"):
        model.recommend(0, None, filter_already_liked_items=False, recalculate_user=True)


@FORMS
@pytest.mark.parametrize("user", [-1, 80, 2**40, [0, -80], np.array([79, 80])])
def test_an_unknown_user_is_an_index_error_that_names_the_bound(factors: int | None, user: Any) -> None:
    data = interactions()
    model = fitted(data, factors)
    message = r"is outside 0\.\.79; pass ids that were seen"
    with pytest.raises(IdError, match=message) as caught:
        model.recommend(user, data[[0] * np.size(user)])
    assert isinstance(caught.value, IndexError)
    with pytest.raises(IdError, match=message):
        model.similar_users(user)


@FORMS
@pytest.mark.parametrize("item", [-1, 40, [3, -2], np.array([40])])
def test_an_unknown_item_is_an_index_error_that_names_the_bound(factors: int | None, item: Any) -> None:
    data = interactions()
    model = fitted(data, factors)
    with pytest.raises(IndexError, match=r"is outside 0\.\.39"):
        model.similar_items(item)
    ids = np.atleast_1d(item)
    with pytest.raises(IndexError, match=r"is outside 0\.\.39"):
        model.recommend(0, data[0], items=ids)
    with pytest.raises(IndexError, match=r"is outside 0\.\.39"):
        model.recommend(0, data[0], filter_items=ids)


@pytest.mark.parametrize("ids", [0.0, "0", [[0]], [True], None])
def test_ids_that_are_no_integers_are_refused(ids: Any) -> None:
    data = interactions()
    model = fitted(data)
    with pytest.raises(ParameterTypeError, match="pass an integer or a 1-D array"):
        model.recommend(ids, data[0])


def test_n_is_checked_and_items_exclude_filter_items() -> None:
    data = interactions()
    model = fitted(data)
    with pytest.raises(ParameterError, match="N is -1"):
        model.recommend(0, data[0], N=-1)
    with pytest.raises(ParameterTypeError, match=r"N is 2\.5"):
        model.recommend(0, data[0], N=2.5)  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match="pass one of them"):
        model.recommend(0, data[0], items=[1], filter_items=[2])


@pytest.mark.parametrize("call", ["recommend", "recalculate_user", "similar_items", "similar_users"])
def test_a_model_without_a_fit_says_to_fit(call: str) -> None:
    arguments = (0, interactions()[0]) if call.startswith("rec") else (0,)
    with pytest.raises(NotFittedError, match=r"call fit\(user_items\) first"):
        getattr(LinRFM(), call)(*arguments)


@FORMS
def test_a_solve_that_overflows_names_the_row_and_the_remedy(factors: int | None) -> None:
    data = interactions()
    rows = csr_matrix(np.vstack([np.eye(40)[0], np.append(np.full(20, 1e308), np.zeros(20))]))
    model = fitted(data, factors, alpha=1.0, dtype=np.float64, values="confidence")
    with pytest.raises(DataError, match=r"row 1 \(and 0 others\) overflowed.*float64"):
        model.recalculate_user([0, 1], 1.7 * rows)
    model = fitted(data, factors, alpha=1.0, dtype=np.float64)
    assert np.isfinite(model.recalculate_user([0, 1], rows) @ model.item_factors.T).all()


def test_the_full_form_is_refused_for_a_catalogue_that_memory_does_not_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rfm_recsys.core.memory.available_memory", lambda: 5 * 8 * 40**2 - 1)
    with pytest.raises(InsufficientMemoryError, match=r"for 40 items .* pass factors=256"):
        fitted(interactions(), None)
    fitted(interactions()[:, :39], None)


# --- files ---


@FORMS
@DTYPES
def test_save_and_load_keep_every_bit(tmp_path: Path, factors: int | None, dtype: Any) -> None:
    data, path = interactions(), tmp_path / "model"
    model = fitted(data, factors, dtype=dtype, iterations=1, alpha=2.5, random_state=7)
    model.save(path)
    loaded = LinRFM.load(path)
    assert_same_bits(loaded, model)
    assert repr(loaded) == repr(model)
    for one, two in zip(model.recommend(np.arange(80), data), loaded.recommend(np.arange(80), data), strict=True):
        np.testing.assert_array_equal(one, two)
    assert_same_bits(loaded.fit(data, show_progress=False), model)
    assert os.listdir(tmp_path) == ["model"]


def test_save_and_load_through_a_file_object() -> None:
    model, file = fitted(interactions()), io.BytesIO()
    model.save(file)
    file.seek(0)
    assert_same_bits(LinRFM.load(file), model)


def test_an_unfitted_model_survives_save_and_load(tmp_path: Path) -> None:
    model = LinRFM(None, power=0.5, random_state=np.int64(3), dtype=np.float64)
    model.save(tmp_path / "model.npz")
    assert vars(LinRFM.load(tmp_path / "model.npz")) == vars(model)


@pytest.mark.parametrize("kind", [np.random.default_rng, np.random.RandomState])
def test_a_model_with_a_generator_saves_and_loads(tmp_path: Path, kind: Callable[[int], Any]) -> None:
    model = fitted(interactions(), random_state=kind(3))
    model.save(tmp_path / "model.npz")
    loaded = LinRFM.load(tmp_path / "model.npz")
    assert_same_bits(loaded, model)
    assert loaded.random_state is None


@FORMS
def test_a_file_that_is_not_whole_is_refused(tmp_path: Path, factors: int | None) -> None:
    path = tmp_path / "model.npz"
    fitted(interactions(), factors).save(path)
    whole = path.read_bytes()
    for length in (0, 1, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(ModelFileError, match=r"model\.npz is not a whole model file"):
            LinRFM.load(path)
    for place in np.linspace(0, len(whole) - 1, 50).astype(int):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(ModelFileError, match=r"model\.npz is not a whole model file"):
            LinRFM.load(path)


def sealed(path: Path, **content: Any) -> None:
    """Write a file with a checksum that is right, whatever its content."""
    with path.open("w+b") as file:
        modelfile._write(file, content)


def test_a_foreign_or_a_newer_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    contents: list[dict[str, Any]] = [
        {"array": np.arange(3)},
        {"header": np.array("no JSON")},
        {"header": np.array('{"format": "another"}')},
        {"header": np.array('{"format": "rfm_recsys model", "version": 1, "parameters": {"unknown": 1}}')},
        {"header": np.array('{"format": "rfm_recsys model", "version": 1, "parameters": {"dtype": "float16"}}')},
        {"header": np.array([{"pickled": 1}], dtype=object)},
    ]
    for content in contents:
        sealed(path, **content)
        with pytest.raises(ModelFileError, match="file"):
            LinRFM.load(path)
        with path.open("wb") as file:
            np.savez(file, **content)
        with pytest.raises(ModelFileError, match="it does not end with a checksum"):
            LinRFM.load(path)
    modelfile.save(path, "checkpoint", {}, {})
    with pytest.raises(ModelFileError, match="is a 'rfm_recsys checkpoint' file"):
        LinRFM.load(path)
    path.write_text("user,item,value\n")
    with pytest.raises(ModelFileError, match="not a whole model file"):
        LinRFM.load(path)
    monkeypatch.setattr(modelfile, "VERSION", 4)
    LinRFM().save(path)
    monkeypatch.undo()
    with pytest.raises(ModelFileError, match="version 4, and this is version 3; upgrade"):
        LinRFM.load(path)
    with pytest.raises(FileNotFoundError):
        LinRFM.load(tmp_path / "absent")


def test_a_save_that_fails_leaves_the_old_file_whole_and_nothing_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, model = tmp_path / "model.npz", fitted(interactions())
    model.save(path)
    savez = np.savez

    def full_disk(file: Any, **arrays: Any) -> None:
        savez(file, header=arrays["header"])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full_disk)
    with pytest.raises(OSError, match="No space"):
        fitted(interactions(seed=1)).save(path)
    monkeypatch.undo()
    assert_same_bits(LinRFM.load(path), model)
    assert os.listdir(tmp_path) == ["model.npz"]


@FORMS
def test_a_confidence_beyond_the_precision_is_refused(factors: int | None) -> None:
    data = interactions()
    data.data[0] = 3e38
    with pytest.raises(DataError, match=r"alpha \* value"):
        fitted(data, factors, alpha=40.0, dtype=np.float32, values="confidence")
    with pytest.raises(DataError, match=r"alpha \* value"):
        fitted(interactions(), factors, alpha=1e-300, dtype=np.float32)


@FORMS
@pytest.mark.parametrize(
    "parameters",
    [
        {"alpha": 1e300, "regularization": 1e300},
        {"item_norm": 1e300},
        {"regularization": 1e-30},
        {"regularization": 1e12, "alpha": 1e12},
        {"alpha": 1e-30},
        {"user_norm": 4.0, "item_norm": -4.0},
        {"power": 4.0},
    ],
    ids=str,
)
def test_extreme_parameters_work_or_are_refused_by_name(factors: int | None, parameters: dict[str, float]) -> None:
    try:
        model = fitted(interactions(), factors, **parameters)
    except RfmRecsysError as error:
        assert re.search("alpha|regularization|norm|power", str(error))  # noqa: PT017  # either outcome will do
    else:
        assert np.isfinite(model.item_factors).all()


@pytest.mark.parametrize(
    "header",
    [
        '{"format": "rfm_recsys model", "version": 1}',
        '{"format": "rfm_recsys model", "version": 1, "parameters": 3}',
        "[]",
        '{"format": "rfm_recsys model", "version": "x", "parameters": {}}',
        '{"format": "rfm_recsys model", "version": 1, "parameters": {"factors": 0, "dtype": "float32"}}',
    ],
)
def test_a_header_that_makes_no_sense_is_refused(tmp_path: Path, header: str) -> None:
    sealed(tmp_path / "model", header=np.array(header))
    with pytest.raises(ModelFileError):
        LinRFM.load(tmp_path / "model")


@pytest.mark.parametrize(
    "change",
    [
        {"item_factors": np.zeros((40, 5), np.float32)},
        {"user_factors": np.zeros(3)},
        {"item_factors": np.array(["x"])},
        {"item_factors": np.zeros(0)},
    ],
    ids=["columns", "one dimension", "text", "nothing"],
)
def test_factors_that_do_not_fit_together_are_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    fitted(interactions()).save(tmp_path / "model")
    with np.load(tmp_path / "model") as content:
        arrays = {**content, **change}
    sealed(tmp_path / "model", **arrays)
    with pytest.raises(ModelFileError):
        LinRFM.load(tmp_path / "model")


@pytest.mark.parametrize(("factors", "items"), [(10**9, 40), (2 * 10**6, 40), (256, 2 * 10**9)])
def test_a_fit_that_memory_does_not_hold_is_refused_beforehand(factors: int, items: int) -> None:
    data = csr_matrix(([1.0], ([0], [items - 1])), shape=(50, items))
    with pytest.raises(InsufficientMemoryError, match="GiB are available; pass fewer factors"):
        fitted(data, factors)


def test_lists_that_memory_does_not_hold_are_refused_beforehand() -> None:
    with pytest.raises(InsufficientMemoryError, match="ask for fewer"):
        fitted(interactions()).recommend(np.arange(80), None, N=2**31 - 1, filter_already_liked_items=False)


def test_the_estimate_of_memory_covers_what_a_fit_takes() -> None:
    data = csr_matrix(random_array((20_000, 3_000), density=0.005, rng=np.random.default_rng(0), format="csr"))
    fitted(data, 16)  # compiled beforehand
    tracemalloc.start()
    fitted(data, 64)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    estimate = rounds.low_rank_memory((20_000, 3_000), data.nnz, 64, 4)
    assert peak < estimate + data.nnz * 24  # beside the copies of the input that checking it makes
    assert estimate < 5 * peak


def test_cached_files_count_as_available_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "memory.max").write_text("1000000\n")
    (tmp_path / "memory.current").write_text("900000\n")
    (tmp_path / "memory.stat").write_text("anon 300000\nactive_file 200000\ninactive_file 400000\nfile 600000\n")
    monkeypatch.setattr(memory, "CONTROL_GROUP", str(tmp_path))
    assert memory.available_memory() == 700_000
    (tmp_path / "memory.max").write_text("max\n")
    assert memory.available_memory() > 1_000_000
