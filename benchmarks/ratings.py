"""RMSE of explicit ratings: LinRFMRatings, with and without what was rated, ALS and biases, on MovieLens.

ML-100K's u1 to u5, and a seeded random 90/10 of ML-1M. For every fold alike, a model is tuned over the values in its
grid on a seeded tenth of the fold's training ratings, then fitted to all of them; the test ratings are read once.
Predictions of all models stay within the scale of the ratings.
"""

import argparse
import itertools
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from common import DATA, write
from scipy.sparse import csr_matrix

from rfm_recsys import LinRFMRatings
from rfm_recsys.datasets import load_movielens
from rfm_recsys.kernels import Floats, Ints

Ratings = tuple[Ints, Ints, Floats]
Predict = Callable[[Ints, Ints], Floats]


def biases(data: csr_matrix, ridge: float, sweeps: int = 20) -> tuple[float, Floats, Floats]:
    """Return the mean and the biases of users and items: ridge regression, users and items in turns."""
    rows, columns = data.nonzero()
    mean = float(data.data.mean())
    b, c = np.zeros(data.shape[0]), np.zeros(data.shape[1])
    for _ in range(sweeps):
        for own, other, ids, others in ((b, c, rows, columns), (c, b, columns, rows)):
            rest = data.data - mean - other[others]
            own[:] = np.bincount(ids, rest, len(own)) / (np.bincount(ids, minlength=len(own)) + ridge)
    return mean, b, c


def fit_biases(data: csr_matrix, ridge: float) -> Predict:
    mean, b, c = biases(data, ridge)
    return lambda users, items: mean + b[users] + c[items]


def fit_als(data: csr_matrix, factors: int, ridge: float, bias_ridge: float, iterations: int) -> Predict:
    """Fit ALS to what biases leave over; the ridge of a row counts ``ridge`` for each rating (Zhou et al. 2008)."""
    mean, b, c = biases(data, bias_ridge)
    rows, columns = data.nonzero()
    rest = csr_matrix((data.data - mean - b[rows] - c[columns], (rows, columns)), shape=data.shape)
    V = np.random.default_rng(0).normal(0, 0.1, (data.shape[1], factors))
    U = np.zeros((data.shape[0], factors))
    for _ in range(iterations):
        for R, own, other in ((rest, U, V), (rest.T.tocsr(), V, U)):
            for row in np.flatnonzero(np.diff(R.indptr)):
                entries = slice(R.indptr[row], R.indptr[row + 1])
                F = other[R.indices[entries]]
                gram = F.T @ F + ridge * len(F) * np.eye(factors)
                own[row] = np.linalg.solve(gram, F.T @ R.data[entries])
    return lambda users, items: mean + b[users] + c[items] + np.einsum("nk,nk->n", U[users], V[items])


def fit_lin_rfm(data: csr_matrix, **parameters: Any) -> Predict:
    return LinRFMRatings(**parameters).fit(data, show_progress=False).predict


MODELS: dict[str, tuple[Callable[..., Predict], dict[str, list[Any]]]] = {
    "biases": (fit_biases, {"ridge": [1.0, 2.0, 5.0, 10.0]}),
    "ALS on residuals": (
        fit_als,
        {"factors": [20, 40], "ridge": [0.1, 0.15, 0.2], "bias_ridge": [5.0], "iterations": [10]},
    ),
    "LinRFMRatings, no choices": (fit_lin_rfm, {"factors": [16, 32], "choice_factors": [0]}),
    "LinRFMRatings": (fit_lin_rfm, {"factors": [16, 32], "choice_factors": [32, 128]}),
}


def matrix(ratings: Ratings, shape: tuple[int, int]) -> csr_matrix:
    return csr_matrix((ratings[2], ratings[:2]), shape=shape)


def rmse(predict: Predict, data: csr_matrix, test: Ratings) -> float:
    prediction = np.clip(predict(test[0], test[1]), data.data.min(), data.data.max())
    return float(np.sqrt(np.mean((prediction - test[2]) ** 2)))


def tenth(ratings: Ratings, seed: int) -> tuple[Ratings, Ratings]:
    """Split ratings into nine tenths and a random tenth."""
    order = np.random.default_rng(seed).permutation(len(ratings[2]))
    size = len(order) // 10
    kept, held = (tuple(part[some] for part in ratings) for some in (order[size:], order[:size]))
    return kept, held  # type: ignore[return-value]


def movielens_100k(folder: Path) -> Iterator[tuple[Ratings, Ratings]]:
    for fold in range(1, 6):
        parts = (np.loadtxt(folder / f"u{fold}.{name}", dtype=np.int64).T for name in ("base", "test"))
        train, test = ((part[0] - 1, part[1] - 1, part[2].astype(float)) for part in parts)
        yield train, test


def movielens_1m(folder: Path) -> Iterator[tuple[Ratings, Ratings]]:
    data = load_movielens("1m", folder).to_csr(np.float64).tocoo()
    yield tenth((data.row, data.col, data.data.astype(float)), seed=0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=DATA, help="folder that holds ml-100k and ml-1m")
    parser.add_argument("--only", nargs="*", help="names of data sets")
    arguments = parser.parse_args()
    results: dict[str, Any] = {}
    for name, load in (("ml-100k", movielens_100k), ("ml-1m", movielens_1m)):
        if arguments.only and name not in arguments.only:
            continue
        folds = list(load(arguments.data / name))
        n_users, n_items = (max(int(part[side].max()) for part in folds[0]) + 1 for side in (0, 1))
        shape = (n_users, n_items)
        for model, (fit, grid) in MODELS.items():
            settings = [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]
            rows = []
            for train, test in folds:
                kept, held = tenth(train, seed=1)
                data = matrix(kept, shape)
                on_validation = [rmse(partial(fit, **setting)(data), data, held) for setting in settings]
                chosen = settings[int(np.argmin(on_validation))]
                data, begun = matrix(train, shape), time.perf_counter()
                predict = fit(data, **chosen)
                seconds = time.perf_counter() - begun
                found = {"rmse": rmse(predict, data, test), "validation": min(on_validation), "seconds": seconds}
                rows.append({**found, "chosen": chosen})
            mean, seconds = (float(np.mean([row[key] for row in rows])) for key in ("rmse", "seconds"))
            results.setdefault(name, {})[model] = {"mean rmse": mean, "folds": rows}
            print(f"{name}, {model}: {mean:.4f}, {seconds:.1f} s", *[row["chosen"] for row in rows], flush=True)
    write("ratings", results)


if __name__ == "__main__":
    main()
