"""Kernels against slow twins, and the laws of the model."""

import numpy as np
import pytest
from scipy.sparse import csr_matrix, random_array

from rfm_recsys import LinRFM
from rfm_recsys.completion import csr_arrays, solve_users, solve_users_full, threads
from rfm_recsys.errors import DataError, IdError, NotFittedError, ParameterError
from rfm_recsys.kernels import Floats, lapack_addresses


def interactions(users: int = 80, items: int = 40, seed: int = 0) -> csr_matrix:
    rng = np.random.default_rng(seed)
    return csr_matrix(random_array((users, items), density=0.2, rng=rng, format="csr"))


def naive_solve(row: Floats, F: Floats) -> Floats:
    """Solve over all items: weight |c| and target 1 or 0 where observed, weight 1 and target 0 elsewhere."""
    weight, target = np.where(row != 0, np.abs(row), 1.0), (row > 0).astype(float)
    S = F @ F.T
    x = S @ np.linalg.solve(np.eye(len(S)) + (weight - 1)[:, None] * S, weight * target)
    u: Floats = np.linalg.lstsq(F, x, rcond=None)[0]
    return u


@pytest.mark.parametrize("factors", [1, 5, 30])
@pytest.mark.parametrize("alpha", [0.5, 20.0])
def test_primal_dual_and_full_solves_equal_the_naive_twin(factors: int, alpha: float) -> None:
    data = interactions() * alpha
    data.data[::5] *= -1
    data.data[data.indptr[3] : data.indptr[4]] = 0
    data.eliminate_zeros()
    F = np.random.default_rng(1).normal(size=(40, factors)) / (4 * factors**0.5)
    indptr, indices, confidence = csr_arrays(data)
    lapack = lapack_addresses(np.dtype(np.float64))
    with threads(0):
        U = solve_users(indptr, indices, confidence, F, lapack)
        A, _ = solve_users_full(indptr, indices, confidence, F @ F.T, lapack)
    twin = np.array([naive_solve(row, F) for row in data.toarray()])
    np.testing.assert_allclose(U, twin, rtol=1e-9, atol=1e-9)
    coefficients = csr_matrix((A, indices, indptr), shape=data.shape)
    np.testing.assert_allclose(coefficients @ F @ F.T, U @ F.T, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("factors", [8, None])
def test_one_thread_and_two_give_the_same_bits(factors: int | None) -> None:
    data = interactions(300, 60)
    one, two = (LinRFM(factors, num_threads=n, iterations=3).fit(data, show_progress=False) for n in (1, 2))
    np.testing.assert_array_equal(one.item_factors, two.item_factors)
    dense = [m.user_factors.toarray() if factors is None else m.user_factors for m in (one, two)]
    np.testing.assert_array_equal(*dense)


@pytest.mark.parametrize("factors", [8, 200, None])
def test_fold_in_gives_what_fit_gave_and_recommend_ranks_by_the_scores(factors: int | None) -> None:
    data = interactions()
    model = LinRFM(factors, dtype=np.float64).fit(data, show_progress=False)
    folded = model.recalculate_user(np.arange(80), data)
    scores = model.user_factors @ model.item_factors.T
    np.testing.assert_allclose(folded @ model.item_factors.T, scores, rtol=1e-9, atol=1e-9)
    ids, top = model.recommend(np.arange(80), data, N=50)
    assert ids.shape == (80, 50)
    assert ids.dtype == np.int32
    assert (ids[:, 40:] == -1).all()
    scores[data.nonzero()] = -np.finfo(np.float64).max
    np.testing.assert_allclose(top[:, :40], -np.sort(-scores, axis=1), rtol=1e-9, atol=1e-12)
    single, _ = model.recommend(3, data[3], N=50)
    np.testing.assert_array_equal(single, ids[3])


def test_permuting_users_permutes_scores_and_empty_users_change_nothing() -> None:
    data = interactions()
    order = np.random.default_rng(2).permutation(80)
    longer = csr_matrix((data.data, data.indices, np.append(data.indptr, [data.nnz] * 5)), shape=(85, 40))
    scores = [
        model.user_factors @ model.item_factors.T
        for model in (
            LinRFM(None, dtype=np.float64).fit(matrix, show_progress=False) for matrix in (data, data[order], longer)
        )
    ]
    np.testing.assert_allclose(scores[1], scores[0][order], atol=1e-9)
    np.testing.assert_allclose(scores[2][:80], scores[0], atol=1e-9)


@pytest.mark.parametrize("factors", [8, None])
def test_save_and_load(tmp_path, factors: int | None) -> None:  # type: ignore[no-untyped-def]
    data = interactions()
    model = LinRFM(factors).fit(data, show_progress=False)
    model.save(tmp_path / "model.npz")
    loaded = LinRFM.load(tmp_path / "model.npz")
    for one, two in zip(model.recommend(np.arange(80), data), loaded.recommend(np.arange(80), data), strict=True):
        np.testing.assert_array_equal(one, two)
    assert [path.name for path in tmp_path.iterdir()] == ["model.npz"]


def test_bad_input_is_refused_with_the_remedy() -> None:
    data = interactions()
    with pytest.raises(NotFittedError, match="call fit"):
        LinRFM().recommend(0, data[0])
    with pytest.raises(DataError, match="no liked interaction"):
        LinRFM().fit(csr_matrix((3, 4)), show_progress=False)
    broken = data.copy()
    broken.data[0] = np.nan
    with pytest.raises(DataError, match="not a finite"):
        LinRFM().fit(broken, show_progress=False)
    with pytest.raises(ParameterError, match="above 0"):
        LinRFM(regularization=0.0)
    model = LinRFM(4).fit(data, show_progress=False)
    for user in (-1, 80):
        with pytest.raises(IdError, match=r"outside 0\.\.79"):
            model.recommend(user, data[0])
    with pytest.raises(DataError, match=r"column\(s\), not 40"):
        model.recommend(0, csr_matrix((1, 41)))
