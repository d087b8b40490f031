"""Users on disk, one Parquet file a block: written by a fit on a cluster, read to recommend to all of them."""

import copy
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute
from distributed import Client
from pyarrow import parquet
from scipy.sparse import csr_matrix, vstack

from rfm_recsys.core import files
from rfm_recsys.core.arrays import Floats, csr_arrays
from rfm_recsys.core.checks import check_flag, check_integer
from rfm_recsys.core.files import check_folder, filling
from rfm_recsys.distributed.blocks import Passes, clear_errors, clear_writing
from rfm_recsys.distributed.layout import Block, taken
from rfm_recsys.distributed.plan import workers_of
from rfm_recsys.errors import DataError
from rfm_recsys.recommender.forms import fill_unknown
from rfm_recsys.recommender.model import LinRFM
from rfm_recsys.recommender.values import user_levels
from rfm_recsys.tables import TableModel, arrow_ids, plain_ids

ROWS = 2**17  # users of a row group
FILES = "block-*.parquet"


def file_of(folder: Path, block: int) -> Path:
    """Return the file of a block."""
    return folder / f"block-{block:05d}.parquet"


# What runs on the workers.


def write_users(
    laid: Block | Callable[[], Block], first_row: int | None, path: Path, U: Floats, mean_user: Floats
) -> int:
    """Write a block's users, see :func:`fit`; return the bytes of the file.

    ``first_row`` is the number of the first, where the users have no ids but those of rows.
    """
    ids, interactions = taken(laid)
    if first_row is not None:
        ids = pd.RangeIndex(first_row, first_row + len(ids))
    indptr, indices, values = csr_arrays(interactions)
    lists = {"items": indices} | ({} if (values == 1).all() else {"values": values})
    U = U.copy()
    fill_unknown(U, mean_user)
    user_ids = arrow_ids(plain_ids(ids, "user"))
    factor = pa.from_numpy_dtype(U.dtype)
    names = {"user_id": user_ids.type, "factors": pa.list_(factor, U.shape[1])}
    names |= {name: pa.large_list(pa.from_numpy_dtype(each.dtype)) for name, each in lists.items()}
    schema = pa.schema(names)
    with (
        clear_writing(path),
        files.replacing(path) as partial,
        parquet.ParquetWriter(partial, schema) as writer,
    ):
        for first in range(0, len(ids), ROWS):
            last = min(first + ROWS, len(ids))
            ends = indptr[first : last + 1].astype(np.int64)
            columns = [
                user_ids.slice(first, last - first),
                pa.FixedSizeListArray.from_arrays(pa.array(U[first:last].reshape(-1)), U.shape[1]),
            ]
            offsets = pa.array(ends - ends[0])
            columns += [
                pa.LargeListArray.from_arrays(offsets, pa.array(each[ends[0] : ends[-1]])) for each in lists.values()
            ]
            writer.write_table(pa.Table.from_arrays(columns, schema=schema))
    return path.stat().st_size


def read_users(
    path: Path, n_items: int, factors: int, wanted: list[Any] | None = None
) -> tuple["pd.Index[Any]", Floats, csr_matrix]:
    """Return ids, factors, shape (users, factors), and values of a block's users; DataError for any other file.

    Of the ``wanted`` ones alone, where they are given, and without the values where they are not.
    """
    try:
        schema = parquet.read_schema(path)
        some = (
            None if wanted is None else pa.compute.field("user_id").isin(_of_kind(wanted, schema.field("user_id").type))
        )
        names = [
            "user_id",
            "factors",
            "items",
            *(["values"] if "values" in schema.names and wanted is not None else []),
        ]
        table = parquet.read_table(path, columns=names, filters=some, use_threads=False).combine_chunks()
        if table.num_rows == 0:
            if wanted is not None:
                no_users = np.empty((0, factors), dtype=np.float32), csr_matrix((0, n_items), dtype=np.float32)
                return pd.Index([]), *no_users
            raise ValueError("it has no users")
        factor_lists, items = table.column(1).chunk(0), table.column(2).chunk(0)
        U = factor_lists.flatten().to_numpy().reshape(table.num_rows, -1)
        indptr, indices = np.asarray(items.offsets), np.asarray(items.flatten())
        values = np.asarray(table.column(3).chunk(0).flatten()) if len(names) == 4 else np.ones(len(indices), U.dtype)
        matrix = csr_matrix((values, indices, indptr - indptr[0]), shape=(table.num_rows, n_items))
        if U.shape[1] != factors:
            raise ValueError(f"it has {U.shape[1]} factors, and the model {factors}")
        matrix.check_format(full_check=True)
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:
        raise DataError(
            f"{path} is no file of users of this model: {error}; pass the folder that this model's fit has written"
        ) from error
    return table.column(0).to_pandas().pipe(pd.Index), U, matrix


def _of_kind(ids: list[Any], kind: "pa.DataType") -> "pa.Array":
    """Return those of the ids that a column of this type can hold."""
    texts = pa.types.is_string(kind) or pa.types.is_large_string(kind)
    some = [each for each in ids if isinstance(each, str) == texts]
    if pa.types.is_integer(kind):
        limit = 2**63
        some = [int(each) for each in some if float(each).is_integer() and -limit <= each < limit]
    return pa.array(some, kind)


def recommend_block(
    users: Path,
    path: Path,
    item_factors: Floats,
    item_ids: "pd.Index[Any]",
    parameters: dict[str, Any],
    options: dict[str, Any],
) -> int:
    """Write the recommendations for the users of a file to another; return the bytes of that."""
    ids, U, user_items = read_users(users, *item_factors.shape)
    model = LinRFM(**{**parameters, "num_threads": 1})
    model.item_factors, model.user_factors = item_factors, U
    table = TableModel(model, user_items, ids, item_ids)
    with clear_writing(path):
        table.recommend_all(path, **options, show_progress=False)
    return path.stat().st_size


def files_of(folder: str | os.PathLike[str]) -> Sequence[Path]:
    """Return the files of users in a folder; raises DataError where there are none."""
    path = Path(os.fspath(folder)).absolute()
    files = sorted(path.glob(FILES))
    if not files:
        raise DataError(f"{path} has no files of users; pass the folder that fit(users=...) has written")
    return files


def with_users(table: TableModel, users: str | os.PathLike[str], ids: Any) -> TableModel:
    """Return the model that :func:`fit` made with some of its users, to recommend to and explain; needs no cluster.

    Parameters
    ----------
    table : TableModel
        What :func:`fit` returned.
    users : path
        The folder that it wrote.
    ids : id, or list of ids
        Those that are not in the folder are left out: ``recommend(..., unknown=...)`` says what they get.

    Returns
    -------
    TableModel

    Raises
    ------
    DataError
        ``users`` does not hold the users of this model.

    Examples
    --------
    >>> import os, tempfile
    >>> from distributed import Client
    >>> from rfm_recsys import LinRFM
    >>> from rfm_recsys.datasets import synthetic_movielens
    >>> from rfm_recsys.distributed import fit, with_users
    >>> folder = tempfile.mkdtemp()
    >>> path, users = os.path.join(folder, "plays.parquet"), os.path.join(folder, "users")
    >>> synthetic_movielens(60, 40, 900).to_frame().to_parquet(path)
    >>> with Client(n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None) as client:
    ...     model = fit(path, client, LinRFM(4), users=users, show_progress=False)
    >>> len(with_users(model, users, [17]).recommend(17, N=5))
    5
    """
    wanted = [*ids] if pd.api.types.is_list_like(ids) else [ids]
    n_items, factors = table.model.item_factors.shape
    found = []
    for file in files_of(users):
        part = read_users(file, n_items, factors, wanted)
        if len(part[0]):
            found.append(part)
    if not found:
        return TableModel(table.model, table.user_items, table.user_ids, table.item_ids, table.item_table)
    ids_found, U, parts = zip(*found, strict=True)
    model, rows = copy.copy(table.model), csr_matrix(vstack(parts))
    vars(model).update(user_factors=np.concatenate(U), user_levels_=user_levels(rows))
    user_ids = ids_found[0].append(list(ids_found[1:]))
    return TableModel(model, rows, plain_ids(user_ids, "user"), table.item_ids, table.item_table)


def recommend_all(
    table: TableModel,
    users: str | os.PathLike[str],
    output: str | os.PathLike[str],
    client: Client,
    N: int = 10,
    filter_already_liked_items: bool = True,
    show_progress: bool = True,
    *,
    overwrite: bool = False,
) -> None:
    """Write the best items of all users of a fit to Parquet files, one a block, in a folder that is whole or not there.

    A worker holds one block at a time: user_id, item_id, rank (from 1) and score, as :meth:`TableModel.recommend_all`.

    Parameters
    ----------
    table : TableModel
        What :func:`fit` returned.
    users : path
        The folder that it wrote.
    output : path
        Folder to make. All workers have to see both.
    client, N, filter_already_liked_items, show_progress
        As in :func:`fit` and :meth:`TableModel.recommend`.
    overwrite : bool
        Whether ``output`` may be there already: it is replaced when the new one is whole.

    Raises
    ------
    DataError
        ``users`` does not hold the users of this model.
    OSError
        A file cannot be written.

    Examples
    --------
    >>> import os, tempfile
    >>> from distributed import Client
    >>> from rfm_recsys import LinRFM
    >>> from rfm_recsys.datasets import synthetic_movielens
    >>> from rfm_recsys.distributed import fit, recommend_all
    >>> folder = tempfile.mkdtemp()
    >>> path, users = os.path.join(folder, "plays.parquet"), os.path.join(folder, "users")
    >>> synthetic_movielens(60, 40, 900).to_frame().to_parquet(path)
    >>> with Client(n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None) as client:
    ...     model = fit(path, client, LinRFM(4), users=users, show_progress=False)
    ...     recommend_all(model, users, os.path.join(folder, "lists"), client, show_progress=False)
    >>> len(os.listdir(os.path.join(folder, "lists"))) > 0
    True
    """
    folder = check_folder(output, check_flag("overwrite", overwrite), FILES)
    files = files_of(users)
    check_integer("N", N, 0)
    filter_already_liked_items = check_flag("filter_already_liked_items", filter_already_liked_items)
    show_progress = check_flag("show_progress", show_progress)
    workers_of(client)
    passes = Passes(client, show_progress)
    options = {"N": N, "filter_already_liked_items": filter_already_liked_items}
    common = (table.model.item_factors, table.item_ids, table.model.get_params(), options)
    with clear_errors(None), passes.reporting(), filling(folder) as partial:
        passes.expect(1)
        paths = [file_of(partial, block) for block in range(len(files))]
        client.gather(passes.each("recommend", 1, recommend_block, files, paths, common=common))
