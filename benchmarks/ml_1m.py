"""LinRFM and implicit's ALS on ML-1M, strong generalisation, tuned with the same number of trials.

On the ready split: fits to its training users, and every model is tuned on its validation users. Since what is chosen
on some users looks better on them than on others, the chosen settings are then also fitted to the training users less
a tenth and ranked for that tenth, which took no part in the choice.
"""

import argparse
import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from optuna.distributions import FloatDistribution
from scipy.sparse import load_npz

from rfm_recsys import LinRFM
from rfm_recsys.evaluation import (
    CANDIDATES,
    Candidate,
    Fold,
    best,
    mean_over_users,
    parse_budget,
    strong_generalisation,
    tune,
    user_metrics,
)
from rfm_recsys.evaluation.fitting import FittingProcess

METRIC, DEPTH = "ndcg@100", 100


# where the search of the full form begins: it wants popular items weighted up, unlike the low-rank form
FULL: dict[str, Any] = {
    "power": 0.35,
    "item_norm": -1.0,
    "user_norm": 0.5,
    "alpha": 7.4,
    "regularization": 0.7,
    "iterations": 1,
}


def fixed(name: str, factors: int | None) -> Candidate:
    space = {key: value for key, value in CANDIDATES["LinRFM"].space.items() if key != "factors"}
    if factors is not None:
        return Candidate(name, partial(LinRFM, factors), space)
    space |= {"item_norm": FloatDistribution(-1.5, 1.2), "regularization": FloatDistribution(0.2, 30, log=True)}
    return Candidate(name, partial(LinRFM, None, **FULL), space)


def measure(
    candidate: Candidate, fold: Fold, process: FittingProcess, parameters: Mapping[str, Any]
) -> tuple[float | None, float, str | None]:
    fitted = process.fit(candidate, parameters, 0)
    if fitted.ids is None:
        return None, 0.0, fitted.error
    values = user_metrics(fitted.ids, fold.target, [DEPTH], fold.fold_in)
    return mean_over_users(values[METRIC]), fitted.fit_seconds, None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared/data/ml-1m/strong")
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--only", nargs="*", help="names of models")
    arguments = parser.parse_args()
    train, fold_in, target = (load_npz(arguments.data / f"{part}.npz") for part in ("train", "valid_in", "valid_out"))
    validation = Fold(train, np.arange(fold_in.shape[0]), fold_in, target, known=False)
    others = strong_generalisation(train, seed=0).test
    budget = parse_budget(str(arguments.trials))

    candidates = [fixed(f"LinRFM {n} factors", n) for n in (128, 256)] + [
        fixed("LinRFM full form", None),
        CANDIDATES["ALS"],
        CANDIDATES["EASE"],
    ]
    for candidate in candidates:
        if arguments.only and candidate.name not in arguments.only:
            continue
        with FittingProcess(validation, DEPTH) as on_validation, FittingProcess(others, DEPTH) as on_others:
            trials = tune(candidate, partial(measure, candidate, validation, on_validation), budget, 0, [])
            chosen = best(trials)
            assert chosen is not None
            value, seconds, _ = measure(candidate, others, on_others, chosen["parameters"])
        print(
            f"{candidate.name}: defaults {trials[0]['value'] or 0:.4f}, best of {len(trials)} trials "
            f"{chosen['value'] or 0:.4f}; on other users {value:.4f}; fit {seconds:.2f} s\n"
            f"    {json.dumps(chosen['parameters'])}",
            flush=True,
        )


if __name__ == "__main__":
    main()
