"""Every model with nothing set, on values as they come: NDCG@10 on a random fifth of the entries, one split.

LinRFM chooses its settings in ``fit``; the others have their defaults, EASE, item-kNN and BPR those that we gave them,
ALS its package's, iALS settings that are good on MovieLens. On Gowalla NDCG@20 on the test set of the LightGCN split.
"""

import argparse
import time
import warnings
from typing import Any

import numpy as np
from choice import TABLES, matrix
from common import DATA, irspack_epochs, write
from equal_size import ndcg, split
from scipy.sparse import csr_matrix

from rfm_recsys import LinRFM
from rfm_recsys.datasets import read_lightgcn
from rfm_recsys.evaluation import CANDIDATES

MODELS = ("LinRFM", "ALS (implicit's defaults)", "EASE", "ItemKNN-cosine", "BPR", "Popularity")
LARGE = 30_000  # items beyond which EASE's matrix of items x items is too much


def fitted(name: str, train: csr_matrix) -> Any:
    if name == "irspack iALS":
        ones = train.copy()
        ones.data[:] = 1
        for epoch, model in enumerate(irspack_epochs(ones, 128, alpha0=0.1, reg=0.003, epochs=16), 1):
            if epoch == 16:
                ours = LinRFM(128)
                ours.user_factors = np.asarray(model.get_user_embedding())
                ours.item_factors = np.asarray(model.get_item_embedding())
                return ours
    model = CANDIDATES[name].model({}, 0)
    model.fit(train, show_progress=False)
    return model


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    warnings.simplefilter("ignore")
    result: dict[str, Any] = {}
    for data in (*TABLES, "Gowalla"):
        if data == "Gowalla":
            train, valid, test = read_lightgcn(
                *(DATA / "gowalla" / f"{part}.txt" for part in ("train", "valid", "test"))
            )
            train, depth = train + valid, 20
        else:
            (train, test), depth = split(matrix(data), 0), 10
        for name in (*MODELS, "irspack iALS"):
            if name == "EASE" and train.shape[1] > LARGE:
                continue
            begun = time.perf_counter()
            model = fitted(name, train)
            seconds = time.perf_counter() - begun
            quality = float(np.nanmean(ndcg(model, train, test, depth)))
            result.setdefault(data, {})[name] = {"quality": quality, "seconds": seconds}
            print(data, name, round(quality, 4), round(seconds, 1), flush=True)
    write("peers", result)


if __name__ == "__main__":
    main()
