"""What the value of an interaction says: its weight, which alpha turns into a confidence."""

import numpy as np
from scipy.sparse import csr_matrix

from rfm_recsys.core import kernels
from rfm_recsys.core.arrays import Floats, csr_arrays
from rfm_recsys.errors import DataError

MEANINGS = ("relative", "confidence")


def user_levels(user_items: csr_matrix) -> Floats:
    """Return the mean size of each user's values, float64, shape (users,); 1 for a user without any."""
    indptr, _, values = csr_arrays(user_items)
    return kernels.row_levels(indptr, values)


def weights(user_items: csr_matrix, values: str, levels: Floats | None = None, of_columns: bool = False) -> csr_matrix:
    """Return the signed weights of interactions, in their dtype: ``alpha`` times these are the confidences.

    ``"relative"``: a value v counts ``1/2 + r / (1 + r)`` with ``r = |v| / level`` and the level of its user, the mean
    size of the user's values. That is 1 for the usual value, between 1/2 and 3/2 for any, and the same in any unit.
    ``"confidence"``: v itself.

    Parameters
    ----------
    user_items : csr_matrix, shape (users, items), in canonical form
    values : str
        One of `MEANINGS`.
    levels : array, optional
        What :func:`user_levels` returns, which is computed where it is not given.
    of_columns : bool
        Whether the rows are items, and the levels those of the columns.
    """
    if values == "confidence":
        return user_items
    indptr, indices, sizes = csr_arrays(user_items)
    levels = kernels.row_levels(indptr, sizes) if levels is None else levels
    weight = kernels.relative_weights(indptr, indices, sizes, levels, of_columns)
    return csr_matrix((weight, indices, indptr), shape=user_items.shape)


def confidences(weights: csr_matrix, alpha: float) -> csr_matrix:
    """Return the signed confidences ``alpha * weight``; raises DataError where they are beyond the precision."""
    with np.errstate(over="ignore"):
        confidence = weights.data * weights.dtype.type(alpha)
    lost = np.count_nonzero(confidence) < len(confidence)  # to zero, by rounding
    if lost or not np.isfinite([confidence.min(initial=0), confidence.max(initial=0)]).all():
        raise DataError(
            f"alpha * value is beyond {weights.dtype} for alpha={alpha} and values up to "
            f"{np.abs(weights.data).max():g}; scale alpha or the values, or use dtype=np.float64"
        )
    return csr_matrix((confidence, weights.indices, weights.indptr), shape=weights.shape)
