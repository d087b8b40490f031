"""``rfm-recsys similar``."""

from typing import Annotated

import typer

from rfm_recsys.cli.console import check_output, emit, say, show
from rfm_recsys.cli.options import (
    CountOption,
    JsonOption,
    ModelArgument,
    OutputOption,
    TitlesOption,
    load_model,
    typed,
)


def similar(
    model: ModelArgument,
    item: Annotated[list[str], typer.Option(help="The id of an item; may be given several times.", show_default=False)],
    n: CountOption = 10,
    min_interactions: Annotated[int, typer.Option(min=0, help="Users that a similar item has at least.")] = 0,
    titles: TitlesOption = None,
    output: OutputOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print the items that are liked as an item is, or several items are."""
    check_output(output)
    table_model = load_model(model)
    ids = [typed(text, table_model.item_ids) for text in item]
    frame = table_model.similar(ids if len(ids) > 1 else ids[0], n, min_interactions)
    if titles is not None:
        frame = table_model.with_titles(frame, titles)
    if output is None:
        show(frame, as_json)
        return
    emit([frame], output, as_json)
    if output != "-":
        say(f"written to {output}")
