"""The comparison behind ``rfm-recsys compare``: one split, every model in a process of its own, one result."""

import importlib.metadata
import json
import os
import platform
import resource
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp

from rfm_recsys.datasets import Interactions
from rfm_recsys.evaluation.baselines import Recommender, default_baselines
from rfm_recsys.evaluation.metrics import mean_over_users, ndcg, recall
from rfm_recsys.evaluation.splits import StrongSplit, strong_generalisation
from rfm_recsys.model import LinRFM

METRICS = {"R@20": (recall, 20), "R@50": (recall, 50), "N@100": (ndcg, 100)}
DEPTH = max(k for _, k in METRICS.values())
VERSIONS = ("rfm-recsys", "implicit", "numpy", "numba", "scipy")


def compare(
    data: Interactions, name: str, seed: int = 0, on_start: Callable[[str], None] = lambda model: None
) -> dict[str, Any]:
    """Compare LinRFM at its defaults with implicit's ALS, EASE and popularity by strong generalisation.

    Every interaction is a positive, whatever its rating. A model that fails has an ``error`` in place of its figures
    and costs the others nothing.

    Parameters
    ----------
    data : Interactions
    name : str
        What to call the data in the result.
    seed : int
        Of the split and the models.
    on_start : callable
        Called with each model's name before it is fitted.

    Returns
    -------
    dict of JSON values: data (with a hash), split, models (parameters, metrics, seconds, MiB) and environment
    """
    user_items = data.to_csr()
    user_items.data[:] = 1
    split = strong_generalisation(user_items, seed=seed)
    models: dict[str, Recommender] = {"LinRFM": LinRFM(random_state=seed), **default_baselines(split.train, seed)}
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
            **{package: importlib.metadata.version(package) for package in VERSIONS},
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
    _rank(model, split.train[: min(50, split.train.shape[0])], split.fold_in[:2])
    warm_up, before = time.perf_counter() - begun, _peak_memory()

    begun = time.perf_counter()
    model.fit(split.train, show_progress=False)
    fitted = time.perf_counter()
    ids = _top(model, split.fold_in)
    ended = time.perf_counter()
    return {
        **{metric: mean_over_users(of(ids, split.target, k)) for metric, (of, k) in METRICS.items()},
        "fit_seconds": fitted - begun,
        "recommend_seconds": ended - fitted,
        "peak_memory_mib": _peak_memory(),
        "peak_memory_before_fit_mib": before,
        "warm_up_seconds": warm_up,
    }


def _rank(model: Recommender, train: sp.csr_matrix, fold_in: sp.csr_matrix) -> None:
    if train.nnz:
        model.fit(train, show_progress=False)
        _top(model, fold_in)


def _top(model: Recommender, fold_in: sp.csr_matrix) -> Any:
    ids, _ = model.recommend(np.arange(fold_in.shape[0]), fold_in, N=DEPTH, recalculate_user=True)
    return ids


def _peak_memory() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # Linux counts in KiB


def write_json(result: dict[str, Any], path: Path) -> None:
    """Write a result to ``path``, whole or not at all."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_text(json.dumps(result, indent=2) + "\n")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
