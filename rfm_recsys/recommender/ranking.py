"""From factors to lists."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from rfm_recsys.core import kernels
from rfm_recsys.core.arrays import Floats, csr_arrays
from rfm_recsys.core.checks import check_integer
from rfm_recsys.core.memory import check_memory

TopList = tuple[NDArray[np.int32], Floats]


def row_norms(factors: Any) -> Floats:
    """Return the lengths of the rows, 1e-10 for 0, as in implicit."""
    if isinstance(factors, csr_matrix):
        wide = factors.astype(np.float64)
        norms: Floats = np.sqrt(wide.multiply(wide).sum(axis=1)).A1.astype(factors.dtype)
    else:
        norms = np.linalg.norm(factors, axis=1)
        lost = ~((norms > 1e-15) & (norms < 1e15))  # whose squares may be out of range
        if lost.any():
            largest = np.abs(factors[lost]).max(axis=1)
            largest[largest == 0] = 1
            norms[lost] = largest * np.linalg.norm(factors[lost] / largest[:, None], axis=1)
    norms[norms == 0] = 1e-10
    return norms


def unit_rows(factors: Any) -> Any:
    """Return the rows, divided by their lengths."""
    norms = row_norms(factors)
    if isinstance(factors, csr_matrix):
        scale = np.repeat(1 / norms, np.diff(factors.indptr))
        return csr_matrix((factors.data * scale, factors.indices, factors.indptr), shape=factors.shape)
    return factors / norms[:, None]


def top_dense(U: Floats, V: Floats, liked: csr_matrix | None, filtered: NDArray[np.intp], N: int) -> TopList:
    """Return the best N columns of ``U V^T`` for each row, and their scores; see :func:`kernels.top_k`."""
    V = np.require(V, None, ["C", "W"])
    ids, scores, indptr, indices = empty_top(len(U), N, liked, V.dtype)
    kernels.top_k(np.require(U, V.dtype, ["C", "W"]), V, indptr, indices, filtered, ids, scores)
    return ids, scores


def places_among(
    ids: NDArray[np.intp], bound: int, candidates: NDArray[np.intp] | None, filtered: NDArray[np.intp]
) -> NDArray[np.intp]:
    """Return the places of rows among the candidates, by default all below ``bound``; -1 for those not among them."""
    places = np.full(bound + 1, -1)
    candidates = np.arange(bound) if candidates is None else candidates
    places[candidates] = np.arange(len(candidates))
    places[filtered] = -1
    return places[np.minimum(ids, bound)]


def itself_first(top: NDArray[np.int32], scores: Floats, own: NDArray[np.intp]) -> None:
    """Move ``own`` to the front of each list, where rounding may have put others of the same direction; -1 is left."""
    if top.shape[1] == 0:
        return
    for row in np.flatnonzero((own >= 0) & (own != top[:, 0])):
        others = np.flatnonzero(top[row] != own[row])[: top.shape[1] - 1]
        top[row, 1:], scores[row, 1:] = top[row, others], scores[row, others]
        top[row, 0] = own[row]


def empty_top(n: int, N: int, liked: csr_matrix | None, dtype: np.dtype[Any]) -> tuple[Any, Any, Any, Any]:
    """Return arrays for lists and scores, and the indptr and indices of what is left out of each list."""
    N = check_integer("N", N, 0)
    check_memory(n * N * (4 + dtype.itemsize), f"lists of {N} for {n} rows", "ask for fewer at a time")
    ids, scores = np.empty((n, N), dtype=np.int32), np.empty((n, N), dtype=dtype)
    if liked is None:
        return ids, scores, np.zeros(n + 1, dtype=np.int64), np.empty(0, dtype=np.int32)
    indptr, indices, _ = csr_arrays(liked)
    return ids, scores, indptr, indices
