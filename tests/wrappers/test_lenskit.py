"""LinRFM as a scorer of lenskit, by its bridge to implicit."""

import re
from typing import Any

import numpy as np
import pytest
from places import DOCS

from rfm_recsys import LinRFM

pytest.importorskip("lenskit", reason="lenskit is not installed: tests/wrappers/run lenskit")

import pandas as pd
from lenskit.batch import recommend
from lenskit.data import ItemList, from_interactions_df
from lenskit.pipeline import topn_pipeline


@pytest.fixture(scope="module")
def scorer_class() -> Any:
    """Run what the documentation says."""
    (block,) = (
        block
        for block in re.findall(r"```python\n(.*?)```", (DOCS / "implicit.md").read_text(), re.DOTALL)
        if "lenskit" in block
    )
    names: dict[str, Any] = {"__name__": "documentation"}
    exec(compile(block, str(DOCS / "implicit.md"), "exec"), names)
    return names["LinRFMScorer"]


@pytest.fixture(scope="module")
def dataset() -> Any:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(300, 5)) @ rng.normal(size=(5, 200))
    users, items = np.nonzero(features > 3)
    return from_interactions_df(pd.DataFrame({"user_id": users + 1000, "item_id": items + 5000}))


def test_scores_are_those_of_the_model(scorer_class: Any, dataset: Any) -> None:
    scorer = scorer_class(factors=32)
    scorer.train(dataset)
    model = LinRFM(32).fit(scorer.matrix, show_progress=False)
    np.testing.assert_array_equal(scorer.user_embeddings, model.user_factors)
    np.testing.assert_array_equal(scorer.item_embeddings, model.item_factors)
    for user, some in ((1007, dataset.items.ids()[:50]), (1099, dataset.items.ids()[::-1])):
        scored = scorer(user, ItemList(item_ids=some))
        row, columns = dataset.users.number(user), dataset.items.numbers(some)
        expected = model.item_factors[columns] @ model.user_factors[row]
        np.testing.assert_allclose(scored.scores(), expected, rtol=1e-4, atol=1e-5)
    assert np.isnan(scorer(1007, ItemList(item_ids=[-1])).scores()).all()


def test_a_pipeline_recommends_what_the_model_does(scorer_class: Any, dataset: Any) -> None:
    pipeline = topn_pipeline(scorer_class(factors=32, iterations=1, power=0.5), n=10)
    pipeline.train(dataset)
    matrix = dataset.interaction_matrix(format="scipy", layout="csr", legacy=True)
    model = LinRFM(32, iterations=1, power=0.5).fit(matrix, show_progress=False)
    users = dataset.users.ids()[:40]
    listed = recommend(pipeline, users, 10, n_jobs=1)
    rows = dataset.users.numbers(users)
    ids, _ = model.recommend(rows, matrix[rows], N=10)
    for user, expected in zip(users, ids, strict=True):
        np.testing.assert_array_equal(listed.lookup(user_id=user).ids(), dataset.items.ids(expected))
