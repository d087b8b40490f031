"""Ten items for each of 10,000 users, filtering on: LinRFM, implicit on the same factors, the bare matrix product."""

import argparse
from typing import Any

import numpy as np
from common import COLOURS, als, median_seconds, save_plot, spread, write
from matplotlib import pyplot as plt
from threadpoolctl import threadpool_limits

from rfm_recsys import LinRFM
from rfm_recsys.kernels import Floats

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
        ours, theirs = LinRFM(factors, iterations=1).fit(data, show_progress=False), als(factors)
        theirs.user_factors, theirs.item_factors = U, V = ours.user_factors, ours.item_factors

        def bare(U: Floats = U, V: Floats = V) -> None:
            for first in range(0, ASKED, BLOCK):
                U[first : min(first + BLOCK, ASKED)] @ V.T

        def implicit(model: Any = theirs) -> None:
            with threadpool_limits(1, "blas"):
                model.recommend(asked, rows)

        ours.recommend(asked, rows)
        seconds = {
            "LinRFM": median_seconds(lambda m=ours: m.recommend(asked, rows), arguments.repeats),  # type: ignore[misc]
            "implicit ALS": median_seconds(implicit, arguments.repeats),
            "matrix product": median_seconds(bare, arguments.repeats),
        }
        ratios = {peer: seconds["LinRFM"] / seconds[peer] for peer in ("implicit ALS", "matrix product")}
        results.append({"factors": factors, "seconds": seconds, "LinRFM / peer": ratios})
        print(results[-1], flush=True)
    write("recommend", {"shape": [USERS, ITEMS], "users": ASKED, "N": 10, "rows": results})
    figure, axes = plt.subplots(figsize=(7, 4))
    for k, name in enumerate(("LinRFM", "implicit ALS", "matrix product")):
        places = [i + 0.27 * (k - 1) for i in range(len(results))]
        bars = axes.bar(places, [row["seconds"][name] for row in results], 0.25, label=name, color=COLOURS[name])
        axes.bar_label(bars, fmt="%.2f", fontsize=8)
    axes.set_xticks(range(len(results)), [f"{row['factors']} factors" for row in results])
    axes.set(ylabel="time (s)", title=f"10 of {ITEMS:,} items for each of {ASKED:,} users, 2 cores")
    axes.legend(frameon=False, loc="upper left")
    axes.spines[["top", "right"]].set_visible(False)
    save_plot("recommend", figure)


if __name__ == "__main__":
    main()
