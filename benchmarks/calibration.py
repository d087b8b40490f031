"""Are deviations honest? Intervals of ratings, and what implicit scores are off by, on held-out data.

Ratings: the share of held-out ratings within the 68% and 95% intervals of LinRFMRatings. Implicit: pairs of a user and
an item that is not in the training data, 1 for a held-out interaction and 0 for the rest, in ten bins of their
predicted deviation; the error is the mean over bins of what the root mean square of the deviations and that of the
errors differ by, over the mean of the latter. ALS has no deviations: it is given one for all pairs, in hindsight the
best one, the root mean square of all its errors; its bins are those of its own scores, or of LinRFM's deviations,
whichever are kinder.
"""

import argparse
from typing import Any

import numpy as np
import pandas as pd
from choice import fitted, matrix, splits
from common import DATA, RESULTS, als, write
from matplotlib import pyplot as plt
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator
from scipy.sparse import csr_matrix

from rfm_recsys import LinRFM, LinRFMRatings

BINS, USERS = 10, 1000


def coverage(train: csr_matrix, users: Any, items: Any, ratings: Any) -> dict[str, float]:
    model = LinRFMRatings().fit(train, show_progress=False)
    expected, std = model.predict(users, items, return_std=True, with_noise=True)
    _, without = model.predict(users, items, return_std=True)
    error = np.abs(ratings - expected)
    return {
        "within the 68% interval": float(np.mean(error <= 0.9945 * std)),
        "within the 95% interval": float(np.mean(error <= 1.96 * std)),
        "within the 95% interval, without the noise": float(np.mean(error <= 1.96 * without)),
        "rmse": float(np.sqrt(np.mean(error**2))),
    }


def ratings() -> dict[str, Any]:
    results = {}
    for fold in range(1, 6):
        train, test = (
            pd.read_csv(DATA / "ml-100k" / f"u{fold}.{part}", sep="\t", header=None).to_numpy()
            for part in ("base", "test")
        )
        known = csr_matrix((train[:, 2].astype(float), (train[:, 0] - 1, train[:, 1] - 1)), shape=(943, 1682))
        results[f"ML-100K u{fold}"] = coverage(known, test[:, 0] - 1, test[:, 1] - 1, test[:, 2])
    data = matrix("ML-1M").tocoo()
    for seed in (0, 1):
        held_out = np.random.default_rng(seed).random(data.nnz) < 0.1
        known = csr_matrix(
            (data.data[~held_out].astype(float), (data.row[~held_out], data.col[~held_out])), shape=data.shape
        )
        pairs = data.row[held_out], data.col[held_out], data.data[held_out]
        results[f"ML-1M, a tenth, seed {seed}"] = coverage(known, *pairs)
    return results


def binned(by: Any, predicted: Any, errors: Any) -> tuple[Any, Any]:
    parts = np.array_split(np.argsort(by, kind="stable"), BINS)
    root = [[float(np.sqrt(np.mean(values[part] ** 2))) for part in parts] for values in (predicted, errors)]
    return np.array(root[0]), np.array(root[1])


def error_of(predicted: Any, actual: Any) -> float:
    return float(np.mean(np.abs(predicted - actual)) / np.mean(actual))


def row_of(predicted: Any, actual: Any) -> dict[str, Any]:
    return {"error": error_of(predicted, actual), "predicted": predicted.tolist(), "actual": actual.tolist()}


def implicit(name: str, seed: int) -> dict[str, Any]:
    train, test = list(splits(matrix(name), "raw", seed + 1))[seed]
    rng = np.random.default_rng(seed)
    some = np.flatnonzero((np.diff(test.indptr) > 0) & (np.diff(train.indptr) > 0))
    some = np.sort(rng.choice(some, min(USERS, len(some)), replace=False))
    unseen = train[some].toarray() == 0
    target = (test[some].toarray() > 0)[unseen].astype(float)
    result: dict[str, Any] = {}
    bins = None
    for label, factors in (("LinRFM()", 256), ("LinRFM(None)", None)):
        model = fitted(LinRFM(factors), train)
        items = np.arange(train.shape[1])
        scores = model.score(some, items).astype(float)[unseen]
        std = model.score_std(some, train[some], items).astype(float)[unseen]
        predicted, actual = binned(std, std, target - scores)
        bins = std if bins is None else bins
        result[label] = {
            "error": error_of(predicted, actual),
            "predicted": predicted.tolist(),
            "actual": actual.tolist(),
        }
    peer = fitted(als(100, 0.01, 1.0), train)
    scores = (peer.user_factors[some] @ peer.item_factors.T).astype(float)[unseen]
    off = target - scores
    constant = np.full(len(off), np.sqrt(np.mean(off**2)))
    tries = [binned(by, constant, off) for by in (scores, bins)]
    predicted, actual = min(tries, key=lambda each: error_of(*each))
    result["ALS(), a constant"] = row_of(predicted, actual)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", nargs="*", default=["ML-1M", "ML-100K", "Steam", "BookCrossing"])
    names = parser.parse_args().data
    found = {"ratings": ratings()}
    for name, row in found["ratings"].items():
        print(name, {key: round(value, 4) for key, value in row.items()}, flush=True)
    figure, axes = plt.subplots(1, len(names), figsize=(3.6 * len(names), 3.4), squeeze=False)
    for panel, name in zip(axes[0], names, strict=True):
        runs = [implicit(name, seed) for seed in (0, 1)]
        found[name] = {
            label: runs[0][label] | {"error": [run[label]["error"] for run in runs]} for label in runs[0]
        }  # fmt: skip
        print(name, {label: np.round(row["error"], 3).tolist() for label, row in found[name].items()}, flush=True)
        for (label, row), colour in zip(found[name].items(), ("#0b5cad", "#3b82b0", "#b84a00"), strict=True):
            panel.plot(row["predicted"], row["actual"], "o-", color=colour, markersize=4, label=label)
        ends = [0.5 * min(found[name]["LinRFM()"]["actual"]) + 1e-4, 1.3 * max(found[name]["LinRFM()"]["actual"])]
        panel.plot(ends, ends, color="#999999", linewidth=0.8, linestyle="--")
        panel.set(xscale="log", yscale="log", title=name, xlabel="predicted deviation")
        for axis in (panel.xaxis, panel.yaxis):
            axis.set_major_locator(LogLocator(subs=(1, 3)))
            axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axis.set_minor_locator(NullLocator())
        panel.spines[["top", "right"]].set_visible(False)
    axes[0][0].set_ylabel("what scores are off by")
    axes[0][0].legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(RESULTS / "calibration.png", dpi=110)
    write("calibration", found)


if __name__ == "__main__":
    main()
