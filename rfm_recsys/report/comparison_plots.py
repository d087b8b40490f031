"""The figures on the page of a comparison."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator
from matplotlib.transforms import Bbox

from rfm_recsys.report.page import NOTHING, number, seconds
from rfm_recsys.report.plots import (
    INK,
    LINE,
    MUTED,
    STEPS,
    WIDTH,
    canvas,
    log_ticks,
    name_ends,
    short,
    svg,
    text_width,
    tick,
    write_name,
)
from rfm_recsys.report.results import Comparison, estimate, interval


def quality_and_time(comparison: Comparison) -> Markup | None:
    """Draw the quality of each model against its fit time; None where none has both."""
    rows = [row for row in comparison.measured if comparison.quality(row) is not None and row.get("fit_seconds")]
    if not rows:
        return None
    figure, axes = canvas(3.5, left=0.62, right=0.15, bottom=0.55, top=0.15)
    times = [max(float(row["fit_seconds"]), 1e-3) for row in rows]
    qualities = [comparison.quality(row) or 0.0 for row in rows]
    lowest = max(qualities) - _reach([max(qualities) - quality for quality in qualities])
    near = [
        _span(estimate(row, comparison.metric))
        for row, quality in zip(rows, qualities, strict=True)
        if quality >= lowest
    ]
    foot, top = min(low for low, _ in near), max(high for _, high in near)
    foot, top = foot - 0.15 * (top - foot) - 0.002, top + 0.1 * (top - foot) + 0.002
    axes.set_xscale("log")
    axes.set_xlim(min(times) / 2, max(times) * 2.5)
    axes.set_ylim(foot, top)
    points = []
    for time, quality, row in zip(times, qualities, rows, strict=True):
        look, found = comparison.looks[row["model"]], estimate(row, comparison.metric)
        if quality >= lowest:
            axes.errorbar(time, quality, yerr=_error(found), capsize=2.5, elinewidth=1.1, **look.line())
            points.append(Point(row["model"], time, quality, *_span(found)))
        else:
            axes.plot(time, foot, color=look.colour, marker="v", markersize=7, clip_on=False, zorder=3)
            points.append(Point(row["model"], time, foot, foot, foot, f" {number(quality)}"))
    front = [(time, max(quality, foot)) for time, quality in _pareto_front(times, qualities)]
    steps = [*front, (axes.get_xlim()[1], front[-1][1])]
    axes.plot(*zip(*steps, strict=True), drawstyle="steps-post", color=MUTED, linewidth=0.9, linestyle=(0, (2, 2)))
    axes.set_xlabel("training time, seconds")
    axes.xaxis.set_major_locator(FixedLocator(log_ticks(*axes.get_xlim())))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    _metric_axis(axes, comparison.metric)
    _name_points(axes, points, steps, comparison)
    listed = "; ".join(
        f"{row['model']} {number(comparison.quality(row))} after {seconds(row['fit_seconds'])} s" for row in rows
    )
    return svg(figure, "time", f"{comparison.metric} against training time", listed)


def _pareto_front(times: Sequence[float], qualities: Sequence[float]) -> list[tuple[float, float]]:
    """Return the points that no other beats in both, the fastest first."""
    front: list[tuple[float, float]] = []
    for time, quality in sorted(zip(times, qualities, strict=True), key=lambda point: (point[0], -point[1])):
        if not front or quality > front[-1][1]:
            front.append((time, quality))
    return front


def differences(comparison: Comparison) -> Markup | None:
    """Draw how far the candidate is ahead of each other model, with intervals; None where there is none."""
    entries = [
        entry
        for row in comparison.rivals
        if comparison.candidate is not None and (entry := comparison.against(row["model"])) is not None
    ]
    if not entries:
        return None
    figure, axes = canvas(0.95 + 0.36 * len(entries), left=1.3, right=0.75, bottom=0.6, top=0.15)
    reach = _reach([entry["difference"] for entry in entries])
    ends = [
        end
        for entry in entries
        if abs(entry["difference"]) <= reach
        for end in _span(entry | {"mean": entry["difference"]})
    ]
    pad = 0.08 * (max([0.0, *ends]) - min([0.0, *ends])) + 0.002
    left, right = min([0.0, *ends]) - pad, max([0.0, *ends]) + pad
    for place, entry in enumerate(entries):
        look, difference = comparison.looks[entry["against"]], entry["difference"]
        if left <= difference <= right:
            axes.plot(_span(entry | {"mean": difference}), [place, place], color=look.colour, linewidth=1.6)
            axes.plot(difference, place, **look.line())
        else:
            edge, arrow = (right, ">") if difference > 0 else (left, "<")
            axes.plot(edge, place, color=look.colour, marker=arrow, markersize=7, clip_on=False)
        axes.annotate(
            number(difference, signed=True),
            (1, place), (8, 0),
            xycoords=axes.get_yaxis_transform(), textcoords="offset points", va="center",
        )  # fmt: skip
    axes.axvline(0, color=MUTED, linewidth=0.9)
    axes.set_xlim(left, right)
    axes.set_ylim(len(entries) - 0.4, -0.6)
    axes.set_yticks(range(len(entries)), [short(entry["against"]) for entry in entries], color=INK)
    axes.tick_params(axis="y", length=0, pad=8)
    axes.spines["left"].set_visible(False)
    axes.xaxis.set_major_locator(MaxNLocator(6, steps=STEPS))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: tick(value, signed=True)))
    axes.grid(axis="x")
    axes.set_xlabel(f"difference in {comparison.metric}")
    name = entries[0]["model"]
    listed = "; ".join(
        f"{entry['against']} {number(entry['difference'], signed=True)} {interval(entry, True)}" for entry in entries
    )
    return svg(figure, "differences", f"{comparison.metric} of {name} minus that of each other model", listed)


def _reach(distances: list[float]) -> float:
    """Return how far an axis has to reach: to the models that are near, lest one far away flattens the rest."""
    sizes = [abs(distance) for distance in distances if distance]
    limit = 3 * float(np.median(sizes)) if sizes else 0.0
    return max((size for size in sizes if size <= limit), default=0.0)


def by_cutoff(comparison: Comparison, family: str) -> Markup | None:
    """Draw a metric of each model against the cut-off; None where there is only one cut-off."""
    cutoffs = comparison.result["protocol"]["cutoffs"]
    curves = []
    for row in comparison.measured:
        means = [(place, estimate(row, f"{family}@{k}")["mean"]) for place, k in enumerate(cutoffs)]
        points = [(place, mean) for place, mean in means if mean is not None]
        if points:
            curves.append((row["model"], points))
    if not curves:
        return None
    names = max(text_width(short(model), _weight(comparison, model)) for model, _ in curves)
    figure, axes = canvas(3.2, left=0.55, right=names / 72 + 0.2, bottom=0.55, top=0.15)
    for model, points in curves:
        axes.plot(*zip(*points, strict=True), **comparison.looks[model].line())
    axes.set_xlim(-0.25, len(cutoffs) - 0.75)
    axes.margins(y=0.08)
    axes.set_xticks(range(len(cutoffs)), [str(k) for k in cutoffs])
    axes.set_xlabel("cut-off k")
    _metric_axis(axes, f"{family}@k")
    name_ends(axes, [(short(model), *points[-1], _weight(comparison, model)) for model, points in curves])
    listed = "; ".join(
        f"{model} {', '.join(f'{number(mean)} at {cutoffs[place]}' for place, mean in points)}"
        for model, points in curves
    )
    return svg(figure, f"cutoff-{family}", f"{family} of each model by cut-off", listed)


def by_group(comparison: Comparison, kind: str) -> Markup | None:
    """Draw the candidate and its opponent in each group, and print the gain; both bars start from zero."""
    candidate, opponent = comparison.candidate, comparison.opponent
    groups = (candidate or {}).get("groups", {}).get(kind) or []
    if candidate is None or opponent is None or not groups:
        return None
    theirs = {group["label"]: group["value"] for group in (opponent.get("groups") or {}).get(kind) or []}
    figure, axes = canvas(0.85 + 0.58 * len(groups), left=1.4, right=0.7, bottom=0.55, top=0.3)
    listed = []
    for place, group in enumerate(groups):
        own, other = group["value"], theirs.get(group["label"])
        for shift, row, value in ((-0.19, candidate, own), (0.19, opponent, other)):
            look = comparison.looks[row["model"]]
            axes.barh(
                place + shift, value or 0, 0.34,
                facecolor=look.colour if look.prominent else "none",
                edgecolor=look.colour,
                hatch=None if look.prominent else "////",
            )  # fmt: skip
        gain = number(own - other, signed=True) if own is not None and other is not None else NOTHING
        axes.annotate(
            gain, (1, place), (36, 0),
            xycoords=axes.get_yaxis_transform(), textcoords="offset points", ha="right", va="center",
        )  # fmt: skip
        listed.append(f"{group['label']}: {number(own)} and {number(other)}, gain {gain}")
    axes.annotate(
        "gain", (1, 1), (36, 5), xycoords="axes fraction", textcoords="offset points", ha="right", color=MUTED,
    )  # fmt: skip
    axes.set_xlim(left=0)
    axes.set_ylim(len(groups) - 0.45, -0.5)
    counted = "{:,} users" if kind == "activity" else "{:,} held out"
    labels = [f"{short(group['label'], 22)}\n{counted.format(group['count'])}" for group in groups]
    axes.set_yticks(range(len(groups)), labels, color=INK)
    axes.tick_params(axis="y", length=0)
    axes.xaxis.set_major_locator(MaxNLocator(4, steps=STEPS))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: tick(value)))
    axes.grid(axis="x")
    axes.set_xlabel(comparison.metric if kind == "activity" else "recall")
    title = f"{candidate['model']} and {opponent['model']} by {kind} of the {'user' if kind == 'activity' else 'item'}"
    return svg(figure, f"group-{kind}", title, "; ".join(listed))


def tuning(comparison: Comparison, row: dict[str, Any], place: int) -> Markup:
    """Draw each trial and the best so far; what lies far below the others is drawn at the foot."""
    figure, axes = canvas(1.75, left=0.48, right=0.08, bottom=0.42, top=0.28, width=WIDTH / 2)
    look = comparison.looks[row["model"]]
    runs = [run["trials"] for run in row["runs"] if run.get("trials")]
    values = [trial["value"] for trials in runs for trial in trials if trial["value"] is not None]
    top = max(values, default=1.0)
    quarter, half = np.percentile(values, [25, 50]) if values else (0.0, 0.0)
    floor = max(min(values, default=0.0), quarter - 3 * (half - quarter) - 0.1 * (top - quarter))
    foot = floor - 0.06 * max(top - floor, 1e-3)
    for trials in runs:
        best = np.fmax.accumulate([math.nan if trial["value"] is None else trial["value"] for trial in trials])
        numbers = [trial["number"] for trial in trials]
        axes.plot(numbers, np.maximum(best, foot), color=look.colour, linewidth=1.3, drawstyle="steps-post")
        for marker, size, chosen in (
            ("o", 2.8, [t for t in trials if t["value"] is not None and t["value"] >= floor]),
            ("v", 4, [t for t in trials if t["value"] is not None and t["value"] < floor]),
            ("x", 4.5, [t for t in trials if t["value"] is None]),
        ):
            heights = [foot if marker != "o" else trial["value"] for trial in chosen]
            axes.plot(
                [trial["number"] for trial in chosen], heights, linestyle="none", marker=marker, markersize=size,
                markerfacecolor="none", markeredgecolor=INK if marker == "x" else look.colour, markeredgewidth=0.9,
                clip_on=False,
            )  # fmt: skip
    axes.set_ylim(foot, top + 0.08 * max(top - foot, 1e-3))
    axes.set_title(short(row["model"]), loc="left", fontsize=10, fontweight=_weight(comparison, row["model"]))
    axes.set_xlabel("trial", labelpad=1)
    axes.xaxis.set_major_locator(MaxNLocator(4, steps=STEPS, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(4, steps=STEPS))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: tick(value)))
    axes.grid(axis="y")
    count = sum(len(trials) for trials in runs)
    return svg(figure, f"tuning-{place}", f"Tuning of {row['model']}", f"{count} trials, the best {number(top)}")


def _metric_axis(axes: Axes, label: str) -> None:
    axes.set_ylabel(label)
    axes.yaxis.set_major_locator(MaxNLocator(5, steps=STEPS))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: tick(value)))
    axes.grid(axis="y")


def _span(found: dict[str, Any]) -> tuple[float, float]:
    mean = found["mean"]
    return mean if found["low"] is None else found["low"], mean if found["high"] is None else found["high"]


def _error(found: dict[str, Any]) -> list[list[float]]:
    low, high = _span(found)
    return [[max(found["mean"] - low, 0.0)], [max(high - found["mean"], 0.0)]]


@dataclass(frozen=True)
class Point:
    """A model's place in a figure, its error bar, and what stands behind its name."""

    name: str
    x: float
    y: float
    low: float
    high: float
    remark: str = ""


def _name_points(axes: Axes, points: list[Point], front: list[tuple[float, float]], comparison: Comparison) -> None:
    """Write each name beside its point, at the nearest place that covers no other name, point, error bar or line."""
    taken = [Bbox.from_extents(axes.bbox.x0, 0, axes.bbox.x1, axes.bbox.y0 + 1)]
    for point in points:
        at = axes.transData.transform([(point.x, point.low), (point.x, point.y), (point.x, point.high)])
        (x, low), (_, y), (_, high) = at
        taken += [Bbox.from_extents(x - 4, low, x + 4, high), Bbox.from_extents(x - 6, y - 6, x + 6, y + 6)]
    for (left, low), (right, high) in pairwise(axes.transData.transform(front)):
        taken += [Bbox.from_extents(left, low, right, low), Bbox.from_extents(right, low, right, high)]
    for point in sorted(points, key=lambda point: -point.y):
        weight, text = _weight(comparison, point.name), short(point.name) + point.remark
        width = text_width(text, weight)
        x, y = axes.transData.transform((point.x, point.y))
        places: list[tuple[int, int, float, int, Bbox]] = []
        for step in range(28):
            shift = (-1) ** step * (step + 1) // 2 * 0.5 * LINE
            for away in (10, -10, 34, -34):
                left = x + away if away > 0 else x + away - width
                box = Bbox.from_bounds(left, y + shift - 0.45 * LINE, width, 0.9 * LINE)
                outside = box.x0 < axes.bbox.x0 or box.x1 > axes.bbox.x1 + 9 or box.y1 > axes.bbox.y1 + LINE
                places.append((sum(map(box.overlaps, taken)) + 3 * outside, len(places), shift, away, box))
        _, _, shift, away, box = min(places)
        taken.append(box)
        write_name(axes, text, (point.x, point.y), (away, shift), weight)


def _weight(comparison: Comparison, model: str) -> str:
    return "bold" if comparison.looks[model].prominent else "normal"
