"""Every model with nothing set, on values as they come: NDCG@10 on a random fifth of the entries, one split.

LinRFM chooses its settings in ``fit``; the others have their defaults: ALS those of its package, EASE,
item-kNN and BPR those that our evaluation gives them. On Gowalla NDCG@20 on the test set of the LightGCN split.
"""

import argparse
import time
import warnings
from typing import Any

import numpy as np
from choice import TABLES, matrix
from common import DATA, write
from equal_size import ndcg, split

from rfm_recsys.datasets import read_lightgcn
from rfm_recsys.evaluation import CANDIDATES

MODELS = ("LinRFM", "ALS (implicit's defaults)", "EASE", "ItemKNN-cosine", "BPR", "Popularity")
LARGE = 30_000  # items beyond which EASE's matrix of items x items is too much


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
        for name in MODELS:
            if name == "EASE" and train.shape[1] > LARGE:
                continue
            begun = time.perf_counter()
            model = CANDIDATES[name].model({}, 0)
            model.fit(train, show_progress=False)
            seconds = time.perf_counter() - begun
            quality = float(np.nanmean(ndcg(model, train, test, depth)))
            result.setdefault(data, {})[name] = {"quality": quality, "seconds": seconds}
            print(data, name, round(quality, 4), round(seconds, 1), flush=True)
    write("peers", result)


if __name__ == "__main__":
    main()
