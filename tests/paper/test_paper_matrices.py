"""The experiments on matrices, and the baselines that they have of their own."""

import numpy as np
import pytest
from numpy.typing import NDArray

from rfm_recsys.core.arrays import Floats
from rfm_recsys.paper import matrices
from rfm_recsys.paper.networks import FIT, deep_network
from rfm_recsys.paper.vectors import EQUIVALENT_POWERS


def product(factors: Floats) -> Floats:
    W: Floats = np.eye(factors.shape[1])
    for factor in factors:
        W = factor @ W
    return W


def descend(
    Y: Floats, observed: NDArray[np.bool_], depth: int, initial: float, generator: np.random.Generator
) -> Floats:
    """Train a balanced network by gradient descent with steps so small that it is the flow."""
    scale = np.sqrt(np.sum(Y[observed] ** 2) / np.mean(observed))
    Q = np.linalg.qr(generator.normal(size=Y.shape))[0]
    factors: Floats = initial ** (1 / depth) * np.stack([Q] + [np.eye(len(Y))] * (depth - 1))
    for _ in range(10_000):
        G = np.where(observed, Y / scale - product(factors), 0)
        slopes = [product(factors[j + 1 :]).T @ G @ product(factors[:j]).T for j in range(depth)]
        factors = factors + 0.03 * np.stack(slopes)
    W: Floats = scale * product(factors)
    return W


@pytest.mark.parametrize("depth", [2, 3, 4])
def test_a_network_is_where_gradient_descent_ends(depth: int) -> None:
    rng = np.random.default_rng(1)
    Y, observed = 5 * np.outer(rng.normal(size=6), rng.normal(size=6)), rng.random((6, 6)) < 0.6
    found, residual = deep_network(Y * observed, observed, depth, 1e-2, np.random.default_rng(depth))
    assert residual < FIT
    expected = descend(Y, observed, depth, 1e-2, np.random.default_rng(depth))
    np.testing.assert_allclose(found, expected, atol=0.02 * float(np.linalg.norm(Y)))
    np.testing.assert_allclose(found[observed], Y[observed], atol=2 * FIT * float(np.linalg.norm(Y)))
    # the entries that nobody saw are where another start ends elsewhere
    larger, _ = deep_network(Y * observed, observed, depth, 0.5, np.random.default_rng(depth))
    assert np.abs(larger - found).max() > 0.05 * np.linalg.norm(Y)


def test_one_sided_lin_rfm_is_irls_iterate_by_iterate() -> None:
    rows = matrices.equivalence(quick=True)["rows"]
    assert {(row["power"], row["seed"]) for row in rows} == {
        (power, seed) for power in EQUIVALENT_POWERS for seed in range(3)
    }
    assert max(row["worst relative difference"] for row in rows) < 1e-8


def test_no_matrix_with_the_observed_entries_has_a_smaller_nuclear_norm() -> None:
    """The subgradients of the norm at ``U diag(s) V^T`` are ``U V^T + W``; at the minimum one is observed alone.

    Where the others do not vanish, a step towards them is a smaller norm.
    """
    observed, Y = matrices.problem(20, 20, 2, 2.0, 1.0, 0)
    X = matrices.nuclear_norm(observed, 2)
    mask = observed.toarray() != 0
    np.testing.assert_allclose(X[mask], Y[mask], atol=1e-3)
    least = np.linalg.norm(X, "nuc")
    assert least < 0.999 * np.linalg.norm(Y, "nuc")  # these entries are too few
    rng = np.random.default_rng(0)
    U, s, Vt = np.linalg.svd(X)
    rank = int(np.count_nonzero(s > 1e-2 * s[0]))
    directions = [Y - X, U[:, :rank] @ Vt[:rank], *rng.normal(size=(20, 20, 20))]
    for direction in directions:
        for size in (1e-2, -1e-2):
            step = np.where(mask, 0, direction)
            step *= size * np.linalg.norm(X) / np.linalg.norm(step)
            assert np.linalg.norm(X + step, "nuc") > least * (1 - 1e-5)


@pytest.mark.parametrize("name", ["IRLS, p = 0, told the rank", "nuclear norm", "deep network, depth 3"])
def test_the_baselines_recover_a_matrix_from_most_of_its_entries(name: str) -> None:
    observed, Y = matrices.problem(20, 20, 1, 8.0, 1.0, 0)
    assert matrices.relative_error(matrices.METHODS[name](observed, 1), Y) < 1e-3


def test_the_three_ways_to_a_feature_matrix_agree() -> None:
    X = np.random.default_rng(0).normal(size=(12, 9))
    by_products, *others = (feature_matrix(X, 0.3) for feature_matrix in matrices.FEATURE_MATRICES.values())
    for other in others:
        np.testing.assert_allclose(other, by_products, rtol=1e-10, atol=1e-14)
