"""Interaction tables: ids there and back, duplicates, timestamps, files, and what a broken one is answered with."""

import gzip
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from places import DATA

from rfm_recsys.datasets import from_frame, read_interactions, read_lightgcn
from rfm_recsys.errors import DataError, IdError, ParameterError, ParameterTypeError


def frame(*rows: tuple[Any, ...]) -> pd.DataFrame:
    return pd.DataFrame(list(rows), columns=["user_id", "item_id", "rating", "timestamp"][: len(rows[0])])


def csv(folder: Path, text: str, name: str = "table.csv") -> Path:
    path = folder / name
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        ([30, -4, 7], [-4, 7, 30]),
        (["b", "a", "007"], ["007", "a", "b"]),
        (["b", 3, "a", 1], [1, 3, "a", "b"]),
        ([UUID(int=9), UUID(int=2)], [UUID(int=2), UUID(int=9)]),
        ([("b", 1), ("a", 2)], [("a", 2), ("b", 1)]),
        ([1j, 2, UUID(int=1)], [1j, 2, UUID(int=1)]),  # not comparable: by first appearance
    ],
    ids=["integers", "strings", "mixed", "UUIDs", "tuples", "not comparable"],
)
def test_ids_are_ordered_and_map_there_and_back(ids: list[Any], expected: list[Any]) -> None:
    table = pd.DataFrame({"user_id": pd.Series(ids), "item_id": pd.Series(ids[::-1])})
    data = from_frame(table)
    assert data.user_ids.tolist() == expected
    assert data.user_ids[data.user_index(ids)].tolist() == ids
    pairs = zip(data.user_ids[data.users], data.item_ids[data.items], strict=True)
    assert set(pairs) == set(zip(ids, ids[::-1], strict=True))


def test_the_ending_of_a_file_may_be_in_capitals(tmp_path: Path) -> None:
    frame(("ann", 5)).to_parquet(tmp_path / "TABLE.PARQUET")
    assert read_interactions(tmp_path / "TABLE.PARQUET").user_ids.tolist() == ["ann"]


def test_a_single_id_is_mapped_and_an_unknown_one_refused() -> None:
    data = from_frame(frame(("ann", 5), ("bob", 9)))
    assert data.user_index("bob") == [1]
    assert data.item_index(5) == [0]
    with pytest.raises(IdError, match="user id 'eve' is not among the 2 known ones"):
        data.user_index(["ann", "eve"])
    with pytest.raises(IdError, match="item id 7 is not among"):
        data.item_index(np.array([5, 7]))
    with pytest.raises(IdError, match=r"item id '5' .* which begin with \[5\]; leave it out, or pass it in their type"):
        data.item_index("5")
    for wrong in ([[5, 9]], np.array(5), pd.DataFrame({"item_id": [5]})):
        with pytest.raises(ParameterTypeError, match="item ids are no list of ids"):
            data.item_index(wrong)


def test_the_matrix_holds_every_value_once_with_sorted_indices() -> None:
    data = from_frame(frame((2, 8, 4.0), (1, 9, 3.0), (1, 8, 0.5)), value="rating")
    matrix = data.to_csr(np.float64)
    assert matrix.shape == data.shape == (2, 2)
    assert matrix.dtype == np.float64
    assert matrix.has_sorted_indices
    np.testing.assert_array_equal(matrix.toarray(), [[0.5, 3], [4, 0]])
    assert data.to_csr().dtype == np.float32
    np.testing.assert_array_equal(from_frame(frame((2, 8), (1, 9))).values, [1, 1])


@pytest.mark.parametrize(
    ("duplicates", "timestamp", "value", "time"),
    [
        ("last", None, 2.0, None),
        ("last", "timestamp", 5.0, 30),
        ("sum", None, 7.0, None),
        ("sum", "timestamp", 7.0, 30),
    ],
)
def test_duplicates(duplicates: Any, timestamp: str | None, value: float, time: int | None) -> None:
    rows = frame((1, 8, 5.0, 30), (1, 9, 1.0, 5), (1, 8, 2.0, 10))
    data = from_frame(rows, value="rating", timestamp=timestamp, duplicates=duplicates)
    np.testing.assert_array_equal(data.values, [value, 1])
    assert (None if data.timestamps is None else data.timestamps.tolist()) == (time and [time * 10**9, 5 * 10**9])


def test_of_duplicates_at_the_same_time_the_later_row_counts() -> None:
    rows = frame((1, 8, 5.0, 30), (1, 8, 2.0, 30))
    np.testing.assert_array_equal(from_frame(rows, value="rating", timestamp="timestamp").values, [2])


def test_duplicates_are_refused_on_request() -> None:
    rows = frame((1, 8, 5.0), (3, 9, 1.0), (3, 9, 2.0))
    with pytest.raises(
        DataError, match=r"user 3 has item 9 more than once; pass duplicates='last' or duplicates='sum'"
    ):
        from_frame(rows, duplicates="error")
    assert len(from_frame(rows[:2], duplicates="error").users) == 2
    with pytest.raises(ParameterError, match="duplicates is 'first'; pass 'last', 'sum' or 'error'"):
        from_frame(rows, duplicates="first")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="user 1 and item 8 add up to 6e"):
        from_frame(frame((1, 8, 3e38), (1, 8, 3e38)), value="rating", duplicates="sum")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e39, "good", None])
def test_values_that_are_no_finite_numbers_are_refused(bad: Any) -> None:
    rows = pd.DataFrame({"user_id": [1, 2], "item_id": [1, 2], "rating": [3, bad]}, index=[10, 11])
    with pytest.raises(DataError, match=r"row 11 has .* in column 'rating', not a finite number"):
        from_frame(rows, value="rating")


@pytest.mark.parametrize("column", ["user_id", "item_id"])
@pytest.mark.parametrize("bad", [None, np.nan, pd.NA])
def test_null_ids_are_refused(column: str, bad: Any) -> None:
    rows = frame(("a", "b"), ("c", "d")).astype(object)
    rows.loc[1, column] = bad
    with pytest.raises(DataError, match=f"row 1 has .* in column '{column}', not an id"):
        from_frame(rows)


def test_missing_columns_and_empty_tables_are_refused() -> None:
    with pytest.raises(DataError, match=r"column 'who' stands 0 times among \['user_id', 'item_id'\]"):
        from_frame(frame((1, 2)), user="who")
    with pytest.raises(DataError, match="column 'item_id' stands 2 times"):
        from_frame(pd.DataFrame([[1, 2, 3]], columns=["user_id", "item_id", "item_id"]))
    with pytest.raises(DataError, match="no rows; pass at least one"):
        from_frame(frame((1, 2))[:0])


@pytest.mark.parametrize(
    "times",
    [
        [86400, 90061],
        [86400.0, 90061.0],
        ["86400", "90061"],
        ["1970-01-02", "1970-01-02T01:01:01Z"],
        ["1970-01-02 01:00:00+01:00", "1970-01-02 01:01:01"],
        pd.to_datetime(["1970-01-02 00:00:00", "1970-01-02 01:01:01"]),
        pd.to_datetime(["1970-01-02 00:00:00", "1970-01-02 01:01:01"], utc=True).tz_convert("Asia/Tokyo"),
    ],
)
def test_timestamps_become_unix_time_in_nanoseconds(times: Any) -> None:
    rows = pd.DataFrame({"user_id": [1, 2], "item_id": [1, 2], "when": times})
    data = from_frame(rows, timestamp="when")
    assert data.timestamps is not None
    assert data.timestamps.dtype == np.int64
    np.testing.assert_array_equal(data.timestamps, [86400 * 10**9, 90061 * 10**9])


@pytest.mark.parametrize(
    "times", [[1.0, np.nan], [1, "soon"], [1, 1e300], ["1970-01-02", "soon"], ["1970-01-02", None]]
)
def test_broken_timestamps_are_refused(times: list[Any]) -> None:
    rows = pd.DataFrame({"user_id": [1, 2], "item_id": [1, 2], "when": times})
    with pytest.raises(DataError, match=r"row 1 has .* in column 'when', not a"):
        from_frame(rows, timestamp="when")


@settings(max_examples=30, deadline=None)
@given(st.dictionaries(st.tuples(st.integers(0, 9), st.integers(0, 9)), st.integers(1, 5), min_size=1), st.randoms())
def test_the_order_of_the_rows_changes_nothing(entries: dict[tuple[int, int], int], random: Any) -> None:
    rows = [(f"u{user}", item, value) for (user, item), value in entries.items()]
    one = from_frame(frame(*rows), value="rating")
    random.shuffle(rows)
    two = from_frame(frame(*rows), value="rating")
    assert one.content_hash() == two.content_hash()
    assert (one.to_csr() != two.to_csr()).nnz == 0


def test_the_content_hash_is_known_and_sees_every_column() -> None:
    rows = frame((1, 8, 5.0, 30), (2, 9, 1.0, 5))
    with_times = from_frame(rows, value="rating", timestamp="timestamp")
    hashes = {
        with_times.content_hash(),
        from_frame(rows, value="rating").content_hash(),
        from_frame(rows).content_hash(),
    }
    assert len(hashes) == 3
    assert with_times.content_hash() == "fb39c129f26bcd6145a5254efda82867bf31ddb62f47888c03f722142ff72460"


@pytest.mark.parametrize("name", ["table.csv", "table.csv.gz", "table.tsv", "table.parquet"])
@pytest.mark.parametrize(
    "names", [("userId", "movieId", "rating", "timestamp"), ("user", "item", "weight", "time"), ("a", "b", "c", "d")]
)
def test_files_by_suffix_with_usual_and_given_names(tmp_path: Path, name: str, names: tuple[str, ...]) -> None:
    table = pd.DataFrame([(7, "x", 2.5, 86400), (3, "y", 4.0, 5)], columns=list(names))
    path = tmp_path / name
    if name.endswith("parquet"):
        table.to_parquet(path)
    else:
        table.to_csv(path, index=False, sep="\t" if "tsv" in name else ",")
    given = dict(zip(("user", "item", "value", "timestamp"), names, strict=True)) if names[0] == "a" else {}
    data = read_interactions(path, **given)  # type: ignore[arg-type]
    assert data.user_ids.tolist() == [3, 7]
    assert data.item_ids.tolist() == ["x", "y"]
    assert data.timestamps is not None
    for column, expected in (
        (data.values, [4, 2.5]),
        (data.timestamps, [5 * 10**9, 86400 * 10**9]),
        (data.items, [1, 0]),
    ):
        np.testing.assert_array_equal(column, expected)


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (["7", "-3", "0"], [-3, 0, 7]),
        (["007", "7", "8"], ["007", "7", "8"]),
        (["1e3", "1", "2"], ["1", "1e3", "2"]),
        (["NA", "null", "nan"], ["NA", "nan", "null"]),
        (["12345678901234567890", "1", "2"], ["1", "12345678901234567890", "2"]),
    ],
)
def test_ids_in_a_csv_are_integers_only_when_all_are_written_so(
    tmp_path: Path, written: list[str], expected: list[Any]
) -> None:
    path = csv(tmp_path, "user,item\n" + "".join(f"{user},1\n" for user in written))
    assert read_interactions(path).user_ids.tolist() == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty; pass a file"),
        ("user,item\n", "no rows"),
        ("user,rating\n1,2\n", r"has the columns \['user', 'rating'\]; name the item column: pass item='...'"),
        ("user,item,rating\n1,2,3\n1,2,3,4\n", "line 3: 4 fields where there are 3 columns; mend or remove the line"),
        ("user,item\n1,2,3\n1,2,3\n", "line 2: 3 fields where there are 2 columns"),
        ("user,item,rating\n1,2,3\n\n1,2\n", "line 4: 2 fields where there are 3 columns"),
        ("user,item,rating\n1,2,3\n\n4,5,six\n", "line 4 has 'six' in column 'rating'"),
        ("user,item,rating\n1,2,inf\n", "line 2 has inf in column 'rating'"),
        ("user,item\n1,2\n,2\n", "line 3 has '' in column 'user', not an id; correct or remove the line"),
        ("user,item,timestamp\n1,2,1999-12-31\n1,3,1999-13-31\n", "line 3 has '1999-13-31' in column 'timestamp'"),
    ],
)
def test_a_broken_csv_is_refused_with_file_line_and_remedy(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=r"table\.csv.*" + message):
        read_interactions(csv(tmp_path, text))


def test_a_comma_of_thousands_is_not_taken_for_a_decimal_one(tmp_path: Path) -> None:
    path = csv(tmp_path, 'user,item,plays\n1,2,"1,234"\n2,2,5\n')
    with pytest.raises(DataError, match="has the value '1,234' in column 'plays': pass decimal=','"):
        read_interactions(path)
    assert read_interactions(path, decimal=",").values.tolist() == [np.float32(1.234), 5]


def test_other_forms_are_read_or_refused_in_words(tmp_path: Path) -> None:
    path = tmp_path / "table.jsonl"
    path.write_text('{"user": 1, "item": "x"}\n\n{"user": 2, "item":\n')
    with pytest.raises(DataError, match=r"table\.jsonl, line 3 is no JSON object"):
        read_interactions(path)
    path.write_text('[{"user": 1, "item": "x"}, {"user": 2, "item": "y"}]')
    assert read_interactions(path).item_ids.tolist() == ["x", "y"]
    data = read_interactions(csv(tmp_path, "sep=;\nuser;item\n1;a,b\n"))
    assert data.item_ids.tolist() == ["a,b"]
    dated = csv(tmp_path, "user,item,date\n1,2,01/02/2020\n1,3,13/02/2020\n")
    with pytest.raises(DataError, match=r"line 2 has '01/02/2020' .* pass timestamp='none'"):
        read_interactions(dated)
    assert read_interactions(dated, timestamp="none").timestamps is None
    with pytest.raises(DataError, match="pass decimal=','"):
        read_interactions(csv(tmp_path, "user;item;rating\n" + "1;2;3\n" * 1200 + "2;3;4,5\n"))


def test_broken_containers_and_missing_files_are_refused(tmp_path: Path) -> None:
    packed = gzip.compress(np.random.default_rng(0).bytes(3000).hex().encode())
    for name, content in {
        "truncated.csv.gz": packed[:500],
        "altered.csv.gz": packed[:500] + bytes(20) + packed[520:],
        "foreign.parquet": b"user,item\n1,2\n",
    }.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=name.replace(".", r"\.") + " cannot be read: .*export the file again"):
            read_interactions(tmp_path / name)
    (tmp_path / "named.csv.gz").write_bytes(b"user,item\n1,2\n")  # not compressed: what it is counts, not its name
    assert len(read_interactions(tmp_path / "named.csv.gz").users) == 1
    with pytest.raises(DataError, match=r"no file .*none\.csv; pass the path"):
        read_interactions(tmp_path / "none.csv")


def test_lightgcn_files_share_one_shape(tmp_path: Path) -> None:
    train = csv(tmp_path, "0 5 1 5\n1\n\n2 0\n", "train.txt")
    test = csv(tmp_path, "3 7\n0 2\n6\n", "test.txt")
    one, two = read_lightgcn(train, test)
    assert one.shape == two.shape == (7, 8)
    np.testing.assert_array_equal(np.transpose(one.nonzero()), [(0, 1), (0, 5), (2, 0)])
    np.testing.assert_array_equal(np.transpose(two.nonzero()), [(0, 2), (3, 7)])
    np.testing.assert_array_equal(one.data, 1)
    assert one.dtype == np.float32


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0 1\n1 x 2\n", "line 2: 'x' is not an integer"),
        ("0 1\n\n1 -2\n", "line 3: '-2' is not an integer"),
        ("0 1.0\n", "line 1: '1.0' is not"),
        ("0 99999999999999999999\n", "line 1: '9+' is not an integer in 0..999999999"),
        ("0 \u0663\n", "line 1: '\u0663' is not an integer"),
        ("\n\n", "is empty"),
    ],
)
def test_a_broken_lightgcn_file_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=r"train\.txt.*" + message):
        read_lightgcn(csv(tmp_path, text, "train.txt"))


def test_lightgcn_needs_files(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="no path is given"):
        read_lightgcn()
    with pytest.raises(DataError, match=r"none\.txt cannot be read"):
        read_lightgcn(tmp_path / "none.txt")


@pytest.mark.skipif(not (DATA / "gowalla").is_dir(), reason="needs Gowalla in ../shared/data/gowalla")
def test_gowalla() -> None:
    train, valid, test = read_lightgcn(*(DATA / "gowalla" / f"{part}.txt" for part in ("train", "valid", "test")))
    assert train.shape == valid.shape == test.shape == (29858, 40981)
    assert train.nnz + valid.nnz == 810128
    assert test.nnz == 217242
    assert train.multiply(test).nnz == 0
