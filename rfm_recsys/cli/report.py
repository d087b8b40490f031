"""``rfm-recsys report``."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from rfm_recsys.cli.console import say
from rfm_recsys.cli.options import CountOption, ModelArgument, TitlesOption, load_model
from rfm_recsys.core.files import check_target
from rfm_recsys.diagnosis import diagnose
from rfm_recsys.report.diagnosis import write_report


def report(
    model: ModelArgument,
    output: Annotated[Path, typer.Option("--output", "-o", help="The HTML page to write.")] = Path("report.html"),
    n: CountOption = 10,
    titles: TitlesOption = None,
) -> None:
    """Write a page of whom and what a model does not know: odd interactions, unsure scores, items nobody is shown."""
    check_target(output)
    table_model = load_model(model)
    write_report(table_model, diagnose(table_model, n, show_progress=sys.stderr.isatty()), output, titles, model.name)
    say(f"written to {output}")
