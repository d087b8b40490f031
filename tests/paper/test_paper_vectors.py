"""The experiments on vectors: equivalence with IRLS-p, the diagonal networks, and what counts as enough samples."""

import numpy as np
import pytest

from rfm_recsys.core.arrays import Floats
from rfm_recsys.paper import vectors


def test_lin_rfm_is_irls_iterate_by_iterate() -> None:
    rows = vectors.equivalence(quick=True)["rows"]
    assert {(row["power"], row["seed"]) for row in rows} == {
        (power, seed) for power in vectors.EQUIVALENT_POWERS for seed in range(3)
    }
    assert max(row["worst relative difference"] for row in rows) < 1e-8


def descend(X: Floats, y: Floats, depth: int, initial: float) -> Floats:
    """Train ``w = u^depth - v^depth`` by gradient descent with steps so small that it is the flow."""
    u = v = np.full(X.shape[1], initial)
    for _ in range(150_000):
        slope = X.T @ (X @ (u**depth - v**depth) - y)
        u, v = u - 1e-3 * slope * depth * u ** (depth - 1), v + 1e-3 * slope * depth * v ** (depth - 1)
    w: Floats = u**depth - v**depth
    return w


@pytest.mark.parametrize("depth", [2, 3])
def test_a_diagonal_network_is_where_gradient_descent_ends(depth: int) -> None:
    X, y, w = vectors.problem(np.random.default_rng(3), 6, 10, 2)
    found = vectors.diagonal_network(X, y, w, depth, initial=0.5)
    np.testing.assert_allclose(found, descend(X, y, depth, 0.5), atol=3e-3)


def test_enough_samples_are_those_from_which_on_nine_in_ten_succeed() -> None:
    assert vectors.enough([4, 8, 12, 16], [0.9, 0.5, 0.9, 1.0]) == 12
    assert vectors.enough([4, 8], [1.0, 0.8]) is None
