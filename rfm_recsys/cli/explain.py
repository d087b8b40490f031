"""``rfm-recsys explain``."""

import sys

import pandas as pd

from rfm_recsys.cli.console import say, show
from rfm_recsys.cli.options import (
    CountOption,
    ItemOption,
    JsonOption,
    ModelArgument,
    TitlesOption,
    UserOption,
    load_model,
    typed,
    with_users_beside,
)


def explain(
    model: ModelArgument,
    user: UserOption,
    item: ItemOption,
    n: CountOption = 10,
    titles: TitlesOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print the score of an item for a user, and the liked items that account for most of it."""
    table_model = with_users_beside(load_model(model), model, [user])
    score, shares = table_model.explain(typed(user, table_model.user_ids), typed(item, table_model.item_ids), n)
    others, rest = shares.attrs["others"], shares.attrs["rest"]
    if titles is not None:
        shares = table_model.with_titles(shares, titles)
    if others:
        more = pd.DataFrame([{"item_id": f"({others} others)", "share": rest}], columns=shares.columns)
        shares = pd.concat([shares.astype(object), more.astype(object)], ignore_index=True)
    if not as_json:
        piped = not sys.stdout.isatty()  # where lines of the table only are wanted
        say(f"item {item} scores {score:.4f} for user {user}, the sum of these shares:", error=piped)
        if part := shares.attrs.get("from_features"):
            say(f"(of the score {part:.4f} is from features of the item, the rest from who has it)", error=piped)
    show(shares, as_json)
