"""``rfm-recsys features``."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from rfm_recsys.cli.console import say, show
from rfm_recsys.cli.options import JsonOption, ModelArgument, load_model
from rfm_recsys.core.extras import extra
from rfm_recsys.core.files import check_target


def features(
    model: ModelArgument,
    side: Annotated[Literal["item", "user"], typer.Option(help="Whose features.")] = "item",
    n: Annotated[int, typer.Option("-N", min=1, help="How many features, at most.")] = 20,
    plot: Annotated[
        Path | None, typer.Option(help="Where to draw them, as .png, .svg or .pdf.", show_default=False)
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Print which features matter most, by the average gradient outer product."""
    frame = load_model(model).feature_weights(side)
    if plot is not None:
        check_target(plot)
        with extra("evaluation"):
            from rfm_recsys.report.plots import feature_plot
        feature_plot(frame.head(n), plot)
    show(frame.head(n), as_json)
    if plot is not None:
        say(f"drawn to {plot}", error=True)
