"""A catalogue with new items and a feedback loop: what exploring costs at first, and what it finds.

Every round shows each user a few items that the user has not met, who takes some of them; the model is fitted again to
all that was taken, and to what was shown and not taken with negative values.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from rfm_recsys.core.checks import check_integer, check_number
from rfm_recsys.errors import ParameterError
from rfm_recsys.recommender.model import LinRFM

TASTES = 6
Policy = Callable[[LinRFM, csr_matrix, int, np.random.Generator], NDArray[np.integer[Any]]]


@dataclass(frozen=True)
class World:
    """Users, items, and who would take what: known to the simulation alone.

    Parameters
    ----------
    probabilities : array, shape (users, items)
        That a user who is shown an item takes it.
    history : csr_matrix, shape (users, items)
        What was taken before: 1.
    new : bool array, shape (items,)
        Items that nobody has met before.

    Examples
    --------
    >>> from rfm_recsys.evaluation.simulation import feedback_world
    >>> world = feedback_world(n_users=60, n_items=40, n_new=8)
    >>> world.probabilities.shape, int(world.new.sum())
    ((60, 40), 8)
    """

    probabilities: NDArray[np.float64]
    history: csr_matrix
    new: NDArray[np.bool_]


def feedback_world(n_users: int = 500, n_items: int = 360, n_new: int = 60, random_state: int = 0) -> World:
    """Return a world of tastes of rank 6, popular and less popular items, and new ones that are like the others.

    ``P(u takes i) = 1 / (1 + exp(-(b_i + u . v_i)))`` with u, v from N(0, I) and b from N(-3, 1.2^2). In the history
    users have met a quarter of the items that are not new, the active ones more.

    Parameters
    ----------
    n_users, n_items : int, at least 1
    n_new : int
        New ones among the items.
    random_state : int

    Returns
    -------
    World

    Raises
    ------
    ParameterError
        A size below 1, or more new items than there are.

    Examples
    --------
    >>> from rfm_recsys.evaluation.simulation import feedback_world
    >>> feedback_world(n_users=60, n_items=40, n_new=8).history.shape
    (60, 40)
    """
    check_integer("n_users", n_users, 1)
    check_integer("n_items", n_items, 1)
    if not 0 <= check_integer("n_new", n_new, 0) < n_items:
        raise ParameterError(f"n_new is {n_new}; pass a number in 0..{n_items - 1}")
    rng = np.random.default_rng(check_integer("random_state", random_state, 0))
    tastes = rng.normal(size=(n_users, TASTES)) @ rng.normal(size=(n_items, TASTES)).T
    probabilities = 1 / (1 + np.exp(-(rng.normal(-3, 1.2, n_items) + tastes)))
    activity = np.exp(rng.normal(0, 0.7, n_users))
    met = rng.random((n_users, n_items)) < np.clip(0.25 * activity / activity.mean(), 0, 0.8)[:, None]
    new = np.arange(n_items) >= n_items - n_new
    taken = met & ~new & (rng.random((n_users, n_items)) < probabilities)
    return World(probabilities, csr_matrix(taken.astype(np.float32)), new)


def greedy(model: LinRFM, seen: csr_matrix, N: int, generator: np.random.Generator) -> NDArray[np.integer[Any]]:
    """Show the items of the highest scores.

    Parameters
    ----------
    model : LinRFM
    seen : csr_matrix, shape (users, items)
    N : int
    generator : numpy Generator

    Returns
    -------
    array of ints, shape (users, N)

    Examples
    --------
    >>> from rfm_recsys.evaluation.simulation import greedy, feedback_world, simulate
    >>> world = feedback_world(n_users=40, n_items=40, n_new=8)
    >>> len(simulate(world, greedy, rounds=2))
    2
    """
    ids: NDArray[np.integer[Any]] = model.recommend(np.arange(seen.shape[0]), seen, N)[0]
    return ids


def popularity(model: LinRFM, seen: csr_matrix, N: int, generator: np.random.Generator) -> NDArray[np.integer[Any]]:
    """Show the items that most users have taken.

    Parameters
    ----------
    model : LinRFM
    seen : csr_matrix, shape (users, items)
    N : int
    generator : numpy Generator

    Returns
    -------
    array of ints, shape (users, N)

    Examples
    --------
    >>> from rfm_recsys.evaluation.simulation import popularity, feedback_world, simulate
    >>> world = feedback_world(n_users=40, n_items=40, n_new=8)
    >>> len(simulate(world, popularity, rounds=2))
    2
    """
    counts = np.asarray((seen > 0).sum(axis=0), dtype=np.float64).ravel()
    return np.argsort(-np.where(seen.toarray() != 0, -1, counts), axis=1, kind="stable")[:, :N]


def epsilon_greedy(epsilon: float) -> Policy:
    """Return a policy that shows any item, with probability epsilon at each place, and else the best.

    Parameters
    ----------
    epsilon : float, 0 to 1

    Returns
    -------
    callable, a policy

    Examples
    --------
    >>> from rfm_recsys.evaluation.simulation import epsilon_greedy, feedback_world, simulate
    >>> world = feedback_world(n_users=40, n_items=40, n_new=8)
    >>> len(simulate(world, epsilon_greedy(0.1), rounds=2))
    2
    """
    epsilon = check_number("epsilon", epsilon, 0, 1)

    def policy(model: LinRFM, seen: csr_matrix, N: int, generator: np.random.Generator) -> NDArray[np.integer[Any]]:
        lists = greedy(model, seen, N, generator)
        replaced = generator.random(lists.shape) < epsilon
        for user in np.flatnonzero(replaced.any(axis=1)):
            kept = lists[user][~replaced[user]]
            free = np.setdiff1d(np.flatnonzero(seen[[user]].toarray()[0] == 0), kept)
            lists[user] = np.r_[kept, generator.choice(free, N - len(kept), replace=False)]
        return lists

    return policy


def exploring(explore: str, explore_scale: float) -> Policy:
    """Return a policy that shows what ``recommend(explore=..., explore_scale=...)`` does.

    Parameters
    ----------
    explore : {"thompson", "ucb"}
    explore_scale : float, at least 0

    Returns
    -------
    callable, a policy

    Examples
    --------
    >>> from rfm_recsys.evaluation.simulation import exploring, feedback_world, simulate
    >>> world = feedback_world(n_users=40, n_items=40, n_new=8)
    >>> len(simulate(world, exploring("thompson", 0.5), rounds=2))
    2
    """

    def policy(model: LinRFM, seen: csr_matrix, N: int, generator: np.random.Generator) -> NDArray[np.integer[Any]]:
        ids: NDArray[np.integer[Any]] = model.recommend(
            np.arange(seen.shape[0]), seen, N, explore=explore, explore_scale=explore_scale, random_state=generator
        )[0]
        return ids

    return policy


def simulate(
    world: World,
    policy: Policy,
    rounds: int = 12,
    N: int = 5,
    model: LinRFM | None = None,
    random_state: int = 0,
) -> pd.DataFrame:
    """Return what a policy does in every round of feedback.

    Parameters
    ----------
    world : World
    policy : callable
        ``policy(model, seen, N, generator)`` returns the items to show, shape (users, N): :func:`greedy`,
        :func:`popularity`, or what :func:`epsilon_greedy` and :func:`exploring` return.
    rounds, N : int, at least 1
        How often every user is shown items, and how many.
    model : LinRFM, optional
        Fitted again before every round, to 1 for what was taken and -1 for what was shown and not taken; by default
        with what ``LinRFM(32)`` chooses on the history.
    random_state : int
        Of who takes what, and of the policy.

    Returns
    -------
    DataFrame with a row a round, and the columns round (from 1), reward, the mean probability of what was shown;
    regret, by how much that of the best unseen items is higher; new_shown; and new_taken, how many fans of new items
    were found

    Raises
    ------
    ParameterError
        More rounds and items than some user has left.

    Examples
    --------
    >>> from rfm_recsys.evaluation.simulation import epsilon_greedy, feedback_world, simulate
    >>> world = feedback_world(n_users=60, n_items=40, n_new=8)
    >>> found = simulate(world, epsilon_greedy(0.2), rounds=2)
    >>> bool(found["new_taken"].sum() <= found["new_shown"].sum())
    True
    """
    rounds, N = check_integer("rounds", rounds, 1), check_integer("N", N, 1)
    n_users, n_items = world.probabilities.shape
    if rounds * N > n_items - int(np.diff(world.history.indptr).max(initial=0)):
        raise ParameterError(f"{rounds} rounds of {N} items show more than some users have left; pass fewer")
    if model is None:
        model = LinRFM(32, **LinRFM(32).fit(world.history, show_progress=False).chosen_)
    generator = np.random.default_rng([check_integer("random_state", random_state, 0), 1])
    seen = world.history.toarray()
    rows, found = np.repeat(np.arange(n_users), N), []
    for number in range(1, rounds + 1):
        data = csr_matrix(seen)
        shown = policy(model.fit(data, show_progress=False), data, N, generator).ravel()
        best = -np.sort(-np.where(seen != 0, 0, world.probabilities), axis=1)[:, :N].mean()
        chances = world.probabilities[rows, shown]
        taken = generator.random(len(shown)) < chances
        seen[rows, shown] = np.where(taken, 1, -1)
        new = world.new[shown]
        found.append((number, chances.mean(), best - chances.mean(), int(new.sum()), int((new & taken).sum())))
    return pd.DataFrame(found, columns=["round", "reward", "regret", "new_shown", "new_taken"])
