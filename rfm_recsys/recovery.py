"""Matrix completion: lin-RFM on the observed entries of a matrix of low rank.

Symbols and equation numbers are those of ``docs/algorithm.md``.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import scipy.linalg
from numpy.typing import ArrayLike
from scipy.linalg import norm  # which neither overflows nor underflows
from scipy.sparse import csr_matrix
from tqdm.auto import tqdm

from rfm_recsys import kernels
from rfm_recsys.agop import gram, multiply
from rfm_recsys.completion import csr_arrays, threads
from rfm_recsys.errors import DataError, ParameterError
from rfm_recsys.kernels import Floats, Ints
from rfm_recsys.validation import (
    check_flag,
    check_generator,
    check_ids,
    check_integer,
    check_memory,
    check_number,
    check_observed,
)

MOST_FACTORS = 50  # that are looked for when it is not said how many
# Where one-sided annealing ends, in units of the start: its square is above the rounding of X^T X, and K, whose least
# eigenvalue is eps^(4 power) of the largest, above its own.
SMALLEST_EPS, LEAST_EIGENVALUE = 1e-6, 1e-12
ROUNDING, REFINEMENTS = 1e-14, 2  # of a row's system of equations, in units of its trace
LARGEST_ROOT = 16  # of matrices that is taken by products
# Rounds in which the singular value after the rank has to fall by so much, lest the next rank is tried; and how many
# times as many there are when the gap is clear. Where rows have hardly more entries than the rank, less patience ends
# in a higher one: of 4 matrices of 1000 x 1000, rank 5, 14,962 entries, (.59, 1) recovers 0, (.86, 1) 3, (.86, 6) all.
PATIENCE, FALL, CLEARLY = 5, 0.86, 6
WIDER = 10.0  # a rank that was given up is gone back to when the gap after it is so many times wider
# A gap after the rank that is clear. A power above 1/2, where the objective has no bound (p < 0), waits for that: with
# power 1 from the start, the first singular vectors are taken for true ones, and 500 x 500 from 10,000 entries fails.
CLEAR = 100.0
PLAIN = 1.5  # a gap in round 1, where the other entries are 0, that chance does not make
SPARE, PASSES = 4, 4  # of the block that finds singular vectors: columns beyond those needed, and passes over X
PRECISION = 1e-3  # of a solve, in units of eps
MOST_ITERATIONS = 500  # of its conjugate gradients
LEAST_WEIGHT = 1e-75  # of a singular value to the power, in units of that of the largest
FLOOR = 1e-6  # of the blocks of the preconditioner, in units of the share of entries that are observed


@dataclass(frozen=True)
class Completion:
    """A completed matrix ``X = left right^T + sparse``, as :func:`complete` returns it.

    Attributes
    ----------
    left, right : arrays, shape (rows, k) and (columns, k)
    sparse : csr_matrix, shape (rows, columns)
        What X has on top at observed entries; it vanishes as a matrix of low rank is recovered.
    singular_values : array, descending
        Of X: all of them (one-sided), or those that stand out from the rest (two-sided), whose number is the rank.
    history : list of dict
        For every round: ``eps`` (inf in the first, where all features weigh the same), ``rank`` (two-sided: of the
        features that weigh more than eps; else None), ``change`` (of the completion, relative to its norm; None in the
        first) and ``residual`` (norm of what the low-rank part leaves of the observed entries, relative to theirs).
    n_iter : int
        Rounds run.
    stopped : str
        Why the rounds ended: ``"rank"`` (what is beyond the rank has vanished), ``"tol"`` (the completion does not
        change), ``"max_iter"``, or ``"zero"`` (all observed entries are 0).
    """

    left: Floats
    right: Floats
    sparse: csr_matrix
    singular_values: Floats
    history: list[dict[str, float | None]]
    n_iter: int
    stopped: str

    def entries(self, rows: ArrayLike, columns: ArrayLike) -> Floats:
        """Return X at the entries (rows[k], columns[k]), shape (n,); raises IdError where one is outside of X."""
        i, _ = check_ids(rows, len(self.left), "row")
        j, _ = check_ids(columns, len(self.right), "column")
        if len(i) != len(j):
            raise ParameterError(f"there are {len(i)} rows and {len(j)} columns; pass one column for each row")
        values: Floats = np.einsum("ek,ek->e", self.left[i], self.right[j])
        return values + np.asarray(self.sparse[i, j], dtype=np.float64).ravel() if len(i) else values

    def toarray(self) -> Floats:
        """Return X, shape (rows, columns); raises InsufficientMemoryError where it does not fit."""
        check_memory(
            16 * len(self.left) * len(self.right),
            f"a matrix of {len(self.left)} x {len(self.right)}",
            "ask for some of its entries()",
        )
        with threads(0):
            X: Floats = self.left @ self.right.T
        X += self.sparse.toarray()
        return X


def complete(
    observed: Any,
    power: float = 0.5,
    regularization: float = 0.0,
    max_iter: int = 500,
    tol: float = 1e-9,
    annealing: float = 0.9,
    two_sided: bool = True,
    factors: int | None = None,
    random_state: Any = None,
    show_progress: bool = False,
) -> Completion:
    """Complete a matrix of low rank from some of its entries: lin-RFM, which is IRLS-p with ``p = 2 - 4 power``.

    Ridge regression on reweighted features and a new weighting from the completion (its AGOP), in turns. Without noise
    it recovers the matrix. Neither the rank nor any other entry takes part in a choice.

    Parameters
    ----------
    observed : sparse matrix, shape (rows, columns)
        Every stored entry is an observation, a stored zero that of a zero.
    power : float, at least 0
        Power of the AGOP: 0 is ridge regression, 1/4 penalises singular values like the nuclear norm, 1/2 like the sum
        of their logarithms. The higher, the lower the rank. Two-sided, a power above 1/2 takes over from 1/2 when the
        rank is clear.
    regularization : float, at least 0
        Variance of the noise of an entry, in units of that of the signal as the prior has it; 0 interpolates.
    max_iter : int, at least 1
        The most rounds to run.
    tol : float, at least 0
        The rounds end when the completion changes by at most this, relative to its norm, two-sided at the highest rank
        only; and, two-sided, when the singular value after the rank is at most this, relative to the largest.
    annealing : float, above 0 and below 1
        One-sided: what the smoothing eps is multiplied by in every round. Two-sided, eps is the singular value after
        the rank.
    two_sided : bool
        Whether rows and columns are both reweighted (M3), each with the AGOP to half the power, or only the shorter
        side of the matrix (M1). Two-sided, which never forms the matrix, recovers from fewer entries.
    factors : int, at least 1, or None
        Two-sided: the highest rank. None: what the number of entries could determine, at most 50.
    random_state : int, RandomState, Generator or None
        Two-sided: where the search for singular vectors starts.
    show_progress : bool
        Whether to show a bar over rounds.

    Returns
    -------
    Completion

    Raises
    ------
    ParameterError, ParameterTypeError
        A parameter is out of its bounds, or ``observed`` is no sparse matrix.
    DataError
        The entries are not finite, corrupt, none, or one is there twice.
    InsufficientMemoryError
        Before any work: the rounds do not fit.

    Notes
    -----
    The same entries and seed give the same bits, whatever the number of threads. A one-sided round costs
    ``rows columns min(rows, columns)``; a two-sided one ``entries rank`` times some tens to hundreds of iterations.

    References
    ----------
    Radhakrishnan, Belkin, Drusvyatskiy: Linear Recursive Feature Machines provably recover low-rank matrices.
    arXiv 2401.04553.
    Kuemmerle, Mayrink Verdun: A scalable second order method for ill-conditioned matrix completion from few samples.
    ICML 2021. Its MatrixIRLS is the two-sided form at power 1/2, for a rank that is known.

    Examples
    --------
    >>> import numpy as np
    >>> from scipy.sparse import csr_matrix
    >>> from rfm_recsys import complete
    >>> generator = np.random.default_rng(0)
    >>> Y = generator.normal(size=(60, 2)) @ generator.normal(size=(2, 50))
    >>> rows, columns = np.nonzero(generator.random(Y.shape) < 0.3)
    >>> completion = complete(csr_matrix((Y[rows, columns], (rows, columns)), shape=Y.shape))
    >>> len(completion.singular_values), completion.stopped
    (2, 'rank')
    >>> bool(np.allclose(completion.toarray(), Y))
    True
    """
    power = check_number("power", power, 0)
    regularization = check_number("regularization", regularization, 0)
    max_iter = check_integer("max_iter", max_iter, 1)
    tol = check_number("tol", tol, 0)
    annealing = check_number("annealing", annealing, 0, 1 - np.finfo(float).eps, above=True)
    two_sided = check_flag("two_sided", two_sided)
    if factors is not None:
        factors = check_integer("factors", factors, 1)
        if not two_sided:
            raise ParameterError(f"factors is {factors}, and one-sided completion has no limit on the rank; pass None")
    generator = check_generator(random_state)
    progress = check_flag("show_progress", show_progress)
    matrix = check_observed(observed)
    scale = float(np.abs(matrix.data).max())
    if scale == 0:
        empty = np.zeros(0)
        left, right = (np.zeros((size, 0)) for size in matrix.shape)
        return Completion(left, right, csr_matrix(matrix.shape), empty, [], 0, "zero")
    matrix = csr_matrix((matrix.data / scale, matrix.indices, matrix.indptr), shape=matrix.shape)
    rounds: Iterator[Any]
    with threads(0):
        if two_sided:
            most = determined_rank(matrix.shape, matrix.nnz, MOST_FACTORS if factors is None else factors)
            check_memory(
                two_sided_memory(matrix.shape, matrix.nnz, most),
                f"the completion of {matrix.shape[0]} x {matrix.shape[1]} to a rank of up to {most}",
                "pass fewer factors",
            )
            rounds = two_sided_rounds(Observations(matrix), power, regularization, tol, most, generator)
        else:
            check_memory(
                one_sided_memory(matrix.shape),
                f"a one-sided completion of {matrix.shape[0]} x {matrix.shape[1]}",
                "pass two_sided=True, which does not form the matrix",
            )
            rounds = one_sided_rounds(Observations(matrix), power, regularization, annealing)
        return _run(rounds, scale, max_iter, tol, progress)


def _run(rounds: Iterator[Any], scale: float, max_iter: int, tol: float, progress: bool) -> Completion:
    """Run rounds, of which there is one at least, until they end, stand still, or were enough; data are over ``scale``.

    What they yield is a :class:`DenseIterate` or a :class:`LowRankIterate`.
    """
    history: list[dict[str, float | None]] = []
    stopped, before = "max_iter", None
    with tqdm(total=max_iter, desc="complete", disable=not progress) as bar:
        for X in rounds:
            change = None if before is None else X.change(before)
            history.append({"eps": float(X.eps * scale), "rank": X.rank, "change": change, "residual": X.residual()})
            bar.set_postfix(eps=f"{X.eps * scale:.1e}", change=change, refresh=False)
            bar.update()
            before = X
            if change is not None and change <= tol and X.settled:
                stopped = "tol"
                break
            if len(history) == max_iter:
                break
        else:
            stopped = "rank"
    left, right, sparse, values = X.parts()
    return Completion(left * scale, right, sparse * scale, values * scale, history, len(history), stopped)


class Observations:
    """The observed entries, by row and by column.

    Parameters
    ----------
    matrix : csr_matrix, shape (rows, columns)
    """

    def __init__(self, matrix: csr_matrix) -> None:
        self.shape: tuple[int, int] = matrix.shape
        self.indptr, self.indices, self.values = csr_arrays(matrix)
        order = csr_matrix((np.arange(len(self.values)), self.indices, self.indptr), shape=self.shape).T.tocsr()
        self.column_indptr, self.row_indices, self.order = csr_arrays(order)

    def sparse(self, values: Floats) -> csr_matrix:
        """Return the matrix with ``values`` at the observed entries."""
        return csr_matrix((values, self.indices, self.indptr), shape=self.shape)

    def transposed(self) -> "Observations":
        """Return the observed entries of the transpose."""
        values = self.values[self.order]
        return Observations(csr_matrix((values, self.row_indices, self.column_indptr), shape=self.shape[::-1]))

    def sampled(self, A: Floats, B: Floats) -> Floats:
        """Return ``A B^T`` at the observed entries, shape (nnz,)."""
        out = np.empty_like(self.values)
        kernels.sampled_product(self.indptr, self.indices, np.ascontiguousarray(A), np.ascontiguousarray(B), out)
        return out

    def times(self, values: Floats, Q: Floats) -> Floats:
        """Return the product of the matrix with ``values`` at the observed entries and Q, shape (columns, b)."""
        out = np.zeros((self.shape[0], Q.shape[1]))
        kernels.sparse_product(self.indptr, self.indices, values, np.ascontiguousarray(Q), out)
        return out

    def transposed_times(self, by_column: Floats, Q: Floats) -> Floats:
        """Return the same for the transpose, with the values in the order of the columns, and Q of shape (rows, b)."""
        out = np.zeros((self.shape[1], Q.shape[1]))
        kernels.sparse_product(self.column_indptr, self.row_indices, by_column, np.ascontiguousarray(Q), out)
        return out


# One-sided: the matrix is formed, and so is the feature matrix of its shorter side.


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
        return _share_left(self.observed, self.X[_rows(self.observed), self.observed.indices])

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
    X[_rows(observed), observed.indices] = observed.values / (1 + regularization)
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
    traces = np.bincount(_rows(observed), weights=np.diag(K)[observed.indices], minlength=observed.shape[0])
    shift = np.maximum(ROUNDING * traces, regularization)
    lapack = kernels.lapack_addresses(K.dtype)
    A, left = np.zeros_like(observed.values), observed.values
    for _ in range(1 if (shift <= regularization).all() else 1 + REFINEMENTS):
        step, fitted = np.empty_like(A), np.empty_like(A)
        status = kernels.solve_rows_shifted(observed.indptr, observed.indices, shift, left, K, lapack, step, fitted)
        if status.any():
            raise DataError(
                f"the system of equations of row {np.flatnonzero(status)[0]} is lost to rounding; pass a "
                "regularization above 0, or a lower power"
            )
        A += step
        left = left - fitted - regularization * step
    X = np.zeros(observed.shape)
    kernels.sparse_product(observed.indptr, observed.indices, A, K, X)
    return X


def _rows(observed: Observations) -> Ints:
    """Return the row of every observed entry."""
    return np.repeat(np.arange(observed.shape[0]), np.diff(observed.indptr))


def _share_left(observed: Observations, fitted: Floats) -> float:
    return float(norm(observed.values - fitted) / norm(observed.values))


# Two-sided: the matrix is never formed.


@dataclass
class LowRankIterate:
    """A round of the two-sided form: ``X = left right^T``, plus ``values`` at the observed entries.

    ``s`` are the leading singular values of X, of which ``rank`` stand out; ``settled``, if that is the highest.
    """

    observed: Observations
    left: Floats
    right: Floats
    values: Floats
    eps: float
    s: Floats
    rank: int
    settled: bool

    def change(self, before: "LowRankIterate") -> float:
        """Return the distance of the low-rank part from the one before, relative to its norm."""
        left, right = np.hstack([self.left, -before.left]), np.hstack([self.right, before.right])
        size = _product_norm(self.left, self.right)
        return _product_norm(left, right) / size if size else 0.0

    def residual(self) -> float:
        """Return what the low-rank part leaves of the observed entries, relative to their norm."""
        return _share_left(self.observed, self.observed.sampled(self.left, self.right))

    def parts(self) -> tuple[Floats, Floats, csr_matrix, Floats]:
        """Return what a :class:`Completion` holds."""
        return self.left, self.right, self.observed.sparse(self.values), self.s[: self.rank]


def _product_norm(A: Floats, B: Floats) -> float:
    """Return the Frobenius norm of ``A B^T``, which may be small beside those of A and B."""
    return float(norm(np.linalg.qr(A)[1] @ np.linalg.qr(B)[1].T))


def determined_rank(shape: tuple[int, int], nnz: int, most: int) -> int:
    """Return the highest rank, from 1 to ``most``, of which a matrix has no more parameters than ``nnz``."""
    most = min(most, *shape)
    ranks = np.arange(1, most + 1)
    return max(int(np.count_nonzero(ranks * (sum(shape) - ranks) <= nnz)), 1)


def two_sided_memory(shape: tuple[int, int], nnz: int, rank: int) -> int:
    """Return the bytes that a two-sided completion takes at most, to some per cent."""
    return 72 * nnz + 8 * sum(shape) * (3 * rank**2 + 24 * (rank + SPARE))


def two_sided_rounds(
    observed: Observations,
    power: float,
    regularization: float,
    tol: float,
    most: int,
    generator: np.random.Generator,
) -> Iterator[LowRankIterate]:
    """Run two-sided rounds; yield each, and end when the singular value after the rank is at most ``tol``, relative.

    The parameters are those of :func:`complete`, ``most`` being the highest rank; the entries are scaled to be at most
    1.
    """
    m, n = observed.shape
    left: Floats = np.zeros((m, 0))
    right: Floats = np.zeros((n, 0))
    V: Floats = np.zeros((n, 0))
    values, eps = observed.values / (1 + regularization), np.inf
    U, s, V = leading_triplets(observed, left, right, values, _widened(V, most, min(m, n), generator))
    search, went_back = RankSearch(most, s), False
    while True:
        rank = search.rank
        yield LowRankIterate(observed, left, right, values, eps, s, rank, rank == most)
        eps = s[rank] if went_back else min(eps, s[rank])
        if eps <= tol * s[0]:
            return
        clear = s[rank - 1] > CLEAR * eps
        system = TangentSystem(
            observed, U[:, :rank], s[:rank], V[:, :rank], eps, power if clear else min(power, 0.5), regularization
        )
        left, right = system.solve()
        values = (observed.values - observed.sampled(left, right)) * system.shrinkage
        U, s, V = leading_triplets(observed, left, right, values, _widened(V, rank, min(m, n), generator))
        went_back = search.update(s)


class RankSearch:
    """The search for the rank, from the singular values of the iterates alone.

    It begins where the gap is widest in round 1, if it is ``PLAIN``, and with 1 otherwise. A rank is given up for the
    next when the singular value after it has not fallen to ``FALL`` for ``PATIENCE`` rounds, or ``CLEARLY`` times as
    many where the gap is clear: then no matrix of that rank is near. And it is gone back to when the gap after it has
    become ``WIDER`` since: then there is one.
    """

    def __init__(self, most: int, s: Floats) -> None:
        gaps = _gaps(s, most)
        self.most, self.rank = most, 1 + int(np.argmax(gaps)) if gaps.max() > PLAIN else 1
        self.waited, self.lowest = 0, s[self.rank]
        self.given_up: list[float] = gaps[: self.rank - 1].tolist()  # the gap after each lower rank, when that happened

    def update(self, s: Floats) -> bool:
        """Take the singular values of a round, more of them than the rank; return whether an earlier rank is back."""
        gaps = _gaps(s, self.rank)
        wider = gaps[:-1] / self.given_up
        if len(wider) and wider.max() > WIDER:
            self.rank = 1 + int(np.argmax(wider))
            del self.given_up[self.rank - 1 :]
            self.waited, self.lowest = 0, s[self.rank]
            return True
        self.waited += 1
        patience = PATIENCE * (CLEARLY if gaps[-1] > CLEAR else 1)
        if s[self.rank] <= FALL * self.lowest:
            self.waited, self.lowest = 0, s[self.rank]
        elif self.waited >= patience and self.rank < self.most:
            self.given_up.append(float(gaps[-1]))
            self.rank += 1
            self.waited, self.lowest = 0, s[self.rank]
        return False


def _gaps(s: Floats, rank: int) -> Floats:
    """Return the ratios of successive singular values, the last that of the one at the rank and the one after it."""
    gaps: Floats = s[:rank] / np.maximum(s[1 : rank + 1], np.finfo(float).eps * s[0])
    return gaps


def leading_triplets(
    observed: Observations, left: Floats, right: Floats, values: Floats, V: Floats
) -> tuple[Floats, Floats, Floats]:
    """Return leading singular triplets of ``left right^T`` plus ``values`` at the observed entries.

    By ``PASSES`` block power iterations, which end in the best approximation that the block allows.

    Parameters
    ----------
    left, right, values : arrays, shape (rows, k), (columns, k) and (nnz,)
    V : array, shape (columns, b)
        The block to start from.

    Returns
    -------
    U, s, V : arrays, shape (rows, b), (b + 2,) and (columns, b)
        With two zeros at the end of s.
    """
    by_column = values[observed.order]
    for _ in range(PASSES):
        V = np.linalg.qr(V)[0]
        U = np.linalg.qr(left @ (right.T @ V) + observed.times(values, V))[0]
        V = right @ (left.T @ U) + observed.transposed_times(by_column, U)
    W, s, Pt = np.linalg.svd(V, full_matrices=False)
    return U @ Pt.T, np.append(s, [0.0, 0.0]), W


def _widened(V: Floats, rank: int, most: int, generator: np.random.Generator) -> Floats:
    """Return a block of ``rank + 1 + SPARE`` columns, if there may be as many: those of V, and random ones."""
    width = min(rank + 1 + SPARE, most)
    new = max(width - V.shape[1], 0)
    return np.hstack([V[:, :width], generator.standard_normal((len(V), new))])


class TangentSystem:
    """The regression step of the two-sided form: the system of equations (M5), and its solution.

    Its unknowns ``Z = (M2, M1)``, shape (rows + columns, rank), stand for the matrix ``U M1^T + M2 V^T``; U and M2 are
    orthogonal.

    Parameters
    ----------
    observed : Observations
    U, s, V : arrays, shape (rows, rank), (rank,) and (columns, rank)
        The singular triplets of the round before that stand out.
    eps : float
        What takes the place of the other singular values.
    power, regularization : float
        As in :func:`complete`.
    """

    def __init__(
        self,
        observed: Observations,
        U: Floats,
        s: Floats,
        V: Floats,
        eps: float,
        power: float,
        regularization: float,
    ) -> None:
        self.observed, self.eps = observed, eps
        self.U, self.s, self.V = np.ascontiguousarray(U), s, np.ascontiguousarray(V)
        (m, n), rank = observed.shape, len(s)
        self.density = len(observed.values) / (m * n)
        weights = np.maximum((s / s[0]) ** (2 * power), LEAST_WEIGHT)
        rest = max((eps / s[0]) ** (2 * power), LEAST_WEIGHT)
        means = [(weights.sum() + (size - rank) * rest) / size for size in (m, n)]
        shift = rest**2 + regularization * means[0] * means[1]
        self.shrinkage = rest**2 / shift
        least = np.finfo(float).eps * rest**2
        self.outer = shift / np.maximum(rest * (weights - rest), least)
        self.inner = shift / np.maximum(np.outer(weights, weights) - rest**2, least)
        blocks = np.concatenate([self._blocks(observed.times, V), self._blocks(observed.transposed_times, U)])
        blocks[:, range(rank), range(rank)] += np.maximum(self.outer, FLOOR * self.density)
        inverse = np.linalg.inv(blocks)
        self.inverse_blocks = (inverse + inverse.transpose(0, 2, 1)) / 2

    def _blocks(self, times: Callable[[Floats, Floats], Floats], features: Floats) -> Floats:
        """Return the sum of ``v v^T`` over the observed entries of each row, or column, v being their features."""
        rank = features.shape[1]
        products = (features[:, :, None] * features[:, None, :]).reshape(-1, rank**2)
        return times(np.ones_like(self.observed.values), products).reshape(-1, rank, rank)

    def _project(self, Z: Floats) -> Floats:
        """Make M2 orthogonal to U, in place."""
        M2 = Z[: len(self.U)]
        M2 -= self.U @ (self.U.T @ M2)
        return Z

    def product(self, Z: Floats) -> Floats:
        """Return the left-hand side of (M5) for Z."""
        m, observed = len(self.U), self.observed
        M2, M1 = Z[:m], Z[m:]
        out = np.empty_like(Z)
        by_row, by_column = np.hstack([self.U, M2]), np.hstack([M1, self.V])
        kernels.sampled_gram(observed.indptr, observed.indices, by_row, by_column, out[:m])
        by_row, by_column = np.hstack([M2, self.U]), np.hstack([self.V, M1])
        kernels.sampled_gram(observed.column_indptr, observed.row_indices, by_column, by_row, out[m:])
        self._project(out)
        out += Z * self.outer
        out[m:] += self.V @ ((self.inner - self.outer) * (self.V.T @ M1))
        return out

    def precondition(self, Z: Floats) -> Floats:
        """Return an approximate solution of (M5): that of each row and each column by itself."""
        return self._project(np.einsum("irs,is->ir", self.inverse_blocks, Z))

    def solve(self) -> tuple[Floats, Floats]:
        """Return left and right, shape (rows, 2 rank) and (columns, 2 rank): the solution is ``left right^T``.

        By preconditioned conjugate gradients, from the matrix of the round before.
        """
        observed, m = self.observed, len(self.U)
        values, by_column = observed.values, observed.values[observed.order]
        rhs = self._project(
            np.concatenate([observed.times(values, self.V), observed.transposed_times(by_column, self.U)])
        )
        Z = np.concatenate([np.zeros_like(self.U), self.V * self.s])
        enough = max(PRECISION * self.eps * self.density, 8 * np.finfo(float).eps * float(norm(rhs)))
        residual = rhs - self.product(Z)
        direction, square = np.zeros_like(Z), np.inf
        for _ in range(MOST_ITERATIONS):
            if norm(residual) <= enough:
                break
            z = self.precondition(residual)
            square, before = float(np.vdot(residual, z)), square
            direction = z + square / before * direction
            q = self.product(direction)
            step = square / float(np.vdot(direction, q))
            Z += step * direction
            residual -= step * q
        return np.hstack([self.U, Z[:m]]), np.hstack([Z[m:], self.V])
