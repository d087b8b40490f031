"""Deep linear networks for matrix completion: ``W = W_N ... W_1``, trained by gradient flow from a small start."""

import math

import numpy as np
from numpy.typing import NDArray

from rfm_recsys.core.arrays import Floats

FIT = 1e-4  # the residual on the observed entries, relative to them, at which a network counts as trained
MOST_GRADIENTS, MOST_STAGES = 20_000, 1000
DAMPING, STABLE = 0.05, 1.9  # of the Chebyshev polynomials, and what they leave of their 2 stages^2
ACCURACY = 0.3, 1e-3  # the error of a step, in units of the factors at the start and of those now


def deep_network(
    values: Floats, observed: NDArray[np.bool_], depth: int, initial: float, generator: np.random.Generator
) -> tuple[Floats, float]:
    """Return where gradient flow on ``abs(P_O(W - Y))^2 / 2`` ends, and its residual relative to the observed values.

    The flow, and not steps of descent, because it has no step size to choose and no momentum that would spoil its bias
    towards low rank (Arora, Cohen, Hu, Luo 2019). It is stiff: what is learned already wants short steps, while what is
    still as small as at the start takes ``initial^(2 / depth - 1)`` times as long. Hence explicit steps of first order
    that are stable over ``2 stages^2`` times the length of one step of descent, damped Chebyshev polynomials of
    as many gradients (Verwer 1996), of a length that the error, known from the change of the gradient, allows.

    Parameters
    ----------
    values : array, shape (n, n)
        The observed values, and zero elsewhere; not all zero.
    observed : array of bool, shape (n, n)
    depth : int, at least 2
        The number of factors, each of shape (n, n): they do not limit the rank.
    initial : float
        All singular values of W at the start, where the factors are balanced, in units of the norm of Y as the
        observed values let it be guessed.
    generator : Generator
        Chooses the singular vectors at the start.

    Returns
    -------
    array, shape (n, n)
    float
        Above :data:`FIT` where :data:`MOST_GRADIENTS` were too few.
    """
    n = len(values)
    scale = float(np.linalg.norm(values)) / math.sqrt(np.mean(observed))
    values, mask = values / scale, observed.astype(values.dtype)
    small = initial ** (1 / depth)
    factors: Floats = np.empty((depth, n, n))
    factors[:] = small * np.eye(n)
    factors[0] = small * np.linalg.qr(generator.normal(size=(n, n)))[0]
    slopes, W = _slopes(factors, values, mask)
    n_gradients, length = 1, 1.0
    while (residual := _residual(W, values, mask)) > FIT and n_gradients < MOST_GRADIENTS:
        curvature = depth * max(float(np.linalg.norm(W)), 1.0) ** (2 - 2 / depth)  # at most, the factors being balanced
        length = min(length, STABLE * (MOST_STAGES - 1) ** 2 / curvature)
        stages = math.ceil(math.sqrt(length * curvature / STABLE)) + 1
        then = _step(factors, slopes, values, mask, length, stages)
        slopes_then, W_then = _slopes(then, values, mask)
        n_gradients += stages
        allowed = math.sqrt(depth) * ACCURACY[0] * small + ACCURACY[1] * float(np.linalg.norm(factors))
        error = length / 2 * float(np.linalg.norm(slopes_then - slopes)) / allowed
        if error <= 1:
            factors, slopes, W = then, slopes_then, W_then
        length *= min(3.0, max(0.2, 0.8 / math.sqrt(max(error, 1e-8))))
    return scale * W, residual


def _residual(W: Floats, values: Floats, mask: Floats) -> float:
    return float(np.linalg.norm(mask * W - values) / np.linalg.norm(values))


def _slopes(factors: Floats, values: Floats, mask: Floats) -> tuple[Floats, Floats]:
    """Return the negative gradient by every factor, shape (depth, n, n), and the product W of the factors."""
    products = [factors[0]]
    for factor in factors[1:]:
        products.append(factor @ products[-1])
    slopes, slope = np.empty_like(factors), values - mask * products[-1]
    for place in range(len(factors) - 1, 0, -1):
        np.matmul(slope, products[place - 1].T, out=slopes[place])
        slope = factors[place].T @ slope
    slopes[0] = slope
    return slopes, products[-1]


def _step(factors: Floats, slopes: Floats, values: Floats, mask: Floats, length: float, stages: int) -> Floats:
    """Return the factors after a step of the flow, by at least two stages; ``slopes`` are those before it.

    With ``T_j`` the Chebyshev polynomials, ``w = 1 + DAMPING / stages^2`` and ``d = T_s(w) / T_s'(w)`` for s stages,
    stage j is ``T_j(w + d length A) / T_j(w)`` for a flow of the constant matrix A.
    """
    w = 1 + DAMPING / stages**2
    angle = math.acosh(w)
    T = np.cosh(np.arange(stages + 1) * angle)
    d = T[stages] * math.sinh(angle) / (stages * math.sinh(stages * angle))
    before: Floats = factors
    now: Floats = factors + (d / w * length) * slopes
    for j in range(2, stages + 1):
        then = _slopes(now, values, mask)[0]
        then *= 2 * d * length * T[j - 1] / T[j]
        then += (2 * w * T[j - 1] / T[j]) * now
        then -= (T[j - 2] / T[j]) * before
        before, now = now, then
    return now
