"""Tuning: budgets, the same search after an interruption, and what is kept."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from optuna.distributions import FloatDistribution, IntDistribution

from rfm_recsys.errors import DataError, ParameterError
from rfm_recsys.evaluation import CANDIDATES, Budget, Candidate, Popularity, Trial, best, parse_budget, tune
from rfm_recsys.evaluation.journal import Journal


class Model(Popularity):
    def __init__(self, x: float = 0.5, n: int = 3) -> None:
        self.x, self.n = x, n


CANDIDATE = Candidate("Model", Model, {"x": FloatDistribution(0, 1), "n": IntDistribution(1, 10)})


def measure(parameters: Mapping[str, Any]) -> tuple[float | None, float, str | None]:
    return -((parameters["x"] - 0.3) ** 2) - 0.01 * abs(parameters["n"] - 7), 2.0, None


def search(trials: int, finished: list[Trial] | None = None, seed: int = 0) -> list[Trial]:
    return tune(CANDIDATE, measure, Budget(trials=trials, seconds=None), seed, finished or [])


def test_the_first_trial_has_the_defaults_and_the_rest_stay_within_the_space() -> None:
    trials = search(20)
    assert trials[0]["parameters"] == {"x": 0.5, "n": 3}
    assert [trial["number"] for trial in trials] == list(range(20))
    assert all(0 <= trial["parameters"]["x"] <= 1 and 1 <= trial["parameters"]["n"] <= 10 for trial in trials)
    assert len({str(trial["parameters"]) for trial in trials}) == 20


def test_a_search_learns() -> None:
    chosen = best(search(40))
    assert chosen is not None
    assert abs(chosen["parameters"]["x"] - 0.3) < 0.1
    assert abs(chosen["parameters"]["n"] - 7) <= 1


@pytest.mark.parametrize("after", [1, 5, 19])
def test_a_search_that_is_continued_ends_like_one_that_is_not(after: int) -> None:
    whole = search(20)
    assert search(20, whole[:after]) == whole
    assert search(20, seed=1) != whole


def test_a_budget_of_seconds_ends_with_the_trial_that_spends_it() -> None:
    assert len(tune(CANDIDATE, measure, Budget(trials=None, seconds=7.0), 0, [])) == 4


def test_failed_trials_are_kept_and_never_chosen() -> None:
    def fails(parameters: Mapping[str, Any]) -> tuple[float | None, float, str | None]:
        return (None, 1.0, "too large") if parameters["n"] > 2 else (0.1, 1.0, None)

    trials = tune(CANDIDATE, fails, Budget(trials=12, seconds=None), 0, [])
    assert trials[0] == {
        "number": 0,
        "parameters": {"x": 0.5, "n": 3},
        "value": None,
        "seconds": 1.0,
        "error": "too large",
    }
    chosen = best(trials)
    assert chosen is None or chosen["parameters"]["n"] <= 2
    assert best([trials[0]]) is None


def test_of_equal_trials_the_earliest_is_best() -> None:
    trials = search(3)
    assert best([{**trial, "value": 0.0} for trial in trials]) == {**trials[0], "value": 0.0}


@pytest.mark.parametrize("name", CANDIDATES)
def test_every_default_lies_in_its_space(name: str) -> None:
    candidate = CANDIDATES[name]
    for key, value in candidate.first_trial().items():
        assert candidate.space[key]._contains(candidate.space[key].to_internal_repr(value)), key
    candidate.model(candidate.first_trial(), 0)


@pytest.mark.parametrize(
    ("text", "budget"), [("30", (30, None)), ("600s", (None, 600.0)), ("1.5s", (None, 1.5))]
)  # fmt: skip
def test_budgets(text: str, budget: tuple[int | None, float | None]) -> None:
    assert parse_budget(text) == {"trials": budget[0], "seconds": budget[1]}


@pytest.mark.parametrize("text", ["", "0", "-1", "1.5", "s", "0s", "nans", "30 trials"])
def test_what_is_no_budget_is_refused(text: str) -> None:
    with pytest.raises(ParameterError, match="budget is"):
        parse_budget(text)


# The journal


def test_a_journal_gives_back_what_was_finished_and_drops_a_torn_line(tmp_path: Path) -> None:
    path = tmp_path / "state"
    journal = Journal(path, {"seed": 1})
    journal.add("a", {"value": 0.1})
    journal.add("b", [1, 2])
    with path.open("ab") as file:
        file.write(b'["c", {"val')
    again = Journal(path, {"seed": 1})
    assert again.pieces == {"a": {"value": 0.1}, "b": [1, 2]}
    again.add("c", 3)
    assert Journal(path, {"seed": 1}).pieces == {"a": {"value": 0.1}, "b": [1, 2], "c": 3}


def test_a_journal_that_was_torn_in_its_first_line_starts_anew(tmp_path: Path) -> None:
    path = tmp_path / "state"
    path.write_bytes(b'{"se')
    Journal(path, {"seed": 1}).add("a", 1)
    assert Journal(path, {"seed": 1}).pieces == {"a": 1}


def test_a_journal_of_another_request_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "state"
    Journal(path, {"seed": 1}).add("a", 1)
    before = path.read_bytes()
    with pytest.raises(DataError, match="another comparison"):
        Journal(path, {"seed": 2})
    assert path.read_bytes() == before


def test_two_journals_that_begin_at_once_do_not_mix(tmp_path: Path) -> None:
    one, two = (Journal(tmp_path / "state", {"seed": seed}) for seed in (1, 2))
    one.add("a", 1)
    with pytest.raises(DataError, match="another comparison has begun"):
        two.add("a", 2)
    one.add("b", 3)
    assert Journal(tmp_path / "state", {"seed": 1}).pieces == {"a": 1, "b": 3}


@pytest.mark.parametrize("content", ["not JSON\n", '{"seed": 1}\n3\n', '{"seed": 1}\n["a", 1, 2]\n'])
def test_a_foreign_file_is_not_taken_for_a_journal(tmp_path: Path, content: str) -> None:
    (tmp_path / "state").write_text(content)
    with pytest.raises(DataError, match="remove it"):
        Journal(tmp_path / "state", {"seed": 1})
    assert (tmp_path / "state").read_text() == content
