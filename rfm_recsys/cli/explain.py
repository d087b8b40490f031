"""``rfm-recsys explain``."""

from rfm_recsys.cli.console import say, show
from rfm_recsys.cli.options import CountOption, ItemOption, ModelArgument, UserOption, load_model, typed


def explain(model: ModelArgument, user: UserOption, item: ItemOption, n: CountOption = 10) -> None:
    """Print the score of an item for a user, and the liked items that account for most of it."""
    table_model = load_model(model)
    score, shares = table_model.explain(typed(user, table_model.user_ids), typed(item, table_model.item_ids), n)
    say(f"item {item} scores {score:.4f} for user {user}; the largest shares:")
    show(shares)
