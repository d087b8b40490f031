"""The Numba core: row solves, sparse products, dense products, top-k. Nothing here judges its input.

Conventions, for every kernel:

* ``indptr, indices`` are the structure of a CSR matrix of users x items.
* ``confidence`` holds its signed confidences ``alpha * value``: the weight of an entry is ``|confidence|``, its target
  1 where the confidence is positive (liked) and 0 where it is negative (disliked).
* ``lapack`` is what :func:`lapack_addresses` returns for the dtype. Addresses are passed in, never frozen into the
  compiled code, so that the code can be cached on disk.
* The result is the same to the bit for any number of threads: a row is computed by one thread, and sums over rows run
  over a partition that depends on the shape alone. BLAS has to be held to one thread around the call.
"""

from typing import Any, TypeAlias

import numba
import numpy as np
from llvmlite import ir
from numba import njit, prange, types
from numba.core import cgutils
from numba.extending import get_cython_function_address, intrinsic
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.floating[Any]]
Ints: TypeAlias = NDArray[np.integer[Any]]

TASKS = 256  # parallel tasks that rows are dealt out to: many, since rows differ in cost
FULL_TASKS = 16  # the same for the full form, where a task holds two matrices of the size of the longest row
GATHER_ROWS = 256  # rows of F gathered for one rank-k update: 512 KB at 512 factors, so that they stay in cache
PRODUCT_ROWS = 512  # rows of a dense product that one task owns
PARTIAL_ROWS, PARTIALS = 4096, 64  # a sum over rows: at least so many rows in a partial sum, at most so many of them
TOPK_USERS = 16  # users whose scores are held at a time
NOT_FINITE = -1  # status of a row whose solution overflowed

_ROUTINES = (("cython_blas", "syrk"), ("cython_lapack", "potrf"), ("cython_lapack", "potrs"), ("cython_lapack", "gesv"))
_SYRK, _POTRF, _POTRS, _GESV = range(4)


def lapack_addresses(dtype: np.dtype[Any]) -> Ints:
    """Return the addresses of SciPy's syrk, potrf, potrs and gesv for ``dtype``, shape (4,), for this process only."""
    prefix = {"float32": "s", "float64": "d"}[np.dtype(dtype).name]
    found = [get_cython_function_address(f"scipy.linalg.{module}", prefix + name) for module, name in _ROUTINES]
    return np.array(found, dtype=np.int64)


if numba.config.DISABLE_JIT:
    from scipy.linalg import lapack as _scipy_lapack

    def _add_gram(lapack: Ints, sign: float, rows: Floats, out: Floats) -> None:
        out += out.dtype.type(sign) * (rows.T @ rows)

    def _solve_positive(lapack: Ints, matrix: Floats, rhs: Floats) -> int:
        (posv,) = _scipy_lapack.get_lapack_funcs(("posv",), (matrix,))
        _, rhs[:], info = posv(matrix, rhs)
        return int(info)

    def _solve_general(lapack: Ints, matrix: Floats, rhs: Floats) -> int:
        (gesv,) = _scipy_lapack.get_lapack_funcs(("gesv",), (matrix,))
        _, _, rhs[:], info = gesv(matrix.T, rhs)
        return int(info)

else:

    @intrinsic
    def _call(typing_context, address, arguments):  # type: ignore[no-untyped-def]
        """Call the Fortran routine at ``address`` with a tuple of pointers, given as integers."""

        def build(context, builder, signature, values):  # type: ignore[no-untyped-def]
            pointers = cgutils.unpack_tuple(builder, values[1])
            function = ir.FunctionType(ir.VoidType(), [pointer.type for pointer in pointers])
            builder.call(builder.inttoptr(values[0], function.as_pointer()), pointers)
            return context.get_dummy_value()

        return types.void(address, arguments), build

    # The matrices below are symmetric or overwritten, so C order and Fortran order need no copy between them:
    # the lower triangle of Fortran's view is the upper triangle of NumPy's.

    @njit(cache=True)
    def _add_gram(lapack, sign, rows, out):  # type: ignore[no-untyped-def]
        """Add ``sign * rows.T @ rows`` to the upper triangle of ``out``."""
        text = np.array([ord("L"), ord("N")], dtype=np.uint8)
        size = np.array([out.shape[0], rows.shape[0], rows.shape[1]], dtype=np.int32)
        scale = np.array([sign, 1.0], dtype=out.dtype)
        t, n, s = text.ctypes.data, size.ctypes.data, scale.ctypes.data
        pointers = (t, t + 1, n, n + 4, s, rows.ctypes.data, n + 8, s + scale.itemsize, out.ctypes.data, n)
        _call(lapack[_SYRK], pointers)
        # what the pointers point to has to outlive the call
        return text[0] + size[0] + scale[0]

    @njit(cache=True)
    def _solve_positive(lapack, matrix, rhs):  # type: ignore[no-untyped-def]
        """Solve in place with the upper triangle of a positive definite ``matrix``; return LAPACK's status."""
        text = np.array([ord("L")], dtype=np.uint8)
        size = np.array([matrix.shape[0], 1, 0], dtype=np.int32)
        t, n = text.ctypes.data, size.ctypes.data
        _call(lapack[_POTRF], (t, n, matrix.ctypes.data, n, n + 8))
        if size[2] == 0:
            _call(lapack[_POTRS], (t, n, n + 4, matrix.ctypes.data, n, rhs.ctypes.data, n, n + 8))
        return np.int64(size[2]) + 0 * text[0]

    @njit(cache=True)
    def _solve_general(lapack, matrix, rhs):  # type: ignore[no-untyped-def]
        """Solve in place with the transpose of ``matrix``; return LAPACK's status."""
        size = np.array([matrix.shape[0], 1, 0], dtype=np.int32)
        pivots = np.empty(matrix.shape[0], dtype=np.int32)
        n = size.ctypes.data
        _call(lapack[_GESV], (n, n + 4, matrix.ctypes.data, n, pivots.ctypes.data, rhs.ctypes.data, n, n + 8))
        return np.int64(size[2]) + 0 * np.int64(pivots[0])


@njit(cache=True, fastmath={"contract", "reassoc"})
def _add_scaled(scale, x, out):  # type: ignore[no-untyped-def]
    for k in range(out.shape[0]):
        out[k] += scale * x[k]


@njit(cache=True, fastmath={"contract", "reassoc"})
def _write_scaled(scale, x, out):  # type: ignore[no-untyped-def]
    for k in range(out.shape[0]):
        out[k] = scale * x[k]


@njit(cache=True, fastmath={"contract", "reassoc"})
def _dot(x, y):  # type: ignore[no-untyped-def]
    total = x.dtype.type(0)
    for k in range(x.shape[0]):
        total += x[k] * y[k]
    return total


@njit(cache=True, parallel=True)
def solve_rows(indptr: Ints, indices: Ints, confidence: Floats, F: Floats, lapack: Ints, out: Floats) -> Ints:
    """Solve ``u = (I + F_O^T diag(c - 1) F_O)^-1 F_O^T (c p)`` for every user into ``out``, shape (users, factors).

    A user with at least as many items as factors is solved in the factors (primal); one with fewer items, none of them
    with a confidence below 1, in the items (dual, by Woodbury's identity). Returns LAPACK's status, or ``NOT_FINITE``,
    shape (users,).
    """
    n_users, n_factors = out.shape
    status = np.zeros(n_users, dtype=np.int64)
    for task in prange(TASKS):
        rows = np.empty((max(GATHER_ROWS, n_factors), n_factors), dtype=F.dtype)
        square = np.empty(n_factors * n_factors, dtype=F.dtype)
        small = np.empty(n_factors, dtype=F.dtype)
        for user in range(task, n_users, TASKS):
            start, stop = indptr[user], indptr[user + 1]
            u = out[user]
            u[:] = 0
            dual = stop - start < n_factors
            for j in range(start, stop):
                dual = dual and abs(confidence[j]) >= 1
                if confidence[j] > 0:
                    _add_scaled(confidence[j], F[indices[j]], u)
            if stop == start:
                continue
            if dual:
                n = stop - start
                G, A, z = rows[:n], square[: n * n].reshape(n, n), small[:n]
                for j in range(n):
                    _write_scaled(np.sqrt(abs(confidence[start + j]) - 1), F[indices[start + j]], G[j])
                np.dot(G, G.T, A)
                for j in range(n):
                    A[j, j] += 1
                    z[j] = _dot(G[j], u)
                status[user] = _solve_positive(lapack, A, z)
                for j in range(n):
                    _add_scaled(-z[j], G[j], u)
            else:
                A = square.reshape(n_factors, n_factors)
                A[:] = 0
                for k in range(n_factors):
                    A[k, k] = 1
                for sign in (1.0, -1.0):
                    n = 0
                    for j in range(start, stop):
                        weight = sign * (abs(confidence[j]) - 1)
                        if weight > 0:
                            _write_scaled(np.sqrt(weight), F[indices[j]], rows[n])
                            n += 1
                        if n == GATHER_ROWS or (j == stop - 1 and n > 0):
                            _add_gram(lapack, sign, rows[:n], A)
                            n = 0
                status[user] = _solve_positive(lapack, A, u)
            if not np.isfinite(_dot(u, u)):
                status[user] = NOT_FINITE
    return status


@njit(cache=True, parallel=True)
def solve_rows_full(
    indptr: Ints, indices: Ints, weight: Floats, rhs: Floats, S: Floats, lapack: Ints, a: Floats, fitted: Floats
) -> Ints:
    """Solve ``(I + diag(weight) S_OO) a = rhs`` for every user of the full form.

    Implicit feedback has the weights ``c - 1`` and the right-hand side ``c p``; plain matrix completion, which is
    ``(K_OO + lambda I) a = y``, has ``1 / lambda`` and ``y / lambda``, with K for S. Writes the coefficients ``a`` and
    the fitted values ``S_OO a`` at the observed entries, both of shape (nnz,), like ``weight`` and ``rhs``. Symmetric
    where no weight is negative, by the same identity as the dual of :func:`solve_rows`. Returns LAPACK's status, or
    ``NOT_FINITE``, shape (users,).
    """
    n_users = len(indptr) - 1
    longest = 0
    for user in range(n_users):
        longest = max(longest, indptr[user + 1] - indptr[user])
    status = np.zeros(n_users, dtype=np.int64)
    n_tasks = min(FULL_TASKS, n_users)
    for task in prange(n_tasks):
        square, s_square = np.empty(longest * longest, dtype=S.dtype), np.empty(longest * longest, dtype=S.dtype)
        root, z, y = (
            np.empty(longest, dtype=S.dtype),
            np.empty(longest, dtype=S.dtype),
            np.empty(longest, dtype=S.dtype),
        )
        for user in range(task, n_users, n_tasks):
            start, stop = indptr[user], indptr[user + 1]
            n = stop - start
            if n == 0:
                continue
            A, S_OO = square[: n * n].reshape(n, n), s_square[: n * n].reshape(n, n)
            symmetric = True
            for j in range(n):
                symmetric = symmetric and weight[start + j] >= 0
                y[j] = rhs[start + j]
                for k in range(n):
                    S_OO[j, k] = S[indices[start + j], indices[start + k]]
            if symmetric:
                for j in range(n):
                    root[j] = np.sqrt(weight[start + j])
                for j in range(n):
                    for k in range(n):
                        A[j, k] = root[j] * S_OO[j, k] * root[k]
                    A[j, j] += 1
                    z[j] = root[j] * _dot(S_OO[j], y[:n])
                status[user] = _solve_positive(lapack, A, z[:n])
                for j in range(n):
                    z[j] = y[j] - root[j] * z[j]
            else:
                for j in range(n):
                    for k in range(n):  # the transpose, since LAPACK reads columns
                        A[k, j] = weight[start + j] * S_OO[j, k]
                    A[j, j] += 1
                    z[j] = y[j]
                status[user] = _solve_general(lapack, A, z[:n])
            for j in range(n):
                a[start + j] = z[j]
                fitted[start + j] = _dot(S_OO[j], z[:n])
            if not np.isfinite(_dot(z[:n], z[:n])):
                status[user] = NOT_FINITE
    return status


@njit(cache=True, parallel=True)
def residuals(indptr: Ints, indices: Ints, confidence: Floats, U: Floats, F: Floats, out: Floats) -> None:
    """Write ``target - U_u . F_i`` at every observed entry into ``out``, shape (nnz,)."""
    n_users = U.shape[0]
    for task in prange(TASKS):
        for user in range(task, n_users, TASKS):
            for j in range(indptr[user], indptr[user + 1]):
                out[j] = (confidence[j] > 0) - _dot(U[user], F[indices[j]])


@njit(cache=True, parallel=True, fastmath={"contract", "reassoc"})
def sparse_product(indptr: Ints, indices: Ints, values: Floats, Q: Floats, out: Floats) -> None:
    """Add the sparse matrix times ``Q``, shape (columns, b), to ``out``, shape (rows, b)."""
    n_rows, n_columns = out.shape
    for task in prange(TASKS):
        for row in range(task, n_rows, TASKS):
            total = out[row]
            start, stop = indptr[row], indptr[row + 1]
            fours = start + (stop - start) // 4 * 4
            for j in range(start, fours, 4):  # four at a time: a quarter of the loads and stores of the sum
                v0, v1, v2, v3 = values[j], values[j + 1], values[j + 2], values[j + 3]
                q0, q1, q2, q3 = Q[indices[j]], Q[indices[j + 1]], Q[indices[j + 2]], Q[indices[j + 3]]
                for k in range(n_columns):
                    total[k] += v0 * q0[k] + v1 * q1[k] + v2 * q2[k] + v3 * q3[k]
            for j in range(fours, stop):
                _add_scaled(values[j], Q[indices[j]], total)


@njit(cache=True, parallel=True)
def dense_product(A: Floats, B: Floats, out: Floats) -> None:
    """Write ``A @ B``, shapes (n, k) and (k, m), into ``out``."""
    n = A.shape[0]
    for task in prange((n + PRODUCT_ROWS - 1) // PRODUCT_ROWS):
        first, last = task * PRODUCT_ROWS, min((task + 1) * PRODUCT_ROWS, n)
        np.dot(A[first:last], B, out[first:last])


@njit(cache=True, parallel=True)
def dense_gram(A: Floats, B: Floats) -> Floats:
    """Return ``A.T @ B``, shapes (n, k) and (n, m): partial sums over a fixed partition of the rows, added in order."""
    n = A.shape[0]
    rows = max(PARTIAL_ROWS, (n + PARTIALS - 1) // PARTIALS)
    n_tasks = max(1, (n + rows - 1) // rows)
    partial = np.zeros((n_tasks, A.shape[1], B.shape[1]), dtype=A.dtype)
    for task in prange(n_tasks):
        first, last = task * rows, min((task + 1) * rows, n)
        np.dot(A[first:last].T, B[first:last], partial[task])
    total: Floats = partial[0]
    for task in range(1, n_tasks):
        total += partial[task]
    return total


@njit(cache=True)
def _worse(scores, ids, a, b):  # type: ignore[no-untyped-def]
    """Whether candidate ``a`` ranks below candidate ``b``: by lower score, then by higher id."""
    return scores[a] < scores[b] or (scores[a] == scores[b] and ids[a] > ids[b])


@njit(cache=True)
def _sift_down(scores, ids, root, size):  # type: ignore[no-untyped-def]
    """Restore the heap below ``root``, the worst candidate on top."""
    while True:
        worst = root
        for child in (2 * root + 1, 2 * root + 2):
            if child < size and _worse(scores, ids, child, worst):
                worst = child
        if worst == root:
            return
        scores[root], scores[worst] = scores[worst], scores[root]
        ids[root], ids[worst] = ids[worst], ids[root]
        root = worst


@njit(cache=True)
def _select(values, liked, filtered, ids, scores):  # type: ignore[no-untyped-def]
    """Write the best columns of one row's ``values`` into ``ids`` and ``scores``, best first; overwrites ``values``."""
    lowest = np.finfo(values.dtype).min
    values[liked] = lowest
    values[filtered] = lowest
    n_columns = len(values)
    size = min(len(ids), n_columns)
    if size == 0:
        ids[:] = -1
        scores[:] = lowest
        return
    for column in range(size):
        ids[column], scores[column] = column, values[column]
    for root in range(size // 2 - 1, -1, -1):
        _sift_down(scores, ids, root, size)
    for column in range(size, n_columns):
        if values[column] > scores[0]:
            ids[0], scores[0] = column, values[column]
            _sift_down(scores, ids, 0, size)
    for end in range(size - 1, 0, -1):  # the worst that is left goes to the end
        scores[0], scores[end] = scores[end], scores[0]
        ids[0], ids[end] = ids[end], ids[0]
        _sift_down(scores, ids, 0, end)
    ids[size:] = -1
    scores[size:] = lowest


@njit(cache=True, parallel=True)
def top_k(
    U: Floats, V: Floats, indptr: Ints, indices: Ints, filtered: Ints, ids: NDArray[np.int32], scores: Floats
) -> None:
    """Write the best columns of ``U @ V.T`` for each row, best first, into ``ids`` and ``scores``, shape (rows, k).

    The columns in ``filtered``, and those listed for a row in ``indptr, indices``, score the lowest finite number. Ties
    go to the lower id. Slots past the last column hold id -1 and that same lowest score. V has the shape (columns,
    factors).
    """
    n = len(ids)
    for task in prange((n + TOPK_USERS - 1) // TOPK_USERS):
        first, last = task * TOPK_USERS, min((task + 1) * TOPK_USERS, n)
        block = np.dot(U[first:last], V.T)
        for row in range(first, last):
            _select(block[row - first], indices[indptr[row] : indptr[row + 1]], filtered, ids[row], scores[row])


@njit(cache=True, parallel=True)
def top_k_sparse(
    rows: tuple[Ints, Ints, Floats],
    S: Floats,
    indptr: Ints,
    indices: Ints,
    filtered: Ints,
    ids: NDArray[np.int32],
    scores: Floats,
) -> None:
    """Do as :func:`top_k` for ``A @ S``, where ``rows`` are A's CSR arrays, with S of shape (columns of A, columns)."""
    n = len(ids)
    row_indptr, row_indices, row_values = rows
    for task in prange(min(n, TASKS)):
        values = np.empty(S.shape[1], dtype=S.dtype)
        for row in range(task, n, TASKS):
            values[:] = 0
            for j in range(row_indptr[row], row_indptr[row + 1]):
                _add_scaled(row_values[j], S[row_indices[j]], values)
            _select(values, indices[indptr[row] : indptr[row + 1]], filtered, ids[row], scores[row])
