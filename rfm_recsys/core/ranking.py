"""From factors to lists: candidates in, the best of them out."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_matrix

from rfm_recsys.core import kernels
from rfm_recsys.core.arrays import Floats, csr_arrays
from rfm_recsys.core.checks import check_ids, check_integer
from rfm_recsys.core.memory import check_memory
from rfm_recsys.errors import DataError, ParameterError

TopList = tuple[NDArray[np.int32], Floats]
SMALL, LARGE = 1e-15, 1e15  # lengths between which their squares are in the range of single precision


def row_norms(factors: Floats) -> Floats:
    """Return the lengths of the rows, 1e-10 for 0, as in implicit."""
    norms: Floats = np.linalg.norm(factors, axis=1)
    extreme = ~((norms > SMALL) & (norms < LARGE))
    if extreme.any():
        largest = np.abs(factors[extreme]).max(axis=1)
        largest[largest == 0] = 1
        norms[extreme] = largest * np.linalg.norm(factors[extreme] / largest[:, None], axis=1)
    norms[norms == 0] = 1e-10
    return norms


def sparse_row_norms(factors: csr_matrix) -> Floats:
    """Return the lengths of the rows, 1e-10 for 0."""
    wide = factors.astype(np.float64)
    norms: Floats = np.sqrt(wide.multiply(wide).sum(axis=1)).A1.astype(factors.dtype)
    norms[norms == 0] = 1e-10
    return norms


def unit_rows(factors: Floats) -> Floats:
    """Return the rows, divided by their lengths."""
    return factors / row_norms(factors)[:, None]


def top_dense(
    U: Floats,
    V: Floats,
    listed: csr_matrix | None,
    filtered: NDArray[np.intp],
    N: int,
    spread: tuple[Floats, Floats] | None = None,
) -> TopList:
    """Return the best N columns of ``U V^T`` for each row, and their scores; see :func:`kernels.top_k`."""
    V = np.require(V, None, ["C", "W"])
    ids, scores, indptr, indices = _room(len(U), N, listed, V.dtype)
    kernels.top_k(np.require(U, V.dtype, ["C", "W"]), V, indptr, indices, filtered, ids, scores, spread)
    return ids, scores


def top_sparse(A: csr_matrix, S: Floats, listed: csr_matrix | None, filtered: NDArray[np.intp], N: int) -> TopList:
    """Return the best N columns of ``A S`` for each row, and their scores; see :func:`kernels.top_k_sparse`."""
    ids, scores, indptr, indices = _room(A.shape[0], N, listed, S.dtype)
    S = np.require(S, None, ["C", "W"])
    kernels.top_k_sparse(csr_arrays(A), S, indptr, indices, filtered, ids, scores)
    return ids, scores


def _room(n: int, N: int, listed: csr_matrix | None, dtype: np.dtype[Any]) -> tuple[Any, Any, Any, Any]:
    """Return room for ids and scores, and the indptr and indices of what is left out of each list."""
    N = check_integer("N", N, 0)
    check_memory(n * N * (4 + dtype.itemsize), f"lists of {N} for {n} rows", "ask for fewer at a time")
    ids, scores = np.empty((n, N), dtype=np.int32), np.empty((n, N), dtype=dtype)
    if listed is None:
        return ids, scores, np.zeros(n + 1, dtype=np.int64), np.empty(0, dtype=np.int32)
    indptr, indices, _ = csr_arrays(listed)
    return ids, scores, indptr, indices


def candidates_of(
    bound: int, only: ArrayLike | None, without: ArrayLike | None, what: str
) -> tuple[NDArray[np.intp] | None, NDArray[np.intp]]:
    """Return the candidates, each once (None: all), and what is left out of all lists, ascending.

    Raises ParameterError where both are given, and IdError for an unknown id.
    """
    if only is not None and without is not None:
        raise ParameterError(f"both {what}s and filter_{what}s are given; pass one of them")
    candidates = None if only is None else check_ids(only, bound, what)[0]
    if candidates is not None:
        candidates = candidates[np.sort(np.unique(candidates, return_index=True)[1])]
    return candidates, np.unique(check_ids([] if without is None else without, bound, what)[0])


def among(candidates: NDArray[np.intp] | None, listed: csr_matrix | None) -> csr_matrix | None:
    """Return what is left out of each list, by place among the candidates."""
    if candidates is None or listed is None:
        return listed
    listed = listed[:, candidates]
    listed.sort_indices()
    return listed


def answer(lists: TopList, candidates: NDArray[np.intp] | None, single: bool) -> TopList:
    """Return lists of places among the candidates as lists of ids; raises DataError where a score is not finite."""
    places, scores = lists
    if not np.isfinite(scores).all():
        raise DataError(
            "a score is not finite: the factors are too large, or not finite themselves; fit again, with smaller "
            "values or dtype=np.float64"
        )
    ids = places if candidates is None else np.append(candidates, -1).astype(np.int32)[places]
    return (ids[0], scores[0]) if single else (ids, scores)


def asked_of(
    items: ArrayLike, n_users: int, n_items: int, single: bool
) -> tuple[NDArray[np.int32], Callable[[NDArray[Any]], Any]]:
    """Return the items asked for of each user, shape (n, m), and what gives the answer the shape that was asked in.

    Raises IdError for an unknown item, and ParameterError for another shape.
    """
    try:
        wide = isinstance(items, list | tuple | np.ndarray) and np.ndim(items) > 1
    except ValueError:  # of a list of lists, for which check_ids has words
        wide = False
    if wide:
        given = np.asarray(items)
        if given.ndim > 2 or len(given) != n_users:
            raise ParameterError(
                f"items have the shape {given.shape}; pass (items,), or ({n_users}, items) for the users"
            )
        rows, single_item = check_ids(given.ravel(), n_items, "item")[0].reshape(given.shape), False
    else:
        ids, single_item = check_ids(items, n_items, "item")
        rows = np.broadcast_to(ids, (n_users, len(ids)))
    axes = tuple(axis for axis, one in enumerate((single, single_item)) if one)

    def squeezed(values: NDArray[Any]) -> Any:
        return values.squeeze(axis=axes)[()]

    return np.ascontiguousarray(rows, dtype=np.int32), squeezed


def places_among(
    ids: NDArray[np.intp], bound: int, candidates: NDArray[np.intp] | None, filtered: NDArray[np.intp]
) -> NDArray[np.intp]:
    """Return the places of ids among the candidates, by default all below ``bound``; -1 for those not among them."""
    places = np.full(bound + 1, -1)
    candidates = np.arange(bound) if candidates is None else candidates
    places[candidates] = np.arange(len(candidates))
    places[filtered] = -1
    return places[np.minimum(ids, bound)]


def itself_first(lists: TopList, places: NDArray[np.intp]) -> None:
    """Move the place of each row itself, if it is not -1, to the front of its list.

    Rounding may have put others of the same direction before it.
    """
    top, scores = lists
    if top.shape[1] == 0:
        return
    for row in np.flatnonzero((places >= 0) & (places != top[:, 0])):
        others = np.flatnonzero(top[row] != places[row])[: top.shape[1] - 1]
        top[row, 1:], scores[row, 1:] = top[row, others], scores[row, others]
        top[row, 0] = places[row]
