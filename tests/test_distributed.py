"""On a cluster: the factors of one machine, whatever the workers, and what becomes of them."""

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dask
import naive
import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix, vstack

pytest.importorskip("distributed", reason="the extra 'distributed' is not installed")

import dask.dataframe as dd
from distributed import Client, LocalCluster

from rfm_recsys import LinRFM, kernels
from rfm_recsys.completion import UserBlock, csr_arrays, threads
from rfm_recsys.datasets import Interactions, synthetic_movielens
from rfm_recsys.distributed import fit, plan, recommend_all, tables
from rfm_recsys.distributed.blocks import DistributedBlocks, Passes, conjugate_gradients
from rfm_recsys.errors import DataError, InsufficientMemoryError, ParameterError, ParameterTypeError, ParameterWarning
from rfm_recsys.kernels import Floats
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


@pytest.fixture(scope="module")
def processes() -> Iterator[Client]:
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        yield client


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    """Return the client of a cluster within this process."""
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, processes=False, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        yield client


def parts(matrix: csr_matrix, *bounds: int) -> list[csr_matrix]:
    ends = [0, *bounds, matrix.shape[0]]
    return [matrix[first:last] for first, last in zip(ends[:-1], ends[1:], strict=True)]


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
    ids, _ = fitted.model.recommend(np.arange(600), matrix, recalculate_user=True)
    expected, _ = local.recommend(np.arange(600), matrix)
    np.testing.assert_array_equal(ids, expected)
    np.testing.assert_array_equal(fitted.model.similar_items(3)[0], local.similar_items(3)[0])


def test_the_bits_do_not_depend_on_the_workers(processes: Client, client: Client, matrix: csr_matrix) -> None:
    blocks = parts(matrix, 100, 200, 300, 400)
    two = fit(blocks, processes, model(dtype=np.float32), show_progress=False).model.item_factors
    again = fit(blocks, client, model(dtype=np.float32), show_progress=False).model.item_factors
    with (
        LocalCluster(n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None) as cluster,
        Client(cluster) as alone,
    ):
        one = fit(blocks, alone, model(dtype=np.float32), show_progress=False).model.item_factors
    assert two.tobytes() == again.tobytes() == one.tobytes()
    local = model(dtype=np.float32).fit(matrix, False)
    # rounding turns close eigenvectors, so that the products are closer than the factors
    assert distance(two @ two.T, local.item_factors @ local.item_factors.T) < 1e-3


def test_one_block_is_the_local_fit_to_rounding(client: Client, matrix: csr_matrix) -> None:
    alone = fit([matrix], client, model(iterations=1, dtype=np.float32), show_progress=False).model.item_factors
    assert alone.tobytes() == model(iterations=1, dtype=np.float32).fit(matrix, False).item_factors.tobytes()
