"""One-sided completion: the matrix is formed, and so is the feature matrix of its shorter side."""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import scipy.linalg
from scipy.linalg import norm  # which neither overflows nor underflows
from scipy.sparse import csr_matrix

from rfm_recsys.completion.observations import Observations, share_left
from rfm_recsys.core import kernels
from rfm_recsys.core.arrays import Floats, row_of_entry
from rfm_recsys.core.linalg import REFINEMENTS, ROUNDING, gram, multiply
from rfm_recsys.errors import DataError

# Where one-sided annealing ends, in units of the start: its square is above the rounding of X^T X, and K, whose least
# eigenvalue is eps^(4 power) of the largest, above its own.
SMALLEST_EPS, LEAST_EIGENVALUE = 1e-6, 1e-12

LARGEST_ROOT = 16  # of matrices that is taken by products


@dataclass
class DenseIterate:
    """A round of the one-sided form: ``X``, shape (rows, columns), transposed where the observed matrix is wide."""

    observed: Observations
    X: Floats
    eps: float
    wide: bool
    rank: None = None
    settled: bool = True

    def change(self, before: "DenseIterate") -> float:
        """Return the distance from the round before, relative to the norm."""
        return float(norm(self.X - before.X) / norm(self.X))

    def residual(self) -> float:
        """Return what is left of the observed entries, relative to their norm."""
        return share_left(self.observed, self.X[row_of_entry(self.observed.indptr), self.observed.indices])

    def parts(self) -> tuple[Floats, Floats, csr_matrix, Floats]:
        """Return what a :class:`Completion` holds."""
        U, s, Vt = scipy.linalg.svd(self.X, full_matrices=False, overwrite_a=True)
        kept = s > s[0] * max(self.X.shape) * np.finfo(float).eps
        left, right, s = U[:, kept] * s[kept], Vt[kept].T, s[kept]
        if self.wide:
            left, right = right * s, left / s
        return left, right, csr_matrix((len(left), len(right))), s


def one_sided_memory(shape: tuple[int, int]) -> int:
    """Return the bytes that a one-sided completion takes at most, to some per cent."""
    n = min(shape)
    sums = min(kernels.PARTIALS, max(shape) // kernels.PARTIAL_ROWS + 1)
    return 8 * (5 * shape[0] * shape[1] + (sums + 16) * n**2)


def one_sided_rounds(
    observed: Observations, power: float, regularization: float, annealing: float
) -> Iterator[DenseIterate]:
    """Run rounds of lin-RFM as in the paper, with a smoothing eps, without end; yield each one's matrix.

    The parameters are those of :func:`complete`; the entries are scaled to be at most 1.
    """
    wide = observed.shape[0] < observed.shape[1]
    if wide:
        observed = observed.transposed()
    X: Floats = np.zeros(observed.shape)
    X[row_of_entry(observed.indptr), observed.indices] = observed.values / (1 + regularization)
    yield DenseIterate(observed, X, np.inf, wide)
    eps = float(np.sqrt(norm(gram(X, X))))
    smallest = eps * max(SMALLEST_EPS, LEAST_EIGENVALUE ** (0.25 / power) if power else 0.0)
    while True:
        eps = max(annealing * eps, smallest)
        K = feature_kernel(gram(X, X), eps, power)
        X = complete_rows(observed, K, regularization)
        yield DenseIterate(observed, X, eps, wide)


def feature_kernel(G: Floats, eps: float, power: float) -> Floats:
    """Return ``K = (G + eps^2 I)^(2 power)`` for the AGOP G, overwritten; its eigenvalues are scaled to mean 1."""
    G.flat[:: len(G) + 1] += eps**2
    largest = norm(G)
    K = matrix_power(G / largest, 2 * power, eps**2 / largest)
    K *= len(K) / np.trace(K)
    return K


def matrix_power(S: Floats, exponent: float, least: float) -> Floats:
    """Return a power of a symmetric matrix with eigenvalues from ``least`` > 0 to 1, shape (n, n).

    By products alone where the exponent is an integer, or a fraction with a denominator of at most ``LARGEST_ROOT``:
    below 1, ``S^(k / p) = S (S^(-1/p))^(p - k)``; above 1, the square of the root, which rounding leaves no negative
    eigenvalues. By an eigendecomposition otherwise.
    """
    fraction = Fraction(exponent).limit_denominator(LARGEST_ROOT)
    if abs(fraction - exponent) > 4 * np.finfo(float).eps * exponent:
        values, V = scipy.linalg.eigh(S, driver="evd")
        half = V * np.maximum(values, least) ** (exponent / 2)
        return multiply(half, half.T)
    if fraction.denominator == 1:
        return _integer_power(S, int(fraction))
    if fraction > 1:
        half = matrix_power(S, exponent / 2, least)
        return multiply(half, half.T)
    root = inverse_root(S, fraction.denominator, least)
    K = multiply(S, _integer_power(root, fraction.denominator - fraction.numerator))
    return (K + K.T) / 2


def _integer_power(S: Floats, exponent: int) -> Floats:
    if exponent == 0:
        return np.eye(len(S))
    if exponent == 1:
        return S
    half = _integer_power(S, exponent // 2)
    square = multiply(half, half)
    return multiply(square, S) if exponent % 2 else square


def inverse_root(S: Floats, p: int, least: float) -> Floats:
    """Return ``S^(-1/p)`` by products alone, for a symmetric S with eigenvalues from ``least`` > 0 to 1, shape (n, n).

    Coupled Newton iteration (Guo and Higham 2006, (3.5)): X and ``M = X^p S``, which tends to I, since
    ``m -> m ((p + 1 - m) / p)^p`` maps an eigenvalue of M in (0, p + 1) towards 1. Before each step, M is scaled such
    that both ends of the interval of its eigenvalues are mapped to the same value, the least of the next interval.
    """
    X, M = np.eye(len(S)), S
    near = False
    while not near:
        near = least > 1 - 1e-8  # the next step ends at 1, to rounding
        root = least ** (1 / p)
        scale = (p + 1) * (1 - root) / (1 - root * least) if least < 0.5 else 1.0
        T = M * (-scale / p)
        T.flat[:: len(T) + 1] += (p + 1) / p
        X = multiply(X, T) * scale ** (1 / p)
        M = multiply(_integer_power(T, p), M) * scale
        least *= scale * ((p + 1 - scale * least) / p) ** p
    return X


def complete_rows(observed: Observations, K: Floats, regularization: float) -> Floats:
    """Return ``X = A K``, shape (rows, columns), where ``(K_OO + regularization I) a = y`` for each row.

    Where the regularization is below the rounding of ``K_OO``, that takes its place, and steps of refinement take it
    off again, from all but the directions that are lost to rounding.
    """
    traces = np.bincount(
        row_of_entry(observed.indptr), weights=np.diag(K)[observed.indices], minlength=observed.shape[0]
    )
    shift = np.maximum(ROUNDING * traces, regularization)
    A, residual = np.zeros_like(observed.values), observed.values
    for _ in range(1 if (shift <= regularization).all() else 1 + REFINEMENTS):
        step, fitted = np.empty_like(A), np.empty_like(A)
        status = kernels.solve_rows_shifted(observed.indptr, observed.indices, shift, residual, K, step, fitted)
        if status.any():
            raise DataError(
                f"the system of equations of row {np.flatnonzero(status)[0]} is lost to rounding; pass a "
                "regularization above 0, or a lower power"
            )
        A += step
        residual = residual - fitted - regularization * step
    X = np.zeros(observed.shape)
    kernels.sparse_product(observed.indptr, observed.indices, A, K, X)
    return X
