"""LinRFM with nothing set, beside ALS tuned by Optuna on a fifth of the training entries: NDCG@10, and the difference.

Of each data set the values as they are; what ALS is given of them is among what is tuned.
"""

import argparse
from typing import Any

import numpy as np
import optuna
from choice import TABLES, matrix, ndcg, splits

from rfm_recsys import LinRFM
from rfm_recsys.evaluation import Fold, evaluate, paired_difference
from rfm_recsys.evaluation.baselines import ALS, VALUES


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=30)
    parser.add_argument("--data", nargs="*", default=list(TABLES))
    arguments = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    for name in arguments.data:
        train, test = next(splits(matrix(name), "raw", 1))
        rest, validation = next(splits(train, "raw", 1))

        def tried(trial: optuna.Trial, rest: Any = rest, validation: Any = validation) -> float:
            model = ALS(
                trial.suggest_int("factors", 32, 512, log=True),
                trial.suggest_float("regularization", 0.01, 200, log=True),
                trial.suggest_float("alpha", 0.5, 60, log=True),
                values=trial.suggest_categorical("values", VALUES),
                random_state=0,
            )
            model.fit(rest, show_progress=False)
            return ndcg(model, rest, validation)

        study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=0))
        study.enqueue_trial({"factors": 64, "regularization": 40.0, "alpha": 2.0, "values": "ones"})
        study.optimize(tried, n_trials=arguments.trials)
        users = np.flatnonzero(np.diff(test.indptr))
        fold, values = Fold(train, users, train[users], test[users], known=True), []
        for model in (LinRFM(), ALS(**study.best_params, random_state=0)):
            model.fit(train, show_progress=False)
            values.append(evaluate(model, fold, [10])[0]["ndcg@10"])
        ours, theirs = values
        print(
            name,
            study.best_params,
            paired_difference(ours, theirs),
            [float(each.mean()) for each in values],
            flush=True,
        )


if __name__ == "__main__":
    main()
