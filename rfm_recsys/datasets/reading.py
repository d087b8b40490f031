"""Tables of interactions in any of the usual formats: CSV and its kin, JSON lines, Parquet, data frames."""

import io
import json
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset

from rfm_recsys.core.wording import named, option
from rfm_recsys.datasets import text
from rfm_recsys.datasets.interactions import (
    Duplicates,
    Interactions,
    RowError,
    Taking,
    from_frame,
    roles_of,
    usual_columns,
)
from rfm_recsys.datasets.text import Dialect
from rfm_recsys.errors import DataError, ParameterTypeError

PARQUET = (".parquet", ".pq", ".parq")
JSON_LINES = (".jsonl", ".ndjson", ".json")


@dataclass(frozen=True)
class _Frame:
    """A table, its columns called by their roles, and where its rows come from."""

    frame: pd.DataFrame
    names: dict[str, str]
    source: str
    table: text.TextTable | None = None
    starts: tuple[tuple[int, str], ...] = ()  # the first row of each file, and its name
    rows_of_file: str = "row"


def is_table(path: str | PathLike[str]) -> bool:
    """Whether there is a file, or a folder with Parquet files in it."""
    path = Path(path)
    return path.is_file() or (path.is_dir() and next(_parquet_files(path), None) is not None)


def _parquet_files(folder: Path) -> Any:
    return (
        file for ending in PARQUET for file in folder.rglob(f"*{ending}") if file.is_file() and _shown(file, folder)
    )


def _shown(file: Path, folder: Path) -> bool:
    return not any(part.startswith((".", "_")) for part in file.relative_to(folder).parts)


def read_interactions(
    path: str | PathLike[str],
    user: str | None = None,
    item: str | None = None,
    value: str | None = None,
    timestamp: str | None = None,
    duplicates: Duplicates = "last",
    *,
    event: str | None = None,
    event_weights: dict[str, float] | None = None,
    ones: bool = False,
    min_rating: float | None = None,
    sep: str | None = None,
    header: bool = True,
    encoding: str | None = None,
    quote: str | None = None,
    escape: str = "",
    decimal: str | None = None,
) -> Interactions:
    r"""Read a file of interactions: CSV and its kin, JSON lines, or Parquet, also as a folder of files.

    Columns that are not named are recognised by their usual names (``userId``, ``item_id``, ``rating``, ``plays``,
    ``timestamp`` and the like); without a value column every interaction is 1. What a text is written in is recognised,
    too: compression, UTF-8 or UTF-16 by its mark, separator, quotation marks, decimal comma. Every row is read, or an
    error names the line and the argument. Ids in a text are integers only where all of a column are written as Python
    would write them, so "007" stays a string; blanks around ids go where every row has them.

    Parameters
    ----------
    path : str or path
        A file, or a folder of Parquet files, with partitions as Hive names them (``rating=5``) or without.
    user, item, value, timestamp, duplicates, event, event_weights, ones, min_rating
        As in :func:`from_frame`; "none" for ``value`` or ``timestamp`` leaves out a column that is recognised.
    sep : str, optional
        Between fields: one letter, "tab", or "::".
    header : bool
        Whether the first row names the columns; without, they are called "1", "2" and so on: users, items, values and
        timestamps, in this order.
    encoding : str, optional
        As Python's codecs call it; UTF-8, or what the file's mark says.
    quote : str, optional
        Around fields that hold separators or line ends; "" for none.
    escape : str
        Before a letter that is meant as it is, as a backslash.
    decimal : str, optional
        Of values: "." or ",".

    Returns
    -------
    Interactions

    Raises
    ------
    DataError
        A file that is missing, empty or broken (with the line), and all that :func:`from_frame` refuses.
    ParameterError
        An argument that cannot be.

    Examples
    --------
    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> from rfm_recsys.datasets import read_interactions
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder, "table.csv")
    ...     _ = path.write_text("userId;movieId;rating\n7;21;3,5\n8;21;4\n")
    ...     data = read_interactions(path)
    >>> print(data.summary)
    2 rows, 2 users, 1 item, values from 'rating'
    """
    taking = Taking(duplicates, event_weights, ones, min_rating)
    names = {"user": user, "item": item, "value": value, "timestamp": timestamp, "event": event}
    path = Path(path)
    found = _read(path, names, Dialect(sep, header, encoding, quote, escape, decimal).checked(), taking)
    try:
        return from_roles(found.frame, found.names, taking)
    except RowError as error:
        raise DataError(f"{_place(found, error.row)} {error}{_remedy(found)}") from error
    except DataError as error:
        raise DataError(f"{found.source}: {error}") from error


def _place(found: _Frame, row: int) -> str:
    if found.table is not None:
        line = text.line_of(found.table, row)
        return f"{found.source}, line {line}" if line is not None else f"{found.source}, row {row + 1}"
    start, name = next((each for each in reversed(found.starts) if each[0] <= row), (0, found.source))
    return f"{name}, {found.rows_of_file} {row - start + 1}"


def _remedy(found: _Frame) -> str:
    return f"; correct or remove the {'line' if found.table is not None else found.rows_of_file}"


def from_roles(frame: pd.DataFrame, names: dict[str, str], taking: Taking) -> Interactions:
    """Do as :func:`from_frame` for columns that are called by their roles."""
    return taking.interactions({role: frame[role].rename(name) for role, name in names.items()}, names)


def _read(path: Path, names: dict[str, str | None], dialect: Dialect, taking: Taking) -> _Frame:
    if path.is_dir():
        files = sorted(_parquet_files(path))
        if not files:
            raise DataError(f"there is no Parquet file in {path}; pass a file, or a folder of .parquet files")
        return _read_parquet(path, files, names, taking)
    if not path.is_file():
        raise DataError(f"there is no file {path}; pass the path of a CSV or Parquet file")
    with path.open("rb") as raw:
        begin = raw.read(4)
    if begin == b"PAR1" or path.suffix.lower() in PARQUET:
        return _read_parquet(path, [path], names, taking)
    if begin in (b"\xd0\xcf\x11\xe0",) or path.suffix.lower() in (".xlsx", ".xls", ".ods"):
        raise DataError(f"{path} is a spreadsheet; save it as CSV or Parquet, and pass that")
    if _is_json(path):
        return _read_json(path, names, taking)
    return _read_text(path, names, dialect, taking)


def _is_json(path: Path) -> bool:
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if any(suffix in JSON_LINES for suffix in suffixes):
        return True
    try:
        with text.opened(path) as source:
            return re.match(rb'\s*(\{\s*"|\[\s*\{)', source.read(200).removeprefix(b"\xef\xbb\xbf")) is not None
    except text.READING:
        return False


def _read_text(path: Path, names: dict[str, str | None], dialect: Dialect, taking: Taking) -> _Frame:
    def known(header: Sequence[str]) -> bool:
        found = usual_columns(header)
        return all(found.get(role) or names[role] in header for role in ("user", "item"))

    table = text.recognised(path, dialect, known)
    columns = table.names
    if dialect.header and not table.sample and known(columns):
        raise DataError(f"{path}: the table has no rows; pass at least one interaction")
    if not dialect.header:
        usual = {} if any(names.values()) else by_position(table, taking)
        roles = roles_of(columns, usual | {role: name for role, name in names.items() if name}, taking, str(path))
    elif not known(columns) and not any(names.values()) and any(text.NUMBER.fullmatch(name) for name in columns):
        raise DataError(
            f"{path} has no names of columns: its first row, {columns}, looks like data; pass {option('header', False)}"
        )
    elif not table.sample and not all(name in columns for name in filter(None, names.values())):
        raise DataError(f"{path} has one row, {columns}; if it holds data, pass {option('header', False)}")
    else:
        roles = roles_of(columns, names, taking, str(path))
    places = {role: columns.index(name) for role, name in roles.items()}
    frame = text.read_columns(table, places)
    return _Frame(frame, roles, str(path), table)


def by_position(table: text.TextTable, taking: Taking) -> dict[str, str | None]:
    """Return users and items, and values and timestamps where the third and fourth column hold numbers."""
    roles: dict[str, str | None] = dict(zip(("user", "item"), table.names, strict=False))
    for role, place in (("value", 2), ("timestamp", 3)):
        fields = [row[place] for row in table.sample if place < len(row)]
        if role not in taking.left_out and fields and all(text.is_number(field) for field in fields):
            roles[role] = table.names[place]
    return roles


def _read_json(path: Path, names: dict[str, str | None], taking: Taking) -> _Frame:
    """Read an object a line, or one list of objects."""
    try:
        with text.opened(path) as source:
            stream = io.TextIOWrapper(source, encoding="utf-8-sig")
            first = stream.read(1)
            while first.isspace():
                first = stream.read(1)
            if first == "[":
                rows = json.loads(first + stream.read())
                lines: Any = range(1, len(rows) + 1)
            else:
                rows, lines = [], []
                for number, line in enumerate(stream, 1):
                    if content := (first + line if number == 1 else line).strip():
                        try:
                            rows.append(json.loads(content))
                        except ValueError as error:
                            raise DataError(
                                f"{path}, line {number} is no JSON object ({error}); mend or remove the line"
                            ) from error
                        lines.append(number)
    except text.READING as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path} cannot be read: {error}; write one JSON object a line") from error
    for row, line in zip(rows, lines, strict=True):
        if not isinstance(row, dict):
            raise DataError(f'{path}, line {line} is no JSON object; write one a line, as {{"user": 1, "item": 2}}')
    columns = list(dict.fromkeys(name for row in rows for name in row))
    roles = roles_of(columns, names, taking, str(path))
    frame = pd.DataFrame(
        {role: pd.Series([row.get(name) for row in rows], dtype=object) for role, name in roles.items()}
    )
    return _Frame(frame.infer_objects(), roles, str(path), starts=((0, str(path)),), rows_of_file="object")


def _read_parquet(path: Path, files: list[Path], names: dict[str, str | None], taking: Taking) -> _Frame:
    frames, starts, start = [], [], 0
    roles: dict[str, str] = {}
    columns: list[str] | None = None
    for file in files:
        try:
            part = pa.dataset.dataset(file, format="parquet", partitioning="hive", partition_base_dir=str(path))
            own = part.schema.names
            if columns is None:
                columns = own
                roles = roles_of(own, names, taking, str(file))
            if missing := [name for name in roles.values() if name not in own]:
                raise DataError(f"{file} has no column {missing[0]!r}, as {files[0]} has; write all files alike")
            table = part.to_table(columns=list(dict.fromkeys(roles.values())))
        except (pa.ArrowException, OSError, ValueError) as error:
            raise DataError(f"{file} cannot be read: {error}; write it again, or export the file again") from error
        for role, name in roles.items():
            column = table.column(name)
            if column.null_count:
                row = int(np.flatnonzero(column.is_null().to_numpy())[0])
                raise DataError(
                    f"{file}, row {row + 1} has no value in column {name!r}, the {role}; correct or remove the row"
                )
        starts.append((start, str(file)))
        start += len(table)
        frames.append(table)
    return _Frame(_from_arrow(frames, roles, str(path)), roles, str(path), starts=tuple(starts))


def _from_arrow(tables: list["pa.Table"], roles: dict[str, str], where: str) -> pd.DataFrame:
    """Return the columns by role, as pandas has them."""
    found = {}
    for role, name in roles.items():
        parts = [chunk for table in tables for chunk in table.column(name).chunks]
        kinds = {part.type for part in parts}
        if len(kinds) > 1:
            parts = [part.cast(part.type.value_type) if pa.types.is_dictionary(part.type) else part for part in parts]
        try:
            column = pa.concat_tables(
                [pa.table({"column": part}) for part in parts], promote_options="permissive"
            ).column("column") if parts else tables[0].column(name)  # fmt: skip
        except pa.ArrowException as error:
            raise DataError(
                f"column {name!r} of {where} is of several types ({error}); write all files alike"
            ) from error
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        if pa.types.is_decimal(column.type):
            column = column.cast(pa.float64()) if role in ("value", "timestamp") else column.cast(pa.string())
        found[role] = column.to_pandas()
    return pd.DataFrame(found)


def frame_of(table: Any) -> pd.DataFrame | None:
    """Return a table as pandas has it: one of pandas, polars, pyarrow, or of any library with Arrow's interface."""
    if isinstance(table, pd.DataFrame):
        return table
    if hasattr(table, "collect") and not hasattr(table, "__arrow_c_stream__"):
        table = table.collect()  # a lazy frame of polars
    if not hasattr(table, "__arrow_c_stream__"):
        return None
    try:
        arrow = pa.table(table)
    except (TypeError, ValueError, pa.ArrowException) as error:
        raise ParameterTypeError(f"the {type(table).__name__} is no table ({error}); pass a DataFrame") from error
    columns = {}
    for name in dict.fromkeys(arrow.column_names):
        if arrow.column_names.count(name) > 1:
            raise DataError(f"column {name!r} stands {arrow.column_names.count(name)} times; name one that stands once")
        column = arrow.column(name)
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        exact = pa.types.is_integer(column.type) and column.null_count
        columns[name] = column.to_pandas(integer_object_nulls=bool(exact))
    return pd.DataFrame(columns)


def interactions_of(
    table: Any,
    user: str | None = None,
    item: str | None = None,
    value: str | None = None,
    timestamp: str | None = None,
    duplicates: Duplicates = "last",
    **options: Any,
) -> Interactions:
    """Return the interactions of a path, a table of any library, or Interactions; columns are recognised by name."""
    names = {"user": user, "item": item, "value": value, "timestamp": timestamp}
    given = {name: column for name, column in names.items() if column is not None}
    if isinstance(table, Interactions):
        if given or options or duplicates != "last":
            raise ParameterTypeError("options of a table are given with Interactions; pass them where these are made")
        return table
    if isinstance(table, str | PathLike):
        return read_interactions(table, **given, duplicates=duplicates, **options)  # type: ignore[arg-type]
    frame = frame_of(table)
    if frame is None:
        raise ParameterTypeError(f"interactions is a {type(table).__name__}; pass a DataFrame, a path, or Interactions")
    taking = Taking(
        duplicates, options.pop("event_weights", None), options.pop("ones", False), options.pop("min_rating", None)
    )
    event = options.pop("event", None)
    if options:
        raise ParameterTypeError(f"{named(next(iter(options)))} is for a file; leave it out with a table")
    roles = roles_of([str(column) for column in frame.columns], {**names, "event": event}, taking, "the table")
    own = dict(roles.items())
    return from_frame(
        frame, own["user"], own["item"], own.get("value"), own.get("timestamp"), duplicates, event=own.get("event"),
        event_weights=taking.event_weights, ones=taking.ones, min_rating=taking.min_rating,
    )  # fmt: skip


def titles_of(titles: Any, item_ids: "pd.Index[Any]", item: str | None = None, **how: Any) -> tuple[pd.DataFrame, str]:
    """Return an item table, its ids in the type of ``item_ids``, each once, and the column that they are in.

    Rows of a text that have not as many fields as there are columns are left out, with a warning that counts them.
    """
    frame, column = _of_a_side(titles, "item", "titles", item, how)
    by_text = {str(known): known for known in item_ids.tolist()}
    ids = [by_text.get(str(value)) if isinstance(value, str | int | np.integer) else value for value in frame[column]]
    frame = frame.assign(**{column: pd.Series(ids, index=frame.index, dtype=object)})
    frame = frame[frame[column].notna()].drop_duplicates(column)
    if len(frame) == 0:
        raise DataError(
            f"no item of the titles, by column {column!r}, is one of the model; pass another column or file"
        )
    return frame, column


def described(table: Any, ids: "pd.Index[Any]", side: str, among: bool = True, **how: Any) -> pd.DataFrame:
    """Return a table of items or of users by their ids: in the type of ``ids`` those that are among them, each once.

    Ids that are not among them are taken as integers where all of ``ids`` are. A row without an id is left out. Raises
    DataError where none is one of ``ids``, if ``among``.
    """
    frame, column = _of_a_side(table, side, f"{side} table", how.pop(side, None), how)
    by_text = {str(known): known for known in ids.tolist()}
    is_whole = ids.dtype.kind in "iu"

    def own(value: Any) -> Any:
        text = str(value).strip()
        if text in by_text:
            return by_text[text]
        if value is None or not text or (pd.api.types.is_scalar(value) and pd.isna(value)):
            return None
        if is_whole:
            return int(text) if re.fullmatch(r"[+-]?\d{1,18}", text) else None
        return value.item() if isinstance(value, np.generic) else value

    frame = frame.assign(
        **{column: pd.Series([own(value) for value in frame[column]], index=frame.index, dtype=object)}
    )
    frame = frame[frame[column].notna()].drop_duplicates(column)
    if among and not frame[column].isin(ids).any():
        raise DataError(
            f"no {side} of the {side} table, by column {column!r}, is one of the interactions; pass another column, as "
            f"{option(side, str(frame.columns[-1]))}, or another table"
        )
    return frame.set_index(column)


def _of_a_side(table: Any, side: str, what: str, named: str | None, how: dict[str, Any]) -> tuple[pd.DataFrame, str]:
    """Return a table with an item, or a user, a row, and the column of its ids."""
    if isinstance(table, str | PathLike):
        frame = _table_of(Path(table), side, Dialect(**how).checked())
    else:
        found = frame_of(table)
        if found is None:
            raise ParameterTypeError(f"{what} are a {type(table).__name__}; pass a DataFrame, or a path")
        frame = found
    columns = [*frame.columns]
    column = named or usual_columns(columns).get(side)
    if column is None or columns.count(column) != 1:
        asked = (
            f"column {named!r} stands {columns.count(named)} times" if named
            else f"no column of {side} ids is recognised"
        )  # fmt: skip
        raise DataError(f"{asked} among {columns} of the {what}; pass its name, as {option(side, str(columns[0]))}")
    return frame, str(column)


def _table_of(path: Path, side: str, dialect: Dialect) -> pd.DataFrame:
    if not path.is_file():
        raise DataError(f"there is no file {path}; pass the path of a table with one {side} a row")
    with path.open("rb") as raw:
        begin = raw.read(4)
    if begin == b"PAR1":
        frame: pd.DataFrame = pd.read_parquet(path)
        return frame
    table = text.recognised(path, dialect, lambda header: side in usual_columns(header), lenient=True)
    width, rows, misfits = len(table.names), [], 0
    try:
        for _, row in table.rows():
            if len(row) == width or (len(row) > width and not any(row[width:])):  # separators at the end say nothing
                rows.append(row[:width])
            else:
                misfits += 1
    except text.FaultError as fault:
        raise DataError(f"{path}, line {fault.line}: {fault}; mend the line, or pass {option('quote', '')}") from fault
    except text.READING as error:
        raise DataError(
            f"{path} cannot be read: {error}; pass its encoding, as {option('encoding', 'latin-1')}"
        ) from error
    if misfits:
        warnings.warn(
            f"{misfits:,} of {misfits + len(rows):,} rows of {path} have not {width} fields, and are left out",
            stacklevel=3,
        )
    broken = any("\udc80" <= letter <= "\udcff" for row in rows for field in row for letter in field)
    if broken:
        raise DataError(f"{path} is not in UTF-8; pass what it is written in, as {option('encoding', 'latin-1')}")
    return pd.DataFrame(rows, columns=table.names)
