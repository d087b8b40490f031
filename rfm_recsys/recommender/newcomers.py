"""Items and users of whom little is known, in a fitted LinRFM with features: what is expected of them, and how firmly.

Equation numbers are those of ``docs/algorithm/``.
"""

from typing import Any

import numpy as np
from scipy.sparse import csr_matrix

from rfm_recsys.core.arrays import Floats, csr_arrays, row_of_entry
from rfm_recsys.core.linalg import gram, multiply
from rfm_recsys.recommender.agop import feature_map
from rfm_recsys.recommender.blocks import LowRankUsers, Settings, UserBlock, solve_users
from rfm_recsys.recommender.exploring import KNOWN
from rfm_recsys.recommender.features import FeatureRegression

# Of a new item, nobody knows who has been offered it; from so many interactions on, rather all than none have been.
OFFERED = 100.0
LEAST_WEIGHT = 0.1  # of somebody who has not got a new item: 1 / n with n interactions, and no less than this


def expected_items(users: LowRankUsers, settings: Settings, features: csr_matrix) -> dict[str, Any]:
    """Give the items what features say of them, solve the users again, and return what a model keeps of it.

    An item without interactions has the factors that the regression expects. Others have ``F + v (m - m G T T^T)`` with
    the m that is expected of it by the others, and ``v = 1 / (1 + n / KNOWN)`` for n usual interactions (5f): of the
    regression's prior the part that who has not got it does not speak against.

    Parameters
    ----------
    features : csr_matrix, shape (items, d)
    """
    F, users_gram = users.factors()[1], users.grams()[0]
    observed = users.item_weights() / settings.alpha
    known = observed > 0
    regression, expected_of_known = FeatureRegression.of(features[known], F[known], users_gram)
    n_users = users.activity()[0]
    T, _ = feature_map(users_gram, users_gram, gram(F, F), n_users, settings.power, settings.penalty)
    expected = np.empty(F.shape)
    expected[~known] = regression.predicted(features[~known])
    seen = multiply(expected_of_known, multiply(users_gram.astype(np.float64), multiply(T, np.ascontiguousarray(T.T))))
    expected[known] = (expected_of_known - seen) / (1 + observed[known] / KNOWN)[:, None]
    part = expected.astype(F.dtype)
    users.solve(F + part)
    return {"item_regression_": regression, "item_expected_": part}


def expected_users(users: UserBlock, settings: Settings, features: csr_matrix) -> dict[str, Any]:
    """Give the users what features say of them, solve them again, and return what a model keeps of it.

    Known users are drawn to what it says with them in it: so that folding a user in again gives the same.
    """
    U, F = users.factors()
    observed = np.bincount(row_of_entry(users.indptr), np.abs(users.confidence), len(U))
    known = U.any(axis=1)
    regression, _ = FeatureRegression.of(features[known], U[known], gram(F, F))
    share = np.eye(F.shape[1]) - gram(F, F)
    prior = prior_of_users(regression.predicted(features), observed / settings.alpha, share, F.dtype)
    users.U = solve_users(users.indptr, users.indices, users.confidence, F, prior=prior)
    return {"user_regression_": regression, "user_prior_": share}


def prior_of_users(means: Floats, observed: Floats, share: Floats, dtype: np.dtype[Any]) -> Floats:
    """Return what users' factors are drawn to (5g): all of what is expected where nothing is observed.

    Parameters
    ----------
    means : array, shape (users, factors)
        What features say of the users.
    observed : array, shape (users,)
        Sums of their weights, in usual interactions.
    share : array, shape (factors, factors)
        ``I - F^T F``: of the precision of a user's factors, what is not from items that a user has not.
    """
    drawn = multiply(means, share) / (1 + observed / KNOWN)[:, None]
    return np.ascontiguousarray(np.where(observed[:, None] > 0, drawn, means), dtype=dtype)


def folded_in(confidence: csr_matrix, U: Floats, T: Floats, means: Floats, alpha: float) -> Floats:
    """Return the factors of new items by who has them and what features say of them (5h), shape (items, factors).

    Parameters
    ----------
    confidence : csr_matrix, shape (items, users)
    U, T : arrays, shape (users, factors) and (factors, factors)
        Factors of the users, and the map to their features.
    means : array, shape (items, factors)
        What features say of the items.
    """
    observed = np.asarray(abs(confidence).sum(axis=1, dtype=np.float64)).ravel() / alpha
    offered = observed / (observed + OFFERED)
    least = np.clip(1 / np.maximum(observed, 1), LEAST_WEIGHT, 1)
    weight = least + (1 - least) * offered
    scaled = confidence.copy()
    scaled.data = (scaled.data / np.repeat(weight, np.diff(scaled.indptr))).astype(confidence.dtype)
    inverse = np.linalg.pinv(T.astype(np.float64)).T
    prior = multiply(means * (1 - offered)[:, None], np.ascontiguousarray(inverse))
    prior = np.ascontiguousarray(prior, dtype=U.dtype)
    V = multiply(solve_users(*csr_arrays(scaled), multiply(U, T), prior=prior), np.ascontiguousarray(T.T))
    return np.asarray(np.where(observed[:, None] > 0, V, means), dtype=U.dtype)
