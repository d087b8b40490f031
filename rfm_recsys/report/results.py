"""A comparison's result, with what every part of its page asks of it."""

from typing import Any

from rfm_recsys.report.page import number
from rfm_recsys.report.plots import (
    DASHES,
    MARKERS,
    SERIES,
    Look,
)


class Comparison:
    """A result, with what every part of the page asks of it.

    ``candidate`` is the model listed first and ``opponent`` the best of the others; either is None where it has failed
    or is missing.
    """

    def __init__(self, result: dict[str, Any]) -> None:
        self.result = result
        self.metric: str = result["protocol"]["metric"]
        self.models: list[dict[str, Any]] = result["models"]
        self.measured = [row for row in self.models if "error" not in row]
        self.candidate = next((row for row in self.models[:1] if "error" not in row), None)
        rivals = [row for row in self.measured if row is not self.candidate and self.quality(row) is not None]
        self.rivals = sorted(rivals, key=lambda row: -(self.quality(row) or 0))
        self.opponent = self.rivals[0] if self.rivals else None
        self.tuned = [row for row in self.measured if any(run.get("trials") for run in row["runs"])]
        table = result["protocol"]["table"]
        # the headline's metric first, which a phone shows
        self.shown = [
            *(each for each in table if each == self.metric),
            *(each for each in table if each != self.metric),
        ]
        self.metrics = list(dict.fromkeys(metric for row in self.measured for metric in row["metrics"]))
        self.looks = {
            row["model"]: Look(
                SERIES[place % len(SERIES)],
                MARKERS[place % len(MARKERS)],
                DASHES[(place - 1) % len(DASHES)] if place else "solid",
                place == 0,
            )
            for place, row in enumerate(self.models)
        }

    def quality(self, row: dict[str, Any]) -> float | None:
        """Return a model's mean of the protocol's metric."""
        return estimate(row, self.metric)["mean"]

    def against(self, model: str) -> dict[str, Any] | None:
        """Return the comparison of the candidate with a model, by the protocol's metric."""
        found = (row for row in self.result["comparisons"] if row["against"] == model and row["metric"] == self.metric)
        return next(found, None)


def estimate(row: dict[str, Any], metric: str) -> dict[str, float | None]:
    """Return a model's mean, low and high of a metric; None where the result has none."""
    return {"mean": None, "low": None, "high": None} | (row["metrics"].get(metric) or {})


def interval(found: dict[str, Any], signed: bool = False) -> str:
    """Return the text of an interval."""
    if found["low"] is None or found["high"] is None:
        return ""
    return f"{number(found['low'], signed)} to {number(found['high'], signed)}"
