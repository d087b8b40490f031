"""LinRFMRatings against its naive twin and dense posteriors, its laws, its files, what it refuses, and MovieLens."""

import copy
import io
import pickle
from pathlib import Path
from typing import Any

import naive
import numba
import numpy as np
import pytest
from places import DATA
from scipy.sparse import csr_matrix

from rfm_recsys import LinRFMRatings, ratings
from rfm_recsys.core import memory
from rfm_recsys.core.arrays import Floats
from rfm_recsys.errors import (
    DataError,
    IdError,
    InsufficientMemoryError,
    ModelFileError,
    NotFittedError,
    ParameterError,
    ParameterTypeError,
)

ML_100K = DATA / "ml-100k"


def generated(n_users: int = 60, n_items: int = 40, seed: int = 0, share: float = 0.3) -> csr_matrix:
    """Make ratings of rank 2 with biases and noise; the last user and the last item have none."""
    rng = np.random.default_rng(seed)
    U, V = rng.normal(size=(n_users, 2)), rng.normal(size=(n_items, 2))
    Y = 3 + rng.normal(0, 0.4, (n_users, 1)) + rng.normal(0, 0.4, n_items) + 0.6 * U @ V.T
    Y += rng.normal(0, 0.3, Y.shape)
    Y[rng.random(Y.shape) > share] = 0
    Y[-1], Y[:, -1] = 0, 0
    return csr_matrix(Y)


def fitted(data: csr_matrix, **parameters: Any) -> LinRFMRatings:
    parameters = {"factors": 3, "choice_factors": 5, "iterations": 4, "dtype": np.float64, **parameters}
    return LinRFMRatings(**parameters).fit(data, show_progress=False)


def everything(model: LinRFMRatings) -> tuple[Floats, Floats]:
    """Return the predictions of all pairs, and their standard deviations, shape (users, items)."""
    shape = (len(model.users_.means), len(model.items_.means))
    users, items = np.indices(shape)
    prediction, std = model.predict(users.ravel(), items.ravel(), return_std=True)
    return prediction.reshape(shape), std.reshape(shape)


def bits(model: LinRFMRatings) -> list[bytes]:
    sides = [getattr(side, name).tobytes() for side in (model.users_, model.items_) for name in vars(side)]
    return [*sides, np.array([model.mean_, model.scale_, model.noise_, *model.bounds_]).tobytes()]


# --- against the twin ---


@pytest.mark.parametrize(("factors", "choice_factors"), [(1, 0), (3, 0), (2, 100)])
def test_a_fit_equals_its_naive_twin(factors: int, choice_factors: int) -> None:
    data = generated(18, 12, share=0.5)
    model = fitted(data, factors=factors, choice_factors=choice_factors, iterations=3)
    generator = np.random.default_rng(0)
    if choice_factors:
        generator.standard_normal((12, 12))  # which the eigenvectors start from
    start = 0.1 * generator.standard_normal((12, factors))
    Y = data.toarray()
    Y[Y == 0] = np.nan
    constants = (
        ratings.BIAS_VARIANCE,
        ratings.FACTOR_VARIANCE,
        ratings.LEAST_NOISE,
        ratings.LEAST_VARIANCE,
        ratings.CHOICE_RIDGE,
    )
    means, variances, noise = naive.ratings_rounds(Y, start, 3, choice_factors > 0, constants)
    prediction, std = everything(model)
    scale = np.nanstd(Y)
    np.testing.assert_allclose(
        prediction, np.clip(np.nanmean(Y) + scale * means, np.nanmin(Y), np.nanmax(Y)), atol=1e-7
    )
    np.testing.assert_allclose(std, scale * np.sqrt(variances), atol=1e-7)
    assert model.noise_ == pytest.approx(scale * noise**0.5, rel=1e-8)


def test_a_rating_varies_by_its_noise_too() -> None:
    generator = np.random.default_rng(3)
    taste = generator.normal(size=(200, 2)) @ generator.normal(size=(2, 150)) + 3
    ratings = taste + generator.normal(scale=0.5, size=taste.shape)
    rated = generator.random(taste.shape) < 0.3
    model = LinRFMRatings(factors=4).fit(csr_matrix(ratings * rated), show_progress=False)
    users, items = np.nonzero(~rated)
    expected, std = model.predict(users, items, return_std=True)
    _, with_noise = model.predict(users, items, return_std=True, with_noise=True)
    np.testing.assert_allclose(with_noise, np.hypot(std, model.noise_))
    for share, width in ((0.68, 0.9945), (0.95, 1.96)):
        assert np.mean(np.abs(ratings[users, items] - expected) < width * with_noise) == pytest.approx(share, abs=0.02)
    ids, scores, deviations = model.recommend([3, 5], csr_matrix(rated[[3, 5]] * 1.0), 150, return_std=True)
    for row, user in enumerate((3, 5)):
        listed = scores[row] > np.finfo(scores.dtype).min
        assert listed.sum() == (~rated[user]).sum()
        of = model.predict(user, ids[row, listed], return_std=True)
        np.testing.assert_allclose(deviations[row, listed], of[1], rtol=1e-6)
        assert not deviations[row, ~listed].any()
    assert [part.shape for part in model.recommend(3, None, 4, False, return_std=True)] == [(4,)] * 3


def test_the_std_is_that_of_a_dense_posterior_where_the_other_side_is_certain() -> None:
    """Items of known factors leave a Gaussian process: ``K_jj - K_jO (K_OO + noise I)^-1 K_Oj``, K the items' AGOP."""
    data = generated()
    model = fitted(data, choice_factors=0)
    certain = model.items_
    upper = np.triu_indices(certain.means.shape[1])
    certain.moments[:] = certain.means[:, upper[0]] * certain.means[:, upper[1]]
    model.partial_fit_users(np.arange(60), data)
    prediction, std = everything(model)
    features = certain.means[:, 1:]
    K, noise = features @ model.users_.covariance @ features.T, (model.noise_ / model.scale_) ** 2
    prior = certain.means[:, 0] + features @ model.users_.coefficients[0]
    for user in (0, 7, 59):
        O = data[user].indices  # noqa: E741
        gain = K[:, O] @ np.linalg.inv(K[np.ix_(O, O)] + noise * np.eye(len(O)))
        mean = prior + gain @ ((data[user].data - model.mean_) / model.scale_ - prior[O])
        expected = np.clip(model.mean_ + model.scale_ * mean, *model.bounds_)
        np.testing.assert_allclose(prediction[user], expected, atol=1e-8)
        np.testing.assert_allclose(std[user], model.scale_ * np.sqrt(np.diag(K - gain @ K[O])), atol=1e-7)


# --- laws ---


def test_it_predicts_what_it_has_not_seen_and_knows_how_well() -> None:
    full = generated(200, 100, share=1)
    hidden = np.random.default_rng(1).random(full.shape) < 0.7
    data, truth = full.toarray(), full.toarray()
    data[hidden] = 0
    model = fitted(csr_matrix(data), factors=6, iterations=12)
    prediction, std = everything(model)
    test = hidden & (truth != 0)
    error = truth[test] - prediction[test]
    poor = fitted(csr_matrix(data), factors=1, choice_factors=0, iterations=1)
    assert np.std(error) < 0.36
    assert np.std(truth[test] - everything(poor)[0][test]) > 0.6
    assert np.std(error / np.hypot(std[test], model.noise_)) == pytest.approx(1, abs=0.05)
    assert model.noise_ == pytest.approx(0.3, abs=0.02)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_same_bits_for_any_number_of_threads(dtype: Any) -> None:
    data = generated(400, 300)
    one, two = (fitted(data, dtype=dtype, num_threads=n) for n in (1, numba.config.NUMBA_NUM_THREADS))
    assert bits(one) == bits(two)


def test_permuted_users_have_permuted_predictions() -> None:
    data, order = generated(), np.random.default_rng(3).permutation(60)
    for result, permuted in zip(everything(fitted(data)), everything(fitted(data[order])), strict=True):
        np.testing.assert_allclose(result[order], permuted, atol=1e-8)


def test_permuted_items_have_permuted_predictions() -> None:
    """But for what they start from; which therefore is made to move along."""
    data, order = generated(), np.random.default_rng(4).permutation(40)
    plain = fitted(data, choice_factors=0)

    class Permuted(np.random.Generator):
        def standard_normal(self, size: Any = None, *_: Any, **__: Any) -> Any:
            return super().standard_normal(size)[order]

    permuted = fitted(data[:, order], choice_factors=0, random_state=Permuted(np.random.PCG64(0)))
    for result, moved in zip(everything(plain), everything(permuted), strict=True):
        np.testing.assert_allclose(result[:, order], moved, atol=1e-8)


def test_shifted_and_scaled_ratings_have_shifted_and_scaled_predictions() -> None:
    data = generated()
    other = data.copy()
    other.data = 20 * data.data - 1000
    (prediction, std), (moved, moved_std) = everything(fitted(data)), everything(fitted(other))
    np.testing.assert_allclose(moved, 20 * prediction - 1000, rtol=1e-8)
    np.testing.assert_allclose(moved_std, 20 * std, rtol=1e-6)


def test_single_and_double_precision_agree() -> None:
    data = generated(100, 80)
    for one, two in zip(*(everything(fitted(data, dtype=dtype)) for dtype in (np.float32, np.float64)), strict=True):
        np.testing.assert_allclose(one, two, atol=5e-3)


def test_users_and_items_without_ratings_fall_back_to_biases() -> None:
    data = generated(share=0.6)
    prediction, std = everything(fitted(data))
    item_means = data.sum(axis=0).A1 / np.maximum(np.diff(data.tocsc().indptr), 1)
    user_means = data.sum(axis=1).A1 / np.maximum(np.diff(data.indptr), 1)
    assert np.corrcoef(prediction[-1, :-1], item_means[:-1])[0, 1] > 0.9
    assert np.corrcoef(prediction[:-1, -1], user_means[:-1])[0, 1] > 0.9
    assert prediction[-1, -1] == pytest.approx(data.data.mean(), abs=0.2)
    assert std[-1, -1] > 2 * np.median(std)


# --- fold-in ---


def test_users_folded_in_are_what_fit_makes_of_them() -> None:
    data = generated()
    model = fitted(data)
    whole = everything(model)
    model.partial_fit_users(np.arange(60), data)
    for one, two in zip(everything(model), whole, strict=True):
        np.testing.assert_allclose(one, two, atol=1e-12)


def test_new_users_and_items_are_added_and_the_last_of_an_id_counts() -> None:
    data = generated()
    model = fitted(data)
    before = everything(model)[0]
    model.partial_fit_users([63, 2, 63], data[[4, 5, 7]])
    prediction = everything(model)[0]
    assert prediction.shape == (64, 40)
    np.testing.assert_allclose(prediction[[2, 63]], before[[5, 7]], atol=1e-12)
    np.testing.assert_allclose(prediction[[60, 61, 62]], before[[59, 59, 59]], atol=1e-12)  # no ratings
    np.testing.assert_array_equal(np.delete(prediction[:60], 2, axis=0), np.delete(before, 2, axis=0))
    model = fitted(data)
    model.partial_fit_items(41, data.T.tocsr()[[3]])
    prediction = everything(model)[0]
    assert prediction.shape == (60, 42)
    assert np.std(prediction[:, 41] - before[:, 3]) < 0.1 < np.std(before[:, 3])
    np.testing.assert_array_equal(prediction[:, :40], before)


# --- the contract ---


def test_pairs_of_any_shape() -> None:
    model = fitted(generated())
    prediction, std = everything(model)
    assert isinstance(model.predict(1, 2), float)
    assert model.predict(1, 2) == prediction[1, 2]
    assert model.predict(1, 2, return_std=True) == (prediction[1, 2], std[1, 2])
    np.testing.assert_array_equal(model.predict(3, [5, 6]), prediction[3, [5, 6]])
    np.testing.assert_array_equal(model.predict([3, 4], 5), prediction[[3, 4], 5])
    assert model.predict([], []).shape == (0,)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_saved_pickled_and_copied_models_are_the_same_to_the_bit(tmp_path: Path, dtype: Any) -> None:
    model = fitted(generated(), dtype=dtype, random_state=5)
    model.save(tmp_path / "model")
    others = [LinRFMRatings.load(tmp_path / "model"), pickle.loads(pickle.dumps(model)), copy.deepcopy(model)]
    for other in others:
        assert bits(other) == bits(model)
        assert other.get_params() == model.get_params()
    LinRFMRatings(7).save(tmp_path / "unfitted")
    assert LinRFMRatings.load(tmp_path / "unfitted").factors == 7
    whole = (tmp_path / "model").read_bytes()
    for place in range(0, len(whole), len(whole) // 50):
        with pytest.raises(ModelFileError):
            LinRFMRatings.load(io.BytesIO(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :]))
    from rfm_recsys import LinRFM

    with pytest.raises(ModelFileError, match="ratings model"):
        LinRFM.load(tmp_path / "model")


def test_arrays_that_do_not_fit_together_are_refused(tmp_path: Path) -> None:
    model = fitted(generated())
    model.items_ = ratings.Side(**{**vars(model.items_), "choices": model.items_.choices[:, 1:]})
    model.save(tmp_path / "model")
    with pytest.raises(ModelFileError, match="do not fit together"):
        LinRFMRatings.load(tmp_path / "model")


def test_a_callback_sees_every_round_and_may_stop_the_fit() -> None:
    model, seen = fitted(generated()), []
    before = bits(model)
    model.fit(generated(), show_progress=True, callback=lambda *arguments: seen.append(arguments))
    assert [iteration for iteration, *_ in seen] == [0, 1, 2, 3]
    errors = [error for *_, error in seen]
    assert errors == sorted(errors, reverse=True)

    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        model.fit(generated(seed=1), show_progress=False, callback=stop)
    assert bits(model) == before


def test_parameters_by_name() -> None:
    model = LinRFMRatings(5)
    assert model.set_params(factors=6, iterations=2) is model
    assert eval(repr(model).replace("<class 'numpy.float32'>", "np.float32")).get_params() == model.get_params()
    for wrong in ({"factor": 3}, {"factors": 0}):
        with pytest.raises(ParameterError):
            model.set_params(**wrong)
    assert model.factors == 6


# --- small and odd data ---


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("values", [[[4]], [[1, 5, 3]], [[1], [5], [3]], [[3, 3], [3, 3]], [[3, 0], [0, 0]]])
def test_one_user_one_item_and_constant_ratings(values: list[list[float]], dtype: Any) -> None:
    data = csr_matrix(np.array(values, dtype=np.float64))
    model = LinRFMRatings(dtype=dtype).fit(data, show_progress=False)
    prediction, std = everything(model)
    assert np.isfinite(prediction).all()
    assert np.isfinite(std).all()
    assert data.data.min() <= prediction.min() <= prediction.max() <= data.data.max()
    if np.ptp(data.data) == 0:
        np.testing.assert_array_equal(prediction, data.data[0])


def test_ratings_without_noise_and_many_factors_in_single_precision() -> None:
    rng = np.random.default_rng(0)
    Y = 10 + rng.normal(size=(300, 2)) @ rng.normal(size=(2, 200))
    model = LinRFMRatings(40, iterations=30).fit(csr_matrix(Y), show_progress=False)
    assert np.sqrt(np.mean((everything(model)[0] - Y) ** 2)) < 0.1 * Y.std()


# --- what it refuses ---


@pytest.mark.parametrize(
    ("parameters", "error"),
    [
        ({"factors": 0}, ParameterError),
        ({"factors": 2.5}, ParameterTypeError),
        ({"choice_factors": -1}, ParameterError),
        ({"iterations": 0}, ParameterError),
        ({"dtype": np.int32}, ParameterError),
        ({"num_threads": -1}, ParameterError),
        ({"random_state": "seed"}, ParameterTypeError),
    ],
)
def test_parameters_out_of_bounds(parameters: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error, match=next(iter(parameters))):
        LinRFMRatings(**parameters)


def test_data_that_cannot_be_used() -> None:
    model = LinRFMRatings(2)
    for data, said in (
        (csr_matrix((3, 4)), "no rating"),
        (csr_matrix([[1, np.nan]]), "not a finite"),
        (csr_matrix([[1e200, 1]]), "overflow"),
    ):
        with pytest.raises(DataError, match=said):
            model.fit(data, show_progress=False)
    for wrong in (np.ones((2, 2)), [[1]], None):
        with pytest.raises(ParameterTypeError, match="sparse"):
            model.fit(wrong, show_progress=False)
    with pytest.raises(ParameterTypeError, match="callback"):
        model.fit(generated(), callback=3)  # type: ignore[arg-type]
    with pytest.raises(NotFittedError):
        model.predict(0, 0)
    with pytest.raises(NotFittedError):
        model.partial_fit_users(0, generated()[[0]])


def test_a_rating_far_beyond_the_others_is_refused_or_stays_finite() -> None:
    data = generated()
    data.data[3] = 1e18
    model = LinRFMRatings(3).fit(data, show_progress=False)
    assert np.isfinite(everything(model)[0]).all()
    model = fitted(generated(), dtype=np.float32)
    with pytest.raises(DataError, match="scale of those in fit"):
        model.partial_fit_users(0, csr_matrix(([1e300], ([0], [1])), shape=(1, 40)))
    with pytest.raises(DataError, match="row 0"):
        model.partial_fit_users(0, csr_matrix(([1e25], ([0], [1])), shape=(1, 40)))


def test_ids_and_shapes_that_do_not_fit() -> None:
    data = generated()
    model = fitted(data)
    for users, items in (([0, 60], [1, 1]), ([0, -1], [1, 1]), ([0], [40])):
        with pytest.raises(IdError, match="outside"):
            model.predict(users, items)
    with pytest.raises(ParameterError, match="one item for each user"):
        model.predict([0, 1, 2], [1, 1])
    with pytest.raises(ParameterTypeError):
        model.predict([0.5], [1])
    with pytest.raises(DataError, match="row"):
        model.partial_fit_users([0, 1], data[[0]])
    with pytest.raises(DataError, match="column"):
        model.partial_fit_users(0, csr_matrix((1, 41)))


def test_memory_is_told_before_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "available_memory", lambda: 10**8)
    with pytest.raises(InsufficientMemoryError, match="fewer factors"):
        LinRFMRatings(2000).fit(generated(), show_progress=False)
    model = fitted(generated())
    with pytest.raises(InsufficientMemoryError, match="from 60 on"):
        model.partial_fit_users(2**31 - 1, generated()[[0]])


# --- MovieLens ---


@pytest.mark.skipif(not ML_100K.is_dir(), reason="the ratings of MovieLens 100K are not there")
def test_rmse_on_movielens_100k() -> None:
    errors = []
    for fold in range(1, 6):
        train, test = (np.loadtxt(ML_100K / f"u{fold}.{part}", dtype=np.int64) for part in ("base", "test"))
        data = csr_matrix((train[:, 2].astype(float), (train[:, 0] - 1, train[:, 1] - 1)), shape=(943, 1682))
        model = LinRFMRatings().fit(data, show_progress=False)
        errors.append(np.sqrt(np.mean((model.predict(test[:, 0] - 1, test[:, 1] - 1) - test[:, 2]) ** 2)))
    assert np.mean(errors) < 0.915


def test_what_was_learned_has_its_former_names_with_a_warning_in_models_and_pickles() -> None:
    model = LinRFMRatings(4, iterations=2).fit(csr_matrix(np.arange(1.0, 13).reshape(3, 4)), show_progress=False)
    with pytest.warns(DeprecationWarning, match=r"LinRFMRatings.noise is now LinRFMRatings.noise_"):
        assert model.noise == model.noise_
    former = {name.removesuffix("_"): value for name, value in vars(model).items()}
    loaded = LinRFMRatings.__new__(LinRFMRatings)
    loaded.__setstate__(former)
    assert vars(loaded) == vars(model)
    with pytest.raises(AttributeError, match="no attribute 'noises'"):
        model.noises  # noqa: B018
