"""Loading interactions: tables with ids of any type, MovieLens, LightGCN's text format, and synthetic data."""

from rfm_recsys.core.extras import extra

with extra("tables"):
    from rfm_recsys.datasets.catalogue import load
    from rfm_recsys.datasets.interactions import Interactions, from_frame, read_lightgcn
    from rfm_recsys.datasets.movielens import MOVIELENS, load_movielens
    from rfm_recsys.datasets.reading import read_interactions
    from rfm_recsys.datasets.synthetic import synthetic_low_rank, synthetic_movielens

__all__ = [
    "MOVIELENS",
    "Interactions",
    "from_frame",
    "load",
    "load_movielens",
    "read_interactions",
    "read_lightgcn",
    "synthetic_low_rank",
    "synthetic_movielens",
]
