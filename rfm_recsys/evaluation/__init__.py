"""Offline ranking evaluation: splits, metrics, error bars, baselines, fair tuning, and the comparison.

Its page is :mod:`rfm_recsys.report.comparison`.
"""

from rfm_recsys.core.extras import extra

with extra("evaluation"):
    from rfm_recsys.evaluation.baselines import (
        ALS,
        BPR,
        EASE,
        BM25ItemKNN,
        ContentKNN,
        CosineItemKNN,
        Popularity,
        Recommender,
        RegressedALS,
    )
    from rfm_recsys.evaluation.candidates import CANDIDATES, Candidate
    from rfm_recsys.evaluation.comparison import compare, write_json
    from rfm_recsys.evaluation.metrics import (
        catalogue_metrics,
        evaluate,
        mae,
        mean_over_users,
        rank,
        rmse,
        user_metrics,
    )
    from rfm_recsys.evaluation.protocol import Protocol, read_protocol
    from rfm_recsys.evaluation.significance import Difference, interval, paired_difference
    from rfm_recsys.evaluation.splits import (
        Fold,
        Split,
        cold_items,
        cold_users,
        given_split,
        k_core,
        leave_k_out,
        leave_last_out,
        random_fraction,
        strong_generalisation,
        time_split,
    )
    from rfm_recsys.evaluation.tuning import Budget, Trial, best, parse_budget, tune

__all__ = [
    "ALS",
    "BPR",
    "CANDIDATES",
    "EASE",
    "BM25ItemKNN",
    "Budget",
    "Candidate",
    "ContentKNN",
    "CosineItemKNN",
    "Difference",
    "Fold",
    "Popularity",
    "Protocol",
    "Recommender",
    "RegressedALS",
    "Split",
    "Trial",
    "best",
    "catalogue_metrics",
    "cold_items",
    "cold_users",
    "compare",
    "evaluate",
    "given_split",
    "interval",
    "k_core",
    "leave_k_out",
    "leave_last_out",
    "mae",
    "mean_over_users",
    "paired_difference",
    "parse_budget",
    "random_fraction",
    "rank",
    "read_protocol",
    "rmse",
    "strong_generalisation",
    "time_split",
    "tune",
    "user_metrics",
    "write_json",
]
