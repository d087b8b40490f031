"""The simulated feedback loop: what is shown, taken and counted, and that exploring finds what others do not."""

import numpy as np
import pytest

from rfm_recsys import LinRFM
from rfm_recsys.errors import ParameterError
from rfm_recsys.evaluation.simulation import (
    Policy,
    World,
    epsilon_greedy,
    exploring,
    feedback_world,
    greedy,
    popularity,
    simulate,
)

MODEL = LinRFM(8, regularization=10, alpha=4, iterations=1, oversampling=0, power=0.4, item_norm=0.3, prior_norm=0.1,
               user_norm=0.6)  # fmt: skip


@pytest.fixture(scope="module")
def world() -> World:
    return feedback_world(n_users=120, n_items=90, n_new=15, random_state=1)


def test_the_world_is_what_it_says(world: World) -> None:
    assert world.history[:, world.new].nnz == 0
    assert world.new.sum() == 15
    taken = world.history.toarray() > 0
    assert world.probabilities[taken].mean() > 2 * world.probabilities.mean()
    again = feedback_world(n_users=120, n_items=90, n_new=15, random_state=1)
    assert (again.probabilities == world.probabilities).all()


@pytest.mark.parametrize(
    "policy",
    [greedy, popularity, epsilon_greedy(0.3), epsilon_greedy(1.0), exploring("thompson", 0.5), exploring("ucb", 0.5)],
)
def test_nobody_is_shown_an_item_twice_and_counts_add_up(world: World, policy: Policy) -> None:
    shown: list[np.ndarray] = []

    def watched(model: LinRFM, seen, N, generator):  # type: ignore[no-untyped-def]
        lists = policy(model, seen, N, generator)
        assert (seen.toarray()[np.arange(120)[:, None], lists] == 0).all()
        assert all(len(set(row)) == N for row in lists.tolist())
        shown.append(lists)
        return lists

    found = simulate(world, watched, rounds=3, N=4, model=MODEL, random_state=2)
    assert found["round"].tolist() == [1, 2, 3]
    assert found["new_shown"].tolist() == [int(world.new[lists].sum()) for lists in shown]
    chances = [world.probabilities[np.arange(120)[:, None], lists].mean() for lists in shown]
    np.testing.assert_allclose(found["reward"], chances)
    assert (found["new_taken"] <= found["new_shown"]).all()
    assert (found["regret"] > 0).all()


def test_a_new_item_is_found_by_exploring_alone(world: World) -> None:
    def fans(policy: Policy) -> int:
        return int(simulate(world, policy, rounds=4, N=4, model=MODEL, random_state=3)["new_taken"].sum())

    assert fans(greedy) == 0
    assert fans(exploring("thompson", 1.0)) > 20


def test_the_best_policy_has_no_regret(world: World) -> None:
    def oracle(model, seen, N, generator):  # type: ignore[no-untyped-def]
        return np.argsort(-np.where(seen.toarray() != 0, -1, world.probabilities), axis=1)[:, :N]

    assert simulate(world, oracle, rounds=2, model=MODEL)["regret"].tolist() == pytest.approx([0, 0])


def test_what_is_refused(world: World) -> None:
    with pytest.raises(ParameterError, match=r"n_new is 9; pass a number in 0\.\.8"):
        feedback_world(n_items=9, n_new=9)
    with pytest.raises(ParameterError, match="epsilon is 2"):
        epsilon_greedy(2)
    with pytest.raises(ParameterError, match="show more than some users have left"):
        simulate(world, greedy, rounds=90, model=MODEL)
