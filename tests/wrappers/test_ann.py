"""implicit's approximate nearest neighbours over LinRFM: annoy, Faiss and NMSLIB."""

import importlib
from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from rfm_recsys import LinRFM

USERS = np.arange(60)
OPTIONS = {"annoy": {}, "faiss": {"nlist": 4, "nprobe": 4, "use_gpu": False}, "nmslib": {}}
CLASSES = {"annoy": "AnnoyModel", "faiss": "FaissModel", "nmslib": "NMSLibModel"}


def data() -> csr_matrix:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(300, 5)) @ rng.normal(size=(5, 400))
    return csr_matrix(features + rng.normal(size=features.shape) > 3, dtype=np.float32)


@pytest.fixture(scope="module", params=OPTIONS)
def model(request: pytest.FixtureRequest) -> Any:
    pytest.importorskip(request.param, reason=f"{request.param} is not installed: tests/wrappers/run ann")
    module = pytest.importorskip(f"implicit.ann.{request.param}", reason="implicit is not installed")
    wrapper = getattr(module, CLASSES[request.param])(LinRFM(32), **OPTIONS[request.param])
    wrapper.fit(data(), show_progress=False)
    return wrapper


def overlap(ids: Iterable[Any], exact: Iterable[Any]) -> float:
    return float(np.mean([len(set(a) & set(b)) / len(b) for a, b in zip(ids, exact, strict=True)]))


def test_the_exact_model_is_fitted_inside(model: Any) -> None:
    exact = LinRFM(32).fit(data(), show_progress=False)
    np.testing.assert_array_equal(model.model.user_factors, exact.user_factors)
    np.testing.assert_array_equal(model.model.item_factors, exact.item_factors)


@pytest.mark.parametrize("filter_liked", [True, False])
def test_nearly_all_recommendations_are_those_of_the_exact_model(model: Any, filter_liked: bool) -> None:
    rows = data()[USERS]
    ids, scores = model.recommend(USERS, rows, N=10, filter_already_liked_items=filter_liked)
    exact, exact_scores = model.model.recommend(USERS, rows, N=10, filter_already_liked_items=filter_liked)
    assert ids.shape == (60, 10)
    assert overlap(ids, exact) > 0.9
    same = ids == exact
    np.testing.assert_allclose(scores[same], exact_scores[same], rtol=1e-2, atol=1e-3)
    one_ids, _ = model.recommend(7, rows[7], N=10, filter_already_liked_items=filter_liked)
    assert overlap([one_ids], [ids[7]]) == 1


def test_nearly_all_similar_items_are_those_of_the_exact_model(model: Any) -> None:
    exact = LinRFM(32).fit(data(), show_progress=False)
    ids, scores = model.similar_items(USERS, N=10)
    expected, expected_scores = exact.similar_items(USERS, N=10)
    assert overlap(ids, expected) > 0.9
    np.testing.assert_array_equal(ids[:, 0], USERS)
    same = ids == expected
    np.testing.assert_allclose(scores[same], expected_scores[same], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", [name for name in OPTIONS if name != "faiss"])
def test_the_exact_model_answers_where_no_index_is_wanted(name: str) -> None:
    pytest.importorskip(name, reason=f"{name} is not installed: tests/wrappers/run ann")
    wrapper = getattr(importlib.import_module(f"implicit.ann.{name}"), CLASSES[name])(
        LinRFM(32), approximate_recommend=False, approximate_similar_items=False, **OPTIONS[name]
    )
    wrapper.fit(data(), show_progress=False)
    rows = data()[USERS]
    for call, arguments in (("recommend", (USERS, rows)), ("similar_items", (USERS,))):
        answer, expected = getattr(wrapper, call)(*arguments), getattr(wrapper.model, call)(*arguments)
        np.testing.assert_array_equal(answer[0], expected[0])
        np.testing.assert_array_equal(answer[1], expected[1])
