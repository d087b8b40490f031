"""The two forms of a fitted LinRFM behind one interface: low-rank factors, and the full form.

Equations are those of ``docs/algorithm/``. A form holds no more than the two arrays that a user sees, and may set.
"""

# ruff: noqa: D102  (Form says what each method does; a form, only where it does it in a way of its own)

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import scipy.linalg
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, vstack

from rfm_recsys.core import kernels
from rfm_recsys.core.arrays import Floats, csr_arrays, row_of_entry
from rfm_recsys.core.checks import check_parts
from rfm_recsys.core.linalg import eigh, gram, multiply
from rfm_recsys.core.memory import check_memory
from rfm_recsys.core.ranking import TopList, row_norms, sparse_row_norms, top_dense, top_sparse, unit_rows
from rfm_recsys.errors import NotFittedError, NotSupportedError, ParameterError, ParameterTypeError
from rfm_recsys.recommender.agop import feature_map
from rfm_recsys.recommender.blocks import (
    Settings,
    draw_users,
    leave_one_out,
    solve_users,
    solve_users_full,
    variances,
)

LOW_RANK_INSTEAD = "fit with factors=256 instead of None"
GATHERED = 2**22  # factors of items that are gathered at a time


class Form(ABC):
    """Fitted factors: what a model needs of them to answer.

    ``users`` are the factors of all users, ``items`` those of all items, shape (items, columns). ``shape`` is that of
    the interactions, users x items. ``mean_user``, shape (columns,), are the factors of a user of whom no liked
    interaction is known, where a fit has left them.
    """

    users: Any
    items: Floats
    mean_user: Floats | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """The numbers of users and items."""
        return self.users.shape[0], len(self.items)

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of both arrays."""
        return np.dtype(self.items.dtype)

    @abstractmethod
    def users_at(self, ids: NDArray[np.intp]) -> Any:
        """Return the factors of some users."""

    @abstractmethod
    def filled(self, users: Any) -> Any:
        """Return factors of users with those of the mean user in rows of zeros, and give up what is passed."""

    @abstractmethod
    def user_norms(self) -> Floats:
        """Return the lengths of all users' factors, 1e-10 for 0."""

    @abstractmethod
    def fold_in(self, confidence: csr_matrix, prior: Floats | None = None) -> Any:
        """Return the factors of users by their rows of signed confidences, zeros where these say nothing.

        ``prior``, of the shape of the answer, is what they are drawn to instead. Raises DataError where a solve
        overflows, and NotSupportedError for a prior in the full form.
        """

    @abstractmethod
    def single(self, factors: Any) -> Any:
        """Return the factors of the only user, 1-D."""

    @abstractmethod
    def fold_in_items(self, confidence: csr_matrix, settings: Settings) -> Floats:
        """Return factors for items, whose users' signed confidences are the rows; raises DataError."""

    @abstractmethod
    def leave_one_out(self, confidence: csr_matrix) -> tuple[Floats, Floats]:
        """Return what each entry would be predicted without itself, and its variance, shape (nnz,); raises DataError.

        Variances are in units of that of the noise, here and below.
        """

    @abstractmethod
    def scores(self, users: Any, asked: NDArray[np.int32]) -> Floats:
        """Return the scores of some items for each of these users, shape (users, k) like the items asked for."""

    @abstractmethod
    def variances(self, confidence: csr_matrix, asked: NDArray[np.int32]) -> Floats:
        """Return the posterior variances of these scores, by the users' signed confidences; 0 for an item of -1."""

    @abstractmethod
    def with_users(self, ids: NDArray[np.intp], factors: Any) -> Any:
        """Return the factors of all users with folded in ones for some, longer where an id is beyond."""

    @abstractmethod
    def items_at(self, ids: NDArray[np.intp]) -> Floats:
        """Return what :meth:`best` takes as ``items`` for some of them."""

    @abstractmethod
    def best(self, users: Any, items: Floats, listed: csr_matrix | None, filtered: NDArray[np.intp], N: int) -> TopList:
        """Return the best N items for each user, and their scores; see :func:`kernels.top_k`."""

    @abstractmethod
    def compared(self, items: Floats) -> Floats:
        """Return what the cosine is of that says how similar items with these factors are, of length 1."""

    @abstractmethod
    def nearest_users(self, ids: NDArray[np.intp], candidates: Any, filtered: NDArray[np.intp], N: int) -> TopList:
        """Return the N users of the most similar factors, by cosine, among the candidates (None: all)."""

    @abstractmethod
    def system(self, liked: NDArray[np.intp], c: Floats) -> Floats:
        """Return the matrix of a user's system of equations, float64, for the confidences c of the items ``liked``."""

    @abstractmethod
    def shares(self, item: int, liked: NDArray[np.intp], c: Floats, factorised: Any) -> Floats:
        """Return how much each of the items ``liked`` adds to the score of ``item``, by the factorised system."""

    @abstractmethod
    def share_of_prior(self, item: int, prior: Floats, factorised: Any) -> float:
        """Return how much of the score of ``item`` comes from what the user's factors are drawn to."""

    def score_of_mean_user(self, item: int) -> float:
        """Return the score of an item for a user of whom nothing is known; 0 where no fit has left one."""
        return 0.0 if self.mean_user is None else float(self.items[item] @ self.mean_user)

    @abstractmethod
    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the arrays that a file holds, by name."""


class LowRank(Form):
    """Factors of users and items: a score is the inner product of the two."""

    users: Floats

    def __init__(self, users: Floats, items: Floats) -> None:
        self.users, self.items = users, items

    def users_at(self, ids: NDArray[np.intp]) -> Floats:
        return self.users[ids]

    def filled(self, users: Floats) -> Floats:
        if self.mean_user is not None:
            fill_unknown(users, self.mean_user)
        return users

    def user_norms(self) -> Floats:
        return row_norms(self.users)

    def fold_in(self, confidence: csr_matrix, prior: Floats | None = None) -> Floats:
        return solve_users(*csr_arrays(confidence), np.require(self.items, None, ["C", "W"]), prior=prior)

    def known(self) -> Floats:
        """Return the factors of all users, with zeros in place of the mean user's."""
        if self.mean_user is None or len(self.users) == 0:
            return self.users
        alike = np.flatnonzero(self.users[:, 0] == self.mean_user[0])
        alike = alike[(self.users[alike] == self.mean_user).all(axis=1)]
        if len(alike) == 0:
            return self.users
        users = self.users.copy()
        users[alike] = 0
        return users

    def single(self, factors: Floats) -> Any:
        return factors[0]

    def fold_in_items(self, confidence: csr_matrix, settings: Settings) -> Floats:
        """Solve the items as a round does, for the users' features ``R = U T``; return T times the solution."""
        U, T = self.users_features(settings)
        return multiply(solve_users(*csr_arrays(confidence), multiply(U, T)), T.T)

    def users_features(self, settings: Settings) -> tuple[Floats, Floats]:
        """Return U, without the mean user, and T: the users' features are ``U T``."""
        U, F = (np.require(factors, None, ["C", "W"]) for factors in (self.known(), self.items))
        users_gram, n_active = gram(U, U), int(np.count_nonzero(U.any(axis=1)))
        return U, feature_map(users_gram, users_gram, gram(F, F), n_active, settings.power, settings.penalty)[0]

    def leave_one_out(self, confidence: csr_matrix) -> tuple[Floats, Floats]:
        return leave_one_out(confidence, self.items, full=False)

    def scores(self, users: Floats, asked: NDArray[np.int32]) -> Floats:
        scores = np.empty(asked.shape, dtype=self.dtype)
        at_once = max(1, GATHERED // max(1, asked.shape[1] * self.items.shape[1]))
        for first in range(0, len(asked), at_once):
            some = slice(first, first + at_once)
            scores[some] = np.einsum("uf,ukf->uk", users[some], self.items[asked[some]])
        return scores

    def variances(self, confidence: csr_matrix, asked: NDArray[np.int32]) -> Floats:
        return variances(confidence, self.items, False, asked)

    def drawn(
        self, users: Floats, confidence: csr_matrix, scale: float, seed: np.uint64, ids: NDArray[np.intp]
    ) -> Floats:
        """Return draws from the posteriors of users, with ``scale`` times the standard deviations per unit of noise."""
        draws = draw_users(seed, ids, confidence, self.items)
        draws *= draws.dtype.type(scale)
        draws += users
        return draws

    def spread(self, confidence: csr_matrix, scale: float, items: Floats) -> tuple[Floats, Floats]:
        """Return what :func:`top_dense` adds the root of the product of: about ``scale`` times the standard deviations.

        It takes the factors for independent in the posterior: of A the diagonal, and a variance is ``F^2 . 1 / diag``.
        The columns of F are orthogonal, or nearly, and so are those of F_O: on MovieLens and Steam these deviations are
        .96 to 1.02 of the exact ones, for a product where those take a factorisation.
        """
        indptr, indices, c = csr_arrays(confidence)
        precision = np.ones((confidence.shape[0], self.items.shape[1]), dtype=self.dtype)
        kernels.sparse_product(indptr, indices, np.abs(c) - 1, np.square(self.items, order="C"), precision)
        return self.dtype.type(scale**2) / np.maximum(precision, np.finfo(self.dtype).eps), np.square(items, order="C")

    def with_users(self, ids: NDArray[np.intp], factors: Floats) -> Floats:
        return with_rows(self.users, ids, self.filled(factors), "user")

    def items_at(self, ids: NDArray[np.intp]) -> Floats:
        return self.items[ids]

    def best(
        self, users: Floats, items: Floats, listed: csr_matrix | None, filtered: NDArray[np.intp], N: int
    ) -> TopList:
        return top_dense(users, items, listed, filtered, N)

    def compared(self, items: Floats) -> Floats:
        """Measure in the users' metric: the cosine of two items is that of their columns of ``U F^T``."""
        return _in_metric(items, self.known())

    def nearest_users(self, ids: NDArray[np.intp], candidates: Any, filtered: NDArray[np.intp], N: int) -> TopList:
        unit = _in_metric(self.known(), self.items)
        return top_dense(unit[ids], unit if candidates is None else unit[candidates], None, filtered, N)

    def system(self, liked: NDArray[np.intp], c: Floats) -> Floats:
        """Return ``I + F_O^T diag(c - 1) F_O``, shape (factors, factors)."""
        F = self.items[liked].astype(np.float64)
        return np.eye(F.shape[1]) + F.T @ ((np.abs(c) - 1)[:, None] * F)

    def shares(self, item: int, liked: NDArray[np.intp], c: Floats, factorised: Any) -> Floats:
        """Return ``c_j F_i . A^-1 F_j``."""
        F, f = self.items[liked].astype(np.float64), self.items[item].astype(np.float64)
        return np.asarray(c * (F @ scipy.linalg.lu_solve(factorised, f)))

    def share_of_prior(self, item: int, prior: Floats, factorised: Any) -> float:
        """Return ``F_i . A^-1 m``."""
        return float(self.items[item] @ scipy.linalg.lu_solve(factorised, prior.astype(np.float64)))

    def arrays(self) -> dict[str, NDArray[Any]]:
        return {"item_factors": self.items, "user_factors": self.users}


class Full(Form):
    """The full form: the factors of items are S itself, those of a user its dual coefficients, sparse like the data.

    ``users`` is a csr_matrix of users x items, ``items`` is symmetric, items x items. An empty row stands for
    the mean user, whose factors are not sparse.
    """

    def __init__(self, users: csr_matrix, items: Floats) -> None:
        _check_csr(users)
        self.users, self.items = users, items

    def users_at(self, ids: NDArray[np.intp]) -> csr_matrix:
        """Return the factors of some users; raises ParameterError where theirs are corrupt."""
        users = self.users
        starts, stops = users.indptr[ids], users.indptr[ids + 1]
        if not ((starts >= 0) & (starts <= stops) & (stops <= len(users.indices))).all():
            raise _corrupt("indptr points beyond the indices")
        return _sound(users[ids])

    def filled(self, users: csr_matrix) -> csr_matrix:
        if self.mean_user is None:
            return users
        empty: NDArray[np.bool_] = np.bincount(row_of_entry(users.indptr), users.data != 0, users.shape[0]) == 0
        if not empty.any():
            return users
        some, n_items = int(empty.sum()), users.shape[1]
        needed = some * n_items * (8 + users.dtype.itemsize)
        check_memory(needed, f"{some} users without liked interactions", "ask for fewer at a time")
        filled = csr_matrix(np.broadcast_to(self.mean_user, (some, n_items)))
        place = np.where(empty, users.shape[0] + np.cumsum(empty) - 1, np.arange(len(empty)))
        return csr_matrix(vstack([users, filled], format="csr")[place])

    def user_norms(self) -> Floats:
        return sparse_row_norms(_sound(self.users))

    def fold_in(self, confidence: csr_matrix, prior: Floats | None = None) -> csr_matrix:
        if prior is not None:
            raise NotSupportedError(f"the full form takes no features; {LOW_RANK_INSTEAD}")
        indptr, indices, values = csr_arrays(confidence)
        coefficients, _ = solve_users_full(indptr, indices, values, np.require(self.items, None, ["C", "W"]))
        return csr_matrix((coefficients, indices, indptr), shape=confidence.shape)

    def single(self, factors: csr_matrix) -> Any:
        return factors.toarray()[0]

    def fold_in_items(self, confidence: csr_matrix, settings: Settings) -> Floats:
        """Raise NotSupportedError: an item is more than factors."""
        raise NotSupportedError(f"the full form has no factors of items to fold in; {LOW_RANK_INSTEAD}")

    def leave_one_out(self, confidence: csr_matrix) -> tuple[Floats, Floats]:
        return leave_one_out(confidence, self.items, full=True)

    def scores(self, users: csr_matrix, asked: NDArray[np.int32]) -> Floats:
        scores = np.empty(asked.shape, dtype=self.dtype)
        for row, items in enumerate(asked):
            entries = slice(users.indptr[row], users.indptr[row + 1])
            scores[row] = users.data[entries] @ self.items[np.ix_(users.indices[entries], items)]
        return scores

    def variances(self, confidence: csr_matrix, asked: NDArray[np.int32]) -> Floats:
        return variances(confidence, self.items, True, asked)

    def with_users(self, ids: NDArray[np.intp], factors: csr_matrix) -> csr_matrix:
        n_users, n_items = self.users.shape
        size = max(n_users, int(ids.max(initial=-1)) + 1)
        check_memory(64 * size, f"users up to {size - 1}", f"number new users from {n_users} on")
        stored = _sound(self.users).copy()
        stored.resize(size, n_items)
        rows = np.arange(size)
        rows[ids] = size + np.arange(len(ids))
        return csr_matrix(vstack([stored, factors], format="csr")[rows])

    def items_at(self, ids: NDArray[np.intp]) -> Floats:
        return self.items[:, ids]

    def best(
        self, users: csr_matrix, items: Floats, listed: csr_matrix | None, filtered: NDArray[np.intp], N: int
    ) -> TopList:
        return top_sparse(users, items, listed, filtered, N)

    def compared(self, items: Floats) -> Floats:
        return unit_rows(items)

    def nearest_users(self, ids: NDArray[np.intp], candidates: Any, filtered: NDArray[np.intp], N: int) -> TopList:
        users = _sound(self.users)
        scale = np.repeat(1 / sparse_row_norms(users), np.diff(users.indptr))
        unit = csr_matrix((users.data * scale, users.indices, users.indptr), shape=users.shape)
        rows = unit if candidates is None else unit[candidates]
        needed = rows.shape[0] * rows.shape[1] * rows.dtype.itemsize
        check_memory(needed, f"the cosines with {rows.shape[0]} users", "pass those to choose from as users")
        return top_sparse(unit[ids], rows.T.toarray(), None, filtered, N)

    def system(self, liked: NDArray[np.intp], c: Floats) -> Floats:
        """Return ``I + diag(c - 1) S_OO``, shape (liked, liked)."""
        S = self.items[np.ix_(liked, liked)].astype(np.float64)
        return np.eye(len(c)) + (np.abs(c) - 1)[:, None] * S

    def shares(self, item: int, liked: NDArray[np.intp], c: Floats, factorised: Any) -> Floats:
        """Return ``c_j (A^-T S_O,i)_j``."""
        f = self.items[item, liked].astype(np.float64)
        return np.asarray(c * scipy.linalg.lu_solve(factorised, f, trans=1))

    def share_of_prior(self, item: int, prior: Floats, factorised: Any) -> float:
        """Raise NotSupportedError: the full form takes no features."""
        raise NotSupportedError(f"the full form takes no features; {LOW_RANK_INSTEAD}")

    def arrays(self) -> dict[str, NDArray[Any]]:
        users = _sound(self.users)
        return {
            "item_factors": self.items,
            **{f"user_{part}": getattr(users, part) for part in ("data", "indices", "indptr")},
        }


def _in_metric(factors: Floats, others: Floats) -> Floats:
    """Return ``A (B^T B)^(1/2)`` with rows of length 1, for the factors A of one side and B of the other.

    Where there is nothing of the other side, as the users of a model that was fitted on a cluster, the factors as such.
    """
    metric = gram(others, others).astype(np.float64)
    if not metric.any() or not np.isfinite(metric).all():
        return unit_rows(factors)
    values, V = eigh(metric / np.trace(metric))
    return unit_rows(multiply(factors, (V * np.sqrt(np.maximum(values, 0))) @ V.T))


def form_of(user_factors: Any, item_factors: Any, mean_user: Any = None) -> Form:
    """Return the form that two arrays are of, fitted or set by hand; a mean user of another shape is none.

    Raises
    ------
    NotFittedError
        There are no factors.
    ParameterError, ParameterTypeError
        They do not fit together.
    """
    U, F = user_factors, item_factors
    if F is None or U is None:
        raise NotFittedError("this LinRFM has no factors yet; call fit(user_items) first")
    full = isinstance(U, csr_matrix)
    for name, factors in (("user_factors", U), ("item_factors", F)):
        if not (type(factors) in (np.ndarray, np.memmap) or (factors is U and full)):
            raise ParameterTypeError(f"{name} are a {type(factors).__name__}; set both to NumPy arrays")
    form = Full(U, F) if full else LowRank(U, F)
    if F.ndim != 2 or U.ndim != 2 or F.shape[1] != U.shape[1] or F.shape[1] == 0:
        raise ParameterError(
            f"user_factors have the shape {U.shape} and item_factors {F.shape}; set both to 2-D arrays with the "
            "same number of columns"
        )
    if full and len(F) != F.shape[1]:
        raise ParameterError(
            f"user_factors are a CSR matrix, as in the full form, and item_factors have the shape {F.shape}; set "
            "both to arrays, or item_factors to items x items"
        )
    if isinstance(mean_user, np.ndarray) and mean_user.shape == F.shape[1:] and mean_user.dtype == F.dtype:
        form.mean_user = mean_user
    if not F.dtype == U.dtype or F.dtype not in (np.float32, np.float64):
        raise ParameterError(
            f"user_factors hold {U.dtype} and item_factors {F.dtype}; set both to float32, or both to float64"
        )
    return form


def form_from(arrays: dict[str, NDArray[Any]]) -> Form:
    """Return the form of which :meth:`Form.arrays` returned these; raises as :func:`form_of`, or KeyError."""
    items = arrays["item_factors"]
    if "user_factors" in arrays:
        return form_of(arrays["user_factors"], items)
    data, indices, indptr = (arrays[f"user_{part}"] for part in ("data", "indices", "indptr"))
    form = form_of(csr_matrix((data, indices, indptr), shape=(len(indptr) - 1, len(items))), items)
    _sound(form.users)
    return form


def mean_user_of(sums: Floats, n_known: int, dtype: np.dtype[Any]) -> Floats:
    """Return the factors of a user of whom nothing is known, which are the mean of all others'.

    Parameters
    ----------
    sums : array, shape (columns,)
        Of the factors of all users.
    n_known : int
        Users whose factors are not zero.
    """
    return np.asarray(sums / max(n_known, 1), dtype=dtype)


def fill_unknown(U: Floats, mean_user: Floats) -> None:
    """Write the mean user's factors into the rows that are zero."""
    U[~U.any(axis=1)] = mean_user


def with_rows(factors: Floats, ids: NDArray[np.intp], rows: Floats, what: str) -> Floats:
    """Return a copy of factors with new rows, longer where an id is beyond; raises InsufficientMemoryError."""
    size = max(len(factors), int(ids.max(initial=-1)) + 1)
    needed = size * factors.shape[1] * factors.itemsize
    check_memory(needed, f"factors for {what}s up to {size - 1}", f"number new {what}s from {len(factors)} on")
    stored = np.zeros((size, factors.shape[1]), dtype=factors.dtype)
    stored[: len(factors)] = factors
    stored[ids] = rows
    return stored


def _check_csr(users: csr_matrix) -> None:
    """Raise ParameterError where the parts of a CSR matrix are none; what they hold is checked where it is used."""
    parts = (users.data, users.indices, users.indptr)
    if not all(isinstance(part, np.ndarray) and part.ndim == 1 for part in parts):
        raise _corrupt("its parts are no 1-D arrays")
    if users.indices.dtype.kind + users.indptr.dtype.kind != "ii":
        raise _corrupt(f"its indices are {users.indices.dtype} and its indptr {users.indptr.dtype}")
    if len(users.indptr) != users.shape[0] + 1 or len(users.indices) != len(users.data):
        raise _corrupt("its parts differ in length")


def _sound(users: csr_matrix) -> csr_matrix:
    """Return the factors of users; raises ParameterError where they are corrupt."""
    try:
        check_parts(users.indptr, users.indices, len(users.data), users.shape)
    except ValueError as error:
        raise _corrupt(str(error)) from error
    return users


def _corrupt(reason: str) -> ParameterError:
    return ParameterError(f"user_factors are a corrupt CSR matrix ({reason}); fit again, or set both factors to arrays")
