"""The experiments on matrices, and the baselines that they have of their own."""

import numpy as np
import pytest
from numpy.typing import NDArray

from rfm_recsys.kernels import Floats
from rfm_recsys.paper.networks import FIT, deep_network


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
    return scale * product(factors)


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
