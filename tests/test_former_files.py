"""Files that version 0.1.0 wrote before its tree was rearranged load, and give the answers that it gave."""

import numpy as np
import pytest
from places import TESTS
from scipy.sparse import csr_matrix

from rfm_recsys import LinRFM, LinRFMRatings

FILES = TESTS / "files"
DATA = csr_matrix(np.array([[1.0, 2, 0], [0, 1, 1], [3, 0, 1], [1, 1, 0]]))


@pytest.mark.parametrize(("name", "factors"), [("low_rank", 2), ("full", None)])
def test_a_model(name: str, factors: int | None) -> None:
    model = LinRFM.load(FILES / f"{name}.npz")
    assert model.factors == factors
    fitted = LinRFM(**model.get_params()).fit(DATA, show_progress=False)
    for answer, twin in zip(model.recommend(0, DATA[0], N=3), fitted.recommend(0, DATA[0], N=3), strict=True):
        np.testing.assert_allclose(answer, twin, rtol=1e-4)


def test_ratings() -> None:
    model = LinRFMRatings.load(FILES / "ratings.npz")
    np.testing.assert_allclose(model.predict([0, 1], [1, 2]), [1.3962741, 1.1832942], rtol=1e-5)


def test_a_table() -> None:
    tables = pytest.importorskip("rfm_recsys.tables", reason="the extra 'tables' is not installed")
    recommended = tables.TableModel.load(FILES / "table.rfm").recommend("ann")
    assert recommended["item_id"].tolist() == ["z"]
