"""The command line: ``rfm-recsys compare``."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from rfm_recsys.errors import DataError, RfmRecsysError

try:
    import typer
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table
except ModuleNotFoundError as error:
    print(f"rfm-recsys needs {error.name}; install it with: pip install 'rfm-recsys[evaluation]'", file=sys.stderr)
    sys.exit(2)

if TYPE_CHECKING:
    from rfm_recsys.datasets import Interactions

app = typer.Typer(no_args_is_help=True, add_completion=False, help="lin-RFM recommendations.")
COLUMNS = {  # heading: key in the result, format, whether more is better
    "R@20": ("R@20", ".4f", True),
    "R@50": ("R@50", ".4f", True),
    "N@100": ("N@100", ".4f", True),
    "fit (s)": ("fit_seconds", ".2f", False),
    "peak memory (MiB)": ("peak_memory_mib", ".0f", False),
}


def main() -> None:
    """Run the command line; errors of ours are one line on stderr and exit status 2."""
    try:
        app()
    except RfmRecsysError as error:
        Console(stderr=True).print(f"Error: {error}", style="red", markup=False, highlight=False)
        sys.exit(2)
    except ModuleNotFoundError as error:  # PackageNotFoundError, too
        needed = f"rfm-recsys compare needs {error.name}; install it with: pip install 'rfm-recsys[evaluation]'"
        Console(stderr=True).print(needed, style="red", markup=False, highlight=False)
        sys.exit(2)


def _version(wanted: bool) -> None:
    if wanted:
        from rfm_recsys import __version__

        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show it.")] = False,
) -> None:
    """lin-RFM recommendations."""


@app.command()
def compare(
    dataset: Annotated[
        str,
        typer.Option(help="'synthetic', a MovieLens name (ml-100k, ml-1m, ...), a CSV or Parquet file, or a folder."),
    ] = "synthetic",
    output: Annotated[Path, typer.Option(help="Where to write the result as JSON.")] = Path("compare.json"),
    seed: Annotated[int, typer.Option(min=0, help="Seed of the split and the models.")] = 0,
) -> None:
    """Rank for held-out users with LinRFM, implicit's ALS, EASE and popularity, and print a table."""
    if output.is_dir() or not os.access(output.absolute().parent, os.W_OK):
        raise DataError(f"{output} cannot be written; pass --output with a file in a folder that exists")
    console = Console()
    with console.status(f"loading {dataset}") as status:
        data = _load(dataset)
        from rfm_recsys import LinRFM
        from rfm_recsys.evaluation.compare import compare as run
        from rfm_recsys.evaluation.compare import write_json

        status.update("splitting")
        models = {"LinRFM": LinRFM(random_state=seed)}
        result = run(data, dataset, models, seed, lambda model: status.update(f"fitting and ranking with {model}"))
    write_json(result, output)
    console.print(_table(result))
    console.print(
        "Every interaction is a positive. LinRFM: its defaults. ALS: 64 factors, regularization 10, alpha 5, 15 "
        "iterations, the best found on ML-1M. EASE: 1000, less on small data. Seconds without compilation and imports; "
        "memory of the model's whole process, at its peak during fit.",
        style="dim",
    )
    console.print(f"written to {output}")
    if all("error" in row for row in result["models"]):
        raise typer.Exit(1)


def _load(dataset: str) -> "Interactions":
    from rfm_recsys.datasets import MOVIELENS, load_movielens, read_interactions, synthetic_movielens

    if dataset == "synthetic":
        return synthetic_movielens()
    path = Path(dataset)
    if path.is_dir() or path.suffix == ".zip":
        name = path.stem.removeprefix("ml-")
        return load_movielens(name if name in MOVIELENS else "1m", path)
    if path.is_file():
        return read_interactions(path)
    if dataset.removeprefix("ml-") in MOVIELENS:
        return load_movielens(dataset.removeprefix("ml-"))
    raise DataError(
        f"{dataset} is neither a data set nor a file; pass 'synthetic', ml-{', ml-'.join(MOVIELENS)}, or a path"
    )


def _table(result: dict[str, Any]) -> Table:
    data, split = result["data"], result["split"]
    table = Table(
        title=f"{data['name']}: {data['users']:,} users, {data['items']:,} items, {data['interactions']:,} "
        f"interactions; {split['held_out_users']} held-out users",
    )
    table.add_column("model")
    for heading in COLUMNS:
        table.add_column(heading, justify="right")
    good = [row for row in result["models"] if "error" not in row]
    for row in result["models"]:
        if "error" in row:
            table.add_row(row["model"], f"[red]failed: {escape(row['error'])}[/red]")
            continue
        cells = []
        for key, form, more in COLUMNS.values():
            best = (max if more else min)(other[key] for other in good)
            text = format(row[key], form)
            cells.append(f"[bold green]{text} *[/bold green]" if row[key] == best else text)
        table.add_row(row["model"], *cells)
    return table
