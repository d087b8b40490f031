"""How long until a model of a given quality: LinRFM, implicit's ALS and irspack's iALS, each over its own grid.

Gowalla, N@20 on the validation items of the LightGCN split; ML-1M, N@100 on the validation users of the ready split.
Every model runs over factors, iterations and a few settings that searches had found good for it; a point is one fit,
its time without the time of the evaluations. A front is what no faster fit of that model beats. The two fits that the
ratio is of are made again, for the median of several, and so are those by which one front seems below the other.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from common import COLOURS, DATA, GIVEN, RESULTS, als, fit_als, irspack_epochs, save_plot, write
from matplotlib import pyplot as plt
from scipy.sparse import csr_matrix, load_npz
from tqdm import tqdm

from rfm_recsys import LinRFM
from rfm_recsys.datasets import read_lightgcn
from rfm_recsys.evaluation import Fold, evaluate, mean_over_users

Point = dict[str, Any]
Measured = tuple[int, float, float]  # iterations, seconds, quality
AT = {"gowalla": (1, 3, 5, 10), "ml-1m": (1, 3, 5, 10, 15)}  # iterations of the peers, which fall off beyond
LARGE, SOON = 512, 5  # on Gowalla, more factors than these have their best at the third iteration: no more than so many
SHARED = (16, 32, 64, 128, 256, 512)
FACTORS: dict[str, dict[str, tuple[int, ...]]] = {
    "LinRFM": {"gowalla": (8, *SHARED, 384, 448, 480, 528, 544, 640), "ml-1m": (*SHARED, 192, 768)},
    "implicit ALS": {"gowalla": (*SHARED, 768, 1024), "ml-1m": (*SHARED, 768)},
    "irspack iALS": {"gowalla": SHARED, "ml-1m": SHARED},
}
LINRFM = {
    "gowalla": [
        {},
        {"alpha": 14, "regularization": 2, "power": 0.25, "item_norm": 0.9, "user_norm": 0.8},
        {"alpha": 26, "regularization": 1.5, "power": 0.24, "item_norm": 0.96, "user_norm": 0.62},
        {"alpha": 25, "regularization": 1.5, "power": 0.32, "item_norm": 1.1, "prior_norm": 0.8, "user_norm": 1},
    ],
    "ml-1m": [
        {},
        {"alpha": 2, "regularization": 5, "power": 0.5},
        {"alpha": 3.4, "regularization": 3.4, "power": 0.43, "item_norm": 0.64, "user_norm": 0.51},
        {"alpha": 2.2, "regularization": 2.7, "power": 0.55, "item_norm": 0.57, "user_norm": 0.78},
        *(
            {"alpha": 3, "regularization": 13, "power": power, "item_norm": 0.75, "prior_norm": 0.05, "user_norm": 0.6}
            | {"oversampling": wider}
            for power in (0.27, 0.4)
            for wider in (0, 128)
        ),
    ],
}
ALS = {
    "gowalla": [{"alpha": a, "regularization": r} for a, r in ((20, 10), (40, 10), (15, 20))],
    "ml-1m": [{"alpha": 5, "regularization": r} for r in (10, 30, 55)],
}
LARGEST, BEST = 1024, ALS["gowalla"][-1]  # a fit of so many factors takes minutes: at the best of the settings only
IRSPACK = {
    "gowalla": [{"alpha0": 0.02, "reg": 0.003}],
    "ml-1m": [{"alpha0": a, "reg": r} for a, r in ((0.3, 0.003), (0.2, 0.005), (0.3, 0.006))],
}


class Task:
    """A data set with its fold and its metric; quality is that of factors, whatever model they come from."""

    def __init__(self, name: str) -> None:
        self.name = name
        if name == "gowalla":
            self.train, target = read_lightgcn(*(DATA / name / f"{part}.txt" for part in ("train", "valid")))
            self.users, self.fold_in, self.target = None, self.train, target
            self.metric, self.depth = "ndcg@20", 20
        else:
            self.train, self.fold_in, self.target = (
                load_npz(DATA / name / "strong" / f"{part}.npz") for part in ("train", "valid_in", "valid_out")
            )
            self.users = np.arange(self.fold_in.shape[0])
            self.metric, self.depth = "ndcg@100", 100
        self.train.data[:] = 1

    def quality(self, user_factors: Any, item_factors: Any) -> float:
        model = LinRFM(item_factors.shape[1])
        model.user_factors, model.item_factors = np.asarray(user_factors), np.asarray(item_factors)
        users = np.flatnonzero(np.diff(self.target.indptr))
        fold = Fold(self.train, users, self.fold_in[users], self.target[users], known=True)
        values, _ = evaluate(model, fold, [self.depth])
        return mean_over_users(values[self.metric])


def lin_rfm(task: Task, factors: int, settings: dict[str, Any], last: int) -> Iterator[Measured]:
    for rounds in range(1, min(last, 2) + 1):
        model = LinRFM(factors, **{**GIVEN, **settings, "iterations": rounds})
        begun = time.perf_counter()
        model.fit(task.train, show_progress=False)
        seconds = time.perf_counter() - begun
        users = model.user_factors if task.users is None else model.recalculate_user(task.users, task.fold_in)
        yield rounds, seconds, task.quality(users, model.item_factors)


def peer_als(task: Task, factors: int, settings: dict[str, Any], last: int) -> Iterator[Measured]:
    points, outside, begun = [], 0.0, time.perf_counter()
    model = als(factors, iterations=last, **settings)

    def measure(iteration: int, elapsed: float, loss: float | None) -> None:
        nonlocal outside
        now = time.perf_counter()
        if iteration + 1 in AT[task.name]:
            model._YtY = None  # implicit keeps it from the first fold-in on, whatever becomes of the factors
            users = model.user_factors if task.users is None else model.recalculate_user(task.users, task.fold_in)
            points.append((iteration + 1, now - begun - outside, task.quality(users, model.item_factors)))
        outside += time.perf_counter() - now

    fit_als(model, task.train, callback=measure)
    yield from points


def peer_irspack(task: Task, factors: int, settings: dict[str, Any], last: int) -> Iterator[Measured]:
    outside, begun = 0.0, time.perf_counter()
    for epoch, model in enumerate(irspack_epochs(task.train, factors, epochs=last, **settings), 1):
        now = time.perf_counter()
        if epoch in AT[task.name]:
            if task.users is None:
                users = model.get_user_embedding()
            else:
                users = model.compute_user_embedding(csr_matrix(task.fold_in, dtype=np.float64))
            yield epoch, now - begun - outside, task.quality(users, model.get_item_embedding())
        outside += time.perf_counter() - now


MODELS: dict[str, tuple[Callable[..., Iterator[Measured]], Any]] = {
    "LinRFM": (lin_rfm, LINRFM),
    "implicit ALS": (peer_als, ALS),
    "irspack iALS": (peer_irspack, IRSPACK),
}


def measure(task: Task, model: str, factors: int, settings: dict[str, Any], last: int) -> list[Point]:
    return [
        {
            "model": model,
            "factors": factors,
            "iterations": iterations,
            "settings": settings,
            "seconds": seconds,
            "quality": quality,
        }
        for iterations, seconds, quality in MODELS[model][0](task, factors, settings, last)
    ]


def run(task: Task, kept: Path) -> list[Point]:
    """Measure all points; those of every job are kept in a file as they come, from which a run that ended goes on."""
    jobs = [
        (model, factors, settings)
        for model in MODELS
        for factors in FACTORS[model][task.name]
        for settings in (MODELS[model][1][task.name] if factors < LARGEST else [BEST])
    ]
    lines = kept.read_text().splitlines() if kept.exists() else []
    done = {json.dumps([p[0]["model"], p[0]["factors"], p[0]["settings"]]): p for p in map(json.loads, lines)}
    todo = [job for job in jobs if json.dumps(job) not in done]
    with kept.open("a") as file:
        for job in tqdm(todo, desc=task.name, initial=len(done), total=len(jobs)):
            last = SOON if task.name == "gowalla" and job[1] > LARGE else max(AT[task.name])
            done[json.dumps(job)] = points = measure(task, *job, last)
            print(json.dumps(points), file=file, flush=True)
    return [point for job in jobs for point in done[json.dumps(job)]]


def repeat(task: Task, point: Point, repeats: int) -> None:
    """Fit a point again, and take the median of its times."""
    taken = [point["seconds"]]
    for _ in range(repeats - 1):
        same = measure(task, point["model"], point["factors"], point["settings"], point["iterations"])
        taken.append(same[-1]["seconds"])
    point["seconds"], point["fits"] = float(np.median(taken)), repeats


def front(points: list[Point], model: str) -> list[Point]:
    best: list[Point] = []
    for point in sorted((p for p in points if p["model"] == model), key=lambda p: p["seconds"]):
        if not best or point["quality"] > best[-1]["quality"]:
            best.append(point)
    return best


def reaching(points: list[Point], quality: float) -> Point | None:
    return next((point for point in points if point["quality"] >= quality), None)


def settle(task: Task, points: list[Point], repeats: int) -> list[Point]:
    """Return the points of ALS's front that LinRFM's is below, whose times, and those next to them, are medians."""
    while True:
        ours = front(points, "LinRFM")
        pairs = [(p, reaching(ours, p["quality"])) for p in front(points, "implicit ALS")]
        below = [(p, q) for p, q in pairs if q is None or q["seconds"] > p["seconds"]]
        single = [point for pair in below for point in pair if point is not None and "fits" not in point]
        if not single:
            return [p for p, _ in below]
        for point in single:
            repeat(task, point, repeats)


def summarise(task: Task, points: list[Point], repeats: int) -> dict[str, Any]:
    fronts = {model: front(points, model) for model in MODELS}
    goal = fronts["implicit ALS"][-1]
    ours = reaching(fronts["LinRFM"], goal["quality"])
    for point in (goal, ours):
        if point is not None:
            repeat(task, point, repeats)
    below = settle(task, points, repeats)
    fronts = {model: front(points, model) for model in MODELS}
    summary: dict[str, Any] = {
        "data": task.name,
        "metric": task.metric,
        "best of ALS": goal,
        "LinRFM where it reaches it": ours,
        "ratio": ours and ours["seconds"] / goal["seconds"],
        "points of ALS's front that LinRFM's front is below": below,
        "best at equal factors": {
            str(f): {m: max(p["quality"] for p in points if p["model"] == m and p["factors"] == f) for m in fronts}
            for f in SHARED
        },
        "best": {model: found[-1] for model, found in fronts.items()},
    }
    figure, axes = plt.subplots(figsize=(7, 4.5))
    for model, found in fronts.items():
        every = [p for p in points if p["model"] == model]
        axes.scatter(
            [p["seconds"] for p in every], [p["quality"] for p in every], s=9, alpha=0.35, color=COLOURS[model]
        )
        axes.step(
            [p["seconds"] for p in found],
            [p["quality"] for p in found],
            where="post",
            label=model,
            color=COLOURS[model],
        )
    axes.axhline(goal["quality"], color="#999999", linewidth=0.8, linestyle=":")
    low = min(p["quality"] for p in points if p["model"] == "LinRFM")
    axes.set(xscale="log", xlabel="fit time (s), log scale", ylabel=task.metric, title=f"{task.name}: time to quality")
    axes.set_ylim(bottom=low - 0.02 * abs(low))
    axes.legend(frameon=False, loc="lower right")
    axes.spines[["top", "right"]].set_visible(False)
    save_plot(f"time_to_quality_{task.name}", figure)
    return summary


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", nargs="*", default=["ml-1m", "gowalla"], choices=["ml-1m", "gowalla"])
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    for name in arguments.data:
        task = Task(name)
        list(lin_rfm(task, 16, {}, 2))  # compiles
        points = run(task, RESULTS / f"time_to_quality_{name}.jsonl")
        summary = summarise(task, points, arguments.repeats)
        write(f"time_to_quality_{name}", {"summary": summary, "repeats": arguments.repeats, "points": points})
        for key, value in summary.items():
            print(f"{key}: {value}")


if __name__ == "__main__":
    main()
