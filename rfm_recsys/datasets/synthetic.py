"""Seeded data, so that everything runs without a download: a stand-in for MovieLens, and matrices of low rank."""

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from rfm_recsys.core.checks import check_integer, check_number
from rfm_recsys.core.renamed import former_names
from rfm_recsys.datasets.interactions import Interactions
from rfm_recsys.errors import ParameterError

USERS_AT_ONCE = 512  # whose scores for all items are in memory together
ACTIVITY_SPREAD = 0.95  # of the log of a user's interactions; ML-1M has the mean 165, median 96 and minimum 20
POPULARITY_SPREAD = 2.0  # of the log-odds of an item
TASTES, TASTE_SPREAD, TASTE_DECAY = 40, 3.0, 1.0  # dimensions of taste; the k-th counts k^-decay
SERIES_ITEMS, SERIES_SPREAD = 4, 1.3  # items in a series, which no low rank describes; spread of its following
ENTRIES_AT_ONCE = 2**20  # of a matrix of low rank that are made together
DAY = 86_400
FIRST_DAY, DAYS = 978_307_200, 1000  # 1 January 2001, in Unix seconds; days over which users sign up


@former_names(seed="random_state")
def synthetic_movielens(
    n_users: int = 6040, n_items: int = 3706, n_interactions: int = 1_000_000, random_state: int = 0
) -> Interactions:
    """Generate ratings like MovieLens': skewed popularity and activity, low-rank tastes, series, ratings 1 to 5.

    A user rates the items that come first by ``log-odds of the item + taste + following of its series + Gumbel
    noise``, which is a draw without replacement (Plackett-Luce). Ratings follow the same taste. The same seed gives the
    same data. Memory is that of the result and of 512 users x items.

    Parameters
    ----------
    n_users, n_items, n_interactions : int
        The default is the size of ML-1M. Counts are exact.
    random_state : int
        Seed of all that is random.

    Returns
    -------
    Interactions

    Raises
    ------
    ParameterError
        If there are fewer interactions than users, or more than half of all pairs.

    Examples
    --------
    >>> from rfm_recsys.datasets import synthetic_movielens
    >>> data = synthetic_movielens(100, 50, 1000)
    >>> data.shape, len(data.values)
    ((100, 50), 1000)
    """
    check_integer("n_users", n_users, 1)
    check_integer("n_items", n_items, 1)
    check_integer("random_state", random_state, 0)
    if not n_users <= check_integer("n_interactions", n_interactions, 1) <= n_users * n_items // 2:
        raise ParameterError(
            f"n_interactions is {n_interactions}, outside {n_users}..{n_users * n_items // 2} (one for each user to "
            "half of all pairs); pass another number, or other numbers of users and items"
        )
    generator = np.random.default_rng(random_state)
    activity = _activity(n_users, n_items, n_interactions, generator)
    log_odds = generator.normal(0, POPULARITY_SPREAD, n_items)
    strength = np.arange(1, TASTES + 1) ** -TASTE_DECAY
    item_tastes = generator.normal(size=(n_items, TASTES)) * (strength / np.linalg.norm(strength))
    series = generator.permutation(n_items) // SERIES_ITEMS
    quality = 0.35 * log_odds / POPULARITY_SPREAD + generator.normal(0, 0.35, n_items)  # the popular is rated better

    parts = []
    order = np.argsort(activity, kind="stable")  # neighbours in a block want lists of about the same length
    for first in range(0, n_users, USERS_AT_ONCE):
        users = order[first : first + USERS_AT_ONCE]
        taste = TASTE_SPREAD * generator.normal(size=(len(users), TASTES)) @ item_tastes.T
        taste += generator.normal(0, SERIES_SPREAD, (len(users), series.max() + 1))[:, series]
        keys = log_odds + taste + generator.gumbel(size=taste.shape)
        longest = int(activity[users].max())
        top = np.argpartition(-keys, longest - 1, axis=1)[:, :longest]
        top = np.take_along_axis(top, np.argsort(-np.take_along_axis(keys, top, axis=1), axis=1), axis=1)
        row, place = np.nonzero(np.arange(longest) < activity[users, None])
        items = top[row, place]
        mood = generator.normal(0, 0.4, len(users))
        rating = 2.7 + mood[row] + quality[items] + 0.15 * taste[row, items] + generator.normal(0, 0.8, len(items))
        parts.append((users[row], items, np.clip(np.rint(rating), 1, 5), _times(row, len(users), generator)))
    user, item, rating, time = (np.concatenate(column) for column in zip(*parts, strict=True))
    by_user = np.lexsort((item, time, user))
    return Interactions.from_indices(
        user[by_user], item[by_user], rating[by_user], time[by_user], n_users=n_users, n_items=n_items
    )


def _activity(n_users: int, n_items: int, total: int, generator: np.random.Generator) -> NDArray[np.int64]:
    """Return each user's number of interactions: at least an eighth of the mean, log-normal above, ``total`` in all."""
    least = max(1, total // n_users // 8)
    most = n_items * 2 // 3 + 1
    excess = np.exp(generator.normal(0, ACTIVITY_SPREAD, n_users))
    low, high = 0.0, float(total)
    for _ in range(100):  # bisection for the scale that gives the total
        middle = (low + high) / 2
        given = np.minimum(least + np.floor(middle * excess), most).sum()
        low, high = (middle, high) if given <= total else (low, middle)
    counts: NDArray[np.int64] = np.minimum(least + np.floor(low * excess), most).astype(np.int64)
    while (missing := total - counts.sum()) > 0:  # what rounding down has left over: one more for some users
        free = np.flatnonzero(counts < n_items)
        counts[generator.choice(free, min(missing, len(free)), replace=False)] += 1
    return counts


def _times(row: NDArray[np.intp], n_users: int, generator: np.random.Generator) -> NDArray[np.int64]:
    """Return Unix seconds: a user signs up, rates most in a first sitting, and comes back on some later days."""
    signed_up = FIRST_DAY + DAY * generator.uniform(0, DAYS, n_users)
    comes_back = generator.random(n_users) < 0.4
    later_day = np.floor(generator.exponential(30, len(row)) / 10) * 10  # a handful of days, not one an item
    days = np.where(comes_back[row], later_day, 0)
    return np.asarray((signed_up[row] + DAY * days + generator.exponential(1800, len(row))).astype(np.int64))


@former_names(seed="random_state")
def synthetic_low_rank(
    shape: tuple[int, int], rank: int, n_observed: int, condition_number: float = 1.0, random_state: int = 0
) -> tuple[csr_matrix, NDArray[np.float64], NDArray[np.float64]]:
    """Generate a matrix of low rank, and some of its entries, of which every row and column has at least ``rank``.

    Singular vectors are uniform, singular values fall geometrically; entries have the mean square 1 where all singular
    values are the same. The observed entries are a uniform draw; what a row or column lacks is added, and as many
    others are taken away. As in Kuemmerle and Mayrink Verdun 2021.

    Parameters
    ----------
    shape : tuple of int
        Rows and columns.
    rank : int
    n_observed : int
        Number of observed entries, exactly.
    condition_number : float, at least 1
        Ratio of the largest and the smallest singular value.
    random_state : int

    Returns
    -------
    observed : csr_matrix, of ``shape``
    left, right : arrays, shape (rows, rank) and (columns, rank)
        The matrix is ``left right^T``.

    Raises
    ------
    ParameterError
        The rank is above the smaller side, or that many entries are not to be had.

    Examples
    --------
    >>> from rfm_recsys.datasets import synthetic_low_rank
    >>> observed, left, right = synthetic_low_rank((30, 20), 2, 200)
    >>> observed.shape, left.shape, right.shape
    ((30, 20), (30, 2), (20, 2))
    """
    m, n = (check_integer(name, size, 1) for name, size in zip(("rows", "columns"), shape, strict=True))
    check_integer("rank", rank, 1)
    check_number("condition_number", condition_number, 1)
    if rank > min(m, n):
        raise ParameterError(f"rank is {rank}, and the matrix is {m} x {n}; pass a rank of at most {min(m, n)}")
    if not 2 * rank * max(m, n) <= n_observed <= m * n:
        raise ParameterError(
            f"n_observed is {n_observed}; pass from 2 rank max(rows, columns) = {2 * rank * max(m, n)} to {m * n}"
        )
    generator = np.random.default_rng(check_integer("random_state", random_state, 0))
    left, right = (np.linalg.qr(generator.standard_normal((size, rank)))[0] for size in (m, n))
    left *= np.geomspace(1, 1 / condition_number, rank) * np.sqrt(m * n / rank)
    rows, columns = np.divmod(generator.choice(m * n, n_observed, replace=False, shuffle=False), n)
    rows, columns = _filled_up(rows, columns, m, n, rank, generator)
    columns, rows = _filled_up(columns, rows, n, m, rank, generator)
    per_row, per_column = np.bincount(rows), np.bincount(columns)
    kept = np.ones(len(rows), dtype=bool)
    surplus = len(rows) - n_observed
    for entry in generator.permutation(len(rows)):
        if surplus == 0:
            break
        i, j = rows[entry], columns[entry]
        if per_row[i] > rank and per_column[j] > rank:
            kept[entry] = False
            per_row[i] -= 1
            per_column[j] -= 1
            surplus -= 1
    rows, columns = rows[kept], columns[kept]
    values = np.empty(len(rows))
    for first in range(0, len(rows), ENTRIES_AT_ONCE):
        some = slice(first, first + ENTRIES_AT_ONCE)
        values[some] = np.einsum("ek,ek->e", left[rows[some]], right[columns[some]])
    return csr_matrix((values, (rows, columns)), shape=(m, n)), left, right


def _filled_up(
    lines: NDArray[np.int64],
    places: NDArray[np.int64],
    n_lines: int,
    n_places: int,
    least: int,
    generator: np.random.Generator,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the entries with random ones added in every line that has fewer than ``least``."""
    counts = np.bincount(lines, minlength=n_lines)
    for line in np.flatnonzero(counts < least):
        free = np.setdiff1d(np.arange(n_places), places[lines == line])
        added = generator.choice(free, least - counts[line], replace=False)
        lines, places = np.append(lines, np.full(len(added), line)), np.append(places, added)
    return lines, places
