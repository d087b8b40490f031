"""Lists with a purpose: one step after ``recommend``, for variety, the user's own mix, limits and rules."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_matrix, issparse

from rfm_recsys.core.checks import check_integer, check_number
from rfm_recsys.core.memory import check_memory
from rfm_recsys.core.ranking import TopList, row_norms
from rfm_recsys.errors import DataError, ParameterError

AT_ONCE = 2**22  # numbers of candidates' vectors that are held at a time
SMOOTHING = 0.01  # of the user's own mix in that of a list, so that its divergence is finite


def rerank(
    ids: ArrayLike,
    scores: ArrayLike,
    N: int = 10,
    *,
    vectors: ArrayLike | None = None,
    variety: float = 0.0,
    categories: Any = None,
    mix: ArrayLike | None = None,
    calibration: float = 0.0,
    most_of_a_category: int | None = None,
    most_lists: int | None = None,
) -> TopList:
    """Return the N best of longer lists, chosen one after the other for more than their scores.

    The value of a candidate i for a place, with its score r_i put between 0 for the user's last candidate and 1 for the
    first, ``(1 - variety) r_i - variety max_j cos(v_i, v_j) - calibration KL(mix, mix of the list with i)``, where j
    are the items chosen so far: maximal marginal relevance (Carbonell and Goldstein 1998), and calibrated
    recommendations (Steck 2018). Rules leave candidates out. All that is left at its default plays no part, and the
    result may be re-ranked again.

    Parameters
    ----------
    ids, scores : arrays, shape (n, C), or (C,) for a single user
        What ``recommend`` returned for some ten times N; -1, and items that it left out, are never chosen.
    N : int, at least 0
        Length of the lists.
    vectors : array, shape (items, d)
        What items are similar by: :meth:`LinRFM.item_vectors`, or what is known of them.
    variety : float, 0 to 1
        Weight of being unlike the items before; needs ``vectors``.
    categories : csr_matrix or array, shape (items, categories)
        Which categories an item is of: genres, makers, sellers.
    mix : array, shape (n, categories)
        The categories that each user has, in any unit: :func:`mix_of` the user's items; zeros ask for nothing.
    calibration : float, at least 0
        Weight of the list having the user's own mix; needs ``categories`` and ``mix``.
    most_of_a_category : int, at least 1
        How many items of a category a list has at most; needs ``categories``.
    most_lists : int, at least 1
        In how many of these lists an item is at most. Where more want it, those have it who value it most.

    Returns
    -------
    ids : int32 array, shape (n, N), or (N,) for a single user
        -1 where no candidate is left.
    scores : array of the same shape
        Those that were given; the lowest finite number for -1.

    Raises
    ------
    ParameterError, ParameterTypeError, DataError
        A number out of bounds, arrays that do not fit together, or something missing that another argument needs.

    Examples
    --------
    >>> import numpy as np
    >>> from rfm_recsys.reranking import rerank
    >>> ids, scores = np.array([[4, 2, 7, 1]]), np.array([[0.9, 0.8, 0.7, 0.1]])
    >>> genre = np.eye(2)[[0, 1, 0, 0, 0, 0, 0, 1]]  # items 1 and 7 are of another
    >>> rerank(ids, scores, N=2, most_of_a_category=1, categories=genre)[0].tolist()
    [[4, 7]]
    """
    lists, given = np.atleast_2d(np.asarray(ids)), np.atleast_2d(np.asarray(scores))
    single = np.ndim(ids) == 1
    if lists.shape != given.shape or lists.ndim != 2 or lists.dtype.kind not in "iu" or given.dtype.kind != "f":
        raise DataError(
            f"ids are {lists.dtype} of the shape {np.shape(ids)} and scores {given.dtype} of {np.shape(scores)}; pass "
            "both as recommend returns them"
        )
    N, (n, n_candidates) = check_integer("N", N, 0), lists.shape
    variety = check_number("variety", variety, 0, 1)
    calibration = check_number("calibration", calibration, 0, 1e6)
    largest = int(lists.max(initial=-1))
    unit = None if vectors is None else _unit(vectors, largest)
    belongs = None if categories is None else _categories(categories, largest)
    own = None if mix is None else _mix(mix, n, belongs, single)
    for name, wanted, needed, what in (
        ("variety", variety > 0, unit, "vectors"),
        ("calibration", calibration > 0, belongs, "categories"),
        ("calibration", calibration > 0, own, "mix"),
        ("most_of_a_category", most_of_a_category is not None, belongs, "categories"),
    ):
        if wanted and needed is None:
            raise ParameterError(f"{name} is given without {what}; pass {what}, or leave {name} out")
    most_of = None if most_of_a_category is None else check_integer("most_of_a_category", most_of_a_category, 1)
    room = None
    if most_lists is not None:
        room = np.full(largest + 2, check_integer("most_lists", most_lists, 1))
    lowest = np.finfo(given.dtype).min
    open_ = (lists >= 0) & (given > lowest)
    chosen, kept = np.full((n, N), -1, dtype=np.int32), np.full((n, N), lowest, dtype=given.dtype)
    relevance = _between_0_and_1(given.astype(np.float64), open_)
    width = n_candidates * max(0 if unit is None else unit.shape[1], 0 if belongs is None else belongs.shape[1], 1)
    at_once = max(1, AT_ONCE // max(width, 1))
    if room is not None:  # everybody chooses at the same time
        check_memory(24 * n * width, f"the candidates of {n} users", "re-rank fewer at a time, or leave most_lists out")
        at_once = max(n, 1)
    for first in range(0, n, at_once):
        users = slice(first, first + at_once)
        step = _Lists(
            lists[users], relevance[users], open_[users], unit if variety > 0 else None, variety,
            belongs if calibration > 0 or most_of is not None else None, None if own is None else own[users],
            calibration, most_of,
        )  # fmt: skip
        for place in range(min(N, n_candidates)):
            picked = step.next(room)
            rows = np.flatnonzero(picked >= 0)
            chosen[first + rows, place] = lists[first + rows, picked[rows]]
            kept[first + rows, place] = given[first + rows, picked[rows]]
    return (chosen[0], kept[0]) if single else (chosen, kept)


def mix_of(user_items: csr_matrix, categories: Any) -> NDArray[np.float64]:
    """Return the share of every category in what users have, shape (users, categories): every item counts the same.

    An item of several categories counts in equal parts. Rows of users without items are zeros.

    Parameters
    ----------
    user_items : csr_matrix, shape (users, items)
    categories : csr_matrix or array, shape (items, categories)
        Above 0 where an item is of a category.

    Returns
    -------
    float64 array, shape (users, categories)

    Raises
    ------
    DataError
        Matrices that do not fit together.

    Examples
    --------
    >>> import numpy as np
    >>> from scipy.sparse import csr_matrix
    >>> from rfm_recsys.reranking import mix_of
    >>> genres = np.array([[1, 0], [1, 1], [0, 1]])
    >>> mix_of(csr_matrix([[1, 1, 0], [0, 0, 1]]), genres).tolist()
    [[0.75, 0.25], [0.0, 1.0]]
    """
    shares = _categories(categories, user_items.shape[1] - 1)
    ones = csr_matrix((np.ones(user_items.nnz), user_items.indices, user_items.indptr), shape=user_items.shape)
    total = np.asarray(ones @ shares)
    return np.asarray(total / np.maximum(total.sum(axis=1, keepdims=True), np.finfo(np.float64).tiny))


class _Lists:
    """The lists of some users while they are made."""

    def __init__(
        self,
        lists: NDArray[Any],
        relevance: NDArray[np.float64],
        open_: NDArray[np.bool_],
        unit: NDArray[Any] | None,
        variety: float,
        belongs: NDArray[np.float64] | None,
        own: NDArray[np.float64] | None,
        calibration: float,
        most_of: int | None,
    ) -> None:
        self.lists, self.open, self.most_of = lists, open_.copy(), most_of
        self.places = np.where(open_, lists, 0)
        self.base = (1 - variety) * relevance
        self.vectors = None if unit is None else unit[self.places]
        self.variety, self.nearest = variety, np.full(lists.shape, 0.0)
        self.shares = None if belongs is None else belongs[self.places]
        self.own, self.calibration = own, calibration
        self.total = np.zeros((len(lists), 0 if belongs is None else belongs.shape[1]))
        self.counts = np.zeros_like(self.total, dtype=np.int64)
        self.length = 0

    def next(self, room: NDArray[np.int64] | None) -> NDArray[np.intp]:
        """Choose the next item of every user; return its place among the candidates, -1 where none is left."""
        value = self.base - self.variety * self.nearest
        if self.shares is not None and self.own is not None and self.calibration > 0:
            value = value - self.calibration * self._divergence()
        allowed = self.open.copy()
        if self.most_of is not None and self.shares is not None:
            full = self.counts >= self.most_of
            allowed &= ~((self.shares > 0) & full[:, None, :]).any(axis=2)
        value = np.where(allowed, value, -np.inf)
        picked = _assigned(value, self.lists, room)
        rows = np.flatnonzero(picked >= 0)
        self.open[rows, picked[rows]] = False
        if self.vectors is not None:
            latest = self.vectors[rows, picked[rows]]
            cosines = np.einsum("ncd,nd->nc", self.vectors[rows], latest)
            self.nearest[rows] = np.maximum(self.nearest[rows], cosines) if self.length else cosines
        if self.shares is not None:
            self.total[rows] += self.shares[rows, picked[rows]]
            self.counts[rows] += self.shares[rows, picked[rows]] > 0
        self.length += 1
        return picked

    def _divergence(self) -> NDArray[np.float64]:
        """Return KL(own mix, mix of the list with each candidate)."""
        assert self.shares is not None
        assert self.own is not None
        own = self.own[:, None, :]
        listed = (self.total[:, None, :] + self.shares) / (self.length + 1)
        smooth = (1 - SMOOTHING) * listed + SMOOTHING * own
        ratio = np.divide(own, smooth, out=np.ones_like(smooth), where=own > 0)
        return np.asarray((own * np.log(ratio)).sum(axis=2))


def _assigned(value: NDArray[np.float64], lists: NDArray[Any], room: NDArray[np.int64] | None) -> NDArray[np.intp]:
    """Return the best candidate of each row, -1 for none; those who value an item most have it while there is room."""
    if value.shape[1] == 0:
        return np.full(len(value), -1)
    picked = np.full(len(value), -1)
    waiting = np.flatnonzero(value.max(axis=1) > -np.inf)
    while len(waiting):
        best = value[waiting].argmax(axis=1)
        if room is None:
            picked[waiting] = best
            break
        items, worth = lists[waiting, best], value[waiting, best]
        order = np.lexsort((waiting, -worth, items))
        ordered = items[order]
        rank = np.arange(len(order)) - np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])[
            np.cumsum(np.r_[False, ordered[1:] != ordered[:-1]])
        ]  # fmt: skip
        fits = rank < room[ordered]
        served, refused = order[fits], order[~fits]
        picked[waiting[served]] = best[served]
        room -= np.bincount(items[served], minlength=len(room))
        value[waiting[refused], best[refused]] = -np.inf
        waiting = np.sort(waiting[refused])
        waiting = waiting[value[waiting].max(axis=1) > -np.inf]
    return picked


def _between_0_and_1(scores: NDArray[np.float64], open_: NDArray[np.bool_]) -> NDArray[np.float64]:
    highest = np.where(open_, scores, -np.inf).max(axis=1, keepdims=True, initial=-np.inf)
    lowest = np.where(open_, scores, np.inf).min(axis=1, keepdims=True, initial=np.inf)
    width = np.where(highest > lowest, highest - lowest, 1)
    return np.where(open_, (scores - np.where(np.isfinite(lowest), lowest, 0)) / width, 0)


def _unit(vectors: ArrayLike, largest: int) -> NDArray[Any]:
    array = np.asarray(vectors)
    if array.ndim != 2 or array.dtype.kind not in "iuf" or len(array) <= largest or not np.isfinite(array).all():
        raise DataError(f"vectors are {array.dtype} of the shape {array.shape}; pass a row of finite numbers an item")
    array = array.astype(np.promote_types(array.dtype, np.float32))
    return np.asarray(array / row_norms(array)[:, None])


def _categories(categories: Any, largest: int) -> NDArray[np.float64]:
    """Return the shares of an item's categories, which add up to 1, or are 0."""
    array = np.asarray(categories.toarray() if issparse(categories) else categories)
    fine = array.ndim == 2 and array.dtype.kind in "biuf" and len(array) > largest
    if not fine or not np.isfinite(array).all() or (array < 0).any():
        raise DataError(
            f"categories are {array.dtype} of the shape {array.shape}; pass a row an item, 1 for each of its categories"
        )
    shares = array.astype(np.float64)
    return np.asarray(shares / np.maximum(shares.sum(axis=1, keepdims=True), np.finfo(np.float64).tiny))


def _mix(mix: ArrayLike, n: int, belongs: NDArray[np.float64] | None, single: bool) -> NDArray[np.float64]:
    array = np.asarray(mix, dtype=np.float64)
    array = array[None] if single and array.ndim == 1 else array
    columns = None if belongs is None else belongs.shape[1]
    if array.ndim != 2 or array.shape != (n, columns) or not np.isfinite(array).all() or (array < 0).any():
        raise DataError(
            f"mix has the shape {np.shape(mix)}; pass a row for each of {n} users and a number for each of {columns} "
            "categories"
        )
    return np.asarray(array / np.maximum(array.sum(axis=1, keepdims=True), np.finfo(np.float64).tiny))
