"""Whom and what a fitted LinRFM does not know: odd interactions, odd users, wide posteriors, items nobody is shown."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.linalg import eigh, solve_triangular
from scipy.sparse import csr_matrix
from tqdm.auto import tqdm

from rfm_recsys.core.arrays import Floats, row_of_entry
from rfm_recsys.core.checks import check_integer, check_interactions
from rfm_recsys.core.linalg import decomposed
from rfm_recsys.errors import NotSupportedError
from rfm_recsys.recommender.forms import Form, LowRank
from rfm_recsys.recommender.model import LinRFM
from rfm_recsys.recommender.noise import SAMPLED, unseen_pairs
from rfm_recsys.tables import TableModel

FEW = 5.0  # interactions that the mean of all counts for beside those of an item
LEAST = 4  # liked items of a user who can be judged
MOST = 200  # liked items of a user that are looked at
BINS = 10


def surprises(model: LinRFM, user_items: csr_matrix) -> csr_matrix:
    """Return how surprising every interaction is, given all others of its user.

    The score of an item without the interaction, over its standard deviation (:meth:`LinRFM.leave_one_out`), is
    compared with those of other users of the item, and then with those of the user's other items: in standard
    deviations below the mean. Odd clicks, and those of somebody else with the same account, are high.

    Parameters
    ----------
    model : LinRFM
    user_items : csr_matrix, shape (users, items)

    Returns
    -------
    csr_matrix of the same shape and with the same entries, stored zeros left out

    Raises
    ------
    DataError, NotFittedError, NotSupportedError
        As :meth:`LinRFM.leave_one_out`.

    Examples
    --------
    >>> import numpy as np
    >>> from scipy.sparse import csr_matrix
    >>> from rfm_recsys import LinRFM
    >>> from rfm_recsys.diagnosis import surprises
    >>> plays = csr_matrix(np.repeat([[1, 1, 1, 0, 0, 0], [0, 0, 0, 1, 1, 1], [1, 1, 1, 0, 1, 0]], [9, 9, 1], axis=0))
    >>> model = LinRFM(factors=2).fit(plays, show_progress=False)
    >>> found = surprises(model, plays)[18]
    >>> int(found.indices[found.data.argmax()])
    4
    """
    left_out, std = model.leave_one_out(user_items, return_std=True)
    return _surprises_of(check_interactions(user_items, left_out.dtype), left_out, std)


def _surprises_of(rows: csr_matrix, left_out: csr_matrix, std: csr_matrix) -> csr_matrix:
    """Return :func:`surprises` by what :meth:`LinRFM.leave_one_out` returned."""
    z = left_out.data.astype(np.float64) / np.maximum(std.data.astype(np.float64), np.finfo(np.float32).tiny)
    z *= np.sign(rows.data)
    z = _standardised(z, rows.indices, rows.shape[1], FEW)
    z = _standardised(z, row_of_entry(rows.indptr), rows.shape[0], 0)
    return csr_matrix((-z, rows.indices, rows.indptr), shape=rows.shape)


def user_oddity(model: LinRFM, user_items: csr_matrix, show_progress: bool = False) -> NDArray[np.float64]:
    """Return how likely every user is to be several people, in no unit: such accounts are the highest.

    The sum of two numbers, both in standard deviations: how much likelier the liked items are as those of two users,
    parted by their similarity, than of one (the log evidence of the ridge regressions, per item, beside what it is for
    users with as many items), and how many items they are, by their logarithm.

    Parameters
    ----------
    model : LinRFM
    user_items : csr_matrix, shape (users, items)
    show_progress : bool

    Returns
    -------
    float64 array, shape (users,)
        nan for users with fewer than 4 liked items.

    Raises
    ------
    NotFittedError
        Before ``fit``.
    DataError
        A matrix of another shape than the model's.

    Examples
    --------
    >>> from rfm_recsys import LinRFM
    >>> from rfm_recsys.datasets import synthetic_movielens
    >>> from rfm_recsys.diagnosis import user_oddity
    >>> user_items = synthetic_movielens(60, 40, 900).to_csr()
    >>> user_oddity(LinRFM(8).fit(user_items, show_progress=False), user_items).shape
    (60,)
    """
    form = model._form()
    rows = check_interactions(user_items, form.dtype, columns=form.shape[1])
    confidence = model._confidences(rows)
    unit = model._compared(form).astype(np.float64)
    counts = np.bincount(row_of_entry(rows.indptr)[confidence.data > 0], minlength=rows.shape[0])
    gain = np.full(rows.shape[0], np.nan)
    with model._on_threads():  # one for BLAS, which several would only slow down on matrices this small
        for user in tqdm(np.flatnonzero(counts >= LEAST), disable=not show_progress, desc="users", unit="user"):
            entries = slice(confidence.indptr[user], confidence.indptr[user + 1])
            items, c = confidence.indices[entries], confidence.data[entries].astype(np.float64)
            items, c = items[c > 0], c[c > 0]
            if len(items) > MOST:
                some = np.linspace(0, len(items) - 1, MOST).astype(np.intp)
                items, c = items[some], c[some]
            gain[user] = _gain_of_two(unit[items], _covariance(form, items) + np.diag(1 / c))
    judged = np.isfinite(gain)
    odd = np.full(rows.shape[0], np.nan)
    if judged.any():
        length = np.log1p(counts[judged])
        length -= length.mean()
        odd[judged] = _beside_alike(gain[judged], counts[judged]) + length / max(
            length.std(), np.finfo(np.float64).tiny
        )
    return odd


def _covariance(form: Form, items: NDArray[np.integer[Any]]) -> Floats:
    """Return S of some items, float64."""
    if isinstance(form, LowRank):
        F = form.items[items].astype(np.float64)
        return np.asarray(F @ F.T)
    return form.items[np.ix_(items, items)].astype(np.float64)  # type: ignore[no-any-return]


def _gain_of_two(unit: Floats, covariance: Floats) -> float:
    """Return by how much the log evidence of all targets being 1, per item, is higher with the items in two parts.

    The parts are those of the signs of the second eigenvector of the cosines.
    """
    similar = unit @ unit.T
    n = len(similar)
    part = decomposed(eigh, similar, subset_by_index=[n - 2, n - 2])[1][:, 0] > 0
    whole = _log_evidence(covariance)
    if not 0 < part.sum() < len(part):
        return 0.0
    parts = sum(_log_evidence(covariance[np.ix_(side, side)]) for side in (part, ~part))
    return float((parts - whole) / len(part))


def _log_evidence(covariance: Floats) -> float:
    """Return the log density of ones under N(0, covariance), to a constant for each."""
    cholesky = decomposed(np.linalg.cholesky, covariance)
    white = solve_triangular(cholesky, np.ones(len(cholesky)), lower=True)
    return float(-0.5 * white @ white - np.log(np.diag(cholesky)).sum())


def _standardised(z: Floats, group: NDArray[np.integer[Any]], n: int, few: float) -> Floats:
    """Return values in standard deviations from the mean of their group, to which ``few`` of all values are added."""
    counts = np.maximum(np.bincount(group, minlength=n) + few, 1)
    mean = (np.bincount(group, z, n) + few * (z.mean() if len(z) else 0)) / counts
    square = np.bincount(group, (z - mean[group]) ** 2, n) + few * (z.var() if len(z) else 0)
    deviation = np.sqrt(square / counts)[group]
    out: Floats = np.zeros_like(z)
    np.divide(z - mean[group], deviation, out=out, where=deviation > 0)
    return out


def _beside_alike(values: Floats, counts: NDArray[np.integer[Any]]) -> Floats:
    """Return values in standard deviations from what is usual for their counts: cubics in the logarithm."""
    powers = np.vander(np.log1p(counts), 4)
    left = values - powers @ np.linalg.lstsq(powers, values, rcond=None)[0]
    square = powers @ np.linalg.lstsq(powers, left**2, rcond=None)[0]
    return np.asarray(left / np.sqrt(np.maximum(square, 0.05 * left.var() + np.finfo(np.float64).tiny)))


@dataclass(frozen=True)
class Diagnosis:
    """What :func:`diagnose` finds.

    Parameters
    ----------
    interactions : DataFrame
        The most surprising ones: user_id, item_id, value, score (without the interaction), std, surprise.
    users : DataFrame, a row for each user
        user_id, interactions, std (the mean of its list's), oddity.
    items : DataFrame, a row for each item
        item_id, interactions, std (the mean over users), recommended (lists that it is in).
    deviations, scores : DataFrame
        Pairs that a score has not seen, in ten bins of their deviation, and of their score: predicted and actual
        deviation; the mean score, and the share that are interactions.
    N : int
        Length of the lists.

    Examples
    --------
    >>> from rfm_recsys import LinRFM, TableModel
    >>> from rfm_recsys.datasets import example_films
    >>> from rfm_recsys.diagnosis import diagnose
    >>> model = TableModel.from_table(example_films(60, 40, 900)[0], LinRFM(8), show_progress=False)
    >>> found = diagnose(model, top=5, show_progress=False)
    >>> len(found.interactions), len(found.users), len(found.items)
    (5, 60, 40)
    """

    interactions: pd.DataFrame
    users: pd.DataFrame
    items: pd.DataFrame
    deviations: pd.DataFrame
    scores: pd.DataFrame
    N: int


def diagnose(model: TableModel, N: int = 10, top: int = 50, show_progress: bool = True) -> Diagnosis:
    """Return whom and what a model does not know; see :class:`Diagnosis`, and ``rfm-recsys report`` for its page.

    Parameters
    ----------
    model : TableModel
        Of a LinRFM.
    N : int, at least 1
        Length of the lists that are made for all users.
    top : int, at least 1
        How many surprising interactions to return.
    show_progress : bool

    Returns
    -------
    Diagnosis

    Raises
    ------
    NotSupportedError
        For a LinRFMRatings, or a model without a noise level or without users.

    Examples
    --------
    >>> from rfm_recsys import LinRFM, TableModel
    >>> from rfm_recsys.datasets import example_films
    >>> from rfm_recsys.diagnosis import diagnose
    >>> model = TableModel.from_table(example_films(60, 40, 900)[0], LinRFM(8), show_progress=False)
    >>> diagnose(model, show_progress=False).users.columns.tolist()
    ['user_id', 'interactions', 'std', 'oddity']
    """
    if not isinstance(model.model, LinRFM):
        raise NotSupportedError("a diagnosis is of a LinRFM; fit the table with LinRFM() for it")
    N, top = check_integer("N", N, 1), check_integer("top", top, 1)
    model.check()
    if len(model.user_ids) == 0:
        raise NotSupportedError("this model has no users; look some up with with_users, or fit it on one machine")
    lin, rows = model.model, model.user_items
    form = lin._form()
    known = check_interactions(rows, form.dtype)
    left_out, their_std = lin.leave_one_out(known, return_std=True)
    odd = _surprises_of(known, left_out, their_std)
    oddity = user_oddity(lin, rows, show_progress)
    ids, scores, std = lin.recommend(np.arange(rows.shape[0]), rows, min(N, rows.shape[1]), return_std=True)
    listed = scores > np.finfo(scores.dtype).min
    noise = lin._noise()
    confidence = lin._confidences(known)
    active = np.flatnonzero(np.diff(confidence.indptr))
    some = active[np.linspace(0, len(active) - 1, min(SAMPLED, len(active))).astype(np.intp)]
    with lin._on_threads():
        pairs = unseen_pairs(form, confidence[some])
        if isinstance(form, LowRank):
            inverse, squares = form.spread(confidence, noise, form.items)
            item_std = np.sqrt(squares @ inverse.mean(axis=0))
        else:
            few = confidence[some[:: max(1, len(some) // 16)]]
            asked = np.tile(np.arange(rows.shape[1], dtype=np.int32), (few.shape[0], 1))
            item_std = noise * np.sqrt(form.variances(few, asked).mean(axis=0))
    order = np.argsort(-odd.data, kind="stable")[:top]
    users, items = row_of_entry(odd.indptr)[order], odd.indices[order]
    return Diagnosis(
        interactions=pd.DataFrame(
            {
                "user_id": model.user_ids[users], "item_id": model.item_ids[items], "value": known.data[order],
                "score": left_out.data[order], "std": their_std.data[order], "surprise": odd.data[order],
            }
        ),
        users=pd.DataFrame(
            {
                "user_id": model.user_ids, "interactions": np.diff(rows.indptr),
                "std": np.where(listed, std, 0).sum(axis=1) / np.maximum(listed.sum(axis=1), 1), "oddity": oddity,
            }
        ),
        items=pd.DataFrame(
            {
                "item_id": model.item_ids, "interactions": np.bincount(rows.indices, minlength=rows.shape[1]),
                "std": item_std, "recommended": np.bincount(ids[listed], minlength=rows.shape[1]),
            }
        ),
        deviations=_binned(noise * np.sqrt(pairs.variances), pairs.scores, pairs.targets, pairs.weights),
        scores=_binned(pairs.scores, pairs.scores, pairs.targets, pairs.weights, noise * np.sqrt(pairs.variances)),
        N=N,
    )  # fmt: skip


def _binned(by: Floats, scores: Floats, targets: Floats, weights: Floats, std: Floats | None = None) -> pd.DataFrame:
    """Return pairs in bins of as much weight each, by a value."""
    order = np.argsort(by, kind="stable")
    total = np.cumsum(weights[order])
    number = np.minimum((BINS * (total - weights[order] / 2) / total[-1]).astype(np.intp), BINS - 1)
    std = by if std is None else std
    frame = pd.DataFrame({"w": weights[order], "score": scores[order], "target": targets[order], "std": std[order]})
    rows = []
    for _, part in frame.groupby(number):
        mean = {name: float(np.average(part[name], weights=part["w"])) for name in ("score", "target")}
        predicted = float(np.sqrt(np.average(part["std"] ** 2, weights=part["w"])))
        actual = float(np.sqrt(np.average((part["target"] - part["score"]) ** 2, weights=part["w"])))
        rows.append({"score": mean["score"], "share": mean["target"], "predicted": predicted, "actual": actual})
    return pd.DataFrame(rows)
