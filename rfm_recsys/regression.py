"""Sparse linear regression: the diagonal form of lin-RFM as a scikit-learn estimator, which this module alone needs.

Equation numbers are those of ``docs/algorithm/``.
"""

import warnings
from collections.abc import Iterator
from itertools import islice
from typing import Any, Self

import numpy as np
import scipy.linalg
from scipy.linalg import norm  # which neither overflows nor underflows
from scipy.sparse import csr_matrix

from rfm_recsys.core.arrays import Floats
from rfm_recsys.core.checks import check_flag, check_integer, check_number
from rfm_recsys.core.extras import extra
from rfm_recsys.core.kernels import PARTIAL_ROWS, PARTIALS
from rfm_recsys.core.linalg import REFINEMENTS, ROUNDING, gram, weighted_gram
from rfm_recsys.core.memory import check_memory
from rfm_recsys.core.runtime import threads
from rfm_recsys.errors import DataError

with extra("regression"):
    from sklearn.base import BaseEstimator, RegressorMixin
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.utils.validation import check_is_fitted, validate_data

SMALLEST_EPS = 1e-8  # where annealing ends, in units of round 1's largest coefficient
RATIOS = np.concatenate([[0.0], np.logspace(-4, 1, 11)])  # of the variances of noise and signal, to choose from
FOLDS, FEWEST = 5, 10  # of the samples, to choose by; with fewer samples than that, the noise is as large as the signal
# of the rounds that it is chosen by, which need not end where those of the fit do
QUICK_ANNEALING, QUICK_ROUNDS, QUICK_TOL = 0.7, 30, 1e-3


class LinRFMRegressor(RegressorMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Linear regression with few coefficients that are not zero: lin-RFM on vectors.

    Ridge regression on reweighted features and a new weighting from the coefficients, in turns: this is iteratively
    reweighted least squares for the quasi-norm l_p with ``p = 2 - 4 power``. Without noise, ``regularization=0``
    recovers sparse coefficients from fewer samples than the Lasso needs. Features in different units want a
    ``StandardScaler`` before, as they do for the Lasso.

    Parameters
    ----------
    power : float, at least 0
        Power of the AGOP: 0 is ridge regression, 1/4 penalises like the Lasso, 1/2 like the sum of the coefficients'
        logarithms. The higher, the sparser.
    regularization : float, at least 0, or None
        Variance of the noise, in units of that of the signal, as the prior has it: 0 interpolates the targets where
        there are fewer samples than features. None takes that of twelve ratios from 0 to 10 which predicts best in a
        five-fold cross-validation of the rounds; with fewer than ten samples it is 1.
    max_iter : int, at least 1
        The most rounds to run.
    tol : float, at least 0
        The rounds end when the coefficients change by less than this, relative to their norm.
    annealing : float, above 0 and below 1
        What the smoothing eps of the weighting is multiplied by in every round, down to 1e-8 of the largest coefficient
        of round 1. Closer to 1 recovers from a few samples less, in more rounds.
    fit_intercept : bool
        Whether the model has an intercept; without one, ``y`` and the features count as centred.

    Attributes
    ----------
    coef_ : array, shape (features,)
    intercept_ : float
    n_iter_ : int
        Rounds run.
    regularization_ : float
        The value in use.
    history_ : list of dict
        For every round: ``eps`` (inf in the first, where all features weigh the same), ``change`` (of the coefficients,
        relative to their norm; None in the first) and ``residual`` (norm of ``y - X coef_ - intercept_`` relative to
        that of the centred y).
    stopped_ : str
        Why the rounds ended: ``"tol"``, ``"max_iter"``, or ``"constant"`` where y or all features do not vary.

    Raises
    ------
    ParameterError, ParameterTypeError
        From ``fit``: a parameter is out of its bounds. What is wrong with the data, scikit-learn says.
    InsufficientMemoryError
        From ``fit``, before any work: the system of equations does not fit.

    Notes
    -----
    A round costs ``samples features min(samples, features)``; the same data give the same bits, whatever the number of
    threads. X may be sparse, and is then not made dense.

    References
    ----------
    Radhakrishnan, Belkin, Drusvyatskiy: Linear Recursive Feature Machines provably recover low-rank matrices.
    arXiv 2401.04553.

    Examples
    --------
    >>> import numpy as np
    >>> from rfm_recsys.regression import LinRFMRegressor
    >>> X = np.random.default_rng(0).normal(size=(30, 100))
    >>> y = 3 * X[:, 7] - 2 * X[:, 60]
    >>> np.flatnonzero(LinRFMRegressor(regularization=0).fit(X, y).coef_.round(3)).tolist()
    [7, 60]
    >>> model = LinRFMRegressor(regularization=0).fit(X, y)
    >>> bool(np.allclose(model.predict(X), y))
    True
    """

    coef_: Floats
    intercept_: float
    n_iter_: int
    regularization_: float
    history_: list[dict[str, float | None]]
    stopped_: str

    def __init__(
        self,
        power: float = 0.5,
        regularization: float | None = None,
        max_iter: int = 500,
        tol: float = 1e-6,
        annealing: float = 0.9,
        fit_intercept: bool = True,
    ) -> None:
        self.power = power
        self.regularization = regularization
        self.max_iter = max_iter
        self.tol = tol
        self.annealing = annealing
        self.fit_intercept = fit_intercept

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    def fit(self, X: Any, y: Any) -> Self:
        """Fit the coefficients.

        Parameters
        ----------
        X : array or sparse matrix, shape (samples, features)
        y : array, shape (samples,)

        Returns
        -------
        LinRFMRegressor
            The model itself.

        Raises
        ------
        ParameterError, ParameterTypeError
            A parameter is out of its bounds.
        ValueError
            From scikit-learn: what is wrong with the data.
        InsufficientMemoryError
            The system of equations does not fit.
        """
        power = check_number("power", self.power, 0)
        regularization = self.regularization
        if regularization is not None:
            regularization = check_number("regularization", regularization, 0)
        max_iter = check_integer("max_iter", self.max_iter, 1)
        tol = check_number("tol", self.tol, 0)
        annealing = check_number("annealing", self.annealing, 0, 1 - np.finfo(float).eps, above=True)
        fit_intercept = check_flag("fit_intercept", self.fit_intercept)
        X, y = validate_data(self, X, y, accept_sparse="csr", dtype=np.float64, y_numeric=True)
        y = np.asarray(y, dtype=np.float64)
        y_mean = float(y.mean()) if fit_intercept else 0.0
        with threads(0):
            features = Features(X, fit_intercept)
            if regularization is None:
                regularization = cross_validated(X, y, power, fit_intercept)
            self._run(features, y - y_mean, power, regularization, max_iter, tol, annealing)
            self.intercept_ = y_mean - float(features.mean @ self.coef_)
        return self

    def _run(
        self,
        features: "Features",
        y: Floats,
        power: float,
        regularization: float,
        max_iter: int,
        tol: float,
        annealing: float,
    ) -> None:
        self.history_ = []
        if not y.any() or features.variation <= 0:
            self.coef_, self.n_iter_, self.stopped_ = np.zeros(len(features.mean)), 1, "constant"
            self.regularization_ = regularization
            return
        self.regularization_ = regularization
        rounds = regression_rounds(features, y, power, self.regularization_, annealing)
        self.stopped_ = "max_iter"
        self.coef_, eps = next(rounds)
        self._record(features, y, eps, None)
        change = np.inf
        for w, eps in islice(rounds, max_iter - 1):
            size = float(norm(w))
            change = float(norm(w - self.coef_)) / size if size else 0.0
            self.coef_ = w
            self._record(features, y, eps, change)
            if change <= tol:
                self.stopped_ = "tol"
                break
        self.n_iter_ = len(self.history_)
        if self.stopped_ == "max_iter" and max_iter > 1:
            warnings.warn(
                f"the coefficients still change by {change:.1g} of their norm after {max_iter} rounds, and not by at "
                f"most {tol:g}; pass a higher max_iter or tol, or a lower annealing",
                ConvergenceWarning,
                stacklevel=3,
            )

    def _record(self, features: "Features", y: Floats, eps: float, change: float | None) -> None:
        residual = float(norm(y - features.product(self.coef_)) / norm(y))
        self.history_.append({"eps": eps, "change": change, "residual": residual})

    def predict(self, X: Any) -> Floats:
        """Return ``X coef_ + intercept_``, shape (samples,).

        Parameters
        ----------
        X : array or sparse matrix, shape (samples, features)

        Returns
        -------
        array, shape (samples,)

        Raises
        ------
        NotFittedError
            scikit-learn's, before ``fit``.
        ValueError
            Another number of features than ``fit`` has seen.
        """
        check_is_fitted(self)
        X = validate_data(self, X, accept_sparse="csr", dtype=np.float64, reset=False)
        with threads(0):
            prediction: Floats = X @ self.coef_ + self.intercept_
        return prediction


class Features:
    """X with the means of its columns taken off, if ``centred``, and the regression step on it.

    Parameters
    ----------
    X : array or csr_matrix, shape (samples, features)
        A sparse one is not made dense: its centre is taken off the products.
    centred : bool
        Whether to take off the means.
    """

    def __init__(self, X: Floats | csr_matrix, centred: bool) -> None:
        self.n_samples, self.n_features = X.shape
        self.wide = self.n_samples < self.n_features
        sums = min(PARTIALS, max(X.shape) // PARTIAL_ROWS + 1)
        check_memory(
            8 * ((sums + 4) * min(X.shape) ** 2 + (X.size if isinstance(X, np.ndarray) else 0)),
            f"a regression of {self.n_samples} samples on {self.n_features} features",
            "pass fewer samples, or fewer features",
        )
        self.mean: Floats = np.asarray(X.mean(axis=0)).ravel() if centred else np.zeros(self.n_features)
        self.samples = self.n_samples - centred  # dimensions in which y and X can differ
        if isinstance(X, np.ndarray):
            # where the features outnumber the samples, each has a row: what the sums of outer() run over
            self.X = np.asarray(X - self.mean, order="F" if self.wide else "C")
            self.shift: Floats = np.zeros(self.n_features)
            self.variation = float((self.X**2).sum())
            rounding = 4 * np.finfo(float).eps ** 2
        else:
            self.X, self.shift = X, self.mean
            self.variation = float((X.data**2).sum() - self.n_samples * self.shift @ self.shift)
            rounding = 4 * np.finfo(float).eps
        if not np.isfinite(self.variation):
            raise DataError("the squares of the features overflow; scale the features towards 1")
        if self.variation <= rounding * self.n_samples * self.mean @ self.mean:
            self.variation = 0.0
        self.gram = None if self.wide else self._gram()

    def product(self, w: Floats) -> Floats:
        """Return ``X w``, shape (samples,)."""
        return np.asarray(self.X @ w - self.shift @ w)

    def transposed_product(self, a: Floats) -> Floats:
        """Return ``X^T a``, shape (features,)."""
        return np.asarray(self.X.T @ a - self.shift * a.sum())

    def _gram(self) -> Floats:
        """Return ``X^T X``, shape (features, features)."""
        if isinstance(self.X, np.ndarray):
            return gram(self.X, self.X)
        return np.asarray((self.X.T @ self.X).toarray() - self.n_samples * np.outer(self.shift, self.shift))

    def outer(self, K: Floats) -> Floats:
        """Return ``X diag(K) X^T``, shape (samples, samples)."""
        if isinstance(self.X, np.ndarray):
            return weighted_gram(self.X.T, np.sqrt(K))
        weighted = self.X.multiply(K).tocsr()
        offset = weighted @ self.shift
        product: Floats = (weighted @ self.X.T).toarray()
        product -= offset[:, None] + offset - self.shift @ (K * self.shift)
        return product

    def solve(self, K: Floats, penalty: float, y: Floats) -> Floats:
        """Return the w that minimises ``|y - X w|^2 + penalty sum_i w_i^2 / K_i``, shape (features,)."""
        if self.gram is None:
            return K * self.transposed_product(_solve_shifted(self.outer(K), penalty, y))
        m = np.sqrt(K)
        return m * _solve_shifted(m[:, None] * self.gram * m, penalty, m * self.transposed_product(y))


def regression_rounds(
    features: Features, y: Floats, power: float, regularization: float, annealing: float
) -> Iterator[tuple[Floats, float]]:
    """Run rounds of lin-RFM on vectors, without end; yield each one's w, and the eps of its K.

    Parameters
    ----------
    features : Features
    y : array, shape (samples,)
        The targets, centred if the features are; not all zero.
    power, regularization, annealing : float
        As in :class:`LinRFMRegressor`.
    """
    penalty = regularization * features.variation / features.n_samples
    w = features.solve(np.ones(features.n_features), penalty, y)
    yield w, np.inf
    largest = float(np.abs(w).max())
    eps = largest
    while True:
        eps = max(annealing * eps, SMALLEST_EPS * largest)
        K = (w / largest) ** 2 + (eps / largest) ** 2
        K = (K / K.max()) ** (2 * power)
        w = features.solve(K / K.mean(), penalty, y)
        yield w, eps


def cross_validated(X: Floats | csr_matrix, y: Floats, power: float, centred: bool) -> float:
    """Return that of `RATIOS` by which rounds on some folds of the samples predict the others best.

    It is the rounds that are validated, not the ridge regression of the last one: its weighting has seen all of y.
    """
    size = norm(y)
    if len(y) < FEWEST or not size:
        return 1.0
    y = y / size
    fold = np.empty(len(y), dtype=np.intp)
    fold[np.argsort(y, kind="stable")] = np.arange(len(y)) % FOLDS  # alike in y, and whatever order the samples have
    errors = np.zeros(len(RATIOS))
    for k in range(FOLDS):
        train, test = np.flatnonzero(fold != k), np.flatnonzero(fold == k)
        features, mean = Features(X[train], centred), float(y[train].mean()) if centred else 0.0
        target = y[train] - mean
        for place, ratio in enumerate(RATIOS):
            w = _quick(features, target, power, float(ratio))
            predicted = np.asarray(X[test] @ w).ravel() + mean - float(features.mean @ w)
            error = float(norm(y[test] - predicted)) ** 2
            errors[place] += error if np.isfinite(error) else np.inf
    return float(RATIOS[np.argmin(errors)])


def _quick(features: Features, y: Floats, power: float, ratio: float) -> Floats:
    """Return the coefficients after a few rounds; of 0 where nothing varies, or the system is lost to rounding."""
    w: Floats = np.zeros(features.n_features)
    if not y.any() or features.variation <= 0:
        return w
    try:
        for new, _ in islice(regression_rounds(features, y, power, ratio, QUICK_ANNEALING), QUICK_ROUNDS):
            w, before = new, w
            if norm(w - before) <= QUICK_TOL * norm(w):
                break
    except DataError:
        return np.zeros(features.n_features)
    return w


def _solve_shifted(G: Floats, penalty: float, rhs: Floats) -> Floats:
    """Return ``(G + penalty I)^-1 rhs`` for a positive semidefinite G, shape (n, n), which is overwritten.

    Where the penalty is below the rounding of G, that takes its place, and steps of refinement take it off again: from
    all but the directions that are lost to rounding.
    """
    G.flat[:: len(G) + 1] += penalty
    rounding = ROUNDING * np.trace(G)
    shifted = G.copy()
    shifted.flat[:: len(G) + 1] += max(rounding - penalty, 0.0)
    try:
        factor = scipy.linalg.cho_factor(shifted, lower=True, overwrite_a=True)
    except (ValueError, scipy.linalg.LinAlgError) as error:
        raise DataError(
            f"the system of equations is lost to rounding ({error}); pass a sparse X as a dense one, whose features "
            "are centred beforehand, or scale features and targets towards 1"
        ) from error
    a: Floats = scipy.linalg.cho_solve(factor, rhs)
    for _ in range(REFINEMENTS):
        a += scipy.linalg.cho_solve(factor, rhs - G @ a)
    return a
