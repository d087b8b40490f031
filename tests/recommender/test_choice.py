"""What fit chooses by itself: what it is, what it is chosen by, and when it is not."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from rfm_recsys import LinRFM
from rfm_recsys.core import memory
from rfm_recsys.core.checks import check_interactions
from rfm_recsys.errors import DataError, NotFittedError
from rfm_recsys.recommender import tuning
from rfm_recsys.recommender.blocks import CHOSEN
from rfm_recsys.recommender.rounds import low_rank_memory
from rfm_recsys.recommender.tuning import FALLBACK, FULL_FORM, FullValidationUsers, ValidationUsers, hide, quality

NOTHING = dict.fromkeys(CHOSEN)


def tastes(users: int = 300, items: int = 120, seed: int = 0) -> csr_matrix:
    """Let users like about a tenth of the items, by five features."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(users, 5)) @ rng.normal(size=(5, items)) + rng.normal(size=(users, items))
    return csr_matrix(features > 3, dtype=np.float32)


def scores(model: LinRFM) -> Any:
    return np.asarray(model.user_factors @ model.item_factors.T)


def test_what_is_chosen_is_an_attribute_and_fits_the_same_again() -> None:
    data = tastes()
    model = LinRFM(16).fit(data, show_progress=False)
    assert list(model.chosen_) == list(CHOSEN)
    assert model.chosen_ == {name: getattr(model, f"{name}_") for name in CHOSEN}
    assert all(getattr(model, name) is None for name in CHOSEN)
    again = LinRFM(16, **model.chosen_).fit(data, show_progress=False)
    assert again.search_ == []
    assert again.item_factors.tobytes() == model.item_factors.tobytes()
    assert again.user_factors.tobytes() == model.user_factors.tobytes()


def test_the_choice_is_the_same_for_any_number_of_threads_and_any_seed() -> None:
    data = tastes()
    models = [LinRFM(16, num_threads=n, random_state=n).fit(data, show_progress=False) for n in (1, 2)]
    assert models[0].search_ == models[1].search_
    assert models[0].chosen_ == models[1].chosen_


def test_no_oversampling_is_chosen_where_memory_does_not_hold_it(monkeypatch: Any, caplog: Any) -> None:
    data = tastes()
    narrow, wide = (low_rank_memory(data.shape, data.nnz, rank, 4) for rank in (16, 272))
    monkeypatch.setattr(memory, "available_memory", lambda: (narrow + wide) // 2)
    with caplog.at_level(logging.WARNING, logger="rfm_recsys"):
        model = LinRFM(16).fit(data, show_progress=False)
    assert model.search_
    assert {row["oversampling"] for row in model.search_} == {0}
    assert model.oversampling_ == 0
    assert "memory" in caplog.text


def test_what_is_given_stays() -> None:
    model = LinRFM(16, alpha=3.5, iterations=3, item_norm=0.1).fit(tastes(), show_progress=False)
    assert (model.alpha_, model.iterations_, model.item_norm_) == (3.5, 3, 0.1)
    assert {row["alpha"] for row in model.search_} == {3.5}
    assert {row["item_norm"] for row in model.search_} == {0.1}
    assert {row["iterations"] for row in model.search_} == {2}  # more are chosen as if they were two


def test_the_table_has_what_was_tried_and_the_choice_is_in_it() -> None:
    model = LinRFM(16, trials=40).fit(tastes(), show_progress=False)
    settings = {tuple(row[name] for name in CHOSEN) for row in model.search_}
    assert len(settings) == 40
    for row in model.search_:
        assert row["score"] == pytest.approx((row["ndcg@10"] * row["recall@20"]) ** 0.5)
    chosen = [row for row in model.search_ if {name: row[name] for name in CHOSEN} == model.chosen_]
    assert len(chosen) == 1
    assert chosen[0]["score"] >= 0.98 * max(row["score"] for row in model.search_)


def test_a_trial_measures_what_a_fit_with_the_setting_ranks() -> None:
    """Hidden interactions, found by the public model fitted to the rest: to the tolerance of the quick solves."""
    data = tastes()
    users = ValidationUsers(data, 16, np.random.default_rng(0))
    users.oversampling = 20
    known, wanted, chosen = hide(data, tuning.WORK // (120 * 16), np.random.default_rng(0))
    for rounds, oversampling in ((1, 0), (2, 0), (1, 20), (2, 20)):
        found = users.measure({name: FALLBACK[name] for name in tuning.ORDER}, rounds, oversampling)
        way = {"iterations": rounds, "oversampling": oversampling}
        model = LinRFM(16, **{**FALLBACK, **way}).fit(known, show_progress=False)
        ids, _ = model.recommend(chosen, known[chosen], N=20)
        np.testing.assert_allclose(found.mean(axis=0), quality(ids, wanted).mean(axis=0), atol=0.01)


def test_what_is_hidden_is_a_fifth_of_what_is_liked_and_the_rest_is_kept() -> None:
    data = tastes()
    data.data[::7] = -1
    known, wanted, users = hide(data, 250, np.random.default_rng(0))
    assert 240 <= len(users) == wanted.shape[0] <= 250
    assert (wanted.data > 0).all()
    assert known.nnz + wanted.nnz == data.nnz
    likes = np.asarray((data > 0).sum(axis=1)).ravel()[users]
    share = np.diff(wanted.indptr) / likes
    assert wanted.nnz / (data > 0).sum() == pytest.approx(0.2, abs=0.04)
    assert share[likes > 5].max() <= 0.6
    assert np.diff(wanted.indptr).min() >= 1


def test_quality_is_ndcg_and_recall() -> None:
    wanted = csr_matrix(np.array([[0, 1, 0, 1], [1, 0, 0, 0]]))
    found = quality(np.array([[1, 2, 3], [3, 2, -1]]), wanted)
    assert found[0, 0] == pytest.approx((1 + 1 / np.log2(4)) / (1 + 1 / np.log2(3)))
    np.testing.assert_allclose(found[:, 1], [1, 0])


@pytest.mark.parametrize("users", [3, 15])
@pytest.mark.parametrize(("factors", "expected"), [(4, FALLBACK), (None, FULL_FORM)])
def test_data_too_small_to_choose_on_have_settings_of_their_own(
    factors: int | None, expected: dict[str, Any], users: int, caplog: Any
) -> None:
    with caplog.at_level(logging.INFO, logger=tuning.__name__):
        model = LinRFM(factors).fit(tastes(users, 12), show_progress=False)
    assert model.chosen_ == expected
    assert model.search_ == []
    assert "nothing chosen" in caplog.text


def test_the_full_form_is_chosen_for_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """By one round at power 1/2, which takes no eigenvectors; what is given stays."""
    model = LinRFM(None).fit(tastes(), show_progress=False)
    assert {(row["power"], row["iterations"]) for row in model.search_} == {(0.5, 1)}
    assert len(model.search_) > 3
    best = max(row["score"] for row in model.search_)
    assert max(row["score"] for row in model.search_[:3]) <= best
    assert model.chosen_ in [{name: row[name] for name in CHOSEN} for row in model.search_]
    given = LinRFM(None, alpha=2.0, power=0.25, iterations=2).fit(tastes(), show_progress=False)
    assert (given.alpha_, given.power_, given.iterations_) == (2.0, 0.25, 2)
    assert len(given.search_) > 3
    monkeypatch.setattr(tuning, "FULL_ITEMS", 20)
    few = LinRFM(None).fit(tastes(), show_progress=False)
    assert few.search_[0]["score"] != model.search_[0]["score"]


@pytest.mark.parametrize("iterations", [1, 2])
def test_the_full_form_is_measured_as_a_fit_ranks(iterations: int) -> None:
    data = check_interactions(tastes(), np.dtype(np.float64))
    users = FullValidationUsers(data, np.random.default_rng(0))
    values: dict[str, Any] = {
        "regularization": 6.0,
        "alpha": 5.0,
        "power": 0.5,
        "item_norm": 0.2,
        "prior_norm": 0.1,
        "user_norm": 0.7,
    }
    measured = [users.measure(setting, iterations, 0) for setting in (values, values | {"alpha": 9.0}, values)]
    np.testing.assert_array_equal(measured[0], measured[2])
    model = LinRFM(None, **values, iterations=iterations, values="confidence", dtype=np.float64)
    model.fit(users.weights, show_progress=False)
    ids, _ = model.recommend(users.users, users.weights[users.users], 20)
    np.testing.assert_array_equal(measured[0], quality(ids, users.wanted))


def test_the_choice_says_in_the_log_what_it_is(caplog: Any) -> None:
    with caplog.at_level(logging.INFO, logger=tuning.__name__):
        model = LinRFM(16, trials=3).fit(tastes(), show_progress=False)
    assert f"alpha={model.alpha_:g}" in caplog.text


@pytest.mark.parametrize("factors", [64, None])
def test_the_choice_is_about_the_best_of_many_settings_for_interactions_that_it_has_not_seen(
    factors: int | None,
) -> None:
    known, wanted, users = hide(tastes(400, 300, seed=3), 400, np.random.default_rng(5))

    def measured(**given: Any) -> float:
        model = LinRFM(factors, **given).fit(known, show_progress=False)
        ids, _ = model.recommend(users, known[users], N=20)
        return float(quality(ids, wanted).mean())

    rng = np.random.default_rng(0)
    others = [
        measured(
            **{**FALLBACK, "regularization": 10 ** rng.uniform(-1, 2), "alpha": 10 ** rng.uniform(0, 2), "power": p}
        )
        for p in (0.2, 0.35, 0.5, 0.2, 0.35, 0.5, 1.0, 1.0)
    ]
    assert np.median(others) < 0.97 * max(others)  # it matters
    assert measured() > 0.98 * max(others)


def test_a_fit_that_is_broken_off_does_not_choose_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, path = tastes(), tmp_path / "checkpoint"
    whole = LinRFM(16).fit(data, show_progress=False)

    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        LinRFM(16).fit(data, show_progress=False, callback=stop, checkpoint=path)
    monkeypatch.setattr("rfm_recsys.recommender.model.choose", stop)
    model = LinRFM(16).fit(data, show_progress=False, checkpoint=path)
    assert model.search_ == whole.search_
    assert model.item_factors.tobytes() == whole.item_factors.tobytes()


def test_what_was_chosen_is_kept_in_a_file(tmp_path: Path) -> None:
    data, path = tastes(), tmp_path / "model"
    model = LinRFM(16, trials=8).fit(data, show_progress=False)
    model.save(path)
    loaded = LinRFM.load(path)
    assert loaded.chosen_ == model.chosen_
    assert loaded.search_ == model.search_
    assert loaded.alpha is None
    np.testing.assert_array_equal(loaded.recalculate_user(3, data[3]), model.recalculate_user(3, data[3]))


def test_nothing_is_chosen_before_a_fit() -> None:
    with pytest.raises(NotFittedError):
        _ = LinRFM().chosen_
    assert not hasattr(LinRFM(), "alpha_")


def test_data_that_no_setting_can_be_fitted_to_are_refused() -> None:
    data = tastes()
    data.data[:] = 3.4e38
    with pytest.raises(DataError, match=r"alpha \* value"):
        LinRFM(16, values="confidence").fit(data, show_progress=False)
