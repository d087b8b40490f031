"""A fit's memory, on Linux and where the system keeps no count of its own."""

import time
from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from rfm_recsys.evaluation import Candidate, Fold, Popularity, fitting

SIZE = 25_000_000  # doubles: 191 MiB


class Hungry(Popularity):
    """Holds an array for a moment as it fits."""

    def fit(self, user_items: csr_matrix, *, show_progress: bool = True) -> None:
        array = np.ones(SIZE)
        time.sleep(0.1)
        super().fit(user_items[: int(array[-1]) * user_items.shape[0]])


@pytest.mark.parametrize("account", [str(fitting.PROCESS), "no-such-folder"])
def test_the_peak_is_that_of_the_fit(account: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitting, "PROCESS", tmp_path / account)
    matrix = csr_matrix(np.eye(20, dtype=np.float32))
    fold = Fold(matrix, np.arange(20), matrix, matrix, known=True)
    monkeypatch.setattr(fitting, "_task", (fold, 5), raising=False)
    np.ones(2 * SIZE).sum()  # a higher peak, before the fit
    fitted = fitting._fit(Candidate("Hungry", Hungry), {}, 0)
    assert 150 < fitted.peak_memory_mib - fitted.memory_before_fit_mib < 250
    small = fitting._fit(Candidate("Popularity", Popularity), {}, 0)
    assert abs(small.peak_memory_mib - small.memory_before_fit_mib) < 50
