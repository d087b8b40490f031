"""What is not known of items that few users have met: the posterior of their factors, to explore by.

Equation numbers are those of ``docs/algorithm/``.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from rfm_recsys.core.arrays import Floats
from rfm_recsys.core.linalg import eigh, gram, multiply

KNOWN = 5.0  # usual interactions that say as much about an item as that it is one of the catalogue
# of the noise level in draws of users: about what the scores from two halves of a history differ by, which is .15 to .4
# of it on five data sets; the rest of what a score is off by is chance, and no reason to explore
USER_SHARE = 0.2


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
    def of(cls, items: Floats, observed: Floats, expected: Floats | None = None) -> Self:
        """Return the posterior by the items' factors, and how many usual interactions are observed of each.

        Where features have said what to expect of an item (``expected``, a part of its factors), its factors are the
        mean already, and the covariance of the prior is that of what they have beside it.
        """
        variance = (1 / (1 + observed / KNOWN)).astype(items.dtype)
        known = items[observed > 0] if (observed > 0).any() else items
        if expected is not None and (observed > 0).any():
            known = known - expected[observed > 0]
        center = known.mean(axis=0, dtype=np.float64)
        values, vectors = eigh(gram(known, known).astype(np.float64) / len(known) - np.outer(center, center))
        root = (vectors * np.sqrt(np.maximum(values, 0))).astype(items.dtype)
        if expected is not None:
            return cls(items, variance, root)
        return cls(items + variance[:, None] * (center.astype(items.dtype) - items), variance, root)

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
