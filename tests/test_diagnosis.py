"""What a model does not know: planted odd interactions and accounts are found, and the page says so."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix

from rfm_recsys import LinRFM, LinRFMRatings, TableModel
from rfm_recsys.cli.app import app
from rfm_recsys.core.arrays import row_of_entry
from rfm_recsys.diagnosis import BINS, Diagnosis, diagnose, surprises, user_oddity
from rfm_recsys.errors import NotSupportedError
from rfm_recsys.report.diagnosis import render_report

CliRunner = pytest.importorskip("typer.testing", reason="the extra 'cli' is not installed").CliRunner


def communities(seed: int = 0) -> csr_matrix:
    """Make two communities, whose users have 12 of 30 items each."""
    rng = np.random.default_rng(seed)
    dense = np.zeros((120, 60))
    for user in range(120):
        first = 30 * (user % 2)
        dense[user, first + rng.choice(30, 12, replace=False)] = rng.integers(1, 6, 12)
    return csr_matrix(dense)


@pytest.mark.parametrize("factors", [16, None])
def test_an_interaction_of_the_other_community_is_among_the_most_surprising(factors: int | None) -> None:
    data = communities().tolil()
    for user in (4, 9, 20):
        data[user, 35 - 30 * (user % 2)] = 3
    data = csr_matrix(data)
    model = LinRFM(factors).fit(data, show_progress=False)
    found = surprises(model, data)
    assert (found.indices == data.indices).all()
    users, order = row_of_entry(found.indptr), np.argsort(-found.data)
    planted = {(user, 35 - 30 * (user % 2)) for user in (4, 9, 20)}
    first = order[: data.nnz // 100]
    assert planted <= set(zip(users[first].tolist(), found.indices[first].tolist(), strict=True))
    # in standard deviations within a user
    for user in (0, 4):
        own = found[user].data
        assert own.mean() == pytest.approx(0, abs=1e-9)
        assert own.std() == pytest.approx(1)


@pytest.mark.parametrize("factors", [16, None])
def test_accounts_of_two_are_the_oddest(factors: int | None) -> None:
    data = communities()
    both = csr_matrix(np.vstack([data.toarray()[2:], (data[0] + data[1]).toarray()]))
    few = csr_matrix((1, 60))
    few[0, 3] = 1
    both = csr_matrix(np.vstack([both.toarray(), few.toarray()]))
    odd = user_oddity(LinRFM(factors).fit(both, show_progress=False), both)
    assert np.nanargmax(odd) == 118
    assert np.isnan(odd[119])
    assert np.isfinite(odd[:119]).all()


@pytest.fixture(scope="module")
def model() -> TableModel:
    data = communities().tocoo()
    table = pd.DataFrame({"user": data.row, "item": [f"item <{i}>" for i in data.col], "value": data.data})
    return TableModel.from_table(table, LinRFM(8), show_progress=False)


@pytest.fixture(scope="module")
def found(model: TableModel) -> Diagnosis:
    return diagnose(model, N=5, top=20, show_progress=False)


def test_a_diagnosis_holds_what_it_says(model: TableModel, found: Diagnosis) -> None:
    lists = model.recommend(N=5, return_std=True)
    items = found.items.set_index("item_id")
    assert items["recommended"].sum() == len(lists)
    counts = lists["item_id"].value_counts().reindex(items.index).fillna(0)
    assert counts.tolist() == items["recommended"].tolist()
    users = found.users.set_index("user_id")
    np.testing.assert_allclose(users["std"], lists.groupby("user_id")["std"].mean(), rtol=1e-5)
    assert users["interactions"].sum() == items["interactions"].sum() == model.user_items.nnz
    assert len(found.interactions) == 20
    assert (np.diff(found.interactions["surprise"]) <= 0).all()
    row = found.interactions.iloc[0]
    user, item = model.user_ids.tolist().index(row["user_id"]), model.item_ids.tolist().index(row["item_id"])
    assert model.user_items[user, item] == row["value"]
    left_out, std = model.model.leave_one_out(model.user_items, return_std=True)
    assert row["score"] == pytest.approx(left_out[user, item])
    assert row["std"] == pytest.approx(std[user, item])
    exact = model.model.score_std(np.arange(120), model.user_items, np.arange(60))
    mean = np.sqrt((exact.astype(float) ** 2).mean(axis=0))
    assert np.median(items["std"].to_numpy() / mean) == pytest.approx(1, abs=0.15)


def test_bins_hold_all_pairs(found: Diagnosis) -> None:
    for bins in (found.deviations, found.scores):
        assert len(bins) == BINS
        assert np.isfinite(bins.to_numpy()).all()
    # the noise is such that all together are right
    predicted, actual = (np.sqrt((found.deviations[name] ** 2).mean()) for name in ("predicted", "actual"))
    assert predicted == pytest.approx(actual, rel=0.25)
    assert (np.diff(found.scores["score"]) >= 0).all()
    assert (np.diff(found.deviations["predicted"]) >= 0).all()


def test_the_page_has_titles_and_nothing_from_outside(model: TableModel, found: Diagnosis) -> None:
    titles = pd.DataFrame({"item": [f"item <{i}>" for i in range(60)], "title": [f"Film & {i}" for i in range(60)]})
    page = render_report(model, found, titles, "a <b>model</b>")
    assert "a &lt;b&gt;model&lt;/b&gt;" in page
    assert "item &lt;" in page
    assert "Film &amp;" in page
    assert "<script" not in page
    assert not re.search(r"(src|href)=\"(?!#)", page)
    assert page == render_report(model, found, titles, "a <b>model</b>")
    identifiers = re.findall(r'\bid="([^"]+)"', page)
    assert len(identifiers) == len(set(identifiers))


def test_the_command_writes_the_page(model: TableModel, tmp_path: Path) -> None:
    model.save(tmp_path / "model.rfm")
    result = CliRunner().invoke(
        app, ["report", str(tmp_path / "model.rfm"), "-o", str(tmp_path / "page.html"), "-N", "5"]
    )
    assert result.exit_code == 0, result.output
    page = (tmp_path / "page.html").read_text()
    assert "of the catalogue is recommended to somebody" in page
    assert "model.rfm: 120 users, 60 items, 1,440 interactions" in page


@pytest.mark.parametrize("users", [["ann", "ann", "bob"], ["ann"]])
def test_the_smallest_tables_have_a_page(users: list[str]) -> None:
    table = pd.DataFrame({"user": users, "item": ["x", "y", "x"][: len(users)]})
    small = TableModel.from_table(table, LinRFM(2), show_progress=False)
    page = render_report(small, diagnose(small, show_progress=False))
    assert page.count("None stands out.") == 2
    assert "nan" not in page


def test_models_without_an_answer_are_refused(model: TableModel) -> None:
    rated = TableModel.from_table(pd.DataFrame({"user": [1, 2], "item": [1, 2], "rating": [3, 4]}), LinRFMRatings(2),
                                  show_progress=False)  # fmt: skip
    with pytest.raises(NotSupportedError, match="a diagnosis is of a LinRFM"):
        diagnose(rated)
    nobody = TableModel(LinRFM(8), csr_matrix((0, 60), dtype=np.float32), pd.RangeIndex(0), model.item_ids)
    nobody.model.user_factors, nobody.model.item_factors = model.model.user_factors[:0], model.model.item_factors
    with pytest.raises(NotSupportedError, match="no users"):
        diagnose(nobody)
