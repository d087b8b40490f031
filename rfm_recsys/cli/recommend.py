"""``rfm-recsys recommend``."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rfm_recsys.cli.console import say, show
from rfm_recsys.cli.options import (
    CountOption,
    ModelArgument,
    SchedulerOption,
    UsersOption,
    WorkersOption,
    cluster,
    load_model,
    typed,
    users_beside,
)
from rfm_recsys.core.files import check_target, replacing
from rfm_recsys.errors import DataError, ParameterError

if TYPE_CHECKING:
    import pandas as pd


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
    progress = sys.stderr.isatty()
    if scheduler is not None or workers is not None:
        if not everybody or user or output is None:
            raise ParameterError("a cluster is for all users; pass --all and --output with a folder to make")
        table_model = load_model(model)
        with cluster(scheduler, workers) as client:
            from rfm_recsys.distributed import recommend_all

            recommend_all(table_model, users_beside(model, users), output, client, n, not include_liked, progress)
        say(f"written to {output}")
        return
    if users is not None:
        raise ParameterError("--users is for a cluster; pass --scheduler or --workers, too")
    if everybody == bool(user):
        raise ParameterError("pass either --user, once for each user, or --all")
    if everybody and output is None:
        raise ParameterError("--all is for a file; pass --output with a .parquet file, too")
    endings = (".parquet",) if everybody else (".csv", ".parquet")
    if output is not None:
        if output.suffix not in endings:
            raise ParameterError(f"{output} cannot be written; pass --output with a {' or '.join(endings)} file")
        check_target(output)
    table_model = load_model(model)
    if everybody and output is not None:
        table_model.recommend_all(output, n, not include_liked, show_progress=progress)
    else:
        ids = [typed(text, table_model.user_ids) for text in user or ()]
        frame = table_model.recommend(ids, n, not include_liked)
        if output is None:
            if frame.empty:
                say("no item is left to recommend")
            show(frame)
            return
        _write(frame, output)
    say(f"written to {output}")


def _write(frame: "pd.DataFrame", path: Path) -> None:
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
