"""What the rounds need of the users: one block of their rows, in either form."""

from dataclasses import dataclass, fields
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from rfm_recsys.core import kernels
from rfm_recsys.core.arrays import Floats, Ints, csr_arrays, row_of_entry
from rfm_recsys.core.linalg import gram, multiply, weighted_gram
from rfm_recsys.errors import DataError

# what a fit chooses where it is left out, and the rounds that it chooses by
CHOSEN = ("regularization", "alpha", "iterations", "oversampling", "power", "item_norm", "prior_norm", "user_norm")
WAYS = ((2, 0), (1, 256), (2, 256))  # rounds and oversampling that a fit chooses between
LEAST_REGULARIZATION = 1e-6  # what 0 stands for: the prior of an item without weight needs some
FULL_BLOCK = 1024  # users whose completed rows the full form holds at a time


@dataclass(frozen=True)
class Settings:
    """What a fit is given beside the data; the names are those of :class:`rfm_recsys.LinRFM`."""

    regularization: float
    alpha: float
    power: float
    item_norm: float
    user_norm: float
    prior_norm: float
    factors: int | None = None
    iterations: int = 1
    oversampling: int = 0
    calculate_training_loss: bool = False
    num_threads: int = 0
    random_state: Any = None

    @classmethod
    def of(cls, parameters: dict[str, Any]) -> Self:
        """Return the settings among the parameters of a model, as their checks return them."""
        return cls(**{each.name: parameters[each.name] for each in fields(cls)})

    @property
    def penalty(self) -> float:
        """The weight ``lambda`` of the prior: ``regularization`` counts observed interactions of value 1."""
        return max(self.regularization, LEAST_REGULARIZATION) * self.alpha

    @property
    def rank(self) -> int:
        """The columns that rounds of the low-rank form work with, of which the last keeps ``factors``."""
        return (self.factors or 0) + self.oversampling


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

    def factors(self) -> tuple[Any, Any]:
        """Return the factors of users and items after a round, as a model has them."""

    def sums(self) -> tuple[Floats, int]:
        """Return the sum of all users' factors, and the number of those which are not zero."""

    def item_weights(self) -> Floats:
        """Return the sum of the confidences of what is observed of each item, liked or not, shape (items,)."""

    def some_rows(self, n: int) -> csr_matrix:
        """Return the signed confidences of about n users who have some, or of all if they are fewer."""

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

    def activity(self) -> tuple[int, int]:
        """Return the number of users who like an item, and of all that they like."""
        active = self.user_counts > 0
        return int(np.count_nonzero(active)), int(self.user_counts[active].sum())

    def weigh(self, settings: Settings, mean_count: float) -> None:
        """Set the weights of the users in the AGOP; ``mean_count`` is that of all users."""
        counts = np.maximum(self.user_counts, 1) / mean_count
        self.root_weight = (counts ** (-settings.user_norm / 2)).astype(self.dtype)

    def item_weights(self) -> Floats:
        """Return the sum of the confidences of what is observed of each item, liked or not, shape (items,)."""
        return np.bincount(self.indices, np.abs(self.confidence), self.n_items).astype(np.float64)

    def some_rows(self, n: int) -> csr_matrix:
        """Return the signed confidences of n users who have some, evenly spaced, or of all if they are fewer."""
        rows = csr_matrix((self.confidence, self.indices, self.indptr), shape=(self.n_users, self.n_items))
        active = np.flatnonzero(np.diff(self.indptr))
        return rows[active[np.linspace(0, len(active) - 1, min(n, len(active))).astype(np.intp)]]

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
    tolerance: float | None = None  # of the solves; to rounding

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
        self.U = solve_users(self.indptr, self.indices, self.confidence, F, self.tolerance)

    def grams(self) -> tuple[Floats, Floats]:
        """Return ``U^T U`` and ``U^T W U``, shape (factors, factors)."""
        return gram(self.U, self.U), weighted_gram(self.U, self.root_weight)

    def solve_items(self, T: Floats) -> Floats:
        """Solve every item for the users' features ``R = U T``; return V, shape (items, factors).

        U and F, which the next :meth:`solve` replaces, are given up for the memory.
        """
        features = multiply(self.U, T)
        del self.U, self.F
        return solve_users(*self.by_item, features, self.tolerance)

    def factors(self) -> tuple[Floats, Floats]:
        """Return the factors of users and items after a round, as a model has them."""
        return self.U, self.F

    def sums(self) -> tuple[Floats, int]:
        """Return the sum of all users' factors, and the number of those which are not zero."""
        return self.U.sum(axis=0, dtype=np.float64), int(np.count_nonzero(self.U.any(axis=1)))

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
        self.take(S, *solve_users_full(self.indptr, self.indices, self.confidence, S))

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
        if self.S is None:
            values = self.E * np.repeat(self.root_weight, np.diff(self.indptr)) * scale[self.indices]
            by_item = kernels.transpose(self.indptr, self.indices, values, self.n_items)
            kernels.sparse_gram(self.indptr, self.indices, values, by_item, G)
            return G
        part = np.empty_like(G)
        for first in range(0, self.n_users, FULL_BLOCK):
            users = slice(first, min(first + FULL_BLOCK, self.n_users))
            indptr = self.indptr[users.start : users.stop + 1]
            X = np.zeros((len(indptr) - 1, self.n_items), dtype=self.dtype)
            kernels.sparse_product(indptr, self.indices, self.A, self.S, X)
            X[row_of_entry(indptr), self.indices[indptr[0] : indptr[-1]]] += self.E[indptr[0] : indptr[-1]]
            X *= self.root_weight[users, None]
            X *= scale
            kernels.dense_product(np.ascontiguousarray(X.T), X, part)
            G += part
        return G

    def factors(self) -> tuple[csr_matrix, Floats]:
        """Return the factors of users and items after a round, as a model has them."""
        assert self.S is not None
        return csr_matrix((self.A, self.indices, self.indptr), shape=(self.n_users, self.n_items)), self.S

    def sums(self) -> tuple[Floats, int]:
        """Return the sum of all users' factors, and the number of those which are not zero."""
        known = np.unique(row_of_entry(self.indptr)[self.A != 0])
        return np.asarray(np.bincount(self.indices, self.A, self.n_items), dtype=np.float64), len(known)

    def losses(self) -> NDArray[np.float64]:
        """Return the objective after :meth:`solve` and its weight: prior and zeros add up to ``a^T S_OO a``."""
        return self._losses(self.fitted, self.A * self.fitted)


def solve_users(
    indptr: Ints,
    indices: Ints,
    confidence: Floats,
    F: Floats,
    tolerance: float | None = None,
    prior: Floats | None = None,
) -> Floats:
    """Return U, shape (users, factors), for the item factors F; raises DataError where a solve overflows.

    ``prior``, of the shape of U, is what the factors are drawn to; 0 where it is left out.
    """
    U = np.empty((len(indptr) - 1, F.shape[1]), dtype=F.dtype)
    _check(kernels.solve_rows(indptr, indices, confidence, F, U, tolerance, prior))
    return U


def solve_users_full(indptr: Ints, indices: Ints, confidence: Floats, S: Floats) -> tuple[Floats, Floats]:
    """Return the dual coefficients and the fitted values, shape (nnz,); raises DataError where a solve overflows."""
    A, fitted = np.empty_like(confidence), np.empty_like(confidence)
    weight, rhs = np.abs(confidence) - 1, np.maximum(confidence, 0)
    _check(kernels.solve_rows_full(indptr, indices, weight, rhs, S, A, fitted))
    return A, fitted


def leave_one_out(confidence: csr_matrix, factors: Floats, full: bool) -> tuple[Floats, Floats]:
    """Return what each entry would be predicted without itself, and its variance; ``factors`` are F, or S if ``full``.

    Both of the shape (nnz,), float64; the variances in units of the noise.
    """
    out, variance = np.empty((2, confidence.nnz))
    _check(kernels.leave_one_out(*csr_arrays(confidence), np.require(factors, None, ["C", "W"]), full, out, variance))
    return out, variance


def variances(confidence: csr_matrix, factors: Floats, full: bool, asked: NDArray[np.int32]) -> Floats:
    """Return the variances of the scores of some items of each row, in units of the noise; ``asked`` (rows, k)."""
    out = np.empty(asked.shape)
    _check(kernels.variances(*csr_arrays(confidence), np.require(factors, None, ["C", "W"]), full, asked, out))
    return out


def draw_users(seed: np.uint64, ids: NDArray[np.intp], confidence: csr_matrix, F: Floats) -> Floats:
    """Return a draw from N(0, A^-1) for each row, shape (rows, factors); see :func:`kernels.draw_users`."""
    out = np.empty((len(ids), F.shape[1]), dtype=F.dtype)
    _check(kernels.draw_users(seed, ids, *csr_arrays(confidence), np.require(F, None, ["C", "W"]), out))
    return out


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
