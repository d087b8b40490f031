"""How fit time and peak memory grow: with interactions at a fixed ratio of users to items, and with each size alone.

Peak memory is beyond the input, of a process of its own, beside implicit's ALS and the estimate that fit checks first.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from common import COLOURS, GIVEN, als, fit_als, save_plot, spread, write
from matplotlib import pyplot as plt
from tqdm import tqdm

from rfm_recsys import LinRFM
from rfm_recsys.recommender.rounds import low_rank_memory

PER_USER, PER_ITEM = 144, 748  # ML-20M's interactions of a user and of an item
INTERACTIONS = (1_000_000, 3_000_000, 10_000_000, 30_000_000, 100_000_000)
BASE = {"n_users": 40_000, "n_items": 10_000, "n_interactions": 4_000_000, "factors": 64}
ALONE = {
    "n_users": (20_000, 40_000, 80_000, 160_000),
    "n_items": (5_000, 10_000, 20_000, 40_000),
    "n_interactions": (1_000_000, 2_000_000, 4_000_000, 8_000_000),
    "factors": (32, 64, 128, 256),
}


def status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))


def measure(model: str, n_users: int, n_items: int, n_interactions: int, factors: int) -> dict[str, Any]:
    """Fit in this process, which has compiled and imported all before; seconds are the median of three, or of one."""
    data = spread(n_users, n_items, n_interactions)

    def fit(rows: Any) -> None:
        if model == "LinRFM":
            LinRFM(factors, **GIVEN).fit(rows, show_progress=False)
        else:
            fit_als(als(factors, iterations=1), rows)

    fit(data[:2000])
    before = status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    taken = []
    for _ in range(3 if n_interactions <= 30_000_000 else 1):
        begun = time.perf_counter()
        fit(data)
        taken.append(time.perf_counter() - begun)
    return {
        "interactions": data.nnz,
        "seconds": float(np.median(taken)),
        "MiB": (status("VmHWM") - before) / 2**20,
        "estimate MiB": low_rank_memory(data.shape, data.nnz, factors, 4) / 2**20,
    }


def in_process(model: str, **sizes: int) -> dict[str, Any]:
    arguments = [sys.executable, __file__, "--one", json.dumps({"model": model, **sizes})]
    found: dict[str, Any] = json.loads(subprocess.run(arguments, check=True, capture_output=True, text=True).stdout)
    return found


def exponent(sizes: list[float], values: list[float]) -> float:
    return float(np.polyfit(np.log(sizes), np.log(values), 1)[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--factors", type=int, default=64)
    parser.add_argument("--most", type=int, default=max(INTERACTIONS), help="interactions to go up to")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(measure(**json.loads(arguments.one))))
        return
    rows = []
    for n in tqdm([n for n in INTERACTIONS if n <= arguments.most], desc="together"):
        sizes = {"n_users": n // PER_USER, "n_items": n // PER_ITEM, "n_interactions": n, "factors": arguments.factors}
        ours, theirs = in_process("LinRFM", **sizes), in_process("ALS", **sizes)
        rows.append({**sizes, **ours, "implicit MiB": theirs["MiB"], "memory ratio": ours["MiB"] / theirs["MiB"]})
        print(rows[-1], flush=True)
    growth = exponent([row["interactions"] for row in rows], [row["seconds"] for row in rows])
    print(f"fit time grows as interactions^{growth:.3f}")
    alone = {}
    for name, values in ALONE.items():
        found = [in_process("LinRFM", **{**BASE, name: value}) for value in tqdm(values, desc=name)]
        alone[name] = {
            "values": values,
            "seconds": [one["seconds"] for one in found],
            "MiB": [one["MiB"] for one in found],
            "exponent of time": exponent(list(values), [one["seconds"] for one in found]),
        }
        print(name, alone[name], flush=True)
    write("growth", {"factors": arguments.factors, "exponent": growth, "together": rows, "alone": alone})
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4))
    x = [row["interactions"] for row in rows]
    left.loglog(x, [row["seconds"] for row in rows], "o-", color=COLOURS["LinRFM"])
    left.set(xlabel="interactions", ylabel="fit time (s)", title=f"grows as interactions^{growth:.2f}")
    right.loglog(x, [row["MiB"] for row in rows], "o-", color=COLOURS["LinRFM"], label="LinRFM")
    right.loglog(x, [row["implicit MiB"] for row in rows], "s-", color=COLOURS["implicit ALS"], label="implicit ALS")
    right.loglog(x, [row["estimate MiB"] for row in rows], "k:", label="estimate before the fit")
    right.set(xlabel="interactions", ylabel="peak memory beyond the input (MiB)", title=f"{arguments.factors} factors")
    right.legend(frameon=False)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    save_plot("growth", figure)


if __name__ == "__main__":
    main()
