"""What the benchmarks share: clocks, the peers, plots, and where results go."""

import json
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from implicit.als import AlternatingLeastSquares
from matplotlib import pyplot as plt
from scipy.sparse import csr_matrix
from threadpoolctl import threadpool_limits

mpl.use("agg")
DATA = Path(__file__).parents[2] / "shared" / "data"
RESULTS = Path(__file__).parent / "results"
# what a fit is timed with where the question is its speed: all given, so that nothing is chosen
GIVEN: dict[str, Any] = {
    "regularization": 4.0, "alpha": 7.0, "iterations": 2, "power": 0.35, "item_norm": 0.8, "user_norm": 0.8,
}  # fmt: skip
COLOURS = {"LinRFM": "#0b5cad", "implicit ALS": "#b84a00", "irspack iALS": "#00775f", "matrix product": "#63666b"}


def median_seconds(work: Callable[[], Any], repeats: int) -> float:
    """Return the median time of ``work``, in seconds."""
    taken = []
    for _ in range(repeats):
        begun = time.perf_counter()
        work()
        taken.append(time.perf_counter() - begun)
    return statistics.median(taken)


def als(factors: int, regularization: float = 10.0, alpha: float = 20.0, iterations: int = 15) -> Any:
    """Return implicit's ALS, seeded; fit it within ``threadpool_limits(1, "blas")``, as it asks for itself."""
    return AlternatingLeastSquares(
        factors, regularization=regularization, alpha=alpha, iterations=iterations, random_state=0
    )


def fit_als(model: Any, data: csr_matrix, **options: Any) -> None:
    with threadpool_limits(1, "blas"):
        model.fit(data, show_progress=False, **options)


def irspack_epochs(data: csr_matrix, factors: int, alpha0: float, reg: float, epochs: int) -> Iterator[Any]:
    """Fit irspack's iALS by conjugate gradients, its default, on two threads; yield it after each epoch."""
    from irspack import IALSRecommender

    model = IALSRecommender(data, n_components=factors, alpha0=alpha0, reg=reg, train_epochs=epochs, n_threads=2)
    model.start_learning()
    for _ in range(epochs):
        model.run_epoch()
        yield model


def spread(n_users: int, n_items: int, n_interactions: int, seed: int = 0) -> csr_matrix:
    """Draw interactions with log-normal activity and popularity, of the spreads of ``synthetic_movielens``.

    Without tastes: for time and memory, in a fraction of its time. Of a pair drawn twice one counts, and more are
    drawn until there are as many as asked for, to a thousandth.
    """
    generator = np.random.default_rng(seed)
    activity = np.exp(generator.normal(0, 0.95, n_users))
    popularity = np.cumsum(np.exp(generator.normal(0, 2.0, n_items)))
    data = csr_matrix((n_users, n_items), dtype=np.float32)
    while (missing := n_interactions - data.nnz) > n_interactions / 1000:
        users = np.repeat(np.arange(n_users, dtype=np.int32), generator.poisson(activity / activity.sum() * missing))
        items = np.searchsorted(popularity, popularity[-1] * generator.random(len(users))).astype(np.int32)
        data += csr_matrix((np.ones(len(users), dtype=np.float32), (users, items)), shape=(n_users, n_items))
        data.data[:] = 1
    return data


def write(name: str, result: Any) -> None:
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n")


def bars(name: str, rows: list[dict[str, Any]], title: str) -> None:
    """Plot the ``seconds`` of each row, one of whose bars is a model's, under the row's ``factors``."""
    figure, axes = plt.subplots(figsize=(7, 4))
    for k, model in enumerate(rows[0]["seconds"]):
        places = [i + 0.27 * (k - 1) for i in range(len(rows))]
        drawn = axes.bar(places, [row["seconds"][model] for row in rows], 0.25, label=model, color=COLOURS[model])
        axes.bar_label(drawn, fmt="%.3g", fontsize=8)
    axes.set_xticks(range(len(rows)), [f"{row['factors']} factors" for row in rows])
    axes.set(ylabel="time (s)", title=title)
    axes.legend(frameon=False, loc="upper left")
    axes.spines[["top", "right"]].set_visible(False)
    save_plot(name, figure)


def against(seconds: dict[str, float]) -> dict[str, float]:
    """Return the ratio of LinRFM's time to each other one."""
    return {name: seconds["LinRFM"] / taken for name, taken in seconds.items() if name != "LinRFM"}


def save_plot(name: str, figure: Any) -> None:
    RESULTS.mkdir(exist_ok=True)
    figure.savefig(RESULTS / f"{name}.png", dpi=110, bbox_inches="tight")
    plt.close(figure)
