"""One function for every data set, by name or path."""

import zipfile
from pathlib import Path

import numpy as np
import pytest

from rfm_recsys.datasets import Interactions, catalogue, load, synthetic_movielens
from rfm_recsys.errors import DataError

U_DATA = "1\t2\t3\t4\n1\t3\t5\t4\n"


def test_a_name_generates_or_downloads(monkeypatch: pytest.MonkeyPatch) -> None:
    small = synthetic_movielens(20, 10, 90)
    monkeypatch.setattr(catalogue, "synthetic_movielens", lambda: small)
    monkeypatch.setattr(catalogue, "load_movielens", lambda *of: of)
    assert load("synthetic") is small
    assert load("ml-latest-small") == load("latest-small") == ("latest-small",)


def test_a_folder_or_file_is_read_for_what_it_is(tmp_path: Path) -> None:
    folder = tmp_path / "ml-100k"
    folder.mkdir()
    (folder / "u.data").write_text(U_DATA)
    with zipfile.ZipFile(tmp_path / "ml-100k.zip", "w") as archive:
        archive.writestr("ml-100k/u.data", U_DATA)
    table = tmp_path / "table.csv"
    table.write_text("user_id,item_id,rating\n1,2,3\n1,3,5\n")
    for source in (folder, str(folder), tmp_path / "ml-100k.zip", table):
        data = load(source)
        assert isinstance(data, Interactions)
        np.testing.assert_array_equal(data.to_csr().toarray(), [[3, 5]])


def test_a_published_split_has_two_or_three_parts(tmp_path: Path) -> None:
    for part, line in (("train", "0 0 1"), ("test", "0 3"), ("valid", "0 2")):
        (tmp_path / f"{part}.txt").write_text(line)
    train, validation, test = load(tmp_path)  # type: ignore[misc]
    assert [train.indices.tolist(), validation.indices.tolist(), test.indices.tolist()] == [[0, 1], [2], [3]]
    (tmp_path / "valid.txt").unlink()
    assert len(load(tmp_path)) == 2  # type: ignore[arg-type]


def test_anything_else_is_told_what_there_is() -> None:
    with pytest.raises(DataError, match=r"neither a data set nor a file; pass 'synthetic', .*ml-32m"):
        load("no-such")


def test_an_entry_adds_a_data_set(monkeypatch: pytest.MonkeyPatch) -> None:
    mine = catalogue.Source("'mine'", lambda name: name == "mine", lambda _: synthetic_movielens(20, 10, 90))
    monkeypatch.setattr(catalogue, "SOURCES", (mine, *catalogue.SOURCES))
    assert load("mine").shape == (20, 10)  # type: ignore[union-attr]
    with pytest.raises(DataError, match="pass 'mine', 'synthetic'"):
        load("no-such")
