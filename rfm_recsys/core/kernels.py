"""The Numba core: row solves, sparse products, dense products, top-k. Nothing here judges its input.

Conventions, for every kernel:

* ``indptr, indices`` are the structure of a CSR matrix of users x items.
* ``confidence`` holds its signed confidences ``alpha * value``: the weight of an entry is ``|confidence|``, its target
  1 where the confidence is positive (liked) and 0 where it is negative (disliked).
* ``lapack`` is what :func:`lapack_addresses` returns for the dtype. Addresses are passed in, never frozen into the
  compiled code, so that the code can be cached on disk.
* The result is the same to the bit for any number of threads: a row is computed by one thread, and sums over rows run
  over a partition that depends on the shape alone. BLAS has to be held to one thread around the call.
* Parallel kernels run one at a time: on Numba's threading layer that survives a fork, which is not safe for calls from
  several threads at once.
"""

import os
import threading
from collections.abc import Callable
from functools import wraps
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import njit, prange, types
from numba.core import cgutils
from numba.extending import get_cython_function_address, intrinsic
from numpy.typing import NDArray

from rfm_recsys.core.arrays import Floats, Ints

BLOCK = 2**22  # entries of a dense matrix whose rows are gathered again and again: 16 MB, of the cache of all cores
TASKS = 256  # parallel tasks that rows are dealt out to: many, since rows differ in cost
RUN = 16  # rows in turn that a task takes at a time
AHEAD, LINES = 8, 8  # rows to fetch into the cache before they are needed, and how many cache lines of each
FULL_TASKS = 16  # the same for the full form, where a task holds two matrices of the size of the longest row
GATHERED = 2**20  # entries of F gathered at a time for the products with them: 4 MB, so that they stay in cache
AT_ONCE = 64  # rows of F gathered for one product with them: they stay in the nearest cache
LONG = 64  # times as many rows as factors, that are more than can be gathered, are factorised: they are read once only
RESIDUAL = 8  # eps of the right-hand side: conjugate gradients to rounding
MOST_ITERATIONS = 50  # of conjugate gradients: about the cost of a factorisation
PRODUCT_ROWS = 512  # rows of a dense product that one task owns
TRANSPOSE_PARTS = 8  # of a transposition, as many entries in each
PANEL, PANEL_ROWS = 128, 512  # of a symmetric product that are computed at a time, from the diagonal on
PARTIAL_ROWS, PARTIALS = 2048, 64  # a sum over rows: at least so many rows in a partial sum, at most so many of them
TOPK_USERS, TOPK_COLUMNS = 128, 2048  # scores that are held at a time, at most: 1 MB, so that they stay in cache
SCAN = 64  # scores that are compared with the worst of the best at a time
TOPK_FEW = 16  # users for whom a matrix product is not worth its while
TOPK_KEPT = 2**19  # columns that a task keeps for all its users: 4 MB
SPARE = 8  # of so many of the best, one more column is kept, and one for all
MARGIN = 2.0  # of sums of k terms, in units of sqrt(k) eps |u| |v|; of 8e7 in single precision none was off by .42
NOT_FINITE = -1  # status of a row whose solution overflowed


def _probe() -> None:
    """Stand for any function of this file."""


try:
    njit(cache=True)(_probe)
    CACHE = True
except RuntimeError:  # neither this folder nor the user's can be written: every process compiles for itself
    CACHE = False

if "NUMBA_THREADING_LAYER" not in os.environ:
    numba.config.THREADING_LAYER = "workqueue"

_lock = threading.Lock()


def _renew_lock() -> None:
    """Give a forked process, where the thread that held it does not exist, a lock of its own."""
    global _lock  # noqa: PLW0603
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_renew_lock)


def _parallel(**options: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        kernel = njit(cache=CACHE, parallel=True, **options)(function)

        @wraps(function)
        def alone(*arguments: Any) -> Any:
            with _lock:
                return _interruptible(kernel, arguments)

        return alone

    return decorate


def _interruptible(kernel: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    """Call a kernel; a Ctrl-C while Numba hands its result over, of which it makes a SystemError, stays one."""
    try:
        return kernel(*arguments)
    except SystemError as error:
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, KeyboardInterrupt):
            cause = cause.__cause__
        if cause is None:
            raise
        raise KeyboardInterrupt from error


_ROUTINES = (
    ("cython_blas", "syrk"),
    ("cython_blas", "gemm"),
    ("cython_lapack", "potrf"),
    ("cython_lapack", "potrs"),
    ("cython_lapack", "gesv"),
    ("cython_lapack", "potri"),
)
_SYRK, _GEMM, _POTRF, _POTRS, _GESV, _POTRI = range(6)


def lapack_addresses(dtype: np.dtype[Any]) -> Ints:
    """Return the addresses of SciPy's routines (``_ROUTINES``) for ``dtype``, for this process only."""
    prefix = {"float32": "s", "float64": "d"}[np.dtype(dtype).name]
    found = [get_cython_function_address(f"scipy.linalg.{module}", prefix + name) for module, name in _ROUTINES]
    return np.array(found, dtype=np.int64)


if numba.config.DISABLE_JIT:
    from scipy.linalg import lapack as _scipy_lapack

    def _fetch(matrix: Floats, row: int) -> None:
        """Do nothing: a row is there when it is needed."""

    def _add_gram(lapack: Ints, sign: float, rows: Floats, out: Floats) -> None:
        out += out.dtype.type(sign) * (rows.T @ rows)

    def _add_symmetric(lapack: Ints, A: Floats, B: Floats, out: Floats) -> None:
        out += np.triu(A.T @ B)

    def _solve_positive(lapack: Ints, matrix: Floats, rhs: Floats) -> int:
        (posv,) = _scipy_lapack.get_lapack_funcs(("posv",), (matrix,))
        _, rhs[:], info = posv(matrix, rhs)
        return int(info)

    def _solve_general(lapack: Ints, matrix: Floats, rhs: Floats) -> int:
        (gesv,) = _scipy_lapack.get_lapack_funcs(("gesv",), (matrix,))
        _, _, rhs[:], info = gesv(matrix.T, rhs)
        return int(info)

    def _invert_positive(lapack: Ints, matrix: Floats) -> int:
        potrf, potri = _scipy_lapack.get_lapack_funcs(("potrf", "potri"), (matrix,))
        factor, info = potrf(matrix)
        if info == 0:
            matrix[:], info = potri(factor)
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

    @intrinsic
    def _fetch_line(typing_context, address):  # type: ignore[no-untyped-def]
        """Have the cache line at ``address`` fetched; nothing happens where there is none."""

        def build(context, builder, signature, values):  # type: ignore[no-untyped-def]
            pointer, flag = builder.inttoptr(values[0], ir.IntType(8).as_pointer()), ir.IntType(32)
            function = ir.FunctionType(ir.VoidType(), [pointer.type, flag, flag, flag])
            prefetch = builder.module.declare_intrinsic("llvm.prefetch", [pointer.type], function)
            builder.call(prefetch, [pointer, flag(0), flag(3), flag(1)])  # to read, into all caches, data
            return context.get_dummy_value()

        return types.void(address), build

    @njit(cache=CACHE)
    def _fetch(matrix, row):  # type: ignore[no-untyped-def]
        """Have the first ``LINES`` cache lines of a row fetched."""
        width = matrix.shape[1] * matrix.itemsize
        address = matrix.ctypes.data + np.int64(row) * width
        for line in range(0, min(width, LINES * 64), 64):
            _fetch_line(address + line)

    # The matrices below are symmetric or overwritten, so C order and Fortran order need no copy between them:
    # the lower triangle of Fortran's view is the upper triangle of NumPy's.

    @njit(cache=CACHE)
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

    @njit(cache=CACHE)
    def _add_symmetric(lapack, A, B, out):  # type: ignore[no-untyped-def]
        """Add ``A.T @ B``, which is symmetric, to the upper triangle of ``out``: panel by panel, from the diagonal."""
        text = np.array([ord("N"), ord("T")], dtype=np.uint8)
        size = np.array([0, 0, A.shape[0], A.shape[1]], dtype=np.int32)
        scale = np.array([1.0], dtype=out.dtype)
        t, n, s = text.ctypes.data, size.ctypes.data, scale.ctypes.data
        for first in range(0, A.shape[1], PANEL):
            size[0], size[1] = A.shape[1] - first, min(PANEL, A.shape[1] - first)
            a, b = A.ctypes.data + first * A.itemsize, B.ctypes.data + first * B.itemsize
            c = out.ctypes.data + (first * A.shape[1] + first) * out.itemsize
            _call(lapack[_GEMM], (t, t + 1, n, n + 4, n + 8, s, b, n + 12, a, n + 12, s, c, n + 12))
        return text[0] + size[0] + scale[0]

    @njit(cache=CACHE)
    def _solve_positive(lapack, matrix, rhs):  # type: ignore[no-untyped-def]
        """Solve in place with the upper triangle of a positive definite ``matrix``; return LAPACK's status."""
        text = np.array([ord("L")], dtype=np.uint8)
        size = np.array([matrix.shape[0], 1, 0], dtype=np.int32)
        t, n = text.ctypes.data, size.ctypes.data
        _call(lapack[_POTRF], (t, n, matrix.ctypes.data, n, n + 8))
        if size[2] == 0:
            _call(lapack[_POTRS], (t, n, n + 4, matrix.ctypes.data, n, rhs.ctypes.data, n, n + 8))
        return np.int64(size[2]) + 0 * text[0]

    @njit(cache=CACHE)
    def _solve_general(lapack, matrix, rhs):  # type: ignore[no-untyped-def]
        """Solve in place with the transpose of ``matrix``; return LAPACK's status."""
        size = np.array([matrix.shape[0], 1, 0], dtype=np.int32)
        pivots = np.empty(matrix.shape[0], dtype=np.int32)
        n = size.ctypes.data
        _call(lapack[_GESV], (n, n + 4, matrix.ctypes.data, n, pivots.ctypes.data, rhs.ctypes.data, n, n + 8))
        return np.int64(size[2]) + 0 * np.int64(pivots[0])

    @njit(cache=CACHE)
    def _invert_positive(lapack, matrix):  # type: ignore[no-untyped-def]
        """Invert the upper triangle of a positive definite ``matrix`` in place; return LAPACK's status."""
        text = np.array([ord("L")], dtype=np.uint8)
        size = np.array([matrix.shape[0], 0], dtype=np.int32)
        t, n = text.ctypes.data, size.ctypes.data
        for routine in (_POTRF, _POTRI):
            if size[1] == 0:
                _call(lapack[routine], (t, n, matrix.ctypes.data, n, n + 4))
        return np.int64(size[1]) + 0 * text[0]


@njit(cache=CACHE, fastmath={"contract", "reassoc"})
def _add_scaled(scale, x, out):  # type: ignore[no-untyped-def]
    for k in range(out.shape[0]):
        out[k] += scale * x[k]


@njit(cache=CACHE, fastmath={"contract", "reassoc"})
def _dot(x, y):  # type: ignore[no-untyped-def]
    total = x.dtype.type(0)
    for k in range(x.shape[0]):
        total += x[k] * y[k]
    return total


# In the loops over entries below, rows are indexed, not sliced: a view for each entry would be counted in and out, by
# two atomic operations that cost more than the arithmetic.


@njit(cache=CACHE, fastmath={"contract", "reassoc"})
def _add_rows(columns, values, Q, out):  # type: ignore[no-untyped-def]
    """Add the rows of Q at ``columns``, times ``values``, to ``out``."""
    fours = len(columns) // 4 * 4
    for j in range(0, fours, 4):  # four at a time: a quarter of the loads and stores of the sum
        for ahead in range(j + AHEAD, min(j + AHEAD + 4, len(columns))):
            _fetch(Q, columns[ahead])
        v0, v1, v2, v3 = values[j], values[j + 1], values[j + 2], values[j + 3]
        i0, i1 = np.uintp(columns[j]), np.uintp(columns[j + 1])
        i2, i3 = np.uintp(columns[j + 2]), np.uintp(columns[j + 3])
        for k in range(len(out)):
            out[k] += v0 * Q[i0, k] + v1 * Q[i1, k] + v2 * Q[i2, k] + v3 * Q[i3, k]
    for j in range(fours, len(columns)):
        column = np.uintp(columns[j])
        for k in range(len(out)):
            out[k] += values[j] * Q[column, k]


@njit(cache=CACHE)
def _run(n_rows):  # type: ignore[no-untyped-def]
    """Return how many rows in turn, which lie side by side in memory, a task takes at a time; few of a few."""
    return max(1, min(RUN, n_rows // (8 * TASKS)))


@njit(cache=CACHE)
def gathered_rows(n_factors):  # type: ignore[no-untyped-def]
    """Return how many rows of F one thread gathers at a time; as many as there are factors, for the dual."""
    return max(GATHERED // n_factors, n_factors)


@njit(cache=CACHE)
def _gather(items, F, rows):  # type: ignore[no-untyped-def]
    """Copy the rows of F at ``items`` into ``rows``, where the products with them find them side by side."""
    for j in range(len(items)):
        item = np.uintp(items[j])
        for k in range(F.shape[1]):
            rows[j, k] = F[item, k]


@njit(cache=CACHE, fastmath={"contract", "reassoc"})
def _add_gram_times(rows, confidence, p, out):  # type: ignore[no-untyped-def]
    """Add ``F_O^T diag(c - 1) F_O p`` to ``out`` and return its product with p.

    Each row is read once for both products with it, four rows at a time.
    """
    zero, one = rows.dtype.type(0), rows.dtype.type(1)
    total = zero
    n_factors = len(p)
    fours = len(confidence) // 4 * 4
    for j in range(0, fours, 4):
        t0, t1, t2, t3 = zero, zero, zero, zero
        for k in range(n_factors):
            t0 += rows[j, k] * p[k]
            t1 += rows[j + 1, k] * p[k]
            t2 += rows[j + 2, k] * p[k]
            t3 += rows[j + 3, k] * p[k]
        w0, w1 = t0 * (abs(confidence[j]) - one), t1 * (abs(confidence[j + 1]) - one)
        w2, w3 = t2 * (abs(confidence[j + 2]) - one), t3 * (abs(confidence[j + 3]) - one)
        total += t0 * w0 + t1 * w1 + t2 * w2 + t3 * w3
        for k in range(n_factors):
            out[k] += w0 * rows[j, k] + w1 * rows[j + 1, k] + w2 * rows[j + 2, k] + w3 * rows[j + 3, k]
    for j in range(fours, len(confidence)):
        t0 = zero
        for k in range(n_factors):
            t0 += rows[j, k] * p[k]
        w0 = t0 * (abs(confidence[j]) - one)
        total += t0 * w0
        for k in range(n_factors):
            out[k] += w0 * rows[j, k]
    return total


@njit(cache=CACHE, fastmath={"contract", "reassoc"})
def _advance(step, p, q, x, r):  # type: ignore[no-untyped-def]
    """Take a step of conjugate gradients along p, for which ``q = A p``; return the square of the residual r."""
    square = r.dtype.type(0)
    for k in range(len(p)):
        x[k] += step * p[k]
        r[k] -= step * q[k]
        square += r[k] * r[k]
    return square


@njit(cache=CACHE, fastmath={"contract", "reassoc"})
def _turn(ratio, r, p, q):  # type: ignore[no-untyped-def]
    """Make p the next direction of conjugate gradients, and q a copy of it; return the square of p."""
    square = r.dtype.type(0)
    for k in range(len(p)):
        p[k] = r[k] + ratio * p[k]
        q[k] = p[k]
        square += p[k] * p[k]
    return square


@njit(cache=CACHE)
def _iterate(items, confidence, F, rows, work, u):  # type: ignore[no-untyped-def]
    """Solve for one user by conjugate gradients; return whether the residual vanished.

    The right-hand side is in ``u``, and ``rows`` holds the rows of F at the first items. The residual vanishes to
    rounding, ``RESIDUAL`` eps of the right-hand side. The matrix is at least min(c, 1) and, since ``F F^T = S <= I``,
    at most max(c, 1): its condition number is that of the confidences, whatever the data, and the error of u is at most
    the residual over min(c, 1). ``u`` is left alone where it does not vanish.
    """
    r, p, q, x = work[0], work[1], work[2], work[3]
    r[:] = u
    p[:] = 0
    x[:] = 0
    square = _dot(r, r)
    if not square > np.finfo(F.dtype).tiny / np.finfo(F.dtype).eps ** 2:
        return False
    enough, ratio = square * (RESIDUAL * np.finfo(F.dtype).eps) ** 2, F.dtype.type(0)
    for _ in range(MOST_ITERATIONS):
        curvature = _turn(ratio, r, p, q)
        for first in range(0, len(items), len(rows)):
            some = items[first : first + len(rows)]
            if len(some) < len(items):
                _gather(some, F, rows)
            curvature += _add_gram_times(rows, confidence[first : first + len(rows)], p, q)
        before, square = square, _advance(square / curvature, p, q, x, r)
        if square <= enough:
            u[:] = x
            return True
        ratio = square / before
    return False


@njit(cache=CACHE)
def _gather_scaled(sign, items, confidence, F, rows):  # type: ignore[no-untyped-def]
    """Copy the rows of F with ``sign * (c - 1) > 0``, times the root of that, into ``rows``; return their number."""
    n = 0
    for j in range(len(items)):
        weight = sign * (abs(confidence[j]) - 1)
        if weight > 0:
            item, root = np.uintp(items[j]), F.dtype.type(np.sqrt(weight))
            for k in range(F.shape[1]):
                rows[n, k] = root * F[item, k]
            n += 1
    return n


@njit(cache=CACHE)
def _factorise(items, confidence, F, lapack, rows, square, u):  # type: ignore[no-untyped-def]
    """Solve for one user by a Cholesky factorisation into ``u``; return LAPACK's status.

    In the items (dual, by Woodbury's identity) with fewer items than factors, none of them with a confidence below 1;
    otherwise in the factors (primal), reading F once.
    """
    n_items, n_factors = len(items), len(u)
    u[:] = 0
    dual = n_items < n_factors
    for j in range(n_items):
        dual = dual and abs(confidence[j]) >= 1
    if dual:
        _add_rows(items, np.maximum(confidence, 0), F, u)
        n = _gather_scaled(1.0, items, confidence, F, rows)
        if n == 0:  # all confidences are 1
            return np.int64(0)
        G, A, z = rows[:n], square[: n * n].reshape(n, n), np.empty_like(u)[:n]
        np.dot(G, G.T, A)
        for j in range(n):
            A[j, j] += 1
            z[j] = _dot(G[j], u)
        status = _solve_positive(lapack, A, z)
        for j in range(n):
            _add_scaled(-z[j], G[j], u)
        return status
    A = square.reshape(n_factors, n_factors)
    A[:] = 0
    for k in range(n_factors):
        A[k, k] = 1
    for first in range(0, n_items, PANEL_ROWS):
        some, c = items[first : first + PANEL_ROWS], confidence[first : first + PANEL_ROWS]
        _add_rows(some, np.maximum(c, 0), F, u)
        for sign in (1.0, -1.0):
            n = _gather_scaled(sign, some, c, F, rows)
            if n > 0:
                _add_gram(lapack, sign, rows[:n], A)
    return _solve_positive(lapack, A, u)


@_parallel()
def solve_rows(indptr: Ints, indices: Ints, confidence: Floats, F: Floats, lapack: Ints, out: Floats) -> Ints:
    """Solve ``u = (I + F_O^T diag(c - 1) F_O)^-1 F_O^T (c p)`` for every user into ``out``, shape (users, factors).

    By conjugate gradients, to rounding; by a Cholesky factorisation for very long rows (``LONG``), and where they do
    not get there in ``MOST_ITERATIONS``. Returns LAPACK's status, or ``NOT_FINITE``, shape (users,).
    """
    n_users, n_factors = out.shape
    status = np.zeros(n_users, dtype=np.int64)
    run = _run(n_users)
    for task in prange(TASKS):
        rows = np.empty((gathered_rows(n_factors), n_factors), dtype=F.dtype)
        square = np.empty(n_factors * n_factors, dtype=F.dtype)
        work = np.empty((4, n_factors), dtype=F.dtype)
        for start in range(task * run, n_users, TASKS * run):
            for user in range(start, min(start + run, n_users)):
                items, c = indices[indptr[user] : indptr[user + 1]], confidence[indptr[user] : indptr[user + 1]]
                u = out[user]
                u[:] = 0
                if len(items) == 0:
                    continue
                solved = False
                if len(items) <= len(rows) or len(rows) < LONG * n_factors:
                    _add_rows(items, np.maximum(c, 0), F, u)
                    _gather(items[: len(rows)], F, rows)
                    solved = _iterate(items, c, F, rows, work, u)
                if not solved:
                    status[user] = _factorise(items, c, F, lapack, rows, square, u)
                if not np.isfinite(_dot(u, u)):
                    status[user] = NOT_FINITE
    return status


@_parallel()
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


@_parallel()
def transpose(indptr: Ints, indices: Ints, values: Floats, n_columns: int) -> tuple[Ints, Ints, Floats]:
    """Return the transpose of a CSR matrix, in the same form; its rows ascend, whether or not those given do."""
    n_rows, nnz = len(indptr) - 1, indptr[-1]
    bounds = np.empty(TRANSPOSE_PARTS + 1, dtype=np.int64)  # rows that a part begins with, as many entries in each
    for part in range(TRANSPOSE_PARTS):
        bounds[part] = np.searchsorted(indptr, nnz * part // TRANSPOSE_PARTS)
    bounds[0], bounds[TRANSPOSE_PARTS] = 0, n_rows
    places = np.zeros((TRANSPOSE_PARTS, n_columns), dtype=np.int64)  # entries of a column in a part, then where they go
    for part in prange(TRANSPOSE_PARTS):
        for j in range(indptr[bounds[part]], indptr[bounds[part + 1]]):
            places[part, indices[j]] += 1
    new_indptr = np.zeros(n_columns + 1, dtype=indptr.dtype)
    total = 0
    for column in range(n_columns):
        for part in range(TRANSPOSE_PARTS):
            total, places[part, column] = total + places[part, column], total
        new_indptr[column + 1] = total
    new_indices, new_values = np.empty(nnz, dtype=indices.dtype), np.empty(nnz, dtype=values.dtype)
    for part in prange(TRANSPOSE_PARTS):
        for row in range(bounds[part], bounds[part + 1]):
            for j in range(indptr[row], indptr[row + 1]):
                place = places[part, indices[j]]
                places[part, indices[j]] = place + 1
                new_indices[place], new_values[place] = row, values[j]
    return new_indptr, new_indices, new_values


@_parallel()
def solve_rows_shifted(
    indptr: Ints, indices: Ints, shift: Floats, rhs: Floats, K: Floats, lapack: Ints, a: Floats, fitted: Floats
) -> Ints:
    """Solve ``(K_OO + shift I) a = rhs`` for every row, ``shift`` of shape (rows,), however small it is beside K.

    (:func:`solve_rows_full` loses as many digits as a weight has.) Writes ``a`` and ``fitted = K_OO a``, shape (nnz,),
    like ``rhs``. Returns LAPACK's status, shape (rows,).
    """
    n_rows = len(indptr) - 1
    longest = 0
    for row in range(n_rows):
        longest = max(longest, indptr[row + 1] - indptr[row])
    status = np.zeros(n_rows, dtype=np.int64)
    n_tasks = min(FULL_TASKS, n_rows)
    for task in prange(n_tasks):
        square, solution = np.empty(longest * longest, dtype=K.dtype), np.empty(longest, dtype=K.dtype)
        for row in range(task, n_rows, n_tasks):
            start, n = indptr[row], indptr[row + 1] - indptr[row]
            if n == 0:
                continue
            A, z = square[: n * n].reshape(n, n), solution[:n]
            for j in range(n):
                for k in range(n):
                    A[j, k] = K[indices[start + j], indices[start + k]]
                A[j, j] += shift[row]
                z[j] = rhs[start + j]
            status[row] = _solve_positive(lapack, A, z)
            for j in range(n):
                total = K.dtype.type(0)
                for k in range(n):
                    total += K[indices[start + j], indices[start + k]] * z[k]
                a[start + j], fitted[start + j] = z[j], total
    return status


@_parallel()
def residuals(indptr: Ints, indices: Ints, confidence: Floats, U: Floats, F: Floats, out: Floats) -> None:
    """Write ``target - U_u . F_i`` at every observed entry into ``out``, shape (nnz,)."""
    n_users = U.shape[0]
    for task in prange(TASKS):
        for user in range(task, n_users, TASKS):
            for j in range(indptr[user], indptr[user + 1]):
                out[j] = (confidence[j] > 0) - _dot(U[user], F[indices[j]])


@_parallel()
def sparse_product(indptr: Ints, indices: Ints, values: Floats, Q: Floats, out: Floats) -> None:
    """Add the sparse matrix times ``Q``, shape (columns, b), to ``out``, shape (rows, b)."""
    for task in prange(TASKS):
        for row in range(task, len(out), TASKS):
            _add_rows(indices[indptr[row] : indptr[row + 1]], values[indptr[row] : indptr[row + 1]], Q, out[row])


@_parallel(fastmath={"contract", "reassoc"})
def sampled_product(indptr: Ints, indices: Ints, A: Floats, B: Floats, out: Floats) -> None:
    """Write ``A_i . B_j`` for every observed entry (i, j) into ``out``, shape (nnz,)."""
    for task in prange(TASKS):
        for row in range(task, len(A), TASKS):
            for entry in range(indptr[row], indptr[row + 1]):
                column = np.uintp(indices[entry])
                total = A.dtype.type(0)
                for k in range(A.shape[1]):
                    total += A[row, k] * B[column, k]
                out[entry] = total


@_parallel(fastmath={"contract", "reassoc"})
def sampled_gram(indptr: Ints, indices: Ints, A: Floats, B: Floats, out: Floats) -> None:
    """Write ``sum_j (A_i . B_j) C_j`` over the observed entries (i, j) of each row into ``out``, shape (rows, r).

    C is the last r columns of B: this is the product of a sparse matrix that is never stored with C.
    """
    r = out.shape[1]
    offset = B.shape[1] - r
    for task in prange(TASKS):
        for row in range(task, len(A), TASKS):
            for k in range(r):
                out[row, k] = 0
            for entry in range(indptr[row], indptr[row + 1]):
                column = np.uintp(indices[entry])
                total = A.dtype.type(0)
                for k in range(A.shape[1]):
                    total += A[row, k] * B[column, k]
                for k in range(r):
                    out[row, k] += total * B[column, offset + k]


@_parallel()
def first_product(
    indptr: Ints,
    indices: Ints,
    confidence: Floats,
    penalty: float,
    row_scale: Floats,
    column_scale: Floats,
    Q: Floats,
    out: Floats,
) -> None:
    """Write ``A X B Q``, for the diagonals of A and B, into ``out``, shape (rows, b), with Q of shape (columns, b).

    X is that of round 1: ``c p / (penalty + c)`` at the observed entries and 0 elsewhere. Its entries are made when
    they are needed, which takes less time than to read them, and no memory. The columns of a row ascend; so many of
    them are taken at a time, of all rows, that their rows of Q stay in cache.
    """
    at_once, run = max(BLOCK // Q.shape[1], 1), _run(len(out))
    done = indptr[:-1].copy()
    for first in range(0, len(Q), at_once):
        for task in prange(TASKS):
            for begin in range(task * run, len(out), TASKS * run):
                for row in range(begin, min(begin + run, len(out))):
                    if first == 0:
                        out[row] = 0
                    start, stop = done[row], done[row]
                    while stop < indptr[row + 1] and indices[stop] < first + at_once:
                        stop += 1
                    if stop > start:
                        values = np.empty(stop - start, dtype=Q.dtype)
                        for j in range(start, stop):
                            liked = max(confidence[j], 0)
                            values[j - start] = row_scale[row] * column_scale[indices[j]] * (liked / (liked + penalty))
                        _add_rows(indices[start:stop], values, Q, out[row])
                        done[row] = stop


@_parallel()
def gram_products(rows: tuple[Ints, Ints, Floats], F: Floats, chosen: NDArray[np.intp], P: Floats, out: Floats) -> None:
    """Write ``F_O^T diag(c - 1) F_O p`` for the chosen rows and the rows p of P into ``out``, both (chosen, factors).

    It is what one iteration of :func:`solve_rows` takes, for a part of the entries of a row: sums over parts are that
    of all. ``rows`` are CSR arrays with signed confidences.
    """
    indptr, indices, confidence = rows
    run = _run(len(chosen))
    for task in prange(TASKS):
        some = np.empty((AT_ONCE, F.shape[1]), dtype=F.dtype)
        for start in range(task * run, len(chosen), TASKS * run):
            for k in range(start, min(start + run, len(chosen))):
                out[k] = 0
                stop = indptr[chosen[k] + 1]
                for first in range(indptr[chosen[k]], stop, AT_ONCE):
                    entries = slice(first, min(first + AT_ONCE, stop))
                    _gather(indices[entries], F, some)
                    _add_gram_times(some, confidence[entries], P[k], out[k])


@_parallel()
def dense_product(A: Floats, B: Floats, out: Floats) -> None:
    """Write ``A @ B``, shapes (n, k) and (k, m), into ``out``."""
    n = A.shape[0]
    for task in prange((n + PRODUCT_ROWS - 1) // PRODUCT_ROWS):
        first, last = task * PRODUCT_ROWS, min((task + 1) * PRODUCT_ROWS, n)
        np.dot(A[first:last], B, out[first:last])


@_parallel()
def symmetric_product(lapack: Ints, A: Floats, B: Floats, root: Floats) -> Floats:
    """Return ``A.T @ B``, both of shape (n, k), known to be symmetric; half of it is computed.

    With ``root``, shape (n,), it is ``A.T @ diag(root)^2 @ A``, whatever B is; an empty one is no weight. Partial sums
    over a fixed partition of the rows, added in order.
    """
    n, k = A.shape
    rows = max(PARTIAL_ROWS, (n + PARTIALS - 1) // PARTIALS)
    n_tasks = max(1, (n + rows - 1) // rows)
    partial = np.zeros((n_tasks, k, k), dtype=A.dtype)
    for task in prange(n_tasks):
        first, last = task * rows, min((task + 1) * rows, n)
        weighted = np.empty((min(PANEL_ROWS, len(root)), k), dtype=A.dtype)
        for start in range(first, last, PANEL_ROWS):
            panel = A[start : min(start + PANEL_ROWS, last)]
            if len(root) > 0:
                for i in range(len(panel)):
                    for j in range(k):
                        weighted[i, j] = root[start + i] * panel[i, j]
                _add_gram(lapack, 1.0, weighted[: len(panel)], partial[task])
            elif A.ctypes.data == B.ctypes.data:
                _add_gram(lapack, 1.0, panel, partial[task])
            else:
                _add_symmetric(lapack, panel, B[start : start + len(panel)], partial[task])
    total = np.empty((k, k), dtype=A.dtype)
    for i in prange(k):
        total[i, i:] = partial[0, i, i:]
        for task in range(1, n_tasks):
            total[i, i:] += partial[task, i, i:]
        total[i:, i] = total[i, i:]
    return total


@njit(cache=CACHE)
def _worse(scores, ids, a, b):  # type: ignore[no-untyped-def]
    """Whether candidate ``a`` ranks below candidate ``b``: by lower score, then by higher id."""
    return scores[a] < scores[b] or (scores[a] == scores[b] and ids[a] > ids[b])


@njit(cache=CACHE)
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


@njit(cache=CACHE)
def _exclude(listed, first, values):  # type: ignore[no-untyped-def]
    """Give the columns in ``listed``, which ascend, the lowest score; ``values`` are those from ``first`` on."""
    for k in range(np.searchsorted(listed, first), len(listed)):
        if listed[k] >= first + len(values):
            return
        values[listed[k] - first] = np.finfo(values.dtype).min


@njit(cache=CACHE)
def _offer(values, first, size, ids, scores):  # type: ignore[no-untyped-def]
    """Offer the columns from ``first`` on to a heap of the best ``size``, which the first columns of all fill."""
    filling = min(max(size - first, 0), len(values))
    for k in range(filling):
        ids[first + k], scores[first + k] = first + k, values[k]
    if filling > 0 and first + filling == size:
        for root in range(size // 2 - 1, -1, -1):
            _sift_down(scores, ids, root, size)
    if size == 0:
        return
    for start in range(filling, len(values), SCAN):
        some = values[start : start + SCAN]
        worst, better = scores[0], 0
        for k in range(len(some)):  # in most stretches none is better, which a loop without branches finds out
            better += some[k] > worst
        if better > 0:
            for k in range(len(some)):
                if some[k] > scores[0]:
                    ids[0], scores[0] = first + start + k, some[k]
                    _sift_down(scores, ids, 0, size)


@njit(cache=CACHE)
def _sort(size, ids, scores):  # type: ignore[no-untyped-def]
    """Turn the heap into a list, best first, and say where it ends."""
    for end in range(size - 1, 0, -1):  # the worst that is left goes to the end
        scores[0], scores[end] = scores[end], scores[0]
        ids[0], ids[end] = ids[end], ids[0]
        _sift_down(scores, ids, 0, end)
    ids[size:] = -1
    scores[size:] = np.finfo(scores.dtype).min


@njit(cache=CACHE)
def _best(u, V, listed, filtered, values, ids, scores):  # type: ignore[no-untyped-def]
    """Do as :func:`top_k` for one row, by the inner products with all columns; ``values`` is room for some of them."""
    size = min(len(ids), len(V))
    for first in range(0, len(V), len(values)):
        some = values[: min(len(values), len(V) - first)]
        for k in range(len(some)):
            some[k] = _dot(u, V[first + k])
        _exclude(listed, first, some)
        _exclude(filtered, first, some)
        _offer(some, first, size, ids, scores)
    _sort(size, ids, scores)


@njit(cache=CACHE)
def _best_of(u, V, margin, kept_ids, kept_scores, ids, scores):  # type: ignore[no-untyped-def]
    """Do as :func:`_best` from a heap of a few columns more, where rounding may have put two scores ``margin`` apart.

    Returns whether the heap is certain to hold the best.
    """
    kept, size, better = len(kept_ids), len(ids), 0
    bar = kept_scores[0] + margin
    for k in range(kept):
        better += kept_scores[k] > bar
    if not (better >= size or not u.any()):
        return False
    for k in range(kept):
        if kept_scores[k] > np.finfo(kept_scores.dtype).min:
            kept_scores[k] = _dot(u, V[kept_ids[k]])
    for root in range(kept // 2 - 1, -1, -1):
        _sift_down(kept_scores, kept_ids, root, kept)
    _sort(kept, kept_ids, kept_scores)
    ids[:], scores[:] = kept_ids[:size], kept_scores[:size]
    return True


def top_k(
    U: Floats, V: Floats, indptr: Ints, indices: Ints, filtered: Ints, ids: NDArray[np.int32], scores: Floats
) -> None:
    """Write the best columns of ``U @ V.T`` for each row, best first, into ``ids`` and ``scores``, shape (rows, k).

    The columns in ``filtered``, and those listed for a row in ``indptr, indices``, both ascending, score the lowest
    finite number. Ties go to the lower id. Slots past the last column hold id -1 and that same lowest score. V has the
    shape (columns, factors). Scores are selected from while they are in cache; no row of them is ever whole.

    A score depends on its row and its column alone, to the bit, however many others are beside them. A matrix product
    does not grant that: it selects, and what it selects is scored anew. Where its rounding might have left out one of
    the best, all columns are.
    """
    n_threads = numba.get_num_threads()
    turns = max(1, -(-len(ids) // (n_threads * TOPK_USERS)))
    _top_k(U, V, indptr, indices, filtered, ids, scores, -(-len(ids) // (n_threads * turns)))


@_parallel()
def _top_k(
    U: Floats,
    V: Floats,
    indptr: Ints,
    indices: Ints,
    filtered: Ints,
    ids: NDArray[np.int32],
    scores: Floats,
    at_once: int,
) -> None:
    """Do as :func:`top_k`, with ``at_once`` users at a time; their number changes no bit."""
    n, n_columns = len(ids), len(V)
    size = min(ids.shape[1], n_columns)
    kept = size + size // SPARE + 1
    if size == 0 or kept >= n_columns or n <= TOPK_FEW:
        for row in prange(n):
            listed, values = indices[indptr[row] : indptr[row + 1]], np.empty(TOPK_COLUMNS, dtype=V.dtype)
            _best(U[row], V, listed, filtered, values, ids[row], scores[row])
        return
    longest = np.zeros((n_columns + TOPK_COLUMNS - 1) // TOPK_COLUMNS, dtype=V.dtype)
    for task in prange(len(longest)):
        for column in range(task * TOPK_COLUMNS, min((task + 1) * TOPK_COLUMNS, n_columns)):
            longest[task] = max(longest[task], _dot(V[column], V[column]))
    margin = MARGIN * np.sqrt(V.shape[1]) * np.finfo(V.dtype).eps * np.sqrt(longest.max())
    at_once = max(1, min(at_once, TOPK_KEPT // kept))
    for task in prange((n + at_once - 1) // at_once):
        users = slice(task * at_once, min((task + 1) * at_once, n))
        buffer = np.empty(at_once * TOPK_COLUMNS, dtype=V.dtype)
        kept_ids, kept_scores = np.empty((at_once, kept), dtype=np.int32), np.empty((at_once, kept), dtype=V.dtype)
        for first in range(0, n_columns, TOPK_COLUMNS):
            columns = V[first : first + TOPK_COLUMNS]
            block = buffer[: (users.stop - users.start) * len(columns)].reshape(-1, len(columns))
            np.dot(U[users], columns.T, block)
            for row in range(users.start, users.stop):
                values, k = block[row - users.start], row - users.start
                _exclude(indices[indptr[row] : indptr[row + 1]], first, values)
                _exclude(filtered, first, values)
                _offer(values, first, kept, kept_ids[k], kept_scores[k])
        for row in range(users.start, users.stop):
            u, k = U[row], row - users.start
            if not _best_of(u, V, margin * np.sqrt(_dot(u, u)), kept_ids[k], kept_scores[k], ids[row], scores[row]):
                listed = indices[indptr[row] : indptr[row + 1]]
                _best(u, V, listed, filtered, buffer[:TOPK_COLUMNS], ids[row], scores[row])


@_parallel()
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
    n, size = len(ids), min(ids.shape[1], S.shape[1])
    row_indptr, row_indices, row_values = rows
    for task in prange(min(n, TASKS)):
        values = np.empty(S.shape[1], dtype=S.dtype)
        for row in range(task, n, TASKS):
            values[:] = 0
            entries = slice(row_indptr[row], row_indptr[row + 1])
            _add_rows(row_indices[entries], row_values[entries], S, values)
            _exclude(indices[indptr[row] : indptr[row + 1]], 0, values)
            _exclude(filtered, 0, values)
            _offer(values, 0, size, ids[row], scores[row])
            _sort(size, ids[row], scores[row])


# Explicit ratings: posteriors. A row of either side is the vector (bias, 1, factors), and a rating is expected to be
# ``bias + other bias + factors . other factors``. The second moments of such vectors are stored as the upper triangle,
# row by row.


@njit(cache=CACHE, fastmath={"contract", "reassoc"})
def _write_posterior(total, target, precision, shift, noise, lapack, square, mean, moment):  # type: ignore[no-untyped-def]
    """Write one row's posterior from the sums over its ratings, and return LAPACK's status.

    ``total`` and ``target`` are the sums of the other side's second moments, and of its means times the ratings;
    ``square`` is left with the row's covariance over ``noise``, shape (factors + 1, factors + 1).
    """
    size, place = len(mean), len(mean)
    for j in range(1, size):
        for k in range(j, size):
            square[j - 1, k - 1] = precision[j - 1, k - 1] + total[place]
            place += 1
    status = _invert_positive(lapack, square)
    for j in range(1, size):
        for k in range(1, j):
            square[j - 1, k - 1] = square[k - 1, j - 1]
    mean[1] = 1
    for j in range(1, size):
        value = mean.dtype.type(0)
        for k in range(1, size):
            value += square[j - 1, k - 1] * (shift[k - 1] + target[k] - total[k])
        mean[0 if j == 1 else j] = value
    place = 0
    for j in range(size):
        for k in range(j, size):
            moment[place] = mean[j] * mean[k]
            if j != 1 and k != 1:
                moment[place] += noise * square[max(j - 1, 0), max(k - 1, 0)]
            place += 1
    return status


@njit(cache=CACHE, fastmath={"contract", "reassoc"})
def _squared_error(total, target, squares, noise, square, mean):  # type: ignore[no-untyped-def]
    """Return the expected squared error of a row's ratings, whose squares sum to ``squares``, under its posterior."""
    size, place = len(mean), 0
    error = squares
    for j in range(size):
        own = mean[1] if j == 0 else mean[0] if j == 1 else mean[j]  # 1 stands opposite the bias, and the other way
        error -= 2 * own * target[j]
        for k in range(j, size):
            other = mean[1] if k == 0 else mean[0] if k == 1 else mean[k]
            value = own * other
            if j > 0:
                value += noise * square[j - 1, k - 1]
            error += (1 if j == k else 2) * value * total[place]
            place += 1
    return error


@_parallel()
def posterior_rows(
    rows: tuple[Ints, Ints, Floats],
    other: tuple[Floats, Floats],
    prior: tuple[Floats, Floats],
    noise: float,
    lapack: Ints,
    own: tuple[Floats, Floats],
    errors: Floats,
) -> Ints:
    """Write the posterior of every row, given that of the other side, and the expected squared error of its ratings.

    With E over the other side's vectors ``(c, 1, v)`` and the row's prior ``N(m, C)`` of ``w = (bias, factors)``::

        covariance = noise (noise C^-1 + sum_O E[(1, v) (1, v)^T])^-1
        mean = covariance (C^-1 m + sum_O E[(y - c) (1, v)] / noise)

    Parameters
    ----------
    rows : CSR arrays of the ratings
    other, own : means, shape (n, factors + 2), and second moments, shape (n, (factors + 2) (factors + 3) / 2)
    prior : ``noise C^-1``, shape (factors + 1, factors + 1), and its products with every m, shape (n, factors + 1)
    noise : variance of a rating, in the dtype of the others
    errors : array, shape (n,), written

    Returns
    -------
    LAPACK's status, or ``NOT_FINITE``, shape (n,)
    """
    indptr, indices, ratings = rows
    n, size = own[0].shape
    longest = 0
    for row in range(n):
        longest = max(longest, indptr[row + 1] - indptr[row])
    ones = np.ones(longest, dtype=ratings.dtype)
    status = np.zeros(n, dtype=np.int64)
    for task in prange(TASKS):
        total, target = np.empty(own[1].shape[1], dtype=ratings.dtype), np.empty(size, dtype=ratings.dtype)
        square = np.empty((size - 1, size - 1), dtype=ratings.dtype)
        for row in range(task, n, TASKS):
            items, y = indices[indptr[row] : indptr[row + 1]], ratings[indptr[row] : indptr[row + 1]]
            total[:] = 0
            target[:] = 0
            _add_rows(items, ones[: len(items)], other[1], total)
            _add_rows(items, y, other[0], target)
            mean = own[0][row]
            status[row] = _write_posterior(
                total, target, prior[0], prior[1][row], noise, lapack, square, mean, own[1][row]
            )
            errors[row] = _squared_error(total, target, _dot(y, y), noise, square, mean)
            if not np.isfinite(_dot(own[1][row], own[1][row])):
                status[row] = NOT_FINITE
    return status
