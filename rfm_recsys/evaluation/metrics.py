"""Ranking metrics at any cut-offs, each one entry of a registry: for each user, of the whole catalogue, and by group.

To add one, give it a name, a sentence, the better end, and a function; protocols, tables and pages then know it::

    @user_metric("last_hit", "The place of the last held-out item among the first k.", better="low")
    def _last_hit(lists: Lists, k: int) -> NDArray[np.float64]:
        return np.max(lists.hits[:, :k] * np.arange(1, lists.hits[:, :k].shape[1] + 1), axis=1)

Lists
-----
``ids`` are the recommended items, best first, as ``recommend`` returns them: an integer array of shape (n_users,
depth), where -1 marks an empty slot. An empty slot is never a hit, and an item that is recommended twice counts once,
at its first place, so that no metric exceeds 1. A list may be shorter than a cut-off where the catalogue is.

Symbols
-------
Let h(p) be 1 where place p of the list, from 1, holds a target, and 0 elsewhere; H(k) the sum of h(p) over p <= k; n
the number of targets; DCG(k) the sum of h(p) / log2(p + 1) over p <= k. Candidates are the items that the user has not
in ``fold_in``, m of them no targets; F(k) of these are among the first k places. Users without targets have nan, and
:func:`mean_over_users` leaves them out. Popularity is the number of an item's users in ``fold.train``.

Other libraries
---------------
trec_eval (``pytrec_eval``) agrees in recall, precision (P), hit_rate (success), ndcg (ndcg_cut) and mrr (recip_rank of
the first k); its map_cut divides by n, not by min(k, n). scikit-learn agrees in ndcg (ndcg_score), auc (roc_auc_score,
where all that is not listed has one lowest score), recall (recall_score), and map of a list of the whole catalogue
(average_precision_score); its precision_score divides by the items listed, not by k. Neither can be given a list with
duplicates. ``implicit.evaluation`` calls capped_recall precision, and counts duplicates as often as they are listed.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from rfm_recsys.core.checks import check_integer
from rfm_recsys.core.renamed import former_names
from rfm_recsys.core.runtime import kernel, run
from rfm_recsys.errors import DataError, ParameterError
from rfm_recsys.evaluation.splits import Fold, canonical_csr

USERS_AT_ONCE = 512  # that a model is asked for together
USERS_MEASURED = 4096  # whose lists are measured together, which bounds the memory

Better = Literal["high", "low", None]


@dataclass(frozen=True)
class Metric:
    """A metric: what a page says of it, which end is better (None: neither), and its function.

    A user metric maps :class:`Lists` and k to an array, shape (n,); a catalogue metric maps a :class:`Catalogue` and k
    to a number; a rating metric maps predicted and actual ratings to a number.
    """

    name: str
    definition: str
    better: Better
    of: Callable[..., Any]


USER_METRICS: dict[str, Metric] = {}
CATALOGUE_METRICS: dict[str, Metric] = {}
RATING_METRICS: dict[str, Metric] = {}


def metric_of(name: str) -> Metric | None:
    """Return the metric that a name such as "recall@20" stands for; None for one that is not registered."""
    family = name.partition("@")[0]
    return next((each[family] for each in (USER_METRICS, CATALOGUE_METRICS, RATING_METRICS) if family in each), None)


def _registering(registry: dict[str, Metric], name: str, definition: str, better: Better) -> Callable[[Any], Any]:
    def register(function: Any) -> Any:
        registry[name] = Metric(name, definition, better, function)
        return function

    return register


def user_metric(name: str, definition: str, better: Better = "high") -> Callable[[Any], Any]:
    """Return a decorator that registers a metric with a value for every user, see :class:`Metric`."""
    return _registering(USER_METRICS, name, definition, better)


def catalogue_metric(name: str, definition: str, better: Better = "high") -> Callable[[Any], Any]:
    """Return a decorator that registers a metric of all lists together, see :class:`Metric`."""
    return _registering(CATALOGUE_METRICS, name, definition, better)


@dataclass(frozen=True)
class Lists:
    """What the lists of some users hold, all of whom have targets, place by place.

    Attributes
    ----------
    hits : bool array, shape (n, depth)
        Where a place holds a target, for the first time.
    misses : bool array, shape (n, depth)
        Where it holds another candidate, for the first time.
    n_targets, n_others : int arrays, shape (n,)
        Of each user's candidates, how many are targets, and how many are not.
    """

    hits: NDArray[np.bool_]
    misses: NDArray[np.bool_]
    n_targets: NDArray[np.int64]
    n_others: NDArray[np.int64]

    @cached_property
    def discounts(self) -> NDArray[np.float64]:
        """``1 / log2(p + 1)`` for every place p, shape (depth,)."""
        return ideal_discounts(self.hits.shape[1])

    def hits_at(self, k: int) -> NDArray[np.int64]:
        """Return H(k)."""
        return self.at(k, self._hit_counts)

    def at(self, k: int, sums: NDArray[Any]) -> NDArray[Any]:
        """Return running sums, shape (n, 1 + depth), at the place k, or at the end of shorter lists."""
        return sums[:, min(k, self.hits.shape[1])]

    def running(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return the running sums of values, shape (n, depth), from 0 on: shape (n, 1 + depth)."""
        sums = np.zeros((len(values), values.shape[1] + 1), dtype=np.result_type(values.dtype, np.int64))
        np.cumsum(values, axis=1, out=sums[:, 1:])
        return sums

    @cached_property
    def _hit_counts(self) -> NDArray[np.int64]:
        return self.running(self.hits)

    @cached_property
    def _miss_counts(self) -> NDArray[np.int64]:
        return self.running(self.misses)

    @cached_property
    def _gains(self) -> NDArray[np.float64]:
        return self.running(self.hits * self.discounts)

    @cached_property
    def _precisions(self) -> NDArray[np.float64]:
        return self.running(self.hits * (self._hit_counts[:, 1:] / np.arange(1, self.hits.shape[1] + 1)))

    @cached_property
    def _pairs(self) -> NDArray[np.float64]:
        return self.running(self.hits * (self.n_others[:, None] - self._miss_counts[:, 1:])).astype(np.float64)


def ideal_discounts(k: int) -> NDArray[np.float64]:
    """Return ``1 / log2(p + 1)`` for the places p from 1 to k."""
    return np.asarray(1 / np.log2(np.arange(2, k + 2)))


@user_metric("recall", "The share of all held-out items of a user that is among the first k.")
def _recall(lists: Lists, k: int) -> Any:
    """H(k) / n."""
    return lists.hits_at(k) / lists.n_targets


@user_metric("capped_recall", "Held-out items among the first k, divided by k or by their number, whichever is less.")
def _capped_recall(lists: Lists, k: int) -> Any:
    """H(k) / min(k, n) (Liang et al. 2018): a perfect list has 1, however many targets there are."""
    return lists.hits_at(k) / np.minimum(k, lists.n_targets)


@user_metric("precision", "The share of the first k places that hold a held-out item.")
def _precision(lists: Lists, k: int) -> Any:
    """H(k) / k, also where the catalogue has fewer than k items."""
    return lists.hits_at(k) / k


@user_metric("hit_rate", "The share of users with at least one held-out item among the first k.")
def _hit_rate(lists: Lists, k: int) -> Any:
    """1 where H(k) > 0, else 0."""
    return (lists.hits_at(k) > 0).astype(np.float64)


@user_metric(
    "ndcg",
    "Held-out items among the first k, the higher places counting more, relative to the best possible order.",
)
def _ndcg(lists: Lists, k: int) -> Any:
    """DCG(k) / sum of 1 / log2(p + 1) over p <= min(k, n)."""
    ideals = np.concatenate(([0.0], np.cumsum(ideal_discounts(k))))
    return lists.at(k, lists._gains) / ideals[np.minimum(k, lists.n_targets)]


@user_metric("fixed_ndcg", "As ndcg, but relative to k held-out items in the first k places, however few the user has.")
def _fixed_ndcg(lists: Lists, k: int) -> Any:
    """DCG(k) / sum of 1 / log2(p + 1) over p <= k: RecTools' default."""
    return lists.at(k, lists._gains) / np.cumsum(ideal_discounts(k))[-1]


@user_metric("map", "Precision averaged over the places of the held-out items among the first k.")
def _map(lists: Lists, k: int) -> Any:
    """Sum of h(p) H(p) / p over p <= k, / min(k, n)."""
    return lists.at(k, lists._precisions) / np.minimum(k, lists.n_targets)


@user_metric("mrr", "One divided by the place of the first held-out item, zero if it is not among the first k.")
def _mrr(lists: Lists, k: int) -> Any:
    """1 / p of the first hit, 0 where there is none among the first k."""
    places = np.argmax(np.pad(lists.hits, ((0, 0), (0, 1))), axis=1) + 1
    return np.where(lists.hits_at(k) > 0, 1 / places, 0.0)


@user_metric(
    "auc",
    "The chance that a held-out item stands before one that is not; what is not listed follows in random order.",
)
def _auc(lists: Lists, k: int) -> Any:
    """(sum of h(p) (m - F(p)) over p <= k  +  (n - H(k)) (m - F(k)) / 2) / (n m); nan where m is 0."""
    n, m = lists.n_targets, lists.n_others
    rest = (n - lists.hits_at(k)) * (m - lists.at(k, lists._miss_counts)) / 2
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(m > 0, (lists.at(k, lists._pairs) + rest) / (n * m), np.nan)


@dataclass(frozen=True)
class Catalogue:
    """What a model recommends to all users of a fold together.

    Attributes
    ----------
    ids : int array, shape (n, depth)
        The lists, without what a user has already and without repetitions: -1 there.
    popularity : int array, shape (items,)
    n_train : int
        Users of ``fold.train``.
    fold_in : csr_matrix, shape (n, items)
    """

    ids: NDArray[np.int32]
    popularity: NDArray[np.int64]
    n_train: int
    fold_in: csr_matrix
    _counts: dict[int, NDArray[np.int64]] = field(default_factory=dict, repr=False)

    def counts(self, k: int) -> NDArray[np.int64]:
        """Return how often each item is among the first k, shape (items,)."""
        if k not in self._counts:
            places = self.ids[:, :k]
            self._counts[k] = np.bincount(places[places >= 0], minlength=len(self.popularity))
        return self._counts[k]


@catalogue_metric("coverage", "The share of the catalogue that is recommended to at least one user.")
def _coverage(catalogue: Catalogue, k: int) -> float:
    return float((catalogue.counts(k) > 0).mean()) if len(catalogue.popularity) else np.nan


@catalogue_metric(
    "gini", "How unequally the recommendations fall on the items: 0 is evenly, 1 is all on one.", better="low"
)
def _gini(catalogue: Catalogue, k: int) -> float:
    """With x ascending, sum of (2 i - n - 1) x_i / (n sum of x); nan where all are 0."""
    counts = catalogue.counts(k)
    n, total = len(counts), int(counts.sum())
    return float((2 * np.arange(1, n + 1) - n - 1) @ np.sort(counts) / (n * total)) if total else np.nan


@catalogue_metric(
    "novelty",
    "How rare the recommended items are: the mean of log2(1 / share of users who have the item).",
    better=None,
)
def _novelty(catalogue: Catalogue, k: int) -> float:
    """Count an item without users as one with a single user."""
    counts = catalogue.counts(k)
    information = np.log2(max(catalogue.n_train, 1)) - np.log2(np.maximum(catalogue.popularity, 1))
    return float(counts @ information) / int(counts.sum()) if counts.any() else np.nan


@catalogue_metric(
    "popularity_bias",
    "How many times more popular the recommended items are than those that the users have.",
    better=None,
)
def _popularity_bias(catalogue: Catalogue, k: int) -> float:
    """Of the users' means (Abdollahpouri et al. 2019); users without a recommendation or an item are left out."""
    places, popularity, fold_in = catalogue.ids[:, :k], catalogue.popularity, catalogue.fold_in
    n_owned, owned = np.diff(fold_in.indptr), _row_sums(popularity[fold_in.indices], fold_in.indptr)
    n_listed, listed = (places >= 0).sum(axis=1), np.where(places >= 0, popularity[places], 0).sum(axis=1)
    both = (n_listed > 0) & (n_owned > 0)
    if not owned[both].any():
        return np.nan
    return float((listed[both] / n_listed[both]).mean() / (owned[both] / n_owned[both]).mean())


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


@former_names(depth="N")
def rank(model: Ranker, fold: Fold, N: int, users_at_once: int = USERS_AT_ONCE) -> NDArray[np.int32]:
    """Return each user's list, shape (n, N), from a fitted model, asked for a block of users at a time.

    What the model puts out that is no recommendation becomes -1: items of ``fold_in``, which implicit lists at the end
    where nothing else is left, and repetitions, such as the item 0 that it fills slots past the catalogue with.

    Parameters
    ----------
    model : object with implicit's ``recommend``
    fold : Fold
    N : int, at least 1
    users_at_once : int, at least 1

    Returns
    -------
    int32 array, shape (n, N)
        Best first; -1 is an empty slot.

    Raises
    ------
    DataError
        If the model returns ids of a wrong shape or outside the catalogue.

    Examples
    --------
    >>> import numpy as np
    >>> from rfm_recsys.datasets import synthetic_movielens
    >>> from rfm_recsys.evaluation import Popularity, rank, random_fraction
    >>> fold = random_fraction(synthetic_movielens(60, 40, 900)).test
    >>> model = Popularity()
    >>> model.fit(fold.train)
    >>> rank(model, fold, 10).shape  # of those who have something to be found
    (53, 10)
    """
    N, step = check_integer("N", N, 1), check_integer("users_at_once", users_at_once, 1)
    fold_in = canonical_csr(fold.fold_in)
    n = fold_in.shape[0]
    userids = fold.users if fold.known else np.arange(n)
    among: dict[str, Any] = {} if fold.items is None else {"items": fold.items}
    ids = np.full((n, N), -1, dtype=np.int32)
    for start in range(0, n, step):
        block = slice(start, start + step)
        recommended, _ = model.recommend(
            userids[block],
            fold_in[block],
            N=N,
            filter_already_liked_items=True,
            recalculate_user=not fold.known,
            **among,
        )
        recommended = np.asarray(recommended)
        if recommended.ndim != 2 or len(recommended) != len(userids[block]) or recommended.shape[1] > N:
            raise DataError(
                f"recommend returned ids of shape {recommended.shape}; return ({len(userids[block])}, {N}) for N={N}"
            )
        ids[block, : recommended.shape[1]] = checked_lists(recommended, (len(recommended), fold_in.shape[1]))
    return _cleaned(ids, fold_in)


def evaluate(
    model: Ranker, fold: Fold, cutoffs: Sequence[int]
) -> tuple[dict[str, NDArray[np.float64]], dict[str, float]]:
    """Rank with a fitted model and return its :func:`user_metrics` and :func:`catalogue_metrics`.

    Parameters
    ----------
    model : object with implicit's ``recommend``
    fold : Fold
    cutoffs : sequence of int

    Returns
    -------
    by_user : dict of float64 arrays, shape (n,)
    of_all : dict of float

    Raises
    ------
    DataError
        If the model returns ids of a wrong shape or outside the catalogue.
    ParameterError
        No cut-off, or one below 1.

    Examples
    --------
    >>> import numpy as np
    >>> from rfm_recsys.datasets import synthetic_movielens
    >>> from rfm_recsys.evaluation import Popularity, evaluate, random_fraction
    >>> fold = random_fraction(synthetic_movielens(60, 40, 900)).test
    >>> model = Popularity()
    >>> model.fit(fold.train)
    >>> by_user, of_all = evaluate(model, fold, [10])
    >>> by_user["ndcg@10"].shape, 0 < of_all["coverage@10"] <= 1
    ((53,), True)
    """
    cuts = _cutoffs(cutoffs)
    ids = rank(model, fold, int(cuts[-1]))
    return fold_metrics(ids, fold, cutoffs), catalogue_metrics(ids, fold, cutoffs)


def fold_metrics(ids: NDArray[np.integer], fold: Fold, cutoffs: Sequence[int]) -> dict[str, NDArray[np.float64]]:
    """Return the :func:`user_metrics` of lists for a fold, shape (n, depth), among the items that it ranks."""
    if fold.items is None:
        return user_metrics(ids, fold.target, cutoffs, fold.fold_in)
    place = np.full(fold.train.shape[1] + 1, -1, dtype=np.int32)  # the last is that of an empty slot
    place[fold.items] = np.arange(len(fold.items))
    return user_metrics(place[ids], fold.target[:, fold.items], cutoffs, fold.fold_in[:, fold.items])


def user_metrics(
    ids: NDArray[np.integer], target: Any, cutoffs: Sequence[int], fold_in: Any = None
) -> dict[str, NDArray[np.float64]]:
    """Return every user metric, for every user and cut-off, under names such as "recall@20".

    Parameters
    ----------
    ids : integer array, shape (n_users, depth)
        Recommended items, best first; -1 is an empty slot.
    target : sparse matrix, shape (n_users, n_items)
        Its entries above 0 are the items to be found.
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

    Examples
    --------
    >>> import numpy as np
    >>> from rfm_recsys.datasets import synthetic_movielens
    >>> from rfm_recsys.evaluation import Popularity, rank, user_metrics, random_fraction
    >>> fold = random_fraction(synthetic_movielens(60, 40, 900)).test
    >>> model = Popularity()
    >>> model.fit(fold.train)
    >>> values = user_metrics(rank(model, fold, 10), fold.target, [10], fold.fold_in)
    >>> bool(0 < values["recall@10"].mean() < 1)
    True
    """
    cuts = _cutoffs(cutoffs)
    wanted = canonical_csr(target)
    if (wanted.data <= 0).any():
        wanted = wanted.copy()
        wanted.data = np.maximum(wanted.data, 0)
        wanted.eliminate_zeros()
    owned = csr_matrix(wanted.shape, dtype=np.float32) if fold_in is None else canonical_csr(fold_in)
    if owned.shape != wanted.shape:
        raise DataError(f"fold_in has the shape {owned.shape}, target {wanted.shape}; pass rows of the same users")
    top = checked_lists(ids, wanted.shape, int(cuts[-1]))
    values = {f"{name}@{k}": np.full(len(top), np.nan) for name in USER_METRICS for k in cuts.tolist()}
    targeted = np.flatnonzero(np.diff(wanted.indptr) > 0)
    for start in range(0, len(targeted), USERS_MEASURED):
        users = targeted[start : start + USERS_MEASURED]
        lists = _lists(top[users], wanted[users], owned[users], int(cuts[-1]))
        for metric in USER_METRICS.values():
            for k in cuts.tolist():
                values[f"{metric.name}@{k}"][users] = metric.of(lists, k)
    return values


def catalogue_metrics(ids: NDArray[np.integer], fold: Fold, cutoffs: Sequence[int]) -> dict[str, float]:
    """Return every catalogue metric, for every cut-off, under names such as "coverage@20".

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

    Examples
    --------
    >>> import numpy as np
    >>> from rfm_recsys.datasets import synthetic_movielens
    >>> from rfm_recsys.evaluation import Popularity, catalogue_metrics, rank, random_fraction
    >>> fold = random_fraction(synthetic_movielens(60, 40, 900)).test
    >>> model = Popularity()
    >>> model.fit(fold.train)
    >>> sorted(catalogue_metrics(rank(model, fold, 10), fold, [10]))
    ['coverage@10', 'gini@10', 'novelty@10', 'popularity_bias@10']
    """
    cuts = _cutoffs(cutoffs)
    fold_in = canonical_csr(fold.fold_in)
    top = _cleaned(checked_lists(ids, fold_in.shape, int(cuts[-1])), fold_in)
    catalogue = Catalogue(top, popularity_of(fold), fold.train.shape[0], fold_in)
    return {f"{name}@{k}": metric.of(catalogue, k) for name, metric in CATALOGUE_METRICS.items() for k in cuts.tolist()}


def mean_over_users(values: NDArray[np.float64]) -> float:
    """Return the mean of a metric over the users who have targets.

    Parameters
    ----------
    values : array, shape (n_users,)
        nan for users without targets.

    Returns
    -------
    float

    Raises
    ------
    DataError
        If none has.

    Examples
    --------
    >>> import numpy as np
    >>> from rfm_recsys.evaluation import mean_over_users
    >>> mean_over_users(np.array([0.25, np.nan, 0.75]))
    0.5
    """
    if np.isnan(values).all():
        raise DataError(f"none of {len(values)} users has a target; pass targets with at least one interaction")
    return float(np.nanmean(values))


def _rating_metric(name: str, definition: str) -> Callable[[Any], Any]:
    return _registering(RATING_METRICS, name, definition, "low")


@_rating_metric("rmse", "Root of the mean squared error of the predicted ratings.")
def rmse(predicted: NDArray[np.floating[Any]], actual: NDArray[np.floating[Any]]) -> float:
    """Return the root of the mean squared error of predicted ratings, shape (n,); raises DataError if n is 0.

    Parameters
    ----------
    predicted, actual : arrays, shape (n,)

    Returns
    -------
    float

    Raises
    ------
    DataError
        There are none, or arrays of different lengths.

    Examples
    --------
    >>> import numpy as np
    >>> from rfm_recsys.evaluation import rmse
    >>> rmse(np.array([3.0, 5.0]), np.array([4.0, 4.0]))
    1.0
    """
    return float(np.sqrt(np.mean(_errors(predicted, actual) ** 2)))


@_rating_metric("mae", "Mean absolute error of the predicted ratings.")
def mae(predicted: NDArray[np.floating[Any]], actual: NDArray[np.floating[Any]]) -> float:
    """Return the mean absolute error of predicted ratings, shape (n,); raises DataError if n is 0.

    Parameters
    ----------
    predicted, actual : arrays, shape (n,)

    Returns
    -------
    float

    Raises
    ------
    DataError
        There are none, or arrays of different lengths.

    Examples
    --------
    >>> import numpy as np
    >>> from rfm_recsys.evaluation import mae
    >>> mae(np.array([3.0, 5.0]), np.array([4.0, 4.0]))
    1.0
    """
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


def checked_lists(ids: Any, shape: tuple[int, int], depth: int = 0) -> NDArray[np.int32]:
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
    run(_clean, len(cleaned), cleaned, fold_in.indptr, fold_in.indices, fold_in.shape[1])
    return cleaned


def popularity_of(fold: Fold) -> NDArray[np.int64]:
    """Return how many training users each item has, shape (items,)."""
    return np.bincount(canonical_csr(fold.train).indices, minlength=fold.train.shape[1])


def _row_sums(values: NDArray[np.int64], indptr: NDArray[np.integer]) -> NDArray[np.int64]:
    return np.asarray(np.diff(np.concatenate(([0], np.cumsum(values)))[indptr]))


def _lists(ids: NDArray[np.int32], target: csr_matrix, fold_in: csr_matrix, depth: int) -> Lists:
    """Return what lists of users with targets hold."""
    hits, misses = np.zeros((2, len(ids), min(depth, ids.shape[1])), dtype=np.bool_)
    n_others = np.zeros(len(ids), dtype=np.int64)
    sides = (target.indptr, target.indices, fold_in.indptr, fold_in.indices)
    run(_mark, len(ids), ids, *sides, target.shape[1], hits, misses, n_others)
    return Lists(hits, misses, np.diff(target.indptr).astype(np.int64), n_others)


@kernel()
def _mark(
    first: int,
    last: int,
    ids: Any,
    target_indptr: Any,
    target_indices: Any,
    owned_indptr: Any,
    owned_indices: Any,
    n_items: int,
    hits: Any,
    misses: Any,
    n_others: Any,
) -> None:
    """Mark the places that hold a target or another candidate for the first time, and count the other candidates."""
    other, wanted, done = np.int8(0), np.int8(1), np.int8(2)
    state = np.zeros(n_items, dtype=np.int8)
    for user in range(first, last):
        targets = target_indices[target_indptr[user] : target_indptr[user + 1]]
        owned = owned_indices[owned_indptr[user] : owned_indptr[user + 1]]
        for item in owned:
            state[item] = done
        n = n_items - len(owned) - len(targets)
        for item in targets:
            n += state[item] == done
            state[item] = wanted
        n_others[user] = n
        for place in range(hits.shape[1]):
            item = ids[user, place]
            if item >= 0 and state[item] != done:
                hits[user, place] = state[item] == wanted
                misses[user, place] = state[item] == other
                state[item] = done
        for item in targets:
            state[item] = other
        for item in owned:
            state[item] = other
        for place in range(hits.shape[1]):
            if ids[user, place] >= 0:
                state[ids[user, place]] = other


@kernel()
def _clean(first: int, last: int, ids: Any, indptr: Any, indices: Any, n_items: int) -> None:
    """Overwrite ids by -1 where they are in the row's indices, or stand before in the row."""
    depth = ids.shape[1]
    barred = np.zeros(n_items, dtype=np.bool_)
    listed = np.empty(depth, dtype=np.int32)
    for user in range(first, last):
        owned = indices[indptr[user] : indptr[user + 1]]
        for item in owned:
            barred[item] = True
        for place in range(depth):
            listed[place] = ids[user, place]
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
