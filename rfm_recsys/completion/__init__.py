"""Matrix completion: :func:`complete` and what it returns."""

from rfm_recsys.completion.model import Completion, complete

__all__ = ["Completion", "complete"]
