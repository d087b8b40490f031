"""``rfm-recsys compare``."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from rfm_recsys.cli.console import console, say, status
from rfm_recsys.cli.options import (
    ItemTableOption,
    ResultOption,
    UserTableOption,
    reads_a_table,
    report_beside,
)
from rfm_recsys.core.files import check_target
from rfm_recsys.datasets import Interactions
from rfm_recsys.datasets.catalogue import SOURCES, load
from rfm_recsys.datasets.reading import described
from rfm_recsys.errors import ParameterError
from rfm_recsys.evaluation import CANDIDATES, parse_budget, read_protocol, write_json
from rfm_recsys.evaluation import compare as run
from rfm_recsys.evaluation.protocol import FOLDERS
from rfm_recsys.report.comparison import better_end, verdict, write_report
from rfm_recsys.report.results import Comparison
from rfm_recsys.tables import side_of

OF_FEATURES = "LinRFM, ALS-features, Popularity"
USUAL = "LinRFM, ALS, ALS (implicit's defaults), EASE, ItemKNN-cosine, Popularity"
PROTOCOLS = sorted({path.stem for folder in FOLDERS for path in folder.glob("*.toml")})
# about how many seconds a fit takes, by items and interactions, on two cores
SLOW: dict[str, Callable[[int, int], float]] = {
    "EASE": lambda items, _: 3e-11 * items**3,
    "BPR": lambda _, interactions: 5e-5 * interactions,
}
WORTH_SAYING = 20  # seconds
COSTS = {"fit (s)": ("fit_seconds", ".2f"), "MiB": ("peak_memory_mib", ".0f")}


@reads_a_table
def compare(
    how_read: dict[str, Any],
    dataset: Annotated[
        str | None,
        typer.Option(
            help=f"One of: {', '.join(source.shown for source in SOURCES)}. By default that of the protocol.",
            show_default=False,
        ),
    ] = None,
    protocol: Annotated[
        str | None,
        typer.Option(
            help=f"A protocol that comes with us ({', '.join(PROTOCOLS)}) or a TOML file. By default strong.",
            show_default=False,
        ),
    ] = None,
    models: Annotated[
        str | None,
        typer.Option(
            help=f"Some of {', '.join(CANDIDATES)}; the first is compared with the rest. By default {USUAL}; for new "
            f"items and users {OF_FEATURES}.",
            show_default=False,
        ),
    ] = None,
    item_table: ItemTableOption = None,
    user_table: UserTableOption = None,
    tune: Annotated[bool, typer.Option("--tune/--defaults", help="Tune every model, on validation data only.")] = False,
    budget: Annotated[
        str | None,
        typer.Option(
            help="For --tune, what each model gets: trials, 30 by default, or seconds, as 600s.", show_default=False
        ),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="How often to repeat all, with the seeds 0, 1, ...")] = 1,
    output: ResultOption = Path("compare.json"),
) -> None:
    """Compare models by the same splits and the same tuning; print a table, write JSON and an HTML report.

    A run that is killed continues where it stopped when the same command is given again.
    """
    state = output.with_name(f"{output.name}.unfinished")
    report = report_beside(output)
    check_target(output)
    if budget is not None and not tune:
        raise ParameterError(f"a budget of {budget} is for tuning; pass --tune, too")
    spend = parse_budget(budget or "30") if tune else None
    rules = read_protocol(protocol or _usual_protocol(dataset))
    chosen = [name.strip() for name in (models or (OF_FEATURES if rules.needs_features else USUAL)).split(",")]
    for name in chosen:
        if name not in CANDIDATES:
            raise ParameterError(f"there is no model {name!r}; pass some of: {', '.join(CANDIDATES)}")
    source = dataset or rules.dataset
    with status(f"loading {source}"):
        data = load(source, **how_read)
    if isinstance(data, Interactions):
        if data.summary:
            say(data.summary)
        data = _described(data, item_table, user_table)
        if (side := rules.needs_features) and getattr(data, f"{side}_features") is None:
            raise ParameterError(f"{rules.name} is about what features of {side}s say; pass --{side}-table")
    elif item_table is not None or user_table is not None:
        raise ParameterError("data that are split already have no ids; leave out --item-table and --user-table")
    _say_what_is_slow(chosen, data)
    bar = Progress(
        TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TextColumn("left:"), TimeRemainingColumn(),
        console=console(), transient=True,
    )  # fmt: skip
    try:
        with bar:
            task = bar.add_task("splitting", total=None)
            result = run(
                rules,
                data,
                [CANDIDATES[name] for name in chosen],
                name=Path(source).name if Path(source).exists() else source,
                seeds=range(seeds),
                budget=spend,
                state=state,
                on_progress=lambda done, total, text: bar.update(task, completed=done, total=total, description=text),
            )
    except KeyboardInterrupt:
        kept = f"{state} keeps what is finished, and the same command goes on from there"
        say(f"interrupted; {kept if state.exists() else 'nothing was written'}", style="yellow")
        raise typer.Exit(130) from None
    write_json(result, output)
    write_report(result, report)
    failed = [row["model"] for row in result["models"] if "error" in row and row["how"] != "left out"]
    if not failed:
        state.unlink(missing_ok=True)
    _print(result)
    say(f"written to {output} and {report}")
    if failed and state.exists():
        say(f"the same command tries {', '.join(failed)} again; what is finished is kept in {state}")
    if all("error" in row for row in result["models"]):
        raise typer.Exit(1)


def _described(data: Interactions, item_table: str | None, user_table: str | None) -> Interactions:
    """Return the interactions with what tables say of their items and users, and say what was made of the columns."""
    for side, table, ids in (("item", item_table, data.item_ids), ("user", user_table, data.user_ids)):
        if table is not None:
            with status(f"reading {table}"):
                features = side_of(described(table, ids, side), ids)
            say(f"features of {side}s: {features.encoder}")
            data = replace(data, **{f"{side}_features": features.features})
    return data


def _say_what_is_slow(models: list[str], data: Any) -> None:
    """Say which models take long, and about how long, before they do."""
    parts = (data,) if isinstance(data, Interactions) else data
    interactions = sum(len(part.values) if isinstance(part, Interactions) else part.nnz for part in parts)
    for name in models:
        seconds = SLOW[name](parts[0].shape[1], interactions) if name in SLOW else 0
        if seconds > WORTH_SAYING:
            say(f"{name} takes about {seconds:,.0f} s a fit here; --models leaves it out", style="dim")


def _usual_protocol(dataset: str | None) -> str:
    return "gowalla-lightgcn" if dataset is not None and Path(dataset, "train.txt").is_file() else "strong"


def _print(result: dict[str, Any]) -> None:
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
    console().print(table)
    say(str(verdict(Comparison(result))))
    how = "; ".join(f"{row['model']}: {row['how']}" for row in result["models"])
    say(
        f"{how}. * is the best, ± half a 95% interval over users. Every interaction is a positive. "
        "Seconds are of a fit, with all that it chooses, without compilation and imports; MiB of the model's whole "
        "process, at its peak during the fit.",
        style="dim",
    )


def _marked(text: str, best: bool) -> str:
    return f"[bold green]{text}*[/bold green]" if best else f"{text} "
