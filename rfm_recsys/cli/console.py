"""Printing and writing: lines, and tables of recommendations."""

import json
import math
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from rfm_recsys.core.files import check_target, replacing
from rfm_recsys.errors import DataError, ParameterError

if TYPE_CHECKING:
    import pandas as pd


def console(**options: Any) -> Console:
    """Return a console that breaks lines on a terminal only: in a pipe or a file they are for other programs."""
    made = Console(**options)
    if not made.is_terminal:
        made.width = 2**15
    return made


def say(text: str, error: bool = False, **options: Any) -> None:
    """Print a line as it is, whatever brackets it holds; an ``error`` beside what is printed."""
    console(stderr=error).print(text, markup=False, highlight=False, **options)


def status(text: str) -> Any:
    """Return a context in which a line says what is going on, on a terminal, beside what is printed."""
    return console(stderr=True).status(text)


def show(frame: "pd.DataFrame", as_json: bool = False) -> None:
    """Print a table: for people on a terminal, with tabs in a pipe, or as JSON lines."""
    if as_json:
        write_json_lines(frame, sys.stdout)
        return
    if not sys.stdout.isatty():
        frame.to_csv(sys.stdout, sep="\t", index=False)
        return
    table = Table(box=box.SIMPLE_HEAD)
    scores = [name in ("score", "share", "std") for name in frame.columns]
    for name, is_score in zip(frame.columns, scores, strict=True):
        table.add_column(name, justify="right" if is_score or name == "rank" else "left", overflow="fold")
    for row in frame.itertuples(index=False):
        cells = zip(row, scores, strict=True)
        table.add_row(*(Text(f"{cell:.4f}" if is_score else str(cell)) for cell, is_score in cells))
    console().print(table)


ENDINGS = (".parquet", ".pq", ".csv", ".jsonl")


def check_output(output: str | None) -> None:
    """Raise ParameterError for a place that no table can be written to."""
    if output in (None, "-"):
        return
    path = Path(str(output))
    if path.suffix not in ENDINGS:
        raise ParameterError(f"{output} cannot be written; pass --output with a {', '.join(ENDINGS)} file, or -")
    check_target(path)


def emit(frames: Iterable["pd.DataFrame"], output: str, as_json: bool) -> None:
    """Write the parts of a table to a file, whole or not at all, or to standard output."""
    if output == "-":
        for number, frame in enumerate(frames):
            write_json_lines(frame, sys.stdout) if as_json else frame.to_csv(sys.stdout, index=False, header=not number)
        return
    path = Path(output)
    try:
        with replacing(path) as partial:
            if path.suffix in (".parquet", ".pq"):
                import pandas as pd

                parts = [*frames]
                (pd.concat(parts, ignore_index=True) if len(parts) > 1 else parts[0]).to_parquet(partial, index=False)
                return
            with partial.open("x", encoding="utf-8", newline="") as file:
                for number, frame in enumerate(frames):
                    if path.suffix == ".csv":
                        frame.to_csv(file, index=False, header=not number)
                    else:
                        write_json_lines(frame, file)
    except (TypeError, ValueError, OverflowError) as error:  # as Arrow's are, and of text that is no Unicode
        if isinstance(error, DataError):
            raise
        raise DataError(
            f"{path} cannot hold these ids ({error}); pass --output with a .jsonl file, which can"
        ) from error


def write_json_lines(frame: "pd.DataFrame", file: IO[str]) -> None:
    """Write an object a line; a number that is missing is null."""
    for row in zip(*(frame[name].tolist() for name in frame.columns), strict=True):
        values = [None if isinstance(value, float) and math.isnan(value) else value for value in row]
        file.write(json.dumps(dict(zip(frame.columns, values, strict=True)), default=str) + "\n")
