"""Loading interactions: tables with ids of any type, MovieLens, LightGCN's text format, and synthetic data."""

from typing import TYPE_CHECKING, Any

from rfm_recsys.core.extras import extra

if TYPE_CHECKING:
    from rfm_recsys.datasets.encoding import FeatureEncoder as FeatureEncoder

with extra("tables"):
    from rfm_recsys.datasets.catalogue import load
    from rfm_recsys.datasets.films import example_films
    from rfm_recsys.datasets.interactions import Interactions, from_frame, read_lightgcn
    from rfm_recsys.datasets.movielens import MOVIELENS, load_movielens
    from rfm_recsys.datasets.reading import read_interactions
    from rfm_recsys.datasets.synthetic import synthetic_low_rank, synthetic_movielens


def __getattr__(name: str) -> Any:
    """Import the encoder when it is first used: it needs scikit-learn."""
    if name != "FeatureEncoder":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from rfm_recsys.datasets.encoding import FeatureEncoder

    return FeatureEncoder


__all__ = [
    "MOVIELENS",
    "FeatureEncoder",
    "Interactions",
    "example_films",
    "from_frame",
    "load",
    "load_movielens",
    "read_interactions",
    "read_lightgcn",
    "synthetic_low_rank",
    "synthetic_movielens",
]
