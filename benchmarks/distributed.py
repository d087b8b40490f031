"""LinRFM on a Dask cluster of processes: the factors, the scaling, the memory and the faults. Each part is an option.

agreement: factors and metrics of 1, 2 and 4 workers against the local fit, ML-1M and Gowalla. scaling: seconds of the
rounds on 1 and 2 workers, of one thread each, on a problem that is bound by compute. large: interactions as Parquet
that two small workers fit (large, after log has written it) and recommend from (recommend); seconds, peak memory of
every process, and bytes over the loopback device. faults: fits with a worker killed at a random moment, and a client
that is killed and started again.
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
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil
from common import DATA, RESULTS, spread
from distributed import Client, LocalCluster
from scipy.sparse import csr_matrix, load_npz

from rfm_recsys import LinRFM
from rfm_recsys.datasets import read_lightgcn, synthetic_movielens
from rfm_recsys.distributed import fit, recommend_all
from rfm_recsys.distributed.plan import Sizes, number_of_blocks
from rfm_recsys.evaluation import Fold, evaluate, mean_over_users
from rfm_recsys.tables import TableModel

BLOCKS = 8
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
    own = np.linalg.norm(B.T @ B) ** 2
    return float(np.sqrt(max(np.linalg.norm(A.T @ A) ** 2 + own - 2 * np.linalg.norm(A.T @ B) ** 2, 0) / own))


def agreement(arguments: argparse.Namespace) -> dict[str, Any]:
    strong = [load_npz(DATA / "ml-1m" / "strong" / f"{part}.npz") for part in ("train", "valid_in", "valid_out")]
    train, valid, test = read_lightgcn(*(DATA / "gowalla" / f"{part}.txt" for part in ("train", "valid", "test")))
    known = train + valid
    users = np.flatnonzero(np.diff(test.indptr))
    problems = {
        "ml-1m": (Fold(strong[0], np.arange(strong[1].shape[0]), *strong[1:], known=False), {}, ("ndcg", 100)),
        "gowalla": (Fold(known, users, known[users], test[users], known=True), GOWALLA, ("ndcg", 20)),
    }
    result: dict[str, Any] = {}
    for name, (fold, settings, (metric, depth)) in problems.items():

        def quality(model: LinRFM, fold: Fold = fold, metric: str = metric, depth: int = depth) -> float:
            model.user_factors = model.recalculate_user(np.arange(fold.train.shape[0]), fold.train)
            values, _ = evaluate(model, fold, [depth])
            return mean_over_users(values[f"{metric}@{depth}"])

        for dtype in (np.float64, np.float32):
            data = csr_matrix(fold.train, dtype=dtype)

            def model(settings: dict[str, float] = settings, dtype: Any = dtype) -> LinRFM:
                return LinRFM(arguments.factors, **settings, dtype=dtype)

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
            options = {"show_progress": False, "callback": lambda _, seconds, __: taken.append(seconds)}  # noqa: B023
            fit(blocks_of(data[:5000]), client, LinRFM(arguments.factors), **options)  # loads the kernels
            taken.clear()
            begun = time.perf_counter()
            fit(blocks_of(data), client, LinRFM(arguments.factors), **options)
            whole = time.perf_counter() - begun
        result.setdefault(f"{n_workers} workers", []).append({"rounds": taken, "with sending the data": whole})
        print(n_workers, sum(taken), taken, whole, flush=True)
    one, two = (min(sum(run["rounds"]) for run in result[f"{n} workers"]) for n in (1, 2))
    result["two workers' time / one's"] = two / one
    begun = time.perf_counter()
    LinRFM(arguments.factors, num_threads=1).fit(data, show_progress=False)
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
            LinRFM(arguments.factors),
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
    sizes = Sizes(n_users, n_items, n, arguments.factors, 4)
    result["blocks"] = number_of_blocks(sizes, None)
    result["formula for a worker, GB"] = sizes.worker_bytes(result["blocks"], arguments.workers, 1) / 1e9
    result["dense matrix, GB"] = 4 * n_users * n_items / 1e9
    print(json.dumps(result, indent=1))
    return result


def recommend(arguments: argparse.Namespace) -> dict[str, Any]:
    root = arguments.scratch
    shutil.rmtree(root / "recommendations", ignore_errors=True)
    table = TableModel.load(root / "model.rfm")
    with cluster(arguments.workers, arguments.memory) as client:
        workers = client.run(os.getpid)
        watch = Watch()
        watch.start()
        recommend_all(table, root / "users", root / "recommendations", client, show_progress=arguments.progress)
        result: dict[str, Any] = watch.mark()
        watch.stopped.set()
        result["peak, GB"] = peaks(watch, workers)
    files = sorted((root / "recommendations").iterdir())
    result["users"] = sum(int(pd.read_parquet(file, columns=["user_id"])["user_id"].nunique()) for file in files)
    print(json.dumps(result, indent=1))
    return result


def faults(arguments: argparse.Namespace) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    root = Path(tempfile.mkdtemp())
    log = root / "log"
    log.mkdir()
    table = synthetic_movielens(3000, 1500, 300_000)
    frame = pd.DataFrame({"user_id": table.users, "item_id": table.items, "rating": table.values})
    frame = frame.sample(frac=1, random_state=0)
    for k, part in enumerate(np.array_split(np.arange(len(frame)), 4)):
        frame.iloc[part].to_parquet(log / f"{k}.parquet", row_group_size=20_000)
    kills = []
    with cluster(2) as client:
        client.wait_for_workers(2)

        def run(k: int) -> tuple[bytes, float]:
            begun = time.perf_counter()
            fitted = fit(log, client, LinRFM(64, iterations=3), users=root / f"users-{k}", show_progress=False)
            return fitted.model.item_factors.tobytes(), time.perf_counter() - begun

        run(-2)  # loads the kernels
        expected, usual = run(-1)
        users = {file.name: pd.read_parquet(file) for file in (root / "users--1").iterdir()}
        for k in range(arguments.kills):
            client.wait_for_workers(2)
            moment = float(rng.uniform(0, usual))
            victim = int(rng.choice(sorted(client.run(os.getpid).values())))
            killer = threading.Timer(moment, os.kill, (victim, signal.SIGKILL))
            killer.start()
            bits, seconds = run(k)
            killer.join()
            same = bits == expected and all(_same(root / f"users-{k}" / name, one) for name, one in users.items())
            kills.append({"killed after": moment, "seconds": seconds, "same": same})
            print(k, kills[-1], flush=True)
        resumed = resume(root, log, client.scheduler.address)
    shutil.rmtree(root)
    result = {"usual seconds": usual, "kills": kills, "all the same": all(kill["same"] for kill in kills)} | resumed
    print(json.dumps({key: value for key, value in result.items() if key != "kills"}, indent=1))
    return result


def _same(path: Path, expected: pd.DataFrame) -> bool:
    found = pd.read_parquet(path)
    return bool(
        found["user_id"].equals(expected["user_id"])
        and np.array_equal(np.stack(found["factors"]), np.stack(expected["factors"]))
    )


CLIENT = """
import sys
from distributed import Client
from rfm_recsys import LinRFM
from rfm_recsys.distributed import fit
log, checkpoint, address, out = sys.argv[1:]
seen = []
with Client(address) as client:
    fitted = fit(log, client, LinRFM(64, iterations=8), checkpoint=checkpoint, show_progress=False,
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
    parser.add_argument("--factors", type=int, default=64)
    parser.add_argument("--interactions", type=int, help="of scaling, log and large")
    parser.add_argument("--workers", type=int, default=2, help="of large")
    parser.add_argument("--memory", default="3GiB", help="of each worker, of large")
    parser.add_argument("--scratch", type=Path, default="scratch", help="folder of log, large and recommend")
    parser.add_argument("--progress", action="store_true")
    parser.add_argument("--kills", type=int, default=20)
    arguments = parser.parse_args()
    path = RESULTS / "distributed.json"
    for part in PARTS:
        if part.__name__ in arguments.parts:
            found = part(arguments)
            result = json.loads(path.read_text()) if path.exists() else {}
            path.write_text(json.dumps(result | {part.__name__: found}, indent=1) + "\n")


PARTS = (agreement, scaling, log, large, recommend, faults)

if __name__ == "__main__":
    main()
