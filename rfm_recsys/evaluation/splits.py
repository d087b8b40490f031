"""Splits of interactions into what a model may see, what it is tuned on, and what it is tested on in the end.

Every stored entry is an interaction, whatever its value, and values are passed on as they are. Entries of a matrix that
stand for the same user and item are added up first. Put back together, the parts of a split are the input exactly.

All functions take a SciPy sparse matrix of users x items or :class:`~rfm_recsys.datasets.Interactions`; those that go
by time take the latter only. None alters its input.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeAlias, TypeVar, overload

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from rfm_recsys.core.arrays import canonical, row_of_entry
from rfm_recsys.core.checks import check_integer, check_number
from rfm_recsys.core.renamed import former_names
from rfm_recsys.datasets import Interactions
from rfm_recsys.errors import DataError, ParameterError, ParameterTypeError

MIN_ITEMS = 5  # of a held-out user
TARGET_STRIDE = 5  # one in so many of a held-out user's items is to be found: 20%
DEFAULT_HELD_OUT = 600  # users at most, and a tenth of all users at most
TRAIN, VALIDATION, TEST = range(3)

Seed: TypeAlias = int | np.random.Generator


Function = TypeVar("Function", bound=Callable[..., Any])
SPLITS: dict[str, Callable[..., "Split"]] = {}


def split(function: Function) -> Function:
    """Register a function that returns a :class:`Split`, so that protocols know it by its name."""
    SPLITS[function.__name__] = function
    return function


@dataclass(frozen=True)
class Fold:
    """What a model is fitted to, and what it is then measured on. Users without targets are not among ``users``.

    Attributes
    ----------
    train : csr_matrix, shape (n_train_users, n_items)
        What the model is fitted to.
    users : intp array, shape (n,)
        Row numbers, in the original matrix, of the users to rank for, ascending.
    fold_in : csr_matrix, shape (n, n_items)
        What each of these users has already, and is not to be recommended again.
    target : csr_matrix, shape (n, n_items)
        What is to be found; disjoint from ``fold_in``.
    known : bool
        True: ``users`` are rows of ``train``, and ``fold_in`` is ``train[users]``. False: ``train`` lacks these users,
        and they are folded in.
    items : intp array, shape (m,), or None
        The items to rank among, ascending; None is all.
    item_features : csr_matrix, shape (n_items, d), or None
    user_features : csr_matrix, shape (n_train_users, d), or None
        What describes items and users, for the models that take it.

    Examples
    --------
    >>> from rfm_recsys.datasets import synthetic_movielens
    >>> from rfm_recsys.evaluation import random_fraction
    >>> split = random_fraction(synthetic_movielens(60, 40, 900))
    >>> split.test.train.nnz + split.test.target.nnz
    900
    """

    train: sp.csr_matrix
    users: NDArray[np.intp]
    fold_in: sp.csr_matrix
    target: sp.csr_matrix
    known: bool
    items: NDArray[np.intp] | None = None
    item_features: sp.csr_matrix | None = None
    user_features: sp.csr_matrix | None = None


@dataclass(frozen=True)
class Split:
    """A fold to tune on, and a fold that is read once, at the end.

    Where users are known, ``test.train`` is ``validation.train`` and all of validation's targets; where they are not,
    both folds have the same ``train``.

    Parameters
    ----------
    validation, test : Fold

    Examples
    --------
    >>> from rfm_recsys.datasets import synthetic_movielens
    >>> from rfm_recsys.evaluation import leave_k_out
    >>> split = leave_k_out(synthetic_movielens(60, 40, 900))
    >>> bool((split.validation.users == split.test.users).all())
    True
    """

    validation: Fold
    test: Fold


def canonical_csr(matrix: Any) -> sp.csr_matrix:
    """Return a sparse matrix as a ``csr_matrix`` with sorted columns and no entry stored twice, the input unaltered.

    Raises
    ------
    ParameterTypeError
        Not a SciPy sparse matrix.
    DataError
        Not of two dimensions, or corrupt.
    """
    if not sp.issparse(matrix):
        raise ParameterTypeError(f"a {type(matrix).__name__} is no SciPy sparse matrix; pass csr_matrix(...) of it")
    if matrix.ndim != 2:
        raise DataError(f"the matrix has {matrix.ndim} dimension(s); pass users x items")
    try:
        csr = sp.csr_matrix(matrix)
        csr.check_format(full_check=True)
    except (ValueError, IndexError) as error:
        raise DataError(f"the matrix is corrupt: {error}; rebuild it, e.g. from its COO triplets") from error
    return canonical(csr)


@split
@former_names(seed="random_state")
def strong_generalisation(data: Any, held_out_users: int | None = None, random_state: Seed = 0) -> Split:
    """Hold out users, show four fifths of each one's items and keep a fifth to be found (Liang et al. 2018).

    Parameters
    ----------
    data : sparse matrix, shape (n_users, n_items), or Interactions
    held_out_users : int, optional
        How many users to validate on, and how many others to test on, each with at least 5 items; by default 600, or a
        tenth of all users where that is less. A fifth of each one's items, rounded down, is the target.
    random_state : int or Generator
        Makes the choice of users and items.

    Returns
    -------
    Split

    Raises
    ------
    ParameterError
        If ``held_out_users`` is less than 1.
    DataError
        If too few users have 5 items, or no interaction is left to train on.

    Examples
    --------
    >>> from rfm_recsys.datasets import synthetic_movielens
    >>> from rfm_recsys.evaluation import strong_generalisation
    >>> split = strong_generalisation(synthetic_movielens(60, 40, 900), 5)
    >>> len(split.test.users), split.test.known
    (5, False)
    """
    matrix, _ = _entries(data)
    n_users = matrix.shape[0]
    counts = np.diff(matrix.indptr)
    eligible = np.flatnonzero(counts >= MIN_ITEMS)
    if held_out_users is None:
        held_out_users = max(1, min(DEFAULT_HELD_OUT, n_users // 10))
    held_out_users = check_integer("held_out_users", held_out_users, 1)
    if 2 * held_out_users > len(eligible):
        raise DataError(
            f"{len(eligible)} of {n_users} users have {MIN_ITEMS} items or more, and 2 x {held_out_users} are to be "
            "held out; pass more interactions or a smaller held_out_users"
        )
    rng = np.random.default_rng(random_state)
    chosen = rng.choice(eligible, 2 * held_out_users, replace=False)
    train = matrix[np.setdiff1d(np.arange(n_users), chosen)]
    if train.nnz == 0:
        raise DataError(
            f"holding out 2 x {held_out_users} of {n_users} users leaves no interaction to train on; "
            "pass more users or a smaller held_out_users"
        )
    rows = _rows(matrix)
    is_target = _places(matrix, rng.random(matrix.nnz)) < (counts // TARGET_STRIDE)[rows]
    fold_in, target = _pick(matrix, ~is_target), _pick(matrix, is_target)

    def fold(users: NDArray[np.intp]) -> Fold:
        return Fold(train, users, fold_in[users], target[users], known=False)

    return Split(fold(np.sort(chosen[:held_out_users])), fold(np.sort(chosen[held_out_users:])))


@split
@former_names(seed="random_state")
def random_fraction(data: Any, fraction: float = 0.2, random_state: Seed = 0) -> Split:
    """Test on that fraction of each user's items, chosen at random, and validate on the same fraction of the rest.

    Both are rounded down, so that at least one item of each user is left to train on.

    Parameters
    ----------
    data : sparse matrix, shape (n_users, n_items), or Interactions
    fraction : float, above 0 and below 1
    random_state : int or Generator

    Returns
    -------
    Split

    Raises
    ------
    ParameterError
        A fraction outside these bounds.
    DataError
        If no user has enough items to validate on.

    Examples
    --------
    >>> from rfm_recsys.datasets import synthetic_movielens
    >>> from rfm_recsys.evaluation import random_fraction
    >>> split = random_fraction(synthetic_movielens(60, 40, 900), 0.2)
    >>> split.test.train.shape
    (60, 40)
    """
    share = _fraction(fraction, 1)
    matrix, _ = _entries(data)
    counts = np.diff(matrix.indptr)
    n_test = _share(counts, share)
    n_validation = _share(counts - n_test, share)
    places = _places(matrix, np.random.default_rng(random_state).random(matrix.nnz))
    return _by_place(matrix, places, n_test, n_validation, f"fraction={fraction}")


@split
@former_names(seed="random_state")
def leave_k_out(data: Any, k: int = 1, random_state: Seed = 0) -> Split:
    """Test on k items of each user, chosen at random, and validate on k others.

    Users with fewer than 2 k + 1 items are wholly in the training part.

    Parameters
    ----------
    data : sparse matrix, shape (n_users, n_items), or Interactions
    k : int
    random_state : int or Generator

    Returns
    -------
    Split

    Raises
    ------
    ParameterError
        If k is less than 1.
    DataError
        If no user has 2 k + 1 items.

    Examples
    --------
    >>> from rfm_recsys.datasets import synthetic_movielens
    >>> from rfm_recsys.evaluation import leave_k_out
    >>> split = leave_k_out(synthetic_movielens(60, 40, 900))
    >>> {*split.test.target.getnnz(axis=1).tolist()}
    {1}
    """
    matrix, _ = _entries(data)
    return _leave_out(matrix, _places(matrix, np.random.default_rng(random_state).random(matrix.nnz)), k)


@split
def leave_last_out(interactions: Interactions, k: int = 1) -> Split:
    """Test on the last k items of each user by time, and validate on the k before them.

    Users with fewer than 2 k + 1 items are wholly in the training part. Of items with the same timestamp, that of the
    higher index counts as the later.

    Parameters
    ----------
    interactions : Interactions
        With timestamps.
    k : int, at least 1

    Returns
    -------
    Split

    Raises
    ------
    ParameterError
        If k is less than 1.
    DataError
        If there are no timestamps, or no user has 2 k + 1 items.

    Examples
    --------
    >>> from rfm_recsys.datasets import synthetic_movielens
    >>> from rfm_recsys.evaluation import leave_last_out
    >>> split = leave_last_out(synthetic_movielens(60, 40, 900))
    >>> {*split.test.target.getnnz(axis=1).tolist()}
    {1}
    """
    matrix, times = _timed(interactions)
    return _leave_out(matrix, _places(matrix, -matrix.indices.astype(np.int64), -times), k)


@split
def time_split(interactions: Interactions, fraction: float = 0.1) -> Split:
    """Test on the last fraction of all interactions by time, and validate on as many before them, rounded down.

    Of interactions with the same timestamp, those of the higher user index, then item index, count as the later. A user
    who has targets and no interaction before them is kept, with an empty row of ``fold_in`` (and of ``train``): all
    that a model can go by is what it recommends to anybody.

    Parameters
    ----------
    interactions : Interactions
        With timestamps.
    fraction : float, above 0 and below 0.5

    Returns
    -------
    Split

    Raises
    ------
    ParameterError
        A fraction outside these bounds.
    DataError
        If there are no timestamps, or too few interactions for one to be tested on.

    Examples
    --------
    >>> from rfm_recsys.datasets import synthetic_movielens
    >>> from rfm_recsys.evaluation import time_split
    >>> split = time_split(synthetic_movielens(60, 40, 900), 0.1)
    >>> split.test.target.nnz
    90
    """
    share = _fraction(fraction, 0.5)
    matrix, times = _timed(interactions)
    size = int(_share(np.array(matrix.nnz), share))
    if size == 0:
        raise DataError(
            f"fraction={fraction} of {matrix.nnz} interactions is none; pass more data or a larger fraction"
        )
    latest = np.lexsort((matrix.indices, _rows(matrix), times))[::-1]
    part = np.full(matrix.nnz, TRAIN, dtype=np.int8)
    part[latest[:size]] = TEST
    part[latest[size : 2 * size]] = VALIDATION
    return _known(matrix, part)


@split
def cold_items(data: Any, fraction: float = 0.1, shown: int = 0, mixed: bool = False, random_state: Seed = 0) -> Split:
    """Test on a fraction of the items as new ones, of which nobody's interactions are known, and validate on others.

    For models that take features of items (``Protocol.apply`` passes them on).

    Parameters
    ----------
    data : sparse matrix, shape (n_users, n_items), or Interactions
    fraction : float, above 0 and below 0.5
        Of the items that have interactions, rounded down, and at least one.
    shown : int
        How many interactions of each new item are known, at random; items that have no more are not among the new.
    mixed : bool
        Rank new items among all; the same fraction of each user's other items is then to be found, too. Otherwise
        among the new items alone.
    random_state : int or Generator

    Returns
    -------
    Split

    Raises
    ------
    ParameterError
        A fraction outside these bounds, or ``shown`` below 0.
    DataError
        Too few items have more than ``shown`` interactions.

    Examples
    --------
    >>> from rfm_recsys.datasets import synthetic_movielens
    >>> from rfm_recsys.evaluation import cold_items
    >>> split = cold_items(synthetic_movielens(60, 40, 900))
    >>> len(split.test.items), split.test.train[:, split.test.items].nnz
    (4, 0)
    """
    matrix, _ = _entries(data)
    rng = np.random.default_rng(random_state)
    new = _strangers(matrix.indices, matrix.shape[1], fraction, shown, rng)
    part = _hidden(matrix.indices, new, shown, rng)
    if mixed:
        old, rows = new[matrix.indices] == TRAIN, _rows(matrix)
        of_each = _share(np.bincount(rows[old], minlength=matrix.shape[0]), fraction)
        places = _places(matrix, rng.random(matrix.nnz), ~old)  # old ones first
        part[old] = _parts(places, of_each[rows], of_each[rows])[old]
        return _known(matrix, part)
    both = _known(matrix, part)
    return Split(
        replace(both.validation, items=np.flatnonzero(new == VALIDATION)),
        replace(both.test, items=np.flatnonzero(new == TEST)),
    )


@split
def cold_users(data: Any, fraction: float = 0.1, shown: int = 0, random_state: Seed = 0) -> Split:
    """Test on a fraction of the users as new ones, of whom nothing or little is known, and validate on others.

    For models that take features of users (``Protocol.apply`` passes them on). New users are empty rows of ``train``.

    Parameters
    ----------
    data : sparse matrix, shape (n_users, n_items), or Interactions
    fraction : float, above 0 and below 0.5
        Of the users that have interactions, rounded down, and at least one.
    shown : int
        How many interactions of each new user are known, at random; users who have no more are not among the new.
    random_state : int or Generator

    Returns
    -------
    Split

    Raises
    ------
    ParameterError
        A fraction outside these bounds, or ``shown`` below 0.
    DataError
        Too few users have more than ``shown`` interactions.

    Examples
    --------
    >>> from rfm_recsys.datasets import synthetic_movielens
    >>> from rfm_recsys.evaluation import cold_users
    >>> split = cold_users(synthetic_movielens(60, 40, 900))
    >>> len(split.test.users), split.test.fold_in.nnz
    (6, 0)
    """
    matrix, _ = _entries(data)
    rng = np.random.default_rng(random_state)
    rows = _rows(matrix)
    return _known(matrix, _hidden(rows, _strangers(rows, matrix.shape[0], fraction, shown, rng), shown, rng))


@split
def given_split(train: Any, validation: Any, test: Any) -> Split:
    """Return a published split, such as LightGCN's, as a :class:`Split` of known users.

    Parameters
    ----------
    train, validation, test : sparse matrices, shape (n_users, n_items)
        With no entry in common. Users without training items are kept, with an empty row of ``fold_in``.

    Returns
    -------
    Split

    Raises
    ------
    DataError
        If shapes differ, a part is empty, or two parts have an entry in common.

    Examples
    --------
    >>> import numpy as np
    >>> from scipy.sparse import csr_matrix
    >>> from rfm_recsys.evaluation import given_split
    >>> train, validation, test = (csr_matrix(np.eye(4, k=k)) for k in (0, 1, 2))
    >>> given_split(train, validation, test).test.target.nnz
    2
    """
    parts = {name: canonical_csr(part) for name, part in (("train", train), ("validation", validation), ("test", test))}
    shapes = {name: part.shape for name, part in parts.items()}
    if len({*shapes.values()}) > 1:
        raise DataError(f"the parts have the shapes {shapes}; pass matrices of one shape, e.g. from read_lightgcn()")
    for name, part in parts.items():
        if part.nnz == 0:
            raise DataError(f"{name} has no interaction; pass at least one, taken out of another part")
    stacked = sp.vstack([part.tocoo() for part in parts.values()], format="coo")
    users, items = stacked.row % train.shape[0], stacked.col
    part = np.repeat(np.arange(3, dtype=np.int8), [matrix.nnz for matrix in parts.values()])
    order = np.lexsort((items, users))
    users, items, part = users[order], items[order], part[order]
    common = np.flatnonzero((users[1:] == users[:-1]) & (items[1:] == items[:-1]))
    if len(common):
        at = common[0]
        raise DataError(
            f"user {users[at]} has item {items[at]} in {list(parts)[part[at]]} and in {list(parts)[part[at + 1]]}; "
            "remove it from one of them"
        )
    return _known(_csr(users, items, stacked.data[order], train.shape), part)


@overload
def k_core(data: Interactions, users: int = 5, items: int = 5) -> Interactions: ...
@overload
def k_core(
    data: sp.spmatrix | sp.sparray, users: int = 5, items: int = 5
) -> tuple[sp.csr_matrix, NDArray[np.intp], NDArray[np.intp]]: ...
def k_core(data: Any, users: int = 5, items: int = 5) -> Any:
    """Drop users and items with few interactions, over and over, until every one that is left has enough.

    Parameters
    ----------
    data : sparse matrix, shape (n_users, n_items), or Interactions
    users, items : int
        The fewest interactions that a user, and an item, must have.

    Returns
    -------
    Interactions or tuple
        For Interactions, Interactions: with new indices, and the right ids. For a matrix, (core, users, items): a
        csr_matrix, shape (m_users, m_items), and the rows and columns of ``data`` that are left, ascending: ``core``
        is ``data[users][:, items]``.

    Raises
    ------
    ParameterError
        If ``users`` or ``items`` is less than 1.
    DataError
        If nothing is left.

    Examples
    --------
    >>> from rfm_recsys.datasets import synthetic_movielens
    >>> from rfm_recsys.evaluation import k_core
    >>> core = k_core(synthetic_movielens(60, 40, 900), users=10, items=10)
    >>> int(core.to_csr().getnnz(axis=0).min()) >= 10
    True
    """
    least_of_users, least_of_items = check_integer("users", users, 1), check_integer("items", items, 1)
    matrix, times = _entries(data)
    rows, columns = _rows(matrix), matrix.indices.astype(np.intp)
    kept = np.arange(matrix.nnz)
    while True:
        enough = (np.bincount(rows[kept], minlength=1)[rows[kept]] >= least_of_users) & (
            np.bincount(columns[kept], minlength=1)[columns[kept]] >= least_of_items
        )
        if enough.all():
            break
        kept = kept[enough]
    if len(kept) == 0:
        raise DataError(
            f"nothing is left where every user has {users} items and every item {items} users; pass lower numbers"
        )
    left_users, new_users = np.unique(rows[kept], return_inverse=True)
    left_items, new_items = np.unique(columns[kept], return_inverse=True)
    values = matrix.data[kept]
    if isinstance(data, Interactions):
        return replace(
            data,
            users=new_users.astype(np.intp),
            items=new_items.astype(np.intp),
            values=values,
            timestamps=None if times is None else times[kept],
            user_ids=data.user_ids[left_users],
            item_ids=data.item_ids[left_items],
            user_features=None if data.user_features is None else data.user_features[left_users],
            item_features=None if data.item_features is None else data.item_features[left_items],
        )
    return _csr(new_users, new_items, values, (len(left_users), len(left_items))), left_users, left_items


def _entries(data: Any) -> tuple[sp.csr_matrix, NDArray[np.int64] | None]:
    """Return data as a canonical matrix, and the timestamps of its entries, shape (nnz,), where there are any."""
    if not isinstance(data, Interactions):
        return canonical_csr(data), None
    order = np.lexsort((data.items, data.users))
    users, items = data.users[order], data.items[order]
    twice = np.flatnonzero((users[1:] == users[:-1]) & (items[1:] == items[:-1]))
    if len(twice):
        raise DataError(
            f"user {data.user_ids[users[twice[0]]]} has item {data.item_ids[items[twice[0]]]} more than once; "
            "make the table with from_frame(), which takes duplicates out"
        )
    times = None if data.timestamps is None else data.timestamps[order]
    return _csr(users, items, data.values[order], data.shape), times


def _timed(interactions: Any) -> tuple[sp.csr_matrix, NDArray[np.int64]]:
    if not isinstance(interactions, Interactions):
        raise DataError(f"a {type(interactions).__name__} has no timestamps; pass Interactions with timestamps")
    matrix, times = _entries(interactions)
    if times is None:
        raise DataError(
            "the interactions have no timestamps; name their column when reading, call it timestamp, or split at random"
        )
    return matrix, times


def _csr(users: Any, items: Any, values: Any, shape: tuple[int, int]) -> sp.csr_matrix:
    """Return a matrix of entries that are sorted by user, then item."""
    indptr = np.concatenate(([0], np.cumsum(np.bincount(users, minlength=shape[0]))))
    return sp.csr_matrix((values, items, indptr), shape=shape)


def _rows(matrix: sp.csr_matrix) -> NDArray[np.intp]:
    """Return the row of each entry, shape (nnz,)."""
    return row_of_entry(matrix.indptr)


def _places(matrix: sp.csr_matrix, *keys: NDArray[Any]) -> NDArray[np.intp]:
    """Return each entry's place, from 0, in its row when that is sorted by ``keys``, of which the last counts most."""
    return _places_among(_rows(matrix), *keys)


def _places_among(groups: NDArray[Any], *keys: NDArray[Any]) -> NDArray[np.intp]:
    """Return each entry's place, from 0, in its group sorted by ``keys``, of which the last counts most."""
    order = np.lexsort((*keys, groups))
    starts = np.concatenate(([0], np.cumsum(np.bincount(groups))))
    places = np.empty(len(groups), dtype=np.intp)
    places[order] = np.arange(len(groups)) - starts[groups[order]]
    return places


def _fraction(fraction: float, below: float) -> float:
    number = check_number("fraction", fraction, 0, above=True)
    if number >= below:
        raise ParameterError(f"fraction is {fraction}; pass a number above 0 and below {below}")
    return number


def _strangers(who: NDArray[Any], n: int, fraction: float, shown: int, rng: np.random.Generator) -> NDArray[np.int8]:
    """Return the part in which each of n items, or users, is new, by those of the entries; TRAIN where in none."""
    share = _fraction(fraction, 0.5)
    counts = np.bincount(who, minlength=n)
    able = np.flatnonzero(counts > check_integer("shown", shown, 0))
    size = max(1, int(_share(np.array(np.count_nonzero(counts)), share)))
    if 2 * size > len(able):
        raise DataError(
            f"2 x {size} are to be new, and {len(able)} have more than {shown} interactions; pass more data, or a "
            "smaller fraction"
        )
    chosen = rng.choice(able, 2 * size, replace=False)
    part = np.full(n, TRAIN, dtype=np.int8)
    part[chosen[:size]], part[chosen[size:]] = TEST, VALIDATION
    return part


def _hidden(who: NDArray[Any], new: NDArray[np.int8], shown: int, rng: np.random.Generator) -> NDArray[np.int8]:
    """Return the part of each entry: that of its item, or user, but for ``shown`` entries of each at random."""
    return np.where(_places_among(who, rng.random(len(who))) < shown, np.int8(TRAIN), new[who])


def _share(counts: NDArray[np.integer], share: float) -> NDArray[np.intp]:
    """Return ``share`` of counts, rounded down, except where it is a whole number but for floating-point error."""
    return np.asarray(np.floor(counts * share + 1e-9).astype(np.intp))


def _leave_out(matrix: sp.csr_matrix, places: NDArray[np.intp], k: int) -> Split:
    least = 2 * check_integer("k", k, 1) + 1
    left_out = np.where(np.diff(matrix.indptr) >= least, k, 0)
    return _by_place(matrix, places, left_out, left_out, f"k={k}")


def _by_place(
    matrix: sp.csr_matrix, places: NDArray[np.intp], n_test: NDArray[np.intp], n_validation: NDArray[np.intp], what: str
) -> Split:
    """Test on each row's first entries by place, and validate on those after them; counts of shape (n_users,)."""
    if not n_validation.any() or not n_test.any():
        counts = np.diff(matrix.indptr)
        raise DataError(
            f"no user has enough items for {what}: the most are {counts.max(initial=0)}; pass more interactions or "
            "another value"
        )
    rows = _rows(matrix)
    return _known(matrix, _parts(places, n_test[rows], n_validation[rows]))


def _parts(places: NDArray[np.intp], n_test: NDArray[np.intp], n_validation: NDArray[np.intp]) -> NDArray[np.int8]:
    """Return the part of each entry by its place: the first are for the test, and those after them validate."""
    return np.where(places < n_test, TEST, np.where(places < n_test + n_validation, VALIDATION, TRAIN)).astype(np.int8)


def _known(matrix: sp.csr_matrix, part: NDArray[np.int8]) -> Split:
    """Split a matrix by the part of each of its entries, shape (nnz,)."""

    def fold(target: int) -> Fold:
        train, to_find = _pick(matrix, part < target), _pick(matrix, part == target)
        users = np.flatnonzero(np.diff(to_find.indptr)).astype(np.intp)
        return Fold(train, users, train[users], to_find[users], known=True)

    return Split(fold(VALIDATION), fold(TEST))


def _pick(matrix: sp.csr_matrix, keep: NDArray[np.bool_]) -> sp.csr_matrix:
    """Return the stored entries of ``matrix`` where ``keep``, shape (nnz,), is true."""
    indptr = np.concatenate(([0], np.cumsum(keep)))[matrix.indptr]
    return sp.csr_matrix((matrix.data[keep], matrix.indices[keep], indptr), shape=matrix.shape)
