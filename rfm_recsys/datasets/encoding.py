"""Columns of a table of items or users as features: numbers, categories, lists, texts, embeddings."""

import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, hstack

from rfm_recsys.core.checks import MOST_FEATURE
from rfm_recsys.core.extras import extra
from rfm_recsys.errors import DataError

with extra("features"):
    import pandas as pd
    from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer

NUMBER, YEAR, CATEGORY, LIST, TEXT, EMBEDDING = "number", "year", "category", "list", "text", "embedding"
SEPARATORS = "|;"  # between the parts of a list in a text
MOSTLY = 0.8  # of the values that are there: what a column is
YEAR_IN_TITLE = re.compile(r"\((\d{4})\)\s*$")
YEAR_OF_DATE = re.compile(r"\b(1[89]\d\d|20\d\d)\b")
DATE = re.compile(r"[\d\s:/.,TZ+-]*[A-Za-z]{0,9}[\d\s:/.,TZ+-]*")
LEAST_ROWS = 2  # with a category, a part or a word
MOST_TERMS = 50_000  # of a column
LINK = re.compile(r"https?://|www\.", re.IGNORECASE)


@dataclass(frozen=True)
class Column:
    """A column as features: its name, what it is, its terms with their weights, or the mean of its numbers."""

    name: str
    kind: str
    terms: tuple[str, ...] = ()
    weights: tuple[float, ...] = ()
    mean: float = 0.0
    width: int = 1

    @property
    def features(self) -> list[str]:
        """The names of its features."""
        if self.kind == EMBEDDING:
            return [f"{self.name}[{k}]" for k in range(self.width)]
        return [f"{self.name}={term}" for term in self.terms] if self.terms else [self.title]

    @property
    def title(self) -> str:
        """Its name, with what is taken of it where that is not all."""
        return f"{self.name}: year" if self.kind == YEAR else self.name

    def __str__(self) -> str:
        what = {
            NUMBER: "a number", YEAR: "a year", CATEGORY: f"{len(self.terms):,} categories",
            LIST: f"a list of {len(self.terms):,} parts", TEXT: f"a text of {len(self.terms):,} words",
            EMBEDDING: f"{self.width} numbers",
        }  # fmt: skip
        return f"{self.name} ({what[self.kind]})"

    def encoded(self, values: "pd.Series[Any]") -> csr_matrix:
        """Return the features of values, shape (values, features)."""
        if self.kind in (NUMBER, YEAR):
            numbers = _years(values) if self.kind == YEAR else _numbers(values)
            return csr_matrix(np.where(np.isfinite(numbers), numbers, self.mean)[:, None])
        if self.kind == EMBEDDING:
            rows = np.zeros((len(values), self.width))
            for row, value in enumerate(values):
                if _is_vector(value) and len(value) == self.width:
                    rows[row] = value
            return csr_matrix(np.nan_to_num(rows, posinf=0, neginf=0))
        vectorizer = _vectorizer(self.kind, {term: k for k, term in enumerate(self.terms)})
        if self.kind == TEXT:
            vectorizer.idf_ = np.array(self.weights)
        return csr_matrix(vectorizer.transform(_there(values)))


@dataclass(frozen=True)
class FeatureEncoder:
    """Columns of a table as features for :class:`rfm_recsys.LinRFM`, the same for further rows.

    A column of numbers is one feature, with the mean where a number is missing. A text of few different values is a
    category and has a feature for each, lists (``Comedy|Drama``, or lists) have one for each part, other texts one for
    each word (TF-IDF), lists of numbers of the same length (embeddings) one for each number. Of dates and of titles
    that end in a year, ``(1995)``, the year is one more. What is in one row only, says nothing. Links and columns that
    are the same in all rows are left out.

    Parameters
    ----------
    columns : tuple of Column
        What is made of each column: :meth:`of` finds out.

    Examples
    --------
    >>> import pandas as pd
    >>> from rfm_recsys.datasets import FeatureEncoder
    >>> films = pd.DataFrame({"genres": ["Comedy|Drama", "Drama", "Comedy"], "year": [1995, 2001, 1999]})
    >>> encoder = FeatureEncoder.of(films)
    >>> encoder.names
    ['genres=Comedy', 'genres=Drama', 'year']
    >>> encoder.encode(films).toarray().tolist()
    [[1.0, 1.0, 1995.0], [0.0, 1.0, 2001.0], [1.0, 0.0, 1999.0]]
    >>> FeatureEncoder.from_json(encoder.to_json()) == encoder
    True
    """

    columns: tuple[Column, ...]

    @classmethod
    def of(cls, table: "pd.DataFrame", columns: Iterable[str] | None = None) -> Self:
        """Return the encoder of a table, of all columns that say something, or of those that are named.

        Parameters
        ----------
        table : DataFrame, with an item or a user a row
        columns : iterable of str, optional
            By default all that say something.

        Returns
        -------
        FeatureEncoder

        Raises
        ------
        DataError
            A column that is not in the table, or none that says something.
        """
        names = [*table.columns] if columns is None else [*columns]
        if missing := [name for name in names if name not in table.columns]:
            raise DataError(f"there is no column {missing[0]!r}; pass some of {[*table.columns]}")
        found = tuple(each for name in names for each in _recognised(str(name), table[name]))
        if not found:
            raise DataError(
                f"none of the columns {names} says something that two rows have in common; pass a table with "
                "categories, lists, numbers or texts"
            )
        return cls(found)

    @property
    def names(self) -> list[str]:
        """The names of the features, ``column=value``."""
        return [name for column in self.columns for name in column.features]

    def encode(self, table: "pd.DataFrame") -> csr_matrix:
        """Return the features of a table's rows, shape (rows, features); raises DataError where a column is missing.

        Parameters
        ----------
        table : DataFrame

        Returns
        -------
        csr_matrix, shape (rows, features)

        Raises
        ------
        DataError
            A column is missing.
        """
        if missing := [column.name for column in self.columns if column.name not in table.columns]:
            raise DataError(f"there is no column {missing[0]!r} among {[*table.columns]}; pass the columns of the fit")
        return csr_matrix(hstack([column.encoded(table[column.name]) for column in self.columns]))

    def __str__(self) -> str:
        return ", ".join(map(str, self.columns))

    def to_json(self) -> list[dict[str, Any]]:
        """Return it as JSON values.

        Returns
        -------
        list of dict
        """
        return [asdict(column) for column in self.columns]

    @classmethod
    def from_json(cls, values: list[dict[str, Any]]) -> Self:
        """Return the encoder of which :meth:`to_json` returned these.

        Parameters
        ----------
        values : list of dict

        Returns
        -------
        FeatureEncoder

        Raises
        ------
        KeyError, TypeError
            Values of something else.
        """
        return cls(
            tuple(
                Column(**each | {"terms": tuple(each["terms"]), "weights": tuple(each["weights"])}) for each in values
            )
        )


def _recognised(name: str, values: "pd.Series[Any]") -> Iterable[Column]:
    """Return what a column is as features: none, one, or two."""
    there = [value for value in values if not _is_missing(value)]
    if len(there) == 0:
        return
    vectors = [value for value in there if _is_vector(value)]
    if len(vectors) >= MOSTLY * len(there):
        width = len(vectors[0])
        if all(len(vector) == width for vector in vectors) and width > 1:
            yield Column(name, EMBEDDING, width=width)
            return
    if isinstance(there[0], list | tuple | set | frozenset | np.ndarray):
        yield from _of_terms(name, LIST, values)
        return
    numbers = _numbers(values)
    known = numbers[np.isfinite(numbers)]
    if len(known) >= MOSTLY * len(there):
        if len(np.unique(known)) > 1:
            yield Column(name, NUMBER, mean=float(known.mean()))
        return
    texts = [str(value) for value in there]
    if np.mean([bool(LINK.match(each)) for each in texts]) > 0.5:
        return
    years = _years(values)
    known = years[np.isfinite(years)]
    is_dated = len(known) >= MOSTLY * len(there)
    if is_dated and len(np.unique(known)) > 1:
        yield Column(name, YEAR, mean=float(known.mean()))
    if is_dated and not any(map(YEAR_IN_TITLE.search, texts)):
        return  # a date is nothing more
    if any(np.mean([separator in text for text in texts]) > 0.1 for separator in SEPARATORS):
        yield from _of_terms(name, LIST, values)
    elif len(set(texts)) <= max(20, 0.6 * len(texts)):
        yield from _of_terms(name, CATEGORY, values)
    else:
        yield from _of_terms(name, TEXT, values)


def _of_terms(name: str, kind: str, values: "pd.Series[Any]") -> Iterable[Column]:
    vectorizer = _vectorizer(kind, None)
    try:
        vectorizer.fit(_there(values))
    except ValueError:  # nothing that two rows have
        return
    terms = tuple(map(str, vectorizer.get_feature_names_out()))
    yield Column(name, kind, terms, tuple(map(float, vectorizer.idf_)) if kind == TEXT else ())


def _vectorizer(kind: str, vocabulary: dict[str, int] | None) -> Any:
    how = {"vocabulary": vocabulary, "min_df": LEAST_ROWS, "max_features": MOST_TERMS, "dtype": np.float64}
    terms = partial(_terms, kind)
    if kind == TEXT:
        return TfidfVectorizer(analyzer=terms, **how)
    return CountVectorizer(analyzer=terms, binary=True, **how)


def _terms(kind: str, value: Any) -> list[str]:
    """Return the terms of a value."""
    if _is_missing(value):
        return []
    if kind == CATEGORY:
        return [str(value).strip()]
    if kind == TEXT:
        return re.findall(r"\w\w+", YEAR_IN_TITLE.sub("", str(value)).lower())
    if isinstance(value, str):
        value = re.split(f"[{SEPARATORS}]", value)
    parts = value if isinstance(value, list | tuple | set | frozenset | np.ndarray) else [value]
    return sorted({str(part).strip() for part in parts} - {""})


def _there(values: "pd.Series[Any]") -> list[Any]:
    """Return values with "" for those that are missing, which the vectorizers take for nothing."""
    return ["" if _is_missing(value) else value for value in values]


def _is_missing(value: Any) -> bool:
    if value is None or (isinstance(value, str) and not value.strip()):
        return True
    return bool(pd.api.types.is_scalar(value) and pd.isna(value))


def _is_vector(value: Any) -> bool:
    if not isinstance(value, list | tuple | np.ndarray):
        return False
    return all(isinstance(part, int | float | np.number) and not isinstance(part, bool) for part in value)


def _numbers(values: "pd.Series[Any]") -> NDArray[np.float64]:
    """Return values as numbers, nan where they are none, or too large."""
    if values.dtype.kind in "mM":
        return np.full(len(values), np.nan)
    scalars = [value if pd.api.types.is_scalar(value) else None for value in values]
    numbers = pd.to_numeric(pd.Series(scalars, dtype=object), errors="coerce").to_numpy(np.float64, na_value=np.nan)
    return np.where(np.abs(numbers) <= MOST_FEATURE, numbers, np.nan)


def _years(values: "pd.Series[Any]") -> NDArray[np.float64]:
    """Return the years of dates, or of titles that end in one, nan where there is none."""
    if values.dtype.kind == "M":
        return values.dt.year.to_numpy(np.float64, na_value=np.nan)  # type: ignore[no-any-return]
    years = [_year_of(value) if isinstance(value, str) else getattr(value, "year", None) for value in values]
    return np.array([year if isinstance(year, int) else np.nan for year in years], dtype=np.float64)


def _year_of(text: str) -> int | None:
    """Return the year of ``Toy Story (1995)``, of ``01-Jan-1995`` and of ``1995-01-31``."""
    if title := YEAR_IN_TITLE.search(text):
        return int(title[1])
    if len(text) > 32 or len(re.findall(r"\d+|[A-Za-z]+", text)) < 3 or not DATE.fullmatch(text):
        return None
    year = YEAR_OF_DATE.search(text)
    return int(year[1]) if year else None
