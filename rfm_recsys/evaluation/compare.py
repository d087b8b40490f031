"""The comparison behind ``rfm-recsys compare``: one split, every model in a process of its own, one result."""

import importlib.metadata
import json
import os
import platform
import re
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp

from rfm_recsys.datasets import Interactions
from rfm_recsys.evaluation.baselines import Recommender, default_baselines
from rfm_recsys.evaluation.metrics import mean_over_users, ndcg, recall
from rfm_recsys.evaluation.splits import StrongSplit, strong_generalisation

METRICS = {"R@20": (recall, 20), "R@50": (recall, 50), "N@100": (ndcg, 100)}
DEPTH = max(k for _, k in METRICS.values())
VERSIONS = ("rfm-recsys", "implicit", "numpy", "numba", "scipy")


def compare(
    data: Interactions,
    name: str,
    candidates: Mapping[str, Recommender],
    seed: int = 0,
    on_start: Callable[[str], None] = lambda model: None,
) -> dict[str, Any]:
    """Compare models with implicit's ALS, EASE and popularity by strong generalisation.

    Every interaction is a positive, whatever its rating. A model that fails has an ``error`` in place of its figures
    and costs the others nothing.

    Parameters
    ----------
    data : Interactions
    name : str
        What to call the data in the result.
    candidates : mapping
        The models to compare, by name; they have to be picklable.
    seed : int
        Of the split and the baselines.
    on_start : callable
        Called with each model's name before it is fitted.

    Returns
    -------
    dict of JSON values: data (with a hash), split, models (parameters, metrics, seconds, MiB) and environment
    """
    versions = {package: importlib.metadata.version(package) for package in VERSIONS}  # before the work: one may lack
    user_items = data.to_csr()
    user_items.data[:] = 1
    split = strong_generalisation(user_items, seed=seed)
    models = {**candidates, **default_baselines(split.train, seed)}
    rows = []
    for model_name, model in models.items():
        on_start(model_name)
        rows.append({"model": model_name, "parameters": _parameters(model), **_in_own_process(model, split)})
    return {
        "data": {
            "name": name,
            "users": data.shape[0],
            "items": data.shape[1],
            "interactions": len(data.values),
            "sha256": data.content_hash(),
        },
        "split": {"protocol": "strong generalisation", "held_out_users": len(split.held_out_users), "seed": seed},
        "models": rows,
        "environment": {
            "python": platform.python_version(),
            **versions,
            "machine": f"{platform.system()} {platform.machine()}",
            "cpus": os.cpu_count(),
        },
    }


def _parameters(model: Recommender) -> dict[str, Any]:
    # what the model was made with: its public attributes that are plain values
    plain = {key: value for key, value in vars(model).items() if isinstance(value, int | float | str)}
    return {**plain, "factors": None} if getattr(model, "factors", 0) is None else plain


def _in_own_process(model: Recommender, split: StrongSplit) -> dict[str, Any]:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        try:
            return pool.submit(_measure, model, split).result()
        except BrokenProcessPool:
            return {"error": "the process ended abruptly, perhaps for lack of memory"}
        except Exception as error:
            return {"error": f"{type(error).__name__}: {error}"}


def _measure(model: Recommender, split: StrongSplit) -> dict[str, Any]:
    """Fit and rank; the model's compiled code is loaded beforehand, by a fit to a sample of the same form."""
    begun = time.perf_counter()
    _warm_up(model)
    warm_up = time.perf_counter() - begun
    _forget_peak()
    before = _memory("VmRSS")

    begun = time.perf_counter()
    model.fit(split.train, show_progress=False)
    fitted, peak = time.perf_counter(), _memory("VmHWM")
    begun_ranking = time.perf_counter()
    ids = _top(model, split.fold_in)
    ended = time.perf_counter()
    return {
        **{metric: mean_over_users(of(ids, split.target, k)) for metric, (of, k) in METRICS.items()},
        "fit_seconds": fitted - begun,
        "recommend_seconds": ended - begun_ranking,
        "peak_memory_mib": peak,
        "memory_before_fit_mib": before,
        "warm_up_seconds": warm_up,
    }


def _warm_up(model: Recommender) -> None:
    tiny = sp.csr_matrix(np.random.default_rng(0).random((256, 192), dtype=np.float32) < 0.1, dtype=np.float32)
    model.fit(tiny, show_progress=False)
    _top(model, tiny)


def _top(model: Recommender, fold_in: sp.csr_matrix) -> Any:
    ids, _ = model.recommend(np.arange(fold_in.shape[0]), fold_in, N=DEPTH, recalculate_user=True)
    return ids


def _memory(kind: str) -> float:
    """Return the resident memory in MiB: now (``VmRSS``), or at its highest since `_forget_peak` (``VmHWM``).

    Not ``ru_maxrss``, which a spawned process takes over from its parent.
    """
    found = re.search(rf"{kind}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(found[1]) / 1024 if found else 0.0


def _forget_peak() -> None:
    with suppress(OSError):  # where the kernel does not offer it, the peak is that since the process began
        Path("/proc/self/clear_refs").write_text("5")


def write_json(result: dict[str, Any], path: Path) -> None:
    """Write a result to ``path``, whole or not at all."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_text(json.dumps(result, indent=2) + "\n")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
