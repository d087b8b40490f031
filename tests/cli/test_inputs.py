"""Small awkward files, each with its right outcome: in Python, and by ``fit`` and ``compare`` alike."""

import os
import shlex
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from places import DATA

from rfm_recsys import LinRFM, LinRFMRatings, TableModel
from rfm_recsys.datasets import from_frame, read_interactions
from rfm_recsys.errors import DataError
from rfm_recsys.evaluation import user_metrics

INPUTS = DATA.parent / "inputs"
COMMAND = str(Path(sys.executable).with_name("rfm-recsys"))
needs_inputs = pytest.mark.skipif(not INPUTS.is_dir(), reason="needs the small files in ../shared/inputs")

# the name, how it is read in Python, the same on the command line, and rows, users, items, values
READ: list[tuple[str, dict[str, Any], str, tuple[int, int, int], list[float] | None]] = [
    ("stray_quotes.tsv", {}, "", (6, 6, 3), None),
    ("stray_quotes.csv", {}, "", (6, 6, 3), None),
    ("excel_european.csv", {}, "", (3, 2, 2), [3.5, 4, 5]),
    ("excel_unicode.csv", {}, "", (3, 2, 2), [3.5, 4, 5]),
    ("latin1.csv", {"encoding": "latin-1"}, "--encoding latin-1", (3, 2, 2), [3, 4, 5]),
    ("no_header.tsv", {"header": False}, "--no-header", (3, 2, 2), [3, 3, 4]),
    ("spaces.csv", {}, "", (3, 2, 2), [4, 3, 5]),
    ("subsecond.csv", {}, "", (3, 2, 2), [4, 3, 2]),
    ("events.csv", {}, "", (4, 2, 3), [1, 1, 1, 1]),
    ("events.csv", {"duplicates": "sum"}, "--duplicates sum", (4, 2, 3), [3, 1, 1, 2]),
    (
        "events.csv",
        {"duplicates": "sum", "event_weights": {"view": 1, "addtocart": 3, "transaction": 5}},
        "--duplicates sum --event-weights view=1,addtocart=3,transaction=5",
        (4, 2, 3),
        [5, 1, 1, 6],
    ),
    ("plays.csv", {}, "", (6, 3, 3), [120, 3, 1, 44, 9, 2]),
    ("plays.csv.gz", {}, "", (6, 3, 3), [120, 3, 1, 44, 9, 2]),
    ("plays.csv", {"ones": True}, "--ones", (6, 3, 3), [1, 1, 1, 1, 1, 1]),
    ("plays.csv", {"min_rating": 9}, "--min-rating 9", (3, 3, 3), [120, 44, 9]),
    ("returns.csv", {"duplicates": "sum"}, "--duplicates sum", (6, 3, 3), [0, 1, 3, 1, 1, 2]),
    ("recbole.inter", {}, "", (3, 2, 2), [4, 3, 5]),
    ("goodbooks.csv", {"item": "book_id"}, "--item book_id", (5, 2, 3), [5, 4, 4, 4, 5]),
    ("events.jsonl", {}, "", (3, 2, 2), [1, 2, 1]),
    ("one_table.zip", {}, "", (5, 2, 3), [5, 4, 4, 4, 5]),
    ("spark.parquet", {}, "", (6, 3, 3), None),
    ("hive", {}, "", (6, 3, 3), [4, 4, 4, 5, 5, 5]),
    ("short.pq", {}, "", (6, 3, 3), None),
]
REFUSED = [  # and the option that an error has to name, in Python and on the command line
    ("latin1.csv", r"line 2: column 'user_id' is not in UTF-8; .* encoding='latin-1'", "--encoding latin-1"),
    ("no_header.tsv", r"looks like data; pass header=False", "--no-header"),
    (
        "null_in_second.parquet",
        r"part-00001\.parquet, row 2 has no value in column 'user_id'",
        "part-00001.parquet, row 2",
    ),
]


def run(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    environment = os.environ | {"NUMBA_NUM_THREADS": "1"}
    return subprocess.run(
        [COMMAND, *arguments], cwd=folder, capture_output=True, text=True, check=False, env=environment
    )


@needs_inputs
@pytest.mark.parametrize(("name", "options", "command", "shape", "values"), READ, ids=lambda each: str(each)[:40])
def test_what_is_read(
    name: str, options: dict[str, Any], command: str, shape: tuple[int, int, int], values: list[float] | None
) -> None:
    data = read_interactions(INPUTS / name, **options)
    assert (len(data.values), *data.shape) == shape
    assert data.values.tolist() == ([1.0] * shape[0] if values is None else values)


@needs_inputs
@pytest.mark.parametrize(("name", "message", "option"), REFUSED)
def test_what_is_refused(name: str, message: str, option: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        read_interactions(INPUTS / name)
    for command in (("fit", str(INPUTS / name)), ("compare", "--dataset", str(INPUTS / name))):
        answer = run(tmp_path, *command)
        assert answer.returncode == 2
        assert len(answer.stderr.splitlines()) == 1, answer.stderr
        assert option in answer.stderr
        assert "=False" not in answer.stderr


@needs_inputs
@pytest.mark.parametrize("place", range(len(READ)))
def test_fit_and_compare_read_alike(place: int, tmp_path: Path) -> None:
    name, options, command, _, _ = READ[place]
    summary = read_interactions(INPUTS / name, **options).summary
    answer = run(tmp_path, "fit", str(INPUTS / name), "--factors", "2", *shlex.split(command))
    assert answer.returncode == 0, answer.stderr
    assert summary in answer.stdout
    compared = run(
        tmp_path, "compare", "--dataset", str(INPUTS / name), "--models", "Popularity", *shlex.split(command)
    )
    assert summary in compared.stdout, compared.stderr  # whether or not so few rows can be split


@needs_inputs
def test_ids_and_words_are_right() -> None:
    assert read_interactions(INPUTS / "spaces.csv").user_ids.tolist() == [5, 6]
    data = read_interactions(INPUTS / "latin1.csv", encoding="latin-1")
    assert data.user_ids.tolist() == ["Aña", "José"]
    assert data.item_ids.tolist() == ["Café", "Thé"]
    data = read_interactions(INPUTS / "subsecond.csv")
    assert data.timestamps is not None
    last = data.timestamps[data.users == 1]
    assert data.item_ids[data.items[data.users == 1][last.argmax()]] == 5
    assert "7 rows became 4 interactions" in read_interactions(INPUTS / "events.csv").summary
    assert "values from 'plays'" in read_interactions(INPUTS / "plays.csv").summary


@needs_inputs
def test_a_thumb_down_is_learned_from_and_not_recommended() -> None:
    model = TableModel.from_table(INPUTS / "thumbs.csv", LinRFMRatings(factors=2), show_progress=False)
    predicted = model.score(model.user_ids[model.user_items.tocoo().row], model.item_ids[model.user_items.tocoo().col])
    assert predicted.max() < 0.9  # not 1 for all: two thirds of the thumbs are up
    for kind in (LinRFM(2), LinRFMRatings(factors=2)):
        fitted = TableModel.from_table(INPUTS / "thumbs.csv", kind, show_progress=False)
        lists = fitted.recommend(N=20)
        table = pd.read_csv(INPUTS / "thumbs.csv")
        has = set(zip(table["user_id"], table["item_id"], strict=True))
        assert not has & set(zip(lists["user_id"], lists["item_id"], strict=True))


@needs_inputs
@pytest.mark.parametrize("duplicates", ["last", "sum"])
def test_what_is_returned_is_not_recommended_as_new(duplicates: Any) -> None:
    model = TableModel.from_table(INPUTS / "returns.csv", LinRFM(2), show_progress=False, duplicates=duplicates)
    assert "a" not in model.recommend("ann")["item_id"].tolist()
    summary = read_interactions(INPUTS / "returns.csv", duplicates=duplicates).summary
    assert ("1 negative" if duplicates == "last" else "1 of value 0") in summary


@needs_inputs
def test_titles_stand_beside_the_items(tmp_path: Path) -> None:
    assert run(tmp_path, "fit", str(INPUTS / "goodbooks.csv"), "--item", "book_id", "--factors", "2").returncode == 0
    titles = ("--titles", str(INPUTS / "titles.csv"))
    shown = run(tmp_path, "recommend", "model.rfm", "--user", "1", "--include-liked", *titles).stdout
    assert {"The Shadow", "Angels", "Stones, Four"} <= {line.split("\t")[-1] for line in shown.splitlines()}
    assert "Angels" in run(tmp_path, "similar", "model.rfm", "--item", "258", *titles).stdout
    assert "Stones, Four" in run(tmp_path, "explain", "model.rfm", "--user", "1", "--item", "4081", *titles).stdout


@needs_inputs
def test_parquet_folders_are_read_by_a_cluster_alike(tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed")
    from rfm_recsys.distributed import fit

    with (
        distributed.LocalCluster(n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None) as cluster,
        distributed.Client(cluster) as client,
    ):
        for name in ("spark.parquet", "hive", "short.pq"):
            local = read_interactions(INPUTS / name)
            there = fit(str(INPUTS / name), client, LinRFM(3), users=tmp_path / name)
            assert there.item_ids.tolist() == local.item_ids.tolist()
            here = TableModel.from_table(local, LinRFM(3, **there.model.chosen_), show_progress=False)
            smoothers = [model.item_factors @ model.item_factors.T for model in (there.model, here.model)]
            np.testing.assert_allclose(smoothers[0], smoothers[1], atol=1e-4)
        with pytest.raises(DataError, match=r"part-00001\.parquet, row 2 has no value in column 'user_id'"):
            fit(str(INPUTS / "null_in_second.parquet"), client, LinRFM(2), users=tmp_path / "null")


def test_tables_of_polars_and_pyarrow() -> None:
    columns = {"user": ["ann", "ann", "bob"], "item": [2**62, 7, 7], "plays": [3, 1, 2]}
    expected = from_frame(pd.DataFrame(columns), "user", "item", "plays")
    polars = pytest.importorskip("polars")
    for table in (polars.DataFrame(columns), polars.DataFrame(columns).lazy(), pa.table(columns)):
        model = TableModel.from_table(table, LinRFM(2), show_progress=False)
        assert model.item_ids.tolist() == expected.item_ids.tolist()
        assert (model.user_items != expected.to_csr()).nnz == 0


@pytest.mark.parametrize("ending", ["parquet", "csv", "jsonl"])
@pytest.mark.parametrize("ids", [[2**70, 2**70 + 1, 5], ["a\udc80", "b", "c"]], ids=["beyond 64 bits", "surrogates"])
def test_awkward_ids_are_written_or_refused_in_words(ids: list[Any], ending: str, tmp_path: Path) -> None:
    table = pd.DataFrame({"user_id": pd.Series(ids + ids[:2], dtype=object), "item_id": ["x", "y", "z", "y", "z"]})
    TableModel.from_table(table, LinRFM(2), show_progress=False).save(tmp_path / "model.rfm")
    loaded = TableModel.load(tmp_path / "model.rfm")
    assert set(loaded.user_ids) == set(ids)
    answer = run(tmp_path, "recommend", "model.rfm", "--all", "--output", f"lists.{ending}")
    assert "Traceback" not in answer.stderr
    if answer.returncode:
        assert "cannot hold these ids" in answer.stderr
        assert not (tmp_path / f"lists.{ending}").exists()
    printed = run(tmp_path, "recommend", "model.rfm", "--all", "--output", "-")
    assert printed.returncode == 0, printed.stderr


def test_one_model_for_two_tables_and_changes_by_hand(tmp_path: Path) -> None:
    given = LinRFM(2)
    one = TableModel.from_table(pd.DataFrame({"user": [1, 1, 2], "item": [1, 2, 1]}), given, show_progress=False)
    lists = one.recommend()
    TableModel.from_table(pd.DataFrame({"user": [7, 8, 8], "item": [5, 5, 6]}), given, show_progress=False)
    assert given.item_factors is None
    pd.testing.assert_frame_equal(one.recommend(), lists)
    one.model.partial_fit_users([2], one.user_items[:1])  # a third user, of whom the table knows nothing
    with pytest.raises(DataError, match=r"3 users and 2 items, and the table 2 and 2; .* call update\(\)"):
        one.save(tmp_path / "model.rfm")
    assert not (tmp_path / "model.rfm").exists()


def test_metrics_from_two_threads_at_once() -> None:
    from scipy.sparse import csr_matrix

    rng = np.random.default_rng(0)
    target = csr_matrix(rng.random((200, 50)) < 0.1, dtype=float)
    ids = np.argsort(rng.random((200, 50)), axis=1)[:, :20].astype(np.int32)
    expected = user_metrics(ids, target, [5, 20])
    found: list[Any] = [None, None]

    def measure(place: int) -> None:
        found[place] = [user_metrics(ids, target, [5, 20]) for _ in range(20)]

    workers = [threading.Thread(target=measure, args=(place,)) for place in (0, 1)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for results in found:
        for result in results:
            for name, values in expected.items():
                np.testing.assert_array_equal(result[name], values)
