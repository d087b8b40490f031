"""Options that several commands share, and what they stand for."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rfm_recsys.cli.console import console
from rfm_recsys.core.extras import extra
from rfm_recsys.errors import DataError, ParameterError

if TYPE_CHECKING:
    import pandas as pd
    from distributed import Client

    from rfm_recsys.tables import TableModel

ModelArgument = Annotated[Path, typer.Argument(help="A model that fit has written.", show_default=False)]
UserOption = Annotated[str, typer.Option(help="The id of a user.", show_default=False)]
ItemOption = Annotated[str, typer.Option(help="The id of an item.", show_default=False)]
CountOption = Annotated[int, typer.Option("-N", min=1, help="How many items, at most.")]
SchedulerOption = Annotated[
    str | None, typer.Option(help="Address of a Dask scheduler to work on, as tcp://host:8786.", show_default=False)
]
WorkersOption = Annotated[
    int | None,
    typer.Option(min=1, help="Work on a Dask cluster of so many processes here, started for it.", show_default=False),
]
UsersOption = Annotated[
    Path | None,
    typer.Option(
        help="On a cluster: the folder of the users. By default that of the model, with .users.", show_default=False
    ),
]
ResultOption = Annotated[
    Path, typer.Option(help="Where to write the result as JSON; the report goes beside it, as .html.")
]


def load_model(path: Path) -> "TableModel":
    """Load the model of a ``ModelArgument``."""
    if not path.is_file():
        raise DataError(f"there is no file {path}; pass a model that rfm-recsys fit has written")
    with console().status(f"loading {path}"):
        from rfm_recsys.tables import TableModel

        return TableModel.load(path)


def typed(text: str, known: "pd.Index[Any]") -> int | float | str:
    """Return the known id that is written like this: an integer, a float or else a string."""
    for kind in (int, float):
        with suppress(ValueError):
            if (number := kind(text)) in known:
                return number
    return text


def users_beside(model: Path, users: Path | None) -> Path:
    """Return the folder of the users of a model that a cluster fits."""
    return users or model.with_name(f"{model.name}.users")


@contextmanager
def cluster(scheduler: str | None, workers: int | None) -> Iterator["Client"]:
    """Yield the client of a scheduler, or of a cluster that lives as long as this context."""
    if scheduler is not None and workers is not None:
        raise ParameterError("--scheduler has workers of its own; leave out --workers")
    with console().status("connecting" if scheduler else "starting workers"), extra("distributed"):
        from distributed import Client, LocalCluster
    if scheduler is not None:
        with Client(scheduler) as client:
            yield client
    else:
        with LocalCluster(n_workers=workers, threads_per_worker=1) as made, Client(made) as client:
            yield client


def report_beside(output: Path) -> Path:
    """Return the path of the report of a ``ResultOption``."""
    if output.suffix == ".html":
        raise ParameterError(f"{output} is the report's place; pass --output with a .json file")
    return output.with_suffix(".html")
