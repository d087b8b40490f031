"""The average gradient outer product (AGOP) of the completed matrix, its power, and the factor F of S.

Notation as in ``docs/algorithm/``: ``G = D X^T W X D = V diag(e) V^T`` is the weighted AGOP, ``K = B G^(2 power) B``
the reweighting of the items, ``S = (I + lambda K^-1)^-1`` what the users' solves need of it. D and B are diagonal.
"""

from typing import Any

import numpy as np
import scipy.linalg

from rfm_recsys.core.arrays import Floats
from rfm_recsys.core.linalg import decomposed, eigh, gram, multiply, out_of_range

WELL_CONDITIONED = 2**12  # bound of the largest eigenvalue of K over the penalty, for single precision


def low_rank_factor(
    values: Floats, Z: Floats, T: Floats, prior_scale: Floats, power: float, penalty: float, kept: int
) -> Floats:
    """Return F with ``S = F F^T`` for the low-rank form, or its leading directions.

    ``F = B V L`` with ``L L^T = (penalty E^-1 + V^T B^2 V)^-1``, where E holds the eigenvalues to the power
    ``2 power``, rescaled to sum to the number of items.

    Parameters
    ----------
    values, Z, T : arrays, shape (r,), (items, b) and (b, r)
        Eigenpairs of G; the vectors are ``Z T``, and Z is overwritten.
    prior_scale : array, shape (items,)
        The diagonal of B; zero for an item that nobody has, which then does not count as an item.
    power, penalty : float
        lin-RFM's power, and the weight ``lambda`` of the prior.
    kept : int
        Columns of the result, the leading directions of S; those beyond r are zero.
    """
    Z *= prior_scale[:, None]
    basis_gram = T.T @ gram(Z, Z).astype(np.float64) @ T
    L = low_rank_map(values, basis_gram, int(np.count_nonzero(prior_scale)), power, penalty, kept)
    return multiply(Z, _widened(T @ L, kept))


def low_rank_map(values: Floats, basis_gram: Floats, n_active: int, power: float, penalty: float, kept: int) -> Floats:
    """Return the L of :func:`low_rank_factor`, for ``basis_gram = V^T B^2 V``; float64, shape (r, kept or r)."""
    L = _prior_factor(values, basis_gram, n_active, power, penalty)
    return L if L.shape[1] <= kept else L @ _leading(L.T @ basis_gram @ L, kept)


def leading_directions(F: Floats, n_factors: int) -> Floats:
    """Return the G of so many columns for which ``G G^T`` is nearest to ``S = F F^T``; F where it has no more.

    ``G = F P``, P being the leading eigenvectors of ``F^T F``, so that the columns of G are along those of S.
    """
    if F.shape[1] <= n_factors:
        return F
    return multiply(F, _leading(gram(F, F).astype(np.float64), n_factors))


def _leading(matrix: Floats, n: int) -> Floats:
    """Return the n leading eigenvectors."""
    return eigh(matrix)[1][:, ::-1][:, :n]


def feature_map(
    own_gram: Floats, weighted_gram: Floats, other_gram: Floats, n_active: int, power: float, penalty: float
) -> tuple[Floats, Floats]:
    """Return T such that ``F = A T`` is the factor of S for the side of A in ``X = A B^T``, and ``F^T D^2 F``.

    Both of shape (factors, factors). As :func:`low_rank_factor`, with the eigenpairs of ``G = D A (B^T W B) A^T D``, D
    being the scale of the side of A and W the squared one of the side of B. Either side, users or items, can be that of
    A; all that is needed of the two are matrices of factors x factors.

    Parameters
    ----------
    own_gram, weighted_gram, other_gram : arrays, shape (factors, factors)
        ``A^T A``, ``A^T D^2 A`` and ``B^T W B``.
    n_active : int
        Number of rows of A that are in use.
    power, penalty : float
        As in :func:`low_rank_factor`. Columns of T beyond the rank of X are zero.
    """
    tolerance = 8 * float(np.finfo(own_gram.dtype).eps)  # rounding leaves the Gram matrices some eps of their largest
    half = _root(other_gram.astype(np.float64), tolerance)
    values, P = eigh(half.T @ weighted_gram.astype(np.float64) @ half)
    keep = values > values.max(initial=0) * tolerance
    if not keep.any():
        raise out_of_range("all eigenvalues vanish")
    values, P = values[keep][::-1], P[:, keep][:, ::-1]
    basis = half @ (P / np.sqrt(values))  # D A basis are the eigenvectors
    L = _prior_factor(values, basis.T @ own_gram @ basis, n_active, power, penalty)
    return _widened(basis @ L, len(own_gram)), _scaled_gram(L, len(own_gram), own_gram.dtype)


def _widened(matrix: Floats, n_columns: int) -> Floats:
    """Return the matrix with columns of zeros behind its own."""
    return np.pad(matrix, ((0, 0), (0, n_columns - matrix.shape[1])))


def _scaled_gram(L: Floats, n_factors: int, dtype: np.dtype[Any]) -> Floats:
    """Return ``F^T D^2 F`` for ``F = D^-1 V L``, which is ``L^T L``; zero beyond the columns of L."""
    square = _widened(L, n_factors)
    return np.asarray((square.T @ square).astype(dtype))


def _root(matrix: Floats, tolerance: float) -> Floats:
    """Return H with ``matrix = H H^T``, of full column rank."""
    values, V = eigh(matrix)
    keep = values > values.max(initial=0) * tolerance
    return np.asarray(V[:, keep] * np.sqrt(values[keep]))


def _prior_factor(values: Floats, basis_gram: Floats, n_active: int, power: float, penalty: float) -> Floats:
    """Return the L of :func:`low_rank_factor`, for ``basis_gram = V^T B^2 V``; float64, shape (r, r)."""
    E = (values / values.max()) ** (2 * power)
    root = np.sqrt(E * (n_active / E.sum()))
    # L = E^(1/2) (penalty I + E^(1/2) basis_gram E^(1/2))^(-1/2): no division, so eigenvalues may underflow
    M = root[:, None] * basis_gram * root
    M[np.diag_indices(len(M))] += penalty
    cholesky = decomposed(scipy.linalg.cholesky, M, lower=True)
    return np.asarray(root[:, None] * scipy.linalg.solve_triangular(cholesky, np.eye(len(M)), lower=True).T)


def reweighting(G: Floats, prior_scale: Floats, power: float) -> Floats:
    """Return ``K = B G^(2 power) B``, shape (items, items), for the full form, in the dtype of G.

    Scaled like E in :func:`low_rank_factor`, whose parameters these are. Powers 1/2 and 1 need products only; the
    others take an eigendecomposition of G.
    """
    K: Floats = G / G.diagonal().max()
    if power == 1:
        K = multiply(K, K)
    elif power != 0.5:
        values, V = eigh(K)
        keep = values > values[-1] * np.finfo(G.dtype).eps
        half = V[:, keep] * (values[keep] / values[-1]) ** G.dtype.type(power)
        K = multiply(half, half.T)
    K *= prior_scale[:, None] * G.dtype.type(np.count_nonzero(prior_scale) / np.trace(K, dtype=np.float64))
    K *= prior_scale
    return K


def smoother(K: Floats, penalty: float) -> Floats:
    """Return ``S = (I + penalty K^-1)^-1 = K (K + penalty I)^-1``, shape (items, items), in the dtype of K.

    In single precision where K is, and its condition allows it (``WELL_CONDITIONED``).
    """
    dtype = K.dtype
    if np.trace(K, dtype=np.float64) > WELL_CONDITIONED * penalty:
        K = K.astype(np.float64)
    shifted = K.copy()
    shifted.flat[:: len(K) + 1] += penalty
    # K (K + penalty I)^-1 rather than I - penalty (K + penalty I)^-1, so that small entries keep their digits
    cholesky = decomposed(scipy.linalg.cho_factor, shifted, lower=True, overwrite_a=True)
    S = scipy.linalg.cho_solve(cholesky, K)
    return np.asarray((S + S.T) / 2, dtype=dtype)
