"""Splits of a users x items matrix into what a model may see and what it has to rank."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from rfm_recsys.errors import DataError, ParameterError

MIN_ITEMS = 5  # of a held-out user
TARGET_STRIDE = 5  # one in so many of a held-out user's items is to be ranked: 20%
DEFAULT_HELD_OUT = 600  # users at most, and a tenth of all users at most


@dataclass(frozen=True)
class StrongSplit:
    """A strong-generalisation split: the users to be ranked for are unknown to the model.

    Attributes
    ----------
    train : csr_matrix, shape (n_users - n_held_out, n_items)
        The other users, in their former order.
    fold_in : csr_matrix, shape (n_held_out, n_items)
        What the fitted model is shown of each held-out user.
    target : csr_matrix, shape (n_held_out, n_items)
        What it has to rank: a fifth of each held-out user's items, rounded down, at least one.
    held_out_users : array, shape (n_held_out,)
        Their row numbers in the original matrix, ascending.
    """

    train: sp.csr_matrix
    fold_in: sp.csr_matrix
    target: sp.csr_matrix
    held_out_users: NDArray[np.intp]


def canonical_csr(matrix: Any) -> sp.csr_matrix:
    """Return ``matrix`` as a ``csr_matrix`` with sorted columns and no entry stored twice; the input is not altered."""
    csr = sp.csr_matrix(matrix)
    if not csr.has_canonical_format:
        csr = csr.copy()
        csr.sum_duplicates()
    return csr


def strong_generalisation(
    user_items: Any, held_out_users: int | None = None, seed: int | np.random.Generator = 0
) -> StrongSplit:
    """Hold out users, show four fifths of each one's items and keep one fifth to be ranked (Liang et al. 2018).

    Every stored entry is an interaction, whatever its value; values are passed on as they are. The rows of the three
    parts, put back together, are the input exactly.

    Parameters
    ----------
    user_items : sparse matrix, shape (n_users, n_items)
    held_out_users : int, optional
        How many users to hold out, of those with at least 5 items; by default 600, or a tenth of all users where that
        is less.
    seed : int or Generator
        Makes the choice of users and items.

    Raises
    ------
    ParameterError
        If ``held_out_users`` is less than 1.
    DataError
        If too few users have 5 items, or no interaction is left to train on.
    """
    matrix = canonical_csr(user_items)
    n_users = matrix.shape[0]
    eligible = np.flatnonzero(np.diff(matrix.indptr) >= MIN_ITEMS)
    if held_out_users is None:
        held_out_users = max(1, min(DEFAULT_HELD_OUT, n_users // 10))
    if held_out_users < 1:
        raise ParameterError(f"held_out_users={held_out_users} is less than 1; hold out at least one user")
    if held_out_users > len(eligible):
        raise DataError(
            f"{len(eligible)} of {n_users} users have {MIN_ITEMS} items or more, and {held_out_users} are to be held "
            "out; pass more interactions or a smaller held_out_users"
        )

    rng = np.random.default_rng(seed)
    chosen = np.sort(rng.choice(eligible, held_out_users, replace=False))
    train = matrix[np.setdiff1d(np.arange(n_users), chosen)]
    if train.nnz == 0:
        raise DataError(
            f"holding out {held_out_users} of {n_users} users leaves no interaction to train on; "
            "pass more users or a smaller held_out_users"
        )

    held_out = matrix[chosen]
    counts = np.diff(held_out.indptr)
    rows = np.repeat(np.arange(held_out_users), counts)
    shuffled = np.lexsort((rng.random(held_out.nnz), rows))  # each row's entries in a random order of their own
    place = np.arange(held_out.nnz) - held_out.indptr[rows]
    is_target = np.zeros(held_out.nnz, dtype=bool)
    is_target[shuffled[place < (counts // TARGET_STRIDE)[rows]]] = True
    return StrongSplit(train, _entries(held_out, ~is_target), _entries(held_out, is_target), chosen)


def _entries(matrix: sp.csr_matrix, keep: NDArray[np.bool_]) -> sp.csr_matrix:
    """Return the stored entries of ``matrix`` where ``keep``, shape (nnz,), is true."""
    indptr = np.concatenate(([0], np.cumsum(keep)))[matrix.indptr]
    return sp.csr_matrix((matrix.data[keep], matrix.indices[keep], indptr), shape=matrix.shape)
