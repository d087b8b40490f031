"""lin-RFM recommendations: a drop-in for implicit's ALS."""

from rfm_recsys.model import LinRFM
from rfm_recsys.ratings import LinRFMRatings

__all__ = ["LinRFM", "LinRFMRatings", "__version__"]
__version__ = "0.1.0"
