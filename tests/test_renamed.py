"""Former names work for one more release, each with a warning that says the new one."""

import importlib
import pickle

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from rfm_recsys import LinRFM, complete
from rfm_recsys.report import comparison


@pytest.mark.parametrize(
    ("module", "name"),
    [("rfm_recsys.model", "LinRFM"), ("rfm_recsys.recovery", "complete"), ("rfm_recsys.recovery", "Completion")],
)
def test_a_former_place_gives_the_same_object(module: str, name: str) -> None:
    with pytest.warns(DeprecationWarning, match=rf"{module}.{name} is now rfm_recsys.{name}"):
        former = getattr(importlib.import_module(module), name)
    assert former is getattr(importlib.import_module("rfm_recsys"), name)
    with pytest.raises(AttributeError, match="no attribute 'other'"):
        _ = importlib.import_module(module).other


def test_the_former_place_of_the_report_gives_the_same_function() -> None:
    with pytest.warns(DeprecationWarning, match=r"is now rfm_recsys.report.comparison"):
        former = importlib.import_module("rfm_recsys.evaluation.report").write_report
    assert former is comparison.write_report


def test_pickles_of_before_load() -> None:
    data = csr_matrix(np.eye(6) + np.eye(6, k=1))
    model, completion = LinRFM(3).fit(data, show_progress=False), complete(data, iterations=2)
    for value, now, before in (
        (model, b"rfm_recsys.recommender.model", b"rfm_recsys.model"),
        (completion, b"rfm_recsys.completion.model", b"rfm_recsys.recovery"),
    ):
        former = pickle.dumps(value, protocol=0).replace(now, before)
        assert now not in former
        with pytest.warns(DeprecationWarning, match="is now"):
            loaded = pickle.loads(former)
        assert type(loaded) is type(value)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(model)).user_factors, model.user_factors)
