"""Options that several commands share, and what they stand for."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import wraps
from inspect import Signature, signature
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rfm_recsys.cli.console import status
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
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON lines rather than a table.")]
TitlesOption = Annotated[
    str | None,
    typer.Option(help="A table with an item a row, whose columns stand beside the items.", show_default=False),
]
OutputOption = Annotated[
    str | None,
    typer.Option(
        help="A .parquet, .csv or .jsonl file to write instead of printing, or - for CSV on standard output.",
        show_default=False,
    ),
]


def _column(role: str, more: str = "") -> Any:
    text = f"Column of the {role}; by default the one with a usual name{more}."
    return typer.Option(help=text, show_default=False, rich_help_panel="Reading")


def _reading(text: str, *names: str) -> Any:
    return typer.Option(*names, help=text, show_default=False, rich_help_panel="Reading")


# how a table of interactions is read, the same in every command that reads one
UserColumn = Annotated[str | None, _column("user ids")]
ItemColumn = Annotated[str | None, _column("item ids")]
ValueColumn = Annotated[str | None, _column("confidences or ratings", ", 'none' for none")]
TimestampColumn = Annotated[str | None, _column("timestamps", ", 'none' for none")]
EventColumn = Annotated[str | None, _column("kinds of events")]
EventWeightsOption = Annotated[str | None, _reading("By how much each event counts, as view=1,purchase=5.")]
DuplicatesOption = Annotated[
    str, _reading("Of several rows for one user and item: take the 'last' (default), the 'sum', or end in 'error'.")
]
OnesOption = Annotated[bool, _reading("Every interaction counts 1, whatever its value.", "--ones")]
MinRatingOption = Annotated[float | None, _reading("Least value; rows below are left out.")]
SepOption = Annotated[str | None, _reading("Between fields: one letter, 'tab' or '::'; recognised by default.")]
HeaderOption = Annotated[bool, _reading("Whether the first row names the columns.", "--header/--no-header")]
EncodingOption = Annotated[str | None, _reading("Of a text, as latin-1; by default UTF-8, or what its mark says.")]
QuoteOption = Annotated[str | None, _reading("Around fields, '' for none; recognised by default.")]
EscapeOption = Annotated[str, _reading("Before a letter that is meant as it is.")]
DecimalOption = Annotated[str | None, _reading("Of values: '.' or ','; recognised by default.")]


def _how_read(
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
    """Have the options of reading, for the signatures of commands."""


READING = signature(_how_read).parameters


def reads_a_table(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of reading; it takes those that are not as by default as the mapping ``how_read``."""
    own = [each for name, each in signature(command).parameters.items() if name != "how_read"]
    whole = Signature([*own, *READING.values()])

    @wraps(command)
    def run(*arguments: Any, **named: Any) -> None:
        bound = whole.bind(*arguments, **named)
        bound.apply_defaults()
        given = bound.arguments
        command(how_read=_given({name: given.pop(name) for name in READING}), **given)

    vars(run)["__signature__"] = whole
    run.__annotations__ = {each.name: each.annotation for each in (*own, *READING.values())} | {"return": None}
    return run


def _given(options: dict[str, Any]) -> dict[str, Any]:
    """Return the options of reading that are not as by default, as :func:`read_interactions` takes them."""
    given = {name: value for name, value in options.items() if value != READING[name].default}
    if "event_weights" in given:
        weights, given["event_weights"] = given["event_weights"], {}
        for part in weights.split(","):
            kind, _, number = part.rpartition("=")
            try:
                given["event_weights"][kind.strip()] = float(number)
            except ValueError as error:
                raise ParameterError(f"{part!r} is no weight; pass --event-weights as view=1,purchase=5") from error
    return given


ItemTableOption = Annotated[
    str | None,
    typer.Option(help="A table that describes items, one a row: genres, prices, titles.", show_default=False),
]
UserTableOption = Annotated[
    str | None, typer.Option(help="A table that describes users, one a row.", show_default=False)
]
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
OverwriteOption = Annotated[
    bool, typer.Option("--overwrite", help="On a cluster: replace the folder that is there, when the new one is whole.")
]
ResultOption = Annotated[
    Path, typer.Option(help="Where to write the result as JSON; the report goes beside it, as .html.")
]


def load_model(path: Path) -> "TableModel":
    """Load the model of a ``ModelArgument``."""
    if not path.is_file():
        raise DataError(f"there is no file {path}; pass a model that rfm-recsys fit has written")
    with status(f"loading {path}"):
        from rfm_recsys.tables import TableModel

        return TableModel.load(path)


def typed(text: str, known: "pd.Index[Any]") -> int | float | str:
    """Return the known id that is written like this: an integer, a float or else a string."""
    for kind in (int, float):
        with suppress(ValueError):
            if (number := kind(text)) in known:
                return number
    return text


def with_users_beside(
    table_model: "TableModel", model: Path, texts: list[str], users: Path | None = None
) -> "TableModel":
    """Return a model whose users are in a folder, as a cluster writes them, with those whose ids are written so."""
    folder = users_beside(model, users)
    if len(table_model.user_ids) or not texts or (users is None and not folder.is_dir()):
        return table_model
    with extra("distributed"):
        from rfm_recsys.distributed import with_users
    numbers: list[object] = []
    for text, kind in product(texts, (int, float)):
        with suppress(ValueError):
            numbers.append(kind(text))
    return with_users(table_model, folder, [*texts, *numbers])


def users_beside(model: Path, users: Path | None) -> Path:
    """Return the folder of the users of a model that a cluster fits."""
    return users or model.with_name(f"{model.name}.users")


@contextmanager
def cluster(scheduler: str | None, workers: int | None) -> Iterator["Client"]:
    """Yield the client of a scheduler, or of a cluster that lives as long as this context."""
    if scheduler is not None and workers is not None:
        raise ParameterError("--scheduler has workers of its own; leave out --workers")
    with status("connecting" if scheduler else "starting workers"), extra("distributed"):
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
