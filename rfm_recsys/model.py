"""LinRFM: the recommender, with the contract of ``implicit.als.AlternatingLeastSquares``."""

import logging
import time
from collections.abc import Callable
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray
from scipy.sparse import csr_matrix
from tqdm.auto import tqdm

from rfm_recsys import kernels, serialization
from rfm_recsys.completion import (
    FullUserBlock,
    Settings,
    UserBlock,
    csr_arrays,
    full_memory,
    full_rounds,
    low_rank_memory,
    low_rank_rounds,
    solve_users,
    solve_users_full,
    threads,
)
from rfm_recsys.errors import DataError, ModelFileError, NotFittedError, ParameterError
from rfm_recsys.kernels import Floats
from rfm_recsys.validation import (
    check_dtype,
    check_generator,
    check_ids,
    check_integer,
    check_interactions,
    check_memory,
    check_number,
)

log = logging.getLogger(__name__)

MAX_WEIGHT = 1e12  # of alpha and regularization; their product has to leave room for digits

Callback = Callable[[int, float, float | None], Any]
TopList = tuple[NDArray[np.int32], Floats]

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
)


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
    regularization : float, above 0
        Weight of the prior, in units of one interaction of value 1.
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
        self.user_factors: Any = None
        self.item_factors: Any = None
        self._check_parameters()

    def __repr__(self) -> str:
        return f"LinRFM({', '.join(f'{name}={getattr(self, name)!r}' for name in _PARAMETERS)})"

    def _check_parameters(self) -> tuple[Settings, np.dtype[Any]]:
        if self.factors is not None:
            check_integer("factors", self.factors, 1)
        check_integer("iterations", self.iterations, 1)
        check_integer("num_threads", self.num_threads, 0)
        settings = Settings(
            regularization=check_number("regularization", self.regularization, 0, MAX_WEIGHT, above=True),
            alpha=check_number("alpha", self.alpha, 0, MAX_WEIGHT, above=True),
            power=check_number("power", self.power, 0, 4),
            item_norm=check_number("item_norm", self.item_norm, -4, 4),
            user_norm=check_number("user_norm", self.user_norm, -4, 4),
        )
        return settings, check_dtype(self.dtype)

    def fit(self, user_items: csr_matrix, show_progress: bool = True, callback: Callback | None = None) -> Self:
        """Fit the factors to interactions, from scratch: what an earlier ``fit`` left is replaced when all is done.

        Parameters
        ----------
        user_items : csr_matrix, shape (users, items)
            Values are confidences: positive liked, negative disliked. Duplicates add up; a stored zero is no entry.
        show_progress : bool
            Whether to show a progress bar over the rounds.
        callback : callable
            Called after each round as ``callback(iteration, elapsed seconds, loss)``; the loss is None unless
            ``calculate_training_loss``.

        Raises
        ------
        DataError
            No liked interactions, a value that is not finite, a corrupt matrix.
        ParameterError, ParameterTypeError
            A parameter out of bounds, ``user_items`` of a wrong type.
        InsufficientMemoryError
            In the full form, for a catalogue that memory does not hold.
        """
        settings, dtype = self._check_parameters()
        generator = check_generator(self.random_state)
        confidence = self._confidence(check_interactions(user_items, dtype), settings.alpha)
        n_users, n_items = confidence.shape
        if self.factors is None:
            check_memory(
                full_memory(n_items),
                f"the full form for {n_items} items",
                "pass factors=256, which needs memory for items x factors only",
            )
        else:
            check_memory(
                low_rank_memory((n_users, n_items), confidence.nnz, self.factors, dtype.itemsize),
                f"a fit of {self.factors} factors to {n_users} users and {n_items} items",
                "pass fewer factors, or leave out users and items without interactions",
            )
        with (
            threads(self.num_threads),
            tqdm(total=self.iterations, disable=not show_progress, desc="LinRFM", unit="round") as progress,
        ):
            users: UserBlock | FullUserBlock
            if self.factors is None:
                users = FullUserBlock(confidence)
                rounds = full_rounds(users, settings, self.iterations)
            else:
                users = UserBlock(confidence)
                rounds = low_rank_rounds(users, settings, self.factors, self.iterations, generator)
            begun = time.perf_counter()
            for iteration, _ in enumerate(rounds):
                loss = users.loss() if self.calculate_training_loss else None
                elapsed, begun = time.perf_counter() - begun, time.perf_counter()
                if loss is not None:
                    log.info("round %d: loss %.6f", iteration, loss)
                    progress.set_postfix(loss=f"{loss:.6f}")
                progress.update()
                if callback is not None:
                    callback(iteration, elapsed, loss)
        if isinstance(users, FullUserBlock):
            self.item_factors = users.S
            self.user_factors = csr_matrix((users.A, users.indices, users.indptr), shape=(n_users, n_items))
        else:
            self.item_factors, self.user_factors = users.F, users.U
        return self

    @staticmethod
    def _confidence(user_items: csr_matrix, alpha: float) -> csr_matrix:
        with np.errstate(over="ignore"):
            confidence = user_items.data * user_items.dtype.type(alpha)
        if not (np.isfinite(confidence) & (confidence != 0)).all():
            raise DataError(
                f"alpha * value is beyond {user_items.dtype} for alpha={alpha} and values up to "
                f"{np.abs(user_items.data).max():g}; scale alpha or the values, or use dtype=np.float64"
            )
        return csr_matrix((confidence, user_items.indices, user_items.indptr), shape=user_items.shape)

    def _require_fit(self) -> tuple[int, int]:
        """Return the numbers of users and items; raises NotFittedError."""
        if self.item_factors is None or self.user_factors is None:
            raise NotFittedError("this LinRFM has no factors yet; call fit(user_items) first")
        return self.user_factors.shape[0], len(self.item_factors)

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
        rows = check_interactions(user_items, self.item_factors.dtype, rows=len(ids), items=n_items)
        with threads(self.num_threads):
            factors = self._fold_in(rows)
        if not single:
            return factors
        return factors[0] if self.factors is not None else factors.toarray()[0]

    def _fold_in(self, rows: csr_matrix) -> Any:
        indptr, indices, confidence = csr_arrays(self._confidence(rows, self.alpha))
        lapack = kernels.lapack_addresses(self.item_factors.dtype)
        if self.factors is not None:
            return solve_users(indptr, indices, confidence, self.item_factors, lapack)
        coefficients, _ = solve_users_full(indptr, indices, confidence, self.item_factors, lapack)
        return csr_matrix((coefficients, indices, indptr), shape=rows.shape)

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
            The only items to rank; not together with ``filter_items``.

        Returns
        -------
        ids : int32 array, shape (N,) for a single user, (n, N) for an array of users
            Ties go to the item listed first. Items left out come last, and then -1 where there are fewer than N items.
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
        ids, single = check_ids(userid, None if recalculate_user else n_users, "user")
        rows = None
        if filter_already_liked_items or recalculate_user:
            if getattr(user_items, "format", None) != "csr":
                raise ParameterError(
                    f"user_items is {type(user_items).__name__}; pass a CSR matrix with one row for each user, or "
                    "switch filter_already_liked_items and recalculate_user off"
                )
            rows = check_interactions(user_items, self.item_factors.dtype, rows=len(ids), items=n_items)
        candidates, filtered = self._candidates(n_items, items, filter_items, "item")
        with threads(self.num_threads):
            queries = self._fold_in(rows) if recalculate_user else self.user_factors[ids]
            liked = rows if filter_already_liked_items else None
            if candidates is not None and liked is not None:
                liked = liked[:, candidates]
                liked.sort_indices()
            item_factors = self.item_factors
            if candidates is not None:
                item_factors = item_factors[candidates] if self.factors is not None else item_factors[:, candidates]
            top, scores = self._top(queries, item_factors, liked, filtered, N)
        return self._answer(top, scores, candidates, single)

    def similar_items(
        self,
        itemid: ArrayLike,
        N: int = 10,
        recalculate_item: bool = False,
        item_users: csr_matrix | None = None,
        filter_items: ArrayLike | None = None,
        items: ArrayLike | None = None,
    ) -> TopList:
        """Return the items with the most similar factors, by cosine, the item itself among them; see `recommend`.

        ``recalculate_item`` is not supported yet and raises ParameterError.
        """
        if recalculate_item or item_users is not None:
            raise ParameterError("recalculate_item is not supported by this version; pass itemid alone")
        _, n_items = self._require_fit()
        ids, single = check_ids(itemid, n_items, "item")
        candidates, filtered = self._candidates(n_items, items, filter_items, "item")
        unit = _unit_rows(self.item_factors)
        with threads(self.num_threads):
            top, scores = _top_dense(unit[ids], unit if candidates is None else unit[candidates], None, filtered, N)
        return self._answer(top, scores, candidates, single)

    def similar_users(
        self,
        userid: ArrayLike,
        N: int = 10,
        filter_users: ArrayLike | None = None,
        users: ArrayLike | None = None,
    ) -> TopList:
        """Return the users with the most similar factors, by cosine, the user itself among them; see `recommend`."""
        n_users, _ = self._require_fit()
        ids, single = check_ids(userid, n_users, "user")
        candidates, filtered = self._candidates(n_users, users, filter_users, "user")
        unit = _unit_rows(self.user_factors)
        queries, rows = unit[ids], unit if candidates is None else unit[candidates]
        if self.factors is None:  # sparse rows: their cosines are one sparse product
            queries, rows = (queries @ rows.T).toarray(), np.eye(rows.shape[0], dtype=rows.dtype)
        with threads(self.num_threads):
            top, scores = _top_dense(queries, rows, None, filtered, N)
        return self._answer(top, scores, candidates, single)

    @staticmethod
    def _candidates(
        bound: int, only: ArrayLike | None, without: ArrayLike | None, what: str
    ) -> tuple[NDArray[np.intp] | None, NDArray[np.intp]]:
        if only is not None and without is not None:
            raise ParameterError(f"both {what}s and filter_{what}s are given; pass one of them")
        candidates = None if only is None else check_ids(only, bound, what)[0]
        return candidates, np.unique(check_ids([] if without is None else without, bound, what)[0])

    def _top(
        self, queries: Any, item_factors: Floats, liked: csr_matrix | None, filtered: NDArray[np.intp], N: int
    ) -> TopList:
        if self.factors is not None:
            return _top_dense(queries, item_factors, liked, filtered, N)
        ids, scores, indptr, indices = _empty_top(queries.shape[0], N, liked, item_factors.dtype)
        rows = csr_arrays(queries)
        kernels.top_k_sparse(rows, np.ascontiguousarray(item_factors), indptr, indices, filtered, ids, scores)
        return ids, scores

    @staticmethod
    def _answer(top: NDArray[np.int32], scores: Floats, candidates: NDArray[np.intp] | None, single: bool) -> TopList:
        if candidates is not None:
            top = np.append(candidates, -1).astype(np.int32)[top]
        return (top[0], scores[0]) if single else (top, scores)

    def save(self, fileobj_or_path: serialization.PathOrFile) -> None:
        """Write the model, fitted or not, to exactly the path given (npz, no pickle); whole, or not at all."""
        parameters = {name: getattr(self, name) for name in _PARAMETERS}
        parameters["dtype"] = check_dtype(self.dtype).name
        seed = self.random_state  # a generator has no seed to keep; it matters to the next fit only
        parameters["random_state"] = int(seed) if isinstance(seed, int | np.integer) else None
        arrays = {}
        if self.item_factors is not None:
            arrays["item_factors"] = self.item_factors
            if self.factors is None:
                arrays |= {f"user_{part}": getattr(self.user_factors, part) for part in ("data", "indices", "indptr")}
            else:
                arrays["user_factors"] = self.user_factors
        serialization.save(fileobj_or_path, parameters, arrays)

    @classmethod
    def load(cls, fileobj_or_path: serialization.PathOrFile) -> Self:
        """Read a model that :meth:`save` wrote; raises ModelFileError for a file that is not one, or not whole."""
        parameters, arrays = serialization.load(fileobj_or_path)
        try:
            model = cls(**{**parameters, "dtype": np.dtype(parameters["dtype"]).type})
            if arrays:
                model.item_factors = arrays["item_factors"]
                if model.factors is None:
                    shape = (len(arrays["user_indptr"]) - 1, len(model.item_factors))
                    parts = tuple(arrays[f"user_{part}"] for part in ("data", "indices", "indptr"))
                    model.user_factors = csr_matrix(parts, shape=shape)
                    model.user_factors.check_format(full_check=True)
                else:
                    model.user_factors = arrays["user_factors"]
                columns = len(model.item_factors) if model.factors is None else model.factors
                for factors in (model.item_factors, model.user_factors):
                    if factors.ndim != 2 or factors.shape[1] != columns or factors.dtype != model.dtype:
                        raise ValueError(f"its factors have the shape {factors.shape} and hold {factors.dtype}")
        except (KeyError, TypeError, ValueError) as error:
            raise ModelFileError(f"{fileobj_or_path} holds no LinRFM model ({error}); save the model again") from error
        return model


def _unit_rows(factors: Any) -> Any:
    if isinstance(factors, csr_matrix):
        norms = np.sqrt(factors.multiply(factors).sum(axis=1)).A1
        scale = 1 / np.where(norms == 0, 1e-10, norms)
        return csr_matrix((factors.data * np.repeat(scale, np.diff(factors.indptr)), factors.indices, factors.indptr))
    norms = np.linalg.norm(factors, axis=1, keepdims=True)
    return factors / np.where(norms == 0, factors.dtype.type(1e-10), norms)


def _top_dense(U: Floats, V: Floats, liked: csr_matrix | None, filtered: NDArray[np.intp], N: int) -> TopList:
    V = np.require(V, None, ["C", "W"])
    ids, scores, indptr, indices = _empty_top(len(U), N, liked, V.dtype)
    kernels.top_k(np.require(U, V.dtype, ["C", "W"]), V, indptr, indices, filtered, ids, scores)
    return ids, scores


def _empty_top(n: int, N: int, liked: csr_matrix | None, dtype: np.dtype[Any]) -> tuple[Any, Any, Any, Any]:
    N = check_integer("N", N, 0)
    check_memory(n * N * (4 + dtype.itemsize), f"lists of {N} for {n} rows", "ask for fewer at a time")
    ids, scores = np.empty((n, N), dtype=np.int32), np.empty((n, N), dtype=dtype)
    if liked is None:
        return ids, scores, np.zeros(n + 1, dtype=np.int64), np.empty(0, dtype=np.int32)
    indptr, indices, _ = csr_arrays(liked)
    return ids, scores, indptr, indices
