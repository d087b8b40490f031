"""LinRFM: the recommender, with the contract of ``implicit.als.AlternatingLeastSquares``."""

import hashlib
import json
import logging
import os
import time
import warnings
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from numbers import Integral, Real
from typing import Any, Self

import numpy as np
import scipy.linalg
from numpy.typing import ArrayLike, DTypeLike, NDArray
from scipy.sparse import csr_matrix, issparse, vstack
from tqdm.auto import tqdm

from rfm_recsys.core import files, kernels, modelfile
from rfm_recsys.core.arrays import Floats, csr_arrays
from rfm_recsys.core.checks import (
    check_dtype,
    check_flag,
    check_generator,
    check_ids,
    check_integer,
    check_interactions,
    check_number,
    check_parts,
    shown,
)
from rfm_recsys.core.linalg import gram, multiply
from rfm_recsys.core.memory import check_memory
from rfm_recsys.core.runtime import threads
from rfm_recsys.errors import (
    DataError,
    ModelFileError,
    NotFittedError,
    NotSupportedError,
    ParameterError,
    ParameterTypeError,
    parameter_warning,
)
from rfm_recsys.recommender.agop import feature_map
from rfm_recsys.recommender.blocks import (
    FullUserBlock,
    LowRankUsers,
    Settings,
    UserBlock,
    solve_users,
    solve_users_full,
)
from rfm_recsys.recommender.checkpoint import Checkpoint
from rfm_recsys.recommender.ranking import (
    TopList,
    empty_top,
    itself_first,
    places_among,
    row_norms,
    top_dense,
    unit_rows,
)
from rfm_recsys.recommender.rounds import full_memory, full_rounds, low_rank_memory, low_rank_rounds

log = logging.getLogger(__name__)

MAX_WEIGHT = 1e12  # of alpha and regularization; their product has to leave room for digits

Callback = Callable[[int, float, float | None], Any]

Explanation = tuple[float, list[tuple[int, float]], Any]

_PARAMETERS = (
    "factors",
    "regularization",
    "alpha",
    "iterations",
    "power",
    "item_norm",
    "user_norm",
    "dtype",
    "calculate_training_loss",
    "num_threads",
    "random_state",
    "use_native",
    "use_cg",
    "use_gpu",
)

_FLAGS = ("calculate_training_loss", "use_native", "use_cg", "use_gpu")

_NO_EFFECT = ("iterations", "calculate_training_loss", "num_threads", "use_native", "use_cg", "use_gpu")  # on a round


class LinRFM:
    """Recommend items with lin-RFM: ridge regression for every user, items reweighted by the AGOP, in turns.

    Implicit feedback with confidences, as in implicit: the weight of an interaction is ``alpha * value``, all that is
    not stored counts 0 with weight 1, and a negative value says disliked. Scores are ``user_factors @
    item_factors.T``. The same data and seed give the same bits, whatever the number of threads.

    Parameters
    ----------
    factors : int or None
        Columns of the factors; those beyond the rank of the data are zero. None is the full form: exact, for catalogues
        of up to some thousands of items, with a sparse ``user_factors`` and an ``item_factors`` of items x items.
    regularization : float, at least 0
        Weight of the prior, in units of one interaction of value 1; 0 stands for a millionth.
    alpha : float, above 0
        Weight of an interaction of value 1 against that of an unobserved entry.
    iterations : int, at least 1
        Rounds of lin-RFM: the first takes the AGOP of the data, the later ones solve the items too. Two are best as a
        rule, and one is quickest.
    power : float, at least 0
        Power of the AGOP: 1/4 penalises the nuclear norm, 1/2 the log-determinant. (The paper's alpha.)
    item_norm, user_norm : float
        How far the AGOP evens out the popularity of items and the activity of users: 0 not at all, 1 wholly.
    dtype : float32 or float64
        Of the factors and scores.
    calculate_training_loss : bool
        Whether ``fit`` computes, logs and shows the objective after each round, per unit of weight.
    num_threads : int
        Threads to use; 0 for all.
    random_state : None, int, numpy Generator or RandomState
        Seed of the randomised eigenvectors; None is seed 0.
    use_native, use_cg, use_gpu : bool
        Taken because ALS takes them, and without effect: there is one solver, on the CPU.

    Attributes
    ----------
    user_factors : array, shape (users, factors), or csr_matrix, shape (users, items), in the full form
    item_factors : array, shape (items, factors), or (items, items) in the full form

    Notes
    -----
    The defaults are meant to do without tuning. N@100 on ML-1M (strong generalisation, 600 validation users): .4913,
    where implicit's ALS has .4804 with 64 factors. N@20 on Gowalla's test set: .1456, ALS with 512 factors .1395. They
    were chosen on ML-1M users and on Gowalla's validation set. With a large catalogue and few interactions of a user,
    ``alpha=20, regularization=3, power=0.25, item_norm=1, user_norm=1`` is better.

    References
    ----------
    Radhakrishnan, Belkin, Drusvyatskiy: Linear Recursive Feature Machines provably recover low-rank matrices.
    arXiv 2401.04553.
    """

    def __init__(
        self,
        factors: int | None = 256,
        regularization: float = 4.0,
        alpha: float = 7.0,
        iterations: int = 2,
        power: float = 0.35,
        item_norm: float = 0.8,
        user_norm: float = 0.8,
        dtype: DTypeLike = np.float32,
        calculate_training_loss: bool = False,
        num_threads: int = 0,
        random_state: Any = None,
        use_native: bool = True,
        use_cg: bool = True,
        use_gpu: bool = False,
    ) -> None:
        self.factors = factors
        self.regularization = regularization
        self.alpha = alpha
        self.iterations = iterations
        self.power = power
        self.item_norm = item_norm
        self.user_norm = user_norm
        self.dtype = dtype
        self.calculate_training_loss = calculate_training_loss
        self.num_threads = num_threads
        self.random_state = random_state
        self.use_native = use_native
        self.use_cg = use_cg
        self.use_gpu = use_gpu
        self.user_factors: Any = None
        self.item_factors: Any = None
        self.checked_parameters()
        if use_gpu:
            message = "use_gpu has no effect: LinRFM runs on the CPU; leave it out"
            warnings.warn(parameter_warning(message), stacklevel=2)

    def __repr__(self) -> str:
        return f"LinRFM({', '.join(f'{name}={shown(getattr(self, name))}' for name in _PARAMETERS)})"

    def checked_parameters(self) -> tuple[Settings, np.dtype[Any]]:
        """Return what the rounds need of the parameters; raises ParameterError for one out of its bounds."""
        if self.factors is not None:
            check_integer("factors", self.factors, 1)
        check_integer("iterations", self.iterations, 1)
        check_integer("num_threads", self.num_threads, 0)
        for name in _FLAGS:
            check_flag(name, getattr(self, name))
        if not isinstance(self.random_state, np.random.Generator | np.random.RandomState | None):
            check_integer("random_state", self.random_state, 0)
        settings = Settings(
            regularization=check_number("regularization", self.regularization, 0, MAX_WEIGHT),
            alpha=check_number("alpha", self.alpha, 0, MAX_WEIGHT, above=True),
            power=check_number("power", self.power, 0, 4),
            item_norm=check_number("item_norm", self.item_norm, -4, 4),
            user_norm=check_number("user_norm", self.user_norm, -4, 4),
        )
        return settings, check_dtype("dtype", self.dtype)

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the parameters by name, as scikit-learn's ``clone`` asks for them; ``deep`` has no effect."""
        return {name: getattr(self, name) for name in _PARAMETERS}

    def set_params(self, **parameters: Any) -> Self:
        """Set parameters by name; raises ParameterError for an unknown name or a value out of bounds, and sets none."""
        unknown = sorted(parameters.keys() - set(_PARAMETERS))
        if unknown:
            raise ParameterError(f"there is no parameter {unknown[0]!r}; pass some of {', '.join(_PARAMETERS)}")
        type(self)(**{**self.get_params(), **parameters})  # which checks them
        self.__dict__.update(parameters)
        return self

    def __sklearn_tags__(self) -> Any:
        """Return what scikit-learn's searches ask of an estimator; nothing else calls this, or needs scikit-learn."""
        from sklearn.utils import InputTags, Tags, TargetTags

        return Tags(estimator_type=None, target_tags=TargetTags(required=False), input_tags=InputTags(sparse=True))

    def fit(
        self,
        user_items: csr_matrix,
        show_progress: bool = True,
        callback: Callback | None = None,
        *,
        checkpoint: str | os.PathLike[str] | None = None,
    ) -> Self:
        """Fit the factors to interactions, from scratch: what an earlier ``fit`` left is replaced when all is done.

        A fit that fails or is interrupted, by Ctrl-C or by ``callback``, leaves the model as it was.

        Parameters
        ----------
        user_items : csr_matrix, shape (users, items)
            Values are confidences: positive liked, negative disliked. Duplicates add up; a stored zero is no entry.
        show_progress : bool
            Whether to show a progress bar over the rounds.
        callback : callable
            Called after each round as ``callback(iteration, elapsed seconds, loss)``; the loss is None unless
            ``calculate_training_loss``.
        checkpoint : path
            File to keep the last finished round in. Where it holds a round of the same fit, the same interactions and
            parameters, the fit goes on from there, to the same bits. It stays, so that nothing is lost until the model
            is saved; remove it then.

        Raises
        ------
        DataError
            No liked interactions, a value that is not finite, a corrupt matrix.
        ParameterError, ParameterTypeError
            A parameter out of bounds, ``user_items`` of a wrong type.
        InsufficientMemoryError
            For more users, items or factors than memory holds.
        ModelFileError, OSError
            ``checkpoint`` is a file of something else, or cannot be written.
        """
        settings, dtype = self.checked_parameters()
        show_progress = check_flag("show_progress", show_progress)
        if callback is not None and not callable(callback):
            raise ParameterTypeError(f"callback is {shown(callback)}; pass a function of iteration, elapsed and loss")
        if checkpoint is not None:
            files.check_target(checkpoint)
        confidence = confidences(check_interactions(user_items, dtype), settings.alpha)
        n_users, n_items = confidence.shape
        factors = None if self.factors is None else int(self.factors)
        if factors is None:
            check_memory(
                full_memory(n_items),
                f"the full form for {n_items} items",
                "pass factors=256, which needs memory for items x factors only",
            )
        else:
            check_memory(
                low_rank_memory((n_users, n_items), confidence.nnz, factors, dtype.itemsize),
                f"a fit of {factors} factors to {n_users} users and {n_items} items",
                "pass fewer factors, or leave out users and items without interactions",
            )
        users = UserBlock(confidence) if factors is not None else FullUserBlock(confidence)
        kept = None
        if checkpoint is not None:
            parts = (part.tobytes() for part in csr_arrays(confidence))
            kept = Checkpoint(checkpoint, self.fingerprint(confidence.shape, parts))
        self.run_rounds(users, settings, kept, show_progress, callback)
        # both at once, so that an interruption finds the old ones or the new ones
        if isinstance(users, FullUserBlock):
            coefficients = csr_matrix((users.A, users.indices, users.indptr), shape=(n_users, n_items))
            self.__dict__.update(item_factors=users.S, user_factors=coefficients)
        else:
            self.__dict__.update(item_factors=users.F, user_factors=users.U)
        return self

    def run_rounds(
        self,
        users: LowRankUsers | FullUserBlock,
        settings: Settings,
        kept: "Checkpoint | None",
        show_progress: bool,
        callback: Callback | None,
    ) -> None:
        """Run the rounds that are left to do on users in the form of this model, as :meth:`fit` does on a matrix.

        The factors are in ``users`` then. Arguments as those of :meth:`fit`, all of them checked.
        """
        generator = check_generator(self.random_state)
        factors = 0 if self.factors is None else int(self.factors)
        done = 0 if kept is None else kept.resume(users, factors, self.iterations)
        with (
            self._threads(),
            _progress(self.iterations, done) if show_progress else nullcontext() as bar,
        ):
            todo = range(done, self.iterations)
            if isinstance(users, FullUserBlock):
                rounds = full_rounds(users, settings, todo)
            else:
                rounds = low_rank_rounds(users, settings, factors, todo, generator)
            begun = time.perf_counter()
            for iteration, _ in enumerate(rounds, done):
                loss = None
                if self.calculate_training_loss:
                    objective, weight = users.losses()
                    loss = float(objective / weight)
                if kept is not None:
                    kept.keep(users, iteration + 1)
                elapsed, begun = time.perf_counter() - begun, time.perf_counter()
                if loss is not None:
                    log.info("round %d: loss %.6f", iteration, loss)
                if bar is not None:
                    if loss is not None:
                        bar.set_postfix(loss=f"{loss:.6f}")
                    bar.update()
                if callback is not None:
                    callback(iteration, elapsed, loss)

    def fingerprint(self, shape: tuple[int, int], parts: Iterable[bytes]) -> str:
        """Return a digest of all that a round's bits depend on, but for the draws of a random generator.

        ``parts`` stand for the confidences, of the shape given.
        """
        parameters = {name: repr(self._saved(name)) for name in _PARAMETERS if name not in _NO_EFFECT}
        digest = hashlib.sha256(json.dumps([parameters, shape], sort_keys=True).encode())
        for part in parts:
            digest.update(part)
        return digest.hexdigest()

    def _threads(self) -> AbstractContextManager[None]:
        return threads(check_integer("num_threads", self.num_threads, 0))

    def _require_fit(self) -> tuple[int, int]:
        """Return the numbers of users and items.

        Raises
        ------
        NotFittedError
            There are no factors.
        ParameterError
            There are, set by hand, and they do not fit together.
        """
        U, F = self.user_factors, self.item_factors
        if F is None or U is None:
            raise NotFittedError("this LinRFM has no factors yet; call fit(user_items) first")
        for name, factors in (("user_factors", U), ("item_factors", F)):
            if not (type(factors) in (np.ndarray, np.memmap) or (factors is U and self._is_full)):
                raise ParameterTypeError(f"{name} are a {type(factors).__name__}; set both to NumPy arrays")
        if self._is_full:
            _check_csr(U)
        if F.ndim != 2 or U.ndim != 2 or F.shape[1] != U.shape[1] or F.shape[1] == 0:
            raise ParameterError(
                f"user_factors have the shape {U.shape} and item_factors {F.shape}; set both to 2-D arrays with the "
                "same number of columns"
            )
        if self._is_full and len(F) != F.shape[1]:
            raise ParameterError(
                f"user_factors are a CSR matrix, as in the full form, and item_factors have the shape {F.shape}; set "
                "both to arrays, or item_factors to items x items"
            )
        if not F.dtype == U.dtype or F.dtype not in (np.float32, np.float64):
            raise ParameterError(
                f"user_factors hold {U.dtype} and item_factors {F.dtype}; set both to float32, or both to float64"
            )
        return U.shape[0], len(F)

    @property
    def _is_full(self) -> bool:
        return isinstance(self.user_factors, csr_matrix)

    def _users(self, ids: NDArray[np.intp] | None = None) -> Any:
        """Return all rows of ``user_factors``, or some; raises ParameterError where a CSR matrix of them is corrupt."""
        U = self.user_factors
        if not self._is_full:
            return U if ids is None else U[ids]
        if ids is not None:
            starts, stops = U.indptr[ids], U.indptr[ids + 1]
            if not ((starts >= 0) & (starts <= stops) & (stops <= len(U.indices))).all():
                raise _corrupt_factors("indptr points beyond the indices")
            U = U[ids]
        try:
            check_parts(U.indptr, U.indices, len(U.data), U.shape)
        except ValueError as error:
            raise _corrupt_factors(str(error)) from error
        return U

    @property
    def user_norms(self) -> Floats:
        """Lengths of the rows of ``user_factors``, shape (users,); 1e-10 for 0, as in implicit."""
        self._require_fit()
        return row_norms(self._users())

    @property
    def item_norms(self) -> Floats:
        """Lengths of the rows of ``item_factors``, shape (items,); 1e-10 for 0, as in implicit."""
        self._require_fit()
        return row_norms(self.item_factors)

    def recalculate_user(self, userid: ArrayLike, user_items: csr_matrix) -> Any:
        """Fold users in: return the factors that ``fit`` would give their rows, with the item factors as they are.

        Parameters
        ----------
        userid : int, or array of ints, shape (n,)
            Only counted: the rows may belong to users that ``fit`` has not seen.
        user_items : csr_matrix, shape (n, items)

        Returns
        -------
        array of shape (factors,) for a single user, (n, factors) for an array of users; in the full form, (items,)
        and a csr_matrix of shape (n, items)
        """
        _, n_items = self._require_fit()
        ids, single = check_ids(userid, None, "user")
        rows = check_interactions(user_items, self.item_factors.dtype, rows=len(ids), columns=n_items)
        with self._threads():
            factors = self._fold_in(rows)
        if not single:
            return factors
        return factors.toarray()[0] if self._is_full else factors[0]

    def _fold_in(self, rows: csr_matrix) -> Any:
        settings, _ = self.checked_parameters()
        indptr, indices, confidence = csr_arrays(confidences(rows, settings.alpha))
        F = np.require(self.item_factors, None, ["C", "W"])
        if not self._is_full:
            return solve_users(indptr, indices, confidence, F)
        coefficients, _ = solve_users_full(indptr, indices, confidence, F)
        return csr_matrix((coefficients, indices, indptr), shape=rows.shape)

    def recalculate_item(self, itemid: ArrayLike, item_users: csr_matrix) -> Floats:
        """Fold items in: return factors for items by who has them, with the user factors as they are.

        The item's half of a round: with the users' features ``R = U T``, T from the AGOP as in ``fit``, the item's row
        is solved for R as a user's is for F, and its factors are T times the solution.

        Parameters
        ----------
        itemid : int, or array of ints, shape (n,)
            Only counted: the rows may belong to items that ``fit`` has not seen.
        item_users : csr_matrix, shape (n, users)

        Returns
        -------
        array of shape (factors,) for a single item, (n, factors) for an array of items

        Raises
        ------
        NotSupportedError (a NotImplementedError)
            In the full form, in which an item is more than factors.
        """
        n_users, _ = self._require_fit()
        if self._is_full:
            raise NotSupportedError(
                "the full form has no factors of items to fold in; fit with factors=256 instead of None"
            )
        ids, single = check_ids(itemid, None, "item")
        rows = check_interactions(
            item_users, self.item_factors.dtype, rows=len(ids), columns=n_users, name="item_users"
        )
        settings, _ = self.checked_parameters()
        indptr, indices, confidence = csr_arrays(confidences(rows, settings.alpha))
        U, F = (np.require(factors, None, ["C", "W"]) for factors in (self.user_factors, self.item_factors))
        with self._threads():
            users_gram, active = gram(U, U), int(np.count_nonzero(U.any(axis=1)))
            T, _ = feature_map(users_gram, users_gram, gram(F, F), active, settings.power, settings.penalty)
            solved = solve_users(indptr, indices, confidence, multiply(U, T))
            factors = multiply(solved, T.T)
        return factors[0] if single else factors

    def partial_fit_users(self, userids: ArrayLike, user_items: csr_matrix) -> None:
        """Fold users in, new ones too, and store their factors; see :meth:`recalculate_user`.

        Ids beyond those stored make room: users in between have zeros. Of an id given twice, the last row counts.
        """
        self._require_fit()
        ids, _ = check_ids(userids, None, "user")
        factors = self.recalculate_user(ids, user_items)
        if self._is_full:
            n_users, n_items = self.user_factors.shape
            size = max(n_users, int(ids.max(initial=-1)) + 1)
            check_memory(64 * size, f"users up to {size - 1}", f"number new users from {n_users} on")
            stored = self._users().copy()
            stored.resize(size, n_items)
            rows = np.arange(size)
            rows[ids] = size + np.arange(len(ids))
            self.user_factors = csr_matrix(vstack([stored, factors], format="csr")[rows])
        else:
            self.user_factors = _stored(self.user_factors, ids, factors, "user")

    def partial_fit_items(self, itemids: ArrayLike, item_users: csr_matrix) -> None:
        """Fold items in, new ones too, and store their factors; see :meth:`recalculate_item`.

        Ids beyond those stored make room: items in between have zeros. Of an id given twice, the last row counts.
        """
        self._require_fit()
        ids, _ = check_ids(itemids, None, "item")
        self.item_factors = _stored(self.item_factors, ids, self.recalculate_item(ids, item_users), "item")

    def explain(
        self, userid: int, user_items: csr_matrix, itemid: int, user_weights: Any = None, N: int = 10
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

        Returns
        -------
        score : float
            What ``recommend`` gives, to rounding; exactly the sum of all shares in the order in which they come.
        contributions : list of (item, share)
        user_weights : tuple
        """
        _, n_items = self._require_fit()
        N = check_integer("N", N, 0)
        row = _one_row(user_items, userid, n_items, np.dtype(self.item_factors.dtype))
        item = int(_single_id(itemid, n_items, "item"))
        settings, _ = self.checked_parameters()
        liked, c = row.indices, confidences(row, settings.alpha).data.astype(np.float64)
        F_O, F_i = self.item_factors[liked].astype(np.float64), self.item_factors[item].astype(np.float64)
        if self._is_full:
            matrix = np.eye(len(c)) + (np.abs(c) - 1)[:, None] * F_O[:, liked]
        else:
            matrix = np.eye(F_O.shape[1]) + F_O.T @ ((np.abs(c) - 1)[:, None] * F_O)
        given = None if user_weights is None else _checked_weights(user_weights, len(matrix))
        try:
            weights = scipy.linalg.lu_factor(matrix) if given is None else given
            if self._is_full:
                shares = c * scipy.linalg.lu_solve(weights, F_i[liked], trans=1)
            else:
                shares = c * (F_O @ scipy.linalg.lu_solve(weights, F_i))
            if not np.isfinite(shares).all():
                raise ValueError("a share is not finite")
        except (ValueError, scipy.linalg.LinAlgError) as error:
            raise DataError(
                f"the solve of user {shown(userid)} overflowed ({error}): alpha * value, the factors or the "
                "user_weights are too large; scale them down"
            ) from error
        order = [j for j in np.lexsort((liked, -shares)) if c[j] > 0]
        contributions = [(int(liked[j]), float(shares[j])) for j in order]
        return float(sum(share for _, share in contributions)), contributions[:N], weights

    def recommend(
        self,
        userid: ArrayLike,
        user_items: csr_matrix | None,
        N: int = 10,
        filter_already_liked_items: bool = True,
        filter_items: ArrayLike | None = None,
        recalculate_user: bool = False,
        items: ArrayLike | None = None,
    ) -> TopList:
        """Return the best items of each user, best first, and their scores.

        Parameters
        ----------
        userid : int, or array of ints, shape (n,)
        user_items : csr_matrix, shape (n, items), or None
            One row for each user asked for; None when neither filtering nor recalculating.
        N : int
            Items for each user.
        filter_already_liked_items : bool
            Whether to leave out the items stored in ``user_items``.
        filter_items : array of ints
            Items to leave out for everybody.
        recalculate_user : bool
            Whether to fold the rows of ``user_items`` in, rather than take the users' stored factors.
        items : array of ints
            The only items to rank, so that there are no more than these in the answer; not together with
            ``filter_items``.

        Returns
        -------
        ids : int32 array, shape (N,) for a single user, (n, N) for an array of users
            Ties go to the item listed first. Items left out come last, and then -1 where the catalogue has fewer than
            N items.
        scores : array of the same shape, in the dtype of the factors
            The lowest finite number for an item left out and for -1.

        Raises
        ------
        IdError (an IndexError)
            An unknown user or item.
        DataError, ParameterError (ValueErrors)
            ``user_items`` of a wrong shape or form, ``items`` together with ``filter_items``.
        """
        n_users, n_items = self._require_fit()
        recalculate_user = check_flag("recalculate_user", recalculate_user)
        filter_already_liked_items = check_flag("filter_already_liked_items", filter_already_liked_items)
        ids, single = check_ids(userid, None if recalculate_user else n_users, "user")
        rows = None
        if filter_already_liked_items or recalculate_user:
            rows = check_interactions(_csr(user_items), self.item_factors.dtype, rows=len(ids), columns=n_items)
        candidates, filtered = self._candidates(n_items, items, filter_items, "item")
        if candidates is not None:
            N = min(check_integer("N", N, 0), len(candidates))
        with self._threads():
            queries = self._fold_in(rows) if recalculate_user else self._users(ids)
            liked = rows if filter_already_liked_items else None
            if candidates is not None and liked is not None:
                liked = liked[:, candidates]
                liked.sort_indices()
            item_factors = self.item_factors
            if candidates is not None:
                item_factors = item_factors[:, candidates] if self._is_full else item_factors[candidates]
            top, scores = self._top(queries, item_factors, liked, filtered, N)
        return self._answer(top, scores, candidates, single)

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
        """
        warnings.warn(
            "recommend_all is deprecated; use recommend with an array of users", DeprecationWarning, stacklevel=2
        )
        first = check_integer("users_items_offset", users_items_offset, 0)
        users = first + np.arange(_csr(user_items).shape[0])
        ids, _ = self.recommend(users, user_items, N, filter_already_liked_items, filter_items, recalculate_user)
        return ids

    def rank_items(
        self, userid: ArrayLike, user_items: csr_matrix, selected_items: ArrayLike, recalculate_user: bool = False
    ) -> TopList:
        """Return the selected items, best first, liked ones too. Deprecated: use :meth:`recommend` with ``items``."""
        warnings.warn("rank_items is deprecated; use recommend with items", DeprecationWarning, stacklevel=2)
        count = len(check_ids(selected_items, None, "item")[0])
        return self.recommend(userid, user_items, count, False, recalculate_user=recalculate_user, items=selected_items)

    def similar_items(
        self,
        itemid: ArrayLike,
        N: int = 10,
        recalculate_item: bool = False,
        item_users: csr_matrix | None = None,
        filter_items: ArrayLike | None = None,
        items: ArrayLike | None = None,
    ) -> TopList:
        """Return the items with the most similar factors, by cosine, the item itself first; see `recommend`.

        With ``recalculate_item`` the items are folded in from ``item_users``, one row for each; see
        :meth:`recalculate_item`.
        """
        _, n_items = self._require_fit()
        recalculate_item = check_flag("recalculate_item", recalculate_item)
        ids, single = check_ids(itemid, None if recalculate_item else n_items, "item")
        candidates, filtered = self._candidates(n_items, items, filter_items, "item")
        unit = unit_rows(self.item_factors)
        queries = unit_rows(self.recalculate_item(ids, item_users)) if recalculate_item else unit[ids]
        with self._threads():
            top, scores = top_dense(queries, unit if candidates is None else unit[candidates], None, filtered, N)
        own = places_among(ids, n_items, candidates, filtered)
        if recalculate_item:  # as it is stored, it is first unless another is nearer by more than rounding
            known = np.flatnonzero(own >= 0)
            cosines = (queries[known] * unit[ids[known]]).sum(axis=1) + 16 * np.finfo(unit.dtype).eps
            own[known[scores[known].max(axis=1, initial=-1) > cosines]] = -1
        itself_first(top, scores, own)
        return self._answer(top, scores, candidates, single)

    def similar_users(
        self,
        userid: ArrayLike,
        N: int = 10,
        filter_users: ArrayLike | None = None,
        users: ArrayLike | None = None,
    ) -> TopList:
        """Return the users with the most similar factors, by cosine, the user itself first; see `recommend`."""
        n_users, _ = self._require_fit()
        ids, single = check_ids(userid, n_users, "user")
        candidates, filtered = self._candidates(n_users, users, filter_users, "user")
        unit = unit_rows(self._users())
        queries, rows = unit[ids], unit if candidates is None else unit[candidates]
        if self._is_full:
            needed = rows.shape[0] * rows.shape[1] * rows.dtype.itemsize
            check_memory(needed, f"the cosines with {rows.shape[0]} users", "pass those to choose from as users")
            rows = rows.T.toarray()  # of items x users, as item_factors are of items x items
        with self._threads():
            top, scores = self._top(queries, rows, None, filtered, N)
        itself_first(top, scores, places_among(ids, n_users, candidates, filtered))
        return self._answer(top, scores, candidates, single)

    @staticmethod
    def _candidates(
        bound: int, only: ArrayLike | None, without: ArrayLike | None, what: str
    ) -> tuple[NDArray[np.intp] | None, NDArray[np.intp]]:
        if only is not None and without is not None:
            raise ParameterError(f"both {what}s and filter_{what}s are given; pass one of them")
        candidates = None if only is None else check_ids(only, bound, what)[0]
        if candidates is not None:  # each of them once
            candidates = candidates[np.sort(np.unique(candidates, return_index=True)[1])]
        return candidates, np.unique(check_ids([] if without is None else without, bound, what)[0])

    def _top(
        self, queries: Any, item_factors: Floats, liked: csr_matrix | None, filtered: NDArray[np.intp], N: int
    ) -> TopList:
        if not self._is_full:
            return top_dense(queries, item_factors, liked, filtered, N)
        ids, scores, indptr, indices = empty_top(queries.shape[0], N, liked, item_factors.dtype)
        rows = csr_arrays(queries)
        kernels.top_k_sparse(rows, np.require(item_factors, None, ["C", "W"]), indptr, indices, filtered, ids, scores)
        return ids, scores

    @staticmethod
    def _answer(top: NDArray[np.int32], scores: Floats, candidates: NDArray[np.intp] | None, single: bool) -> TopList:
        if not np.isfinite(scores).all():
            raise DataError(
                "a score is not finite: the factors are too large, or not finite themselves; fit again, with smaller "
                "values or dtype=np.float64"
            )
        if candidates is not None:
            top = np.append(candidates, -1).astype(np.int32)[top]
        return (top[0], scores[0]) if single else (top, scores)

    def _saved(self, name: str) -> Any:
        """Return a parameter as a JSON value."""
        value = getattr(self, name)
        if name == "dtype":
            return check_dtype("dtype", value).name
        if name == "random_state":  # a generator has no seed to keep; it matters to the next fit only
            return int(value) if isinstance(value, int | np.integer) else None
        if name in _FLAGS:
            return bool(value)
        if isinstance(value, Integral):
            return int(value)
        return float(value) if isinstance(value, Real) else value

    def save(self, fileobj_or_path: files.PathOrFile) -> None:
        """Write the model, fitted or not, to exactly the path given (npz, no pickle); whole, or not at all."""
        modelfile.save(fileobj_or_path, "model", *self.to_arrays())

    @classmethod
    def load(cls, fileobj_or_path: files.PathOrFile) -> Self:
        """Read a model that :meth:`save` wrote; raises ModelFileError for a file that is not one, or not whole."""
        try:
            return cls.from_arrays(*modelfile.load(fileobj_or_path, "model"))
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            if isinstance(error, ModelFileError):
                raise
            raise ModelFileError(f"{fileobj_or_path} holds no LinRFM model ({error}); save the model again") from error

    def to_arrays(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """Return the parameters, as JSON values, and the factors by name: all that a file of the model holds."""
        self.checked_parameters()
        arrays = {}
        if self.item_factors is not None or self.user_factors is not None:
            self._require_fit()
            arrays["item_factors"], users = self.item_factors, self._users()
            if self._is_full:
                arrays |= {f"user_{part}": getattr(users, part) for part in ("data", "indices", "indptr")}
            else:
                arrays["user_factors"] = users
        return {name: self._saved(name) for name in _PARAMETERS}, arrays

    @classmethod
    def from_arrays(cls, parameters: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> Self:
        """Return the model of which :meth:`to_arrays` returned these."""
        model = cls(**{**parameters, "dtype": np.dtype(parameters["dtype"]).type})
        if arrays:
            model.item_factors = arrays["item_factors"]
            if "user_factors" in arrays:
                model.user_factors = arrays["user_factors"]
            else:
                shape = (len(arrays["user_indptr"]) - 1, len(model.item_factors))
                parts = tuple(arrays[f"user_{part}"] for part in ("data", "indices", "indptr"))
                model.user_factors = csr_matrix(parts, shape=shape)
            model._require_fit()
            model._users()
        return model


def confidences(user_items: csr_matrix, alpha: float) -> csr_matrix:
    """Return the signed confidences ``alpha * value``; raises DataError where they are beyond the precision."""
    with np.errstate(over="ignore"):
        confidence = user_items.data * user_items.dtype.type(alpha)
    lost = np.count_nonzero(confidence) < len(confidence)  # to zero, by rounding
    if lost or not np.isfinite([confidence.min(initial=0), confidence.max(initial=0)]).all():
        raise DataError(
            f"alpha * value is beyond {user_items.dtype} for alpha={alpha} and values up to "
            f"{np.abs(user_items.data).max():g}; scale alpha or the values, or use dtype=np.float64"
        )
    return csr_matrix((confidence, user_items.indices, user_items.indptr), shape=user_items.shape)


def _progress(rounds: int, done: int) -> "tqdm[Any]":
    """Return a progress bar. Not even one that is off without need: tqdm has a lock, which a fork may leave closed."""
    return tqdm(total=rounds, initial=done, desc="LinRFM", unit="round")


def _check_csr(U: csr_matrix) -> None:
    """Raise ParameterError where the parts of a CSR matrix are none; what they hold is checked where it is used."""
    parts = (U.data, U.indices, U.indptr)
    if not all(isinstance(part, np.ndarray) and part.ndim == 1 for part in parts):
        raise _corrupt_factors("its parts are no 1-D arrays")
    if U.indices.dtype.kind + U.indptr.dtype.kind != "ii":
        raise _corrupt_factors(f"its indices are {U.indices.dtype} and its indptr {U.indptr.dtype}")
    if len(U.indptr) != U.shape[0] + 1 or len(U.indices) != len(U.data):
        raise _corrupt_factors("its parts differ in length")


def _corrupt_factors(reason: str) -> ParameterError:
    return ParameterError(f"user_factors are a corrupt CSR matrix ({reason}); fit again, or set both factors to arrays")


def _stored(factors: Floats, ids: NDArray[np.intp], new: Floats, what: str) -> Floats:
    """Return a copy of factors with new rows, longer where an id is beyond."""
    size = max(len(factors), int(ids.max(initial=-1)) + 1)
    needed = size * factors.shape[1] * factors.itemsize
    check_memory(needed, f"factors for {what}s up to {size - 1}", f"number new {what}s from {len(factors)} on")
    stored = np.zeros((size, factors.shape[1]), dtype=factors.dtype)
    stored[: len(factors)] = factors
    stored[ids] = new
    return stored


def _one_row(matrix: Any, row: Any, columns: int, dtype: np.dtype[Any]) -> csr_matrix:
    """Return a row of interactions, checked; the others are not looked at."""
    if not (issparse(matrix) and matrix.format == "csr" and matrix.ndim == 2):
        matrix = check_interactions(matrix, dtype, columns=columns)
    index = _single_id(row, matrix.shape[0], "user")
    try:
        start, stop = (int(end) for end in matrix.indptr[index : index + 2])
        if not 0 <= start <= stop <= min(len(matrix.indices), len(matrix.data)):
            raise ValueError(f"row {index} is {start}..{stop}")
        parts = (matrix.data[start:stop], matrix.indices[start:stop], [0, stop - start])
        one = csr_matrix(parts, shape=(1, matrix.shape[1]))
    except Exception as error:  # whatever NumPy and SciPy say of parts that do not fit together
        raise DataError(f"user_items is corrupt: {error}; rebuild it, e.g. from its COO triplets") from error
    return check_interactions(one, dtype, columns=columns)


def _csr(user_items: Any) -> Any:
    if not (issparse(user_items) and user_items.format == "csr"):
        raise ParameterError(
            f"user_items is {type(user_items).__name__}; pass a CSR matrix with one row for each user, or "
            "switch filter_already_liked_items and recalculate_user off"
        )
    return user_items


def _single_id(value: Any, bound: int, what: str) -> int:
    ids, single = check_ids(value, bound, what)
    if not single:
        raise ParameterTypeError(f"{what} is {shown(value)}; pass one integer")
    return int(ids[0])


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
