"""Several threads and processes at once: every one of them gets the same bits, and none hangs.

RFM_FUZZ multiplies the forks. All that shares runs in a process of its own, so that a hang or a crash there is a
failing test here.
"""

import copy
import hashlib
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from itertools import combinations_with_replacement
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from loky import ProcessPoolExecutor as LokyExecutor
from places import ROOT, TESTS
from scipy.sparse import csr_matrix, random_array

from rfm_recsys import LinRFM
from rfm_recsys.core import runtime

FACTORS = [16, None]
FORMS = pytest.mark.parametrize("factors", FACTORS, ids=["low-rank", "full"])
SCALE = int(os.environ.get("RFM_FUZZ", "1"))
HANGS = 120 * SCALE  # seconds after which a process hangs


def interactions(users: int = 300, items: int = 120, seed: int = 0) -> csr_matrix:
    return csr_matrix(random_array((users, items), density=0.1, rng=np.random.default_rng(seed), format="csr"))


def fitted(factors: int | None, **parameters: Any) -> LinRFM:
    return LinRFM(factors, **{"iterations": 3, **parameters}).fit(interactions(), show_progress=False)


def answers(model: LinRFM, part: int = 0) -> str:
    """Return a digest of what a model says to questions of every kind; each part asks about other users."""
    data, users = interactions(), np.arange(part, 300, 8)
    lists = [
        *model.recommend(users, data[users], N=20),
        *model.recommend(users, data[users], N=20, recalculate_user=True),
        *model.similar_items(np.arange(part, 120, 8), N=20),
        *model.similar_users(users, N=20),
    ]
    return hashlib.sha256(b"".join(part.tobytes() for part in lists)).hexdigest()


def bits(model: LinRFM) -> str:
    users = model.user_factors
    parts = [users.data, users.indices, users.indptr] if isinstance(users, csr_matrix) else [users]
    return hashlib.sha256(b"".join(part.tobytes() for part in (model.item_factors, *parts))).hexdigest()


@contextmanager
def fitting() -> Iterator[None]:
    """Fit other models all the while, in another thread."""
    done = threading.Event()

    def fit() -> None:
        while not done.is_set():
            LinRFM(32, iterations=2).fit(interactions(600, 300, seed=1), show_progress=False)

    thread = threading.Thread(target=fit)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


# --- what runs in a process that run_alone starts ---


def threads_that_ask_while_another_fits() -> None:
    for factors in FACTORS:
        model = fitted(factors)
        alone = [answers(model, part) for part in range(8)]
        assert len(set(alone)) == 8
        with fitting(), ThreadPoolExecutor(8) as pool:
            for _ in range(5):
                assert list(pool.map(partial(answers, model), range(8))) == alone


def threads_that_fit() -> None:
    def fit(seed: int) -> str:
        return bits(fitted(FACTORS[seed % 2], random_state=seed, num_threads=1 + seed % 3))

    alone = [fit(seed) for seed in range(8)]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(fit, range(8))) == alone


def workers_of(kind: str) -> None:
    """Let two workers answer after a fit in this process, and a second time while it fits."""
    models = [fitted(factors) for factors in FACTORS]
    alone = [answers(model, part) for model in models for part in range(4)]
    jobs = [(model, part) for model in models for part in range(4)]
    pool: Any = LokyExecutor(2) if kind == "loky" else ProcessPoolExecutor(2, multiprocessing.get_context(kind))
    with pool:
        assert list(pool.map(_answer, jobs)) == alone
        with fitting():
            assert list(pool.map(_answer, jobs)) == alone
        assert sorted(set(pool.map(_fit, [0, 1, 0, 1]))) == sorted(bits(model) for model in models)


def _answer(job: tuple[LinRFM, int]) -> str:
    return answers(*job)


def _fit(form: int) -> str:
    return bits(fitted(FACTORS[form]))


def forks() -> None:
    """Fork while BLAS is held to one thread, and while two threads fit: a child lacks the threads to open locks."""
    models = [fitted(factors) for factors in FACTORS]
    alone = [answers(model) for model in models]
    for form in (0, 1):
        with runtime.threads(0):
            child = _forked(models[form], alone[form])
        assert os.waitpid(child, 0)[1] == 0
    with fitting(), fitting():
        for number in range(20 * SCALE):
            form = number % 2
            assert os.waitpid(_forked(models[form], alone[form]), 0)[1] == 0
    assert [answers(model) for model in models] == alone


def _forked(model: LinRFM, expected: str) -> int:
    child = os.fork()
    if child == 0:
        signal.alarm(60)  # ends it, should it hang
        right = answers(model) == expected and _fit(FACTORS.index(model.factors)) == bits(model)
        os._exit(0 if right else 1)
    return child


def joblib_workers() -> None:
    """As scikit-learn runs a model."""
    from joblib import Parallel, delayed  # type: ignore[import-untyped]

    models = [fitted(factors) for factors in FACTORS]
    for backend in ("loky", "multiprocessing", "threading"):
        found = Parallel(n_jobs=2, backend=backend)(
            delayed(answers)(model, part) for model in models for part in (0, 1)
        )
        assert found == [answers(model, part) for model in models for part in (0, 1)]


def pairs() -> None:
    """Run each two of fit, recommend, metrics and ratings at once: none aborts, and each gives what it gives alone."""
    from rfm_recsys import LinRFMRatings
    from rfm_recsys.evaluation import Fold, evaluate

    data, model = interactions(), fitted(16)
    fold = Fold(data, np.arange(data.shape[0]), data, interactions(seed=2), known=True)

    def metrics() -> str:
        by_user, _ = evaluate(model, fold, [5, 20])
        return hashlib.sha256(b"".join(values.tobytes() for values in by_user.values())).hexdigest()

    def ratings() -> str:
        learned = LinRFMRatings(4, 8, iterations=2).fit(data, show_progress=False)
        return hashlib.sha256(learned.predict(np.arange(100), np.arange(100)).tobytes()).hexdigest()

    works: list[Callable[[], str]] = [lambda: bits(fitted(16)), lambda: answers(model), metrics, ratings]
    alone = [work() for work in works]
    with ThreadPoolExecutor(2) as pool:
        for a, b in combinations_with_replacement(range(len(works)), 2):
            for _ in range(3 * SCALE):
                assert list(pool.map(lambda k: works[k](), (a, b))) == [alone[a], alone[b]]


def optuna_trials() -> None:
    """As a user searches: two trials at once, each of which fits and evaluates."""
    import optuna

    from rfm_recsys.evaluation import Fold, evaluate, mean_over_users

    data = interactions()
    fold = Fold(data, np.arange(data.shape[0]), data, interactions(seed=2), known=True)

    def objective(trial: optuna.Trial) -> float:
        model = LinRFM(16, alpha=trial.suggest_float("alpha", 1, 30)).fit(data, show_progress=False)
        return mean_over_users(evaluate(model, fold, [10])[0]["ndcg@10"])

    study = optuna.create_study(direction="maximize")
    study.optimize(objective, n_trials=10 * SCALE, n_jobs=2)
    assert all(trial.state is optuna.trial.TrialState.COMPLETE for trial in study.trials)


def bits_here() -> None:
    for factors in FACTORS:
        for dtype in (np.float32, np.float64):
            model = fitted(factors, dtype=dtype)
            print(bits(model), answers(model))


def run_alone(work: str, *arguments: Any, **environment: str) -> str:
    """Run one of the functions of this file in a new process; return what it prints."""
    folders = [str(Path(__file__).parent), str(TESTS), str(ROOT)]
    call = f"import test_sharing\nif __name__ == '__main__':\n    test_sharing.{work}(*{arguments!r})"
    kept = {name: value for name, value in os.environ.items() if not name.startswith("NUMBA_NUM")}
    run = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-W", "ignore::DeprecationWarning", "-c", call],
        env={**kept, "PYTHONPATH": os.pathsep.join(folders), **environment},
        text=True,
        capture_output=True,
        timeout=HANGS,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout


@pytest.mark.parametrize("kind", ["fork", "spawn", "forkserver", "loky"])
def test_workers_answer_after_a_fit_in_the_parent(kind: str) -> None:
    run_alone("workers_of", kind)


WORK = ["threads_that_ask_while_another_fits", "threads_that_fit", "pairs", "optuna_trials", "forks", "joblib_workers"]


@pytest.mark.parametrize("work", WORK)
def test_threads_and_processes_get_the_same_bits_and_none_hangs(work: str) -> None:
    run_alone(work)


# --- the same seed, the same bits ---


def test_other_processes_with_one_thread_and_many_give_the_same_bits(capsys: pytest.CaptureFixture[str]) -> None:
    bits_here()
    here = capsys.readouterr().out
    assert len(set(here.split())) == 8
    for environment in ({"NUMBA_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}, {"NUMBA_NUM_THREADS": "5"}):
        assert run_alone("bits_here", PYTHONHASHSEED="7", **environment) == here


@FORMS
@pytest.mark.parametrize("copied", [lambda model: pickle.loads(pickle.dumps(model)), copy.deepcopy])
def test_a_copied_model_answers_and_fits_to_the_same_bits(
    factors: int | None, copied: Callable[[LinRFM], LinRFM]
) -> None:
    model = fitted(factors, random_state=3)
    twin = copied(model)
    assert (bits(twin), answers(twin)) == (bits(model), answers(model))
    assert bits(twin.fit(interactions(), show_progress=False)) == bits(model)
    twin.partial_fit_users([2], interactions()[5])
    assert bits(twin) != bits(model) == bits(fitted(factors, random_state=3))
