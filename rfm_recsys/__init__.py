"""lin-RFM recommendations: a drop-in for implicit's ALS."""

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rfm_recsys.completion.model import Completion, complete
    from rfm_recsys.ratings import LinRFMRatings
    from rfm_recsys.recommender.model import LinRFM
    from rfm_recsys.regression import LinRFMRegressor as LinRFMRegressor
    from rfm_recsys.tables import TableModel as TableModel

__all__ = ["Completion", "LinRFM", "LinRFMRatings", "__version__", "complete"]
__version__ = "0.1.0"

# A name is imported when it is first used: the help of the command line need not wait for Numba.
_HOMES = {
    "Completion": "rfm_recsys.completion.model",
    "LinRFM": "rfm_recsys.recommender.model",
    "LinRFMRatings": "rfm_recsys.ratings",
    "LinRFMRegressor": "rfm_recsys.regression",
    "TableModel": "rfm_recsys.tables",
    "complete": "rfm_recsys.completion.model",
}
_NEEDS = {"LinRFMRegressor": "sklearn", "TableModel": "pandas"}  # packages of extras


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return globals().setdefault(name, getattr(import_module(_HOMES[name]), name))


def __dir__() -> list[str]:
    """Return the public names that the installed packages allow."""
    return ["__version__", *(name for name in _HOMES if name not in _NEEDS or find_spec(_NEEDS[name]))]
