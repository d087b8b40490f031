"""lin-RFM recommendations: a drop-in for implicit's ALS."""

from rfm_recsys.model import LinRFM
from rfm_recsys.ratings import LinRFMRatings
from rfm_recsys.recovery import Completion, complete

__all__ = ["Completion", "LinRFM", "LinRFMRatings", "__version__", "complete"]
__version__ = "0.1.0"
