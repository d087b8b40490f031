"""A fitted LinRFM for tables: recommendations, similar items and explanations in the ids of the caller."""

from __future__ import annotations

import json
from dataclasses import dataclass
from os import PathLike
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from tqdm.auto import tqdm

from rfm_recsys.core import files, modelfile
from rfm_recsys.core.checks import check_integer, check_interactions, shown
from rfm_recsys.core.extras import extra
from rfm_recsys.core.renamed import warn_renamed
from rfm_recsys.datasets.interactions import Interactions, positions
from rfm_recsys.datasets.reading import interactions_of
from rfm_recsys.errors import DataError, ModelFileError, ParameterTypeError
from rfm_recsys.recommender.model import LinRFM, content_of, model_of

with extra("tables"):
    import pandas as pd

KIND = "table model"
ROWS = 2**17  # of recommendations at once, which bounds the memory of recommend_all
CSR = ("data", "indices", "indptr")


@dataclass(frozen=True, eq=False, repr=False)
class TableModel:
    """A fitted LinRFM with the ids of the table that it was fitted to, and the table's interactions.

    Attributes
    ----------
    model : LinRFM
    user_items : csr_matrix, shape (users, items)
        The interactions: what is filtered, and what an explanation refers to.
    user_ids, item_ids : pandas Index, shape (users,) and (items,)
        Integers, strings, floats, or a mixture of these.
    """

    model: LinRFM
    user_items: csr_matrix
    user_ids: pd.Index[Any]
    item_ids: pd.Index[Any]

    def __repr__(self) -> str:
        n_users, n_items = self.user_items.shape
        sizes = f"{n_users:,} users, {n_items:,} items, {self.user_items.nnz:,} interactions"
        return f"TableModel({self.model!r}, {sizes})"

    @classmethod
    def from_table(
        cls,
        interactions: Interactions | pd.DataFrame | str | PathLike[str],
        model: LinRFM | None = None,
        show_progress: bool = True,
        checkpoint: str | PathLike[str] | None = None,
    ) -> Self:
        """Return a model that is fitted to a table.

        Parameters
        ----------
        interactions : Interactions, DataFrame, or path of a CSV or Parquet file
            Columns are recognised by their usual names: user_id, itemId, rating, timestamp and the like. Where they
            have others, pass what :func:`~rfm_recsys.datasets.from_frame` or
            :func:`~rfm_recsys.datasets.read_interactions` makes of them.
        model : LinRFM, optional
            The model to fit; by default ``LinRFM()``.
        show_progress, checkpoint
            As in :meth:`LinRFM.fit`.

        Raises
        ------
        DataError
            An id that is neither an integer, a string nor a float, and all that a table is refused for.
        ParameterTypeError
            ``interactions`` or ``model`` are something else.
        """
        interactions = interactions_of(interactions)
        model = LinRFM() if model is None else model
        if not isinstance(model, LinRFM):
            raise ParameterTypeError(f"model is {shown(model)}; pass a LinRFM, as LinRFM(factors=64)")
        user_ids, item_ids = plain_ids(interactions.user_ids, "user"), plain_ids(interactions.item_ids, "item")
        user_items = interactions.to_csr()
        model.fit(user_items, show_progress, checkpoint=checkpoint)
        return cls(model, user_items, user_ids, item_ids)

    @classmethod
    def fit(cls, *arguments: Any, **named: Any) -> Self:
        """Do as :meth:`from_table`, which is the new name."""
        warn_renamed("TableModel.fit", "TableModel.from_table")
        return cls.from_table(*arguments, **named)

    def recommend(self, users: Any = None, N: int = 10, filter_already_liked_items: bool = True) -> pd.DataFrame:
        """Return the best items of each user, best first.

        Parameters
        ----------
        users : id, or list of ids, optional
            By default all users.
        N : int
            Items for each user; a user for whom fewer are left gets fewer.
        filter_already_liked_items : bool
            Whether to leave out the items that the user has in the table.

        Returns
        -------
        DataFrame with the columns user_id, item_id, rank (from 1) and score

        Raises
        ------
        IdError
            A user that is not in the table.
        """
        indices = np.arange(len(self.user_ids)) if users is None else positions(self.user_ids, users, "user")
        rows, items, ranks, scores = self._best(indices, N, filter_already_liked_items)
        return pd.DataFrame(
            {"user_id": self.user_ids[rows], "item_id": self.item_ids[items], "rank": ranks, "score": scores}
        )

    def recommend_all(
        self,
        path: str | PathLike[str],
        N: int = 10,
        filter_already_liked_items: bool = True,
        show_progress: bool = True,
    ) -> None:
        """Write what :meth:`recommend` gives for all users to a Parquet file, in chunks; whole, or not at all.

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
        try:
            user_ids, item_ids = pa.array(self.user_ids.to_numpy()), pa.array(self.item_ids.to_numpy())
        except pa.ArrowException as error:
            raise DataError(
                f"a Parquet column cannot hold ids of several types ({error}); fit to a table whose ids are all strings"
            ) from error
        at_once = max(1, ROWS // max(1, self._at_most(N)))
        score = pa.from_numpy_dtype(self.model.item_factors.dtype)
        schema = pa.schema({"user_id": user_ids.type, "item_id": item_ids.type, "rank": pa.int64(), "score": score})
        with (
            files.replacing(path) as partial,
            ParquetWriter(partial, schema) as writer,
            tqdm(total=len(user_ids), disable=not show_progress, desc="recommend", unit="user") as bar,
        ):
            for first in range(0, len(user_ids), at_once):
                users = np.arange(first, min(first + at_once, len(user_ids)))
                rows, items, ranks, scores = self._best(users, N, filter_already_liked_items)
                columns = {
                    "user_id": user_ids.take(pa.array(rows)),
                    "item_id": item_ids.take(pa.array(items)),
                    "rank": ranks,
                    "score": scores,
                }
                writer.write_table(pa.table(columns, schema=schema))
                bar.update(len(users))

    def similar(self, item: Any, N: int = 10) -> pd.DataFrame:
        """Return the items with the most similar factors, by cosine, without the item itself.

        Returns
        -------
        DataFrame with the columns item_id, rank (from 1) and score

        Raises
        ------
        IdError
            An item that is not in the table.
        """
        index = _single(self.item_ids, item, "item")
        items, scores = self.model.similar_items(index, self._at_most(N), filter_items=[index])
        recommended = _recommended(scores)
        ranks = np.arange(1, np.count_nonzero(recommended) + 1)
        return pd.DataFrame({"item_id": self.item_ids[items[recommended]], "rank": ranks, "score": scores[recommended]})

    def explain(self, user: Any, item: Any, N: int = 10) -> tuple[float, pd.DataFrame]:
        """Return the score of an item for a user, and how much of it each item that the user likes accounts for.

        Returns
        -------
        score : float
            Exactly the sum of the shares of all liked items in the order in which they come.
        shares : DataFrame with the columns item_id and share
            The N largest shares, the largest first.

        Raises
        ------
        IdError
            A user or an item that is not in the table.
        """
        row, column = _single(self.user_ids, user, "user"), _single(self.item_ids, item, "item")
        score, contributions, _ = self.model.explain(row, self.user_items, column, N=N)
        liked = np.array([index for index, _ in contributions], dtype=np.intp)
        shares = np.array([share for _, share in contributions], dtype=np.float64)
        return score, pd.DataFrame({"item_id": self.item_ids[liked], "share": shares})

    def save(self, fileobj_or_path: files.PathOrFile) -> None:
        """Write all of it to exactly the path given (npz, no pickle); whole, or not at all."""
        parameters, arrays = content_of(self.model)
        arrays |= {f"interactions_{part}": getattr(self.user_items, part) for part in CSR}
        for what, ids in (("user", self.user_ids), ("item", self.item_ids)):
            if _is_integer(ids):
                arrays[f"{what}_ids"] = ids.to_numpy()
            else:
                arrays[f"{what}_ids_json"] = np.frombuffer(json.dumps(ids.tolist()).encode(), dtype=np.uint8)
        modelfile.save(fileobj_or_path, KIND, parameters, arrays)

    @classmethod
    def load(cls, fileobj_or_path: files.PathOrFile) -> Self:
        """Read what :meth:`save` wrote; raises ModelFileError for a file that is something else, or not whole."""
        parameters, arrays = modelfile.load(fileobj_or_path, KIND)
        try:
            user_ids, item_ids = _loaded_ids(arrays, "user"), _loaded_ids(arrays, "item")
            parts = tuple(arrays.pop(f"interactions_{part}") for part in CSR)
            user_items = csr_matrix(parts, shape=(len(user_ids), len(item_ids)))
            user_items = check_interactions(user_items, np.dtype(np.float32))
            model = model_of(LinRFM, parameters, arrays)
            shape = model.user_factors.shape[0], model.item_factors.shape[0]
            if shape != user_items.shape:
                raise ValueError(f"factors for {shape} and ids for {user_items.shape} users and items")
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ModelFileError(f"{fileobj_or_path} holds no {KIND} ({error}); save it again") from error
        return cls(model, user_items, user_ids, item_ids)

    def _at_most(self, N: int) -> int:
        return min(check_integer("N", N, 0), len(self.item_ids))

    def _best(
        self, users: NDArray[np.intp], N: int, filter_already_liked_items: bool
    ) -> tuple[NDArray[np.intp], NDArray[np.int32], NDArray[np.intp], NDArray[Any]]:
        """Return user indices, item indices, ranks and scores, one of each for every recommendation."""
        liked = self.user_items[users] if filter_already_liked_items else None
        items, scores = self.model.recommend(users, liked, self._at_most(N), filter_already_liked_items)
        recommended = _recommended(scores)
        rows, slots = np.nonzero(recommended)
        return users[rows], items[recommended], slots + 1, scores[recommended]


def _recommended(scores: NDArray[Any]) -> NDArray[np.bool_]:
    """Return where the slots hold an item: one that is left out has the lowest finite number."""
    return np.asarray(scores > np.finfo(scores.dtype).min)


def _single(known: pd.Index[Any], wanted: Any, what: str) -> int:
    if pd.api.types.is_list_like(wanted):
        raise ParameterTypeError(f"{what} is {wanted!r}; pass one id")
    return int(positions(known, wanted, what)[0])


def _is_integer(ids: pd.Index[Any]) -> bool:
    return isinstance(ids.dtype, np.dtype) and ids.dtype.kind in "iu"


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
    plain: pd.Index[Any] = pd.Index(values, dtype=object if len({type(value) for value in values}) > 1 else None)
    return plain


def _loaded_ids(arrays: dict[str, NDArray[Any]], what: str) -> pd.Index[Any]:
    """Take the ids out of a file's arrays."""
    if f"{what}_ids" in arrays:
        ids = pd.Index(arrays.pop(f"{what}_ids"))
        if not _is_integer(ids):
            raise TypeError(f"{what} ids of type {ids.dtype}")
    else:
        ids = pd.Index(json.loads(arrays.pop(f"{what}_ids_json").tobytes()), dtype=object)
    return plain_ids(ids, what)
