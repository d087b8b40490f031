"""The fit on a cluster: interactions into blocks of users, the rounds, and the users to files."""

import os
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from dask import is_dask_collection
from dask.delayed import Delayed
from distributed import Client, Future, performance_report
from scipy.sparse import csr_matrix, issparse, vstack

from rfm_recsys.core.checks import (
    check_callback,
    check_features,
    check_flag,
    check_integer,
    check_interactions,
    shown,
)
from rfm_recsys.core.files import check_folder, check_target, filling, scratch
from rfm_recsys.core.parameters import checked, to_json
from rfm_recsys.core.runtime import threads
from rfm_recsys.datasets.interactions import Duplicates, codes
from rfm_recsys.datasets.reading import described
from rfm_recsys.distributed import layout
from rfm_recsys.distributed.blocks import DistributedBlocks, Passes, clear_errors, work_of
from rfm_recsys.distributed.plan import Sizes, check_worker_memory, deal_out, number_of_blocks, workers_of
from rfm_recsys.distributed.users import FILES, file_of, write_users
from rfm_recsys.errors import (
    DataError,
    NotSupportedError,
    ParameterError,
    ParameterTypeError,
    RfmRecsysError,
)
from rfm_recsys.recommender.blocks import CHOSEN, WAYS, Settings
from rfm_recsys.recommender.checkpoint import Checkpoint, fingerprint
from rfm_recsys.recommender.forms import form_of, mean_user_of
from rfm_recsys.recommender.model import LinRFM, choose_parameters, take, what_features_say, what_is_unsure
from rfm_recsys.recommender.rounds import Callback, run_rounds
from rfm_recsys.recommender.tuning import ENTRIES, settled
from rfm_recsys.tables import TableModel, plain_ids, side_of

READING, WRITING = 4.0, 2.0  # of a table, and of users, in products of all interactions with a matrix


def fit(
    interactions: Any,
    client: Client,
    model: LinRFM | None = None,
    *,
    users: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    checkpoint: str | os.PathLike[str] | None = None,
    show_progress: bool = True,
    callback: Callback | None = None,
    blocks: int | None = None,
    report: str | os.PathLike[str] | None = None,
    user: str | None = None,
    item: str | None = None,
    value: str | None = None,
    timestamp: str | None = None,
    duplicates: Duplicates = "last",
    item_table: Any = None,
    item_features: Any = None,
) -> TableModel:
    """Fit a model on a cluster to interactions of which no machine holds more than its share.

    The rounds are those of :meth:`LinRFM.fit`, and so are the factors, to rounding. They do not depend on the number of
    workers, nor on what becomes of them during the fit. A worker is best a process of one thread.

    Parameters
    ----------
    interactions : path, Dask DataFrame, or sequence of CSR matrices
        A Parquet file or a folder of them, also where fsspec reaches (``s3://...``); each (user, item) pair in it once,
        or as ``duplicates`` says. Or rows of one matrix of users x items, as matrices or as Dask's Delayed or Future of
        them: as they are, they pass through this process, and a lost worker is given them again.
    client : distributed.Client
    model : LinRFM, optional
        The model to fit, in the low-rank form; by default ``LinRFM()``.
    users : path, optional
        Folder to make for the users, one Parquet file a block: ``user_id``, ``factors``, ``items``, the numbers of the
        user's items, and ``values``, where not all are 1. All workers have to see it. Without it
        the users' factors are not kept.
    overwrite : bool
        Whether ``users`` may be there already, from an earlier fit: it is replaced when the new one is whole.
    checkpoint, show_progress, callback
        As in :meth:`LinRFM.fit`; the checkpoint is on the client's machine, and goes with the same blocks only.
    blocks : int, optional
        Number of blocks of users in which a table is laid out, by default as many as hold 64 MiB each, and at least 8.
    report : path, optional
        HTML file for Dask's performance report.
    user, item, value, timestamp, duplicates
        As in :func:`~rfm_recsys.datasets.read_interactions`, for a table.
    item_table : DataFrame or path, optional
        As in :meth:`TableModel.from_table`, for a table; in the memory of this process.
    item_features : matrix, shape (items, d), optional
        As in :meth:`LinRFM.fit`, for matrices.

    Returns
    -------
    TableModel
        Without users: ``model.user_factors`` has no rows. Items are as ever (``similar``, ``recommend_for``, ``save``);
        :func:`with_users` takes users from the folder.

    Raises
    ------
    DataError
        What a table or a matrix is refused for, with the file or partition.
    InsufficientMemoryError
        A worker has less memory than its share takes, by a formula, before the work; or workers were killed again and
        again over one task, which is what a lack of memory does.
    ParameterError, ParameterTypeError, NotSupportedError
        A parameter out of bounds, a cluster without workers, the full form.
    OSError
        The users, the checkpoint or the report cannot be written.

    Examples
    --------
    >>> import os, tempfile
    >>> from distributed import Client
    >>> from rfm_recsys import LinRFM
    >>> from rfm_recsys.datasets import synthetic_movielens
    >>> from rfm_recsys.distributed import fit
    >>> folder = tempfile.mkdtemp()
    >>> path, users = os.path.join(folder, "plays.parquet"), os.path.join(folder, "users")
    >>> synthetic_movielens(60, 40, 900).to_frame().to_parquet(path)
    >>> with Client(n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None) as client:
    ...     model = fit(path, client, LinRFM(4), users=users, show_progress=False)
    >>> model.model.item_factors.shape
    (40, 4)
    """
    model = LinRFM() if model is None else model
    if not isinstance(model, LinRFM):
        raise ParameterTypeError(f"model is {shown(model)}; pass a LinRFM, as LinRFM(factors=64)")
    if not isinstance(client, Client):
        raise ParameterTypeError(f"client is {shown(client)}; pass a distributed.Client")
    parameters = checked(model)
    if model.factors is None:
        raise NotSupportedError("the full form is for one machine; pass LinRFM(factors=256)")
    if duplicates not in ("last", "sum", "error"):
        raise ParameterError(f"duplicates is {duplicates!r}; pass 'last', 'sum' or 'error'")
    show_progress = check_flag("show_progress", show_progress)
    check_callback(callback, "iteration, elapsed and loss")
    from_table = isinstance(interactions, str | os.PathLike) or _is_frame(interactions)
    if (item_features if from_table else item_table) is not None:
        raise ParameterError("item_table is for a table of interactions, item_features for matrices; pass the other")
    if blocks is not None:
        check_integer("blocks", blocks, 1)
    folder = None if users is None else check_folder(users, check_flag("overwrite", overwrite), FILES)
    for path in (checkpoint, report):
        if path is not None:
            check_target(path)
    passes = Passes(client, show_progress)
    reporting = nullcontext() if report is None else performance_report(filename=os.fspath(report))
    keeping = nullcontext() if folder is None else scratch(folder, "blocks")
    with clear_errors(checkpoint), client.as_current(), reporting, passes.reporting(), keeping as blocks_kept:
        item_ids: pd.Index[Any] | None
        passes.expect(READING + 1 + work_of(model.iterations or 2, 0) + (folder is not None) * WRITING)
        if from_table:
            named = {"user": user, "item": item, "value": value, "timestamp": timestamp}
            item_ids, laid = _laid_table(
                passes, interactions, named, model, blocks, duplicates, blocks_kept is not None
            )
        else:
            item_ids, laid = _laid_matrices(passes, interactions, model)
        held: Sequence[Any] = laid if blocks_kept is None else layout.keep(passes, laid, blocks_kept)
        del laid
        weigh = partial(layout.weights_of, model.values)
        sample = [] if _all_given(parameters) else _sample(passes, held, weigh)
        chosen, search = choose_parameters(parameters, csr_matrix(vstack(sample)) if sample else None, None, False)
        settings = Settings.of(parameters | chosen)
        fitted = DistributedBlocks(passes, held, weigh, settings.alpha, settings.iterations)
        first_rows: list[int | None] = [None] * len(held)
        if item_ids is None:
            item_ids, first_rows = pd.RangeIndex(fitted.n_items), [*fitted.first_rows()]
        if folder is None:
            held = []  # which are indexed
        last_round = None
        if checkpoint is not None:
            shape = fitted.n_users, fitted.n_items
            digests = (fact["digest"] for fact in fitted.facts)
            last_round = Checkpoint(checkpoint, fingerprint(to_json(model), shape, digests))
        side = None
        if item_features is not None:
            item_features = check_features("item_features", item_features, fitted.n_items)
        elif item_table is not None:
            side = side_of(described(item_table, item_ids, "item"), item_ids)
            item_features = side.features
        run_rounds(fitted, settings, last_round, False, callback)
        with threads(0):
            learned = what_features_say(fitted, settings, item_features)
            mean_user = mean_user_of(*fitted.sums(), fitted.dtype)
            learned |= {"mean_user_": mean_user, **what_is_unsure(fitted, form_of(*fitted.factors(), mean_user))}
        if folder is not None:
            passes.stage = ""
            passes.expect(WRITING)
            with filling(folder) as whole:
                paths = [file_of(whole, block) for block in range(len(held))]
                given = (passes.grouped(each) for each in (held, first_rows, paths))
                written = passes.over("write users", WRITING, write_users, *given, fitted.U, common=(mean_user,))
                client.gather(written)
    U, F = fitted.factors()
    take(model, U, F, chosen, search, user_levels_=np.empty(0), **learned)
    no_users = csr_matrix((0, fitted.n_items), dtype=parameters["dtype"])
    table = TableModel(model, no_users, pd.RangeIndex(0), item_ids, side)
    if side is not None:
        table.add_items(item_table)
    return table


def _all_given(parameters: dict[str, Any]) -> bool:
    return len(settled({name: parameters[name] for name in CHOSEN})) == len(CHOSEN)


def _rank(model: LinRFM) -> int:
    """Return the most columns that a fit may work with."""
    settings = settled({name: getattr(model, name) for name in CHOSEN})
    return int(model.factors or 0) + int(settings.get("oversampling", max(wider for _, wider in WAYS)))


def _sample(passes: Passes, laid: Sequence[Any], weigh: Callable[[Any], csr_matrix]) -> list[csr_matrix]:
    """Return so many users' rows, drawn in every block, as it takes to choose parameters on."""
    entries = sum(passes.client.gather(passes.each("entries", 0, _entries, laid)))
    share = 1.25 * ENTRIES / max(entries, 1)
    drawn = passes.each("sample", 0, _drawn, laid, range(len(laid)), common=(share, weigh))
    rows = list(passes.client.gather(drawn))
    alike = len({part.shape[1] for part in rows}) == 1  # what is not, is refused with its block when facts are gathered
    return rows if alike else rows[:1]


def _entries(laid: Any) -> int:
    return int(layout.taken(laid)[1].nnz)


def _drawn(laid: Any, block: int, share: float, weigh: Callable[[Any], csr_matrix]) -> csr_matrix:
    weights = weigh(laid)
    return weights if share >= 1 else weights[np.random.default_rng(block).random(weights.shape[0]) < share]


def _laid_table(
    passes: Passes,
    interactions: Any,
    named: dict[str, str | None],
    model: LinRFM,
    blocks: int | None,
    duplicates: Duplicates,
    in_files: bool,
) -> tuple["pd.Index[Any]", list[Future]]:
    """Return the ids of the items, and the blocks that a table is laid out in."""
    client = passes.client
    dtype = np.dtype(model.dtype)
    workers_of(client)
    if _is_frame(interactions):
        table = layout.frame_table(interactions, named)
    else:
        table = layout.parquet_table(client, interactions, named)
    summary = layout.summarize(passes, table, READING / 4)
    item_ids = plain_ids(codes(summary.items)[1], "item")
    entries = int(summary.buckets.sum())
    if entries == 0:
        raise DataError("the table has no rows; pass at least one interaction")
    row_bytes = summary.user_bytes / entries + 4 + 8 * len(table.roles.keys() & {"value", "timestamp"})
    sizes = Sizes(summary.n_users, len(item_ids), entries, _rank(model), dtype.itemsize, row_bytes, in_files)
    block_of = deal_out(summary.buckets, sizes, number_of_blocks(sizes, blocks))
    n_blocks = int(block_of.max()) + 1
    check_worker_memory(client, sizes, n_blocks)
    work = 3 * READING / 4
    laid = layout.lay_out(passes, table, item_ids, block_of, duplicates, dtype, work)
    return item_ids, laid


def _is_frame(interactions: Any) -> bool:
    """Whether it is a Dask DataFrame; to look does not import what is not in use."""
    return is_dask_collection(interactions) and hasattr(interactions, "columns")


def _laid_matrices(passes: Passes, matrices: Any, model: LinRFM) -> tuple[None, list[Future]]:
    """Return blocks of the matrices that are given, users without ids."""
    dtype = np.dtype(model.dtype)
    given = list(matrices) if isinstance(matrices, Sequence) else []
    if not given or not all(issparse(part) or isinstance(part, Delayed | Future) for part in given):
        raise ParameterTypeError(
            f"interactions is {shown(matrices)}; pass the path of Parquet files, a Dask DataFrame, or a list of CSR "
            "matrices"
        )
    here = [part for part in given if issparse(part)]
    if here:
        users, entries = sum(part.shape[0] for part in here), sum(part.nnz for part in here)
        sizes = Sizes(users, here[0].shape[1], entries, _rank(model), dtype.itemsize)
        check_worker_memory(passes.client, sizes, len(here))
    futures = [
        passes.sent("interactions", part)
        if issparse(part)
        else passes.client.compute(part)
        if isinstance(part, Delayed)
        else part
        for part in given
    ]
    return None, passes.each("check", 0, _given, futures, range(len(futures)), common=(dtype,))


def _given(matrix: csr_matrix, block: int, dtype: np.dtype[Any]) -> layout.Block:
    try:
        interactions = check_interactions(matrix, dtype, zeros=True)
        return pd.RangeIndex(interactions.shape[0]), interactions
    except RfmRecsysError as error:
        raise type(error)(f"block {block} of the interactions: {error}") from error
