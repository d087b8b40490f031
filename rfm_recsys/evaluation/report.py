"""The former place of :mod:`rfm_recsys.report.comparison`, for one more release."""

from importlib import import_module
from typing import Any

from rfm_recsys.core.renamed import warn_renamed


def __getattr__(name: str) -> Any:
    warn_renamed("rfm_recsys.evaluation.report", "rfm_recsys.report.comparison")
    return getattr(import_module("rfm_recsys.report.comparison"), name)
