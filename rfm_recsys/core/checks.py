"""The only place where input is checked: every error gives the value, the bound and the remedy."""

from itertools import chain
from numbers import Integral, Real
from typing import Any
from warnings import warn

import numpy as np
import scipy.sparse
from numpy.typing import NDArray
from scipy.sparse import bsr_matrix, coo_matrix, csr_matrix, dia_matrix

from rfm_recsys.core.arrays import canonical
from rfm_recsys.errors import (
    DataError,
    IdError,
    InsufficientMemoryError,
    ParameterError,
    ParameterTypeError,
    parameter_warning,
)

INT32_MAX = np.iinfo(np.int32).max
MOST_FEATURE = 1e30  # of which fourth powers, times as many rows as there are, have to be finite


def shown(value: Any) -> str:
    """Return what a message says of a value, whatever it is: its repr, cut short."""
    try:
        text = repr(value)
    except Exception:  # an integer of more digits than Python prints, or a class that has none
        return f"of type {type(value).__name__}"
    return text if len(text) <= 100 else f"{text[:100]}..."


def check_flag(name: str, value: Any) -> bool:
    """Return True or False, for which an integer and None stand, too; raises ParameterTypeError for anything else."""
    if value is not None and not isinstance(value, bool | np.bool_ | Integral):
        raise ParameterTypeError(f"{name} is {shown(value)}, of type {type(value).__name__}; pass True or False")
    return bool(value)


def check_number(name: str, value: Any, least: float, most: float = np.inf, *, above: bool = False) -> float:
    """Return a finite number from (or above) ``least`` to ``most``; raises ParameterError or ParameterTypeError."""
    bound = f"{'above' if above else 'at least'} {least:g}{f' and at most {most:g}' if most < np.inf else ''}"
    if isinstance(value, bool) or not isinstance(value, Real):
        raise ParameterTypeError(f"{name} is {shown(value)}, of type {type(value).__name__}; pass a number {bound}")
    try:
        number = float(value)
    except OverflowError:
        number = np.inf
    if not (np.isfinite(number) and least <= number <= most) or (above and number == least):
        raise ParameterError(f"{name} is {shown(value)}; pass a finite number {bound}")
    return number


def check_integer(name: str, value: Any, least: int) -> int:
    """Return an integer from ``least`` to 2^31 - 1; raises ParameterError or ParameterTypeError."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise ParameterTypeError(f"{name} is {shown(value)}, of type {type(value).__name__}; pass an integer")
    number = int(value)
    if not least <= number <= INT32_MAX:
        raise ParameterError(f"{name} is {shown(number)}; pass an integer in {least}..{INT32_MAX}")
    return number


def check_choice(name: str, value: Any, choices: tuple[str, ...]) -> str:
    """Return one of some words; raises ParameterError for any other."""
    if not isinstance(value, str):
        raise ParameterTypeError(f"{name} is {shown(value)}; pass one of {', '.join(map(repr, choices))}")
    if value not in choices:
        raise ParameterError(f"{name} is {shown(value)}; pass one of {', '.join(map(repr, choices))}")
    return str(value)


def check_dtype(name: str, value: Any) -> np.dtype[Any]:
    """Return float32 or float64 as a NumPy dtype; raises ParameterError for any other."""
    try:
        dtype: np.dtype[Any] = np.dtype(value)
    except Exception as error:  # a TypeError, mostly
        raise ParameterTypeError(f"{name} is {shown(value)}; pass np.float32 or np.float64") from error
    if dtype not in (np.float32, np.float64):
        raise ParameterError(f"{name} is {dtype}; pass np.float32 or np.float64")
    return dtype


def check_interactions(
    matrix: Any,
    dtype: np.dtype[Any],
    *,
    rows: int | None = None,
    columns: int | None = None,
    name: str = "user_items",
    zeros: bool = False,
) -> csr_matrix:
    """Return interactions as a CSR matrix of ``dtype`` in canonical form; the caller's matrix is left as it was.

    Canonical: indices sorted, duplicates added up, and stored zeros dropped, unless ``zeros`` are asked for. Of fewer
    columns than ``columns``, those that are missing have no entries.

    Raises
    ------
    ParameterTypeError
        Not a matrix of numbers.
    DataError
        Not finite, corrupt, too large, or not of the shape (``rows``, at most ``columns``).
    """
    if scipy.sparse.issparse(matrix) and matrix.format != "csr":
        message = f"{name} is a {matrix.format.upper()} matrix and is converted; pass CSR to save the time"
        warn(parameter_warning(message), stacklevel=3)
    csr = _checked_csr(matrix, dtype, name)
    one, other = name.removesuffix("s").split("_")
    if rows is not None and csr.shape[0] != rows:
        raise DataError(f"{name} has {csr.shape[0]} row(s), not {rows}; pass one row for each {one} asked for")
    if columns is not None and csr.shape[1] > columns:
        raise DataError(
            f"{name} has {csr.shape[1]} column(s), not up to {columns}; pass the {other}s that were seen in fit(), in "
            "the same order"
        )
    if columns is not None and csr.shape[1] < columns:
        csr = csr_matrix((csr.data, csr.indices, csr.indptr), shape=(csr.shape[0], columns))
    csr = _finite(csr, dtype, (one, other))
    return csr if zeros else without_zeros(csr)


def check_features(name: str, features: Any, rows: int | None = None, columns: int | None = None) -> csr_matrix:
    """Return features as a CSR matrix of float64 without stored zeros; the caller's is left as it was.

    Parameters
    ----------
    features : sparse matrix, or array or DataFrame of numbers, shape (rows, columns)

    Raises
    ------
    ParameterTypeError
        No matrix of numbers.
    DataError
        Not finite, or of another shape.
    """
    if scipy.sparse.issparse(features):
        matrix = _checked_csr(features, np.dtype(np.float64), name)
    else:
        try:
            values = np.asarray(features)
            if values.dtype.kind not in "buif":
                values = np.array(values, dtype=np.float64)
        except Exception as error:  # it may be anything
            raise ParameterTypeError(
                f"{name} are {shown(features)} and no matrix of numbers ({error}); encode categories and texts, as "
                "rfm_recsys.datasets.FeatureEncoder does"
            ) from error
        if values.ndim != 2:
            raise DataError(f"{name} have the shape {values.shape}; pass a matrix with a row for each")
        matrix = csr_matrix(values.astype(np.float64))
    if rows is not None and matrix.shape[0] != rows:
        raise DataError(f"{name} have {matrix.shape[0]} row(s), not {rows}; pass one row for each")
    if columns is not None and matrix.shape[1] != columns:
        raise DataError(f"{name} have {matrix.shape[1]} column(s), not {columns}; pass those of fit(), in their order")
    if matrix.shape[1] == 0:
        raise DataError(f"{name} have no columns; pass at least one, or leave them out")
    if not np.isfinite(matrix.data).all():
        raise DataError(f"{name} hold a value that is not finite; fill in or leave out what is missing")
    if np.abs(matrix.data).max(initial=0) > MOST_FEATURE:
        raise DataError(f"{name} hold {np.abs(matrix.data).max():g}; scale them to at most {MOST_FEATURE:g}")
    return canonical(without_zeros(matrix))


def without_zeros(matrix: csr_matrix) -> csr_matrix:
    """Return the matrix without stored zeros; the caller's is left as it was."""
    if matrix.data.all():
        return matrix
    matrix = matrix.copy()
    matrix.eliminate_zeros()
    return matrix


def check_observed(matrix: Any) -> csr_matrix:
    """Return the observed entries of a matrix as CSR of float64, indices sorted; the caller's is left as it was.

    Every stored entry is an observation, a stored zero that of a zero.

    Raises
    ------
    ParameterTypeError
        Not a matrix of numbers, or in a format that stores entries which nobody observed (BSR, DIA).
    DataError
        Not finite, corrupt, too large, without an entry, or with an entry twice.
    """
    if scipy.sparse.issparse(matrix) and matrix.format in ("bsr", "dia"):
        raise ParameterTypeError(
            f"observed is a {matrix.format.upper()} matrix, which stores entries that nobody observed; pass COO or CSR"
        )
    csr = _checked_csr(matrix, np.dtype(np.float64), "observed")
    stored = len(matrix.data) if matrix.format == "coo" else csr.nnz
    csr = _finite(csr, np.dtype(np.float64), ("row", "column"))
    if csr.nnz < stored:
        raise DataError(
            f"{stored - csr.nnz} of the {stored} entries of observed are there twice; pass each once, e.g. their mean"
        )
    if csr.nnz == 0:
        raise DataError(f"observed, of shape {csr.shape}, has no stored entry; pass what was observed")
    return csr


def _checked_csr(matrix: Any, dtype: np.dtype[Any], name: str) -> csr_matrix:
    """Return a sparse matrix of real numbers as CSR; raises ParameterTypeError or DataError where it is none."""
    if not scipy.sparse.issparse(matrix):
        raise ParameterTypeError(
            f"{name} is a {type(matrix).__name__}; pass a SciPy sparse matrix, as scipy.sparse.csr_matrix(...)"
        )
    if matrix.ndim != 2:
        what = f" of {name.replace('_', ' x ')}" if "_" in name else ""
        raise DataError(f"{name} has {matrix.ndim} dimension(s); pass a matrix{what}")
    held = getattr(matrix, "dtype", None)
    if isinstance(held, np.dtype) and held.kind not in "biuf":
        raise ParameterTypeError(f"{name} holds {held}; pass real numbers")
    if max(matrix.shape) > INT32_MAX:
        raise DataError(f"{name} has the shape {matrix.shape}; at most {INT32_MAX} users and items are possible")
    try:
        return _as_csr(matrix, dtype)
    except MemoryError as error:
        raise InsufficientMemoryError(f"{name} does not fit into memory as CSR: {error}") from error
    except Exception as error:  # whatever NumPy and SciPy say of parts that do not fit together
        raise DataError(f"{name} is corrupt: {error}; rebuild it, e.g. from its COO triplets") from error


def _as_csr(matrix: Any, dtype: np.dtype[Any]) -> csr_matrix:
    """Return a matrix of any format as CSR, rebuilt from its parts; raises some Exception where they are corrupt.

    Rebuilt, since SciPy's conversions trust a matrix, and read and write beyond its arrays.
    """
    rows, columns = matrix.shape
    if matrix.format == "dok":
        matrix = matrix.tocoo()
    if matrix.format == "lil":
        lengths = [len(row) for row in matrix.rows]
        if lengths != [len(row) for row in matrix.data]:
            raise ValueError("a row has not as many values as columns")
        indptr = np.cumsum([0, *lengths])
        indices = np.fromiter(chain.from_iterable(matrix.rows), np.int64, indptr[-1])
        data = np.fromiter(chain.from_iterable(matrix.data), dtype, indptr[-1])
    elif matrix.format in ("coo", "dia"):
        with np.errstate(over="ignore"):  # of dtype already, so that duplicates do not add up in, say, int8
            data = np.asarray(matrix.data).astype(dtype)
        if matrix.format == "coo":
            return coo_matrix((data, (matrix.row, matrix.col)), shape=(rows, columns)).tocsr()
        return dia_matrix((data, matrix.offsets), shape=(rows, columns)).tocsr()
    else:
        data, indices, indptr = (np.asarray(part) for part in (matrix.data, matrix.indices, matrix.indptr))
    if data.dtype.kind not in "biuf":
        raise ValueError(f"it holds {data.dtype}")
    parts = (data, indices, indptr)
    if matrix.format == "bsr":
        check_parts(indptr, indices, len(data), (rows // data.shape[1], columns // data.shape[2]))
        return bsr_matrix(parts, shape=(rows, columns)).tocsr()
    if matrix.format == "csc":
        check_parts(indptr, indices, data.size, (columns, rows))
        return csr_matrix(parts, shape=(columns, rows)).T.tocsr()
    check_parts(indptr, indices, data.size, (rows, columns))
    return csr_matrix(parts, shape=(rows, columns))


def check_parts(indptr: NDArray[Any], indices: NDArray[Any], n_values: int, shape: tuple[int, int]) -> None:
    """Raise ValueError for parts of a CSR matrix that point beyond one another.

    SciPy's own check passes an indptr that falls where it ends in 0, is below 0, or is unsigned.
    """
    for name, part in (("indptr", indptr), ("indices", indices)):
        if part.ndim != 1 or part.dtype.kind not in "iu":
            raise ValueError(f"{name} has {part.ndim} dimension(s) of {part.dtype}")
    if len(indptr) != shape[0] + 1 or indptr[0] != 0 or (indptr[1:] < indptr[:-1]).any():
        raise ValueError(f"indptr does not ascend from 0 on for {shape[0]} rows")
    if len(indices) != n_values or indptr[-1] > n_values:
        raise ValueError(f"indptr ends at {indptr[-1]}, with {len(indices)} indices and {n_values} values")
    used = indices[: int(indptr[-1])]
    if len(used) and not 0 <= used.min() <= used.max() < shape[1]:
        raise ValueError(f"indices are in {used.min()}..{used.max()}, and not in 0..{shape[1] - 1}")


def _finite(matrix: csr_matrix, dtype: np.dtype[Any], what: tuple[str, str]) -> csr_matrix:
    with np.errstate(over="ignore", invalid="ignore"):  # what overflows the dtype is reported as not finite
        data = matrix.data.astype(dtype, copy=False)
        matrix = csr_matrix((data, matrix.indices, matrix.indptr), shape=matrix.shape)
        finite = np.isfinite(matrix.data)
        if finite.all():
            matrix = canonical(matrix)
            finite = np.isfinite(matrix.data)
    if not finite.all():
        entry = int(np.flatnonzero(~finite)[0])
        row = int(np.searchsorted(matrix.indptr, entry, side="right")) - 1
        raise DataError(
            f"the value of {what[0]} {row}, {what[1]} {matrix.indices[entry]} is not a finite {dtype}: "
            f"{matrix.data[entry]}; remove or replace it"
        )
    return matrix


def check_ids(ids: Any, bound: int | None, what: str) -> tuple[NDArray[np.intp], bool]:
    """Return ids as an array, shape (n,), and whether a single one was given.

    Raises
    ------
    ParameterTypeError
        Not integers.
    IdError
        Outside ``0..bound - 1`` (``bound=None``: 2^31).
    """
    try:
        array = np.asarray(ids)
    except Exception as error:  # rows of different lengths, mostly
        raise ParameterTypeError(f"{what} ids are no array ({error}); pass an integer or integers") from error
    if array.size == 0 and array.ndim == 1:
        array = array.astype(np.intp)
    if array.dtype.kind not in "iu" or array.ndim > 1:
        raise ParameterTypeError(
            f"{what} ids of type {array.dtype} and shape {array.shape}; pass an integer or a 1-D array of integers"
        )
    flat = array.reshape(-1)
    bound = INT32_MAX + 1 if bound is None else bound
    outside = (flat < 0) | (flat >= bound)
    if outside.any():
        raise IdError(f"{what} {flat[outside][0]} is outside 0..{bound - 1}; pass ids that were seen in fit()")
    return flat.astype(np.intp), array.ndim == 0


def check_seed(name: str, value: Any) -> Any:
    """Return a seed, as :func:`check_generator` takes it: None, an integer of at least 0, or a generator of NumPy's."""
    if isinstance(value, np.random.Generator | np.random.RandomState | None):
        return value
    return check_integer(name, value, 0)


def check_generator(random_state: Any) -> np.random.Generator:
    """Return the generator that a seed, ``RandomState`` or ``Generator`` stands for; None stands for seed 0."""
    if isinstance(random_state, np.random.Generator):
        return random_state
    if isinstance(random_state, np.random.RandomState):
        return np.random.default_rng(random_state.randint(0, 2**32, size=4, dtype=np.uint32))
    return np.random.default_rng(0 if random_state is None else check_integer("random_state", random_state, 0))


def check_row(matrix: Any, row: Any, columns: int, dtype: np.dtype[Any]) -> csr_matrix:
    """Return a row of interactions, checked; the others are not looked at."""
    if not (scipy.sparse.issparse(matrix) and matrix.format == "csr" and matrix.ndim == 2):
        matrix = check_interactions(matrix, dtype, columns=columns)
    index = check_id(row, matrix.shape[0], "user")
    try:
        start, stop = (int(end) for end in matrix.indptr[index : index + 2])
        if not 0 <= start <= stop <= min(len(matrix.indices), len(matrix.data)):
            raise ValueError(f"row {index} is {start}..{stop}")
        parts = (matrix.data[start:stop], matrix.indices[start:stop], [0, stop - start])
        one = csr_matrix(parts, shape=(1, matrix.shape[1]))
    except Exception as error:  # whatever NumPy and SciPy say of parts that do not fit together
        raise DataError(f"user_items is corrupt: {error}; rebuild it, e.g. from its COO triplets") from error
    return check_interactions(one, dtype, columns=columns)


def check_csr(user_items: Any) -> Any:
    """Return what is a CSR matrix; raises ParameterError for anything else."""
    if not (scipy.sparse.issparse(user_items) and user_items.format == "csr"):
        raise ParameterError(
            f"user_items is {type(user_items).__name__}; pass a CSR matrix with one row for each user, or "
            "switch off what needs it: filter_already_liked_items, recalculate_user, return_std, explore"
        )
    return user_items


def check_id(value: Any, bound: int, what: str) -> int:
    """Return one id; raises as :func:`check_ids`, and ParameterTypeError for several."""
    ids, single = check_ids(value, bound, what)
    if not single:
        raise ParameterTypeError(f"{what} is {shown(value)}; pass one integer")
    return int(ids[0])


def check_callback(callback: Any, arguments: str) -> None:
    """Raise ParameterTypeError for what is neither None nor a function; the message says of which arguments."""
    if callback is not None and not callable(callback):
        raise ParameterTypeError(f"callback is {shown(callback)}; pass a function of {arguments}")
