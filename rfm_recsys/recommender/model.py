"""LinRFM: the recommender, with the contract of ``implicit.als.AlternatingLeastSquares``.

Read :meth:`LinRFM.fit` here, the rounds in ``rounds.py``, and what a round does with the users in ``blocks.py``.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import Any, Self, TypeVar, cast

import numpy as np
import scipy.linalg
from numpy.typing import ArrayLike, DTypeLike, NDArray
from scipy.sparse import csr_matrix

from rfm_recsys.core import modelfile
from rfm_recsys.core.arrays import Floats
from rfm_recsys.core.checks import (
    check_callback,
    check_choice,
    check_csr,
    check_dtype,
    check_features,
    check_flag,
    check_generator,
    check_id,
    check_ids,
    check_integer,
    check_interactions,
    check_number,
    check_row,
    check_seed,
    shown,
    without_zeros,
)
from rfm_recsys.core.files import PathOrFile, check_target
from rfm_recsys.core.parameters import Parameters, checked, from_json, parameter, to_json
from rfm_recsys.core.progress import progress
from rfm_recsys.core.ranking import (
    TopList,
    among,
    answer,
    asked_of,
    candidates_of,
    itself_first,
    places_among,
    row_norms,
    top_dense,
)
from rfm_recsys.core.runtime import threads
from rfm_recsys.errors import (
    DataError,
    InsufficientMemoryError,
    ModelFileError,
    NotFittedError,
    NotSupportedError,
    ParameterError,
    parameter_warning,
)
from rfm_recsys.recommender.blocks import CHOSEN, WAYS, LowRankUsers, Settings, UserBlock, Users
from rfm_recsys.recommender.checkpoint import Checkpoint, fingerprint
from rfm_recsys.recommender.exploring import USER_SHARE, ItemPosterior
from rfm_recsys.recommender.features import FeatureRegression
from rfm_recsys.recommender.forms import (
    LOW_RANK_INSTEAD,
    Form,
    LowRank,
    fill_unknown,
    form_from,
    form_of,
    mean_user_of,
    with_rows,
)
from rfm_recsys.recommender.newcomers import expected_items, expected_users, folded_in, prior_of_users
from rfm_recsys.recommender.noise import SAMPLED, noise_of
from rfm_recsys.recommender.rounds import Callback, block_of_users, check_fit_memory, run_rounds
from rfm_recsys.recommender.tuning import FALLBACK, TRIALS, Row, choose, settled
from rfm_recsys.recommender.values import MEANINGS, confidences, user_levels, weights

EXPLORATIONS = ("thompson", "ucb")
SIDES = ("item", "user")
OF_FEATURES = {
    "item_regression_",
    "item_expected_",
    "user_regression_",
    "user_prior_",
}  # attributes of a fit with features alone
MAX_WEIGHT = 1e12  # of alpha and regularization; their product has to leave room for digits

log = logging.getLogger(__name__)

Kept = TypeVar("Kept")
Explanation = tuple[float, list[tuple[int, float]], Any]


class Fitted:
    """What a fit leaves, beside the factors; see :class:`LinRFM`."""

    regularization_: float
    alpha_: float
    iterations_: int
    power_: float
    item_norm_: float
    user_norm_: float
    prior_norm_: float
    oversampling_: int
    search_: list[Row]
    user_levels_: Floats
    mean_user_: Floats
    noise_: float
    item_weights_: Floats
    item_regression_: FeatureRegression | None = None
    item_expected_: Floats | None = None
    user_regression_: FeatureRegression | None = None
    user_prior_: Floats | None = None


@dataclass(eq=False, repr=False)
class LinRFM(Fitted, Parameters):
    """Recommend items with lin-RFM: ridge regression for every user, items reweighted by the AGOP, in turns.

    Implicit feedback with confidences, as in implicit: the weight of an interaction is ``alpha`` times what its value
    says (``values``), all that is not stored counts 0 with weight 1, and a negative value says disliked. Scores are
    ``user_factors @ item_factors.T``. A user without a liked interaction has the mean factors of all others. Whatever
    of the parameters is left out, ``fit`` chooses from the data. The same data and seed give the same bits, whatever
    the number of threads.

    Parameters
    ----------
    factors : int or None
        Columns of the factors; those beyond the rank of the data are zero. None is the full form: exact, for catalogues
        of up to some thousands of items, with a sparse ``user_factors`` and an ``item_factors`` of items x items.
    regularization : float, at least 0, or None
        Weight of the prior, in units of one interaction of weight 1; 0 stands for a millionth.
    alpha : float, above 0, or None
        Weight of a usual interaction against that of an unobserved entry.
    iterations : int, at least 1, or None
        Rounds of lin-RFM: the first takes the AGOP of the data, the later ones solve the items too. Two are best as a
        rule, and one is quickest.
    power : float, at least 0, or None
        Power of the AGOP: 1/4 penalises the nuclear norm, 1/2 the log-determinant. (The paper's alpha.)
    item_norm, user_norm : float or None
        How far the AGOP evens out the popularity of items and the activity of users: 0 not at all, 1 wholly.
    dtype : float32 or float64
        Of the factors and scores.
    calculate_training_loss : bool
        Whether ``fit`` computes, logs and shows the objective after each round, per unit of weight.
    num_threads : int
        Threads to use; 0 for all.
    random_state : None, int, numpy Generator or RandomState
        Seed of the randomised eigenvectors; None is seed 0. What is chosen does not depend on it.
    use_native, use_cg, use_gpu : bool
        Taken because ALS takes them, and without effect: there is one solver, on the CPU.
    prior_norm : float or None
        How far the prior favours popular items: with 1 as far as they lead, with 0 not at all. Left out where
        ``item_norm`` is given, it is the same.
    oversampling : int, at least 0, or None
        Columns that the rounds work with beyond ``factors``; of them the last round keeps the leading directions.
        Left out where ``iterations`` are given, 0.
    values : {"relative", "confidence"}
        What the size of a value says. ``"relative"``: it is compared with the mean size of the user's values, in any
        unit; a value r times that mean weighs ``1/2 + r / (1 + r)``, which is 1 for the usual one and at most 3/2.
        ``"confidence"``: it is the weight, as in ALS.
    trials : int, at least 1
        Settings that ``fit`` tries, at most, to choose what is left out.

    Attributes
    ----------
    user_factors : array, shape (users, factors), or csr_matrix, shape (users, items), in the full form
    item_factors : array, shape (items, factors), or (items, items) in the full form
    regularization_, alpha_, power_, item_norm_, prior_norm_, user_norm_ : float
    iterations_, oversampling_ : int
        What the fit used: what was given, or chosen.
    chosen_ : dict
        These by name: ``LinRFM(**model.chosen_)`` fits again without choosing.
    mean_user_ : array, shape (factors,), or (items,) in the full form
        Factors of a user of whom no liked interaction is known: the mean of all others'.
    noise_ : float
        Noise level, in the unit of the scores: what the deviations of :meth:`score_std` are multiplied by.
    item_weights_ : array, shape (items,)
        Sums of the confidences of what is observed of each item: how much there is to explore.
    item_regression_, user_regression_ : FeatureRegression or None
        What features say of factors, where ``fit`` was given some; their ``agop`` is what matters (:meth:`agop_of`).
    item_expected_ : array, shape (items, factors)
        Of the factors of items, what comes from features.
    user_prior_ : array, shape (factors, factors)
        How much of what features say of a user counts beside interactions, by the directions of the factors.
    search_ : list of dict
        What was tried: a setting, and how it ranks interactions that were hidden from it (``ndcg@10``, ``recall@20``,
        and ``score``, the root of their product). Empty where there was no choice.

    Notes
    -----
    To choose, ``fit`` hides a fifth of the interactions, of up to 6,000 users, of a sample of 262,144 interactions
    where there are more, and takes the setting that ranks them best; for the full form, on the 1,500 most popular items
    and with ``power=0.5, iterations=1`` alone, which takes no eigenvectors. See ``docs/algorithm/``. Data with fewer
    than 20 users or 50 interactions to hide are fitted with ``regularization=4, alpha=7, iterations=2, power=0.35,
    item_norm=0.8, user_norm=0.8``, and in the full form with ``regularization=3, alpha=3, iterations=1, power=0.5,
    item_norm=0.35, prior_norm=0, user_norm=0.5``.

    References
    ----------
    Radhakrishnan, Belkin, Drusvyatskiy: Linear Recursive Feature Machines provably recover low-rank matrices.
    arXiv 2401.04553.

    Examples
    --------
    >>> import numpy as np
    >>> from scipy.sparse import csr_matrix
    >>> from rfm_recsys import LinRFM
    >>> plays = csr_matrix(np.array([[3, 1, 0, 0], [9, 4, 1, 0], [0, 0, 2, 5]]))
    >>> model = LinRFM(factors=2).fit(plays, show_progress=False)
    >>> model.recommend(0, plays[0], N=1)[0].tolist()
    [2]

    Why is item 2 in the list of user 0? The score is the sum of the shares of the user's own items.

    >>> score, shares, _ = model.explain(0, plays, 2)
    >>> abs(score - sum(share for _, share in shares)) < 1e-5
    True
    >>> [item for item, _ in shares]  # the one that accounts for most, first
    [0, 1]

    What is liked together, and who likes the same:

    >>> model.similar_items(3, N=2)[0].tolist(), model.similar_users(0, N=2)[0].tolist()
    ([3, 2], [0, 1])
    >>> model.item_vectors().shape
    (4, 2)

    Somebody new, for one list and to keep; and a new item that users 0 and 1 have:

    >>> somebody = csr_matrix(np.array([[0, 0, 1, 0]]))
    >>> ids, scores = model.recommend(3, somebody, N=3, recalculate_user=True)
    >>> 2 in ids  # which they have already
    False
    >>> model.recalculate_user(3, somebody).shape
    (2,)
    >>> model.partial_fit_users([3], somebody)
    >>> model.user_factors.shape
    (4, 2)
    >>> new = csr_matrix(np.array([[1, 1, 0, 0]]))
    >>> model.recalculate_item([4], new).shape
    (1, 2)
    >>> model.partial_fit_items([4], new)
    >>> model.item_factors.shape
    (5, 2)

    Keep it:

    >>> import tempfile, os
    >>> path = os.path.join(tempfile.mkdtemp(), "model.npz")
    >>> model.save(path)
    >>> same = LinRFM.load(path)
    >>> bool((same.item_factors == model.item_factors).all())
    True

    As in implicit, deprecated: ``rank_items`` and ``recommend_all``.

    >>> wide = csr_matrix((plays.data, plays.indices, plays.indptr), shape=(3, 5))
    >>> len(model.rank_items(0, wide[0], [2, 3])[0])
    2
    >>> model.recommend_all(wide, N=2).shape
    (3, 2)
    """

    factors: int | None = parameter(256, check_integer, least=1, optional=True)
    regularization: float | None = parameter(None, check_number, least=0, most=MAX_WEIGHT, optional=True)
    alpha: float | None = parameter(None, check_number, least=0, most=MAX_WEIGHT, above=True, optional=True)
    iterations: int | None = parameter(None, check_integer, least=1, optional=True)
    power: float | None = parameter(None, check_number, least=0, most=4, optional=True)
    item_norm: float | None = parameter(None, check_number, least=-4, most=4, optional=True)
    user_norm: float | None = parameter(None, check_number, least=-4, most=4, optional=True)
    dtype: DTypeLike = parameter(np.float32, check_dtype)
    calculate_training_loss: bool = parameter(False, check_flag)
    num_threads: int = parameter(0, check_integer, least=0)
    random_state: Any = parameter(None, check_seed)
    use_native: bool = parameter(True, check_flag)
    use_cg: bool = parameter(True, check_flag)
    use_gpu: bool = parameter(False, check_flag)
    values: str = parameter("relative", check_choice, choices=MEANINGS)
    trials: int = parameter(TRIALS, check_integer, least=1)
    prior_norm: float | None = parameter(None, check_number, least=-4, most=4, optional=True)
    oversampling: int | None = parameter(None, check_integer, least=0, optional=True)

    def __post_init__(self) -> None:
        self.user_factors: Any = None
        self.item_factors: Any = None
        super().__post_init__()
        if self.use_gpu:
            message = "use_gpu has no effect: LinRFM runs on the CPU; leave it out"
            warnings.warn(parameter_warning(message), stacklevel=3)

    def __sklearn_tags__(self) -> Any:
        """Return what scikit-learn's searches ask of an estimator; nothing else calls this, or needs scikit-learn."""
        from sklearn.utils import InputTags, Tags, TargetTags

        return Tags(estimator_type=None, target_tags=TargetTags(required=False), input_tags=InputTags(sparse=True))

    @property
    def user_norms(self) -> Floats:
        """Lengths of the rows of ``user_factors``, shape (users,); 1e-10 for 0, as in implicit."""
        return self._form().user_norms()

    @property
    def item_norms(self) -> Floats:
        """Lengths of the rows of ``item_factors``, shape (items,); 1e-10 for 0, as in implicit."""
        return row_norms(self._form().items)

    def fit(
        self,
        user_items: csr_matrix,
        show_progress: bool = True,
        callback: Callback | None = None,
        *,
        checkpoint: str | os.PathLike[str] | None = None,
        item_features: Any = None,
        user_features: Any = None,
    ) -> Self:
        """Fit the factors to interactions, from scratch: what an earlier ``fit`` left is replaced when all is done.

        A fit that fails or is interrupted, by Ctrl-C or by ``callback``, leaves the model as it was.

        Parameters
        ----------
        user_items : csr_matrix, shape (users, items)
            Positive: liked, negative: disliked; ``values`` says what the size means. Duplicates add up; a
            stored 0 says neither, and plays no part here.
        show_progress : bool
            Whether to show a progress bar over the settings tried, and over the rounds.
        callback : callable
            Called after each round as ``callback(iteration, elapsed seconds, loss)``; the loss is None unless
            ``calculate_training_loss``.
        checkpoint : path
            File to keep the last finished round in. Where it holds a round of the same fit, the same interactions and
            parameters, the fit goes on from there, to the same bits. It stays, so that nothing is lost until the model
            is saved; remove it then.
        item_features, user_features : sparse matrix, or array or DataFrame of numbers, shape (items or users, d)
            What is known of items and users beside the interactions; :class:`rfm_recsys.datasets.FeatureEncoder` makes
            it of the columns of a table. An item or user without interactions has the factors that features say it will
            have, and one with few is drawn to them. For new ones, see :meth:`add_items` and :meth:`add_users`.

        Returns
        -------
        LinRFM
            The model itself.

        Raises
        ------
        DataError
            No liked interactions, a value that is not finite, a corrupt matrix, features of another number of rows.
        ParameterError, ParameterTypeError
            A parameter out of bounds, ``user_items`` or features of a wrong type.
        NotSupportedError
            Features with the full form.
        InsufficientMemoryError
            For more users, items or factors than memory holds.
        ModelFileError, OSError
            ``checkpoint`` is a file of something else, or cannot be written.
        """
        parameters = checked(self)
        show_progress = check_flag("show_progress", show_progress)
        check_callback(callback, "iteration, elapsed and loss")
        if checkpoint is not None:
            check_target(checkpoint)
        interactions = check_interactions(user_items, parameters["dtype"])
        features = checked_features(parameters["factors"], interactions.shape, item_features, user_features)
        check_fit_memory(interactions.shape, interactions.nnz, parameters["factors"], parameters["dtype"].itemsize)
        with threads(parameters["num_threads"]):
            levels = user_levels(interactions)
            weighed = weights(interactions, parameters["values"], levels)
        kept = None
        if checkpoint is not None:
            parts = (part.tobytes() for part in (weighed.indptr, weighed.indices, weighed.data))
            kept = Checkpoint(checkpoint, fingerprint(to_json(self), weighed.shape, parts))
        chosen, search = choose_parameters(parameters, weighed, kept, show_progress)
        settings = Settings.of(parameters | chosen)
        users = block_of_users(weighed, settings)
        del interactions, weighed
        run_rounds(users, settings, kept, show_progress, callback)
        with threads(parameters["num_threads"]):
            said = what_features_say(users, settings, features[0])
            mean_user = mean_user_of(*users.sums(), users.dtype)
            if features[1] is not None:
                assert isinstance(users, UserBlock)
                said |= expected_users(users, settings, features[1])
            U, F = users.factors()
            unsure = what_is_unsure(users, form_of(U, F, mean_user))
        if settings.factors is not None:
            fill_unknown(U, mean_user)
        take(self, U, F, chosen, search, user_levels_=levels, mean_user_=mean_user, **unsure, **said)
        return self

    @property
    def chosen_(self) -> dict[str, Any]:
        """What the fit used of the parameters that it can choose, by name; raises NotFittedError before it."""
        if not hasattr(self, "alpha_"):
            raise NotFittedError("this LinRFM has chosen nothing yet; call fit(user_items) first")
        return {name: getattr(self, f"{name}_") for name in CHOSEN}

    def _in_use(self) -> dict[str, Any]:
        """Return all parameters, those that are left out as the fit has chosen them, or as for the smallest data."""
        chosen = {name: getattr(self, f"{name}_", FALLBACK[name]) for name in CHOSEN}
        return {
            name: chosen[name] if name in chosen and value is None else value for name, value in checked(self).items()
        }

    def _form(self) -> Form:
        """Return the fitted factors; raises NotFittedError, or ParameterError for what was set by hand."""
        return form_of(self.user_factors, self.item_factors, getattr(self, "mean_user_", None))

    def _confidences(self, rows: csr_matrix, levels: Floats | None = None) -> csr_matrix:
        """Return the signed confidences of rows of users, or of items whose users have these levels."""
        used = self._in_use()
        return confidences(weights(rows, used["values"], levels, levels is not None), used["alpha"])

    def _levels(self, n_users: int) -> Floats | None:
        """Return the levels of all users' values; None where they are not known, so that an item's own level counts."""
        levels = getattr(self, "user_levels_", None)
        return levels if levels is not None and len(levels) == n_users else None

    def _on_threads(self) -> AbstractContextManager[None]:
        return threads(check_integer("num_threads", self.num_threads, 0))

    def recalculate_user(self, userid: ArrayLike, user_items: csr_matrix, user_features: Any = None) -> Any:
        """Fold users in: return the factors that ``fit`` would give their rows, with the item factors as they are.

        Parameters
        ----------
        userid : int, or array of ints, shape (n,)
            Only counted: the rows may belong to users that ``fit`` has not seen.
        user_items : csr_matrix, shape (n, items)
        user_features : matrix, shape (n, d), optional
            As in :meth:`fit`.

        Returns
        -------
        array of shape (factors,) for a single user, (n, factors) for an array of users; in the full form, (items,)
        and a csr_matrix of shape (n, items)

        Raises
        ------
        NotFittedError (a TypeError and a ValueError)
            Before ``fit``.
        DataError
            A matrix of another shape than the model's, or a corrupt one.
        """
        form = self._form()
        ids, single = check_ids(userid, None, "user")
        rows = check_interactions(user_items, form.dtype, rows=len(ids), columns=form.shape[1])
        with self._on_threads():
            factors = form.filled(self._users_folded_in(form, rows, user_features))
        return form.single(factors) if single else factors

    def _users_folded_in(self, form: Form, rows: csr_matrix, user_features: Any) -> Any:
        """Return the factors of users by their rows, and by features where there are some."""
        confidence = self._confidences(rows)
        return form.fold_in(confidence, self._prior(form, confidence, user_features))

    def _prior(self, form: Form, confidence: csr_matrix, user_features: Any) -> Floats | None:
        """Return what the factors of users are drawn to, by features; None without."""
        if user_features is None:
            return None
        regression = self._regression("user")
        features = check_features("user_features", user_features, confidence.shape[0], len(regression.agop))
        observed = np.asarray(abs(confidence).sum(axis=1, dtype=np.float64)).ravel() / float(self._in_use()["alpha"])
        assert self.user_prior_ is not None
        return prior_of_users(regression.predicted(features), observed, self.user_prior_, form.dtype)

    def _regression(self, side: str) -> FeatureRegression:
        """Return what features say; raises NotSupportedError where a fit has been given none."""
        regression: FeatureRegression | None = getattr(self, f"{side}_regression_")
        if regression is None:
            raise NotSupportedError(f"this LinRFM knows no features of {side}s; pass {side}_features to fit() first")
        return regression

    def agop_of(self, side: str) -> Floats:
        """Return how much each feature matters: the AGOP's diagonal, scaled to a mean of 1, shape (d,).

        Entry j is the mean square of what scores change by, per unit of feature j, over items (or users).

        Parameters
        ----------
        side : {"item", "user"}

        Returns
        -------
        array, shape (d,)

        Raises
        ------
        NotSupportedError
            ``fit`` was given no features of that side.

        Examples
        --------
        >>> import numpy as np
        >>> from scipy.sparse import csr_matrix
        >>> from rfm_recsys import LinRFM
        >>> plays = csr_matrix(np.array([[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 1], [0, 0, 1, 1]]))
        >>> features = np.array([[1, 0], [1, 1], [0, 0], [0, 1]])  # the first tells apart what users like
        >>> model = LinRFM(factors=2).fit(plays, show_progress=False, item_features=features)
        >>> bool(model.agop_of("item")[0] > model.agop_of("item")[1])
        True
        """
        agop = self._regression(check_choice("side", side, ("item", "user"))).agop
        return np.asarray(agop / (agop.mean() or 1))

    def recalculate_item(self, itemid: ArrayLike, item_users: csr_matrix, item_features: Any = None) -> Floats:
        """Fold items in: return factors for items by who has them, with the user factors as they are.

        The item's half of a round: with the users' features ``R = U T``, T from the AGOP as in ``fit``, the item's row
        is solved for R as a user's is for F, and its factors are T times the solution.

        Parameters
        ----------
        itemid : int, or array of ints, shape (n,)
            Only counted: the rows may belong to items that ``fit`` has not seen.
        item_users : csr_matrix, shape (n, users)
        item_features : matrix, shape (n, d), optional
            As in :meth:`fit`: an item is drawn to what they say of it, the less the more users have it.

        Returns
        -------
        array of shape (factors,) for a single item, (n, factors) for an array of items

        Raises
        ------
        NotSupportedError (a NotImplementedError)
            In the full form, in which an item is more than factors.
        """
        ids, single = check_ids(itemid, None, "item")
        factors, _, _ = self._items_folded_in(ids, item_users, item_features)
        return factors[0] if single else factors

    def _items_folded_in(
        self, ids: NDArray[np.intp], item_users: csr_matrix, item_features: Any
    ) -> tuple[Floats, Floats, Floats]:
        """Return the factors of items, what of them comes from features, and the sums of their confidences."""
        form = self._form()
        rows = check_interactions(item_users, form.dtype, rows=len(ids), columns=form.shape[0], name="item_users")
        settings = Settings.of(self._in_use())
        with self._on_threads():
            confidence = self._confidences(rows, self._levels(form.shape[0]))
            observed = np.asarray(abs(confidence).sum(axis=1, dtype=np.float64)).ravel()
            if item_features is None:
                factors = form.fold_in_items(confidence, settings)
                return factors, np.zeros_like(factors), observed
            regression = self._regression("item")
            assert isinstance(form, LowRank)
            means = regression.predicted(check_features("item_features", item_features, len(ids), len(regression.agop)))
            if confidence.nnz == 0:  # which needs no users: those of a cluster's fit are elsewhere
                factors = means.astype(form.dtype)
                return factors, factors, observed
            U, T = form.users_features(settings)
            factors = folded_in(confidence, U, T, means, settings.alpha)
            without = folded_in(confidence, U, T, np.zeros_like(means), settings.alpha)
        return factors, factors - without, observed

    def add_items(self, item_features: Any, item_users: csr_matrix | None = None) -> NDArray[np.intp]:
        """Add new items by what features say of them, and by who has them where somebody does; return their ids.

        They come after the items that there are, and are ranked and recommended beside them from then on.

        Parameters
        ----------
        item_features : matrix, shape (n, d)
            The features that ``fit`` was given, of the new items.
        item_users : csr_matrix, shape (n, users), optional

        Returns
        -------
        array of ints, shape (n,)

        Raises
        ------
        NotSupportedError
            ``fit`` was given no features of items.
        DataError, ParameterTypeError
            As in :meth:`fit`.

        Examples
        --------
        >>> import numpy as np
        >>> from scipy.sparse import csr_matrix
        >>> from rfm_recsys import LinRFM
        >>> plays = csr_matrix(np.array([[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 1], [0, 0, 1, 1]]))
        >>> genres = np.array([[1, 0], [1, 0], [0, 1], [0, 1]])
        >>> model = LinRFM(factors=2).fit(plays, show_progress=False, item_features=genres)
        >>> new = model.add_items(np.array([[1, 0], [0, 1]]))
        >>> new.tolist()
        [4, 5]
        >>> model.recommend(0, plays[0], N=1)[0].tolist()  # the new item of the genre that the user likes
        [4]
        """
        features = check_features("item_features", item_features)
        return self._added("item", features, item_users)

    def add_users(self, user_features: Any, user_items: csr_matrix | None = None) -> NDArray[np.intp]:
        """Add new users by what features say of them, and by what they have, if anything; return their ids.

        Parameters
        ----------
        user_features : matrix, shape (n, d)
            The features that ``fit`` was given, of the new users.
        user_items : csr_matrix, shape (n, items), optional

        Returns
        -------
        array of ints, shape (n,)

        Raises
        ------
        NotSupportedError
            ``fit`` was given no features of users.
        DataError, ParameterTypeError
            As in :meth:`fit`.

        Examples
        --------
        >>> import numpy as np
        >>> from scipy.sparse import csr_matrix
        >>> from rfm_recsys import LinRFM
        >>> plays = csr_matrix(np.array([[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 1], [0, 0, 1, 1]]))
        >>> country = np.array([[1, 0], [1, 0], [0, 1], [0, 1]])
        >>> model = LinRFM(factors=2).fit(plays, show_progress=False, user_features=country)
        >>> new = model.add_users(np.array([[0, 1]]))
        >>> sorted(model.recommend(new, csr_matrix((1, 4)), N=2)[0][0].tolist())
        [2, 3]
        """
        features = check_features("user_features", user_features)
        return self._added("user", features, user_items)

    def _added(self, side: str, features: csr_matrix, rows: csr_matrix | None) -> NDArray[np.intp]:
        """Fold new rows of a side in, behind those that there are."""
        self._regression(side)
        places = self._form().shape
        first, others = (places[1], places[0]) if side == "item" else places
        ids: NDArray[np.intp] = np.arange(first, first + features.shape[0])
        none = csr_matrix((len(ids), others), dtype=self._form().dtype)
        fold_in = self.partial_fit_items if side == "item" else self.partial_fit_users
        fold_in(ids, none if rows is None else rows, features)
        return ids

    def partial_fit_users(self, userids: ArrayLike, user_items: csr_matrix, user_features: Any = None) -> None:
        """Fold users in, new ones too, and store their factors; see :meth:`recalculate_user`.

        Ids beyond those stored make room: users in between have zeros. Of an id given twice, the last row counts.

        Parameters
        ----------
        userids : int, or array of ints, shape (n,)
        user_items : csr_matrix, shape (n, items)
            A row for each of them: what they have.
        user_features : matrix, shape (n, d), optional
            As in :meth:`fit`.

        Raises
        ------
        NotFittedError (a TypeError and a ValueError)
            Before ``fit``.
        IdError (an IndexError)
            A negative id, or one beyond what memory holds.
        DataError
            A matrix of another shape than the model's, or a corrupt one.
        """
        ids, _ = check_ids(userids, None, "user")
        form = self._form()
        rows = check_interactions(user_items, form.dtype, rows=len(ids), columns=form.shape[1])
        with self._on_threads():
            factors = form.with_users(ids, self._users_folded_in(form, rows, user_features))
        levels = self._levels(form.shape[0])
        if levels is not None:
            new = user_levels(rows)
            levels = with_rows(levels[:, None], ids, new[:, None], "user")[:, 0]
        vars(self).update(user_factors=factors, user_levels_=levels)

    def partial_fit_items(self, itemids: ArrayLike, item_users: csr_matrix, item_features: Any = None) -> None:
        """Fold items in, new ones too, and store their factors; see :meth:`recalculate_item`.

        Ids beyond those stored make room: items in between have zeros. Of an id given twice, the last row counts.

        Parameters
        ----------
        itemids : int, or array of ints, shape (n,)
        item_users : csr_matrix, shape (n, users)
            A row for each item: who has it.
        item_features : matrix, shape (n, d), optional
            As in :meth:`fit`.

        Raises
        ------
        NotFittedError (a TypeError and a ValueError)
            Before ``fit``.
        IdError (an IndexError)
            A negative id, or one beyond what memory holds.
        DataError
            A matrix of another shape than the model's, or a corrupt one.
        NotSupportedError (a NotImplementedError)
            In the full form.
        """
        ids, _ = check_ids(itemids, None, "item")
        factors, expected, observed = self._items_folded_in(ids, item_users, item_features)
        learned: dict[str, Any] = {"item_factors": with_rows(self._form().items, ids, factors, "item")}
        if (before := self._expected()) is not None:
            learned["item_expected_"] = with_rows(before, ids, expected, "item")
        weights = getattr(self, "item_weights_", None)
        if weights is not None:
            learned["item_weights_"] = with_rows(weights[:, None], ids, observed[:, None], "item")[:, 0]
        vars(self).update(learned)

    def explain(
        self,
        userid: int,
        user_items: csr_matrix,
        itemid: int,
        user_weights: Any = None,
        N: int = 10,
        *,
        user_features: Any = None,
    ) -> Explanation:
        """Return the score of an item, and how much of it each item that the user likes accounts for.

        With ``A = I + F_O^T diag(c - 1) F_O`` the score is ``F_i . A^-1 F_O^T c p``, a sum over the liked items j of
        ``c_j F_i . A^-1 F_j`` (in the full form, the same with S in place of ``F F^T``).

        Parameters
        ----------
        userid, itemid : int
            The user is a row of ``user_items``, whether or not ``fit`` has seen it.
        user_items : csr_matrix, shape (any number of users, items)
        user_weights : optional
            What an earlier call for this user returned: saves the factorisation of A.
        N : int
            Liked items to return, the largest shares first.
        user_features : matrix, shape (1, d), optional
            Those of the user. What they account for is what the score has beyond the shares of all items.

        Returns
        -------
        score : float
            What ``recommend`` gives, to rounding; exactly the sum of all shares in the order in which they come, and of
            that of the user's features. Where there are neither, that of the mean user.
        contributions : list of (item, share)
        user_weights : tuple

        Raises
        ------
        NotFittedError (a TypeError and a ValueError)
            Before ``fit``.
        IdError (an IndexError)
            An unknown user or item.
        DataError
            A matrix of another shape than the model's, or a corrupt one.
        """
        form = self._form()
        N = check_integer("N", N, 0)
        row = check_row(user_items, userid, form.shape[1], form.dtype)
        item = check_id(itemid, form.shape[1], "item")
        liked, c = row.indices, self._confidences(row).data.astype(np.float64)
        system = form.system(liked, c)
        given = None if user_weights is None else _checked_weights(user_weights, len(system))
        try:
            weights = scipy.linalg.lu_factor(system) if given is None else given
            shares = form.shares(item, liked, c, weights)
            if not np.isfinite(shares).all():
                raise ValueError("a share is not finite")
        except (ValueError, scipy.linalg.LinAlgError) as error:
            raise DataError(
                f"the solve of user {shown(userid)} overflowed ({error}): alpha * value, the factors or the "
                "user_weights are too large; scale them down"
            ) from error
        order = [j for j in np.lexsort((liked, -shares)) if c[j] > 0]
        contributions = [(int(liked[j]), float(shares[j])) for j in order]
        prior = self._prior(form, self._confidences(row), user_features)
        if not shares.any() and prior is None:
            return form.score_of_mean_user(item), contributions[:N], weights
        beyond = 0.0 if prior is None else form.share_of_prior(item, prior[0], weights)
        return float(sum(share for _, share in contributions) + beyond), contributions[:N], weights

    def leave_one_out(self, user_items: csr_matrix, return_std: bool = False) -> Any:
        """Return what the model would predict for every interaction, were it not among those of its user.

        Exact, for the item factors as they are: the user's ridge regression without the interaction, by the formula of
        Sherman and Morrison, ``(x - c p h) / (1 - (c - 1) h)`` with ``h = F_j . A^-1 F_j`` and the A of
        :meth:`explain`. A low score of a liked item is a surprise: an odd click, or somebody else's. (The item factors
        have seen the interaction, so that these are no estimate of how well new interactions are predicted.)

        Parameters
        ----------
        user_items : csr_matrix, shape (any number of users, items)
            Rows of any users; whether or not ``fit`` has seen them.
        return_std : bool
            Whether to return the standard deviations of these predictions too, as in :meth:`score_std`.

        Returns
        -------
        csr_matrix of the same shape and with the same entries, in the dtype of the factors; with ``return_std`` a tuple
        of two of them

        Raises
        ------
        NotFittedError (a TypeError and a ValueError)
            Before ``fit``.
        DataError
            A matrix of another shape than the model's, or a corrupt one.

        Examples
        --------
        >>> import numpy as np
        >>> from scipy.sparse import csr_matrix
        >>> from rfm_recsys import LinRFM
        >>> plays = csr_matrix(np.array([[1, 1, 0, 0], [1, 1, 0, 0], [1, 0, 1, 1], [0, 0, 1, 1]]))
        >>> model = LinRFM(factors=2).fit(plays, show_progress=False)
        >>> surprises = model.leave_one_out(plays)
        >>> int(surprises[2].indices[surprises[2].data.argmin()])  # what the third user has in common with the others
        0
        """
        form = self._form()
        rows = check_interactions(user_items, form.dtype, columns=form.shape[1])
        noise = self._noise() if check_flag("return_std", return_std) else 0.0
        with self._on_threads():
            scores, variances = form.leave_one_out(self._confidences(rows))
        left_out = csr_matrix((scores.astype(form.dtype), rows.indices, rows.indptr), shape=rows.shape)
        if not return_std:
            return left_out
        std = noise * np.sqrt(variances)
        return left_out, csr_matrix((std.astype(form.dtype), rows.indices, rows.indptr), shape=rows.shape)

    def recommend(
        self,
        userid: ArrayLike,
        user_items: csr_matrix | None,
        N: int = 10,
        filter_already_liked_items: bool = True,
        filter_items: ArrayLike | None = None,
        recalculate_user: bool = False,
        items: ArrayLike | None = None,
        *,
        return_std: bool = False,
        explore: str | None = None,
        explore_scale: float = 0.5,
        random_state: Any = None,
    ) -> Any:
        """Return the best items of each user, best first, and their scores.

        Parameters
        ----------
        userid : int, or array of ints, shape (n,)
        user_items : csr_matrix, shape (n, items), or None
            One row for each user asked for; None when neither filtering nor recalculating, nor exploring, nor asking
            for deviations.
        N : int
            Items for each user.
        filter_already_liked_items : bool
            Whether to leave out the items stored in ``user_items``, whatever their values.
        filter_items : array of ints
            Items to leave out for everybody.
        recalculate_user : bool
            Whether to fold the rows of ``user_items`` in, rather than take the users' stored factors.
        items : array of ints
            The only items to rank, so that there are no more than these in the answer; not together with
            ``filter_items``.
        return_std : bool
            Whether to return the standard deviations of the scores too; see :meth:`score_std`.
        explore : None, "thompson" or "ucb"
            Whether to try what is uncertain: items that few have met, whose factors are those of any item until
            something is known, and users of whom little is known. ``"thompson"`` ranks by a draw from both posteriors,
            so that an item comes first as often as it is likely to be the best one. ``"ucb"`` ranks by what is expected
            plus its standard deviation, for which a user's factors are taken for independent (within a tenth or so of
            those of ``return_std``). Store what was shown and not taken with negative values: it is evidence, too. Not
            in the full form.
        explore_scale : float, at least 0
            What the deviations are multiplied by to explore: 1/2 costs next to nothing at first, 1 finds more.
        random_state : None, int, numpy Generator or RandomState
            Seed of the draws, None is seed 0. The same seed gives a user the same draw, whoever else is asked for: pass
            another one each day, or a Generator, for others.

        Returns
        -------
        ids : int32 array, shape (N,) for a single user, (n, N) for an array of users
            Ties go to the item listed first. Items left out come last, and then -1 where the catalogue has fewer than
            N items.
        scores : array of the same shape, in the dtype of the factors
            What is ranked by: with ``explore`` those drawn, or with the deviations. The lowest finite number for an
            item left out and for -1.
        std : array of the same shape, with ``return_std``
            0 for an item left out and for -1.

        Raises
        ------
        IdError (an IndexError)
            An unknown user or item.
        DataError, ParameterError (ValueErrors)
            ``user_items`` of a wrong shape or form, ``items`` together with ``filter_items``.
        NotSupportedError
            ``explore`` in the full form, or where the noise level is not known; see :meth:`score_std`.
        """
        form = self._form()
        n_users, n_items = form.shape
        recalculate_user = check_flag("recalculate_user", recalculate_user)
        filter_already_liked_items = check_flag("filter_already_liked_items", filter_already_liked_items)
        return_std = check_flag("return_std", return_std)
        scale = check_number("explore_scale", explore_scale, 0, MAX_WEIGHT)
        if explore is not None:
            check_choice("explore", explore, EXPLORATIONS)
        uncertain = return_std or explore is not None
        noise = self._noise() if uncertain else 0.0
        ids, single = check_ids(userid, None if recalculate_user else n_users, "user")
        rows = confidence = None
        if filter_already_liked_items or recalculate_user or uncertain:
            rows = check_interactions(check_csr(user_items), form.dtype, rows=len(ids), columns=n_items, zeros=True)
        candidates, filtered = candidates_of(n_items, items, filter_items, "item")
        if candidates is not None:
            N = min(check_integer("N", N, 0), len(candidates))
        with self._on_threads():
            if recalculate_user or uncertain:
                confidence = self._confidences(without_zeros(rows))
            users = form.filled(form.fold_in(confidence) if recalculate_user else form.users_at(ids))
            listed = among(candidates, rows if filter_already_liked_items else None)
            ranked = form.items if candidates is None else form.items_at(candidates)
            best: Any = form.best
            if explore is not None and not isinstance(form, LowRank):
                raise NotSupportedError(f"the full form does not explore; {LOW_RANK_INSTEAD}")
            if isinstance(form, LowRank) and explore is not None and scale > 0:
                unsure, chosen = self._item_posterior(form), slice(None) if candidates is None else candidates
                if explore == "thompson":
                    seed = check_generator(random_state).integers(2**64, dtype=np.uint64)
                    users = form.drawn(users, confidence, scale * noise * USER_SHARE, seed, ids)
                    ranked = self._drawn_items(unsure, scale, seed)[chosen]
                else:
                    of_users = form.spread(confidence, scale * noise * USER_SHARE, ranked)
                    of_items = unsure.spread(users, scale, chosen)
                    spread = np.hstack([of_users[0], of_items[0]]), np.hstack([of_users[1], of_items[1]])
                    best = partial(top_dense, spread=spread)
                    ranked = unsure.mean[chosen]
            found, scores = answer(best(users, ranked, listed, filtered, N), candidates, False)
            if not return_std:
                return (found[0], scores[0]) if single else (found, scores)
            std = noise * np.sqrt(form.variances(confidence, found))
        std = np.where(scores > np.finfo(scores.dtype).min, std, 0).astype(form.dtype)
        return (found[0], scores[0], std[0]) if single else (found, scores, std)

    def score(self, users: ArrayLike, items: ArrayLike) -> Any:
        """Return the scores of items, by the stored factors.

        Parameters
        ----------
        users : int, or array of ints, shape (n,)
        items : int, or array of ints, shape (m,) for all users or (n, m) for each its own
            With ``items[:, None]`` for n items, one item for each user.

        Returns
        -------
        array in the dtype of the factors, shape (n, m); without the first axis for a single user, and without the last
        for a single item

        Raises
        ------
        IdError (an IndexError)
            An unknown user or item.
        ParameterError
            Items of a wrong shape.

        Examples
        --------
        >>> import numpy as np
        >>> from scipy.sparse import csr_matrix
        >>> from rfm_recsys import LinRFM
        >>> plays = csr_matrix(np.array([[3, 1, 0, 0], [9, 4, 1, 0], [0, 0, 2, 5]]))
        >>> model = LinRFM(factors=2).fit(plays, show_progress=False)
        >>> bool(model.score(0, 1) > model.score(0, 3))
        True
        """
        form = self._form()
        ids, single = check_ids(users, form.shape[0], "user")
        asked, squeezed = asked_of(items, len(ids), form.shape[1], single)
        with self._on_threads():
            return squeezed(form.scores(form.filled(form.users_at(ids)), asked))

    def score_from_features(self, users: ArrayLike, items: ArrayLike) -> Any:
        """Return how much of each score of :meth:`score` comes from the items' features; the rest is from interactions.

        All of it for an item without interactions, and the less the more there are.

        Parameters
        ----------
        users, items
            As in :meth:`score`.

        Returns
        -------
        array of the shape of :meth:`score`; zeros where ``fit`` was given no features of items

        Raises
        ------
        IdError (an IndexError), ParameterError
            As :meth:`score`.

        Examples
        --------
        >>> import numpy as np
        >>> from scipy.sparse import csr_matrix
        >>> from rfm_recsys import LinRFM
        >>> plays = csr_matrix(np.array([[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 1], [0, 0, 1, 1]]))
        >>> model = LinRFM(factors=2).fit(plays, show_progress=False, item_features=np.array([[1], [1], [0], [0]]))
        >>> new = model.add_items(np.array([[1]]))  # nobody has it: all that is known is from its features
        >>> bool(np.isclose(model.score_from_features(0, new), model.score(0, new)).all())
        True
        """
        form = self._form()
        ids, single = check_ids(users, form.shape[0], "user")
        asked, squeezed = asked_of(items, len(ids), form.shape[1], single)
        expected = self._expected()
        if expected is None or not isinstance(form, LowRank):
            return squeezed(np.zeros(asked.shape, dtype=form.dtype))
        with self._on_threads():
            return squeezed(LowRank(form.users, expected).scores(form.filled(form.users_at(ids)), asked))

    def _expected(self) -> Floats | None:
        """Return what of the items' factors comes from features; None where there are none, or items were set since."""
        expected = self.item_expected_
        return expected if expected is not None and expected.shape == np.shape(self.item_factors) else None

    def score_std(self, users: ArrayLike, user_items: csr_matrix, items: ArrayLike) -> Any:
        """Return the standard deviations of scores: how sure the model is of them.

        A user's ridge regression is Bayesian, with the posterior covariance ``noise_^2 F (I + F_O^T diag(c - 1) F_O)^-1
        F^T`` of all scores (in the full form, with S for ``F F^T``). ``noise_`` is such that, over pairs that a fit has
        not seen, these are in the root mean square what the scores are off by, from 1 for an interaction and 0 for
        none; what one further observation of weight c is off by beyond that, ``noise_ / sqrt(c)``, is not in them.

        Parameters
        ----------
        users : int, or array of ints, shape (n,)
            Only counted: the rows may belong to users that ``fit`` has not seen.
        user_items : csr_matrix, shape (n, items)
        items : int, or array of ints, shape (m,) for all users or (n, m) for each its own

        Returns
        -------
        array of the shape of :meth:`score`, in the dtype of the factors

        Raises
        ------
        IdError (an IndexError), ParameterError, DataError
            As :meth:`score` and :meth:`recommend`.
        NotSupportedError
            The noise level is not known: the factors were set by hand, or saved by an earlier version.

        Examples
        --------
        >>> import numpy as np
        >>> from scipy.sparse import csr_matrix
        >>> from rfm_recsys import LinRFM
        >>> plays = csr_matrix(np.array([[3, 1, 0, 0], [9, 4, 1, 0], [0, 0, 2, 5]]))
        >>> model = LinRFM(factors=2).fit(plays, show_progress=False)
        >>> nothing = csr_matrix((1, 4))
        >>> bool(model.score_std(0, plays[0], 1) < model.score_std(0, nothing, 1))
        True
        """
        form = self._form()
        noise = self._noise()
        ids, single = check_ids(users, None, "user")
        rows = check_interactions(user_items, form.dtype, rows=len(ids), columns=form.shape[1])
        asked, squeezed = asked_of(items, len(ids), form.shape[1], single)
        with self._on_threads():
            std = noise * np.sqrt(form.variances(self._confidences(rows), asked))
        return squeezed(std.astype(form.dtype))

    def _noise(self) -> float:
        """Return the noise level; raises NotSupportedError where it is not known."""
        noise = getattr(self, "noise_", None)
        if noise is None or not np.isfinite(noise):
            raise NotSupportedError(
                "this LinRFM has no noise level, as its factors were set by hand, saved by an earlier version, or out "
                "of range; fit it, or set model.noise_"
            )
        return float(noise)

    def recommend_all(
        self,
        user_items: csr_matrix,
        N: int = 10,
        recalculate_user: bool = False,
        filter_already_liked_items: bool = True,
        filter_items: ArrayLike | None = None,
        users_items_offset: int = 0,
    ) -> NDArray[np.int32]:
        """Return the ids that :meth:`recommend` gives for all rows, the first being user ``users_items_offset``.

        Deprecated, as in implicit: use :meth:`recommend` with an array of users.

        Parameters
        ----------
        user_items : csr_matrix, shape (n, items)
        N, recalculate_user, filter_already_liked_items, filter_items
            As in :meth:`recommend`.
        users_items_offset : int
            The id of the user of the first row.

        Returns
        -------
        int32 array, shape (n, N)

        Raises
        ------
        NotFittedError (a TypeError and a ValueError)
            Before ``fit``.
        DataError
            A matrix of another shape than the model's, or a corrupt one.
        """
        warnings.warn(
            "recommend_all is deprecated; use recommend with an array of users", DeprecationWarning, stacklevel=2
        )
        first = check_integer("users_items_offset", users_items_offset, 0)
        users = first + np.arange(check_csr(user_items).shape[0])
        lists = self.recommend(users, user_items, N, filter_already_liked_items, filter_items, recalculate_user)
        ids: NDArray[np.int32] = lists[0]
        return ids

    def rank_items(
        self, userid: ArrayLike, user_items: csr_matrix, selected_items: ArrayLike, recalculate_user: bool = False
    ) -> TopList:
        """Return the selected items, best first, liked ones too. Deprecated: use :meth:`recommend` with ``items``.

        Parameters
        ----------
        userid : int, or array of ints, shape (n,)
        user_items : csr_matrix, shape (n, items)
        selected_items : array of ints, shape (m,)
        recalculate_user : bool
            As in :meth:`recommend`.

        Returns
        -------
        ids, scores : arrays, shape (m,) for a single user, (n, m) for an array of users

        Raises
        ------
        NotFittedError (a TypeError and a ValueError)
            Before ``fit``.
        IdError (an IndexError)
            An unknown user or item.
        """
        warnings.warn("rank_items is deprecated; use recommend with items", DeprecationWarning, stacklevel=2)
        count = len(check_ids(selected_items, None, "item")[0])
        lists: TopList = self.recommend(
            userid, user_items, count, False, recalculate_user=recalculate_user, items=selected_items
        )
        return lists

    def _compared(self, form: Form) -> Floats:
        """Return what similar items are found by."""
        return self._keeping("compared", (form.users, form.items), lambda: form.compared(form.items))

    def _item_posterior(self, form: LowRank) -> ItemPosterior:
        """Return what is known of the items, and what not: nothing, of those that were set by hand since the fit."""
        weights, alpha = getattr(self, "item_weights_", np.zeros(0)), float(self._in_use()["alpha"])
        expected = self._expected()

        def posterior() -> ItemPosterior:
            observed = np.zeros(form.shape[1])
            observed[: len(weights)] = weights[: len(observed)] / alpha
            return ItemPosterior.of(form.items, observed, expected)

        return self._keeping("items", (form.items, weights, alpha, expected), posterior)

    def _drawn_items(self, unsure: ItemPosterior, scale: float, seed: np.uint64) -> Floats:
        """Return a draw of all items' factors."""
        return self._keeping("drawn", (unsure, scale, int(seed)), lambda: unsure.drawn(scale, seed))

    def _keeping(self, what: str, of: tuple[Any, ...], make: Callable[[], Kept]) -> Kept:
        """Return what was made, which is kept while all that it is of are the same objects, or equal numbers."""
        kept = getattr(self, "_kept", {})
        before = kept.get(what)
        if before is not None and all(
            one is other or (isinstance(one, float | int) and one == other)
            for one, other in zip(before[0], of, strict=True)
        ):
            return before[1]  # type: ignore[no-any-return]
        made = make()
        self._kept = {**kept, what: (of, made)}  # at once, for another thread
        return made

    def __getstate__(self) -> dict[str, Any]:
        """Return what is copied and pickled."""
        return {name: value for name, value in vars(self).items() if name != "_kept"}

    def item_vectors(self) -> Floats:
        """Return a vector of length 1 for each item, shape (items, factors), the cosines of which are its similarities.

        Those of :meth:`similar_items`; for :func:`rfm_recsys.reranking.rerank`, for clusters, or for an index of
        neighbours.

        Returns
        -------
        array, shape (items, factors)

        Raises
        ------
        NotFittedError (a TypeError and a ValueError)
            Before ``fit``.
        """
        form = self._form()
        with self._on_threads():
            return self._compared(form).copy()

    def similar_items(
        self,
        itemid: ArrayLike,
        N: int = 10,
        recalculate_item: bool = False,
        item_users: csr_matrix | None = None,
        filter_items: ArrayLike | None = None,
        items: ArrayLike | None = None,
    ) -> TopList:
        """Return the most similar items, the item itself first; see `recommend`.

        By the cosine in the metric of the AGOP, ``F (U^T U)^(1/2)``: that of two columns of ``U F^T``, which is the one
        of what all users are predicted to think of the two. (In the full form, and where a model has no users, by that
        of the factors.) With ``recalculate_item`` the items are folded in from ``item_users``, one row for each; see
        :meth:`recalculate_item`.

        Parameters
        ----------
        itemid : int, or array of ints, shape (n,)
        N : int
            How many, the item itself among them.
        recalculate_item : bool
            Whether to fold the items in from ``item_users``.
        item_users : csr_matrix, shape (n, users), optional
        filter_items : array of ints, optional
            Items to leave out.
        items : array of ints, optional
            The only items to rank; not together with ``filter_items``.

        Returns
        -------
        ids, scores : arrays, shape (N,) for a single item, (n, N) for an array of items
            Scores are cosines.

        Raises
        ------
        NotFittedError (a TypeError and a ValueError)
            Before ``fit``.
        IdError (an IndexError)
            An unknown user or item.
        """
        form = self._form()
        n_items = form.shape[1]
        recalculate_item = check_flag("recalculate_item", recalculate_item)
        ids, single = check_ids(itemid, None if recalculate_item else n_items, "item")
        candidates, filtered = candidates_of(n_items, items, filter_items, "item")
        queries = self.recalculate_item(ids, item_users) if recalculate_item else None
        with self._on_threads():
            unit = self._compared(form)
            queries = unit[ids] if queries is None else form.compared(queries)
            lists = top_dense(queries, unit if candidates is None else unit[candidates], None, filtered, N)
        places = places_among(ids, n_items, candidates, filtered)
        if recalculate_item:  # as it is stored, it is first unless another is nearer by more than rounding
            known = np.flatnonzero(places >= 0)
            cosines = (queries[known] * unit[ids[known]]).sum(axis=1) + np.sqrt(np.finfo(unit.dtype).eps)
            places[known[lists[1][known].max(axis=1, initial=-1) > cosines]] = -1
        itself_first(lists, places)
        return answer(lists, candidates, single)

    def similar_users(
        self,
        userid: ArrayLike,
        N: int = 10,
        filter_users: ArrayLike | None = None,
        users: ArrayLike | None = None,
    ) -> TopList:
        """Return the most similar users, the user itself first; see `recommend`.

        By the cosine of their rows of ``U F^T``; in the full form, of their factors.

        Parameters
        ----------
        userid : int, or array of ints, shape (n,)
        N : int
            How many, the user among them.
        filter_users : array of ints, optional
            Users to leave out.
        users : array of ints, optional
            The only users to rank; not together with ``filter_users``.

        Returns
        -------
        ids, scores : arrays, shape (N,) for a single user, (n, N) for an array of users
            Scores are cosines.

        Raises
        ------
        NotFittedError (a TypeError and a ValueError)
            Before ``fit``.
        IdError (an IndexError)
            An unknown user or item.
        """
        form = self._form()
        n_users = form.shape[0]
        ids, single = check_ids(userid, n_users, "user")
        candidates, filtered = candidates_of(n_users, users, filter_users, "user")
        with self._on_threads():
            lists = form.nearest_users(ids, candidates, filtered, N)
        itself_first(lists, places_among(ids, n_users, candidates, filtered))
        return answer(lists, candidates, single)

    def save(self, fileobj_or_path: PathOrFile) -> None:
        """Write the model, fitted or not, to exactly the path given (npz, no pickle); whole, or not at all.

        Parameters
        ----------
        fileobj_or_path : path, or file opened for writing bytes

        Raises
        ------
        OSError
            The file cannot be written; one that was there stays as it is.
        """
        modelfile.save(fileobj_or_path, "model", *content_of(self))

    @classmethod
    def load(cls, fileobj_or_path: PathOrFile) -> Self:
        """Read a model that :meth:`save` wrote; raises ModelFileError for a file that is not one, or not whole.

        Parameters
        ----------
        fileobj_or_path : path, or file opened for reading bytes

        Returns
        -------
        LinRFM

        Raises
        ------
        ModelFileError
            A file of something else, a damaged one, or one of a later version.
        """
        try:
            return model_of(cls, *modelfile.load(fileobj_or_path, "model"))
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            if isinstance(error, ModelFileError):
                raise
            raise ModelFileError(f"{fileobj_or_path} holds no LinRFM model ({error}); save the model again") from error


Model = TypeVar("Model", bound=LinRFM)


def choose_parameters(
    parameters: dict[str, Any], weighed: csr_matrix | None, kept: Checkpoint | None, show_progress: bool
) -> tuple[dict[str, Any], list[Row]]:
    """Return what :func:`choose` does for the parameters of a model, or did before the fit was broken off."""
    settings = {name: parameters[name] for name in CHOSEN}
    if kept is not None and kept.search is not None:
        chosen, table = kept.search
        return chosen | settled(settings), table
    if "oversampling" not in settled(settings) and weighed is not None and not _wide_fits(parameters, weighed):
        log.warning("memory does not hold a fit with oversampling: it is chosen without")
        settings["oversampling"] = 0
    fixed = settled(settings)
    left_out = [name for name in CHOSEN if name not in fixed]
    total = parameters["trials"] if left_out else 0
    with (
        threads(parameters["num_threads"]),
        progress(show_progress and total > 0, total=total, desc="LinRFM: choosing", unit="setting") as bar,
    ):
        found = choose(
            weighed, settings, parameters["factors"], total,
            (lambda row: None) if bar is None else (lambda row: bar.update()),
        )  # fmt: skip
        if bar is not None:
            bar.total = bar.n
            bar.set_postfix_str(", ".join(f"{name}={found[0][name]:.3g}" for name in left_out))
    if kept is not None:
        kept.keep_search(*found)
    return found


def _wide_fits(parameters: dict[str, Any], weights: csr_matrix) -> bool:
    """Whether memory holds a fit with the oversampling that may be chosen."""
    if parameters["factors"] is None:
        return True
    rank = parameters["factors"] + max(wider for _, wider in WAYS)
    try:
        check_fit_memory(weights.shape, weights.nnz, rank, weights.dtype.itemsize)
    except InsufficientMemoryError:
        return False
    return True


def checked_features(
    factors: int | None, shape: tuple[int, int], item_features: Any, user_features: Any
) -> tuple[csr_matrix | None, csr_matrix | None]:
    """Return features of items and users, checked; raises NotSupportedError in the full form."""
    if factors is None and (item_features is not None or user_features is not None):
        raise NotSupportedError(f"the full form takes no features; {LOW_RANK_INSTEAD}")
    return (
        None if item_features is None else check_features("item_features", item_features, shape[1]),
        None if user_features is None else check_features("user_features", user_features, shape[0]),
    )


def what_features_say(users: Users, settings: Settings, item_features: csr_matrix | None) -> dict[str, Any]:
    """Give the items what features say of them, and return the attributes of a model that are about features."""
    said: dict[str, Any] = {}
    if item_features is not None:
        said |= expected_items(cast(LowRankUsers, users), settings, item_features)
    return said


def what_is_unsure(users: Users, form: Form) -> dict[str, Any]:
    """Return what a fit leaves for the posteriors of users and items, by the names of the attributes."""
    return {"noise_": noise_of(form, users.some_rows(SAMPLED)), "item_weights_": users.item_weights()}


def take(
    model: LinRFM,
    user_factors: Any,
    item_factors: Floats,
    chosen: dict[str, Any],
    search: list[Row],
    **learned: Any,
) -> None:
    """Give a model what a fit made, at once: an interruption finds the old ones or the new ones."""
    factors = {"user_factors": user_factors, "item_factors": item_factors}
    of_the_fit = {f"{name}_": chosen[name] for name in CHOSEN}
    for name in OF_FEATURES - learned.keys():  # of an earlier fit
        vars(model).pop(name, None)
    vars(model).update(factors, search_=search, **learned, **of_the_fit)


def content_of(model: LinRFM) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Return the parameters, as JSON values, and the factors by name: all that a file of the model holds."""
    parameters = to_json(model)
    if model.item_factors is None and model.user_factors is None:
        return parameters, {}
    form = model._form()
    arrays, levels = form.arrays(), model._levels(form.shape[0])
    if hasattr(model, "alpha_"):
        noise = float(getattr(model, "noise_", np.nan))
        parameters["fitted"] = {"chosen": model.chosen_, "search": model.search_}
        parameters["fitted"] |= {"noise": noise} if np.isfinite(noise) else {}
    if levels is not None:
        arrays["user_levels"] = levels
    if form.mean_user is not None:
        arrays["mean_user"] = form.mean_user
    if hasattr(model, "item_weights_"):
        arrays["item_weights"] = model.item_weights_
    for side in SIDES:
        if (regression := getattr(model, f"{side}_regression_")) is not None:
            arrays |= {f"{side}_regression_{name}": part for name, part in regression.arrays().items()}
    if (expected := model._expected()) is not None:
        arrays["item_expected"] = expected
    if model.user_prior_ is not None:
        arrays["user_prior"] = model.user_prior_
    return parameters, arrays


def model_of(kind: type[Model], parameters: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> Model:
    """Return the model of which :func:`content_of` returned these."""
    parameters = {"values": "confidence", **parameters}  # which is all there was before values had a meaning
    fitted = parameters.pop("fitted", None)
    model = from_json(kind, parameters)
    if fitted is not None:
        chosen = LinRFM(**settled(fitted["chosen"])).get_params()
        vars(model).update({f"{name}_": chosen[name] for name in CHOSEN}, search_=list(fitted["search"]))
        if "noise" in fitted:
            model.noise_ = float(fitted["noise"])
    for side in SIDES:
        prefix = f"{side}_regression_"
        parts = {name.removeprefix(prefix): arrays.pop(name) for name in [*arrays] if name.startswith(prefix)}
        if parts:
            vars(model)[f"{side}_regression_"] = FeatureRegression(**parts)
    if "user_prior" in arrays:
        vars(model).update(user_prior_=arrays.pop("user_prior"))
    if "item_expected" in arrays:
        vars(model).update(item_expected_=arrays.pop("item_expected"))
    if "user_levels" in arrays:
        vars(model).update(user_levels_=np.asarray(arrays.pop("user_levels"), dtype=np.float64))
    if "item_weights" in arrays:
        vars(model).update(item_weights_=arrays.pop("item_weights"))
    if "mean_user" in arrays:
        vars(model).update(mean_user_=arrays.pop("mean_user"))
    if arrays:
        form = form_from(arrays)
        model.user_factors, model.item_factors = form.users, form.items
    return model


def _checked_weights(weights: Any, n: int) -> Any:
    try:
        matrix, pivots = np.asarray(weights[0], dtype=np.float64), np.asarray(weights[1])
        right = matrix.shape == (n, n) and pivots.shape == (n,) and pivots.dtype.kind == "i"
        right = right and bool(np.isfinite(matrix).all() and (pivots >= 0).all() and (pivots < n).all())
    except Exception:  # it may be anything
        right = False
    if not right:
        raise ParameterError("user_weights are not those of this user; pass what explain returned, or None")
    return matrix, pivots
