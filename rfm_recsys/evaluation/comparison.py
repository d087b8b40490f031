"""The comparison behind ``rfm-recsys compare``: the same splits, the same budget, one result for every model."""

import base64
import hashlib
import importlib.metadata
import json
import os
import platform
import statistics
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import distribution_to_json

from rfm_recsys.core.checks import check_integer
from rfm_recsys.core.files import replacing
from rfm_recsys.datasets import Interactions
from rfm_recsys.errors import ParameterError
from rfm_recsys.evaluation.candidates import Candidate
from rfm_recsys.evaluation.fitting import Fitted, FittingProcess
from rfm_recsys.evaluation.groups import activity_groups, popularity_groups
from rfm_recsys.evaluation.journal import Journal
from rfm_recsys.evaluation.metrics import USER_METRICS, catalogue_metrics, fold_metrics, mean_over_users
from rfm_recsys.evaluation.protocol import Data, Protocol
from rfm_recsys.evaluation.significance import interval, paired_difference
from rfm_recsys.evaluation.splits import Fold, Split, canonical_csr
from rfm_recsys.evaluation.tuning import Budget, Trial, best, spent, tune

FORMAT, VERSION = "rfm_recsys comparison", 1
PACKAGES = ("rfm-recsys", "implicit", "numpy", "numba", "scipy", "optuna")

GENERATED = ("synthetic", "films")  # the names of data that are made up
FINAL_SHARE = 0.9  # of a tuned model's work that is tuning, for the progress bar

OnProgress = Callable[[float, float, str], None]


def compare(
    protocol: Protocol,
    data: Data,
    candidates: Sequence[Candidate],
    *,
    name: str | None = None,
    seeds: Sequence[int] = (0,),
    budget: Budget | None = None,
    state: Path | None = None,
    on_progress: OnProgress = lambda done, total, text: None,
) -> dict[str, Any]:
    """Compare models by a protocol: split, tune on the validation users, fit, rank for the test users.

    A seed stands for all that is random: the split, the search, the model. With several seeds the whole is done for
    each, so that no model is tuned on users that it is then tested on; figures are means over them, intervals are over
    users. A model that fails has an ``error`` in place of its figures and costs the others nothing.

    Parameters
    ----------
    protocol : Protocol
    data : Interactions, or for a protocol of data that are split already a sequence of two or three matrices
    candidates : sequence of Candidate
        The first is compared with each of the others.
    name : str, optional
        What to call the data; the protocol's data set by default.
    seeds : sequence of int
    budget : Budget, optional
        What each model may spend on tuning for each seed; without it they have their defaults.
    state : Path, optional
        A file in which finished pieces are kept, so that the same call continues after a kill. Remove it
        once the result is safe.
    on_progress : callable
        Called as ``on_progress(done, total, text)``.

    Returns
    -------
    dict of JSON values, complete enough to redraw every table and figure, see `docs/evaluation.md`

    Raises
    ------
    ParameterError
        No candidates, or two of one name.
    DataError
        Data that the protocol cannot split; a ``state`` of another comparison.

    Examples
    --------
    >>> from rfm_recsys.datasets import synthetic_movielens
    >>> from rfm_recsys.evaluation import CANDIDATES, compare, read_protocol
    >>> models = [CANDIDATES["EASE"], CANDIDATES["Popularity"]]
    >>> result = compare(read_protocol("strong"), synthetic_movielens(200, 80, 4000), models)
    >>> [row["model"] for row in result["models"]]
    ['EASE', 'Popularity']
    """
    names = [candidate.name for candidate in candidates]
    if not names or len({*names}) < len(names):
        raise ParameterError(f"the models are {names}; pass at least one, each once")
    seeds = [check_integer("a seed", seed, 0) for seed in seeds]
    if not seeds or len({*seeds}) < len(seeds):
        raise ParameterError(f"the seeds are {seeds}; pass at least one, each once")
    environment = describe_environment()
    about = {"name": name or protocol.dataset, **_describe(data)}
    about["generated"] = about["name"] in GENERATED
    asked = asdict(protocol)
    spaces = [{key: distribution_to_json(each) for key, each in c.space.items()} for c in candidates]
    journal = Journal(state, [VERSION, environment, about, asked, names, spaces, [*seeds], budget])
    runs: dict[str, list[_Run]] = {name: [] for name in names}
    total = float(len(seeds) * len(names))
    for seed in seeds:
        split = protocol.apply(data, seed)
        for candidate in candidates:
            done = float(sum(map(len, runs.values())))

            def tell(share: float, text: str, done: float = done, who: str = candidate.name, seed: int = seed) -> None:
                on_progress(done + share, total, f"{who}, seed {seed}: {text}")

            runs[candidate.name].append(_run(protocol, split, candidate, seed, budget, journal, tell))
    on_progress(total, total, "computing intervals")
    return {
        "format": FORMAT,
        "version": VERSION,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "data": about,
        "protocol": {
            **{key: value for key, value in asked.items() if key != "dataset"},
            "seeds": [*seeds],
            "validation_users": len(split.validation.users),
            "test_users": len(split.test.users),
        },
        "tuning": budget and {"metric": protocol.metric, "users": _validation(split.validation), **budget},
        "models": [_row(protocol, candidate, runs[candidate.name], budget) for candidate in candidates],
        "comparisons": _comparisons(protocol, runs),
        "environment": environment,
    }


@dataclass(frozen=True)
class _Run:
    """One model with one seed: its trials, its settings, the lists of its final fit and what that cost."""

    seed: int
    fold: Fold
    fitted: Fitted
    trials: Sequence[Trial] = ()

    def values(self, cutoffs: Sequence[int]) -> dict[str, NDArray[np.float64]]:
        assert self.fitted.ids is not None
        return fold_metrics(self.fitted.ids, self.fold, cutoffs)


def _run(
    protocol: Protocol,
    split: Split,
    candidate: Candidate,
    seed: int,
    budget: Budget | None,
    journal: Journal,
    tell: Callable[[float, str], None],
) -> _Run:
    key, fold = f"{candidate.name}, seed {seed}", split.test
    if not (candidate.folds_in or fold.known):
        return _Run(seed, fold, Fitted(error="cannot rank for users that it was not fitted to"))
    trials: list[Trial] = []
    parameters: Mapping[str, Any] = {}
    if budget is not None and candidate.space:
        trials = _tuned(protocol, split.validation, candidate, seed, budget, journal, key, tell)
        chosen = best(trials)
        if chosen is None:
            error = f"every trial failed, the last with {trials[-1]['error']}"
            return _Run(seed, fold, Fitted(error=error), trials)
        parameters = chosen["parameters"]
    if key not in journal.pieces:
        tell(FINAL_SHARE if trials else 0, "fitting, and ranking for the test users")
        with FittingProcess(fold, max(protocol.cutoffs)) as process:
            fitted = process.fit(candidate, parameters, seed)
        if fitted.ids is None:  # not kept: a repetition tries once more
            return _Run(seed, fold, fitted, trials)
        journal.add(key, _packed(fitted))
    return _Run(seed, fold, _unpacked(journal.pieces[key]), trials)


def _tuned(
    protocol: Protocol,
    fold: Fold,
    candidate: Candidate,
    seed: int,
    budget: Budget,
    journal: Journal,
    key: str,
    tell: Callable[[float, str], None],
) -> list[Trial]:
    depth = int(protocol.metric.partition("@")[2])
    finished: list[Trial] = []
    while (piece := journal.pieces.get(f"{key}, trial {len(finished)}")) is not None:
        finished.append(piece)

    with FittingProcess(fold, depth) as process:

        def measure(parameters: Mapping[str, Any]) -> tuple[float | None, float, str | None]:
            begun = time.perf_counter()
            fitted = process.fit(candidate, parameters, seed)
            if fitted.ids is None:
                return None, time.perf_counter() - begun, fitted.error
            seconds = fitted.fit_seconds + fitted.recommend_seconds
            value = _mean(fold_metrics(fitted.ids, fold, [depth])[protocol.metric])
            return value, seconds, None if value is not None else f"no user has a value of {protocol.metric}"

        done = [*finished]

        def keep(trial: Trial) -> None:
            journal.add(f"{key}, trial {trial['number']}", trial)
            done.append(trial)
            tell(FINAL_SHARE * spent(budget, done), f"trial {len(done) + 1}")

        tell(FINAL_SHARE * spent(budget, done), f"trial {len(done) + 1}")
        return tune(candidate, measure, budget, seed, finished, keep)


def _row(protocol: Protocol, candidate: Candidate, runs: Sequence[_Run], budget: Budget | None) -> dict[str, Any]:
    """Return what the result says of one model."""
    row: dict[str, Any] = {"model": candidate.name, "how": _how(candidate, runs[0].fold, budget)}
    error = next((run.fitted.error for run in runs if run.fitted.ids is None), None)
    if error is not None:
        return {**row, "error": error, "runs": [{"seed": run.seed, "trials": [*run.trials]} for run in runs]}
    values = [run.values(protocol.cutoffs) for run in runs]
    catalogue = [catalogue_metrics(run.fitted.ids, run.fold, protocol.cutoffs) for run in runs]  # type: ignore[arg-type]
    metrics = {}
    for metric in values[0]:
        by_user = _by_user(runs, [each[metric] for each in values])
        # AUC has no value for a user who has, or is to find, every item
        found = (np.nan, np.nan, np.nan) if np.isnan(by_user).all() else interval(by_user)
        metrics[metric] = dict(zip(("mean", "low", "high"), map(_finite, found), strict=True))
    for metric in catalogue[0]:
        mean = statistics.fmean(each[metric] for each in catalogue)
        metrics[metric] = {"mean": _finite(mean), "low": None, "high": None}
    first = runs[0]
    assert first.fitted.ids is not None
    groups = {
        "activity": activity_groups(values[0][protocol.metric], first.fold),
        "popularity": popularity_groups(first.fitted.ids, first.fold, int(protocol.metric.partition("@")[2])),
    }
    costs = ("fit_seconds", "recommend_seconds", "peak_memory_mib")
    return {
        **row,
        "runs": [
            {
                "seed": run.seed,
                "parameters": dict(run.fitted.settings),
                "metrics": {key: _mean(value) for key, value in each.items()} | finite,
                **{key: getattr(run.fitted, key) for key in (*costs, "memory_before_fit_mib", "warm_up_seconds")},
                "trials": [*run.trials],
            }
            for run, each, finite in zip(
                runs, values, ({key: _finite(value) for key, value in each.items()} for each in catalogue), strict=True
            )
        ],
        "metrics": metrics,
        **{key: statistics.median(getattr(run.fitted, key) for run in runs) for key in costs},
        "groups": {kind: [asdict(group) for group in found] for kind, found in groups.items()},
    }


def _validation(fold: Fold) -> str:
    return "validation items of the same users" if fold.known else "validation users"


def _how(candidate: Candidate, fold: Fold, budget: Budget | None) -> str:
    if not (candidate.folds_in or fold.known):
        return "left out"
    by_itself = "chooses its parameters from the training data" if candidate.chooses else ""
    if budget is None or not candidate.space:
        settings = ", ".join(f"{name}={value}" for name, value in candidate.defaults().items())
        untuned = f"not tuned: {settings}" if settings else "not tuned" if candidate.space else "nothing to tune"
        return by_itself or untuned
    spend = f"{budget['trials']} trials" if budget["trials"] is not None else f"{budget['seconds']:g} s of trials"
    tuned = f"tuned: the best of {spend} on the {_validation(fold)}"
    return f"{tuned}; for each it {by_itself}" if by_itself else tuned


def _comparisons(protocol: Protocol, runs: Mapping[str, Sequence[_Run]]) -> list[dict[str, Any]]:
    """Compare the first model with each of the others, user by user."""
    first, *others = (
        (
            name,
            each,
            [run.values(protocol.cutoffs) for run in each] if all(run.fitted.ids is not None for run in each) else None,
        )
        for name, each in runs.items()
    )
    metrics = [m for m in dict.fromkeys((protocol.metric, *protocol.table)) if m.partition("@")[0] in USER_METRICS]
    comparisons = []
    for name, each, values in others:
        if first[2] is None or values is None:
            continue
        for metric in metrics:
            ours, theirs = (_by_user(r, [v[metric] for v in vs]) for r, vs in ((first[1], first[2]), (each, values)))
            if np.isnan(ours).all():
                continue
            difference = asdict(paired_difference(ours, theirs))
            comparisons.append(
                {
                    "model": first[0],
                    "against": name,
                    "metric": metric,
                    "difference": difference.pop("mean"),
                    **{key: _finite(value) for key, value in difference.items()},
                }
            )
    return comparisons


def _by_user(runs: Sequence[_Run], values: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Return one value for each user that was tested with any seed: the mean over those seeds."""
    users, place = np.unique(np.concatenate([run.fold.users for run in runs]), return_inverse=True)
    return np.asarray(np.bincount(place, np.concatenate(values), len(users)) / np.bincount(place))


def describe_environment() -> dict[str, Any]:
    """Return the versions and the machine that a result rests on."""
    return {
        "python": platform.python_version(),
        **{package: importlib.metadata.version(package) for package in PACKAGES},
        "machine": f"{platform.system()} {platform.machine()}",
        "cpus": os.cpu_count(),
    }


def _describe(data: Data) -> dict[str, Any]:
    if isinstance(data, Interactions):
        users, items = data.shape
        return {"users": users, "items": items, "interactions": len(data.values), "sha256": data.content_hash()}
    digest = hashlib.sha256()
    for part in map(canonical_csr, data):
        for array, kind in ((np.array(part.shape), "<i8"), (part.indptr, "<i8"), (part.indices, "<i8")):
            digest.update(np.ascontiguousarray(array, dtype=kind).tobytes())
    users, items = data[0].shape
    interactions = int(sum(part.nnz for part in data))
    return {"users": users, "items": items, "interactions": interactions, "sha256": digest.hexdigest()}


def _mean(values: NDArray[np.float64]) -> float | None:
    return None if np.isnan(values).all() else mean_over_users(values)


def _finite(value: float) -> float | None:
    """Return None for nan, which JSON has not."""
    return float(value) if np.isfinite(value) else None


def _packed(fitted: Fitted) -> dict[str, Any]:
    """Return JSON values for what a fit gave."""
    ids = fitted.ids
    assert ids is not None
    text = base64.b64encode(zlib.compress(ids.astype("<i4").tobytes(), 1)).decode()
    return {**asdict(replace(fitted, ids=None)), "ids": [*ids.shape, text]}


def _unpacked(piece: Mapping[str, Any]) -> Fitted:
    rows, columns, text = piece["ids"]
    ids = np.frombuffer(zlib.decompress(base64.b64decode(text)), "<i4").reshape(rows, columns).astype(np.int32)
    return Fitted(**{**piece, "ids": ids})


def write_json(result: Mapping[str, Any], path: str | os.PathLike[str]) -> None:
    """Write a result to ``path``, whole or not at all.

    Parameters
    ----------
    result : mapping
        What :func:`compare` returned.
    path : path

    Raises
    ------
    OSError
        The file cannot be written; one that was there stays as it is.
    ValueError
        A result with a number that JSON does not have.

    Examples
    --------
    >>> import os, tempfile
    >>> from rfm_recsys.evaluation import write_json
    >>> write_json({"value": 1}, os.path.join(tempfile.mkdtemp(), "result.json"))
    """
    with replacing(path) as partial:
        partial.write_text(json.dumps(result, indent=2, allow_nan=False) + "\n")
