"""What variety costs: re-ranked lists of ten, NDCG against diversity, coverage and calibration, on ML-1M.

Random 80/20 of the entries as they are, LinRFM with nothing set, the 100 best of each user re-ranked. Diversity within
a list is the mean of 1 minus the cosine of its pairs, in the items' own metric and in that of genres.
"""

import argparse
from typing import Any

import numpy as np
from choice import fitted, matrix, splits
from common import DATA, RESULTS, write
from matplotlib import pyplot as plt
from scipy.sparse import csr_matrix

from rfm_recsys import LinRFM
from rfm_recsys.evaluation import Fold, catalogue_metrics, mean_over_users, user_metrics
from rfm_recsys.reranking import mix_of, rerank

CANDIDATES, N = 100, 10


def genres() -> Any:
    """Return genres by item, in the order of the matrix, shape (items, 18)."""
    import pandas as pd

    movies = pd.read_csv(DATA / "ml-1m" / "movies.dat", sep="::", header=None, engine="python", encoding="latin-1")
    seen = pd.factorize(pd.read_csv(DATA / "ml-1m" / "ratings.csv.gz").iloc[:, 1])[1]
    flags = movies.set_index(0)[2].str.get_dummies("|").reindex(seen).fillna(0)
    return flags.to_numpy(np.float64)


def within(ids: Any, unit: Any) -> float:
    """Return the mean of 1 - cosine over the pairs of each list."""
    some = unit[ids]
    total = np.einsum("nid,njd->n", some, some) - (some**2).sum(axis=(1, 2))
    return float(1 - (total / (N * (N - 1))).mean())


def divergence(ids: Any, shares: Any, mix: Any) -> float:
    """Return the mean of KL(own mix, mix of the list), smoothed as Steck does."""
    listed = 0.99 * shares[ids].mean(axis=1) + 0.01 * mix
    ratio = np.divide(mix, listed, out=np.ones_like(mix), where=mix > 0)
    return float((mix * np.log(ratio)).sum(axis=1).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1])
    data, flags = matrix("ML-1M"), genres()
    genre = flags / np.maximum(np.linalg.norm(flags, axis=1, keepdims=True), 1e-12)
    shares = flags / np.maximum(flags.sum(axis=1, keepdims=True), 1)
    settings: dict[str, list[dict[str, Any]]] = {
        "as recommended": [{}],
        "variety, items' metric": [{"variety": v} for v in (0.3, 0.5, 0.6, 0.65, 0.7, 0.72, 0.75, 0.8, 0.85)],
        "variety, genres": [{"variety": v} for v in (0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4)],
        "calibration to genres": [{"calibration": v} for v in (0.02, 0.05, 0.1, 0.2, 0.5, 1.0)],
        "at most k lists": [{"most_lists": v} for v in (1200, 900, 600, 400, 300, 200, 100)],
        "at most k of a genre": [{"most_of_a_category": v} for v in (9, 8, 7, 6, 5, 4, 3)],
    }
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in settings}
    parts = dict(enumerate(splits(data, "raw", max(parser.parse_args().seeds) + 1)))
    for seed in parser.parse_args().seeds:
        train, test = parts[seed]
        users = np.flatnonzero(np.diff(test.indptr))
        fold = Fold(train, users, csr_matrix(train[users]), csr_matrix(test[users]), known=True)
        model = fitted(LinRFM(), train)
        ids, scores = model.recommend(users, fold.fold_in, CANDIDATES)
        vectors, mix = model.item_vectors(), mix_of(fold.fold_in, flags)
        for name, choices in settings.items():
            for place, given in enumerate(choices):
                how = dict(given) | {"vectors": genre if "genres" in name else vectors}
                if "calibration" in given:
                    how |= {"categories": flags, "mix": mix}
                if "most_of_a_category" in given:
                    how["categories"] = flags
                lists, _ = rerank(ids, scores, N, **how)
                full = (lists >= 0).all(axis=1)
                catalogue = catalogue_metrics(lists, fold, [N])
                found = {
                    "ndcg@10": mean_over_users(user_metrics(lists, fold.target, [N], fold.fold_in)["ndcg@10"]),
                    "diversity, items' metric": within(lists[full], vectors),
                    "diversity, genres": within(lists[full], genre),
                    "coverage@10": catalogue["coverage@10"], "gini@10": catalogue["gini@10"],
                    "divergence of genres": divergence(lists[full], shares, mix[full]),
                    "full lists": float(full.mean()),
                }  # fmt: skip
                if len(rows[name]) == place:
                    rows[name].append({"given": given, "seeds": []})
                rows[name][place]["seeds"].append(found)
    base = rows["as recommended"][0]
    for name, each in rows.items():
        for row in each:
            seeds = row.pop("seeds")
            row |= {key: float(np.mean([found[key] for found in seeds])) for key in seeds[0]}
            row["of the NDCG"] = row["ndcg@10"] / base["ndcg@10"]
            print(name, {key: round(v, 4) if isinstance(v, float) else v for key, v in row.items()}, flush=True)
    write("variety", rows)
    figure, axes = plt.subplots(1, 4, figsize=(15, 3.6))
    goals = ("diversity, items' metric", "diversity, genres", "coverage@10", "divergence of genres")
    colours = ("#0b5cad", "#3b82b0", "#b84a00", "#00775f", "#63666b")
    for panel, goal in zip(axes, goals, strict=True):
        for (name, each), colour in zip([pair for pair in rows.items() if len(pair[1]) > 1], colours, strict=True):
            points = [base, *each]
            panel.plot([p[goal] / base[goal] for p in points], [p["of the NDCG"] for p in points], "o-", color=colour,
                       markersize=3.5, label=name)  # fmt: skip
        panel.axhline(0.98, color="#bbbbbb", linewidth=0.8, linestyle="--")
        panel.set(xlabel=f"{goal}, of the recommended lists'", ylim=(0.85, 1.01))
        panel.set_xlim(*((0.4, 1.1) if "divergence" in goal else (0.95, 1.9)))
        panel.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("NDCG@10, of the recommended lists'")
    axes[1].legend(fontsize=7, loc="lower right")
    figure.tight_layout()
    figure.savefig(RESULTS / "variety.png", dpi=110)


if __name__ == "__main__":
    main()
