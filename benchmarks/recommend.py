"""Ten items for each of 10,000 users, filtering on: LinRFM, implicit on the same factors, the bare matrix product."""

import argparse
from functools import partial
from typing import Any

import numpy as np
from common import GIVEN, against, als, bars, median_seconds, spread, write
from threadpoolctl import threadpool_limits

from rfm_recsys import LinRFM
from rfm_recsys.core.arrays import Floats

USERS, ITEMS, INTERACTIONS, ASKED = 30_000, 27_000, 3_000_000, 10_000
BLOCK = 1_000  # users whose scores the bare product holds at a time


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=7)
    arguments = parser.parse_args()
    data = spread(USERS, ITEMS, INTERACTIONS)
    asked, rows = np.arange(ASKED), data[:ASKED]
    results: list[dict[str, Any]] = []
    for factors in (64, 128, 256):
        ours, theirs = LinRFM(factors, **{**GIVEN, "iterations": 1}).fit(data, show_progress=False), als(factors)
        theirs.user_factors, theirs.item_factors = U, V = ours.user_factors, ours.item_factors

        def bare(U: Floats = U, V: Floats = V) -> None:
            for first in range(0, ASKED, BLOCK):
                U[first : min(first + BLOCK, ASKED)] @ V.T

        def implicit(model: Any = theirs) -> None:
            with threadpool_limits(1, "blas"):
                model.recommend(asked, rows)

        ours.recommend(asked, rows)
        seconds = {
            "LinRFM": median_seconds(partial(ours.recommend, asked, rows), arguments.repeats),
            "implicit ALS": median_seconds(implicit, arguments.repeats),
            "matrix product": median_seconds(bare, arguments.repeats),
        }
        results.append({"factors": factors, "seconds": seconds, "LinRFM / peer": against(seconds)})
        print(results[-1], flush=True)
    write("recommend", {"shape": [USERS, ITEMS], "users": ASKED, "N": 10, "rows": results})
    bars("recommend", results, f"10 of {ITEMS:,} items for each of {ASKED:,} users, 2 cores")


if __name__ == "__main__":
    main()
