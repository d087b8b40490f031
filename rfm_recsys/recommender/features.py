"""What features say of items or users: a small recursive feature machine, from features to factors.

Equation numbers are those of ``docs/algorithm/``. The regression is a ridge on a constant, on the features, and on a
Laplace kernel of those that many rows have; the AGOP of what it has learned says how far each feature counts in the
kernel, and the regression is made once more. The kernel is chosen by exact leave-one-out, and the penalty of rare
features, which are a regression on what is left, by cross-validation.
"""

from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cholesky, solve_triangular
from scipy.sparse import csr_matrix

from rfm_recsys.core.arrays import Floats, Ints
from rfm_recsys.core.linalg import eigh, gram, multiply

COMMON = 0.01  # of the rows: a feature that fewer have counts linearly alone
KERNEL_COLUMNS = 256  # features that count in the kernel, at most
LANDMARKS, ROWS = 256, 20_000  # rows that the kernel is taken with, and that it is learned from
WIDTHS = (2.0, 4.0)  # of the kernel, in root mean square distances
LINEAR = 0.1  # prior variance of the coefficient of a common feature, in units of that of the kernel's function
PENALTIES = np.geomspace(0.1, 300, 8)
DIRECTIONS = 16  # of the factors, by which all is chosen
RARE_PENALTIES, FOLDS, STEPS = (1.0, 3.0, 10.0, 30.0), 4, 20
AT_ONCE = 16_384  # rows that are predicted at a time


@dataclass(frozen=True)
class FeatureRegression:
    """A regression of factors on features, for rows with r factors and d features.

    Parameters
    ----------
    common, rare : arrays of ints, shape (k,) and (l,)
        Columns of the features that count in the kernel, and linearly alone.
    center, scale : arrays, shape (k,)
        What is taken from a common feature, and what it is then multiplied by.
    metric : array, shape (k,)
        What features are multiplied by before the kernel measures distances: the fourth root of its AGOP's diagonal.
    landmarks : array, shape (p, k)
    width : array, shape (1,)
    constant, linear, kernel : arrays, shape (1, r), (k + l, r) and (p, r)
        Coefficients.
    agop : array, shape (d,)
        Diagonal of the AGOP: mean squared gradient of the scores by each feature, as it comes; 0 of one that does not
        count.
    """

    common: Ints
    rare: Ints
    center: Floats
    scale: Floats
    metric: Floats
    landmarks: Floats
    width: Floats
    constant: Floats
    linear: Floats
    kernel: Floats
    agop: Floats

    def predicted(self, features: csr_matrix) -> Floats:
        """Return the factors to expect of rows, shape (rows, r), by their features, shape (rows, d)."""
        parts = [np.empty((0, self.constant.shape[1]))]
        for first in range(0, features.shape[0], AT_ONCE):
            rows = features[first : first + AT_ONCE]
            X = _common(rows, self.common, self.center, self.scale)
            out = self.constant + csr_matrix(rows[:, self.rare]) @ self.linear[len(self.common) :]
            out = out + multiply(X, self.linear[: len(self.common)])
            distances = _distances(X * self.metric, self.landmarks)
            out += multiply(np.exp(-distances / self.width), self.kernel)
            parts.append(out)
        return np.vstack(parts)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return all that it holds, by name."""
        return {each.name: getattr(self, each.name) for each in fields(self)}

    @classmethod
    def of(cls, features: csr_matrix, factors: Floats, metric: Floats) -> tuple[Self, Floats]:
        """Return the regression of factors, shape (n, r), on features, shape (n, d), and what it expects of each row.

        Of a row that it was learned from, what it would expect without it: what features say beside the row's own
        factors.

        Parameters
        ----------
        metric : array, shape (r, r)
            Gram matrix of the factors on the other side, so that errors are those of the scores.
        """
        n = len(factors)
        some = np.linspace(0, n - 1, min(n, ROWS)).astype(np.intp)
        learner = _Learner(features[some], factors[some].astype(np.float64), metric.astype(np.float64))
        regression = cls(**learner.parts())
        expected = regression.predicted(features)
        expected[some] = learner.without_itself()
        return regression, expected


class _Learner:
    """The choice of a kernel for the common features, the regression on it, and that of what it leaves on rare ones."""

    def __init__(self, features: csr_matrix, factors: Floats, metric: Floats) -> None:
        n, self.d = features.shape
        self.factors = factors
        counts = np.bincount(features.indices, minlength=self.d)
        order = np.argsort(-counts, kind="stable")
        is_common = counts[order] >= COMMON * n
        is_common[KERNEL_COLUMNS:] = False
        self.common = np.sort(order[is_common])
        self.rare = np.sort(order[~is_common & (counts[order] > 0)])
        self.center, self.scale = _standards(features[:, self.common])
        self.X, self.Z = _common(features, self.common, self.center, self.scale), csr_matrix(features[:, self.rare])
        values, vectors = eigh(metric)
        root = vectors * np.sqrt(np.maximum(values, 0))
        scores = multiply(factors, root)  # of which the Gram matrix is that of the scores
        _, leading = eigh(gram(scores, scores))
        self.root = multiply(root, leading[:, ::-1][:, :DIRECTIONS])
        self.targets = multiply(factors, self.root)
        self.chosen = np.sort(np.random.default_rng(0).permutation(n)[:LANDMARKS])
        self.metric = np.ones(len(self.common))
        self.best: _Fit | None = None
        self._try_widths()
        agop = self._gradients()[1]
        if agop.any():
            self.metric = np.sqrt(np.sqrt(agop / agop.mean()))
            self._try_widths()
        self._rest = self._left_out(self.factors)
        self._of_rare, self._said_by_rare = self._regression_on_the_rest()

    @property
    def fit(self) -> "_Fit":
        """The best so far."""
        assert self.best is not None
        return self.best

    def _try_widths(self) -> None:
        """Fit with every width and penalty, and keep the best by its leave-one-out error."""
        X = self.X * self.metric
        distances = _distances(X, X[self.chosen])
        usual = np.sqrt(np.square(distances).mean())
        for width in [each * usual for each in WIDTHS] if usual > 0 else [1.0]:
            K = np.exp(-distances / width)
            among = K[self.chosen]
            among[np.diag_indices(len(among))] += 1e-6  # equal rows
            half = solve_triangular(cholesky(among, lower=True), np.eye(len(among)), lower=True).T
            basis = np.hstack([np.ones((len(X), 1)), np.sqrt(LINEAR) * self.X, multiply(K, half)])
            values, vectors = eigh(gram(basis, basis))
            turned = multiply(basis, vectors)
            squares, products = np.square(turned), multiply(np.ascontiguousarray(turned.T), self.targets)
            for penalty in PENALTIES:
                weights = 1 / (np.maximum(values, 0) + penalty)
                leverage = squares @ weights
                errors = (self.targets - multiply(turned, weights[:, None] * products)) / (1 - leverage)[:, None]
                error = float(np.square(errors).sum())
                if self.best is None or error < self.best.error:
                    self.best = _Fit(error, turned, vectors, weights, leverage, width, self.metric, half)

    def _coefficients(self, of: Floats) -> tuple[Floats, Floats, Floats]:
        """Return the coefficients of the constant, of common features and of landmarks, for some targets."""
        best = self.fit
        products = multiply(np.ascontiguousarray(best.turned.T), of)
        parts = np.split(multiply(best.vectors, best.weights[:, None] * products), [1, 1 + len(self.common)])
        return parts[0], np.sqrt(LINEAR) * parts[1], multiply(best.half, parts[2])

    def _left_out(self, of: Floats) -> Floats:
        """Return by how much each row is off, where it is predicted by the others."""
        best = self.fit
        products = multiply(np.ascontiguousarray(best.turned.T), of)
        errors: Floats = (of - multiply(best.turned, best.weights[:, None] * products)) / (1 - best.leverage)[:, None]
        return errors

    def _gradients(self) -> tuple[Floats, Floats]:
        """Return the mean squared gradients by common features, of the whole and of the kernel's part."""
        best = self.fit
        _, common, kernel = self._coefficients(self.targets)
        X, squared = self.X, np.square(best.metric)
        landmarks = X[self.chosen]
        distances = _distances(X * best.metric, landmarks * best.metric)
        # of exp(-distance / width); at a landmark itself there is none
        slopes = np.exp(-distances / best.width) / np.maximum(distances, 1e-2 * best.width) / best.width
        summed = multiply(slopes, kernel)
        whole, part = np.zeros((2, len(self.common)))
        for j in range(len(self.common)):
            slope = squared[j] * (multiply(slopes, landmarks[:, j, None] * kernel) - X[:, j, None] * summed)
            part[j], whole[j] = np.square(slope).sum() / len(X), np.square(slope + common[j]).sum() / len(X)
        return whole, part

    def _regression_on_the_rest(self) -> tuple[Floats, Floats]:
        """Return the coefficients of rare features, and what they say of each row by the regression on other rows."""
        rest = self._rest
        if len(self.rare) == 0:
            return np.empty((0, rest.shape[1])), np.zeros_like(rest)
        fold = np.random.default_rng(0).permutation(len(rest)) % FOLDS

        def of_others(of: Floats, penalty: float) -> Floats:
            said = np.empty_like(of)
            for k in range(FOLDS):
                said[fold == k] = self.Z[fold == k] @ _ridge(self.Z[fold != k], of[fold != k], penalty)
            return said

        leading = multiply(rest, self.root)
        errors = [np.square(leading - of_others(leading, penalty)).sum() for penalty in RARE_PENALTIES]
        if min(errors) >= np.square(leading).sum():  # they say nothing
            return np.zeros((len(self.rare), rest.shape[1])), np.zeros_like(rest)
        penalty = RARE_PENALTIES[int(np.argmin(errors))]
        return _ridge(self.Z, rest, penalty), of_others(rest, penalty)

    def without_itself(self) -> Floats:
        """Return what is expected of every row by the regression on the others, shape (n, r)."""
        return np.asarray(self.factors - self._rest + self._said_by_rare)

    def parts(self) -> dict[str, NDArray[Any]]:
        """Return the parts of a :class:`FeatureRegression`."""
        constant, common, kernel = self._coefficients(self.factors)
        agop = np.zeros(self.d)
        agop[self.common] = self._gradients()[0] * np.square(self.scale)
        agop[self.rare] = np.square(multiply(self._of_rare, self.root)).sum(axis=1)
        return {
            "common": self.common, "rare": self.rare, "center": self.center, "scale": self.scale,
            "metric": self.fit.metric, "landmarks": self.X[self.chosen] * self.fit.metric,
            "width": np.array([self.fit.width]), "constant": constant, "linear": np.vstack([common, self._of_rare]),
            "kernel": kernel, "agop": agop,
        }  # fmt: skip


def _ridge(Z: csr_matrix, targets: Floats, penalty: float) -> Floats:
    """Return the coefficients of a ridge regression on sparse features, by conjugate gradients on all targets."""
    by_column = csr_matrix(Z.T)
    x = np.zeros((Z.shape[1], targets.shape[1]))
    r = by_column @ targets
    p, rsold = r, np.square(r).sum(axis=0)
    for _ in range(STEPS):
        Ap = by_column @ (Z @ p) + penalty * p
        step = rsold / np.maximum((p * Ap).sum(axis=0), np.finfo(float).tiny)
        x, r = x + step * p, r - step * Ap
        rsnew = np.square(r).sum(axis=0)
        p, rsold = r + rsnew / np.maximum(rsold, np.finfo(float).tiny) * p, rsnew
    return x


@dataclass
class _Fit:
    """A regression on a basis whose Gram matrix has the eigenvectors ``vectors``."""

    error: float  # squared, of leaving one out
    turned: Floats  # basis times vectors
    vectors: Floats
    weights: Floats  # 1 / (eigenvalues + penalty)
    leverage: Floats
    width: float
    metric: Floats
    half: Floats  # from the kernel with the landmarks to the columns of the basis


def _standards(features: csr_matrix) -> tuple[Floats, Floats]:
    """Return what to take from each column, and what to multiply it by: nothing and 1 where most rows have 0."""
    n, k = features.shape
    center, scale = np.zeros(k), np.ones(k)
    for j, column in enumerate(features.toarray().T):
        levels = np.unique(column)
        if len(levels) > 2 and np.count_nonzero(column) > n / 2:
            center[j], scale[j] = column.mean(), 1 / column.std()
    return center, scale


def _common(features: csr_matrix, columns: Ints, center: Floats, scale: Floats) -> Floats:
    return np.ascontiguousarray((features[:, columns].toarray() - center) * scale)


def _distances(A: Floats, B: Floats) -> Floats:
    """Return the distances between the rows of A and those of B."""
    squares = np.square(A).sum(axis=1)[:, None] + np.square(B).sum(axis=1)
    distances: Floats = np.sqrt(np.maximum(squares - 2 * multiply(A, np.ascontiguousarray(B.T)), 0))
    return distances
