"""A result as ``rfm-recsys compare`` writes it, made up, for the tests of the report."""

from typing import Any

import numpy as np

CUTOFFS = [5, 10, 20, 50, 100]
LEVELS: dict[str, tuple[float, float, float, dict[str, Any]]] = {  # model: ndcg@100, seconds to fit, MiB, parameters
    "LinRFM": (0.4901, 2.1, 312.0, {"factors": 256, "regularization": 3.2, "rounds": 4, "power": 0.5}),
    "ALS": (0.4803, 5.34, 338.0, {"factors": 64, "regularization": 10.0, "alpha": 5.0, "iterations": 15}),
    "EASE": (0.4893, 11.8, 742.0, {"regularization": 1000.0}),
    "Item-kNN cosine": (0.4317, 0.42, 395.0, {"neighbours": 120}),
    "Item-kNN BM25": (0.4461, 0.47, 402.0, {"neighbours": 90, "K1": 1.2, "B": 0.62}),
    "Popularity": (0.1947, 0.004, 181.0, {}),
}


def sample(
    names: list[str] | None = None, seeds: int = 3, trials: int = 30, failing: bool = True, cutoffs: list[int] = CUTOFFS
) -> dict[str, Any]:
    """Return a result of the models named (known or new), each with so many seeds and trials."""
    rng = np.random.default_rng(0)
    models = [_model(name, seeds, trials, cutoffs, rng) for name in names or list(LEVELS)]
    first = models[0]
    comparisons = [_comparison(first, row) for row in models[1:]]
    if failing:
        reason = "cannot rank users that it was not fitted to"
        models.append({"model": "BPR", "how": "defaults", "error": reason, "runs": []})
    return {
        "format": "rfm_recsys comparison",
        "version": 1,
        "created": "2026-11-24T12:00:00+00:00",
        "data": {
            "name": "ml-1m",
            "users": 6040,
            "items": 3706,
            "interactions": 1000209,
            "sha256": "0123456789abcdef" * 4,
        },
        "protocol": {
            "name": "ml-1m-strong",
            "title": "MovieLens 1M, strong generalisation",
            "split": "strong_generalisation",
            "metric": "ndcg@100",
            "table": ["capped_recall@20", "capped_recall@50", "ndcg@100"],
            "cutoffs": cutoffs,
            "seeds": list(range(seeds)),
            "test_users": 600,
            "validation_users": 600,
        },
        "tuning": {"metric": "ndcg@100", "trials": trials, "seconds": None, "users": "validation users"}
        if trials
        else None,
        "models": models,
        "comparisons": comparisons,
        "environment": {
            "python": "3.11.7",
            "rfm-recsys": "0.1.0",
            "implicit": "0.7.3",
            "numpy": "2.4.6",
            "machine": "Linux x86_64",
            "cpus": 2,
        },
    }


def _model(name: str, seeds: int, trials: int, cutoffs: list[int], rng: np.random.Generator) -> dict[str, Any]:
    level, fit, memory, parameters = LEVELS.get(name, (0.4 + 0.05 * rng.random(), 10 * rng.random(), 350.0, {"k": 1}))
    metrics = {f"ndcg@{k}": _estimate(level * (0.78 + 0.22 * (k / 100) ** 0.5)) for k in cutoffs}
    metrics |= {f"recall@{k}": _estimate(level * 1.25 * (k / 100) ** 0.62) for k in cutoffs}
    metrics |= {f"capped_recall@{k}": _estimate(level * (0.78 + 0.0017 * k)) for k in (20, 50)}
    metrics |= {"ndcg@100": _estimate(level), "coverage@20": {"mean": 0.31 * level, "low": None, "high": None}}
    counted = trials if parameters else 0
    runs = [
        {
            "seed": seed,
            "parameters": parameters,
            "metrics": {metric: found["mean"] + 0.002 * (seed - 1) for metric, found in metrics.items()},
            "fit_seconds": fit * (0.95 + 0.05 * seed),
            "recommend_seconds": 0.3,
            "peak_memory_mib": memory,
            "memory_before_fit_mib": 150.0,
            "trials": _trials(counted, level, parameters, fit, rng),
        }
        for seed in range(seeds)
    ]
    return {
        "model": name,
        "how": f"tuned: best of {counted} trials on the validation users" if counted else "defaults",
        "runs": runs,
        "metrics": metrics,
        "fit_seconds": fit,
        "recommend_seconds": 0.25 + 0.02 * len(name),
        "peak_memory_mib": memory,
        "groups": {
            "activity": [
                {"label": f"{low}-{high} items", "count": 150, "value": round(level * weight, 4)}
                for low, high, weight in ((1, 24, 0.83), (25, 61, 0.98), (62, 140, 1.07), (141, 1800, 1.12))
            ],
            "popularity": [
                {"label": label, "count": count, "value": round(level * weight, 4)}
                for label, count, weight in (
                    ("0-39 users", 812, 0.21),
                    ("40-310 users", 4120, 0.74),
                    ("311-3428 users", 9733, 1.02),
                )
            ],
        },
    }


def _estimate(mean: float) -> dict[str, Any]:
    return {"mean": round(mean, 6), "low": round(mean - 0.0088, 6), "high": round(mean + 0.0087, 6)}


def _trials(
    count: int, level: float, parameters: dict[str, Any], fit: float, rng: np.random.Generator
) -> list[dict[str, Any]]:
    values = level - 0.08 * rng.exponential(size=count) / (1 + 0.15 * np.arange(count))
    values[4:5] = 0.11
    trials: list[dict[str, Any]] = [
        {"number": number, "parameters": parameters, "value": round(float(value), 6), "seconds": fit, "error": None}
        for number, value in enumerate(values)
    ]
    if count > 8:
        trials[8] |= {"value": None, "error": "not enough memory"}
    return trials


def _comparison(first: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    difference = first["metrics"]["ndcg@100"]["mean"] - other["metrics"]["ndcg@100"]["mean"]
    return {
        "model": first["model"],
        "against": other["model"],
        "metric": "ndcg@100",
        "difference": difference,
        "low": difference - 0.0037,
        "high": difference + 0.0038,
        "p_value": 0.62 if abs(difference) < 0.0037 else 0.0002,
    }
