"""A model with the ids of its table: the same lists in other words, its files, and what it refuses."""

import datetime
import io
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from pyarrow.parquet import ParquetFile

from rfm_recsys import LinRFM, LinRFMRatings, tables
from rfm_recsys.core import modelfile
from rfm_recsys.datasets import Interactions, from_frame
from rfm_recsys.errors import DataError, IdError, ModelFileError, NotSupportedError, ParameterTypeError
from rfm_recsys.tables import KIND, TableModel

USERS, ITEMS = 40, 20

Naming = Callable[[int], Any]
NAMINGS: dict[str, Naming] = {
    "integers": lambda index: 7 * index - 20,
    "strings": lambda index: f"no. {index:03d}",
    "numerals": lambda index: f"{index:03d}",
    "floats": lambda index: index + 0.5,
    "mixed": lambda index: (index, str(index), index + 0.5)[index % 3],
    "numbers": lambda index: (index, index + 0.5)[index % 2],
    "long": lambda index: 2**70 + index,
}
IDS = pytest.mark.parametrize("name", NAMINGS.values(), ids=NAMINGS)


def table(name: Naming = NAMINGS["strings"]) -> pd.DataFrame:
    """Make a third of all pairs, with values in 1..5; the first user has all items, and the second all but two."""
    rng = np.random.default_rng(0)
    chosen = rng.random((USERS, ITEMS)) < 1 / 3
    chosen[0], chosen[1] = True, np.arange(ITEMS) >= 2
    users, items = (indices.tolist() for indices in np.nonzero(chosen))
    frame = pd.DataFrame({"rating": rng.integers(1, 6, len(users))})
    for column, indices in (("user_id", users), ("item_id", items)):
        ids = [name(index) for index in indices]
        frame[column] = pd.Series(ids, dtype=object if len({*map(type, ids)}) > 1 else None)
    return frame


def fitted(frame: pd.DataFrame, factors: int | None = 8) -> TableModel:
    return TableModel.from_table(frame, LinRFM(factors), show_progress=False)


def pairs(frame: pd.DataFrame) -> set[tuple[Any, Any]]:
    return set(zip(frame["user_id"].tolist(), frame["item_id"].tolist(), strict=True))


@pytest.fixture
def model() -> TableModel:
    return fitted(table())


# --- what it answers ---


@IDS
def test_lists_are_those_of_the_model_in_the_ids_of_the_table(name: Naming) -> None:
    frame = table(name)
    data = from_frame(frame, value="rating")
    users = [name(index) for index in (5, 3, 17)]
    direct = LinRFM(8).fit(data.to_csr(), show_progress=False)
    indices = data.user_index(users)
    items, scores = direct.recommend(indices, data.to_csr()[indices], N=4)

    answer = fitted(frame).recommend(users, N=4)
    assert answer.columns.tolist() == ["user_id", "item_id", "rank", "score"]
    assert answer["user_id"].tolist() == [user for user in users for _ in range(4)]
    expected = data.item_ids[items.ravel()].tolist()
    assert answer["item_id"].tolist() == expected
    assert [*map(type, answer["item_id"].tolist())] == [*map(type, expected)]
    assert answer["rank"].tolist() == [1, 2, 3, 4] * 3
    np.testing.assert_array_equal(answer["score"], scores.ravel())


@pytest.mark.parametrize("kind", [LinRFM(8), LinRFM(None), LinRFMRatings(4)])
def test_scores_and_lists_come_with_their_deviations(kind: Any) -> None:
    model = TableModel.from_table(table(), kind, show_progress=False)
    users = ["no. 005", "no. 001", "nobody", "no. 017"]
    answer = model.recommend(users, N=4, return_std=True, unknown="popular")
    assert answer.columns.tolist() == ["user_id", "item_id", "rank", "score", "std"]
    assert answer["user_id"].unique().tolist() == users
    assert answer[answer["user_id"] == "nobody"][["score", "std"]].isna().all(axis=None)
    known = answer[answer["user_id"] != "nobody"]
    scores, std = model.score(known["user_id"].tolist(), known["item_id"].tolist(), return_std=True)
    np.testing.assert_allclose(known["score"], scores, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(known["std"], std, rtol=1e-4)
    assert (std > 0).all()


def test_lists_explore_as_those_of_the_model(model: TableModel) -> None:
    users = np.array([5, 3, 17])
    for explore in ("thompson", "ucb"):
        options: dict[str, Any] = {"explore": explore, "explore_scale": 2.0, "random_state": 3}
        items, scores = model.model.recommend(users, model.user_items[users], 4, **options)
        answer = model.recommend(model.user_ids[users].tolist(), N=4, **options)
        assert answer["item_id"].tolist() == model.item_ids[items.ravel()].tolist()
        np.testing.assert_array_equal(answer["score"], scores.ravel())
    rated = TableModel.from_table(table(), LinRFMRatings(4), show_progress=False)
    with pytest.raises(NotSupportedError, match="explore is for LinRFM"):
        rated.recommend(N=2, explore="ucb")


def test_no_user_is_recommended_an_item_that_the_user_has(model: TableModel) -> None:
    answer = model.recommend(N=ITEMS)
    assert not pairs(answer) & pairs(table())
    assert len(answer) == USERS * ITEMS - len(table())  # and everybody gets all the others
    assert len(model.recommend(N=ITEMS, filter_already_liked_items=False)) == USERS * ITEMS


def test_a_user_for_whom_less_is_left_gets_less(model: TableModel) -> None:
    answer = model.recommend(["no. 000", "no. 001"], N=1000)
    assert answer["user_id"].tolist() == ["no. 001"] * 2
    assert {*answer["item_id"]} == {"no. 000", "no. 001"}
    assert answer["rank"].tolist() == [1, 2]


def test_a_single_user_no_user_and_no_item(model: TableModel) -> None:
    assert len(model.recommend("no. 007", N=3)) == 3
    for answer in (model.recommend([]), model.recommend(N=0)):
        assert answer.columns.tolist() == ["user_id", "item_id", "rank", "score"]
        assert answer.empty


def test_similar_items_come_by_cosine_without_the_item(model: TableModel) -> None:
    columns = (model.model.user_factors @ model.model.item_factors.T).T.astype(np.float64)
    factors = columns / np.linalg.norm(columns, axis=1, keepdims=True)
    cosines = pd.Series(factors @ factors[3], index=model.item_ids).drop("no. 003").sort_values(ascending=False)
    answer = model.similar("no. 003", N=1000)
    assert answer.columns.tolist() == ["item_id", "rank", "score"]
    assert answer["rank"].tolist() == [*range(1, ITEMS)]
    assert "no. 003" not in {*answer["item_id"]}
    np.testing.assert_allclose(answer["score"], cosines, atol=1e-6)
    np.testing.assert_allclose(answer["score"], cosines[answer["item_id"].tolist()], atol=1e-6)
    assert model.similar("no. 003", N=2)["item_id"].tolist() == answer["item_id"].tolist()[:2]


@pytest.mark.parametrize("factors", [8, None], ids=["low-rank", "full"])
def test_the_shares_of_an_explanation_add_up_to_the_score(factors: int | None) -> None:
    frame = table()
    model = fitted(frame, factors)
    best = model.recommend("no. 009", N=1).iloc[0]
    score, shares = model.explain("no. 009", best["item_id"], N=ITEMS)
    assert shares.columns.tolist() == ["item_id", "share"]
    assert {*shares["item_id"]} == {*frame["item_id"][frame["user_id"] == "no. 009"]}
    assert sum(shares["share"].tolist()) == score
    assert score == pytest.approx(best["score"], abs=1e-4)
    assert model.explain("no. 009", best["item_id"], N=2)[1].equals(shares[:2])


def test_a_frame_its_file_and_its_interactions_are_the_same(tmp_path: Path) -> None:
    frame = table(NAMINGS["integers"])
    path = tmp_path / "ratings.csv"
    frame.to_csv(path, index=False)
    expected = fitted(frame).recommend()
    for source in (path, str(path), from_frame(frame, value="rating")):
        pd.testing.assert_frame_equal(
            TableModel.from_table(source, LinRFM(8), show_progress=False).recommend(), expected, check_exact=True
        )


def test_nothing_of_this_is_imported_with_the_library() -> None:
    program = "import rfm_recsys, sys; sys.exit('pandas' in sys.modules or 'rfm_recsys.tables' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


# --- recommend_all ---


@pytest.mark.parametrize("name", [NAMINGS["integers"], NAMINGS["strings"]], ids=["integers", "strings"])
@pytest.mark.parametrize("liked", [True, False])
def test_the_file_for_all_users_holds_what_recommend_gives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: Naming, liked: bool
) -> None:
    model = fitted(table(name))
    path = tmp_path / "all.parquet"
    monkeypatch.setattr(tables, "ROWS", 30)
    model.recommend_all(path, N=5, filter_already_liked_items=liked, show_progress=False)
    assert ParquetFile(path).num_row_groups == 7
    pd.testing.assert_frame_equal(pd.read_parquet(path), model.recommend(N=5, filter_already_liked_items=liked))
    assert [file.name for file in tmp_path.iterdir()] == ["all.parquet"]
    assert capsys.readouterr().err == ""


def test_a_file_for_all_users_that_is_interrupted_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: TableModel
) -> None:
    path = tmp_path / "all.parquet"
    path.write_bytes(b"old")
    monkeypatch.setattr(tables, "ROWS", 30)
    recommend = model.model.recommend

    def interrupted(users: NDArray[Any], *arguments: Any, **named: Any) -> Any:
        if users[0] > 0:
            raise KeyboardInterrupt
        return recommend(users, *arguments, **named)

    monkeypatch.setattr(model.model, "recommend", interrupted)
    with pytest.raises(KeyboardInterrupt):
        model.recommend_all(path, N=5, show_progress=False)
    assert path.read_bytes() == b"old"
    assert [file.name for file in tmp_path.iterdir()] == ["all.parquet"]


@pytest.mark.parametrize("path", ["no-such-folder/all.parquet", ".", "file/all.parquet"])
def test_a_target_that_cannot_be_written_is_refused_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: TableModel, path: str
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(model.model, "recommend", lambda *_: pytest.fail("it worked"))
    with pytest.raises(OSError, match=r"no such folder|this is a folder"):
        model.recommend_all(tmp_path / path, show_progress=False)


def test_ids_of_several_types_are_refused_for_parquet(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="a Parquet column cannot hold these ids"):
        fitted(table(NAMINGS["mixed"])).recommend_all(tmp_path / "all.parquet", show_progress=False)
    assert not [*tmp_path.iterdir()]


# --- files ---


@IDS
@pytest.mark.parametrize("factors", [8, None], ids=["low-rank", "full"])
def test_a_file_gives_the_same_model_with_ids_of_the_same_types(
    tmp_path: Path, name: Naming, factors: int | None
) -> None:
    model = fitted(table(name), factors)
    model.save(tmp_path / "model.rfm")
    loaded = TableModel.load(tmp_path / "model.rfm")
    for one, two in ((model.user_ids, loaded.user_ids), (model.item_ids, loaded.item_ids)):
        pd.testing.assert_index_equal(one, two, exact=True)
        assert [*map(type, one.tolist())] == [*map(type, two.tolist())]
    pd.testing.assert_frame_equal(model.recommend(), loaded.recommend(), check_exact=True)
    pd.testing.assert_frame_equal(model.similar(name(3)), loaded.similar(name(3)), check_exact=True)
    score, shares = model.explain(name(4), name(5))
    assert loaded.explain(name(4), name(5))[0] == score
    pd.testing.assert_frame_equal(loaded.explain(name(4), name(5))[1], shares, check_exact=True)
    assert loaded.model.get_params() == model.model.get_params()


def test_a_file_object_will_do(model: TableModel) -> None:
    file = io.BytesIO()
    model.save(file)
    file.seek(0)
    pd.testing.assert_frame_equal(TableModel.load(file).recommend(), model.recommend(), check_exact=True)


def test_files_that_are_cut_altered_or_foreign_are_refused(tmp_path: Path, model: TableModel) -> None:
    path = tmp_path / "model.rfm"
    model.save(path)
    whole = path.read_bytes()
    for place in (10, len(whole) // 3, len(whole) - 200):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(ModelFileError, match="checksum"):
            TableModel.load(path)
    path.write_bytes(whole[:-100])
    with pytest.raises(ModelFileError, match="save it again"):
        TableModel.load(path)
    model.model.save(path)
    with pytest.raises(ModelFileError, match="pass another file"):
        TableModel.load(path)


ALTERED: dict[str, dict[str, Any]] = {
    "no factors": {"item_factors": None},
    "no user factors": {"user_factors": None},
    "factors of other users": {"user_factors": np.ones((USERS + 1, 8), dtype=np.float32)},
    "factors of other items": {"item_factors": np.ones((ITEMS - 1, 8), dtype=np.float32)},
    "no ids": {"user_ids": None},
    "too few ids": {"user_ids": np.arange(USERS - 1)},
    "too many ids": {"user_ids": np.arange(USERS + 1)},
    "ids twice": {"user_ids": np.zeros(USERS, dtype=np.int64)},
    "floats for integers": {"user_ids": np.arange(USERS) / 2},
    "a table of ids": {"user_ids": np.arange(2 * USERS).reshape(USERS, 2)},
    "no JSON": {"user_ids": None, "user_ids_json": np.frombuffer(b"[1, 2", dtype=np.uint8)},
    "no list": {"user_ids": None, "user_ids_json": np.frombuffer(b"7", dtype=np.uint8)},
    "null": {"user_ids": None, "user_ids_json": np.frombuffer(b"[null" + b", 1" * 39 + b"]", dtype=np.uint8)},
    "lists": {"user_ids": None, "user_ids_json": np.frombuffer(b"[[1]" + b", 1" * 39 + b"]", dtype=np.uint8)},
    "no interactions": {"interactions_indptr": None},
    "an item beyond": {"interactions_indices": 10**6},
    "rows that are not": {"interactions_indptr": -1},
    "text for values": {"interactions_data": "x"},
    "not finite": {"interactions_data": np.nan},
}


@pytest.mark.parametrize("altered", ALTERED.values(), ids=ALTERED)
def test_a_file_of_parts_that_do_not_fit_together_is_refused(tmp_path: Path, altered: dict[str, Any]) -> None:
    model = fitted(table(NAMINGS["integers"]))
    model.save(tmp_path / "model.rfm")
    parameters, arrays = modelfile.load(tmp_path / "model.rfm", KIND)
    for name, value in altered.items():
        if value is None:
            del arrays[name]
        elif isinstance(value, np.ndarray):
            arrays[name] = value
        else:
            arrays[name] = np.full_like(arrays[name], value, dtype=None if not isinstance(value, str) else "U1")
    modelfile.save(tmp_path / "model.rfm", KIND, parameters, arrays)
    with pytest.raises(ModelFileError, match="holds no table model"):
        TableModel.load(tmp_path / "model.rfm")


# --- what it refuses ---


def test_unknown_ids_are_named(model: TableModel) -> None:
    with pytest.raises(IdError, match="user id 'eve' is not among the 40 known ones"):
        model.recommend(["no. 001", "eve"])
    with pytest.raises(IdError, match="user id 3 is not among"):
        model.recommend(3)
    with pytest.raises(IdError, match="user id 'eve' is not among"):
        model.explain("eve", "no. 001")
    with pytest.raises(IdError, match="item id 'x' is not among the 20 known ones"):
        model.explain("no. 001", "x")
    with pytest.raises(IdError, match="item id 'x' is not among"):
        model.similar("x")
    with pytest.raises(ParameterTypeError, match="pass one id"):
        model.explain(["no. 001"], "no. 001")


@pytest.mark.parametrize("value", [True, UUID(int=3), ("a", 1), datetime.date(2024, 2, 1), 1j])
def test_ids_that_a_file_cannot_hold_are_refused_before_the_fit(value: Any) -> None:
    frame = table()
    frame["item_id"] = [value if item == "no. 003" else item for item in frame["item_id"]]
    with pytest.raises(DataError, match=r"item id .* is of type \w+; make the ids strings, e.g. with frame") as caught:
        fitted(frame)
    assert repr(value) in str(caught.value)


def test_anything_but_a_table_is_refused() -> None:
    with pytest.raises(ParameterTypeError, match="interactions is a list; pass a DataFrame, a path, or Interactions"):
        TableModel.from_table([(1, 2)])
    for wrong in ("als", LinRFM):
        with pytest.raises(ParameterTypeError, match=r"model is .*; pass a LinRFM"):
            TableModel.from_table(table(), wrong)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="name the user column: pass user="):
        fitted(table().rename(columns={"user_id": "who"}))
    twice = Interactions.from_indices([0, 1], [0, 1], [1, 1], n_users=2, n_items=2)
    with pytest.raises(DataError, match="user id 5 stands twice"):
        TableModel.from_table(
            Interactions(twice.users, twice.items, twice.values, None, pd.Index([5, 5]), pd.Index([1, 2]))
        )


def test_a_checkpoint_is_kept_and_one_of_something_else_is_refused(tmp_path: Path, model: TableModel) -> None:
    path = tmp_path / "checkpoint"
    for _ in range(2):
        again = TableModel.from_table(table(), LinRFM(8), show_progress=False, checkpoint=path)
        pd.testing.assert_frame_equal(again.recommend(), model.recommend(), check_exact=True)
        assert path.exists()
    model.save(path)
    with pytest.raises(ModelFileError, match="table model"):
        TableModel.from_table(table(), LinRFM(8), show_progress=False, checkpoint=path)


def test_the_former_name_of_from_table_works_with_a_warning() -> None:
    with pytest.warns(DeprecationWarning, match=r"TableModel.fit is now TableModel.from_table"):
        former = TableModel.fit(table(), LinRFM(8), show_progress=False)
    expected = TableModel.from_table(table(), LinRFM(8), show_progress=False).recommend()
    pd.testing.assert_frame_equal(former.recommend(), expected)


def test_the_repr_is_one_line_with_the_sizes() -> None:
    text = repr(TableModel.from_table(table(), LinRFM(8), show_progress=False))
    assert text.startswith("TableModel(LinRFM(factors=8, ")
    assert "\n" not in text
    assert text.endswith(" interactions)")


# --- what a service asks for ---


def test_somebody_new_gets_what_a_user_with_the_same_history_gets(model: TableModel) -> None:
    row = model.user_items[9]
    history = dict(zip(model.item_ids[row.indices].tolist(), row.data.tolist(), strict=True))
    expected = model.recommend("no. 009", N=5)
    as_table = pd.DataFrame({"item": [*history], "rating": [*history.values()]})
    for given in (history, as_table):
        answer = model.recommend_for(given, N=5)
        assert answer["item_id"].tolist() == expected["item_id"].tolist()
        np.testing.assert_allclose(answer["score"], expected["score"], rtol=1e-4)
    answer = model.recommend_for([*history, "never seen"], N=5, filter_items=[expected["item_id"][0]])
    assert answer.attrs["unknown_items"] == ["never seen"]
    assert expected["item_id"][0] not in answer["item_id"].tolist()
    assert model.recommend_for(history, items=[expected["item_id"][1]])["item_id"].tolist() == [expected["item_id"][1]]
    with pytest.raises(IdError, match="pass a history with items of the table"):
        model.recommend_for(["never seen"])
    with pytest.raises(DataError, match="history is empty"):
        model.recommend_for([])


def test_rules_for_all_and_for_each_user(model: TableModel) -> None:
    users = ["no. 002", "no. 003"]
    plain = model.recommend(users, N=20, filter_already_liked_items=False)
    first = plain.groupby("user_id")["item_id"].first()
    without = model.recommend(users, N=20, filter_already_liked_items=False, filter_items={users[0]: [first[users[0]]]})
    lists = without.groupby("user_id")["item_id"].agg(list)
    assert first[users[0]] not in lists[users[0]]
    assert lists[users[1]] == plain[plain["user_id"] == users[1]]["item_id"].tolist()
    some = ["no. 001", "no. 004", "not there"]
    chosen = model.recommend(users, N=20, filter_already_liked_items=False, items=some)
    assert {*chosen["item_id"]} == {"no. 001", "no. 004"}
    both = model.recommend(users, filter_already_liked_items=False, items={users[1]: some}, filter_items=["no. 001"])
    assert both[both["user_id"] == users[1]]["item_id"].tolist() == ["no. 004"]


def test_users_who_are_not_in_the_table_get_what_is_popular_or_nothing(model: TableModel) -> None:
    users = ["eve", "no. 003", "mallory"]
    popular = table()["item_id"].value_counts()
    answer = model.recommend(users, N=3, unknown="popular")
    assert answer.attrs["unknown_users"] == ["eve", "mallory"]
    assert answer["user_id"].tolist() == [user for user in users for _ in range(3)]
    own = answer[answer["user_id"] == "eve"]
    assert popular[own["item_id"]].tolist() == popular.iloc[:3].tolist()
    assert own["score"].isna().all()
    pd.testing.assert_frame_equal(
        answer[answer["user_id"] == "no. 003"].reset_index(drop=True), model.recommend("no. 003", N=3)
    )
    assert model.recommend(users, N=3, unknown="skip")["user_id"].unique().tolist() == ["no. 003"]
    with pytest.raises(IdError, match=r"'eve' \(and 1 more\) .* pass unknown='popular' or unknown='skip'"):
        model.recommend(users)


def test_similar_items_and_users_in_batches_with_a_least_number(model: TableModel) -> None:
    items = ["no. 003", "no. 001"]
    together = model.similar(items, N=4)
    for item in items:
        own = together[together["to_item_id"] == item].drop(columns="to_item_id").reset_index(drop=True)
        pd.testing.assert_frame_equal(own, model.similar(item, N=4))
    counts = table()["item_id"].value_counts()
    least = int(counts.median())
    assert (counts[model.similar("no. 003", N=99, min_interactions=least)["item_id"]] >= least).all()
    assert "no. 004" not in model.similar_users("no. 004", N=5)["user_id"].tolist()


def test_an_update_is_evidence_of_the_items(model: TableModel) -> None:
    new = pd.DataFrame(
        {"user_id": ["no. 005", "no. 005", "new", "new"], "item_id": ["no. 001", "no. 002", "no. 001", "fresh"]}
    )
    new["rating"] = [5, -1, 2, 2]
    model.update(new)
    rows = model.user_items
    by_users = np.asarray(np.abs(model.model._confidences(rows)).sum(axis=0)).ravel()
    np.testing.assert_allclose(model.model.item_weights_[:-1], by_users[:-1], rtol=1e-5)
    assert model.model.item_weights_[-1] > 0


def test_an_update_is_the_fold_in_of_all_that_is_known(model: TableModel, tmp_path: Path) -> None:
    new = pd.DataFrame({"user_id": ["eve", "eve", "bob"], "item_id": ["no. 004", "new", "new"], "rating": [5, 4, 3]})
    known = model.model.item_factors.copy()
    assert model.update(new) is model
    np.testing.assert_array_equal(model.model.item_factors[:ITEMS], known)
    assert model.user_items.shape == (USERS + 2, ITEMS + 1)
    assert "no. 004" not in model.recommend("eve", N=99)["item_id"].tolist()
    row = model.user_items[USERS + 1]
    np.testing.assert_allclose(model.model.user_factors[-1], model.model.recalculate_user(0, row), rtol=1e-4, atol=1e-6)
    model.update(new, duplicates="sum")
    assert model.user_items[USERS + 1].data.tolist() == [10, 8]
    with pytest.raises(DataError, match="user bob has item new already"):
        model.update(new, duplicates="error")
    with pytest.raises(DataError, match="ids are of type int, and those of the model of type str"):
        model.update(pd.DataFrame({"user_id": [1], "item_id": ["new"]}))
    model.save(tmp_path / "model.rfm")
    pd.testing.assert_frame_equal(TableModel.load(tmp_path / "model.rfm").recommend(), model.recommend())


def test_ratings_have_the_same_front(tmp_path: Path) -> None:
    frame = table()
    model = TableModel.from_table(frame, LinRFMRatings(factors=3), show_progress=False)
    predicted = model.score(frame["user_id"].tolist(), frame["item_id"].tolist())
    data = from_frame(frame, value="rating")
    direct = LinRFMRatings(factors=3).fit(data.to_csr(), show_progress=False)
    np.testing.assert_array_equal(
        predicted, direct.predict(data.user_index(frame["user_id"]), data.item_index(frame["item_id"]))
    )
    lists = model.recommend("no. 009", N=4)
    rest = [item for item in model.item_ids if item not in {*frame["item_id"][frame["user_id"] == "no. 009"]}]
    scores = pd.Series(model.score("no. 009", rest), index=rest)
    np.testing.assert_allclose(lists["score"], scores.sort_values(ascending=False)[:4], rtol=1e-5)
    assert len(model.recommend_for({"no. 001": 5, "no. 002": 1}, N=3)) == 3
    model.update(pd.DataFrame({"user_id": ["eve"], "item_id": ["new"], "rating": [2]}))
    model.save(tmp_path / "model.rfm")
    pd.testing.assert_frame_equal(TableModel.load(tmp_path / "model.rfm").recommend(), model.recommend())
    with pytest.raises(NotSupportedError, match="explain is for LinRFM"):
        model.explain("eve", "new")


def test_a_scikit_learn_pipeline_holds_a_table_model(model: TableModel) -> None:
    pipelines = pytest.importorskip("sklearn.pipeline", reason="the extra 'regression' is not installed")
    preprocessing = pytest.importorskip("sklearn.preprocessing")
    frame = table()[["user_id", "item_id"]].iloc[:30]
    pipeline = pipelines.Pipeline([("as it is", preprocessing.FunctionTransformer()), ("model", model)])
    expected = model.score(frame["user_id"].tolist(), frame["item_id"].tolist())
    np.testing.assert_array_equal(pipeline.predict(frame), expected)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(pipeline)).predict(frame), expected)


# --- features of items and users ---


def films_and_plays() -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Make plays of a world in which a country likes one genre, films that describe it, and viewers."""
    rng = np.random.default_rng(0)
    genres, countries = ["drama", "horror", "comedy", "western"], ["no", "se", "dk", "fi"]
    films = pd.DataFrame({"item_id": np.arange(100, 160), "genre": [genres[k % 4] for k in range(60)]})
    viewers = pd.DataFrame(
        {"user_id": [f"u{k}" for k in range(100)], "country": [countries[k % 4] for k in range(100)]}
    )
    likes = rng.random((100, 60)) < np.where(np.arange(100)[:, None] % 4 == np.arange(60) % 4, 0.5, 0.05)
    likes[:, -4:], likes[-4:] = False, False  # which nobody has met
    users, items = np.nonzero(likes)
    return pd.DataFrame({"user_id": [f"u{k}" for k in users], "item_id": 100 + items}), films, viewers


def described_model(**options: Any) -> TableModel:
    plays, films, viewers = films_and_plays()
    return TableModel.from_table(
        plays, LinRFM(8, trials=1), show_progress=False, item_table=films, user_table=viewers, **options
    )


def test_items_and_users_of_the_side_tables_alone_are_recommended_by_what_describes_them() -> None:
    model = described_model()
    assert len(model.item_ids) == 60
    assert len(model.user_ids) == 100
    new = model.recommend(["u0", "u1", "u2", "u3"], N=1, items=[156, 157, 158, 159])
    assert new["item_id"].tolist() == [156, 157, 158, 159]
    _, films, _ = films_and_plays()
    lists = model.recommend(["u96", "u99"], N=5).merge(films, on="item_id")
    assert lists.groupby("user_id")["genre"].agg(set).to_dict() == {"u96": {"drama"}, "u99": {"western"}}


def test_new_items_and_users_are_added_by_a_table_and_saved(tmp_path: Path) -> None:
    model = described_model()
    films = pd.DataFrame({"genre": ["horror", "drama"], "item_id": [900, 100]})
    assert model.add_items(films) == [900]  # the other is known
    assert model.add_items(films) == []
    assert model.add_users(pd.DataFrame({"user_id": ["new"], "country": ["se"]})) == ["new"]
    assert model.recommend("new", N=1, items=[900, 156, 158])["item_id"].tolist() == [900]
    score, shares = model.explain("u1", 900)
    assert shares.attrs["from_features"] == pytest.approx(score, abs=1e-6)
    model.save(tmp_path / "model")
    loaded = TableModel.load(tmp_path / "model")
    assert loaded.feature_weights().equals(model.feature_weights())
    assert loaded.feature_weights("user").equals(model.feature_weights("user"))
    more = pd.DataFrame({"genre": ["comedy"], "item_id": [901]})
    for each in (model, loaded):
        assert each.add_items(more) == [901]
    assert loaded.recommend().equals(model.recommend())


def test_an_added_item_learns_from_its_first_interactions() -> None:
    model = described_model()
    model.add_items(pd.DataFrame({"genre": ["horror"], "item_id": [900]}))
    before = model.score(["u0", "u4", "u8", "u1"], 900)
    model.update(pd.DataFrame({"user_id": [f"u{4 * k}" for k in range(3, 9)], "item_id": 900}))  # fans of drama
    after = model.score(["u0", "u4", "u8", "u1"], 900)
    assert (after[:3] > before[:3] + 0.1).all()
    observed = abs(model.model._confidences(model.user_items)).sum(axis=0, dtype=np.float64)
    np.testing.assert_allclose(model.model.item_weights_, np.asarray(observed).ravel(), rtol=1e-5)  # each once
    model.update(pd.DataFrame({"user_id": ["stranger", "u1"], "item_id": [901, 901]}))  # of whom no table knows
    assert model.item_table is not None
    assert model.item_table.features.shape == (62, 4)
    assert np.isfinite(model.score("stranger", [900, 901])).all()


def test_what_matters_is_a_table() -> None:
    frame = described_model().feature_weights()
    assert sorted(frame["feature"]) == ["genre=comedy", "genre=drama", "genre=horror", "genre=western"]
    assert frame["weight"].mean() == pytest.approx(1)
    assert frame["share"].sum() == pytest.approx(1)
    assert frame["share"].is_monotonic_decreasing


def test_side_tables_that_cannot_be_used_are_refused() -> None:
    plays, films, _ = films_and_plays()

    def refused(error: Any, match: str, **options: Any) -> None:
        with pytest.raises(error, match=match):
            TableModel.from_table(plays, LinRFM(8, trials=1), show_progress=False, **options)

    refused(DataError, "no column of item ids", item_table=films.rename(columns={"item_id": "ref"}))
    refused(DataError, "is one of the interactions", item_table=films.assign(item_id=films["item_id"] + 1000))
    refused(DataError, "in common", item_table=films.assign(genre="drama")[["item_id"]])
    refused(ParameterTypeError, "pass a DataFrame", item_table=[1, 2])
    with pytest.raises(NotSupportedError, match="are for LinRFM"):
        TableModel.from_table(plays.assign(rating=1.0), LinRFMRatings(), show_progress=False, item_table=films)
    plain = TableModel.from_table(plays, LinRFM(8, trials=1), show_progress=False)
    with pytest.raises(NotSupportedError, match="pass item_table"):
        plain.add_items(films)


def test_a_side_table_in_a_file_has_its_ids_in_the_type_of_the_interactions(tmp_path: Path) -> None:
    plays, films, _ = films_and_plays()
    films.to_csv(tmp_path / "films.csv", index=False)
    models = [
        TableModel.from_table(plays, LinRFM(8, trials=1), show_progress=False, item_table=table)
        for table in (films, tmp_path / "films.csv")
    ]
    assert models[0].recommend().equals(models[1].recommend())
