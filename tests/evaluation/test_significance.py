"""Error bars: intervals that cover, a test that keeps its level, and the edges."""

import time
import tracemalloc
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from rfm_recsys.errors import DataError, ParameterError, ParameterTypeError
from rfm_recsys.evaluation.significance import Difference, interval, paired_difference


def per_user(rng: np.random.Generator, n: int) -> NDArray[np.float64]:
    """Draw values such as NDCG has: skewed, in 0..1, many of them 0; their mean is 0.6 * 1/4."""
    return np.where(rng.random(n) < 0.6, rng.beta(1, 3, n), 0.0)


# Intervals


@pytest.mark.parametrize("confidence", [0.8, 0.95])
def test_an_interval_covers_the_truth_as_often_as_it_says(confidence: float) -> None:
    rng = np.random.default_rng(0)
    bounds = np.array([interval(per_user(rng, 300), seed, confidence, 400)[1:] for seed in range(500)])
    covered = ((bounds[:, 0] <= 0.15) & (bounds[:, 1] >= 0.15)).mean()
    assert covered == pytest.approx(confidence, abs=4 * np.sqrt(confidence * (1 - confidence) / 500))


def test_an_interval_is_that_of_the_normal_law_where_users_are_many() -> None:
    values = per_user(np.random.default_rng(1), 20_000)
    mean, low, high = interval(values)
    assert mean == pytest.approx(values.mean(), abs=1e-12)
    error = values.std() / np.sqrt(len(values))
    assert low == pytest.approx(mean - 1.96 * error, abs=0.15 * error)
    assert high == pytest.approx(mean + 1.96 * error, abs=0.15 * error)


def test_an_interval_is_the_naive_bootstraps() -> None:
    """The quantiles of the mean of every resample of 5 users, each as likely as another."""
    values = np.array([0.0, 0.05, 0.1, 0.15, 1.0])
    means = [np.mean(chosen) for chosen in product(values, repeat=5)]
    _, low, high = interval(values, confidence=0.94, resamples=20_000)
    np.testing.assert_allclose([low, high], np.quantile(means, [0.03, 0.97]), atol=0.011)  # means are .01 apart


def test_a_higher_confidence_is_a_wider_interval() -> None:
    values = per_user(np.random.default_rng(2), 200)
    _, low, high = interval(values, confidence=0.8)
    _, lower, higher = interval(values, confidence=0.99)
    assert lower < low < high < higher


def test_a_seed_decides_the_interval() -> None:
    values = per_user(np.random.default_rng(3), 100)
    assert interval(values, random_state=1) == interval(values, random_state=1) != interval(values, random_state=2)


def test_users_without_a_value_are_left_out() -> None:
    values = per_user(np.random.default_rng(4), 100)
    holes = np.insert(values, [0, 50, 100], np.nan)
    assert interval(holes) == interval(values)
    assert paired_difference(holes, 2 * holes) == paired_difference(values, 2 * values)


def test_one_user_has_no_interval() -> None:
    mean, low, high = interval(np.array([np.nan, 0.25]))
    assert mean == 0.25
    assert np.isnan([low, high]).all()
    found = paired_difference(np.array([0.75]), np.array([0.5]))
    assert (found.mean, found.p_value) == (0.25, 1)
    assert np.isnan([found.low, found.high]).all()


def test_equal_users_have_an_interval_without_width() -> None:
    np.testing.assert_allclose(interval(np.full(7, 0.1)), 0.1, rtol=1e-12)


# Differences


def test_equal_models_do_not_differ() -> None:
    values = per_user(np.random.default_rng(5), 50)
    assert paired_difference(values, values.copy()) == Difference(0, 0, 0, 1)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32), st.integers(2, 200))
def test_the_other_way_round_is_the_opposite(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    ours, theirs = per_user(rng, n), per_user(rng, n)
    there, back = paired_difference(ours, theirs), paired_difference(theirs, ours)
    assert there.mean == -back.mean
    assert there.p_value == back.p_value
    assert (there.low, there.high) == pytest.approx((-back.high, -back.low), abs=1e-12)
    assert there.low <= there.high


@pytest.mark.parametrize("ties", [0.0, 0.7])
def test_the_test_rejects_as_often_as_it_may_where_models_are_equally_good(ties: float) -> None:
    rng = np.random.default_rng(6)
    rejected, outside = 0, 0
    for seed in range(500):
        base = per_user(rng, 200)
        noise = np.where(rng.random((2, 200)) < ties, 0, rng.normal(0, 0.1, (2, 200)))
        found = paired_difference(base + noise[0], base + noise[1], seed, resamples=400)
        rejected += found.p_value < 0.05
        outside += not found.low <= 0 <= found.high
    assert rejected == pytest.approx(25, abs=4 * np.sqrt(500 * 0.05 * 0.95))
    assert outside == pytest.approx(25, abs=4 * np.sqrt(500 * 0.05 * 0.95))


def test_a_pairing_finds_what_two_intervals_do_not() -> None:
    rng = np.random.default_rng(7)
    theirs = per_user(rng, 500)
    ours = theirs + rng.normal(0.005, 0.02, 500)
    found = paired_difference(ours, theirs)
    assert found.p_value < 1e-4
    assert found.low > 0
    assert interval(ours)[1] < interval(theirs)[2]  # while these overlap


def test_the_p_value_is_about_that_of_the_sign_flip_test() -> None:
    rng = np.random.default_rng(8)
    for shift in (0.0, 0.01, 0.03):
        difference = np.where(rng.random(60) < 0.5, 0, rng.normal(shift, 0.1, 60))
        exact = stats.permutation_test(
            (difference,), np.mean, permutation_type="samples", n_resamples=20_000, rng=np.random.default_rng(0)
        ).pvalue
        assert paired_difference(difference, np.zeros(60)).p_value == pytest.approx(exact, abs=0.03)


def test_where_all_users_differ_alike_the_test_is_the_sign_flip_test() -> None:
    theirs = np.array([0.1, 0.2, 0.3, 0.7, 0.75])
    found = paired_difference(theirs + 0.1, theirs)  # equal but for rounding
    exact = stats.permutation_test((np.full(5, 0.1),), np.mean, permutation_type="samples", n_resamples=np.inf).pvalue
    assert found.p_value == exact == 2.0**-4


# Cost


def test_many_users_take_little_time_and_memory() -> None:
    rng = np.random.default_rng(9)
    ours, theirs = per_user(rng, 100_000), per_user(rng, 100_000)
    tracemalloc.start()
    begun = time.process_time()
    paired_difference(ours, theirs, resamples=100)
    assert time.process_time() - begun < 5  # a hundredth of a second a resample is far too much
    assert tracemalloc.get_traced_memory()[1] < 100 * 2**20
    tracemalloc.stop()


# What is refused


def test_models_must_be_measured_on_the_same_users() -> None:
    with pytest.raises(DataError, match="3 values and 2; pass"):
        paired_difference(np.ones(3), np.ones(2))
    with pytest.raises(DataError, match="user 1 has a value in one of the two only; measure"):
        paired_difference(np.array([1.0, np.nan]), np.array([1.0, 2.0]))


@pytest.mark.parametrize("values", [[], [np.nan, np.nan]])
def test_no_user_has_no_mean(values: list[float]) -> None:
    with pytest.raises(DataError, match="no user has a value; pass"):
        interval(np.array(values))
    with pytest.raises(DataError, match="no user has a value; pass"):
        paired_difference(np.array(values), np.array(values))


@pytest.mark.parametrize("values", [[[1.0, 2.0]], 1.0, [1.0, np.inf]])
def test_what_is_no_column_of_numbers_is_refused(values: object) -> None:
    with pytest.raises(DataError, match="pass one finite number"):
        interval(np.array(values))


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"confidence": 0}, ParameterError),
        ({"confidence": 1}, ParameterError),
        ({"confidence": np.nan}, ParameterError),
        ({"confidence": "95%"}, ParameterTypeError),
        ({"resamples": 0}, ParameterError),
        ({"resamples": 10.5}, ParameterTypeError),
    ],
)
def test_options_outside_their_bounds_are_refused(options: dict[str, object], error: type[Exception]) -> None:
    with pytest.raises(error, match="; pass"):
        interval(np.ones(3), **options)  # type: ignore[arg-type]
