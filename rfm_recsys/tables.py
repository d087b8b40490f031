"""A fitted model for tables: recommendations, similar items and explanations in the ids of the caller."""

from __future__ import annotations

import copy
import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from os import PathLike
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix, csr_matrix, vstack
from tqdm.auto import tqdm

from rfm_recsys import ratings
from rfm_recsys.core import files, modelfile
from rfm_recsys.core.checks import check_choice, check_flag, check_integer, check_interactions, shown
from rfm_recsys.core.extras import extra
from rfm_recsys.core.renamed import warn_renamed
from rfm_recsys.core.wording import option
from rfm_recsys.datasets.interactions import Duplicates, Interactions, index_of, positions, usual_columns
from rfm_recsys.datasets.reading import described, frame_of, interactions_of, titles_of
from rfm_recsys.errors import (
    DataError,
    ModelFileError,
    NotSupportedError,
    ParameterError,
    ParameterTypeError,
)
from rfm_recsys.ratings import LinRFMRatings
from rfm_recsys.recommender import model as recommender
from rfm_recsys.recommender.model import LinRFM

with extra("tables"):
    import pandas as pd

KIND = "table model"
ROWS = 2**17  # of recommendations at once, which bounds the memory of recommend_all
CSR = ("data", "indices", "indptr")
FEW = 20  # interactions up to which an item is still drawn to what features say of it when further ones come
UNKNOWN = ("error", "popular", "skip")
Unknown = Literal["error", "popular", "skip"]
Restriction = Any  # ids for all users, or ids by user


@dataclass(frozen=True)
class SideTable:
    """Features of items or of users.

    Attributes
    ----------
    encoder : FeatureEncoder
        From columns to features.
    features : csr_matrix, shape (items or users, features)
    """

    encoder: Any
    features: csr_matrix

    def with_strangers(self, n: int) -> SideTable:
        """Return the same with further rows of which nothing is known."""
        if n == 0:
            return self
        nothing = pd.DataFrame({column.name: [None] * n for column in self.encoder.columns})
        return self.with_rows(self.encoder.encode(nothing))

    def with_rows(self, rows: csr_matrix) -> SideTable:
        """Return the same with further rows."""
        return SideTable(self.encoder, csr_matrix(vstack([self.features, rows])))


@dataclass(eq=False, repr=False)
class TableModel:
    """A fitted LinRFM or LinRFMRatings with the ids of the table that it was fitted to, and the table's interactions.

    Attributes
    ----------
    model : LinRFM or LinRFMRatings
    user_items : csr_matrix, shape (users, items)
        The interactions: what is filtered, whatever its value, and what an explanation refers to.
    user_ids, item_ids : pandas Index, shape (users,) and (items,)
        Integers, strings, floats, or a mixture of these.
    item_table, user_table : SideTable or None
        Features of items and of users, and how they come from the columns of a table.

    Examples
    --------
    >>> import pandas as pd
    >>> from rfm_recsys import LinRFM, TableModel
    >>> table = pd.DataFrame({"user": ["ann", "ann", "bob", "cid"], "item": ["a", "b", "a", "b"]})
    >>> model = TableModel.from_table(table, LinRFM(factors=2), show_progress=False)
    >>> model.recommend("bob")["item_id"].tolist()
    ['b']
    >>> model.recommend_for(["b"])["item_id"].tolist()
    ['a']

    Why, how sure, and what is alike:

    >>> score, shares = model.explain("bob", "b", N=1)
    >>> shares["item_id"].tolist()
    ['a']
    >>> bool(model.score("bob", "b")[0] == model.recommend("bob")["score"][0])
    True
    >>> model.similar("a")["item_id"].tolist(), model.similar_users("bob")["user_id"].tolist()[0]
    (['b'], 'ann')
    >>> model.predict(table).shape
    (4,)
    >>> titles = pd.DataFrame({"item": ["a", "b"], "title": ["Alpha", "Beta"]})
    >>> model.with_titles(model.recommend("bob"), titles)["title"].tolist()
    ['Beta']

    Further rows, a file with everybody's list, and a file of the model:

    >>> model.update(pd.DataFrame({"user": ["dan"], "item": ["a"]})).recommend("dan")["item_id"].tolist()
    ['b']
    >>> import os, tempfile
    >>> folder = tempfile.mkdtemp()
    >>> model.recommend_all(os.path.join(folder, "lists.parquet"), N=1, show_progress=False)
    >>> model.save(os.path.join(folder, "model.rfm"))
    >>> TableModel.load(os.path.join(folder, "model.rfm")).recommend("cid")["item_id"].tolist()
    ['a']

    Items and users that nobody has met, by what describes them:

    >>> films = pd.DataFrame({"item": ["a", "b", "c"], "genre": ["fun", "war", "war"]})
    >>> people = pd.DataFrame({"user": ["ann", "bob", "cid"], "country": ["fr", "fr", "no"]})
    >>> model = TableModel.from_table(table, LinRFM(2), False, item_table=films, user_table=people)
    >>> model.add_items(pd.DataFrame({"item": ["d"], "genre": ["fun"]}))
    ['d']
    >>> model.add_users(pd.DataFrame({"user": ["eva"], "country": ["fr"]}))
    ['eva']
    >>> model.feature_weights()["feature"].tolist()
    ['genre=war']
    >>> model.check()
    """

    model: Any
    user_items: csr_matrix
    user_ids: pd.Index[Any]
    item_ids: pd.Index[Any]
    item_table: SideTable | None = None
    user_table: SideTable | None = None

    def __repr__(self) -> str:
        n_users, n_items = self.user_items.shape
        sizes = f"{n_users:,} users, {n_items:,} items, {self.user_items.nnz:,} interactions"
        return f"TableModel({self.model!r}, {sizes})"

    @classmethod
    def from_table(
        cls,
        interactions: Any,
        model: LinRFM | LinRFMRatings | None = None,
        show_progress: bool = True,
        checkpoint: str | PathLike[str] | None = None,
        item_table: Any = None,
        user_table: Any = None,
        **options: Any,
    ) -> Self:
        """Return a model that is fitted to a table; the model that is given is copied, and stays as it is.

        Parameters
        ----------
        interactions : Interactions, DataFrame, path
            A table of pandas, polars or pyarrow, or a path as :func:`~rfm_recsys.datasets.read_interactions` takes it.
            Columns are recognised by their usual names: user_id, itemId, rating, plays, timestamp and the like.
        model : LinRFM or LinRFMRatings, optional
            The parameters of the model to fit; by default ``LinRFM()``.
        show_progress : bool
            Whether to show the progress, and in one line what was read.
        checkpoint
            As in :meth:`LinRFM.fit`.
        item_table, user_table : DataFrame or path, optional
            What is known of items, and of users, one a row: genres, prices, titles, countries; see
            :class:`~rfm_recsys.datasets.FeatureEncoder` for what is made of a column. The column of ids is recognised
            by its name. Items and users without interactions are taken in, too.
        options
            Those of :func:`~rfm_recsys.datasets.read_interactions`: ``user="customer"``, ``duplicates="sum"``,
            ``ones=True``, ``sep=";"`` and so on.

        Returns
        -------
        TableModel

        Raises
        ------
        DataError
            An id that is neither an integer, a string nor a float, and all that a table is refused for.
        ParameterTypeError
            ``interactions`` or ``model`` are something else.
        """
        interactions = interactions_of(interactions, **options)
        if show_progress and interactions.summary:
            tqdm.write(interactions.summary, file=sys.stderr)
        model = LinRFM() if model is None else model
        if not isinstance(model, LinRFM | LinRFMRatings):
            raise ParameterTypeError(f"model is {shown(model)}; pass a LinRFM, as LinRFM(factors=64)")
        user_ids, item_ids = plain_ids(interactions.user_ids, "user"), plain_ids(interactions.item_ids, "item")
        user_items = interactions.to_csr()
        own = copy.copy(model)
        if isinstance(own, LinRFMRatings):
            if checkpoint is not None or item_table is not None or user_table is not None:
                raise NotSupportedError("checkpoint, item_table and user_table are for LinRFM; leave them out")
            own.fit(user_items, show_progress)
            return cls(own, user_items, user_ids, item_ids)
        item_ids, item_side = _side(item_table, item_ids, "item")
        user_ids, user_side = _side(user_table, user_ids, "user")
        user_items.resize(len(user_ids), len(item_ids))
        if show_progress:
            for what, side in (("items", item_side), ("users", user_side)):
                if side is not None:
                    tqdm.write(f"features of {what}: {side.encoder}", file=sys.stderr)
        features = {
            f"{name}_features": side.features
            for name, side in (("item", item_side), ("user", user_side))
            if side is not None
        }
        own.fit(user_items, show_progress, checkpoint=checkpoint, **features)
        return cls(own, user_items, user_ids, item_ids, item_side, user_side)

    @classmethod
    def fit(cls, *arguments: Any, **named: Any) -> Self:
        """Do as :meth:`from_table`, which is the new name."""
        warn_renamed("TableModel.fit", "TableModel.from_table")
        return cls.from_table(*arguments, **named)

    def recommend(
        self,
        users: Any = None,
        N: int = 10,
        filter_already_liked_items: bool = True,
        *,
        items: Restriction = None,
        filter_items: Restriction = None,
        unknown: Unknown = "error",
        return_std: bool = False,
        explore: str | None = None,
        explore_scale: float = 0.5,
        random_state: Any = None,
    ) -> pd.DataFrame:
        """Return the best items of each user, best first.

        Parameters
        ----------
        users : id, or list of ids, optional
            By default all users.
        N : int
            Items for each user; a user for whom fewer are left gets fewer.
        filter_already_liked_items : bool
            Whether to leave out the items that the user has in the table, whatever their values.
        items, filter_items : list of ids, or mapping from users to lists of ids, optional
            The items to choose from, and items to leave out: for all, or for each user (who is not in the mapping has
            no such rule). An item that is not in the table plays no part.
        unknown : {"error", "popular", "skip"}
            What a user gets who is not in the table: an error, the items that most users have (with nan as score), or
            nothing.
        return_std, explore, explore_scale, random_state
            As in :meth:`LinRFM.recommend`; LinRFMRatings takes ``return_std`` alone.

        Returns
        -------
        DataFrame with the columns user_id, item_id, rank (from 1) and score, and std with ``return_std``
            ``.attrs["unknown_users"]`` lists the users that are not in the table.

        Raises
        ------
        IdError
            A user that is not in the table, unless ``unknown`` says otherwise.
        NotSupportedError
            ``explore`` with LinRFMRatings.
        """
        check_choice("unknown", unknown, UNKNOWN)
        how: dict[str, Any] = {"return_std": True} if check_flag("return_std", return_std) else {}
        if explore is not None:
            self._recommender("explore")
            how |= {"explore": explore, "explore_scale": explore_scale, "random_state": random_state}
        self.check()
        if users is None:
            wanted, indices = self.user_ids, np.arange(len(self.user_ids))
        else:
            wanted, indices = _among(self.user_ids, users, "user")
        known = indices >= 0
        strangers = wanted[~known].tolist()
        if strangers and unknown == "error":
            advice = f"leave them out, or pass {option('unknown', 'popular')} or {option('unknown', 'skip')}"
            positions(self.user_ids, strangers, "user", advice)
        only, without = _rules(items, wanted), _rules(filter_items, wanted)
        rows = [
            *self._recommended(wanted, indices, N, filter_already_liked_items, only, without, how),
            *(self._popular(wanted, np.flatnonzero(~known), N, only, without) if unknown == "popular" else ()),
        ]
        places, columns, ranks, scores, std = (np.concatenate(part) for part in zip(*rows, strict=True))
        frame = pd.DataFrame(
            {"user_id": wanted[places], "item_id": self.item_ids[columns], "rank": ranks, "score": scores}
        )
        if return_std:
            frame["std"] = std
        if strangers:
            frame = frame.iloc[np.argsort(places, kind="stable")].reset_index(drop=True)
        frame.attrs["unknown_users"] = strangers
        return frame

    def recommend_for(
        self,
        history: Any,
        N: int = 10,
        filter_already_liked_items: bool = True,
        *,
        items: Any = None,
        filter_items: Any = None,
    ) -> pd.DataFrame:
        """Return the best items of a user who is not in the table, from a history; nothing is stored.

        Parameters
        ----------
        history : list of item ids, mapping from item ids to values, or table
            What the user has; a table has a column of items and perhaps one of values, under their usual names.
        N, filter_already_liked_items
            As in :meth:`recommend`.
        items, filter_items : list of ids, optional
            The items to choose from, and items to leave out.

        Returns
        -------
        DataFrame with the columns item_id, rank (from 1) and score
            ``.attrs["unknown_items"]`` lists what of the history is not in the table.

        Raises
        ------
        IdError
            No item of the history is in the table.
        DataError
            An empty history, or values that are no numbers.
        """
        self.check()
        ids, values = _history(history)
        wanted, indices = _among(self.item_ids, ids, "item")
        known = indices >= 0
        if not known.any():
            positions(self.item_ids, ids[:1], "item", "pass a history with items of the table")
        row = _row(indices[known], values[known], len(self.item_ids))
        only, without = (self._places(each) for each in (items, filter_items))
        model = self.model
        if isinstance(model, LinRFMRatings):
            model = copy.copy(model)
            at = len(model.users_.means)
            model.partial_fit_users([at], row)
            found = model.recommend(at, row, self._at_most(N), filter_already_liked_items, *_either(only, without))
        else:
            liked = filter_already_liked_items
            found = model.recommend(
                [0], row, self._at_most(N), liked, _either(only, without)[0], True, _either(only, without)[1]
            )
            found = found[0][0], found[1][0]
        columns, scores = _kept(*found)
        ranks = np.arange(1, len(columns) + 1)
        frame = pd.DataFrame({"item_id": self.item_ids[columns], "rank": ranks, "score": scores})
        frame.attrs["unknown_items"] = wanted[~known].tolist()
        return frame

    def score(self, users: Any, items: Any, return_std: bool = False) -> Any:
        """Return the scores of pairs, shape (n,): for LinRFMRatings, the predicted ratings.

        Parameters
        ----------
        users, items : id, or list of ids, shape (n,)
            A single id stands opposite every other.
        return_std : bool
            Whether to return their standard deviations too; see :meth:`LinRFM.score_std` and
            :meth:`LinRFMRatings.predict`.

        Returns
        -------
        array, shape (n,), or with ``return_std`` a tuple of two

        Raises
        ------
        IdError
            A user or an item that is not in the table.
        ParameterError
            Two lists of different lengths.
        """
        self.check()
        rows, columns = positions(self.user_ids, users, "user"), positions(self.item_ids, items, "item")
        if len(rows) != len(columns) and 1 not in (len(rows), len(columns)):
            raise ParameterError(f"there are {len(rows)} users and {len(columns)} items; pass one item for each user")
        rows, columns = np.broadcast_arrays(rows, columns)
        if isinstance(self.model, LinRFMRatings):
            return self.model.predict(rows, columns, return_std)
        scores = np.asarray(self.model.score(rows, columns[:, None])[:, 0])
        if not check_flag("return_std", return_std):
            return scores
        return scores, np.asarray(self.model.score_std(rows, self.user_items[rows], columns[:, None])[:, 0])

    def predict(self, pairs: Any) -> NDArray[Any]:
        """Return the scores of the pairs of a table, shape (n,), as a step of a scikit-learn pipeline does.

        Parameters
        ----------
        pairs : DataFrame
            A pair a row; its columns of users and items are recognised by their usual names.

        Returns
        -------
        array, shape (n,)

        Raises
        ------
        IdError
            A user or an item that is not in the table.
        """
        frame = frame_of(pairs)
        if frame is None:
            raise ParameterTypeError(
                f"pairs are a {type(pairs).__name__}; pass a DataFrame, or call score(users, items)"
            )
        columns = usual_columns(frame.columns)
        if not {"user", "item"} <= columns.keys():
            raise DataError(f"the pairs have the columns {[*frame.columns]}; call them user_id and item_id")
        scores: NDArray[Any] = self.score(frame[columns["user"]].tolist(), frame[columns["item"]].tolist())
        return scores

    def __sklearn_is_fitted__(self) -> bool:
        """Tell scikit-learn that there is nothing left to fit."""
        return True

    def __sklearn_tags__(self) -> Any:
        """Tell scikit-learn what it asks of the last step of a pipeline."""
        from sklearn.utils import Tags, TargetTags

        return Tags(estimator_type=None, target_tags=TargetTags(required=False))

    def recommend_all(
        self,
        path: str | PathLike[str],
        N: int = 10,
        filter_already_liked_items: bool = True,
        show_progress: bool = True,
    ) -> None:
        """Write what :meth:`recommend` gives for all users to a Parquet file, in chunks; whole, or not at all.

        Parameters
        ----------
        path : path
            Of the Parquet file.
        N, filter_already_liked_items
            As in :meth:`recommend`.
        show_progress : bool

        Raises
        ------
        DataError
            The ids are of several types, which a Parquet column cannot hold.
        OSError
            The file cannot be written.
        """
        with extra("tables"):
            import pyarrow as pa
            from pyarrow.parquet import ParquetWriter

        files.check_target(path)
        self.check()
        user_ids, item_ids = arrow_ids(self.user_ids), arrow_ids(self.item_ids)
        at_once = max(1, ROWS // max(1, self._at_most(N)))
        score = pa.from_numpy_dtype(self._dtype())
        schema = pa.schema({"user_id": user_ids.type, "item_id": item_ids.type, "rank": pa.int64(), "score": score})
        with (
            files.replacing(path) as partial,
            ParquetWriter(partial, schema) as writer,
            tqdm(total=len(user_ids), disable=not show_progress, desc="recommend", unit="user") as bar,
        ):
            for first in range(0, len(user_ids), at_once):
                users = np.arange(first, min(first + at_once, len(user_ids)))
                rows, items, ranks, scores, _ = self._best(users, N, filter_already_liked_items)
                columns = {
                    "user_id": user_ids.take(pa.array(rows)),
                    "item_id": item_ids.take(pa.array(items)),
                    "rank": ranks,
                    "score": scores,
                }
                writer.write_table(pa.table(columns, schema=schema))
                bar.update(len(users))

    def similar(self, item: Any, N: int = 10, min_interactions: int = 0) -> pd.DataFrame:
        """Return the items that are liked as an item is, by cosine in the AGOP's metric, without the item itself.

        Parameters
        ----------
        item : id, or list of ids
        N : int
        min_interactions : int
            Users that a similar item has at least.

        Returns
        -------
        DataFrame with the columns item_id, rank (from 1) and score; for a list of ids, to_item_id before them

        Raises
        ------
        IdError
            An item that is not in the table.
        """
        return self._similar(item, N, min_interactions, "item")

    def similar_users(self, user: Any, N: int = 10, min_interactions: int = 0) -> pd.DataFrame:
        """Return the users who like what a user likes; as :meth:`similar`, with user_id and to_user_id.

        Parameters
        ----------
        user : id, or list of ids
        N : int
        min_interactions : int
            Items that a similar user has at least.

        Returns
        -------
        DataFrame with the columns user_id, rank (from 1) and score; for a list of ids, to_user_id before them

        Raises
        ------
        IdError
            A user who is not in the table.
        """
        return self._similar(user, N, min_interactions, "user")

    def _similar(self, ids: Any, N: int, min_interactions: int, what: Literal["user", "item"]) -> pd.DataFrame:
        model = self._recommender(f"similar {what}s")
        axis = 1 if what == "item" else 0
        if self._shape()[axis] != self.user_items.shape[axis]:
            self.check()
        own = self.item_ids if what == "item" else self.user_ids
        indices = positions(own, ids, what)
        least = check_integer("min_interactions", min_interactions, 0)
        left = None
        if least > 0:
            counts = np.bincount(self.user_items.indices, minlength=len(own)) if what == "item" else np.diff(
                self.user_items.indptr
            )  # fmt: skip
            left = np.flatnonzero(counts >= least)
        rows = []
        find = model.similar_items if what == "item" else model.similar_users
        at_most = min(check_integer("N", N, 0) + 1, len(own))
        for place, index in enumerate(indices.tolist()):
            found, scores = find(index, at_most, **({} if left is None else {f"{what}s": left}))
            kept = (scores > np.finfo(scores.dtype).min) & (found != index) & (found >= 0)
            found, scores = found[kept][:N], scores[kept][:N]
            rows.append((np.full(len(found), place), found, np.arange(1, len(found) + 1), scores))
        empty = np.empty((4, 0), dtype=np.intp)
        together: Any = [np.concatenate(part) for part in zip(*rows, strict=True)] if rows else [*empty]
        places, found, ranks, scores = together
        columns = {f"{what}_id": own[found], "rank": ranks, "score": scores}
        if pd.api.types.is_list_like(ids):
            columns = {f"to_{what}_id": own[indices[places]], **columns}
        return pd.DataFrame(columns)

    def explain(self, user: Any, item: Any, N: int = 10) -> tuple[float, pd.DataFrame]:
        """Return the score of an item for a user, and how much of it each item that the user likes accounts for.

        Parameters
        ----------
        user, item : id
        N : int
            How many shares to return.

        Returns
        -------
        score : float
            Exactly the sum of the shares of all liked items in the order in which they come, and of that of the user's
            features.
        shares : DataFrame with the columns item_id and share
            The N largest shares, the largest first. ``.attrs["rest"]`` is what the others add up to, and
            ``.attrs["others"]`` how many they are. ``.attrs["from_features"]`` is how much of the score comes from
            features of the item; the rest is from who else has it. ``.attrs["from_user_features"]``, how much comes
            from those of the user, beside the items.

        Raises
        ------
        IdError
            A user or an item that is not in the table.
        NotSupportedError
            With LinRFMRatings, whose predictions are no sums over what the user has.
        """
        self.check()
        model = self._recommender("explain")
        row, column = _single(self.user_ids, user, "user"), _single(self.item_ids, item, "item")
        features = None if self.user_table is None else self.user_table.features[row]
        score, contributions, _ = model.explain(
            row, self.user_items, column, N=len(self.item_ids), user_features=features
        )
        shown_shares = contributions[: check_integer("N", N, 0)]
        liked = np.array([index for index, _ in shown_shares], dtype=np.intp)
        shares = np.array([share for _, share in shown_shares], dtype=np.float64)
        frame = pd.DataFrame({"item_id": self.item_ids[liked], "share": shares})
        frame.attrs["others"] = len(contributions) - len(shown_shares)
        frame.attrs["rest"] = float(sum(share for _, share in contributions[len(shown_shares) :]))
        frame.attrs["from_features"] = float(model.score_from_features(row, column))
        frame.attrs["from_user_features"] = score - float(sum(share for _, share in contributions))
        return score, frame

    def update(self, interactions: Any, duplicates: Duplicates = "last", **options: Any) -> Self:
        """Take further interactions in: fold in the users and items that they are of, new ones too; return the model.

        The factors of items that are known stay as they are, so that this takes moments; fit again from time to time.
        A failure leaves the model as it was.

        Parameters
        ----------
        interactions : Interactions, DataFrame, path
            As in :meth:`from_table`.
        duplicates : {"last", "sum", "error"}
            Of repeated interactions, within what is given and with what the model has: the later one counts, the values
            add up, or they are refused.
        options
            As in :meth:`from_table`.

        Returns
        -------
        TableModel
            The model itself.

        Raises
        ------
        DataError
            All that a table is refused for, and ids of another type than those of the model.
        """
        self.check()
        if isinstance(interactions, Interactions):
            new = interactions_of(interactions, **options)
        else:
            new = interactions_of(interactions, duplicates=duplicates, **options)
        user_ids, users = _extended(self.user_ids, plain_ids(new.user_ids, "user"), "user")
        item_ids, items = _extended(self.item_ids, plain_ids(new.item_ids, "item"), "item")
        rows, columns = users[new.users], items[new.items]
        shape = len(user_ids), len(item_ids)
        user_items = _merged(self.user_items, rows, columns, new.values, shape, duplicates, (user_ids, item_ids))
        model = copy.copy(self.model)
        n_users, n_items = self.user_items.shape
        changed = np.unique(rows)
        fresh_items = np.arange(n_items, shape[1])
        known = user_items[:, :n_items]
        # new users by the items that are known, new items by all users, then all users by all items
        fresh_users = np.arange(n_users, shape[0])
        item_side, user_side = (
            None if side is None else side.with_strangers(n)
            for side, n in ((self.item_table, len(fresh_items)), (self.user_table, len(fresh_users)))
        )
        if isinstance(model, LinRFM) and model.factors is None and len(fresh_items):
            raise NotSupportedError("the full form folds no new items in; fit again, or leave out their rows")
        if len(fresh_users):
            model.partial_fit_users(fresh_users, known[fresh_users], *_rows_of(user_side, fresh_users))
        if len(fresh_items):
            model.partial_fit_items(
                fresh_items, csr_matrix(user_items[:, fresh_items].T), *_rows_of(item_side, fresh_items)
            )
        if item_side is not None:  # what features have said is seen again in the light of the first interactions
            counts = np.bincount(user_items.indices, minlength=shape[1])
            few = np.unique(columns[(columns < n_items) & (counts[columns] <= FEW)])
            if len(few):
                weights = model.item_weights_[few]
                model.partial_fit_items(few, csr_matrix(user_items[:, few].T), item_side.features[few])
                model.item_weights_[few] = weights  # the new rows are weighed below, with those of all other items
        if len(changed):
            model.partial_fit_users(changed, user_items[changed], *_rows_of(user_side, changed))
        if isinstance(model, LinRFM) and hasattr(model, "item_weights_"):
            model.item_weights_ = self._observed(model, user_items, changed)
        vars(self).update(
            model=model, user_items=user_items, user_ids=user_ids, item_ids=item_ids, item_table=item_side,
            user_table=user_side,
        )  # fmt: skip
        return self

    def add_items(self, item_table: Any, **options: Any) -> list[Any]:
        """Add new items by a table that describes them; return their ids. Items that are known already are left out.

        Parameters
        ----------
        item_table : DataFrame or path
            With the columns that the features of :meth:`from_table` were made of.
        options
            ``item``, the column of ids, and how a text is written: ``sep``, ``encoding`` and so on.

        Returns
        -------
        list of ids

        Raises
        ------
        NotSupportedError
            The model was fitted without an item table.
        DataError
            A column that is missing, and all that a table is refused for.
        """
        return self._added("item", item_table, options)

    def add_users(self, user_table: Any, **options: Any) -> list[Any]:
        """Add new users by a table that describes them; see :meth:`add_items`.

        Parameters
        ----------
        user_table : DataFrame or path
            With the columns that the features of :meth:`from_table` were made of.
        options
            ``user``, the column of ids, and how a text is written.

        Returns
        -------
        list of ids

        Raises
        ------
        NotSupportedError
            The model was fitted without a user table.
        DataError
            A column that is missing, and all that a table is refused for.
        """
        return self._added("user", user_table, options)

    def _added(self, name: str, table: Any, options: dict[str, Any]) -> list[Any]:
        self.check()
        side: SideTable | None = getattr(self, f"{name}_table")
        if side is None:
            raise NotSupportedError(f"this model knows no features of {name}s; pass {name}_table to from_table() first")
        ids: pd.Index[Any] = getattr(self, f"{name}_ids")
        frame = described(table, ids, name, among=False, **options)
        frame = frame[~frame.index.isin(ids)]
        if len(frame) == 0:
            return []
        both, _ = _extended(ids, plain_ids(index_of(frame.index.tolist()), name), name)
        rows = side.encoder.encode(frame)
        model = copy.copy(self.model)
        (model.add_items if name == "item" else model.add_users)(rows)
        user_items = self.user_items.copy()
        shape = (self.user_items.shape[0], len(both)) if name == "item" else (len(both), self.user_items.shape[1])
        user_items.resize(*shape)
        vars(self).update(
            {f"{name}_ids": both, f"{name}_table": side.with_rows(rows)}, model=model, user_items=user_items
        )
        return frame.index.tolist()

    def feature_weights(self, side: Literal["item", "user"] = "item") -> pd.DataFrame:
        """Return how much each feature matters, the most important first: see :meth:`LinRFM.agop_of`.

        Parameters
        ----------
        side : {"item", "user"}

        Returns
        -------
        DataFrame with the columns feature, weight (1 in the mean) and share
            ``share``, of all: the weight times the variance of the feature, so that one that hardly any item has, or
            one in small units, is seen for what it does.

        Raises
        ------
        NotSupportedError
            The model was fitted without a table of that side.
        """
        check_choice("side", side, ("item", "user"))
        table: SideTable | None = getattr(self, f"{side}_table")
        weights = self._recommender("feature_weights").agop_of(side)
        if table is None:
            raise NotSupportedError(f"this model has no table of {side}s; pass {side}_table to from_table()")
        means = np.asarray(table.features.mean(axis=0)).ravel()
        variance = np.asarray(table.features.multiply(table.features).mean(axis=0)).ravel() - means**2
        share = weights * np.maximum(variance, 0)
        frame = pd.DataFrame({"feature": table.encoder.names, "weight": weights, "share": share / (share.sum() or 1)})
        return frame.sort_values("share", ascending=False, kind="stable", ignore_index=True)

    def _observed(self, model: LinRFM, user_items: csr_matrix, changed: NDArray[np.intp]) -> NDArray[np.float64]:
        """Return the sums of the items' confidences after the rows of some users have changed."""
        n_users, n_items = self.user_items.shape
        weights = model.item_weights_.copy()
        for rows, sign in ((user_items[changed], 1), (self.user_items[changed[changed < n_users]], -1)):
            of_rows = abs(model._confidences(check_interactions(rows, model.item_factors.dtype)))
            # new items have been weighed with all their users
            weights[:n_items] += sign * np.asarray(of_rows.sum(axis=0, dtype=np.float64)).ravel()[:n_items]
        return np.asarray(np.maximum(weights, 0))

    def with_titles(self, frame: pd.DataFrame, titles: Any, **options: Any) -> pd.DataFrame:
        """Return a table of this model with the columns of an item table beside the items.

        Parameters
        ----------
        frame : DataFrame
            What :meth:`recommend`, :meth:`similar` or the like returned.
        titles : DataFrame or path
            One item a row; a path as :func:`~rfm_recsys.datasets.read_interactions` takes it. Rows that do not fit are
            left out with a warning that counts them.
        options
            ``item``, the column of item ids, and how a text is written: ``sep``, ``encoding`` and so on.

        Returns
        -------
        DataFrame
            The frame with further columns.

        Raises
        ------
        DataError
            No item of the frame is among the titles, or the column of ids cannot be told.
        """
        table, column = titles_of(titles, self.item_ids, **options)
        places = pd.Index(table[column]).get_indexer(pd.Index(frame["item_id"]))
        added = table.drop(columns=column)
        joined = frame.reset_index(drop=True)
        for name in added.columns:
            values = added[name].to_numpy(dtype=object)
            joined[name if name not in joined.columns else f"item_{name}"] = [
                values[place] if place >= 0 else None for place in places
            ]
        joined.attrs = dict(frame.attrs)
        return joined

    def check(self) -> None:
        """Raise DataError where the model and the table do not belong together, as after a change by hand.

        Raises
        ------
        DataError
            The model has other numbers of users or items than there are ids.
        """
        shape = self._shape()
        if shape != self.user_items.shape or shape != (len(self.user_ids), len(self.item_ids)):
            raise DataError(
                f"the model has {shape[0]} users and {shape[1]} items, and the table {self.user_items.shape[0]} and "
                f"{self.user_items.shape[1]}; to take new ones in, call update() rather than change the model"
            )

    def _shape(self) -> Any:
        if isinstance(self.model, LinRFMRatings):
            self.model._require_fit()
            return len(self.model.users_.means), len(self.model.items_.means)
        return self.model._form().shape

    def _dtype(self) -> Any:
        if isinstance(self.model, LinRFMRatings):
            return np.dtype(self.model.items_.means.dtype)
        return np.dtype(self.model.item_factors.dtype)

    def _recommender(self, what: str) -> Any:
        if isinstance(self.model, LinRFMRatings):
            raise NotSupportedError(f"{what} is for LinRFM; fit the table with LinRFM() for it")
        return self.model

    def save(self, fileobj_or_path: files.PathOrFile) -> None:
        """Write all of it to exactly the path given (npz, no pickle); whole, or not at all.

        Parameters
        ----------
        fileobj_or_path : path, or file opened for writing bytes

        Raises
        ------
        DataError
            The model and the table do not belong together, so that ``load`` would refuse it.
        OSError
            The file cannot be written; one that was there stays as it is.
        """
        self.check()
        is_ratings = isinstance(self.model, LinRFMRatings)
        parameters, arrays = (ratings if is_ratings else recommender).content_of(self.model)
        if is_ratings:
            parameters["table_of"] = "LinRFMRatings"
        arrays |= {f"interactions_{part}": getattr(self.user_items, part) for part in CSR}
        for what, ids in (("user", self.user_ids), ("item", self.item_ids)):
            if _is_integer(ids):
                arrays[f"{what}_ids"] = ids.to_numpy()
            else:
                arrays[f"{what}_ids_json"] = np.frombuffer(json.dumps(ids.tolist()).encode(), dtype=np.uint8)
            side: SideTable | None = getattr(self, f"{what}_table")
            if side is not None:
                parameters[f"{what}_table"] = {"columns": side.encoder.to_json(), "width": side.features.shape[1]}
                arrays |= {f"{what}_table_{part}": getattr(side.features, part) for part in CSR}
        modelfile.save(fileobj_or_path, KIND, parameters, arrays)

    @classmethod
    def load(cls, fileobj_or_path: files.PathOrFile) -> Self:
        """Read what :meth:`save` wrote; raises ModelFileError for a file that is something else, or not whole.

        Parameters
        ----------
        fileobj_or_path : path, or file opened for reading bytes

        Returns
        -------
        TableModel

        Raises
        ------
        ModelFileError
            A file of something else, a damaged one, or one of a later version.
        """
        parameters, arrays = modelfile.load(fileobj_or_path, KIND)
        try:
            user_ids, item_ids = _loaded_ids(arrays, "user"), _loaded_ids(arrays, "item")
            parts = tuple(arrays.pop(f"interactions_{part}") for part in CSR)
            user_items = csr_matrix(parts, shape=(len(user_ids), len(item_ids)))
            user_items = check_interactions(user_items, np.dtype(np.float32), zeros=True)
            sides = [
                _loaded_side(parameters, arrays, what, len(ids))
                for what, ids in (("item", item_ids), ("user", user_ids))
            ]
            model: Any
            if parameters.pop("table_of", None) == "LinRFMRatings":
                model = ratings.model_of(LinRFMRatings, parameters, arrays)
            else:
                model = recommender.model_of(LinRFM, parameters, arrays)
            loaded = cls(model, user_items, user_ids, item_ids, *sides)
            loaded.check()
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ModelFileError(f"{fileobj_or_path} holds no {KIND} ({error}); save it again") from error
        return loaded

    def _at_most(self, N: int) -> int:
        return min(check_integer("N", N, 0), len(self.item_ids))

    def _places(self, ids: Any) -> Any:
        """Return where ids stand among the items, without those that are not there; None for None."""
        if ids is None:
            return None
        places = _among(self.item_ids, ids, "item")[1]
        return np.asarray(places[places >= 0])

    def _recommended(
        self,
        wanted: pd.Index[Any],
        indices: NDArray[np.intp],
        N: int,
        liked: bool,
        only: Any,
        without: Any,
        how: dict[str, Any],
    ) -> Iterable[tuple[NDArray[Any], ...]]:
        """Yield places in ``wanted``, item indices, ranks, scores and deviations of the users who are known."""
        places = np.flatnonzero(indices >= 0)
        groups = _groups(places, only, without)
        for group, (chosen, left_out) in groups:
            yield self._best(indices[group], N, liked, self._places(chosen), self._places(left_out), at=group, how=how)

    def _popular(
        self, wanted: pd.Index[Any], places: NDArray[np.intp], N: int, only: Any, without: Any
    ) -> Iterable[tuple[NDArray[Any], ...]]:
        """Yield what most users have, for users who are not known."""
        counts = np.bincount(self.user_items.indices[self.user_items.data > 0], minlength=len(self.item_ids))
        order = np.argsort(-counts, kind="stable")
        for group, (chosen, left_out) in _groups(places, only, without):
            kept = order if chosen is None else order[np.isin(order, self._places(chosen))]
            if left_out is not None:
                kept = kept[~np.isin(kept, self._places(left_out))]
            kept = kept[: self._at_most(N)]
            ranks = np.tile(np.arange(1, len(kept) + 1), len(group))
            scores = np.full(len(ranks), np.nan, dtype=self._dtype())
            yield np.repeat(group, len(kept)), np.tile(kept, len(group)), ranks, scores, scores

    def _best(
        self,
        users: NDArray[np.intp],
        N: int,
        filter_already_liked_items: bool,
        only: NDArray[np.intp] | None = None,
        without: NDArray[np.intp] | None = None,
        at: NDArray[np.intp] | None = None,
        how: dict[str, Any] | None = None,
    ) -> tuple[NDArray[np.intp], NDArray[np.int32], NDArray[np.intp], NDArray[Any], NDArray[Any]]:
        """Return user indices (or what ``at`` has for them), item indices, ranks, scores and deviations (or scores)."""
        check_flag("filter_already_liked_items", filter_already_liked_items)
        liked = self.user_items[users] if filter_already_liked_items or how else None
        filtered, chosen = _either(only, without)
        given = {"filter_items": filtered, "items": chosen, **(how or {})}
        found = self.model.recommend(users, liked, self._at_most(N), filter_already_liked_items, **given)
        items, scores = found[0], found[1]
        recommended = _recommended(scores)
        rows, slots = np.nonzero(recommended)
        users = users if at is None else at
        return users[rows], items[recommended], slots + 1, scores[recommended], found[-1][recommended]


def _either(
    only: NDArray[np.intp] | None, without: NDArray[np.intp] | None
) -> tuple[NDArray[np.intp] | None, NDArray[np.intp] | None]:
    """Return items to leave out and items to choose from, of which the models take one."""
    if only is None:
        return without, None
    return None, only if without is None else only[~np.isin(only, without)]


def _groups(places: NDArray[np.intp], only: Any, without: Any) -> list[tuple[NDArray[np.intp], tuple[Any, Any]]]:
    """Return places that have the same rules together."""
    if not isinstance(only, dict) and not isinstance(without, dict):
        return [(places, (only, without))]
    rules = [tuple(rule.get(place) if isinstance(rule, dict) else rule for rule in (only, without)) for place in places]
    plain: Any = [place for place, rule in zip(places, rules, strict=True) if rule == (None, None)]
    own: Any = [(np.array([place]), rule) for place, rule in zip(places, rules, strict=True) if rule != (None, None)]
    return ([(np.array(plain, dtype=np.intp), (None, None))] if plain else []) + own  # type: ignore[no-any-return]


def _rules(rule: Restriction, wanted: pd.Index[Any]) -> Any:
    """Return a rule for all, or rules by the place of the user."""
    if not isinstance(rule, Mapping):
        return rule
    return {place: [*rule[user]] for place, user in enumerate(wanted.tolist()) if user in rule}


def _among(known: pd.Index[Any], ids: Any, what: str) -> tuple[pd.Index[Any], NDArray[np.intp]]:
    """Return ids, and where they stand among the known ones: -1 for one that does not."""
    try:
        wanted = index_of(ids if pd.api.types.is_list_like(ids) else [ids])
        return wanted, known.get_indexer(wanted).astype(np.intp)
    except (TypeError, ValueError) as error:
        raise ParameterTypeError(f"{what} ids are no list of ids ({error}); pass one id, or a list of them") from error


def _history(history: Any) -> tuple[list[Any], NDArray[np.float32]]:
    frame = None if isinstance(history, Mapping | str) else frame_of(history)
    if frame is not None:
        columns = usual_columns(frame.columns)
        if "item" not in columns:
            raise DataError(f"the history has the columns {[*frame.columns]}; call that of the items item_id")
        ids = frame[columns["item"]].tolist()
        values: Any = frame[columns["value"]].tolist() if "value" in columns else [1] * len(ids)
    elif isinstance(history, Mapping):
        ids, values = [*history], [*history.values()]
    else:
        ids = [*history] if pd.api.types.is_list_like(history) else [history]
        values = [1] * len(ids)
    try:
        numbers = np.array(values, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise DataError(f"a value of the history is no number ({error}); pass numbers") from error
    if not ids or not np.isfinite(numbers).all():
        raise DataError("the history is empty, or a value is not finite; pass at least one item that the user has")
    return ids, numbers


def _row(items: NDArray[np.intp], values: NDArray[np.float32], n_items: int) -> csr_matrix:
    """Return a row of a matrix; of an item given twice the last value counts."""
    unique, last = np.unique(items[::-1], return_index=True)
    return csr_matrix((values[::-1][last], (np.zeros(len(unique), dtype=np.intp), unique)), shape=(1, n_items))


def _extended(known: pd.Index[Any], new: pd.Index[Any], what: str) -> tuple[pd.Index[Any], NDArray[np.intp]]:
    """Return the ids with new ones behind, and where the latter all stand."""
    kinds = [{type(value) for value in ids[:1000].tolist()} for ids in (known, new)]
    if len(known) and len(new) and not kinds[0] & kinds[1] and {int, float} != kinds[0] | kinds[1]:
        raise DataError(
            f"the {what} ids are of type {_kinds(kinds[1])}, and those of the model of type {_kinds(kinds[0])}; pass "
            "them in the type of the model's"
        )
    fresh = new[known.get_indexer(new) < 0]
    if len(fresh) == 0:
        return known, known.get_indexer(new).astype(np.intp)
    values = [*known.tolist(), *fresh.tolist()]
    both = plain_ids(index_of(values), what)
    return both, both.get_indexer(new).astype(np.intp)


def _kinds(kinds: set[type]) -> str:
    return ", ".join(sorted(kind.__name__ for kind in kinds))


def _merged(
    old: csr_matrix,
    rows: NDArray[np.intp],
    columns: NDArray[np.intp],
    values: NDArray[np.float32],
    shape: tuple[int, int],
    duplicates: str,
    ids: tuple[pd.Index[Any], pd.Index[Any]],
) -> csr_matrix:
    """Return a matrix with further entries, stored zeros included."""
    before = coo_matrix(old)
    all_rows, all_columns = np.r_[before.row, rows], np.r_[before.col, columns]
    all_values = np.r_[before.data, values].astype(np.float64)
    key = all_rows.astype(np.int64) * shape[1] + all_columns
    order = np.argsort(key, kind="stable")
    key, all_values = key[order], all_values[order]
    last = np.flatnonzero(np.append(key[1:] != key[:-1], True))
    if duplicates == "error" and len(last) < len(key):
        at = int(key[np.flatnonzero(key[1:] == key[:-1])[0]])
        user, item = ids[0][at // shape[1]], ids[1][at % shape[1]]
        raise DataError(f"user {user} has item {item} already; pass {option('duplicates', 'last')}")
    merged = np.add.reduceat(all_values, np.append(0, last[:-1] + 1)) if duplicates == "sum" else all_values[last]
    if not np.isfinite(merged.astype(np.float32)).all():
        raise DataError("the values of an interaction add up to more than float32 holds; scale them down")
    kept = key[last]
    return csr_matrix((merged.astype(np.float32), (kept // shape[1], kept % shape[1])), shape=shape)


def _recommended(scores: NDArray[Any]) -> NDArray[np.bool_]:
    """Return where the slots hold an item: one that is left out has the lowest finite number."""
    return np.asarray(scores > np.finfo(scores.dtype).min)


def _kept(items: NDArray[Any], scores: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    recommended = _recommended(scores)
    return items[recommended], scores[recommended]


def _single(known: pd.Index[Any], wanted: Any, what: str) -> int:
    if pd.api.types.is_list_like(wanted):
        raise ParameterTypeError(f"{what} is {wanted!r}; pass one id")
    return int(positions(known, wanted, what)[0])


def _is_integer(ids: pd.Index[Any]) -> bool:
    return isinstance(ids.dtype, np.dtype) and ids.dtype.kind in "iu"


def arrow_ids(ids: pd.Index[Any]) -> Any:
    """Return ids as Arrow holds them; raises DataError where it cannot."""
    import pyarrow as pa

    try:
        return pa.array(ids.to_numpy())
    except (pa.ArrowException, OverflowError, UnicodeError) as error:
        raise DataError(
            f"a Parquet column cannot hold these ids ({error}); fit to a table whose ids are strings of valid text, or "
            "write CSV or JSON lines"
        ) from error


def plain_ids(ids: pd.Index[Any], what: str) -> pd.Index[Any]:
    """Return ids as integers, strings and floats that a file can hold; raises DataError for any other."""
    if not ids.is_unique:
        raise DataError(f"{what} id {ids[ids.duplicated()].tolist()[0]!r} stands twice among the ids; give each once")
    if _is_integer(ids):
        return ids
    values = [value.item() if isinstance(value, np.generic) else value for value in ids.tolist()]
    for value in values:
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise DataError(
                f"{what} id {value!r} is of type {type(value).__name__}; make the ids strings, e.g. with "
                "frame[column].astype(str)"
            )
    return index_of(values)


def _rows_of(side: SideTable | None, places: NDArray[np.intp]) -> tuple[csr_matrix, ...]:
    """Return the features of some rows, as an argument where there are any."""
    return () if side is None else (side.features[places],)


def _side(table: Any, ids: pd.Index[Any], name: str) -> tuple[pd.Index[Any], SideTable | None]:
    """Return the ids with those that only a table of their side has behind, and the features of all."""
    if table is None:
        return ids, None
    frame = described(table, ids, name)
    fresh = frame.index[~frame.index.isin(ids)]
    if len(fresh):
        ids, _ = _extended(ids, plain_ids(index_of(fresh.tolist()), name), name)
    return ids, side_of(frame, ids)


def side_of(frame: pd.DataFrame, ids: pd.Index[Any]) -> SideTable:
    """Return the features of items or users, in the order of ids, by a table that describes them and perhaps others."""
    from rfm_recsys.datasets import FeatureEncoder

    encoder = FeatureEncoder.of(frame)
    return SideTable(encoder, encoder.encode(frame.reindex(ids)))


def _loaded_side(parameters: dict[str, Any], arrays: dict[str, NDArray[Any]], what: str, n: int) -> SideTable | None:
    """Take the features of a side out of a file's content."""
    content = parameters.pop(f"{what}_table", None)
    if content is None:
        return None
    from rfm_recsys.datasets import FeatureEncoder

    parts = tuple(arrays.pop(f"{what}_table_{part}") for part in CSR)
    return SideTable(FeatureEncoder.from_json(content["columns"]), csr_matrix(parts, shape=(n, int(content["width"]))))


def _loaded_ids(arrays: dict[str, NDArray[Any]], what: str) -> pd.Index[Any]:
    """Take the ids out of a file's arrays."""
    if f"{what}_ids" in arrays:
        ids = pd.Index(arrays.pop(f"{what}_ids"))
        if not _is_integer(ids):
            raise TypeError(f"{what} ids of type {ids.dtype}")
    else:
        ids = pd.Index(json.loads(arrays.pop(f"{what}_ids_json").tobytes()), dtype=object)
    return plain_ids(ids, what)
