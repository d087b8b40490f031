"""A table model in MLflow's generic flavour: saved, loaded, and asked for its lists."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from rfm_recsys import LinRFM, TableModel

mlflow = pytest.importorskip("mlflow", reason="needs mlflow, which tests/wrappers/run installs")


class Recommender(mlflow.pyfunc.PythonModel):  # type: ignore[misc, name-defined, unused-ignore]
    def __init__(self, model: TableModel) -> None:
        self.model = model

    def predict(self, context: Any, model_input: pd.DataFrame, params: Any = None) -> pd.DataFrame:
        return self.model.recommend(model_input["user_id"].tolist(), unknown="popular")


def test_pyfunc_holds_a_table_model(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"user_id": rng.integers(0, 30, 400), "item_id": rng.integers(0, 20, 400)})
    model = TableModel.from_table(table, LinRFM(4), show_progress=False)
    mlflow.pyfunc.save_model(str(tmp_path / "served"), python_model=Recommender(model))
    served = mlflow.pyfunc.load_model(str(tmp_path / "served"))
    users = pd.DataFrame({"user_id": [3, 17, 999]})
    pd.testing.assert_frame_equal(served.predict(users), model.recommend([3, 17, 999], unknown="popular"))
