"""The page of a comparison, drawn from the JSON result alone."""

import os
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

from rfm_recsys.evaluation.comparison import FORMAT, VERSION
from rfm_recsys.evaluation.metrics import CATALOGUE_METRICS, metric_of
from rfm_recsys.report.comparison_plots import by_cutoff, by_group, differences, quality_and_time, tuning
from rfm_recsys.report.page import (
    APOSTROPHE,
    NOTHING,
    Verdict,
    check_format,
    number,
    seconds,
    template,
    whole,
    write_page,
)
from rfm_recsys.report.plots import drawing, legend_key
from rfm_recsys.report.results import Comparison, estimate, interval


def write_report(result: dict[str, Any], path: str | os.PathLike[str]) -> None:
    """Write the page of a result to ``path``, whole or not at all.

    Parameters
    ----------
    result : dict
        What :func:`~rfm_recsys.evaluation.compare` returned.
    path : path

    Raises
    ------
    DataError
        If it is no such result, or of another version of the format.
    OSError
        The file cannot be written; one that was there stays as it is.

    Examples
    --------
    >>> from rfm_recsys.datasets import synthetic_movielens
    >>> from rfm_recsys.evaluation import CANDIDATES, compare, read_protocol
    >>> models = [CANDIDATES["EASE"], CANDIDATES["Popularity"]]
    >>> result = compare(read_protocol("strong"), synthetic_movielens(200, 80, 4000), models)
    >>> import os, tempfile
    >>> from rfm_recsys.report.comparison import render_report, write_report
    >>> write_report(result, os.path.join(tempfile.mkdtemp(), "report.html"))
    >>> "</html>" in render_report(result)
    True
    """
    write_page(render_report(result), path)


def render_report(result: dict[str, Any]) -> str:
    """Return the page of a result of :func:`~rfm_recsys.evaluation.compare`; the same result gives the same page.

    Parameters
    ----------
    result : dict

    Returns
    -------
    str, an HTML page

    Raises
    ------
    DataError
        If it is no such result, or of another version of the format.

    Examples
    --------
    See :func:`write_report`.

    >>> from rfm_recsys.report.comparison import render_report
    """
    check_format(result, FORMAT, VERSION, "rfm-recsys compare")
    comparison = Comparison(result)
    with drawing():
        figures = {
            "keys": {
                model: legend_key(look, f"key-{place}") for place, (model, look) in enumerate(comparison.looks.items())
            },
            "time": quality_and_time(comparison),
            "differences": differences(comparison),
            "cutoffs": [by_cutoff(comparison, family) for family in ("recall", "ndcg")],
            "groups": [by_group(comparison, kind) for kind in ("activity", "popularity")],
            "tuning": [tuning(comparison, row, place) for place, row in enumerate(comparison.tuned)],
        }
    return template("comparison.html.jinja").render(
        result,
        candidate=comparison.candidate,
        opponent=comparison.opponent,
        verdict=verdict(comparison),
        summary=_summary(comparison),
        headings=_headings(comparison),
        rows=_rows(comparison),
        runs={row["model"]: _runs(row) for row in comparison.measured},
        definitions=_definitions(comparison),
        beyond=_beyond(comparison),
        all_metrics=comparison.metrics,
        measured=comparison.measured,
        figures=figures,
    )


def verdict(comparison: Comparison) -> Verdict:
    """Say what the comparison shows, and no more, and whether its data are generated."""
    found = _verdict(comparison)
    if not comparison.result["data"].get("generated"):
        return found
    return replace(found, evidence=f"{found.evidence} The data are generated: a demonstration, and no evidence.")


def _verdict(comparison: Comparison) -> Verdict:
    """Say what the comparison shows: without an interval that excludes zero there is no difference."""
    candidate, opponent, metric = comparison.candidate, comparison.opponent, comparison.metric
    if candidate is None:
        first = comparison.models[0]
        return Verdict(f"{first['model']} could not be compared", f"{first['error'].rstrip('.')}.")
    name, quality = candidate["model"], comparison.quality(candidate)
    if opponent is None or quality is None:
        return Verdict(f"{name} had no other model to be compared with", f"{metric} {number(quality)}.")
    count = len(comparison.rivals)
    other = f"{opponent['model']}, the {f'best of {count} baselines' if count > 1 else 'only baseline'}"
    figures = f"{metric} {number(quality)} against {number(comparison.quality(opponent))}"
    found = comparison.against(opponent["model"])
    if found is None or found["low"] is None or found["high"] is None:
        return Verdict(f"{name} is not shown to differ from {other}", f"{figures}, without an interval.")
    evidence = f"{figures}, difference {number(found['difference'], signed=True)} ({_interval_and_p(found)})."
    if found["low"] > 0:
        return Verdict(f"{name} ranks better than {other}", evidence)
    if found["high"] < 0:
        return Verdict(f"{name} ranks worse than {other}", evidence)
    return Verdict(f"No clear difference between {name} and {other}", evidence)


def _interval_and_p(found: dict[str, Any]) -> str:
    text, p = f"95% interval {interval(found, signed=True)}", found.get("p_value")
    if p is None:
        return text
    return f"{text}, p < .0001" if p < 0.0001 else f"{text}, p = {p:.2g}".replace(" 0.", " .")


@dataclass(frozen=True)
class Cell:
    """A value, what stands below it, and whether it is the best of its column."""

    text: str
    below: str = ""
    best: bool = False


def _headings(comparison: Comparison) -> list[tuple[str, str]]:
    lead = [("lead", f"in {comparison.metric}")] if comparison.candidate is not None and comparison.rivals else []
    return [
        *((metric, {"low": "↓", "high": "↑", "": ""}[better_end(metric)]) for metric in comparison.shown),
        *lead,
        ("training", "s ↓"),
        ("ranking", "s ↓"),
        ("peak memory", "MiB ↓"),
    ]


def _rows(comparison: Comparison) -> list[tuple[dict[str, Any], list[Cell]]]:
    """Return every model with its cells; one that failed has none."""
    measured = comparison.measured
    columns = [
        _column(
            [number(estimate(row, metric)["mean"]) for row in measured],
            [estimate(row, metric)["mean"] for row in measured],
            better_end(metric),
            [interval(estimate(row, metric)) for row in measured],
        )
        for metric in comparison.shown
    ]
    if comparison.candidate is not None and comparison.rivals:
        columns.append([_lead(comparison, row) for row in measured])
    for key, form in (("fit_seconds", seconds), ("recommend_seconds", seconds), ("peak_memory_mib", whole)):
        values = [row.get(key) for row in measured]
        columns.append(_column([form(value) for value in values], values, "low", [""] * len(values)))
    cells = {id(row): list(found) for row, found in zip(measured, zip(*columns, strict=True), strict=True)}
    return [(row, cells.get(id(row), [])) for row in comparison.models]


def _column(texts: list[str], values: list[float | None], best: str, below: list[str]) -> list[Cell]:
    """Mark the best value, and all that are printed alike; of one alone there is no best."""
    known = [(value, text) for value, text in zip(values, texts, strict=True) if value is not None]
    winner = (min if best == "low" else max)(known)[1] if best and len(known) > 1 else None
    return [Cell(text, under, text == winner) for text, under in zip(texts, below, strict=True)]


def _beyond(comparison: Comparison) -> tuple[list[tuple[str, str, str]], list[tuple[str, list[Cell]]]]:
    """Return what is measured of all lists together: name, arrow and definition of each metric, and each model's cells.

    At the cut-off that models are judged by; empty where the result has none of it.
    """
    cutoff = comparison.metric.partition("@")[2]
    names = [name for name in CATALOGUE_METRICS if f"{name}@{cutoff}" in comparison.metrics]
    columns, headings = [], []
    for name in names:
        metric, values = f"{name}@{cutoff}", [estimate(row, f"{name}@{cutoff}")["mean"] for row in comparison.measured]
        columns.append(_column([number(value) for value in values], values, better_end(metric), [""] * len(values)))
        known = metric_of(metric)
        headings.append(
            (metric, {"low": "↓", "high": "↑", "": ""}[better_end(metric)], known.definition if known else "")
        )
    cells = zip(*columns, strict=True) if columns else ()
    return headings, [(row["model"], list(each)) for row, each in zip(comparison.measured, cells, strict=False)]


def _lead(comparison: Comparison, row: dict[str, Any]) -> Cell:
    found = comparison.against(row["model"])
    if row is comparison.candidate or found is None:
        return Cell(NOTHING)
    return Cell(number(found["difference"], signed=True), interval(found, signed=True))


def _runs(row: dict[str, Any]) -> list[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """Return the runs that follow each other with the same parameters, together."""
    return [(parameters, list(runs)) for parameters, runs in groupby(row["runs"], lambda run: run["parameters"])]


def better_end(metric: str) -> str:
    """Return which end of a metric is the better one, "" for neither."""
    known = metric_of(metric)
    return "high" if known is None else known.better or ""


def _definitions(comparison: Comparison) -> dict[str, str]:
    protocol = comparison.result["protocol"]
    families = {metric.partition("@")[0]: None for metric in [*protocol["table"], comparison.metric]}
    drawn = {"recall": None, "ndcg": None} if protocol["cutoffs"] else {}
    known = {family: metric_of(family) for family in families | drawn}
    return {family: metric.definition if metric else "Not defined on this page." for family, metric in known.items()}


def _summary(comparison: Comparison) -> list[tuple[str, str, str]]:
    """Return what a decision also rests on: the candidate's costs, and beside them its opponent's."""
    candidate, opponent = comparison.candidate, comparison.opponent
    if candidate is None:
        return []
    lines = []
    for heading, key, form, unit in (
        ("Training", "fit_seconds", seconds, "s"),
        ("Ranking", "recommend_seconds", seconds, "s"),
        ("Peak memory", "peak_memory_mib", whole, "MiB"),
    ):
        ours, theirs = candidate.get(key), opponent.get(key) if opponent else None
        beside = ""
        if opponent and ours is not None and theirs:
            beside = f"{_times(ours / theirs)} {opponent['model']}{APOSTROPHE}s {form(theirs)} {unit}"
        lines.append((heading, f"{form(ours)} {unit}", beside))
    return lines


def _times(ratio: float) -> str:
    if 0.95 <= ratio < 1.05:
        return "about"
    return f"{ratio:.1f} times" if ratio > 1 else f"{ratio:.0%} of"
