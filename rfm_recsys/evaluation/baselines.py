"""The models that LinRFM is compared with, and the one interface that evaluation knows any model by."""

from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from typing import Any, Protocol
from warnings import catch_warnings, simplefilter

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from scipy.linalg import lapack
from threadpoolctl import threadpool_limits

from rfm_recsys.core.arrays import row_of_entry
from rfm_recsys.core.memory import check_memory
from rfm_recsys.errors import DataError, ParameterError

USERS_AT_ONCE = 256  # whose dense scores are in memory together
ITEMS_AT_ONCE = 256  # rows of the Gram matrix that are computed together
EASE_ITEMS = 32_000  # LAPACK with 32-bit integers was seen to crash at 41,000
PENALTIES, MOST_FEATURES = (1.0, 10.0, 100.0, 1000.0), 3000  # of the regression on features; per unit of deviation
VALUES = ("ones", "log1p", "as they are")  # what ALS may be given of the values
LOWEST = -np.finfo(np.float32).max  # the score of an item that is filtered out, and of an empty slot


def ones(user_items: sp.csr_matrix) -> sp.csr_matrix:
    """Return the same interactions, each counting 1: the models of items alone are made for these."""
    parts = np.ones(user_items.nnz, dtype=np.float32), user_items.indices, user_items.indptr
    return sp.csr_matrix(parts, shape=user_items.shape)


class Recommender(Protocol):
    """What evaluation asks of a model: the part of implicit's interface that ranks items for held-out users.

    Examples
    --------
    >>> import numpy as np
    >>> from rfm_recsys.datasets import synthetic_movielens
    >>> from rfm_recsys.evaluation import Popularity
    >>> user_items = synthetic_movielens(60, 40, 900).to_csr()
    >>> model = Popularity()  # one of them
    >>> model.fit(user_items, show_progress=False)
    >>> ids, scores = model.recommend(np.arange(60), user_items, N=5)
    >>> ids.shape
    (60, 5)
    """

    def fit(self, user_items: sp.csr_matrix, *, show_progress: bool = True) -> object:
        """Learn from interactions, shape (n_users, n_items).

        Parameters
        ----------
        user_items : csr_matrix, shape (n_users, n_items)
        show_progress : bool

        Returns
        -------
        object
            Ignored.
        """

    def recommend(
        self,
        userid: NDArray[np.intp],
        user_items: sp.csr_matrix,
        N: int = 10,
        *,
        filter_already_liked_items: bool = True,
        recalculate_user: bool = False,
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return item ids and scores, both of shape (n, N), best first; empty slots have the id -1.

        With ``recalculate_user`` the rows of ``user_items``, shape (n, n_items), are folded in: they may belong to
        users that ``fit`` has not seen. Protocols of new items pass ``items``, too: those to rank among.

        Parameters
        ----------
        userid : intp array, shape (n,)
        user_items : csr_matrix, shape (n, n_items)
        N : int
        filter_already_liked_items, recalculate_user : bool

        Returns
        -------
        ids, scores : arrays, shape (n, N)
        """


class _RowScorer(ABC):
    """A model that keeps nothing about users: it always scores the rows it is given."""

    @abstractmethod
    def fit(self, user_items: sp.csr_matrix, *, show_progress: bool = True) -> None:
        """Learn from interactions, shape (n_users, n_items)."""

    @abstractmethod
    def _scores(self, user_items: sp.csr_matrix) -> NDArray[np.float32]:
        """Return a new array of scores, of the shape of ``user_items``."""

    def recommend(
        self,
        userid: NDArray[np.intp],
        user_items: sp.csr_matrix,
        N: int = 10,
        *,
        filter_already_liked_items: bool = True,
        recalculate_user: bool = False,
        items: NDArray[np.intp] | None = None,
    ) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Return item ids and scores, both of shape (n, N), best first; see :class:`Recommender`.

        ``userid`` and ``recalculate_user`` make no difference.
        """
        n_users, n_items = user_items.shape
        ranked = np.arange(n_items) if items is None else np.unique(items)
        ids = np.full((n_users, N), -1, dtype=np.int32)
        scores = np.full((n_users, N), LOWEST, dtype=np.float32)
        kept = min(N, len(ranked))
        for start in range(0, n_users, USERS_AT_ONCE):
            rows = user_items[start : start + USERS_AT_ONCE]
            batch = self._scores(rows)
            if filter_already_liked_items:
                batch[row_of_entry(rows.indptr), rows.indices] = LOWEST
            best = ranked[np.argsort(-batch[:, ranked], axis=1, kind="stable")[:, :kept]]
            ids[start : start + USERS_AT_ONCE, :kept] = best
            scores[start : start + USERS_AT_ONCE, :kept] = np.take_along_axis(batch, best, axis=1)
        return ids, scores


@dataclass
class Popularity(_RowScorer):
    """Recommends to everybody the items that most users have.

    Examples
    --------
    >>> import numpy as np
    >>> from rfm_recsys.datasets import synthetic_movielens
    >>> from rfm_recsys.evaluation import Popularity
    >>> user_items = synthetic_movielens(60, 40, 900).to_csr()
    >>> model = Popularity()
    >>> model.fit(user_items, show_progress=False)
    >>> ids, scores = model.recommend(np.arange(60), user_items, N=5)
    >>> ids.shape
    (60, 5)
    """

    def fit(self, user_items: sp.csr_matrix, *, show_progress: bool = True) -> None:
        """Count each item's users.

        Parameters
        ----------
        user_items : csr_matrix, shape (n_users, n_items)
        show_progress : bool
        """
        self._popularity = np.bincount(user_items.indices, minlength=user_items.shape[1]).astype(np.float32)

    def _scores(self, user_items: sp.csr_matrix) -> NDArray[np.float32]:
        return np.tile(self._popularity, (user_items.shape[0], 1))


@dataclass
class EASE(_RowScorer):
    """The embarrassingly shallow autoencoder (Steck 2019): item-item weights with a zero diagonal, in closed form.

    Scores are ``X B`` with ``B = I - P diag(P)^-1`` and ``P = (X^T X + regularization I)^-1``.

    Parameters
    ----------
    regularization : float or None
        Added to the diagonal of ``X^T X``, whose entries are numbers of users. None is 1000, the value of choice from
        ML-1M upwards, or three tenths of the number of users where that is less (a rule of thumb).

    Examples
    --------
    >>> import numpy as np
    >>> from rfm_recsys.datasets import synthetic_movielens
    >>> from rfm_recsys.evaluation import EASE
    >>> user_items = synthetic_movielens(60, 40, 900).to_csr()
    >>> model = EASE()
    >>> model.fit(user_items, show_progress=False)
    >>> ids, scores = model.recommend(np.arange(60), user_items, N=5)
    >>> ids.shape
    (60, 5)
    """

    regularization: float | None = None

    def __post_init__(self) -> None:
        if self.regularization is not None and not 0 < self.regularization < np.inf:
            raise ParameterError(f"regularization={self.regularization} is not positive and finite; pass 1000, say")

    def fit(self, user_items: sp.csr_matrix, *, show_progress: bool = True) -> None:
        """Invert the Gram matrix in float64 and keep the weights, shape (n_items, n_items), in float32.

        Parameters
        ----------
        user_items : csr_matrix, shape (n_users, n_items)
        show_progress : bool

        Raises
        ------
        DataError
            More items than LAPACK is safe for.
        InsufficientMemoryError
            If the two do not fit into the memory that is available.
        """
        n_items = user_items.shape[1]
        if n_items > EASE_ITEMS:
            raise DataError(
                f"EASE cannot invert for {n_items} items, {EASE_ITEMS} at most; leave out rare items, or EASE"
            )
        needed = 12 * n_items**2 + 20 * ITEMS_AT_ONCE * n_items  # float64 and float32; a strip, sparse and dense
        check_memory(needed, f"EASE on {n_items} items", "leave out rare items, or EASE")

        by_user = ones(user_items).astype(np.float64)
        by_item = by_user.T.tocsr()
        gram = np.empty((n_items, n_items))
        for start in range(0, n_items, ITEMS_AT_ONCE):
            gram[start : start + ITEMS_AT_ONCE] = (by_item[start : start + ITEMS_AT_ONCE] @ by_user).toarray()
        gram.flat[:: n_items + 1] += self.regularization or min(1000.0, 0.3 * user_items.shape[0])

        # gram.T is gram in the Fortran order that LAPACK overwrites without a copy; only lower triangles are written.
        lapack.dpotrf(gram.T, lower=True, overwrite_a=True, clean=False)
        lapack.dpotri(gram.T, lower=True, overwrite_c=True)
        diagonal = gram.diagonal().copy()
        weights = gram.T.astype(np.float32, order="C")
        del gram
        for start in range(0, n_items, ITEMS_AT_ONCE):
            strip = slice(start, start + ITEMS_AT_ONCE)
            weights[strip, start:] = np.tril(weights[strip, start:]) + np.triu(weights[start:, strip].T, 1)
        weights /= -diagonal
        np.fill_diagonal(weights, 0)
        self._weights = weights

    def _scores(self, user_items: sp.csr_matrix) -> NDArray[np.float32]:
        return np.asarray(ones(user_items) @ self._weights)


class _Implicit(ABC):
    """A model of implicit's, with BLAS held to one thread, as implicit advises, and empty slots marked as such."""

    @abstractmethod
    def _make(self) -> Any:
        """Return implicit's model with these parameters."""

    def _given(self, user_items: sp.csr_matrix) -> sp.csr_matrix:
        """Return what the model is given of the values."""
        return ones(user_items)

    def fit(self, user_items: sp.csr_matrix, *, show_progress: bool = True) -> None:
        """Fit implicit's model to interactions, shape (n_users, n_items)."""
        from implicit.utils import ParameterWarning

        with threadpool_limits(1, "blas"), catch_warnings():
            simplefilter("ignore", ParameterWarning)  # item-kNN's, of a conversion of its own making
            self._model = self._make()
            self._model.fit(self._given(user_items), show_progress=show_progress)

    def recommend(
        self,
        userid: NDArray[np.intp],
        user_items: sp.csr_matrix,
        N: int = 10,
        *,
        filter_already_liked_items: bool = True,
        recalculate_user: bool = False,
        items: NDArray[np.intp] | None = None,
    ) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Return item ids and scores, both of shape (n, N), best first; see :class:`Recommender`."""
        n_ranked = user_items.shape[1] if items is None else len(items)
        with threadpool_limits(1, "blas"):
            ids, scores = self._model.recommend(
                userid,
                self._given(user_items),
                N if items is None else min(N, n_ranked),
                filter_already_liked_items=filter_already_liked_items,
                recalculate_user=recalculate_user,
                **({} if items is None else {"items": items}),
            )
        ids[:, n_ranked:] = -1  # implicit fills slots past the catalogue with item 0
        return ids, scores


@dataclass
class ALS(_Implicit):
    """implicit's AlternatingLeastSquares on the CPU; parameters are implicit's, and these are good on ML-1M as ones.

    ``values`` says what it is given of the values of interactions: one of `VALUES`.

    Parameters
    ----------
    factors : int
    regularization, alpha : float
    iterations : int
    values : {"ones", "log1p", "as they are"}
    random_state : int or None
        Seed; None draws anew.

    Examples
    --------
    >>> import numpy as np
    >>> from rfm_recsys.datasets import synthetic_movielens
    >>> from rfm_recsys.evaluation import ALS
    >>> user_items = synthetic_movielens(60, 40, 900).to_csr()
    >>> model = ALS(8, random_state=0)
    >>> model.fit(user_items, show_progress=False)
    >>> ids, scores = model.recommend(np.arange(60), user_items, N=5)
    >>> ids.shape
    (60, 5)
    """

    factors: int = 64
    regularization: float = 10.0
    alpha: float = 5.0
    iterations: int = 15
    values: str = "ones"
    random_state: int | None = None

    def __post_init__(self) -> None:
        if self.values not in VALUES:
            raise ParameterError(f"values are {self.values!r}; pass one of {', '.join(map(repr, VALUES))}")

    def _make(self) -> Any:
        from implicit.cpu.als import AlternatingLeastSquares

        return AlternatingLeastSquares(**{name: value for name, value in asdict(self).items() if name != "values"})

    def _given(self, user_items: sp.csr_matrix) -> sp.csr_matrix:
        if self.values == "as they are":
            return user_items
        values = np.sign(user_items.data) * (1 if self.values == "ones" else np.log1p(np.abs(user_items.data)))
        parts = values.astype(np.float32), user_items.indices, user_items.indptr
        return sp.csr_matrix(parts, shape=user_items.shape)


@dataclass
class ALSByDefault(ALS):
    """implicit's AlternatingLeastSquares with implicit's own defaults, given the values as they are."""

    factors: int = 100
    regularization: float = 0.01
    alpha: float = 1.0
    values: str = "as they are"


@dataclass
class RegressedALS(ALS):
    """:class:`ALS`, and the usual trick for new items and users: their factors are regressed on their features.

    A ridge regression on a constant and the features that most rows have, learned from the factors of items, or users,
    with interactions; of the penalties in `PENALTIES` it has that with the least leave-one-out error of the scores.

    Parameters
    ----------
    factors, regularization, alpha, iterations, values, random_state
        As in :class:`ALS`.

    Examples
    --------
    >>> import numpy as np
    >>> from rfm_recsys.datasets import synthetic_movielens
    >>> from rfm_recsys.evaluation import RegressedALS
    >>> user_items = synthetic_movielens(60, 40, 900).to_csr()
    >>> model = RegressedALS(8, random_state=0)
    >>> model.fit(user_items, show_progress=False)
    >>> ids, scores = model.recommend(np.arange(60), user_items, N=5)
    >>> ids.shape
    (60, 5)
    """

    def fit(
        self,
        user_items: sp.csr_matrix,
        *,
        show_progress: bool = True,
        item_features: sp.csr_matrix | None = None,
        user_features: sp.csr_matrix | None = None,
    ) -> None:
        """Fit implicit's model, then give those without interactions, shape (n, d) each, the factors to expect.

        Parameters
        ----------
        user_items : csr_matrix, shape (n_users, n_items)
        show_progress : bool
        item_features : csr_matrix, shape (n_items, d), optional
        user_features : csr_matrix, shape (n_users, d), optional
        """
        super().fit(user_items, show_progress=show_progress)
        model = self._model
        known = np.diff(user_items.tocsc().indptr) > 0, np.diff(user_items.indptr) > 0
        if item_features is not None:
            _expect(model.item_factors, model.user_factors, known[0], item_features)
        if user_features is not None:
            _expect(model.user_factors, model.item_factors, known[1], user_features)


def _expect(factors: NDArray[Any], others: NDArray[Any], known: NDArray[np.bool_], features: sp.csr_matrix) -> None:
    """Write the factors to expect by features, shape (n, d), into the rows of ``factors`` that are not known."""
    if known.all() or not known.any():
        return
    counts = np.bincount(features.indices, minlength=features.shape[1])
    common = np.argsort(-counts, kind="stable")[:MOST_FEATURES]
    X = np.hstack([np.ones((len(factors), 1)), features[:, common].toarray()])
    spread = X[known, 1:].std(axis=0)
    X[:, 1:] *= np.where(spread > 0, 1 / np.where(spread > 0, spread, 1), 0)  # of equal rows nothing is learned
    old, targets, gram = X[known], factors[known].astype(np.float64), others.T.astype(np.float64) @ others
    best = np.inf
    for penalty in PENALTIES:
        ridge = np.diag([1e-9, *np.full(len(common), penalty)])
        solved = np.linalg.solve(old.T @ old + ridge, old.T)
        errors = (targets - old @ (solved @ targets)) / (1 - np.einsum("ij,ji->i", old, solved))[:, None]
        error = float(np.einsum("ij,jk,ik->", errors, gram, errors))
        if error < best:
            best, coefficients = error, solved @ targets
    factors[~known] = X[~known] @ coefficients


@dataclass
class ContentKNN(_RowScorer):
    """Recommends what is like the user's items by its features: sums of cosines. Nothing is learned.

    Examples
    --------
    >>> import numpy as np
    >>> from rfm_recsys.datasets import load
    >>> from rfm_recsys.evaluation import ContentKNN
    >>> films = load("films")
    >>> model = ContentKNN()
    >>> model.fit(films.to_csr(), item_features=films.item_features)
    >>> model.recommend(np.arange(3), films.to_csr()[:3], N=5)[0].shape
    (3, 5)
    """

    def fit(
        self,
        user_items: sp.csr_matrix,
        *,
        show_progress: bool = True,
        item_features: sp.csr_matrix | None = None,
        user_features: sp.csr_matrix | None = None,
    ) -> None:
        """Keep the features of the items, shape (n_items, d); those of users say nothing here.

        Parameters
        ----------
        user_items : csr_matrix, shape (n_users, n_items)
        show_progress : bool
        item_features : csr_matrix, shape (n_items, d)
        user_features
            Taken, without effect.

        Raises
        ------
        DataError
            There are no features of items.
        """
        if item_features is None:
            raise DataError("there are no features of items; pass --item-table, or leave out ContentKNN")
        norms = np.sqrt(item_features.multiply(item_features).sum(axis=1)).A1
        self._unit = sp.csr_matrix(sp.diags(1 / np.maximum(norms, np.finfo(float).tiny)) @ item_features)

    def _scores(self, user_items: sp.csr_matrix) -> NDArray[np.float32]:
        return np.asarray((ones(user_items) @ self._unit @ self._unit.T).toarray(), dtype=np.float32)


@dataclass
class BPR(_Implicit):
    """implicit's BayesianPersonalizedRanking on one thread, since with several its results differ from run to run.

    It cannot rank for users that it was not fitted to. Parameters are implicit's.

    Parameters
    ----------
    factors : int
    learning_rate, regularization : float
    iterations : int
    random_state : int or None
        Seed; None draws anew.

    Examples
    --------
    >>> import numpy as np
    >>> from rfm_recsys.datasets import synthetic_movielens
    >>> from rfm_recsys.evaluation import BPR
    >>> user_items = synthetic_movielens(60, 40, 900).to_csr()
    >>> model = BPR(8, iterations=5, random_state=0)
    >>> model.fit(user_items, show_progress=False)
    >>> ids, scores = model.recommend(np.arange(60), user_items, N=5)
    >>> ids.shape
    (60, 5)
    """

    factors: int = 64
    learning_rate: float = 0.05
    regularization: float = 0.01
    iterations: int = 100
    random_state: int | None = None

    def _make(self) -> Any:
        from implicit.cpu.bpr import BayesianPersonalizedRanking

        return BayesianPersonalizedRanking(**asdict(self), num_threads=1)


@dataclass
class CosineItemKNN(_Implicit):
    """implicit's CosineRecommender: each item's ``neighbours`` nearest items by the cosine of their users.

    Each user's row has length 1, so that the active do not outvote the others (Deshpande and Karypis 2004).

    Parameters
    ----------
    neighbours : int
        Items that an item keeps.

    Examples
    --------
    >>> import numpy as np
    >>> from rfm_recsys.datasets import synthetic_movielens
    >>> from rfm_recsys.evaluation import CosineItemKNN
    >>> user_items = synthetic_movielens(60, 40, 900).to_csr()
    >>> model = CosineItemKNN()
    >>> model.fit(user_items, show_progress=False)
    >>> ids, scores = model.recommend(np.arange(60), user_items, N=5)
    >>> ids.shape
    (60, 5)
    """

    neighbours: int = 500

    def fit(self, user_items: sp.csr_matrix, *, show_progress: bool = True) -> None:
        """Fit implicit's model to interactions, shape (n_users, n_items).

        Parameters
        ----------
        user_items : csr_matrix, shape (n_users, n_items)
        show_progress : bool
        """
        self._unit = True
        super().fit(user_items, show_progress=show_progress)
        self._unit = False

    def _given(self, user_items: sp.csr_matrix) -> sp.csr_matrix:
        rows = ones(user_items)
        if self._unit:
            rows.data /= np.sqrt(np.repeat(np.diff(rows.indptr), np.diff(rows.indptr)))
        return rows

    def _make(self) -> Any:
        from implicit.nearest_neighbours import CosineRecommender

        return CosineRecommender(K=self.neighbours)


@dataclass
class BM25ItemKNN(_Implicit):
    """implicit's BM25Recommender: like :class:`CosineItemKNN`, with BM25's weights, whose names k1 and b are.

    Parameters
    ----------
    neighbours : int
        Items that an item keeps.
    k1, b : float
        BM25's parameters.

    Examples
    --------
    >>> import numpy as np
    >>> from rfm_recsys.datasets import synthetic_movielens
    >>> from rfm_recsys.evaluation import BM25ItemKNN
    >>> user_items = synthetic_movielens(60, 40, 900).to_csr()
    >>> model = BM25ItemKNN()
    >>> model.fit(user_items, show_progress=False)
    >>> ids, scores = model.recommend(np.arange(60), user_items, N=5)
    >>> ids.shape
    (60, 5)
    """

    neighbours: int = 100
    k1: float = 1.2
    b: float = 0.75

    def _make(self) -> Any:
        from implicit.nearest_neighbours import BM25Recommender

        return BM25Recommender(K=self.neighbours, K1=self.k1, B=self.b)
