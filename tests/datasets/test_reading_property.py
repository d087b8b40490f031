"""Random tables in every format and dialect are read back as they were written, or refused with the option to pass.

``READING_CASES=2000`` tries as many; by default, a few hundred.
"""

import bz2
import csv
import gzip
import io
import json
import lzma
import os
import random
import re
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import csv as arrow_csv

from rfm_recsys.datasets import Interactions, read_interactions
from rfm_recsys.errors import DataError

polars = pytest.importorskip("polars", reason="needs polars to write tables with")

CASES = int(os.environ.get("READING_CASES", "300"))
WORDS = ("a", "Zoë", "x y", "it's", "12\" disc", '"whole"', "com,ma", "semi;colon", "ta\tb", "pi|pe", "two\nlines",
         "007", "7", "-3", "NA", "null", "nan", "1e3", "0", "ñandú", "Ł", "日本", "#1", "'q'", "a\\b", " lead",
         "trail ", "1,5", "::", "True", "2020-01-02", "12345678901234567890", "_x", "%", "back\\")  # fmt: skip
HEADERS = (("user_id", "item_id", "rating", "timestamp"), ("userId", "movieId", "rating", "ts"),
           ("customerId", "productId", "quantity", "date"), ("a", "b", "c", "d"))  # fmt: skip


def ids(rng: random.Random, n: int) -> list[Any]:
    kind = rng.randrange(4)
    if kind == 0:
        return [rng.randrange(-20, 10 ** rng.choice((1, 4, 12))) for _ in range(n)]
    if kind == 1:
        return [f"{rng.choice('abcd')}{rng.randrange(100)}" for _ in range(n)]
    if kind == 2:
        return [f"{rng.randrange(10**6):08x}-{rng.randrange(99)}" for _ in range(n)]
    return [rng.choice(WORDS) for _ in range(n)]


def written(path: Path, text: str, rng: random.Random, encoding: str) -> str:
    """Write text, perhaps compressed, in the encoding; return what it was."""
    content = text.encode(encoding)
    packing = rng.choice(["", "", "", "gz", "bz2", "xz", "zst", "zip"])
    if packing == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("table.csv", content)
    else:
        pack: dict[str, Any] = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}
        path.write_bytes(
            pa.compress(content, "zstd", asbytes=True) if packing == "zst" else pack.get(packing, lambda c: c)(content)
        )
    return packing


def case(rng: random.Random, folder: Path) -> tuple[Path, dict[str, Any], pd.DataFrame, str]:
    """Return a file, the options that describe it, what is in it, and how it was written."""
    n = rng.choice((1, 2, 3, 8, 40))
    names = rng.choice(HEADERS)
    n_columns = rng.choice((2, 3, 4))
    columns: dict[str, list[Any]] = {names[0]: ids(rng, n), names[1]: ids(rng, n)}
    if n_columns > 2:
        columns[names[2]] = [rng.choice((1, 2.5, 4.25, 0, 100)) for _ in range(n)]
    if n_columns > 3:
        columns[names[3]] = [rng.randrange(8 * 10**8, 9 * 10**8) for _ in range(n)]
    label = rng.random() < 0.3
    if label:
        columns["label"] = [rng.choice(WORDS) for _ in range(n)]
    if rng.random() < 0.1:
        columns[names[rng.randrange(2)]][rng.randrange(n)] = None  # a missing id
    frame = pd.DataFrame({name: pd.Series(values, dtype=object) for name, values in columns.items()})
    options: dict[str, Any] = {}
    if names[0] == "a":
        options = dict(zip(("user", "item", "value", "timestamp"), names[:n_columns], strict=False))
    form = rng.choice(["csv", "csv", "csv", "csv", "jsonl", "parquet", "folder", "polars", "arrow", "pandas"])
    path = folder / rng.choice(["table.csv", "table.txt", "table.tsv", "table.dat", "table"])
    if form in ("parquet", "folder"):
        try:
            table = pa.table({name: pa.array(values) for name, values in columns.items()})
        except pa.ArrowException:
            return case(rng, folder)
        if form == "folder":
            path = folder / "table.parquet"
            path.mkdir()
            half = n // 2
            pq.write_table(table.slice(0, half), path / "part-0.parquet")
            pq.write_table(table.slice(half), path / "part-1.parquet")
        else:
            path = folder / rng.choice(["table.parquet", "table.pq"])
            pq.write_table(table, path)
        return path, options, frame, form
    if form == "jsonl":
        text = "".join(
            f"{json.dumps(dict(zip(columns, row, strict=True)))}\n" for row in zip(*columns.values(), strict=True)
        )
        path = folder / rng.choice(["table.jsonl", "table.ndjson", "table.json"])
        return path, options, frame, f"{form} {written(path, text, rng, 'utf-8')}"
    sep = rng.choice([",", "\t", ";", "|"])
    encoding = rng.choice(["utf-8", "utf-8", "utf-8-sig", "utf-16", "latin-1"])
    described = dict(options, sep=sep, encoding=encoding)
    if form == "polars":
        try:
            text = polars.DataFrame(columns).write_csv(separator=sep)
        except (TypeError, polars.exceptions.PolarsError):
            return case(rng, folder)
        described["quote"] = '"'
    elif form == "arrow":
        out = io.BytesIO()
        try:
            arrow_csv.write_csv(pa.table(columns), out, arrow_csv.WriteOptions(delimiter=sep))
        except pa.ArrowException:
            return case(rng, folder)
        text = out.getvalue().decode()
        described["quote"] = '"'
    elif form == "pandas":
        text = frame.to_csv(index=False, sep=sep, lineterminator=rng.choice(["\n", "\r\n"]))
        described["quote"] = '"'
    else:
        quoting: Any = rng.choice([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC, csv.QUOTE_NONE])
        mark = rng.choice(['"', '"', "'"])
        buffer = io.StringIO()
        end = rng.choice(["\n", "\r\n", "\r"])
        if end == "\r" and any("\n" in str(field) for field in frame.to_numpy().ravel()):
            return case(rng, folder)  # Python's writer does not quote it then
        writer = csv.writer(buffer, delimiter=sep, quoting=quoting, quotechar=mark, lineterminator=end)
        if quoting == csv.QUOTE_NONE:
            if any(str(field)[:1] == '"' == str(field)[-1:] for field in frame.to_numpy().ravel()):
                return case(rng, folder)  # nobody could tell these marks from quotation
            writer = csv.writer(buffer, delimiter=sep, quoting=quoting, quotechar=None, lineterminator="\n")
        described["quote"] = "" if quoting == csv.QUOTE_NONE else mark
        header = rng.random() < 0.8
        described["header"] = header
        if not header and names[0] == "a":
            described = {**described, **dict(zip(options, ("1", "2", "3", "4"), strict=False))}
            options = {}
        try:
            if header:
                writer.writerow(columns)
            writer.writerows(zip(*columns.values(), strict=True))
        except csv.Error:  # it would have to be quoted
            return case(rng, folder)
        text = buffer.getvalue()
    try:
        packing = written(path, text, rng, encoding)
    except UnicodeEncodeError:
        return case(rng, folder)
    frame.attrs["described"] = described
    return path, options, frame, f"{form} {encoding} {packing} {described.get('quote')!r} {sep!r}"


def expected(frame: pd.DataFrame) -> Counter[tuple[Any, ...]]:
    """Return what interactions there are, ids as text."""
    columns = [frame.iloc[:, k].tolist() for k in (0, 1)]
    values = frame.iloc[:, 2].tolist() if frame.shape[1] > 2 and frame.columns[2] != "label" else [1.0] * len(frame)
    rows: dict[tuple[Any, Any], Any] = {}
    order = list(range(len(frame)))
    if frame.shape[1] > 3 and frame.columns[3] != "label":
        times = frame.iloc[:, 3].tolist()
        order.sort(key=lambda row: int(times[row]))
    for row in order:
        rows[str(columns[0][row]), str(columns[1][row])] = float(values[row])
    return Counter((*pair, value) for pair, value in rows.items())


def found(data: Interactions) -> Counter[tuple[Any, ...]]:
    users, items = data.user_ids[data.users].tolist(), data.item_ids[data.items].tolist()
    return Counter((str(u), str(i), float(v)) for u, i, v in zip(users, items, data.values.tolist(), strict=True))


def fine(path: Path, options: dict[str, Any], frame: pd.DataFrame) -> bool:
    """Whether it is read to what it holds; an id that is missing has to be refused."""
    missing = bool(frame.iloc[:, :2].isna().to_numpy().any())
    data = read_interactions(path, **options)
    assert not missing, "a row without an id was read"
    return found(data) == expected(frame)


def test_tables_are_read_as_they_were_written_or_refused_with_the_option(tmp_path: Path) -> None:
    outcomes: Counter[str] = Counter()
    for seed in range(CASES):
        rng = random.Random(seed)
        folder = tmp_path / str(seed)
        folder.mkdir()
        path, options, frame, how = case(rng, folder)
        described = frame.attrs.get("described", options)
        try:
            right = fine(path, options, frame)
        except DataError as error:
            message = str(error)
            if frame.iloc[:, :2].isna().to_numpy().any():
                outcomes["a missing id, refused"] += 1
                continue
            assert re.search(r"(sep|quote|encoding|header|user|item|escape)=", message), (seed, how, message)
            outcomes["refused, and the option named"] += 1
            try:
                right = fine(path, described, frame)
            except DataError as second:
                pytest.fail(f"{seed} {how}: {message}; and with {described}: {second}")
        else:
            outcomes["read by itself"] += 1
        assert right, (seed, how, path.name, described, frame.to_dict("list"))
    print(dict(outcomes))
    assert outcomes["read by itself"] > 0.6 * CASES
