"""Tables of interactions into blocks of users: three passes over their parts, which never come to one place.

The first finds the ids of the items, how many interactions the users of each bucket have, and about how many users
there are; the second sends every interaction to the block of its user; the third makes a matrix of each block. The
parts are the partitions of a Dask DataFrame, or row groups of Parquet files.
"""

import os
import pickle
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import unquote

import numpy as np
import pandas as pd
import pyarrow as pa
from dask.delayed import delayed
from distributed import Client, Future
from fsspec.core import url_to_fs
from numpy.typing import NDArray
from pyarrow.parquet import ParquetFile
from scipy.sparse import csr_matrix

from rfm_recsys.core.checks import check_interactions, without_zeros
from rfm_recsys.datasets.interactions import Duplicates, check_columns, from_frame, usual_columns
from rfm_recsys.distributed.blocks import Passes, clear_writing
from rfm_recsys.distributed.plan import BUCKETS
from rfm_recsys.errors import DataError
from rfm_recsys.recommender.values import weights

PARQUET = (".parquet", ".pq", ".parq")
PART_ROWS = 2**21  # of row groups that are read together
TOGETHER = 16  # summaries of parts that are put together at a time
SMALLEST = 1024  # hashes of users that are kept, whose spread tells how many users there are, to some 3%
BUCKET_SHIFT = np.uint64(64 - (BUCKETS - 1).bit_length())

Roles: TypeAlias = dict[str, str]  # columns by user, item, value and timestamp
Part: TypeAlias = "pd.DataFrame | Callable[[], pd.DataFrame]"  # or what reads it
Block: TypeAlias = tuple["pd.Index[Any]", csr_matrix]  # user ids, and their interactions


@dataclass(frozen=True)
class Table:
    """A table in parts.

    Attributes
    ----------
    parts : list of (name, Delayed of a DataFrame, or function that reads one)
        What a task reads itself does not travel to it: Dask's scheduler may run the next task on another worker.
    roles : dict
        The columns by what they are: user, item, value, timestamp.
    """

    parts: list[tuple[str, Any]]
    roles: Roles


@dataclass(frozen=True)
class Summary:
    """What the first pass finds: ids of items, interactions in each bucket of users, and the users' least hashes.

    ``user_bytes`` are those of all user ids, each as often as it stands in the table.
    """

    items: "pd.Series[Any]"
    buckets: NDArray[np.int64]
    smallest: NDArray[np.uint64]
    user_bytes: int

    @property
    def n_users(self) -> int:
        """The number of users: exact for few, to some per cent for many."""
        if len(self.smallest) < SMALLEST:
            return len(self.smallest)
        return int((SMALLEST - 1) / (float(self.smallest[-1]) / 2**64))


def frame_table(frame: Any, named: dict[str, str | None]) -> Table:
    """Take the partitions of a Dask DataFrame; raises DataError for one without the columns."""
    roles = _roles([*frame.columns], named, "the DataFrame")
    parts = frame[list(dict.fromkeys(roles.values()))].to_delayed()
    return Table([(f"partition {k}", part) for k, part in enumerate(parts)], roles)


def parquet_table(client: Client, path: str | os.PathLike[str], named: dict[str, str | None]) -> Table:
    """Find the row groups of a Parquet file, or of all files in a folder, here or wherever fsspec reaches.

    Raises
    ------
    DataError
        There is no such file, one is broken, or has not the columns that the first has.
    """
    try:
        files, root = url_to_fs(os.fspath(path))
        names = [root] if files.isfile(root) else sorted(name for name in files.find(root) if _is_shown(name, root))
    except (ImportError, ValueError) as error:  # of a protocol that nobody has heard of, or that needs another package
        raise DataError(f"{path} cannot be read: {error}") from error
    if not names:
        raise DataError(f"there is no Parquet file {path}, nor one in it; pass a file or a folder of .parquet files")
    keys = [f"row-groups-{os.urandom(4).hex()}-{k}" for k in range(len(names))]
    partitions = {name: hive_partition(name, root) for name in names}
    found = client.gather(client.map(_row_groups, names, filesystem=files, key=keys))
    added = partition_fields([*partitions.values()])
    found = [(_with_fields(own, added), sizes) for own, sizes in found]
    roles = _roles(found[0][0].names, named, names[0])
    columns = list(dict.fromkeys(roles.values()))
    schema = pa.schema([found[0][0].field(column) for column in columns])
    runs: list[list[tuple[str, list[int]]]] = []
    rows = 0
    for name, (own, sizes) in zip(names, found, strict=True):
        if missing := sorted(set(columns) - set(own.names)):
            raise DataError(f"{name} has no column {missing[0]!r}, as {names[0]} has; write all files alike")
        for group, size in enumerate(sizes):
            if size == 0:
                continue
            if not runs or rows + size > PART_ROWS:
                runs.append([])
                rows = 0
            if not (runs[-1] and runs[-1][-1][0] == name):
                runs[-1].append((name, []))
            runs[-1][-1][1].append(group)
            rows += size
    if not runs:
        raise DataError(f"{path} has no rows; pass at least one interaction")
    parts = [
        (run[0][0], partial(_read, run, files, schema, {name: partitions[name] for name, _ in run})) for run in runs
    ]
    return Table([*parts], roles)


def _is_shown(name: str, root: str) -> bool:
    """Whether a file is one of the table's: not one that Spark and the like leave beside it."""
    return name.endswith(PARQUET) and not any(part.startswith((".", "_")) for part in name[len(root) :].split("/"))


def hive_partition(name: str, root: str) -> dict[str, str]:
    """Return what the folders between a table and a file of it say, as Hive writes it: ``rating=5``."""
    folders = [part.partition("=") for part in name[len(root) :].split("/")[:-1] if "=" in part]
    return {column: unquote(value) for column, _, value in folders}


def partition_fields(partitions: list[dict[str, str]]) -> list["pa.Field"]:
    """Return the columns that all files have by their folders: integers where all are written as such."""
    shared = [column for column in partitions[0] if all(column in each for each in partitions)]
    texts = {column: [each[column] for each in partitions] for column in shared}
    whole = {column: all(re.fullmatch(r"-?[0-9]{1,18}", text) for text in texts[column]) for column in shared}
    return [pa.field(column, pa.int64() if whole[column] else pa.string()) for column in shared]


def _with_fields(schema: pa.Schema, fields: list["pa.Field"]) -> pa.Schema:
    for field in fields:
        if field.name not in schema.names:
            schema = schema.append(field)
    return schema


def _roles(columns: list[str], named: dict[str, str | None], where: str) -> Roles:
    roles = usual_columns(columns) | {role: name for role, name in named.items() if name}
    if not {"user", "item"} <= roles.keys():
        raise DataError(
            f"{where} has the columns {columns}; name those of the users and items (user=, item=), or rename them to "
            "user_id and item_id"
        )
    for column in roles.values():
        if columns.count(column) != 1:
            raise DataError(
                f"column {column!r} stands {columns.count(column)} times in {where}, which has {columns}; name one "
                "that stands once"
            )
    return roles


def summarize(passes: Passes, table: Table, work: float) -> Summary:
    """Run the first pass."""
    n = len(table.parts)
    columns = {role: table.roles[role] for role in ("user", "item")}
    level = [
        passes.later("read ids", work, k, n, _summary, name, part, columns)
        for k, (name, part) in enumerate(table.parts)
    ]
    while len(level) > 1:
        level = [delayed(_together, pure=False)(level[k : k + TOGETHER]) for k in range(0, len(level), TOGETHER)]
    summary: Summary = passes.client.compute(level[0]).result()
    return summary


def lay_out(
    passes: Passes,
    table: Table,
    item_ids: "pd.Index[Any]",
    block_of: NDArray[np.intp],
    duplicates: Duplicates,
    dtype: np.dtype[Any],
    work: float,
) -> list[Future]:
    """Run the second and the third pass; return every :data:`Block`, as a future."""
    n_blocks, n = int(block_of.max()) + 1, len(table.parts)
    ids, blocks_of_users = passes.sent("item ids", item_ids), passes.sent("blocks of users", block_of)
    pieces = [
        passes.later("send to blocks", work / 2, k, n, _pieces, name, part, table.roles, ids, blocks_of_users)
        for k, (name, part) in enumerate(table.parts)
    ]
    blocks = []
    for block in range(n_blocks):
        own = [delayed(_piece, pure=False)(piece, block) for piece in pieces]
        roles = [role for role in ("value", "timestamp") if role in table.roles]
        arguments = (own, roles, ids, duplicates, dtype)
        blocks.append(passes.later("make blocks", work / 2, block, n_blocks, _block, *arguments))
    futures: list[Future] = passes.client.compute(blocks)
    return futures


def keep(passes: Passes, laid: list[Future], folder: Path) -> list[Callable[[], Block]]:
    """Write the blocks to files, and return what reads each: a lost worker's are read again, and not the table."""
    paths = [folder / f"block-{block:05d}" for block in range(len(laid))]
    passes.client.gather(passes.each("keep blocks", 0, _keep, laid, paths))
    return [partial(_kept, path) for path in paths]


def taken(block: Block | Callable[[], Block]) -> Block:
    """Return a block, which is at hand or to be read."""
    return block() if callable(block) else block


def weights_of(values: str, block: Block | Callable[[], Block]) -> csr_matrix:
    """Return the weights of a block's interactions, for a model's ``values``."""
    return weights(without_zeros(taken(block)[1]), values)


# What runs on the workers.


def _keep(block: Block, path: Path) -> None:
    with clear_writing(path), path.open("wb") as file:
        pickle.dump(block, file, protocol=pickle.HIGHEST_PROTOCOL)


def _kept(path: Path) -> Block:
    with path.open("rb") as file:
        block: Block = pickle.load(file)
    return block


def _row_groups(name: str, filesystem: Any) -> tuple[pa.Schema, list[int]]:
    """Return the columns of a file and the rows of its row groups."""
    try:
        with filesystem.open(name, "rb") as file:
            parquet = ParquetFile(file)
            metadata = parquet.metadata
            return parquet.schema_arrow, [metadata.row_group(k).num_rows for k in range(metadata.num_row_groups)]
    except (pa.ArrowException, OSError, ValueError) as error:
        raise _broken(name, error) from error


def _read(
    pieces: list[tuple[str, list[int]]], filesystem: Any, schema: pa.Schema, partitions: dict[str, dict[str, str]]
) -> pd.DataFrame:
    tables = []
    for name, groups in pieces:
        try:
            with filesystem.open(name, "rb") as file:
                parquet = ParquetFile(file)
                table = parquet.read_row_groups(groups, columns=schema.names, use_threads=False)
                for column in set(schema.names) - set(parquet.schema_arrow.names):
                    table = table.append_column(column, pa.array([partitions[name][column]] * len(table), pa.string()))
                before = sum(parquet.metadata.row_group(k).num_rows for k in range(groups[0]))
            table = table.select(schema.names).cast(schema)
        except (pa.ArrowException, OSError, ValueError) as error:
            raise _broken(name, error) from error
        for column in schema.names:
            if table.column(column).null_count:
                row = before + int(np.flatnonzero(table.column(column).is_null())[0]) + 1
                raise DataError(f"{name}, row {row} has no value in column {column!r}; correct or remove the row")
        tables.append(table)
    frame: pd.DataFrame = pa.concat_tables(tables).to_pandas(use_threads=False)
    return frame


def _broken(name: str, error: Exception) -> DataError:
    return DataError(f"{name} cannot be read: {error}; write or copy the file again")


def _checked(name: str, part: Part, roles: Roles) -> pd.DataFrame:
    """Return the part with ids as they are, not as categories; raises DataError, with its name, for a bad row."""
    frame = part() if callable(part) else part
    try:
        check_columns(frame, **roles)
    except DataError as error:
        raise DataError(f"{name}: {error}") from error
    for column in (roles["user"], roles["item"]):
        if isinstance(frame[column].dtype, pd.CategoricalDtype):
            frame = frame.assign(**{column: frame[column].astype(frame[column].cat.categories.dtype)})
    return frame


def _hashes(users: "pd.Series[Any]") -> NDArray[np.uint64]:
    return np.asarray(pd.util.hash_pandas_object(users, index=False), dtype=np.uint64)


def _buckets(hashes: NDArray[np.uint64]) -> NDArray[np.intp]:
    return (hashes >> BUCKET_SHIFT).astype(np.intp)


def _summary(name: str, part: Part, roles: Roles) -> Summary:
    frame = _checked(name, part, roles)
    hashes = _hashes(frame[roles["user"]])
    smallest = np.sort(pd.unique(hashes))[:SMALLEST]
    items = frame[roles["item"]].drop_duplicates().reset_index(drop=True)
    user_bytes = int(frame[roles["user"]].memory_usage(index=False, deep=True))
    return Summary(items, np.bincount(_buckets(hashes), minlength=BUCKETS), smallest, user_bytes)


def _together(summaries: list[Summary]) -> Summary:
    items = pd.concat([summary.items for summary in summaries], ignore_index=True).drop_duplicates(ignore_index=True)
    smallest = np.unique(np.concatenate([summary.smallest for summary in summaries]))[:SMALLEST]
    buckets = np.sum([summary.buckets for summary in summaries], axis=0)
    return Summary(items, buckets, smallest, sum(summary.user_bytes for summary in summaries))


def _pieces(
    name: str,
    part: Part,
    roles: Roles,
    item_ids: "pd.Index[Any]",
    block_of: NDArray[np.intp],
) -> list[pd.DataFrame]:
    """Return the part's interactions of each block, with item numbers in place of ids."""
    frame = _checked(name, part, roles)
    numbers = item_ids.get_indexer(pd.Index(frame[roles["item"]])).astype(np.int32)
    if (numbers < 0).any():
        raise DataError(f"{name} has other items than when it was read before; pass a table that stays as it is")
    columns = {role: frame[column] for role, column in roles.items() if role != "item"}
    laid = pd.DataFrame(columns | {"item": numbers}).reset_index(drop=True)
    blocks = block_of[_buckets(_hashes(frame[roles["user"]]))]
    order = np.argsort(blocks, kind="stable")
    bounds = np.searchsorted(blocks[order], np.arange(block_of.max() + 2))
    laid = laid.take(order)
    return [laid.iloc[first:last] for first, last in pairwise(bounds)]


def _piece(pieces: list[pd.DataFrame], block: int) -> pd.DataFrame:
    """Return one piece by itself, without the numbers of its rows: a view would keep all pieces."""
    return pieces[block].reset_index(drop=True).copy()


def _block(
    pieces: list[pd.DataFrame],
    roles: list[str],
    item_ids: "pd.Index[Any]",
    duplicates: Duplicates,
    dtype: np.dtype[Any],
) -> Block:
    """Return users and interactions of a block, made of its pieces as :func:`from_frame` does of a whole table."""
    frame = pd.concat(pieces, ignore_index=True)
    frame["item"] = pd.Categorical.from_codes(frame["item"].to_numpy(), dtype=pd.CategoricalDtype(item_ids))
    value, timestamp = (role if role in roles else None for role in ("value", "timestamp"))
    table = from_frame(frame, "user", "item", value, timestamp, duplicates)
    del frame
    items = pd.Categorical(table.item_ids).codes[table.items]
    shape = len(table.user_ids), len(item_ids)
    matrix = csr_matrix((table.values, (table.users, items)), shape=shape)
    return table.user_ids, check_interactions(matrix, dtype, zeros=True)
