"""The average gradient outer product (AGOP) of the completed matrix, its power, and the factor F of S.

Notation as in ``docs/algorithm.md``: ``G = D X^T W X D = V diag(e) V^T`` is the weighted AGOP, ``K = D^-1 G^(2 power)
D^-1`` the reweighting of the items, ``S = (I + lambda K^-1)^-1`` what the users' solves need of it. D is diagonal.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.linalg

from rfm_recsys.errors import DataError
from rfm_recsys.kernels import Floats, dense_product, lapack_addresses, symmetric_product


def multiply(A: Floats, B: Floats) -> Floats:
    """Return ``A @ B`` in the dtype of A."""
    out = np.empty((len(A), B.shape[1]), dtype=A.dtype)
    dense_product(np.ascontiguousarray(A), np.ascontiguousarray(B, dtype=A.dtype), out)
    return out


def gram(A: Floats, B: Floats) -> Floats:
    """Return ``A^T B``, which has to be symmetric."""
    A, B = np.ascontiguousarray(A), np.ascontiguousarray(B)
    product: Floats = symmetric_product(lapack_addresses(A.dtype), A, B, np.empty(0, dtype=A.dtype))
    return product


def weighted_gram(A: Floats, root: Floats) -> Floats:
    """Return ``A^T diag(root)^2 A`` for A of shape (n, k)."""
    A = np.ascontiguousarray(A)
    product: Floats = symmetric_product(lapack_addresses(A.dtype), A, A, np.require(root, A.dtype, "C"))
    return product


def _decomposed(decompose: Callable[..., Any], matrix: Floats, **options: Any) -> Any:
    try:
        return decompose(matrix, **options)
    except (ValueError, scipy.linalg.LinAlgError) as error:
        raise _out_of_range(str(error)) from error


def _eigh(matrix: Floats) -> tuple[Floats, Floats]:
    """Return eigenvalues, ascending, and eigenvectors; by divide and conquer, which is the quickest for all of them."""
    values, vectors = _decomposed(scipy.linalg.eigh, matrix, driver="evd")
    return values, vectors


def _out_of_range(reason: str) -> DataError:
    return DataError(
        f"the items' system of equations is out of the range of the precision ({reason}); bring alpha, "
        "regularization, the norms and the values closer to 1, or use dtype=np.float64"
    )


def top_eigenpairs(product: Callable[[Floats], Floats], start: Floats, passes: int) -> tuple[Floats, Floats, Floats]:
    """Approximate the leading eigenpairs of a positive semidefinite G that is only known by its products.

    Block power iteration that ends in the best approximation of G that its block allows: with ``Z = G Q``, the Nystrom
    form ``Z (Q^T Z)^-1 Z^T``, whose eigenpairs come from two small matrices. Nor is a QR decomposition spent on the
    passes before: ``Z P H^(-1/2)``, where ``Q^T Z = P H P^T``, is the square root of G times orthonormal columns
    (Halko, Martinsson and Tropp 2011, section 5.5).

    Parameters
    ----------
    product : callable
        Maps Q, shape (n, b), to G Q.
    start : array, shape (n, b)
        The block to start from: random, or the eigenvectors of a nearby matrix.
    passes : int
        Number of products with G.

    Returns
    -------
    values : float64 array, shape (r,), descending, positive; ``r <= b`` where G has a lower rank
    Z, T : arrays, shape (n, b) and (b, r)
        The eigenvectors, orthonormal, are ``Z T``.
    """
    Q = start
    del start  # two blocks at a time are enough
    for _ in range(passes - 1):
        Z = product(Q)
        QZ = gram(Q, Z)
        del Q
        whitening = _whitening(QZ)
        whitening *= len(Z) / np.sqrt(np.trace(QZ) / len(QZ))  # entries of about 1, however small or large G is
        Q = multiply(Z, whitening)
    Z = product(Q)
    whitening = _whitening(gram(Q, Z))
    del Q
    values, T = _eigh(whitening.T @ gram(Z, Z).astype(np.float64) @ whitening)
    keep = values > values.max() * np.finfo(Z.dtype).eps
    if not keep.any():
        raise _out_of_range("all eigenvalues vanish")
    values, T = values[keep][::-1], T[:, keep][:, ::-1]
    return values, Z, whitening @ (T / np.sqrt(values))


def _whitening(QZ: Floats) -> Floats:
    """Return the B, float64, for which ``B^T (Q^T Z) B`` is the identity, without what is lost to rounding."""
    tolerance = float(np.finfo(QZ.dtype).eps)
    H = QZ.astype(np.float64)
    diagonal = np.diag(H)
    scale = np.zeros(len(H))
    used = diagonal > diagonal.max() * tolerance**2
    scale[used] = 1 / np.sqrt(diagonal[used])
    h, P = _eigh(scale[:, None] * H * scale)
    keep = h > max(h.max(), 0) * tolerance
    if not keep.any():
        raise _out_of_range("all eigenvalues vanish")
    whitening: Floats = scale[:, None] * (P[:, keep] / np.sqrt(h[keep]))
    return whitening


def low_rank_factor(
    values: Floats, Z: Floats, T: Floats, inverse_scale: Floats, power: float, penalty: float, n_factors: int
) -> tuple[Floats, Floats]:
    """Return F with ``S = F F^T`` for the low-rank form, and ``F^T D^2 F``.

    ``F = D^-1 V L`` with ``L L^T = (penalty E^-1 + V^T D^-2 V)^-1``, where E holds the eigenvalues to the power
    ``2 power``, rescaled to sum to the number of items.

    Parameters
    ----------
    values, Z, T : arrays, shape (r,), (items, b) and (b, r)
        Eigenpairs of G, of which the first ``n_factors`` are taken; the vectors are ``Z T``, and Z is overwritten.
    inverse_scale : array, shape (items,)
        The diagonal of ``D^-1``; zero for an item that nobody has, which then does not count as an item.
    power, penalty : float
        lin-RFM's power, and the weight ``lambda`` of the prior.
    n_factors : int
        Columns of the result; those beyond r are zero.
    """
    values, T = values[:n_factors], T[:, :n_factors]
    Z *= inverse_scale[:, None]
    L = _prior_factor(
        values, T.T @ gram(Z, Z).astype(np.float64) @ T, int(np.count_nonzero(inverse_scale)), power, penalty
    )
    return multiply(Z, _widened(T @ L, n_factors)), _scaled_gram(L, n_factors, Z.dtype)


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
    values, P = _eigh(half.T @ weighted_gram.astype(np.float64) @ half)
    keep = values > values.max(initial=0) * tolerance
    if not keep.any():
        raise _out_of_range("all eigenvalues vanish")
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
    product: Floats = (square.T @ square).astype(dtype)
    return product


def _root(matrix: Floats, tolerance: float) -> Floats:
    """Return H with ``matrix = H H^T``, of full column rank."""
    values, V = _eigh(matrix)
    keep = values > values.max(initial=0) * tolerance
    root: Floats = V[:, keep] * np.sqrt(values[keep])
    return root


def _prior_factor(values: Floats, basis_gram: Floats, n_active: int, power: float, penalty: float) -> Floats:
    """Return the L of :func:`low_rank_factor`, for ``basis_gram = V^T D^-2 V``; float64, shape (r, r)."""
    E = (values / values.max()) ** (2 * power)
    root = np.sqrt(E * (n_active / E.sum()))
    # L = E^(1/2) (penalty I + E^(1/2) basis_gram E^(1/2))^(-1/2): no division, so eigenvalues may underflow
    M = root[:, None] * basis_gram * root
    M[np.diag_indices(len(M))] += penalty
    cholesky = _decomposed(scipy.linalg.cholesky, M, lower=True)
    L: Floats = root[:, None] * scipy.linalg.solve_triangular(cholesky, np.eye(len(M)), lower=True).T
    return L


def reweighting(G: Floats, inverse_scale: Floats, power: float) -> Floats:
    """Return ``K = D^-1 G^(2 power) D^-1``, shape (items, items), float64, for the full form.

    Scaled like E in :func:`low_rank_factor`, whose parameters these are. Powers 1/2 and 1 need products only; the
    others take an eigendecomposition of G.
    """
    K: Floats = G.astype(np.float64)
    if power == 1:
        K = multiply(K, K)
    elif power != 0.5:
        values, V = _eigh(K)
        keep = values > values[-1] * np.finfo(G.dtype).eps
        half = V[:, keep] * (values[keep] / values[-1]) ** power
        K = multiply(half, half.T)
    K *= inverse_scale[:, None] * (np.count_nonzero(inverse_scale) / np.trace(K))
    K *= inverse_scale
    return K


def smoother(K: Floats, penalty: float) -> Floats:
    """Return ``S = (I + penalty K^-1)^-1 = K (K + penalty I)^-1``, shape (items, items); overwrites K."""
    shifted = K.copy()
    shifted.flat[:: len(K) + 1] += penalty
    # K (K + penalty I)^-1 rather than I - penalty (K + penalty I)^-1, so that small entries keep their digits
    cholesky = _decomposed(scipy.linalg.cho_factor, shifted, lower=True, overwrite_a=True)
    S = scipy.linalg.cho_solve(cholesky, K, overwrite_b=True)
    symmetric: Floats = (S + S.T) / 2
    return symmetric
