"""Tables as text: which separator, encoding and quotation marks a file has, and its columns, read by Arrow.

What a file is read as is recognised from its beginning, where it can be, and can be given instead. Every row is read,
or an error names the line: Arrow refuses a row that has too many fields or too few, and where quotation marks occur,
they are checked over the whole file beforehand, since one that never closes would swallow rows.
"""

import bz2
import codecs
import csv
import gzip
import io
import lzma
import re
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import IO, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyarrow import csv as arrow_csv

from rfm_recsys.core.wording import option
from rfm_recsys.errors import DataError, ParameterError

SAMPLE = 2**18  # bytes at the beginning, by which a file is recognised
BLOCK = 2**24
# Seconds in which the threads of a reader that has failed let go of what is Python's: those that have not when the
# interpreter ends would abort it.
LET_GO = 0.1
SEPARATORS = ("\t", ",", ";", "|", "::", "\x01")  # and a blank, where there is none of these
NAMES_OF_SEPARATORS = {"tab": "\t", "\\t": "\t", "comma": ",", "semicolon": ";", "space": " ", "\\x01": "\x01"}
QUOTES = ('"', "'", "")
UNIT = "\x1f"  # stands for a separator of two letters, which Arrow does not know
ENDINGS = ("gz", "bz2", "xz", "zst", "zip")  # of names, which mean nothing: a file is recognised by its first bytes
READING = (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, NotImplementedError)
MARKS = (
    (codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF32_LE, "utf-32-le"), (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"),
)  # fmt: skip
INTEGER = re.compile(r"0|-?[1-9][0-9]{0,17}")
NUMBER = re.compile(r"\s*[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?\s*")
COMMA_NUMBER = re.compile(r"\s*[+-]?[0-9]+,[0-9]+\s*")


@dataclass(frozen=True)
class Dialect:
    """How a table is written as text; None is recognised from the file.

    Attributes
    ----------
    sep : str
        Between fields: one letter, or ``::``.
    header : bool
        Whether the first row names the columns; without, they are called "1", "2" and so on.
    encoding : str
        As Python's codecs call it.
    quote : str
        Around fields that hold separators or line ends, doubled where it stands in them; "" for none.
    escape : str
        Before a letter that is meant as it is; "" for none.
    decimal : str
        Of numbers: "." or ",".
    """

    sep: str | None = None
    header: bool = True
    encoding: str | None = None
    quote: str | None = None
    escape: str = ""
    decimal: str | None = None

    def checked(self) -> "Dialect":
        """Return it with separators by their letters; raises ParameterError for what cannot be."""
        sep = None if self.sep is None else NAMES_OF_SEPARATORS.get(self.sep, self.sep)
        if sep is not None and (sep in ("", "\n", "\r", '"', "'") or (len(sep) != 1 and sep != "::")):
            raise ParameterError(f"sep is {sep!r}; pass one letter, as {option('sep', ';')}, or '::'")
        if self.quote not in (None, *QUOTES):
            raise ParameterError(f"quote is {self.quote!r}; pass {option('quote', chr(34))}, \"'\", or '' for none")
        if len(self.escape) > 1:
            raise ParameterError(f"escape is {self.escape!r}; pass one letter, or '' for none")
        if self.decimal not in (None, ".", ","):
            raise ParameterError(f"decimal is {self.decimal!r}; pass '.' or ','")
        if self.encoding is not None:
            try:
                codecs.lookup(self.encoding)
            except LookupError as error:
                raise ParameterError(f"there is no encoding {self.encoding!r}; pass one as 'latin-1'") from error
        return replace(self, sep=sep)


class FaultError(Exception):
    """A row that cannot be taken; ``line`` counts from 1."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(reason)
        self.line = line


@contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """Open a file, uncompressed by what its first bytes say: gzip, bzip2, xz, zstandard, or a zip of one table."""
    with path.open("rb") as raw:
        magic = raw.read(6)
        raw.seek(0)
        if magic[:2] == b"\x1f\x8b":
            with gzip.open(raw) as unpacked:
                yield unpacked  # type: ignore[misc]
        elif magic[:3] == b"BZh":
            with bz2.open(raw) as unpacked:
                yield unpacked
        elif magic == b"\xfd7zXZ\x00":
            with lzma.open(raw) as unpacked:
                yield unpacked
        elif magic[:4] == b"\x28\xb5\x2f\xfd":
            with pa.CompressedInputStream(pa.PythonFile(raw, "r"), "zstd") as unpacked:
                yield io.BufferedReader(unpacked)
        elif magic[:4] == b"PK\x03\x04":
            with zipfile.ZipFile(raw) as archive, archive.open(_only_table(path, archive)) as unpacked:
                yield unpacked
        else:
            yield raw


def _only_table(path: Path, archive: zipfile.ZipFile) -> str:
    names = [name for name in archive.namelist() if not name.endswith("/")]
    names = [name for name in names if not name.startswith("__MACOSX/") and not Path(name).name.startswith(".")]
    if len(names) != 1:
        raise DataError(f"{path} holds {len(names)} files, {names[:5]}; unpack it, and pass the one with the table")
    return names[0]


class _Utf8(io.RawIOBase):
    """What is left of a stream, as UTF-8, whatever it is written in; a separator of two letters becomes one."""

    def __init__(self, source: IO[bytes], encoding: str, doubled: bool) -> None:
        super().__init__()
        self._source, self._doubled = source, doubled
        self._decode = None if encoding == "utf-8" else codecs.getincrementaldecoder(encoding)()
        self._left, self._held, self._ended = b"", b"", False

    def readable(self) -> bool:
        return True

    def readinto(self, target: Any) -> int:
        while not self._left and not self._ended:
            self._left = self._next()
        n = min(len(target), len(self._left))
        target[:n] = self._left[:n]
        self._left = self._left[n:]
        return n

    def _next(self) -> bytes:
        block = self._source.read(BLOCK)
        self._ended = not block
        if self._decode is not None:
            block = self._decode.decode(block, self._ended).encode("utf-8", "surrogatepass")
        if self._doubled:
            block = self._held + block
            self._held = b"" if self._ended or not block.endswith(b":") else b":"
            block = block[: len(block) - len(self._held)].replace(b"::", UNIT.encode())
        return block


@dataclass(frozen=True)
class TextTable:
    """A file whose dialect is known.

    Attributes
    ----------
    path : Path
    dialect : Dialect
        Without None but for ``decimal``.
    mark, skipped : int
        Bytes of the byte order mark, and lines before the first row.
    names : list of str
    sample : list of lists of str
        The first rows.
    guessed : bool
        Whether the quotation marks were not given.
    """

    path: Path
    dialect: Dialect
    mark: int
    skipped: int
    names: list[str]
    sample: list[list[str]]
    guessed: bool

    @contextmanager
    def lines(self, after: int = 0) -> Iterator[IO[str]]:
        """Open it as text, line ends as they are, after so many lines."""
        with opened(self.path) as source:
            source.read(self.mark)
            encoding = self.dialect.encoding or "utf-8"
            errors = "surrogateescape" if encoding == "utf-8" else "strict"
            text = io.TextIOWrapper(source, encoding=encoding, errors=errors, newline="")
            for _ in range(after):
                text.readline()
            yield text

    def rows(self, quoted: bool | None = None) -> Iterator[tuple[int, list[str]]]:
        """Yield the line on which each row begins, and its fields; rows without any are left out.

        Raises FaultError for quotation marks that do not close.
        """
        with self.lines(self.skipped) as text:
            yield from rows_of(text, self.dialect, quoted, self.skipped)


def reader_of(text: Any, dialect: Dialect, quoted: bool) -> Any:
    """Return Python's reader of lines of text."""
    sep = dialect.sep or ","
    if sep == "::":
        sep, text = UNIT, (line.replace("::", UNIT) for line in text)
    how: dict[str, Any] = {"quotechar": dialect.quote or '"'} if quoted else {"quoting": csv.QUOTE_NONE}
    return csv.reader(text, delimiter=sep, strict=True, escapechar=dialect.escape or None, **how)


def rows_of(
    text: Any, dialect: Dialect, quoted: bool | None = None, before: int = 0
) -> Iterator[tuple[int, list[str]]]:
    """Yield lines and fields; see :meth:`TextTable.rows`."""
    reader = reader_of(text, dialect, bool(dialect.quote) if quoted is None else quoted)
    line = before
    while True:
        begun = line + 1
        try:
            row = next(reader, None)
        except csv.Error as error:
            raise FaultError(begun, str(error)) from error
        line = before + reader.line_num
        if row is None:
            return
        if row and any(field.strip() for field in row):
            yield begun, row


def recognised(
    path: Path, dialect: Dialect, known: Callable[[Sequence[str]], bool], lenient: bool = False
) -> TextTable:
    """Return a file with what it is written in.

    ``known`` says whether a header names what is looked for; ``lenient``: rows may have more fields or fewer.
    """
    try:
        with opened(path) as source:
            begin = source.read(SAMPLE)
    except READING as error:
        raise DataError(f"{path} cannot be read: {error}; export the file again") from error
    encoding, mark = _encoding(path, begin, dialect.encoding)
    text = codecs.getincrementaldecoder(encoding)(errors="replace").decode(begin[mark:])
    lines = io.StringIO(text, newline="").readlines()
    if len(begin) == SAMPLE:
        del lines[-1:]
    skipped = 0
    while lines and not lines[0].strip("\r\n"):
        lines, skipped = lines[1:], skipped + 1
    if lines and dialect.sep is None and (told := re.fullmatch(r"sep=(.)[\r\n]*", lines[0])):  # as Excel writes
        dialect, lines, skipped = replace(dialect, sep=told[1]), lines[1:], skipped + 1
    if not lines:
        raise DataError(f"{path} is empty; pass a file with at least one interaction")
    dialect = replace(dialect, encoding=encoding)
    dialect = replace(dialect, sep=dialect.sep or _separator(path, lines, dialect, known))
    quote = '"' if dialect.quote is None else dialect.quote
    rows = _sampled_rows(lines, replace(dialect, quote=quote))
    if dialect.quote is None and all(len(name) > 1 and name[0] == "'" == name[-1] for name in rows[0]):
        quote = "'"
        rows = _sampled_rows(lines, replace(dialect, quote=quote))
    names = rows[0] if dialect.header else [str(number + 1) for number in range(len(rows[0]))]
    header = 0
    if dialect.header:
        header = skipped + _lines_of_header(lines, replace(dialect, quote=quote))
    table = TextTable(
        path, replace(dialect, quote=quote), mark, header or skipped, _stripped(names), rows[dialect.header :],
        dialect.quote is None,
    )  # fmt: skip
    return _with_quotes(table, lenient) if table.guessed else table


def _stripped(names: list[str]) -> list[str]:
    return [name.strip().strip("\ufeff") for name in names]


def _encoding(path: Path, begin: bytes, given: str | None) -> tuple[str, int]:
    """Return the encoding, and the bytes of its mark."""
    for mark, encoding in MARKS:
        if begin.startswith(mark):
            return encoding, len(mark)
    if given is not None:
        name = codecs.lookup(given).name
        return {"utf-8-sig": "utf-8", "ascii": "utf-8", "utf-16": "utf-16-le", "utf-32": "utf-32-le"}.get(name, name), 0
    if b"\0" in begin:
        raise DataError(
            f"{path} is no text in UTF-8; if it is a table in UTF-16, pass {option('encoding', 'utf-16')}, and for a "
            "Parquet or Excel file write it as CSV"
        )
    return "utf-8", 0


def _sampled_rows(lines: list[str], dialect: Dialect, most: int = 1000) -> list[list[str]]:
    """Return the first rows, quoted if that can be done."""
    rows: list[list[str]] = []
    try:
        rows.extend(row for _, row in islice(rows_of(iter(lines), dialect), most))
    except FaultError:
        if len(rows) < 2:
            rows = [row for _, row in islice(rows_of(iter(lines), dialect, quoted=False), most)]
    return rows or [[""]]


def _lines_of_header(lines: list[str], dialect: Dialect) -> int:
    """Return the lines until the second row begins."""
    try:
        second = [begun for begun, _ in islice(rows_of(iter(lines), dialect), 2)]
    except FaultError:
        second = [1, 2]
    return second[1] - 1 if len(second) == 2 else len(lines)


def _separator(path: Path, lines: list[str], dialect: Dialect, known: Callable[[Sequence[str]], bool]) -> str:
    """Return the separator by which the first rows all have as many fields, two or more."""
    found: list[tuple[bool, bool, int, str]] = []
    for sep in [sep for sep in SEPARATORS if sep in lines[0]] or [" "]:
        tried = replace(dialect, sep=sep, quote='"' if dialect.quote is None else dialect.quote)
        rows = _sampled_rows(lines, tried)
        width = len(rows[0])
        if width > 1:
            alike = all(len(row) == width for row in rows)
            found.append((dialect.header and known(_stripped(rows[0])), alike, width, sep))
    if not found:
        raise DataError(
            f"{path} has one column only, {lines[0].strip()[:60]!r}; pass what stands between its fields, as "
            f"{option('sep', ';')}"
        )
    found.sort(key=lambda each: each[:3], reverse=True)
    if len(found) > 1 and found[0][:3] == found[1][:3] and found[0][3] != "::":
        raise DataError(
            f"the fields of {path} may be separated by {found[0][3]!r} or {found[1][3]!r}; pass "
            f"{option('sep', found[0][3])} or {option('sep', found[1][3])}"
        )
    return found[0][3]


def _with_quotes(table: TextTable, lenient: bool) -> TextTable:
    """Return the table with the quotation marks that it has; raises DataError where that cannot be told."""
    mark = table.dialect.quote or '"'
    if not _has(table, mark.encode()):
        return replace(table, dialect=replace(table.dialect, quote=""))
    width = len(table.names)
    fault: FaultError | None = None
    spans = False
    try:
        spans = _check_quoted(table, width, lenient)
    except FaultError as found:
        fault = found
    if fault is None and not spans:
        return table
    if lenient:
        return table if fault is None else replace(table, dialect=replace(table.dialect, quote=""))
    plain, wrapped = _plain_rows(table, width, mark)
    how = f"pass {option('quote', mark)} or {option('quote', '')}"
    if fault is None:
        if plain:
            raise DataError(
                f"{table.path}, line {_first_of_several(table)}: a quotation mark opens here and closes on another "
                f"line, and without quotation marks, too, every row has {width} fields; {how}"
            )
        return table
    if not plain or wrapped:
        raise DataError(
            f"{table.path}, line {fault.line}: {_in_words(fault)}; mend or remove the line, or {how}, or "
            f"{option('escape', chr(92))} where that stands before quotation marks"
        )
    return replace(table, dialect=replace(table.dialect, quote=""))


def _check_quoted(table: TextTable, width: int, lenient: bool) -> bool:
    """Return whether a row has several lines; raises FaultError for one that is not as quotation asks for."""
    with table.lines(table.skipped) as lines:
        count = 0
        reader = reader_of(lines, table.dialect, True)
        try:
            for row in reader:
                count += 1
                if len(row) != width and not lenient and any(field.strip() for field in row):
                    line = table.skipped + reader.line_num
                    raise FaultError(line, f"{len(row)} fields where there are {width} columns")
        except csv.Error:
            for _ in table.rows(quoted=True):  # which says where
                pass
            raise
        return int(reader.line_num) > count


def _first_of_several(table: TextTable) -> int:
    return next(begun for begun, row in table.rows(quoted=True) if any("\n" in field or "\r" in field for field in row))


def _in_words(fault: FaultError) -> str:
    text = str(fault)
    if "fields" in text:
        return text
    return f"a quotation mark that opens in the row from this line never closes before a separator ({text})"


def _plain_rows(table: TextTable, width: int, mark: str) -> tuple[bool, bool]:
    """Return whether all rows have as many fields without quotation, and whether fields are wholly in marks."""
    wrapped = False
    try:
        for _, row in table.rows(quoted=False):
            if len(row) != width:
                return False, wrapped
            wrapped = wrapped or any(len(field) > 1 and field[0] == mark == field[-1] for field in row)
    except FaultError:
        return False, wrapped
    return True, wrapped


def _has(table: TextTable, mark: bytes) -> bool:
    """Whether the letter stands anywhere behind the header, or in it where it is not UTF-8."""
    decode = codecs.getincrementaldecoder(table.dialect.encoding or "utf-8")()
    plain = table.dialect.encoding == "utf-8"
    try:
        with opened(table.path) as source:
            source.read(table.mark)
            if plain:
                _skip_lines(source, table.skipped)
            while block := source.read(BLOCK):
                if mark in (block if plain else decode.decode(block).encode("utf-8", "surrogatepass")):
                    return True
    except READING as error:
        raise DataError(f"{table.path} cannot be read: {error}; {_mend(table)}") from error
    return False


def _mend(table: TextTable) -> str:
    if isinstance(table.dialect.encoding, str) and table.dialect.encoding != "utf-8":
        return f"pass what it is written in, as {option('encoding', 'utf-8')}, or export the file again"
    return "mend or remove the line, or export the file again"


class Columns:
    """Columns of a table as they are read, batch by batch."""

    def __init__(self) -> None:
        self._integers: list[NDArray[np.int64]] = []
        self._codes: list[NDArray[np.int32]] | None = None
        self._numbers: dict[str, int] = {}

    def add(self, texts: "pa.Array") -> None:
        """Take the ids of a batch, without nulls."""
        if self._codes is None:
            integers = _as_integers(texts)
            if integers is not None:
                self._integers.append(integers)
                return
            self._codes = []
            for part in self._integers:
                codes, found = pd.factorize(part)
                self._add_codes(codes, found.astype(str).tolist())
            self._integers = []
        encoded = texts.dictionary_encode()
        self._add_codes(encoded.indices.to_numpy(), encoded.dictionary.to_pylist())

    def _add_codes(self, codes: NDArray[Any], found: list[str]) -> None:
        assert self._codes is not None
        numbers = np.array([self._numbers.setdefault(text, len(self._numbers)) for text in found], dtype=np.int32)
        self._codes.append(numbers[codes])

    def finished(self, blanks: bool) -> Any:
        """Return the ids: integers where all are written as such, else categories; ``blanks``: without those around."""
        if self._codes is None:
            return np.concatenate([*self._integers, np.empty(0, dtype=np.int64)])
        texts = list(self._numbers)
        codes = np.concatenate([*self._codes, np.empty(0, dtype=np.int32)])
        bare = [text.strip() for text in texts]
        integers = all(INTEGER.fullmatch(text) for text in bare)
        if blanks or integers or all(text[:1].isspace() for text in texts):
            texts = bare
        if integers:
            return np.array([int(text) for text in texts], dtype=np.int64)[codes]
        places, found = pd.factorize(np.array(texts, dtype=object), sort=True)
        return pd.Categorical.from_codes(places[codes], categories=pd.Index(found))


def _as_integers(texts: "pa.Array") -> NDArray[np.int64] | None:
    """Return integers where all are written as Python would write them, and are below 10^18."""
    try:
        numbers = np.asarray(pc.cast(texts, pa.int64()).to_numpy(zero_copy_only=False))
    except pa.ArrowInvalid:
        return None
    sizes = np.abs(numbers)
    largest = int(sizes.max(initial=0))
    # no integer can be written in fewer letters, so that it is enough to count those of all
    letters = len(sizes) + int(np.count_nonzero(numbers < 0))
    letters += sum(int(np.count_nonzero(sizes >= 10**power)) for power in range(1, len(str(largest))))
    written = pc.sum(pc.binary_length(texts)).as_py() or 0
    return numbers if letters == written and largest < 10**18 else None


def read_columns(table: TextTable, roles: dict[str, int]) -> pd.DataFrame:
    """Return the columns with these places, by role; ids as integers or categories, numbers as float64.

    Raises
    ------
    DataError
        With the line, for a row of other fields than there are columns, or a field that is not what it should be.
    """
    names = [f"{place}" for place in range(len(table.names))]
    kinds = {role: _kind(table, role, place) for role, place in roles.items()}
    decimal = table.dialect.decimal or _decimal(table, roles.get("value"))
    ids = {role: Columns() for role in roles if kinds[role] == pa.string() and role in ("user", "item", "event")}
    others: dict[str, list[Any]] = {role: [] for role in roles if role not in ids}
    blank = False
    n_rows = 0
    try:
        with opened(table.path) as source:
            source.read(table.mark)
            reader = arrow_csv.open_csv(
                _for_arrow(table, source),
                read_options=arrow_csv.ReadOptions(column_names=names, block_size=BLOCK),
                parse_options=arrow_csv.ParseOptions(
                    delimiter=UNIT if table.dialect.sep == "::" else table.dialect.sep,
                    quote_char=table.dialect.quote or False,
                    escape_char=table.dialect.escape or False,
                    newlines_in_values=bool(table.dialect.quote),
                    invalid_row_handler=lambda row: "error" if row.text.strip() else "skip",
                ),
                convert_options=arrow_csv.ConvertOptions(
                    include_columns=[names[place] for place in roles.values()],
                    column_types={names[place]: kinds[role] for role, place in roles.items()},
                    null_values=[""],
                    strings_can_be_null=True,
                    decimal_point=decimal,
                ),
            )
            with reader:
                for batch in reader:
                    columns = dict(zip(roles, batch.columns, strict=True))
                    columns, dropped = _without_blank(columns)
                    blank = blank or dropped
                    n_rows += len(columns["user"])
                    for role, column in columns.items():
                        if column.null_count:
                            raise _SuspectError
                        if role in ids:
                            ids[role].add(column)
                        else:
                            others[role].append(column.to_numpy(zero_copy_only=False))
    except (_SuspectError, *READING) as error:
        time.sleep(LET_GO)
        raise find_fault(table, roles, kinds, decimal, error) from error
    blanks = table.dialect.sep is not None and _padded(table)
    frame = {role: column.finished(blanks) for role, column in ids.items()}
    frame |= {role: np.concatenate(parts) if parts else np.empty(0) for role, parts in others.items()}
    if blank:
        _check_blank_rows(table, n_rows)
    _check_marks(table, frame)
    return pd.DataFrame(frame, columns=list(roles))


class _SuspectError(Exception):
    """Some field is missing."""


def _for_arrow(table: TextTable, source: IO[bytes]) -> Any:
    """Return what is behind the header, as UTF-8: of a plain file, the file itself, which Arrow reads by itself."""
    plain = table.dialect.encoding == "utf-8" and table.dialect.sep != "::"
    is_file = isinstance(source, io.BufferedReader) and isinstance(source.raw, io.FileIO)
    stream: Any = source
    if not (plain and is_file):
        stream = io.BufferedReader(_Utf8(source, table.dialect.encoding or "utf-8", table.dialect.sep == "::"), BLOCK)
    _skip_lines(stream, table.skipped)
    if plain and is_file:
        file = pa.OSFile(str(table.path))
        file.seek(stream.tell())
        return file
    return pa.PythonFile(stream, "r")


def _skip_lines(stream: Any, lines: int) -> None:
    """Read so many lines, that end as in a text file."""
    for _ in range(lines):
        while True:
            letter = stream.read(1)
            if letter in (b"\n", b""):
                break
            if letter == b"\r":
                if stream.peek(1)[:1] == b"\n":
                    stream.read(1)
                break


def _without_blank(columns: dict[str, Any]) -> tuple[dict[str, Any], bool]:
    """Return columns without the rows of which nothing is there, and whether there were any."""
    if not all(column.null_count for column in columns.values()):
        return columns, False
    gone = np.logical_and.reduce([column.is_null().to_numpy(zero_copy_only=False) for column in columns.values()])
    if not gone.any():
        return columns, False
    kept = pa.array(~gone)
    return {role: column.filter(kept) for role, column in columns.items()}, True


def _check_blank_rows(table: TextTable, n_rows: int) -> None:
    """Raise DataError for a row that was left out as blank and is not."""
    count = 0
    for _ in table.rows():
        count += 1
    if count != n_rows:
        raise DataError(
            f"{table.path} has {count} rows, of which {count - n_rows} have neither a user nor an item; remove them"
        )


def _kind(table: TextTable, role: str, place: int) -> Any:
    """Return the type to read a column as."""
    if role == "value":
        return pa.float64()
    if role == "timestamp":
        texts = [row[place].strip() for row in table.sample if place < len(row)]
        if texts and all(re.fullmatch(r"-?[0-9]{1,18}", text) for text in texts):
            return pa.int64()
        return pa.float64() if texts and all(NUMBER.fullmatch(text) for text in texts) else pa.string()
    return pa.string()


def _decimal(table: TextTable, place: int | None) -> str:
    if place is None:
        return "."
    texts = [row[place] for row in table.sample if place < len(row)]
    commas = [text.strip() for text in texts if COMMA_NUMBER.fullmatch(text)]
    if commas and all(len(text.partition(",")[2]) == 3 for text in commas):
        raise DataError(
            f"{table.path} has the value {commas[0]!r} in column {table.names[place]!r}: pass {option('decimal', ',')} "
            "if the comma is a decimal one, and write the values without it if it divides thousands"
        )
    return "," if commas and not any("." in text for text in texts) else "."


def _padded(table: TextTable) -> bool:
    """Whether the separator is followed by a blank, as in the header."""
    rows = table.sample[:50]
    return bool(rows) and all(len(row) > 1 and all(field[:1] == " " for field in row[1:]) for row in rows)


def _check_marks(table: TextTable, frame: dict[str, Any]) -> None:
    """Raise DataError where ids are in quotation marks of another kind, which may be part of them or not."""
    if not table.guessed:
        return
    for role in ("user", "item"):
        found = frame[role].categories if isinstance(frame[role], pd.Categorical) else ()
        for mark in {"'", '"'} - {table.dialect.quote}:
            wrapped = [each for each in found if len(each) > 1 and each[0] == mark == each[-1]]
            if wrapped:
                raise DataError(
                    f"{table.path} has the {role} {wrapped[0]}: pass {option('quote', mark)} if the quotation marks "
                    f"do not belong to it, and {option('quote', table.dialect.quote or '')} if they do"
                )


def find_fault(
    table: TextTable, roles: dict[str, int], kinds: dict[str, Any], decimal: str, error: Exception
) -> DataError:
    """Return the error for the first row that cannot be taken, with its line."""
    width = len(table.names)
    try:
        for line, row in table.rows():
            where = f"{table.path}, line {line}"
            if len(row) != width:
                return DataError(
                    f"{where}: {len(row)} fields where there are {width} columns; mend or remove the line, or pass "
                    f"what stands between fields ({option('sep', ';')}) or around them ({option('quote', '')})"
                )
            for role, place in roles.items():
                text = row[place]
                name = table.names[place]
                if any("\udc80" <= letter <= "\udcff" for letter in text):
                    return DataError(
                        f"{where}: column {name!r} is not in UTF-8; pass what the file is written in, as "
                        f"{option('encoding', 'latin-1')}"
                    )
                expected = {"user": "an id", "item": "an id", "event": "an event"}.get(role, "a number")
                if kinds[role] == pa.string():
                    expected = "a date" if role == "timestamp" else expected
                    bad = text == ""
                else:
                    bad = not _is_number(text, decimal, kinds[role] == pa.int64())
                if bad:
                    hint = ""
                    if kinds[role] == pa.float64() and COMMA_NUMBER.fullmatch(text):
                        hint = f", or pass {option('decimal', ',')}"
                    elif len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":
                        hint = f", or pass {option('quote', text[0])}"
                    elif decimal == "," and NUMBER.fullmatch(text):
                        hint = f", or pass {option('decimal', '.')}"
                    if role == "value" and not hint:
                        hint = f", or do without values: pass {option('value', 'none')}"
                    return DataError(
                        f"{where} has {text!r} in column {name!r}, not {expected}; correct or remove the line{hint}"
                    )
    except FaultError as fault:
        return DataError(f"{table.path}, line {fault.line}: {_in_words(fault)}; mend or remove the line")
    except READING as broken:
        return DataError(f"{table.path} cannot be read: {broken}; {_mend(table)}")
    return DataError(f"{table.path} cannot be read: {str(error).strip() or 'unknown'}; {_mend(table)}")


def is_number(text: str) -> bool:
    """Whether a field is a number, with a point or a comma."""
    return NUMBER.fullmatch(text) is not None or COMMA_NUMBER.fullmatch(text) is not None


def _is_number(text: str, decimal: str, whole: bool) -> bool:
    if whole:
        return re.fullmatch(r"\s*-?[0-9]{1,19}\s*", text) is not None
    if decimal == ",":
        if "." in text:
            return False
        text = text.replace(",", ".")
    return NUMBER.fullmatch(text) is not None


def line_of(table: TextTable, row: int) -> int | None:
    """Return the line on which a row, counted from 0, begins."""
    found = next(islice(table.rows(), row, None), None)
    return None if found is None else found[0]
