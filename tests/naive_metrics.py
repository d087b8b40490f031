"""Slow, obvious twins of the metrics: one user at a time, in Python's own lists, sets and fractions."""

from collections.abc import Sequence
from itertools import permutations
from math import log2, nan


def once(listed: Sequence[int]) -> list[int]:
    """Blank out (-1) what the list has had before."""
    return [item if item not in listed[:place] else -1 for place, item in enumerate(listed)]


def user_metrics(listed: Sequence[int], wanted: set[int], k: int, candidates: set[int]) -> dict[str, float]:
    """Compute all metrics of one user's list at one cut-off."""
    n = len(wanted)
    if n == 0:
        return dict.fromkeys(
            ("recall", "capped_recall", "precision", "hit_rate", "ndcg", "fixed_ndcg", "map", "mrr", "auc"), nan
        )
    top = once(listed)[:k]
    hits = [item in wanted for item in top]
    gains = [hit / log2(place + 2) for place, hit in enumerate(hits)]
    ideal = [1 / log2(place + 2) for place in range(k)]
    precisions = [sum(hits[: place + 1]) / (place + 1) for place, hit in enumerate(hits) if hit]
    return {
        "recall": sum(hits) / n,
        "capped_recall": sum(hits) / min(k, n),
        "precision": sum(hits) / k,
        "hit_rate": float(any(hits)),
        "ndcg": sum(gains) / sum(ideal[:n]),
        "fixed_ndcg": sum(gains) / sum(ideal),
        "map": sum(precisions) / min(k, n),
        "mrr": 1 / (hits.index(True) + 1) if any(hits) else 0.0,
        "auc": auc(top, wanted, candidates),
    }


def auc(top: Sequence[int], wanted: set[int], candidates: set[int]) -> float:
    """Compare every target with every other candidate: 1 where it stands before, 1/2 where neither is listed."""
    others = candidates - wanted
    if not others:
        return nan
    place = {item: -p for p, item in enumerate(top) if item >= 0}
    scores = {item: place.get(item, -len(top)) for item in candidates | wanted}
    pairs = [(scores[i] > scores[j]) + (scores[i] == scores[j]) / 2 for i in wanted for j in others]
    return sum(pairs) / len(pairs)


def expected_auc(top: Sequence[int], wanted: set[int], candidates: set[int]) -> float:
    """Average the textbook AUC over every order in which what is not listed may follow."""
    rest = candidates - set(top)
    values = [auc([*top, *order], wanted, candidates) for order in permutations(sorted(rest))]
    return sum(values) / len(values)


def catalogue_metrics(
    lists: Sequence[Sequence[int]], owned: Sequence[set[int]], train: Sequence[set[int]], n_items: int, k: int
) -> dict[str, float]:
    """Compute all metrics of the catalogue at one cut-off; ``train`` holds the items of every training user."""
    popularity = [sum(item in row for row in train) for item in range(n_items)]
    tops = [
        [item for item in once(row)[:k] if item >= 0 and item not in own] for row, own in zip(lists, owned, strict=True)
    ]
    counts = [sum(item in top for top in tops) for item in range(n_items)]
    every = [item for top in tops for item in top]
    both = [(top, own) for top, own in zip(tops, owned, strict=True) if top and own]
    listed = sum(sum(popularity[i] for i in top) / len(top) for top, _ in both)
    had = sum(sum(popularity[i] for i in own) / len(own) for _, own in both)
    differences = sum(abs(a - b) for a in counts for b in counts)
    return {
        "coverage": sum(count > 0 for count in counts) / n_items,
        "gini": differences / (2 * n_items * sum(counts)) if sum(counts) else nan,
        "novelty": sum(-log2(max(popularity[i], 1) / len(train)) for i in every) / len(every) if every else nan,
        "popularity_bias": listed / had if had else nan,
    }
