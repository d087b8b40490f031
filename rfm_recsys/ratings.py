"""LinRFMRatings: explicit ratings, by biases and two-sided lin-RFM whose AGOP counts what is not known for certain.

Equation numbers are those of ``docs/algorithm/``.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from typing import Any, Self, TypeVar

import numpy as np
import scipy.linalg
from numpy.typing import ArrayLike, DTypeLike, NDArray
from scipy.sparse import csr_matrix

from rfm_recsys.core import files, kernels, modelfile
from rfm_recsys.core.arrays import Floats, csr_arrays
from rfm_recsys.core.checks import (
    check_callback,
    check_csr,
    check_dtype,
    check_flag,
    check_generator,
    check_ids,
    check_integer,
    check_interactions,
    check_seed,
)
from rfm_recsys.core.linalg import multiply, top_eigenpairs
from rfm_recsys.core.memory import check_memory
from rfm_recsys.core.parameters import Parameters, checked, from_json, parameter, to_json
from rfm_recsys.core.progress import progress
from rfm_recsys.core.ranking import among, answer, candidates_of, top_dense
from rfm_recsys.core.renamed import warn_renamed
from rfm_recsys.core.runtime import threads, threads_in_use
from rfm_recsys.errors import (
    DataError,
    ModelFileError,
    NotFittedError,
    ParameterError,
)

# All variances are in units of that of the ratings.
BIAS_VARIANCE, FACTOR_VARIANCE = 0.25, 0.01  # what the first round starts from; the later ones estimate them
LEAST_NOISE = 1e-3  # so that ratings without noise leave the systems of equations solvable in single precision
LEAST_VARIANCE = 1e-6
CHOICE_RIDGE = 50.0  # rows that the regression on the choices counts for having seen them without effect
CHOICE_PASSES = 4
PAIRS = 8192  # whose second moments are gathered at a time

Callback = Callable[[int, float, float], Any]

# what a fit learns, each under its name and an underscore; up to 0.1.0 there was none
FITTED = ("users", "items", "mean", "scale", "noise", "bounds")


@dataclass(frozen=True)
class Side:
    """What a fit knows of the users, or of the items.

    Parameters
    ----------
    means : array, shape (n, factors + 2)
        Posterior means of the vectors ``(bias, 1, factors)``.
    moments : array, shape (n, (factors + 2) (factors + 3) / 2)
        Their second moments: upper triangles, row by row.
    choices : array, shape (n, r)
        What a row gives to the features of those on the other side that it is observed with (8).
    coefficients : float64 array, shape (1 + r, factors + 1)
        Of the regression of ``(bias, factors)`` on the row's own features, which is the prior mean.
    covariance : float64 array, shape (factors + 1, factors + 1)
        The prior covariance C.
    """

    means: Floats
    moments: Floats
    choices: Floats
    coefficients: Floats
    covariance: Floats


@dataclass(eq=False, repr=False)
class LinRFMRatings(Parameters):
    """Predict ratings with lin-RFM: a user's and an item's bias, and factors that are fitted to the rest.

    Users and items are solved in turns, with the AGOP of power 1/2 as their prior, and all posterior uncertainty
    in it: this is variational Bayes, and chooses its own regularisation. What a user has rated, whatever the rating,
    says where to expect the user's factors before the first rating is looked at; likewise for items. The same data and
    seed give the same bits, whatever the number of threads.

    Parameters
    ----------
    factors : int, at least 1
        More are never much worse: what the data do not support shrinks to zero.
    choice_factors : int, at least 0
        Leading eigenvectors of who has rated what that features are made of; 0 for none.
    iterations : int, at least 1
        Rounds, each of which solves the items and the users.
    dtype : float32 or float64
    num_threads : int
        Threads to use; 0 for all.
    random_state : None, int, numpy Generator or RandomState
        Seed of the factors to start from; None is seed 0.

    Attributes
    ----------
    users_, items_ : Side
        The posteriors of both sides, in units of the standard deviation of the ratings.
    mean_, scale_ : float
        Mean and standard deviation of the ratings.
    noise_ : float
        Standard deviation of a rating about its prediction, as estimated.
    bounds_ : tuple of two floats
        The lowest and the highest rating, within which predictions stay.

    Notes
    -----
    A round costs ``nnz factors^2 + (users + items) factors^3``, and the model holds ``(users + items) factors^2 / 2``
    numbers. The defaults were chosen on a tenth of the training ratings of ML-1M and of ML-100K's u1.

    References
    ----------
    Radhakrishnan, Belkin, Drusvyatskiy: Linear Recursive Feature Machines provably recover low-rank matrices.
    arXiv 2401.04553. Lim, Teh: Variational Bayesian approach to movie rating prediction. KDD Cup 2007.

    Examples
    --------
    >>> import numpy as np
    >>> from scipy.sparse import csr_matrix
    >>> from rfm_recsys import LinRFMRatings
    >>> generator = np.random.default_rng(0)
    >>> taste = generator.normal(size=(80, 2)) @ generator.normal(size=(2, 60)) + 3
    >>> rated = generator.random(taste.shape) < 0.5
    >>> model = LinRFMRatings(factors=4).fit(csr_matrix(taste * rated), show_progress=False)
    >>> users, items = np.nonzero(~rated)
    >>> error = model.predict(users, items) - taste[users, items]
    >>> bool(np.sqrt(np.mean(error**2)) < 0.2 * np.std(taste))
    True

    Lists of what will be rated highest, new users and items from their rows, and a file:

    >>> ratings = csr_matrix(taste * rated)
    >>> ids, scores = model.recommend(0, ratings[0], N=3)
    >>> ids.shape
    (3,)
    >>> model.partial_fit_users([80], ratings[:1])
    >>> bool(np.isclose(model.predict(80, 5), model.predict(0, 5), atol=1e-3))
    True
    >>> model.partial_fit_items([60], csr_matrix(np.ones((1, 81))))
    >>> import os, tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "ratings.npz")
    >>> model.save(path)
    >>> bool(LinRFMRatings.load(path).predict(0, 5) == model.predict(0, 5))
    True
    """

    factors: int = parameter(32, check_integer, least=1)
    choice_factors: int = parameter(128, check_integer, least=0)
    iterations: int = parameter(16, check_integer, least=1)
    dtype: DTypeLike = parameter(np.float32, check_dtype)
    num_threads: int = parameter(0, check_integer, least=0)
    random_state: Any = parameter(None, check_seed)

    users_: Side = field(init=False)
    items_: Side = field(init=False)
    mean_: float = field(init=False)
    scale_: float = field(init=False)
    noise_: float = field(init=False)
    bounds_: tuple[float, float] = field(init=False)

    def __getattr__(self, name: str) -> Any:
        """Return what was learned by the name that it had before."""
        if name in FITTED and f"{name}_" in vars(self):
            warn_renamed(f"LinRFMRatings.{name}", f"LinRFMRatings.{name}_")
            return getattr(self, f"{name}_")
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take the state of a pickle, also of one from before the names of what is learned had underscores."""
        vars(self).update({f"{name}_" if name in FITTED else name: value for name, value in state.items()})

    def fit(self, ratings: csr_matrix, show_progress: bool = True, callback: Callback | None = None) -> Self:
        """Fit users and items to ratings, from scratch; a fit that fails or is interrupted leaves the model as it was.

        Parameters
        ----------
        ratings : csr_matrix, shape (users, items)
            Every stored entry is a rating, a stored 0 one of 0; duplicates add up.
        show_progress : bool
            Whether to show a progress bar over the rounds.
        callback : callable
            Called after each round as ``callback(iteration, elapsed seconds, expected squared error of a rating)``.

        Returns
        -------
        LinRFMRatings
            The model itself.

        Raises
        ------
        DataError
            No ratings, a value that is not finite, a corrupt matrix.
        ParameterError, ParameterTypeError
            A parameter out of bounds, ``ratings`` of a wrong type.
        InsufficientMemoryError
            For more users, items or factors than memory holds.
        """
        dtype = check_dtype("dtype", checked(self)["dtype"])
        show_progress = check_flag("show_progress", show_progress)
        check_callback(callback, "iteration, elapsed and error")
        generator = check_generator(self.random_state)
        data = check_interactions(ratings, np.dtype(np.float64), zeros=True)
        if data.nnz == 0:
            raise DataError("there is no rating; pass a matrix that stores some")
        check_memory(
            _memory(data.shape, data.nnz, self.factors, self.choice_factors, dtype.itemsize),
            f"a fit of {self.factors} factors to {data.shape[0]} users and {data.shape[1]} items",
            "pass fewer factors, or leave out users and items without ratings",
        )
        mean, scale = _units(data.data)
        bounds = (float(data.data.min()), float(data.data.max()))
        data = csr_matrix((((data.data - mean) / scale).astype(dtype), data.indices, data.indptr), shape=data.shape)
        with (
            threads(self.num_threads),
            progress(show_progress, total=self.iterations, desc="LinRFMRatings", unit="round") as bar,
        ):
            choices = choice_factors(data, min(self.choice_factors, *data.shape), generator)
            by_user, by_item = _Rows(data, choices[1]), _Rows(data.T.tocsr(), choices[0])
            users, items = (
                _start(rows, self.factors, own) for rows, own in zip((by_user, by_item), choices, strict=True)
            )
            start = generator.standard_normal((by_item.n, self.factors)) * FACTOR_VARIANCE**0.5
            items.means[:, 2:] = start
            _write_moments(items)
            noise, used = 1.0, 1.0
            users = replace(users, covariance=np.diag([BIAS_VARIANCE] + [1.0] * self.factors))
            error = by_user.solve(users, items, noise)
            begun = time.perf_counter()
            for iteration in range(self.iterations):
                noise = max(error / data.nnz, LEAST_NOISE)
                if iteration > 0:
                    items = by_item.with_prior(items)
                error = by_item.solve(items, users, noise)
                used = max(error / data.nnz, LEAST_NOISE)
                users = by_user.with_prior(users)
                error = by_user.solve(users, items, used)
                elapsed, begun = time.perf_counter() - begun, time.perf_counter()
                loss = error / data.nnz * scale**2
                if bar is not None:
                    bar.set_postfix(error=f"{loss:.4f}")
                    bar.update()
                if callback is not None:
                    callback(iteration, elapsed, loss)
        self._learn(users, items, mean, scale, used**0.5 * scale, bounds)
        return self

    def _learn(self, *learned: Any) -> None:
        """Take all that a fit learns at once, so that an interruption finds the old or the new."""
        vars(self).update(zip((f"{name}_" for name in FITTED), learned, strict=True))

    def _require_fit(self) -> None:
        if not hasattr(self, "users_"):
            raise NotFittedError("this LinRFMRatings is not fitted yet; call fit(ratings) first")

    def predict(self, users: ArrayLike, items: ArrayLike, return_std: bool = False, with_noise: bool = False) -> Any:
        """Return the expected ratings of pairs; a user or item without ratings counts as an average one.

        Parameters
        ----------
        users, items : int, or array of ints, shape (n,)
            Pairs; a single id stands opposite every other.
        return_std : bool
            Whether to return the posterior standard deviations too.
        with_noise : bool
            Whether these are of ratings, so that 95% of all are within 1.96 of them, which include the noise of a
            rating, ``noise_``; by default they are of the expected ratings (9), which do not.

        Returns
        -------
        array, shape (n,), or a float for two single ids; with ``return_std`` a tuple of two of them

        Raises
        ------
        IdError (an IndexError)
            An unknown user or item.
        ParameterError
            Two arrays of different lengths.
        """
        self._require_fit()
        return_std = check_flag("return_std", return_std)
        with_noise = check_flag("with_noise", with_noise)
        u, one_user = check_ids(users, len(self.users_.means), "user")
        i, one_item = check_ids(items, len(self.items_.means), "item")
        if len(u) != len(i) and not (one_user or one_item):
            raise ParameterError(f"there are {len(u)} users and {len(i)} items; pass one item for each user")
        u, i = np.broadcast_arrays(u, i)
        expected, variance = np.empty((2, len(u)))
        for first in range(0, len(u), PAIRS):
            pairs = slice(first, first + PAIRS)
            expected[pairs], variance[pairs] = _expectations(self.users_, self.items_, u[pairs], i[pairs], return_std)
        prediction = np.clip(self.mean_ + self.scale_ * expected, *self.bounds_)
        if not return_std:
            return float(prediction[0]) if one_user and one_item else prediction
        std = self.scale_ * np.sqrt(variance)
        if with_noise:
            std = np.hypot(std, self.noise_)
        return (float(prediction[0]), float(std[0])) if one_user and one_item else (prediction, std)

    def recommend(
        self,
        userid: ArrayLike,
        user_items: csr_matrix | None,
        N: int = 10,
        filter_already_liked_items: bool = True,
        filter_items: ArrayLike | None = None,
        items: ArrayLike | None = None,
        *,
        return_std: bool = False,
    ) -> Any:
        """Return the items of the highest expected ratings, best first, with the ratings that are predicted.

        Parameters
        ----------
        userid : int, or array of ints, shape (n,)
        user_items : csr_matrix, shape (n, items), or None
            What the users have, whatever its value; not needed where nothing of it is filtered.
        N : int
        filter_already_liked_items : bool
            Whether to leave out the items stored in ``user_items``.
        filter_items, items : arrays of ints
            Items to leave out, or the only ones to rank, for everybody.
        return_std : bool
            Whether to return the standard deviations of the expected ratings too; see :meth:`predict`.

        Returns
        -------
        ids : int32 array, shape (N,) for a single user, (n, N) for an array of users
            Items left out come last, and then -1 where there are fewer than N.
        scores : array of the same shape
            Predicted ratings; the lowest finite number for an item left out and for -1.
        std : array of the same shape, with ``return_std``
            0 for an item left out and for -1.

        Raises
        ------
        IdError (an IndexError)
            An unknown user or item.
        """
        self._require_fit()
        ids, single = check_ids(userid, len(self.users_.means), "user")
        n_items = len(self.items_.means)
        rows = None
        if check_flag("filter_already_liked_items", filter_already_liked_items):
            dtype = self.users_.means.dtype
            rows = check_interactions(check_csr(user_items), dtype, rows=len(ids), columns=n_items, zeros=True)
        candidates, filtered = candidates_of(n_items, items, filter_items, "item")
        if candidates is not None:
            N = min(check_integer("N", N, 0), len(candidates))
        swapped = np.r_[1, 0, 2 : self.items_.means.shape[1]]  # the bias stands opposite the 1
        ranked = self.items_.means if candidates is None else self.items_.means[candidates]
        with threads(self.num_threads):
            top, scores = top_dense(
                self.users_.means[ids][:, swapped], ranked, among(candidates, rows), filtered, N
            )  # fmt: skip
        found = scores > np.finfo(scores.dtype).min
        scores[found] = np.clip(self.mean_ + self.scale_ * scores[found], *self.bounds_)
        top, scores = answer((top, scores), candidates, False)
        if not check_flag("return_std", return_std):
            return (top[0], scores[0]) if single else (top, scores)
        std = np.zeros(scores.shape, dtype=scores.dtype)
        std[found] = self.predict(np.repeat(ids, found.sum(axis=1)), top[found], return_std=True)[1]
        return (top[0], scores[0], std[0]) if single else (top, scores, std)

    def partial_fit_users(self, userids: ArrayLike, user_items: csr_matrix) -> None:
        """Fold users in, new ones too, and store them: they get what ``fit`` would give their rows of ratings.

        With the items as they are. Ids beyond those stored make room: users in between count as without ratings. Of an
        id given twice, the last row counts.

        Parameters
        ----------
        userids : int, or array of ints, shape (n,)
        user_items : csr_matrix, shape (n, items)

        Raises
        ------
        NotFittedError
            Before ``fit``.
        IdError (an IndexError)
            A negative id.
        DataError
            Rows of another length than there are items.
        """
        self._require_fit()
        self.users_ = self._folded_in(self.users_, self.items_, userids, user_items, ("user_items", "user"))

    def partial_fit_items(self, itemids: ArrayLike, item_users: csr_matrix) -> None:
        """Fold items in, as :meth:`partial_fit_users` does users: the items' half of a further round.

        Parameters
        ----------
        itemids : int, or array of ints, shape (n,)
        item_users : csr_matrix, shape (n, users)

        Raises
        ------
        NotFittedError
            Before ``fit``.
        IdError (an IndexError)
            A negative id.
        DataError
            Rows of another length than there are users.
        """
        self._require_fit()
        self.items_ = self._folded_in(self.items_, self.users_, itemids, item_users, ("item_users", "item"))

    def _folded_in(self, own: Side, other: Side, ids: ArrayLike, rows: Any, names: tuple[str, str]) -> Side:
        numbers, _ = check_ids(ids, None, names[1])
        data = check_interactions(
            rows, np.dtype(np.float64), rows=len(numbers), columns=len(other.means), name=names[0], zeros=True
        )
        n = max(len(own.means), int(numbers.max(initial=-1)) + 1)
        dtype, per_row = own.means.dtype, sum(part.shape[1] for part in (own.means, own.moments, own.choices))
        check_memory(
            2 * n * per_row * dtype.itemsize, f"{names[1]}s up to {n - 1}", f"number new ones from {len(own.means)} on"
        )
        with np.errstate(over="ignore"):
            values = ((data.data - self.mean_) / self.scale_).astype(dtype)
        if not np.isfinite(values).all():
            raise DataError(f"a rating is beyond {dtype}; pass ratings on the scale of those in fit()")
        data = csr_matrix((values, data.indices, data.indptr), shape=data.shape)
        noise = (self.noise_ / self.scale_) ** 2
        with threads(self.num_threads):
            # one row more, without ratings, is what stands for those in between
            data.resize(len(numbers) + 1, data.shape[1])
            solved = _Rows(data, other.choices)
            new = _start(solved, own.means.shape[1] - 2, np.zeros((solved.n, own.choices.shape[1]), dtype))
            new = replace(new, coefficients=own.coefficients, covariance=own.covariance)
            solved.solve(new, other, noise)
        places = np.r_[np.arange(len(own.means)), np.full(n - len(own.means), -1)]
        places[numbers] = len(own.means) + np.arange(len(numbers))
        means, moments = (
            np.concatenate([a, b])[places] for a, b in ((own.means, new.means), (own.moments, new.moments))
        )
        choices = np.zeros((n, own.choices.shape[1]), dtype)
        choices[: len(own.choices)] = own.choices  # the eigenvectors are those of fit
        return replace(own, means=means, moments=moments, choices=choices)

    def save(self, fileobj_or_path: files.PathOrFile) -> None:
        """Write the model, fitted or not, to exactly the path given (npz, no pickle); whole, or not at all.

        Parameters
        ----------
        fileobj_or_path : path, or file opened for writing bytes

        Raises
        ------
        OSError
            The file cannot be written; one that was there stays as it is.
        """
        modelfile.save(fileobj_or_path, "ratings model", *content_of(self))

    @classmethod
    def load(cls, fileobj_or_path: files.PathOrFile) -> Self:
        """Read a model that :meth:`save` wrote; raises ModelFileError for a file that is not one, or not whole.

        Parameters
        ----------
        fileobj_or_path : path, or file opened for reading bytes

        Returns
        -------
        LinRFMRatings

        Raises
        ------
        ModelFileError
            A file of something else, a damaged one, or one of a later version.
        """
        try:
            return model_of(cls, *modelfile.load(fileobj_or_path, "ratings model"))
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            if isinstance(error, ModelFileError):
                raise
            raise ModelFileError(f"{fileobj_or_path} holds no LinRFMRatings ({error}); save it again") from error


Model = TypeVar("Model", bound=LinRFMRatings)


def content_of(model: LinRFMRatings) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Return the parameters, as JSON values, and the arrays by name: all that a file of the model holds."""
    arrays = {}
    if hasattr(model, "users_"):
        arrays["units"] = np.array([model.mean_, model.scale_, model.noise_, *model.bounds_])
        for name, side in (("users", model.users_), ("items", model.items_)):
            arrays |= {f"{name}_{each.name}": getattr(side, each.name) for each in fields(Side)}
    return to_json(model), arrays


def model_of(kind: type[Model], parameters: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> Model:
    """Return the model of which :func:`content_of` returned these."""
    model = from_json(kind, parameters)
    if arrays:
        mean, scale, noise, low, high = (float(value) for value in arrays["units"])
        users, items = (Side(*(arrays[f"{name}_{each.name}"] for each in fields(Side))) for name in ("users", "items"))
        _check_sides(users, items)
        model._learn(users, items, mean, scale, noise, (low, high))
    return model


class _Rows:
    """The ratings of all users, or all items, with the features of who has rated what.

    Parameters
    ----------
    ratings : csr_matrix, shape (n, others)
        In units of their standard deviation.
    choices : array, shape (others, r)
        What each on the other side gives to the features of those that it is observed with.
    """

    def __init__(self, ratings: csr_matrix, choices: Floats) -> None:
        self.n = ratings.shape[0]
        self.arrays = csr_arrays(ratings)
        indptr, indices, values = self.arrays
        counts = np.diff(indptr)
        self.active: NDArray[np.bool_] = counts > 0
        sums = np.zeros((self.n, choices.shape[1]), dtype=choices.dtype)
        if choices.shape[1]:
            kernels.sparse_product(indptr, indices, np.ones_like(values), np.ascontiguousarray(choices), sums)
        self.features = np.ones((self.n, 1 + choices.shape[1]))
        self.features[:, 1:] = sums / np.sqrt(np.maximum(counts, 1))[:, None]

    def solve(self, own: Side, other: Side, noise: float) -> float:
        """Write the posterior into ``own``; return the sum of the expected squared errors. Raises DataError."""
        dtype = own.means.dtype
        precision = noise * _inverse(own.covariance)
        shift = (self.features @ (own.coefficients @ precision)).astype(dtype)
        errors = np.empty(self.n, dtype=dtype)
        status = kernels.posterior_rows(
            self.arrays,
            (other.means, other.moments),
            (precision.astype(dtype), shift),
            dtype.type(noise),
            (own.means, own.moments),
            errors,
        )
        failed = np.flatnonzero(status)
        if len(failed):
            raise DataError(
                f"the solve of row {failed[0]} (and {len(failed) - 1} others) is out of the range of {dtype}: a rating "
                "is too far from the others; use dtype=np.float64, or leave it out"
            )
        return float(errors.sum(dtype=np.float64))

    def with_prior(self, own: Side) -> Side:
        """Return a side with the prior that fits its posterior best (7)."""
        w = np.delete(own.means, 1, axis=1).astype(np.float64)
        Z = self.features * self.active[:, None]
        ridge = np.diag([0.0] + [CHOICE_RIDGE] * (Z.shape[1] - 1))
        B = scipy.linalg.solve(Z.T @ Z + ridge, Z.T @ w, assume_a="pos")
        m = Z @ B
        total = np.einsum("n,np->p", self.active.astype(np.float64), own.moments)
        moments = np.delete(np.delete(_unpacked(total, own.means.shape[1]), 1, axis=0), 1, axis=1)
        cross = w.T @ m  # w and m of rows without ratings are left out, since their m is 0
        covariance = (moments - cross - cross.T + m.T @ m) / self.active.sum() + LEAST_VARIANCE * np.eye(len(cross))
        return replace(own, coefficients=B, covariance=covariance)


def choice_factors(ratings: csr_matrix, n_factors: int, generator: np.random.Generator) -> tuple[Floats, Floats]:
    """Return what users and items give to each other's features, shapes (users, r) and (items, r) (8).

    From the leading eigenvectors of who has rated what, whatever the rating, with users and items of equal weight.
    """
    indptr, _, values = csr_arrays(ratings)
    n_users, n_items = ratings.shape
    if n_factors == 0:
        return np.zeros((n_users, 0), values.dtype), np.zeros((n_items, 0), values.dtype)
    per_user, per_item = np.diff(indptr), np.bincount(ratings.indices, minlength=n_items)
    user_scale, item_scale = (np.maximum(counts, 1) ** -0.5 for counts in (per_user, per_item))
    weights = np.repeat(user_scale, per_user) * item_scale[ratings.indices]
    weighted = csr_matrix((weights.astype(values.dtype), ratings.indices, ratings.indptr), shape=ratings.shape)
    by_user, by_item = csr_arrays(weighted), csr_arrays(weighted.T.tocsr())

    def to_users(Q: Floats) -> Floats:
        Y = np.zeros((n_users, Q.shape[1]), dtype=Q.dtype)
        kernels.sparse_product(*by_user, Q, Y)
        return Y

    def product(Q: Floats) -> Floats:
        Z = np.zeros_like(Q)
        kernels.sparse_product(*by_item, to_users(Q), Z)
        return Z

    start = generator.standard_normal((n_items, n_factors)).astype(values.dtype)
    eigenvalues, Z, T = top_eigenpairs(product, start, CHOICE_PASSES)
    V = multiply(Z, T)
    U = to_users(V) / np.sqrt(eigenvalues).astype(V.dtype)
    root_users, root_items = np.sqrt([n_users, n_items])
    users, items = root_items * user_scale[:, None] * U, root_users * item_scale[:, None] * V
    return users.astype(values.dtype), items.astype(values.dtype)


def _start(rows: _Rows, factors: int, choices: Floats) -> Side:
    """Return a side that a solve is to write the posterior of, with the prior of the first round."""
    dtype = choices.dtype
    size = factors + 2
    means = np.zeros((rows.n, size), dtype=dtype)
    means[:, 1] = 1
    return Side(
        means,
        np.empty((rows.n, size * (size + 1) // 2), dtype=dtype),
        choices,
        np.zeros((rows.features.shape[1], factors + 1)),
        np.diag([BIAS_VARIANCE] + [FACTOR_VARIANCE] * factors),
    )


def _write_moments(side: Side) -> None:
    """Write the second moments of means that are certain but for the bias."""
    upper = np.triu_indices(side.means.shape[1])
    side.moments[:] = side.means[:, upper[0]] * side.means[:, upper[1]]
    side.moments[:, 0] += BIAS_VARIANCE


def _expectations(
    users: Side, items: Side, u: NDArray[np.intp], i: NDArray[np.intp], with_variance: bool
) -> tuple[Floats, Floats | float]:
    """Return the expectation of ``(1, b, u) . (c, 1, v)`` for pairs of rows, and its variance (9)."""
    size = users.means.shape[1]
    swapped = np.r_[1, 0, 2:size]  # the bias stands opposite the 1
    # sums along rows, which are the same to the bit however many there are
    expected: Floats = np.multiply(users.means[u][:, swapped], items.means[i], dtype=np.float64).sum(axis=1)
    if not with_variance:
        return expected, 0.0
    rows, columns = np.triu_indices(size)
    places = _unpacked(np.arange(len(rows)), size)[np.ix_(swapped, swapped)][rows, columns]
    weight = np.where(rows == columns, 1.0, 2.0)
    squares = np.multiply(users.moments[u][:, places], items.moments[i], dtype=np.float64)
    squares = (squares * weight).sum(axis=1)
    return expected, np.maximum(squares - expected**2, 0)


def _unpacked(packed: NDArray[Any], size: int) -> NDArray[Any]:
    """Return the symmetric matrix of which ``packed`` is the upper triangle, row by row."""
    matrix = np.zeros((size, size), dtype=packed.dtype)
    matrix[np.triu_indices(size)] = packed
    return np.triu(matrix) + np.triu(matrix, 1).T


def _inverse(covariance: Floats) -> Floats:
    inverse: Floats = scipy.linalg.cho_solve(scipy.linalg.cho_factor(covariance), np.eye(len(covariance)))
    return (inverse + inverse.T) / 2


def _units(ratings: Floats) -> tuple[float, float]:
    """Return the mean of ratings and their standard deviation, 1 where they do not vary."""
    with np.errstate(over="ignore", invalid="ignore"):
        mean, scale = float(ratings.mean()), float(ratings.std())
    if not np.isfinite(scale):
        raise DataError("the squares of the ratings overflow; scale them towards 1")
    rounding = len(ratings) * np.finfo(float).eps * abs(mean)
    return mean, scale if scale > rounding else 1.0


def _memory(shape: tuple[int, int], nnz: int, factors: int, choices: int, itemsize: int) -> int:
    """Return about the bytes that a fit takes beyond the ratings that it is given."""
    packed = (factors + 2) * (factors + 3) // 2
    choices = min(choices, *shape)
    workers = threads_in_use()
    return (
        sum(shape) * (itemsize * (packed + 2 * factors + 3 * choices) + 24 * choices)
        + nnz * (4 * itemsize + 32)
        + workers * itemsize * factors**2
    )


def _check_sides(users: Side, items: Side) -> None:
    """Raise ValueError for arrays, read from a file, that do not fit together."""
    size, n_choices = items.means.shape[1], items.choices.shape[1]
    for side in (users, items):
        n = len(side.means)
        shapes = (
            (n, size),
            (n, size * (size + 1) // 2),
            (n, n_choices),
            (1 + n_choices, size - 1),
            (size - 1, size - 1),
        )
        if tuple(getattr(side, each.name).shape for each in fields(Side)) != shapes:
            raise ValueError("its arrays do not fit together")
