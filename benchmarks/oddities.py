"""Odd interactions and accounts of two, found again: AUC of LinRFM's diagnosis, of ALS's fitted scores, of popularity.

Swapped: 1% of the interactions have the item of another interaction. Merged: 2% of the users have the history of
another one beside their own, and that one is gone. Users with fewer than five interactions are left out. Every score
of the peers is tried as it is, against the user's own mean and deviation, and against the item's (for users: as it is,
and against users with as many items), and the best of each counts, chosen on the test itself.
"""

import argparse
import statistics
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
from choice import fitted, matrix
from common import als, write
from scipy import stats
from scipy.sparse import csr_matrix
from sklearn.metrics import roc_auc_score

from rfm_recsys import LinRFM
from rfm_recsys.core.arrays import row_of_entry
from rfm_recsys.diagnosis import FEW, LEAST, _beside_alike, _standardised, surprises, user_oddity

Labels = np.ndarray[Any, np.dtype[np.bool_]]


def swapped(data: csr_matrix, rng: np.random.Generator) -> tuple[csr_matrix, Labels]:
    coo = data.tocoo()
    rows, columns, odd = coo.row.copy(), coo.col.copy(), np.zeros(coo.nnz, dtype=bool)
    have = set(zip(rows.tolist(), columns.tolist(), strict=True))
    pairs = rng.choice(coo.nnz, int(0.01 * coo.nnz) // 2 * 2, replace=False).reshape(-1, 2)
    for i, j in pairs.tolist():
        new = (rows[i], columns[j]), (rows[j], columns[i])
        if new[0] in have or new[1] in have or rows[i] == rows[j]:
            continue
        have -= {(rows[i], columns[i]), (rows[j], columns[j])}
        have |= set(new)
        columns[i], columns[j] = columns[j], columns[i]
        odd[[i, j]] = True
    marked = csr_matrix((1.0 + odd, (rows, columns)), shape=data.shape)
    changed = csr_matrix((coo.data, (rows, columns)), shape=data.shape)  # a value stays with its user
    return changed, marked.data > 1.5


def merged(data: csr_matrix, rng: np.random.Generator) -> tuple[csr_matrix, Labels]:
    count = int(0.02 * data.shape[0])
    order = rng.permutation(data.shape[0])
    into, gone = order[:count], order[count : 2 * count]
    moved = csr_matrix((np.ones(count), (into, gone)), shape=(data.shape[0], data.shape[0])) @ data
    both = csr_matrix(data.maximum(moved))
    kept = np.setdiff1d(np.arange(data.shape[0]), gone)
    return both[kept], np.isin(kept, into)


def interaction_scores(scores: Any, data: csr_matrix) -> Iterator[Any]:
    yield scores
    yield _standardised(scores, row_of_entry(data.indptr), data.shape[0], 0)
    by_item = _standardised(scores, data.indices, data.shape[1], FEW)
    yield by_item
    yield _standardised(by_item, row_of_entry(data.indptr), data.shape[0], 0)


def user_scores(scores: Any, data: csr_matrix) -> Iterator[Any]:
    counts = np.maximum(np.diff(data.indptr), 1)
    for each in (scores, _standardised(scores, data.indices, data.shape[1], FEW)):
        mean = np.bincount(row_of_entry(data.indptr), each, data.shape[0]) / counts
        yield mean
        yield _beside_alike(mean, counts)


def run(name: str, kind: str, seed: int) -> dict[str, float]:
    data = matrix(name)
    data = data[np.diff(data.indptr) >= 5]
    rng = np.random.default_rng(seed)
    changed, odd = (swapped if kind == "swapped" else merged)(data, rng)
    model = fitted(LinRFM(), changed)
    ones = changed.copy()
    ones.data[:] = 1
    rows, columns = row_of_entry(changed.indptr), changed.indices
    peers = {"popularity": np.log(np.bincount(columns, minlength=changed.shape[1])[columns])}
    for label, peer, given in (
        ("ALS()", als(100, 0.01, 1.0), changed),
        ("ALS(64, 40, 2), ones", als(64, 40.0, 2.0), ones),
    ):
        fitted(peer, given)
        peers[label] = np.einsum("nf,nf->n", peer.user_factors[rows], peer.item_factors[columns])
    if kind == "swapped":
        result = {"LinRFM": float(roc_auc_score(odd, surprises(model, changed).data))}
        for label, scores in peers.items():
            tries = [float(roc_auc_score(odd, -each)) for each in interaction_scores(scores, changed)]
            result |= {label: tries[0], f"{label}, best": max(tries)}
        return result
    oddity = user_oddity(model, changed)
    judged = np.isfinite(oddity)
    assert (np.diff(changed.indptr)[~judged] < 2 * LEAST).all()
    result = {"LinRFM": float(roc_auc_score(odd[judged], oddity[judged]))}
    result["number of items"] = float(roc_auc_score(odd[judged], np.diff(changed.indptr)[judged]))
    for label, scores in peers.items():
        tries = [float(roc_auc_score(odd[judged], -each[judged])) for each in user_scores(scores, changed)]
        result |= {label: tries[0], f"{label}, best": max(tries)}
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="*", default=[*range(5)])
    parser.add_argument("--data", nargs="*", default=["ML-1M", "Steam"])
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    results = {}
    for name in arguments.data:
        for kind in ("swapped", "merged"):
            runs = [run(name, kind, seed) for seed in arguments.seeds]
            rows: dict[str, Any] = {}
            for label in runs[0]:
                values = [each[label] for each in runs]
                rows[label] = {"AUC": statistics.fmean(values), "seeds": values}
                if label != "LinRFM" and len(runs) > 1:
                    rows[label]["p"] = float(stats.ttest_rel([each["LinRFM"] for each in runs], values).pvalue)
            results[f"{name}, {kind}"] = rows
            print(name, kind, {k: (round(v["AUC"], 4), v.get("p")) for k, v in rows.items()}, flush=True)
    write("oddities", {"seeds": arguments.seeds, "AUC": results})


if __name__ == "__main__":
    main()
