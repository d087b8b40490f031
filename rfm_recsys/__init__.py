"""lin-RFM recommendations: a drop-in for implicit's ALS."""

from rfm_recsys.completion.model import Completion, complete
from rfm_recsys.ratings import LinRFMRatings
from rfm_recsys.recommender.model import LinRFM

__all__ = ["Completion", "LinRFM", "LinRFMRatings", "__version__", "complete"]
__version__ = "0.1.0"
