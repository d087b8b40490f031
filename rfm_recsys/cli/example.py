"""``rfm-recsys example``."""

from pathlib import Path
from typing import Annotated

import typer

from rfm_recsys.cli.console import say
from rfm_recsys.core.files import replacing
from rfm_recsys.datasets import example_films
from rfm_recsys.errors import ParameterError


def example(
    folder: Annotated[Path, typer.Argument(help="Where to write ratings.csv and films.csv.")] = Path(),
) -> None:
    """Write two tables to try the other commands on: ratings of made-up films, and the films."""
    tables = dict(zip(("ratings.csv", "films.csv"), example_films(), strict=True))
    for name in tables:
        if (folder / name).exists():
            raise ParameterError(f"{folder / name} is there already; pass another folder")
    folder.mkdir(parents=True, exist_ok=True)
    for name, table in tables.items():
        with replacing(folder / name) as partial:
            table.to_csv(partial, index=False)
        say(f"{folder / name}: {', '.join(table.columns)}; {len(table):,} rows")
