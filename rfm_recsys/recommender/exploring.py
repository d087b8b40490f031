"""What is not known of items that few users have met: the posterior of their factors, to explore by.

Equation numbers are those of ``docs/algorithm.md``.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from rfm_recsys.core.arrays import Floats
from rfm_recsys.core.linalg import eigh, gram, multiply

EVIDENCE = 3.0  # observations that one of an item counts for: the noise level is that of pairs that nobody has observed
# of the noise level in draws of users: about what the scores from two halves of a history differ by, which is .12 to .4
# of it on five data sets; the rest of what a score is off by is chance, and no reason to explore
USER_SHARE = 0.25


@dataclass(frozen=True)
class ItemPosterior:
    """Means and variances of the factors of all items (5d).

    A new item is expected to be like any other: its prior is the distribution of the factors of those that are known.
    What is observed of an item, liked or disliked, narrows it, and the mean goes from that of all items to its own
    factors. That nobody has met it, which the fit counts as weak dislike, counts for nothing here.

    Parameters
    ----------
    mean : array, shape (items, factors)
    variance : array, shape (items,)
        Of an item's factors, in units of the prior's: between 1 and 0.
    root : array, shape (factors, r)
        Of the covariance of the prior.
    """

    mean: Floats
    variance: Floats
    root: Floats

    @classmethod
    def of(cls, items: Floats, weights: Floats, moments: Floats, noise: float) -> Self:
        """Return the posterior by the items' factors and sums of weights, and the users' second moments."""
        known = items[weights > 0] if (weights > 0).any() else items
        center = known.mean(axis=0, dtype=np.float64)
        values, vectors = eigh(gram(known, known).astype(np.float64) / len(known) - np.outer(center, center))
        root = vectors * np.sqrt(np.maximum(values, 0))
        # of the scores of an item, in the direction in which they vary most
        largest = max(eigh(root.T @ moments.astype(np.float64) @ root)[0][-1], 0)
        evidence = EVIDENCE * largest / max(noise**2, float(np.finfo(np.float32).tiny)) * weights
        variance = (1 / (1 + evidence)).astype(items.dtype)
        mean = items + variance[:, None] * (center.astype(items.dtype) - items)
        return cls(mean, variance, root.astype(items.dtype))

    def drawn(self, scale: float, seed: np.uint64) -> Floats:
        """Return factors of all items, with ``scale`` times the deviations: the same for the same seed."""
        generator = np.random.Generator(np.random.Philox(int(seed)))
        draw = generator.standard_normal((len(self.mean), len(self.root)), dtype=self.mean.dtype.type)
        draw *= (scale * np.sqrt(self.variance))[:, None]
        drawn = multiply(draw, np.ascontiguousarray(self.root.T))
        drawn += self.mean
        return drawn

    def spread(self, users: Floats, scale: float, chosen: NDArray[np.intp] | slice) -> tuple[Floats, Floats]:
        """Return two arrays whose product is ``scale`` squared times the variances of the scores of some items."""
        squares = np.square(multiply(users, self.root)).sum(axis=1, keepdims=True)
        return squares * squares.dtype.type(scale**2), self.variance[chosen][:, None]
