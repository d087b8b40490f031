"""Interaction tables: ids of any type mapped to indices and back, from a DataFrame, CSV, Parquet or LightGCN's text."""

import hashlib
import warnings
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from rfm_recsys.errors import DataError, IdError, ParameterError, ParameterTypeError

Duplicates = Literal["last", "sum", "error"]

USUAL_NAMES = {
    "user": ("user_id", "userId", "user", "userid", "uid"),
    "item": ("item_id", "itemId", "item", "itemid", "movieId", "movie_id", "iid"),
    "value": ("rating", "value", "weight", "confidence"),
    "timestamp": ("timestamp", "time"),
}
MAX_VALUE = float(np.finfo(np.float32).max)
MAX_SECONDS = float(2**53)  # up to which a float holds every integer


@dataclass(frozen=True)
class Interactions:
    """An interaction table in index space, each (user, item) pair once.

    Attributes
    ----------
    users, items : intp arrays, shape (n,)
        Indices into ``user_ids`` and ``item_ids``.
    values : float32 array, shape (n,)
    timestamps : int64 array, shape (n,), Unix seconds, or None
    user_ids, item_ids : pandas Index, shape (n_users,) and (n_items,)
        The caller's own ids, sorted (numbers before strings), or in order of first appearance where they cannot be
        compared; the way back from indices is ``item_ids[indices]``.
    """

    users: NDArray[np.intp]
    items: NDArray[np.intp]
    values: NDArray[np.float32]
    timestamps: NDArray[np.int64] | None
    user_ids: "pd.Index[Any]"
    item_ids: "pd.Index[Any]"

    @classmethod
    def from_indices(
        cls, users: Any, items: Any, values: Any, timestamps: Any = None, *, n_users: int, n_items: int
    ) -> Self:
        """Make a table whose ids are the indices themselves."""
        return cls(
            np.asarray(users, dtype=np.intp),
            np.asarray(items, dtype=np.intp),
            np.asarray(values, dtype=np.float32),
            None if timestamps is None else np.asarray(timestamps, dtype=np.int64),
            pd.RangeIndex(n_users),
            pd.RangeIndex(n_items),
        )

    @property
    def shape(self) -> tuple[int, int]:
        """Numbers of users and items."""
        return len(self.user_ids), len(self.item_ids)

    def to_csr(self, dtype: Any = np.float32) -> csr_matrix:
        """Return the values as a matrix of users x items."""
        return csr_matrix((self.values.astype(dtype), (self.users, self.items)), shape=self.shape)

    def user_index(self, ids: Any) -> NDArray[np.intp]:
        """Return the indices of user ids, shape (n,); raises IdError for an unknown one."""
        return positions(self.user_ids, ids, "user")

    def item_index(self, ids: Any) -> NDArray[np.intp]:
        """Return the indices of item ids, shape (n,); raises IdError for an unknown one."""
        return positions(self.item_ids, ids, "item")

    def content_hash(self) -> str:
        """Return a SHA-256 over indices, values and timestamps in a fixed byte order: the same data, the same hash."""
        digest = hashlib.sha256(np.array(self.shape, dtype="<i8").tobytes())
        order = np.lexsort((self.items, self.users))
        for column, kind in ((self.users, "<i8"), (self.items, "<i8"), (self.values, "<f4"), (self.timestamps, "<i8")):
            if column is not None:
                digest.update(np.ascontiguousarray(column[order], dtype=kind).tobytes())
        return digest.hexdigest()


def positions(known: "pd.Index[Any]", ids: Any, what: str) -> NDArray[np.intp]:
    """Return where an id, or ids, stand among the known ones, shape (n,); raises IdError for one that does not."""
    try:
        wanted = pd.Index(ids if pd.api.types.is_list_like(ids) else [ids], tupleize_cols=False)
        indices = known.get_indexer(wanted).astype(np.intp)
    except (TypeError, ValueError) as error:  # of a table, or a list of lists
        raise ParameterTypeError(f"{what} ids are no list of ids ({error}); pass one id, or a list of them") from error
    unknown = wanted[indices < 0].tolist()
    if unknown:
        raise IdError(
            f"{what} id {unknown[0]!r} is not among the {len(known)} known ones, which begin with "
            f"{known[:1].tolist()}; leave it out, or pass it in their type"
        )
    return indices


def from_frame(
    frame: pd.DataFrame,
    user: str = "user_id",
    item: str = "item_id",
    value: str | None = None,
    timestamp: str | None = None,
    duplicates: Duplicates = "last",
) -> Interactions:
    """Map a table of interactions to indices.

    Parameters
    ----------
    frame : DataFrame
        One interaction a row.
    user, item : str
        Columns of ids, of any type.
    value : str, optional
        Column of confidences or ratings; without it every interaction is 1.
    timestamp : str, optional
        Column of Unix seconds, or of dates: ISO strings or pandas' own, UTC where they name no time zone.
    duplicates : {"last", "sum", "error"}
        Of several rows for one (user, item): keep the latest (by timestamp, then by row), add the values up and keep
        the latest timestamp, or refuse.

    Raises
    ------
    DataError
        A missing column, no rows, an id that is null, a value that is missing or not a finite number, a timestamp that
        is missing or neither a number nor a date, duplicates where they are refused, a sum beyond float32.
    ParameterError
        An unknown ``duplicates``.
    """
    if duplicates not in ("last", "sum", "error"):
        raise ParameterError(f"duplicates is {duplicates!r}; pass 'last', 'sum' or 'error'")
    for column in filter(None, (user, item, value, timestamp)):
        if (count := list(frame.columns).count(column)) != 1:
            raise DataError(
                f"column {column!r} stands {count} times among {[*frame.columns]}; name one that stands once"
            )
    if len(frame) == 0:
        raise DataError("the table has no rows; pass at least one interaction")
    users, user_ids = codes(frame[user])
    items, item_ids = codes(frame[item])
    values = np.ones(len(frame)) if value is None else _numbers(frame[value], MAX_VALUE)
    times = None if timestamp is None else _seconds(frame[timestamp])

    pairs = users * len(item_ids) + items  # one key sorts in a third of the time of two
    order = np.argsort(pairs, kind="stable") if times is None else np.lexsort((times, pairs))
    users, items, values = users[order], items[order], values[order]
    last = np.flatnonzero(np.append((users[1:] != users[:-1]) | (items[1:] != items[:-1]), True))
    if duplicates == "error" and len(last) < len(order):
        at = last[np.diff(last, prepend=-1) > 1][0]
        raise DataError(
            f"user {user_ids[users[at]]} has item {item_ids[items[at]]} more than once; pass duplicates='last' or 'sum'"
        )
    values = np.add.reduceat(values, np.append(0, last[:-1] + 1)) if duplicates == "sum" else values[last]
    users, items = users[last], items[last]
    beyond = np.flatnonzero(np.abs(values) > MAX_VALUE)
    if len(beyond):
        at = beyond[0]
        raise DataError(
            f"the values of user {user_ids[users[at]]} and item {item_ids[items[at]]} add up to {values[at]:.3g}, "
            f"beyond {MAX_VALUE:.3g}; scale the column {value!r} down"
        )
    kept_times = None if times is None else times[order][last]
    return Interactions(users, items, values.astype(np.float32), kept_times, user_ids, item_ids)


def usual_columns(frame: pd.DataFrame) -> dict[str, str]:
    """Return the columns by their roles (user, item, value, timestamp), as far as they have usual names."""
    found = {role: [name for name in usual if name in frame.columns] for role, usual in USUAL_NAMES.items()}
    return {role: names[0] for role, names in found.items() if names}


def check_columns(
    frame: pd.DataFrame, user: str, item: str, value: str | None = None, timestamp: str | None = None
) -> None:
    """Raise DataError for the first row of a part of a table that :func:`from_frame` would refuse."""
    for column in (user, item):
        _refuse(frame[column], frame[column].isna(), "an id")
    if value is not None:
        _numbers(frame[value], MAX_VALUE)
    if timestamp is not None and len(frame) > 0:
        _seconds(frame[timestamp])


def codes(ids: "pd.Series[Any]") -> tuple[NDArray[np.intp], "pd.Index[Any]"]:
    """Return the index of each row's id, shape (n,), and the ids: sorted, or as they come where they are of all sorts.

    Raises DataError for one that is null.
    """
    _refuse(ids, ids.isna(), "an id")
    try:
        indices, found = pd.factorize(ids, sort=True)
    except TypeError:  # ids of several types cannot be sorted
        indices, found = pd.factorize(ids)
    return indices.astype(np.intp), pd.Index(found)


def _numbers(column: "pd.Series[Any]", bound: float) -> NDArray[np.float64]:
    numbers = pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    _refuse(column, ~(np.abs(numbers) <= bound), f"a finite number of at most {bound:.3g}")
    return numbers


def _seconds(column: "pd.Series[Any]") -> NDArray[np.int64]:
    if (
        not pd.api.types.is_datetime64_any_dtype(column)
        and pd.to_numeric(column.iloc[:1], errors="coerce").notna().all()
    ):
        return _numbers(column, MAX_SECONDS).astype(np.int64)
    dates = pd.to_datetime(column, utc=True, errors="coerce", format="ISO8601")
    _refuse(column, dates.isna(), "an ISO date")
    return dates.dt.tz_convert(None).to_numpy().astype("datetime64[s]").astype(np.int64)


def _refuse(column: "pd.Series[Any]", bad: Any, expected: str) -> None:
    """Raise DataError for the first row that is bad, by its label: ``read_interactions`` labels rows by line."""
    rows = np.flatnonzero(bad)
    if len(rows):
        first = column.iloc[rows[:1]]
        raise DataError(
            f"{column.index.name or 'row'} {first.index[0]} has {first.tolist()[0]!r} in column {column.name!r}, "
            f"not {expected}; correct or remove the {column.index.name or 'row'}"
        )


def read_interactions(
    path: str | PathLike[str],
    user: str | None = None,
    item: str | None = None,
    value: str | None = None,
    timestamp: str | None = None,
    duplicates: Duplicates = "last",
) -> Interactions:
    """Read a CSV (``.csv``, ``.tsv``, also compressed) or Parquet file of interactions.

    Columns that are not named are recognised by their usual names (``userId``, ``item_id``, ``rating``, ``timestamp``
    and the like); without a value column every interaction is 1. Ids in a CSV are integers only where all of a column
    are written as Python would write them, so "007" stays a string.

    Raises
    ------
    DataError
        A file that is missing, empty or broken (with the line), and all that :func:`from_frame` refuses.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"there is no file {path}; pass the path of a CSV or Parquet file")
    is_parquet = path.suffix.lower() == ".parquet"
    try:
        if is_parquet:
            frame = pd.read_parquet(path)
        else:
            separator = "\t" if ".tsv" in path.suffixes else ","
            with warnings.catch_warnings():
                warnings.simplefilter("error", pd.errors.ParserWarning)  # of more fields than columns, which it drops
                frame = pd.read_csv(
                    path,
                    sep=separator,
                    dtype=str,
                    index_col=False,
                    na_values=[""],
                    keep_default_na=False,
                    skip_blank_lines=False,
                )
            frame.index = pd.RangeIndex(2, len(frame) + 2, name="line")  # the header is line 1
            frame = frame.dropna(how="all")  # blank lines, which count but say nothing
    # pandas' and Arrow's parser errors are ValueErrors
    except (ValueError, OSError, EOFError, zlib.error, pd.errors.ParserWarning) as error:
        reason = str(error).strip()
        raise DataError(
            f"{path} cannot be read: {reason}; mend or remove the line, or export the file again"
        ) from error
    named = {"user": user, "item": item, "value": value, "timestamp": timestamp}
    columns = usual_columns(frame) | {role: name for role, name in named.items() if name is not None}
    if not {"user", "item"} <= columns.keys():
        raise DataError(
            f"{path} has the columns {[*frame.columns]}; name those of the users and items (user=, "
            "item=), or rename them to user_id and item_id"
        )
    if not is_parquet:
        for column in {columns["user"], columns["item"]} & {*frame.columns}:
            frame[column] = _integers(frame[column])
    try:
        return from_frame(frame, duplicates=duplicates, **columns)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error


def _integers(text: "pd.Series[Any]") -> "pd.Series[Any]":
    canonical = text.str.fullmatch(r"0|-?[1-9][0-9]{0,17}")
    return text.astype(np.int64) if canonical.eq(True).all() else text


def read_lightgcn(*paths: str | PathLike[str]) -> tuple[csr_matrix, ...]:
    """Read files in LightGCN's text format, a user and then its items a line, into matrices of one common shape.

    Raises
    ------
    DataError
        A file that is missing or empty, or a line with something else than non-negative integers.
    """
    if not paths:
        raise ParameterError("no path is given; pass the files to read, e.g. train.txt and test.txt")
    parts = [_lightgcn_pairs(Path(path)) for path in paths]
    shape = tuple(max(int(column.max(initial=-1)) for column in columns) + 1 for columns in zip(*parts, strict=True))
    matrices = []
    for users, items in parts:
        known = items >= 0
        matrix = csr_matrix((np.ones(known.sum(), dtype=np.float32), (users[known], items[known])), shape=shape)
        matrix.data[:] = 1  # an item that stands twice on a line counts once
        matrices.append(matrix)
    return tuple(matrices)


def _lightgcn_pairs(path: Path) -> Sequence[NDArray[np.int64]]:
    """Return users and items; a user without items has the item -1, so that its index still counts."""
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read: {error}; pass a file in LightGCN's text format") from error
    users, items = [], []
    for number, line in enumerate(lines, 1):
        fields = line.split()
        if not fields:
            continue
        for field in fields:
            if not (field.isascii() and field.isdigit() and len(field) < 10):
                raise DataError(
                    f"{path}, line {number}: {field!r} is not an integer in 0..999999999; mend or remove the line"
                )
        row = np.array(fields, dtype=np.int64)
        items.append(row[1:] if len(row) > 1 else np.array([-1]))
        users.append(np.full(len(items[-1]), row[0]))
    if not users:
        raise DataError(f"{path} is empty; pass a file with a user and its items a line")
    return np.concatenate(users), np.concatenate(items)
