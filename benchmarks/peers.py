"""Every model beside LinRFM with nothing set: NDCG@10 on a random fifth of the entries, one split, values as they come.

Each peer has its defaults, and once more the best of its trials (20 by default, Optuna's TPE over the space that our
evaluation declares for it) on a random fifth of the training entries. LinRFM is given nothing but 256 factors, or the
full form. On Gowalla NDCG@20 on the test set of the LightGCN split, and nothing is tuned. What was measured is kept in
a file, from which a run that ended goes on.
"""

import argparse
import json
import time
import warnings
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Self

import numpy as np
from choice import TABLES, matrix
from common import DATA, RESULTS, write
from equal_size import ndcg, split
from implicit.recommender_base import ModelFitError
from numpy.typing import NDArray
from optuna.distributions import FloatDistribution, IntDistribution
from scipy.sparse import csr_matrix

from rfm_recsys import LinRFM
from rfm_recsys.datasets import read_lightgcn
from rfm_recsys.evaluation import CANDIDATES
from rfm_recsys.evaluation.candidates import Candidate
from rfm_recsys.evaluation.tuning import Budget, best, tune

MEDIUM, LARGE = 12_000, 30_000  # items beyond which a matrix of items x items is tuned no more, and is too much


class IALS:
    """irspack's iALS, with the interface of the others; the range of its parameters is that of its authors."""

    def __init__(self, factors: int = 64, alpha0: float = 0.1, reg: float = 1e-3, train_epochs: int = 16) -> None:
        self.parameters = {"n_components": factors, "alpha0": alpha0, "reg": reg, "train_epochs": train_epochs}

    def fit(self, user_items: csr_matrix, show_progress: bool = True) -> Self:
        from irspack import IALSRecommender

        ones = user_items.copy()
        ones.data[:] = 1
        self.model = IALSRecommender(ones, n_threads=2, **self.parameters)
        self.model.learn()
        return self

    def recommend(
        self, userid: Any, user_items: csr_matrix, N: int = 10, **_: Any
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        scores = self.model.get_score(np.asarray(userid))
        scores[user_items.nonzero()] = -np.inf
        ids = np.argsort(-scores, axis=1, kind="stable")[:, :N].astype(np.int32)
        return ids, np.take_along_axis(scores, ids, axis=1)


MODELS: dict[str, Candidate] = {
    "LinRFM": CANDIDATES["LinRFM"],
    "LinRFM, full form": Candidate("LinRFM, full form", lambda: LinRFM(None)),
    "ALS (implicit's defaults)": CANDIDATES["ALS (implicit's defaults)"],
    "ALS": replace(CANDIDATES["ALS"], first={"factors": 256, "regularization": 40.0, "alpha": 2.0, "values": "ones"}),
    **{name: CANDIDATES[name] for name in ("EASE", "ItemKNN-cosine", "BPR")},
    "iALS (irspack)": Candidate(
        "iALS (irspack)",
        IALS,
        {
            "factors": IntDistribution(64, 512, step=64),
            "alpha0": FloatDistribution(3e-3, 1, log=True),
            "reg": FloatDistribution(1e-4, 1e-1, log=True),
        },
    ),
    "Popularity": CANDIDATES["Popularity"],
}
OURS = ("LinRFM", "LinRFM, full form")
SQUARE = ("LinRFM, full form", "EASE")  # which have a matrix of items x items
ALSO = {"BookCrossing": SQUARE[:1]}  # left out there: 17,000 items take the full form minutes


def data_of(name: str) -> tuple[csr_matrix, csr_matrix]:
    if name != "Gowalla":
        return split(matrix(name), 0)
    train, valid, test = read_lightgcn(*(DATA / "gowalla" / f"{part}.txt" for part in ("train", "valid", "test")))
    return train + valid, test


def on(candidate: Candidate, rest: csr_matrix, validation: csr_matrix, depth: int) -> Any:
    """Return how a setting does on the validation entries, for `tune`."""

    def measured(parameters: Mapping[str, Any]) -> tuple[float | None, float, str | None]:
        begun = time.perf_counter()
        try:
            model = candidate.model(parameters, 0)
            model.fit(rest, show_progress=False)
        except ModelFitError as error:  # BPR, where its learning rate is too large
            return None, time.perf_counter() - begun, str(error)
        return float(np.nanmean(ndcg(model, rest, validation, depth))), time.perf_counter() - begun, None

    return measured


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--data", nargs="*", default=[*TABLES, "Gowalla"])
    parser.add_argument("--models", nargs="*", default=list(MODELS))
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    kept = RESULTS / "peers.jsonl"
    lines = [json.loads(line) for line in kept.read_text().splitlines()] if kept.exists() else []
    known = {(line["data"], line["model"], line["trials"]): line["result"] for line in lines}
    for data in arguments.data:
        (train, test), depth = data_of(data), 20 if data == "Gowalla" else 10
        rest, validation = split(train, 0)
        for name in arguments.models:
            square = train.shape[1] > LARGE and name in SQUARE
            if square or name in ALSO.get(data, ()) or (data, name, arguments.trials) in known:
                continue
            candidate = MODELS[name]
            ways: dict[str, dict[str, Any]] = {"nothing set": {}}
            tuned = data in TABLES and not (name in SQUARE and train.shape[1] > MEDIUM)
            if candidate.space and name not in OURS and tuned:
                trials = tune(
                    candidate,
                    on(candidate, rest, validation, depth),
                    Budget(trials=arguments.trials, seconds=None),
                    0,
                    [],
                )
                found = best(trials)
                assert found is not None
                ways["tuned"] = found["parameters"]
            result: dict[str, Any] = {}
            for way, parameters in ways.items():
                begun = time.perf_counter()
                model = candidate.model(parameters, 0)
                model.fit(train, show_progress=False)
                seconds = time.perf_counter() - begun
                quality = float(np.nanmean(ndcg(model, train, test, depth)))
                result[way] = {"quality": quality, "seconds": seconds, "parameters": parameters}
                print(data, name, way, round(quality, 4), round(seconds, 1), flush=True)
            known[data, name, arguments.trials] = result
            with kept.open("a") as file:
                line = {"data": data, "model": name, "trials": arguments.trials, "result": result}
                print(json.dumps(line), file=file)
    table: dict[str, Any] = {}
    for (data, name, _), result in known.items():
        table.setdefault(data, {})[name] = result
    write("peers", table)


if __name__ == "__main__":
    main()
