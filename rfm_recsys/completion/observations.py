"""The observed entries of a matrix."""

import numpy as np
from scipy.linalg import norm  # which neither overflows nor underflows
from scipy.sparse import csr_matrix

from rfm_recsys.core import kernels
from rfm_recsys.core.arrays import Floats, csr_arrays


class Observations:
    """The observed entries, by row and by column.

    Parameters
    ----------
    matrix : csr_matrix, shape (rows, columns)
    """

    def __init__(self, matrix: csr_matrix) -> None:
        self.shape: tuple[int, int] = matrix.shape
        self.indptr, self.indices, self.values = csr_arrays(matrix)
        order = csr_matrix((np.arange(len(self.values)), self.indices, self.indptr), shape=self.shape).T.tocsr()
        self.column_indptr, self.row_indices, self.order = csr_arrays(order)

    def sparse(self, values: Floats) -> csr_matrix:
        """Return the matrix with ``values`` at the observed entries."""
        return csr_matrix((values, self.indices, self.indptr), shape=self.shape)

    def transposed(self) -> "Observations":
        """Return the observed entries of the transpose."""
        values = self.values[self.order]
        return Observations(csr_matrix((values, self.row_indices, self.column_indptr), shape=self.shape[::-1]))

    def sampled(self, A: Floats, B: Floats) -> Floats:
        """Return ``A B^T`` at the observed entries, shape (nnz,)."""
        out = np.empty_like(self.values)
        kernels.sampled_product(self.indptr, self.indices, np.ascontiguousarray(A), np.ascontiguousarray(B), out)
        return out

    def times(self, values: Floats, Q: Floats) -> Floats:
        """Return the product of the matrix with ``values`` at the observed entries and Q, shape (columns, b)."""
        out = np.zeros((self.shape[0], Q.shape[1]))
        kernels.sparse_product(self.indptr, self.indices, values, np.ascontiguousarray(Q), out)
        return out

    def transposed_times(self, by_column: Floats, Q: Floats) -> Floats:
        """Return the same for the transpose, with the values in the order of the columns, and Q of shape (rows, b)."""
        out = np.zeros((self.shape[1], Q.shape[1]))
        kernels.sparse_product(self.column_indptr, self.row_indices, by_column, np.ascontiguousarray(Q), out)
        return out


def share_left(observed: Observations, fitted: Floats) -> float:
    """Return what the fitted values leave of the observed entries, relative to their norm."""
    return float(norm(observed.values - fitted) / norm(observed.values))
