"""Fit time at equal factors, on generated data of the size of ML-20M: LinRFM's default rounds, ALS's 15, iALS's 16.

LinRFM's are whole fits. A peer's is its median iteration, times their number: no set-up, nothing but iterations.
"""

import argparse
import statistics
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from common import GIVEN, against, als, bars, fit_als, irspack_epochs, median_seconds, write
from scipy.sparse import csr_matrix, load_npz, save_npz

from rfm_recsys import LinRFM
from rfm_recsys.datasets import synthetic_movielens

SHAPE = (138_493, 26_744, 20_000_000)


def generated(cache: Path | None) -> csr_matrix:
    """Return the data, all ones; generating them takes some minutes, so that they can be kept in a file."""
    if cache is not None and cache.exists():
        data = load_npz(cache)
    else:
        data = synthetic_movielens(*SHAPE).to_csr()
        if cache is not None:
            save_npz(cache, data)
    data.data = np.ones(data.nnz, dtype=np.float32)
    return data


def als_iteration(data: csr_matrix, factors: int, repeats: int) -> float:
    taken: list[float] = []
    fit_als(als(factors, iterations=repeats), data, callback=lambda iteration, elapsed, loss: taken.append(elapsed))
    return statistics.median(taken)


def irspack_epoch(data: csr_matrix, factors: int, repeats: int) -> float:
    taken, begun = [], time.perf_counter()
    for _ in irspack_epochs(data, factors, 0.1, 0.003, repeats + 1):
        taken.append(time.perf_counter() - begun)
        begun = time.perf_counter()
    return statistics.median(taken[1:])  # the first with the set-up


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--factors", type=int, nargs="*", default=[64, 128, 256])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--cache", type=Path, help="file to keep the generated data in")
    arguments = parser.parse_args()
    data = generated(arguments.cache)
    LinRFM(8, **GIVEN).fit(data[:1000], show_progress=False)  # compiles
    rows: list[dict[str, Any]] = []
    for factors in arguments.factors:
        ours = LinRFM(factors, **GIVEN)
        seconds = {
            "LinRFM": median_seconds(partial(ours.fit, data, show_progress=False), arguments.repeats),
            "implicit ALS": 15 * als_iteration(data, factors, arguments.repeats),
            "irspack iALS": 16 * irspack_epoch(data, factors, arguments.repeats),
        }
        rows.append({"factors": factors, "seconds": seconds, "LinRFM / peer": against(seconds)})
        print(rows[-1], flush=True)
    write("fit_time", {"shape": SHAPE, "repeats": arguments.repeats, "rows": rows})
    bars("fit_time", rows, "20 million interactions, 138,493 users, 26,744 items, 2 cores")


if __name__ == "__main__":
    main()
