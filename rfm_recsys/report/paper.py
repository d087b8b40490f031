"""The page of the paper's experiments, drawn from the JSON result alone."""

import math
import os
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter, NullLocator

from rfm_recsys.paper import matrices, vectors
from rfm_recsys.paper.experiments import AGREEMENT, FORMAT, VERSION, claims
from rfm_recsys.report.page import MINUS, check_format, template, write_page
from rfm_recsys.report.plots import (
    DASHES,
    MARKERS,
    MUTED,
    SERIES,
    Look,
    canvas,
    drawing,
    legend_key,
    log_ticks,
    svg,
    tick,
)


def write_report(result: dict[str, Any], path: str | os.PathLike[str]) -> None:
    """Write the page of a result to ``path``, whole or not at all."""
    write_page(render_report(result), path)


def render_report(result: dict[str, Any]) -> str:
    """Return the page of a result of :func:`run`; the same result gives the same page.

    Raises
    ------
    DataError
        If it is no such result, or of another version of the format.
    """
    check_format(result, FORMAT, VERSION, "rfm-recsys paper")
    experiments = result["experiments"]
    good = {name: found for name, found in experiments.items() if "error" not in found}
    with drawing():
        figures = {name: FIGURES[name](found) for name, found in good.items() if name in FIGURES}
    return template("paper.html.jinja").render(
        result,
        claims=claims(result),
        figures=figures,
        good=good,
        failed={name: found["error"] for name, found in experiments.items() if "error" in found},
        success=matrices.SUCCESS,
        share=vectors.ENOUGH,
        vector_success=vectors.SUCCESS,
    )


def _looks(names: Sequence[str], prominent: str) -> dict[str, Look]:
    """Return how each method is drawn."""
    return {
        name: Look(
            SERIES[place % len(SERIES)],
            MARKERS[place % len(MARKERS)],
            "solid" if name == prominent else DASHES[place % len(DASHES)],
            name == prominent,
        )
        for place, name in enumerate(names)
    }


def _figure(
    name: str,
    title: str,
    text: str,
    curves: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    prominent: str,
    decorate: Callable[[Axes], None],
    left: float = 0.62,
) -> dict[str, Any]:
    """Draw curves of the given x and y; return the figure, its title and text, and a key for each curve."""
    looks = _looks([*curves], prominent)
    figure, axes = canvas(3.0, left=left, right=0.15, bottom=0.55, top=0.15)
    for curve, points in curves.items():
        axes.plot(*points, clip_on=False, **looks[curve].line())
    decorate(axes)
    listed = "; ".join(
        f"{curve} {', '.join(f'{y:.3g} at {x:g}' for x, y in zip(*points, strict=True))}"
        for curve, points in curves.items()
    )
    keys = [(legend_key(look, f"{name}-key-{place}"), curve) for place, (curve, look) in enumerate(looks.items())]
    return {"svg": svg(figure, name, title, listed), "title": title, "text": text, "keys": keys}


def _log(axis: str, axes: Axes) -> None:
    """Make an axis logarithmic, with plain labels."""
    getattr(axes, f"set_{axis}scale")("log")
    low, high = getattr(axes, f"get_{axis}lim")()
    one = getattr(axes, f"{axis}axis")
    one.set_major_locator(FixedLocator(log_ticks(low, high)))
    one.set_minor_locator(NullLocator())
    one.set_minor_formatter(NullFormatter())
    one.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))


def _share_axes(label: str) -> Callable[[Axes], None]:
    def decorate(axes: Axes) -> None:
        axes.set_ylim(0, 1)
        axes.set_xlabel(label)
        axes.set_ylabel("share recovered")
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: tick(value)))
        axes.axhline(vectors.ENOUGH, color=MUTED, linewidth=0.9, linestyle=(0, (2, 2)))
        axes.grid(axis="y")

    return decorate


def _transitions(found: dict[str, Any]) -> list[dict[str, Any]]:
    """Draw the methods, then the powers of either form: of each, one condition number beside the other."""
    own, axes = "two-sided lin-RFM, power 1/2", _share_axes("oversampling")
    shown = (own, "two-sided lin-RFM, power 1", "one-sided lin-RFM, power 1/2")
    conditions = [
        (
            f"condition number {part['condition number']:,g}",
            {curve["method"]: (found["oversampling"], curve["success"]) for curve in part["curves"]},
        )
        for part in found["conditions"]
    ]
    figures = []
    for place, (where, curves) in enumerate(conditions):
        some = {name: points for name, points in curves.items() if name in shown or "lin-RFM" not in name}
        figures.append(_figure(f"methods-{place}", f"Against other methods, {where}", "", some, own, axes))
    for form in ("two-sided", "one-sided"):
        begins = f"{form} lin-RFM, "
        for place, (where, curves) in enumerate(conditions):
            some = {name.removeprefix(begins): points for name, points in curves.items() if begins in name}
            title = f"{form.capitalize()} lin-RFM, {where}"
            figures.append(_figure(f"{form}-{place}", title, "", some, "power 1/2", axes))
    return figures


def _sparse(found: dict[str, Any]) -> list[dict[str, Any]]:
    curves = {curve["method"]: (found["samples"], curve["success"]) for curve in found["curves"]}
    own, decorate = "lin-RFM, power 1/2", _share_axes("samples")
    others = {name: points for name, points in curves.items() if name == own or "lin-RFM" not in name}
    powers = {name.removeprefix("lin-RFM, "): points for name, points in curves.items() if "lin-RFM" in name}
    return [
        _figure("sparse-methods", "Against other methods", "", others, own, decorate),
        _figure("sparse-powers", "lin-RFM", "", powers, "power 1/2", decorate),
    ]


def _time_figures(found: dict[str, Any]) -> list[dict[str, Any]]:
    names = list(dict.fromkeys(row["method"] for row in found["rounds"]))
    curves = {
        name: tuple([row[key] for row in found["rounds"] if row["method"] == name] for key in ("size", "seconds"))
        for name in names
    }

    def decorate(axes: Axes) -> None:
        for axis in ("x", "y"):
            _log(axis, axes)
        axes.set_xlabel("rows and columns")
        axes.set_ylabel("seconds a round")
        axes.grid()

    def decorate_missing(axes: Axes) -> None:
        for axis in ("x", "y"):
            _log(axis, axes)
        axes.set_xlabel("missing entries, in millions")
        axes.set_ylabel("seconds, all rounds")
        axes.grid()

    completions = found["completions"]
    whole = {
        "two-sided lin-RFM": (
            [row["missing"] / 1e6 for row in completions],
            [row["seconds"] for row in completions],
        )
    }
    worst = max(row["error"] for row in completions)
    return [
        _figure(
            "rounds", "A one-sided round", "The solve of the rows is the same.",
            curves, names[0], decorate, left=0.75,  # type: ignore[arg-type]
        ),
        _figure(
            "completions", "A whole completion, two-sided",
            f"From the observed entries until it stops; largest relative error {worst:.1e}.".replace("-", MINUS),
            whole, "two-sided lin-RFM", decorate_missing, left=0.75,
        ),
    ]  # fmt: skip


def _differences(kind: str) -> Callable[[dict[str, Any]], list[dict[str, Any]]]:
    def draw(found: dict[str, Any]) -> list[dict[str, Any]]:
        powers = sorted({row["power"] for row in found["rows"]})
        seeds = len({row["seed"] for row in found["rows"]})
        worst = [
            max(row["worst relative difference"] for row in found["rows"] if row["power"] == power) for power in powers
        ]

        def decorate(axes: Axes) -> None:
            axes.set_yscale("log")
            axes.set_ylim(1e-17, 1e-6)
            axes.axhline(AGREEMENT, color=MUTED, linewidth=0.9, linestyle=(0, (2, 2)))
            axes.set_xlabel("power")
            axes.set_ylabel("relative difference")
            axes.set_xticks(range(len(powers)), [str(Fraction(power).limit_denominator(16)) for power in powers])
            axes.yaxis.set_major_locator(FixedLocator([1e-16, 1e-14, 1e-12, 1e-10, 1e-8, 1e-6]))
            axes.yaxis.set_minor_locator(NullLocator())
            axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"1e{MINUS}{-round(math.log10(value))}"))
            axes.grid(axis="y")

        label = f"largest of {found['rows'][0]['rounds']} rounds and {seeds} seeds"
        text = f"The dashed line is 1e{MINUS}{-round(math.log10(AGREEMENT))}."
        curves = {label: (range(len(powers)), np.maximum(worst, np.finfo(float).eps).tolist())}
        return [_figure(f"equivalence-{kind}", f"On {kind}", text, curves, label, decorate, left=0.75)]

    return draw


FIGURES: dict[str, Callable[[dict[str, Any]], list[dict[str, Any]]]] = {
    "equivalence on matrices": _differences("matrices"),
    "equivalence on vectors": _differences("vectors"),
    "phase transitions": _transitions,
    "times": _time_figures,
    "sparse regression": _sparse,
}
