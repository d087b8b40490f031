"""On a cluster: the factors of one machine, whatever the workers, and what becomes of them."""

import copy
import json
import os
import re
import shutil
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import dask
import naive
import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix

pytest.importorskip("distributed", reason="the extra 'distributed' is not installed")

import dask.dataframe as dd
from distributed import Client, LocalCluster

from rfm_recsys import LinRFM
from rfm_recsys.cli.app import app
from rfm_recsys.core import kernels
from rfm_recsys.core.arrays import Floats, csr_arrays
from rfm_recsys.core.parameters import checked
from rfm_recsys.core.runtime import threads
from rfm_recsys.datasets import Interactions, synthetic_movielens
from rfm_recsys.distributed import blocks as blocks_module
from rfm_recsys.distributed import fit, layout, plan, recommend_all, with_users
from rfm_recsys.distributed.blocks import DistributedBlocks, Passes, conjugate_gradients
from rfm_recsys.errors import DataError, InsufficientMemoryError, ParameterError, ParameterTypeError, ParameterWarning
from rfm_recsys.recommender.blocks import Settings, UserBlock
from rfm_recsys.recommender.tuning import FALLBACK
from rfm_recsys.tables import TableModel

FACTORS = 16


@pytest.fixture(scope="module")
def data() -> Interactions:
    return synthetic_movielens(600, 300, 20_000)


@pytest.fixture(scope="module")
def matrix(data: Interactions) -> csr_matrix:
    return data.to_csr()


@pytest.fixture(scope="module")
def frame(data: Interactions) -> pd.DataFrame:
    """Return the table of the interactions, with ids of strings, its rows in no order."""
    table = pd.DataFrame(
        {"user_id": [f"u{user:04}" for user in data.users], "item_id": 3 * data.items + 5, "rating": data.values}
    )
    return table.sample(frac=1, random_state=0, ignore_index=True)


@contextmanager
def cluster(n_workers: int, processes: bool) -> Iterator[Client]:
    options = {"threads_per_worker": 1, "processes": processes, "dashboard_address": None}
    with LocalCluster(n_workers=n_workers, **options) as workers, Client(workers) as client:
        yield client


@pytest.fixture(scope="module")
def processes() -> Iterator[Client]:
    with cluster(2, processes=True) as client:
        yield client


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    """Return the client of a cluster within this process."""
    with cluster(2, processes=False) as client:
        yield client


def parts(matrix: csr_matrix, *bounds: int) -> list[csr_matrix]:
    ends = [0, *bounds, matrix.shape[0]]
    return [matrix[first:last] for first, last in pairwise(ends)]


def distance(A: Floats, B: Floats) -> float:
    return float(np.linalg.norm(A - B) / np.linalg.norm(B))


def model(**parameters: Any) -> LinRFM:
    return LinRFM(FACTORS, **{"iterations": 3, "dtype": np.float64, **parameters})


# --- the same factors ---


def test_the_factors_are_those_of_one_machine(processes: Client, matrix: csr_matrix) -> None:
    losses: list[Any] = []
    local = model(calculate_training_loss=True)
    local.fit(matrix, False, lambda *round: losses.append(round[2]))
    here: list[Any] = []
    blocks = parts(matrix, 50, 51, 400)
    fitted = fit(
        blocks,
        processes,
        model(calculate_training_loss=True),
        show_progress=False,
        callback=lambda *round: here.append(round[2]),
    )
    assert distance(fitted.model.item_factors, local.item_factors) < 1e-8
    np.testing.assert_allclose(here, losses, rtol=1e-10)
    np.testing.assert_allclose(fitted.model.item_weights_, local.item_weights_)
    assert fitted.model.noise_ == pytest.approx(local.noise_, rel=0.1)  # estimated on about as many users of each block
    ids, _ = fitted.model.recommend(np.arange(600), matrix, recalculate_user=True)
    expected, _ = local.recommend(np.arange(600), matrix)
    np.testing.assert_array_equal(ids, expected)
    local.user_factors = local.user_factors[:0]  # which are on the cluster, so that similar items do without
    np.testing.assert_array_equal(fitted.model.similar_items(3)[0], local.similar_items(3)[0])


def test_the_bits_do_not_depend_on_the_workers(processes: Client, client: Client, matrix: csr_matrix) -> None:
    blocks = parts(matrix, 100, 200, 300, 400)
    two = fit(blocks, processes, model(dtype=np.float32), show_progress=False).model.item_factors
    again = fit(blocks, client, model(dtype=np.float32), show_progress=False).model.item_factors
    with cluster(1, processes=False) as alone:
        one = fit(blocks, alone, model(dtype=np.float32), show_progress=False).model.item_factors
    assert two.tobytes() == again.tobytes() == one.tobytes()
    local = model(dtype=np.float32).fit(matrix, False)
    # rounding turns close eigenvectors, so that the products are closer than the factors
    assert distance(two @ two.T, local.item_factors @ local.item_factors.T) < 1e-3


def test_features_say_on_a_cluster_what_they_say_on_one_machine(client: Client, matrix: csr_matrix) -> None:
    features = np.random.default_rng(0).integers(0, 2, size=(300, 5))
    local = model().fit(matrix, False, item_features=features)
    fitted = fit(parts(matrix, 300), client, model(), show_progress=False, item_features=features).model
    assert distance(fitted.item_factors, local.item_factors) < 1e-8
    np.testing.assert_allclose(fitted.agop_of("item"), local.agop_of("item"), rtol=1e-6)
    with pytest.raises(ParameterError, match="item_features for matrices"):
        fit(parts(matrix, 300), client, model(), show_progress=False, item_table=pd.DataFrame())


def test_a_table_of_items_is_taken_in_on_a_cluster(client: Client, folder: Path, small_parts: None) -> None:
    ids = pd.concat([pd.read_parquet(file) for file in sorted(folder.glob("*"))])["item_id"].unique()
    films = pd.DataFrame(
        {"item_id": [*sorted(ids), 9999], "genre": [["a", "b", "c"][k % 3] for k in range(len(ids) + 1)]}
    )
    table = fit(str(folder), client, model(), show_progress=False, item_table=films)
    assert table.item_ids[-1] == 9999
    assert table.item_table is not None
    assert table.item_table.features.shape == (len(films), 3)
    assert table.model.item_factors[-1].any()
    assert len(table.feature_weights()) == 3
    assert len(table.recommend_for([table.item_ids[0]], N=5)) == 5


def test_one_block_is_the_local_fit_to_rounding(client: Client, matrix: csr_matrix) -> None:
    alone = fit([matrix], client, model(iterations=1, dtype=np.float32), show_progress=False).model.item_factors
    assert alone.tobytes() == model(iterations=1, dtype=np.float32).fit(matrix, False).item_factors.tobytes()


def test_confidences_of_very_different_sizes_are_solved_as_exactly(client: Client, matrix: csr_matrix) -> None:
    wide = matrix.astype(np.float64)
    wide.data = 10 ** np.random.default_rng(0).uniform(-4, 4, wide.nnz)
    fitted = fit(parts(wide, 300), client, model(iterations=2), show_progress=False).model.item_factors
    local = model(iterations=2).fit(wide, False).item_factors
    assert distance(fitted @ fitted.T, local @ local.T) < 1e-7


def test_conjugate_gradients_in_lock_step_are_those_of_the_kernel(matrix: csr_matrix) -> None:
    rng = np.random.default_rng(1)
    confidence = csr_matrix(matrix.astype(np.float64) * 7)
    confidence.data[::5] *= -1
    confidence.data[confidence.indptr[9] : confidence.indptr[10]] *= -np.sign(confidence[9].data)  # disliked by all
    worst = int(np.diff(confidence.indptr).argmax())
    entries = slice(confidence.indptr[worst], confidence.indptr[worst + 1])
    confidence.data[entries] = 10 ** rng.uniform(-9, 9, confidence[worst].nnz)
    F = rng.normal(size=(300, 60))
    F *= 0.95 / np.linalg.norm(F, 2)
    expected = naive.solve_rows(confidence, F)

    def product(chosen: Any, P: Floats) -> Floats:
        out = np.empty_like(P)
        kernels.gram_products(csr_arrays(confidence), F, chosen, P, out)
        return out

    with threads(1):
        x, left = conjugate_gradients(product, np.maximum(confidence.toarray(), 0) @ F)
    assert left.tolist() == [worst]
    assert not x[9].any()
    kept = np.arange(600) != worst
    np.testing.assert_allclose(x[kept], expected[kept], atol=1e-10)


def test_a_task_leaves_what_it_is_given_as_it_was(client: Client, matrix: csr_matrix) -> None:
    block = UserBlock(csr_matrix(matrix * np.float32(7)))
    passes = Passes(client, False)
    users = DistributedBlocks(passes, [client.submit(csr_matrix, matrix)], csr_matrix, 7.0, 2)
    settings = Settings.of(checked(LinRFM(FACTORS, **FALLBACK)))
    users.weigh(settings, 30.0)
    (held,) = client.gather(users.blocks[0])
    names = sorted(vars(held))
    Q = np.random.default_rng(0).normal(size=(300, 24)).astype(np.float32)
    first = users.agop_product(settings, np.ones(300, dtype=np.float32), Q)
    users.solve(0.01 * Q[:, :FACTORS])
    U = client.gather(users.U[0])[0].copy()
    users.losses()
    users.solve_items(np.eye(FACTORS))
    assert first.tobytes() == users.agop_product(settings, np.ones(300, dtype=np.float32), Q).tobytes()
    users.solve(0.01 * Q[:, :FACTORS])
    assert client.gather(users.U[0])[0].tobytes() == U.tobytes()
    assert sorted(vars(held)) == names
    for name in ("indptr", "indices", "confidence"):
        assert getattr(held, name).tobytes() == getattr(block, name).tobytes()


def test_what_is_left_out_is_chosen_as_by_the_local_fit(client: Client, matrix: csr_matrix) -> None:
    local = LinRFM(FACTORS, dtype=np.float64, trials=9).fit(matrix, show_progress=False)
    table = fit([matrix[:150], matrix[150:]], client, LinRFM(FACTORS, dtype=np.float64, trials=9), show_progress=False)
    assert table.model.chosen_ == local.chosen_
    assert table.model.search_ == local.search_
    assert len(local.search_) == 9
    given = LinRFM(FACTORS, **FALLBACK)
    assert fit([matrix], client, given, show_progress=False).model.search_ == []


# --- tables ---


@pytest.fixture(scope="module")
def folder(frame: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of three Parquet files, one of them in several row groups, with some rows twice."""
    path = tmp_path_factory.mktemp("interactions")
    doubled = pd.concat([frame, frame[:500].assign(rating=2.0)], ignore_index=True)
    for k, (first, last) in enumerate([(0, 7000), (7000, 7001), (7001, len(doubled))]):
        doubled[first:last].to_parquet(path / f"part-{k}.parquet", row_group_size=4000, index=False)
    return path


@pytest.fixture(scope="module")
def local(folder: Path) -> TableModel:
    table = pd.concat([pd.read_parquet(file) for file in sorted(folder.glob("*"))], ignore_index=True)
    return TableModel.from_table(table, model(), show_progress=False)


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout, "PART_ROWS", 5000)


def test_a_folder_of_parquet_is_fitted_and_recommended_from(
    processes: Client, folder: Path, local: TableModel, small_parts: None, tmp_path: Path
) -> None:
    report, users, recommendations = tmp_path / "report.html", tmp_path / "users", tmp_path / "recommendations"
    fitted = fit(folder, processes, model(), users=users, blocks=5, show_progress=False, report=report)
    assert "<html" in report.read_text()
    assert fitted.item_ids.tolist() == local.item_ids.tolist()
    assert distance(fitted.model.item_factors, local.model.item_factors) < 1e-8
    found = pd.read_parquet(users).set_index("user_id").sort_index()
    assert found.index.tolist() == local.user_ids.tolist()
    assert distance(np.stack(found["factors"].tolist()), local.model.user_factors) < 1e-8
    assert [sorted(items) for items in found["items"]] == [row.indices.tolist() for row in local.user_items]
    assert len([*users.iterdir()]) == 5

    recommend_all(fitted, users, recommendations, processes, N=7, show_progress=False)
    written = pd.read_parquet(recommendations).sort_values(["user_id", "rank"], ignore_index=True)
    pd.testing.assert_frame_equal(written, local.recommend(N=7), check_dtype=False)
    assert sorted(os.listdir(tmp_path)) == ["recommendations", "report.html", "users"]

    fitted.save(tmp_path / "model.rfm")
    loaded = TableModel.load(tmp_path / "model.rfm")
    without = copy.deepcopy(local)
    without.model.user_factors = local.model.user_factors[:0]  # which are on the cluster: similar items do without
    pd.testing.assert_frame_equal(loaded.similar(8), without.similar(8), check_exact=False)


def test_users_of_a_folder_are_looked_up_without_a_cluster(
    client: Client, folder: Path, local: TableModel, small_parts: None, tmp_path: Path
) -> None:
    users = tmp_path / "users"
    fitted = fit(folder, client, model(), users=users, blocks=5, show_progress=False)
    some = ["u0003", "u0599", "u0100", "nobody", 7]
    table = with_users(fitted, users, some)
    assert table.user_items.data.max() == 5
    assert sorted(table.user_ids) == ["u0003", "u0100", "u0599"]
    pd.testing.assert_frame_equal(
        table.recommend(some[:3]), local.recommend(some[:3]), check_dtype=False, check_exact=False
    )
    item = int(local.recommend("u0100", 1)["item_id"][0])
    score, shares = table.explain("u0100", item)
    expected, own = local.explain("u0100", item)
    assert score == pytest.approx(expected, rel=1e-6)
    pd.testing.assert_frame_equal(shares, own, check_dtype=False, rtol=1e-6)
    new = pd.DataFrame({"user_id": ["u0003", "u0100"], "item_id": [8, 11], "rating": [5.0, 1.0]})
    after, expected_after = (copy.deepcopy(each).update(new) for each in (table, local))
    pd.testing.assert_frame_equal(
        after.recommend(some[:3]), expected_after.recommend(some[:3]), check_dtype=False, check_exact=False
    )
    assert table.recommend("nobody", unknown="skip").empty
    alone = with_users(fitted, users, "u0003")
    assert alone.user_ids.tolist() == ["u0003"]
    assert with_users(fitted, users, "nobody").user_ids.tolist() == []
    (users / "block-00002.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(DataError, match=r"block-00002\.parquet is no file of users of this model"):
        with_users(fitted, users, "u0003")


def test_a_stored_0_is_an_item_that_the_user_has(client: Client, tmp_path: Path) -> None:
    """As on one machine: it is not recommended again, and plays no part in the fit."""
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"user_id": np.repeat(np.arange(60), 12), "item_id": rng.integers(0, 40, 720)})
    table = table.drop_duplicates().assign(rating=lambda frame: rng.integers(0, 6, len(frame)))
    table.to_parquet(tmp_path / "table.parquet")
    own = TableModel.from_table(table, model(), show_progress=False)
    fitted = fit(tmp_path / "table.parquet", client, model(), users=tmp_path / "users", show_progress=False)
    recommend_all(fitted, tmp_path / "users", tmp_path / "recommendations", client, N=40, show_progress=False)
    written = pd.read_parquet(tmp_path / "recommendations").sort_values(["user_id", "rank"], ignore_index=True)
    assert len(written) == 60 * 40 - len(table)
    expected = own.recommend(N=40)
    assert set(zip(written["user_id"], written["item_id"], strict=False)) == set(
        zip(expected["user_id"], expected["item_id"], strict=False)
    )
    looked_up = with_users(fitted, tmp_path / "users", [3]).user_items
    assert looked_up.nnz == (table["user_id"] == 3).sum()


def test_integer_ids_are_looked_up_as_integers(client: Client, matrix: csr_matrix, tmp_path: Path) -> None:
    fitted = fit(
        [matrix[:300], matrix[300:]], client, model(iterations=1), users=tmp_path / "users", show_progress=False
    )
    assert sorted(with_users(fitted, tmp_path / "users", [5, 599, "5", 2.5, 300.0, 600]).user_ids) == [5, 300, 599]


def test_folders_are_replaced_on_request_when_the_new_one_is_whole(
    client: Client, matrix: csr_matrix, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    users, recommendations = tmp_path / "users", tmp_path / "recommendations"
    short: dict[str, Any] = {"model": model(iterations=1), "users": users, "show_progress": False}
    fitted = fit([matrix[:300], matrix[300:]], client, **short)
    recommend_all(fitted, users, recommendations, client, show_progress=False)
    for again in (
        lambda **how: fit([matrix], client, **short, **how),
        lambda **how: recommend_all(fitted, users, recommendations, client, show_progress=False, **how),
    ):
        with pytest.raises(ParameterError, match="pass overwrite=True to replace it"):
            again()
        with monkeypatch.context() as context:
            context.setattr("rfm_recsys.distributed.users.parquet.ParquetWriter.write_table", _no_room)
            context.setattr("rfm_recsys.tables.TableModel.recommend_all", _no_room)
            with pytest.raises(OSError, match="No space left"):
                again(overwrite=True)
        assert [len([*folder.iterdir()]) for folder in (users, recommendations)] == [2, 2]
    fit([matrix], client, **short, overwrite=True)
    assert len([*users.iterdir()]) == 1
    recommend_all(fitted, users, recommendations, client, show_progress=False, overwrite=True)
    assert len([*recommendations.iterdir()]) == 1
    assert sorted(os.listdir(tmp_path)) == ["recommendations", "users"]
    (recommendations / "mine.txt").touch()
    with pytest.raises(ParameterError, match=r"it holds mine\.txt, which is none of its files"):
        recommend_all(fitted, users, recommendations, client, show_progress=False, overwrite=True)


def _no_room(*_: Any, **__: Any) -> None:
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("duplicates", ["sum", "last"])
def test_a_dask_dataframe_is_fitted(
    client: Client, folder: Path, duplicates: Any, small_parts: None, tmp_path: Path
) -> None:
    table = pd.concat([pd.read_parquet(file) for file in sorted(folder.glob("*"))], ignore_index=True)
    table["day"] = pd.Timestamp(2020, 1, 1) - pd.to_timedelta(np.arange(len(table)), unit="s")  # the first is the last
    table["user"] = pd.Categorical(table.pop("user_id"))
    named: dict[str, Any] = {"user": "user", "item": "item_id", "value": "rating", "timestamp": "day"}
    from rfm_recsys.datasets import from_frame

    fitted = fit(
        dd.from_pandas(table, npartitions=4, sort=False),
        client,
        model(),
        users=tmp_path / "users",
        show_progress=False,
        duplicates=duplicates,
        **named,
    )
    same = model().set_params(**fitted.model.chosen_)  # the choice draws users, which are in another order here
    expected = TableModel.from_table(from_frame(table, duplicates=duplicates, **named), same, show_progress=False)
    assert distance(fitted.model.item_factors, expected.model.item_factors) < 1e-8
    assert sorted(pd.read_parquet(tmp_path / "users")["user_id"]) == expected.user_ids.tolist()


def test_users_are_counted_from_the_least_of_their_hashes() -> None:
    users = pd.Series(np.arange(100_000) ** 2)
    roles = {"user": "user", "item": "item"}
    found = [
        layout._summary("", pd.DataFrame({"user": part, "item": 1}), roles) for part in (users[::2], users[::3], users)
    ]
    assert abs(layout._together(found).n_users / 100_000 - 1) < 0.1
    assert layout._together([layout._summary("", pd.DataFrame({"user": users[:70], "item": 1}), roles)]).n_users == 70


# --- blocks ---


def test_blocks_cost_the_same_and_heavy_buckets_stand_alone() -> None:
    entries = np.random.default_rng(0).poisson(1000, plan.BUCKETS)
    entries[[5, 3000]] = 500_000
    sizes = plan.Sizes(400_000, 10_000, int(entries.sum()), 64, 4)
    blocks = plan.deal_out(entries, sizes, 16)
    assert np.diff(blocks).min() >= 0
    assert set(np.diff(blocks)) == {0, 1}
    held = np.bincount(blocks, entries)
    rest = np.delete(held, blocks[[5, 3000]])
    assert held.max() < 900_000
    assert rest.max() < entries.sum() / 16 * 1.1


@pytest.mark.parametrize("n_blocks", [1, 2, 5, 8, 13, 32])
def test_sums_have_the_same_bits_whatever_the_groups(n_blocks: int) -> None:
    values = [np.random.default_rng(k).normal(size=9).astype(np.float32) for k in range(n_blocks)]
    level = values
    while len(level) > 1:  # the tree: neighbours, and the last of an odd row as it is
        level = [np.add(*level[k : k + 2]) if k + 1 < len(level) else level[k] for k in range(0, len(level), 2)]
    expected = level[0].tobytes()
    for n_threads in range(1, 9):
        bounds = plan.group_bounds(n_blocks, n_threads)
        assert bounds[0] == 0
        assert bounds[-1] == n_blocks
        assert len(bounds) - 1 <= n_threads
        groups = []
        for first, last in pairwise(bounds):
            nodes: dict[tuple[int, int], Any] = {}
            for block in range(first, last):
                nodes[0, block] = values[block]
                blocks_module._climb(nodes, (0, block), n_blocks)
            groups.append(nodes)
        while len(groups) > 1:
            groups = [
                blocks_module._together(groups[k], groups[k + 1], n_blocks) if k + 1 < len(groups) else groups[k]
                for k in range(0, len(groups), 2)
            ]
        (total,) = groups[0].values()
        assert total.tobytes() == expected
    assert plan.group_bounds(32, 2) == [0, 16, 32]


def test_a_local_cluster_keeps_a_worker_that_comes_back() -> None:
    """Dask gives it up when it is away again 15 seconds after it was lost, by its own default."""
    assert dask.config.get("distributed.deploy.lost-worker-timeout") == "10h"


def test_workers_are_counted_while_the_client_asks_for_news(client: Client) -> None:
    """Its heartbeat asks the scheduler without the workers, and `Client.scheduler_info` may return that answer."""
    done = threading.Event()

    def heartbeat() -> None:
        while not done.is_set():
            client.sync(client._update_scheduler_info)

    beating = threading.Thread(target=heartbeat)
    beating.start()
    try:
        assert [len(plan.workers_of(client)) for _ in range(100)] == 100 * [len(plan.workers_of(client))]
    finally:
        done.set()
        beating.join()


def test_few_users_make_no_empty_blocks() -> None:
    entries = np.zeros(plan.BUCKETS, dtype=np.int64)
    entries[[7, 8, 4095]] = 10
    blocks = plan.deal_out(entries, plan.Sizes(3, 10, 30, 4, 4), 8)
    assert np.bincount(blocks, entries).min() > 0


def test_the_number_of_blocks_grows_with_the_interactions_and_has_bounds() -> None:
    sizes = [plan.Sizes(n // 50, 1000, n, 64, 4) for n in (1000, 10**8, 10**9)]
    counts = [plan.number_of_blocks(size, None) for size in sizes]
    assert counts[0] == plan.LEAST_BLOCKS < counts[1] < counts[2]
    assert plan.number_of_blocks(sizes[0], 3) == 3
    with pytest.raises(ParameterError, match=r"blocks is 5000; pass a number in 1\.\.4096"):
        plan.number_of_blocks(sizes[0], 5000)


def test_too_little_memory_is_told_before_the_work(
    client: Client, folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    huge = plan.Sizes(10**9, 10**6, 10**11, 64, 4)
    with pytest.raises(InsufficientMemoryError, match=r"100,000,000,000 interactions.*GiB on each of 2 workers.*start"):
        plan.check_worker_memory(client, huge, plan.BUCKETS)
    monkeypatch.setattr(plan, "PROCESS_BYTES", 2**60)
    with pytest.raises(InsufficientMemoryError, match="give them more memory, pass fewer factors"):
        fit(folder, client, model(), users=tmp_path / "users", show_progress=False)
    assert not [*tmp_path.iterdir()]


# --- faults ---


def workers(client: Client) -> dict[str, int]:
    return dict(client.run(os.getpid))


@pytest.mark.parametrize(("moment", "victims"), [(0.3, 2), (1.1, 1)])
def test_killed_workers_change_no_bit(
    processes: Client, folder: Path, small_parts: None, moment: float, victims: int, tmp_path: Path
) -> None:
    def kill(pids: list[int]) -> None:
        for pid in pids:
            os.kill(pid, signal.SIGKILL)

    processes.wait_for_workers(2, timeout=60)
    short: dict[str, Any] = {"model": model(iterations=2), "blocks": 4, "show_progress": False}
    fitted = fit(folder, processes, users=tmp_path / "whole", **short)
    killer = threading.Timer(moment, kill, [sorted(workers(processes).values())[:victims]])
    killer.start()
    struck = fit(folder, processes, users=tmp_path / "struck", **short)
    killer.join()
    assert struck.model.item_factors.tobytes() == fitted.model.item_factors.tobytes()
    for file in sorted((tmp_path / "whole").iterdir()):
        pd.testing.assert_frame_equal(
            pd.read_parquet(file), pd.read_parquet(tmp_path / "struck" / file.name), check_exact=True
        )


def test_a_lost_worker_does_not_have_the_table_read_again(
    processes: Client, folder: Path, small_parts: None, tmp_path: Path
) -> None:
    """Its blocks are kept in files where there is a folder that all workers see."""
    table, seen = tmp_path / "table", list[int]()
    shutil.copytree(folder, table)
    short: dict[str, Any] = {"model": model(iterations=2), "blocks": 4, "show_progress": False}
    processes.wait_for_workers(2, timeout=60)
    fitted = fit(table, processes, users=tmp_path / "whole", **short)

    def strike(iteration: int, *_: Any) -> None:
        seen.append(iteration)
        if iteration == 0:
            shutil.rmtree(table)
            os.kill(min(workers(processes).values()), signal.SIGKILL)

    struck = fit(table, processes, users=tmp_path / "struck", callback=strike, **short)
    assert seen == [0, 1]
    assert struck.model.item_factors.tobytes() == fitted.model.item_factors.tobytes()
    assert sorted(os.listdir(tmp_path)) == ["struck", "whole"]


def test_a_fit_that_stopped_goes_on_from_its_checkpoint(client: Client, matrix: csr_matrix, tmp_path: Path) -> None:
    kept, blocks = tmp_path / "checkpoint", parts(matrix, 200, 400)
    whole = fit(blocks, client, model(), show_progress=False).model.item_factors

    def stop(iteration: int, *_: Any) -> None:
        if iteration == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(blocks, client, model(), show_progress=False, callback=stop, checkpoint=kept)
    seen: list[int] = []
    resumed = fit(blocks, client, model(), show_progress=False, callback=lambda i, *_: seen.append(i), checkpoint=kept)
    assert seen == [2]
    assert resumed.model.item_factors.tobytes() == whole.tobytes()
    again = fit(blocks, client, model(), show_progress=False, callback=lambda i, *_: seen.append(i), checkpoint=kept)
    assert seen == [2]
    assert again.model.item_factors.tobytes() == whole.tobytes()
    with pytest.warns(ParameterWarning, match="checkpoint of a fit to other interactions"):
        fit(parts(matrix, 201, 400), client, model(iterations=1), show_progress=False, checkpoint=kept)


def test_a_scheduler_that_is_gone_leaves_the_checkpoint(client: Client, matrix: csr_matrix, tmp_path: Path) -> None:
    kept, blocks = tmp_path / "checkpoint", parts(matrix, 200, 400)
    workers = LocalCluster(n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None)
    with Client(workers) as lost, pytest.raises(ConnectionError, match="goes on from the last round, kept in"):
        fit(blocks, lost, model(), show_progress=False, callback=lambda *_: workers.close(), checkpoint=kept)
    seen: list[int] = []
    fit(blocks, client, model(), show_progress=False, callback=lambda i, *_: seen.append(i), checkpoint=kept)
    assert seen == [1, 2]


def test_broken_files_are_named(client: Client, folder: Path, tmp_path: Path) -> None:
    whole = (folder / "part-2.parquet").read_bytes()
    (tmp_path / "a.parquet").write_bytes(whole)
    broken = tmp_path / "b.parquet"
    broken.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"b\.parquet cannot be read: .*; write or copy the file again"):
        fit(tmp_path, client, model(), show_progress=False)
    page = bytearray(whole)
    page[4:400] = bytes(396)
    broken.write_bytes(page)
    with pytest.raises(DataError, match=r"b\.parquet cannot be read"):
        fit(tmp_path, client, model(), show_progress=False)
    pd.DataFrame({"user_id": ["a"], "rating": [1.0]}).to_parquet(broken)
    with pytest.raises(DataError, match=r"b\.parquet has no column 'item_id'"):
        fit(tmp_path, client, model(), show_progress=False)
    pd.DataFrame({"user_id": ["a", None], "item_id": [1, 2], "rating": [1.0, 2.0]}).to_parquet(broken)
    with pytest.raises(DataError, match=r"b\.parquet, row 2 has no value in column 'user_id'"):
        fit(broken, client, model(), show_progress=False)
    pd.DataFrame({"user_id": ["a", "b"], "item_id": [1, 2], "rating": [1.0, np.inf]}).to_parquet(broken)
    with pytest.raises(DataError, match=r"b\.parquet: row 1 has inf in column 'rating', not a finite number"):
        fit(broken, client, model(), show_progress=False)
    pd.DataFrame({"user_id": [], "item_id": []}).to_parquet(broken)
    with pytest.raises(DataError, match="has no rows"):
        fit(broken, client, model(), show_progress=False)


def test_a_full_disk_is_one_clear_error_and_leaves_no_folder(
    client: Client, matrix: csr_matrix, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("rfm_recsys.distributed.users.parquet.ParquetWriter.write_table", full)
    with pytest.raises(OSError, match=r"cannot write this file: No space left on device; make room.*block-0000"):
        fit([matrix], client, model(iterations=1), users=tmp_path / "users", show_progress=False)
    assert not [*tmp_path.iterdir()]


# --- what is refused ---


def test_what_is_given_is_checked_before_the_work(client: Client, matrix: csr_matrix, tmp_path: Path) -> None:
    (tmp_path / "users").mkdir()
    (tmp_path / "users" / "mine").touch()
    cases: list[tuple[type[Exception], str, Any, dict[str, Any]]] = [
        (ParameterTypeError, "client is None", [matrix], {"client": None}),
        (ParameterTypeError, "model is 3", [matrix], {"model": 3}),
        (ParameterError, "the full form is for one machine", [matrix], {"model": LinRFM(None)}),
        (ParameterTypeError, "pass the path of Parquet files, a Dask DataFrame", matrix, {}),
        (ParameterTypeError, "pass the path of Parquet files, a Dask DataFrame", [], {}),
        (ParameterError, "not an empty folder", [matrix], {"users": tmp_path / "users"}),
        (FileNotFoundError, "there is no such folder", [matrix], {"users": tmp_path / "no" / "users"}),
        (FileNotFoundError, "there is no such folder", [matrix], {"checkpoint": tmp_path / "no" / "kept"}),
        (ParameterError, "duplicates is 'first'", [matrix], {"duplicates": "first"}),
        (ParameterError, "blocks is 0", [matrix], {"blocks": 0}),
        (ParameterTypeError, "callback is 3", [matrix], {"callback": 3}),
        (DataError, "there is no Parquet file", tmp_path / "nothing", {}),
        (DataError, "cannot be read", "nowhere://bucket", {}),
        (DataError, "block 1 of the interactions: the value of", [matrix, matrix * np.nan], {}),
        (DataError, "block 1 of the interactions .* 299 items", [matrix, matrix[:, :299]], {}),
        (DataError, "there is no liked interaction", [-matrix], {}),
        (
            DataError,
            "overflowed|out of the range|beyond float64",
            [matrix.astype(np.float64) * 1e304],
            {"model": model(values="confidence", alpha=1e10)},
        ),
    ]
    for error, match, interactions, options in cases:
        given = {"client": client, "model": model(), "show_progress": False, **options}
        with pytest.raises(error, match=match):
            fit(interactions, **given)


def test_users_of_another_model_are_refused(client: Client, matrix: csr_matrix, tmp_path: Path) -> None:
    fitted = fit([matrix], client, model(iterations=1), users=tmp_path / "users", show_progress=False)
    other = fit([matrix], client, LinRFM(4, iterations=1), show_progress=False)
    with pytest.raises(DataError, match="it has 16 factors, and the model 4"):
        recommend_all(other, tmp_path / "users", tmp_path / "out", client, show_progress=False)
    with pytest.raises(DataError, match="has no files of users"):
        recommend_all(fitted, tmp_path, tmp_path / "out", client, show_progress=False)
    (tmp_path / "users" / "block-00000.parquet").write_bytes(b"broken")
    with pytest.raises(DataError, match=r"block-00000\.parquet is no file of users of this model"):
        recommend_all(fitted, tmp_path / "users", tmp_path / "out", client, show_progress=False)
    assert sorted(os.listdir(tmp_path)) == ["users"]


def test_progress_ends_with_all_done(client: Client, matrix: csr_matrix, capsys: pytest.CaptureFixture[str]) -> None:
    blocks = [dask.delayed(part) for part in parts(matrix, 300)]
    fit(blocks, client, model(iterations=2), show_progress=True)
    shown = capsys.readouterr().err
    assert "LinRFM: 100%" in shown
    assert re.search(r"round 1 of 2: \S.*, block [12] of 2", shown)


# --- the command line ---


def test_the_command_line_fits_and_recommends_on_a_cluster(
    processes: Client, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*arguments: str) -> None:
        app([*arguments, "--scheduler", processes.scheduler.address], standalone_mode=False)

    saved, report = str(tmp_path / "m.rfm"), tmp_path / "report.html"
    run("fit", str(folder), "--model", saved, "--factors", "16", "--report", str(report))
    run("recommend", saved, "--all", "-N", "5", "--output", str(tmp_path / "recs"))
    assert "300 items: fitted in" in capsys.readouterr().out
    assert sorted(os.listdir(tmp_path)) == ["m.rfm", "m.rfm.users", "recs", "report.html"]
    table = pd.concat([pd.read_parquet(file) for file in sorted(folder.glob("*"))], ignore_index=True)
    written = pd.read_parquet(tmp_path / "recs").sort_values(["user_id", "rank"], ignore_index=True)
    chosen = TableModel.load(saved).model.chosen_
    expected = TableModel.from_table(table, LinRFM(16, **chosen), show_progress=False).recommend(N=5)
    assert written["user_id"].tolist() == expected["user_id"].tolist()
    assert np.mean(written["item_id"].to_numpy() == expected["item_id"].to_numpy()) > 0.99  # in single precision
    app(["recommend", saved, "--user", "u0007", "-N", "5", "--json"], standalone_mode=False)
    (tmp_path / "m.rfm.users").rename(tmp_path / "moved")
    app(["recommend", saved, "--user", "u0007", "--users", str(tmp_path / "moved"), "--json"], standalone_mode=False)
    beside, moved = capsys.readouterr().out.splitlines()[-15:-10], capsys.readouterr()
    own = written[written["user_id"] == "u0007"]["item_id"].tolist()
    assert [json.loads(line)["item_id"] for line in beside] == own
    assert moved.out == ""


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (["fit", "x", "--scheduler", "tcp://127.0.0.1:1", "--workers", "2"], "leave out --workers"),
        (["fit", "x.parquet", "--users", "u"], "--users, --overwrite and --report are for a cluster"),
        (["fit", "x.parquet", "--overwrite"], "--users, --overwrite and --report are for a cluster"),
        (["recommend", "x", "--user", "a", "--overwrite"], "--overwrite is for a cluster"),
        (["recommend", "x", "--user", "a", "--workers", "2"], "a cluster is for all users"),
    ],
)
def test_options_that_go_together_only_on_a_cluster(arguments: list[str], match: str) -> None:
    with pytest.raises(ParameterError, match=match):
        app(arguments, standalone_mode=False)


def test_the_command_line_starts_workers_on_request(folder: Path, tmp_path: Path) -> None:
    saved = str(tmp_path / "m.rfm")
    app(["fit", str(folder), "--model", saved, "--factors", "4", "--workers", "1"], standalone_mode=False)
    assert TableModel.load(saved).model.item_factors.shape == (300, 4)
