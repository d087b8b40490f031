"""lin-RFM recommendations: a drop-in for implicit's ALS."""

from rfm_recsys.model import LinRFM

__all__ = ["LinRFM", "__version__"]
__version__ = "0.1.0"
