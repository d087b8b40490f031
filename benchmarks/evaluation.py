"""What evaluating costs beside the recommend calls that it consists of: Gowalla's users and items, top 20."""

import argparse
import statistics
import threading
import time
from pathlib import Path

import numpy as np

from rfm_recsys import LinRFM
from rfm_recsys.datasets import read_lightgcn
from rfm_recsys.evaluation import Fold, evaluate


def resident() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared" / "data" / "gowalla")
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    train, test = read_lightgcn(*(arguments.data / f"{part}.txt" for part in ("train", "test")))
    users = np.arange(train.shape[0])
    fold = Fold(train, users, train, test, known=True)
    model = LinRFM(64).fit(train, show_progress=False)
    few = users[:64]
    evaluate(model, Fold(train, few, train[few], test[few], known=True), [20])  # compiles

    calls, evaluations = [], []
    before, peak, running = resident(), 0.0, True

    def watch() -> None:
        nonlocal peak
        while running:
            peak = max(peak, resident())
            time.sleep(0.005)

    watcher = threading.Thread(target=watch)
    watcher.start()
    for _ in range(arguments.repeats):
        begun = time.perf_counter()
        model.recommend(users, train, N=20)
        called = time.perf_counter()
        evaluate(model, fold, [20])
        calls.append(called - begun)
        evaluations.append(time.perf_counter() - called)
    running = False
    watcher.join()
    print(f"{len(users):,} users x {train.shape[1]:,} items, top 20, medians of {arguments.repeats}")
    print(f"recommend {statistics.median(calls):.2f} s, evaluate {statistics.median(evaluations):.2f} s")
    print(f"ratio evaluate / recommend: {statistics.median(evaluations) / statistics.median(calls):.2f}")
    print(f"memory beyond model and data: {peak - before:.0f} MiB")


if __name__ == "__main__":
    main()
