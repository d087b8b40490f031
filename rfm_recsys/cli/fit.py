"""``rfm-recsys fit``."""

import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from rfm_recsys import LinRFM, TableModel
from rfm_recsys.cli.console import say, status
from rfm_recsys.cli.options import (
    ItemTableOption,
    OverwriteOption,
    SchedulerOption,
    UsersOption,
    UserTableOption,
    WorkersOption,
    cluster,
    reads_a_table,
    users_beside,
)
from rfm_recsys.core.files import check_target
from rfm_recsys.datasets import Interactions, load
from rfm_recsys.errors import DataError, ParameterError

ON_CLUSTER = {"user", "item", "value", "timestamp", "duplicates"}


def _chosen(what: str) -> Any:
    return typer.Option(help=f"{what}; chosen from the data where it is left out.", show_default=False)


@reads_a_table
def fit(
    how_read: dict[str, Any],
    interactions: Annotated[
        str,
        typer.Argument(
            help="A table, one interaction a row: CSV and its kin, JSON lines, Parquet; or a MovieLens name or folder. "
            "On a cluster, a Parquet file or a folder of them, also as s3://... and the like.",
            show_default=False,
        ),
    ],
    model: Annotated[Path, typer.Option(help="Where to write the model.")] = Path("model.rfm"),
    factors: Annotated[str, typer.Option(help="Number of factors, or 'full' for the full form.")] = str(
        LinRFM().factors
    ),
    regularization: Annotated[float | None, _chosen("Weight of the prior")] = None,
    alpha: Annotated[float | None, _chosen("Weight of a usual interaction")] = None,
    iterations: Annotated[int | None, _chosen("Rounds of lin-RFM")] = None,
    power: Annotated[float | None, _chosen("Power of the AGOP")] = None,
    item_norm: Annotated[float | None, _chosen("How far to even out the popularity of items, 0 to 1")] = None,
    user_norm: Annotated[float | None, _chosen("How far to even out the activity of users, 0 to 1")] = None,
    prior_norm: Annotated[float | None, _chosen("How far the prior favours popular items")] = None,
    oversampling: Annotated[int | None, _chosen("Columns that the rounds work with beyond the factors")] = None,
    values: Annotated[
        str,
        typer.Option(
            help="What the size of a value says: 'relative' to the user's other values, or 'confidence' for a weight."
        ),
    ] = LinRFM().values,
    item_table: ItemTableOption = None,
    user_table: UserTableOption = None,
    seed: Annotated[int, typer.Option(help="Seed of the randomised eigenvectors.")] = 0,
    checkpoint: Annotated[
        bool, typer.Option(help="Keep each round beside the model, as .checkpoint, and go on from there after a kill.")
    ] = True,
    scheduler: SchedulerOption = None,
    workers: WorkersOption = None,
    users: UsersOption = None,
    overwrite: OverwriteOption = False,
    report: Annotated[
        Path | None, typer.Option(help="On a cluster: where to write Dask's report, as .html.", show_default=False)
    ] = None,
) -> None:
    """Fit a model to a table of interactions, and write both to one file; on a cluster, the users to a folder."""
    if factors != "full" and not factors.isdecimal():
        raise ParameterError(f"factors is {factors!r}; pass an integer of at least 1, or 'full'")
    on_cluster = scheduler is not None or workers is not None
    if not on_cluster and (users is not None or report is not None or overwrite):
        raise ParameterError("--users, --overwrite and --report are for a cluster; pass --scheduler or --workers, too")
    check_target(model)
    recommender = LinRFM(
        None if factors == "full" else int(factors), regularization, alpha, iterations, power, item_norm, user_norm,
        random_state=seed, values=values, prior_norm=prior_norm, oversampling=oversampling,
    )  # fmt: skip
    tables = {"item_table": item_table, "user_table": user_table}
    described: dict[str, Any] = {name: table for name, table in tables.items() if table is not None}
    if on_cluster and user_table is not None:
        raise ParameterError("--user-table is for one machine; leave it out")
    kept = model.with_name(f"{model.name}.checkpoint") if checkpoint else None
    how: dict[str, Any] = {"show_progress": sys.stderr.isatty(), "checkpoint": kept}
    if on_cluster:
        if others := sorted(how_read.keys() - ON_CLUSTER):
            raise ParameterError(f"--{others[0]} is for one machine; write the table as Parquet, and pass that")
        begun = time.perf_counter()
        with cluster(scheduler, workers) as client:
            from rfm_recsys.distributed import fit as fit_on_cluster

            folder = users_beside(model, users)
            fitted = fit_on_cluster(
                interactions, client, recommender, users=folder, overwrite=overwrite, report=report, **how_read, **how,
                **described,
            )  # fmt: skip
        size, written = f"{len(fitted.item_ids):,} items", f"{model} and {folder}"
    else:
        with status(f"reading {interactions}"):
            table = load(interactions, **how_read)
        if not isinstance(table, Interactions):
            raise DataError(f"{interactions} is split into training and test; pass one table to fit to")
        if table.summary:
            say(table.summary)
        begun = time.perf_counter()
        try:
            fitted = TableModel.from_table(table, recommender, **how, **described)
        except KeyboardInterrupt:
            there = kept is not None and kept.exists()
            left = f"{kept} keeps what is finished, and the same command goes on from there"
            say(f"interrupted; {left if there else 'nothing was written'}", style="yellow")
            raise typer.Exit(130) from None
        size = f"{table.shape[0]:,} users, {table.shape[1]:,} items, {len(table.values):,} interactions"
        written = str(model)
    seconds = time.perf_counter() - begun
    fitted.save(model)
    if kept is not None:
        kept.unlink(missing_ok=True)  # only now: what if the disk is full
    for side in ("item", "user"):
        if (features := getattr(fitted, f"{side}_table")) is not None:
            say(f"features of {side}s: {features.encoder}")
    used = ", ".join(f"{name}={value:.3g}" for name, value in fitted.model.chosen_.items())
    say(f"{size}: fitted in {seconds:.1f} s with {used}; written to {written}")
