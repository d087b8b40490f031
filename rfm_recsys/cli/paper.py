"""``rfm-recsys paper``."""

from pathlib import Path
from typing import Annotated

import typer

from rfm_recsys.cli.console import say
from rfm_recsys.cli.options import ResultOption, report_beside
from rfm_recsys.core.files import check_target
from rfm_recsys.errors import DataError
from rfm_recsys.evaluation import write_json
from rfm_recsys.paper.experiments import claims, run
from rfm_recsys.report.paper import write_report


def paper(
    full: Annotated[
        bool, typer.Option("--full/--quick", help="Large sizes, which take much longer, or small ones, for minutes.")
    ] = False,
    data: Annotated[
        Path | None,
        typer.Option(help="A folder with ml-100k and ml-1m; without it, ratings are generated.", show_default=False),
    ] = None,
    output: ResultOption = Path("paper.json"),
) -> None:
    """Run the experiments of the lin-RFM paper; write JSON and an HTML report with plots."""
    report = report_beside(output)
    if data is not None and not data.is_dir():
        raise DataError(f"there is no folder {data}; pass --data with one that holds ml-100k and ml-1m")
    check_target(output)
    result = run(not full, data)
    write_json(result, output)
    write_report(result, report)
    for claim, holds, evidence in claims(result):
        say(f"{'yes' if holds else 'no ':3} {claim}: {evidence}")
    failed = {name: found["error"] for name, found in result["experiments"].items() if "error" in found}
    for name, error in failed.items():
        say(f"{name} failed: {error}", style="red")
    say(f"written to {output} and {report}")
    if failed:
        raise typer.Exit(1)
