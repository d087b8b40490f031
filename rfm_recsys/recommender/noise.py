"""The noise level of a fitted LinRFM: what makes its posterior deviations those of what it is off by."""

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_matrix

from rfm_recsys.core.arrays import Floats
from rfm_recsys.errors import DataError
from rfm_recsys.recommender.forms import Form

SAMPLED = 1024  # users that it is estimated on, at most
ITEMS = 128  # items of each of them that they have not, at most
SHARE = 0.2  # of interactions that are hidden, for the noise to be that of what is hidden
HIDDEN = SHARE / (1 - SHARE)  # interactions for each that is known
WORK = 1.4e8  # of the factorisations, in n min(n, factors)^2 for a user with n interactions: about 30 ms


def noise_of(form: Form, confidence: csr_matrix) -> float:
    """Return the noise level: the deviation of a score is that much times the root of its variance without units.

    The ratio of two sums over pairs that the scores have not seen: of squared errors, and of the variances that the
    posterior has for them. See :func:`unseen_pairs`.

    Parameters
    ----------
    form : Form
    confidence : csr_matrix, shape (users, items)
        Signed confidences of some users, each of whom has some.

    Returns
    -------
    float
        1 where the scores do not vary, and nan where they overflow.
    """
    counts = np.diff(confidence.indptr).astype(np.float64)
    work = (counts * np.minimum(counts, form.items.shape[1]) ** 2).mean()
    n = int(np.clip(WORK / max(work, 1), 1, len(counts)))
    # evenly spaced in the order of activity, with which errors grow
    confidence = confidence[np.argsort(counts, kind="stable")[((np.arange(n) + 0.5) / n * len(counts)).astype(np.intp)]]
    try:
        pairs = unseen_pairs(form, confidence)
    except DataError:
        return float("nan")
    expected = (pairs.weights * pairs.variances).sum()
    squares = (pairs.weights * (pairs.targets - pairs.scores) ** 2).sum()
    return float(np.sqrt(squares / expected)) if expected > 0 else 1.0


@dataclass(frozen=True)
class Pairs:
    """Pairs of users and items that their scores have not seen, all of shape (n,): variances in units of the noise."""

    scores: Floats
    variances: Floats
    targets: Floats
    weights: Floats


def unseen_pairs(form: Form, confidence: csr_matrix) -> Pairs:
    """Return interactions, each predicted without itself, and items that a user has not, which count 0.

    Weighted so that there are as many of each as with a fifth of the interactions hidden, of the users who then have a
    hidden one: active ones, rather, whose scores are off by more. Raises DataError for an overflow.
    """
    n, n_items = confidence.shape
    of_each = min(ITEMS, n_items)
    places = np.arange(n)[:, None] + np.arange(of_each) * (n_items // of_each)
    asked = (places % n_items).astype(np.int32)
    users = form.filled(form.fold_in(confidence))
    scores, variances = form.scores(users, asked).astype(np.float64), form.variances(confidence, asked)
    left_out, their_variances = form.leave_one_out(confidence)
    row = np.broadcast_to(np.arange(n)[:, None], asked.shape)
    unseen = np.asarray(confidence.astype(bool)[row.ravel(), asked.ravel()]).reshape(asked.shape) == 0
    counts = np.diff(confidence.indptr)
    left = (1 - (1 - SHARE) ** counts) * (n_items - counts)
    weights = np.broadcast_to((left / np.maximum(unseen.sum(axis=1), 1))[:, None], asked.shape)
    return Pairs(
        np.r_[scores[unseen], left_out],
        np.r_[variances[unseen], their_variances],
        np.r_[np.zeros(unseen.sum()), confidence.data > 0],
        np.r_[weights[unseen], np.full(len(left_out), HIDDEN)],
    )
