"""Printing: lines, and tables of recommendations."""

from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    import pandas as pd


def console(**options: Any) -> Console:
    """Return a console that breaks lines on a terminal only: in a pipe or a file they are for other programs."""
    made = Console(**options)
    if not made.is_terminal:
        made.width = 2**15
    return made


def say(text: str, **options: Any) -> None:
    """Print a line as it is, whatever brackets it holds."""
    console().print(text, markup=False, highlight=False, **options)


def show(frame: "pd.DataFrame") -> None:
    """Print a table with aligned ranks and scores."""
    table = Table(box=box.SIMPLE_HEAD)
    scores = [name in ("score", "share") for name in frame.columns]
    for name, is_score in zip(frame.columns, scores, strict=True):
        table.add_column(name, justify="right" if is_score or name == "rank" else "left", overflow="fold")
    for row in frame.itertuples(index=False):
        cells = zip(row, scores, strict=True)
        table.add_row(*(Text(f"{cell:.4f}" if is_score else str(cell)) for cell, is_score in cells))
    console().print(table)
