"""The report of the paper's experiments, and its command, on sizes that show nothing."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from rfm_recsys.cli.app import app
from rfm_recsys.errors import DataError
from rfm_recsys.paper import experiments, matrices, ratings, vectors
from rfm_recsys.report import paper as page_of_paper


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every experiment small enough to run within seconds."""
    methods = ["two-sided lin-RFM, power 1/2", "one-sided lin-RFM, power 1", "nuclear norm", "deep network, depth 3"]
    few = {name: vectors.METHODS[name] for name in ("lin-RFM, power 1/2", "Lasso, best of its path")}
    monkeypatch.setattr(vectors, "METHODS", few)
    models = {"biases": ratings.MODELS["biases"], "LinRFMRatings": (ratings.fit_lin_rfm, {"factors": [2]})}
    monkeypatch.setattr(ratings, "MODELS", models)
    small = {
        "sparse regression": lambda *_: vectors.recovery_curves(30, 2, [10, 15], 2),
        "phase transitions": lambda *_: matrices.recovery_curves(14, 1, [1.5, 4.0], 2, methods),
        "few entries": lambda *_: matrices.errors_from_few(40, 1, 1),
        "times": lambda *_: matrices.times_by_size([20, 30], [30, 40], 1),
    }
    monkeypatch.setattr(experiments, "EXPERIMENTS", experiments.EXPERIMENTS | small)


def run(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["paper", *arguments])


@pytest.mark.usefixtures("tiny")
def test_the_command_writes_json_and_a_page_that_stands_alone(tmp_path: Path) -> None:
    answer = run("--output", str(tmp_path / "out.json"))
    assert answer.exit_code == 0, answer.output
    result = json.loads((tmp_path / "out.json").read_text())
    assert list(result["experiments"]) == list(experiments.EXPERIMENTS)
    assert all("error" not in found for found in result["experiments"].values())
    page = (tmp_path / "out.html").read_text()
    assert page == page_of_paper.render_report(result)
    drawn = [figure["keys"] for figure in page_of_paper._transitions(result["experiments"]["phase transitions"])]
    assert [[label for _, label in keys] for keys in drawn[::2]] == [
        ["two-sided lin-RFM, power 1/2", "nuclear norm", "deep network, depth 3"],
        ["power 1/2"],
        ["power 1"],
    ]
    assert page.count('role="img"') == 2 + 3 * 2 + 2 + 2
    assert "src=" not in page
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.html", "out.json"]
    for claim, holds, evidence in experiments.claims(result):
        assert f"{'yes' if holds else 'no '} {claim}: {evidence}" in answer.output.replace("\n", "")
    # the same again
    for name in ("phase transitions", "sparse regression"):
        del result["experiments"][name]["seconds"]
        assert experiments.EXPERIMENTS[name](True, None) == result["experiments"][name]


@pytest.mark.usefixtures("tiny")
def test_an_experiment_that_fails_costs_the_others_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> dict[str, Any]:
        raise DataError("there are <no> data")

    monkeypatch.setattr(
        experiments, "EXPERIMENTS", experiments.EXPERIMENTS | {"times": fail, "equivalence on matrices": fail}
    )
    answer = run("--output", str(tmp_path / "out.json"))
    assert answer.exit_code == 1
    assert "times failed: DataError: there are <no> data" in answer.output
    page = (tmp_path / "out.html").read_text()
    assert "DataError: there are &lt;no&gt; data" in page
    assert "d. Sparse regression" in page


def test_a_folder_without_the_data_is_said_before_any_fit(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="ml-100k"):
        ratings.explicit_ratings(True, tmp_path)


def test_where_nothing_was_tried_that_is_enough_no_claim_holds() -> None:
    needed = {
        "lin-RFM, power 1": None,
        "lin-RFM, power 1/2": 1.5,
        "lin-RFM, power 3/4": 1.5,
        "Lasso": 2.0,
        "other": None,
    }
    holds, evidence = experiments._fewer("", needed, "Lasso", "samples")[1:]
    assert (holds, evidence) == (True, "lin-RFM, power 1/2, among others: samples 1.5; Lasso: samples 2")
    assert experiments._fewer("", {"lin-RFM": 1.5, "other": None}, "other", "samples")[1:] == (
        True,
        "lin-RFM: samples 1.5; other: more than was tried",
    )
    assert not experiments._fewer("", {"lin-RFM": None, "Lasso": None}, "Lasso", "")[1]
    assert not experiments._fewer("", {"lin-RFM": 2.0, "Lasso": 2.0}, "Lasso", "")[1]


def test_a_baseline_is_given_where_it_first_has_enough() -> None:
    curves = [
        {"method": "lin-RFM", "success": [0.9, 0.8, 1.0]},
        {"method": "deep network", "success": [0.0, 1.0, 0.8]},
        {"method": "nuclear norm", "success": [0.0, 0.0, 0.8]},
    ]
    found = {
        "curves": curves,
        "needed": [{"method": "lin-RFM", "samples": 3}, {"method": "deep network", "samples": None}],
    }
    assert experiments._needed(found, [1, 2, 3], "samples") == {"lin-RFM": 3, "deep network": 2, "nuclear norm": None}


def test_another_result_is_refused() -> None:
    with pytest.raises(DataError, match="rfm_recsys comparison"):
        page_of_paper.render_report({"format": "rfm_recsys comparison", "version": 1})
