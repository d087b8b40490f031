"""Ranking metrics, one value a user: nan for users without targets, whom :func:`mean_over_users` leaves out.

In all of them ``ids`` are the recommended items, best first, as ``recommend`` returns them: an integer array of shape
(n_users, n), where -1 marks an empty slot. ``targets`` is a sparse matrix of shape (n_users, n_items) whose stored
entries are the items to be found. An empty slot is never a hit, and an item that is recommended twice counts once,
at its first place. All raise :class:`~rfm_recsys.errors.DataError` where shapes or ids do not fit together, and
:class:`~rfm_recsys.errors.ParameterError` where k is less than 1.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rfm_recsys.errors import DataError, ParameterError
from rfm_recsys.evaluation.splits import canonical_csr


def recall(ids: NDArray[np.integer], targets: Any, k: int) -> NDArray[np.float64]:
    """Return R@k with the denominator min(k, number of targets) (Liang et al. 2018), shape (n_users,).

    A perfect list has value 1, however many targets there are.
    """
    hits, n_targets = _hits(ids, targets, k)
    return _ratio(hits.sum(axis=1), np.minimum(n_targets, k))


def plain_recall(ids: NDArray[np.integer], targets: Any, k: int) -> NDArray[np.float64]:
    """Return the textbook recall, the share of all targets that is among the first k (LightGCN's), shape (n_users,)."""
    hits, n_targets = _hits(ids, targets, k)
    return _ratio(hits.sum(axis=1), n_targets)


def ndcg(ids: NDArray[np.integer], targets: Any, k: int) -> NDArray[np.float64]:
    """Return N@k: binary gains, discount 1 / log2(place + 1), ideal DCG cut at min(k, number of targets)."""
    hits, n_targets = _hits(ids, targets, k)
    discounts = 1 / np.log2(np.arange(2, k + 2))
    ideal = np.concatenate(([0.0], np.cumsum(discounts)))[np.minimum(n_targets, k)]
    return _ratio(hits @ discounts[: hits.shape[1]], ideal)


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


def _hits(ids: NDArray[np.integer], targets: Any, k: int) -> tuple[NDArray[np.bool_], NDArray[np.intp]]:
    """Return which of the first k recommendations are hits, shape (n_users, <= k), and the number of targets a user."""
    if k < 1:
        raise ParameterError(f"k={k} is less than 1; ask for at least one place")
    found = canonical_csr(targets)
    n_users, n_items = found.shape
    ids = np.asarray(ids)
    if ids.ndim != 2 or len(ids) != n_users or ids.shape[1] < min(k, n_items):
        raise DataError(
            f"ids have shape {ids.shape}, targets {found.shape}, k is {k}; "
            f"pass ids of shape ({n_users}, {min(k, n_items)}) or wider: recommend(..., N={min(k, n_items)})"
        )
    top = ids[:, :k].astype(np.int64)
    if top.size and not -1 <= top.min() <= top.max() < n_items:
        raise DataError(f"ids span {top.min()}..{top.max()}, outside -1..{n_items - 1}; pass ids of the targets' items")

    n_targets = np.diff(found.indptr)
    users = np.arange(n_users)
    wanted = np.repeat(users, n_targets) * n_items + found.indices
    hits = np.isin(users[:, None] * n_items + top, wanted) & (top >= 0)

    order = np.argsort(top, axis=1, kind="stable")
    ordered = np.take_along_axis(top, order, axis=1)
    repeated = np.zeros_like(hits)
    np.put_along_axis(repeated, order[:, 1:], ordered[:, 1:] == ordered[:, :-1], axis=1)
    return hits & ~repeated, n_targets


def _ratio(found: NDArray[Any], possible: NDArray[Any]) -> NDArray[np.float64]:
    """Divide, with nan where nothing was possible."""
    ratio = np.full(len(found), np.nan)
    np.divide(found, possible, out=ratio, where=possible > 0)
    return ratio
