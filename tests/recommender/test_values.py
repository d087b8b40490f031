"""What the size of a value says, in any unit, and everywhere alike."""

from typing import Any

import naive
import numpy as np
import pytest
from scipy.sparse import csr_matrix

from rfm_recsys import LinRFM
from rfm_recsys.core.checks import check_interactions
from rfm_recsys.recommender.tuning import FALLBACK
from rfm_recsys.recommender.values import user_levels, weights


def plays(users: int = 120, items: int = 60, seed: int = 0) -> csr_matrix:
    """Make counts with a heavy tail, from 1 to some hundred thousands, every ninth of them a dislike."""
    rng = np.random.default_rng(seed)
    tastes = rng.normal(size=(users, 4)) @ rng.normal(size=(4, items))
    counts = np.where(tastes > 1.5, np.ceil(np.exp(rng.normal(2, 3, size=tastes.shape))), 0)
    matrix = csr_matrix(counts)
    matrix.data[::9] *= -1
    return matrix


def test_weights_equal_their_naive_twin() -> None:
    data = plays()
    np.testing.assert_array_equal(weights(data, "relative").toarray(), naive.weights(data.toarray()))
    assert weights(data, "confidence") is data


def test_a_weight_is_1_for_equal_values_and_between_a_half_and_three_halves_for_any() -> None:
    data = plays()
    found = np.abs(weights(data, "relative").data)
    assert found.min() >= 0.5
    assert found.max() <= 1.5
    assert (np.sign(weights(data, "relative").data) == np.sign(data.data)).all()
    data.data[:] = 0.3
    assert set(weights(data, "relative").data) == {1.0}


@pytest.mark.parametrize("unit", [1e-300, 1e-310, 1e300])
def test_the_size_of_the_numbers_does_not_matter(unit: float) -> None:
    data = csr_matrix(np.array([[1.0, 2.0, 4.0]]))
    np.testing.assert_array_equal(weights(data * unit, "relative").data, weights(data, "relative").data)


def test_levels_of_columns_are_taken_where_the_rows_are_items() -> None:
    data = plays()
    data.data = np.abs(data.data)
    by_user = weights(data, "relative").T.toarray()
    np.testing.assert_array_equal(
        weights(data.T.tocsr(), "relative", user_levels(data), of_columns=True).toarray(), by_user
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("unit", [1e-3, 1e3, 1e6])
def test_the_same_values_in_another_unit_are_recommended_the_same(dtype: Any, unit: float) -> None:
    data, users = plays(), np.arange(120)
    one, other = (LinRFM(16, dtype=dtype).fit(matrix, show_progress=False) for matrix in (data, data * unit))
    assert one.chosen_ == other.chosen_
    np.testing.assert_array_equal(one.recommend(users, data)[0], other.recommend(users, data * unit)[0])


@pytest.mark.parametrize("factors", [16, None])
def test_fit_fold_in_explain_and_partial_fits_treat_values_alike(factors: int | None) -> None:
    data = plays()
    model = LinRFM(factors, **FALLBACK, dtype=np.float64).fit(data, show_progress=False)
    scores = np.asarray(model.recalculate_user(np.arange(120), data) @ model.item_factors.T)
    known = np.diff(data.indptr) > 0
    np.testing.assert_allclose((model.user_factors @ model.item_factors.T)[known], scores[known], rtol=1e-8, atol=1e-10)
    folded = model.recalculate_user(np.arange(120), data * 1e3) @ model.item_factors.T
    np.testing.assert_allclose(folded, scores, rtol=1e-8, atol=1e-10)
    assert model.explain(3, data * 1e3, 7)[0] == pytest.approx(scores[3, 7], rel=1e-8, abs=1e-12)


def test_a_folded_in_item_is_weighed_by_the_levels_of_its_users() -> None:
    data = plays()
    model = LinRFM(16, **FALLBACK, dtype=np.float64).fit(data, show_progress=False)
    item = data[:, [5]].T.tocsr()
    ours = model.recalculate_item([5], item)
    weighed = csr_matrix(weights(data, "relative").toarray()[:, [5]].T)
    known = LinRFM(**{**model.get_params(), **model.chosen_, "values": "confidence"})
    known.user_factors, known.item_factors, known.mean_user_ = model.user_factors, model.item_factors, model.mean_user_
    np.testing.assert_allclose(ours, known.recalculate_item([5], weighed), rtol=1e-9, atol=1e-12)
    model.partial_fit_users([200], 1e6 * data[3])
    assert len(model.user_levels_) == 201
    np.testing.assert_allclose(model.user_levels_[200], 1e6 * model.user_levels_[3], rtol=1e-12)


def test_values_that_are_confidences_are_taken_as_they_are() -> None:
    data = plays(40, 20)
    data.data = np.clip(data.data, -9, 9)
    model = LinRFM(20, **FALLBACK, values="confidence", dtype=np.float64).fit(data, show_progress=False)
    confidence = check_interactions(data * 7.0, np.dtype(np.float64))
    twin = naive.with_mean_user(naive.solve_rows(confidence, model.item_factors))
    np.testing.assert_allclose(model.user_factors, twin, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("factors", [16, None])
def test_confidences_of_six_decades_are_solved_in_single_precision_too(factors: int | None) -> None:
    """The exact solve gives liked items about 1; single precision alone gave anything from -6 to 7."""
    data = plays()
    data.data = np.exp(np.random.default_rng(1).uniform(np.log(2e2), np.log(2e8), data.nnz))
    given = {**FALLBACK, "alpha": 1.0}
    model = LinRFM(factors, **given, values="confidence").fit(data, show_progress=False)
    exact = LinRFM(factors, **given, values="confidence", dtype=np.float64)
    exact.item_factors, exact.user_factors = model.item_factors.astype(float), model.user_factors.astype(float)
    exact.mean_user_ = model.mean_user_.astype(float)
    users = np.arange(120)
    found = np.asarray(model.recalculate_user(users, data) @ model.item_factors.T)
    twin = np.asarray(exact.recalculate_user(users, data) @ exact.item_factors.T)
    np.testing.assert_allclose(found, twin, rtol=0, atol=2e-3)
