"""The former place of :func:`rfm_recsys.complete`, which pickles of a completion name; for one more release."""

from typing import Any

from rfm_recsys.core.renamed import warn_renamed


def __getattr__(name: str) -> Any:
    if name not in ("Completion", "complete"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from rfm_recsys.completion import model

    warn_renamed(f"rfm_recsys.recovery.{name}", f"rfm_recsys.{name}")
    return getattr(model, name)
