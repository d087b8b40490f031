"""Fit time at equal factors, on generated data of the size of ML-20M: LinRFM's default rounds, ALS's 15, iALS's 16."""

import argparse
from pathlib import Path

import numpy as np
from common import COLOURS, als, fit_als, irspack_epochs, median_seconds, save_plot, write
from matplotlib import pyplot as plt
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--factors", type=int, nargs="*", default=[64, 128, 256])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--peer-repeats", type=int, default=1, help="a peer's fit is fifteen equal iterations")
    parser.add_argument("--cache", type=Path, help="file to keep the generated data in")
    arguments = parser.parse_args()
    data = generated(arguments.cache)
    LinRFM(8).fit(data[:1000], show_progress=False)  # compiles
    rows = []
    for factors in arguments.factors:
        seconds = {
            "LinRFM": median_seconds(
                lambda f=factors: LinRFM(f).fit(data, show_progress=False),  # type: ignore[misc]
                arguments.repeats,
            ),
            "implicit ALS": median_seconds(lambda f=factors: fit_als(als(f), data), arguments.peer_repeats),  # type: ignore[misc]
            "irspack iALS": median_seconds(
                lambda f=factors: list(irspack_epochs(data, f, 0.1, 0.003, 16)),  # type: ignore[misc]
                arguments.peer_repeats,
            ),
        }
        ratios = {peer: seconds["LinRFM"] / seconds[peer] for peer in ("implicit ALS", "irspack iALS")}
        rows.append({"factors": factors, "seconds": seconds, "LinRFM / peer": ratios})
        print(rows[-1], flush=True)
    write("fit_time", {"shape": SHAPE, "repeats": [arguments.repeats, arguments.peer_repeats], "rows": rows})
    figure, axes = plt.subplots(figsize=(7, 4))
    for k, name in enumerate(("LinRFM", "implicit ALS", "irspack iALS")):
        places = [i + 0.27 * (k - 1) for i in range(len(rows))]
        bars = axes.bar(places, [row["seconds"][name] for row in rows], 0.25, label=name, color=COLOURS[name])
        axes.bar_label(bars, fmt="%.3g", fontsize=8)
    axes.set_xticks(range(len(rows)), [f"{row['factors']} factors" for row in rows])
    axes.set(ylabel="fit time (s)", title="20 million interactions, 138,493 users, 26,744 items, 2 cores")
    axes.legend(frameon=False, loc="upper left")
    axes.spines[["top", "right"]].set_visible(False)
    save_plot("fit_time", figure)


if __name__ == "__main__":
    main()
