"""Metrics by group: of users by their activity, and of targets by how popular the items are."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rfm_recsys.core.checks import check_integer
from rfm_recsys.errors import DataError
from rfm_recsys.evaluation.metrics import checked_lists, popularity_of
from rfm_recsys.evaluation.splits import Fold, canonical_csr

ACTIVITY_GROUPS, POPULARITY_GROUPS = 4, 3


@dataclass(frozen=True)
class Group:
    """A metric's value over the ``count`` users, or targets, of a group."""

    label: str
    count: int
    value: float


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
    top = checked_lists(ids, target.shape, check_integer("k", k, 1))[:, :k].astype(np.int64)
    users = np.arange(n_users, dtype=np.int64)
    wanted = np.repeat(users, np.diff(target.indptr)) * n_items + target.indices
    is_hit = np.isin(wanted, (users[:, None] * n_items + top)[top >= 0])
    popularity = popularity_of(fold)[target.indices]
    groups = []
    for low, high in _bands(popularity, POPULARITY_GROUPS):
        members = is_hit[(popularity >= low) & (popularity <= high)]
        groups.append(Group(_label(low, high, "user"), len(members), float(members.mean())))
    return groups


def _bands(values: NDArray[np.integer], n: int) -> list[tuple[int, int]]:
    """Return up to n ranges (lowest and highest value, both within) of about equally many ``values``, in order."""
    if len(values) == 0:
        return []
    highs = np.unique(np.quantile(values, np.arange(1, n + 1) / n, method="inverted_cdf")).tolist()
    lows = [int(values.min()), *(int(values[values > high].min()) for high in highs[:-1])]
    return [(low, int(high)) for low, high in zip(lows, highs, strict=True)]


def _label(low: int, high: int, what: str) -> str:
    return f"{low} {what}{'' if low == 1 else 's'}" if low == high else f"{low}-{high} {what}s"
