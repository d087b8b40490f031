"""The types of arrays, and CSR matrices in the forms that kernels and models take."""

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

Floats: TypeAlias = NDArray[np.floating[Any]]
Ints: TypeAlias = NDArray[np.integer[Any]]


def csr_arrays(matrix: csr_matrix) -> tuple[Ints, Ints, Floats]:
    """Return indptr, indices and data in the one form that the kernels are compiled for."""
    indptr = np.require(matrix.indptr, np.int64, ["C", "W"])
    return indptr, np.require(matrix.indices, np.int32, ["C", "W"]), np.require(matrix.data, None, ["C", "W"])


def canonical(matrix: csr_matrix) -> csr_matrix:
    """Return a CSR matrix with sorted columns and no entry stored twice; a copy where the one given is different."""
    if not matrix.has_canonical_format:
        matrix = matrix.copy()
        matrix.sum_duplicates()
    return matrix


def row_of_entry(indptr: Ints) -> NDArray[np.intp]:
    """Return the row of every entry of a CSR matrix, shape (nnz,)."""
    return np.repeat(np.arange(len(indptr) - 1), np.diff(indptr))
