"""New items by features: beside the usual tricks, with a few interactions, among old items, and where none is new.

A tenth of the items is new: nobody's interactions with them are in training. Recall@20 among the new ones, denominator
min(20, n). Features: genres and the year (MovieLens), titles (Steam), titles, authors, publishers and the year
(BookCrossing). The peers are given the years in bins of five, which suits a linear regression better.
"""

import argparse
import contextlib
import gzip
import json
import re
import statistics
import time
import warnings
from typing import Any

import numpy as np
import pandas as pd
from choice import TABLES, fitted, ndcg, splits
from common import DATA, RESULTS, fit_als, write
from implicit.als import AlternatingLeastSquares
from scipy.sparse import csr_matrix, hstack, identity
from scipy.stats import ttest_rel

from rfm_recsys import LinRFM
from rfm_recsys.datasets import FeatureEncoder

LINEAR = (0.1, 1.0, 10.0, 100.0)  # penalties of the peers' regression, of which each is given its best by leave-one-out
SHOWN = (1, 2, 5)
PEERS = ("ALS", "content", "LightFM")


def data_set(name: str) -> tuple[csr_matrix, pd.DataFrame]:
    """Return ones, users x items, and a table with an item a row."""
    path, options = TABLES[name]
    table = pd.read_csv(DATA / path, **options)
    users, items = (pd.factorize(table.iloc[:, column]) for column in (0, 1))
    return csr_matrix((np.ones(len(table), dtype=np.float32), (users[0], items[0]))), item_table(name, items[1])


def item_table(name: str, ids: Any) -> pd.DataFrame:
    if name == "Steam":
        games = pd.read_csv(DATA / "steam/item_info.dat.gz", sep="\t").set_index("Game_ID")
        return pd.DataFrame(games.reindex(ids))
    if name == "BookCrossing":
        return books().reindex(ids)
    if name == "ML-100K":
        films = pd.read_csv(DATA / "ml-100k/u.item", sep="|", header=None, encoding="latin-1").set_index(0).loc[ids]
        years = films[2].str.extract(r"(\d{4})$")[0].astype(float)
        return pd.DataFrame(pd.concat([films.iloc[:, 4:].add_prefix("genre "), years.rename("year")], axis=1))
    if name == "ML-1M":
        columns = ["movieId", "title", "genres"]
        path = DATA / "ml-1m/movies.dat"
        films = pd.read_csv(path, sep="::", engine="python", header=None, names=columns, encoding="latin-1")
    else:
        films = pd.read_csv(DATA / "ml-latest-small/movies.csv")
    films = films.set_index("movieId").loc[ids]
    return pd.DataFrame(
        {"genres": films["genres"], "year": films["title"].str.extract(r"\((\d{4})\)")[0].astype(float)}
    )


def books() -> pd.DataFrame:
    """Return the books of a file in which titles and publishers hold separators: the first four fields and a year."""
    rows = []
    with gzip.open(DATA / "bookcrossing/items_info.dat.gz", "rt", encoding="utf-8", errors="replace") as lines:
        for line in lines:
            parts = line.rstrip("\n").split("\t")
            if parts[0].isdigit():
                year = next((place for place in (4, 5) if re.fullmatch(r"(19|20)\d\d", parts[place])), None)
                publisher = parts[year + 1] if year else ""
                rows.append(
                    (int(parts[0]), parts[2], parts[3].lower(), float(parts[year]) if year else None, publisher)
                )
    columns = ["id", "title", "author", "year", "publisher"]
    return pd.DataFrame(rows, columns=columns).drop_duplicates("id").set_index("id")


def for_peers(table: pd.DataFrame, features: csr_matrix) -> csr_matrix:
    """Return the features with a constant, and the year in bins of five."""
    parts = [csr_matrix(np.ones((len(table), 1)))]
    if "year" in table:
        year = table["year"].fillna(table["year"].mean())
        parts.append(csr_matrix(pd.get_dummies((year // 5).astype(int)).to_numpy(np.float64)))
        names = FeatureEncoder.of(table).names
        features = features[:, [column for column, name in enumerate(names) if name != "year"]]
    return csr_matrix(hstack([*parts, features]))


def regressed(F: Any, U: Any, old: csr_matrix, new: csr_matrix) -> Any:
    """Return factors of new items by ridge regression, the penalty chosen by leave-one-out error of the scores."""
    F, gram = np.asarray(F, dtype=np.float64), np.asarray(U.T @ U, dtype=np.float64)
    if old.shape[1] > 3000:  # the words and authors that most have
        common = np.argsort(-np.bincount(old.indices, minlength=old.shape[1]), kind="stable")[:3000]
        old, new = old[:, common], new[:, common]
    best: tuple[float, Any] = (np.inf, None)
    for penalty in LINEAR:
        inverse = np.linalg.inv((old.T @ old).toarray() + penalty * np.eye(old.shape[1]))
        B = inverse @ (old.T @ F)
        leverage = np.asarray(old.multiply(old @ inverse).sum(axis=1)).ravel()
        errors = (F - old @ B) / (1 - leverage)[:, None]
        error = float(np.einsum("ij,jk,ik->", errors, gram, errors))
        if error < best[0]:
            best = error, new @ B
    return best[1]


def lightfm(train: csr_matrix, old: csr_matrix, new: csr_matrix) -> Any:
    """Return LightFM's scores of new items (Kula 2015), if ``lightfm-next`` is installed, which is LightFM kept alive.

    WARP, features and an indicator of each known item, rows that add up to 1, as its ``Dataset`` makes them. 64 factors
    and 30 epochs are best, or next to it, of 20 settings on another split of each data set.
    """
    from lightfm import LightFM

    n = train.shape[1]
    parts = hstack([old, identity(n)]), hstack([new, csr_matrix((new.shape[0], n))])
    known, unknown = (csr_matrix(part.multiply(1 / part.sum(axis=1)), dtype=np.float32) for part in parts)
    model = LightFM(no_components=64, loss="warp", random_state=0)
    model.fit(train.tocoo(), item_features=known, epochs=30, num_threads=2)
    biases, factors = model.get_item_representations(unknown)
    return model.get_user_representations()[1] @ factors.T + biases


def recall(scores: Any, test: csr_matrix, seen: csr_matrix | None = None) -> Any:
    """Return recall@20 of the users with test items."""
    if seen is not None:
        scores = np.where(seen.toarray() > 0, -np.inf, scores)
    users = np.flatnonzero(np.diff(test.indptr))
    top = np.argpartition(-scores[users], min(20, scores.shape[1] - 1), axis=1)[:, :20]
    hits = np.take_along_axis(test[users].toarray() > 0, top, axis=1).sum(axis=1)
    return hits / np.minimum(20, np.diff(test.indptr)[users])


def cold(name: str, X: csr_matrix, table: pd.DataFrame, features: csr_matrix, seed: int) -> dict[str, float]:
    """Return recall@20 among new items by model, and with a few interactions."""
    rng = np.random.default_rng(seed)
    new = np.sort(rng.choice(X.shape[1], X.shape[1] // 10, replace=False))
    old = np.setdiff1d(np.arange(X.shape[1]), new)
    train, test = csr_matrix(X[:, old]), csr_matrix(X[:, new])
    linear = for_peers(table, features)
    model = LinRFM().fit(train, show_progress=False, item_features=features[old])
    plain = LinRFM(**model.chosen_).fit(train, show_progress=False)
    names = {"LinRFM, features": model}
    result: dict[str, float] = {}
    keep: dict[str, Any] = {}
    for label, als in (
        ("ALS() regressed", AlternatingLeastSquares(random_state=0)),
        ("ALS(64, 40, 2) regressed", AlternatingLeastSquares(64, regularization=40, alpha=2.0, random_state=0)),
    ):
        fit_als(als, train)
        U = np.asarray(als.user_factors)
        keep[label] = recall(U @ regressed(als.item_factors, U, linear[old], linear[new]).T, test)
    with contextlib.suppress(ImportError):
        keep["LightFM"] = recall(lightfm(train, linear[old], linear[new]), test)
    U = plain.user_factors
    keep["LinRFM() regressed"] = recall(U @ regressed(plain.item_factors, U, linear[old], linear[new]).T, test)
    unit = csr_matrix(linear[:, 1:] / np.maximum(np.sqrt(linear[:, 1:].multiply(linear[:, 1:]).sum(axis=1)), 1e-9))
    keep["content kNN"] = recall((train @ unit[old] @ unit[new].T).toarray(), test)
    popularity = np.asarray(test.sum(axis=0)).ravel()
    keep["popularity, known by an oracle"] = recall(np.tile(popularity, (X.shape[0], 1)), test)
    keep["random"] = recall(rng.random((X.shape[0], len(new))), test)
    ids = names["LinRFM, features"].add_items(features[new])
    keep["LinRFM, features"] = recall(model.user_factors @ model.item_factors[ids].T, test)
    result |= {label: float(values.mean()) for label, values in keep.items()}
    peers = [label for label in keep if label.startswith(PEERS)]
    best = max(peers, key=lambda label: result[label])
    result["p over users"] = float(ttest_rel(keep["LinRFM, features"], keep[best]).pvalue)
    for n in SHOWN:
        result |= few_shot(model, plain, test, ids, features[new], n, rng)
    return result


def few_shot(
    model: LinRFM, plain: LinRFM, test: csr_matrix, ids: Any, features: csr_matrix, n: int, rng: Any
) -> dict[str, float]:
    """Show n interactions of each new item: both, against features alone and interactions alone."""
    by_item = csr_matrix(test.T)
    place = np.concatenate([rng.permutation(count) for count in np.diff(by_item.indptr)])
    long = np.repeat(np.diff(by_item.indptr) > n, np.diff(by_item.indptr))
    shown, rest = by_item.copy(), by_item.copy()
    shown.data = ((place < n) & long).astype(np.float32)
    rest.data = ((place >= n) & long).astype(np.float32)
    for part in (shown, rest):
        part.eliminate_zeros()
    tested, seen = csr_matrix(rest.T), csr_matrix(shown.T)
    U = model.user_factors
    both = model.recalculate_item(ids, shown, features)
    alone = plain.recalculate_item(ids, shown)
    return {
        f"{n} shown, both": float(recall(U @ both.T, tested, seen).mean()),
        f"{n} shown, features": float(recall(U @ model.item_factors[ids].T, tested, seen).mean()),
        f"{n} shown, interactions": float(recall(plain.user_factors @ alone.T, tested, seen).mean()),
    }


def mixed(X: csr_matrix, features: csr_matrix, seed: int) -> dict[str, float]:
    """Rank old and new items together: a fifth of the old items' interactions is hidden, and all of the new ones'.

    ``q``, the share of shown pairs that are interactions, whether hidden or not: for new items that of hits; for old
    ones, of which four fifths were filtered, h hits mean ``h / (1/5 + 4/5 h)``.
    """
    rng = np.random.default_rng(seed)
    new = np.sort(rng.choice(X.shape[1], X.shape[1] // 10, replace=False))
    entries = X.tocoo()
    hidden = (rng.random(X.nnz) < 0.2) | np.isin(entries.col, new)
    train, test = (
        csr_matrix((entries.data[part], (entries.row[part], entries.col[part])), shape=X.shape)
        for part in (~hidden, hidden)
    )
    model = LinRFM().fit(train, show_progress=False, item_features=features)
    plain = LinRFM(**model.chosen_).fit(train, show_progress=False)
    of_old = csr_matrix(test.multiply(~np.isin(np.arange(X.shape[1]), new)[None, :]))
    of_old.eliminate_zeros()
    users = np.flatnonzero(np.diff(of_old.indptr))
    result = {
        "old items, NDCG@10 without features": ndcg(plain, train, of_old),
        "old items, NDCG@10 with features, new ones left out": 0.0,
        "old items, NDCG@10 with features, new ones between them": ndcg(model, train, of_old),
    }
    ids, _ = model.recommend(users, train[users], N=10)
    hit = np.asarray(test[users][np.arange(len(users))[:, None], ids].todense()).reshape(ids.shape) > 0
    is_new = np.isin(ids, new)
    h_new, h_old = float(hit[is_new].mean()) if is_new.any() else np.nan, float(hit[~is_new].mean())
    total = [
        float((model.user_factors @ model.item_factors[part].sum(axis=0)).sum())
        for part in (new, np.setdiff1d(np.arange(X.shape[1]), new))
    ]
    known = [float(X[:, new].sum()), float(X.sum() - X[:, new].sum())]
    model.item_factors = model.item_factors.copy()
    model.item_factors[new] = 0
    result["old items, NDCG@10 with features, new ones left out"] = ndcg(model, train, of_old)
    return result | {
        "share of new in lists": float(is_new.mean()), "q of new": h_new, "q of old": h_old / (0.2 + 0.8 * h_old),
        "score per interaction, new over old": total[0] / known[0] / (total[1] / known[1]),
    }  # fmt: skip


def cold_users(X: csr_matrix, seeds: int) -> dict[str, float]:
    """Return NDCG@10 of new users of ML-100K by age, sex and occupation, and with 0 to 5 of their interactions."""
    table = pd.read_csv(DATA / "ml-100k/u.user", sep="|", header=None, names=["id", "age", "sex", "occupation", "zip"])
    ids = pd.factorize(pd.read_csv(DATA / "ml-100k/u.data", sep="\t", header=None).iloc[:, 0])[1]
    table = table.set_index("id").loc[ids, ["age", "sex", "occupation"]]
    features = FeatureEncoder.of(table).encode(table)
    found: dict[str, list[float]] = {}
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        new = np.sort(rng.choice(X.shape[0], X.shape[0] // 10, replace=False))
        old = np.setdiff1d(np.arange(X.shape[0]), new)
        model = LinRFM().fit(X[old], show_progress=False, user_features=features[old])
        rows = X[new]
        place = np.concatenate([rng.permutation(count) for count in np.diff(rows.indptr)])
        for n in (0, *SHOWN):
            shown, rest = rows.copy(), rows.copy()
            shown.data, rest.data = (place < n).astype(np.float32), (place >= n).astype(np.float32)
            for part in (shown, rest):
                part.eliminate_zeros()
            for name, given in (("features", features[new]), ("without", None)):
                U = model.recalculate_user(np.arange(len(new)), shown, given)
                scores = np.where(shown.toarray() > 0, -np.inf, U @ model.item_factors.T)
                hits = np.take_along_axis(rest.toarray() > 0, np.argsort(-scores, axis=1)[:, :10], axis=1)
                discount = 1 / np.log2(np.arange(2, 12))
                ideal = np.cumsum(discount)[np.minimum(10, np.diff(rest.indptr)) - 1]
                found.setdefault(f"{n} shown, {name}", []).append(float((hits @ discount / ideal).mean()))
        top = np.argsort(-np.asarray(X[old].sum(axis=0)).ravel())[:10]
        hits = rows.toarray()[:, top] > 0
        ideal = np.cumsum(discount)[np.minimum(10, np.diff(rows.indptr)) - 1]
        found.setdefault("0 shown, popularity", []).append(float((hits @ discount / ideal).mean()))
    return {name: statistics.fmean(each) for name, each in found.items()}


def warm(X: csr_matrix, features: csr_matrix, seeds: int) -> dict[str, float]:
    """Return NDCG@10 with and without features where no item is new."""
    plain, described = [], []
    for train, test in splits(X, "ones", seeds):
        model = fitted(LinRFM(), train)
        plain.append(ndcg(model, train, test))
        model = LinRFM(**model.chosen_).fit(train, show_progress=False, item_features=features)
        described.append(ndcg(model, train, test))
    return {"without features": statistics.fmean(plain), "with features": statistics.fmean(described)}


def cost(X: csr_matrix, features: csr_matrix) -> dict[str, float]:
    """Return the seconds of a fit with nothing set, without and with features, medians of 5."""
    taken: dict[str, list[float]] = {"without": [], "with": []}
    for _ in range(5):
        for name, given in (("without", None), ("with", features)):
            begun = time.perf_counter()
            LinRFM().fit(X, show_progress=False, item_features=given)
            taken[name].append(time.perf_counter() - begun)
    return {name: statistics.median(each) for name, each in taken.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=6)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--data", nargs="*", choices=list(TABLES), default=list(TABLES))
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    path = RESULTS / "newcomers.json"
    result: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    for name in arguments.data:
        X, table = data_set(name)
        encoder = FeatureEncoder.of(table)
        features = encoder.encode(table)
        print(name, X.shape, encoder, flush=True)
        seeds = range(arguments.first, arguments.first + arguments.seeds)
        of_seeds = [cold(name, X, table, features, seed) for seed in seeds]
        means = {key: statistics.fmean(each[key] for each in of_seeds) for key in of_seeds[0]}
        ours = [each["LinRFM, features"] for each in of_seeds]
        peers = [key for key in means if key.startswith(PEERS)]
        best = max(peers, key=lambda key: means[key])
        means["ratio to the best peer"] = means["LinRFM, features"] / means[best]
        means["p over splits"] = float(ttest_rel(ours, [each[best] for each in of_seeds]).pvalue)
        for n in SHOWN:
            for other in ("features", "interactions"):
                pair = [[each[f"{n} shown, {kind}"] for each in of_seeds] for kind in ("both", other)]
                means[f"{n} shown, p against {other}"] = float(ttest_rel(*pair).pvalue)
        shared = [mixed(X, features, seed) for seed in list(seeds)[:3]]
        result[name] = {
            "cold": means, "splits": of_seeds,
            "mixed": {key: float(np.nanmean([each[key] for each in shared])) for key in shared[0]},
            "warm": warm(X, features, 2), "features": str(encoder), "best peer": best,
        }  # fmt: skip
        if name == "ML-1M":
            result[name]["seconds"] = cost(X, features)
        if name == "ML-100K":
            result[name]["new users"] = cold_users(X, arguments.seeds)
        print(json.dumps({key: value for key, value in result[name].items() if key != "splits"}, indent=1), flush=True)
        before = json.loads(path.read_text()) if path.exists() else {}
        write("newcomers", before | {name: result[name]})


if __name__ == "__main__":
    main()
