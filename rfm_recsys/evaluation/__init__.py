"""Offline ranking evaluation: splits, metrics, baselines, and the comparison behind ``rfm-recsys compare``."""

from rfm_recsys.evaluation.baselines import ALS, EASE, Popularity, Recommender
from rfm_recsys.evaluation.compare import compare
from rfm_recsys.evaluation.metrics import mean_over_users, ndcg, plain_recall, recall
from rfm_recsys.evaluation.splits import StrongSplit, strong_generalisation

__all__ = [
    "ALS",
    "EASE",
    "Popularity",
    "Recommender",
    "StrongSplit",
    "compare",
    "mean_over_users",
    "ndcg",
    "plain_recall",
    "recall",
    "strong_generalisation",
]
