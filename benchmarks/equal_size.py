"""LinRFM with nothing set but the factors, beside ALS tuned by Optuna with as many: NDCG, and the difference.

ALS is tuned on a random fifth of the training entries (30 TPE trials: regularization, alpha, and whether it is given
the values as they are, their logarithms or ones). What was found is kept in a file, from which a run that ended goes
on.
"""

import argparse
import json
import time
import warnings
from typing import Any

import numpy as np
import optuna
from choice import matrix
from common import COLOURS, DATA, RESULTS, median_seconds, save_plot, write
from implicit.evaluation import train_test_split
from matplotlib import pyplot as plt
from matplotlib.ticker import LogLocator
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from rfm_recsys import LinRFM
from rfm_recsys.datasets import read_lightgcn
from rfm_recsys.evaluation import Fold, evaluate, paired_difference
from rfm_recsys.evaluation.baselines import ALS, VALUES

SIZES = (32, 64, 128, 256)
SERVING = "ms of 1,000 lists"
DEPTHS = {"ML-1M": 10, "Gowalla": 20, "Steam": 10, "BookCrossing": 10}


def split(data: csr_matrix, seed: int) -> tuple[csr_matrix, csr_matrix]:
    parts = [csr_matrix(part) for part in train_test_split(data, random_state=seed)]
    for part in parts:
        part.eliminate_zeros()
    return parts[0], parts[1]


def data_of(name: str, seed: int) -> tuple[csr_matrix, csr_matrix]:
    if name != "Gowalla":
        return split(matrix(name), seed)
    train, valid, test = read_lightgcn(*(DATA / "gowalla" / f"{part}.txt" for part in ("train", "valid", "test")))
    return train + valid, test


def ndcg(model: Any, train: csr_matrix, test: csr_matrix, depth: int) -> NDArray[np.float64]:
    users = np.flatnonzero(np.diff(test.indptr))
    fold = Fold(train, users, train[users], test[users], known=True)
    return np.asarray(evaluate(model, fold, [depth])[0][f"ndcg@{depth}"], dtype=np.float64)


def tuned(name: str, train: csr_matrix, factors: int, trials: int) -> dict[str, Any]:
    """Return the settings of ALS that rank a fifth of the training entries best."""
    rest, validation = split(train, 0)

    def tried(trial: optuna.Trial) -> float:
        model = ALS(
            factors,
            trial.suggest_float("regularization", 0.01, 200, log=True),
            trial.suggest_float("alpha", 0.5, 60, log=True),
            values=trial.suggest_categorical("values", VALUES) if name != "Gowalla" else "ones",
            random_state=0,
        )
        model.fit(rest, show_progress=False)
        return float(np.mean(ndcg(model, rest, validation, DEPTHS[name])))

    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=0))
    first = {"regularization": 40.0, "alpha": 2.0}
    study.enqueue_trial(first | ({"values": "ones"} if name != "Gowalla" else {}))
    study.optimize(tried, n_trials=trials)
    return {"values": "ones", **study.best_params}


def plot(rows: list[dict[str, Any]]) -> None:
    """Draw quality against factors, the time of a fit, and that of 10 items for each of 1,000 users."""
    figure, axes = plt.subplots(3, len(DEPTHS), figsize=(3.2 * len(DEPTHS), 8.4), sharey="col")
    for column, name in enumerate(DEPTHS):
        own = [row for row in rows if row["data"] == name]
        metric = f"ndcg@{DEPTHS[name]}"
        for label, colour in (("LinRFM", COLOURS["LinRFM"]), ("ALS, tuned", COLOURS["implicit ALS"])):
            quality = [row[metric][label] for row in own]
            for panel, what in zip(axes[:, column], ("factors", "seconds of the fit", SERVING), strict=True):
                across = [row["factors"] if what == "factors" else row[what][label] for row in own]
                panel.plot(across, quality, "o-", color=colour, label=label)
                panel.set(xscale="log", xlabel=what)
                panel.spines[["top", "right"]].set_visible(False)
                panel.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
                panel.xaxis.set_major_formatter("{x:g}")
                panel.minorticks_off()
        axes[0, column].set(title=f"{name}: {metric}", xticks=SIZES, xticklabels=SIZES)
    axes[0, 0].legend(frameon=False, loc="lower right")
    figure.tight_layout()
    save_plot("equal_size", figure)


def serving(model: Any, train: csr_matrix) -> float:
    """Return the milliseconds of 10 items for each of 1,000 users, without those that they have."""
    users = np.arange(min(1000, train.shape[0]))
    known = train[users]
    return 1e3 * median_seconds(lambda: model.recommend(users, known, N=10), 7)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", nargs="*", default=list(DEPTHS), choices=list(DEPTHS))
    parser.add_argument("--trials", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    kept = RESULTS / "equal_size.jsonl"
    lines = [json.loads(line) for line in kept.read_text().splitlines()] if kept.exists() else []
    known = {(line["data"], line["seed"], line["factors"], line["trials"]): line["settings"] for line in lines}
    rows = []
    for name in arguments.data:
        train, test = data_of(name, arguments.seed)
        for factors in SIZES:
            key = name, arguments.seed, factors, arguments.trials
            if key not in known:
                known[key] = tuned(name, train, factors, arguments.trials)
                line = {**dict(zip(("data", "seed", "factors", "trials"), key, strict=True)), "settings": known[key]}
                with kept.open("a") as file:
                    print(json.dumps(line), file=file)
            models: dict[str, Any] = {
                "LinRFM": LinRFM(factors),
                "ALS, tuned": ALS(factors, **known[key], random_state=0),
            }
            row: dict[str, Any] = {"data": name, "factors": factors, "ALS's settings": known[key]}
            values, seconds, lists = {}, {}, {}
            for label, model in models.items():
                begun = time.perf_counter()
                model.fit(train, show_progress=False)
                seconds[label] = time.perf_counter() - begun
                values[label] = ndcg(model, train, test, DEPTHS[name])
                lists[label] = serving(model, train)
            difference = paired_difference(values["LinRFM"], values["ALS, tuned"])
            row |= {
                f"ndcg@{DEPTHS[name]}": {label: float(each.mean()) for label, each in values.items()},
                "difference": float(difference.mean),
                "interval": [float(difference.low), float(difference.high)],
                "seconds of the fit": seconds,
                SERVING: lists,
                "chosen": models["LinRFM"].chosen_,
            }
            rows.append(row)
            print(json.dumps(row), flush=True)
    plot(rows)
    write("equal_size", {"seed": arguments.seed, "trials": arguments.trials, "rows": rows})


if __name__ == "__main__":
    main()
