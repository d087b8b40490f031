"""LinRFM on a Dask cluster of processes: the factors, the scaling, the memory and the faults. Each part is an option.

agreement: factors and metrics of 1, 2 and 4 workers against the local fit, ML-1M and Gowalla. scaling: seconds of the
rounds on 1 and 2 workers, of one thread each, on a problem that is bound by compute. large: interactions as Parquet
that two small workers fit (large, after log has written it) and recommend from (recommend); seconds, peak memory of
every process, and bytes over the loopback device. costs: the constants of the cost model of docs/scaling.md. faults:
fits on one cluster, in each of which a worker is killed at a random moment, and a client that is killed and started
again.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil
from common import DATA, GIVEN, RESULTS, median_seconds, spread
from distributed import Client, LocalCluster, get_task_stream
from fsspec.implementations.local import LocalFileSystem
from pyarrow.parquet import ParquetFile
from scipy.sparse import csr_matrix, load_npz

from rfm_recsys import LinRFM
from rfm_recsys.core import kernels
from rfm_recsys.core.linalg import multiply, weighted_gram
from rfm_recsys.core.parameters import checked
from rfm_recsys.core.runtime import threads
from rfm_recsys.datasets import read_lightgcn, synthetic_movielens
from rfm_recsys.distributed import fit, layout, recommend_all
from rfm_recsys.distributed.blocks import Passes, conjugate_gradients
from rfm_recsys.distributed.plan import Sizes, number_of_blocks, workers_of
from rfm_recsys.evaluation import Fold, evaluate, mean_over_users
from rfm_recsys.recommender.agop import feature_map
from rfm_recsys.recommender.blocks import Settings, UserBlock
from rfm_recsys.recommender.rounds import OVERSAMPLING, PASSES, norms
from rfm_recsys.recommender.tuning import settled
from rfm_recsys.tables import TableModel

BLOCKS = 8
ITERATIONS = 11  # of the items' conjugate gradients, until the last is solved: with alpha = 7, and values of 1
PARALLEL = {"eigenvectors", "users", "grams", "features", "right-hand sides", "items"}  # passes over the blocks
NETWORK = 1.25e9  # bytes a second between the machines of the clusters predicted for: 10 Gbit/s
CLUSTERS = (
    (10**9, 20 * 10**6, 10**6, 16),
    (10**9, 20 * 10**6, 10**6, 64),
    (10**10, 200 * 10**6, 10**6, 64),
    (10**10, 200 * 10**6, 10**6, 256),
    (10**11, 10**9, 10**7, 1024),
)
GOWALLA = {"power": 0.25, "item_norm": 1.0, "user_norm": 1.0, "alpha": 20.0, "regularization": 3.0}


@contextmanager
def cluster(n_workers: int, memory_limit: str = "auto") -> Iterator[Client]:
    with (
        LocalCluster(
            n_workers=n_workers, threads_per_worker=1, memory_limit=memory_limit, dashboard_address=None
        ) as local,
        Client(local) as client,
    ):
        yield client


def blocks_of(data: csr_matrix, n_blocks: int = BLOCKS) -> list[csr_matrix]:
    """Return runs of users with about as many interactions each."""
    bounds = np.searchsorted(data.indptr, np.linspace(0, data.nnz, n_blocks + 1))
    bounds[0], bounds[-1] = 0, data.shape[0]
    return [data[first:last] for first, last in pairwise(bounds.tolist())]


def distance(A: Any, B: Any) -> float:
    A, B = A.astype(np.float64), B.astype(np.float64)
    return float(np.linalg.norm(A - B) / np.linalg.norm(B))


def distance_of_scores(A: Any, B: Any) -> float:
    """Return the distance of ``A A^T`` from ``B B^T``, which what turns both alike leaves alone."""
    A, B = A.astype(np.float64), B.astype(np.float64)
    own, other, both = (float(np.linalg.norm(product)) ** 2 for product in (B.T @ B, A.T @ A, A.T @ B))
    return float(np.sqrt(max(other + own - 2 * both, 0) / own))


def agreement(arguments: argparse.Namespace) -> dict[str, Any]:
    strong = [load_npz(DATA / "ml-1m" / "strong" / f"{part}.npz") for part in ("train", "valid_in", "valid_out")]
    train, valid, test = read_lightgcn(*(DATA / "gowalla" / f"{part}.txt" for part in ("train", "valid", "test")))
    known = train + valid
    users = np.flatnonzero(np.diff(test.indptr))
    problems = {
        "ml-1m": (Fold(strong[0], np.arange(strong[1].shape[0]), strong[1], strong[2], known=False), {}, ("ndcg", 100)),
        "gowalla": (Fold(known, users, known[users], test[users], known=True), GOWALLA, ("ndcg", 20)),
    }
    result: dict[str, Any] = {}
    for name, (fold, settings, (metric, depth)) in problems.items():

        def quality(model: LinRFM, fold: Fold = fold, metric: str = metric, depth: int = depth) -> float:
            model.user_factors = model.recalculate_user(np.arange(fold.train.shape[0]), fold.train)
            values, _ = evaluate(model, fold, [depth])
            return mean_over_users(values[f"{metric}@{depth}"])

        for dtype in (np.float64, np.float32):
            if arguments.only not in (None, f"{name}, {np.dtype(dtype).name}"):
                continue
            data = csr_matrix(fold.train, dtype=dtype)

            def model(settings: dict[str, Any] = settings, dtype: Any = dtype) -> LinRFM:
                return LinRFM(arguments.factors, **{**GIVEN, **settings}, dtype=dtype)

            local = model().fit(data, show_progress=False)
            shuffled = data[np.random.default_rng(0).permutation(data.shape[0])]
            control = model().fit(shuffled, show_progress=False)
            row: dict[str, Any] = {
                f"{metric}@{depth}": {"local": quality(local)},
                "distance": {"local, users in another order": distance(control.item_factors, local.item_factors)},
                "distance of F F^T": {
                    "local, users in another order": distance_of_scores(control.item_factors, local.item_factors)
                },
            }
            factors = []
            for n_workers in (1, 2, 4):
                with cluster(n_workers) as client:
                    fitted = fit(blocks_of(data), client, model(), show_progress=False).model
                F, label = fitted.item_factors, f"{n_workers} workers"
                factors.append(F.tobytes())
                row["distance"][label] = distance(F, local.item_factors)
                row["distance of F F^T"][label] = distance_of_scores(F, local.item_factors)
                row[f"{metric}@{depth}"][label] = quality(fitted)
            row["same bits"] = len(set(factors)) == 1
            result[f"{name}, {np.dtype(dtype).name}"] = row
            print(name, np.dtype(dtype).name, json.dumps(row, indent=1), flush=True)
    return result


def scaling(arguments: argparse.Namespace) -> dict[str, Any]:
    n = arguments.interactions or 20_000_000
    data = spread(n // 144, n // 748, n)
    result: dict[str, Any] = {"interactions": data.nnz, "users": data.shape[0], "items": data.shape[1]}
    for n_workers in (1, 2, 1, 2):
        with cluster(n_workers) as client:
            taken: list[float] = []
            options: dict[str, Any] = {"show_progress": False, "callback": lambda _, seconds, __: taken.append(seconds)}  # noqa: B023
            fit(blocks_of(data[:5000]), client, LinRFM(arguments.factors, **GIVEN), **options)  # loads the kernels
            taken.clear()
            with get_task_stream(client) as stream:
                fit(blocks_of(data), client, LinRFM(arguments.factors, **GIVEN), **options)
            busy: dict[str, float] = {}
            for task in stream.data:
                if str(task["key"]).rsplit("-", 4)[0] in PARALLEL:
                    spans = [span["stop"] - span["start"] for span in task["startstops"] if span["action"] == "compute"]
                    busy[task["worker"]] = busy.get(task["worker"], 0) + sum(spans)
        run = {"rounds": sum(taken), "busiest worker, on blocks": max(busy.values())}
        result.setdefault(f"{n_workers} workers", []).append(run)
        print(n_workers, run, flush=True)
    for what in ("rounds", "busiest worker, on blocks"):
        one, two = (min(run[what] for run in result[f"{n} workers"]) for n in (1, 2))
        result[f"two workers' time / one's, {what}"] = two / one
    begun = time.perf_counter()
    LinRFM(arguments.factors, num_threads=1, **GIVEN).fit(data, show_progress=False)
    result["local, 1 thread"] = time.perf_counter() - begun
    print(json.dumps(result, indent=1))
    return result


def write_log(folder: Path, n_users: int, n_items: int, n_interactions: int, n_files: int = 20) -> int:
    """Write a log, each file a slice of time in which any user may come; return the bytes. Some pairs come twice."""
    rng = np.random.default_rng(0)
    activity = np.cumsum(np.exp(rng.normal(0, 0.95, n_users)))
    popularity = np.cumsum(np.exp(rng.normal(0, 2.0, n_items)))
    folder.mkdir()
    size = 0
    for k in range(n_files):
        n = n_interactions // n_files
        users = np.searchsorted(activity, activity[-1] * np.sort(rng.random(n)))
        items = np.searchsorted(popularity, popularity[-1] * rng.random(n))
        order = rng.permutation(n)
        frame = pd.DataFrame({"user_id": 1000 + 3 * users[order], "item_id": 10**7 + items[order]})
        path = folder / f"slice-{k:03}.parquet"
        frame.to_parquet(path, row_group_size=2**20, index=False)
        size += path.stat().st_size
    return size


class Watch(threading.Thread):
    """Follows the memory of this process and its children, and the bytes that go over the loopback device."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.peak: dict[int, int] = {}
        self.stopped = threading.Event()
        self.begun, self.sent = time.perf_counter(), loopback()

    def run(self) -> None:
        own = psutil.Process()
        while not self.stopped.wait(0.1):
            for process in [own, *own.children(recursive=True)]:
                try:
                    used = process.memory_info().rss
                except psutil.Error:
                    continue
                self.peak[process.pid] = max(self.peak.get(process.pid, 0), used)

    def mark(self) -> dict[str, float]:
        """Return seconds and bytes since the last mark."""
        now, sent = time.perf_counter(), loopback()
        taken = {"seconds": now - self.begun, "GB over the wire": (sent - self.sent) / 1e9}
        self.begun, self.sent = now, sent
        return taken


def loopback() -> int:
    return int(Path("/sys/class/net/lo/statistics/tx_bytes").read_text())


def peaks(watch: Watch, workers: dict[str, int]) -> dict[str, float]:
    return {
        "client and scheduler": watch.peak[os.getpid()] / 1e9,
        **{f"worker {k}": watch.peak.get(pid, 0) / 1e9 for k, pid in enumerate(sorted(workers.values()))},
    }


def large_sizes(arguments: argparse.Namespace) -> tuple[int, int, int]:
    n = arguments.interactions or 100_000_000
    return n, max(n // 50, 100), max(n // 1000, 100)


def log(arguments: argparse.Namespace) -> dict[str, Any]:
    n, n_users, n_items = large_sizes(arguments)
    arguments.scratch.mkdir(exist_ok=True)
    size = write_log(arguments.scratch / "log", n_users, n_items, n)
    return {"rows": n, "users": n_users, "items": n_items, "GB as Parquet": size / 1e9}


def large(arguments: argparse.Namespace) -> dict[str, Any]:
    n, n_users, n_items = large_sizes(arguments)
    root = arguments.scratch
    result: dict[str, Any] = {"rows": n, "factors": arguments.factors, "workers": arguments.workers}
    shutil.rmtree(root / "users", ignore_errors=True)
    with cluster(arguments.workers, arguments.memory) as client:
        workers = client.run(os.getpid)
        watch = Watch()
        watch.start()
        marks: list[dict[str, float]] = []
        table = fit(
            root / "log",
            client,
            LinRFM(arguments.factors, **GIVEN),
            users=root / "users",
            show_progress=arguments.progress,
            callback=lambda *_: marks.append(watch.mark()),
            report=root / "report.html",
        )
        result |= {"reading and round 1": marks[0], "later rounds": marks[1:], "writing users": watch.mark()}
        watch.stopped.set()
        result["peak, GB"] = peaks(watch, workers)
        result["no worker was restarted"] = client.run(os.getpid) == workers
    table.save(root / "model.rfm")
    sizes = Sizes(n_users, n_items, n, arguments.factors, 4, row_bytes=12, in_files=True)
    result["blocks"] = number_of_blocks(sizes, None)
    result["formula for a worker, GB"] = sizes.worker_bytes(result["blocks"], arguments.workers, 1) / 1e9
    result["dense matrix, GB"] = 4 * n_users * n_items / 1e9
    print(json.dumps(result, indent=1))
    return result


def small(arguments: argparse.Namespace) -> dict[str, Any]:
    """Do as ``log`` and ``large`` with a fifth of the interactions, on which the cost model is fitted."""
    fifth = argparse.Namespace(**vars(arguments))
    fifth.interactions, fifth.scratch = large_sizes(arguments)[0] // 5, arguments.scratch / "small"
    if not (fifth.scratch / "log").is_dir():
        log(fifth)
    return large(fifth)


def matrix_product(users: Path, F: Any) -> float:
    """Return the seconds of the scores of all users of a file, by NumPy's matrix product of 1,024 users at a time.

    By the first 8,192 of them, the first 1,024 left out.
    """
    U = np.stack(pd.read_parquet(users, columns=["factors"])["factors"][: 9 * 1024].tolist())
    scores = np.empty((1024, len(F)), dtype=F.dtype)
    with threads(1):
        for first in range(0, 9 * 1024, 1024):
            if first == 1024:
                begun = time.perf_counter()
            np.matmul(U[first : first + 1024], F.T, out=scores)
        taken = time.perf_counter() - begun
    return float(taken / (8 * 1024) * ParquetFile(users).metadata.num_rows)


def recommend(arguments: argparse.Namespace) -> dict[str, Any]:
    root = arguments.scratch
    shutil.rmtree(root / "recommendations", ignore_errors=True)
    table = TableModel.load(root / "model.rfm")
    with cluster(arguments.workers, arguments.memory) as client:
        F = client.scatter(table.model.item_factors, broadcast=True)
        files = sorted((root / "users").iterdir())
        bare = [client.submit(matrix_product, file, F, key=f"bare-{k}") for k, file in enumerate(files)]
        seconds = sum(client.gather(bare)) / arguments.workers
        del bare, F
        workers = client.run(os.getpid)
        watch = Watch()
        watch.start()
        recommend_all(table, root / "users", root / "recommendations", client, show_progress=arguments.progress)
        result: dict[str, Any] = watch.mark()
        result |= {"bare matrix product, seconds": seconds, "of its rate": seconds / result["seconds"]}
        watch.stopped.set()
        result["peak, GB"] = peaks(watch, workers)
    files = sorted((root / "recommendations").iterdir())
    result["users"] = sum(int(pd.read_parquet(file, columns=["user_id"])["user_id"].nunique()) for file in files)
    print(json.dumps(result, indent=1))
    return result


def timed(work: Any) -> float:
    """Return the least of three times, in seconds; a first run loads the kernels."""
    work()
    return min(median_seconds(work, 1) for _ in range(3))


def costs(arguments: argparse.Namespace) -> dict[str, float]:
    """Measure what each operation takes for a unit of its work: the constants of the cost model, in seconds."""
    f, n_items = arguments.factors, 100_000
    b = f + OVERSAMPLING
    blocks = [spread(n_users, n_items, 3_000_000) for n_users in (15_000, 60_000, 240_000)]
    settings = Settings.of(checked(LinRFM(f, **GIVEN)))
    rng = np.random.default_rng(0)
    Q = (0.01 * rng.standard_normal((n_items, b))).astype(np.float32)
    F, scale = np.ascontiguousarray(Q[:, :f]), np.ones(n_items, dtype=np.float32)
    result: dict[str, float] = {}
    like_large = spread(200_000, 10_000, 10_000_000)  # as many interactions of a user, and of an item
    of_item, of_entry = item_iterations(like_large, f)
    result |= {"iterations of an item's conjugate gradients": of_item, "iterations of an entry": of_entry}
    with threads(1):
        solves, products = [], []
        for data in blocks:
            block = UserBlock(csr_matrix(data * np.float32(7)))
            block.weigh(settings, 50.0)
            solves.append(timed(lambda: block.solve(F)))  # noqa: B023
            products.append(timed(lambda: block.agop_product(settings, scale, Q)))  # noqa: B023
            if data is blocks[1]:
                n, m, R = data.nnz, data.shape[0], block.U
                chosen = np.flatnonzero(block.item_counts)
                P, out = F[chosen], np.empty((len(chosen), f), dtype=np.float32)
                gram = timed(lambda: kernels.gram_products(block.by_item, R, chosen, P, out))  # noqa: B023
                result["items, of an entry and factor"] = gram / (n * f)
                result["index, of an entry"] = timed(lambda: UserBlock(csr_matrix(data * np.float32(7)))) / n  # noqa: B023
                small = timed(lambda: (block.grams(), multiply(block.U, F[:f])))  # noqa: B023
                result["grams, of a user and factor^2"] = small / (m * f * f)
                recommending = LinRFM(f, num_threads=1)
                recommending.item_factors, recommending.user_factors = F, R
                some = np.arange(1000)
                best = timed(lambda: recommending.recommend(some, data[some]))  # noqa: B023
                result["recommending, of a user, item and factor"] = best / (1000 * n_items * f)
        users, entries = (np.array([part.shape[0] for part in blocks]), np.array([part.nnz for part in blocks]))
        for name, seconds, width in (("solve", solves, f), ("product", products, b)):
            (entry, user), *_ = np.linalg.lstsq(np.stack([entries, users], axis=1) * width, np.array(seconds))
            result[f"{name}, of an entry and column"], result[f"{name}, of a user and column"] = entry, user
        rhs = rng.standard_normal((n_items, f)).astype(np.float32)
        calls, spent = [0], [0.0]
        diagonal = np.linspace(0.5, 40, f, dtype=np.float32)

        def product(chosen: Any, P: Any) -> Any:
            start = time.perf_counter()
            out = P * diagonal
            calls[0] += len(chosen)
            spent[0] += time.perf_counter() - start
            return out

        begun = time.perf_counter()
        conjugate_gradients(product, rhs)
        own = time.perf_counter() - begun - spent[0]
        result["client, of an item, factor and iteration"] = own / (calls[0] * f)
    with cluster(2) as client:
        places = [*workers_of(client)]
        reading = [client.submit(seconds_of_a_row, place, n_items, workers=[place], pure=False) for place in places * 2]
        result["reading, of a row"] = float(np.mean(client.gather(reading)[2:]))  # the first two load the kernels
        passes = Passes(client, False)
        passes.bounds = [0, 1, 2]
        blocks = [client.submit(list, [k], workers=[place]) for k, place in enumerate(workers_of(client))]
        sending = timed(lambda: passes.summed("send", 0, _second, blocks, common=(Q,)))
        result["sending and adding, of a byte and 2 workers"] = sending / Q.nbytes
        waiting = timed(lambda: passes.summed("small", 0, _second, blocks, common=(np.ones(1),)))
        result["a pass over 2 small groups"] = waiting
        passes.bounds = [0, 16, 32]
        more = [client.submit(list, range(16), workers=[place]) for place in workers_of(client)]
        adding = timed(lambda: passes.summed("add", 0, _second, more, common=(Q,))) - sending
        result["adding, of a byte of a block and 2 workers"] = adding / (30 * Q.nbytes)
    print(json.dumps(result, indent=1))
    return result


def seconds_of_a_row(place: str, n_items: int) -> float:
    """Return the seconds that a worker reads a row of a table in, to its block, while the other workers do so too."""
    rng = np.random.default_rng(abs(hash(place)) % 1000)
    n_rows, dtype = 2**21, np.dtype(np.float32)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "part.parquet"
        columns = {"user_id": rng.integers(0, 60_000, n_rows), "item_id": rng.integers(0, n_items, n_rows)}
        pd.DataFrame(columns).to_parquet(path, index=False, row_group_size=2**20)
        begun = time.perf_counter()
        schema, sizes = layout._row_groups(str(path), LocalFileSystem())
        part = partial(layout._read, [(str(path), [*range(len(sizes))])], LocalFileSystem(), schema, {})
        roles = {"user": "user_id", "item": "item_id"}
        layout._summary("", part, {**roles})
        ids = pd.RangeIndex(n_items)
        pieces = layout._pieces("", part, roles, ids, np.arange(4096) // 128)
        own = [layout._piece(pieces, block) for block in range(len(pieces))]
        del pieces
        layout._keep(layout._block(own, [], ids, "last", dtype), Path(folder) / "block")
        layout._kept(Path(folder) / "block")
        return (time.perf_counter() - begun) / n_rows


def item_iterations(data: csr_matrix, factors: int) -> tuple[float, float]:
    """Return how many products an item, and an entry, takes part in on average: one of few entries is solved soon."""
    settings = Settings.of({**checked(LinRFM(factors)), **settled(GIVEN)})
    block = UserBlock(csr_matrix(data * np.float32(settings.alpha)))
    scale, _ = norms(block, settings)
    F = LinRFM(factors, **{**GIVEN, "iterations": 1}).fit(data, show_progress=False).item_factors
    block.solve(F)
    T, _ = feature_map(*block.grams(), weighted_gram(F, scale), block.n_users, settings.power, settings.penalty)
    R, calls, entries = multiply(block.U, T), [0], [0]

    def product(chosen: Any, P: Any) -> Any:
        calls[0] += len(chosen)
        entries[0] += int(np.diff(block.by_item[0])[chosen].sum())
        out = np.empty_like(P)
        kernels.gram_products(block.by_item, R, chosen, P, out)
        return out

    indptr, indices, confidence = block.by_item
    rhs = np.zeros((block.n_items, factors), dtype=R.dtype)
    kernels.sparse_product(indptr, indices, np.maximum(confidence, 0), R, rhs)
    conjugate_gradients(product, rhs)
    return calls[0] / block.n_items, entries[0] / data.nnz


def _second(_: int, value: Any) -> Any:
    return value


def predicted(
    costs: dict[str, float], rows: int, n_users: int, n_items: int, factors: int, n_workers: int, network: float | None
) -> dict[str, float]:
    """Return what the cost model says of a fit of two rounds; ``network`` in bytes a second, None for one machine."""
    f, b, w, entries = factors, factors + OVERSAMPLING, n_workers, rows
    sizes = Sizes(n_users, n_items, rows, f, 4, row_bytes=12, in_files=True)
    n_blocks = number_of_blocks(sizes, None)
    solve = entries * f * costs["solve, of an entry and column"] + n_users * f * costs["solve, of a user and column"]
    product = (
        entries * b * costs["product, of an entry and column"] + n_users * b * costs["product, of a user and column"]
    )
    items = (costs["iterations of an entry"] + 0.5) * entries * f * costs["items, of an entry and factor"]
    grams = n_users * f * f * costs["grams, of a user and factor^2"]
    each = costs["iterations of an item's conjugate gradients"]
    client = each * n_items * f * costs["client, of an item, factor and iteration"]

    def serial(passes: int, out: float, back: float) -> float:
        """Return the seconds of what is sent, of the sums on the workers and along the tree, and of the scheduler."""
        adding = back * n_blocks * costs["adding, of a byte of a block and 2 workers"] * 2 / w
        if network is None:
            moving = out * costs["sending and adding, of a byte and 2 workers"] * w / 2
        else:
            moving = (out + back) * (1 + np.log2(w)) / network
        return moving + adding + passes * costs["a pass over 2 small groups"] * w / 2

    wide, narrow = 4 * n_items * b, 4 * n_items * f
    # what is sent goes to the scheduler and to every worker, and a sum comes back by way of the scheduler
    sent, summed = PASSES * wide + (2 + each) * narrow, PASSES * wide + (1 + each) * narrow
    return {
        "reading": rows * (costs["reading, of a row"] + costs["index, of an entry"]) / w,
        "round 1, parallel": (PASSES * product + solve) / w,
        "round 1, serial": serial(PASSES + 1, PASSES * wide + narrow, PASSES * wide),
        "round 2, parallel": (items + grams + solve) / w,
        "round 2, serial": serial(ITERATIONS + 4, (1 + each) * narrow, (1 + each) * narrow) + client,
        "recommending": n_users * n_items * f * costs["recommending, of a user, item and factor"] / w,
        "GB over the wire in the rounds": (w + 1) * (sent + summed) / 1e9,
        "GB over the wire in round 1": (w + 1) * (PASSES * 2 * wide + narrow) / 1e9,
        "GB over the wire, reading": rows * sizes.row_bytes * (w - 1) / w / 1e9,
        "GB of a worker": sizes.worker_bytes(n_blocks, w, 1) / 1e9,
        "blocks": n_blocks,
    }


def calibrated(says: dict[str, float], slower: dict[str, float]) -> dict[str, float]:
    """Return a prediction whose seconds are those of workers that run side by side."""
    says = says | {
        "reading": says["reading"] * slower["reading"],
        "round 1": (says["round 1, parallel"] + says["round 1, serial"]) * slower["rounds"],
        "round 2": (says["round 2, parallel"] + says["round 2, serial"]) * slower["rounds"],
    }
    return says | {"fit": says["reading"] + says["round 1"] + says["round 2"]}


def predict(arguments: argparse.Namespace) -> dict[str, Any]:
    """Ask the cost model for what ``large`` measures, and for what no machine here can."""
    results = json.loads((RESULTS / "cluster.json").read_text())
    costs, small = results["costs"], results["small"]
    users, items = large_sizes(argparse.Namespace(interactions=small["rows"]))[1:]
    says = predicted(costs, small["rows"], users, items, small["factors"], small["workers"], None)
    rounds = small["later rounds"][0]["seconds"] / (says["round 2, parallel"] + says["round 2, serial"])
    first = rounds * (says["round 1, parallel"] + says["round 1, serial"])
    slower = {"rounds": rounds, "reading": (small["reading and round 1"]["seconds"] - first) / says["reading"]}
    n, n_users, n_items = large_sizes(arguments)
    large = predicted(costs, n, n_users, n_items, arguments.factors, arguments.workers, None)
    result: dict[str, Any] = {"measured over predicted, small": slower, "large": calibrated(large, slower)}
    for rows, users, items, n_workers in CLUSTERS:
        name = f"{rows:,} interactions, {users:,} users, {items:,} items, {n_workers} workers"
        found = predicted(costs, rows, users, items, arguments.factors, n_workers, NETWORK)
        result[name] = calibrated(found, slower)
    print(json.dumps(result, indent=1))
    return result


def faults(arguments: argparse.Namespace) -> dict[str, Any]:
    root = Path(tempfile.mkdtemp())
    folder = root / "log"
    folder.mkdir()
    table = synthetic_movielens(3000, 1500, 300_000)
    frame = pd.DataFrame({"user_id": table.users, "item_id": table.items, "rating": table.values})
    frame = frame.sample(frac=1, random_state=0)
    for k, part in enumerate(np.array_split(np.arange(len(frame)), 4)):
        frame.iloc[part].to_parquet(folder / f"{k}.parquet", row_group_size=20_000)
    kills: list[dict[str, Any]] = []
    rng = np.random.default_rng(0)

    def run(client: Client, name: str) -> tuple[bytes, float]:
        begun = time.perf_counter()
        fitted = fit(folder, client, LinRFM(64, **{**GIVEN, "iterations": 3}), users=root / name, show_progress=False)
        return fitted.model.item_factors.tobytes(), time.perf_counter() - begun

    with cluster(2) as client:
        run(client, "first")  # loads the kernels
        expected, usual = run(client, "users-whole")
        resumed = resume(root, folder, client.scheduler.address)
    users = {file.name: pd.read_parquet(file) for file in (root / "users-whole").iterdir()}
    with cluster(2) as client:
        for k in range(arguments.kills):
            moment, victim = float(rng.uniform(0, usual)), int(rng.choice(pids(client, 2)))
            killer = threading.Timer(moment, os.kill, (victim, signal.SIGKILL))
            killer.start()
            bits, seconds = run(client, f"users-{k}")
            killer.join()
            same = bits == expected and all(_same(root / f"users-{k}" / name, one) for name, one in users.items())
            shutil.rmtree(root / f"users-{k}")
            kills.append({"killed after": moment, "seconds": seconds, "same": same})
            print(k, kills[-1], flush=True)
        pids(client, 2)
    shutil.rmtree(root)
    result = {"usual seconds": usual, "kills": kills, "all the same": all(kill["same"] for kill in kills)} | resumed
    print(json.dumps({key: value for key, value in result.items() if key != "kills"}, indent=1))
    return result


def pids(client: Client, n_workers: int) -> list[int]:
    """Return the workers' process ids when all are there again; raises TimeoutError where one has not come back."""
    for _ in range(120):
        with suppress(OSError):  # one that was killed just now
            if len(found := client.run(os.getpid)) == n_workers:
                return sorted(found.values())
        time.sleep(0.5)
    raise TimeoutError(f"there are not {n_workers} workers after a minute")


def _same(path: Path, expected: pd.DataFrame) -> bool:
    found = pd.read_parquet(path)
    return bool(
        found["user_id"].equals(expected["user_id"])
        and np.array_equal(np.stack(found["factors"].tolist()), np.stack(expected["factors"].tolist()))
    )


CLIENT = f"""
import sys
from distributed import Client
from rfm_recsys import LinRFM
from rfm_recsys.distributed import fit
log, checkpoint, address, out = sys.argv[1:]
seen, model = [], LinRFM(64, **{GIVEN | {"iterations": 8}})
with Client(address) as client:
    fitted = fit(log, client, model, checkpoint=checkpoint, show_progress=False,
                 callback=lambda i, *_: (seen.append(i), print(i, flush=True)))
open(out, "wb").write(fitted.model.item_factors.tobytes())
"""


def resume(root: Path, log: Path, address: str) -> dict[str, Any]:
    """Kill a client after some rounds, start it again, and compare with one that was not killed."""

    def start(name: str) -> "subprocess.Popen[str]":
        command = [sys.executable, "-c", CLIENT, str(log), str(root / f"{name}.checkpoint"), address, str(root / name)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    whole, _ = start("whole").communicate()
    struck = start("struck")
    assert struck.stdout is not None
    before = [struck.stdout.readline() for _ in range(3)]
    struck.kill()
    struck.wait()
    after, _ = start("struck").communicate()
    return {
        "rounds of a fit": len(whole.split()),
        "rounds before the client was killed": len(before),
        "rounds after it was started again": len(after.split()),
        "the same bits": (root / "whole").read_bytes() == (root / "struck").read_bytes(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="+", choices=[part.__name__ for part in PARTS])
    parser.add_argument("--only", help="of agreement, as 'gowalla, float32'")
    parser.add_argument("--factors", type=int, default=64)
    parser.add_argument("--interactions", type=int, help="of scaling, log and large")
    parser.add_argument("--workers", type=int, default=2, help="of large")
    parser.add_argument("--memory", default="3GiB", help="of each worker, of large")
    parser.add_argument("--scratch", type=Path, default="scratch", help="folder of log, large and recommend")
    parser.add_argument("--progress", action="store_true")
    parser.add_argument("--kills", type=int, default=100)
    arguments = parser.parse_args()
    path = RESULTS / "cluster.json"
    for part in PARTS:
        if part.__name__ in arguments.parts:
            found = part(arguments)
            result = json.loads(path.read_text()) if path.exists() else {}
            found = result.get(part.__name__, {}) | found if part is agreement else found
            path.write_text(json.dumps(result | {part.__name__: found}, indent=1) + "\n")


PARTS = (agreement, scaling, log, small, large, recommend, costs, predict, faults)

if __name__ == "__main__":
    main()
