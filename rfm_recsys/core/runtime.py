"""Threads: how many run the kernels, and one only for BLAS."""

import os
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache

import numba
from threadpoolctl import ThreadpoolController


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


os.register_at_fork(before=_wait_for_other_threads, after_in_parent=_go_on, after_in_child=_forget_other_threads)


@contextmanager
def threads(num_threads: int) -> Iterator[None]:
    """Run kernels on ``num_threads`` threads (0: all that there are), and hold BLAS to one thread around them."""
    before = numba.get_num_threads()
    most = numba.config.NUMBA_NUM_THREADS
    with _one_blas_thread:
        numba.set_num_threads(min(num_threads or most, most))
        try:
            yield
        finally:
            numba.set_num_threads(before)
