"""LinRFMRegressor: scikit-learn's contract, the equivalence with IRLS-p, recovery, and regression with noise."""

import subprocess
import sys
import warnings
from collections.abc import Callable
from itertools import islice
from typing import Any

import naive
import numpy as np
import pytest
from scipy.sparse import csr_matrix
from sklearn.datasets import load_diabetes
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LassoCV, LassoLars, LinearRegression, Ridge
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

import rfm_recsys
from rfm_recsys import regression
from rfm_recsys.core import memory
from rfm_recsys.core.arrays import Floats
from rfm_recsys.core.runtime import threads
from rfm_recsys.errors import DataError, InsufficientMemoryError, ParameterError, ParameterTypeError
from rfm_recsys.regression import Features, LinRFMRegressor, regression_rounds


def sparse_problem(n: int, d: int, k: int, seed: int, noise: float = 0.0) -> tuple[Floats, Floats, Floats]:
    """Return X, y and w: normal samples and k normal coefficients; noise is the share of its variance."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d))
    w = np.zeros(d)
    w[rng.choice(d, k, replace=False)] = rng.normal(size=k)
    return X, X @ w + rng.normal(size=n) * noise**0.5 * float(np.linalg.norm(w)), w


def distance(a: Any, b: Any) -> float:
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


def test_it_passes_scikit_learns_checks() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a check was skipped, with some versions
        results = check_estimator(LinRFMRegressor(), on_fail=None)
    assert len(results) > 40
    others = {result["check_name"]: result["status"] for result in results if result["status"] != "passed"}
    # which SciPy has to be imported for, with SCIPY_ARRAY_API=1
    assert others in ({}, {"check_array_api_input": "skipped"})


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("power", [1 / 4, 1 / 3, 3 / 8, 1 / 2, 1])
def test_it_is_irls_iterate_by_iterate(power: float, seed: int) -> None:
    X, y, w = sparse_problem(50, 100, 8, seed)
    rounds = list(islice(regression_rounds(Features(X, False), y, power, 0, 0.9), 120))
    twins = naive.irls(X, y, 2 - 4 * power, [eps for _, eps in rounds[1:]])
    for (iterate, _), twin in zip(rounds, twins, strict=True):
        assert distance(iterate, twin) < 1e-8
    assert distance(rounds[0][0], w) > 0.3  # there was something to iterate for
    assert distance(rounds[-1][0], w) < 1e-4


@pytest.mark.parametrize("shape", [(30, 50), (50, 30)])
@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("centred", [False, True])
def test_the_regression_step_minimises_its_objective(shape: tuple[int, int], sparse: bool, centred: bool) -> None:
    rng = np.random.default_rng(0)
    X, y, K = rng.normal(size=shape) * (rng.random(shape) < 0.3) + 0.2, rng.normal(size=shape[0]), rng.random(shape[1])
    X[rng.random(shape) < 0.3] = 0
    w = Features(csr_matrix(X) if sparse else X, centred).solve(K, 0.7, y)
    X = X - X.mean(axis=0) if centred else X
    np.testing.assert_allclose(w, naive.reweighted_ridge(X, y, K, 0.7), rtol=1e-9, atol=1e-12)

    def objective(w: Floats) -> float:
        return float(np.sum((y - X @ w) ** 2) + 0.7 * np.sum(w**2 / K))

    for _ in range(20):
        assert objective(w + 1e-3 * rng.normal(size=len(w))) > objective(w)


@pytest.mark.parametrize("shape", [(30, 50), (50, 30), (1, 4), (4, 1), (12, 12)])
def test_sparse_and_dense_agree(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(1)
    X = rng.normal(size=shape) * (rng.random(shape) < 0.4)
    y = rng.normal(size=shape[0]) + 5
    for intercept in (True, False):
        dense, sparse = (LinRFMRegressor(fit_intercept=intercept).fit(data, y) for data in (X, csr_matrix(X)))
        assert dense.n_iter_ == sparse.n_iter_
        np.testing.assert_allclose(dense.coef_, sparse.coef_, atol=1e-7 * max(1, np.abs(dense.coef_).max()))
        np.testing.assert_allclose(dense.predict(X), sparse.predict(csr_matrix(X)), atol=1e-6)


@pytest.mark.parametrize("shape", [(40, 60), (60, 40)])
def test_power_zero_is_ridge_regression(shape: tuple[int, int]) -> None:
    X, y, _ = sparse_problem(*shape, 5, seed=0, noise=0.5)
    X, y = X + 3, y - 2
    model = LinRFMRegressor(power=0, regularization=0.3).fit(X, y)
    ridge = Ridge(alpha=0.3 * float(((X - X.mean(axis=0)) ** 2).sum()) / len(X)).fit(X, y)
    np.testing.assert_allclose(model.coef_, ridge.coef_, atol=1e-10)
    assert model.intercept_ == pytest.approx(ridge.intercept_)
    assert (model.n_iter_, model.stopped_) == (2, "tol")


def test_without_noise_it_recovers_from_samples_that_are_too_few_for_the_lasso() -> None:
    missed = 0
    for seed in range(10):
        X, y, w = sparse_problem(40, 200, 10, seed)
        model = LinRFMRegressor(regularization=0, tol=1e-8, fit_intercept=False).fit(X, y)
        lasso = LassoLars(alpha=0, fit_intercept=False).fit(X, y)  # the end of the path: basis pursuit
        assert distance(model.coef_, w) < 1e-6
        missed += distance(lasso.coef_, w) > 1e-2
        assert model.stopped_ == "tol"
    assert missed >= 4


def test_the_same_with_an_intercept() -> None:
    X, y, w = sparse_problem(60, 200, 10, seed=0)
    model = LinRFMRegressor(regularization=0, tol=1e-8).fit(X + 2, y + 7)
    assert distance(model.coef_, w) < 1e-6
    assert model.intercept_ == pytest.approx(7 - 2 * w.sum())


def test_with_noise_the_defaults_find_the_features_that_matter() -> None:
    ours, ordinary = [], []
    for seed in range(5):
        X, y, w = sparse_problem(200, 50, 5, seed, noise=0.2)
        model = LinRFMRegressor().fit(X, y)
        assert 0.05 < model.regularization_ < 4
        ours.append(distance(model.coef_, w))
        ordinary.append(distance(LinearRegression().fit(X, y).coef_, w))
        assert np.sum(np.abs(model.coef_) > 1e-3 * np.abs(model.coef_).max()) < 25
    assert np.mean(ours) < 0.75 * np.mean(ordinary)


def test_on_plain_data_the_defaults_do_as_least_squares_does() -> None:
    X, y = load_diabetes(return_X_y=True)
    ours, ordinary = (
        cross_val_score(make_pipeline(StandardScaler(), model), X, y).mean()
        for model in (LinRFMRegressor(), LinearRegression())
    )
    assert ours > ordinary - 0.005
    assert ours > 0.47


def test_it_can_be_searched_over() -> None:
    X, y, _ = sparse_problem(120, 40, 3, seed=0, noise=0.5)
    search = GridSearchCV(LinRFMRegressor(), {"power": [0, 0.5], "regularization": [0.01, 0.3]}, cv=3).fit(X, y)
    assert search.best_params_["power"] == 0.5
    assert search.best_score_ > 0.4


@pytest.mark.parametrize("shape", [(30, 60), (60, 30)])
@pytest.mark.parametrize("regularization", [None, 0.1])
def test_units_order_and_offsets_do_not_matter(shape: tuple[int, int], regularization: float | None) -> None:
    X, y, _ = sparse_problem(*shape, 4, seed=0, noise=0.3)
    rng = np.random.default_rng(0)
    samples, features = (rng.permutation(size) for size in shape)

    def coefficients(X: Floats, y: Floats) -> Floats:
        coef: Floats = LinRFMRegressor(regularization=regularization, tol=1e-9).fit(X, y).coef_
        return coef

    plain = coefficients(X, y)
    for other in (
        coefficients(X, 1e-200 * y) * 1e200,
        coefficients(X, 1e200 * y) * 1e-200,
        coefficients(1e6 * X, y) * 1e6,
        coefficients(X + 1, y - 50),
        coefficients(X[samples], y[samples]),
        coefficients(X[:, features], y)[np.argsort(features)],
    ):
        np.testing.assert_allclose(other, plain, rtol=1e-5, atol=1e-8 * np.abs(plain).max())


@pytest.mark.parametrize("shape", [(50, 20_000), (20_000, 30)])
def test_one_thread_and_many_give_the_same_bits(shape: tuple[int, int]) -> None:
    X, y, _ = sparse_problem(*shape, 5, seed=0)
    results = []
    for number in (1, 2):
        with threads(number):
            results.append([w.tobytes() for w, _ in islice(regression_rounds(Features(X, True), y, 0.5, 0.1, 0.9), 4)])
    assert results[0] == results[1]
    assert len({*results[0]}) == 4


@pytest.mark.parametrize("noise", [0.0, 0.25])
@pytest.mark.parametrize(("n", "d"), [(60, 120), (120, 60)])
def test_left_to_itself_it_is_nearer_the_coefficients_than_the_cross_validated_lasso(
    n: int, d: int, noise: float
) -> None:
    ours, theirs = [], []
    for seed in range(5):
        X, y, w = sparse_problem(n, d, 6, seed, noise)
        ours.append(distance(LinRFMRegressor().fit(X, y).coef_, w))
        theirs.append(distance(LassoCV().fit(X, y).coef_, w))
    assert np.mean(ours) < np.mean(theirs)
    if noise == 0:
        assert max(ours) < 1e-3


def test_the_chosen_regularization_predicts_held_out_folds_best() -> None:
    X, y, _ = sparse_problem(40, 30, 4, seed=3, noise=0.5)
    fold = np.empty(40, dtype=int)
    fold[np.argsort(y)] = np.arange(40) % 5
    errors = []
    for ratio in regression.RATIOS:
        predicted = np.zeros(40)
        for k in range(5):
            quick = LinRFMRegressor(regularization=float(ratio), annealing=0.7, max_iter=30, tol=1e-3)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)
                predicted[fold == k] = quick.fit(X[fold != k], y[fold != k]).predict(X[fold == k])
        errors.append(float(((y - predicted) ** 2).sum()))
    assert LinRFMRegressor().fit(X, y).regularization_ == regression.RATIOS[int(np.argmin(errors))]


def test_what_is_recorded() -> None:
    X, y, _ = sparse_problem(40, 80, 4, seed=0)
    model = LinRFMRegressor(regularization=0, annealing=0.8).fit(X, y)
    assert model.stopped_ == "tol"
    assert len(model.history_) == model.n_iter_ < 100
    first, second, *_, last = model.history_
    assert first["eps"] == np.inf
    assert first["change"] is None
    assert second["change"] is not None
    assert last["change"] is not None
    assert last["change"] <= 1e-6 < second["change"]
    eps = [entry["eps"] or 0 for entry in model.history_[1:]]
    np.testing.assert_allclose(np.divide(eps[1:], eps[:-1]), 0.8)
    assert all((entry["residual"] or 0) < 1e-10 for entry in model.history_)


def test_it_says_when_the_rounds_were_too_few() -> None:
    X, y, _ = sparse_problem(40, 80, 4, seed=0)
    with pytest.warns(ConvergenceWarning, match=r"after 5 rounds, and not by at most 1e-06; pass a higher max_iter"):
        model = LinRFMRegressor(max_iter=5).fit(X, y)
    assert (model.stopped_, model.n_iter_) == ("max_iter", 5)
    assert LinRFMRegressor(max_iter=1).fit(X, y).n_iter_ == 1  # one round is wanted, and is ridge regression


@pytest.mark.parametrize("convert", [np.asarray, csr_matrix])
@pytest.mark.parametrize("shape", [(6, 3), (3, 6)])
def test_what_does_not_vary_explains_nothing(convert: Callable[[Floats], Any], shape: tuple[int, int]) -> None:
    X, y = np.full(shape, 0.1), np.arange(shape[0], dtype=float)
    for model in (LinRFMRegressor().fit(convert(X), y), LinRFMRegressor().fit(convert(np.eye(*shape)), 0 * y + 4)):
        assert model.stopped_ == "constant"
        assert not model.coef_.any()
        assert model.n_iter_ == 1
    assert model.intercept_ == 4


@pytest.mark.parametrize("shape", [(20, 10), (10, 20)])
@pytest.mark.parametrize("power", [0, 1 / 4, 1 / 2, 1])
def test_features_that_repeat_or_vanish(shape: tuple[int, int], power: float) -> None:
    X = np.random.default_rng(0).normal(size=shape)
    X[:, 1], X[:, 2] = X[:, 0], 0
    y = 3 * X[:, 0] - X[:, 4]
    model = LinRFMRegressor(power=power, regularization=1e-8, fit_intercept=False).fit(X, y)
    assert model.coef_[2] == 0
    assert distance(model.predict(X), y) < 1e-5
    if power:
        assert model.coef_[0] + model.coef_[1] == pytest.approx(3, rel=1e-4)


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"power": -1}, ParameterError, "power is -1; pass a finite number at least 0"),
        ({"power": "a"}, ParameterTypeError, "power is 'a'"),
        ({"regularization": np.nan}, ParameterError, "regularization is nan"),
        ({"max_iter": 0}, ParameterError, "max_iter is 0"),
        ({"tol": -1e-3}, ParameterError, "tol is -0.001"),
        ({"annealing": 1}, ParameterError, "annealing is 1; pass a finite number above 0"),
        ({"annealing": 0}, ParameterError, "annealing is 0"),
        ({"fit_intercept": "yes"}, ParameterTypeError, "fit_intercept is 'yes'"),
    ],
)
def test_parameters_out_of_bounds(parameters: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        LinRFMRegressor(**parameters).fit(np.eye(3), np.arange(3))


def test_values_out_of_range() -> None:
    with np.errstate(all="ignore"), pytest.raises(DataError, match="the squares of the features overflow; scale"):
        LinRFMRegressor().fit(1e200 * np.eye(3), np.arange(3))


@pytest.mark.parametrize("shape", [(20, 40), (40, 20)])
def test_the_centre_of_a_sparse_matrix_can_be_too_large(shape: tuple[int, int]) -> None:
    X, y, _ = sparse_problem(*shape, 4, seed=0)
    with pytest.raises(DataError, match="lost to rounding"):
        LinRFMRegressor(regularization=1e-6).fit(csr_matrix(X + 1e7), y)
    LinRFMRegressor(regularization=1e-6).fit(X + 1e7, y)


def test_memory_that_is_not_there_is_told_before_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "available_memory", lambda: 10_000)
    with pytest.raises(InsufficientMemoryError, match="a regression of 40 samples on 60 features needs about"):
        LinRFMRegressor().fit(*sparse_problem(40, 60, 3, seed=0)[:2])


def test_the_recommender_does_without_scikit_learn() -> None:
    code = "import sys, rfm_recsys; sys.exit('sklearn' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    assert not hasattr(rfm_recsys, "regression") or "rfm_recsys.regression" in sys.modules
