"""``rfm-recsys update``."""

from pathlib import Path
from typing import Annotated, Any

import typer

from rfm_recsys.cli.console import say, status
from rfm_recsys.cli.options import (
    ModelArgument,
    load_model,
    reads_a_table,
)
from rfm_recsys.core.files import check_target


@reads_a_table
def update(
    how_read: dict[str, Any],
    model: ModelArgument,
    interactions: Annotated[str, typer.Argument(help="A table of further interactions.", show_default=False)],
    output: Annotated[
        Path | None, typer.Option(help="Where to write the model; by default to where it was.", show_default=False)
    ] = None,
) -> None:
    """Take further interactions in, of new users and items too, without a fit; write the model."""
    target = output or model
    check_target(target)
    table_model = load_model(model)
    with status(f"reading {interactions}"):
        from rfm_recsys.datasets import read_interactions

        table = read_interactions(interactions, **how_read)
    say(table.summary)
    before = table_model.user_items.shape
    table_model.update(table, how_read.get("duplicates", "last"))
    table_model.save(target)
    new_users, new_items = (now - then for now, then in zip(table_model.user_items.shape, before, strict=True))
    say(f"{new_users:,} new users and {new_items:,} new items; written to {target}")
