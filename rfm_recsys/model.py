"""The former place of :class:`rfm_recsys.LinRFM`, which pickles name; for one more release."""

from typing import Any

from rfm_recsys.core.renamed import warn_renamed


def __getattr__(name: str) -> Any:
    if name != "LinRFM":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from rfm_recsys import LinRFM

    warn_renamed("rfm_recsys.model.LinRFM", "rfm_recsys.LinRFM")
    return LinRFM
