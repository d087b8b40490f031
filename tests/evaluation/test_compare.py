"""The comparison: complete results, failures that cost nothing else, honest means, and continuing after a kill."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from optuna.distributions import IntDistribution
from scipy.sparse import csr_matrix

from rfm_recsys.datasets import Interactions, synthetic_movielens
from rfm_recsys.errors import DataError, ParameterError
from rfm_recsys.evaluation import (
    CANDIDATES,
    Budget,
    Candidate,
    Popularity,
    Protocol,
    catalogue_metrics,
    compare,
    evaluate,
    interval,
    mean_over_users,
    random_fraction,
    read_protocol,
    write_json,
)
from rfm_recsys.report.comparison import render_report

PROTOCOL = Protocol(
    "small", "A small one", "synthetic", "strong_generalisation", "ndcg@10", ("recall@5", "coverage@10"), (5, 10), {}
)


class Broken(Popularity):
    """Fails to fit data of more than a few users, as the warm-up has."""

    def fit(self, user_items: csr_matrix, *, show_progress: bool = True) -> None:
        raise MemoryError(f"no room for {user_items.shape[0]} users")


class Killed(Popularity):
    def fit(self, user_items: csr_matrix, *, show_progress: bool = True) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


class Unmakeable(Popularity):
    def __init__(self) -> None:
        raise ValueError("no licence")


class Tuned(Popularity):
    """Has a parameter: the first ``skip`` items of the ranking by popularity are put last."""

    def __init__(self, skip: int = 5) -> None:
        self.skip = skip

    def fit(self, user_items: csr_matrix, *, show_progress: bool = True) -> None:
        super().fit(user_items)
        self._popularity[np.argsort(-self._popularity, kind="stable")[: self.skip]] = 0


TUNED = Candidate("Tuned", Tuned, {"skip": IntDistribution(0, 40)})


@pytest.fixture(scope="module")
def data() -> Interactions:
    return synthetic_movielens(200, 80, 4000)


def without_costs(value: Any) -> Any:
    """Leave out what differs from run to run."""
    if isinstance(value, dict):
        return {
            key: without_costs(each)
            for key, each in value.items()
            if key != "created" and not key.endswith(("seconds", "_mib"))
        }
    return [without_costs(each) for each in value] if isinstance(value, list) else value


def test_a_result_holds_what_evaluating_by_hand_gives(data: Interactions) -> None:
    result = compare(PROTOCOL, data, [CANDIDATES["LinRFM"], CANDIDATES["Popularity"]])
    fold = PROTOCOL.apply(data, 0).test
    model = CANDIDATES["LinRFM"].model({}, 0)
    model.fit(fold.train, show_progress=False)
    values, catalogue = evaluate(model, fold, [5, 10])
    row = result["models"][0]
    for metric, each in values.items():
        assert row["runs"][0]["metrics"][metric] == mean_over_users(each)
        assert tuple(row["metrics"][metric].values()) == interval(each)
    assert {key: row["metrics"][key]["mean"] for key in catalogue} == catalogue
    assert catalogue == catalogue_metrics(np.asarray(_ids(model, fold)), fold, [5, 10])
    assert row["how"] == "chooses its parameters from the training data"
    assert row["runs"][0]["parameters"]["factors"] == 256
    assert row["fit_seconds"] > 0
    assert row["peak_memory_mib"] > row["runs"][0]["memory_before_fit_mib"] * 0.9
    assert [c["metric"] for c in result["comparisons"]] == ["ndcg@10", "recall@5"]
    difference = result["comparisons"][0]
    means = [each["metrics"]["ndcg@10"]["mean"] for each in result["models"]]
    assert difference["difference"] == pytest.approx(means[0] - means[1])
    assert difference["low"] < difference["difference"] < difference["high"]
    assert "LinRFM" in render_report(json.loads(json.dumps(result, allow_nan=False)))


def _ids(model: Any, fold: Any) -> Any:
    return model.recommend(np.arange(len(fold.users)), fold.fold_in, N=10, recalculate_user=True)[0]


def test_a_model_that_fails_costs_the_others_nothing(data: Interactions, tmp_path: Path) -> None:
    models = [
        CANDIDATES["Popularity"],
        Candidate("Broken", Broken),
        Candidate("Killed", Killed),
        CANDIDATES["BPR"],
        Candidate("Unmakeable", Unmakeable),
    ]
    result = compare(PROTOCOL, data, models, state=tmp_path / "state")
    errors = [row.get("error", "") for row in result["models"]]
    assert errors[0] == ""
    assert "no room for 160 users" in errors[1]
    assert "ended abruptly" in errors[2]
    assert "cannot rank" in errors[3]
    assert "no licence" in errors[4]
    assert result["models"][3]["how"] == "left out"
    assert result["comparisons"] == []
    assert (tmp_path / "state").read_text().count("\n") == 2  # failures are not kept: a repetition tries once more
    render_report(result)


def test_a_metric_that_no_user_has_is_null() -> None:
    """Who has all items but the one to be found has an AUC of 0 / 0."""
    users, items = np.divmod(np.arange(120), 6)
    everything = Interactions.from_indices(users, items, np.ones(120), n_users=20, n_items=6)
    protocol = Protocol("all", "All", "synthetic", "leave_k_out", "ndcg@5", ("recall@5", "auc@5"), (5,), {})
    result = compare(protocol, everything, [CANDIDATES["Popularity"], CANDIDATES["ALS"]])
    assert {each["metric"] for each in result["comparisons"]} == {"ndcg@5", "recall@5"}
    row = result["models"][0]
    render_report(result)
    assert row["metrics"]["auc@5"] == {"mean": None, "low": None, "high": None}
    assert row["runs"][0]["metrics"]["auc@5"] is None
    assert row["metrics"]["ndcg@5"]["mean"] == 1


def test_seeds_are_whole_repetitions_and_means_are_over_them(data: Interactions) -> None:
    result = compare(PROTOCOL, data, [CANDIDATES["Popularity"]], seeds=[0, 1, 2])
    alone = [compare(PROTOCOL, data, [CANDIDATES["Popularity"]], seeds=[seed]) for seed in (0, 1, 2)]
    row = result["models"][0]
    assert [run["metrics"] for run in row["runs"]] == [each["models"][0]["runs"][0]["metrics"] for each in alone]
    assert len({run["metrics"]["ndcg@10"] for run in row["runs"]}) == 3
    coverage = np.mean([run["metrics"]["coverage@10"] for run in row["runs"]])
    assert row["metrics"]["coverage@10"]["mean"] == pytest.approx(coverage)


def test_tuning_sees_validation_users_only_and_keeps_every_trial(data: Interactions) -> None:
    result = compare(PROTOCOL, data, [TUNED], budget=Budget(trials=6, seconds=None))
    (run,) = result["models"][0]["runs"]
    assert [trial["number"] for trial in run["trials"]] == list(range(6))
    validation = PROTOCOL.apply(data, 0).validation
    for trial in run["trials"]:
        model = Tuned(**trial["parameters"])
        model.fit(validation.train)
        values, _ = evaluate(model, validation, [10])
        assert trial["value"] == mean_over_users(values["ndcg@10"])
    best = max(run["trials"], key=lambda trial: trial["value"])
    assert run["parameters"] == best["parameters"]
    assert result["models"][0]["how"] == "tuned: the best of 6 trials on the validation users"


def test_seeds_of_any_size_and_type(data: Interactions, tmp_path: Path) -> None:
    seeds = np.array([20_261_124])
    result = compare(PROTOCOL, data, [TUNED], seeds=seeds, budget=Budget(trials=2, seconds=None))  # type: ignore[arg-type]
    write_json(result, tmp_path / "result.json")
    assert json.loads((tmp_path / "result.json").read_text())["protocol"]["seeds"] == [20_261_124]


def test_a_space_that_does_not_fit_its_model_is_refused() -> None:
    with pytest.raises(ParameterError, match="outside"):
        Candidate("Tuned", Tuned, {"skip": IntDistribution(10, 40)})
    with pytest.raises(ParameterError, match="takes no parameter 'jump'"):
        Candidate("Tuned", Tuned, {"jump": IntDistribution(10, 40)})


def test_a_state_of_another_search_space_is_refused(data: Interactions, tmp_path: Path) -> None:
    budget = Budget(trials=1, seconds=None)
    compare(PROTOCOL, data, [TUNED], budget=budget, state=tmp_path / "state")
    wider = Candidate("Tuned", Tuned, {"skip": IntDistribution(0, 60)})
    with pytest.raises(DataError, match="another comparison"):
        compare(PROTOCOL, data, [wider], budget=budget, state=tmp_path / "state")


SCRIPT = """
import sys
from pathlib import Path
from rfm_recsys.datasets import synthetic_movielens
from rfm_recsys.evaluation import CANDIDATES, Budget, compare, write_json
from rfm_recsys.evaluation.protocol import Protocol
protocol = Protocol(
    "small", "A small one", "synthetic", "strong_generalisation", "ndcg@10", ("recall@5",), (5, 10), {}
)
state, output = map(Path, sys.argv[1:])
result = compare(
    protocol, synthetic_movielens(200, 80, 4000), [CANDIDATES["LinRFM"], CANDIDATES["ALS"]],
    seeds=[0, 1], budget=Budget(trials=13, seconds=None), state=state,
)
write_json(result, output)
"""


def test_a_run_that_is_killed_continues_and_ends_like_one_that_is_not(tmp_path: Path) -> None:
    """Also: a plain script needs no guard for the processes that it starts."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    state, killed, whole = tmp_path / "state", tmp_path / "killed.json", tmp_path / "whole.json"
    for lines in (4, 33):  # pieces after which it is killed: in tuning, and in the other model with the other seed
        process = subprocess.Popen([sys.executable, str(script), str(state), str(killed)], start_new_session=True)
        deadline = time.monotonic() + 120
        while not state.exists() or state.read_bytes().count(b"\n") < lines:
            assert process.poll() is None, "it ended before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert not killed.exists()
    subprocess.run([sys.executable, str(script), str(state), str(killed)], check=True)
    subprocess.run([sys.executable, str(script), str(tmp_path / "other"), str(whole)], check=True)
    results = [without_costs(json.loads(path.read_text())) for path in (killed, whole)]
    assert results[0] == results[1]
    assert len(results[0]["models"][0]["runs"][1]["trials"]) == 13


@pytest.mark.parametrize(
    ("candidates", "seeds", "message"),
    [
        ([], [0], "at least one"),
        ([CANDIDATES["ALS"], CANDIDATES["ALS"]], [0], "each once"),
        ([CANDIDATES["ALS"]], [], "seeds"),
        ([CANDIDATES["ALS"]], [1, 1], "seeds"),
    ],
)
def test_nothing_to_compare_is_refused(
    data: Interactions, candidates: list[Candidate], seeds: list[int], message: str
) -> None:
    with pytest.raises(ParameterError, match=message):
        compare(PROTOCOL, data, candidates, seeds=seeds)


def test_write_json_leaves_no_half_written_file(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    write_json({"value": 1}, path)
    with pytest.raises(ValueError, match="JSON"):
        write_json({"value": float("nan")}, path)
    assert json.loads(path.read_text()) == {"value": 1}
    assert list(tmp_path.iterdir()) == [path]


# Protocols


@pytest.mark.parametrize("name", ["strong", "ml-1m-strong", "gowalla-lightgcn", "ml-100k-leave-last-out"])
def test_our_protocols_are_read_by_name(name: str) -> None:
    protocol = read_protocol(name)
    assert protocol.name == name
    assert protocol.metric.split("@")[0] == "ndcg"


def test_every_protocol_splits_its_kind_of_data(data: Interactions) -> None:
    for name in ("strong", "ml-100k-leave-last-out"):
        split = read_protocol(name).apply(data, 0)
        assert split.test.target.nnz
        assert set(np.unique(split.test.train.data)) == {1, 2, 3, 4, 5}  # what a model is given is what a table holds
    whole = data.to_csr()
    train = random_fraction(whole, 0.3).test.train
    pieces = (train, whole - train)
    split = read_protocol("gowalla-lightgcn").apply(pieces, 0)
    assert (split.test.train.astype(bool) != train.astype(bool)).nnz == 0
    assert 0 < split.validation.target.nnz < train.nnz / 5
    assert split.validation.train.nnz + split.validation.target.nnz == train.nnz
    with pytest.raises(DataError, match="already"):
        read_protocol("gowalla-lightgcn").apply(data, 0)
    with pytest.raises(DataError, match="itself"):
        read_protocol("strong").apply(pieces, 0)


GOOD = """
title = "T"
dataset = "synthetic"
split = "leave_k_out"
metric = "ndcg@10"
table = ["recall@10"]
cutoffs = [10]
"""


def test_a_protocol_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(GOOD + "[options]\nk = 2\n")
    protocol = read_protocol(str(path))
    assert (protocol.name, protocol.options) == ("mine", {"k": 2})


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("leave_k_out", "leave_none"),
        ('"ndcg@10"', '"ndcg@20"'),
        ('"ndcg@10"', '"coverage@10"'),
        ('"recall@10"', '"rekall@10"'),
        ("[10]", "[]"),
        ("[10]", "[0]"),
        ("[10]", '["10"]'),
        ("cutoffs", "cut_offs"),
        ('title = "T"', ""),
        ("[10]", "[10"),
        ("cutoffs = [10]", "cutoffs = [10]\n[options]\nseed = 1"),
        ("cutoffs = [10]", "cutoffs = [10]\n[options]\nfraction = 0.1"),
    ],
)
def test_a_protocol_that_makes_no_sense_is_refused_with_its_file(tmp_path: Path, old: str, new: str) -> None:
    path = tmp_path / "mine.toml"
    assert old in GOOD
    path.write_text(GOOD.replace(old, new))
    with pytest.raises(ParameterError, match=r"mine\.toml"):
        read_protocol(str(path))


def test_an_unknown_protocol_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(ParameterError, match="gowalla-lightgcn"):
        read_protocol("gowala")
