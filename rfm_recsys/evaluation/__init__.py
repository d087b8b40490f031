"""Offline comparison of recommenders: splits, metrics, baselines, and ``compare`` over them."""

from rfm_recsys.evaluation.baselines import ALS, EASE, Popularity, Recommender, default_baselines
from rfm_recsys.evaluation.metrics import mean_over_users, ndcg, plain_recall, recall
from rfm_recsys.evaluation.splits import StrongSplit, strong_generalisation

__all__ = [
    "ALS",
    "EASE",
    "Popularity",
    "Recommender",
    "StrongSplit",
    "default_baselines",
    "mean_over_users",
    "ndcg",
    "plain_recall",
    "recall",
    "strong_generalisation",
]
