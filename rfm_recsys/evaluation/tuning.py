"""Fair tuning: every model gets the same budget, on the validation fold only, and every trial is kept."""

from collections.abc import Callable, Mapping
from typing import Any, TypedDict

import optuna

from rfm_recsys.core.checks import check_integer, check_number
from rfm_recsys.errors import ParameterError
from rfm_recsys.evaluation.candidates import Candidate

RANDOM_TRIALS = 10  # before the sampler begins to learn from the earlier ones


class Trial(TypedDict):
    """One trial: ``value`` is that of the tuned metric, None where the trial failed with ``error``.

    Examples
    --------
    >>> from rfm_recsys.evaluation import Trial
    >>> Trial(number=0, parameters={}, value=0.4, seconds=1.0, error=None)["value"]
    0.4
    """

    number: int
    parameters: dict[str, Any]
    value: float | None
    seconds: float
    error: str | None


class Budget(TypedDict):
    """What every model may spend on tuning: a number of trials, or seconds of fitting and ranking.

    Examples
    --------
    >>> from rfm_recsys.evaluation import Budget
    >>> Budget(trials=30, seconds=None)
    {'trials': 30, 'seconds': None}
    """

    trials: int | None
    seconds: float | None


def parse_budget(text: str) -> Budget:
    """Return the budget that a text such as ``30`` (trials) or ``600s`` (seconds) stands for.

    Parameters
    ----------
    text : str

    Returns
    -------
    Budget

    Raises
    ------
    ParameterError
        Another text.

    Examples
    --------
    >>> from rfm_recsys.evaluation import parse_budget
    >>> parse_budget("600s")
    {'trials': None, 'seconds': 600.0}
    """
    number = text.removesuffix("s")
    try:
        if number != text:
            return Budget(trials=None, seconds=check_number("budget", float(number), 0, above=True))
        return Budget(trials=check_integer("budget", int(number), 1), seconds=None)
    except ValueError as error:
        raise ParameterError(f"budget is {text!r}; pass a number of trials, as 30, or of seconds, as 600s") from error


def tune(
    candidate: Candidate,
    measure: Callable[[Mapping[str, Any]], tuple[float | None, float, str | None]],
    budget: Budget,
    seed: int,
    finished: list[Trial],
    on_trial: Callable[[Trial], None] = lambda trial: None,
) -> list[Trial]:
    """Search a candidate's space with Optuna's TPE sampler until the budget is spent.

    The first trial has the defaults. A trial depends on the seed and on the trials before it alone, so that a search
    that is broken off and continued ends like one that is not.

    Parameters
    ----------
    candidate : Candidate
    measure : callable
        Maps parameters to (value of the metric, seconds, None), or to (None, seconds, error).
    budget : Budget
    seed : int
    finished : list of Trial
        The trials of a search that was broken off.
    on_trial : callable
        Called with each new trial.

    Returns
    -------
    list of Trial, the finished ones first

    Examples
    --------
    >>> from rfm_recsys.evaluation import CANDIDATES, best, parse_budget, tune
    >>> def measure(parameters):  # of a real one: fit, rank, and return the metric and the seconds
    ...     return -abs(parameters["regularization"] - 300), 0.1, None
    >>> trials = tune(CANDIDATES["EASE"], measure, parse_budget("5"), 0, [], lambda trial: None)
    >>> len(trials)
    5
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    space = dict(candidate.space)
    study = optuna.create_study(direction="maximize")
    trials = list(finished)
    for trial in trials:
        _remember(study, space, trial)
    while _left(budget, trials) > 0 and not (trials and not space):
        number = len(trials)
        study.sampler = optuna.samplers.TPESampler(
            seed=(seed * 100_003 + number) % 2**32, n_startup_trials=RANDOM_TRIALS
        )
        if number == 0:
            study.enqueue_trial(candidate.first_trial())
        asked = study.ask(space)
        value, seconds, error = measure(asked.params)
        trial = Trial(number=number, parameters=asked.params, value=value, seconds=seconds, error=error)
        study.tell(asked, value, state=None if error is None else optuna.trial.TrialState.FAIL)
        trials.append(trial)
        on_trial(trial)
    return trials


def best(trials: list[Trial]) -> Trial | None:
    """Return the trial of the highest value, the earliest of equals; None where all failed.

    Parameters
    ----------
    trials : list of Trial

    Returns
    -------
    Trial or None

    Examples
    --------
    >>> from rfm_recsys.evaluation import Trial, best
    >>> values = enumerate((0.1, 0.4, 0.4))
    >>> trials = [Trial(number=k, parameters={}, value=v, seconds=1.0, error=None) for k, v in values]
    >>> best(trials)["number"]
    1
    """
    return max((t for t in trials if t["value"] is not None), key=lambda t: t["value"] or 0.0, default=None)


def spent(budget: Budget, trials: list[Trial]) -> float:
    """Return the share of the budget that trials have used up, 1 where it is spent."""
    return 1 - max(0.0, _left(budget, trials))


def _left(budget: Budget, trials: list[Trial]) -> float:
    if budget["trials"] is not None:
        return 1 - len(trials) / budget["trials"]
    assert budget["seconds"] is not None
    return 1 - sum(trial["seconds"] for trial in trials) / budget["seconds"]


def _remember(study: optuna.Study, space: dict[str, Any], trial: Trial) -> None:
    failed = trial["value"] is None
    study.add_trial(
        optuna.trial.create_trial(
            params=trial["parameters"],
            distributions=space,
            value=trial["value"],
            state=optuna.trial.TrialState.FAIL if failed else optuna.trial.TrialState.COMPLETE,
        )
    )
