"""``rfm-recsys similar``."""

from rfm_recsys.cli.console import show
from rfm_recsys.cli.options import CountOption, ItemOption, ModelArgument, load_model, typed


def similar(model: ModelArgument, item: ItemOption, n: CountOption = 10) -> None:
    """Print the items that are most similar to one, by the cosine of their factors."""
    table_model = load_model(model)
    show(table_model.similar(typed(item, table_model.item_ids), n))
