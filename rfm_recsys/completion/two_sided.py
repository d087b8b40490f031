"""Two-sided completion, which never forms the matrix: equations (M3) to (M5) of ``docs/algorithm/``."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from scipy.linalg import norm  # which neither overflows nor underflows
from scipy.sparse import csr_matrix

from rfm_recsys.completion.observations import Observations, share_left
from rfm_recsys.core import kernels
from rfm_recsys.core.arrays import Floats

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
        return share_left(self.observed, self.observed.sampled(self.left, self.right))

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
    return np.asarray(s[:rank] / np.maximum(s[1 : rank + 1], np.finfo(float).eps * s[0]))


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
        r = rhs - self.product(Z)
        p, rz = np.zeros_like(Z), np.inf
        for _ in range(MOST_ITERATIONS):
            if norm(r) <= enough:
                break
            z = self.precondition(r)
            rz, rz_old = float(np.vdot(r, z)), rz
            p = z + rz / rz_old * p
            Ap = self.product(p)
            step = rz / float(np.vdot(p, Ap))
            Z += step * p
            r -= step * Ap
        return np.hstack([self.U, Z[:m]]), np.hstack([Z[m:], self.V])
