"""Dense linear algebra over the kernels: products, Gram matrices, leading eigenpairs."""

from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.linalg

from rfm_recsys.core.arrays import Floats
from rfm_recsys.core.kernels import dense_product, symmetric_product
from rfm_recsys.errors import DataError

# A system whose shift is below rounding, in units of its trace, is solved with a shift of that size; so many
# steps of refinement take the difference off again.
ROUNDING, REFINEMENTS = 1e-14, 2


def multiply(A: Floats, B: Floats) -> Floats:
    """Return ``A @ B`` in the dtype of A."""
    out = np.empty((len(A), B.shape[1]), dtype=A.dtype)
    dense_product(np.ascontiguousarray(A), np.ascontiguousarray(B, dtype=A.dtype), out)
    return out


def gram(A: Floats, B: Floats) -> Floats:
    """Return ``A^T B``, which has to be symmetric."""
    A, B = np.ascontiguousarray(A), np.ascontiguousarray(B)
    return symmetric_product(A, B, np.empty(0, dtype=A.dtype))


def weighted_gram(A: Floats, root: Floats) -> Floats:
    """Return ``A^T diag(root)^2 A`` for A of shape (n, k)."""
    A = np.ascontiguousarray(A)
    return symmetric_product(A, A, np.require(root, A.dtype, "C"))


def decomposed(decompose: Callable[..., Any], matrix: Floats, **options: Any) -> Any:
    """Return what a function of SciPy makes of a matrix; raises DataError where it gives up."""
    try:
        return decompose(matrix, **options)
    except (ValueError, scipy.linalg.LinAlgError) as error:
        raise out_of_range(str(error)) from error


def eigh(matrix: Floats) -> tuple[Floats, Floats]:
    """Return eigenvalues, ascending, and eigenvectors; by divide and conquer, which is the quickest for all of them."""
    values, vectors = decomposed(scipy.linalg.eigh, matrix, driver="evd")
    return values, vectors


def out_of_range(reason: str) -> DataError:
    """Return the error for a system of equations that is lost to rounding, or overflowed."""
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
    values, T = eigh(whitening.T @ gram(Z, Z).astype(np.float64) @ whitening)
    keep = values > values.max() * np.finfo(Z.dtype).eps
    if not keep.any():
        raise out_of_range("all eigenvalues vanish")
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
    h, P = eigh(scale[:, None] * H * scale)
    keep = h > max(h.max(), 0) * tolerance
    if not keep.any():
        raise out_of_range("all eigenvalues vanish")
    return np.asarray(scale[:, None] * (P[:, keep] / np.sqrt(h[keep])))
