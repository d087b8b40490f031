"""The command line: ``rfm-recsys fit``, ``recommend``, ``similar``, ``explain``, ``compare`` and ``paper``."""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from rfm_recsys.errors import DataError, ParameterError, RfmRecsysError

try:
    import typer
    from rich import box
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.table import Table
    from rich.text import Text
except ModuleNotFoundError as error:
    print(f"rfm-recsys needs {error.name}; install it with: pip install 'rfm-recsys[evaluation]'", file=sys.stderr)
    sys.exit(2)

if TYPE_CHECKING:
    import pandas as pd
    from distributed import Client

    from rfm_recsys.evaluation.protocol import Data
    from rfm_recsys.tables import TableModel

app = typer.Typer(no_args_is_help=True, add_completion=False, help="lin-RFM recommendations.")
ALL = "LinRFM,ALS,EASE,ItemKNN-cosine,ItemKNN-BM25,BPR,Popularity"
USUAL = "LinRFM,ALS,EASE,ItemKNN-cosine,Popularity"
COSTS = {"fit (s)": ("fit_seconds", ".2f"), "MiB": ("peak_memory_mib", ".0f")}


def main() -> None:
    """Run the command line; errors of ours and the system's are one line on stderr and exit status 2."""
    try:
        app()
    except (RfmRecsysError, OSError) as error:
        _console(stderr=True).print(f"Error: {error}", style="red", markup=False, highlight=False)
        sys.exit(2)
    except ModuleNotFoundError as error:  # PackageNotFoundError, too
        extra = "distributed" if error.name in ("dask", "distributed") else "evaluation"
        needed = f"rfm-recsys needs {error.name}; install it with: pip install 'rfm-recsys[{extra}]'"
        _console(stderr=True).print(needed, style="red", markup=False, highlight=False)
        sys.exit(2)


def _console(**options: Any) -> Console:
    """Return a console that breaks lines on a terminal only: in a pipe or a file they are for other programs."""
    console = Console(**options)
    if not console.is_terminal:
        console.width = 2**15
    return console


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


ModelArgument = Annotated[Path, typer.Argument(help="A model that fit has written.", show_default=False)]
ItemOption = Annotated[str, typer.Option(help="The id of an item.", show_default=False)]
SchedulerOption = Annotated[
    str | None, typer.Option(help="Address of a Dask scheduler to work on, as tcp://host:8786.", show_default=False)
]
WorkersOption = Annotated[
    int | None,
    typer.Option(min=1, help="Work on a Dask cluster of so many processes here, started for it.", show_default=False),
]
UsersOption = Annotated[
    Path | None,
    typer.Option(
        help="On a cluster: the folder of the users. By default that of the model, with .users.", show_default=False
    ),
]
CountOption = Annotated[int, typer.Option("-N", min=1, help="How many items, at most.")]


def _column(role: str) -> Any:
    return typer.Option(help=f"Column of the {role}; by default the one with a usual name.", show_default=False)


@app.command()
def fit(
    interactions: Annotated[
        str,
        typer.Argument(
            help="A CSV or Parquet file, one interaction a row; on a cluster, a Parquet file or a folder of them, also "
            "as s3://... and the like.",
            show_default=False,
        ),
    ],
    model: Annotated[Path, typer.Option(help="Where to write the model.")] = Path("model.rfm"),
    user: Annotated[str | None, _column("user ids")] = None,
    item: Annotated[str | None, _column("item ids")] = None,
    value: Annotated[str | None, _column("confidences or ratings")] = None,
    timestamp: Annotated[str | None, _column("timestamps")] = None,
    duplicates: Annotated[
        str, typer.Option(help="Of several rows for one user and item: take the 'last', the 'sum', or end in 'error'.")
    ] = "last",
    factors: Annotated[str, typer.Option(help="Number of factors, or 'full' for the full form.")] = "256",
    regularization: Annotated[float, typer.Option(help="Weight of the prior.")] = 4.0,
    alpha: Annotated[float, typer.Option(help="Weight of an interaction of value 1.")] = 7.0,
    iterations: Annotated[int, typer.Option(help="Rounds of lin-RFM.")] = 2,
    power: Annotated[float, typer.Option(help="Power of the AGOP.")] = 0.35,
    item_norm: Annotated[float, typer.Option(help="How far to even out the popularity of items, 0 to 1.")] = 0.8,
    user_norm: Annotated[float, typer.Option(help="How far to even out the activity of users, 0 to 1.")] = 0.8,
    seed: Annotated[int, typer.Option(help="Seed of the randomised eigenvectors.")] = 0,
    checkpoint: Annotated[
        bool, typer.Option(help="Keep each round beside the model, as .checkpoint, and go on from there after a kill.")
    ] = True,
    scheduler: SchedulerOption = None,
    workers: WorkersOption = None,
    users: UsersOption = None,
    report: Annotated[
        Path | None, typer.Option(help="On a cluster: where to write Dask's report, as .html.", show_default=False)
    ] = None,
) -> None:
    """Fit a model to a table of interactions, and write both to one file; on a cluster, the users to a folder."""
    if factors != "full" and not factors.isdecimal():
        raise ParameterError(f"factors is {factors!r}; pass an integer of at least 1, or 'full'")
    console = _console()
    with console.status("importing"):
        from rfm_recsys import LinRFM
        from rfm_recsys.core.files import check_target
        from rfm_recsys.datasets import read_interactions
        from rfm_recsys.tables import TableModel
    check_target(model)
    recommender = LinRFM(
        None if factors == "full" else int(factors), regularization, alpha, iterations, power, item_norm, user_norm,
        random_state=seed,
    )  # fmt: skip
    kept = model.with_name(f"{model.name}.checkpoint") if checkpoint else None
    begun = time.perf_counter()
    if scheduler is not None or workers is not None:
        with _cluster(scheduler, workers) as client:
            from rfm_recsys.distributed import fit as fit_on_cluster

            folder = users or _users_of(model)
            fitted = fit_on_cluster(
                interactions, client, recommender, users=folder, checkpoint=kept, show_progress=sys.stderr.isatty(),
                report=report, user=user, item=item, value=value, timestamp=timestamp,
                duplicates=duplicates,  # type: ignore[arg-type]
            )  # fmt: skip
        fitted.save(model)
        if kept is not None:
            kept.unlink(missing_ok=True)
        seconds = time.perf_counter() - begun
        text = f"{len(fitted.item_ids):,} items: fitted in {seconds:.1f} s, written to {model} and {folder}"
        console.print(text, markup=False, highlight=False)
        return
    if users is not None or report is not None:
        raise ParameterError("--users and --report are for a cluster; pass --scheduler or --workers, too")
    with console.status(f"reading {interactions}"):
        table = read_interactions(interactions, user, item, value, timestamp, duplicates)  # type: ignore[arg-type]
    begun = time.perf_counter()
    fitted = TableModel.fit(table, recommender, show_progress=sys.stderr.isatty(), checkpoint=kept)
    seconds = time.perf_counter() - begun
    fitted.save(model)
    if kept is not None:
        kept.unlink(missing_ok=True)  # only now: what if the disk is full
    size = f"{table.shape[0]:,} users, {table.shape[1]:,} items, {len(table.values):,} interactions"
    console.print(f"{size}: fitted in {seconds:.1f} s, written to {model}", markup=False, highlight=False)


@app.command()
def recommend(
    model: ModelArgument,
    user: Annotated[
        list[str] | None, typer.Option(help="The id of a user; may be given several times.", show_default=False)
    ] = None,
    everybody: Annotated[
        bool,
        typer.Option("--all", help="For all users; needs --output with a .parquet file, or a folder on a cluster."),
    ] = False,
    n: CountOption = 10,
    include_liked: Annotated[
        bool, typer.Option("--include-liked", help="Items that the user has already, too.")
    ] = False,
    output: Annotated[
        Path | None, typer.Option(help="A .csv or .parquet file to write instead.", show_default=False)
    ] = None,
    scheduler: SchedulerOption = None,
    workers: WorkersOption = None,
    users: UsersOption = None,
) -> None:
    """Print the best items of users, or write them to a file; on a cluster, those of all users to a folder."""
    if scheduler is not None or workers is not None:
        if not everybody or user or output is None:
            raise ParameterError("a cluster is for all users; pass --all and --output with a folder to make")
        table_model = _table_model(model)
        with _cluster(scheduler, workers) as client:
            from rfm_recsys.distributed import recommend_all

            folder, progress = users or _users_of(model), sys.stderr.isatty()
            recommend_all(table_model, folder, output, client, n, not include_liked, progress)
        _console().print(f"written to {output}", markup=False, highlight=False)
        return
    if users is not None:
        raise ParameterError("--users is for a cluster; pass --scheduler or --workers, too")
    if everybody == bool(user):
        raise ParameterError("pass either --user, once for each user, or --all")
    if everybody and output is None:
        raise ParameterError("--all is for a file; pass --output with a .parquet file, too")
    endings = (".parquet",) if everybody else (".csv", ".parquet")
    if output is not None and output.suffix not in endings:
        raise ParameterError(f"{output} cannot be written; pass --output with a {' or '.join(endings)} file")
    console = _console()
    with console.status("importing"):
        from rfm_recsys.core.files import check_target
    if output is not None:
        check_target(output)
    table_model = _table_model(model)
    if everybody and output is not None:
        table_model.recommend_all(output, n, not include_liked, show_progress=sys.stderr.isatty())
    else:
        ids = [_typed(text, table_model.user_ids) for text in user or ()]
        frame = table_model.recommend(ids, n, not include_liked)
        if output is None:
            _show(console, frame, "no item is left to recommend" if frame.empty else None)
            return
        _write(frame, output)
    console.print(f"written to {output}", markup=False, highlight=False)


@app.command()
def similar(model: ModelArgument, item: ItemOption, n: CountOption = 10) -> None:
    """Print the items that are most similar to one, by the cosine of their factors."""
    table_model = _table_model(model)
    _show(_console(), table_model.similar(_typed(item, table_model.item_ids), n))


@app.command()
def explain(
    model: ModelArgument,
    user: Annotated[str, typer.Option(help="The id of a user.", show_default=False)],
    item: ItemOption,
    n: CountOption = 10,
) -> None:
    """Print the score of an item for a user, and the liked items that account for most of it."""
    table_model = _table_model(model)
    ids = _typed(user, table_model.user_ids), _typed(item, table_model.item_ids)
    score, shares = table_model.explain(*ids, n)
    _show(_console(), shares, f"item {item} scores {score:.4f} for user {user}; the largest shares:")


def _users_of(model: Path) -> Path:
    return model.with_name(f"{model.name}.users")


@contextmanager
def _cluster(scheduler: str | None, workers: int | None) -> Iterator["Client"]:
    """Yield the client of a scheduler, or of a cluster that is there for as long."""
    if scheduler is not None and workers is not None:
        raise ParameterError("--scheduler has workers of its own; leave out --workers")
    with _console().status("connecting" if scheduler else "starting workers"):
        from distributed import Client, LocalCluster
    if scheduler is not None:
        with Client(scheduler) as client:
            yield client
    else:
        with LocalCluster(n_workers=workers, threads_per_worker=1) as cluster, Client(cluster) as client:
            yield client


def _table_model(path: Path) -> "TableModel":
    if not path.is_file():
        raise DataError(f"there is no file {path}; pass a model that rfm-recsys fit has written")
    with _console().status(f"loading {path}"):
        from rfm_recsys.tables import TableModel

        return TableModel.load(path)


def _typed(text: str, known: "pd.Index[Any]") -> int | float | str:
    """Return the known id that is written like this: an integer, a float or else a string."""
    for kind in (int, float):
        with suppress(ValueError):
            if (number := kind(text)) in known:
                return number
    return text


def _write(frame: "pd.DataFrame", path: Path) -> None:
    from rfm_recsys.core.files import replacing

    with replacing(path) as partial:
        if path.suffix == ".csv":
            frame.to_csv(partial, index=False)
            return
        try:
            frame.to_parquet(partial, index=False)
        except (TypeError, ValueError) as error:  # as Arrow's are
            raise DataError(
                f"a Parquet column cannot hold ids of several types ({error}); pass --output with a .csv file"
            ) from error


def _show(console: Console, frame: "pd.DataFrame", heading: str | None = None) -> None:
    if heading is not None:
        console.print(heading, markup=False, highlight=False)
    table = Table(box=box.SIMPLE_HEAD)
    scores = [name in ("score", "share") for name in frame.columns]
    for name, is_score in zip(frame.columns, scores, strict=True):
        table.add_column(name, justify="right" if is_score or name == "rank" else "left", overflow="fold")
    for row in frame.itertuples(index=False):
        cells = zip(row, scores, strict=True)
        table.add_row(*(Text(f"{cell:.4f}" if is_score else str(cell)) for cell, is_score in cells))
    console.print(table)


@app.command()
def compare(
    dataset: Annotated[
        str | None,
        typer.Option(
            help="'synthetic', a MovieLens name (ml-100k, ml-1m, ...), a CSV or Parquet file, or a folder (MovieLens, "
            "or train.txt and test.txt in LightGCN's format). By default that of the protocol.",
            show_default=False,
        ),
    ] = None,
    protocol: Annotated[
        str | None,
        typer.Option(
            help="A protocol that comes with us (strong, ml-1m-strong, gowalla-lightgcn, "
            "ml-100k-leave-last-out) or a TOML file. By default strong.",
            show_default=False,
        ),
    ] = None,
    models: Annotated[str, typer.Option(help=f"Some of {ALL}; the first is compared with the rest.")] = USUAL,
    tune: Annotated[bool, typer.Option("--tune/--defaults", help="Tune every model, on validation data only.")] = False,
    budget: Annotated[
        str | None,
        typer.Option(
            help="For --tune, what each model gets: trials, 30 by default, or seconds, as 600s.", show_default=False
        ),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="How often to repeat all, with the seeds 0, 1, ...")] = 1,
    output: Annotated[
        Path, typer.Option(help="Where to write the result as JSON; the report goes beside it, as .html.")
    ] = Path("compare.json"),
) -> None:
    """Compare models by the same splits and the same tuning; print a table, write JSON and an HTML report.

    A run that is killed continues where it stopped when the same command is given again.
    """
    state = output.with_name(f"{output.name}.unfinished")
    report = _report_beside(output)
    console = _console()
    with console.status("importing"):
        from rfm_recsys.core.files import check_target
        from rfm_recsys.evaluation import CANDIDATES, parse_budget, read_protocol, write_json
        from rfm_recsys.evaluation import compare as run
        from rfm_recsys.report.comparison import write_report

    check_target(output)
    chosen = [name.strip() for name in models.split(",")]
    for name in chosen:
        if name not in CANDIDATES:
            raise ParameterError(f"there is no model {name!r}; pass some of: {', '.join(CANDIDATES)}")
    if budget is not None and not tune:
        raise ParameterError(f"a budget of {budget} is for tuning; pass --tune, too")
    spend = parse_budget(budget or "30") if tune else None
    rules = read_protocol(protocol or _usual_protocol(dataset))
    source = dataset or rules.dataset
    with console.status(f"loading {source}"):
        data = _load(source)
    bar = Progress(
        TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TextColumn("left:"), TimeRemainingColumn(),
        console=console, transient=True,
    )  # fmt: skip
    with bar:
        task = bar.add_task("splitting", total=None)
        result = run(
            rules,
            data,
            [CANDIDATES[name] for name in chosen],
            name=Path(source).name if os.path.exists(source) else source,
            seeds=range(seeds),
            budget=spend,
            state=state,
            on_progress=lambda done, total, text: bar.update(task, completed=done, total=total, description=text),
        )
    write_json(result, output)
    write_report(result, report)
    failed = [row["model"] for row in result["models"] if "error" in row and row["how"] != "left out"]
    if not failed:
        state.unlink(missing_ok=True)
    _print(console, result)
    console.print(f"written to {output} and {report}")
    if failed and state.exists():
        console.print(f"the same command tries {', '.join(failed)} again; what is finished is kept in {state}")
    if all("error" in row for row in result["models"]):
        raise typer.Exit(1)


def _report_beside(output: Path) -> Path:
    if output.suffix == ".html":
        raise ParameterError(f"{output} is the report's place; pass --output with a .json file")
    return output.with_suffix(".html")


@app.command()
def paper(
    full: Annotated[
        bool, typer.Option("--full/--quick", help="Large sizes, which take much longer, or small ones, for minutes.")
    ] = False,
    data: Annotated[
        Path | None,
        typer.Option(help="A folder with ml-100k and ml-1m; without it, ratings are generated.", show_default=False),
    ] = None,
    output: Annotated[
        Path, typer.Option(help="Where to write the result as JSON; the report goes beside it, as .html.")
    ] = Path("paper.json"),
) -> None:
    """Run the experiments of the lin-RFM paper; write JSON and an HTML report with plots."""
    report = _report_beside(output)
    if data is not None and not data.is_dir():
        raise DataError(f"there is no folder {data}; pass --data with one that holds ml-100k and ml-1m")
    console = _console()
    with console.status("importing"):
        from rfm_recsys.core.files import check_target
        from rfm_recsys.evaluation import write_json
        from rfm_recsys.paper.report import claims, run, write_report

    check_target(output)
    result = run(not full, data)
    write_json(result, output)
    write_report(result, report)
    for claim, holds, evidence in claims(result):
        console.print(f"{'yes' if holds else 'no ':3} {claim}: {evidence}", markup=False, highlight=False)
    failed = {name: found["error"] for name, found in result["experiments"].items() if "error" in found}
    for name, error in failed.items():
        console.print(f"{name} failed: {error}", style="red", markup=False, highlight=False)
    console.print(f"written to {output} and {report}", markup=False, highlight=False)
    if failed:
        raise typer.Exit(1)


def _usual_protocol(dataset: str | None) -> str:
    return "gowalla-lightgcn" if dataset is not None and Path(dataset, "train.txt").is_file() else "strong"


def _load(dataset: str) -> "Data":
    from rfm_recsys.datasets import MOVIELENS, load_movielens, read_interactions, read_lightgcn, synthetic_movielens

    if dataset == "synthetic":
        return synthetic_movielens()
    path = Path(dataset)
    if (path / "train.txt").is_file():
        parts = ("train", "valid", "test") if (path / "valid.txt").is_file() else ("train", "test")
        return read_lightgcn(*(path / f"{part}.txt" for part in parts))
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


def _print(console: Console, result: dict[str, Any]) -> None:
    from rfm_recsys.report.comparison import Comparison, better_end, verdict

    data, protocol = result["data"], result["protocol"]
    table = Table(
        title=f"{protocol['title']} on {data['name']}: {data['users']:,} users, {data['items']:,} items, "
        f"{data['interactions']:,} interactions; {protocol['test_users']:,} test users",
        box=box.SIMPLE_HEAD,
    )
    table.add_column("model", no_wrap=True)
    for heading in (*protocol["table"], *COSTS):
        table.add_column(heading.replace("_", " "), justify="right")
    good = [row for row in result["models"] if "error" not in row]
    for row in result["models"]:
        if "error" in row:
            table.add_row(
                escape(row["model"]),
                f"[red]{'' if row['how'] == 'left out' else 'failed: '}{escape(row['error'])}[/red]",
            )
            continue
        cells = []
        for metric in protocol["table"]:
            value = row["metrics"][metric]
            if value["mean"] is None:
                cells.append("none ")
                continue
            end = {"high": max, "low": min}.get(better_end(metric))
            means = [other["metrics"][metric]["mean"] for other in good if other["metrics"][metric]["mean"] is not None]
            error = "" if value["low"] is None else f" ±{(value['high'] - value['low']) / 2:.3f}".replace("0.", ".")
            text = f"{value['mean']:.4f}".removeprefix("0")
            cells.append(_marked(text, end is not None and value["mean"] == end(means)) + error)
        for key, form in COSTS.values():
            cells.append(_marked(format(row[key], form), row[key] == min(other[key] for other in good)))
        table.add_row(escape(row["model"]), *cells)
    console.print(table)
    console.print(str(verdict(Comparison(result))), markup=False, highlight=False)
    how = "; ".join(f"{row['model']}: {row['how']}" for row in result["models"])
    console.print(
        f"{how}. * is the best, ± half a 95% interval over users. Every interaction is a positive. Seconds without "
        "compilation and imports; MiB of the model's whole process, at its peak during the fit.",
        style="dim",
        markup=False,
    )


def _marked(text: str, best: bool) -> str:
    return f"[bold green]{text}*[/bold green]" if best else f"{text} "
