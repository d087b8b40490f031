"""Features of items and users: the regression of factors on them, new items, new users, and few interactions."""

import io
from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_matrix, hstack

from rfm_recsys import LinRFM
from rfm_recsys.core.arrays import Floats
from rfm_recsys.core.checks import MOST_FEATURE
from rfm_recsys.core.runtime import threads
from rfm_recsys.errors import DataError, NotSupportedError, ParameterTypeError
from rfm_recsys.recommender import features as module
from rfm_recsys.recommender.exploring import KNOWN
from rfm_recsys.recommender.features import FeatureRegression
from rfm_recsys.recommender.newcomers import LEAST_WEIGHT, OFFERED

SETTINGS: dict[str, Any] = {
    "regularization": 2.0, "alpha": 3.0, "iterations": 1, "oversampling": 0, "power": 0.5, "item_norm": 0.5,
    "prior_norm": 0.5, "user_norm": 0.5, "dtype": np.float64,
}  # fmt: skip
GENRES, USERS, ITEMS = 4, 160, 90


def world(seed: int = 0) -> tuple[csr_matrix, Floats, Floats]:
    """Make plays, the genres of items and the countries of users: a country likes one genre most."""
    rng = np.random.default_rng(seed)
    genres, countries = np.eye(GENRES)[np.arange(ITEMS) % GENRES], np.eye(GENRES)[np.arange(USERS) % GENRES]
    chance = 0.05 + 0.4 * countries @ genres.T
    return csr_matrix((rng.random(chance.shape) < chance).astype(np.float64)), genres, countries


@pytest.fixture(scope="module")
def fitted() -> tuple[LinRFM, csr_matrix, Floats, Floats]:
    plays, genres, countries = world()
    empty = plays.toarray()
    empty[:, -8:], empty[-8:] = 0, 0
    plays = csr_matrix(empty)
    model = LinRFM(6, **SETTINGS).fit(plays, show_progress=False, item_features=genres, user_features=countries)
    return model, plays, genres, countries


def regression_of(features: Any, factors: Floats, metric: Floats) -> tuple[FeatureRegression, Floats]:
    with threads(0):
        return FeatureRegression.of(csr_matrix(features), factors, metric)


def naive_basis(regression: FeatureRegression, features: Floats) -> Floats:
    """Return constant, common and rare features, and the kernel with the landmarks, one number after the other."""
    X = (features[:, regression.common] - regression.center) * regression.scale
    (width,) = regression.width
    lengths = [[np.linalg.norm(x * regression.metric - other) for other in regression.landmarks] for x in X]
    K = np.exp(-np.array(lengths) / width)
    return np.hstack([np.ones((len(X), 1)), X, features[:, regression.rare], K])


@pytest.mark.parametrize("rare", [0, 5])
def test_predictions_are_those_of_the_basis_written_out(rare: int) -> None:
    rng = np.random.default_rng(1)
    features = np.hstack([rng.integers(0, 2, size=(300, 3)), rng.normal(size=(300, 2)), np.zeros((300, rare))])
    features[np.arange(rare), 5 + np.arange(rare)] = features[20 + np.arange(rare), 5 + np.arange(rare)] = 1
    factors = rng.normal(size=(300, 4)) + 3 * features[:, :1] + 4 * features[:, 5:].sum(axis=1)[:, None]
    regression, _ = regression_of(features, factors, np.eye(4))
    assert len(regression.common) == 5
    assert len(regression.rare) == rare
    coefficients = np.vstack([regression.constant, regression.linear, regression.kernel])
    np.testing.assert_allclose(
        regression.predicted(csr_matrix(features)), naive_basis(regression, features) @ coefficients, atol=1e-7
    )
    if rare:
        assert (regression.linear[5:].mean(axis=1) > 0.3).all()  # who has a rare feature has 4 more


def test_what_is_expected_of_a_row_does_not_depend_on_its_own_factors() -> None:
    """Exact leave-one-out: another value in one row changes what is expected of all the others, and not of itself."""
    rng = np.random.default_rng(2)
    features, factors = rng.normal(size=(60, 3)), rng.normal(size=(60, 2))
    before = module._Learner(csr_matrix(features), factors, np.eye(2))
    expected = before.without_itself()
    for row in (0, 31):
        # by the ridge of the same basis on the other rows
        best = before.fit
        basis = best.turned
        kept = np.arange(60) != row
        gram = basis[kept].T @ basis[kept]
        penalty = 1 / best.weights - np.square(basis).sum(axis=0)
        ridge = np.linalg.solve(gram + np.diag(penalty), basis[kept].T @ factors[kept])
        np.testing.assert_allclose(expected[row], basis[row] @ ridge, atol=1e-8)


def test_the_agop_is_the_mean_squared_gradient() -> None:
    """By differences: of predictions, as a feature moves a little."""
    rng = np.random.default_rng(3)
    features = rng.normal(size=(900, 3))
    factors = np.column_stack([np.sin(2 * features[:, 0]), features[:, 1], np.zeros(900)])
    regression, _ = regression_of(features, factors, np.eye(3))
    step = 1e-6
    for j in range(2):
        moved = features.copy()
        moved[:, j] += step
        slope = (regression.predicted(csr_matrix(moved)) - regression.predicted(csr_matrix(features))) / step
        assert regression.agop[j] == pytest.approx(np.square(slope).sum() / 900, rel=0.1)
    assert regression.agop[2] < 0.1 * min(regression.agop[:2])


@pytest.mark.parametrize("n", [1, 2, 5])
def test_a_handful_of_rows_is_enough(n: int) -> None:
    factors = np.arange(2.0 * n).reshape(n, 2)
    regression, expected = regression_of(np.ones((n, 1)), factors, np.eye(2))
    assert np.isfinite(regression.predicted(csr_matrix((3, 1)))).all()
    assert np.isfinite(expected).all()


@pytest.mark.parametrize("common", [True, False])
def test_the_largest_features_that_are_taken_overflow_nothing(common: bool) -> None:
    rng = np.random.default_rng(5)
    features = np.where(rng.random((400, 3)) < (0.3 if common else 0.005), MOST_FEATURE, 0.0)
    factors = rng.normal(size=(400, 2))
    regression, expected = regression_of(features, factors, np.eye(2))
    assert np.isfinite(expected).all()
    assert np.isfinite(regression.predicted(csr_matrix(features))).all()


def test_conjugate_gradients_solve_the_ridge_of_rare_features() -> None:
    rng = np.random.default_rng(4)
    Z, targets = csr_matrix(rng.random((40, 15)) < 0.1, dtype=float), rng.normal(size=(40, 3))
    exact = np.linalg.solve((Z.T @ Z).toarray() + 2 * np.eye(15), Z.T @ targets)
    np.testing.assert_allclose(module._ridge(Z, targets, 2.0), exact, atol=1e-8)


def test_items_and_users_without_interactions_are_ranked_by_features(fitted: Any) -> None:
    model, _, genres, countries = fitted
    scores = model.score(np.arange(USERS), np.arange(ITEMS - 8, ITEMS))
    match = countries @ genres[-8:].T == 1
    assert scores[match].mean() > 3 * scores[~match].mean()
    scores = model.score(np.arange(USERS - 8, USERS), np.arange(ITEMS - 8))
    match = countries[-8:] @ genres[:-8].T == 1
    assert scores[match].mean() > 2 * scores[~match].mean()


def test_items_that_are_added_are_those_that_were_there_without_interactions(fitted: Any) -> None:
    model, plays, genres, countries = fitted
    smaller = LinRFM(6, **SETTINGS)
    smaller.fit(
        csr_matrix(plays[:-8, :-8]), show_progress=False, item_features=genres[:-8], user_features=countries[:-8]
    )
    n_items = smaller.add_items(genres[-8:])
    n_users = smaller.add_users(countries[-8:])
    assert n_items.tolist() == list(range(ITEMS - 8, ITEMS))
    assert n_users.tolist() == list(range(USERS - 8, USERS))
    # but for the randomised eigenvectors, which are others with other shapes
    for users, items in ((slice(None), slice(-8, None)), (slice(-8, None), slice(None))):
        ours, theirs = (each.score(np.arange(USERS), np.arange(ITEMS))[users, items] for each in (smaller, model))
        assert np.corrcoef(ours.ravel(), theirs.ravel())[0, 1] > 0.999


def test_factors_of_known_items_are_those_of_the_interactions_and_a_share_of_what_is_expected(fitted: Any) -> None:
    """(5f), from the fit without features, written out."""
    model, plays, genres, _ = fitted
    plain = LinRFM(6, **SETTINGS).fit(plays, show_progress=False)
    known = np.flatnonzero(np.diff(plays.tocsc().indptr))
    U = plain.user_factors * (np.diff(plays.indptr) > 0)[:, None]
    _, expected = regression_of(genres[known], plain.item_factors[known], U.T @ U)
    n = plain.item_weights_[known] / plain.alpha_
    part = model.item_expected_[known] * (1 + n / KNOWN)[:, None]
    ratio = np.linalg.lstsq(expected, part, rcond=None)
    np.testing.assert_allclose(expected @ ratio[0], part, atol=1e-8)  # one map for all items
    shrinkage = np.linalg.eigvals(ratio[0]).real
    assert ((shrinkage > -1e-8) & (shrinkage < 1 + 1e-8)).all()  # which takes away, and adds nothing
    np.testing.assert_allclose(model.item_factors, plain.item_factors + model.item_expected_, atol=1e-9)


def test_a_new_item_with_few_interactions_is_the_ridge_about_what_features_say(fitted: Any) -> None:
    """(5h): ``min sum_O c/w (1 - R v)^2 + |v|^2 - sum_O (R v)^2 - 2 m v``, over all users written out."""
    model, _, genres, _ = fitted
    who = np.zeros((2, USERS))
    who[0, [3, 7, 11]] = 1
    got = model.recalculate_item([0, 0], csr_matrix(who), genres[:2])
    U, T = model._form().users_features(module_settings(model))
    R, mean = U @ T, model.item_regression_.predicted(csr_matrix(genres[:2]))
    n = 3.0
    offered = n / (n + OFFERED)
    weight = max(1 / n, LEAST_WEIGHT) * (1 - offered) + offered
    c = model.alpha_ / weight
    has = who[0] > 0
    A = np.eye(6) + (c - 1) * R[has].T @ R[has]
    v = np.linalg.solve(A, c * R[has].sum(axis=0) + (1 - offered) * np.linalg.pinv(T) @ mean[0])
    np.testing.assert_allclose(got[0], T @ v, atol=1e-8)
    np.testing.assert_allclose(got[1], mean[1], atol=1e-9)


def module_settings(model: LinRFM) -> Any:
    from rfm_recsys.recommender.blocks import Settings

    return Settings.of(model._in_use())


def test_shares_of_scores_add_up(fitted: Any) -> None:
    model, plays, _, _ = fitted
    users, items = np.arange(20), np.arange(ITEMS)
    from_features = model.score_from_features(users, items)
    rest = model.user_factors[users] @ (model.item_factors - model.item_expected_)[items].T
    np.testing.assert_allclose(from_features + rest, model.score(users, items), atol=1e-9)
    new = np.arange(ITEMS - 8, ITEMS)
    np.testing.assert_allclose(from_features[:, new], model.score(users, new), atol=1e-9)
    shares = np.abs(from_features).sum(axis=0) / np.abs(model.score(users, items)).sum(axis=0)
    assert shares[:-8].max() < 0.9
    plain = LinRFM(6, **SETTINGS).fit(plays, show_progress=False)
    assert not plain.score_from_features(0, items).any()


def test_what_matters_is_seen() -> None:
    plays, genres, _ = world(1)
    noise = np.random.default_rng(0).integers(0, 2, size=(ITEMS, 2))
    model = LinRFM(6, **SETTINGS).fit(plays, show_progress=False, item_features=np.hstack([genres, noise]))
    agop = model.agop_of("item")
    assert agop.mean() == pytest.approx(1)
    assert agop[:GENRES].min() > 3 * agop[GENRES:].max()


def test_a_model_with_features_is_saved_whole(fitted: Any) -> None:
    model, _, genres, countries = fitted
    file = io.BytesIO()
    model.save(file)
    file.seek(0)
    loaded = LinRFM.load(file)
    assert np.array_equal(loaded.agop_of("item"), model.agop_of("item"))
    args = csr_matrix((1, USERS)), genres[:1]
    assert np.array_equal(loaded.recalculate_item([0], *args), model.recalculate_item([0], *args))
    args = csr_matrix((1, ITEMS)), countries[:1]
    assert np.array_equal(loaded.recalculate_user([0], *args), model.recalculate_user([0], *args))
    assert np.array_equal(loaded.score_from_features(0, np.arange(9)), model.score_from_features(0, np.arange(9)))


def test_the_result_does_not_depend_on_threads_nor_on_how_features_are_stored() -> None:
    plays, genres, countries = world(2)
    models = [
        LinRFM(6, num_threads=n, random_state=1).fit(plays, show_progress=False, item_features=i, user_features=u)
        for n, i, u in ((1, genres, countries), (2, csr_matrix(genres), hstack([csr_matrix(countries)], format="coo")))
    ]
    assert np.array_equal(models[0].item_factors, models[1].item_factors)
    assert np.array_equal(models[0].user_factors, models[1].user_factors)


def test_a_fit_without_features_forgets_those_of_before() -> None:
    plays, genres, _ = world()
    model = LinRFM(6, **SETTINGS).fit(plays, show_progress=False, item_features=genres)
    model.fit(plays, show_progress=False)
    plain = LinRFM(6, **SETTINGS).fit(plays, show_progress=False)
    assert np.array_equal(model.item_factors, plain.item_factors)
    with pytest.raises(NotSupportedError, match="pass item_features to fit"):
        model.add_items(genres[:1])


@pytest.mark.parametrize(
    ("features", "error", "message"),
    [
        (np.ones((3, 2)), DataError, "have 3 row"),
        (np.ones(ITEMS), DataError, "a row for each"),
        (np.ones((ITEMS, 0)), DataError, "no columns"),
        (np.full((ITEMS, 1), np.nan), DataError, "not finite"),
        (np.full((ITEMS, 1), 1e200), DataError, "scale them"),
        (np.full((ITEMS, 1), "Comedy"), ParameterTypeError, "encode"),
        (np.full((ITEMS, 1), None), DataError, "not finite"),
        ("genres", ParameterTypeError, "no matrix of numbers"),
    ],
)
def test_features_that_cannot_be_used_are_refused_before_any_work(features: Any, error: Any, message: str) -> None:
    plays, *_ = world()
    model = LinRFM(6, **SETTINGS)
    with pytest.raises(error, match=message):
        model.fit(plays, show_progress=False, item_features=features)
    assert model.item_factors is None


def test_the_full_form_takes_no_features() -> None:
    plays, genres, _ = world()
    with pytest.raises(NotSupportedError, match="factors=256"):
        LinRFM(None).fit(plays, show_progress=False, item_features=genres)


def test_new_rows_have_the_features_of_the_fit(fitted: Any) -> None:
    model, *_ = fitted
    with pytest.raises(DataError, match="not 4; pass those of fit"):
        model.add_items(np.ones((1, 3)))
    with pytest.raises(DataError, match="a row for each"):
        model.add_items(5)
