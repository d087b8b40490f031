"""The page of what a fitted model does not know."""

import os
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter, NullLocator

from rfm_recsys.diagnosis import Diagnosis
from rfm_recsys.report.page import APOSTROPHE, template, write_page
from rfm_recsys.report.plots import INK, MUTED, SERIES, canvas, drawing, log_ticks, svg, tick
from rfm_recsys.tables import TableModel

ROWS = 15  # of a table
STANDS_OUT = 3  # what a surprise or an oddity is above that is worth a row
POINTS = 1000  # of a scatter plot, at most


def write_report(
    model: TableModel, found: Diagnosis, path: str | os.PathLike[str], titles: Any = None, name: str = "a model"
) -> None:
    """Write the page of a diagnosis to ``path``, whole or not at all; see :func:`render_report`.

    Parameters
    ----------
    model : TableModel
    found : Diagnosis
    path : path
    titles, name
        As in :func:`render_report`.

    Raises
    ------
    OSError
        The file cannot be written; one that was there stays as it is.

    Examples
    --------
    >>> from rfm_recsys import LinRFM, TableModel
    >>> from rfm_recsys.datasets import example_films
    >>> from rfm_recsys.diagnosis import diagnose
    >>> from rfm_recsys.report.diagnosis import write_report
    >>> ratings, films = example_films(60, 40, 900)
    >>> model = TableModel.from_table(ratings, LinRFM(8), show_progress=False)
    >>> found = diagnose(model, show_progress=False)
    >>> import os, tempfile
    >>> write_report(model, found, os.path.join(tempfile.mkdtemp(), "report.html"), titles=films)
    """
    write_page(render_report(model, found, titles, name), path)


def render_report(model: TableModel, found: Diagnosis, titles: Any = None, name: str = "a model") -> str:
    """Return the page of what :func:`rfm_recsys.diagnosis.diagnose` found of a model.

    Parameters
    ----------
    model : TableModel
    found : Diagnosis
    titles : DataFrame or path, optional
        A table with an item a row, as :meth:`TableModel.with_titles` takes it; its first column stands beside the ids.
    name : str
        What the page calls the model.

    Returns
    -------
    str, an HTML page

    Raises
    ------
    DataError
        Titles without a column of items.

    Examples
    --------
    >>> from rfm_recsys import LinRFM, TableModel
    >>> from rfm_recsys.datasets import example_films
    >>> from rfm_recsys.diagnosis import diagnose
    >>> from rfm_recsys.report.diagnosis import render_report
    >>> ratings, films = example_films(60, 40, 900)
    >>> model = TableModel.from_table(ratings, LinRFM(8), show_progress=False)
    >>> found = diagnose(model, show_progress=False)
    >>> "</html>" in render_report(model, found)
    True
    """
    users, items = found.users, found.items
    never = items[items["recommended"] == 0].sort_values("interactions", ascending=False, kind="stable")
    odd = users[users["oddity"] > STANDS_OUT].sort_values("oddity", ascending=False, kind="stable")
    surprising = found.interactions[found.interactions["surprise"] > STANDS_OUT]
    widest_users = users.sort_values("std", ascending=False, kind="stable")
    widest_items = items[items["interactions"] > 0].sort_values("std", ascending=False, kind="stable")
    actual = found.deviations["actual"].to_numpy()
    with drawing():
        figures = {
            "deviations": _deviations(found.deviations),
            "scores": _scores(found.scores),
            "users": _scatter(
                users["interactions"], users["std"], "interactions of a user", "deviation of the listed scores", "users"
            ),
            "exposure": _scatter(
                items["interactions"], items["recommended"], "users of an item", f"lists of {found.N} with it", "items",
                zero=True,
            ),
        }  # fmt: skip

    def titled(frame: pd.DataFrame) -> pd.DataFrame:
        return frame if titles is None else _titled(model, frame, titles)

    return template("diagnosis.html.jinja").render(
        name=name,
        N=found.N,
        n_users=len(users),
        n_items=len(items),
        n_interactions=int(users["interactions"].sum()),
        covered=float((items["recommended"] > 0).mean()),
        half=int((np.cumsum(np.sort(items["recommended"])[::-1]) < items["recommended"].sum() / 2).sum() + 1),
        noise=model.model.noise_,
        calibration=float(np.mean(np.abs(found.deviations["predicted"] - actual)) / np.mean(actual)),
        unknown=int((users["interactions"] == 0).sum()),
        n_odd=len(odd),
        n_never=len(never),
        surprising=_rows(titled(surprising.head(ROWS)), ("value", "score", "std", "surprise")),
        odd=_rows(odd.head(ROWS), ("interactions", "std", "oddity")),
        widest_users=_rows(widest_users.head(ROWS), ("interactions", "std")),
        widest_items=_rows(titled(widest_items.head(ROWS)), ("interactions", "std", "recommended")),
        never=_rows(titled(never.head(ROWS)), ("interactions", "std")),
        figures=figures,
        apostrophe=APOSTROPHE,
    )


def _titled(model: TableModel, frame: pd.DataFrame, titles: Any) -> pd.DataFrame:
    joined = model.with_titles(frame, titles)
    added = [column for column in joined.columns if column not in frame.columns]
    return joined.rename(columns={added[0]: "title"}) if added and "title" not in joined else joined


def _rows(frame: pd.DataFrame, numbers: tuple[str, ...]) -> list[dict[str, Any]]:
    """Return the rows of a table: who or what it is of, and numbers as they are printed."""
    forms = {
        "interactions": "{:,.0f}",
        "recommended": "{:,.0f}",
        "value": "{:g}",
        "surprise": "{:.1f}",
        "oddity": "{:.1f}",
    }
    keys = [key for key in ("user_id", "item_id", "title") if key in frame]
    names = zip(*(frame[key].tolist() for key in keys), strict=True)
    values = zip(*(frame[key].tolist() for key in numbers), strict=True)
    return [
        {
            "names": [str(each) for each in who if each is not None],
            "numbers": [forms.get(key, "{:.3f}").format(value) for key, value in zip(numbers, row, strict=True)],
        }
        for who, row in zip(names, values, strict=True)
    ]


def _deviations(bins: pd.DataFrame) -> Markup:
    """Draw what scores were expected to be off by, and what they are."""
    figure, axes = canvas(3.4, left=0.62, right=0.2, bottom=0.55, top=0.15)
    shown = bins[(bins["predicted"] > 0) & (bins["actual"] > 0)]
    values = shown[["predicted", "actual"]].to_numpy()
    low, high = (values.min() / 1.3, values.max() * 1.3) if len(values) else (0.01, 1.0)
    axes.set(xscale="log", yscale="log", xlim=(low, high), ylim=(low, high))
    axes.plot([low, high], [low, high], color=MUTED, linewidth=0.9, linestyle=(0, (2, 2)))
    axes.plot(shown["predicted"], shown["actual"], color=SERIES[0], marker="o", markersize=6, linewidth=1.6)
    axes.set(xlabel="predicted deviation of a score", ylabel="what it is off by")
    _log_axes(axes, (low, high), (low, high))
    listed = "; ".join(f"{row.predicted:.3f} predicted, {row.actual:.3f} actual" for row in shown.itertuples())
    return svg(figure, "deviations", "Predicted and actual deviations", listed)


def _scores(bins: pd.DataFrame) -> Markup:
    """Draw the share of pairs that are interactions, by score."""
    figure, axes = canvas(3.4, left=0.62, right=0.2, bottom=0.55, top=0.15)
    axes.plot(bins["score"], bins["share"], color=SERIES[2], marker="o", markersize=6, linewidth=1.6)
    axes.axhline(0, color=MUTED, linewidth=0.8)
    axes.set(xlabel="mean score", ylabel="share that are interactions")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda value, _: tick(value)))
    listed = "; ".join(f"score {row.score:.3f}, share {row.share:.4f}" for row in bins.itertuples())
    return svg(figure, "scores", "Share of interactions by score", listed)


def _scatter(x: "pd.Series[Any]", y: "pd.Series[Any]", across: str, up: str, name: str, zero: bool = False) -> Markup:
    """Draw a point for each user or item, of a sample where they are many; with ``zero``, what is 0 at the foot."""
    figure, axes = canvas(3.4, left=0.72, right=0.2, bottom=0.55, top=0.15)
    some = np.linspace(0, len(x) - 1, min(POINTS, len(x))).astype(np.intp)
    across_values, up_values = x.to_numpy(np.float64)[some], y.to_numpy(np.float64)[some]
    positive = up_values[up_values > 0]
    high = positive.max() * 1.3 if len(positive) else 1.0
    low = positive.min() / 1.3 if len(positive) else 0.1
    foot = low / 1.6 if zero else low
    right = max(float(across_values.max(initial=1)), 1) * 1.3
    axes.set(xscale="log", yscale="log", xlim=(0.4, right), ylim=(foot / 1.2, high), xlabel=across, ylabel=up)
    shown = np.where(up_values > 0, up_values, foot)
    kept = (up_values > 0) | zero
    axes.plot(
        np.maximum(across_values, 0.5)[kept], shown[kept], linestyle="", marker="o", markersize=2.6, alpha=0.45,
        markeredgewidth=0, color=SERIES[0] if name == "users" else SERIES[1],
    )  # fmt: skip
    _log_axes(axes, (1, right), (low, high))
    if zero:
        axes.annotate(
            "none", (0.4, foot), xytext=(-4, 0), textcoords="offset points", ha="right", va="center", color=INK
        )
    return svg(figure, name, f"{up} by {across}", f"{len(some)} {name}")


def _log_axes(axes: Axes, across: tuple[float, float], up: tuple[float, float]) -> None:
    for axis, (low, high) in ((axes.xaxis, across), (axes.yaxis, up)):
        axis.set_major_locator(FixedLocator(log_ticks(low, high)))
        axis.set_minor_locator(NullLocator())
        axis.set_minor_formatter(NullFormatter())
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}" if value >= 1000 else tick(value)))
