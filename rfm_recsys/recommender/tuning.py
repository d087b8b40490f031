"""What ``fit`` chooses by itself: of a few settings, those by which interactions that were hidden rank best.

Some interactions of some users are hidden, settings are fitted to the rest, and every one is measured by where it ranks
what was hidden. It begins with settings that are each best for some kind of data (`STARTS`), and goes on from the best
of them in steps. It takes a step where that is better by more than its standard error over the users, twice that where
they are a sample, and the norms of the start stay: a choice among many on the same users would fit these users. Where
more is asked for than there are steps, it draws at random.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from rfm_recsys.core.arrays import Floats, csr_arrays, row_of_entry
from rfm_recsys.core.linalg import multiply, weighted_gram
from rfm_recsys.core.ranking import top_dense, top_sparse
from rfm_recsys.errors import DataError
from rfm_recsys.recommender.agop import low_rank_map
from rfm_recsys.recommender.blocks import (
    CHOSEN,
    WAYS,
    FullUserBlock,
    Settings,
    UserBlock,
    solve_users,
    solve_users_full,
)
from rfm_recsys.recommender.rounds import eigenpairs, full_rounds, low_rank_rounds, norms
from rfm_recsys.recommender.values import confidences

log = logging.getLogger(__name__)

# For data too small to choose on.
FALLBACK: dict[str, Any] = {
    "regularization": 4.0, "alpha": 7.0, "iterations": 2, "oversampling": 0, "power": 0.35,
    "item_norm": 0.8, "prior_norm": 0.8, "user_norm": 0.8,
}  # fmt: skip
FULL_FORM = FALLBACK | {
    "regularization": 3.0, "alpha": 3.0, "iterations": 1, "power": 0.5, "item_norm": 0.35, "prior_norm": 0.0,
    "user_norm": 0.5,
}  # fmt: skip
ORDER = ("regularization", "alpha", "power", "item_norm", "prior_norm", "user_norm")
Start = tuple[tuple[float, ...], tuple[int, int]]  # a setting in that order, and rounds and oversampling
Moves = tuple[dict[str, int], ...]  # steps of some parameters at once
# those of the same norms side by side, which share their eigenpairs
STARTS: tuple[Start, ...] = (
    ((4.0, 7.0, 0.35, 0.75, 0.75, 0.6), (2, 0)),  # of equals the first
    ((14.0, 3.0, 0.4, 0.75, 0.1, 0.6), (1, 256)),
    ((13.0, 3.0, 0.27, 0.75, 0.05, 0.6), (1, 256)),
    ((16.0, 2.0, 0.6, 0.75, 0.0, 0.6), (1, 256)),
    ((10.0, 4.0, 0.37, 0.25, 0.1, 0.6), (2, 0)),
    ((32.0, 60.0, 0.22, 0.25, 0.2, 0.6), (2, 256)),
    ((7.0, 200.0, 0.55, 0.25, -0.3, 0.6), (1, 256)),
    ((14.0, 8.0, 0.55, 0.0, -0.45, 0.8), (1, 256)),
    ((60.0, 6.0, 0.23, 0.0, -0.7, 0.8), (2, 0)),
    ((1.5, 25.0, 0.25, 1.1, 1.0, 1.0), (2, 0)),
)
STEPS: dict[str, float] = {
    "regularization": 2.0, "alpha": 2.0, "power": 0.07, "item_norm": 0.2, "prior_norm": 0.2, "user_norm": 0.25,
}  # fmt: skip
RATIOS = ("regularization", "alpha")  # of which a step is a factor
MOVES: Moves = (
    {"prior_norm": -1}, {"prior_norm": 1},
    {"regularization": 1}, {"regularization": -1}, {"alpha": 1}, {"alpha": -1}, {"power": 1}, {"power": -1},
    {"regularization": 1, "alpha": -1}, {"regularization": -1, "alpha": 1},
)  # fmt: skip
# In the full form one round takes no eigenvectors at power 1/2, and other norms no longer than these.
FULL_STARTS: tuple[Start, ...] = (
    ((3.0, 3.0, 0.5, 0.35, 0.0, 0.5), (1, 0)),
    ((6.0, 3.0, 0.5, 0.25, 0.0, 0.5), (1, 0)),
    ((24.0, 24.0, 0.5, 0.55, 0.0, 1.0), (1, 0)),
)
FULL_MOVES: Moves = (
    {"regularization": 1}, {"regularization": -1}, {"alpha": 1}, {"alpha": -1},
    {"regularization": 1, "alpha": 1}, {"regularization": -1, "alpha": -1},
    {"item_norm": 1}, {"item_norm": -1}, {"prior_norm": -1}, {"prior_norm": 1}, {"user_norm": 1}, {"user_norm": -1},
)  # fmt: skip
FULL_ITEMS, FULL_USERS, FULL_ENTRIES = 1500, 1500, 2**20  # the most popular items, to choose the full form on
BOUNDS = {
    "regularization": (0.3, 100.0), "alpha": (0.7, 600.0), "power": (0.1, 0.6),
    "item_norm": (-0.5, 1.2), "prior_norm": (-1.0, 1.2), "user_norm": (0.0, 1.0),
}  # fmt: skip
CAUTION = (
    2.0  # standard errors that a step has to gain where the users are a sample: a whole differs from it in other ways
)
SAME_NORMS = 8  # settings drawn at random with the same norms
TRIALS = 32  # settings, the starts included

ENTRIES = 2**18  # interactions to choose on, those of users drawn at random
USERS, WORK = 6000, 2**32  # users with hidden interactions, and the products that it takes to rank for them
LEAST_USERS, LEAST_HIDDEN = 20, 50  # with fewer, nothing is chosen
HIDDEN, MOST_HIDDEN = 0.2, 0.3  # of all interactions, and of a user's
FACTORS, MOST_FACTORS, LEAST_FACTORS = 256, 128, 64  # to choose with: fewer where it is on a part of the interactions
NDCG, RECALL = 10, 20
TOLERANCE = 1e-2  # of the solves: order is all that counts

Row = dict[str, Any]  # a setting by name, and how it did


def settled(given: Mapping[str, float | None]) -> Row:
    """Return what of `CHOSEN` is given, and what goes with it: `prior_norm` and `oversampling`."""
    fixed = {name: value for name, value in given.items() if value is not None}
    if "item_norm" in fixed:
        fixed.setdefault("prior_norm", fixed["item_norm"])
    if "iterations" in fixed:
        fixed.setdefault("oversampling", 0)
    return fixed


def choose(
    weights: csr_matrix | None,
    given: Mapping[str, float | None],
    factors: int | None,
    trials: int = TRIALS,
    tell: Callable[[Row], Any] = lambda row: None,
) -> tuple[dict[str, Any], list[Row]]:
    """Return the settings to fit with, and the table of what was tried.

    Parameters
    ----------
    weights : csr_matrix, shape (users, items)
        As for :func:`rfm_recsys.recommender.rounds.block_of_users`; not needed where all is given.
    given : mapping
        Those of `CHOSEN` by name; None is to be chosen, and a number stays.
    factors : int or None
        Those of the fit.
    trials : int
        Settings to try, at most.
    tell : callable
        Called with each setting, as a row of the table.

    Returns
    -------
    chosen : dict
        All of `CHOSEN`.
    table : list of dict
        For every setting: its values, ``ndcg@10`` and ``recall@20`` of what was hidden, and ``score``, the root of
        their product. Empty where there was nothing to choose, or the data are too small for it.
    """
    fixed = settled(given)
    if len(fixed) == len(CHOSEN):
        return dict(fixed), []
    assert weights is not None
    generator = np.random.default_rng(0)  # the choice depends on the data alone
    try:
        if factors is None:
            search = Search(FullValidationUsers(weights, generator), FULL_STARTS, FULL_MOVES, fixed, trials, tell)
        else:
            search = Search(ValidationUsers(weights, factors, generator), STARTS, MOVES, fixed, trials, tell)
    except TooFewUsersError as reason:
        log.info("nothing chosen: %s", reason)
        return (FULL_FORM if factors is None else FALLBACK) | fixed, []
    search.start()
    search.step()
    if factors is not None:
        search.draw(generator)
    chosen = {name: search.best[0][name] for name in CHOSEN} | fixed
    log.info("chosen: %s", ", ".join(f"{name}={value:g}" for name, value in chosen.items()))
    return chosen, search.table


class Validation(Protocol):
    """Users of whom some interactions are hidden, to rank."""

    caution: float  # standard errors that a step has to gain
    oversampling: int  # the most that settings to come have

    def measure(self, values: Row, iterations: int, oversampling: int) -> Floats:
        """Return what :func:`quality` says of a setting."""


class Search:
    """A search for the best setting, from the best of some starts on in steps; see :func:`choose` for the rest.

    Attributes
    ----------
    table : list of dict
        All that was measured.
    best : tuple of dict and array, shape (users, 2)
        A row of the table, and its quality for each user.
    """

    best: tuple[Row, Floats]

    def __init__(
        self,
        users: Validation,
        starts: tuple[Start, ...],
        moves: Moves,
        fixed: Row,
        trials: int,
        tell: Callable[[Row], Any],
    ) -> None:
        self.users, self.starts, self.moves = users, starts, moves
        self.fixed, self.trials, self.tell = fixed, trials, tell
        self.ways = sorted({way for _, way in starts}, key=lambda way: (way[1], way[0]))
        self.table: list[Row] = []
        self.tried: set[tuple[float, ...]] = set()
        self.failure: DataError | None = None
        users.oversampling = max(self._given(way)[1] for way in self.ways)

    def start(self) -> None:
        """Take the best of the starts, in the way that suits it best; raises DataError where none can be fitted."""
        starts = [(dict(zip(ORDER, values, strict=True)), self._given(way)) for values, way in self.starts]
        found = [each for values, way in starts for each in self._tried(values, way)]
        if not found:
            assert self.failure is not None
            raise self.failure
        self.best = max(found, key=lambda each: float(each[0]["score"]))
        for way in self.ways:
            self._improves(self.best[0], self._given(way))

    def _given(self, way: tuple[int, int]) -> tuple[int, int]:
        """Return rounds and oversampling, those that are given in their place."""
        rounds, wider = int(self.fixed.get("iterations", way[0])), int(self.fixed.get("oversampling", way[1]))
        return min(rounds, max(WAYS)[0]), wider

    def step(self) -> None:
        """Go on from the best in steps, and in half steps, for as long as it gets better."""
        step, stuck = 1.0, False
        while len(self.tried) < self.trials and not (stuck and (step < 1 or self.users.caution > 1)):
            step, stuck = (step / 2 if stuck else step), True
            for move in self.moves:
                values = {name: self.best[0][name] for name in ORDER}
                if self._improves(values | {n: _moved(n, values[n], sign * step) for n, sign in move.items()}):
                    stuck = False

    def draw(self, generator: np.random.Generator) -> None:
        """Try settings at random for as many as are left; a few with the same norms, which share their eigenpairs."""
        kept: Row = {}
        for number in range(self.trials - len(self.tried)):
            values = {name: _drawn(name, generator) for name in ORDER}
            if number % SAME_NORMS == 0:
                kept = {name: values[name] for name in ("item_norm", "user_norm")}
            self._improves(values | kept)

    def _improves(self, values: Row, way: tuple[int, int] | None = None) -> bool:
        """Try a setting, if not told otherwise in the way of the best, and whether it is better."""
        for each in self._tried(values, way or (self.best[0]["iterations"], self.best[0]["oversampling"])):
            if _better(each[1], self.best[1], self.users.caution):
                self.best = each
                return True
        return False

    def _tried(self, values: Row, way: tuple[int, int]) -> list[tuple[Row, Floats]]:
        """Measure a setting with these rounds and oversampling; nothing if tried before, or if it cannot be fitted."""
        values = {name: self.fixed.get(name, values[name]) for name in ORDER}
        key = (*(round(values[name], 9) for name in ORDER), *way)
        if key in self.tried or len(self.tried) >= self.trials:
            return []
        self.tried.add(key)
        try:
            each = self.users.measure(values, *way)
        except DataError as error:  # beyond the precision
            self.failure = error
            return []
        ndcg, recall = map(float, each.mean(axis=0))
        row = {**values, "iterations": way[0], "oversampling": way[1], "ndcg@10": ndcg, "recall@20": recall}
        row["score"] = (ndcg * recall) ** 0.5
        self.table.append(row)
        self.tell(row)
        return [(row, each)]


def _moved(name: str, value: float, steps: float) -> float:
    moved = value * STEPS[name] ** steps if name in RATIOS else value + STEPS[name] * steps
    low, high = BOUNDS[name]
    return min(max(moved, min(low, value)), max(high, value))


def _drawn(name: str, generator: np.random.Generator) -> float:
    """Return a number within bounds; of the sizes of factors alike."""
    low, high = BOUNDS[name]
    if name in RATIOS:
        return float(np.exp(generator.uniform(np.log(low), np.log(high))))
    return float(generator.uniform(low, high))


def _better(quality: Floats, other: Floats, errors: float) -> bool:
    """Whether the scores of one setting are above another's by so many standard errors."""
    if not other.mean(axis=0).all():
        return bool((quality.mean(axis=0) > other.mean(axis=0)).any())
    difference = ((quality - other) / other.mean(axis=0)).mean(axis=1)
    return bool(difference.mean() > errors * difference.std() / np.sqrt(len(difference)))


class TooFewUsersError(Exception):
    """The data are too small to choose on."""


class ValidationUsers(UserBlock):
    """Users of whom some interactions are hidden, to rank; rounds run on what is left.

    Parameters
    ----------
    weights : csr_matrix, shape (users, items)
    factors : int
        Those of the fit that it is for.
    generator : Generator
    """

    def __init__(self, weights: csr_matrix, factors: int, generator: np.random.Generator) -> None:
        sample = _sampled(weights, generator, ENTRIES)
        share = sample.nnz / max(weights.nnz, 1)
        self.caution = 1.0 if share == 1 else CAUTION
        self.n_factors = min(factors, MOST_FACTORS, max(LEAST_FACTORS, round(FACTORS * share)))
        known, self.wanted, users = hide(sample, WORK // max(sample.shape[1] * self.n_factors, 1), generator)
        _check_number(users, self.wanted)
        super().__init__(known)
        self.tolerance = TOLERANCE
        self.known = known[users]
        self.weights, self.weights_by_item = known, self.by_item[2]
        self.oversampling = 0  # of the eigenpairs that are kept for the settings to come
        self.eigenpairs: tuple[tuple[float, float], Floats, Floats] | None = None
        self.basis_grams: dict[tuple[float, int], Floats] = {}

    def measure(self, values: Row, iterations: int, oversampling: int) -> Floats:
        """Return what :func:`quality` says of a setting."""
        settings = Settings(**values, factors=self.n_factors, iterations=iterations, oversampling=oversampling)
        known = confidences(self.known, settings.alpha)
        alpha = self.dtype.type(settings.alpha)
        self.confidence = confidences(self.weights, settings.alpha).data
        self.by_item = (*self.by_item[:2], self.weights_by_item * alpha)
        scale, prior_scale = norms(self, settings)
        norm = settings.item_norm, settings.user_norm
        if self.eigenpairs is None or self.eigenpairs[0] != norm:
            # regularization has next to no part in the eigenvectors of round 1, and alpha none
            widest = replace(settings, oversampling=max(oversampling, self.oversampling))
            e, Z, T = eigenpairs(self, widest, np.random.default_rng(0), scale)
            self.eigenpairs, self.basis_grams = (norm, e, multiply(Z, T)), {}
        e, V = (each[..., : settings.rank] for each in self.eigenpairs[1:])
        key = settings.prior_norm, settings.rank
        if key not in self.basis_grams:
            self.basis_grams[key] = weighted_gram(V, prior_scale).astype(np.float64)
        kept = self.n_factors if iterations == 1 else settings.rank
        n_active = int(np.count_nonzero(prior_scale))
        F = multiply(V, low_rank_map(e, self.basis_grams[key], n_active, settings.power, settings.penalty, kept))
        F *= prior_scale[:, None]
        self.items_gram = weighted_gram(F, scale)
        self.solve(F)
        for _ in low_rank_rounds(self, settings, range(1, iterations), np.random.default_rng(0)):
            pass
        U = solve_users(*csr_arrays(known), self.F, self.tolerance)
        ids, _ = top_dense(U, self.F, self.known, np.empty(0, dtype=np.intp), max(NDCG, RECALL))
        return quality(ids, self.wanted)

    def solve(self, F: Floats) -> None:
        """Take F; all users are solved for it when a later round asks for them."""
        self.F = F

    def grams(self) -> tuple[Floats, Floats]:
        """Return ``U^T U`` and ``U^T W U``, shape (factors, factors)."""
        super().solve(self.F)
        return super().grams()


class FullValidationUsers(FullUserBlock):
    """As :class:`ValidationUsers`, for the full form: on the most popular items, and ranked for fewer users.

    It takes a matrix of items x items for every setting. Fewer items have another best K, and next to the same settings
    of it.
    """

    def __init__(self, weights: csr_matrix, generator: np.random.Generator) -> None:
        popularity = np.bincount(weights.indices, minlength=weights.shape[1])
        items = np.sort(np.argsort(-popularity, kind="stable")[:FULL_ITEMS])
        sample = csr_matrix(_sampled(weights, generator, FULL_ENTRIES)[:, items])
        sample.sort_indices()
        self.weights, self.wanted, users = hide(sample, FULL_USERS, generator)
        _check_number(users, self.wanted)
        self.caution, self.oversampling = 1.0 if len(users) < FULL_USERS else CAUTION, 0
        self.users = users
        super().__init__(self.weights)

    def measure(self, values: Row, iterations: int, oversampling: int) -> Floats:
        """Return what :func:`quality` says of a setting."""
        settings = Settings(**values, iterations=iterations)
        known = confidences(self.weights, settings.alpha)
        self.confidence, self.S = known.data, None
        for _ in full_rounds(self, settings, range(iterations)):
            pass
        assert self.S is not None
        known = known[self.users]
        indptr, indices, confidence = csr_arrays(known)
        A, _ = solve_users_full(indptr, indices, confidence, self.S)
        coefficients = csr_matrix((A, indices, indptr), shape=known.shape)
        ids, _ = top_sparse(coefficients, self.S, known, np.empty(0, dtype=np.intp), max(NDCG, RECALL))
        return quality(ids, self.wanted)

    def solve(self, S: Floats) -> None:
        """Take S; all users are solved for it when a later round asks for them."""
        self.S = S

    def gram(self, scale: Floats) -> Floats:
        """Return ``D X^T W X D``, shape (items, items), for the diagonal ``scale`` of D."""
        if self.S is not None:
            super().solve(self.S)
        return super().gram(scale)


def _check_number(users: NDArray[np.intp], wanted: csr_matrix) -> None:
    if len(users) < LEAST_USERS or wanted.nnz < LEAST_HIDDEN:
        raise TooFewUsersError(f"there are {len(users)} users of whom {wanted.nnz} interactions can be hidden")


def _sampled(weights: csr_matrix, generator: np.random.Generator, entries: int) -> csr_matrix:
    """Return the rows of so many users, drawn at random, as have that many entries; of all if they have no more."""
    if weights.nnz <= entries:
        return weights
    order = generator.permutation(weights.shape[0])
    ends = np.cumsum(np.diff(weights.indptr)[order])
    return weights[np.sort(order[: max(1, np.searchsorted(ends, entries))])]


def hide(
    weights: csr_matrix, most_users: int, generator: np.random.Generator
) -> tuple[csr_matrix, csr_matrix, NDArray[np.intp]]:
    """Hide some of what some users like; return the rest, what is hidden, and the users.

    Returns
    -------
    known : csr_matrix, shape (users, items left)
        Without the items of which nothing is left.
    wanted : csr_matrix, shape (len(users), items left)
    users : array
        Those of whom something is hidden: all who like two items or more, but not more than ``most_users``.
    """
    row = row_of_entry(weights.indptr)
    liked = np.flatnonzero(weights.data > 0)
    n_liked = np.bincount(row[liked], minlength=weights.shape[0])
    able = np.flatnonzero(n_liked >= 2)
    users = np.sort(generator.permutation(able)[: min(max(most_users, LEAST_USERS), USERS)])
    share = min(MOST_HIDDEN, HIDDEN * len(liked) / max(1, n_liked[users].sum()))
    asked = np.zeros(weights.shape[0], dtype=bool)
    asked[users] = True
    liked = liked[asked[row[liked]]]
    liked = liked[np.lexsort((generator.random(len(liked)), row[liked]))]  # each user's in random order
    chance = generator.random(weights.shape[0])
    place = np.arange(len(liked)) - np.searchsorted(row[liked], row[liked])
    hidden = np.zeros(weights.nnz, dtype=bool)
    hidden[liked[place < np.floor(share * n_liked[row[liked]] + chance[row[liked]])]] = True
    left = np.zeros(weights.shape[1], dtype=bool)
    left[weights.indices[~hidden]] = True
    known, wanted = _entries(weights, ~hidden, left), _entries(weights, hidden & left[weights.indices], left)
    users = users[np.diff(wanted.indptr)[users] > 0]
    return known, wanted[users], users


def _entries(weights: csr_matrix, chosen: NDArray[np.bool_], columns: NDArray[np.bool_]) -> csr_matrix:
    """Return a matrix of some entries and columns only."""
    indptr = np.concatenate([[0], np.cumsum(chosen)])[weights.indptr]
    number = np.cumsum(columns) - 1
    parts = weights.data[chosen], number[weights.indices[chosen]], indptr
    return csr_matrix(parts, shape=(weights.shape[0], int(columns.sum())))


def quality(ids: NDArray[Any], wanted: csr_matrix) -> Floats:
    """Return ndcg@10 and recall@20 of lists, shape (users, 2); the latter's denominator is at most 20."""
    counts, width = np.diff(wanted.indptr), wanted.shape[1]
    keys = row_of_entry(wanted.indptr) * width + wanted.indices  # ascending, as the entries are
    asked = np.arange(len(counts))[:, None] * width + ids
    place = np.minimum(np.searchsorted(keys, asked), len(keys) - 1)
    hits = (keys[place] == asked) & (ids >= 0)
    discount = 1 / np.log2(np.arange(2, NDCG + 2))[: ids.shape[1]]
    ideal = np.concatenate([[np.inf], np.cumsum(discount)])
    ndcg = (hits[:, :NDCG] * discount).sum(axis=1) / ideal[np.minimum(counts, len(discount))]
    return np.column_stack([ndcg, hits.sum(axis=1) / np.clip(counts, 1, RECALL)])
