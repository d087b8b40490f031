"""The only place where input is checked: every error gives the value, the bound and the remedy."""

from collections.abc import Sequence
from numbers import Integral, Real
from pathlib import Path
from typing import Any
from warnings import warn

import numpy as np
import scipy.sparse
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from rfm_recsys.errors import (
    DataError,
    IdError,
    InsufficientMemoryError,
    ParameterError,
    ParameterTypeError,
    ParameterWarning,
)

INT32_MAX = np.iinfo(np.int32).max
CONTROL_GROUP = "/sys/fs/cgroup"
FILES = ("active_file ", "inactive_file ")  # cached files, which count as used and are given up on demand


def check_number(name: str, value: Any, least: float, most: float = np.inf, *, above: bool = False) -> float:
    """Return a finite number from (or above) ``least`` to ``most``; raises ParameterError or ParameterTypeError."""
    bound = f"{'above' if above else 'at least'} {least:g}{f' and at most {most:g}' if most < np.inf else ''}"
    if isinstance(value, bool) or not isinstance(value, Real):
        raise ParameterTypeError(f"{name} is {value!r}, of type {type(value).__name__}; pass a number {bound}")
    number = float(value)
    if not (np.isfinite(number) and least <= number <= most) or (above and number == least):
        raise ParameterError(f"{name} is {value!r}; pass a finite number {bound}")
    return number


def check_integer(name: str, value: Any, least: int) -> int:
    """Return an integer from ``least`` to 2^31 - 1; raises ParameterError or ParameterTypeError."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise ParameterTypeError(f"{name} is {value!r}, of type {type(value).__name__}; pass an integer")
    number = int(value)
    if not least <= number <= INT32_MAX:
        raise ParameterError(f"{name} is {value}; pass an integer in {least}..{INT32_MAX}")
    return number


def check_dtype(value: Any) -> np.dtype[Any]:
    """Return float32 or float64 as a NumPy dtype; raises ParameterError for any other."""
    try:
        dtype: np.dtype[Any] = np.dtype(value)
    except TypeError as error:
        raise ParameterTypeError(f"dtype is {value!r}; pass np.float32 or np.float64") from error
    if dtype not in (np.float32, np.float64):
        raise ParameterError(f"dtype is {dtype}; pass np.float32 or np.float64")
    return dtype


def check_interactions(
    user_items: Any, dtype: np.dtype[Any], *, rows: int | None = None, items: int | None = None
) -> csr_matrix:
    """Return interactions as a CSR matrix of ``dtype`` in canonical form; the caller's matrix is left as it was.

    Canonical: indices sorted, duplicates added up, stored zeros dropped (a stored zero says what no entry says).

    Raises
    ------
    ParameterTypeError
        Not a matrix of numbers.
    DataError
        Not finite, corrupt, too large, or not of the shape (``rows``, ``items``).
    """
    if not scipy.sparse.issparse(user_items):
        raise ParameterTypeError(
            f"user_items is a {type(user_items).__name__}; pass a SciPy sparse matrix, as scipy.sparse.csr_matrix(...)"
        )
    if user_items.format != "csr":
        warn(
            f"user_items is a {user_items.format.upper()} matrix and is converted; pass CSR to save the time",
            ParameterWarning,
            stacklevel=3,
        )
    if user_items.ndim != 2:
        raise DataError(f"user_items has {user_items.ndim} dimension(s); pass a matrix of users x items")
    if user_items.dtype.kind not in "biuf":
        raise ParameterTypeError(f"user_items holds {user_items.dtype}; pass real numbers")
    if max(user_items.shape) > INT32_MAX:
        raise DataError(
            f"user_items has the shape {user_items.shape}; at most {INT32_MAX} users and items are possible"
        )
    try:
        matrix = csr_matrix(user_items)
        matrix.check_format(full_check=True)
    except (ValueError, IndexError) as error:
        raise DataError(f"user_items is corrupt: {error}; rebuild it, e.g. from its COO triplets") from error
    for axis, expected, remedy in (
        (0, rows, "pass one row for each user asked for"),
        (1, items, "pass the items that were seen in fit(), in the same order"),
    ):
        if expected is not None and matrix.shape[axis] != expected:
            what = ("row", "column")[axis]
            raise DataError(f"user_items has {matrix.shape[axis]} {what}(s), not {expected}; {remedy}")
    return _canonical(matrix, dtype)


def _canonical(matrix: csr_matrix, dtype: np.dtype[Any]) -> csr_matrix:
    with np.errstate(over="ignore", invalid="ignore"):  # what overflows the dtype is reported as not finite
        matrix = csr_matrix((matrix.data.astype(dtype), matrix.indices, matrix.indptr), shape=matrix.shape)
        finite = np.isfinite(matrix.data)
        if finite.all() and not matrix.has_canonical_format:
            matrix = matrix.copy()
            matrix.sum_duplicates()
            finite = np.isfinite(matrix.data)
    if not finite.all():
        entry = int(np.flatnonzero(~finite)[0])
        row = int(np.searchsorted(matrix.indptr, entry, side="right")) - 1
        raise DataError(
            f"the value of user {row}, item {matrix.indices[entry]} is not a finite {dtype}: {matrix.data[entry]}; "
            "remove or replace it"
        )
    if not matrix.data.all():
        matrix = matrix.copy()
        matrix.eliminate_zeros()
    return matrix


def check_ids(ids: Any, bound: int | None, what: str) -> tuple[NDArray[np.intp], bool]:
    """Return ids as an array, shape (n,), and whether a single one was given.

    Raises
    ------
    ParameterTypeError
        Not integers.
    IdError
        Outside ``0..bound - 1`` (``bound=None``: negative).
    """
    array = np.asarray(ids)
    if array.size == 0 and array.ndim == 1:
        array = array.astype(np.intp)
    if array.dtype.kind not in "iu" or array.ndim > 1:
        raise ParameterTypeError(
            f"{what} ids of type {array.dtype} and shape {array.shape}; pass an integer or a 1-D array of integers"
        )
    flat = array.reshape(-1)
    outside = flat < 0 if bound is None else (flat < 0) | (flat >= bound)
    if outside.any():
        highest = INT32_MAX if bound is None else bound - 1
        raise IdError(f"{what} {flat[outside][0]} is outside 0..{highest}; pass ids that were seen in fit()")
    return flat.astype(np.intp), array.ndim == 0


def check_generator(random_state: Any) -> np.random.Generator:
    """Return the generator that a seed, ``RandomState`` or ``Generator`` stands for; None stands for seed 0."""
    if isinstance(random_state, np.random.Generator):
        return random_state
    if isinstance(random_state, np.random.RandomState):
        return np.random.default_rng(random_state.randint(0, 2**32, size=4, dtype=np.uint32))
    return np.random.default_rng(0 if random_state is None else check_integer("random_state", random_state, 0))


def check_memory(needed: int, work: str, remedy: str) -> None:
    """Raise InsufficientMemoryError, before any of it is used, when ``needed`` bytes are more than there are."""
    available = available_memory()
    if needed > available:
        raise InsufficientMemoryError(
            f"{work} needs about {needed / 2**30:.1f} GiB, and {available / 2**30:.1f} GiB are available; {remedy}"
        )


def available_memory() -> int:
    """Return the bytes that this process can still take: what the machine has, within its control group's limit."""
    sizes = [int(line.split()[1]) * 1024 for line in _lines("/proc/meminfo") if line.startswith("MemAvailable")]
    limit, used = _lines(f"{CONTROL_GROUP}/memory.max"), _lines(f"{CONTROL_GROUP}/memory.current")
    if limit and used and limit[0] != "max":
        cached = sum(int(line.split()[1]) for line in _lines(f"{CONTROL_GROUP}/memory.stat") if line.startswith(FILES))
        sizes.append(int(limit[0]) - int(used[0]) + cached)
    return min(sizes, default=2**63)


def _lines(path: str) -> Sequence[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return ()
