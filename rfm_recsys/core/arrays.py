"""The types of arrays, and the one form in which the kernels take a CSR matrix."""

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
