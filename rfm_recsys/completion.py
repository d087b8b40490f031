"""The lin-RFM loop: regression step (every user's solve) <-> AGOP step (the reweighting of the items).

The loop sees the users only through a small interface to a block of their rows: what a round needs of them is a sum
over users, or a solve for each user alone. Symbols and equations are those of ``docs/algorithm.md``.
"""

import os
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, Protocol

import numba
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from threadpoolctl import ThreadpoolController

from rfm_recsys import kernels
from rfm_recsys.agop import (
    feature_map,
    gram,
    low_rank_factor,
    multiply,
    reweighting,
    smoother,
    top_eigenpairs,
    weighted_gram,
)
from rfm_recsys.errors import DataError
from rfm_recsys.kernels import Floats, Ints

# Columns of the block power iteration beyond those asked for, and products with G. Few on purpose: a block that leans
# towards the leading eigenvectors ranks better than the exact ones, whose last few are noise (256 factors, two rounds,
# 2 / 3 / 4 / 6 passes: N@20 on Gowalla's validation items .1137, .1147, .1147, .1135; N@100 on ML-1M's validation users
# .4908, .4914, .4917, .4901). With 0, 8, 16 or 32 columns it is the same to the differences between seeds.
OVERSAMPLING = 8
LEAST_COLUMNS = 48  # so that a small catalogue has its exact eigenvectors
PASSES = 3
LEAST_REGULARIZATION = 1e-6  # what 0 stands for: the prior of an item without weight needs some
FULL_BLOCK = 1024  # users whose completed rows the full form holds at a time


@cache
def _blas() -> ThreadpoolController:
    return ThreadpoolController().select(user_api="blas")


class _OneBlasThread:
    """Holds BLAS, which has one number of threads for the whole process, to one while any thread is inside."""

    def __init__(self) -> None:
        self.lock, self.inside, self.limits = threading.Lock(), 0, ExitStack()

    def __enter__(self) -> None:
        with self.lock:
            if self.inside == 0:
                self.limits.enter_context(_blas().limit(limits=1))
            self.inside += 1

    def __exit__(self, *error: object) -> None:
        with self.lock:
            self.inside -= 1
            if self.inside == 0:
                self.limits.close()


_one_blas_thread = _OneBlasThread()


def _wait_for_other_threads() -> None:
    """Let no thread set the number of BLAS threads during a fork: OpenBLAS's lock would stay closed in the child."""
    _one_blas_thread.lock.acquire()


def _go_on() -> None:
    _one_blas_thread.lock.release()


def _forget_other_threads() -> None:
    """Begin afresh in a forked process, where the threads that were inside do not exist."""
    global _one_blas_thread  # noqa: PLW0603
    _one_blas_thread = _OneBlasThread()


os.register_at_fork(before=_wait_for_other_threads, after_in_parent=_go_on, after_in_child=_forget_other_threads)


@contextmanager
def threads(num_threads: int) -> Iterator[None]:
    """Run kernels on ``num_threads`` threads (0: all that there are), and hold BLAS to one thread around them."""
    before = numba.get_num_threads()
    most = numba.config.NUMBA_NUM_THREADS
    with _one_blas_thread:
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
        return max(self.regularization, LEAST_REGULARIZATION) * self.alpha


class Users(Protocol):
    """What the loop needs of the users in either form, whether they are one block or many."""

    n_users: int
    n_items: int
    dtype: np.dtype[Any]
    item_counts: Ints

    def activity(self) -> tuple[int, int]:
        """Return the number of users who like an item, and of all that they like."""

    def weigh(self, settings: Settings, mean_count: float) -> None:
        """Set the weights of the users in the AGOP."""

    def losses(self) -> NDArray[np.float64]:
        """Return the objective after a solve and the weight that it is of, shape (2,): sums over the users."""

    def state_shapes(self, factors: int) -> dict[str, tuple[int, ...]]:
        """Return the shapes of the arrays of :meth:`state`."""

    def state(self) -> dict[str, Floats]:
        """Return all that the rounds after this one need, for a checkpoint."""

    def restore(self, state: dict[str, Floats]) -> None:
        """Take what :meth:`state` returned after an earlier round."""


class LowRankUsers(Users, Protocol):
    """What the loop needs of the users in the low-rank form; :class:`UserBlock` describes it."""

    F: Floats
    items_gram: Floats

    def agop_product(self, settings: Settings, scale: Floats, Q: Floats) -> Floats:
        """Return ``D X^T W X D Q`` for the X of round 1."""

    def solve(self, F: Floats) -> None:
        """Solve every user for F."""

    def grams(self) -> tuple[Floats, Floats]:
        """Return ``U^T U`` and ``U^T W U``."""

    def solve_items(self, T: Floats) -> Floats:
        """Solve every item for ``U T``."""


class _Block:
    """What the two forms' blocks of users have in common: confidences, counts, and round 1.

    Parameters
    ----------
    confidence : csr_matrix, shape (users of the block, items)
        Signed confidences ``alpha * value``.
    per_item : array, shape (items,)
        Number of entries of each item.
    """

    def __init__(self, confidence: csr_matrix, per_item: Ints) -> None:
        self.n_users, self.n_items = confidence.shape
        self.indptr, self.indices, self.confidence = csr_arrays(confidence)
        self.dtype = self.confidence.dtype
        disliked = np.flatnonzero(self.confidence <= 0)
        disliking = np.searchsorted(self.indptr, disliked, side="right") - 1
        self.item_counts: Ints = per_item - np.bincount(self.indices[disliked], minlength=self.n_items)
        self.user_counts: Ints = np.diff(self.indptr) - np.bincount(disliking, minlength=self.n_users)

    @property
    def lapack(self) -> Ints:
        """The addresses of LAPACK's routines in this process, to which a block may have come from another."""
        return kernels.lapack_addresses(self.dtype)

    def activity(self) -> tuple[int, int]:
        """Return the number of users who like an item, and of all that they like."""
        active = self.user_counts > 0
        return int(np.count_nonzero(active)), int(self.user_counts[active].sum())

    def weigh(self, settings: Settings, mean_count: float) -> None:
        """Set the weights of the users in the AGOP; ``mean_count`` is that of all users."""
        counts = np.maximum(self.user_counts, 1) / mean_count
        self.root_weight = (counts ** (-settings.user_norm / 2)).astype(self.dtype)

    def _losses(self, fitted: Floats, priors: Floats) -> NDArray[np.float64]:
        """Return the objective and its weight: that of all observed entries and 1 for each of the others."""
        weight, x = np.abs(self.confidence).astype(np.float64), fitted.astype(np.float64)
        observed = weight * ((self.confidence > 0) - x) ** 2 - x**2
        total_weight = weight.sum() + float(self.n_users) * self.n_items - len(weight)
        return np.array([observed.sum() + priors.sum(dtype=np.float64), total_weight])


class UserBlock(_Block):
    """A block of users in the low-rank form: their rows of ``X = U F^T``, which is never formed."""

    F: Floats
    U: Floats
    items_gram: Floats  # F^T D^2 F

    def __init__(self, confidence: csr_matrix) -> None:
        self.by_item: tuple[Ints, Ints, Floats] = kernels.transpose(*csr_arrays(confidence), confidence.shape[1])
        super().__init__(confidence, np.diff(self.by_item[0]))

    def agop_product(self, settings: Settings, scale: Floats, Q: Floats) -> Floats:
        """Return ``D X^T W X D Q`` for the X of round 1 and the diagonal of D, shape (items, b) like Q."""
        Y, Z = np.empty((self.n_users, Q.shape[1]), dtype=self.dtype), np.empty_like(Q)
        by_user = (self.indptr, self.indices, self.confidence)
        kernels.first_product(*by_user, settings.penalty, self.root_weight, scale, Q, Y)
        kernels.first_product(*self.by_item, settings.penalty, scale, self.root_weight, Y, Z)
        return Z

    def solve(self, F: Floats) -> None:
        """Solve every user for F, shape (items, factors)."""
        self.F = F
        self.U = solve_users(self.indptr, self.indices, self.confidence, F, self.lapack)

    def grams(self) -> tuple[Floats, Floats]:
        """Return ``U^T U`` and ``U^T W U``, shape (factors, factors)."""
        return gram(self.U, self.U), weighted_gram(self.U, self.root_weight)

    def solve_items(self, T: Floats) -> Floats:
        """Solve every item for the users' features ``R = U T``; return V, shape (items, factors).

        U and F, which the next :meth:`solve` replaces, are given up for the memory.
        """
        features = multiply(self.U, T)
        del self.U, self.F
        return solve_users(*self.by_item, features, self.lapack)

    def losses(self) -> NDArray[np.float64]:
        """Return the objective after :meth:`solve` and its weight: with ``S = F F^T``, prior and zeros are |u|^2."""
        residuals = np.empty_like(self.confidence)
        kernels.residuals(self.indptr, self.indices, self.confidence, self.U, self.F, residuals)
        return self._losses((self.confidence > 0) - residuals, self.U**2)

    def state_shapes(self, factors: int) -> dict[str, tuple[int, ...]]:
        """Return the shapes of the arrays of :meth:`state`."""
        return {"F": (self.n_items, factors), "U": (self.n_users, factors), "items_gram": (factors, factors)}

    def state(self) -> dict[str, Floats]:
        """Return all that the rounds after this one need, for a checkpoint."""
        return {"F": self.F, "U": self.U, "items_gram": self.items_gram}

    def restore(self, state: dict[str, Floats]) -> None:
        """Take what :meth:`state` returned after an earlier round."""
        self.F, self.U, self.items_gram = state["F"], state["U"], state["items_gram"]


class FullUserBlock(_Block):
    """A block of users in the full form: their rows of ``X = A S + E``, with A sparse like the data."""

    def __init__(self, confidence: csr_matrix) -> None:
        super().__init__(confidence, np.bincount(confidence.indices, minlength=confidence.shape[1]))
        self.S: Floats | None = None

    def start(self, settings: Settings) -> None:
        """Set up round 1, in which K = I and the rows of X are closed form."""
        # X = s c p / (1 + s (c - 1)) with s = 1 / (1 + lambda) at the observed entries
        self.E = np.maximum(self.confidence, 0)
        self.E /= self.E + self.dtype.type(settings.penalty)

    def solve(self, S: Floats) -> None:
        """Solve every user for S, shape (items, items), and put the observed values back: ``E = target - A S``."""
        self.take(S, *solve_users_full(self.indptr, self.indices, self.confidence, S, self.lapack))

    def take(self, S: Floats, A: Floats, fitted: Floats) -> None:
        """Take the result of a solve."""
        self.S, self.A, self.fitted = S, A, fitted
        self.E = (self.confidence > 0) - self.fitted

    def state_shapes(self, factors: int) -> dict[str, tuple[int, ...]]:
        """Return the shapes of the arrays of :meth:`state`."""
        return {"S": (self.n_items, self.n_items), "A": self.confidence.shape, "fitted": self.confidence.shape}

    def state(self) -> dict[str, Floats]:
        """Return all that the rounds after this one need, for a checkpoint."""
        assert self.S is not None
        return {"S": self.S, "A": self.A, "fitted": self.fitted}

    def restore(self, state: dict[str, Floats]) -> None:
        """Take what :meth:`state` returned after an earlier round."""
        self.take(**state)

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

    def losses(self) -> NDArray[np.float64]:
        """Return the objective after :meth:`solve` and its weight: prior and zeros add up to ``a^T S_OO a``."""
        return self._losses(self.fitted, self.A * self.fitted)


def block_width(factors: int, shape: tuple[int, int]) -> int:
    """Return the columns of the block of which the eigenvectors of round 1 come."""
    return min(max(factors + OVERSAMPLING, LEAST_COLUMNS), *shape)


def low_rank_memory(shape: tuple[int, int], nnz: int, factors: int, itemsize: int) -> int:
    """Return the bytes, to some per cent, that a low-rank fit takes beyond the interactions that it is given."""
    n_users, n_items = shape
    width = block_width(factors, shape)
    workers = int(numba.get_num_threads())
    entries = nnz * (2 * itemsize + 4)  # confidences, and confidences by item
    first = width * (n_users + 2 * n_items)  # round 1: the block, its product, and what is between them
    later = factors * max(2 * n_users + n_items, n_users + 2 * n_items)  # factors and features of one side at a time
    sums = itemsize * width**2 * min(kernels.PARTIALS, max(n_users, n_items) // kernels.PARTIAL_ROWS + 1)
    solves = workers * itemsize * (int(kernels.gathered_rows(factors)) + factors) * factors
    small = 48 * (width**2 + n_users + n_items) + 8 * kernels.TRANSPOSE_PARTS * n_items
    return entries + itemsize * max(first, later) + sums + solves + small


def full_memory(n_items: int) -> int:
    """Return the bytes that a fit in the full form takes at most: five matrices of items x items."""
    return 5 * 8 * n_items**2


def low_rank_rounds(
    users: LowRankUsers, settings: Settings, factors: int, rounds: range, generator: np.random.Generator
) -> Iterator[None]:
    """Run rounds of lin-RFM in its low-rank form; yield after each, which leaves its F and U in ``users``.

    ``rounds`` counts from 0, and from more where ``users`` has the F, U and items_gram of the rounds before already.
    """
    scale, inverse_scale = _norms(users, settings)
    n_users, n_items = users.activity()[0], int(np.count_nonzero(users.item_counts))
    if rounds.start == 0:
        F, users.items_gram = _spectral_factor(users, settings, factors, generator, scale, inverse_scale)
        users.solve(F)
        del F
        yield
    for _ in range(max(rounds.start, 1), rounds.stop):
        T, users_gram = feature_map(*users.grams(), users.items_gram, n_users, settings.power, settings.penalty)
        V = users.solve_items(T)
        V_grams = gram(V, V), weighted_gram(V, scale)
        T, users.items_gram = feature_map(*V_grams, users_gram, n_items, settings.power, settings.penalty)
        V = multiply(V, T)
        users.solve(V)
        yield


def _spectral_factor(
    users: LowRankUsers,
    settings: Settings,
    factors: int,
    generator: np.random.Generator,
    scale: Floats,
    inverse_scale: Floats,
) -> tuple[Floats, Floats]:
    """Return the F of round 1, from the leading eigenvectors of the AGOP of its closed form, and ``F^T D^2 F``."""
    width = block_width(factors, (users.n_users, users.n_items))
    product = partial(users.agop_product, settings, scale)
    values, Z, T = top_eigenpairs(product, _random_block(generator, (users.n_items, width), users.dtype), PASSES)
    return low_rank_factor(values, Z, T, inverse_scale, settings.power, settings.penalty, factors)


def _random_block(generator: np.random.Generator, shape: tuple[int, int], dtype: np.dtype[Any]) -> Floats:
    """Return uniform numbers around 0: as good as normal ones, in a quarter of the time."""
    block: Floats = generator.random(shape, dtype=dtype.type)
    block -= dtype.type(0.5)
    return block


def full_rounds(users: FullUserBlock, settings: Settings, rounds: range) -> Iterator[None]:
    """Run rounds of lin-RFM in its full form; yield after each, which leaves its S and A in ``users``.

    ``rounds`` counts from 0, and from more where ``users`` has the S and A of the rounds before already.
    """
    scale, inverse_scale = _norms(users, settings)
    if rounds.start == 0:
        users.start(settings)
    for _ in rounds:
        S = smoother(reweighting(users.gram(scale), inverse_scale, settings.power), settings.penalty)
        users.solve(S.astype(users.dtype))
        yield


def _norms(users: Users, settings: Settings) -> tuple[Floats, Floats]:
    """Weigh the users; return the diagonals of D and of its inverse, both zero for an item that nobody has."""
    n_active, n_liked = users.activity()
    if n_active == 0:
        raise DataError(
            "there is no liked interaction: not one of the values is above 0; pass the interactions to learn from"
        )
    users.weigh(settings, n_liked / n_active)
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
        raise overflow("row", failed)


def overflow(what: str, failed: NDArray[np.intp]) -> DataError:
    """Return the error for solves that are not finite, of the rows or items with these numbers."""
    return DataError(
        f"the solve of {what} {failed[0]} (and {len(failed) - 1} others) overflowed: alpha * value is too large for "
        "the precision; scale the values or alpha down, or use dtype=np.float64 where it is float32"
    )
