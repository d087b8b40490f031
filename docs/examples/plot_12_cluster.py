"""
On a LocalCluster
=================

The same fit on a Dask cluster, for more interactions than a machine holds: blocks of users on the workers, the items'
factors at the client. The factors are those of one machine, to rounding, and the same bits with one worker or two.
"""

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from distributed import Client, LocalCluster

from rfm_recsys import LinRFM
from rfm_recsys.datasets import read_interactions, synthetic_movielens
from rfm_recsys.distributed import fit

folder = Path(tempfile.mkdtemp())
synthetic_movielens(2000, 1000, 100_000).to_frame().to_parquet(folder / "interactions.parquet")
settings = {"regularization": 5.0, "alpha": 4.0, "power": 0.35, "iterations": 2, "oversampling": 0}
settings |= {"item_norm": 0.75, "user_norm": 0.5, "prior_norm": 0.2}


def on_cluster(workers):
    """Fit with so many workers, in processes."""
    with (
        LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        return fit(folder / "interactions.parquet", client, LinRFM(16, **settings), show_progress=False)


if __name__ == "__main__":  # in a script the workers import this file
    one, two = on_cluster(1), on_cluster(2)
    print("the same bits with one worker and two:", (one.model.item_factors == two.model.item_factors).all())
    user_items = read_interactions(folder / "interactions.parquet").to_csr()
    local = LinRFM(16, **settings).fit(user_items, show_progress=False)

    # a rotation of the factors is the same model: compare inner products
    ours, theirs = (F @ F.T for F in (local.item_factors, two.model.item_factors))
    print("relative difference from one machine:", f"{np.linalg.norm(ours - theirs) / np.linalg.norm(ours):.1e}")
    figure, axes = plt.subplots(figsize=(4.2, 4), layout="constrained")
    some = np.random.default_rng(0).choice(ours.size, 4000, replace=False)
    axes.scatter(ours.ravel()[some], theirs.ravel()[some], s=4, color="#0b5cad")
    axes.set(xlabel="inner products of item factors, one machine", ylabel="the same, two workers")
    axes.spines[["top", "right"]].set_visible(False)
    plt.show()
