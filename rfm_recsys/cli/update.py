"""``rfm-recsys update``."""

from pathlib import Path
from typing import Annotated

import typer

from rfm_recsys.cli.console import say, status
from rfm_recsys.cli.options import (
    DecimalOption,
    DuplicatesOption,
    EncodingOption,
    EscapeOption,
    EventColumn,
    EventWeightsOption,
    HeaderOption,
    ItemColumn,
    MinRatingOption,
    ModelArgument,
    OnesOption,
    QuoteOption,
    SepOption,
    TimestampColumn,
    UserColumn,
    ValueColumn,
    load_model,
    reading,
)
from rfm_recsys.core.files import check_target


def update(
    model: ModelArgument,
    interactions: Annotated[str, typer.Argument(help="A table of further interactions.", show_default=False)],
    output: Annotated[
        Path | None, typer.Option(help="Where to write the model; by default to where it was.", show_default=False)
    ] = None,
    user: UserColumn = None,
    item: ItemColumn = None,
    value: ValueColumn = None,
    timestamp: TimestampColumn = None,
    event: EventColumn = None,
    event_weights: EventWeightsOption = None,
    duplicates: DuplicatesOption = "last",
    ones: OnesOption = False,
    min_rating: MinRatingOption = None,
    sep: SepOption = None,
    header: HeaderOption = True,
    encoding: EncodingOption = None,
    quote: QuoteOption = None,
    escape: EscapeOption = "",
    decimal: DecimalOption = None,
) -> None:
    """Take further interactions in, of new users and items too, without a fit; write the model."""
    how = reading(
        user=user, item=item, value=value, timestamp=timestamp, event=event, event_weights=event_weights, ones=ones,
        min_rating=min_rating, sep=sep, header=header, encoding=encoding, quote=quote, escape=escape, decimal=decimal,
    )  # fmt: skip
    target = output or model
    check_target(target)
    table_model = load_model(model)
    with status(f"reading {interactions}"):
        from rfm_recsys.datasets import read_interactions

        table = read_interactions(interactions, duplicates=duplicates, **how)  # type: ignore[arg-type]
    say(table.summary)
    before = table_model.user_items.shape
    table_model.update(table, duplicates=duplicates)  # type: ignore[arg-type]
    table_model.save(target)
    new_users, new_items = (now - then for now, then in zip(table_model.user_items.shape, before, strict=True))
    say(f"{new_users:,} new users and {new_items:,} new items; written to {target}")
