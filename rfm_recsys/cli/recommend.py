"""``rfm-recsys recommend``."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rfm_recsys.cli.console import check_output, emit, say, show
from rfm_recsys.cli.options import (
    CountOption,
    JsonOption,
    ModelArgument,
    OutputOption,
    OverwriteOption,
    SchedulerOption,
    TitlesOption,
    UsersOption,
    WorkersOption,
    cluster,
    load_model,
    typed,
    users_beside,
    with_users_beside,
)
from rfm_recsys.errors import DataError, ParameterError

if TYPE_CHECKING:
    import pandas as pd

    from rfm_recsys.tables import TableModel

USERS_AT_ONCE = 10_000


def recommend(
    model: ModelArgument,
    user: Annotated[
        list[str] | None, typer.Option(help="The id of a user; may be given several times.", show_default=False)
    ] = None,
    everybody: Annotated[bool, typer.Option("--all", help="For all users.")] = False,
    users_from: Annotated[
        Path | None, typer.Option(help="For the users of a text file, an id a line.", show_default=False)
    ] = None,
    history: Annotated[
        list[str] | None,
        typer.Option(help="For somebody new: an item that they have; may be given several times.", show_default=False),
    ] = None,
    n: CountOption = 10,
    include_liked: Annotated[
        bool, typer.Option("--include-liked", help="Items that the user has already, too.")
    ] = False,
    only: Annotated[
        list[str] | None, typer.Option(help="An item to choose from; may be given several times.", show_default=False)
    ] = None,
    without: Annotated[
        list[str] | None, typer.Option(help="An item to leave out; may be given several times.", show_default=False)
    ] = None,
    unknown: Annotated[
        str, typer.Option(help="Of a user who is not in the table: 'error', what is 'popular', or 'skip'.")
    ] = "error",
    std: Annotated[bool, typer.Option("--std", help="Show the standard deviations of the scores, too.")] = False,
    explore: Annotated[
        str | None,
        typer.Option(help="Try what is uncertain, new items first: 'thompson' or 'ucb'.", show_default=False),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of what 'thompson' draws; pass another one each time.")] = 0,
    titles: TitlesOption = None,
    output: OutputOption = None,
    as_json: JsonOption = False,
    scheduler: SchedulerOption = None,
    workers: WorkersOption = None,
    users: UsersOption = None,
    overwrite: OverwriteOption = False,
) -> None:
    """Print the best items of users, or write them to a file; on a cluster, those of all users to a folder."""
    progress = sys.stderr.isatty()
    unsure: dict[str, Any] = {"return_std": True} if std else {}
    if explore is not None:
        unsure |= {"explore": explore, "random_state": seed}
    if unsure and (history or scheduler is not None or workers is not None):
        raise ParameterError("--std and --explore are for users of the table, on one machine; leave them out")
    if scheduler is not None or workers is not None:
        if not everybody or user or output is None:
            raise ParameterError("a cluster is for all users; pass --all and --output with a folder to make")
        table_model = load_model(model)
        with cluster(scheduler, workers) as client:
            from rfm_recsys.distributed import recommend_all

            folder = users_beside(model, users)
            recommend_all(table_model, folder, output, client, n, not include_liked, progress, overwrite=overwrite)
        say(f"written to {output}")
        return
    if overwrite:
        raise ParameterError("--overwrite is for a cluster; pass --scheduler or --workers, too")
    if (bool(user), everybody, users_from is not None, bool(history)).count(True) != 1:
        raise ParameterError("pass either --user, once for each user, or --users-from, --history or --all")
    if everybody and output is None:
        raise ParameterError("--all is for a file; pass --output with a .parquet, .csv or .jsonl file, too")
    check_output(output)
    table_model = load_model(model)
    rules = {name: None if ids is None else [typed(text, table_model.item_ids) for text in ids]
             for name, ids in (("items", only), ("filter_items", without))}  # fmt: skip
    if (
        everybody
        and output is not None
        and Path(output).suffix == ".parquet"
        and not (only or without or titles or unsure)
    ):
        table_model.recommend_all(output, n, not include_liked, show_progress=progress)
        say(f"written to {output}")
        return
    if history:
        has = [typed(text, table_model.item_ids) for text in history]
        frames = iter([table_model.recommend_for(has, n, not include_liked, **rules)])
    else:
        options: dict[str, Any] = {"unknown": unknown, **rules, **unsure}
        texts = _texts(user, users_from)
        table_model = with_users_beside(table_model, model, texts, users)
        wanted = table_model.user_ids.tolist() if everybody else [typed(text, table_model.user_ids) for text in texts]
        frames = (
            table_model.recommend(wanted[first : first + USERS_AT_ONCE], n, not include_liked, **options)
            for first in range(0, max(1, len(wanted)), USERS_AT_ONCE)
        )
    frames = _reported(frames, table_model, titles)
    if output is not None:
        emit(frames, output, as_json)
        if output != "-":
            say(f"written to {output}")
        return
    for frame in frames:
        if frame.empty:
            say("no item is left to recommend")
        else:
            show(frame, as_json)


def _texts(user: list[str] | None, users_from: Path | None) -> list[str]:
    """Return the ids of the users asked for, as they are written."""
    if users_from is None:
        return user or []
    try:
        return [line for line in users_from.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{users_from} cannot be read: {error}; pass a text with an id a line") from error


def _reported(
    frames: "Iterator[pd.DataFrame]", table_model: "TableModel", titles: str | None
) -> "Iterator[pd.DataFrame]":
    """Say which ids are unknown, and put titles beside the items."""
    for frame in frames:
        for what in ("users", "items"):
            if strangers := frame.attrs.get(f"unknown_{what}"):
                some = ", ".join(map(str, strangers[:5])) + (", ..." if len(strangers) > 5 else "")
                say(f"{len(strangers):,} {what} are not in the table: {some}", error=True)
        yield frame if titles is None else table_model.with_titles(frame, titles)
