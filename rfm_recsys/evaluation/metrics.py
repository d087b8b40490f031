"""Ranking metrics at any cut-offs in one pass over the lists: for each user, of the whole catalogue, and by group.

Lists
-----
``ids`` are the recommended items, best first, as ``recommend`` returns them: an integer array of shape (n_users,
depth), where -1 marks an empty slot. An empty slot is never a hit, and an item that is recommended twice counts once,
at its first place, so that no metric exceeds 1. A list may be shorter than a cut-off where the catalogue is.

For each user
-------------
Let h(p) be 1 where place p of the list, from 1, holds a target, and 0 elsewhere; H(k) the sum of h(p) over p <= k; n
the number of targets. Users without targets have nan, and :func:`mean_over_users` leaves them out.

=============  =========================================================================================================
recall         H(k) / n
capped_recall  H(k) / min(k, n) (Liang et al. 2018): a perfect list has 1, however many targets there are
precision      H(k) / k, also where the catalogue has fewer than k items
hit_rate       1 where H(k) > 0, else 0
ndcg           DCG(k) / sum of 1 / log2(p + 1) over p <= min(k, n), where DCG(k) = sum of h(p) / log2(p + 1) over p <= k
fixed_ndcg     DCG(k) / sum of 1 / log2(p + 1) over p <= k: the ideal has k hits, whatever n (RecTools' default)
map            sum of h(p) H(p) / p over p <= k, / min(k, n)
mrr            1 / p of the first hit, 0 where there is none among the first k
auc            the chance that a target stands before a non-target, with everything that is not among the first k
               taken as following in random order: with m = (candidates - n) non-targets, of which F(p) are among the
               first p places, (sum of h(p) (m - F(p)) over p <= k  +  (n - H(k)) (m - F(k)) / 2) / (n m). Candidates
               are the items that the user has not in ``fold_in``; nan where all of them are targets
=============  =========================================================================================================

Of the catalogue
----------------
Popularity is the number of an item's users in ``fold.train``.

===============  =======================================================================================================
coverage         the share of all items that are recommended to anybody
gini             how unequally items are recommended: 0 where all are equally often, towards 1 where all have the same
novelty          mean over recommendations of -log2(popularity / training users); an item without users counts as one
                 with a single user
popularity_bias  the mean popularity of a user's recommended items, averaged over users, / that of the items in
                 ``fold_in`` (Abdollahpouri et al. 2019): above 1 where a model recommends what is more popular than
                 what its users have. Users without either are left out
===============  =======================================================================================================

Other libraries
---------------
trec_eval (``pytrec_eval``) agrees in recall, precision (P), hit_rate (success), ndcg (ndcg_cut) and mrr (recip_rank of
the first k); its map_cut divides by n, not by min(k, n). scikit-learn agrees in ndcg (ndcg_score), auc (roc_auc_score,
where all that is not listed has one lowest score), recall (recall_score), and map of a list of the whole catalogue
(average_precision_score); its precision_score divides by the items listed, not by k. Neither can be given a list with
duplicates. ``implicit.evaluation`` calls capped_recall precision, and counts duplicates as often as they are listed.
"""

# mypy: allow-untyped-decorators
# Numba's decorators are untyped; the functions below them are annotated all the same.

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numba import njit, prange
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from rfm_recsys.core.checks import check_integer
from rfm_recsys.errors import DataError, ParameterError
from rfm_recsys.evaluation.splits import Fold, canonical_csr

USER_METRICS = ("recall", "capped_recall", "precision", "hit_rate", "ndcg", "fixed_ndcg", "map", "mrr", "auc")
CATALOGUE_METRICS = ("coverage", "gini", "novelty", "popularity_bias")
ACTIVITY_GROUPS, POPULARITY_GROUPS = 4, 3
TASKS = 64  # into which the users are dealt out, each with a byte for every item
USERS_AT_ONCE = 512  # that a model is asked for together


class Ranker(Protocol):
    """What is measured: a fitted model with implicit's ``recommend``."""

    def recommend(
        self,
        userid: NDArray[np.intp],
        user_items: csr_matrix,
        N: int = ...,
        *,
        filter_already_liked_items: bool = ...,
        recalculate_user: bool = ...,
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return item ids and scores, both of shape (n, N), best first."""


@dataclass(frozen=True)
class Group:
    """A metric's value over the ``count`` users, or targets, of a group."""

    label: str
    count: int
    value: float


def rank(model: Ranker, fold: Fold, depth: int, users_at_once: int = USERS_AT_ONCE) -> NDArray[np.int32]:
    """Return each user's list, shape (n, depth), from a fitted model, asked for a block of users at a time.

    What the model puts out that is no recommendation becomes -1: items of ``fold_in``, which implicit lists at the end
    where nothing else is left, and repetitions, such as the item 0 that it fills slots past the catalogue with.

    Raises
    ------
    DataError
        If the model returns ids of a wrong shape or outside the catalogue.
    """
    depth, step = check_integer("depth", depth, 1), check_integer("users_at_once", users_at_once, 1)
    fold_in = canonical_csr(fold.fold_in)
    n = fold_in.shape[0]
    userids = fold.users if fold.known else np.arange(n)
    ids = np.full((n, depth), -1, dtype=np.int32)
    for start in range(0, n, step):
        block = slice(start, start + step)
        found, _ = model.recommend(
            userids[block],
            fold_in[block],
            N=depth,
            filter_already_liked_items=True,
            recalculate_user=not fold.known,
        )
        found = np.asarray(found)
        if found.ndim != 2 or len(found) != len(userids[block]) or found.shape[1] > depth:
            raise DataError(
                f"recommend returned ids of shape {found.shape}; return ({len(userids[block])}, {depth}) for N={depth}"
            )
        ids[block, : found.shape[1]] = _checked(found, (len(found), fold_in.shape[1]))
    return _cleaned(ids, fold_in)


def evaluate(
    model: Ranker, fold: Fold, cutoffs: Sequence[int]
) -> tuple[dict[str, NDArray[np.float64]], dict[str, float]]:
    """Rank with a fitted model and return its :func:`user_metrics` and :func:`catalogue_metrics`."""
    cuts = _cutoffs(cutoffs)
    ids = rank(model, fold, int(cuts[-1]))
    return user_metrics(ids, fold.target, cutoffs, fold.fold_in), catalogue_metrics(ids, fold, cutoffs)


def user_metrics(
    ids: NDArray[np.integer], target: Any, cutoffs: Sequence[int], fold_in: Any = None
) -> dict[str, NDArray[np.float64]]:
    """Return every metric of the module's first table, for every user and cut-off, under names such as "recall@20".

    Parameters
    ----------
    ids : integer array, shape (n_users, depth)
        Recommended items, best first; -1 is an empty slot.
    target : sparse matrix, shape (n_users, n_items)
        Its stored entries are the items to be found.
    cutoffs : sequence of int
    fold_in : sparse matrix, shape (n_users, n_items), optional
        What each user has already, which AUC does not count as a candidate; without it, nothing.

    Returns
    -------
    dict of float64 arrays, shape (n_users,)
        The same to the bit for any number of threads; nan for users without targets.

    Raises
    ------
    DataError
        Where shapes or ids do not fit together.
    ParameterError
        No cut-off, or one below 1.
    """
    cuts = _cutoffs(cutoffs)
    wanted = canonical_csr(target)
    owned = csr_matrix(wanted.shape, dtype=np.float32) if fold_in is None else canonical_csr(fold_in)
    if owned.shape != wanted.shape:
        raise DataError(f"fold_in has the shape {owned.shape}, target {wanted.shape}; pass rows of the same users")
    top = _checked(ids, wanted.shape, int(cuts[-1]))
    values = np.empty((len(USER_METRICS), len(cuts), len(top)))
    discounts = 1 / np.log2(np.arange(2, int(cuts[-1]) + 2))
    ideals = np.concatenate(([0.0], np.cumsum(discounts)))
    _measure(
        top, cuts, (discounts, ideals), (wanted.indptr, wanted.indices), (owned.indptr, owned.indices),
        wanted.shape[1], values,
    )  # fmt: skip
    return {f"{name}@{k}": values[m, c] for m, name in enumerate(USER_METRICS) for c, k in enumerate(cuts.tolist())}


def catalogue_metrics(ids: NDArray[np.integer], fold: Fold, cutoffs: Sequence[int]) -> dict[str, float]:
    """Return every metric of the module's second table, for every cut-off, under names such as "coverage@20".

    Parameters
    ----------
    ids : integer array, shape (n, depth)
        Recommended items, best first; -1 is an empty slot.
    fold : Fold
        Of which the users are.
    cutoffs : sequence of int

    Returns
    -------
    dict of float
        Novelty and popularity bias are nan where nothing is recommended, or no user has an item.

    Raises
    ------
    DataError, ParameterError
        As :func:`user_metrics`.
    """
    cuts = _cutoffs(cutoffs)
    fold_in = canonical_csr(fold.fold_in)
    n_users, n_items = fold_in.shape
    top = _cleaned(_checked(ids, (n_users, n_items), int(cuts[-1])), fold_in)
    popularity = _popularity(fold)
    information = np.log2(max(fold.train.shape[0], 1)) - np.log2(np.maximum(popularity, 1))
    owned = np.diff(fold_in.indptr)
    own_popularity = _row_sums(popularity[fold_in.indices], fold_in.indptr)
    counts = np.zeros(n_items, dtype=np.int64)
    listed, listed_popularity = np.zeros(n_users, dtype=np.int64), np.zeros(n_users)
    metrics: dict[str, dict[int, float]] = {name: {} for name in CATALOGUE_METRICS}
    for previous, k in zip([0, *cuts[:-1].tolist()], cuts.tolist(), strict=True):
        places = top[:, previous:k]
        filled = places >= 0
        counts += np.bincount(places[filled], minlength=n_items)
        listed += filled.sum(axis=1)
        listed_popularity += np.where(filled, popularity[places], 0).sum(axis=1)
        both = (listed > 0) & (owned > 0)
        metrics["coverage"][k] = float((counts > 0).mean()) if n_items else np.nan
        metrics["gini"][k] = _gini(counts)
        metrics["novelty"][k] = float(counts @ information) / int(listed.sum()) if listed.any() else np.nan
        metrics["popularity_bias"][k] = (
            float((listed_popularity[both] / listed[both]).mean() / (own_popularity[both] / owned[both]).mean())
            if own_popularity[both].any()
            else np.nan
        )
    return {f"{name}@{k}": value for name, by_cutoff in metrics.items() for k, value in by_cutoff.items()}


def activity_groups(values: NDArray[np.float64], fold: Fold) -> list[Group]:
    """Return a metric's mean over users in up to four groups of about equal size, by how many items users have.

    Parameters
    ----------
    values : array, shape (n,)
        A metric of the fold's users; those with nan are left out.
    fold : Fold

    Returns
    -------
    list of Group
        From the least active on, labelled by the number of items in ``fold_in``, as "1-24 items".
    """
    if np.shape(values) != (len(fold.users),):
        raise DataError(f"values have shape {np.shape(values)}; pass one for each of {len(fold.users)} users")
    measured = ~np.isnan(values)
    activity = np.diff(fold.fold_in.indptr)[measured]
    groups = []
    for low, high in _bands(activity, ACTIVITY_GROUPS):
        members = values[measured][(activity >= low) & (activity <= high)]
        groups.append(Group(_label(low, high, "item"), len(members), float(members.mean())))
    return groups


def popularity_groups(ids: NDArray[np.integer], fold: Fold, k: int) -> list[Group]:
    """Return the recall at k of the targets in up to three groups of about equally many, by how popular the items are.

    Parameters
    ----------
    ids : integer array, shape (n, depth)
        Recommended items, best first; -1 is an empty slot.
    fold : Fold
    k : int

    Returns
    -------
    list of Group
        From the least popular on, labelled by the items' users in ``fold.train``, as "0-39 users". The value is the
        share of all the group's targets that are found, the count the number of its targets.
    """
    target = canonical_csr(fold.target)
    n_users, n_items = target.shape
    top = _checked(ids, target.shape, check_integer("k", k, 1))[:, :k].astype(np.int64)
    users = np.arange(n_users, dtype=np.int64)
    wanted = np.repeat(users, np.diff(target.indptr)) * n_items + target.indices
    found = np.isin(wanted, (users[:, None] * n_items + top)[top >= 0])
    popularity = _popularity(fold)[target.indices]
    groups = []
    for low, high in _bands(popularity, POPULARITY_GROUPS):
        members = found[(popularity >= low) & (popularity <= high)]
        groups.append(Group(_label(low, high, "user"), len(members), float(members.mean())))
    return groups


def mean_over_users(values: NDArray[np.float64]) -> float:
    """Return the mean of a metric over the users who have targets.

    Raises
    ------
    DataError
        If none has.
    """
    if np.isnan(values).all():
        raise DataError(f"none of {len(values)} users has a target; pass targets with at least one interaction")
    return float(np.nanmean(values))


def rmse(predicted: NDArray[np.floating[Any]], actual: NDArray[np.floating[Any]]) -> float:
    """Return the root of the mean squared error of predicted ratings, shape (n,); raises DataError if n is 0."""
    return float(np.sqrt(np.mean(_errors(predicted, actual) ** 2)))


def mae(predicted: NDArray[np.floating[Any]], actual: NDArray[np.floating[Any]]) -> float:
    """Return the mean absolute error of predicted ratings, shape (n,); raises DataError if n is 0."""
    return float(np.mean(np.abs(_errors(predicted, actual))))


def _errors(predicted: Any, actual: Any) -> NDArray[np.float64]:
    left, right = np.asarray(predicted, dtype=np.float64), np.asarray(actual, dtype=np.float64)
    if left.shape != right.shape or left.ndim != 1 or left.size == 0:
        raise DataError(
            f"predictions have shape {left.shape}, ratings {right.shape}; pass one or more, as many of each"
        )
    return left - right


def _cutoffs(cutoffs: Sequence[int]) -> NDArray[np.intp]:
    """Return cut-offs, ascending, each once."""
    cuts = np.array(sorted({check_integer("a cut-off", k, 1) for k in cutoffs}), dtype=np.intp)
    if len(cuts) == 0:
        raise ParameterError("no cut-off is given; pass at least one, such as [20]")
    return cuts


def _checked(ids: Any, shape: tuple[int, int], depth: int = 0) -> NDArray[np.int32]:
    """Return ids that are lists of ``depth`` items or more, or of the whole catalogue, for users x items ``shape``."""
    n_users, n_items = shape
    top = np.asarray(ids)
    if top.ndim != 2 or len(top) != n_users or top.dtype.kind not in "iu" or top.shape[1] < min(depth, n_items):
        raise DataError(
            f"ids are {top.dtype} of shape {top.shape}; pass integers of shape ({n_users}, {min(depth, n_items)}) or "
            "wider, as recommend(..., N=) with the largest cut-off returns them"
        )
    if top.size and not -1 <= int(top.min()) <= int(top.max()) < n_items:
        raise DataError(f"ids span {top.min()}..{top.max()}, outside -1..{n_items - 1}; pass ids of the targets' items")
    return np.ascontiguousarray(top, dtype=np.int32)


def _cleaned(ids: NDArray[np.int32], fold_in: csr_matrix) -> NDArray[np.int32]:
    """Return ids with -1 in place of what a user has already, and of what the list has before."""
    cleaned = ids.copy()
    _clean(cleaned, fold_in.indptr, fold_in.indices, fold_in.shape[1])
    return cleaned


def _popularity(fold: Fold) -> NDArray[np.int64]:
    return np.bincount(canonical_csr(fold.train).indices, minlength=fold.train.shape[1])


def _row_sums(values: NDArray[np.int64], indptr: NDArray[np.integer]) -> NDArray[np.int64]:
    sums: NDArray[np.int64] = np.diff(np.concatenate(([0], np.cumsum(values)))[indptr])
    return sums


def _gini(counts: NDArray[np.int64]) -> float:
    """Return the Gini index: with x ascending, sum of (2 i - n - 1) x_i / (n sum of x); nan where all are 0."""
    n, total = len(counts), int(counts.sum())
    if total == 0:
        return np.nan
    return float((2 * np.arange(1, n + 1) - n - 1) @ np.sort(counts) / (n * total))


def _bands(values: NDArray[np.integer], n: int) -> list[tuple[int, int]]:
    """Return up to n ranges (lowest and highest value, both within) of about equally many ``values``, in order."""
    if len(values) == 0:
        return []
    highs = np.unique(np.quantile(values, np.arange(1, n + 1) / n, method="inverted_cdf")).tolist()
    lows = [int(values.min()), *(int(values[values > high].min()) for high in highs[:-1])]
    return [(low, int(high)) for low, high in zip(lows, highs, strict=True)]


def _label(low: int, high: int, what: str) -> str:
    return f"{low} {what}{'' if low == 1 else 's'}" if low == high else f"{low}-{high} {what}s"


@njit(cache=True, parallel=True)
def _clean(ids: Any, indptr: Any, indices: Any, n_items: int) -> None:
    """Overwrite ids by -1 where they are in the row's indices, or stand before in the row."""
    n_users, depth = ids.shape
    tasks = min(n_users, TASKS)
    for task in prange(tasks):
        barred = np.zeros(n_items, dtype=np.bool_)
        listed = np.empty(depth, dtype=np.int32)
        for user in range(task, n_users, tasks):
            owned = indices[indptr[user] : indptr[user + 1]]
            for item in owned:
                barred[item] = True
            listed[:] = ids[user]
            for place in range(depth):
                item = listed[place]
                if item >= 0:
                    if barred[item]:
                        ids[user, place] = -1
                    barred[item] = True
            for item in owned:
                barred[item] = False
            for item in listed:
                if item >= 0:
                    barred[item] = False


@njit(cache=True, parallel=True)
def _measure(ids: Any, cutoffs: Any, gains: Any, target: Any, fold_in: Any, n_items: int, values: Any) -> None:
    """Write the metrics of USER_METRICS at each cut-off, shape (n_metrics, n_cutoffs, n_users), into ``values``.

    ``gains`` are the discount of each place and the ideal DCG of each number of hits; ``target`` and ``fold_in`` the
    indptr and indices of CSR matrices of users x items.
    """
    discounts, ideals = gains
    target_indptr, target_indices = target
    owned_indptr, owned_indices = fold_in
    n_users, depth = ids.shape
    tasks = min(n_users, TASKS)
    for task in prange(tasks):
        other, wanted, done = np.int8(0), np.int8(1), np.int8(2)
        state = np.zeros(n_items, dtype=np.int8)
        for user in range(task, n_users, tasks):
            targets = target_indices[target_indptr[user] : target_indptr[user + 1]]
            n = len(targets)
            if n == 0:
                values[:, :, user] = np.nan
                continue
            owned = owned_indices[owned_indptr[user] : owned_indptr[user + 1]]
            for item in owned:
                state[item] = done
            n_others = n_items - len(owned) - n
            for item in targets:
                n_others += state[item] == done
                state[item] = wanted
            hits, others = 0, 0
            gain, precisions, first, pairs = 0.0, 0.0, 0.0, 0.0
            start = 0
            for c in range(len(cutoffs)):
                k = cutoffs[c]
                for place in range(start, min(k, depth)):
                    item = ids[user, place]
                    if item < 0 or state[item] == done:
                        continue
                    if state[item] == wanted:
                        hits += 1
                        gain += discounts[place]
                        precisions += hits / (place + 1)
                        pairs += n_others - others
                        if hits == 1:
                            first = 1 / (place + 1)
                    elif state[item] == other:
                        others += 1
                    state[item] = done
                start = min(k, depth)
                possible = min(k, n)
                values[0, c, user] = hits / n
                values[1, c, user] = hits / possible
                values[2, c, user] = hits / k
                values[3, c, user] = 1.0 if hits > 0 else 0.0
                values[4, c, user] = gain / ideals[possible]
                values[5, c, user] = gain / ideals[k]
                values[6, c, user] = precisions / possible
                values[7, c, user] = first
                values[8, c, user] = np.nan
                if n_others > 0:
                    values[8, c, user] = (pairs + (n - hits) * (n_others - others) / 2) / (n * n_others)
            for item in targets:
                state[item] = other
            for item in owned:
                state[item] = other
            for place in range(start):
                if ids[user, place] >= 0:
                    state[ids[user, place]] = other
