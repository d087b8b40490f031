"""The lin-RFM loop: regression step (every user's solve) <-> AGOP step (the reweighting of the items).

The loop sees the users only through a small interface to a block of their rows: what a round needs of them is a sum
over users, or a solve for each user alone. Symbols and equations are those of ``docs/algorithm.md``.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache

import numba
import numpy as np
from scipy.sparse import csr_matrix
from threadpoolctl import ThreadpoolController

from rfm_recsys import kernels
from rfm_recsys.agop import low_rank_factor, reweighting, smoother, top_eigenpairs
from rfm_recsys.errors import DataError
from rfm_recsys.kernels import Floats, Ints

OVERSAMPLING = 32  # columns of the block power iteration beyond those asked for
# Products with G: from a random block, from the eigenvectors of the round before. Few on purpose: a block that leans
# towards the leading eigenvectors ranks better than the exact ones, whose last few are noise (256 factors, R@20 on
# Gowalla's validation set: 3 passes .1937, 4 .1945, 5 .1943, 8 .1922; N@100 on two sets of ML-1M users: .4787, .4800,
# .4800, .4806).
FIRST_PASSES, LATER_PASSES = 4, 1
FULL_BLOCK = 1024  # users whose completed rows the full form holds at a time


@cache
def _blas() -> ThreadpoolController:
    return ThreadpoolController().select(user_api="blas")


@contextmanager
def threads(num_threads: int) -> Iterator[None]:
    """Run kernels on ``num_threads`` threads (0: all that there are), and hold BLAS to one thread around them."""
    before = numba.get_num_threads()
    most = numba.config.NUMBA_NUM_THREADS
    with _blas().limit(limits=1):
        numba.set_num_threads(min(num_threads or most, most))
        try:
            yield
        finally:
            numba.set_num_threads(before)


@dataclass(frozen=True)
class Settings:
    """What a fit is given beside the data; the names are those of :class:`rfm_recsys.LinRFM`."""

    regularization: float
    alpha: float
    power: float
    item_norm: float
    user_norm: float

    @property
    def penalty(self) -> float:
        """The weight ``lambda`` of the prior: ``regularization`` counts observed interactions of value 1."""
        return self.regularization * self.alpha


class _Block:
    """What the two forms' blocks of users have in common: confidences, counts, and round 1.

    Parameters
    ----------
    confidence : csr_matrix, shape (users of the block, items)
        Signed confidences ``alpha * value``.
    """

    def __init__(self, confidence: csr_matrix) -> None:
        self.n_users, self.n_items = confidence.shape
        self.indptr, self.indices, self.confidence = csr_arrays(confidence)
        self.dtype = self.confidence.dtype
        self.lapack = kernels.lapack_addresses(self.dtype)
        liked = self.confidence > 0
        self.item_counts: Ints = np.bincount(self.indices[liked], minlength=self.n_items)
        self.user_counts: Ints = np.diff(np.concatenate([[0], np.cumsum(liked)])[self.indptr])

    def start(self, settings: Settings, mean_count: float) -> None:
        """Set up round 1, in which K = I and the rows of X are closed form; ``mean_count`` is that of all users."""
        counts = np.maximum(self.user_counts, 1) / mean_count
        self.root_weight = (counts ** (-settings.user_norm / 2)).astype(self.dtype)
        # X = s c p / (1 + s (c - 1)) with s = 1 / (1 + lambda) at the observed entries
        X = np.maximum(self.confidence, 0) / (settings.penalty + np.abs(self.confidence))
        self.E = X.astype(self.dtype)

    def _loss(self, fitted: Floats, priors: Floats) -> float:
        """Return the objective per unit of weight: that of all observed entries and 1 for each of the others."""
        weight, x = np.abs(self.confidence).astype(np.float64), fitted.astype(np.float64)
        observed = weight * ((self.confidence > 0) - x) ** 2 - x**2
        total_weight = weight.sum() + float(self.n_users) * self.n_items - len(weight)
        return float((observed.sum() + priors.sum(dtype=np.float64)) / total_weight)


class UserBlock(_Block):
    """A block of users in the low-rank form: their rows of ``X = U F^T + E``, which is never formed."""

    def __init__(self, confidence: csr_matrix) -> None:
        super().__init__(confidence)
        self.U: Floats | None = None
        positions = csr_matrix((np.arange(len(self.indices)), self.indices, self.indptr), shape=confidence.shape)
        by_item = positions.T.tocsr()
        self.item_indptr, self.item_users, self.order = by_item.indptr.astype(np.int64), by_item.indices, by_item.data
        self.item_users = self.item_users.astype(np.int32, copy=False)

    def solve(self, F: Floats) -> None:
        """Solve every user for F, shape (items, factors), and put the observed values back: ``E = target - U F^T``."""
        self.F, self.U = F, solve_users(self.indptr, self.indices, self.confidence, F, self.lapack)
        kernels.residuals(self.indptr, self.indices, self.confidence, self.U, F, self.E)

    def product(self, Q: Floats) -> Floats:
        """Return ``W^(1/2) X Q``, shape (users, b), for Q of shape (items, b)."""
        Y = np.zeros((self.n_users, Q.shape[1]), dtype=self.dtype)
        if self.U is not None:
            kernels.dense_product(self.U, kernels.dense_gram(self.F, Q), Y)
        kernels.sparse_product(self.indptr, self.indices, self.E, Q, Y)
        Y *= self.root_weight[:, None]
        return Y

    def transposed_product(self, Y: Floats) -> Floats:
        """Return ``X^T W^(1/2) Y``, shape (items, b), for Y of shape (users, b), which is overwritten."""
        Y *= self.root_weight[:, None]
        Z = np.zeros((self.n_items, Y.shape[1]), dtype=self.dtype)
        if self.U is not None:
            kernels.dense_product(self.F, kernels.dense_gram(self.U, Y), Z)
        kernels.sparse_product(self.item_indptr, self.item_users, self.E[self.order], Y, Z)
        return Z

    def loss(self) -> float:
        """Return the training loss after :meth:`solve`: with ``S = F F^T`` the prior and the zeros add up to |u|^2."""
        assert self.U is not None
        return self._loss((self.confidence > 0) - self.E, self.U**2)


class FullUserBlock(_Block):
    """A block of users in the full form: their rows of ``X = A S + E``, with A sparse like the data."""

    def __init__(self, confidence: csr_matrix) -> None:
        super().__init__(confidence)
        self.S: Floats | None = None

    def solve(self, S: Floats) -> None:
        """Solve every user for S, shape (items, items), and put the observed values back: ``E = target - A S``."""
        self.S = S
        self.A, self.fitted = solve_users_full(self.indptr, self.indices, self.confidence, S, self.lapack)
        self.E = (self.confidence > 0) - self.fitted

    def gram(self, scale: Floats) -> Floats:
        """Return ``D X^T W X D``, shape (items, items), for the diagonal ``scale`` of D."""
        G = np.zeros((self.n_items, self.n_items), dtype=self.dtype)
        part = np.empty_like(G)
        for first in range(0, self.n_users, FULL_BLOCK):
            users = slice(first, min(first + FULL_BLOCK, self.n_users))
            indptr = self.indptr[users.start : users.stop + 1]
            X = np.zeros((len(indptr) - 1, self.n_items), dtype=self.dtype)
            if self.S is not None:
                kernels.sparse_product(indptr, self.indices, self.A, self.S, X)
            rows = np.repeat(np.arange(len(X)), np.diff(indptr))
            X[rows, self.indices[indptr[0] : indptr[-1]]] += self.E[indptr[0] : indptr[-1]]
            X *= self.root_weight[users, None]
            X *= scale
            kernels.dense_product(np.ascontiguousarray(X.T), X, part)
            G += part
        return G

    def loss(self) -> float:
        """Return the training loss after :meth:`solve`: the prior and the zeros add up to ``a^T S_OO a``."""
        return self._loss(self.fitted, self.A * self.fitted)


def low_rank_memory(shape: tuple[int, int], nnz: int, factors: int, itemsize: int) -> int:
    """Return the bytes that a fit in the low-rank form takes at most, beyond the interactions that it is given."""
    n_users, n_items = shape
    width = min(factors + OVERSAMPLING, n_users, n_items)
    blocks = n_items * (4 * width + 2 * factors) + n_users * (width + factors)
    partial_sums = min(kernels.PARTIALS, max(n_users, n_items) // kernels.PARTIAL_ROWS + 1) * width**2
    solves = int(numba.get_num_threads()) * (max(kernels.GATHER_ROWS, factors) + factors) * factors
    return itemsize * (blocks + partial_sums + solves + 3 * nnz) + 48 * (width**2 + n_users + n_items) + 24 * nnz


def full_memory(n_items: int) -> int:
    """Return the bytes that a fit in the full form takes at most: five matrices of items x items."""
    return 5 * 8 * n_items**2


def low_rank_rounds(
    users: UserBlock, settings: Settings, factors: int, rounds: int, generator: np.random.Generator
) -> Iterator[Floats]:
    """Run lin-RFM in its low-rank form; yield ``F``, shape (items, factors), after each round's solves."""
    scale, inverse_scale = _start(users, settings)

    def agop(Q: Floats) -> Floats:
        return scale[:, None] * users.transposed_product(users.product(scale[:, None] * Q))

    width = min(factors + OVERSAMPLING, users.n_users, users.n_items)
    block = generator.standard_normal((users.n_items, width), dtype=np.float64).astype(users.dtype)
    for done in range(rounds):
        values, block = top_eigenpairs(agop, block, LATER_PASSES if done else FIRST_PASSES)
        vectors = np.ascontiguousarray(block[:, :factors])
        F = low_rank_factor(values[:factors], vectors, inverse_scale, settings.power, settings.penalty, factors)
        users.solve(F)
        yield F


def full_rounds(users: FullUserBlock, settings: Settings, rounds: int) -> Iterator[Floats]:
    """Run lin-RFM in its full form; yield ``S``, shape (items, items), after each round's solves."""
    scale, inverse_scale = _start(users, settings)
    for _ in range(rounds):
        S = smoother(reweighting(users.gram(scale), inverse_scale, settings.power), settings.penalty)
        S = S.astype(users.dtype)
        users.solve(S)
        yield S


def _start(users: _Block, settings: Settings) -> tuple[Floats, Floats]:
    """Start round 1 and return the diagonals of D and of its inverse, both zero for an item that nobody has."""
    active = users.user_counts[users.user_counts > 0]
    if len(active) == 0:
        raise DataError(
            "there is no liked interaction: not one of the values is above 0; pass the interactions to learn from"
        )
    users.start(settings, float(active.mean()))
    known = users.item_counts > 0
    popularity = users.item_counts[known] / users.item_counts[known].mean()
    scale, inverse_scale = np.zeros((2, users.n_items), dtype=users.dtype)
    scale[known] = popularity ** (-settings.item_norm / 2)
    inverse_scale[known] = popularity ** (settings.item_norm / 2)
    return scale, inverse_scale


def csr_arrays(matrix: csr_matrix) -> tuple[Ints, Ints, Floats]:
    """Return indptr, indices and data in the one form that the kernels are compiled for."""
    indptr = np.require(matrix.indptr, np.int64, ["C", "W"])
    return indptr, np.require(matrix.indices, np.int32, ["C", "W"]), np.require(matrix.data, None, ["C", "W"])


def solve_users(indptr: Ints, indices: Ints, confidence: Floats, F: Floats, lapack: Ints) -> Floats:
    """Return U, shape (users, factors), for the item factors F; raises DataError where a solve overflows."""
    U = np.empty((len(indptr) - 1, F.shape[1]), dtype=F.dtype)
    _check(kernels.solve_rows(indptr, indices, confidence, F, lapack, U))
    return U


def solve_users_full(indptr: Ints, indices: Ints, confidence: Floats, S: Floats, lapack: Ints) -> tuple[Floats, Floats]:
    """Return the dual coefficients and the fitted values, shape (nnz,); raises DataError where a solve overflows."""
    A, fitted = np.empty_like(confidence), np.empty_like(confidence)
    weight, rhs = np.abs(confidence) - 1, np.maximum(confidence, 0)
    _check(kernels.solve_rows_full(indptr, indices, weight, rhs, S, lapack, A, fitted))
    return A, fitted


def _check(status: Ints) -> None:
    failed = np.flatnonzero(status)
    if len(failed):
        raise DataError(
            f"the solve of row {failed[0]} (and {len(failed) - 1} others) overflowed: alpha * value is too large for "
            "the precision; scale the values or alpha down, or use dtype=np.float64 where it is float32"
        )
