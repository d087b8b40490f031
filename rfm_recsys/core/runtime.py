"""How kernels are compiled and run: the JIT, the threads, and SciPy's BLAS and LAPACK. There is no other place.

A kernel takes the first and the last of a range of tasks, and then its arguments; :func:`run` deals ranges out to a few
Python threads, which end with the call. A compiled kernel releases the interpreter. So kernels may run in several
threads of the caller's at once, a fork finds no thread of ours, and the result does not depend on how many threads
there are: a task is computed by one of them, and tasks are fixed by the data alone.

``NUMBA_DISABLE_JIT=1`` runs every kernel as plain Python, ``NUMBA_NUM_THREADS`` says how many threads there are.
"""

import os
import threading
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from functools import cache
from itertools import pairwise
from typing import Any, TypeVar

import llvmlite.binding
import numba
import numpy as np
from numba.core import event, types
from numba.extending import get_cython_function_address
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController

COMPILED = not numba.config.DISABLE_JIT
RANGES = 16  # of tasks that a thread is dealt in a call, about: so that all end at about the same time
PREFIX = {types.float32: "s", types.float64: "d"}  # of a routine of BLAS or LAPACK
SMALL = 2**13  # entries, below which a thread takes longer to start than to help
ROW_COST = 16  # of a row beside its entries, in entries

Function = TypeVar("Function", bound=Callable[..., Any])

_num_threads: ContextVar[int] = ContextVar("num_threads", default=0)


def jit(fastmath: bool | set[str] = False) -> Callable[[Function], Function]:
    """Return a decorator that compiles a function for use in kernels only, which is quicker: Python cannot call it."""
    return _compiled(fastmath, no_cpython_wrapper=True)


def kernel(fastmath: bool | set[str] = False) -> Callable[[Function], Function]:
    """Return a decorator that compiles a kernel, for :func:`run`: a function of a range and arguments."""
    return _compiled(fastmath)


def _compiled(fastmath: bool | set[str], **options: Any) -> Callable[[Function], Function]:
    """Return a decorator that compiles a function, and keeps the code on disk where there is a folder to write to.

    Code holds no checks for a division by zero: what comes of one is not finite, and a kernel reports that.
    """
    options |= {"nogil": True, "error_model": "numpy", "no_cfunc_wrapper": True, "fastmath": fastmath}

    def decorate(function: Function) -> Function:
        try:
            compiled: Function = numba.njit(cache=True, **options)(function)
        except RuntimeError:  # neither the package's folder nor the user's can be written: every process compiles
            compiled = numba.njit(**options)(function)
        return compiled

    return decorate


def bind_routines(module: str, names: tuple[str, ...]) -> None:
    """Let compiled code find routines of SciPy's BLAS or LAPACK, in both precisions, by :func:`symbol_of` their names.

    The code refers to them by name, and every process binds these to its own addresses: so code can be kept on disk.
    """
    for name in names:
        for dtype in (types.float32, types.float64):
            address = get_cython_function_address(f"scipy.linalg.{module}", PREFIX[dtype] + name)
            llvmlite.binding.add_symbol(symbol_of(name, dtype), address)


def symbol_of(name: str, dtype: types.Type) -> str:
    """Return the name that compiled code has for a routine of BLAS or LAPACK."""
    return f"rfm_recsys.{PREFIX[dtype]}{name}"


def threads_in_use() -> int:
    """Return how many threads a kernel may run on here: those of :func:`threads`, or all that there are."""
    most = int(numba.config.NUMBA_NUM_THREADS)
    return min(_num_threads.get() or most, most)


@contextmanager
def threads(num_threads: int) -> Iterator[None]:
    """Run kernels on ``num_threads`` threads (0: all that there are), and hold BLAS to one thread around them."""
    token = _num_threads.set(num_threads)
    try:
        with _one_blas_thread:
            yield
    finally:
        _num_threads.reset(token)


def run(kernel: Callable[..., None], n_tasks: int, *arguments: Any) -> None:
    """Call ``kernel(first, last, *arguments)`` for ranges of tasks that make up ``0..n_tasks - 1``, on several threads.

    Whatever a call raises, Ctrl-C included, is raised here once no thread works any more.
    """
    step = max(1, n_tasks // (threads_in_use() * RANGES))
    _deal_out(kernel, [*range(0, n_tasks, step), n_tasks], arguments)


def run_rows(kernel: Callable[..., None], indptr: NDArray[np.integer[Any]], *arguments: Any) -> None:
    """Call ``kernel(first, last, indptr, *arguments)`` for ranges of the rows of a CSR matrix, as :func:`run` does.

    The ranges cost about the same: a row costs its entries, and ``ROW_COST`` more.
    """

    def cost(row: int) -> int:
        return int(indptr[row]) + ROW_COST * row

    n_rows = len(indptr) - 1
    if threads_in_use() < 2 or cost(n_rows) < SMALL:
        _deal_out(kernel, [0, n_rows], (indptr, *arguments))
        return
    rows, n_ranges = range(n_rows + 1), threads_in_use() * RANGES
    bounds = {bisect_left(rows, cost(n_rows) * place // n_ranges, key=cost) for place in range(n_ranges)}
    _deal_out(kernel, sorted(bounds | {0, n_rows}), (indptr, *arguments))


def _deal_out(kernel: Callable[..., None], bounds: list[int], arguments: tuple[Any, ...]) -> None:
    """Call a kernel for the ranges between successive bounds, on as many threads as there are."""
    ranges = deque(pairwise(bounds))
    n_threads = min(threads_in_use(), len(ranges))
    if n_threads < 2:
        for first, last in ranges:
            _interruptible(kernel, first, last, *arguments)
        return
    _interruptible(kernel, 0, 0, *arguments)  # compiles it here, where Ctrl-C is heard
    errors: list[BaseException] = []

    def work() -> None:
        try:
            while ranges:
                try:
                    first, last = ranges.popleft()
                except IndexError:  # another thread was quicker
                    return
                _interruptible(kernel, first, last, *arguments)
        except BaseException as error:
            ranges.clear()
            errors.append(error)

    helpers = [threading.Thread(target=work, daemon=True) for _ in range(n_threads - 1)]
    started = []
    try:
        for helper in helpers:
            try:
                helper.start()
            except RuntimeError:  # the system has no more threads: fewer do the same work
                break
            started.append(helper)
        work()
    finally:
        ranges.clear()
        for helper in started:
            helper.join()
    if errors:
        raise errors[0]


def _interruptible(kernel: Callable[..., None], *arguments: Any) -> None:
    """Call a kernel; a Ctrl-C while Numba hands its result over, of which it makes a SystemError, stays one."""
    try:
        kernel(*arguments)
    except SystemError as error:
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, KeyboardInterrupt):
            cause = cause.__cause__
        if cause is None:
            raise
        raise KeyboardInterrupt from error


class _Compilation(event.Listener):  # type: ignore[misc]  # Numba has no types
    """Calls a function with True when a compilation begins, and with False when it ends; those within count as one."""

    def __init__(self, tell: Callable[[bool], None]) -> None:
        self.tell, self.depth = tell, 0

    def on_start(self, event: Any) -> None:
        self.depth += 1
        if self.depth == 1:
            self.tell(True)

    def on_end(self, event: Any) -> None:
        self.depth -= 1
        if self.depth == 0:
            self.tell(False)


@contextmanager
def telling_of_compilation(tell: Callable[[bool], None]) -> Iterator[None]:
    """Call ``tell(True)`` when kernels begin to be compiled, not found on disk, and ``tell(False)`` when that ends."""
    listener = _Compilation(tell)
    event.register("numba:compile", listener)
    try:
        yield
    finally:
        event.unregister("numba:compile", listener)


@cache
def _blas() -> ThreadpoolController:
    return ThreadpoolController().select(user_api="blas")


class _OneBlasThread:
    """Holds BLAS, which has one number of threads for the whole process, to one while any thread is inside."""

    def __init__(self) -> None:
        self.lock, self.inside, self.limits = threading.Lock(), 0, ExitStack()

    def __enter__(self) -> None:
        with self.lock:
            if self.inside == 0:
                self.limits.enter_context(_blas().limit(limits=1))
            self.inside += 1

    def __exit__(self, *error: object) -> None:
        with self.lock:
            self.inside -= 1
            if self.inside == 0:
                self.limits.close()


_one_blas_thread = _OneBlasThread()


def _wait_for_other_threads() -> None:
    """Let no thread set the number of BLAS threads during a fork: OpenBLAS's lock would stay closed in the child."""
    _one_blas_thread.lock.acquire()


def _go_on() -> None:
    _one_blas_thread.lock.release()


def _forget_other_threads() -> None:
    """Begin afresh in a forked process, where the threads that were inside do not exist."""
    global _one_blas_thread  # noqa: PLW0603
    _one_blas_thread = _OneBlasThread()


if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
    os.register_at_fork(before=_wait_for_other_threads, after_in_parent=_go_on, after_in_child=_forget_other_threads)
