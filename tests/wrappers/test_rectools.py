"""LinRFM inside RecTools' ``ImplicitALSWrapperModel``."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from places import DOCS

from rfm_recsys import LinRFM

pytest.importorskip("rectools", reason="RecTools is not installed: tests/wrappers/run rectools")

import pandas as pd
from rectools import Columns
from rectools.dataset import Dataset
from rectools.models import ImplicitALSWrapperModel, load_model


def interactions() -> pd.DataFrame:
    """Let 300 users like about a fifth of 200 items, by five features."""
    rng = np.random.default_rng(0)
    features = rng.normal(size=(300, 5)) @ rng.normal(size=(5, 200))
    users, items = np.nonzero(features > 2)
    day = pd.Timestamp("2024-01-01")
    return pd.DataFrame(
        {Columns.User: users + 1000, Columns.Item: items + 5000, Columns.Weight: 1.0, Columns.Datetime: day}
    )


USERS = interactions()[Columns.User].unique()[:60]


@pytest.fixture(scope="module", autouse=True)
def register() -> None:
    """Run what the documentation says."""
    (block,) = (
        block
        for block in re.findall(r"```python\n(.*?)```", (DOCS / "implicit.md").read_text(), re.DOTALL)
        if "rectools" in block
    )
    names: dict[str, Any] = {}
    exec(compile(block, str(DOCS / "implicit.md"), "exec"), names)
    assert type(names["model"]) is ImplicitALSWrapperModel


@pytest.fixture(scope="module")
def dataset() -> Any:
    return Dataset.construct(interactions())


def test_it_recommends_what_the_model_does(dataset: Any) -> None:
    wrapper = ImplicitALSWrapperModel(LinRFM(32)).fit(dataset)
    data = dataset.get_user_item_matrix(include_weights=True).astype(np.float32)
    model = LinRFM(32).fit(data, show_progress=False)
    np.testing.assert_array_equal(wrapper.model.user_factors, model.user_factors)
    np.testing.assert_array_equal(wrapper.model.item_factors, model.item_factors)
    internal = dataset.user_id_map.convert_to_internal(USERS)
    for filter_viewed in (True, False):
        listed = wrapper.recommend(USERS, dataset, k=10, filter_viewed=filter_viewed)
        ids, scores = model.recommend(internal, data[internal], N=10, filter_already_liked_items=filter_viewed)
        np.testing.assert_array_equal(listed[Columns.User], np.repeat(USERS, 10))
        np.testing.assert_array_equal(listed[Columns.Item], dataset.item_id_map.convert_to_external(ids.ravel()))
        np.testing.assert_allclose(listed[Columns.Score], scores.ravel(), rtol=1e-4, atol=1e-5)


def test_similar_items_are_those_of_the_model(dataset: Any) -> None:
    wrapper = ImplicitALSWrapperModel(LinRFM(32)).fit(dataset)
    items = dataset.item_id_map.convert_to_external(np.arange(20))
    listed = wrapper.recommend_to_items(items, dataset, k=5, filter_itself=True)
    ids, _ = wrapper.model.similar_items(np.arange(20), N=6)
    np.testing.assert_array_equal(listed[Columns.Item], dataset.item_id_map.convert_to_external(ids[:, 1:].ravel()))


def test_only_whitelisted_items_are_recommended(dataset: Any) -> None:
    wrapper = ImplicitALSWrapperModel(LinRFM(32)).fit(dataset)
    allowed = dataset.item_id_map.convert_to_external(np.arange(30))
    listed = wrapper.recommend(USERS, dataset, k=5, filter_viewed=False, items_to_recommend=allowed)
    assert listed[Columns.Item].isin(allowed).all()


def test_a_fit_leaves_the_model_that_was_given_as_it_was_and_a_refit_is_fresh(dataset: Any) -> None:
    model = LinRFM(32)
    wrapper = ImplicitALSWrapperModel(model).fit(dataset)
    assert model.user_factors is None
    first = wrapper.model.user_factors
    np.testing.assert_array_equal(wrapper.fit(dataset).model.user_factors, first)


def test_partial_fits_are_fresh_fits_of_so_many_rounds(dataset: Any) -> None:
    wrapper = ImplicitALSWrapperModel(LinRFM(32))
    data = dataset.get_user_item_matrix(include_weights=True).astype(np.float32)
    for rounds in (1, 2):
        wrapper.fit_partial(dataset, epochs=rounds)
        model = LinRFM(32, iterations=rounds).fit(data, show_progress=False)
        np.testing.assert_array_equal(wrapper.model.user_factors, model.user_factors)


def test_explicit_features_are_fitted_beside_it() -> None:
    table = interactions()
    features = pd.DataFrame(
        {"id": table[Columns.User].unique(), "value": table[Columns.User].unique() % 3, "feature": "third"}
    )
    dataset = Dataset.construct(table, user_features_df=features, cat_user_features=["third"])
    wrapper = ImplicitALSWrapperModel(LinRFM(32)).fit(dataset)
    users, items = wrapper.get_vectors()
    assert users.shape[1] == items.shape[1] == 35
    listed = wrapper.recommend(USERS, dataset, k=10, filter_viewed=True)
    assert len(listed) == 600


def test_configurations_make_the_model_again(dataset: Any) -> None:
    wrapper = ImplicitALSWrapperModel(LinRFM(16, alpha=5.0, random_state=3))
    twin = ImplicitALSWrapperModel.from_config(wrapper.get_config())
    assert type(twin._model) is LinRFM
    assert twin._model.get_params() == wrapper._model.get_params()
    params = wrapper.get_params(simple_types=True)
    assert params["model.cls"] == "rfm_recsys.model.LinRFM"
    np.testing.assert_array_equal(twin.fit(dataset).model.user_factors, wrapper.fit(dataset).model.user_factors)


def test_a_fitted_wrapper_is_saved_and_loaded(dataset: Any, tmp_path: Path) -> None:
    wrapper = ImplicitALSWrapperModel(LinRFM(16)).fit(dataset)
    wrapper.save(tmp_path / "model.pkl")
    loaded = load_model(tmp_path / "model.pkl")
    pd.testing.assert_frame_equal(
        loaded.recommend(USERS, dataset, k=10, filter_viewed=True),
        wrapper.recommend(USERS, dataset, k=10, filter_viewed=True),
    )
