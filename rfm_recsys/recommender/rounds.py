"""The lin-RFM loop: regression step (every user's solve) <-> AGOP step (the reweighting of the items).

The loop sees the users only through a small interface to a block of their rows: what a round needs of them is a sum
over users, or a solve for each user alone. Symbols and equations are those of ``docs/algorithm/``.
"""

import logging
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, TypeAlias

import numpy as np
from scipy.sparse import csr_matrix

from rfm_recsys.core import kernels
from rfm_recsys.core.arrays import Floats
from rfm_recsys.core.checks import check_generator
from rfm_recsys.core.linalg import gram, multiply, top_eigenpairs, weighted_gram
from rfm_recsys.core.memory import check_memory
from rfm_recsys.core.progress import progress
from rfm_recsys.core.runtime import threads, threads_in_use
from rfm_recsys.errors import DataError
from rfm_recsys.recommender.agop import feature_map, leading_directions, low_rank_factor, reweighting, smoother
from rfm_recsys.recommender.blocks import FullUserBlock, LowRankUsers, Settings, UserBlock, Users
from rfm_recsys.recommender.checkpoint import Checkpoint
from rfm_recsys.recommender.values import confidences

log = logging.getLogger(__name__)

# Columns of the block power iteration beyond those asked for, and products with G. Few on purpose: a block that leans
# towards the leading eigenvectors ranks better than the exact ones, whose last few are noise (256 factors, two rounds,
# 2 / 3 / 4 / 6 passes: N@20 on Gowalla's validation items .1137, .1147, .1147, .1135; N@100 on ML-1M's validation users
# .4908, .4914, .4917, .4901). With 0, 8, 16 or 32 columns it is the same to the differences between seeds.
OVERSAMPLING = 8
LEAST_COLUMNS = 48  # so that a small catalogue has its exact eigenvectors
PASSES = 3

Callback = Callable[[int, float, float | None], Any]
Fitted: TypeAlias = LowRankUsers | FullUserBlock  # users that rounds can run on, in either form


def block_of_users(weights: csr_matrix, settings: Settings) -> UserBlock | FullUserBlock:
    """Return interactions as users to run rounds on; raises DataError, and InsufficientMemoryError before a fit's work.

    Parameters
    ----------
    weights : csr_matrix, shape (users, items), in canonical form
        Signed weights, see :func:`rfm_recsys.recommender.values.weights`.
    settings : Settings
    """
    confidence = confidences(weights, settings.alpha)
    rank = None if settings.factors is None else settings.rank
    check_fit_memory(confidence.shape, confidence.nnz, rank, confidence.dtype.itemsize)
    if rank is None:
        return FullUserBlock(confidence)
    with threads(settings.num_threads):
        return UserBlock(confidence)


def check_fit_memory(shape: tuple[int, int], nnz: int, factors: int | None, itemsize: int) -> None:
    """Raise InsufficientMemoryError for a fit that memory does not hold; ``itemsize`` is that of its dtype."""
    n_users, n_items = shape
    if factors is None:
        remedy = "pass factors=256, which needs memory for items x factors only"
        check_memory(full_memory(n_items), f"the full form for {n_items} items", remedy)
        return
    check_memory(
        low_rank_memory(shape, nnz, factors, itemsize),
        f"a fit of {factors} factors to {n_users} users and {n_items} items",
        "pass fewer factors, or leave out users and items without interactions",
    )


def run_rounds(
    users: Fitted,
    settings: Settings,
    checkpoint: Checkpoint | None = None,
    show_progress: bool = False,
    callback: Callback | None = None,
) -> None:
    """Run the rounds that are left to do, and leave the factors in ``users``.

    Parameters
    ----------
    users : UserBlock, FullUserBlock, or users on a cluster
    settings : Settings
    checkpoint : Checkpoint, optional
        Where to go on from, and to keep each round.
    show_progress, callback
        As in :meth:`rfm_recsys.LinRFM.fit`.
    """
    generator = check_generator(settings.random_state)
    iterations = settings.iterations
    done = 0 if checkpoint is None else checkpoint.resume(users, settings)
    with (
        threads(settings.num_threads),
        progress(show_progress, total=iterations, initial=done, desc="LinRFM", unit="round") as bar,
    ):
        todo = range(done, iterations)
        rounds = (
            full_rounds(users, settings, todo)
            if isinstance(users, FullUserBlock)
            else low_rank_rounds(users, settings, todo, generator)
        )
        begun = time.perf_counter()
        for iteration, _ in enumerate(rounds, done):
            loss = None
            if settings.calculate_training_loss:
                objective, weight = users.losses()
                loss = float(objective / weight)
                log.info("round %d: loss %.6f", iteration, loss)
            if checkpoint is not None:
                checkpoint.keep(users, iteration + 1)
            elapsed, begun = time.perf_counter() - begun, time.perf_counter()
            if bar is not None:
                if loss is not None:
                    bar.set_postfix(loss=f"{loss:.6f}")
                bar.update()
            if callback is not None:
                callback(iteration, elapsed, loss)


def low_rank_rounds(
    users: LowRankUsers, settings: Settings, rounds: range, generator: np.random.Generator
) -> Iterator[None]:
    """Run rounds of lin-RFM in its low-rank form; yield after each, which leaves its F and U in ``users``.

    ``rounds`` counts from 0, and from more where ``users`` has the F, U and items_gram of the rounds before already.
    All rounds work with ``settings.rank`` columns, and the last keeps the leading ``factors`` directions of S.
    """
    scale, prior_scale = norms(users, settings)
    n_users, n_items = users.activity()[0], int(np.count_nonzero(users.item_counts))
    kept = {rounds.stop: settings.factors or 0}  # of the columns after a round, where not all

    def solve(F: Floats) -> None:
        users.items_gram = weighted_gram(F, scale)
        users.solve(F)

    if rounds.start == 0:
        # the first X is closed form: its AGOP needs no solve
        pairs = eigenpairs(users, settings, generator, scale)
        columns = kept.get(1, settings.rank)
        F = low_rank_factor(*pairs, prior_scale, settings.power, settings.penalty, columns)
        del pairs
        solve(F)
        del F
        yield
    for done in range(max(rounds.start, 1), rounds.stop):
        # the items: the AGOP of the users' side makes their features, on which every item is a ridge regression
        T, users_gram = feature_map(*users.grams(), users.items_gram, n_users, settings.power, settings.penalty)
        V = users.solve_items(T)
        # the users: the AGOP of the items' side makes F, on which every user is one
        metric = weighted_gram(V, scale)
        V *= (scale * prior_scale)[:, None]
        T, _ = feature_map(gram(V, V), metric, users_gram, n_items, settings.power, settings.penalty)
        V = multiply(V, T)
        solve(leading_directions(V, kept.get(done + 1, settings.rank)))
        yield


def eigenpairs(
    users: LowRankUsers, settings: Settings, generator: np.random.Generator, scale: Floats
) -> tuple[Floats, Floats, Floats]:
    """Return the leading eigenpairs of the AGOP of round 1, ``settings.rank`` at most; see :func:`top_eigenpairs`.

    X is closed form there.
    """
    width = block_width(settings.rank, (users.n_users, users.n_items))
    product = partial(users.agop_product, settings, scale)
    values, Z, T = top_eigenpairs(product, _random_block(generator, (users.n_items, width), users.dtype), PASSES)
    return values[: settings.rank], Z, T[:, : settings.rank]


def _random_block(generator: np.random.Generator, shape: tuple[int, int], dtype: np.dtype[Any]) -> Floats:
    """Return uniform numbers around 0: as good as normal ones, in a quarter of the time."""
    block: Floats = generator.random(shape, dtype=dtype.type)
    block -= dtype.type(0.5)
    return block


def full_rounds(users: FullUserBlock, settings: Settings, rounds: range) -> Iterator[None]:
    """Run rounds of lin-RFM in its full form; yield after each, which leaves its S and A in ``users``.

    ``rounds`` counts from 0, and from more where ``users`` has the S and A of the rounds before already.
    """
    scale, prior_scale = norms(users, settings)
    if rounds.start == 0:
        users.start(settings)
    for _ in rounds:
        S = smoother(reweighting(users.gram(scale), prior_scale, settings.power), settings.penalty)
        users.solve(S)
        yield


def norms(users: Users, settings: Settings) -> tuple[Floats, Floats]:
    """Weigh the users; return the diagonals of D and B, both zero for an item that nobody has."""
    n_active, n_liked = users.activity()
    if n_active == 0:
        raise DataError(
            "there is no liked interaction: not one of the values is above 0; pass the interactions to learn from"
        )
    users.weigh(settings, n_liked / n_active)
    known = users.item_counts > 0
    popularity = users.item_counts[known] / users.item_counts[known].mean()
    scale, prior_scale = np.zeros((2, users.n_items), dtype=users.dtype)
    scale[known] = popularity ** (-settings.item_norm / 2)
    prior_scale[known] = popularity ** (settings.prior_norm / 2)
    return scale, prior_scale


def block_width(factors: int, shape: tuple[int, int]) -> int:
    """Return the columns of the block of which the eigenvectors of round 1 come."""
    return min(max(factors + OVERSAMPLING, LEAST_COLUMNS), *shape)


def low_rank_memory(shape: tuple[int, int], nnz: int, factors: int, itemsize: int) -> int:
    """Return the bytes, to some per cent, that a low-rank fit takes beyond the interactions that it is given."""
    n_users, n_items = shape
    width = block_width(factors, shape)
    workers = threads_in_use()
    entries = nnz * (2 * itemsize + 4)  # confidences, and confidences by item
    first = width * (n_users + 2 * n_items)  # round 1: the block, its product, and what is between them
    later = factors * max(2 * n_users + n_items, n_users + 2 * n_items)  # factors and features of one side at a time
    sums = itemsize * width**2 * min(kernels.PARTIALS, max(n_users, n_items) // kernels.PARTIAL_ROWS + 1)
    solves = workers * itemsize * (int(kernels.gathered_rows(factors)) + factors) * factors
    small = 48 * (width**2 + n_users + n_items) + 8 * kernels.TRANSPOSE_PARTS * n_items
    return entries + itemsize * max(first, later) + sums + solves + small


def full_memory(n_items: int) -> int:
    """Return the bytes that a fit in the full form takes at most: five matrices of items x items."""
    return 5 * 8 * n_items**2
