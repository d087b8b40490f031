"""Fitting a model in a process of its own, where its memory can be told and its end ends nothing else."""

import re
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import psutil
from loky import ProcessPoolExecutor
from loky.process_executor import BrokenProcessPool
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from rfm_recsys.evaluation.baselines import Recommender
from rfm_recsys.evaluation.candidates import Candidate
from rfm_recsys.evaluation.metrics import rank
from rfm_recsys.evaluation.splits import Fold

PROCESS = Path("/proc/self")  # Linux's account of this process
SAMPLE_SECONDS = 0.002
MIB = 2**20


@dataclass(frozen=True)
class Fitted:
    """What fitting a model to a fold and ranking for its users gave, or the ``error`` that it ended with.

    ``ids`` are the lists, shape (n, depth), ``settings`` the model's public attributes that are plain values. Seconds
    are without imports and compilation (``warm_up_seconds``), memory is in MiB, of the whole process, at its peak
    during the fit.
    """

    ids: NDArray[np.int32] | None = None
    fit_seconds: float = 0.0
    recommend_seconds: float = 0.0
    peak_memory_mib: float = 0.0
    memory_before_fit_mib: float = 0.0
    warm_up_seconds: float = 0.0
    settings: Mapping[str, Any] = field(default_factory=dict)
    error: str | None = None


class FittingProcess:
    """A process that fits one model after another to a fold. It is never shown what is to be found."""

    def __init__(self, fold: Fold, depth: int) -> None:
        self._task = (replace(fold, target=csr_matrix(fold.target.shape, dtype=np.float32)), depth)
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool is not None:
            self._pool.shutdown(kill_workers=error is not None)

    def fit(self, candidate: Candidate, parameters: Mapping[str, Any], seed: int) -> Fitted:
        """Fit a candidate with these parameters and rank; whatever it raises, or dies of, is the result's error."""
        if self._pool is None:
            self._pool = ProcessPoolExecutor(1, initializer=_receive, initargs=self._task)
        try:
            fitted: Fitted = self._pool.submit(_fit, candidate, dict(parameters), seed).result()
        except BrokenProcessPool:
            self._pool = None
            return Fitted(error="the process ended abruptly, perhaps for lack of memory")
        except Exception as error:
            return Fitted(error=f"{type(error).__name__}: {error}")
        return fitted


_task: tuple[Fold, int]
_warm: set[str] = set()


def _receive(fold: Fold, depth: int) -> None:
    global _task  # noqa: PLW0603  # the process has no other task
    _task = (fold, depth)


def _fit(candidate: Candidate, parameters: dict[str, Any], seed: int) -> Fitted:
    fold, depth = _task
    begun = time.perf_counter()
    if candidate.name not in _warm:
        _warm_up(candidate, parameters, seed, fold)
        _warm.add(candidate.name)
    warm_up = time.perf_counter() - begun
    model = candidate.model(parameters, seed)
    settings = _settings(model)
    with _watched_memory() as memory:
        begun = time.perf_counter()
        model.fit(fold.train, show_progress=False, **_features(candidate, fold))
        fitted = time.perf_counter()
    begun_ranking = time.perf_counter()
    ids = rank(model, fold, depth)
    ended = time.perf_counter()
    return Fitted(ids, fitted - begun, ended - begun_ranking, memory.peak, memory.before, warm_up, settings)


def _features(candidate: Candidate, fold: Fold) -> dict[str, csr_matrix]:
    """Return what describes items and users, as arguments of ``fit``, for a model that takes it."""
    given = {"item_features": fold.item_features, "user_features": fold.user_features}
    return {name: each for name, each in given.items() if each is not None and candidate.features}


def _warm_up(candidate: Candidate, parameters: dict[str, Any], seed: int, fold: Fold) -> None:
    """Load and compile the model's code with a tiny matrix of the same form."""
    with suppress(Exception):  # what is wrong with the parameters shows in the fit that counts
        rng = np.random.default_rng(0)
        tiny = csr_matrix(rng.random((256, 192), dtype=np.float32) < 0.1, dtype=np.float32)
        described = {
            "item_features": csr_matrix(rng.random((192, 3))),
            "user_features": csr_matrix(rng.random((256, 3))),
        }
        small = replace(Fold(tiny, np.arange(256), tiny, tiny, known=True), **{
            name: each for name, each in described.items() if getattr(fold, name) is not None
        })  # fmt: skip
        model = candidate.model(parameters, seed)
        model.fit(tiny, show_progress=False, **_features(candidate, small))
        rank(model, small, 10)


def _settings(model: Recommender) -> dict[str, Any]:
    return {
        key: value
        for key, value in getattr(model, "__dict__", {}).items()
        if not key.startswith("_")
        and (isinstance(value, bool | int | float | str) or (key == "factors" and value is None))
    }


@dataclass
class _Memory:
    """Resident memory in MiB."""

    before: float
    peak: float


@contextmanager
def _watched_memory() -> Iterator[_Memory]:
    """Yield the resident memory of this process; its peak is known when the context ends.

    Linux counts the peak itself; elsewhere a thread takes samples. Not ``ru_maxrss``, which a spawned process takes
    over from its parent.
    """
    process = psutil.Process()
    before = process.memory_info().rss / MIB
    memory = _Memory(before, before)
    if _linux_forgets_peak():
        yield memory
        memory.peak = _linux_peak()
        return
    ended = threading.Event()

    def sample() -> None:
        while not ended.wait(SAMPLE_SECONDS):
            memory.peak = max(memory.peak, process.memory_info().rss / MIB)

    sampler = threading.Thread(target=sample, daemon=True)
    sampler.start()
    try:
        yield memory
    finally:
        ended.set()
        sampler.join()


def _linux_forgets_peak() -> bool:
    """Make Linux count the peak anew; False where the system does not offer that."""
    try:
        (PROCESS / "clear_refs").write_text("5")
        return _linux_peak() > 0
    except OSError:
        return False


def _linux_peak() -> float:
    peak = re.search(r"VmHWM:\s+(\d+) kB", (PROCESS / "status").read_text())
    return int(peak[1]) / 1024 if peak else 0.0
