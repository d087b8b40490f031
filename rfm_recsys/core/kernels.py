"""The Numba core: row solves, sparse products, dense products, top-k. Nothing here judges its input.

Conventions, for every kernel:

* ``indptr, indices`` are the structure of a CSR matrix of users x items.
* ``confidence`` holds its signed confidences ``alpha * value``: the weight of an entry is ``|confidence|``, its target
  1 where the confidence is positive (liked) and 0 where it is negative (disliked).
* A function without an underscore is what others call: it makes room for the result, and has :mod:`runtime` deal ranges
  of rows out to threads. The function of that name with an underscore is compiled, and does one range of rows.
* The result is the same to the bit for any number of threads: a row is computed by one thread, and sums over rows run
  over a partition that depends on the shape alone. BLAS has to be held to one thread around the call.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

from rfm_recsys.core.arrays import Floats, Ints
from rfm_recsys.core.runtime import COMPILED, bind_routines, jit, kernel, run, run_rows, symbol_of, threads_in_use

BLOCK = 2**22  # entries of a dense matrix whose rows are gathered again and again: 16 MB, of the cache of all cores
AHEAD, LINES = 8, 8  # rows to fetch into the cache before they are needed, and how many cache lines of each
GATHERED = 2**20  # entries of F gathered at a time for the products with them: 4 MB, so that they stay in cache
AT_ONCE = 64  # rows of F gathered for one product with them: they stay in the nearest cache
LONG = 64  # a row that overflows the gather buffer is factorised if it has so many times as many entries as factors
RESIDUAL = 8  # eps of the right-hand side: conjugate gradients to rounding
CONDITION = 0.2  # of 1 / sqrt(eps): confidences further apart are for a factorisation in double precision
MOST_ITERATIONS = 50  # of conjugate gradients: about the cost of a factorisation
FACTORISED = 64  # entries of a row of the full form up to which a factorisation is as quick
WEIGHT_STEPS = 512  # in which a relative weight is told from another
PRODUCT_ROWS = 512  # rows of a dense product that one task owns
TRANSPOSE_PARTS = 8  # of a transposition, as many entries in each
PANEL, PANEL_ROWS = 128, 512  # of a symmetric product that are computed at a time, from the diagonal on
ADDED_ROWS = 64  # of the sum of partial products, that one task owns
PARTIAL_ROWS, PARTIALS = 2048, 64  # a sum over rows: at least so many rows in a partial sum, at most so many of them
TOPK_USERS, TOPK_COLUMNS = 1024, 512  # scores that are held at a time, at most: 2 MB, so that they stay in cache
SCAN = 256  # scores that are compared with the worst of the best at a time
TOPK_FEW = 16  # users for whom a matrix product is not worth its while
TOPK_CANDIDATES = 2**19  # columns that a task holds for all its users: 4 MB
SPARE = 8  # of so many of the best, the candidates are one more column, and one for all
MARGIN = 2.0  # of sums of k terms, in units of sqrt(k) eps |u| |v|; of 8e7 in single precision none was off by .42
NOT_FINITE, UNSOLVED = -1, -2  # status of a row whose solution overflowed, and of one that iterations did not solve
DRAWN = 1e-3  # residual of the solves for a draw from a posterior, which needs no more digits
ASKED = 256  # items whose variances are computed at a time
GOLDEN, FIRST_MIX, SECOND_MIX = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB  # of SplitMix64
FAST = {"contract", "reassoc"}  # how sums may differ from IEEE's; a NaN stays one

# BLAS and LAPACK, which read what is in C order as its transpose. Symmetric matrices are held in the upper triangle,
# which is the lower one of LAPACK's view.

if COMPILED:
    bind_routines("cython_blas", ("gemm", "syrk"))
    bind_routines("cython_lapack", ("potrf", "potrs", "potri", "trtrs", "gesv"))

    @intrinsic(prefer_literal=True)  # type: ignore[untyped-decorator]  # Numba has no types
    def _call(typing_context: Any, routine: Any, arguments: Any) -> Any:
        """Call a routine such as "potrf L", by its name and letters, and return the status that it ends with, if any.

        The other arguments are integers, numbers of the type of the arrays, and arrays, which say that type.
        """
        name, _, letters = routine.literal_value.partition(" ")
        dtype = next(each.dtype for each in arguments if isinstance(each, types.Array) and each.dtype != types.int32)
        has_status = name not in ("gemm", "syrk")

        def build(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            integer, pointers = ir.IntType(32), []

            def pass_on(value: Any) -> None:
                pointers.append(cgutils.alloca_once(builder, value.type))
                builder.store(value, pointers[-1])

            for letter in letters:
                pass_on(ir.IntType(8)(ord(letter)))
            for kind, value in zip(arguments, cgutils.unpack_tuple(builder, values[1]), strict=True):
                if isinstance(kind, types.Array):
                    pointers.append(context.make_array(kind)(context, builder, value).data)
                elif isinstance(kind, types.Integer):
                    pass_on(builder.trunc(context.cast(builder, value, kind, types.int64), integer))
                else:
                    pass_on(context.cast(builder, value, kind, dtype))
            if has_status:
                pass_on(integer(0))
            function = ir.FunctionType(ir.VoidType(), [pointer.type for pointer in pointers])
            symbol = symbol_of(name, dtype)
            builder.call(cgutils.get_or_insert_function(builder.module, function, symbol), pointers)
            return builder.sext(builder.load(pointers[-1]) if has_status else integer(0), ir.IntType(64))

        return types.int64(routine, arguments), build

    @intrinsic  # type: ignore[untyped-decorator]
    def _fetch_line(typing_context: Any, address: Any) -> Any:
        """Have the cache line at ``address`` fetched; nothing happens where there is none."""

        def build(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            pointer, flag = builder.inttoptr(values[0], ir.IntType(8).as_pointer()), ir.IntType(32)
            function = ir.FunctionType(ir.VoidType(), [pointer.type, flag, flag, flag])
            prefetch = builder.module.declare_intrinsic("llvm.prefetch", [pointer.type], function)
            builder.call(prefetch, [pointer, flag(0), flag(3), flag(1)])  # to read, into all caches, data
            return context.get_dummy_value()

        return types.void(address), build

    @jit()
    def _fetch(matrix: Floats, row: int) -> None:
        """Have the first ``LINES`` cache lines of a row fetched."""
        width = matrix.shape[1] * matrix.itemsize
        address = matrix.ctypes.data + np.int64(row) * width
        for line in range(0, min(width, LINES * 64), 64):
            _fetch_line(address + line)

    @jit()
    def _multiply(A: Floats, B: Floats, out: Floats) -> None:
        """Write ``A @ B`` into ``out``."""
        (n, k), m = A.shape, B.shape[1]
        if n * m > 0:
            _call("gemm NN", (m, n, k, 1.0, B, m, A, max(k, 1), 0.0, out, m))

    @jit()
    def _multiply_transposed(A: Floats, B: Floats, out: Floats) -> None:
        """Write ``A @ B.T`` into the first rows and columns of ``out``."""
        (n, k), m = A.shape, B.shape[0]
        if n * m > 0:
            _call("gemm TN", (m, n, k, 1.0, B, max(k, 1), A, max(k, 1), 0.0, out, out.shape[1]))

    @jit()
    def _add_symmetric(A: Floats, B: Floats, out: Floats) -> None:
        """Add ``A.T @ B``, which is symmetric, to the upper triangle of ``out``: panel by panel, from the diagonal."""
        n, k = A.shape
        for first in range(0, k, PANEL):
            b, a, c = B[:, first:], A[:, first:], out[first:, first:]
            _call("gemm NT", (k - first, min(PANEL, k - first), n, 1.0, b, k, a, k, 1.0, c, k))

    @jit()
    def _add_gram(sign: float, rows: Floats, out: Floats) -> None:
        """Add ``sign * rows.T @ rows`` to the upper triangle of ``out``."""
        n, k = rows.shape
        _call("syrk LN", (k, n, sign, rows, k, 1.0, out, k))

    @jit()
    def _solve_positive(matrix: Floats, rhs: Floats) -> Any:
        """Solve in place with the upper triangle of a positive definite ``matrix``; return LAPACK's status."""
        n = len(matrix)
        status = _call("potrf L", (n, matrix, n))
        if status == 0:
            status = _call("potrs L", (n, 1, matrix, n, rhs, n))
        return status

    @jit()
    def _mixed(key: Any, k: Any) -> Any:
        """Return number k of the random 64 bits of a key."""
        z = np.uint64(key) + np.uint64(k + 1) * np.uint64(GOLDEN)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(FIRST_MIX)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(SECOND_MIX)
        return z ^ (z >> np.uint64(31))

    @jit()
    def _factor_positive(matrix: Floats) -> Any:
        """Factorise the upper triangle of a positive definite ``matrix`` in place; return LAPACK's status."""
        return _call("potrf L", (len(matrix), matrix, len(matrix)))

    @jit()
    def _divide(factor: Floats, rows: Floats) -> Any:
        """Divide rows by the root of a matrix from :func:`_factor_positive`: their squares are ``r M^-1 r^T`` then."""
        n = len(factor)
        return _call("trtrs LNN", (n, len(rows), factor, n, rows, n))

    @jit()
    def _divide_transposed(factor: Floats, rows: Floats) -> Any:
        """Divide rows by the transpose of that root: of covariance I, they have the covariance ``M^-1`` then."""
        n = len(factor)
        return _call("trtrs LTN", (n, len(rows), factor, n, rows, n))

    @jit()
    def _solve_general(matrix: Floats, rhs: Floats) -> Any:
        """Solve in place with the transpose of ``matrix``; return LAPACK's status."""
        n, pivots = len(matrix), np.empty(len(matrix), dtype=np.int32)
        return _call("gesv", (n, 1, matrix, n, pivots, rhs, n))

    @jit()
    def _solve_general_rows(matrix: Floats, rows: Floats) -> Any:
        """Solve in place with the transpose of ``matrix`` for every row; return LAPACK's status."""
        n, pivots = len(matrix), np.empty(len(matrix), dtype=np.int32)
        return _call("gesv", (n, len(rows), matrix, n, pivots, rows, n))

    @jit()
    def _invert_positive(matrix: Floats) -> Any:
        """Invert the upper triangle of a positive definite ``matrix`` in place; return LAPACK's status."""
        n = len(matrix)
        status = _call("potrf L", (n, matrix, n))
        if status == 0:
            status = _call("potri L", (n, matrix, n))
        return status

else:
    from scipy.linalg import lapack as _lapack

    def _fetch(matrix: Floats, row: int) -> None:
        """Do nothing: a row is there when it is needed."""

    def _multiply(A: Floats, B: Floats, out: Floats) -> None:
        np.dot(A, B, out)

    def _multiply_transposed(A: Floats, B: Floats, out: Floats) -> None:
        out[: len(A), : len(B)] = np.dot(A, B.T)

    def _add_symmetric(A: Floats, B: Floats, out: Floats) -> None:
        out += np.triu(A.T @ B)

    def _add_gram(sign: float, rows: Floats, out: Floats) -> None:
        out += out.dtype.type(sign) * (rows.T @ rows)

    def _solve_positive(matrix: Floats, rhs: Floats) -> int:
        (posv,) = _lapack.get_lapack_funcs(("posv",), (matrix,))
        _, rhs[:], info = posv(matrix, rhs)
        return int(info)

    def _mixed(key: Any, k: Any) -> Any:
        z = (int(key) + (int(k) + 1) * GOLDEN) % 2**64
        z = (z ^ (z >> 30)) * FIRST_MIX % 2**64
        z = (z ^ (z >> 27)) * SECOND_MIX % 2**64
        return np.uint64(z ^ (z >> 31))

    def _factor_positive(matrix: Floats) -> int:
        (potrf,) = _lapack.get_lapack_funcs(("potrf",), (matrix,))
        matrix[:], info = potrf(matrix)
        return int(info)

    def _divide(factor: Floats, rows: Floats) -> int:
        (trtrs,) = _lapack.get_lapack_funcs(("trtrs",), (factor,))
        solution, info = trtrs(factor, rows.T, trans=1)
        rows[:] = solution.T
        return int(info)

    def _divide_transposed(factor: Floats, rows: Floats) -> int:
        (trtrs,) = _lapack.get_lapack_funcs(("trtrs",), (factor,))
        solution, info = trtrs(factor, rows.T)
        rows[:] = solution.T
        return int(info)

    def _solve_general(matrix: Floats, rhs: Floats) -> int:
        (gesv,) = _lapack.get_lapack_funcs(("gesv",), (matrix,))
        _, _, rhs[:], info = gesv(matrix.T, rhs)
        return int(info)

    def _solve_general_rows(matrix: Floats, rows: Floats) -> int:
        (gesv,) = _lapack.get_lapack_funcs(("gesv",), (matrix,))
        _, _, solution, info = gesv(matrix.T, rows.T)
        rows[:] = solution.T
        return int(info)

    def _invert_positive(matrix: Floats) -> int:
        potrf, potri = _lapack.get_lapack_funcs(("potrf", "potri"), (matrix,))
        factor, info = potrf(matrix)
        if info == 0:
            matrix[:], info = potri(factor)
        return int(info)


# What several kernels stand on.


@jit(FAST)
def _add_scaled(scale: float, x: Floats, out: Floats) -> None:
    """Add ``scale * x`` to ``out``."""
    for k in range(out.shape[0]):
        out[k] += scale * x[k]


@jit(FAST)
def _dot(x: Floats, y: Floats) -> Any:
    """Return the inner product."""
    total = x.dtype.type(0)
    for k in range(x.shape[0]):
        total += x[k] * y[k]
    return total


# In the loops over entries below, rows are indexed, not sliced: a view for each entry would be counted in and out, by
# two atomic operations that cost more than the arithmetic.


@jit(FAST)
def _add_rows(columns: Ints, values: Floats, Q: Floats, out: Floats) -> None:
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


@jit()
def _gather(items: Ints, F: Floats, rows: Floats) -> None:
    """Copy the rows of F at ``items`` into ``rows``, where the products with them find them side by side."""
    for j in range(len(items)):
        item = np.uintp(items[j])
        for k in range(F.shape[1]):
            rows[j, k] = F[item, k]


@jit()
def _weights(confidence: Floats) -> Floats:
    """Return ``c - 1``: what an entry weighs beyond one that is not observed."""
    weights = np.empty_like(confidence)
    for j in range(len(confidence)):
        weights[j] = abs(confidence[j]) - confidence.dtype.type(1)
    return weights


@jit()
def _liked(confidence: Floats) -> Floats:
    """Return ``c p``: the confidences, 0 for those that say disliked."""
    liked = np.empty_like(confidence)
    for j in range(len(confidence)):
        liked[j] = max(confidence[j], 0)
    return liked


# Row solves: one user at a time, for fixed factors of the items.


@jit(FAST)
def _add_gram_times(rows: Floats, weight: Floats, p: Floats, out: Floats) -> Any:
    """Add ``F_O^T diag(weight) F_O p`` to ``out`` and return its product with p.

    Each row is read once for both products with it, four rows at a time.
    """
    zero = rows.dtype.type(0)
    total = zero
    n_factors = len(p)
    fours = len(weight) // 4 * 4
    for j in range(0, fours, 4):
        t0, t1, t2, t3 = zero, zero, zero, zero
        for k in range(n_factors):
            t0 += rows[j, k] * p[k]
            t1 += rows[j + 1, k] * p[k]
            t2 += rows[j + 2, k] * p[k]
            t3 += rows[j + 3, k] * p[k]
        w0, w1 = t0 * weight[j], t1 * weight[j + 1]
        w2, w3 = t2 * weight[j + 2], t3 * weight[j + 3]
        total += t0 * w0 + t1 * w1 + t2 * w2 + t3 * w3
        for k in range(n_factors):
            out[k] += w0 * rows[j, k] + w1 * rows[j + 1, k] + w2 * rows[j + 2, k] + w3 * rows[j + 3, k]
    for j in range(fours, len(weight)):
        t0 = zero
        for k in range(n_factors):
            t0 += rows[j, k] * p[k]
        w0 = t0 * weight[j]
        total += t0 * w0
        for k in range(n_factors):
            out[k] += w0 * rows[j, k]
    return total


@jit(FAST)
def _advance(step: Any, p: Floats, q: Floats, x: Floats, r: Floats) -> Any:
    """Take a step of conjugate gradients along p, for which ``q = A p``; return the square of the residual r."""
    square = r.dtype.type(0)
    for k in range(len(p)):
        x[k] += step * p[k]
        r[k] -= step * q[k]
        square += r[k] * r[k]
    return square


@jit(FAST)
def _turn(ratio: Any, r: Floats, p: Floats, q: Floats) -> Any:
    """Make p the next direction of conjugate gradients, and q a copy of it; return the square of p."""
    square = r.dtype.type(0)
    for k in range(len(p)):
        p[k] = r[k] + ratio * p[k]
        q[k] = p[k]
        square += p[k] * p[k]
    return square


@jit()
def _iterate(items: Ints, confidence: Floats, F: Floats, rows: Floats, work: Floats, tolerance: Any, u: Floats) -> bool:
    """Solve for one user by conjugate gradients; return whether the residual vanished.

    The right-hand side is in ``u``, and ``rows`` holds the rows of F at the first items. The residual vanishes where it
    is ``tolerance`` of the right-hand side. The matrix is at least min(c, 1) and, since ``F F^T = S <= I``, at most
    max(c, 1): its condition number is that of the confidences, whatever the data, and the error of u is at most the
    residual over min(c, 1). ``u`` is left alone where it does not vanish.
    """
    r, p, q, x, weights = work[0], work[1], work[2], work[3], _weights(confidence)
    for k in range(len(u)):
        r[k], p[k], x[k] = u[k], 0, 0
    square = _dot(r, r)
    if not square > np.finfo(F.dtype).tiny / np.finfo(F.dtype).eps ** 2:
        return False
    enough, ratio = square * tolerance**2, F.dtype.type(0)
    for _ in range(MOST_ITERATIONS):
        curvature = _turn(ratio, r, p, q)
        for first in range(0, len(items), len(rows)):
            panel = items[first : first + len(rows)]
            if len(panel) < len(items):
                _gather(panel, F, rows)
            curvature += _add_gram_times(rows, weights[first : first + len(rows)], p, q)
        before, square = square, _advance(square / curvature, p, q, x, r)
        if square <= enough:
            for k in range(len(u)):
                u[k] = x[k]
            return True
        ratio = square / before
    return False


@jit()
def _gather_scaled(sign: float, items: Ints, confidence: Floats, F: Floats, rows: Floats) -> int:
    """Copy the rows of F with ``sign * (c - 1) > 0``, times the root of that, into ``rows``; return their number."""
    n = 0
    for j in range(len(items)):
        weight = sign * (np.float64(abs(confidence[j])) - 1)
        if weight > 0:
            item, root = np.uintp(items[j]), np.sqrt(weight)
            for k in range(F.shape[1]):
                rows[n, k] = root * F[item, k]
            n += 1
    return n


@jit()
def _add_system(items: Ints, confidence: Floats, F: Floats, rows: Floats, A: Floats) -> None:
    """Add ``F_O^T diag(c - 1) F_O`` to the upper triangle of A; ``rows`` is room for the rows of F."""
    for sign in (1.0, -1.0):
        n = _gather_scaled(sign, items, confidence, F, rows)
        if n > 0:
            _add_gram(sign, rows[:n], A)


@jit()
def _solve_finite(matrix: Floats, rhs: Floats) -> Any:
    """Do as :func:`_solve_positive`; ``NOT_FINITE`` for a matrix that overflowed, with which LAPACK may solve to 0."""
    for k in range(len(matrix)):
        if not np.isfinite(matrix[k, k]):
            return np.int64(NOT_FINITE)
    return np.int64(_solve_positive(matrix, rhs))


@jit()
def _factorise(items: Ints, confidence: Floats, F: Floats, rows: Floats, u: Floats) -> Any:
    """Solve for one user by a Cholesky factorisation into ``u``, which holds the prior m; return LAPACK's status.

    In the items (dual, by Woodbury's identity) with fewer items than factors, none of them with a confidence below 1;
    otherwise in the factors (primal), reading F once. In the precision of ``rows`` and ``u``, whatever that of F: with
    confidences of c single precision would lose c units in the last place.
    """
    n_items, n_factors = len(items), len(u)
    dual = n_items < n_factors
    for j in range(n_items):
        dual = dual and abs(confidence[j]) >= 1
    if dual:  # u = G^T z + m + what entries of confidence 1 add, G = C^(1/2) F_O: no difference of large numbers
        n = _gather_scaled(1.0, items, confidence, F, rows)
        G, A, z = rows[:n], np.empty((n, n), dtype=u.dtype), np.empty(n, dtype=u.dtype)
        place = 0
        for j in range(n_items):
            weight = np.float64(abs(confidence[j])) - 1
            if weight > 0:
                z[place] = max(confidence[j], 0) / np.sqrt(weight)
                place += 1
            elif confidence[j] > 0:
                for k in range(n_factors):
                    u[k] += F[items[j], k]
        if n == 0:
            return np.int64(0)
        _multiply_transposed(G, G, A)
        for j in range(n):
            A[j, j] += 1
            z[j] -= _dot(G[j], u)
        status = _solve_finite(A, z)
        for j in range(n):
            _add_scaled(z[j], G[j], u)
        return status
    A = np.zeros((n_factors, n_factors), dtype=u.dtype)
    for k in range(n_factors):
        A[k, k] = 1
    for first in range(0, n_items, PANEL_ROWS):
        panel, c = items[first : first + PANEL_ROWS], confidence[first : first + PANEL_ROWS]
        _add_rows(panel, _liked(c).astype(u.dtype), F, u)
        _add_system(panel, c, F, rows, A)
    return _solve_finite(A, u)


def gathered_rows(n_factors: int) -> int:
    """Return how many rows of F one thread gathers at a time; as many as there are factors, for the dual."""
    return max(GATHERED // n_factors, n_factors)


def solve_rows(
    indptr: Ints,
    indices: Ints,
    confidence: Floats,
    F: Floats,
    out: Floats,
    tolerance: float | None = None,
    prior: Floats | None = None,
) -> Ints:
    """Solve ``u = (I + F_O^T diag(c - 1) F_O)^-1 (F_O^T (c p) + m)`` for every user into ``out``, (users, factors).

    ``prior``, of the same shape, holds every user's m, what u is drawn to without an entry; it is 0 where left out.
    By conjugate gradients, to a residual of ``tolerance`` times the right-hand side, by default to rounding; by a
    Cholesky factorisation in double precision for very long rows (``LONG``), for confidences that are far apart
    (``CONDITION``), and where they do not get there in ``MOST_ITERATIONS``. Returns LAPACK's status, or ``NOT_FINITE``,
    shape (users,).
    """
    status = np.zeros(len(out), dtype=np.int64)
    n_gathered = gathered_rows(F.shape[1])
    eps = float(np.finfo(F.dtype).eps)
    limits = (F.dtype.type(RESIDUAL * eps if tolerance is None else tolerance), F.dtype.type(CONDITION / np.sqrt(eps)))
    if prior is None:
        prior = np.empty((0, F.shape[1]), dtype=F.dtype)
    run_rows(_solve_rows, indptr, indices, confidence, F, n_gathered, limits, prior, out, status)
    unsolved = np.flatnonzero(status == UNSOLVED)
    if len(unsolved):  # most data have none, and then that kernel is not even compiled
        run(_factorise_rows, len(unsolved), unsolved, indptr, indices, confidence, F, n_gathered, prior, out, status)
    return status


@jit()
def _begin(prior: Floats, user: Any, u: Floats) -> None:
    """Write the prior of a user into ``u``: zeros, where there are no priors."""
    if len(prior) == 0:
        u[:] = 0
    else:
        for k in range(len(u)):
            u[k] = prior[user, k]


@kernel()
def _solve_rows(
    first: int,
    last: int,
    indptr: Ints,
    indices: Ints,
    confidence: Floats,
    F: Floats,
    n_gathered: int,
    limits: tuple[Any, Any],
    prior: Floats,
    out: Floats,
    status: Ints,
) -> None:
    n_factors = F.shape[1]
    tolerance, condition = limits
    rows = np.empty((n_gathered, n_factors), dtype=F.dtype)
    work = np.empty((4, n_factors), dtype=F.dtype)
    for user in range(first, last):
        items, c = indices[indptr[user] : indptr[user + 1]], confidence[indptr[user] : indptr[user + 1]]
        u = out[user]
        _begin(prior, user, u)
        if len(items) == 0:
            continue
        status[user] = UNSOLVED
        least, most = c.dtype.type(1), c.dtype.type(0)
        for j in range(len(c)):
            least, most = min(least, abs(c[j])), max(most, abs(c[j]))
        if most <= condition * least and (len(items) <= n_gathered or n_gathered < LONG * n_factors):
            _add_rows(items, _liked(c), F, u)
            _gather(items[:n_gathered], F, rows)
            if _iterate(items, c, F, rows, work, tolerance, u):
                status[user] = 0 if np.isfinite(_dot(u, u)) else NOT_FINITE


@kernel()
def _factorise_rows(
    first: int,
    last: int,
    users: Ints,
    indptr: Ints,
    indices: Ints,
    confidence: Floats,
    F: Floats,
    n_gathered: int,
    prior: Floats,
    out: Floats,
    status: Ints,
) -> None:
    rows, u = np.empty((n_gathered, F.shape[1])), np.empty(F.shape[1])
    for k in range(first, last):
        user = users[k]
        start, stop = indptr[user], indptr[user + 1]
        _begin(prior, user, u)
        status[user] = _factorise(indices[start:stop], confidence[start:stop], F, rows, u)
        for j in range(len(u)):
            out[user, j] = u[j]
        if not np.isfinite(_dot(out[user], out[user])):
            status[user] = NOT_FINITE


def leave_one_out(
    indptr: Ints, indices: Ints, confidence: Floats, F: Floats, full: bool, out: Floats, variance: Floats
) -> Ints:
    """Write what every entry would be predicted without itself, for the same F; ``out`` of shape (nnz,), float64.

    By the formula of Sherman and Morrison: an entry's weight ``w = c - 1`` is taken out of the user's system A, of
    which ``h = F_j . A^-1 F_j`` is known, so that the prediction x becomes ``(x - c p h) / (1 - w h)``, and its
    variance ``h / (1 - w h)`` in units of the noise. In double precision. ``full``: F is S itself, shape (items,
    items). Returns LAPACK's status, shape (users,).
    """
    status = np.zeros(len(indptr) - 1, dtype=np.int64)
    run_rows(_leave_one_out, indptr, indices, confidence, F, full, out, variance, status)
    return status


@kernel()
def _leave_one_out(
    first: int,
    last: int,
    indptr: Ints,
    indices: Ints,
    confidence: Floats,
    F: Floats,
    full: bool,
    out: Floats,
    variance: Floats,
    status: Ints,
) -> None:
    for user in range(first, last):
        start, stop = indptr[user], indptr[user + 1]
        items, c, result = indices[start:stop], confidence[start:stop], out[start:stop]
        n, width = len(items), F.shape[1]
        if n == 0:
            continue
        h, x = np.empty(n), np.zeros(n)
        if full or n < width:
            S, A = np.empty((n, n)), np.empty((n, n))
            if full:
                for j in range(n):
                    for k in range(n):
                        S[j, k] = F[items[j], items[k]]
            else:
                rows = np.empty((n, width))
                _gather(items, F, rows)
                _multiply_transposed(rows, rows, S)
            for j in range(n):
                for k in range(n):
                    A[j, k] = (np.float64(abs(c[j])) - 1) * S[j, k]
                A[j, j] += 1
            status[user] = _solve_general_rows(A, S)  # (I + S W)^-1 S, symmetric
            for j in range(n):
                h[j] = S[j, j]
                for k in range(n):
                    x[j] += S[j, k] * max(np.float64(c[k]), 0.0)
        else:
            rows, A, b = np.empty((n, width)), np.eye(width), np.zeros(width)
            _gather(items, F, rows)
            scaled = np.empty((n, width))
            for j in range(n):
                weight = np.float64(abs(c[j])) - 1
                for k in range(width):
                    scaled[j, k] = weight * rows[j, k]
                    b[k] += max(np.float64(c[j]), 0.0) * rows[j, k]
            _add_symmetric(rows, scaled, A)
            status[user] = _invert_positive(A)
            for j in range(width):
                for k in range(j):
                    A[j, k] = A[k, j]
            _multiply(rows, A, scaled)
            for j in range(n):
                h[j], x[j] = _dot(scaled[j], rows[j]), _dot(scaled[j], b)
        for j in range(n):
            size = np.float64(abs(c[j]))
            result[j] = (x[j] - max(np.float64(c[j]), 0.0) * h[j]) / (1 - (size - 1) * h[j])
            variance[start + j] = max(h[j] / (1 - (size - 1) * h[j]), 0.0)
        if not np.isfinite(_dot(result, result)):
            status[user] = NOT_FINITE


def variances(
    indptr: Ints, indices: Ints, confidence: Floats, F: Floats, full: bool, asked: NDArray[np.int32], out: Floats
) -> Ints:
    """Write the posterior variances of scores into ``out``, shape (users, k) like the items ``asked`` of each user.

    In units of the noise: ``F_i . A^-1 F_i`` with A as in :func:`solve_rows`, or, where the items are fewer than the
    factors, ``F_i . F_i - |L^-1 C^(1/2) F_O F_i|^2`` with ``I + C^(1/2) F_O F_O^T C^(1/2) = L L^T``, C = diag(c - 1).
    In double precision. 0 for an item of -1. ``full``: F is S itself. Returns LAPACK's status, shape (users,).
    """
    status = np.zeros(len(indptr) - 1, dtype=np.int64)
    run_rows(_variances, indptr, indices, confidence, F, full, asked, out, status)
    return status


@kernel()
def _variances(
    first: int,
    last: int,
    indptr: Ints,
    indices: Ints,
    confidence: Floats,
    F: Floats,
    full: bool,
    asked: NDArray[np.int32],
    out: Floats,
    status: Ints,
) -> None:
    width = F.shape[1]
    rows = np.empty((1 if full else ASKED, width))
    for user in range(first, last):
        start, stop = indptr[user], indptr[user + 1]
        items, c = indices[start:stop], confidence[start:stop]
        n, regular = len(items), True
        for j in range(n):
            regular = regular and abs(c[j]) >= 1
        dual = full or (regular and n < width)
        size = n if dual else width
        A, G = np.zeros((size, size)), np.empty((0 if full else n, width))
        weight = np.empty(n)
        for j in range(n):
            weight[j] = np.float64(abs(c[j])) - 1
        if dual and not full:
            size = _gather_scaled(1.0, items, c, F, G)
            A = np.zeros((size, size))
            _multiply_transposed(G[:size], G[:size], A)
        elif dual:
            for j in range(n):
                for k in range(n):
                    scale = np.sqrt(weight[j] * weight[k]) if regular else weight[j]
                    A[j, k] = scale * F[items[j], items[k]]
        else:
            _add_system(items, c, F, G, A)
        for j in range(size):
            A[j, j] += 1
        if (size > 0 and regular) or not dual:
            status[user] = _factor_positive(A)
        P = np.empty((ASKED, size))
        for begin in range(0, asked.shape[1], ASKED):
            some, result = asked[user, begin : begin + ASKED], out[user, begin : begin + ASKED]
            p = len(some)
            if not full:
                _gather(np.maximum(some, 0), F, rows)
                for q in range(p):
                    result[q] = _dot(rows[q], rows[q])
            else:
                for q in range(p):
                    result[q] = F[some[q], some[q]]
            if not dual:
                _divide(A, rows[:p])
                for q in range(p):
                    result[q] = _dot(rows[q], rows[q])
            elif size > 0:
                if not full:
                    _multiply_transposed(rows[:p], G[:size], P)
                else:
                    for q in range(p):
                        for j in range(size):
                            P[q, j] = F[some[q], items[j]] * (np.sqrt(weight[j]) if regular else 1.0)
                if regular:
                    _divide(A, P[:p])
                    for q in range(p):
                        result[q] -= _dot(P[q], P[q])
                else:
                    Y = P[:p].copy()
                    status[user] = _solve_general_rows(A.copy(), Y)
                    for q in range(p):
                        for j in range(size):
                            result[q] -= Y[q, j] * weight[j] * P[q, j]
            for q in range(p):
                if not np.isfinite(result[q]):
                    status[user] = NOT_FINITE
                result[q] = max(result[q], 0.0) if some[q] >= 0 else 0.0


@jit()
def _draw_normal(key: Any, out: Floats) -> None:
    """Write normally distributed numbers, by Box and Muller from the bits of SplitMix64, which depend on the key."""
    for k in range(0, len(out), 2):
        radius = np.sqrt(-2 * np.log((np.float64(_mixed(key, k) >> np.uint64(11)) + 1) * 2.0**-53))
        angle = 2 * np.pi * 2.0**-53 * np.float64(_mixed(key, k + 1) >> np.uint64(11))
        out[k] = radius * np.cos(angle)
        if k + 1 < len(out):
            out[k + 1] = radius * np.sin(angle)


def draw_users(
    seed: np.uint64, ids: NDArray[np.intp], indptr: Ints, indices: Ints, confidence: Floats, F: Floats, out: Floats
) -> Ints:
    """Write a draw from N(0, A^-1) for every user into ``out``, shape (users, factors), with A as in `solve_rows`.

    ``A^-1 (z + F_O^T C^(1/2) e)`` with C = diag(c - 1) and z, e from N(0, I), which depend on the seed and the user's
    id alone: one solve, to a residual of ``DRAWN``. By a factorisation in double precision where a confidence is below
    1, and where conjugate gradients do not get there. Returns LAPACK's status, shape (users,).
    """
    status = np.zeros(len(out), dtype=np.int64)
    n_gathered = gathered_rows(F.shape[1])
    limits = (F.dtype.type(DRAWN), F.dtype.type(CONDITION / np.sqrt(np.finfo(F.dtype).eps)))
    run_rows(_draw_users, indptr, indices, confidence, seed, ids, F, n_gathered, limits, out, status)
    unsolved = np.flatnonzero(status == UNSOLVED)
    if len(unsolved):
        run(_draw_some, len(unsolved), unsolved, indptr, indices, confidence, seed, ids, F, out, status)
    return status


@kernel()
def _draw_users(
    first: int,
    last: int,
    indptr: Ints,
    indices: Ints,
    confidence: Floats,
    seed: np.uint64,
    ids: NDArray[np.intp],
    F: Floats,
    n_gathered: int,
    limits: tuple[Any, Any],
    out: Floats,
    status: Ints,
) -> None:
    n_factors = F.shape[1]
    tolerance, condition = limits
    rows = np.empty((n_gathered, n_factors), dtype=F.dtype)
    work = np.empty((4, n_factors), dtype=F.dtype)
    for user in range(first, last):
        items, c = indices[indptr[user] : indptr[user + 1]], confidence[indptr[user] : indptr[user + 1]]
        normal = np.empty(n_factors + len(items), dtype=F.dtype)
        _draw_normal(_mixed(seed, ids[user]), normal)
        u, e = out[user], normal[n_factors:]
        u[:] = normal[:n_factors]
        if len(items) == 0:
            continue
        status[user] = UNSOLVED
        least, most = c.dtype.type(abs(c[0])), c.dtype.type(0)
        for j in range(len(c)):
            least, most = min(least, abs(c[j])), max(most, abs(c[j]))
        if least >= 1 and most <= condition:
            for j in range(len(c)):
                e[j] *= np.sqrt(abs(c[j]) - 1)
            _add_rows(items, e, F, u)
            _gather(items[:n_gathered], F, rows)
            if _iterate(items, c, F, rows, work, tolerance, u):
                status[user] = 0 if np.isfinite(_dot(u, u)) else NOT_FINITE


@kernel()
def _draw_some(
    first: int,
    last: int,
    users: Ints,
    indptr: Ints,
    indices: Ints,
    confidence: Floats,
    seed: np.uint64,
    ids: NDArray[np.intp],
    F: Floats,
    out: Floats,
    status: Ints,
) -> None:
    n_factors = F.shape[1]
    for place in range(first, last):
        user = users[place]
        items, c = indices[indptr[user] : indptr[user + 1]], confidence[indptr[user] : indptr[user + 1]]
        A, rows, z = np.eye(n_factors), np.empty((len(items), n_factors)), np.empty((1, n_factors))
        _add_system(items, c, F, rows, A)
        status[user] = _factor_positive(A)
        _draw_normal(_mixed(seed, ids[user]), z[0])
        _divide_transposed(A, z)
        for k in range(n_factors):
            out[user, k] = z[0, k]
        if not np.isfinite(_dot(z[0], z[0])):
            status[user] = NOT_FINITE


@jit(FAST)
def _add_product(A: Floats, x: Floats, out: Floats) -> None:
    """Add ``A x`` to ``out``; four rows at a time."""
    zero = x.dtype.type(0)
    fours = len(A) // 4 * 4
    for j in range(0, fours, 4):
        t0, t1, t2, t3 = zero, zero, zero, zero
        for k in range(len(x)):
            t0 += A[j, k] * x[k]
            t1 += A[j + 1, k] * x[k]
            t2 += A[j + 2, k] * x[k]
            t3 += A[j + 3, k] * x[k]
        out[j] += t0
        out[j + 1] += t1
        out[j + 2] += t2
        out[j + 3] += t3
    for j in range(fours, len(A)):
        total = zero
        for k in range(len(x)):
            total += A[j, k] * x[k]
        out[j] += total


@jit()
def _iterate_full(A: Floats, x: Floats, work: Floats) -> bool:
    """Solve ``(I + A) x = rhs`` by conjugate gradients, to rounding; return whether the residual vanished.

    The right-hand side is in ``x``, which is left alone where it does not.
    """
    r, p, q, y = work[0], work[1], work[2], work[3]
    for k in range(len(x)):
        r[k], p[k], y[k] = x[k], 0, 0
    square = _dot(r, r)
    eps = np.finfo(A.dtype).eps
    if not square > np.finfo(A.dtype).tiny / eps**2:
        return False
    enough, ratio = square * A.dtype.type(RESIDUAL * eps) ** 2, A.dtype.type(0)
    for _ in range(MOST_ITERATIONS):
        _turn(ratio, r, p, q)
        _add_product(A, p, q)
        before, square = square, _advance(square / _dot(p, q), p, q, y, r)
        if square <= enough:
            for k in range(len(x)):
                x[k] = y[k]
            return True
        ratio = square / before
    return False


def solve_rows_full(
    indptr: Ints, indices: Ints, weight: Floats, rhs: Floats, S: Floats, a: Floats, fitted: Floats
) -> Ints:
    """Solve ``(I + diag(weight) S_OO) a = rhs`` for every user of the full form.

    Implicit feedback has the weights ``c - 1`` and the right-hand side ``c p``; plain matrix completion, which is
    ``(K_OO + lambda I) a = y``, has ``1 / lambda`` and ``y / lambda``, with K for S. Writes the coefficients ``a`` and
    the fitted values ``S_OO a`` at the observed entries, both of shape (nnz,), like ``weight`` and ``rhs``. Symmetric
    where no weight is negative, by the same identity as the dual of :func:`solve_rows`; then rows of more than
    ``FACTORISED`` entries are solved by conjugate gradients where these get there. Returns LAPACK's status, or
    ``NOT_FINITE``, shape (users,).
    """
    status = np.zeros(len(indptr) - 1, dtype=np.int64)
    most = S.dtype.type(CONDITION / np.sqrt(np.finfo(S.dtype).eps))
    run_rows(_solve_rows_full, indptr, indices, weight, rhs, S, _longest(indptr), most, a, fitted, status)
    far = np.flatnonzero(status == UNSOLVED)
    if len(far):  # weights beyond the precision of S: in double precision, which most data do not even compile
        status[far] = 0
        _solve_some_in_double(far, indptr, indices, weight, rhs, S, a, fitted, status)
    return status


def _solve_some_in_double(
    users: Ints, indptr: Ints, indices: Ints, weight: Floats, rhs: Floats, S: Floats, a: Floats, fitted: Floats,
    status: Ints,
) -> None:  # fmt: skip
    """Do as :func:`solve_rows_full` for some users, one at a time."""
    own = np.zeros(2, dtype=indptr.dtype)
    for user in users:
        entries = slice(indptr[user], indptr[user + 1])
        items = indices[entries]
        block = S[np.ix_(items, items)].astype(np.float64)
        own[1] = len(items)
        w, y = weight[entries].astype(np.float64), rhs[entries].astype(np.float64)
        solution, values, ended = np.empty_like(w), np.empty_like(w), status[user : user + 1]
        arguments = (own, np.arange(len(items), dtype=indices.dtype), w, y, block, len(items), np.inf)
        run_rows(_solve_rows_full, *arguments, solution, values, ended)
        a[entries], fitted[entries] = solution, values


@kernel()
def _solve_rows_full(
    first: int,
    last: int,
    indptr: Ints,
    indices: Ints,
    weight: Floats,
    rhs: Floats,
    S: Floats,
    longest: int,
    most: Any,
    a: Floats,
    fitted: Floats,
    status: Ints,
) -> None:
    square, s_square = np.empty(longest * longest, dtype=S.dtype), np.empty(longest * longest, dtype=S.dtype)
    vectors = np.empty((7, longest), dtype=S.dtype)
    for user in range(first, last):
        start = indptr[user]
        n = indptr[user + 1] - start
        if n == 0:
            continue
        A, S_OO = square[: n * n].reshape(n, n), s_square[: n * n].reshape(n, n)
        root, z, y = vectors[0, :n], vectors[1, :n], vectors[2, :n]
        symmetric, largest = True, weight.dtype.type(0)
        for j in range(n):
            largest = max(largest, weight[start + j])
        if largest > most:
            status[user] = UNSOLVED
            continue
        for j in range(n):
            symmetric = symmetric and weight[start + j] >= 0
            y[j] = rhs[start + j]
            row = S[np.uintp(indices[start + j])]
            for k in range(n):
                S_OO[j, k] = row[np.uintp(indices[start + k])]
        if symmetric:
            for j in range(n):
                root[j] = np.sqrt(weight[start + j])
            for j in range(n):
                for k in range(n):
                    A[j, k] = root[j] * S_OO[j, k] * root[k]
                z[j] = root[j] * _dot(S_OO[j], y)
            if n <= FACTORISED or not _iterate_full(A, z, vectors[3:, :n]):
                for j in range(n):
                    A[j, j] += 1
                status[user] = _solve_positive(A, z)
            for j in range(n):
                z[j] = y[j] - root[j] * z[j]
        else:
            for j in range(n):
                for k in range(n):  # the transpose, since LAPACK reads columns
                    A[k, j] = weight[start + j] * S_OO[j, k]
                A[j, j] += 1
                z[j] = y[j]
            status[user] = _solve_general(A, z)
        for j in range(n):
            a[start + j] = z[j]
            fitted[start + j] = _dot(S_OO[j], z)
        if not np.isfinite(_dot(z, z)):
            status[user] = NOT_FINITE


def solve_rows_shifted(
    indptr: Ints, indices: Ints, shift: Floats, rhs: Floats, K: Floats, a: Floats, fitted: Floats
) -> Ints:
    """Solve ``(K_OO + shift I) a = rhs`` for every row, ``shift`` of shape (rows,), however small it is beside K.

    (:func:`solve_rows_full` loses as many digits as a weight has.) Writes ``a`` and ``fitted = K_OO a``, shape (nnz,),
    like ``rhs``. Returns LAPACK's status, shape (rows,).
    """
    status = np.zeros(len(indptr) - 1, dtype=np.int64)
    run_rows(_solve_rows_shifted, indptr, indices, shift, rhs, K, _longest(indptr), a, fitted, status)
    return status


@kernel()
def _solve_rows_shifted(
    first: int,
    last: int,
    indptr: Ints,
    indices: Ints,
    shift: Floats,
    rhs: Floats,
    K: Floats,
    longest: int,
    a: Floats,
    fitted: Floats,
    status: Ints,
) -> None:
    square, solution = np.empty(longest * longest, dtype=K.dtype), np.empty(longest, dtype=K.dtype)
    for row in range(first, last):
        start, n = indptr[row], indptr[row + 1] - indptr[row]
        if n == 0:
            continue
        A, z = square[: n * n].reshape(n, n), solution[:n]
        for j in range(n):
            for k in range(n):
                A[j, k] = K[indices[start + j], indices[start + k]]
            A[j, j] += shift[row]
            z[j] = rhs[start + j]
        status[row] = _solve_positive(A, z)
        for j in range(n):
            total = K.dtype.type(0)
            for k in range(n):
                total += K[indices[start + j], indices[start + k]] * z[k]
            a[start + j], fitted[start + j] = z[j], total


def _longest(indptr: Ints) -> int:
    """Return the number of entries of the longest row."""
    return int(np.diff(indptr).max(initial=0))


def gram_products(rows: tuple[Ints, Ints, Floats], F: Floats, chosen: NDArray[np.intp], P: Floats, out: Floats) -> None:
    """Write ``F_O^T diag(c - 1) F_O p`` for the chosen rows and the rows p of P into ``out``, both (chosen, factors).

    It is what one iteration of :func:`solve_rows` takes, for a part of the entries of a row: sums over parts are that
    of all. ``rows`` are CSR arrays with signed confidences.
    """
    run(_gram_products, len(chosen), *rows, F, chosen, P, out)


@kernel()
def _gram_products(
    first: int,
    last: int,
    indptr: Ints,
    indices: Ints,
    confidence: Floats,
    F: Floats,
    chosen: Ints,
    P: Floats,
    out: Floats,
) -> None:
    rows = np.empty((AT_ONCE, F.shape[1]), dtype=F.dtype)
    for k in range(first, last):
        out[k] = 0
        stop = indptr[chosen[k] + 1]
        for begin in range(indptr[chosen[k]], stop, AT_ONCE):
            end = min(begin + AT_ONCE, stop)
            _gather(indices[begin:end], F, rows)
            _add_gram_times(rows, _weights(confidence[begin:end]), P[k], out[k])


def residuals(indptr: Ints, indices: Ints, confidence: Floats, U: Floats, F: Floats, out: Floats) -> None:
    """Write ``target - U_u . F_i`` at every observed entry into ``out``, shape (nnz,)."""
    run_rows(_residuals, indptr, indices, confidence, U, F, out)


@kernel()
def _residuals(
    first: int, last: int, indptr: Ints, indices: Ints, confidence: Floats, U: Floats, F: Floats, out: Floats
) -> None:
    for user in range(first, last):
        for j in range(indptr[user], indptr[user + 1]):
            out[j] = (confidence[j] > 0) - _dot(U[user], F[indices[j]])


# Values of interactions.


def row_levels(indptr: Ints, values: Floats) -> Floats:
    """Return the mean size of each row's values, float64, shape (rows,); 1 for a row without any."""
    levels = np.ones(len(indptr) - 1)
    run_rows(_row_levels, indptr, values, levels)
    return levels


@kernel()
def _row_levels(first: int, last: int, indptr: Ints, values: Floats, levels: Floats) -> None:
    for row in range(first, last):
        start, stop = indptr[row], indptr[row + 1]
        largest, total = 0.0, 0.0
        for j in range(start, stop):
            largest = max(largest, np.float64(abs(values[j])))
        for j in range(start, stop):  # of the largest, so that the sum cannot overflow
            total += np.float64(abs(values[j])) / largest
        if stop > start:
            levels[row] = largest * (total / (stop - start))


def relative_weights(indptr: Ints, indices: Ints, values: Floats, levels: Floats, by_column: bool) -> Floats:
    """Return ``1/2 + r / (1 + r)`` for ``r = |value| / level``, with the sign of the value, shape (nnz,).

    ``levels`` are those of the rows, or of the columns; a level that rounds to 0 counts as the value. Weights are
    multiples of 1 / ``WEIGHT_STEPS``, so that the rounding of the same values in another unit does not show.
    """
    out = np.empty_like(values)
    run_rows(_relative_weights, indptr, indices, values, levels, by_column, out)
    return out


@kernel()
def _relative_weights(
    first: int, last: int, indptr: Ints, indices: Ints, values: Floats, levels: Floats, by_column: bool, out: Floats
) -> None:
    for row in range(first, last):
        for j in range(indptr[row], indptr[row + 1]):
            level = levels[indices[j]] if by_column else levels[row]
            size = np.float64(abs(values[j]))
            share = 1 / (1 + level / size) if level > 0 else 0.5
            weight = np.rint((0.5 + share) * WEIGHT_STEPS) / WEIGHT_STEPS
            out[j] = weight if values[j] > 0 else -weight


# Sparse products.


def transpose(indptr: Ints, indices: Ints, values: Floats, n_columns: int) -> tuple[Ints, Ints, Floats]:
    """Return the transpose of a CSR matrix, in the same form; its rows ascend, whether or not those given do."""
    nnz = int(indptr[-1])
    bounds = np.searchsorted(indptr, nnz * np.arange(TRANSPOSE_PARTS + 1) // TRANSPOSE_PARTS)
    bounds[0], bounds[-1] = 0, len(indptr) - 1  # rows that a part begins with, as many entries in each
    counts = np.zeros((TRANSPOSE_PARTS, n_columns), dtype=np.int64)  # entries of a column in a part
    run(_count_columns, TRANSPOSE_PARTS, indptr, indices, bounds, counts)
    ends = np.cumsum(counts.T.ravel())
    places = np.ascontiguousarray((ends - counts.T.ravel()).reshape(n_columns, TRANSPOSE_PARTS).T)
    new_indptr = np.zeros(n_columns + 1, dtype=indptr.dtype)
    new_indptr[1:] = ends[TRANSPOSE_PARTS - 1 :: TRANSPOSE_PARTS]
    new_indices, new_values = np.empty(nnz, dtype=indices.dtype), np.empty(nnz, dtype=values.dtype)
    run(_transpose, TRANSPOSE_PARTS, indptr, indices, values, bounds, places, new_indices, new_values)
    return new_indptr, new_indices, new_values


@kernel()
def _count_columns(first: int, last: int, indptr: Ints, indices: Ints, bounds: Ints, counts: Ints) -> None:
    for part in range(first, last):
        for j in range(indptr[bounds[part]], indptr[bounds[part + 1]]):
            counts[part, indices[j]] += 1


@kernel()
def _transpose(
    first: int,
    last: int,
    indptr: Ints,
    indices: Ints,
    values: Floats,
    bounds: Ints,
    places: Ints,
    new_indices: Ints,
    new_values: Floats,
) -> None:
    for part in range(first, last):
        for row in range(bounds[part], bounds[part + 1]):
            for j in range(indptr[row], indptr[row + 1]):
                place = places[part, indices[j]]
                places[part, indices[j]] = place + 1
                new_indices[place], new_values[place] = row, values[j]


def sparse_product(indptr: Ints, indices: Ints, values: Floats, Q: Floats, out: Floats) -> None:
    """Add the sparse matrix times ``Q``, shape (columns, b), to ``out``, shape (rows, b)."""
    run_rows(_sparse_product, indptr, indices, values, Q, out)


@kernel()
def _sparse_product(first: int, last: int, indptr: Ints, indices: Ints, values: Floats, Q: Floats, out: Floats) -> None:
    for row in range(first, last):
        _add_rows(indices[indptr[row] : indptr[row + 1]], values[indptr[row] : indptr[row + 1]], Q, out[row])


def sparse_gram(indptr: Ints, indices: Ints, values: Floats, by_column: tuple[Ints, Ints, Floats], out: Floats) -> None:
    """Write ``X^T X`` of a sparse X, given by row and by column, into ``out``, shape (columns, columns)."""
    out[:] = 0
    run_rows(_sparse_gram, *by_column, indptr, indices, values, out)


@kernel()
def _sparse_gram(
    first: int,
    last: int,
    column_indptr: Ints,
    rows: Ints,
    column_values: Floats,
    indptr: Ints,
    indices: Ints,
    values: Floats,
    out: Floats,
) -> None:
    for column in range(first, last):
        sums = out[column]
        for entry in range(column_indptr[column], column_indptr[column + 1]):
            row, value = rows[entry], column_values[entry]
            for j in range(indptr[row], indptr[row + 1]):
                sums[np.uintp(indices[j])] += value * values[j]


def sampled_product(indptr: Ints, indices: Ints, A: Floats, B: Floats, out: Floats) -> None:
    """Write ``A_i . B_j`` for every observed entry (i, j) into ``out``, shape (nnz,)."""
    run_rows(_sampled_product, indptr, indices, A, B, out)


@kernel(FAST)
def _sampled_product(first: int, last: int, indptr: Ints, indices: Ints, A: Floats, B: Floats, out: Floats) -> None:
    for row in range(first, last):
        for entry in range(indptr[row], indptr[row + 1]):
            column = np.uintp(indices[entry])
            total = A.dtype.type(0)
            for k in range(A.shape[1]):
                total += A[row, k] * B[column, k]
            out[entry] = total


def sampled_gram(indptr: Ints, indices: Ints, A: Floats, B: Floats, out: Floats) -> None:
    """Write ``sum_j (A_i . B_j) C_j`` over the observed entries (i, j) of each row into ``out``, shape (rows, r).

    C is the last r columns of B: this is the product of a sparse matrix that is never stored with C.
    """
    run_rows(_sampled_gram, indptr, indices, A, B, out)


@kernel(FAST)
def _sampled_gram(first: int, last: int, indptr: Ints, indices: Ints, A: Floats, B: Floats, out: Floats) -> None:
    r = out.shape[1]
    offset = B.shape[1] - r
    for row in range(first, last):
        for k in range(r):
            out[row, k] = 0
        for entry in range(indptr[row], indptr[row + 1]):
            column = np.uintp(indices[entry])
            total = A.dtype.type(0)
            for k in range(A.shape[1]):
                total += A[row, k] * B[column, k]
            for k in range(r):
                out[row, k] += total * B[column, offset + k]


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
    at_once = max(BLOCK // Q.shape[1], 1)
    done = indptr[:-1].copy()
    out[:] = 0
    for end in range(at_once, len(Q) + at_once, at_once):
        run_rows(
            _first_product, indptr, indices, confidence, float(penalty), row_scale, column_scale, Q, end, done, out
        )


@kernel()
def _first_product(
    first: int,
    last: int,
    indptr: Ints,
    indices: Ints,
    confidence: Floats,
    penalty: float,
    row_scale: Floats,
    column_scale: Floats,
    Q: Floats,
    end: int,
    done: Ints,
    out: Floats,
) -> None:
    for row in range(first, last):
        start, stop = done[row], done[row]
        while stop < indptr[row + 1] and indices[stop] < end:
            stop += 1
        if stop > start:
            values = np.empty(stop - start, dtype=Q.dtype)
            for j in range(start, stop):
                liked = max(confidence[j], 0)
                values[j - start] = row_scale[row] * column_scale[indices[j]] * (liked / (liked + penalty))
            _add_rows(indices[start:stop], values, Q, out[row])
            done[row] = stop


# Dense products.


def dense_product(A: Floats, B: Floats, out: Floats) -> None:
    """Write ``A @ B``, shapes (n, k) and (k, m), into ``out``."""
    run(_dense_product, -(-len(A) // PRODUCT_ROWS), A, B, out)


@kernel()
def _dense_product(first: int, last: int, A: Floats, B: Floats, out: Floats) -> None:
    for task in range(first, last):
        rows = slice(task * PRODUCT_ROWS, min((task + 1) * PRODUCT_ROWS, len(A)))
        _multiply(A[rows], B, out[rows])


def symmetric_product(A: Floats, B: Floats, root: Floats) -> Floats:
    """Return ``A.T @ B``, both of shape (n, k), known to be symmetric; half of it is computed.

    With ``root``, shape (n,), it is ``A.T @ diag(root)^2 @ A``, whatever B is; an empty one is no weight. Partial sums
    over a fixed partition of the rows, added in order.
    """
    n, k = A.shape
    rows = max(PARTIAL_ROWS, -(-n // PARTIALS))
    partial = np.zeros((max(1, -(-n // rows)), k, k), dtype=A.dtype)
    run(_partial_products, len(partial), A, B, root, rows, partial)
    total = np.empty((k, k), dtype=A.dtype)
    run(_add_partials, -(-k // ADDED_ROWS), partial, total)
    return total


@kernel()
def _partial_products(first: int, last: int, A: Floats, B: Floats, root: Floats, n_rows: int, partial: Floats) -> None:
    n, k = A.shape
    weighted = np.empty((min(PANEL_ROWS, len(root)), k), dtype=A.dtype)
    for task in range(first, last):
        stop = min((task + 1) * n_rows, n)
        for start in range(task * n_rows, stop, PANEL_ROWS):
            panel = A[start : min(start + PANEL_ROWS, stop)]
            if len(root) > 0:
                for i in range(len(panel)):
                    for j in range(k):
                        weighted[i, j] = root[start + i] * panel[i, j]
                _add_gram(1.0, weighted[: len(panel)], partial[task])
            elif A.ctypes.data == B.ctypes.data:
                _add_gram(1.0, panel, partial[task])
            else:
                _add_symmetric(panel, B[start : start + len(panel)], partial[task])


@kernel()
def _add_partials(first: int, last: int, partial: Floats, total: Floats) -> None:
    for i in range(first * ADDED_ROWS, min(last * ADDED_ROWS, len(total))):
        for j in range(i, total.shape[1]):
            value = partial[0, i, j]
            for task in range(1, len(partial)):
                value += partial[task, i, j]
            total[i, j] = value
            total[j, i] = value


# Top-k.


@jit()
def _worse(scores: Floats, ids: Ints, a: int, b: int) -> Any:
    """Whether candidate ``a`` ranks below candidate ``b``: by lower score, then by higher id."""
    return scores[a] < scores[b] or (scores[a] == scores[b] and ids[a] > ids[b])


@jit()
def _sift_down(scores: Floats, ids: Ints, root: Any, size: int) -> None:
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


@jit()
def _exclude(listed: Ints, first: int, values: Floats) -> None:
    """Give the columns in ``listed``, which ascend, the lowest score; ``values`` are those from ``first`` on."""
    low, high = 0, len(listed)
    while low < high:  # the place of the first that is not before ``first``
        middle = (low + high) // 2
        if listed[middle] < first:
            low = middle + 1
        else:
            high = middle
    for k in range(low, len(listed)):
        if listed[k] >= first + len(values):
            return
        values[listed[k] - first] = np.finfo(values.dtype).min


@jit()
def _offer(values: Floats, first: int, size: int, ids: Ints, scores: Floats) -> None:
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
        stretch = values[start : start + SCAN]
        worst, better = scores[0], 0
        for k in range(len(stretch)):  # in most stretches none is better, which a loop without branches finds out
            better += stretch[k] > worst
        if better > 0:
            for k in range(len(stretch)):
                if stretch[k] > scores[0]:
                    ids[0], scores[0] = first + start + k, stretch[k]
                    _sift_down(scores, ids, np.intp(0), size)


@jit()
def _sort(size: int, ids: Ints, scores: Floats) -> None:
    """Turn the heap into a list, best first, and say where it ends."""
    for end in range(size - 1, 0, -1):  # the worst that is left goes to the end
        scores[0], scores[end] = scores[end], scores[0]
        ids[0], ids[end] = ids[end], ids[0]
        _sift_down(scores, ids, np.intp(0), end)
    ids[size:] = -1
    scores[size:] = np.finfo(scores.dtype).min


@jit()
def _score(row: Any, column: Any, spread: tuple[Floats, Floats], U: Floats, V: Floats) -> Any:
    """Return ``U V^T`` at a place, and the root of the product of the two of ``spread`` there if they have columns."""
    D, squares = spread
    score = _dot(U[row], V[column])
    if D.shape[1] > 0:
        score += np.sqrt(_dot(D[row], squares[column]))
    return score


@jit()
def _best(
    row: Any,
    U: Floats,
    V: Floats,
    spread: tuple[Floats, Floats],
    listed: Ints,
    filtered: Ints,
    values: Floats,
    ids: Ints,
    scores: Floats,
) -> None:
    """Do as :func:`top_k` for one row, by the inner products with all columns; ``values`` is room for some of them."""
    size = min(len(ids), len(V))
    for first in range(0, len(V), len(values)):
        stretch = values[: min(len(values), len(V) - first)]
        for k in range(len(stretch)):
            stretch[k] = _score(row, first + k, spread, U, V)
        _exclude(listed, first, stretch)
        _exclude(filtered, first, stretch)
        _offer(stretch, first, size, ids, scores)
    _sort(size, ids, scores)


@jit()
def _best_of(
    row: Any,
    U: Floats,
    V: Floats,
    spread: tuple[Floats, Floats],
    margin: Any,
    heap_ids: Ints,
    heap_scores: Floats,
    ids: Ints,
    scores: Floats,
) -> bool:
    """Do as :func:`_best` from a heap of a few columns more, where rounding may have put two scores ``margin`` apart.

    Returns whether the heap is certain to hold the best.
    """
    n_candidates, size, better = len(heap_ids), len(ids), 0
    bar = heap_scores[0] + margin
    for k in range(n_candidates):
        better += heap_scores[k] > bar
    zero = spread[0].shape[1] == 0
    for k in range(U.shape[1]):
        zero = zero and U[row, k] == 0
    if better < size and not zero:
        return False
    for k in range(n_candidates):
        if heap_scores[k] > np.finfo(heap_scores.dtype).min:
            heap_scores[k] = _score(row, heap_ids[k], spread, U, V)
    for root in range(n_candidates // 2 - 1, -1, -1):
        _sift_down(heap_scores, heap_ids, root, n_candidates)
    _sort(n_candidates, heap_ids, heap_scores)
    for k in range(size):
        ids[k], scores[k] = heap_ids[k], heap_scores[k]
    return True


def top_k(
    U: Floats,
    V: Floats,
    indptr: Ints,
    indices: Ints,
    filtered: Ints,
    ids: NDArray[np.int32],
    scores: Floats,
    spread: tuple[Floats, Floats] | None = None,
) -> None:
    """Write the best columns of ``U @ V.T`` for each row, best first, into ``ids`` and ``scores``, shape (rows, k).

    With ``spread``, two arrays D and V2 of no negative numbers, the best of ``U @ V.T + sqrt(D @ V2.T)``.

    The columns in ``filtered``, and those listed for a row in ``indptr, indices``, both ascending, score the lowest
    finite number. Ties go to the lower id. Slots past the last column hold id -1 and that same lowest score. V has the
    shape (columns, factors). Scores are selected from while they are in cache; no row of them is ever whole.

    A score depends on its row and its column alone, to the bit, however many others are beside them. A matrix product
    does not grant that: it selects candidates, and these are scored anew. Where its rounding might have left out one of
    the best, all columns are.
    """
    n, n_columns, filtered = len(ids), len(V), filtered.astype(np.int32)
    size = min(ids.shape[1], n_columns)
    n_candidates = size + size // SPARE + 1
    if spread is None:
        spread = np.empty((n, 0), dtype=V.dtype), np.empty((n_columns, 0), dtype=V.dtype)
    if size == 0 or n_candidates >= n_columns or n <= TOPK_FEW:
        run(_top_k_of_few, n, U, V, spread, indptr, indices, filtered, ids, scores)
        return
    n_threads = threads_in_use()
    turns = max(1, -(-n // (n_threads * TOPK_USERS)))
    at_once = max(1, min(-(-n // (n_threads * turns)), TOPK_CANDIDATES // n_candidates))
    squares = np.empty(n_columns, dtype=V.dtype)
    run(_squares, -(-n_columns // TOPK_COLUMNS), V, squares)
    margin = V.dtype.type(MARGIN * np.sqrt(V.shape[1]) * np.finfo(V.dtype).eps) * np.sqrt(squares.max())
    counts = (at_once, n_candidates, margin)
    run(_top_k, -(-n // at_once), U, V, spread, indptr, indices, filtered, counts, ids, scores)


@kernel()
def _squares(first: int, last: int, V: Floats, squares: Floats) -> None:
    for column in range(first * TOPK_COLUMNS, min(last * TOPK_COLUMNS, len(V))):
        squares[column] = _dot(V[column], V[column])


@kernel()
def _top_k_of_few(
    first: int,
    last: int,
    U: Floats,
    V: Floats,
    spread: tuple[Floats, Floats],
    indptr: Ints,
    indices: Ints,
    filtered: Ints,
    ids: NDArray[np.int32],
    scores: Floats,
) -> None:
    values = np.empty(TOPK_COLUMNS, dtype=V.dtype)
    for row in range(first, last):
        listed = indices[indptr[row] : indptr[row + 1]]
        _best(row, U, V, spread, listed, filtered, values, ids[row], scores[row])


@kernel()
def _top_k(
    first: int,
    last: int,
    U: Floats,
    V: Floats,
    spread: tuple[Floats, Floats],
    indptr: Ints,
    indices: Ints,
    filtered: Ints,
    counts: tuple[int, int, Any],
    ids: NDArray[np.int32],
    scores: Floats,
) -> None:
    """Do ranges of ``at_once`` users; ``counts`` are that, how many candidates there are of each, and the margin."""
    at_once, n_candidates, margin = counts
    D, squares = spread
    block = np.empty((at_once, TOPK_COLUMNS), dtype=V.dtype)
    variance = np.empty((at_once if D.shape[1] > 0 else 0, TOPK_COLUMNS), dtype=V.dtype)
    heap_ids = np.empty((at_once, n_candidates), dtype=np.int32)
    heap_scores = np.empty((at_once, n_candidates), dtype=V.dtype)
    for task in range(first, last):
        begin, end = task * at_once, min((task + 1) * at_once, len(ids))
        for column in range(0, len(V), TOPK_COLUMNS):
            columns = V[column : column + TOPK_COLUMNS]
            _multiply_transposed(U[begin:end], columns, block)
            if D.shape[1] > 0:
                _multiply_transposed(D[begin:end], squares[column : column + TOPK_COLUMNS], variance)
            for row in range(begin, end):
                values, k = block[row - begin, : len(columns)], row - begin
                if D.shape[1] > 0:
                    for place in range(len(values)):
                        values[place] += np.sqrt(variance[k, place])
                _exclude(indices[indptr[row] : indptr[row + 1]], column, values)
                _exclude(filtered, column, values)
                _offer(values, column, n_candidates, heap_ids[k], heap_scores[k])
        for row in range(begin, end):
            k, own_margin = row - begin, margin * np.sqrt(_dot(U[row], U[row]))
            if D.shape[1] > 0:
                own_margin += margin * np.sqrt(D[row].max())
            if not _best_of(row, U, V, spread, own_margin, heap_ids[k], heap_scores[k], ids[row], scores[row]):
                listed = indices[indptr[row] : indptr[row + 1]]
                _best(row, U, V, spread, listed, filtered, block[0], ids[row], scores[row])


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
    run(_top_k_sparse, len(ids), rows, S, indptr, indices, filtered.astype(np.int32), ids, scores)


@kernel()
def _top_k_sparse(
    first: int,
    last: int,
    rows: tuple[Ints, Ints, Floats],
    S: Floats,
    indptr: Ints,
    indices: Ints,
    filtered: Ints,
    ids: NDArray[np.int32],
    scores: Floats,
) -> None:
    size = min(ids.shape[1], S.shape[1])
    row_indptr, row_indices, row_values = rows
    values = np.empty(S.shape[1], dtype=S.dtype)
    for row in range(first, last):
        values[:] = 0
        start, stop = row_indptr[row], row_indptr[row + 1]
        _add_rows(row_indices[start:stop], row_values[start:stop], S, values)
        _exclude(indices[indptr[row] : indptr[row + 1]], 0, values)
        _exclude(filtered, 0, values)
        _offer(values, 0, size, ids[row], scores[row])
        _sort(size, ids[row], scores[row])


# Explicit ratings: posteriors. A row of either side is the vector (bias, 1, factors), and a rating is expected to be
# ``bias + other bias + factors . other factors``. The second moments of such vectors are stored as the upper triangle,
# row by row.


@jit(FAST)
def _write_posterior(
    total: Floats,
    target: Floats,
    precision: Floats,
    shift: Floats,
    noise: Any,
    square: Floats,
    mean: Floats,
    moment: Floats,
) -> Any:
    """Write one row's posterior from the sums over its ratings, and return LAPACK's status.

    ``total`` and ``target`` are the sums of the other side's second moments, and of its means times the ratings;
    ``square`` is left with the row's covariance over ``noise``, shape (factors + 1, factors + 1).
    """
    size, place = len(mean), len(mean)
    for j in range(1, size):
        for k in range(j, size):
            square[j - 1, k - 1] = precision[j - 1, k - 1] + total[place]
            place += 1
    status = _invert_positive(square)
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


@jit(FAST)
def _squared_error(total: Floats, target: Floats, squares: Any, noise: Any, square: Floats, mean: Floats) -> Any:
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


def posterior_rows(
    rows: tuple[Ints, Ints, Floats],
    other: tuple[Floats, Floats],
    prior: tuple[Floats, Floats],
    noise: Any,
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
    ones = np.ones(_longest(indptr), dtype=ratings.dtype)
    status = np.zeros(len(indptr) - 1, dtype=np.int64)
    run_rows(_posterior_rows, indptr, indices, ratings, ones, other, prior, noise, own, errors, status)
    return status


@kernel()
def _posterior_rows(
    first: int,
    last: int,
    indptr: Ints,
    indices: Ints,
    ratings: Floats,
    ones: Floats,
    other: tuple[Floats, Floats],
    prior: tuple[Floats, Floats],
    noise: Any,
    own: tuple[Floats, Floats],
    errors: Floats,
    status: Ints,
) -> None:
    size = own[0].shape[1]
    total, target = np.empty(own[1].shape[1], dtype=ratings.dtype), np.empty(size, dtype=ratings.dtype)
    square = np.empty((size - 1, size - 1), dtype=ratings.dtype)
    for row in range(first, last):
        items, y = indices[indptr[row] : indptr[row + 1]], ratings[indptr[row] : indptr[row + 1]]
        total[:] = 0
        target[:] = 0
        _add_rows(items, ones[: len(items)], other[1], total)
        _add_rows(items, y, other[0], target)
        mean, moment = own[0][row], own[1][row]
        status[row] = _write_posterior(total, target, prior[0], prior[1][row], noise, square, mean, moment)
        errors[row] = _squared_error(total, target, _dot(y, y), noise, square, mean)
        if not np.isfinite(_dot(moment, moment)):
            status[row] = NOT_FINITE
