"""RMSE of explicit ratings: LinRFMRatings, with and without what was rated, ALS and biases.

On ML-100K's u1 to u5 and a seeded random 90/10 of ML-1M, or else on generated ratings. For every fold alike, a model is
tuned over the values in its grid on a seeded tenth of the fold's training ratings, then fitted to all of them; the test
ratings are read once. Predictions of all models stay within the scale of the ratings.
"""

import itertools
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix
from tqdm.auto import tqdm

from rfm_recsys.core.arrays import Floats, Ints
from rfm_recsys.datasets import Interactions, load_movielens, synthetic_movielens
from rfm_recsys.errors import DataError
from rfm_recsys.ratings import LinRFMRatings

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
    """Fit biases alone."""
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
    """Fit LinRFMRatings."""
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
    """Return ratings as a sparse matrix."""
    return csr_matrix((ratings[2], ratings[:2]), shape=shape)


def rmse(predict: Predict, data: csr_matrix, test: Ratings) -> float:
    """Return the RMSE of predictions, kept within the scale of the ratings that were fitted to."""
    prediction = np.clip(predict(test[0], test[1]), data.data.min(), data.data.max())
    return float(np.sqrt(np.mean((prediction - test[2]) ** 2)))


def tenth(ratings: Ratings, seed: int) -> tuple[Ratings, Ratings]:
    """Split ratings into nine tenths and a random tenth."""
    order = np.random.default_rng(seed).permutation(len(ratings[2]))
    size = len(order) // 10
    kept, held = (tuple(part[some] for part in ratings) for some in (order[size:], order[:size]))
    return kept, held  # type: ignore[return-value]


def movielens_100k(folder: Path) -> Iterator[tuple[Ratings, Ratings]]:
    """Yield training and test ratings of u1 to u5."""
    for fold in range(1, 6):
        parts = (np.loadtxt(folder / f"u{fold}.{name}", dtype=np.int64).T for name in ("base", "test"))
        train, test = ((part[0] - 1, part[1] - 1, part[2].astype(float)) for part in parts)
        yield train, test


def movielens_1m(folder: Path) -> Iterator[tuple[Ratings, Ratings]]:
    """Yield nine tenths and a random tenth of the ratings."""
    yield _nine_tenths(load_movielens("1m", folder))


def generated() -> Iterator[tuple[Ratings, Ratings]]:
    """Yield the same of generated ratings, which are no evidence of anything about people."""
    yield _nine_tenths(synthetic_movielens(500, 250, 25_000))


def _nine_tenths(interactions: Interactions) -> tuple[Ratings, Ratings]:
    data = interactions.to_csr(np.float64).tocoo()
    return tenth((data.row, data.col, data.data.astype(float)), seed=0)


def explicit_ratings(quick: bool, folder: Path | None) -> dict[str, Any]:
    """Measure the RMSE of every model.

    Parameters
    ----------
    quick : bool
        Whether to leave out ML-1M.
    folder : Path, optional
        Holds ml-100k and ml-1m; without it, ratings are generated.

    Returns
    -------
    dict
        ``data``, a list with the ``name`` and the ``models``: for each its name, ``mean rmse``, and ``folds`` with the
        ``rmse``, the best RMSE on ``validation`` ratings, what was ``chosen`` by it, and the ``seconds`` of the fit.

    Raises
    ------
    DataError
        The folder lacks the data.
    """
    sources: dict[str, Iterator[tuple[Ratings, Ratings]]] = {"generated": generated()}
    if folder is not None:
        names = ("ml-100k",) if quick else ("ml-100k", "ml-1m")
        for name in names:
            if not (folder / name).is_dir():
                raise DataError(f"there is no folder {folder / name}; pass one that holds {' and '.join(names)}")
        loaders = {"ml-100k": movielens_100k, "ml-1m": movielens_1m}
        sources = {name: loaders[name](folder / name) for name in names}
    return {"data": [{"name": name, "models": _measured(name, list(folds))} for name, folds in sources.items()]}


def _measured(name: str, folds: list[tuple[Ratings, Ratings]]) -> list[dict[str, Any]]:
    shape = (max(int(part[0].max()) for part in folds[0]) + 1, max(int(part[1].max()) for part in folds[0]) + 1)
    found = []
    with tqdm(total=len(MODELS) * len(folds), desc=f"ratings, {name}", disable=None) as bar:
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
                row = {"rmse": rmse(predict, data, test), "validation": min(on_validation), "seconds": seconds}
                rows.append({**row, "chosen": chosen})
                bar.update()
            found.append({"model": model, "mean rmse": float(np.mean([row["rmse"] for row in rows])), "folds": rows})
    return found
