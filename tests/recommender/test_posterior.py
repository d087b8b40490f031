"""How sure a LinRFM is: deviations of scores, the noise level, and exploring by them."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from rfm_recsys import LinRFM
from rfm_recsys.core.arrays import Floats
from rfm_recsys.datasets import synthetic_movielens
from rfm_recsys.errors import IdError, NotSupportedError, ParameterError
from rfm_recsys.recommender.exploring import KNOWN, USER_SHARE, ItemPosterior
from rfm_recsys.recommender.noise import HIDDEN

LOWEST = np.finfo(np.float64).min
SETTINGS: dict[str, Any] = {
    "regularization": 2.0, "alpha": 3.0, "iterations": 1, "oversampling": 0, "power": 0.5, "item_norm": 0.5,
    "prior_norm": 0.5, "user_norm": 0.5, "dtype": np.float64,
}  # fmt: skip


@pytest.fixture(scope="module")
def plays() -> csr_matrix:
    """Return values of both signs, of users of whom one has nothing."""
    rng = np.random.default_rng(0)
    dense = rng.integers(1, 9, size=(40, 25)) * (rng.random((40, 25)) < 0.3) * rng.choice([1, 1, 1, -1], size=(40, 25))
    dense[7] = 0
    return csr_matrix(dense.astype(np.float64))


@pytest.fixture(scope="module", params=[6, None], ids=["low-rank", "full"])
def model(request: pytest.FixtureRequest, plays: csr_matrix) -> LinRFM:
    return LinRFM(request.param, **SETTINGS).fit(plays, show_progress=False)


def brute_force(model: LinRFM, row: csr_matrix) -> tuple[Floats, Floats]:
    """Return the mean and the covariance of a user's scores: a Gaussian prior, conditioned on what is observed.

    The prior of all scores is what is left of S when every item counts 0 with weight 1; observations add to that.
    """
    S = model.item_factors if model.factors is None else model.item_factors @ model.item_factors.T
    signed = model._confidences(row).toarray()[0]
    observed = np.flatnonzero(signed)
    c, p = np.abs(signed[observed]), signed[observed] > 0
    gain = S[:, observed] @ np.linalg.inv(S[np.ix_(observed, observed)] + np.diag(1 / (c - 1)))
    return gain @ (c * p / (c - 1)), model.noise_**2 * (S - gain @ S[observed])


def test_deviations_are_those_of_the_whole_posterior(model: LinRFM, plays: csr_matrix) -> None:
    users = np.arange(40)
    std = model.score_std(users, plays, np.arange(25))
    assert std.dtype == np.float64
    for user in users:
        _, covariance = brute_force(model, plays[user])
        np.testing.assert_allclose(std[user], np.sqrt(np.diag(covariance)), atol=1e-9)
    prior = model.score_std(7, plays[7], np.arange(25))
    assert (prior >= std.max(axis=0) - 1e-12).all()  # of nobody is less known than of a user without history


def test_scores_and_deviations_have_the_shape_that_is_asked_for(model: LinRFM, plays: csr_matrix) -> None:
    scores = model.score([3, 5], np.arange(25))
    ids, best = model.recommend([3, 5], None, 25, filter_already_liked_items=False)
    np.testing.assert_allclose(np.take_along_axis(scores, ids, 1), best, atol=1e-12)
    std = model.score_std([3, 5], plays[[3, 5]], np.arange(25))
    pairs = np.array([[4], [9]])
    for values, of in (
        (scores, lambda users, rows, items: model.score(users, items)),
        (std, model.score_std),
    ):
        assert of(3, plays[3], 4).shape == ()
        assert of(3, plays[3], 4) == pytest.approx(values[0, 4])
        np.testing.assert_allclose(of(3, plays[3], [4, 9]), values[0, [4, 9]])
        np.testing.assert_allclose(of([3, 5], plays[[3, 5]], 4), values[:, 4])
        np.testing.assert_allclose(of([3, 5], plays[[3, 5]], pairs)[:, 0], [values[0, 4], values[1, 9]])
        assert of([], plays[[]], [4, 9]).shape == (0, 2)
        with pytest.raises(IdError, match="25"):
            of(3, plays[3], 25)
        with pytest.raises(ParameterError, match=r"items have the shape \(3, 1\)"):
            of([3, 5], plays[[3, 5]], np.zeros((3, 1), dtype=int))
    with pytest.raises(IdError, match="40"):
        model.score(40, 0)


def test_leave_one_out_has_the_deviations_without_the_interaction(model: LinRFM, plays: csr_matrix) -> None:
    scores, std = model.leave_one_out(plays, return_std=True)
    assert (scores != model.leave_one_out(plays)).nnz == 0
    for user, item in [(0, plays[0].indices[0]), (3, plays[3].indices[-1])]:
        # the weights are relative to the mean size of the user's values, with the interaction
        signed = model._confidences(plays[user]).toarray()[0]
        signed[item] = 0
        S = model.item_factors if model.factors is None else model.item_factors @ model.item_factors.T
        own = np.flatnonzero(signed)
        gain = S[item, own] @ np.linalg.inv(S[np.ix_(own, own)] + np.diag(1 / (np.abs(signed[own]) - 1)))
        expected = model.noise_ * np.sqrt(S[item, item] - gain @ S[own, item])
        assert std[user, item] == pytest.approx(expected, abs=1e-9)


def test_the_noise_is_what_makes_the_deviations_those_of_the_errors(model: LinRFM, plays: csr_matrix) -> None:
    """Of items that a user has not, and of interactions that are predicted without themselves."""
    scores, std = model.leave_one_out(plays, return_std=True)
    known = np.flatnonzero(np.diff(plays.indptr))
    rows = plays[known]
    unseen = rows.toarray() == 0
    weights = (1 - 0.8 ** np.diff(rows.indptr))[:, None] * unseen  # that a user has one of a fifth that is hidden
    squares = (weights * model.score(known, np.arange(25)) ** 2).sum()
    expected = (weights * model.score_std(known, rows, np.arange(25)) ** 2).sum()
    squares += HIDDEN * np.sum(((plays.data > 0) - scores.data) ** 2)
    expected += HIDDEN * np.sum(std.data**2)
    assert squares / expected == pytest.approx(1, abs=1e-9)


def test_recommend_returns_deviations(model: LinRFM, plays: csr_matrix) -> None:
    users = np.array([3, 7, 5])
    ids, scores, std = model.recommend(users, plays[users], 30, return_std=True)
    plain = model.recommend(users, plays[users], 30)
    assert (ids == plain[0]).all()
    assert (scores == plain[1]).all()
    listed = scores > LOWEST
    assert listed.sum(axis=1).tolist() == (25 - np.diff(plays[users].indptr)).tolist()
    expected = model.score_std(users, plays[users], np.maximum(ids, 0))
    np.testing.assert_allclose(std, np.where(listed, expected, 0))
    one = model.recommend(3, plays[3], 4, return_std=True, items=[1, 2, 3, 4, 5, 6, 7], recalculate_user=True)
    assert [part.shape for part in one] == [(4,)] * 3
    np.testing.assert_allclose(one[2], np.where(one[1] > LOWEST, model.score_std(3, plays[3], one[0]), 0))


@pytest.fixture(scope="module")
def low_rank(plays: csr_matrix) -> LinRFM:
    return LinRFM(6, **SETTINGS).fit(plays, show_progress=False)


def item_posterior(model: LinRFM) -> ItemPosterior:
    return ItemPosterior.of(model.item_factors, model.item_weights_ / model.alpha_)


def test_a_new_item_may_be_like_any_other_and_a_known_one_is_itself(plays: csr_matrix) -> None:
    with_new = csr_matrix((plays.data, plays.indices, plays.indptr), shape=(40, 27))  # two that nobody has met
    model = LinRFM(6, **SETTINGS).fit(with_new, show_progress=False)
    weights = np.abs(model._confidences(with_new)).sum(axis=0).A1
    np.testing.assert_allclose(model.item_weights_, weights)
    unsure, F = item_posterior(model), model.item_factors
    covariance = np.cov(F[:25].T, bias=True)
    np.testing.assert_allclose(unsure.root @ unsure.root.T, covariance, atol=1e-12)
    np.testing.assert_allclose(unsure.mean[25:], np.tile(F[:25].mean(axis=0), (2, 1)))
    assert unsure.variance[25:].tolist() == [1, 1]
    np.testing.assert_allclose(1 / unsure.variance, 1 + weights / model.alpha_ / KNOWN)
    share = unsure.variance[:, None]
    np.testing.assert_allclose(unsure.mean, (1 - share) * F + share * F[:25].mean(axis=0), atol=1e-12)
    draws = np.array([unsure.drawn(0.5, np.uint64(seed)) for seed in range(3000)])
    for item in (3, 26):
        expected = 0.25 * unsure.variance[item] * covariance
        deviations = np.sqrt(np.outer(np.diag(expected), np.diag(expected)) / 3000)
        assert (np.abs(np.cov(draws[:, item].T) - expected) < 6 * deviations).all()
    greedy = model.recommend(np.arange(40), with_new, 3)[0]
    found = model.recommend(np.arange(40), with_new, 3, explore="thompson", explore_scale=1)[0]
    assert np.isin(found, (25, 26)).sum() > np.isin(greedy, (25, 26)).sum()


def test_an_item_that_is_folded_in_is_as_known_as_its_interactions(low_rank: LinRFM, plays: csr_matrix) -> None:
    model = copy.copy(low_rank)
    model.partial_fit_items([25, 27], csr_matrix(plays.T)[[3, 4]])
    weights = np.abs(model._confidences(csr_matrix(plays.T)[[3, 4]], model.user_levels_)).sum(axis=1).A1
    np.testing.assert_allclose(model.item_weights_, [*low_rank.item_weights_, weights[0], 0, weights[1]])
    ids, _ = model.recommend(0, csr_matrix((1, 28)), 28, explore="thompson")
    assert sorted(ids) == [*range(28)]


@pytest.mark.parametrize("recalculate_user", [False, True])
def test_thompson_draws_from_the_posterior(low_rank: LinRFM, plays: csr_matrix, recalculate_user: bool) -> None:
    user, n_draws = 3, 3000
    low_rank = copy.copy(low_rank)
    low_rank.item_weights_ = np.full(25, 1e12)  # so that nothing is unsure of the items
    mean, covariance = brute_force(low_rank, plays[user])
    covariance *= (0.7 * USER_SHARE) ** 2
    generator = np.random.default_rng(1)
    draws = np.empty((n_draws, 25))
    for draw in draws:
        ids, scores = low_rank.recommend(
            user, plays[user], 25, False, recalculate_user=recalculate_user, explore="thompson", explore_scale=0.7,
            random_state=generator,
        )  # fmt: skip
        draw[ids] = scores
    error = np.sqrt(np.outer(np.diag(covariance), np.diag(covariance)) / n_draws)
    assert (np.abs(draws.mean(axis=0) - mean) < 4 * np.sqrt(np.diag(covariance) / n_draws)).all()
    assert (np.abs(np.cov(draws.T) - covariance) < 6 * error).all()


def test_a_draw_depends_on_the_seed_and_the_user_alone(low_rank: LinRFM, plays: csr_matrix) -> None:
    def explored(users: Any, seed: Any, **options: Any) -> Any:
        return low_rank.recommend(users, plays[users], 5, explore="thompson", random_state=seed, **options)

    all_ids, all_scores = explored(np.arange(40), 4)
    ids, scores = explored([9, 3], 4)
    assert ids.tolist() == all_ids[[9, 3]].tolist()
    assert scores.tobytes() == all_scores[[9, 3]].tobytes()
    assert explored(np.arange(40), 5)[1].tobytes() != all_scores.tobytes()
    assert explored(np.arange(40), None)[1].tobytes() == explored(np.arange(40), 0)[1].tobytes()
    plain = low_rank.recommend(np.arange(40), plays, 5)
    assert explored(np.arange(40), 4, explore_scale=0)[1].tobytes() == plain[1].tobytes()


def test_ucb_adds_the_deviation(low_rank: LinRFM, plays: csr_matrix) -> None:
    users = np.arange(40)
    ids, scores, std = low_rank.recommend(users, plays, 25, False, explore="ucb", explore_scale=2, return_std=True)
    unsure = item_posterior(low_rank)
    plain = low_rank.user_factors @ unsure.mean.T
    added = scores - np.take_along_axis(plain, ids, 1)
    F = low_rank.item_factors
    precision = 1 + np.maximum(np.abs(low_rank._confidences(plays)).toarray() - 1, 0) @ F**2
    variance = (USER_SHARE * low_rank.noise_) ** 2 * ((1 / precision) @ (F**2).T)
    users_part = np.sqrt(variance)
    variance += np.sum((low_rank.user_factors @ unsure.root) ** 2, axis=1)[:, None] * unsure.variance
    independent = np.sqrt(variance)
    np.testing.assert_allclose(added, 2 * np.take_along_axis(independent, ids, 1), atol=1e-9)
    assert np.corrcoef(np.take_along_axis(users_part, ids, 1).ravel(), std.ravel())[0, 1] > 0.95
    assert (np.diff(scores, axis=1) <= 0).all()


def test_the_deviations_of_ucb_are_near_the_exact_ones() -> None:
    data = synthetic_movielens(300, 400, 20_000).to_csr()
    model = LinRFM(32).fit(data, show_progress=False)
    model.item_weights_ = np.full(400, 1e12)
    ids, scores, std = model.recommend(np.arange(300), data, 20, explore="ucb", explore_scale=1, return_std=True)
    ratio = (scores - model.score(np.arange(300), ids)) / (USER_SHARE * std)
    assert np.abs(np.median(ratio) - 1) < 0.1
    assert np.quantile(ratio, 0.05) > 0.85
    assert np.quantile(ratio, 0.95) < 1.25


def test_what_exploring_refuses(low_rank: LinRFM, plays: csr_matrix) -> None:
    with pytest.raises(ParameterError, match="explore is 'greedy'; pass one of 'thompson', 'ucb'"):
        low_rank.recommend(0, plays[0], explore="greedy")
    with pytest.raises(ParameterError, match="explore_scale is -1; pass a finite number at least 0"):
        low_rank.recommend(0, plays[0], explore="ucb", explore_scale=-1)
    with pytest.raises(ParameterError, match="user_items is NoneType; pass a CSR matrix"):
        low_rank.recommend(0, None, filter_already_liked_items=False, explore="ucb")
    full = LinRFM(None, **SETTINGS).fit(plays, show_progress=False)
    for explore in ("thompson", "ucb"):
        with pytest.raises(NotSupportedError, match="fit with factors=256 instead of None"):
            full.recommend(0, plays[0], explore=explore)
    by_hand = LinRFM(2)
    by_hand.user_factors, by_hand.item_factors = np.ones((1, 2), np.float32), np.ones((25, 2), np.float32)
    calls: list[Callable[[], Any]] = [
        lambda: by_hand.score_std(0, plays[0], 0),
        lambda: by_hand.recommend(0, plays[0], explore="ucb"),
        lambda: by_hand.leave_one_out(plays, return_std=True),
    ]
    for call in calls:
        with pytest.raises(NotSupportedError, match=r"no noise level.*set model\.noise_"):
            call()


def test_the_noise_is_in_the_file(low_rank: LinRFM, plays: csr_matrix, tmp_path: Path) -> None:
    low_rank.save(tmp_path / "model.rfm")
    loaded = LinRFM.load(tmp_path / "model.rfm")
    assert loaded.noise_ == low_rank.noise_
    assert loaded.score_std(3, plays[3], 4) == low_rank.score_std(3, plays[3], 4)
