"""LinRFM with nothing set, beside ALS: on values as they come, with ALS's own arguments, and the time that it takes.

Random 80/20 of the entries (implicit's train_test_split), NDCG@10 on all held-out entries, means over seeds.
"""

import argparse
import json
import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd
from common import DATA, RESULTS, fit_als, write
from implicit.als import AlternatingLeastSquares
from implicit.evaluation import train_test_split
from scipy.sparse import csr_matrix

from rfm_recsys import LinRFM
from rfm_recsys.als import AlternatingLeastSquares as OurCall
from rfm_recsys.datasets import read_lightgcn
from rfm_recsys.evaluation import Fold, evaluate, mean_over_users

TABLES: dict[str, tuple[str, dict[str, Any]]] = {
    "Steam": ("steam/game_play.dat.gz", {"sep": "\t"}),
    "BookCrossing": ("bookcrossing/book_ratings.dat.gz", {"sep": "\t"}),
    "ML-1M": ("ml-1m/ratings.csv.gz", {}),
    "ML-100K": ("ml-100k/u.data", {"sep": "\t", "header": None}),
    "ml-latest-small": ("ml-latest-small/ratings.csv", {}),
}
KINDS: dict[str, Callable[[Any], Any]] = {"raw": lambda v: v, "log1p": np.log1p, "ones": np.ones_like}
UNTUNED = "NDCG@10 of ALS(), ALS(64, .05, 2) and LinRFM()"
AS_CALLED = "NDCG@10 of ALS and LinRFM with ALS's arguments"
CALLS = [(64, 0.05, 2.0, 15), (50, 0.01, 40.0, 20), (64, 40.0, 2.0, 15)]  # factors, regularization, alpha, iterations


def matrix(name: str) -> csr_matrix:
    path, options = TABLES[name]
    table = pd.read_csv(DATA / path, **options)
    (users, _), (items, _) = (pd.factorize(table.iloc[:, column]) for column in (0, 1))
    return csr_matrix((table.iloc[:, 2].to_numpy(np.float32), (users, items)))


def splits(data: csr_matrix, kind: str, seeds: int) -> Iterator[tuple[csr_matrix, csr_matrix]]:
    valued = data.copy()
    valued.data = KINDS[kind](valued.data)
    for seed in range(seeds):
        parts = tuple(csr_matrix(part) for part in train_test_split(valued, random_state=seed))
        for part in parts:
            part.eliminate_zeros()
        yield parts[0], parts[1]


def ndcg(model: Any, train: csr_matrix, test: csr_matrix) -> float:
    users = np.flatnonzero(np.diff(test.indptr))
    values, _ = evaluate(model, Fold(train, users, train[users], test[users], known=True), [10])
    return mean_over_users(values["ndcg@10"])


def fitted(model: Any, train: csr_matrix) -> Any:
    if isinstance(model, LinRFM):
        return model.fit(train, show_progress=False)
    fit_als(model, train)
    return model


def compared(models: list[Callable[[], Any]], parts: list[tuple[csr_matrix, csr_matrix]]) -> list[float]:
    return [statistics.fmean(ndcg(fitted(make(), train), train, test) for train, test in parts) for make in models]


def seconds(train: csr_matrix, repeats: int) -> dict[str, Any]:
    taken: dict[str, list[float]] = {"LinRFM()": [], "LinRFM, all given": [], "ALS, 256 factors": []}
    chosen = fitted(LinRFM(), train).chosen_
    for _ in range(repeats):
        for name, model in (
            ("LinRFM()", LinRFM()),
            ("LinRFM, all given", LinRFM(**chosen)),
            ("ALS, 256 factors", AlternatingLeastSquares(factors=256, iterations=15, random_state=0)),
        ):
            begun = time.perf_counter()
            fitted(model, train)
            taken[name].append(time.perf_counter() - begun)
    return {name: statistics.median(each) for name, each in taken.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--data", nargs="*", choices=list(TABLES), help="only these, beside the others as they were")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")  # of the call, and of BLAS's threads
    before = json.loads((RESULTS / "choice.json").read_text()) if arguments.data else {}
    untuned: dict[str, list[float]] = before.get(UNTUNED, {})
    calls: dict[str, list[float]] = before.get(AS_CALLED, {})
    for name in arguments.data or TABLES:
        data = matrix(name)
        for kind in KINDS:
            parts = list(splits(data, kind, arguments.seeds))
            models: list[Callable[[], Any]] = [
                lambda: AlternatingLeastSquares(random_state=0),
                lambda: AlternatingLeastSquares(64, 0.05, 2.0, random_state=0),
                LinRFM,
            ]
            untuned[f"{name}, {kind}"] = compared(models, parts)
            print(name, kind, untuned[f"{name}, {kind}"], flush=True)
            for factors, regularization, alpha, iterations in CALLS if kind != "raw" else []:
                given = {"regularization": regularization, "alpha": alpha, "iterations": iterations, "random_state": 0}
                models = [
                    lambda factors=factors, given=given, make=make: make(factors, **given)  # type: ignore[misc]
                    for make in (AlternatingLeastSquares, OurCall)
                ]
                key = f"{name}, {kind}, {factors}, {regularization}, {alpha:g}, {iterations}"
                calls[key] = compared(models, parts)
                print(key, calls[key], flush=True)
    ratios = [ours / max(theirs) for *theirs, ours in untuned.values()]
    equal = [ours / theirs for theirs, ours in calls.values()]
    result = before | {
        UNTUNED: untuned,
        "at least level": sum(ratio >= 1 for ratio in ratios),
        "median ratio to the better": statistics.median(ratios),
        AS_CALLED: calls,
        "calls that are level within 1%": sum(ratio >= 0.99 for ratio in equal),
        "calls that are ahead by 5%": sum(ratio > 1.05 for ratio in equal),
    }
    write("choice", result if arguments.data else result | times(arguments.repeats))


def times(repeats: int) -> dict[str, Any]:
    """Return what a choice takes."""
    gowalla = read_lightgcn(*(DATA / "gowalla" / f"{part}.txt" for part in ("train", "valid", "test")))
    ml_1m = next(splits(matrix("ML-1M"), "ones", 1))[0]
    begun = time.perf_counter()
    tried = len(fitted(LinRFM(trials=1000), ml_1m).search_)
    return {
        "a thousand settings on ML-1M": {"rows": tried, "seconds": time.perf_counter() - begun},
        "seconds, medians": {
            "Gowalla": seconds(gowalla[0] + gowalla[1], repeats),
            "ML-1M": seconds(ml_1m, repeats),
        },
    }


if __name__ == "__main__":
    main()
