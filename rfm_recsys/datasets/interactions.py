"""Interaction tables: ids of any type mapped to indices and back, from a DataFrame or LightGCN's text."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from rfm_recsys.core.wording import named, option
from rfm_recsys.errors import DataError, IdError, ParameterError, ParameterTypeError

Duplicates = Literal["last", "sum", "error"]

# by small letters and digits, the likelier first; a type behind a colon, as RecBole writes it, does not count
USUAL_NAMES = {
    "user": (
        "userid", "user", "uid", "userids", "users", "customerid", "customer", "visitorid", "visitor", "memberid",
        "member", "clientid", "accountid", "readerid", "reader", "playerid", "listenerid", "reviewerid", "sessionid",
        "username",
    ),
    "item": (
        "itemid", "item", "iid", "itemids", "items", "movieid", "movie", "filmid", "film", "productid", "product",
        "bookid", "book", "artistid", "artist", "trackid", "track", "songid", "song", "gameid", "game", "articleid",
        "article", "isbn",
        "asin", "sku", "videoid", "video", "showid", "animeid", "contentid", "courseid", "recipeid", "businessid",
        "poiid", "locationid",
    ),
    "value": (
        "rating", "ratings", "value", "weight", "confidence", "score", "stars", "plays", "playcount", "count",
        "counts", "quantity", "listens", "hours", "hoursplayed", "playtime", "clicks", "views", "purchases",
    ),
    "timestamp": ("timestamp", "time", "date", "datetime", "ts", "unixtime", "createdat", "eventtime", "ratedat"),
    "event": ("event", "eventtype", "action", "behavior", "behaviour", "interactiontype"),
}  # fmt: skip
MAX_VALUE = float(np.finfo(np.float32).max)
# Unix times are seconds, milliseconds, microseconds or nanoseconds, whichever keeps them before the year 2262
UNITS = ((9.2e9, 10**9), (9.2e12, 10**6), (9.2e15, 10**3), (9.2e18, 1))


OFFSET = r":\d\d.*(?:Z|[+-]\d\d(?::?\d\d)?)$"  # at the end of an ISO time
NONE = "none"  # in place of the name of a column: leave out the one with a usual name


class RowError(DataError):
    """A row of a table that cannot be taken; ``row`` counts from 0."""

    def __init__(self, row: int, reason: str) -> None:
        super().__init__(reason)
        self.row = row


@dataclass(frozen=True)
class Interactions:
    """An interaction table in index space, each (user, item) pair once.

    Attributes
    ----------
    users, items : intp arrays, shape (n,)
        Indices into ``user_ids`` and ``item_ids``.
    values : float32 array, shape (n,)
    timestamps : int64 array, shape (n,), Unix time in nanoseconds, or None
    user_ids, item_ids : pandas Index, shape (n_users,) and (n_items,)
        The caller's own ids, sorted (numbers before strings), or in order of first appearance where they cannot be
        compared; the way back from indices is ``item_ids[indices]``.
    summary : str
        What was read, and how, in one line.
    item_features, user_features : csr_matrix, shape (n_items, d) and (n_users, d), or None
        What describes them, for the models that take it.

    Examples
    --------
    >>> from rfm_recsys.datasets import Interactions
    >>> data = Interactions.from_indices([0, 0, 1], [0, 1, 1], [3, 1, 2], n_users=2, n_items=2)
    >>> data.shape, data.to_csr().toarray().tolist()
    ((2, 2), [[3.0, 1.0], [0.0, 2.0]])
    >>> data.user_index([1, 0]).tolist(), data.item_index(1).tolist()
    ([1, 0], [1])
    >>> len(data.content_hash())
    64
    """

    users: NDArray[np.intp]
    items: NDArray[np.intp]
    values: NDArray[np.float32]
    timestamps: NDArray[np.int64] | None
    user_ids: "pd.Index[Any]"
    item_ids: "pd.Index[Any]"
    summary: str = ""
    item_features: csr_matrix | None = None
    user_features: csr_matrix | None = None

    @classmethod
    def from_indices(
        cls, users: Any, items: Any, values: Any, timestamps: Any = None, *, n_users: int, n_items: int
    ) -> Self:
        """Make a table whose ids are the indices themselves.

        Parameters
        ----------
        users, items : arrays of ints, shape (n,)
        values : array, shape (n,)
        timestamps : array of ints, shape (n,), optional
            Unix time in nanoseconds.
        n_users, n_items : int

        Returns
        -------
        Interactions
        """
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
        """Return the values as a matrix of users x items.

        Parameters
        ----------
        dtype : NumPy dtype

        Returns
        -------
        csr_matrix, shape (n_users, n_items)
        """
        return csr_matrix((self.values.astype(dtype), (self.users, self.items)), shape=self.shape)

    def to_frame(self) -> pd.DataFrame:
        """Return the table with the columns user_id, item_id, value and, where there are any, timestamp.

        >>> from rfm_recsys.datasets import synthetic_movielens
        >>> synthetic_movielens(100, 50, 1000).to_frame().columns.tolist()
        ['user_id', 'item_id', 'value', 'timestamp']

        Returns
        -------
        DataFrame with an interaction a row
        """
        frame = pd.DataFrame(
            {"user_id": self.user_ids[self.users], "item_id": self.item_ids[self.items], "value": self.values}
        )
        return frame if self.timestamps is None else frame.assign(timestamp=pd.to_datetime(self.timestamps))

    def user_index(self, ids: Any) -> NDArray[np.intp]:
        """Return the indices of user ids, shape (n,); raises IdError for an unknown one.

        Parameters
        ----------
        ids : id, or list of ids

        Returns
        -------
        intp array, shape (n,)

        Raises
        ------
        IdError
            An unknown one.
        """
        return positions(self.user_ids, ids, "user")

    def item_index(self, ids: Any) -> NDArray[np.intp]:
        """Return the indices of item ids, shape (n,); raises IdError for an unknown one.

        Parameters
        ----------
        ids : id, or list of ids

        Returns
        -------
        intp array, shape (n,)

        Raises
        ------
        IdError
            An unknown one.
        """
        return positions(self.item_ids, ids, "item")

    def content_hash(self) -> str:
        """Return a SHA-256 over all but the ids, in a fixed byte order: the same data, the same hash.

        Returns
        -------
        str, 64 hexadecimal digits
        """
        digest = hashlib.sha256(np.array(self.shape, dtype="<i8").tobytes())
        order = np.lexsort((self.items, self.users))
        for column, kind in ((self.users, "<i8"), (self.items, "<i8"), (self.values, "<f4"), (self.timestamps, "<i8")):
            if column is not None:
                digest.update(np.ascontiguousarray(column[order], dtype=kind).tobytes())
        for features in (self.item_features, self.user_features):
            if features is not None:
                for part, kind in ((features.indptr, "<i8"), (features.indices, "<i8"), (features.data, "<f8")):
                    digest.update(np.ascontiguousarray(part, dtype=kind).tobytes())
        return digest.hexdigest()


def index_of(values: Any) -> "pd.Index[Any]":
    """Return ids as an index; of type object where they are of several types, or text that is no Unicode."""
    try:
        mixed = isinstance(values, list) and len({type(value) for value in values}) > 1
        made: pd.Index[Any] = pd.Index(values, dtype=object if mixed else None, tupleize_cols=False)
    except UnicodeEncodeError:
        made = pd.Index(values, dtype=object, tupleize_cols=False)
    return made


def positions(
    known: "pd.Index[Any]", ids: Any, what: str, advice: str = "leave it out, or pass it in their type"
) -> NDArray[np.intp]:
    """Return where an id, or ids, stand among the known ones, shape (n,); raises IdError for one that does not."""
    try:
        wanted = index_of(ids if pd.api.types.is_list_like(ids) else [ids])
        indices = known.get_indexer(wanted).astype(np.intp)
    except (TypeError, ValueError) as error:  # of a table, or a list of lists
        raise ParameterTypeError(f"{what} ids are no list of ids ({error}); pass one id, or a list of them") from error
    unknown = wanted[indices < 0].tolist()
    if unknown:
        more = f" (and {len(unknown) - 1} more)" if len(unknown) > 1 else ""
        raise IdError(
            f"{what} id {unknown[0]!r}{more} is not among the {len(known)} known ones, which begin with "
            f"{known[:1].tolist()}; {advice}"
        )
    return indices


def from_frame(
    frame: pd.DataFrame,
    user: str = "user_id",
    item: str = "item_id",
    value: str | None = None,
    timestamp: str | None = None,
    duplicates: Duplicates = "last",
    *,
    event: str | None = None,
    event_weights: Mapping[Any, float] | None = None,
    ones: bool = False,
    min_rating: float | None = None,
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
        Column of Unix times, or of dates: ISO strings or pandas' own, UTC where they name no time zone. Numbers below
        9.2e9 are seconds, below 9.2e12 milliseconds, then microseconds and nanoseconds.
    duplicates : {"last", "sum", "error"}
        Of several rows for one (user, item): keep the latest (by timestamp, then by row), add the values up and keep
        the latest timestamp, or refuse.
    event : str, optional
        Column of kinds of events, which ``event_weights`` weigh.
    event_weights : mapping, optional
        By how much the value of a row counts, by the kind of its event: ``{"view": 1, "purchase": 5}``.
    ones : bool
        Whether every interaction counts 1, whatever its value; 0 for one of 0, and -1 for a negative one.
    min_rating : float, optional
        Least value; rows below are left out.

    Returns
    -------
    Interactions

    Raises
    ------
    DataError
        A missing column, no rows, an id that is null, a value that is missing or not a finite number, a timestamp that
        is missing or neither a number nor a date, duplicates where they are refused, a sum beyond float32, an event
        without a weight.
    ParameterError
        An unknown ``duplicates``; ``event_weights`` without ``event``, or ``min_rating`` without ``value``.

    Examples
    --------
    >>> import pandas as pd
    >>> from rfm_recsys.datasets import from_frame
    >>> frame = pd.DataFrame({"who": ["ann", "ann", "bob"], "what": ["a", "b", "a"]})
    >>> from_frame(frame, "who", "what").shape
    (2, 2)
    """
    taking = Taking(duplicates, event_weights, ones, min_rating)
    names = {"user": user, "item": item, "value": value, "timestamp": timestamp, "event": event}
    columns = {role: name for role, name in names.items() if name is not None}
    for column in columns.values():
        if (count := list(frame.columns).count(column)) != 1:
            raise DataError(
                f"column {column!r} stands {count} times among {[*frame.columns]}; name one that stands once"
            )
    for needed, role in ((event_weights, "event"), (min_rating, "value")):
        if needed is not None and role not in columns:
            what = "event_weights" if role == "event" else "min_rating"
            raise ParameterError(f"{named(what)} is for a column that is not named; pass {named(role)}, too")
    try:
        return taking.interactions({role: frame[name] for role, name in columns.items()}, columns)
    except RowError as error:
        label = frame.index[error.row]
        row = frame.index.name or "row"
        raise DataError(f"{row} {label} {error}; correct or remove the {row}") from error


@dataclass(frozen=True)
class Taking:
    """How interactions are made of rows; the attributes are parameters of :func:`from_frame`."""

    duplicates: Duplicates = "last"
    event_weights: Mapping[Any, float] | None = None
    ones: bool = False
    min_rating: float | None = None

    def __post_init__(self) -> None:
        if self.duplicates not in ("last", "sum", "error"):
            raise ParameterError(f"duplicates is {self.duplicates!r}; pass 'last', 'sum' or 'error'")
        for kind, weight in (self.event_weights or {}).items():
            if not isinstance(weight, int | float | np.number) or not np.isfinite(weight):
                raise ParameterError(f"the weight of event {kind!r} is {weight!r}; pass a finite number")
        if self.min_rating is not None and not np.isfinite(self.min_rating):
            raise ParameterError(f"min_rating is {self.min_rating}; pass a finite number")

    @property
    def left_out(self) -> set[str]:
        """The roles of columns that play no part."""
        out = {"event"} if self.event_weights is None else set()
        return out | ({"value"} if self.ones and self.min_rating is None else set())

    def interactions(self, columns: Mapping[str, "pd.Series[Any]"], names: Mapping[str, str]) -> Interactions:
        """Return what columns by their roles hold; raises RowError for a row that cannot be taken."""
        n_rows = len(columns["user"])
        if n_rows == 0:
            raise DataError("the table has no rows; pass at least one interaction")
        users, user_ids = codes(columns["user"])
        items, item_ids = codes(columns["item"])
        values = _numbers(columns["value"], MAX_VALUE) if "value" in columns else np.ones(n_rows)
        times = _nanoseconds(columns["timestamp"]) if "timestamp" in columns else None
        said = [_values_said(names, self.ones)]
        if self.min_rating is not None:
            kept = values >= self.min_rating
            if not kept.any():
                raise DataError(
                    f"no value of column {names['value']!r} is {self.min_rating:g} or more; pass "
                    f"{option('min_rating', float(values.max()))} or less"
                )
            users, user_ids = _used(users[kept], user_ids)
            items, item_ids = _used(items[kept], item_ids)
            values, times = values[kept], None if times is None else times[kept]
            said.append(f"{n_rows - len(users):,} below {self.min_rating:g} left out")
        else:
            kept = np.ones(n_rows, dtype=bool)
        if self.ones:
            values = np.sign(values)
        if self.event_weights is not None:
            values = values * self._event_weights(columns["event"])[kept]
        n_kept = len(users)
        order = _order_of_pairs(users, items, (len(user_ids), len(item_ids)))
        users, items, values = users[order], items[order], values[order]
        last = np.flatnonzero(np.append((users[1:] != users[:-1]) | (items[1:] != items[:-1]), True))
        if self.duplicates == "error" and len(last) < len(order):
            at = last[np.diff(last, prepend=-1) > 1][0]
            raise DataError(
                f"user {user_ids[users[at]]} has item {item_ids[items[at]]} more than once; pass "
                f"{option('duplicates', 'last')} or {option('duplicates', 'sum')}"
            )
        if times is not None:
            times = times[order]
            _latest_last(times, values, last)
        values = np.add.reduceat(values, np.append(0, last[:-1] + 1)) if self.duplicates == "sum" else values[last]
        users, items = users[last], items[last]
        beyond = np.flatnonzero(np.abs(values) > MAX_VALUE)
        if len(beyond):
            at = beyond[0]
            raise DataError(
                f"the values of user {user_ids[users[at]]} and item {item_ids[items[at]]} add up to {values[at]:.3g}, "
                f"beyond {MAX_VALUE:.3g}; scale the column {names.get('value')!r} down"
            )
        kept_times = None if times is None else times[last]
        if len(users) < n_kept:
            how = "the last" if self.duplicates == "last" else "the sum"
            said.append(f"{n_kept:,} rows became {len(users):,} interactions ({how} of repeated ones)")
        if times is not None:
            said.append(f"ties by {names['timestamp']!r}")
        if none := int(np.count_nonzero(values == 0)):
            said.append(f"{none:,} of value 0 (neither liked nor disliked)")
        if negative := int(np.count_nonzero(values < 0)):
            said.append(f"{negative:,} negative (disliked)")
        counts = (_counted(n_rows, "row"), _counted(len(user_ids), "user"), _counted(len(item_ids), "item"))
        summary = ", ".join((*counts, *said))
        return Interactions(users, items, values.astype(np.float32), kept_times, user_ids, item_ids, summary)

    def _event_weights(self, column: "pd.Series[Any]") -> NDArray[np.float64]:
        assert self.event_weights is not None
        kinds, found = codes(column, "an event")
        by_text = {str(kind): weight for kind, weight in self.event_weights.items()}
        unknown = [kind for kind in found if str(kind) not in by_text]
        if unknown:
            raise DataError(
                f"there is no weight for the event {unknown[0]!r}; pass one for each of {[*map(str, found)]}, 0 for "
                "those that say nothing"
            )
        return np.array([by_text[str(kind)] for kind in found], dtype=np.float64)[kinds]


def _order_of_pairs(users: NDArray[np.intp], items: NDArray[np.intp], shape: tuple[int, int]) -> NDArray[Any]:
    """Return the stable order of rows by users, and by items where they are the same."""
    order = _order(items, shape[1])
    return np.asarray(order[_order(users[order], shape[0])])


def _order(keys: NDArray[np.intp], n_keys: int) -> NDArray[Any]:
    """Return the stable order of rows by a key: a transposition counts, and is ten times as fast as to sort."""
    ones, starts = np.ones(len(keys), dtype=np.int8), np.arange(len(keys) + 1)
    return np.asarray(csr_matrix((ones, keys, starts), shape=(len(keys), n_keys)).tocsc().indices)


def _latest_last(times: NDArray[np.int64], values: NDArray[np.float64], last: NDArray[np.intp]) -> None:
    """Order rows of one pair by time, in place; ``last`` are the last rows of the pairs."""
    sizes = np.diff(last, prepend=-1)
    repeated = np.repeat(sizes > 1, sizes)
    if repeated.any():
        pair = np.repeat(np.arange(len(last)), sizes)[repeated]
        order = np.lexsort((times[repeated], pair))
        times[repeated], values[repeated] = times[repeated][order], values[repeated][order]


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _values_said(names: Mapping[str, str], ones: bool) -> str:
    said = f"values from {names['value']!r}" if "value" in names and not ones else "every interaction counts 1"
    return f"{said}, weighed by {names['event']!r}" if "event" in names else said


def _used(indices: NDArray[np.intp], ids: "pd.Index[Any]") -> tuple[NDArray[np.intp], "pd.Index[Any]"]:
    """Return indices into the ids that are used, and these."""
    used, places = np.unique(indices, return_inverse=True)
    return places.astype(np.intp), ids[used]


def plain_name(column: object) -> str:
    """Return the small letters and digits of a column's name, without a type behind a colon."""
    return "".join(letter for letter in str(column).partition(":")[0].lower() if letter.isalnum())


def usual_columns(columns: Iterable[Any]) -> dict[str, Any]:
    """Return the columns by their roles (user, item, value, timestamp, event), as far as they have usual names."""
    plain: dict[str, Any] = {}
    for column in columns:
        plain.setdefault(plain_name(column), column)
    found = {role: [plain[name] for name in usual if name in plain] for role, usual in USUAL_NAMES.items()}
    return {role: names[0] for role, names in found.items() if names}


def roles_of(columns: Sequence[Any], names: Mapping[str, str | None], taking: Taking, where: str) -> dict[str, str]:
    """Return the columns that are read, by their roles: those named, else those of usual names; raises DataError."""
    given = {role: name for role, name in names.items() if name is not None}
    none = {role for role in ("value", "timestamp") if given.get(role) == NONE and NONE not in columns}
    given = {role: name for role, name in given.items() if role not in none}
    for role, name in given.items():
        if name == "":
            raise ParameterError(f"{named(role)} is empty; pass the name of a column, one of {[*columns]}")
        if columns.count(name) != 1:
            raise DataError(
                f"column {name!r} stands {columns.count(name)} times in {where}, which has {[*columns]}; name one "
                "that stands once"
            )
    usual = usual_columns(name for name in columns if name not in given.values())
    roles = {role: name for role, name in usual.items() if role not in taking.left_out | none} | given
    if missing := [role for role in ("user", "item") if role not in roles]:
        options = " and ".join(option(role, "...") for role in missing)
        raise DataError(
            f"{where} has the columns {[*columns]}; name the {' and the '.join(missing)} column: pass {options}"
        )
    for needed, role, what in (
        (taking.event_weights, "event", "event_weights"), (taking.min_rating, "value", "min_rating"),
    ):  # fmt: skip
        if needed is not None and role not in roles:
            raise DataError(
                f"{where} has the columns {[*columns]}, none of which holds {role}s for {named(what)}; name it: pass "
                f"{option(role, '...')}"
            )
    for name in roles.values():
        if columns.count(name) != 1:
            raise DataError(f"column {name!r} stands {columns.count(name)} times in {where}; name one that stands once")
    return {role: roles[role] for role in USUAL_NAMES if role in roles}


def check_columns(
    frame: pd.DataFrame, user: str, item: str, value: str | None = None, timestamp: str | None = None
) -> None:
    """Raise DataError for the first row of a part of a table that :func:`from_frame` would refuse."""
    try:
        for column in (user, item):
            _refuse(frame[column], frame[column].isna(), "an id")
        if value is not None:
            _numbers(frame[value], MAX_VALUE)
        if timestamp is not None and len(frame) > 0:
            _nanoseconds(frame[timestamp])
    except RowError as error:
        raise DataError(f"row {frame.index[error.row]} {error}; correct or remove the row") from error


def codes(ids: "pd.Series[Any]", what: str = "an id") -> tuple[NDArray[np.intp], "pd.Index[Any]"]:
    """Return the index of each row's id, shape (n,), and the ids: sorted, or as they come where they are of all sorts.

    Raises RowError for one that is null.
    """
    _refuse(ids, ids.isna(), what)
    try:
        indices, found = pd.factorize(ids, sort=True)
    except TypeError:  # ids of several types cannot be sorted
        indices, found = pd.factorize(ids)
    return indices.astype(np.intp), index_of(found)


def _numbers(column: "pd.Series[Any]", bound: float) -> NDArray[np.float64]:
    numbers = pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    _refuse(column, ~(np.abs(numbers) <= bound), f"a finite number of at most {bound:.3g}")
    return numbers


def _nanoseconds(column: "pd.Series[Any]") -> NDArray[np.int64]:
    """Return Unix times in nanoseconds."""
    is_date = pd.api.types.is_datetime64_any_dtype(column)
    if not is_date and pd.to_numeric(column.iloc[:1], errors="coerce").notna().all():
        numbers = pd.to_numeric(column, errors="coerce")
        rough = numbers.to_numpy(dtype=np.float64, na_value=np.nan)
        _refuse(column, ~(np.abs(rough) < UNITS[-1][0]), f"a time of at most {UNITS[-1][0]:.3g}")
        unit = next(unit for bound, unit in UNITS if np.abs(rough).max() < bound)
        if pd.api.types.is_integer_dtype(numbers):
            return np.asarray(numbers.to_numpy(dtype=np.int64) * unit)
        whole = np.floor(rough)
        return np.asarray(whole.astype(np.int64) * unit + np.rint((rough - whole) * unit).astype(np.int64))
    dates = pd.to_datetime(column, utc=True, errors="coerce", format="ISO8601")
    if not is_date:  # pandas 2 lends times without an offset that of the row before
        has_offset = column.astype(str).str.contains(OFFSET)
        if has_offset.any() and not has_offset.all():
            for part in (has_offset, ~has_offset):
                dates[part] = pd.to_datetime(column[part], utc=True, errors="coerce", format="ISO8601")
    _refuse(column, dates.isna(), f"an ISO date (to do without times, pass {option('timestamp', NONE)})")
    times = dates.dt.tz_convert(None).to_numpy()
    seconds = times.astype("datetime64[s]").astype(np.int64)
    _refuse(column, np.abs(seconds) >= UNITS[0][0], "a date between 1678 and 2261")
    return np.asarray(times.astype("datetime64[ns]").astype(np.int64))


def _refuse(column: "pd.Series[Any]", bad: Any, expected: str) -> None:
    """Raise RowError for the first row that is bad."""
    rows = np.flatnonzero(bad)
    if len(rows):
        found = column.iloc[rows[:1]].tolist()[0]
        raise RowError(int(rows[0]), f"has {found!r} in column {column.name!r}, not {expected}")


def read_lightgcn(*paths: str | PathLike[str]) -> tuple[csr_matrix, ...]:
    r"""Read files in LightGCN's text format, a user and then its items a line, into matrices of one common shape.

    Parameters
    ----------
    paths : paths
        A file each: training, perhaps validation, test.

    Returns
    -------
    tuple of csr_matrix, one for each file

    Raises
    ------
    DataError
        A file that is missing or empty, or a line with something else than non-negative integers.

    Examples
    --------
    >>> import os, tempfile
    >>> from rfm_recsys.datasets import read_lightgcn
    >>> path = os.path.join(tempfile.mkdtemp(), "train.txt")
    >>> with open(path, "w") as file:
    ...     _ = file.write("0 1 2\n1 0\n")
    >>> read_lightgcn(path)[0].toarray().tolist()
    [[0.0, 1.0, 1.0], [1.0, 0.0, 0.0]]
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
